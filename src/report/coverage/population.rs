//! What the population was taken from, and what of it is not known.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::report::model::Cell;
use crate::report::view::{View, count, seconds, words};

/// Hosts of inventory or ledger that could not be read, by name.
pub(super) fn unknown_hosts(view: &View) -> Vec<Vec<Cell>> {
    all_hosts(view)
        .into_iter()
        .filter(|name| view.wants_host(name))
        .filter_map(|name| {
            let known = view.picture.host_named(&name);
            if known.is_some_and(|h| h.is_known() || h.retired_at.is_some()) {
                return None;
            }
            let last = known.and_then(|h| h.last_seen_at);
            Some(vec![
                Cell::Text(Arc::clone(&name)),
                Cell::time(last),
                last.map_or(Cell::Empty, |at| Cell::Seconds(seconds(at, view.now()))),
                Cell::time(known.map(|h| h.last_attempt_at)),
                known.map_or_else(
                    || Cell::text("it was never tried"),
                    |h| words(h.detail.as_ref()),
                ),
                count(known.map_or(0, |h| h.places.len())),
            ])
        })
        .collect()
}

fn all_hosts(view: &View) -> BTreeSet<Arc<str>> {
    let mut names: BTreeSet<Arc<str>> = view
        .picture
        .hosts
        .iter()
        .map(|h| Arc::clone(&h.name))
        .collect();
    names.extend(view.population.hosts.iter().map(|h| Arc::clone(&h.name)));
    names
}

struct Sets {
    hosts: [BTreeSet<Arc<str>>; 2],
    admins: [BTreeSet<Arc<str>>; 2],
}

impl Sets {
    fn of(view: &View) -> Self {
        let living = view.picture.hosts.iter().filter(|h| h.retired_at.is_none());
        Self {
            hosts: [
                view.population
                    .hosts
                    .iter()
                    .map(|h| Arc::clone(&h.name))
                    .collect(),
                living.map(|h| Arc::clone(&h.name)).collect(),
            ],
            admins: [
                view.population
                    .admins
                    .iter()
                    .map(|a| Arc::clone(&a.name))
                    .collect(),
                view.picture
                    .tokens
                    .iter()
                    .map(|t| Arc::clone(view.admin_of(t)))
                    .collect(),
            ],
        }
    }
}

pub(super) fn population(view: &View) -> Vec<Vec<Cell>> {
    let sets = Sets::of(view);
    [("hosts", &sets.hosts), ("admins", &sets.admins)]
        .into_iter()
        .map(|(what, [inventory, ledger])| {
            vec![
                Cell::text(what),
                count(inventory.len()),
                count(ledger.len()),
                count(inventory.intersection(ledger).count()),
                count(inventory.difference(ledger).count()),
                count(ledger.difference(inventory).count()),
            ]
        })
        .collect()
}

pub(super) fn sources(view: &View) -> Vec<Vec<Cell>> {
    view.population
        .sources
        .iter()
        .map(|s| {
            vec![
                Cell::text(&s.name),
                Cell::text(s.kind),
                count(s.hosts),
                count(s.admins),
            ]
        })
        .collect()
}

pub(super) fn differences(view: &View) -> Vec<Vec<Cell>> {
    let sets = Sets::of(view);
    let mut rows = Vec::new();
    for (what, [inventory, ledger]) in [("host", &sets.hosts), ("admin", &sets.admins)] {
        for (place, names) in [
            ("inventory", inventory.difference(ledger)),
            ("ledger", ledger.difference(inventory)),
        ] {
            rows.extend(names.map(|name| {
                vec![
                    Cell::text(what),
                    Cell::Text(Arc::clone(name)),
                    Cell::text(place),
                ]
            }));
        }
    }
    let uncovered = view.population.hosts.iter().filter(|h| h.realm.is_none());
    rows.extend(uncovered.map(|h| {
        vec![
            Cell::text("unmanaged_host"),
            Cell::Text(Arc::clone(&h.name)),
            Cell::text("inventory"),
        ]
    }));
    rows
}
