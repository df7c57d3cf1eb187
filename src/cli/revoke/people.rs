//! Everybody that inventory and ledger know, as revocations look for them.

use std::collections::{BTreeMap, BTreeSet};

use crate::cli::setup::Setup;
use crate::error::Error;
use crate::ledger::{TokenHostRecord, TokenRecord};
use crate::names::{AdminName, HostName, Login};
use crate::token::state::{TokenHostState, TokenState};

/// An admin as inventory and ledger know them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Person {
    /// In the inventory.
    pub(crate) declared: bool,
    /// As the inventory says it.
    pub(crate) email: Option<String>,
    /// Accounts, by inventory and by what was seen on hosts.
    pub(crate) logins: BTreeSet<Login>,
    /// Tokens.
    pub(crate) tokens: Vec<TokenRecord>,
}

impl Person {
    /// Whether everything of them is revoked, or being revoked.
    pub(crate) fn is_gone(&self) -> bool {
        !self.tokens.is_empty()
            && self
                .tokens
                .iter()
                .all(|t| matches!(t.state, TokenState::Revoking | TokenState::Revoked))
    }
}

/// Everybody.
#[derive(Debug, Default)]
pub(crate) struct People {
    /// By name.
    pub(crate) by_name: BTreeMap<AdminName, Person>,
    /// Which admins can log in to each host with a confirmed token.
    pub(crate) active_on: BTreeMap<HostName, BTreeSet<AdminName>>,
    /// Accounts that fleetotp itself logs in with.
    pub(crate) connecting: BTreeSet<Login>,
}

impl People {
    /// Reads inventory and ledger.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub(crate) async fn read(setup: &Setup, user: Option<&str>) -> Result<Self, Error> {
        let rows = setup.ledger.token_hosts().await?;
        Ok(Self::of(setup, user, setup.ledger.tokens().await?, &rows))
    }

    fn of(
        setup: &Setup,
        user: Option<&str>,
        tokens: Vec<TokenRecord>,
        rows: &[TokenHostRecord],
    ) -> Self {
        let mut people = Self::default();
        for (name, admin) in &setup.inventory.enrolment().admins {
            let person = people.by_name.entry(name.clone()).or_default();
            person.declared = true;
            person.email.clone_from(&admin.email);
            person.logins.insert(admin.login.clone());
        }
        let mut by_serial = BTreeMap::new();
        for token in tokens {
            let Some(name) = token.admin.clone() else {
                continue;
            };
            let active = matches!(token.state, TokenState::Active | TokenState::Rotating);
            by_serial.insert(token.serial.clone(), (name.clone(), active));
            people.by_name.entry(name).or_default().tokens.push(token);
        }
        for row in rows {
            let Some((name, active)) = by_serial.get(&row.serial) else {
                continue;
            };
            if let Some(person) = people.by_name.get_mut(name) {
                person.logins.insert(row.login.clone());
            }
            if *active && matches!(row.state, TokenHostState::Enforced | TokenHostState::Staged) {
                let active = people.active_on.entry(row.host.clone()).or_default();
                active.insert(name.clone());
            }
        }
        let named = setup
            .inventory
            .hosts()
            .map(|h| h.connection.user.as_deref());
        people.connecting = named
            .chain([user])
            .flatten()
            .filter_map(|u| Login::new(u).ok())
            .collect();
        people
    }

    /// How many are not gone yet.
    pub(crate) fn present(&self) -> usize {
        self.by_name.values().filter(|p| !p.is_gone()).count()
    }
}
