//! The YAML form: groups with `hosts`, `vars` and `children`; and fleetotp's own top-level keys.

use std::sync::Arc;

use super::{Sink, at, shared};
use crate::inventory::address;
use crate::inventory::data::GroupId;
use crate::inventory::range;
use crate::inventory::value::{Value, Var, key_text};
use crate::names::printable;
use crate::text::yaml::{Entry, Kind, Mapping, Node, Resolved};
use crate::text::{FileError, Position, SourceFile, suggest};

pub(crate) const SECTIONS: [&str; 3] = ["hosts", "vars", "children"];
pub(crate) const OWN_KEYS: [&str; 4] = ["admins", "realms", "policies", "exemptions"];

/// Reads a document whose root is a mapping.
pub(super) fn read(file: &SourceFile, root: &Node, sink: &mut Sink) -> Result<(), FileError> {
    let mapping = root
        .as_mapping()
        .ok_or_else(|| file.error(root.position, "an inventory is a mapping of groups"))?;
    if let Some(plugin) = mapping.get("plugin")
        && !plugin.value.is_null()
    {
        return Err(file
            .error(
                plugin.key.position,
                "this configures an inventory plugin, which only Ansible can run",
            )
            .hinted(super::REMEDY));
    }
    if mapping.entries.is_empty() {
        return Err(file.error_whole("the inventory is empty"));
    }
    for entry in &mapping.entries {
        if is_own(file, entry)? {
            sink.declared.add(file, entry)?;
        } else {
            read_group(file, entry, sink)?;
        }
    }
    Ok(())
}

/// Tells fleetotp's own keys from Ansible groups of the same name.
fn is_own(file: &SourceFile, entry: &Entry) -> Result<bool, FileError> {
    let name = entry.key.scalar.text.as_str();
    if !OWN_KEYS.contains(&name) {
        return Ok(false);
    }
    let Some(mapping) = entry.value.as_mapping() else {
        return Ok(true);
    };
    let (sections, others): (Vec<&Entry>, Vec<&Entry>) = mapping
        .entries
        .iter()
        .partition(|e| SECTIONS.contains(&e.key.scalar.text.as_str()));
    match (sections.first(), others.first()) {
        (Some(section), Some(_)) => Err(file
            .error(
                section.key.position,
                format!(
                    "`{}` here makes `{name}` an Ansible group, yet it holds other keys as well",
                    section.key.scalar.text
                ),
            )
            .hinted(format!(
                "rename the group, or the one called `{}` under `{name}:`",
                section.key.scalar.text
            ))),
        (Some(_), None) => Ok(false),
        (None, _) => Ok(true),
    }
}

fn name_of<'a>(file: &SourceFile, entry: &'a Entry, what: &str) -> Result<&'a str, FileError> {
    let scalar = &entry.key.scalar;
    if scalar.resolved == Resolved::Text {
        return Ok(&scalar.text);
    }
    Err(file
        .error(
            entry.key.position,
            format!("a {what} name is text, and this is {}", scalar.describe()),
        )
        .hinted(format!("quote it: \"{}\"", printable(&scalar.text, 60))))
}

fn read_group(file: &SourceFile, entry: &Entry, sink: &mut Sink) -> Result<GroupId, FileError> {
    let name = name_of(file, entry, "group")?;
    let body = match &entry.value.kind {
        Kind::Mapping(mapping) => Some(mapping),
        Kind::Scalar(s) if s.resolved == Resolved::Null => None,
        Kind::Scalar(_) | Kind::Sequence(_) => {
            let error = file.error(
                entry.value.position,
                format!(
                    "the group `{}` needs a mapping with `hosts`, `vars` or `children`, not {}",
                    printable(name, 60),
                    entry.value.describe()
                ),
            );
            return Err(error.hinted_if(suggest::hint(name, OWN_KEYS)));
        }
    };
    let group = sink.data.add_group(name, &at(file, entry.key.position))?;
    for section in body.map_or(&[][..], |m| &m.entries) {
        let key = section.key.scalar.text.as_str();
        if !SECTIONS.contains(&key) {
            let error = file.error(
                section.key.position,
                format!("unknown key `{}` in the group `{name}`", printable(key, 60)),
            );
            return Err(error.hinted_if(suggest::hint(key, SECTIONS)).hinted_if(suggest::hint(name, OWN_KEYS)).hinted(
                "a group holds `hosts`, `vars` and `children`; groups below it stand under `children`",
            ));
        }
        match Section::of(file, section)? {
            Section::Empty => {}
            Section::One(key, position) => match section.key.scalar.text.as_str() {
                "vars" => {
                    return Err(file.error(position, "variables are a mapping, not text"));
                }
                "children" => {
                    let origin = at(file, position);
                    let child = sink.data.add_group(key, &origin)?;
                    sink.data.add_child(group, child, &origin)?;
                }
                _ => add_hosts(file, key, position, None, group, sink)?,
            },
            Section::Many(mapping) => match section.key.scalar.text.as_str() {
                "vars" => {
                    for (name, var) in read_vars(file, mapping)? {
                        sink.data.set_group_var(group, &name, var)?;
                    }
                }
                "children" => {
                    for child in &mapping.entries {
                        let id = read_group(file, child, sink)?;
                        sink.data
                            .add_child(group, id, &at(file, child.key.position))?;
                    }
                }
                _ => {
                    for host in &mapping.entries {
                        let pattern = name_of(file, host, "host")?;
                        let vars = host_vars(file, host)?;
                        add_hosts(file, pattern, host.key.position, vars, group, sink)?;
                    }
                }
            },
        }
    }
    Ok(group)
}

/// `hosts`, `vars` or `children`: a mapping, nothing, or the one key of a mapping written as text.
enum Section<'a> {
    Empty,
    One(&'a str, Position),
    Many(&'a Mapping),
}

impl<'a> Section<'a> {
    fn of(file: &SourceFile, entry: &'a Entry) -> Result<Self, FileError> {
        match &entry.value.kind {
            Kind::Mapping(mapping) => Ok(Self::Many(mapping)),
            Kind::Scalar(s) if s.resolved == Resolved::Null => Ok(Self::Empty),
            Kind::Scalar(s) if s.resolved == Resolved::Text => {
                Ok(Self::One(&s.text, entry.value.position))
            }
            Kind::Scalar(_) | Kind::Sequence(_) => {
                let key = &entry.key.scalar.text;
                let error = file.error(
                    entry.value.position,
                    format!("`{key}` is a mapping, not {}", entry.value.describe()),
                );
                Err(match entry.value.as_sequence().and_then(<[Node]>::first) {
                    Some(first) => error.hinted(format!(
                        "end each name with a colon instead of beginning it with a dash: `{}:`",
                        printable(first.as_text().unwrap_or("web1"), 60)
                    )),
                    None => error,
                })
            }
        }
    }
}

fn host_vars<'a>(file: &SourceFile, host: &'a Entry) -> Result<Option<&'a Mapping>, FileError> {
    match &host.value.kind {
        Kind::Mapping(mapping) => Ok(Some(mapping)),
        Kind::Scalar(s) if s.resolved == Resolved::Null => Ok(None),
        Kind::Scalar(_) | Kind::Sequence(_) => Err(file.error(
            host.value.position,
            format!(
                "a host's variables are a mapping, not {}",
                host.value.describe()
            ),
        )),
    }
}

fn add_hosts(
    file: &SourceFile,
    pattern: &str,
    position: Position,
    vars: Option<&Mapping>,
    group: GroupId,
    sink: &mut Sink,
) -> Result<(), FileError> {
    let origin = at(file, position);
    let (host, port) =
        address::parse(pattern).map_or((pattern, None), |address| (address.host, address.port));
    let hosts = range::expand(host).map_err(|e| origin.error(e.to_string()))?;
    let vars = match vars {
        Some(mapping) => read_vars(file, mapping)?,
        None => Vec::new(),
    };
    for host in hosts {
        let id = sink.data.add_host(&host, group, port, &origin)?;
        for (name, var) in &vars {
            sink.data.set_host_var(id, name, var.clone())?;
        }
    }
    Ok(())
}

/// Reads variables; each value once, however many hosts get it.
pub(crate) fn read_vars(
    file: &SourceFile,
    mapping: &Mapping,
) -> Result<Vec<(Arc<str>, Var)>, FileError> {
    mapping
        .entries
        .iter()
        .map(|entry| {
            let value = Arc::new(Value::from_node(file, &entry.value)?);
            let origin = at(file, entry.value.position);
            Ok((shared(&key_text(&entry.key.scalar)), Var { value, origin }))
        })
        .collect()
}
