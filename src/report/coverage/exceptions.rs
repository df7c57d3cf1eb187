//! What gets past the code: ways seen on hosts, exemptions, one-time codes; and what became of sheets, and who approved.

use std::sync::Arc;

use crate::report::model::{Cell, Figure, Tone};
use crate::report::picture::{Generation, Sheet, Token};
use crate::report::rotation::is_one_person;
use crate::report::view::{View, count, figure, words};
use crate::token::state::{BypassState, SheetState};

/// Ways past the code, by host.
pub(super) fn weaknesses(view: &View) -> Vec<Vec<Cell>> {
    let mut rows = Vec::new();
    let kept = view.picture.hosts.iter().filter(|h| h.retired_at.is_none());
    for host in kept.filter(|h| view.wants_host(&h.name)) {
        let seen = Cell::time(host.last_seen_at);
        let Some(weaknesses) = &host.weaknesses else {
            rows.push(vec![
                Cell::Text(Arc::clone(&host.name)),
                Cell::Unknown,
                Cell::Unknown,
                Cell::text("nobody has looked"),
                seen,
                Cell::Flag(false),
            ]);
            continue;
        };
        for weakness in weaknesses.iter() {
            rows.push(vec![
                Cell::Text(Arc::clone(&host.name)),
                Cell::text(&weakness.kind),
                match weakness.accounts {
                    0 => Cell::Empty,
                    number => Cell::Count(u64::from(number)),
                },
                Cell::text(&weakness.detail),
                seen.clone(),
                Cell::Flag(host.is_known()),
            ]);
        }
    }
    rows.sort_by_key(|row| match row.first() {
        Some(Cell::Text(name)) => Arc::clone(name),
        _ => Arc::from(""),
    });
    rows
}

/// Exemptions of the inventory.
pub(super) fn exceptions(view: &View) -> Vec<Vec<Cell>> {
    view.population
        .exemptions
        .iter()
        .map(|e| {
            let over = e.expires <= view.now();
            vec![
                Cell::Text(Arc::clone(&e.login)),
                if over {
                    Cell::Status("over", Tone::Bad)
                } else {
                    Cell::Status("valid", Tone::Warn)
                },
                Cell::text(&e.pattern),
                count(e.hosts.len()),
                Cell::text(&e.owner),
                Cell::text(&e.reason),
                e.approved_by.as_ref().map_or(Cell::Empty, Cell::text),
                Cell::Time(e.expires),
                Cell::Flag(view.population.admins.iter().any(|a| a.login == e.login)),
            ]
        })
        .collect()
}

/// One-time codes.
pub(super) fn bypasses(view: &View) -> Vec<Vec<Cell>> {
    view.picture
        .bypasses
        .iter()
        .filter(|b| view.under_way_in_period(b.granted_at, b.ended_at))
        .filter_map(|b| Some((b, view.picture.token(b.token)?)))
        .filter(|(_, t)| view.wants_admin(view.admin_of(t)))
        .map(|(b, token)| {
            let tone = match b.state {
                BypassState::Open => Tone::Warn,
                BypassState::Gone => Tone::Unknown,
                _ => Tone::Plain,
            };
            vec![
                Cell::Text(Arc::clone(&b.id)),
                Cell::Text(Arc::clone(view.admin_of(token))),
                view.host_cell(b.host),
                Cell::Status(b.state.as_str(), tone),
                Cell::Time(b.granted_at),
                view.who(b.by.as_ref()),
                Cell::Time(b.due_at),
                Cell::time(b.ended_at),
                words(b.reason.as_ref()),
                words(b.ticket.as_ref()),
            ]
        })
        .collect()
}

fn each_sheet(view: &View) -> Vec<(&Token, &Generation, &Sheet)> {
    let mut sheets: Vec<_> = view
        .tokens()
        .into_iter()
        .flat_map(|(_, t)| t.generations.iter().map(move |g| (t, g)))
        .filter_map(|(t, g)| Some((t, g, g.sheet.as_ref()?)))
        .filter(|(_, g, _)| view.in_period(g.issued_at))
        .collect();
    sheets.sort_by_key(|(_, g, s)| (g.issued_at, Arc::clone(&s.id)));
    sheets
}

/// The time of an open sheet is over whether or not a run has noticed it.
fn is_over(view: &View, generation: &Generation, sheet: &Sheet) -> bool {
    sheet.state.is_open() && generation.expires_at.is_some_and(|at| at <= view.now())
}

pub(super) fn sheet_figures(view: &View) -> Vec<Figure> {
    let sheets = each_sheet(view);
    let state =
        |wanted: SheetState| count(sheets.iter().filter(|(_, _, s)| s.state == wanted).count());
    let over = |(_, g, s): &&(&Token, &Generation, &Sheet)| is_over(view, g, s);
    let expired = sheets
        .iter()
        .filter(|(_, _, s)| s.state == SheetState::Expired)
        .count();
    let late = sheets.iter().filter(over).count();
    let open = sheets.iter().filter(|(_, _, s)| s.state.is_open()).count();
    vec![
        figure("sheets_issued", "Sheets issued", count(sheets.len())),
        figure(
            "sheets_redeemed",
            "Redeemed: a code of it was verified",
            state(SheetState::Confirmed),
        ),
        figure("sheets_expired", "Expired", count(expired + late)),
        figure(
            "sheets_void",
            "Void: replaced, revoked or never finished",
            state(SheetState::Void),
        ),
        figure("sheets_open", "Can still be redeemed", count(open - late)),
    ]
}

pub(super) fn sheets(view: &View) -> Vec<Vec<Cell>> {
    each_sheet(view)
        .into_iter()
        .map(|(token, generation, sheet)| {
            let state = if is_over(view, generation, sheet) {
                Cell::Status("expired", Tone::Bad)
            } else {
                match sheet.state {
                    SheetState::Confirmed => Cell::Status("redeemed", Tone::Good),
                    SheetState::Expired => Cell::Status("expired", Tone::Bad),
                    state if state.is_open() => Cell::Status(state.as_str(), Tone::Warn),
                    state => Cell::Status(state.as_str(), Tone::Plain),
                }
            };
            vec![
                Cell::Text(Arc::clone(&sheet.id)),
                Cell::Text(Arc::clone(view.admin_of(token))),
                Cell::Text(Arc::clone(&token.realm)),
                state,
                Cell::Time(generation.issued_at),
                view.who(generation.issued.by.as_ref()),
                words(Some(&sheet.encryption)),
                Cell::time(sheet.delivered_at),
                view.who(sheet.delivered_to.as_ref()),
                Cell::time(generation.confirmed_at),
                Cell::time(generation.expires_at),
                Cell::time(sheet.ended_at),
            ]
        })
        .collect()
}

/// Keys that one person both issued and approved, or issued to themself.
pub(super) fn duties(view: &View) -> Vec<Vec<Cell>> {
    let mut rows = Vec::new();
    for (_, token) in view.tokens() {
        for key in &token.generations {
            if !view.in_period(key.issued_at) || !is_one_person(view, token, key) {
                continue;
            }
            let issuer = key.issued.by.as_ref().map(|id| view.people.name(id));
            rows.push(vec![
                Cell::Text(Arc::clone(view.admin_of(token))),
                Cell::Text(Arc::clone(&token.realm)),
                Cell::Count(u64::from(key.number)),
                Cell::text(if issuer == Some(view.admin_of(token)) {
                    "issued to oneself"
                } else {
                    "issuer approved"
                }),
                view.who(key.issued.by.as_ref()),
                view.who(key.issued.approved_by.as_ref()),
                Cell::Time(key.issued_at),
            ]);
        }
    }
    rows
}
