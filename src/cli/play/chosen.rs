//! Which hosts plays are about: those of their patterns within the limit, and of a retry those that are left.

use std::collections::BTreeSet;

use super::super::globals::Globals;
use super::super::setup::Setup;
use super::Book;
use crate::error::Error;
use crate::inventory::model::Host;
use crate::names::HostName;
use crate::playbook::schema::Play;

/// Returns the hosts of a play within the limit; of a retry only those that are left.
///
/// # Errors
/// A pattern that matches nothing.
pub(super) fn hosts_of<'s>(
    play: &Play,
    setup: &'s Setup,
    globals: &Globals,
    only: Option<&BTreeSet<HostName>>,
) -> Result<Vec<&'s Host>, Error> {
    let limit = globals.limit.as_deref();
    let mut hosts = setup.inventory.select(&play.hosts, limit)?;
    hosts.retain(|h| only.is_none_or(|only| only.contains(&h.name)));
    Ok(hosts)
}

/// Refuses a retry of which nothing is among what is chosen: it would say that all is done. Names what stays undone, unless a limit
/// says so.
///
/// # Errors
/// That, and a pattern that matches nothing.
pub(super) fn any_is_chosen(
    books: &[Book],
    left: &BTreeSet<HostName>,
    limited: bool,
    setup: &Setup,
    globals: &Globals,
) -> Result<(), Error> {
    let mut chosen = BTreeSet::new();
    for play in books.iter().flat_map(|(_, plays)| plays) {
        let hosts = hosts_of(play, setup, globals, Some(left))?;
        chosen.extend(hosts.into_iter().map(|h| &h.name));
    }
    let others = left.iter().filter(|h| !chosen.contains(h));
    let others: Vec<&str> = others.map(HostName::as_str).collect();
    let others = others.join(", ");
    if chosen.is_empty() {
        return Err(Error::failed(format!(
            "none of the hosts that the run left undone is chosen: {others}"
        ))
        .hinted("fleetotp runs show RUN"));
    }
    if !others.is_empty() && !limited {
        eprintln!("note: left undone as well, and among the hosts of no play: {others}");
    }
    Ok(())
}
