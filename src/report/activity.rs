//! `report activity`: who logged in, when, where and from where, what was refused, and what was odd in it.
//!
//! Unlike the other reports it is not told by the event log, which has one event for each collection, but by the logins
//! and findings that collections stored.

mod tally;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use self::tally::{Tally, tally_columns};
use crate::ledger::{FindingRecord, LoginRecord};
use crate::report::columns::{ADMIN, HOST, LOGIN, SERIAL};
use crate::report::model::{
    Bar, Body, Cell, Column, Figure, Histogram, Kind, Report, Section, Tone,
};
use crate::report::picture::Token;
use crate::report::view::{Judged, View, column, count, figure, table};

/// What collections stored, up to the time of the report.
#[derive(Debug, Default)]
pub struct Collections {
    /// Logins, oldest first.
    pub logins: Vec<LoginRecord>,
    /// Findings, oldest first.
    pub findings: Vec<FindingRecord>,
}

/// Whose logins are whose.
struct Owners<'a> {
    view: &'a View,
    tokens: HashMap<&'a str, &'a Token>,
    accounts: BTreeMap<&'a str, &'a Arc<str>>,
}

impl<'a> Owners<'a> {
    fn new(view: &'a View) -> Self {
        let tokens = view.picture.tokens.iter();
        let admins = view.population.admins.iter();
        Self {
            view,
            tokens: tokens.map(|t| (&*t.serial, t)).collect(),
            accounts: admins.map(|a| (&*a.login, &a.name)).collect(),
        }
    }

    /// The admin: by the token, else by the account as the inventory has it.
    fn admin(&self, serial: Option<&str>, login: Option<&str>) -> Option<&'a Arc<str>> {
        match serial.and_then(|s| self.tokens.get(s)) {
            Some(token) => Some(self.view.admin_of(token)),
            None => self.accounts.get(login?).copied(),
        }
    }

    fn of(&self, login: &LoginRecord) -> Option<&'a Arc<str>> {
        let serial = login.serial.as_ref().map(|s| s.as_str());
        self.admin(serial, Some(login.login.as_str()))
    }

    fn of_finding(&self, found: &FindingRecord) -> Option<&'a Arc<str>> {
        let serial = found.serial.as_ref().map(|s| s.as_str());
        self.admin(serial, found.login.as_ref().map(|l| l.as_str()))
    }

    fn wants(&self, admin: Option<&Arc<str>>) -> bool {
        match admin {
            Some(name) => self.view.wants_admin(name),
            // Somebody nobody knows is nobody that was asked for.
            None => self.view.only.admins.is_none(),
        }
    }
}

/// Computes the report.
pub fn activity(view: &View, stored: &Collections) -> Judged {
    let owners = Owners::new(view);
    let logins: Vec<(&LoginRecord, Option<&Arc<str>>)> = stored
        .logins
        .iter()
        .filter(|l| l.at <= view.now() && view.in_period(l.at) && view.wants_host(l.host.as_str()))
        .map(|l| (l, owners.of(l)))
        .filter(|(_, admin)| owners.wants(*admin))
        .collect();
    let mut findings: Vec<(&FindingRecord, Option<&Arc<str>>)> = stored
        .findings
        .iter()
        .filter(|f| view.in_period(f.at))
        .filter(|f| f.hosts.is_empty() || f.hosts.iter().any(|h| view.wants_host(h.as_str())))
        .map(|f| (f, owners.of_finding(f)))
        .filter(|(_, admin)| owners.wants(*admin))
        .collect();
    // The weightiest first, then the newest.
    findings.sort_by_key(|(f, _)| (rank(&f.severity), std::cmp::Reverse(f.at), f.key.clone()));
    let mut limits = view.limits();
    limits.extend([
        "Only logins that `collect` has read out of hosts' logs: a host whose log was not collected, or was changed by somebody with root there, shows nothing.".to_owned(),
        "Country, town and network are what a database of addresses said when a login was collected; they are those of the last address on the way, such as a VPN's.".to_owned(),
        "A stamp without a zone is read in the host's present one; hours are UTC.".to_owned(),
    ]);
    let report = Report {
        name: "activity",
        title: "Activity: logins of admins".to_owned(),
        scope: view.scope.clone(),
        sections: vec![
            Section {
                id: "summary",
                title: "Summary".to_owned(),
                about: "Logins of admins that collections read out of hosts' logs. Refused are those with a wrong, used or missing code or key; a connection that merely ended is neither.".to_owned(),
                body: Body::Figures(figures(&logins, &findings)),
            },
            table("findings", "Findings", "What was odd, the weightiest first; docs/findings.md explains each id.", finding_columns(), findings.iter().map(finding_row).collect::<Vec<_>>()),
            hours("logins_by_hour", "Logins by hour", "logins", Tone::Good, &logins, LoginRecord::is_accepted),
            hours("refused_by_hour", "Refused by hour", "refused tries", Tone::Bad, &logins, LoginRecord::is_refused),
            by_admin(&logins),
            by_host(view, &logins),
            by_source(&logins),
            table("logins", "Logins", "Every login and every refused try, oldest first.", login_columns(), logins.iter().map(login_row).collect::<Vec<_>>()),
        ],
        limits,
    };
    let open = findings.iter().filter(|(f, _)| rank(&f.severity) < 2);
    Judged {
        report,
        open: u64::try_from(open.count()).unwrap_or(u64::MAX),
    }
}

fn rank(severity: &str) -> u8 {
    match severity {
        "alert" => 0,
        "warning" => 1,
        _ => 2,
    }
}

type Owned<'a, T> = (&'a T, Option<&'a Arc<str>>);

fn figures(
    logins: &[Owned<'_, LoginRecord>],
    findings: &[Owned<'_, FindingRecord>],
) -> Vec<Figure> {
    let mut all = Tally::default();
    for (login, admin) in logins {
        all.add(login, *admin);
    }
    let of = |severity| {
        count(
            findings
                .iter()
                .filter(|(f, _)| rank(&f.severity) == severity)
                .count(),
        )
    };
    vec![
        figure("alerts", "Alerts", of(0)),
        figure("warnings", "Warnings", of(1)),
        figure("notices", "Notices", of(2)),
        figure("logins", "Logins", Cell::Count(all.logins)),
        figure(
            "with_code",
            "Of them with a code",
            Cell::Count(all.with_code),
        ),
        figure("refused", "Refused tries", Cell::Count(all.refused)),
        figure("admins", "Admins", count(all.admins.len())),
        figure("hosts", "Hosts", count(all.hosts.len())),
        figure("sources", "Addresses", count(all.sources.len())),
        figure("countries", "Countries", count(all.countries.len())),
    ]
}

/// Hours of the day in UTC.
fn hours(
    id: &'static str,
    title: &str,
    unit: &'static str,
    tone: Tone,
    logins: &[Owned<'_, LoginRecord>],
    is_counted: fn(&LoginRecord) -> bool,
) -> Section {
    let mut counts: BTreeMap<i64, u64> = (0..24).map(|hour| (hour, 0)).collect();
    for (login, _) in logins.iter().filter(|(l, _)| is_counted(l)) {
        let hour = login.at.as_second().div_euclid(3600).rem_euclid(24);
        *counts.entry(hour).or_default() += 1;
    }
    let bars = counts.into_iter().map(|(hour, count)| Bar {
        label: format!("{hour:02}:00 to {hour:02}:59"),
        count,
        tone: if count > 0 { tone } else { Tone::Plain },
    });
    Section {
        id,
        title: title.to_owned(),
        about: "By the hour of the day, UTC.".to_owned(),
        body: Body::Histogram(Histogram {
            unit,
            bars: bars.collect(),
        }),
    }
}

fn by_admin(logins: &[Owned<'_, LoginRecord>]) -> Section {
    let mut all: BTreeMap<(Option<&Arc<str>>, &str), Tally<'_>> = BTreeMap::new();
    for (login, admin) in logins {
        let mine = all.entry((*admin, login.login.as_str())).or_default();
        mine.add(login, *admin);
    }
    let rows: Vec<Vec<Cell>> = all
        .iter()
        .map(|((admin, login), tally)| {
            let mut row = vec![name(*admin), Cell::text(login)];
            row.extend(tally.cells());
            row.extend([
                count(tally.hosts.len()),
                count(tally.sources.len()),
                tally.countries(),
            ]);
            row
        })
        .collect();
    let mut columns = vec![ADMIN, LOGIN];
    columns.extend(tally_columns());
    columns.extend([tally::HOSTS, tally::SOURCES, tally::COUNTRIES]);
    table(
        "admins",
        "By admin",
        "Each account of each admin.",
        columns,
        rows,
    )
}

/// Hosts of the inventory are there without a login as well: none is a number too.
fn by_host(view: &View, logins: &[Owned<'_, LoginRecord>]) -> Section {
    let mut all: BTreeMap<&str, Tally<'_>> = BTreeMap::new();
    let known = view.population.hosts.iter().map(|h| &*h.name);
    for name in known.filter(|name| view.wants_host(name)) {
        all.entry(name).or_default();
    }
    for (login, admin) in logins {
        all.entry(login.host.as_str())
            .or_default()
            .add(login, *admin);
    }
    let rows: Vec<Vec<Cell>> = all
        .iter()
        .map(|(host, tally)| {
            let mut row = vec![Cell::text(host)];
            row.extend(tally.cells());
            row.extend([
                count(tally.admins.len()),
                count(tally.sources.len()),
                tally.countries(),
            ]);
            row
        })
        .collect();
    let mut columns = vec![HOST];
    columns.extend(tally_columns());
    columns.extend([tally::ADMINS, tally::SOURCES, tally::COUNTRIES]);
    table(
        "hosts",
        "By host",
        "Each host; one without logins may be one whose log was never collected.",
        columns,
        rows,
    )
}

fn by_source(logins: &[Owned<'_, LoginRecord>]) -> Section {
    let mut all: BTreeMap<&str, Tally<'_>> = BTreeMap::new();
    // Where an address is may have been learnt anew: the newest counts.
    let mut newest: BTreeMap<&str, &LoginRecord> = BTreeMap::new();
    for (login, admin) in logins {
        let address = login.address.as_deref().unwrap_or_default();
        all.entry(address).or_default().add(login, *admin);
        if login.origin.is_some() {
            newest.insert(address, login);
        }
    }
    let rows: Vec<Vec<Cell>> = all
        .iter()
        .map(|(address, tally)| {
            let mut row = vec![Cell::text(address)];
            row.extend(place(newest.get(address).copied()));
            row.extend(tally.cells());
            row.extend([count(tally.admins.len()), count(tally.hosts.len())]);
            row
        })
        .collect();
    let mut columns = vec![ADDRESS];
    columns.extend(place_columns());
    columns.extend(tally_columns());
    columns.extend([tally::ADMINS, tally::HOSTS]);
    table(
        "sources",
        "By source",
        "Each address that somebody came from.",
        columns,
        rows,
    )
}

const ADDRESS: Column = column(
    "address",
    "Address",
    Kind::Text,
    "From where, as sshd logged it.",
);

fn place_columns() -> [Column; 3] {
    [
        column(
            "country",
            "Country",
            Kind::Text,
            "ISO 3166-1 code of its country; empty where no database of addresses was given or knows it.",
        ),
        column("city", "Town", Kind::Text, "Its town, likewise."),
        column(
            "network",
            "Network",
            Kind::Text,
            "Number and owner of its autonomous system, likewise.",
        ),
    ]
}

fn place(login: Option<&LoginRecord>) -> [Cell; 3] {
    let origin = login.and_then(|l| l.origin.as_ref());
    let words = |text: Option<&String>| text.map_or(Cell::Empty, Cell::text);
    let network = origin.map_or(String::new(), |o| {
        let number = o.asn.map(|n| format!("AS{n}"));
        let words: Vec<&str> = [number.as_deref(), o.owner.as_deref()]
            .into_iter()
            .flatten()
            .collect();
        words.join(" ")
    });
    [
        words(origin.and_then(|o| o.country.as_ref())),
        words(origin.and_then(|o| o.city.as_ref())),
        Cell::text(network),
    ]
}

fn name(admin: Option<&Arc<str>>) -> Cell {
    admin.map_or(Cell::Empty, |name| Cell::Text(Arc::clone(name)))
}

/// Columns of the findings.
fn finding_columns() -> Vec<Column> {
    vec![
        column(
            "severity",
            "Severity",
            Kind::Status,
            "`alert`, `warning` or `notice`.",
        ),
        column("id", "Finding", Kind::Text, "What kind of finding it is."),
        column("at", "When", Kind::Time, "When it was."),
        ADMIN,
        LOGIN,
        column("hosts", "Hosts", Kind::Text, "Where."),
        column("text", "Text", Kind::Text, "What was found."),
        column(
            "evidence",
            "Evidence",
            Kind::Text,
            "Lines of the hosts' logs, at most five, with ` | ` between them.",
        ),
        column(
            "noticed_at",
            "Noticed",
            Kind::Time,
            "When a collection found it.",
        ),
        column(
            "key",
            "Key",
            Kind::Text,
            "Names this finding, in the webhook and in syslog as well.",
        ),
    ]
}

fn finding_row((found, admin): &Owned<'_, FindingRecord>) -> Vec<Cell> {
    let hosts: Vec<&str> = found.hosts.iter().map(|h| h.as_str()).collect();
    vec![
        match rank(&found.severity) {
            0 => Cell::Status("alert", Tone::Bad),
            1 => Cell::Status("warning", Tone::Warn),
            _ => Cell::Status("notice", Tone::Plain),
        },
        Cell::text(&found.id),
        Cell::Time(found.at),
        name(*admin),
        found
            .login
            .as_ref()
            .map_or(Cell::Empty, |l| Cell::text(l.as_str())),
        Cell::text(hosts.join(" ")),
        Cell::text(&found.text),
        Cell::text(found.evidence.join(" | ")),
        Cell::Time(found.noticed_at),
        Cell::text(&found.key),
    ]
}

/// Columns of the logins.
fn login_columns() -> Vec<Column> {
    let mut columns = vec![
        column("at", "When", Kind::Time, "When, by the host's log."),
        HOST,
        ADMIN,
        LOGIN,
        column(
            "outcome",
            "Outcome",
            Kind::Text,
            "`accepted`; `wrong-code`, `replayed`, `rate-limited`, `no-code`, `no-key` and the like; `ended` where a connection merely ended.",
        ),
        column(
            "factors",
            "Factors",
            Kind::Text,
            "What was accepted: `key`, `code`.",
        ),
        ADDRESS,
    ];
    columns.extend(place_columns());
    columns.extend([
        column("key", "Key", Kind::Text, "Fingerprint of the public key."),
        column(
            "generation",
            "Generation",
            Kind::Count,
            "Number of the key that the code was of, where that could be told.",
        ),
        SERIAL,
    ]);
    columns
}

fn login_row((login, admin): &Owned<'_, LoginRecord>) -> Vec<Cell> {
    let words = |text: Option<&str>| text.map_or(Cell::Empty, Cell::text);
    let mut row = vec![
        Cell::Time(login.at),
        Cell::text(login.host.as_str()),
        name(*admin),
        Cell::text(login.login.as_str()),
        Cell::text(&login.outcome),
        Cell::text(login.factors.join("+")),
        words(login.address.as_deref()),
    ];
    row.extend(place(Some(login)));
    row.extend([
        words(login.key.as_deref()),
        login
            .generation
            .map_or(Cell::Empty, |g| Cell::Count(u64::from(g))),
        words(login.serial.as_ref().map(|s| s.as_str())),
    ]);
    row
}
