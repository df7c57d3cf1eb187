//! From the host's lines to [`Facts`].
//!
//! Everything here comes from a machine that may be hostile: unknown lines are ignored, numbers are checked, and no
//! line can be mistaken for another, since lines of file content begin with `|`.

use std::collections::BTreeMap;

use sha2::{Digest as _, Sha256};

use super::facts::{
    Account, DeadlineMechanism, Facts, FileFact, Group, Keys, Listener, Placed, SecretDeadline,
    Shadow, Slot, SshVersion, StateFact,
};
use super::program::REAPER_PATH;
use super::reply::{ReplyError, fields_of, lines_of};
use crate::names::Login;

/// Where content lines go.
#[derive(Default)]
enum Sink {
    #[default]
    None,
    File(String),
    Effective(String),
}

/// Reads the answer to an `inspect` request.
///
/// # Errors
/// When the program failed on the host, the answer is cut off, or it does not begin as an answer must.
pub fn facts(answer: &[u8]) -> Result<Facts, ReplyError> {
    let mut reader = Reader::default();
    for line in lines_of(answer)? {
        reader.line(line);
    }
    Ok(reader.finish())
}

fn placed(file: &str, at: &str, text: &[&str]) -> Placed {
    Placed {
        file: file.to_owned(),
        line: at.parse().unwrap_or(0),
        text: text.join(" "),
    }
}

#[derive(Default)]
struct Reader {
    facts: Facts,
    sink: Sink,
    contents: BTreeMap<String, Vec<u8>>,
    sums: BTreeMap<String, String>,
    stats: BTreeMap<String, FileFact>,
    state: Option<(Slot, Login)>,
    shadows: BTreeMap<String, Shadow>,
    shared: Vec<(String, String)>,
    keys: BTreeMap<String, Keys>,
}

impl Reader {
    fn line(&mut self, line: &[u8]) {
        if let Some(content) = line.strip_prefix(b"|") {
            return self.content(content);
        }
        self.sink = Sink::None;
        let text = String::from_utf8_lossy(line);
        let fields = fields_of(&text);
        let (tag, rest) = fields.split_first().map_or(("", &[][..]), |(t, r)| (*t, r));
        match (tag, rest) {
            ("host", [machine, node, uid, epoch, offset]) => {
                self.facts.machine_id = some(machine);
                (*node).clone_into(&mut self.facts.node);
                self.facts.uid = uid.parse().unwrap_or(u32::MAX);
                self.facts.epoch = epoch.parse().unwrap_or(0);
                self.facts.utc_offset = utc_offset(offset);
            }
            ("self", [login]) => self.facts.connecting_login = some(login),
            ("os", [id, version, like]) => {
                self.facts.os.id = some(id).unwrap_or_default();
                self.facts.os.version = some(version).unwrap_or_default();
                self.facts.os.like = some(like).unwrap_or_default();
            }
            ("deadlines", [how]) => {
                self.facts.deadlines = match *how {
                    "systemd" => DeadlineMechanism::Systemd,
                    "cron" => DeadlineMechanism::Cron,
                    _ => DeadlineMechanism::None,
                };
            }
            ("packages", [manager]) => self.facts.package_manager = some(manager),
            ("module", [path]) => self.facts.module = some(path),
            ("oath", [path, per_user]) => {
                self.facts.oath_module = some(path);
                self.facts.oath_per_user = *per_user == "yes";
            }
            ("selinux", [state]) => {
                self.facts.selinux = *state != "-";
                self.facts.selinux_enforcing = *state == "1";
            }
            ("label", [label]) => self.facts.state_label = some(label),
            ("pamowner", [owner]) => self.facts.pam_owner = some(owner),
            ("nologin", [path]) => self.facts.nologin = some(path),
            ("sudolog", [flag]) => self.facts.sudo_logs_input = *flag == "1",
            ("free", [kib, mount]) => {
                self.facts
                    .free_kib
                    .insert((*mount).to_owned(), kib.parse().unwrap_or(0));
            }
            ("inodes", [free, mount]) => {
                self.facts
                    .free_inodes
                    .insert((*mount).to_owned(), free.parse().unwrap_or(0));
            }
            ("sshd", [pid, program, config, options]) => self.facts.listeners.push(Listener {
                pid: pid.parse().unwrap_or(0),
                program: (*program).to_owned(),
                config: (*config).to_owned(),
                options: some(options).unwrap_or_default(),
            }),
            ("armed", ["yes"]) => self.facts.reaper_armed = true,
            ("version", [text]) => {
                self.facts.version = ssh_version(text);
                (*text).clone_into(&mut self.facts.version_text);
            }
            ("config", [hash]) => self.facts.config_hash = some(hash),
            ("judged", ["known"]) => self.facts.judged_before = true,
            ("sudo", [file, at, text @ ..]) => self.facts.sudo_lines.push(placed(file, at, text)),
            ("service", [file]) => _ = self.facts.services.insert((*file).to_owned()),
            ("authline", [file, at, text @ ..]) => {
                self.facts.service_lines.push(placed(file, at, text));
            }
            ("mfa", line) => self.facts.mfa_lines.push(line.join(" ")),
            ("link", [path, target]) => {
                self.facts
                    .links
                    .insert((*path).to_owned(), (*target).to_owned());
            }
            ("file", [path]) => {
                self.contents.entry((*path).to_owned()).or_default();
                self.sink = Sink::File((*path).to_owned());
            }
            ("effective", [user]) => {
                self.facts.effective.entry((*user).to_owned()).or_default();
                self.sink = Sink::Effective((*user).to_owned());
            }
            ("alike", [user, other]) => {
                let same = self.facts.effective.get(*other).cloned();
                self.facts
                    .effective
                    .extend(same.map(|e| ((*user).to_owned(), e)));
            }
            (line, []) if line.len() > 66 => {
                // sha256sum's own format.
                if let Some((sum, path)) = line.split_once("  ") {
                    self.sums.insert(path.to_owned(), sum.to_owned());
                }
            }
            ("program", [path, sum]) => {
                self.sums.insert((*path).to_owned(), (*sum).to_owned());
            }
            ("stat", [mode, uid, gid, _inode, size, path]) => {
                let fact = FileFact {
                    mode: u32::from_str_radix(mode, 8).unwrap_or(0),
                    uid: uid.parse().unwrap_or(u32::MAX),
                    gid: gid.parse().unwrap_or(u32::MAX),
                    size: size.parse().unwrap_or(0),
                    ..FileFact::default()
                };
                self.stats.insert((*path).to_owned(), fact);
            }
            ("witness", line) => self.facts.witness = Some(line.join("\t")),
            ("open", [id]) => self.facts.open_changes.push((*id).to_owned()),
            // The name goes back into a request.
            ("unmanaged", [login]) if Login::new(login).is_ok() => {
                self.facts.unmanaged.push((*login).to_owned());
            }
            ("unmanaged", _) => self.facts.unnamed_accounts += 1,
            ("nss", words) => self.facts.nss = Some(words.join(" ")),
            ("log", line) => self.facts.log_lines.push(line.join("\t")),
            _ => self.account_line(tag, rest),
        }
    }

    fn account_line(&mut self, tag: &str, rest: &[&str]) {
        match (tag, rest) {
            ("account", [login, uid, _gid, home, shell]) => {
                if let (Ok(login), Ok(uid)) = (Login::new(login), uid.parse()) {
                    let account = Account {
                        uid,
                        home: (*home).to_owned(),
                        shell: (*shell).to_owned(),
                        ..Account::default()
                    };
                    self.facts.accounts.insert(login, account);
                }
            }
            ("shadow", [login, password, last, max, inactive, expire]) => {
                let shadow = Shadow {
                    last_change: number(last),
                    max_age: number(max),
                    inactive: number(inactive),
                    expire: number(expire),
                    has_password: *password == "set",
                };
                self.shadows.insert((*login).to_owned(), shadow);
            }
            ("shared", [login, other]) => {
                self.shared.push(((*login).to_owned(), (*other).to_owned()));
            }
            ("keys", [login, count, other]) => {
                self.keys.insert(
                    (*login).to_owned(),
                    Keys {
                        in_files: count.parse().unwrap_or(0),
                        elsewhere: some(other),
                    },
                );
            }
            ("group", [name, gid, members]) => {
                let members = some(members)
                    .map(|m| m.split(',').map(str::to_owned).collect())
                    .unwrap_or_default();
                self.facts.groups.insert(
                    (*name).to_owned(),
                    Group {
                        gid: gid.parse().unwrap_or(0),
                        members,
                    },
                );
            }
            ("state", [slot, login, secret]) => {
                self.state = slot_of(slot).zip(Login::new(login).ok());
                if let Some(key) = &self.state {
                    self.facts.states.insert(
                        key.clone(),
                        StateFact {
                            secret_sha256: (*secret).to_owned(),
                            ..StateFact::default()
                        },
                    );
                }
            }
            ("option", [line, text @ ..]) => {
                let text = text.join("\t");
                let line = line.parse().unwrap_or(0);
                if let Some(state) = self.current_state() {
                    state.options.push((line, text));
                }
            }
            ("lines", [count, scratch]) => {
                let (count, scratch) = (count.parse().unwrap_or(0), scratch.parse().unwrap_or(0));
                if let Some(state) = self.current_state() {
                    state.lines = count;
                    state.scratch_codes = scratch;
                }
            }
            ("temporary", [path]) => self.facts.temporaries.push((*path).to_owned()),
            ("hostkey", [_, key]) => self.facts.host_keys.extend(host_key_fingerprint(key)),
            ("leaver", [login, processes, open_logins]) => {
                if let (Ok(login), Ok(processes), Ok(open_logins)) =
                    (Login::new(login), processes.parse(), open_logins.parse())
                {
                    let fact = self.facts.leavers.entry(login).or_default();
                    (fact.processes, fact.open_logins) = (processes, open_logins);
                }
            }
            ("aside", [login, name, place]) => {
                if let Ok(login) = Login::new(login) {
                    let aside = self.facts.set_aside.entry(login).or_default();
                    if *name == "expired" {
                        aside.expired = true;
                    } else {
                        aside.keys.push(((*name).to_owned(), (*place).to_owned()));
                    }
                }
            }
            ("way", [login, kind, file]) => {
                if let Ok(login) = Login::new(login) {
                    let fact = self.facts.leavers.entry(login).or_default();
                    fact.ways.push(((*kind).to_owned(), (*file).to_owned()));
                }
            }
            ("other", [slot, login]) => {
                if let Some(slot) = slot_of(slot) {
                    self.facts.other_states.push((slot, (*login).to_owned()));
                }
            }
            ("ended", [name, how]) => {
                self.facts
                    .ended
                    .insert((*name).to_owned(), (*how).to_owned());
            }
            ("deadline", [name, due, serial, generation]) => {
                if let (Ok(due), Ok(generation)) = (due.parse(), generation.parse()) {
                    let deadline = SecretDeadline {
                        due,
                        serial: (*serial).to_owned(),
                        generation,
                    };
                    self.facts
                        .secret_deadlines
                        .insert((*name).to_owned(), deadline);
                }
            }
            _ => {}
        }
    }

    fn current_state(&mut self) -> Option<&mut StateFact> {
        self.facts.states.get_mut(self.state.as_ref()?)
    }

    fn content(&mut self, content: &[u8]) {
        match &self.sink {
            Sink::None => {}
            Sink::File(path) => {
                if let Some(bytes) = self.contents.get_mut(path) {
                    bytes.extend_from_slice(content);
                    bytes.push(b'\n');
                }
            }
            Sink::Effective(user) => {
                let line = String::from_utf8_lossy(content);
                let (key, value) = line.split_once(' ').unwrap_or((&line, ""));
                if let Some(effective) = self.facts.effective.get_mut(user) {
                    if key == "error" {
                        effective.error = Some(value.to_owned());
                    } else {
                        let entry = effective.values.entry(key.to_owned()).or_default();
                        if !entry.is_empty() {
                            entry.push(' ');
                        }
                        entry.push_str(value);
                    }
                }
            }
        }
    }

    fn finish(mut self) -> Facts {
        self.facts.reaper = self.sums.remove(REAPER_PATH);
        let module = self.facts.module.as_ref();
        self.facts.module_sha256 = module.and_then(|path| self.sums.remove(path));
        for (path, mut fact) in std::mem::take(&mut self.stats) {
            if let Some(sum) = self.sums.remove(&path) {
                fact.sha256 = sum;
            }
            if let Some(key) = state_key(&path) {
                if let Some(state) = self.facts.states.get_mut(&key) {
                    state.file = fact;
                    name_key(state);
                }
                continue;
            }
            if path.starts_with("/var/lib/") {
                if fact.uid != 0 {
                    self.facts
                        .foreign_directories
                        .insert(path.clone(), fact.uid);
                }
                self.facts.directories.insert(path, fact.mode);
                continue;
            }
            fact.text = self
                .contents
                .remove(&path)
                .or_else(|| (fact.size == 0).then(Vec::new))
                .and_then(|mut bytes| {
                    // awk ends the last line whether or not the file does.
                    if bytes.len() as u64 == fact.size + 1 {
                        bytes.pop();
                    }
                    (bytes.len() as u64 == fact.size).then_some(bytes)
                })
                .and_then(|bytes| String::from_utf8(bytes).ok());
            self.facts.files.insert(path, fact);
        }
        // Each host has groups of its own; what sshd makes of them was asked of it.
        self.sums.remove("/etc/group");
        self.facts.beside = std::mem::take(&mut self.sums);
        for (login, account) in &mut self.facts.accounts {
            account.shadow = self.shadows.remove(login.as_str());
            account.keys = self.keys.remove(login.as_str());
            account.shared_with = self
                .shared
                .iter()
                .filter(|(l, _)| l == login.as_str())
                .map(|(_, other)| other.clone())
                .collect();
        }
        self.facts
    }
}

/// A users file of `pam_oath` has the key in hexadecimal, whose hash says nothing to a ledger; its stamp tells which key that is.
/// Where the key is not the one of which the stamp speaks, the hash stays as it is, and is nobody's.
fn name_key(state: &mut StateFact) {
    let of = |name: &str| {
        let stamp = state
            .options
            .iter()
            .find_map(|(_, line)| line.strip_prefix("# FLEETOTP v=1 "))?;
        stamp
            .split(' ')
            .find_map(|field| field.strip_prefix(name)?.strip_prefix('='))
            .filter(|sum| sum.len() >= 12)
            .map(str::to_owned)
    };
    if let (Some(key), Some(hex)) = (of("key"), of("hex"))
        && state.secret_sha256.starts_with(&hex)
    {
        state.secret_sha256 = key;
    }
}

/// As ssh shows it: SHA-256 of the key, base 64 without padding.
fn host_key_fingerprint(key: &str) -> Option<String> {
    let bytes = data_encoding::BASE64.decode(key.as_bytes()).ok()?;
    let sum = Sha256::digest(bytes);
    Some(format!(
        "SHA256:{}",
        data_encoding::BASE64_NOPAD.encode(&sum)
    ))
}

fn some(field: &str) -> Option<String> {
    (field != "-" && !field.is_empty()).then(|| field.to_owned())
}

fn number(field: &str) -> Option<i64> {
    field.parse().ok()
}

fn slot_of(text: &str) -> Option<Slot> {
    match text {
        "current" => Some(Slot::Current),
        "next" => Some(Slot::Next),
        _ => None,
    }
}

fn state_key(path: &str) -> Option<(Slot, Login)> {
    let (slot, login) = path
        .strip_prefix("/var/lib/google-authenticator/")?
        .split_once('/')?;
    Some((slot_of(slot)?, Login::new(login).ok()?))
}

/// `+0130` is 5400 seconds.
pub(super) fn utc_offset(text: &str) -> i64 {
    let parse = |range| text.get(range).and_then(|t: &str| t.parse::<i64>().ok());
    let seconds = parse(1..3)
        .zip(parse(3..5))
        .map_or(0, |(h, m)| h * 3600 + m * 60);
    if text.starts_with('-') {
        -seconds
    } else {
        seconds
    }
}

/// `9.2p1` is 9.2.
fn ssh_version(text: &str) -> SshVersion {
    let mut numbers = text
        .split(|c: char| !c.is_ascii_digit())
        .map(|n| n.parse().unwrap_or(0));
    SshVersion(numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWER: &str = "fleetotp\t1\nhost\tabc\tweb1\t0\t1795485320\t+0130\nversion\t8.4p1\nsshd\t7\t/usr/sbin/sshd\t/etc/ssh/sshd_config\t-\n\
        file\t/etc/pam.d/sshd\n|# a\n|done\tspoof\nfile\t/etc/ssh/sshd_config\n|Port 22\n\
        stat\t644\t0\t0\t11\t14\t/etc/pam.d/sshd\n\
        aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa  /etc/pam.d/sshd\nstat\t644\t0\t0\t12\t7\t/etc/ssh/sshd_config\n\
        effective\talice\n|authenticationmethods any\naccount\talice\t1001\t1001\t/home/alice\t/bin/sh\nshared\talice\tbob\n\
        state\tcurrent\talice\tff\noption\t2\t\" RATE_LIMIT 3 30\nlines\t3\t1\ndone\n";

    #[test]
    fn an_answer_is_read_and_content_cannot_pose_as_a_field() {
        let facts = facts(ANSWER.as_bytes()).unwrap();
        assert_eq!(facts.text("/etc/pam.d/sshd"), Some("# a\ndone\tspoof"));
        assert_eq!(
            facts.text("/etc/ssh/sshd_config"),
            Some("Port 22"),
            "the file has no newline at its end"
        );
        assert_eq!(facts.version, SshVersion(8, 4));
        assert_eq!(facts.utc_offset, 5400);
        assert_eq!(facts.effective["alice"].get("authenticationmethods"), "any");
        let alice = Login::new("alice").unwrap();
        assert_eq!(facts.accounts[&alice].shared_with, ["bob"]);
        assert_eq!(
            facts.states[&(Slot::Current, alice)].options,
            [(2, "\" RATE_LIMIT 3 30".to_owned())]
        );
    }

    #[test]
    fn a_cut_off_answer_is_an_error() {
        let cut = ANSWER.trim_end_matches("done\n");
        assert!(facts(cut.as_bytes()).is_err());
    }
}
