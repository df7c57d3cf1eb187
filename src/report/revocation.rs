//! `report revocation`: who was revoked, when that was asked, by whom and why; when each host was read back; what is open,
//! and how long it took.

use std::io;
use std::sync::Arc;

use crate::report::columns::{ADMIN, SERIAL};
use crate::report::model::{Body, Cell, Column, Figure, Kind, Report, Rows, Section, Tone};
use crate::report::picture::{HostId, Item, ItemState, Revocation, Token};
use crate::report::view::{Judged, View, column, count, figure, percentile, seconds, table, words};

/// A host of a revocation, by its number.
type Entry<'a> = (&'a Revocation, &'a Token, HostId, &'a Item);

/// Of a token that is revoked.
const REALM: Column = column("realm", "Realm", Kind::Text, "Where the token was used.");

/// Columns of the hosts that are open, or of all.
pub fn item_columns() -> Vec<Column> {
    vec![
        ADMIN,
        REALM,
        column(
            "host",
            "Host",
            Kind::Text,
            "A host on which something of it may be.",
        ),
        column(
            "state",
            "State",
            Kind::Status,
            "`open`; `proven`: the host was read back and shows it; `attested`: somebody said that the host does not come back, which is no proof.",
        ),
        column(
            "asked_at",
            "Asked",
            Kind::Time,
            "When the revocation was asked for.",
        ),
        column(
            "open_since",
            "Open since",
            Kind::Time,
            "Since when it is open: it may have been found open again. Empty once it is closed.",
        ),
        column(
            "closed_at",
            "Read back",
            Kind::Time,
            "When the host was read back and showed it, or somebody attested it.",
        ),
        column(
            "took",
            "Took",
            Kind::Span,
            "From the request to that; while it is open, until now.",
        ),
        column(
            "why",
            "Why",
            Kind::Text,
            "Why it is open, as last seen, or the reason of the attestation.",
        ),
        column(
            "last_seen_at",
            "Host last read",
            Kind::Time,
            "When the host was last read; empty where it never was.",
        ),
        SERIAL,
    ]
}

/// Columns of the revocations.
pub fn revocation_columns() -> Vec<Column> {
    vec![
        ADMIN,
        REALM,
        column(
            "state",
            "State",
            Kind::Status,
            "`open`: a host is still to be proven; `done`: every host is proven or attested; `replaced`: a new enrolment ended it before.",
        ),
        column(
            "asked_at",
            "Asked",
            Kind::Time,
            "When it was asked for: the clock starts here.",
        ),
        column(
            "asked_by",
            "By",
            Kind::Text,
            "Who ran the program then, as claimed.",
        ),
        column("reason", "Reason", Kind::Text, "The reason that was given."),
        column("ticket", "Ticket", Kind::Text, "The ticket that was given."),
        column(
            "hosts",
            "Hosts",
            Kind::Count,
            "Hosts from which it is to be gone.",
        ),
        column(
            "proven",
            "Proven",
            Kind::Count,
            "Of them: read back, and they show it.",
        ),
        column(
            "attested",
            "Attested",
            Kind::Count,
            "Of them: said not to come back.",
        ),
        column("open", "Open", Kind::Count, "Of them: still to be proven."),
        column(
            "done_at",
            "Done",
            Kind::Time,
            "When the last host was closed.",
        ),
        column(
            "time_to_revoke",
            "Time to revoke",
            Kind::Span,
            "From the request to that; empty while a host is open.",
        ),
        column(
            "replaced_at",
            "Enrolled anew",
            Kind::Time,
            "When the admin was given a new key.",
        ),
        SERIAL,
    ]
}

/// Hosts of revocations, by the number of the revocation and of the host in it: there may be a million.
struct Items {
    view: Arc<View>,
    entries: Vec<(usize, usize)>,
}

impl Items {
    fn get(&self, (revocation, item): (usize, usize)) -> Option<Entry<'_>> {
        let picture = &self.view.picture;
        let revocation = picture.revocations.get(revocation)?;
        let (host, item) = revocation.items.get(item)?;
        Some((revocation, picture.token(revocation.token)?, *host, item))
    }

    fn iter(&self) -> impl Iterator<Item = Entry<'_>> {
        self.entries.iter().filter_map(|entry| self.get(*entry))
    }

    /// Of these revocations, in their order; the open hosts first.
    fn of(view: &Arc<View>, revocations: &[usize]) -> Self {
        let mut entries = Vec::new();
        let mut closed = Vec::new();
        for number in revocations {
            let revocation = view.picture.revocations.get(*number);
            let items = revocation.map_or(&[][..], |r| &r.items);
            for ((host, item), place) in items.iter().zip(0..) {
                let host = view.picture.host(*host);
                if !host.is_some_and(|h| view.wants_host(&h.name)) {
                    continue;
                }
                match item.state {
                    ItemState::Open => entries.push((*number, place)),
                    ItemState::Proven | ItemState::Attested => closed.push((*number, place)),
                }
            }
        }
        entries.append(&mut closed);
        Self {
            view: Arc::clone(view),
            entries,
        }
    }

    /// Those that are still to be proven. A new enrolment takes an open one's place.
    fn open(&self) -> Self {
        let is_open = |entry: &(usize, usize)| {
            self.get(*entry)
                .is_some_and(|(r, _, _, i)| i.state == ItemState::Open && r.replaced_at.is_none())
        };
        Self {
            view: Arc::clone(&self.view),
            entries: self.entries.iter().copied().filter(is_open).collect(),
        }
    }
}

impl Rows for Items {
    fn count(&self) -> usize {
        self.entries.len()
    }

    fn each(&self, to: &mut dyn FnMut(&[Cell]) -> io::Result<()>) -> io::Result<()> {
        self.iter()
            .try_for_each(|entry| to(&item_row(&self.view, &entry)))
    }
}

/// Computes the report.
pub fn revocation(view: &Arc<View>) -> Judged {
    let chosen: Vec<(usize, &Revocation, &Token)> = (0..)
        .zip(&view.picture.revocations)
        .filter_map(|(number, r)| Some((number, r, view.picture.token(r.token)?)))
        .filter(|(_, _, t)| view.wants_admin(view.admin_of(t)))
        .filter(|(_, r, _)| view.under_way_in_period(r.asked_at, r.done_at().or(r.replaced_at)))
        .collect();
    let mut oldest_first: Vec<&(usize, &Revocation, &Token)> = chosen.iter().collect();
    oldest_first.sort_by_key(|(_, r, t)| (r.asked_at, &t.serial));
    let numbers: Vec<usize> = oldest_first.iter().map(|(number, ..)| *number).collect();
    let items = Items::of(view, &numbers);
    let open = items.open();
    let number_open = open.count();
    let report = Report {
        name: "revocation",
        title: "Revocation of tokens".to_owned(),
        scope: view.scope.clone(),
        sections: vec![
            Section {
                id: "summary",
                title: "Summary".to_owned(),
                about: "Times to revoke are those of revocations with no host open, from the request to the last host's reading back; percentiles by nearest rank.".to_owned(),
                body: Body::Figures(figures(view, &chosen, &items, &open)),
            },
            table("open", "Open", "Hosts that are still to be proven, the oldest first: each keeps its clock running.", item_columns(), open),
            table("revocations", "Revocations", "Every revocation; in a report of a period, those that were asked for or open in it.", revocation_columns(), chosen.iter().map(|(_, r, t)| row(view, r, t)).collect::<Vec<_>>()),
            table("hosts", "Hosts", "Every host of every revocation, and when it was read back.", item_columns(), items),
        ],
        limits: view.limits(),
    };
    Judged {
        report,
        open: u64::try_from(number_open).unwrap_or(u64::MAX),
    }
}

fn figures(
    view: &View,
    chosen: &[(usize, &Revocation, &Token)],
    items: &Items,
    open: &Items,
) -> Vec<Figure> {
    let state = |state| count(items.iter().filter(|i| i.3.state == state).count());
    let mut times: Vec<i64> = chosen
        .iter()
        .filter_map(|(_, r, _)| Some(seconds(r.asked_at, r.done_at()?)))
        .collect();
    times.sort_unstable();
    let mut by_host: Vec<i64> = items
        .iter()
        .filter(|i| i.3.state == ItemState::Proven)
        .filter_map(|(r, _, _, i)| Some(seconds(r.asked_at, i.closed_at?)))
        .collect();
    by_host.sort_unstable();
    let oldest = open
        .iter()
        .map(|(r, ..)| seconds(r.asked_at, view.now()))
        .max();
    vec![
        figure("open", "Hosts open", count(open.count())),
        figure(
            "oldest_open",
            "Open for, at most",
            oldest.map_or(Cell::Empty, Cell::Seconds),
        ),
        figure("revocations", "Revocations", count(chosen.len())),
        figure("done", "Of them with no host open", count(times.len())),
        figure("hosts", "Hosts of them", count(items.count())),
        figure("proven", "Hosts proven", state(ItemState::Proven)),
        figure("attested", "Hosts attested", state(ItemState::Attested)),
        figure(
            "median_time",
            "Time to revoke, median",
            percentile(&times, 50),
        ),
        figure(
            "p95_time",
            "Time to revoke, 95th percentile",
            percentile(&times, 95),
        ),
        figure(
            "max_time",
            "Time to revoke, longest",
            percentile(&times, 100),
        ),
        figure(
            "host_median_time",
            "Time to a host's proof, median",
            percentile(&by_host, 50),
        ),
        figure(
            "host_p95_time",
            "Time to a host's proof, 95th percentile",
            percentile(&by_host, 95),
        ),
        figure(
            "host_max_time",
            "Time to a host's proof, longest",
            percentile(&by_host, 100),
        ),
    ]
}

fn item_row(view: &View, (revocation, token, host, item): &Entry<'_>) -> Vec<Cell> {
    let state = match item.state {
        ItemState::Open => Cell::Status("open", Tone::Bad),
        ItemState::Proven => Cell::Status("proven", Tone::Good),
        ItemState::Attested => Cell::Status("attested", Tone::Warn),
    };
    let known = view.picture.host(*host);
    let is_open = item.state == ItemState::Open;
    let why = item
        .why
        .as_ref()
        .or_else(|| known.filter(|h| is_open && !h.is_known())?.detail.as_ref());
    vec![
        Cell::Text(view.admin_of(token).clone()),
        Cell::Text(token.realm.clone()),
        view.host_cell(*host),
        state,
        Cell::Time(revocation.asked_at),
        Cell::time(Some(item.opened_at).filter(|_| is_open)),
        Cell::time(item.closed_at),
        Cell::Seconds(seconds(
            revocation.asked_at,
            item.closed_at.unwrap_or_else(|| view.now()),
        )),
        words(why),
        Cell::time(known.and_then(|h| h.last_seen_at)),
        Cell::Text(token.serial.clone()),
    ]
}

fn row(view: &View, revocation: &Revocation, token: &Token) -> Vec<Cell> {
    let done = revocation.done_at();
    vec![
        Cell::Text(view.admin_of(token).clone()),
        Cell::Text(token.realm.clone()),
        match done {
            Some(_) => Cell::Status("done", Tone::Good),
            None if revocation.replaced_at.is_some() => Cell::Status("replaced", Tone::Plain),
            None => Cell::Status("open", Tone::Bad),
        },
        Cell::Time(revocation.asked_at),
        view.who(revocation.by.as_ref()),
        words(revocation.reason.as_ref()),
        words(revocation.ticket.as_ref()),
        count(revocation.items.len()),
        count(revocation.count(ItemState::Proven)),
        count(revocation.count(ItemState::Attested)),
        count(revocation.count(ItemState::Open)),
        Cell::time(done),
        done.map_or(Cell::Empty, |at| {
            Cell::Seconds(seconds(revocation.asked_at, at))
        }),
        Cell::time(revocation.replaced_at),
        Cell::Text(token.serial.clone()),
    ]
}
