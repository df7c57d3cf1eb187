//! Executable sources: a program that prints JSON for `--list` and `--host NAME`.

use std::fmt;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use indexmap::IndexMap;
use serde::Deserialize;
use serde::de::{Deserializer, Error as _, MapAccess, SeqAccess, Visitor};

use super::{Sink, at, shared};
use crate::error::{Error, Kind};
use crate::inventory::LoadOptions;
use crate::inventory::data::HostId;
use crate::inventory::value::{Origin, Value, Var};
use crate::names::printable;
use crate::text::{FileError, Position, SourceFile};

/// How much a script may print.
const MAX_OUTPUT: u64 = 256 * 1024 * 1024;
/// How much of its messages is shown.
const MAX_MESSAGES: u64 = 64 * 1024;

/// Returns whether a file is a program: executable, and with a `#!` line or an ELF header.
///
/// The first bytes count because files on some file systems are all executable.
pub(super) fn is_program(path: &Path) -> bool {
    let executable =
        std::fs::metadata(path).is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0);
    let mut head = [0u8; 4];
    executable
        && std::fs::File::open(path)
            .and_then(|mut file| file.read(&mut head))
            .is_ok_and(|_| head.starts_with(b"#!") || head == *b"\x7fELF")
}

/// Runs a script and reads what it prints.
pub(super) fn read(
    path: &Path,
    shown: &str,
    options: &LoadOptions<'_>,
    sink: &mut Sink,
) -> Result<(), Error> {
    let output = run(path, shown, &["--list"], options.script_timeout)?;
    let file = SourceFile::secret(format!("{shown} --list"), output);
    let groups = parse(&file)?;
    let origin = at(&file, Position::new(1, 1));
    let wrong = |message: String| FileError::whole(file.name(), message);
    let mut host_vars: Option<&IndexMap<String, Value>> = None;
    let mut hosts: Vec<HostId> = Vec::new();
    for (name, body) in &groups {
        if name == "_meta" {
            let Value::Map(meta) = body else {
                return Err(wrong(format!("`_meta` is {}, not an object", describe(body))).into());
            };
            match meta.get("hostvars") {
                Some(Value::Map(map)) => host_vars = Some(map),
                _ => return Err(wrong("`_meta` lacks the object `hostvars`".to_owned()).into()),
            }
        } else {
            read_group(name, body, &origin, sink, &mut hosts)?;
        }
    }
    hosts.sort_unstable();
    hosts.dedup();
    let started = Instant::now();
    for host in hosts {
        let name = sink.data.host_name(host).to_owned();
        let own;
        let vars = match host_vars {
            Some(all) => match all.get(&name) {
                None => continue,
                Some(Value::Map(vars)) => vars,
                Some(other) => {
                    return Err(wrong(format!(
                        "the variables of `{name}` are {}, not an object",
                        describe(other)
                    ))
                    .into());
                }
            },
            None => {
                let left = options.script_timeout.saturating_sub(started.elapsed());
                let output = run(path, shown, &["--host", &name], left)?;
                if output.trim().is_empty() {
                    continue;
                }
                own = parse(&SourceFile::secret(
                    format!("{shown} --host {name}"),
                    output,
                ))?;
                &own
            }
        };
        for (key, value) in vars {
            sink.data
                .set_host_var(host, &shared(key), var(value, &origin))?;
        }
    }
    Ok(())
}

fn var(value: &Value, origin: &Origin) -> Var {
    Var {
        value: Arc::new(value.clone()),
        origin: origin.clone(),
    }
}

fn read_group(
    name: &str,
    body: &Value,
    origin: &Origin,
    sink: &mut Sink,
    hosts: &mut Vec<HostId>,
) -> Result<(), FileError> {
    let group = sink.data.add_group(name, origin)?;
    let wrong = |what: &str, value: &Value, wanted: &str| {
        FileError::whole(
            origin.file.name(),
            format!(
                "`{what}` of the group `{name}` is {}, not {wanted}",
                describe(value)
            ),
        )
    };
    let mut add_hosts = |list: &Value, sink: &mut Sink| -> Result<(), FileError> {
        let Value::List(names) = list else {
            return Err(wrong("hosts", list, "a list"));
        };
        for host in names {
            let Value::Text(host) = host else {
                return Err(wrong("hosts", host, "text"));
            };
            hosts.push(sink.data.add_host(host, group, None, origin)?);
        }
        Ok(())
    };
    let Value::Map(map) = body else {
        // An old form: the list of hosts alone.
        return add_hosts(body, sink);
    };
    if !["hosts", "vars", "children"]
        .iter()
        .any(|k| map.contains_key(*k))
    {
        // Another old form: a host of that name with its variables.
        add_hosts(&Value::List(vec![Value::Text(name.to_owned())]), sink)?;
        for (key, value) in map {
            sink.data.set_group_var(group, key, var(value, origin))?;
        }
        return Ok(());
    }
    if let Some(list) = map.get("hosts") {
        add_hosts(list, sink)?;
    }
    match map.get("vars") {
        None => {}
        Some(Value::Map(vars)) => {
            for (key, value) in vars {
                sink.data.set_group_var(group, key, var(value, origin))?;
            }
        }
        Some(other) => return Err(wrong("vars", other, "an object")),
    }
    match map.get("children") {
        None => {}
        Some(Value::List(children)) => {
            for child in children {
                let Value::Text(child) = child else {
                    return Err(wrong("children", child, "text"));
                };
                let child = sink.data.add_group(child, origin)?;
                sink.data.add_child(group, child, origin)?;
            }
        }
        Some(other) => return Err(wrong("children", other, "a list")),
    }
    Ok(())
}

const fn describe(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Int(_) | Value::Float(_) => "a number",
        Value::Text(_) | Value::Unsafe(_) | Value::Vault(_) => "text",
        Value::List(_) => "a list",
        Value::Map(_) => "an object",
    }
}

fn parse(file: &SourceFile) -> Result<IndexMap<String, Value>, FileError> {
    match serde_json::from_str(file.text()) {
        Ok(Value::Map(map)) => Ok(map),
        Ok(other) => Err(FileError::whole(
            file.name(),
            format!("the script printed {}, not an object", describe(&other)),
        )),
        Err(e) => {
            let place = Position::new(e.line().max(1), e.column().max(1));
            let message = e.to_string();
            let message = message.split(" at line ").next().unwrap_or_default();
            Err(file.error(
                place,
                format!("the script did not print JSON: {}", printable(message, 120)),
            ))
        }
    }
}

/// Stops a script that is still running when its reader gives up.
struct Reaper(Child);

impl Drop for Reaper {
    fn drop(&mut self) {
        // Both fail only if the program has ended already.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn run(path: &Path, shown: &str, arguments: &[&str], timeout: Duration) -> Result<String, Error> {
    let command = format!("{shown} {}", arguments.join(" "));
    let failed = |why: String| {
        Error::new(
            Kind::File,
            format!("the inventory script `{command}` {why}"),
        )
    };
    let mut child = Command::new(path)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map(Reaper)
        .map_err(|e| failed("cannot be run".to_owned()).caused_by(e))?;
    let output = child.0.stdout.take();
    let messages = child.0.stderr.take();
    let (send, receive) = std::sync::mpsc::channel();
    for (is_output, pipe, limit) in [
        (
            true,
            output.map(|p| Box::new(p) as Box<dyn std::io::Read + Send>),
            MAX_OUTPUT,
        ),
        (
            false,
            messages.map(|p| Box::new(p) as Box<dyn std::io::Read + Send>),
            MAX_MESSAGES,
        ),
    ] {
        let send = send.clone();
        // The thread outlives a script that is stopped only until its pipe closes.
        std::thread::spawn(move || {
            let mut bytes = Vec::new();
            let complete = pipe.is_none_or(|mut pipe| {
                let read = pipe.by_ref().take(limit + 1).read_to_end(&mut bytes);
                if !is_output {
                    // Drained, so that a script which complains a lot does not block.
                    drop(std::io::copy(&mut pipe, &mut std::io::sink()));
                }
                read.is_ok()
            });
            // Nobody listens after a timeout.
            drop(send.send((is_output, bytes, complete)));
        });
    }
    let deadline = Instant::now() + timeout;
    let (mut output, mut messages) = (Vec::new(), Vec::new());
    for _ in 0..2 {
        let left = deadline.saturating_duration_since(Instant::now());
        match receive.recv_timeout(left) {
            Ok((true, bytes, _)) if bytes.len() as u64 > MAX_OUTPUT => {
                return Err(failed("printed more than 256 MiB".to_owned()));
            }
            Ok((true, bytes, true)) => output = bytes,
            Ok((false, bytes, _)) => messages = bytes,
            Ok((true, _, false)) => return Err(failed("could not be read".to_owned())),
            Err(_) => {
                return Err(
                    failed(format!("did not end within {} s", timeout.as_secs().max(1)))
                        .hinted("run it by hand to see why"),
                );
            }
        }
    }
    let status = loop {
        match child.0.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(5));
            }
            Ok(None) => return Err(failed("closed its output but did not end".to_owned())),
            Err(e) => return Err(failed("could not be awaited".to_owned()).caused_by(e)),
        }
    };
    if !status.success() {
        let messages = String::from_utf8_lossy(&messages);
        let error = failed(format!("failed: {status}"));
        return Err(
            match messages.lines().rev().find(|l| !l.trim().is_empty()) {
                Some(line) => error.hinted(format!("its last message: {}", printable(line, 300))),
                None => error,
            },
        );
    }
    String::from_utf8(output).map_err(|_| failed("printed what is not UTF-8".to_owned()))
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(JsonVisitor)
    }
}

struct JsonVisitor;

impl<'de> Visitor<'de> for JsonVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, b: bool) -> Result<Value, E> {
        Ok(Value::Bool(b))
    }

    fn visit_i64<E>(self, i: i64) -> Result<Value, E> {
        Ok(Value::Int(i128::from(i)))
    }

    fn visit_u64<E>(self, i: u64) -> Result<Value, E> {
        Ok(Value::Int(i128::from(i)))
    }

    fn visit_f64<E>(self, f: f64) -> Result<Value, E> {
        Ok(Value::Float(f))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::Text(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<Value, E> {
        Ok(Value::Text(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Value::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut map = IndexMap::new();
        while let Some((key, value)) = entries.next_entry::<String, Value>()? {
            if map.contains_key(&key) {
                return Err(A::Error::custom(format!(
                    "duplicate key `{}`",
                    printable(&key, 60)
                )));
            }
            map.insert(key, value);
        }
        // What `ansible-inventory` prints for marked text.
        if let (1, Some((key, Value::Text(text)))) = (map.len(), map.first()) {
            match key.as_str() {
                "__ansible_vault" => return Ok(Value::Vault(text.clone())),
                "__ansible_unsafe" => return Ok(Value::Unsafe(text.clone())),
                _ => {}
            }
        }
        Ok(Value::Map(map))
    }
}
