//! Counts over some logins.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::clock::Timestamp;
use crate::ledger::LoginRecord;
use crate::report::model::{Cell, Column, Kind};
use crate::report::view::column;

/// Counts over some logins.
#[derive(Debug, Default)]
pub(super) struct Tally<'a> {
    pub(super) logins: u64,
    pub(super) with_code: u64,
    pub(super) refused: u64,
    pub(super) admins: BTreeSet<&'a str>,
    pub(super) hosts: BTreeSet<&'a str>,
    pub(super) sources: BTreeSet<&'a str>,
    pub(super) countries: BTreeSet<&'a str>,
    last: Option<Timestamp>,
}

impl<'a> Tally<'a> {
    /// Counts a login. Whoever has no name counts by the account.
    pub(super) fn add(&mut self, login: &'a LoginRecord, admin: Option<&'a Arc<str>>) {
        self.logins += u64::from(login.is_accepted());
        self.with_code += u64::from(login.is_accepted() && login.has_code());
        self.refused += u64::from(login.is_refused());
        self.admins
            .insert(admin.map_or(login.login.as_str(), |name| name));
        self.hosts.insert(login.host.as_str());
        self.sources.extend(login.address.as_deref());
        let origin = login.origin.as_ref();
        self.countries
            .extend(origin.and_then(|o| o.country.as_deref()));
        if login.is_accepted() {
            self.last = self.last.max(Some(login.at));
        }
    }

    /// The cells of [`tally_columns`].
    pub(super) fn cells(&self) -> [Cell; 4] {
        [
            Cell::Count(self.logins),
            Cell::Count(self.with_code),
            Cell::Count(self.refused),
            Cell::time(self.last),
        ]
    }

    /// The countries, in one cell.
    pub(super) fn countries(&self) -> Cell {
        let all: Vec<&str> = self.countries.iter().copied().collect();
        Cell::text(all.join(" "))
    }
}

/// Columns that every table of counts has.
pub(super) fn tally_columns() -> [Column; 4] {
    [
        column(
            "logins",
            "Logins",
            Kind::Count,
            "Logins that were accepted.",
        ),
        column(
            "with_code",
            "With a code",
            Kind::Count,
            "Of them those with a code.",
        ),
        column(
            "refused",
            "Refused",
            Kind::Count,
            "Tries that were refused.",
        ),
        column(
            "last_login_at",
            "Last login",
            Kind::Time,
            "The last login that was accepted.",
        ),
    ]
}

pub(super) const ADMINS: Column = column("admins", "Admins", Kind::Count, "How many admins.");
pub(super) const HOSTS: Column = column("hosts", "Hosts", Kind::Count, "How many hosts.");
pub(super) const SOURCES: Column =
    column("sources", "Addresses", Kind::Count, "How many addresses.");
pub(super) const COUNTRIES: Column = column(
    "countries",
    "Countries",
    Kind::Text,
    "ISO codes of the addresses' countries, as far as known.",
);
