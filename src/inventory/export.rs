//! What `ansible-inventory` prints: `--list` as JSON, `--graph`.

use std::collections::{BTreeMap, HashSet};
use std::io::{self, Write};

use super::Inventory;
use super::data::{ALL, GroupId, HostId};
use super::value::{write_json_list, write_json_map, write_json_text};
use crate::error::Error;
use crate::text::suggest;

/// Variables that `ansible-inventory` never prints, because Ansible sets them itself.
const INTERNAL: [&str; 33] = [
    "ansible_async_path",
    "ansible_collection_name",
    "ansible_config_file",
    "ansible_dependent_role_names",
    "ansible_diff_mode",
    "ansible_facts",
    "ansible_forks",
    "ansible_inventory_sources",
    "ansible_limit",
    "ansible_play_batch",
    "ansible_play_hosts",
    "ansible_play_hosts_all",
    "ansible_play_role_names",
    "ansible_playbook_python",
    "ansible_role_name",
    "ansible_role_names",
    "ansible_run_tags",
    "ansible_skip_tags",
    "ansible_verbosity",
    "ansible_version",
    "group_names",
    "groups",
    "hostvars",
    "inventory_dir",
    "inventory_file",
    "inventory_hostname",
    "inventory_hostname_short",
    "play_hosts",
    "playbook_dir",
    "role_name",
    "role_names",
    "role_path",
    "role_uuid",
];

impl Inventory {
    /// Returns what `ansible-inventory --list` prints, without the newline at the end.
    ///
    /// # Errors
    /// A limit that selects nothing.
    pub fn list_json(&self, limit: Option<&str>) -> Result<String, Error> {
        let hosts = self.listed(limit)?;
        let available: HashSet<HostId> = hosts.iter().copied().collect();
        let mut groups = BTreeMap::new();
        self.collect_groups(&available, &mut groups);
        let mut out = String::new();
        let names = std::iter::once("_meta").chain(groups.keys().copied());
        let mut names: Vec<&str> = names.collect();
        names.sort_unstable();
        write_json_map(
            &mut out,
            0,
            names.into_iter().map(|n| (n, n)),
            |out, name, indent| match groups.get(name) {
                Some(group) => write_group(out, indent, group),
                None => self.write_meta(out, indent, &hosts),
            },
        );
        Ok(out)
    }

    /// Returns the variables of one host as `ansible-inventory --host` prints them.
    ///
    /// # Errors
    /// There is no such host.
    pub fn host_json(&self, name: &str) -> Result<String, Error> {
        let Some(id) = self.data.hosts.get_index_of(name) else {
            let known = self.data.hosts.keys().map(|n| &**n);
            return Err(Error::failed(format!(
                "there is no host `{}`",
                crate::names::printable(name, 80)
            ))
            .hinted_if(suggest::hint(name, known)));
        };
        let mut out = String::new();
        self.write_vars(&mut out, 0, id);
        Ok(out)
    }

    fn listed(&self, limit: Option<&str>) -> Result<Vec<HostId>, Error> {
        let all = self.data.hosts_of(ALL);
        let Some(limit) = limit else {
            return Ok(all.to_vec());
        };
        let hosts = self.select("all", Some(limit))?;
        Ok(hosts
            .into_iter()
            .filter_map(|h| self.data.hosts.get_index_of(h.name.as_str()))
            .collect())
    }

    fn collect_groups<'a>(
        &'a self,
        available: &HashSet<HostId>,
        groups: &mut BTreeMap<&'a str, ListedGroup<'a>>,
    ) {
        let mut seen = HashSet::from([ALL]);
        let mut open = vec![ALL];
        while let Some(id) = open.pop() {
            let Some(group) = self.data.group(id) else {
                continue;
            };
            open.extend(group.children.iter().copied().filter(|c| seen.insert(*c)));
            let listed = ListedGroup {
                children: group
                    .children
                    .iter()
                    .map(|c| self.data.group_name(*c))
                    .collect(),
                hosts: group
                    .hosts
                    .iter()
                    .filter(|h| id != ALL && available.contains(h))
                    .map(|h| self.data.host_name(*h))
                    .collect(),
            };
            if !listed.children.is_empty() || !listed.hosts.is_empty() {
                groups.insert(self.data.group_name(id), listed);
            }
        }
    }

    fn write_meta(&self, out: &mut String, indent: usize, hosts: &[HostId]) {
        let mut hosts: Vec<(&str, HostId)> = hosts
            .iter()
            .map(|id| (self.data.host_name(*id), *id))
            .filter(|(_, id)| self.merged(*id).keys().any(|name| !INTERNAL.contains(name)))
            .collect();
        hosts.sort_unstable();
        write_json_map(
            out,
            indent,
            [("hostvars", true), ("profile", false)],
            |out, is_vars, indent| {
                if is_vars {
                    write_json_map(out, indent, hosts.iter().copied(), |out, id, indent| {
                        self.write_vars(out, indent, id);
                    });
                } else {
                    write_json_text(out, "inventory_legacy");
                }
            },
        );
    }

    fn write_vars(&self, out: &mut String, indent: usize, host: HostId) {
        let mut vars = self.merged(host);
        vars.retain(|name, _| !INTERNAL.contains(name));
        vars.sort_unstable_keys();
        write_json_map(out, indent, vars, |out, var, indent| {
            var.value.write_json(out, indent);
        });
    }

    /// Writes what `ansible-inventory --graph GROUP` prints.
    ///
    /// # Errors
    /// There is no such group; `out` fails.
    pub fn write_graph(&self, group: &str, out: &mut dyn Write) -> Result<(), Error> {
        let Some(id) = self.data.groups.get_index_of(group) else {
            let known = self.data.groups.keys().map(|n| &**n);
            return Err(Error::failed(format!(
                "there is no group `{}`",
                crate::names::printable(group, 80)
            ))
            .hinted_if(suggest::hint(group, known)));
        };
        self.graph_group(id, 0, out)
            .map_err(|e| Error::failed("cannot write the graph").caused_by(e))
    }

    /// Groups cannot be in a cycle, so this ends; a group with several parents is shown below each.
    fn graph_group(&self, id: GroupId, depth: usize, out: &mut dyn Write) -> io::Result<()> {
        let Some(group) = self.data.group(id) else {
            return Ok(());
        };
        line(out, depth, &format!("@{}:", self.data.group_name(id)))?;
        for child in &group.children {
            self.graph_group(*child, depth + 1, out)?;
        }
        if id != ALL {
            for host in &group.hosts {
                line(out, depth + 1, self.data.host_name(*host))?;
            }
        }
        Ok(())
    }
}

fn line(out: &mut dyn Write, depth: usize, text: &str) -> io::Result<()> {
    let dashes = if depth == 0 { "" } else { "--" };
    writeln!(out, "{}{dashes}{text}", "  |".repeat(depth))
}

struct ListedGroup<'a> {
    children: Vec<&'a str>,
    hosts: Vec<&'a str>,
}

fn write_group(out: &mut String, indent: usize, group: &ListedGroup<'_>) {
    let parts = [("children", &group.children), ("hosts", &group.hosts)];
    write_json_map(
        out,
        indent,
        parts.into_iter().filter(|(_, names)| !names.is_empty()),
        |out, names, indent| {
            write_json_list(out, indent, names, |out, name, _| {
                write_json_text(out, name);
            });
        },
    );
}
