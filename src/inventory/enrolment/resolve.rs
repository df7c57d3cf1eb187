//! From what is declared to who has which account on which host, in which realm.

use std::collections::HashMap;

use super::{Declared, DeclaredAdmin, place, policies};
use crate::inventory::data::{Data, HostId};
use crate::inventory::model::{Enrolment, Exemption, Realm};
use crate::inventory::pattern;
use crate::inventory::value::Origin;
use crate::names::{AdminName, Login, PolicyName, RealmName};
use crate::text::{FileError, suggest};
use crate::token::lint;
use crate::token::params::CodeParams;

/// The enrolment, with indices for quick answers.
#[derive(Debug, Default)]
pub(crate) struct Resolved {
    pub(crate) enrolment: Enrolment,
    /// The realm of each host.
    pub(crate) realm_of: Vec<Option<RealmName>>,
    /// For each admin, in order of name, on which hosts they have an account.
    pub(crate) hosts_of: Vec<HostSet>,
    /// Hosts of each admin, for `Admin` to `HostSet`.
    pub(crate) admin_order: HashMap<AdminName, usize>,
}

/// A set of hosts, one bit each: a hundred admins on ten thousand hosts take 125 kB.
#[derive(Debug, Clone, Default)]
pub(crate) struct HostSet(Vec<u64>);

impl HostSet {
    fn new(hosts: &[HostId], len: usize) -> Self {
        let mut set = Self(vec![0; len.div_ceil(64)]);
        for host in hosts {
            if let Some(word) = set.0.get_mut(host / 64) {
                *word |= 1 << (host % 64);
            }
        }
        set
    }

    pub(crate) fn contains(&self, host: HostId) -> bool {
        self.0
            .get(host / 64)
            .is_some_and(|word| word & (1 << (host % 64)) != 0)
    }

    /// Returns the first host in both sets.
    fn first_common(&self, other: &Self) -> Option<HostId> {
        self.0
            .iter()
            .zip(&other.0)
            .enumerate()
            .find_map(|(i, (a, b))| {
                let both = a & b;
                (both != 0).then(|| i * 64 + both.trailing_zeros() as usize)
            })
    }
}

/// Resolves patterns and checks what no single declaration can know.
pub(crate) fn resolve(
    declared: Declared,
    data: &Data,
    protected: &[Login],
    warnings: &mut Vec<String>,
) -> Result<Resolved, FileError> {
    let mut resolved = Resolved::default();
    resolve_policies_and_realms(&declared, data, &mut resolved, warnings)?;
    resolve_admins(
        declared.admins.into_values().collect(),
        data,
        protected,
        &mut resolved,
    )?;
    for exemption in declared.exemptions {
        hosts_of(data, &exemption.hosts, &exemption.hosts_at)?;
        resolved.enrolment.exemptions.push(Exemption {
            login: exemption.login,
            hosts: exemption.hosts,
            owner: exemption.owner,
            reason: exemption.reason,
            approved_by: exemption.approved_by,
            expires: exemption.expires,
        });
    }
    Ok(resolved)
}

fn resolve_policies_and_realms(
    declared: &Declared,
    data: &Data,
    resolved: &mut Resolved,
    warnings: &mut Vec<String>,
) -> Result<(), FileError> {
    let default = |text: &str| FileError::whole("the built-in defaults", text);
    let default_policy = PolicyName::new("default").map_err(|e| default(&e.to_string()))?;
    let enrolment = &mut resolved.enrolment;
    enrolment.policies.insert(
        default_policy.clone(),
        policies::built_in(default_policy.clone()),
    );
    for (policy, _) in declared.policies.values() {
        enrolment
            .policies
            .insert(policy.name.clone(), policy.clone());
    }
    resolved.realm_of = vec![None; data.hosts.len()];
    let mut used = vec![default_policy.clone()];
    for (name, realm) in &declared.realms {
        let policy = realm.policy.as_ref().unwrap_or(&default_policy);
        let Some(policy) = enrolment.policies.get(policy) else {
            let known = enrolment.policies.keys().map(PolicyName::as_str);
            return Err(realm
                .policy_at
                .error(format!("there is no policy `{policy}`"))
                .hinted_if(suggest::hint(policy.as_str(), known)));
        };
        used.push(policy.name.clone());
        let hosts = hosts_of(data, &realm.hosts, &realm.hosts_at)?;
        for host in &hosts {
            let Some(slot) = resolved.realm_of.get_mut(*host) else {
                continue;
            };
            if let Some(other) = slot {
                let other_at = declared
                    .realms
                    .get(other)
                    .map_or_else(String::new, |r| format!(" (at {})", place(&r.hosts_at)));
                return Err(realm.hosts_at.error(format!(
                    "the host `{}` would be in two realms: `{name}` and `{other}`{other_at}",
                    data.host_name(*host)
                )));
            }
            *slot = Some(name.clone());
        }
        let names = hosts.iter().filter_map(|h| data.host(*h));
        let realm = Realm {
            name: name.clone(),
            hosts: names.map(|h| h.name.clone()).collect(),
            policy: policy.clone(),
        };
        enrolment.realms.insert(name.clone(), realm);
    }
    if declared.realms.is_empty() {
        let name = RealmName::new("default").map_err(|e| default(&e.to_string()))?;
        resolved.realm_of = vec![Some(name.clone()); data.hosts.len()];
        let policy = enrolment.policies.get(&default_policy);
        let realm = policy.map(|policy| Realm {
            name: name.clone(),
            hosts: data.hosts.values().map(|h| h.name.clone()).collect(),
            policy: policy.clone(),
        });
        enrolment.realms.extend(realm.map(|r| (name, r)));
    }
    for (name, (_, at)) in &declared.policies {
        if !used.contains(name) {
            warnings.push(format!("{}: no realm uses the policy `{name}`", place(at)));
        }
        let policy = enrolment.policies.get(name);
        let params = policy.map(|p| CodeParams::new(p.algorithm, p.digits, p.period));
        for finding in params.map(lint::findings).unwrap_or_default() {
            warnings.push(format!(
                "{}: `{}`: {}",
                place(at),
                finding.key,
                finding.text
            ));
        }
    }
    Ok(())
}

fn resolve_admins(
    mut admins: Vec<DeclaredAdmin>,
    data: &Data,
    protected: &[Login],
    resolved: &mut Resolved,
) -> Result<(), FileError> {
    admins.sort_by(|a, b| a.admin.name.cmp(&b.admin.name));
    let mut by_login: HashMap<Login, Vec<usize>> = HashMap::new();
    for (index, declared) in admins.iter().enumerate() {
        let login = &declared.admin.login;
        if login.as_str() == "root" || protected.contains(login) {
            return Err(declared
                .login_at
                .error(format!(
                    "the login `{login}` is protected and never managed"
                ))
                .hinted(
                    "give the admin an account of their own, or change `protected` in fleetotp.yml",
                ));
        }
        let hosts = hosts_of(data, &declared.admin.hosts, &declared.hosts_at)?;
        let set = HostSet::new(&hosts, data.hosts.len());
        let others = by_login.entry(login.clone()).or_default();
        for other in others.iter() {
            let shared = resolved
                .hosts_of
                .get(*other)
                .and_then(|hosts| hosts.first_common(&set));
            if let (Some(host), Some(other)) = (shared, admins.get(*other)) {
                return Err(same_login(declared, other, data.host_name(host)));
            }
        }
        others.push(index);
        resolved.hosts_of.push(set);
        resolved
            .admin_order
            .insert(declared.admin.name.clone(), index);
    }
    resolved.enrolment.admins = admins
        .into_iter()
        .map(|declared| (declared.admin.name.clone(), declared.admin))
        .collect();
    Ok(())
}

fn same_login(a: &DeclaredAdmin, b: &DeclaredAdmin, host: &str) -> FileError {
    let file = |d: &DeclaredAdmin| d.login_at.file.name().to_owned();
    let place_of = |d: &DeclaredAdmin| (file(d), d.login_at.position);
    // The later of two in one file is the one to point at.
    let (first, second) = if file(a) == file(b) && place_of(a) < place_of(b) {
        (a, b)
    } else {
        (b, a)
    };
    second.login_at.error(format!(
        "the admins `{}` and `{}` (at {}) have the same login `{}` on `{host}`",
        second.admin.name,
        first.admin.name,
        place(&first.login_at),
        second.admin.login,
    ))
}

/// Evaluates a host pattern; it must select a host, unless the inventory has none at all.
fn hosts_of(data: &Data, text: &str, at: &Origin) -> Result<Vec<HostId>, FileError> {
    let parts = pattern::split(text);
    if parts.is_empty() {
        return Err(at.error("the host pattern is empty"));
    }
    let hosts =
        pattern::evaluate(data, &parts).map_err(|e| at.error(e.message).hinted_if(e.hint))?;
    if hosts.is_empty() && !data.hosts.is_empty() {
        return Err(at.error("the host pattern selects no host"));
    }
    Ok(hosts)
}
