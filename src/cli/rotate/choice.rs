//! Which tokens a rotation is about: their age, when they are due, and why some are left out.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::{Id, RotateArgs};
use crate::cli::play::json;
use crate::cli::run::admins_of;
use crate::cli::setup::Setup;
use crate::clock::{Span, Timestamp};
use crate::error::Error;
use crate::ledger::TokenRecord;
use crate::names::{AdminName, RealmName};
use crate::text::suggest;
use crate::token::state::TokenState;

/// A token that was asked for.
#[derive(Debug, Serialize)]
struct Row {
    admin: AdminName,
    realm: RealmName,
    state: String,
    generation: Option<u32>,
    issued_at: Option<Timestamp>,
    age_seconds: Option<i64>,
    due_at: Option<Timestamp>,
    due: bool,
    /// Nobody confirmed its last rotation in time.
    overdue: bool,
    /// Absent where it is taken.
    left_because: Option<String>,
    #[serde(skip)]
    id: Id,
}

/// The tokens that were asked for.
#[derive(Debug)]
pub(super) struct Choice(Vec<Row>);

impl Choice {
    /// Those that are rotated, or whose rotation is taken back.
    pub(super) fn taken(&self) -> impl Iterator<Item = &Id> {
        self.0
            .iter()
            .filter(|r| r.left_because.is_none())
            .map(|r| &r.id)
    }

    /// Those that were asked for and cannot be, and why.
    pub(super) fn left(&self) -> impl Iterator<Item = (&Id, &str)> {
        self.0
            .iter()
            .filter_map(|r| Some((&r.id, r.left_because.as_deref()?)))
    }
}

/// Chooses by what the arguments say. Reads inventory and ledger only.
///
/// # Errors
/// When nothing matches.
pub(super) async fn choose(
    args: &RotateArgs,
    setup: &Setup,
    pattern: Option<&str>,
    now: Timestamp,
) -> Result<Choice, Error> {
    let only = admins_of(setup, pattern)?;
    let realms = &setup.inventory.enrolment().realms;
    if let Some(wanted) = args
        .realm
        .as_deref()
        .filter(|w| !realms.keys().any(|r| r.as_str() == *w))
    {
        let shown = crate::names::printable(wanted, 60);
        return Err(Error::failed(format!("there is no realm `{shown}`"))
            .hinted_if(suggest::hint(wanted, realms.keys().map(RealmName::as_str))));
    }
    let tokens = setup.ledger.tokens_by_admin().await?;
    let exposed = setup.ledger.exposed_tokens().await?;
    let overdue = setup.ledger.unconfirmed_rotations().await?;
    let places: BTreeSet<Id> = setup
        .inventory
        .assignments()
        .filter(|a| only.as_ref().is_none_or(|o| o.contains(&a.admin)))
        .filter(|a| args.realm.as_ref().is_none_or(|r| a.realm.as_str() == r))
        .map(|a| (a.admin, a.realm))
        .collect();
    let mut rows = Vec::new();
    for id in places {
        let token = tokens.get(&id);
        let every = realms.get(&id.1).and_then(|r| r.policy.rotate_every);
        let row = row(id, token, every, &overdue, now);
        let old_enough = args.older_than.is_none_or(|age| {
            let seconds = i64::try_from(age.as_secs()).unwrap_or(i64::MAX);
            row.age_seconds.is_some_and(|a| a >= seconds)
        });
        let is_exposed = token.is_some_and(|t| exposed.contains(&t.serial));
        if !old_enough || (args.due && !row.due) || (args.exposed && !is_exposed) {
            continue;
        }
        rows.push(Row {
            left_because: left_because(token, args.abort),
            ..row
        });
    }
    let choice = Choice(rows);
    // Whether something is due or exposed may be asked every night.
    if choice.taken().next().is_none() && !args.due && !args.exposed {
        let mut why: Vec<String> = choice
            .left()
            .map(|(id, why)| format!("{} in realm {}: {why}", id.0, id.1))
            .take(5)
            .collect();
        if why.is_empty() {
            why.push("no token matches".to_owned());
        }
        return Err(Error::failed(format!(
            "there is nothing to {}: {}",
            if args.abort { "take back" } else { "rotate" },
            why.join("; ")
        )));
    }
    Ok(choice)
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

/// What would be done, for people.
pub(super) fn table(choice: &Choice) -> String {
    let mut lines = vec![
        [
            "ADMIN",
            "REALM",
            "STATE",
            "GENERATION",
            "AGE",
            "DUE",
            "WOULD BE",
        ]
        .map(str::to_owned),
    ];
    for row in &choice.0 {
        let dash = || "-".to_owned();
        let due = row.due_at.map_or_else(dash, |at| {
            let day = at.strftime("%Y-%m-%d").to_string();
            if row.due { format!("{day}, now") } else { day }
        });
        lines.push([
            row.admin.to_string(),
            row.realm.to_string(),
            if row.overdue {
                format!("{}, overdue", row.state)
            } else {
                row.state.clone()
            },
            row.generation.map_or_else(dash, |g| g.to_string()),
            row.age_seconds.map_or_else(dash, crate::cli::status::span),
            due,
            row.left_because
                .as_ref()
                .map_or_else(|| "done".to_owned(), |why| format!("left: {why}")),
        ]);
    }
    crate::cli::inventory::table(&lines)
}

/// What would be done, as JSON.
///
/// # Errors
/// As [`json`].
pub(super) fn document(choice: &Choice) -> Result<String, Error> {
    json(&BTreeMap::from([("tokens", &choice.0)]))
}
