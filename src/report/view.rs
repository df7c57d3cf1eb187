//! What a report is computed from: a state of the log, who is behind its names, and what the inventory says.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use crate::clock::{Span, Timestamp};
use crate::error::Error;
use crate::inventory::model::Service;
use crate::inventory::{Inventory, SourceRead};
use crate::names::{AdminName, HostName};
use crate::report::model::{Cell, Scope};
use crate::report::picture::{HostId, People, Picture, Token, TokenId};

/// What the inventory says, as its files are now: no day before is kept of them.
#[derive(Debug, Default)]
pub struct Population {
    /// What was read, and what it was the first to name.
    pub sources: Vec<SourceRead>,
    /// Hosts, by name.
    pub hosts: Vec<Known>,
    /// Admins, by name.
    pub admins: Vec<Person>,
    /// Realms, by name.
    pub realms: Vec<Realm>,
    /// Accounts that need not give a code.
    pub exemptions: Vec<Exemption>,
}

/// A host of the inventory.
#[derive(Debug)]
pub struct Known {
    /// Its name.
    pub name: Arc<str>,
    /// Its realm, by number; none covers it where absent.
    pub realm: Option<usize>,
    /// Admins with an account there, by number.
    pub admins: Vec<usize>,
}

/// An admin of the inventory.
#[derive(Debug)]
pub struct Person {
    /// The name.
    pub name: Arc<str>,
    /// The account.
    pub login: Arc<str>,
    /// Groups.
    pub groups: Vec<Arc<str>>,
}

/// A realm of the inventory.
#[derive(Debug)]
pub struct Realm {
    /// Its name.
    pub name: Arc<str>,
    /// When its tokens are due for rotation.
    pub rotate_every: Option<Span>,
    /// Whether sudo is to ask for the code as well.
    pub in_sudo: bool,
}

/// An exemption of the inventory.
#[derive(Debug)]
pub struct Exemption {
    /// The account.
    pub login: Arc<str>,
    /// As declared.
    pub pattern: String,
    /// The hosts that it selects.
    pub hosts: BTreeSet<Arc<str>>,
    /// Who answers for it.
    pub owner: String,
    /// Why.
    pub reason: String,
    /// Who allowed it.
    pub approved_by: Option<String>,
    /// When it ends.
    pub expires: Timestamp,
}

impl Population {
    /// Takes it from an inventory.
    ///
    /// # Errors
    /// When the pattern of an exemption selects nothing.
    pub fn of(inventory: &Inventory) -> Result<Self, Error> {
        let enrolment = inventory.enrolment();
        let numbers: BTreeMap<&str, usize> = enrolment
            .realms
            .keys()
            .map(|r| r.as_str())
            .zip(0..)
            .collect();
        let order: BTreeMap<&str, usize> = enrolment
            .admins
            .keys()
            .map(|a| a.as_str())
            .zip(0..)
            .collect();
        let mut hosts: Vec<Known> = inventory
            .hosts()
            .map(|host| Known {
                name: host.name.as_str().into(),
                realm: inventory
                    .realm_of(&host.name)
                    .and_then(|r| numbers.get(r.name.as_str()).copied()),
                admins: inventory
                    .admins_on(&host.name)
                    .filter_map(|a| order.get(a.name.as_str()).copied())
                    .collect(),
            })
            .collect();
        hosts.sort_by(|a, b| a.name.cmp(&b.name));
        let exemptions = enrolment
            .exemptions
            .iter()
            .map(|e| {
                let hosts = inventory.select(&e.hosts, None)?;
                Ok(Exemption {
                    login: e.login.as_str().into(),
                    pattern: e.hosts.clone(),
                    hosts: hosts.iter().map(|h| h.name.as_str().into()).collect(),
                    owner: e.owner.clone(),
                    reason: e.reason.clone(),
                    approved_by: e.approved_by.clone(),
                    expires: e.expires,
                })
            })
            .collect::<Result<_, Error>>()?;
        Ok(Self {
            sources: inventory.sources().to_vec(),
            hosts,
            admins: enrolment
                .admins
                .values()
                .map(|a| Person {
                    name: a.name.as_str().into(),
                    login: a.login.as_str().into(),
                    groups: a.groups.iter().map(|g| g.as_str().into()).collect(),
                })
                .collect(),
            realms: enrolment
                .realms
                .values()
                .map(|r| Realm {
                    name: r.name.as_str().into(),
                    rotate_every: r.policy.rotate_every,
                    in_sudo: r.policy.services.contains(&Service::Sudo),
                })
                .collect(),
            exemptions,
        })
    }

    /// An admin by name.
    pub fn admin(&self, name: &str) -> Option<&Person> {
        let at = self.admins.binary_search_by(|a| (*a.name).cmp(name)).ok()?;
        self.admins.get(at)
    }

    /// A realm by name.
    pub fn realm(&self, name: &str) -> Option<&Realm> {
        self.realms.iter().find(|r| *r.name == *name)
    }
}

/// Whom and what a report was asked for; everything where absent.
#[derive(Debug, Default)]
pub struct Only {
    /// These admins.
    pub admins: Option<BTreeSet<AdminName>>,
    /// These hosts.
    pub hosts: Option<BTreeSet<HostName>>,
}

/// When a code was accepted last, by host and the token's serial. A host whose log was never read is not in it.
pub type Accepted = HashMap<Arc<str>, HashMap<Arc<str>, Timestamp>>;

/// The ground of a report.
#[derive(Debug)]
pub struct View {
    /// The state.
    pub picture: Picture,
    /// Who is who.
    pub people: People,
    /// What the inventory says.
    pub population: Population,
    /// Whom and what it was asked for.
    pub only: Only,
    /// Of what, and when.
    pub scope: Scope,
    /// Codes that were accepted, as far as hosts' logs were collected.
    pub accepted: Accepted,
}

impl View {
    /// The time of the state.
    pub const fn now(&self) -> Timestamp {
        self.scope.as_of
    }

    /// Whether something happened in the period of the report; always where it is of none.
    pub fn in_period(&self, at: Timestamp) -> bool {
        self.scope
            .between
            .is_none_or(|(from, to)| from <= at && at < to)
    }

    /// Whether something that began and, where it has, ended was under way in the period; always where it is of none.
    pub fn under_way_in_period(&self, began: Timestamp, ended: Option<Timestamp>) -> bool {
        self.scope
            .between
            .is_none_or(|(from, to)| began < to && ended.is_none_or(|at| at >= from))
    }

    /// The name of a token's admin, or the pseudonym of an erased one.
    pub fn admin_of<'a>(&'a self, token: &'a Token) -> &'a Arc<str> {
        self.people.name(&token.person)
    }

    /// A token's account, as last seen on hosts or as the inventory says.
    pub fn login_of(&self, token: &Token) -> Cell {
        if let Some(logins) = self.people.logins.get(&token.serial) {
            let words: Vec<&str> = logins.iter().map(|l| l.as_str()).collect();
            return Cell::text(words.join(" "));
        }
        let admin = self.population.admin(self.admin_of(token));
        admin.map_or(Cell::Empty, |a| Cell::Text(Arc::clone(&a.login)))
    }

    /// Whether an admin was asked for.
    pub fn wants_admin(&self, name: &str) -> bool {
        self.only
            .admins
            .as_ref()
            .is_none_or(|only| only.iter().any(|a| a.as_str() == name))
    }

    /// Whether a host was asked for.
    pub fn wants_host(&self, name: &str) -> bool {
        self.only
            .hosts
            .as_ref()
            .is_none_or(|only| HostName::new(name).is_ok_and(|name| only.contains(&name)))
    }

    /// The tokens that were asked for, by admin and realm.
    pub fn tokens(&self) -> Vec<(TokenId, &Token)> {
        let mut tokens: Vec<(TokenId, &Token)> = (0..)
            .zip(&self.picture.tokens)
            .filter(|(_, t)| self.wants_admin(self.admin_of(t)))
            .collect();
        tokens.sort_by_key(|(_, t)| (Arc::clone(self.admin_of(t)), Arc::clone(&t.realm)));
        tokens
    }

    /// Somebody's name in a cell.
    pub fn who(&self, id: Option<&Arc<str>>) -> Cell {
        id.map_or(Cell::Empty, |id| {
            Cell::Text(Arc::clone(self.people.name(id)))
        })
    }

    /// The name of a host in a cell.
    pub fn host_cell(&self, id: HostId) -> Cell {
        self.picture
            .host(id)
            .map_or(Cell::Empty, |h| Cell::Text(Arc::clone(&h.name)))
    }

    /// The tokens by realm and admin, as the inventory numbers both.
    pub(super) fn numbered_tokens(&self) -> Vec<Vec<Option<TokenId>>> {
        let by_name: HashMap<(&str, &str), TokenId> = (0..)
            .zip(&self.picture.tokens)
            .map(|(id, t)| ((&**self.admin_of(t), &*t.realm), id))
            .collect();
        self.population
            .realms
            .iter()
            .map(|realm| {
                self.population
                    .admins
                    .iter()
                    .map(|a| by_name.get(&(&*a.name, &*realm.name)).copied())
                    .collect()
            })
            .collect()
    }

    /// What every report says of its limits.
    pub(super) fn limits(&self) -> Vec<String> {
        let mut limits = vec![
            "Computed from the event log: what hosts were last seen to have, never what was intended. A host is what it was when it was last read.".to_owned(),
            "Who rewrites the ledger and all hosts can make any report: see audit verify for what the log can show.".to_owned(),
            "Names and accounts stand outside the log, and the inventory is read as its files are now; the actor is what the environment claimed.".to_owned(),
        ];
        if !self.picture.strange.is_empty() {
            let kinds = self.picture.strange.iter();
            let kinds: Vec<String> = kinds.map(|(kind, n)| format!("{kind}: {n}")).collect();
            limits.push(format!(
                "Events of kinds that this version does not know are left out; a newer one wrote them: {}.",
                kinds.join(", ")
            ));
        }
        if self.only.admins.is_some() || self.only.hosts.is_some() {
            limits.push("Only the admins and hosts that were asked for; those that the inventory does not have cannot be asked for and are left out.".to_owned());
        }
        limits
    }
}

/// A report, and how much of what it shows is not as it should be.
pub struct Judged {
    /// The report.
    pub report: crate::report::Report,
    /// What `--strict` counts.
    pub open: u64,
}

/// The seconds from one time to another.
pub(super) fn seconds(from: Timestamp, to: Timestamp) -> i64 {
    to.as_second() - from.as_second()
}

/// The nearest-rank percentile of sorted spans.
pub(super) fn percentile(sorted: &[i64], percent: usize) -> Cell {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted
        .get(rank - 1)
        .map_or(Cell::Empty, |s| Cell::Seconds(*s))
}

/// A number of things.
pub(super) fn count(number: usize) -> Cell {
    Cell::Count(u64::try_from(number).unwrap_or(u64::MAX))
}

/// A text of the picture.
pub(super) fn words(text: Option<&Arc<str>>) -> Cell {
    text.filter(|t| !t.is_empty())
        .map_or(Cell::Empty, |t| Cell::Text(Arc::clone(t)))
}

/// A figure.
pub(super) fn figure(id: &'static str, title: &str, value: Cell) -> crate::report::Figure {
    crate::report::Figure {
        id,
        title: title.to_owned(),
        value,
    }
}

/// A column.
pub(super) const fn column(
    id: &'static str,
    title: &'static str,
    kind: crate::report::Kind,
    meaning: &'static str,
) -> crate::report::Column {
    crate::report::Column {
        id,
        title,
        kind,
        meaning,
    }
}

/// A section with a table.
pub(super) fn table(
    id: &'static str,
    title: &str,
    about: &str,
    columns: Vec<crate::report::Column>,
    rows: impl crate::report::Rows + 'static,
) -> crate::report::Section {
    crate::report::Section {
        id,
        title: title.to_owned(),
        about: about.to_owned(),
        body: crate::report::Body::Table(crate::report::Table {
            columns,
            rows: Box::new(rows),
        }),
    }
}
