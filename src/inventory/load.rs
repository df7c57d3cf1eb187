//! Loading an inventory, and questions about it.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use indexmap::IndexMap;

use super::connection::{self, Merged};
use super::data::{ALL, Data, HostId};
use super::enrolment::{self, Declared, Resolved};
use super::model::{Admin, Assignment, Connection, Enrolment, Host, Realm};
use super::sources::{self, Sink, SourceRead};
use super::vars_files::{self, VarsDirectory};
use crate::error::{Error, Kind};
use crate::names::{HostName, Login};
use crate::text::FileError;

/// What loading depends on besides the sources.
#[derive(Debug, Clone, Copy)]
pub struct LoadOptions<'a> {
    /// Logins that no admin may have; `root` always is one.
    pub protected: &'a [Login],
    /// The home directory that `~` in key files stands for.
    pub home: Option<&'a Path>,
    /// Directory of the playbook, whose `group_vars` and `host_vars` win over those beside the sources.
    ///
    /// Where there is no playbook, Ansible takes the working directory.
    pub playbook_directory: Option<&'a Path>,
    /// Directory of relative `@file` limits, where it is not that of the sources.
    pub limit_directory: Option<&'a Path>,
    /// How long an executable source may run, all its calls together.
    pub script_timeout: Duration,
}

impl Default for LoadOptions<'_> {
    fn default() -> Self {
        Self {
            protected: &[],
            home: None,
            playbook_directory: None,
            limit_directory: None,
            script_timeout: Duration::from_secs(30),
        }
    }
}

/// Hosts and admins, read from all sources.
#[derive(Debug)]
pub struct Inventory {
    pub(super) data: Data,
    /// In the order of `data.hosts`.
    hosts: Vec<Host>,
    /// Why a host cannot be reached with what its variables say.
    unusable: HashMap<HostName, FileError>,
    pub(super) resolved: Resolved,
    /// Variables beside the sources.
    directories: Vec<VarsDirectory>,
    /// Variables beside the playbook.
    beside_playbook: Vec<VarsDirectory>,
    read: Vec<SourceRead>,
    warnings: Vec<String>,
    pub(super) limit_directory: PathBuf,
}

impl Inventory {
    /// Reads and checks all sources, in order; relative paths are relative to `cwd`.
    ///
    /// # Errors
    /// A source that is missing or wrong, at its position; what [`Enrolment`] forbids: two admins with one login on a
    /// host, a protected login, a host in two realms, patterns that match nothing.
    pub fn load(sources: &[String], cwd: &Path, options: &LoadOptions<'_>) -> Result<Self, Error> {
        if sources.is_empty() {
            return Err(Error::usage("no inventory is given")
                .hinted("use -i, or `inventory:` in fleetotp.yml"));
        }
        let mut sink = Sink {
            data: Data::new(),
            declared: Declared::default(),
            read: Vec::new(),
        };
        let mut paths: Vec<PathBuf> = Vec::new();
        for source in sources {
            if let Some(path) = sources::read(source, cwd, options, &mut sink)? {
                let path = path.canonicalize().unwrap_or(path);
                // Of a directory named twice, Ansible lets the last mention win.
                paths.retain(|p| *p != path);
                paths.push(path);
            }
        }
        let Sink {
            mut data,
            declared,
            read,
        } = sink;
        data.reconcile().map_err(|e| Error::new(Kind::File, e))?;
        let directories = paths
            .iter()
            .map(|path| vars_files::read(path, &mut data))
            .collect::<Result<Vec<_>, Error>>()?;
        let beside_playbook = options
            .playbook_directory
            .map(|path| vars_files::read(path, &mut data))
            .transpose()?;
        let mut warnings = std::mem::take(&mut data.warnings);
        // The playbook often lies beside a source.
        let mut seen = HashSet::new();
        warnings.retain(|w| seen.insert(w.clone()));
        let resolved = enrolment::resolve(declared, &data, options.protected, &mut warnings)?;
        let mut inventory = Self {
            data,
            hosts: Vec::new(),
            unusable: HashMap::new(),
            resolved,
            directories,
            beside_playbook: beside_playbook.into_iter().collect(),
            read,
            warnings,
            limit_directory: options.limit_directory.unwrap_or(cwd).to_path_buf(),
        };
        inventory.build_hosts(cwd, options);
        Ok(inventory)
    }

    fn build_hosts(&mut self, cwd: &Path, options: &LoadOptions<'_>) {
        let mut unused: IndexMap<&str, usize> = IndexMap::new();
        let mut hosts = Vec::with_capacity(self.data.hosts.len());
        let mut unusable = HashMap::new();
        for (id, data) in self.data.hosts.values().enumerate() {
            let vars = self.merged(id);
            let (connection, error) = connection::resolve(&vars, cwd, options);
            for (name, _) in connection::UNUSED {
                *unused.entry(name).or_default() += usize::from(vars.contains_key(name));
            }
            unusable.extend(error.map(|error| (data.name.clone(), error)));
            let groups = self.data.groups_of(data);
            hosts.push(Host {
                name: data.name.clone(),
                groups: groups
                    .into_iter()
                    .map(|g| self.data.group_name(g).to_owned())
                    .filter(|name| name != "ungrouped")
                    .collect(),
                vars: vars
                    .iter()
                    .map(|(name, var)| ((*name).to_owned(), var.value.to_json()))
                    .collect(),
                connection,
            });
        }
        self.hosts = hosts;
        self.unusable = unusable;
        for (name, why) in connection::UNUSED {
            if let Some(count) = unused.get(name).filter(|c| **c > 0) {
                self.warnings
                    .push(format!("`{name}` (on {count} hosts) has no effect: {why}"));
            }
        }
    }

    /// Merges a host's variables by Ansible's precedence; the last to set a variable wins.
    pub(super) fn merged(&self, host: HostId) -> Merged<'_> {
        let mut merged = Merged::new();
        let Some(data) = self.data.host(host) else {
            return merged;
        };
        let groups = self.data.groups_of(data);
        let own = |id| self.data.group(id).map(|g| &g.vars);
        let beside = || [&self.directories, &self.beside_playbook].into_iter();
        let layers = std::iter::once(own(ALL))
            .chain(groups.iter().map(|g| own(*g)))
            .chain(beside().flatten().map(|d| d.groups.get(&ALL)))
            .chain(
                beside()
                    .flatten()
                    .flat_map(|d| groups.iter().map(|g| d.groups.get(g))),
            )
            .chain(std::iter::once(Some(&data.vars)))
            .chain(beside().flatten().map(|d| d.hosts.get(&host)));
        for vars in layers.flatten() {
            merged.extend(vars.iter().map(|(name, var)| (&**name, var)));
        }
        merged
    }

    /// Returns all hosts in the order of the inventory.
    pub fn hosts(&self) -> impl ExactSizeIterator<Item = &Host> {
        self.hosts.iter()
    }

    /// Returns the host of that name.
    pub fn host(&self, name: &str) -> Option<&Host> {
        self.host_by_id(self.data.hosts.get_index_of(name)?)
    }

    pub(super) fn host_by_id(&self, id: HostId) -> Option<&Host> {
        self.hosts.get(id)
    }

    /// Returns how to reach a host that is about to be contacted.
    ///
    /// [`Host::connection`] holds what could be read; this also says when that is not all.
    ///
    /// # Errors
    /// A connection variable that is a template or encrypted, or asks for what is not supported, at its position.
    pub fn connection<'a>(&self, host: &'a Host) -> Result<&'a Connection, Error> {
        match self.unusable.get(&host.name) {
            Some(error) => Err(error.clone().into()),
            None => Ok(&host.connection),
        }
    }

    /// Returns admins, realms, policies and exemptions.
    pub const fn enrolment(&self) -> &Enrolment {
        &self.resolved.enrolment
    }

    /// Returns the realm of a host; `None` for a host that no declared realm covers.
    pub fn realm_of(&self, host: &HostName) -> Option<&Realm> {
        let id = self.data.hosts.get_index_of(host.as_str())?;
        let name = self.resolved.realm_of.get(id)?.as_ref()?;
        self.resolved.enrolment.realms.get(name)
    }

    /// Returns the admins with an account on a host, whatever its realm, by name.
    pub fn admins_on(&self, host: &HostName) -> impl Iterator<Item = &Admin> {
        let id = self.data.hosts.get_index_of(host.as_str());
        self.enrolment()
            .admins
            .values()
            .zip(&self.resolved.hosts_of)
            .filter(move |(_, hosts)| id.is_some_and(|id| hosts.contains(id)))
            .map(|(admin, _)| admin)
    }

    /// Returns the hosts on which an admin has an account, whatever their realm, in the order of the inventory.
    pub fn hosts_of(&self, admin: &Admin) -> impl Iterator<Item = &Host> {
        let hosts = self
            .resolved
            .admin_order
            .get(&admin.name)
            .and_then(|index| self.resolved.hosts_of.get(*index));
        self.hosts
            .iter()
            .enumerate()
            .filter(move |(id, _)| hosts.is_some_and(|hosts| hosts.contains(*id)))
            .map(|(_, host)| host)
    }

    /// Returns who has which account on which host of a realm, by admin, then in the order of the inventory.
    ///
    /// This is an iterator because a hundred admins on ten thousand hosts are a million assignments.
    pub fn assignments(&self) -> impl Iterator<Item = Assignment> {
        let admins = self.enrolment().admins.values();
        admins.flat_map(|admin| self.assignments_of(admin))
    }

    /// Returns the assignments of one admin, in the order of the inventory.
    pub fn assignments_of(&self, admin: &Admin) -> impl Iterator<Item = Assignment> {
        self.hosts_of(admin).filter_map(|host| {
            Some(Assignment {
                admin: admin.name.clone(),
                realm: self.realm_of(&host.name)?.name.clone(),
                host: host.name.clone(),
                login: admin.login.clone(),
            })
        })
    }

    /// Returns the hosts that cannot be contacted with what their variables say, and why.
    pub fn unusable(&self) -> impl Iterator<Item = (&Host, &FileError)> {
        self.hosts
            .iter()
            .filter_map(|host| Some((host, self.unusable.get(&host.name)?)))
    }

    /// Returns how many groups there are, without `all` and `ungrouped`.
    pub fn group_count(&self) -> usize {
        self.data.groups.len().saturating_sub(2)
    }

    /// Returns what was read, in order.
    pub fn sources(&self) -> &[SourceRead] {
        &self.read
    }

    /// Returns what is legal and probably not meant.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }
}
