//! The INI form, with the quirks Ansible has in it.

use std::sync::{Arc, LazyLock};

use indexmap::IndexMap;
use regex::Regex;

use super::{Sink, at, shared};
use crate::inventory::address;
use crate::inventory::data::{GroupId, UNGROUPED};
use crate::inventory::python;
use crate::inventory::range;
use crate::inventory::value::{Origin, Var};
use crate::names::printable;
use crate::text::{FileError, Position, SourceFile, suggest};

static SECTION: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"^\[([^:\]\s]+)(?::(\w+))?\]\s*(?:#.*)?$").ok());
static GROUP_NAME: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"^([^:\]\s]+)\s*(?:#.*)?$").ok());

/// Returns whether a line is a section header.
pub(super) fn is_section(line: &str) -> bool {
    SECTION.as_ref().is_some_and(|r| r.is_match(line))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Hosts,
    Vars,
    Children,
}

/// A group that was named before it was declared.
struct Pending {
    origin: Origin,
    state: State,
    parents: Vec<(GroupId, Origin)>,
}

/// Reads an INI inventory.
pub(super) fn read(file: &SourceFile, sink: &mut Sink) -> Result<(), FileError> {
    let mut pending: IndexMap<String, Pending> = IndexMap::new();
    let mut group = UNGROUPED;
    let mut state = State::Hosts;
    let mut empty = true;
    let text = file.text();
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    for (index, full_line) in text.lines().enumerate() {
        let line = full_line.trim();
        if line.is_empty() || line.starts_with([';', '#']) {
            continue;
        }
        empty = false;
        let origin = at(
            file,
            Position {
                line: index + 1,
                column: 1 + full_line.chars().take_while(|c| c.is_whitespace()).count(),
                width: line.chars().count(),
            },
        );
        if let Some(captures) = SECTION.as_ref().and_then(|r| r.captures(line)) {
            let name = captures.get(1).map_or("", |m| m.as_str());
            let tag = captures.get(2).map_or("hosts", |m| m.as_str());
            state = match tag {
                "hosts" => State::Hosts,
                "vars" => State::Vars,
                "children" => State::Children,
                _ => {
                    return Err(origin
                        .error(format!("unknown kind of section `:{}`", printable(tag, 40)))
                        .hinted_if(suggest::hint(tag, ["hosts", "vars", "children"])));
                }
            };
            group = begin_section(name, state, &origin, &mut pending, sink)?;
        } else if line.starts_with('[') && line.ends_with(']') {
            return Err(origin
                .error("this is not a section header")
                .hinted("write [group], [group:vars] or [group:children], without spaces"));
        } else {
            match state {
                State::Hosts => read_host(line, full_line, group, &origin, sink)?,
                State::Vars => {
                    let (name, value) = line
                        .split_once('=')
                        .ok_or_else(|| origin.error("expected `name=value`"))?;
                    let value = Arc::new(python::literal_or_text(value.trim()));
                    let var = Var { value, origin };
                    sink.data.set_group_var(group, name.trim(), var)?;
                }
                State::Children => read_child(line, group, origin, &mut pending, sink)?,
            }
        }
    }
    if empty {
        return Err(file.error_whole("the inventory is empty"));
    }
    match pending.first() {
        None => Ok(()),
        Some((name, pending)) => {
            let known: Vec<&str> = sink.data.groups.keys().map(|n| &**n).collect();
            let message = if pending.state == State::Vars {
                format!(
                    "variables of the group `{}`, which is not declared",
                    printable(name, 60)
                )
            } else {
                format!("the group `{}` is not declared", printable(name, 60))
            };
            Err(pending
                .origin
                .error(message)
                .hinted_if(suggest::hint(name, known))
                .hinted(format!("declare it with [{}]", printable(name, 60))))
        }
    }
}

fn begin_section(
    name: &str,
    state: State,
    origin: &Origin,
    pending: &mut IndexMap<String, Pending>,
    sink: &mut Sink,
) -> Result<GroupId, FileError> {
    let known = sink.data.groups.contains_key(name);
    if !known && state == State::Vars && !pending.contains_key(name) {
        let vars = Pending {
            origin: origin.clone(),
            state,
            parents: Vec::new(),
        };
        pending.insert(name.to_owned(), vars);
    }
    let group = sink.data.add_group(name, origin)?;
    if state != State::Vars {
        resolve(name, pending, sink)?;
    }
    Ok(group)
}

/// Links a group that others waited for to its parents.
fn resolve(
    name: &str,
    pending: &mut IndexMap<String, Pending>,
    sink: &mut Sink,
) -> Result<(), FileError> {
    let mut open = vec![name.to_owned()];
    while let Some(name) = open.pop() {
        let Some(declared) = pending.shift_remove(&name) else {
            continue;
        };
        let Some(child) = sink.data.groups.get_index_of(name.as_str()) else {
            continue;
        };
        for (parent, origin) in declared.parents {
            sink.data.add_child(parent, child, &origin)?;
            open.push(sink.data.group_name(parent).to_owned());
        }
    }
    Ok(())
}

fn read_child(
    line: &str,
    group: GroupId,
    origin: Origin,
    pending: &mut IndexMap<String, Pending>,
    sink: &mut Sink,
) -> Result<(), FileError> {
    let name = GROUP_NAME
        .as_ref()
        .and_then(|r| r.captures(line)?.get(1))
        .map(|m| m.as_str())
        .ok_or_else(|| origin.error("expected the name of a group, alone on its line"))?;
    if let Some(child) = sink.data.groups.get_index_of(name) {
        return sink.data.add_child(group, child, &origin);
    }
    pending
        .entry(name.to_owned())
        .or_insert_with(|| Pending {
            origin: origin.clone(),
            state: State::Children,
            parents: Vec::new(),
        })
        .parents
        .push((group, origin));
    Ok(())
}

fn read_host(
    line: &str,
    full_line: &str,
    group: GroupId,
    origin: &Origin,
    sink: &mut Sink,
) -> Result<(), FileError> {
    let words = python::split_words(line, true).map_err(|e| origin.error(e.to_string()))?;
    let Some((pattern, assignments)) = words.split_first() else {
        return Ok(());
    };
    let address = address::parse(pattern);
    if pattern.trim() == "---" {
        return Err(origin.error("`---` begins a YAML file, and this is read as INI"));
    }
    if pattern.ends_with(':') && address.is_none_or(|a| a.port.is_none()) {
        return Err(origin
            .error("a host name ends with a colon")
            .hinted("is this a YAML file? then its name ends with .yml"));
    }
    let (host, port) = address.map_or((pattern.as_str(), None), |a| (a.host, a.port));
    let mut vars: Vec<(Arc<str>, Var)> = Vec::new();
    for assignment in assignments {
        let (name, value) = assignment.split_once('=').ok_or_else(|| {
            // The word may hold a secret; it is shown only where the line would be.
            let word = if origin.file.may_hold_secrets() {
                String::new()
            } else {
                format!(", found `{}`", printable(assignment, 60))
            };
            place(origin, full_line, assignment).error(format!("expected `name=value`{word}"))
        })?;
        let origin = place(origin, full_line, assignment);
        let value = Arc::new(python::literal_or_text(value));
        vars.push((shared(name), Var { value, origin }));
    }
    if cut_by_comment(line) {
        sink.data.warnings.push(format!(
            "{}:{}: the value before `#` is cut there, as Ansible does: quote it",
            printable(origin.file.name(), 200),
            origin.position.line
        ));
    }
    for host in range::expand(host).map_err(|e| origin.error(e.to_string()))? {
        let id = sink.data.add_host(&host, group, port, origin)?;
        for (name, var) in &vars {
            sink.data.set_host_var(id, name, var.clone())?;
        }
    }
    Ok(())
}

/// The place of a word in its line, or the line's beginning where quotes hide the word.
fn place(origin: &Origin, line: &str, word: &str) -> Origin {
    let Some(at) = line.find(word) else {
        return origin.clone();
    };
    Origin {
        file: origin.file.clone(),
        position: Position {
            line: origin.position.line,
            column: 1 + line.get(..at).map_or(0, |before| before.chars().count()),
            width: word.chars().count().max(1),
        },
    }
}

/// Returns whether a `#` outside quotes ends the line in the middle of a word.
fn cut_by_comment(line: &str) -> bool {
    let mut quote = None;
    let mut before = ' ';
    for c in line.chars() {
        match (quote, c) {
            (None, '#') => return !before.is_whitespace(),
            (None, '\'' | '"') => quote = Some(c),
            (Some(q), c) if q == c => quote = None,
            _ => {}
        }
        before = c;
    }
    false
}
