//! Which tokens a rotation is about: their age, when they are due, and why some are left out.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::clock::{Span, Timestamp};
use crate::error::Error;
use crate::inventory::Inventory;
use crate::ledger::{Ledger, TokenRecord};
use crate::names::{AdminName, HostName, RealmName};
use crate::text::suggest;
use crate::token::state::TokenState;

/// An admin in a realm.
pub type Id = (AdminName, RealmName);

/// Which of all tokens are meant.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Which {
    /// Those due by their policy's `rotate_every`.
    pub due: bool,
    /// Those whose key is at least this old.
    pub older_than: Option<Span>,
    /// Those whose key a former recipient of the vault could read.
    pub exposed: bool,
}

/// What is asked for.
#[derive(Debug, Clone, Default)]
pub struct Query {
    /// Only tokens of these admins; of everyone where absent.
    pub admins: Option<BTreeSet<AdminName>>,
    /// Only tokens that are used on one of these hosts.
    pub hosts: Option<BTreeSet<HostName>>,
    /// Only tokens of this realm.
    pub realm: Option<String>,
    /// Only these of them.
    pub which: Which,
    /// Rotations are to be taken back.
    pub abort: bool,
}

/// A token that was asked for.
#[derive(Debug, Serialize)]
pub struct Row {
    /// Whose it is.
    pub admin: AdminName,
    /// Where it is used.
    pub realm: RealmName,
    /// Its state.
    pub state: String,
    /// The generation in force.
    pub generation: Option<u32>,
    /// When that was issued.
    pub issued_at: Option<Timestamp>,
    /// How old it is.
    pub age_seconds: Option<i64>,
    /// When it is due by the policy.
    pub due_at: Option<Timestamp>,
    /// It is due now.
    pub due: bool,
    /// Nobody confirmed its last rotation in time.
    pub overdue: bool,
    /// Absent where it is taken.
    pub left_because: Option<String>,
    #[serde(skip)]
    id: Id,
}

/// The tokens that were asked for.
#[derive(Debug)]
pub struct Choice(Vec<Row>);

impl Choice {
    /// All of them.
    pub fn rows(&self) -> &[Row] {
        &self.0
    }

    /// Those that are rotated, or whose rotation is taken back.
    pub fn taken(&self) -> impl Iterator<Item = &Id> {
        self.0
            .iter()
            .filter(|r| r.left_because.is_none())
            .map(|r| &r.id)
    }

    /// Those that were asked for and cannot be, and why.
    pub fn left(&self) -> impl Iterator<Item = (&Id, &str)> {
        self.0
            .iter()
            .filter_map(|r| Some((&r.id, r.left_because.as_deref()?)))
    }
}

/// Chooses by what is asked for. Reads inventory and ledger only.
///
/// # Errors
/// A realm that is not known, or a ledger that cannot be read.
pub async fn choose(
    inventory: &Inventory,
    ledger: &Ledger,
    query: &Query,
    now: Timestamp,
) -> Result<Choice, Error> {
    let realms = &inventory.enrolment().realms;
    if let Some(wanted) = query
        .realm
        .as_deref()
        .filter(|w| !realms.keys().any(|r| r.as_str() == *w))
    {
        let shown = crate::names::printable(wanted, 60);
        return Err(Error::failed(format!("there is no realm `{shown}`"))
            .hinted_if(suggest::hint(wanted, realms.keys().map(RealmName::as_str))));
    }
    let tokens = ledger.tokens_by_admin().await?;
    let exposed = ledger.exposed_tokens().await?;
    let overdue = ledger.unconfirmed_rotations().await?;
    let places: BTreeSet<Id> = inventory
        .assignments()
        .filter(|a| query.admins.as_ref().is_none_or(|o| o.contains(&a.admin)))
        .filter(|a| query.hosts.as_ref().is_none_or(|o| o.contains(&a.host)))
        .filter(|a| query.realm.as_ref().is_none_or(|r| a.realm.as_str() == r))
        .map(|a| (a.admin, a.realm))
        .collect();
    let mut rows = Vec::new();
    for id in places {
        let token = tokens.get(&id);
        let every = realms.get(&id.1).and_then(|r| r.policy.rotate_every);
        let row = row(id, token, every, &overdue, now);
        let old_enough = query.which.older_than.is_none_or(|age| {
            let seconds = i64::try_from(age.as_secs()).unwrap_or(i64::MAX);
            row.age_seconds.is_some_and(|a| a >= seconds)
        });
        let is_exposed = token.is_some_and(|t| exposed.contains(&t.serial));
        if !old_enough || (query.which.due && !row.due) || (query.which.exposed && !is_exposed) {
            continue;
        }
        rows.push(Row {
            left_because: left_because(token, query.abort),
            ..row
        });
    }
    Ok(Choice(rows))
}

fn row(
    id: Id,
    token: Option<&TokenRecord>,
    every: Option<Span>,
    overdue: &BTreeSet<crate::token::id::Serial>,
    now: Timestamp,
) -> Row {
    let current = token.and_then(|t| t.current.as_ref());
    let due_at = current
        .zip(every)
        .map(|(g, every)| every.after(g.issued_at));
    Row {
        admin: id.0.clone(),
        realm: id.1.clone(),
        state: token.map_or_else(|| "none".to_owned(), |t| t.state.to_string()),
        generation: current.map(|g| g.number),
        issued_at: current.map(|g| g.issued_at),
        age_seconds: current.map(|g| now.as_second() - g.issued_at.as_second()),
        due: due_at.is_some_and(|at| at <= now),
        due_at,
        overdue: token.is_some_and(|t| overdue.contains(&t.serial) || t.is_overdue(now)),
        left_because: None,
        id,
    }
}

fn left_because(token: Option<&TokenRecord>, abort: bool) -> Option<String> {
    let because = |text: &str| Some(text.to_owned());
    let Some(token) = token else {
        return because("there is no token yet: use `enroll`");
    };
    if abort {
        return match token.state {
            TokenState::Rotating if token.pending().is_some() => None,
            TokenState::Rotating => because("its new code was used: the rotation goes on"),
            _ => because("it is not being rotated"),
        };
    }
    match token.state {
        TokenState::Active => None,
        // Nobody has that sheet.
        TokenState::Rotating if token.has_lost_sheet() => None,
        TokenState::Rotating => because("it is being rotated already"),
        TokenState::Pending => because("its sheet is not confirmed yet"),
        state => Some(format!("it is {state}")),
    }
}
