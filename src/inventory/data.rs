//! Hosts and groups as the sources build them up, with Ansible's rules for ancestry, depth and order.

use std::collections::HashSet;
use std::sync::{Arc, OnceLock};

use indexmap::IndexMap;

use super::value::{Origin, Value, Var, Vars};
use crate::names::{HostName, printable};
use crate::text::FileError;

/// Index of a group.
pub(crate) type GroupId = usize;
/// Index of a host.
pub(crate) type HostId = usize;

/// The group of all hosts.
pub(crate) const ALL: GroupId = 0;
/// The group of hosts that are in no other.
pub(crate) const UNGROUPED: GroupId = 1;

/// A group.
#[derive(Debug, Default)]
pub(crate) struct Group {
    pub(crate) children: Vec<GroupId>,
    pub(crate) parents: Vec<GroupId>,
    pub(crate) hosts: Vec<HostId>,
    members: HashSet<HostId>,
    pub(crate) vars: Vars,
    pub(crate) priority: i64,
    pub(crate) depth: usize,
    all_hosts: OnceLock<Vec<HostId>>,
}

/// A host.
#[derive(Debug)]
pub(crate) struct HostData {
    pub(crate) name: HostName,
    pub(crate) vars: Vars,
    /// Groups that name the host directly.
    pub(crate) groups: Vec<GroupId>,
}

/// Hosts and groups.
#[derive(Debug)]
pub(crate) struct Data {
    pub(crate) groups: IndexMap<Arc<str>, Group>,
    pub(crate) hosts: IndexMap<Arc<str>, HostData>,
    /// What Ansible does and a user may not expect.
    pub(crate) warnings: Vec<String>,
}

impl Data {
    pub(crate) fn new() -> Self {
        let mut data = Self {
            groups: IndexMap::new(),
            hosts: IndexMap::new(),
            warnings: Vec::new(),
        };
        for name in ["all", "ungrouped"] {
            data.groups.insert(name.into(), new_group());
        }
        data.link(ALL, UNGROUPED);
        data
    }

    pub(crate) fn group(&self, id: GroupId) -> Option<&Group> {
        self.groups.get_index(id).map(|(_, group)| group)
    }

    pub(crate) fn group_name(&self, id: GroupId) -> &str {
        self.groups.get_index(id).map_or("", |(name, _)| name)
    }

    pub(crate) fn host(&self, id: HostId) -> Option<&HostData> {
        self.hosts.get_index(id).map(|(_, host)| host)
    }

    pub(crate) fn host_name(&self, id: HostId) -> &str {
        self.hosts.get_index(id).map_or("", |(name, _)| name)
    }

    fn group_mut(&mut self, id: GroupId) -> Option<&mut Group> {
        self.groups.get_index_mut(id).map(|(_, group)| group)
    }

    /// Returns the group of that name, made if need be.
    pub(crate) fn add_group(&mut self, name: &str, origin: &Origin) -> Result<GroupId, FileError> {
        if let Some(id) = self.groups.get_index_of(name) {
            return Ok(id);
        }
        if let Err(why) = check_group_name(name) {
            return Err(origin.error(format!("the group name `{}` {why}", printable(name, 60))));
        }
        Ok(self.groups.insert_full(name.into(), new_group()).0)
    }

    /// Returns the host of that name, made if need be, as a member of `group`.
    ///
    /// A port counts only where the host is first named, as in Ansible.
    pub(crate) fn add_host(
        &mut self,
        name: &str,
        group: GroupId,
        port: Option<&str>,
        origin: &Origin,
    ) -> Result<HostId, FileError> {
        let id = match self.hosts.get_index_of(name) {
            Some(id) => id,
            None => {
                let mut host = HostData {
                    name: HostName::new(name).map_err(|e| origin.error(e.to_string()))?,
                    vars: Vars::new(),
                    groups: Vec::new(),
                };
                if let Some(port) = port {
                    let number = port
                        .parse::<u16>()
                        .ok()
                        .filter(|p| *p != 0)
                        .ok_or_else(|| origin.error(format!("the port {port} does not exist")))?;
                    let value = Arc::new(Value::Int(i128::from(number)));
                    let origin = origin.clone();
                    host.vars
                        .insert("ansible_port".into(), Var { value, origin });
                }
                self.hosts.insert_full(name.into(), host).0
            }
        };
        self.join(group, id);
        Ok(id)
    }

    fn join(&mut self, group: GroupId, host: HostId) {
        if let Some(g) = self.group_mut(group)
            && g.members.insert(host)
        {
            g.hosts.push(host);
            if let Some((_, h)) = self.hosts.get_index_mut(host) {
                h.groups.push(group);
            }
        }
    }

    fn link(&mut self, parent: GroupId, child: GroupId) {
        if let Some(g) = self.group_mut(parent)
            && !g.children.contains(&child)
        {
            g.children.push(child);
            if let Some(g) = self.group_mut(child) {
                g.parents.push(parent);
            }
        }
    }

    /// Makes `child` a child of `parent`.
    pub(crate) fn add_child(
        &mut self,
        parent: GroupId,
        child: GroupId,
        origin: &Origin,
    ) -> Result<(), FileError> {
        if parent == child || self.ancestors(parent).contains(&child) {
            return Err(origin.error(format!(
                "the group `{}` would be its own child: `{}` is above it already",
                self.group_name(child),
                self.group_name(parent),
            )));
        }
        if child == UNGROUPED && parent != ALL {
            return Err(origin
                .error("`ungrouped` cannot be a child: its hosts would be in no group at all"));
        }
        self.link(parent, child);
        Ok(())
    }

    /// Returns the groups above `group`, without itself.
    fn ancestors(&self, group: GroupId) -> HashSet<GroupId> {
        let mut seen = HashSet::new();
        let mut open = vec![group];
        while let Some(id) = open.pop() {
            for parent in self.group(id).map_or(&[][..], |g| &g.parents) {
                if seen.insert(*parent) {
                    open.push(*parent);
                }
            }
        }
        seen
    }

    /// Sets a variable of a group; `ansible_group_priority` becomes the group's priority.
    pub(crate) fn set_group_var(
        &mut self,
        group: GroupId,
        name: &str,
        var: Var,
    ) -> Result<(), FileError> {
        let Some(g) = self.group_mut(group) else {
            return Ok(());
        };
        if name == "ansible_group_priority" {
            let number = match &*var.value {
                Value::Int(i) => i64::try_from(*i).ok(),
                Value::Text(text) => text.trim().parse().ok(),
                _ => None,
            };
            g.priority = number.ok_or_else(|| {
                var.origin
                    .error("`ansible_group_priority` needs a whole number")
            })?;
        } else {
            g.vars.insert(name.into(), var);
        }
        Ok(())
    }

    /// Sets a variable of a host. Where a group has the host's name, Ansible gives it to the group; so do we.
    pub(crate) fn set_host_var(
        &mut self,
        host: HostId,
        name: &Arc<str>,
        var: Var,
    ) -> Result<(), FileError> {
        let Some((host_name, data)) = self.hosts.get_index_mut(host) else {
            return Ok(());
        };
        if let Some(group) = self.groups.get_index_of(&**host_name) {
            return self.set_group_var(group, name, var);
        }
        data.vars.insert(Arc::clone(name), var);
        Ok(())
    }

    /// Applies Ansible's rules once all sources are read: everything is below `all`, hosts without a group are in
    /// `ungrouped`, hosts with one are not, and every group has its depth.
    pub(crate) fn reconcile(&mut self) -> Result<(), String> {
        for id in 0..self.groups.len() {
            if id != ALL && self.group(id).is_some_and(|g| g.parents.is_empty()) {
                if self.ancestors(ALL).contains(&id) {
                    return Err(format!(
                        "the group `{}` has `all` as a child, which is above every group",
                        self.group_name(id)
                    ));
                }
                self.link(ALL, id);
            }
        }
        let mut leave = HashSet::new();
        let mut enter = Vec::new();
        for (id, host) in self.hosts.values().enumerate() {
            let others = host.groups.iter().any(|g| *g != ALL && *g != UNGROUPED);
            let ungrouped = host.groups.contains(&UNGROUPED);
            if others && ungrouped {
                leave.insert(id);
            } else if !others && !ungrouped {
                enter.push(id);
            }
        }
        if let Some(g) = self.group_mut(UNGROUPED) {
            g.hosts.retain(|h| !leave.contains(h));
            g.members.retain(|h| !leave.contains(h));
        }
        for id in leave {
            if let Some((_, host)) = self.hosts.get_index_mut(id) {
                host.groups.retain(|g| *g != UNGROUPED);
            }
        }
        for id in enter {
            // Ansible looks a child up among the groups first, so a group of the host's name takes its place.
            match self.groups.get_index_of(self.host_name(id)) {
                Some(group) if group != ALL && group != UNGROUPED => self.link(UNGROUPED, group),
                _ => self.join(UNGROUPED, id),
            }
        }
        self.set_depths();
        for name in self.groups.keys() {
            if self.hosts.contains_key(name) {
                self.warnings
                    .push(format!("`{name}` is both a group and a host"));
            }
        }
        Ok(())
    }

    /// Sets every group's depth: the longest way down from `all`.
    fn set_depths(&mut self) {
        let mut waiting: Vec<usize> = self.groups.values().map(|g| g.parents.len()).collect();
        let mut ready = vec![ALL];
        while let Some(id) = ready.pop() {
            let Some(group) = self.group(id) else {
                continue;
            };
            let depth = group.depth + 1;
            for child in group.children.clone() {
                if let Some(g) = self.group_mut(child) {
                    g.depth = g.depth.max(depth);
                }
                if let Some(count) = waiting.get_mut(child) {
                    *count -= 1;
                    if *count == 0 {
                        ready.push(child);
                    }
                }
            }
        }
    }

    /// Returns the hosts of a group and of all groups below it, in Ansible's order: level by level.
    pub(crate) fn hosts_of(&self, group: GroupId) -> &[HostId] {
        let Some(g) = self.group(group) else {
            return &[];
        };
        g.all_hosts.get_or_init(|| {
            let mut seen_groups = HashSet::from([group]);
            let mut level = vec![group];
            let mut seen = HashSet::new();
            let mut hosts = Vec::new();
            while !level.is_empty() {
                let mut next = Vec::new();
                for g in level.iter().filter_map(|id| self.group(*id)) {
                    hosts.extend(g.hosts.iter().copied().filter(|h| seen.insert(*h)));
                    next.extend(
                        g.children
                            .iter()
                            .copied()
                            .filter(|c| seen_groups.insert(*c)),
                    );
                }
                level = next;
            }
            hosts
        })
    }

    /// Returns the groups of a host with all above them, without `all`, sorted as Ansible merges variables.
    pub(crate) fn groups_of(&self, host: &HostData) -> Vec<GroupId> {
        let mut seen: HashSet<GroupId> = host.groups.iter().copied().collect();
        for group in &host.groups {
            seen.extend(self.ancestors(*group));
        }
        seen.remove(&ALL);
        let mut groups: Vec<GroupId> = seen.into_iter().collect();
        groups.sort_unstable_by_key(|id| {
            let group = self.group(*id);
            (
                group.map_or(0, |g| g.depth),
                group.map_or(1, |g| g.priority),
                self.group_name(*id),
            )
        });
        groups
    }
}

fn new_group() -> Group {
    Group {
        priority: 1,
        ..Group::default()
    }
}

/// Ansible takes nearly any name; what could leave `group_vars/` or upset a terminal is refused.
fn check_group_name(name: &str) -> Result<(), &'static str> {
    if name.is_empty() {
        return Err("is empty");
    }
    if name.len() > 255 {
        return Err("is longer than 255 bytes");
    }
    if name.starts_with('/') || name.split('/').any(|part| part == "..") {
        return Err("is a path");
    }
    if printable(name, usize::MAX) != name {
        return Err("contains control characters");
    }
    Ok(())
}
