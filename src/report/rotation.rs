//! `report rotation`: how old every key is, what is due, which overlaps are open, who issued and who confirmed.

use std::collections::BTreeMap;

use crate::clock::Timestamp;
use crate::report::columns::{
    ADMIN, APPROVED_BY, CONFIRMED_AT, CONFIRMED_BY, ENDED_AT, ISSUED_BY, REALM, SERIAL,
};
use crate::report::model::{Bar, Body, Cell, Column, Histogram, Kind, Report, Section, Tone};
use crate::report::picture::{Generation, Token};
use crate::report::view::{Judged, View, column, count, figure, percentile, seconds, table, words};
use crate::token::state::{GenerationState, Slot, TokenState};

const DAY: i64 = 86_400;

/// The upper ends of the histogram's ranges, in days.
const AGES: [i64; 5] = [30, 60, 90, 180, 365];

/// How a token stands.
struct Standing<'a> {
    token: &'a Token,
    /// The key in force; where none is confirmed, the one that waits.
    key: Option<&'a Generation>,
    age: Option<i64>,
    due_at: Option<Timestamp>,
    /// It is older than the policy wants, and no rotation is under way.
    due: bool,
    /// Nobody confirmed its rotation in time.
    overdue: bool,
    /// The end of an overlap that is open.
    overlap: Option<&'a Generation>,
}

impl<'a> Standing<'a> {
    fn of(view: &View, token: &'a Token) -> Self {
        let now = view.now();
        let key = token.live(Slot::Current);
        let every = view
            .population
            .realm(&token.realm)
            .and_then(|r| r.rotate_every);
        let due_at = key
            .filter(|g| g.state == GenerationState::Active)
            .zip(every)
            .map(|(g, every)| every.after(g.issued_at));
        let overdue = token.is_overdue(now);
        let overlap = token
            .live(Slot::Next)
            .filter(|_| token.state == TokenState::Rotating);
        Self {
            token,
            key,
            age: key.map(|g| seconds(g.issued_at, now)),
            due_at,
            due: due_at.is_some_and(|at| at <= now) && overlap.is_none() && !overdue,
            overdue,
            overlap,
        }
    }

    fn status(&self) -> Cell {
        let (word, tone) = if self.overdue {
            ("overdue", Tone::Bad)
        } else if self.overlap.is_some() {
            ("rotating", Tone::Plain)
        } else if self.due {
            ("due", Tone::Bad)
        } else {
            match self.token.state {
                TokenState::Pending => ("pending", Tone::Warn),
                TokenState::Active | TokenState::Rotating => ("current", Tone::Good),
                state => (state.as_str(), Tone::Plain),
            }
        };
        Cell::Status(word, tone)
    }

    /// What `--strict` counts.
    const fn is_open(&self) -> bool {
        self.overdue || self.due
    }

    fn last_rotation(&self) -> Cell {
        let last = self.token.generations.iter().rev();
        Cell::time(
            last.filter(|g| &*g.purpose == "rotation")
                .find_map(|g| g.confirmed_at),
        )
    }
}

/// Columns of the tokens.
pub fn token_columns() -> Vec<Column> {
    vec![
        ADMIN,
        REALM,
        column(
            "status",
            "Status",
            Kind::Status,
            "`overdue`: a rotation that nobody confirmed before the end of its overlap; `due`: older than the policy's `rotate_every`, and no rotation is under way; `rotating`; `current`; `pending`: not confirmed; or the state of a token that ended.",
        ),
        column(
            "age",
            "Age",
            Kind::Span,
            "Since the key in force was issued.",
        ),
        column(
            "last_rotation",
            "Last rotation",
            Kind::Time,
            "When the newest rotation was confirmed; empty where there was none.",
        ),
        column(
            "due_at",
            "Due",
            Kind::Time,
            "When the policy's `rotate_every` is over; empty where it names none.",
        ),
        column(
            "overlap_ends",
            "Overlap ends",
            Kind::Time,
            "In a rotation: until when the new key must be confirmed.",
        ),
        column(
            "generation",
            "Generation",
            Kind::Count,
            "Number of the key in force.",
        ),
        column(
            "next_generation",
            "Next",
            Kind::Count,
            "Number of the key that a rotation brings.",
        ),
        SERIAL,
        column("state", "State", Kind::Text, "The token's state."),
        column(
            "issued_at",
            "Issued",
            Kind::Time,
            "When the key in force was issued.",
        ),
        ISSUED_BY,
        APPROVED_BY,
        CONFIRMED_AT,
        CONFIRMED_BY,
        column(
            "confirmed_how",
            "How",
            Kind::Text,
            "`code`: typed in at the controller; `login`: a host saw key and code; `recovered`, `adopted`: taken in from hosts.",
        ),
        column(
            "same_person",
            "Same person",
            Kind::Flag,
            "Whether who issued it also approved it, or holds it.",
        ),
    ]
}

/// Columns of the keys.
pub fn key_columns() -> Vec<Column> {
    vec![
        column("admin", "Admin", Kind::Text, "The admin."),
        REALM,
        SERIAL,
        column(
            "generation",
            "Generation",
            Kind::Count,
            "Number of the key, from 1.",
        ),
        column(
            "purpose",
            "Purpose",
            Kind::Text,
            "Why it was issued: `first`, `reissue`, `lost_device`, `rotation`, `recovered`, `adopted`.",
        ),
        column("state", "State", Kind::Text, "The key's state."),
        column("issued_at", "Issued", Kind::Time, "When it was issued."),
        ISSUED_BY,
        APPROVED_BY,
        column(
            "verified_by",
            "Verified by",
            Kind::Text,
            "Who checked the admin's identity.",
        ),
        column("verified_how", "How", Kind::Text, "How that was checked."),
        CONFIRMED_AT,
        CONFIRMED_BY,
        column(
            "time_to_confirm",
            "Time to confirm",
            Kind::Span,
            "From issue to that.",
        ),
        ENDED_AT,
    ]
}

/// Columns of the counts by realm or group.
pub fn group_columns() -> Vec<Column> {
    vec![
        column(
            "name",
            "Name",
            Kind::Text,
            "The realm, or the group of admins as the inventory has it now; an admin in two groups counts in both.",
        ),
        column(
            "tokens",
            "Tokens",
            Kind::Count,
            "Tokens that have not ended.",
        ),
        column(
            "due",
            "Due",
            Kind::Count,
            "Of them: due without a rotation under way.",
        ),
        column(
            "overdue",
            "Overdue",
            Kind::Count,
            "Of them: with a rotation that nobody confirmed in time.",
        ),
        column(
            "overlaps",
            "Overlaps open",
            Kind::Count,
            "Of them: in a rotation.",
        ),
        column(
            "median_age",
            "Median age",
            Kind::Span,
            "Of the keys in force.",
        ),
        column("max_age", "Oldest", Kind::Span, "Of the keys in force."),
    ]
}

/// Computes the report.
pub fn rotation(view: &View) -> Judged {
    let all: Vec<Standing<'_>> = view
        .tokens()
        .into_iter()
        .map(|(_, token)| Standing::of(view, token))
        .collect();
    let live: Vec<&Standing<'_>> = all.iter().filter(|s| s.key.is_some()).collect();
    let open = all.iter().filter(|s| s.is_open()).count();
    let mut sorted: Vec<&Standing<'_>> = all.iter().collect();
    // What matters most comes first.
    sorted.sort_by_key(|s| {
        (
            !s.overdue,
            !s.is_open(),
            s.overlap.is_none(),
            -s.age.unwrap_or(-1),
        )
    });
    let rows: Vec<Vec<Cell>> = sorted.iter().map(|s| token_row(view, s)).collect();
    let limits = view.limits();
    let report = Report {
        name: "rotation",
        title: "Rotation of tokens".to_owned(),
        scope: view.scope.clone(),
        sections: vec![
            Section {
                id: "summary",
                title: "Summary".to_owned(),
                about: "How many tokens there are and how they stand.".to_owned(),
                body: Body::Figures(figures(&all, &live)),
            },
            table(
                "tokens",
                "Tokens",
                "Every token that was ever issued, what needs attention first. The age is that of the key in force, from its issue.",
                token_columns(),
                rows,
            ),
            Section {
                id: "ages",
                title: "Ages".to_owned(),
                about: "Keys in force by age.".to_owned(),
                body: Body::Histogram(histogram(&live)),
            },
            table(
                "by_realm",
                "By realm",
                "Tokens that have not ended, by realm.",
                group_columns(),
                grouped(&live, |s| vec![s.token.realm.to_string()]),
            ),
            table(
                "by_group",
                "By group",
                "Tokens that have not ended, by group of their admins.",
                group_columns(),
                grouped(&live, |s| groups_of(view, s.token)),
            ),
            table(
                "keys",
                "Keys",
                "Every generation that was ever issued; in a report of a period, those that were issued, confirmed or ended in it.",
                key_columns(),
                keys(view),
            ),
        ],
        limits,
    };
    Judged {
        report,
        open: u64::try_from(open).unwrap_or(u64::MAX),
    }
}

fn figures(all: &[Standing<'_>], live: &[&Standing<'_>]) -> Vec<crate::report::Figure> {
    let ages = ages_of(live);
    let state = |state| count(all.iter().filter(|s| s.token.state == state).count());
    vec![
        figure(
            "overdue",
            "Rotations that nobody confirmed in time",
            count(all.iter().filter(|s| s.overdue).count()),
        ),
        figure(
            "due",
            "Due, and no rotation under way",
            count(all.iter().filter(|s| s.due).count()),
        ),
        figure(
            "overlaps",
            "Overlaps open",
            count(all.iter().filter(|s| s.overlap.is_some()).count()),
        ),
        figure("tokens", "Tokens that have not ended", count(live.len())),
        figure("pending", "Not confirmed", state(TokenState::Pending)),
        figure("active", "Active", state(TokenState::Active)),
        figure("rotating", "Rotating", state(TokenState::Rotating)),
        figure("revoking", "Being revoked", state(TokenState::Revoking)),
        figure("revoked", "Revoked", state(TokenState::Revoked)),
        figure("expired", "Expired", state(TokenState::Expired)),
        figure(
            "median_age",
            "Median age of keys in force",
            percentile(&ages, 50),
        ),
        figure("max_age", "Oldest key in force", percentile(&ages, 100)),
    ]
}

fn ages_of(live: &[&Standing<'_>]) -> Vec<i64> {
    let mut ages: Vec<i64> = live.iter().filter_map(|s| s.age).collect();
    ages.sort_unstable();
    ages
}

fn token_row(view: &View, s: &Standing<'_>) -> Vec<Cell> {
    let number =
        |g: Option<&Generation>| g.map_or(Cell::Empty, |g| Cell::Count(u64::from(g.number)));
    let key = s.key;
    vec![
        Cell::Text(view.admin_of(s.token).clone()),
        Cell::Text(s.token.realm.clone()),
        s.status(),
        s.age.map_or(Cell::Empty, Cell::Seconds),
        s.last_rotation(),
        Cell::time(s.due_at),
        Cell::time(
            s.overlap
                .filter(|g| g.state == GenerationState::Pending)
                .and_then(|g| g.expires_at),
        ),
        number(key),
        number(s.overlap),
        Cell::Text(s.token.serial.clone()),
        Cell::text(s.token.state.as_str()),
        Cell::time(key.map(|g| g.issued_at)),
        view.who(key.and_then(|g| g.issued.by.as_ref())),
        view.who(key.and_then(|g| g.issued.approved_by.as_ref())),
        Cell::time(key.and_then(|g| g.confirmed_at)),
        view.who(key.and_then(|g| g.confirmed.by.as_ref())),
        words(key.and_then(|g| g.confirmed_how.as_ref())),
        key.map_or(Cell::Empty, |g| Cell::Flag(is_one_person(view, s.token, g))),
    ]
}

/// Whether who issued a key also approved it, or holds it.
pub(super) fn is_one_person(view: &View, token: &Token, key: &Generation) -> bool {
    let issuer = key.issued.by.as_ref().map(|id| view.people.name(id));
    let approver = key
        .issued
        .approved_by
        .as_ref()
        .map(|id| view.people.name(id));
    issuer.is_some_and(|i| approver == Some(i) || i == view.admin_of(token))
}

fn histogram(live: &[&Standing<'_>]) -> Histogram {
    let mut bars = Vec::new();
    let mut from = 0;
    for to in AGES.into_iter().map(Some).chain([None]) {
        let inside = |age: &i64| *age >= from * DAY && to.is_none_or(|to| *age < to * DAY);
        let number = live.iter().filter_map(|s| s.age).filter(inside).count();
        bars.push(Bar {
            label: to.map_or_else(
                || format!("{from} days and more"),
                |to| format!("{from} to {to} days"),
            ),
            count: u64::try_from(number).unwrap_or(u64::MAX),
            tone: Tone::Plain,
        });
        from = to.unwrap_or(from);
    }
    Histogram {
        unit: "tokens",
        bars,
    }
}

fn groups_of(view: &View, token: &Token) -> Vec<String> {
    view.population
        .admin(view.admin_of(token))
        .map(|a| a.groups.iter().map(ToString::to_string).collect())
        .unwrap_or_default()
}

fn grouped(live: &[&Standing<'_>], names: impl Fn(&Standing<'_>) -> Vec<String>) -> Vec<Vec<Cell>> {
    let mut by_name: BTreeMap<String, Vec<&Standing<'_>>> = BTreeMap::new();
    for standing in live {
        for name in names(standing) {
            by_name.entry(name).or_default().push(standing);
        }
    }
    by_name
        .into_iter()
        .map(|(name, members)| {
            let ages = ages_of(&members);
            let number = |is: &dyn Fn(&Standing<'_>) -> bool| {
                count(members.iter().filter(|s| is(s)).count())
            };
            vec![
                Cell::text(name),
                count(members.len()),
                number(&|s| s.due),
                number(&|s| s.overdue),
                number(&|s| s.overlap.is_some()),
                percentile(&ages, 50),
                percentile(&ages, 100),
            ]
        })
        .collect()
}

fn keys(view: &View) -> Vec<Vec<Cell>> {
    let mut rows = Vec::new();
    for (_, token) in view.tokens() {
        for key in &token.generations {
            let times = [Some(key.issued_at), key.confirmed_at, key.ended_at];
            if !times.into_iter().flatten().any(|at| view.in_period(at)) {
                continue;
            }
            rows.push(vec![
                Cell::Text(view.admin_of(token).clone()),
                Cell::Text(token.realm.clone()),
                Cell::Text(token.serial.clone()),
                Cell::Count(u64::from(key.number)),
                words(Some(&key.purpose)),
                Cell::text(key.state.as_str()),
                Cell::Time(key.issued_at),
                view.who(key.issued.by.as_ref()),
                view.who(key.issued.approved_by.as_ref()),
                view.who(
                    key.issued
                        .verified_by
                        .as_ref()
                        .or(key.confirmed.verified_by.as_ref()),
                ),
                words(
                    key.issued
                        .verified_how
                        .as_ref()
                        .or(key.confirmed.verified_how.as_ref()),
                ),
                Cell::time(key.confirmed_at),
                view.who(key.confirmed.by.as_ref()),
                key.confirmed_at
                    .map_or(Cell::Empty, |at| Cell::Seconds(seconds(key.issued_at, at))),
                Cell::time(key.ended_at),
            ]);
        }
    }
    rows
}
