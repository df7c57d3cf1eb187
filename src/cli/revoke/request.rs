//! From whom to where: the tokens and hosts of a revocation, from inventory and ledger.

use std::collections::BTreeMap;

use super::choose::Chosen;
use super::people::People;
use crate::cli::setup::Setup;
use crate::fleet::target::{Defaults, Target};
use crate::inventory::model::Host;
use crate::ledger::{RevocationHost, RevocationRequest};
use crate::names::{Login, PolicyName, RealmName};

/// Returns what to request of the ledger: a token for each admin and realm, each with the inventory's hosts; the ledger
/// adds those that only it knows.
///
/// Whoever left the inventory may have something on any host of the realm: what a run that was killed had pushed, say.
pub(crate) fn of(
    setup: &Setup,
    people: &People,
    chosen: &Chosen,
    defaults: &Defaults,
    reason: Option<&str>,
    ticket: Option<&str>,
) -> Vec<RevocationRequest> {
    let inventory = &setup.inventory;
    let enrolment = inventory.enrolment();
    let mut requests = Vec::new();
    for (name, (own_reason, own_ticket)) in &chosen.admins {
        let Some(person) = people.by_name.get(name) else {
            continue;
        };
        let mut realms: BTreeMap<RealmName, (Option<PolicyName>, Vec<RevocationHost>)> = person
            .tokens
            .iter()
            .map(|t| (t.realm.clone(), (Some(t.policy.clone()), Vec::new())))
            .collect();
        let here = |host: &Host, login: &Login| RevocationHost {
            host: host.name.clone(),
            login: login.clone(),
            connection: Target::new(host, defaults).ok().map(|t| t.record()),
        };
        if let Some(admin) = enrolment.admins.get(name) {
            for host in inventory.hosts_of(admin) {
                if let Some(realm) = inventory.realm_of(&host.name) {
                    let entry = realms.entry(realm.name.clone()).or_default();
                    entry.1.push(here(host, &admin.login));
                }
            }
        } else if let Some(login) = person
            .logins
            .first()
            .cloned()
            .or_else(|| Login::new(name.as_str()).ok())
        {
            for host in inventory.hosts() {
                let realm = inventory.realm_of(&host.name);
                if let Some(entry) = realm.and_then(|r| realms.get_mut(&r.name)) {
                    entry.1.push(here(host, &login));
                }
            }
        }
        for (realm, (policy, hosts)) in realms {
            let declared = enrolment.realms.get(&realm).map(|r| r.policy.name.clone());
            let Some(policy) = declared.or(policy) else {
                continue;
            };
            requests.push(RevocationRequest {
                admin: name.clone(),
                realm,
                policy,
                hosts,
                reason: own_reason.clone().or_else(|| reason.map(str::to_owned)),
                ticket: own_ticket.clone().or_else(|| ticket.map(str::to_owned)),
            });
        }
    }
    requests
}
