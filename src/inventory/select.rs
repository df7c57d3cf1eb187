//! Selecting hosts and admins by pattern and limit.

use std::collections::{BTreeMap, BTreeSet};

use indexmap::IndexMap;

use super::Inventory;
use super::data::{Data, HostId};
use super::model::{Admin, Host};
use super::pattern::{self, Universe};
use crate::clock::Timestamp;
use crate::error::{Error, Kind};
use crate::names::{HostName, Login, printable};
use crate::text::{FileError, Position, SourceFile};

impl Universe for Data {
    fn noun(&self) -> &'static str {
        "host"
    }

    fn group(&self, name: &str) -> Option<usize> {
        self.groups.get_index_of(name)
    }

    fn groups(&self) -> impl Iterator<Item = &str> {
        self.groups.keys().map(|name| &**name)
    }

    fn members(&self, group: usize) -> &[usize] {
        self.hosts_of(group)
    }

    fn item(&self, name: &str) -> Option<usize> {
        self.hosts.get_index_of(name)
    }

    fn items(&self) -> impl Iterator<Item = &str> {
        self.hosts.keys().map(|name| &**name)
    }
}

/// Admins by name with their groups; the group `all` holds every admin.
struct Admins<'a> {
    names: IndexMap<&'a str, &'a Admin>,
    groups: IndexMap<&'a str, Vec<usize>>,
}

impl<'a> Admins<'a> {
    fn new(inventory: &'a Inventory) -> Self {
        let names: IndexMap<&str, &Admin> = inventory
            .enrolment()
            .admins
            .iter()
            .map(|(name, admin)| (name.as_str(), admin))
            .collect();
        let mut groups = IndexMap::from([("all", (0..names.len()).collect())]);
        for (id, admin) in names.values().enumerate() {
            for group in admin.groups.iter().filter(|g| *g != "all") {
                groups
                    .entry(group.as_str())
                    .or_insert_with(Vec::new)
                    .push(id);
            }
        }
        Self { names, groups }
    }
}

impl Universe for Admins<'_> {
    fn noun(&self) -> &'static str {
        "admin"
    }

    fn group(&self, name: &str) -> Option<usize> {
        self.groups.get_index_of(name)
    }

    fn groups(&self) -> impl Iterator<Item = &str> {
        self.groups.keys().copied()
    }

    fn members(&self, group: usize) -> &[usize] {
        self.groups
            .get_index(group)
            .map_or(&[], |(_, members)| members)
    }

    fn item(&self, name: &str) -> Option<usize> {
        self.names.get_index_of(name)
    }

    fn items(&self) -> impl Iterator<Item = &str> {
        self.names.keys().copied()
    }
}

impl Inventory {
    /// Returns the hosts that a pattern selects within a limit, in the order of the pattern.
    ///
    /// # Errors
    /// No host is selected, a part of the pattern or limit matches nothing, an `@file` is missing or empty.
    pub fn select(&self, pattern: &str, limit: Option<&str>) -> Result<Vec<&Host>, Error> {
        let hosts = self.select_or_none(pattern, limit)?;
        if hosts.is_empty() {
            let pattern = printable(pattern, 200);
            return Err(Error::failed(match limit {
                Some(limit) => format!(
                    "no host matches `{pattern}` within the limit `{}`",
                    printable(limit, 200)
                ),
                None => format!("no host matches `{pattern}`"),
            }));
        }
        Ok(hosts)
    }

    /// As [`Self::select`], but a limit that leaves nothing of what the pattern selects is no error: one play of several.
    ///
    /// # Errors
    /// As [`Self::select`]; also when the pattern alone, or the limit alone, selects no host.
    pub fn select_or_none(&self, pattern: &str, limit: Option<&str>) -> Result<Vec<&Host>, Error> {
        let nothing = |what: &str, text: &str| {
            Error::failed(format!(
                "the {what} `{}` selects no host",
                printable(text, 200)
            ))
        };
        let parts = pattern::split(pattern);
        if parts.is_empty() {
            return Err(Error::failed("the host pattern is empty")
                .hinted("to select every host, write `all`"));
        }
        let mut hosts = pattern::evaluate(&self.data, &parts)?;
        if hosts.is_empty() {
            let error = nothing("pattern", pattern);
            return Err(if self.hosts().len() == 0 {
                error.hinted("the inventory names no host yet")
            } else {
                error
            });
        }
        if let Some(limit) = limit {
            let within = self.within(limit)?;
            if within.is_empty() {
                return Err(nothing("limit", limit));
            }
            let mut inside = vec![false; self.data.hosts.len()];
            for host in within {
                if let Some(flag) = inside.get_mut(host) {
                    *flag = true;
                }
            }
            hosts.retain(|host| inside.get(*host) == Some(&true));
        }
        Ok(hosts
            .into_iter()
            .filter_map(|id| self.host_by_id(id))
            .collect())
    }

    /// Evaluates a limit. `@file` stands for the file's lines, each one part.
    fn within(&self, limit: &str) -> Result<Vec<HostId>, Error> {
        let mut parts = Vec::new();
        for part in pattern::split(limit) {
            match part.strip_prefix('@') {
                Some(path) => parts.extend(self.limit_file(path)?),
                None => parts.push(part),
            }
        }
        if parts.is_empty() {
            // Ansible takes an empty limit for no limit: an unset variable in a script then means every host.
            return Err(Error::usage("the limit is empty")
                .hinted("leave --limit away to work on every host"));
        }
        Ok(pattern::evaluate(&self.data, &parts)?)
    }

    fn limit_file(&self, path: &str) -> Result<Vec<String>, Error> {
        let shown = printable(path, 200);
        let text = std::fs::read_to_string(self.limit_directory.join(path)).map_err(|e| {
            Error::failed(format!("cannot read the limit file `{shown}`")).caused_by(e)
        })?;
        let file = SourceFile::new(path, text);
        let mut parts = Vec::new();
        for (index, line) in file.text().lines().enumerate() {
            let part = line.trim();
            if part.is_empty() {
                continue;
            }
            // Checked here, where the line is known.
            let alone = part.trim_start_matches(['!', '&']).to_owned();
            pattern::evaluate(&self.data, &[alone]).map_err(|e| {
                let position = Position {
                    line: index + 1,
                    column: 1 + line.chars().take_while(|c| c.is_whitespace()).count(),
                    width: part.chars().count(),
                };
                file.error(position, e.message).hinted_if(e.hint)
            })?;
            parts.push(part.to_owned());
        }
        if parts.is_empty() {
            return Err(FileError::whole(path, "the limit file names no host")
                .hinted("Ansible would work on every host here; fleetotp does not")
                .into());
        }
        Ok(parts)
    }

    /// Returns the accounts with an exemption that is in force at a time, by host.
    ///
    /// # Errors
    /// A pattern of an exemption selects nothing.
    pub fn exempt_on(&self, now: Timestamp) -> Result<BTreeMap<HostName, BTreeSet<Login>>, Error> {
        let mut found: BTreeMap<HostName, BTreeSet<Login>> = BTreeMap::new();
        let all = self.enrolment().exemptions.iter();
        for exemption in all.filter(|e| e.expires > now) {
            for host in self.select(&exemption.hosts, None)? {
                let logins = found.entry(host.name.clone()).or_default();
                logins.insert(exemption.login.clone());
            }
        }
        Ok(found)
    }

    /// Returns the admins that a pattern selects, by the same grammar over their names and groups; all without one.
    ///
    /// # Errors
    /// No admin is selected, or a part of the pattern matches nothing.
    pub fn select_admins(&self, pattern: Option<&str>) -> Result<Vec<&Admin>, Error> {
        let Some(text) = pattern else {
            return Ok(self.enrolment().admins.values().collect());
        };
        let universe = Admins::new(self);
        let parts = pattern::split(text);
        if parts.is_empty() {
            return Err(Error::usage("the pattern of admins is empty")
                .hinted("leave --admins away to select every admin"));
        }
        let selected = pattern::evaluate(&universe, &parts)?;
        if selected.is_empty() {
            return Err(Error::new(
                Kind::Failed,
                format!("no admin matches `{}`", printable(text, 200)),
            ));
        }
        Ok(selected
            .into_iter()
            .filter_map(|id| universe.names.get_index(id).map(|(_, admin)| *admin))
            .collect())
    }
}
