//! Whose tokens a run ends on which hosts: what the ledger's open items, and proofs that are read again, ask for.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::Value;

use super::run::{Run, Wanted};
use crate::clock::{Span, Timestamp};
use crate::error::{Error, Kind};
use crate::inventory::model::{OnRevoke, Realm};
use crate::ledger::RevocationItem;
use crate::names::HostName;
use crate::plan::revoke::Leaver;
use crate::playbook::job::LeaverSeat;
use crate::token::id::Serial;

/// How long after its proof a host that no inventory names is read again.
const AGAIN: Span = Span::from_secs(24 * 3600);

/// Those who go, by host, with how the ledger says that the host is reached.
pub(super) type LeaversByHost = BTreeMap<HostName, (Vec<LeaverSeat>, Option<Value>)>;

/// Whose tokens a run ends on hosts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Leavers {
    /// Nobody's.
    #[default]
    Nobody,
    /// Of all whose revocation was requested, besides what else is wanted on these hosts.
    All,
    /// Of all, and on hosts that only the ledger knows as well.
    AllEverywhere,
    /// Of these tokens, on these hosts, and nothing else.
    Only(BTreeSet<Serial>),
}

impl Run<'_> {
    /// Returns whose tokens are to be gone from which hosts, with how the ledger says the host is reached.
    pub(super) async fn leavers(&self, wanted: &Wanted) -> Result<LeaversByHost, Error> {
        let mut found = LeaversByHost::new();
        if wanted.leavers == Leavers::Nobody {
            return Ok(found);
        }
        let inventory = &self.setup.inventory;
        let hosts: BTreeSet<&HostName> = wanted.hosts.iter().collect();
        let now = self.world.clock.now();
        for item in self.setup.ledger.revocation_items().await? {
            let of_these = match &wanted.leavers {
                Leavers::Only(serials) => serials.contains(&item.serial),
                _ => wanted
                    .admins
                    .as_ref()
                    .is_none_or(|only| item.admin.as_ref().is_some_and(|a| only.contains(a))),
            };
            let known = inventory.host(item.host.as_str()).is_some();
            // A host that no inventory names is read once more after its proof, for a login that was in flight then.
            let again = || recently_proven(&item, now);
            let here = hosts.contains(&item.host)
                || (!known
                    && !item.retired
                    && match &wanted.leavers {
                        Leavers::AllEverywhere => item.is_open() || again(),
                        _ => false,
                    });
            // Whoever has the account now, by a live token, is somebody else or has enrolled anew.
            let taken = inventory.realm_of(&item.host).is_some_and(|realm| {
                inventory
                    .admins_on(&item.host)
                    .filter(|a| a.login == item.login)
                    .filter_map(|a| self.desk.token(&a.name, &realm.name))
                    .any(|t| t.current.is_some() || t.next.is_some())
            });
            if !of_these || !here || taken {
                continue;
            }
            let policies = inventory.enrolment();
            let on_revoke = policies
                .realms
                .get(&item.realm)
                .map(|r| &r.policy)
                .or_else(|| policies.policies.get(&item.policy))
                .map(|p| p.on_revoke.clone())
                .unwrap_or_default();
            let seat = LeaverSeat {
                open: item.is_open(),
                serial: item.serial,
                admin: item.admin,
                leaver: Leaver {
                    login: item.login,
                    expire_account: on_revoke.contains(&OnRevoke::ExpireAccount),
                    move_keys: on_revoke.contains(&OnRevoke::MoveKeys),
                },
                since: item.since,
            };
            let entry = found.entry(item.host).or_default();
            entry.0.push(seat);
            entry.1 = item.connection;
        }
        Ok(found)
    }

    /// For hosts on which nothing but the end of tokens is wanted: a realm that is not looked at.
    ///
    /// # Errors
    /// A defect: there is always one.
    pub(super) fn no_realm(&self) -> Result<Arc<Realm>, Error> {
        let enrolment = self.setup.inventory.enrolment();
        let any = enrolment.realms.values().next().cloned();
        any.map(Arc::new).ok_or_else(|| {
            Error::new(
                Kind::Internal,
                "the inventory has no realm, not even the default one",
            )
        })
    }
}

fn recently_proven(item: &RevocationItem, now: Timestamp) -> bool {
    item.proof
        .as_ref()
        .filter(|p| p.get("how").and_then(Value::as_str) == Some("read_back"))
        .and_then(|p| p.get("at")?.as_str()?.parse::<Timestamp>().ok())
        .is_some_and(|at| AGAIN.after(at) > now)
}
