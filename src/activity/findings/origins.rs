//! Findings about where somebody came from.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::{ActivityFinding, Known, Weight, line_of};
use crate::ledger::{LoginRecord, Spot};

/// Nobody travels faster than this, in kilometres an hour: airliners cruise at about 900.
const FASTEST: f64 = 900.0;
/// From this distance on, in kilometres, it is travel: databases are often wrong by less.
const FAR: f64 = 500.0;

/// The network of an address: what a provider gives one site, /24 of IPv4 and /48 of IPv6.
fn network(login: &LoginRecord) -> Option<String> {
    Some(
        match crate::activity::geo::parse(login.address.as_deref()?)? {
            IpAddr::V4(v4) => {
                let [a, b, c, _] = v4.octets();
                format!("{a}.{b}.{c}.0/24")
            }
            IpAddr::V6(v6) => {
                let [a, b, c, ..] = v6.segments();
                format!("{a:x}:{b:x}:{c:x}::/48")
            }
        },
    )
}

/// The logins to judge that came from somewhere for the first time. The very first of somebody is from somewhere new
/// whatever it is; that says nothing.
fn first_times(
    known: &Known,
    from: impl Fn(&LoginRecord) -> Option<String>,
) -> Vec<(&LoginRecord, String)> {
    let mut seen: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    let judged: BTreeSet<_> = known.judged.iter().map(line_of).collect();
    let mut first = Vec::new();
    for login in &known.accepted {
        let Some(from) = from(login) else {
            continue;
        };
        let mine = seen.entry(known.person(login)).or_default();
        let is_other = !mine.is_empty();
        if mine.insert(from.clone()) && is_other && judged.contains(&line_of(login)) {
            first.push((login, from));
        }
    }
    first
}

pub(super) fn new_networks(known: &Known, found: &mut Vec<ActivityFinding>) {
    for (login, network) in first_times(known, network) {
        let text = format!(
            "{} logged in from network {network}{} for the first time",
            login.login,
            owner(login)
        );
        found.extend(known.about("new-network", Weight::Notice, &[login], text));
    }
}

fn owner(login: &LoginRecord) -> String {
    let origin = login.origin.as_ref();
    match origin.map(|o| (o.asn, o.owner.as_deref())) {
        Some((Some(asn), Some(owner))) => format!(" (AS{asn}, {owner})"),
        Some((Some(asn), None)) => format!(" (AS{asn})"),
        Some((None, Some(owner))) => format!(" ({owner})"),
        _ => String::new(),
    }
}

pub(super) fn new_countries(known: &Known, found: &mut Vec<ActivityFinding>) {
    for (login, country) in first_times(known, |l| l.origin.as_ref()?.country.clone()) {
        let text = format!(
            "{} logged in from {country}{} for the first time",
            login.login,
            owner(login)
        );
        found.extend(known.about("new-country", Weight::Warning, &[login], text));
    }
}

/// Two logins in a row from places too far from each other for the time between them.
pub(super) fn travels(known: &Known, found: &mut Vec<ActivityFinding>) {
    let mut last: BTreeMap<&str, (&LoginRecord, Spot)> = BTreeMap::new();
    let judged: BTreeSet<_> = known.judged.iter().map(line_of).collect();
    for login in &known.accepted {
        let Some(here) = login.origin.as_ref().and_then(|o| o.spot) else {
            continue;
        };
        let Some((before, there)) = last.insert(known.person(login), (login, here)) else {
            continue;
        };
        // Either of them may have come later.
        if ![before, login].iter().any(|l| judged.contains(&line_of(l))) {
            continue;
        }
        let distance = here.kilometres_to(there);
        let took = login.at.duration_since(before.at);
        if distance < FAR || distance <= FASTEST * took.as_secs_f64() / 3600.0 {
            continue;
        }
        let text = format!(
            "{} logged in from {} and, {} minutes later, from {}: {distance:.0} km apart",
            login.login,
            place(before),
            took.as_secs() / 60,
            place(login),
        );
        found.extend(known.about("impossible-travel", Weight::Warning, &[before, login], text));
    }
}

/// A place in words.
fn place(login: &LoginRecord) -> String {
    let origin = login.origin.as_ref();
    let words = [
        origin.and_then(|o| o.city.as_deref()),
        origin.and_then(|o| o.country.as_deref()),
    ];
    let words: Vec<&str> = words.into_iter().flatten().collect();
    match words.as_slice() {
        [] => login.address.as_deref().unwrap_or("?").to_owned(),
        words => words.join(", "),
    }
}
