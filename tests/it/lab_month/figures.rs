//! Every figure of the three reports, counted again: from the raw lines of `audit export` and from the hosts' own files, by
//! code that shares nothing with the program. A figure that is not counted here fails the test.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value, json};

use crate::lab::Lab;
use crate::support::project::Project;

/// What stands for who ran the program.
const TESTER: &str = "tester";
const DAY: i64 = 24 * 3600;

/// What the story knows and neither log nor hosts tell.
pub(super) struct Story<'a> {
    /// Names of hosts, in order.
    pub(super) hosts: &'a [&'a str],
    /// Admins by name, in order; everybody has an account everywhere.
    pub(super) admins: &'a [&'a str],
    /// The policy's `rotate_every`, in days.
    pub(super) rotate_days: i64,
    /// Whose each sheet is, by its number.
    pub(super) sheets: BTreeMap<String, String>,
    /// What hosts said when they were last reached.
    hosts_seen: BTreeMap<String, HostFiles>,
    /// When each login's code was accepted last by a host's own log, by host and login; `None` before the first collection.
    codes: Option<BTreeMap<(String, String), Timestamp>>,
}

/// What one host's own files say of its logins: generation by slot and login, and who is in which group.
#[derive(Clone, Default)]
struct HostFiles {
    generations: BTreeMap<(String, String), (u64, String)>,
    groups: BTreeMap<String, Vec<String>>,
    /// What gives a shell there and asks for no code.
    services: Vec<String>,
}

impl HostFiles {
    fn read(lab: &Lab, host: &str, admins: &[&str]) -> Self {
        let text = lab.host(host).sh(&format!(
            "cd /var/lib/google-authenticator
            for slot in current next; do for login in {}; do
                [ ! -e $slot/$login ] || sed -n \"s/^\\\" FLEETOTP v=1 .*serial=\\([^ ]*\\) gen=\\([0-9]*\\) .*/key $slot $login \\2 \\1/p\" $slot/$login
            done; done
            for service in login su su-l sudo sudo-i; do [ ! -e /etc/pam.d/$service ] || echo service $service; done
            for group in fleetotp fleetotp-pending; do getent group $group | sed 's/^\\([^:]*\\):.*:/group \\1 /; s/,/ /g'; done",
            admins.join(" ")
        ));
        let mut files = Self::default();
        for line in text.lines() {
            let words: Vec<&str> = line.split_whitespace().collect();
            match words[..] {
                ["key", slot, login, number, serial] => {
                    let key = (slot.to_owned(), login.to_owned());
                    let number = number.parse().unwrap();
                    files.generations.insert(key, (number, serial.to_owned()));
                }
                ["service", service] => files.services.push(service.to_owned()),
                ["group", group, ref members @ ..] => {
                    let members = members.iter().map(|m| (*m).to_owned()).collect();
                    files.groups.insert(group.to_owned(), members);
                }
                _ => panic!("{host} says {line}"),
            }
        }
        files
    }

    fn is_in(&self, group: &str, login: &str) -> bool {
        self.groups
            .get(group)
            .is_some_and(|m| m.iter().any(|m| m == login))
    }

    fn generation(&self, slot: &str, login: &str) -> Value {
        let key = (slot.to_owned(), login.to_owned());
        self.generations
            .get(&key)
            .map_or(Value::Null, |g| json!(g.0))
    }
}

impl<'a> Story<'a> {
    pub(super) fn new(hosts: &'a [&'a str], admins: &'a [&'a str], rotate_days: i64) -> Self {
        Self {
            hosts,
            admins,
            rotate_days,
            sheets: BTreeMap::new(),
            hosts_seen: BTreeMap::new(),
            codes: None,
        }
    }

    /// Reads what a collection has just read: the lines by which sshd says that a code ended a login.
    pub(super) fn collected(&mut self, lab: &Lab) {
        let codes = self.codes.get_or_insert_default();
        for host in self.hosts {
            let lines = lab
                .host(host)
                .sh("grep -h 'Accepted keyboard-interactive/pam for' /var/log/auth.log* || true");
            for line in lines.lines() {
                let at: Timestamp = line.split(' ').next().unwrap().parse().unwrap();
                let at = Timestamp::from_millisecond(at.as_millisecond()).unwrap();
                let login = line
                    .split(" for ")
                    .nth(1)
                    .unwrap()
                    .split(' ')
                    .next()
                    .unwrap();
                let last = codes
                    .entry(((*host).to_owned(), login.to_owned()))
                    .or_insert(at);
                *last = at.max(*last);
            }
        }
    }

    /// Takes the three reports as they are now and counts everything in them again. `away` are hosts that cannot be read.
    pub(super) fn check(&mut self, project: &Project<'_>, lab: &Lab, away: &[&str]) -> [Value; 3] {
        for host in self.hosts.iter().filter(|h| !away.contains(h)) {
            let files = HostFiles::read(lab, host, self.admins);
            self.hosts_seen.insert((*host).to_owned(), files);
        }
        let reports = ["rotation", "revocation", "coverage"].map(|name| {
            let ran = project.fleetotp(&["report", name, "-o", "json"]);
            ran.expect_code(0).json()
        });
        project
            .fleetotp(&["audit", "export", "--out", "raw.jsonl"])
            .expect_code(0);
        let path = project.path().join("raw.jsonl");
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::remove_file(path).unwrap();
        for report in &reports {
            Count::new(self, &text, report).all(report, away);
        }
        reports
    }
}

/// The events up to a report's time, with names in place of pseudonyms.
struct Count<'a> {
    story: &'a Story<'a>,
    events: Vec<Value>,
    project: String,
    head: String,
    now: Timestamp,
    people: BTreeMap<String, String>,
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key]
        .as_str()
        .unwrap_or_else(|| panic!("no {key} in {value}"))
}

fn time(value: &Value) -> Timestamp {
    value.as_str().unwrap().parse().unwrap()
}

/// Whole seconds between two instants, as the second hands of two clocks would show them.
fn seconds(from: Timestamp, to: Timestamp) -> i64 {
    to.as_second() - from.as_second()
}

/// The nearest-rank percentile.
fn rank(mut all: Vec<i64>, percent: f64) -> Value {
    all.sort_unstable();
    let rank = (percent / 100.0 * all.len() as f64).ceil() as usize;
    all.get(rank.max(1) - 1).map_or(Value::Null, |s| json!(s))
}

fn maybe(at: Option<Timestamp>) -> Value {
    at.map_or(Value::Null, |at| json!(at.to_string()))
}

/// One key, as its events tell.
struct Key {
    admin: String,
    realm: String,
    serial: String,
    number: u64,
    purpose: String,
    slot: String,
    state: &'static str,
    issued: Timestamp,
    expires: Option<Timestamp>,
    confirmed: Option<Timestamp>,
    how: Value,
    ended: Option<Timestamp>,
    sheet: String,
    encryption: String,
}

impl Key {
    fn is_live(&self) -> bool {
        self.ended.is_none()
    }
}

/// A token as its events tell, and its keys.
struct Token {
    admin: String,
    serial: String,
    state: &'static str,
    keys: Vec<Key>,
}

impl Token {
    fn in_force(&self) -> Option<&Key> {
        self.keys
            .iter()
            .find(|k| k.slot == "current" && k.is_live())
    }

    fn coming(&self) -> Option<&Key> {
        self.keys.iter().find(|k| k.slot == "next" && k.is_live())
    }

    fn is_overdue(&self, now: Timestamp) -> bool {
        match self.coming() {
            Some(next) => next.confirmed.is_none() && next.expires.is_some_and(|at| at <= now),
            None => {
                let last = self.keys.last().unwrap();
                self.state == "active" && last.slot == "next" && last.state == "expired"
            }
        }
    }

    fn due_at(&self, days: i64) -> Option<Timestamp> {
        let key = self.in_force().filter(|k| k.confirmed.is_some())?;
        Some(key.issued + SignedDuration::from_secs(days * DAY))
    }

    fn in_overlap(&self) -> bool {
        self.state == "rotating"
    }

    fn is_due(&self, now: Timestamp, days: i64) -> bool {
        self.due_at(days).is_some_and(|at| at <= now) && !self.in_overlap() && !self.is_overdue(now)
    }
}

impl<'a> Count<'a> {
    fn new(story: &'a Story<'a>, export: &str, report: &Value) -> Self {
        let now = time(&report["as_of"]);
        let (mut events, mut project, mut head) = (Vec::new(), String::new(), String::new());
        for line in export.lines() {
            let line: Value = serde_json::from_str(line).unwrap();
            if let Some(first) = line.get("export") {
                project = text(first, "project").to_owned();
            } else if let Some(event) = line.get("event").filter(|e| time(&e["at"]) <= now) {
                head = text(&line, "hash").to_owned();
                events.push(event.clone());
            }
        }
        // A sheet's number stands on the sheet, so whoever got it is behind the pseudonym.
        let mut people = BTreeMap::new();
        for event in &events {
            if event["kind"] == "token.issued" {
                let admin = &story.sheets[text(&event["data"], "sheet")];
                people.insert(text(&event["data"], "admin").to_owned(), admin.clone());
            }
        }
        assert!(people.len() <= story.admins.len(), "{people:?}");
        // Whoever did it is always one and the same.
        let mut actors: Vec<&Value> = events.iter().filter_map(|e| e.get("actor")).collect();
        actors.dedup();
        assert_eq!(actors.len(), 1, "{actors:?}");
        Self {
            story,
            events,
            project,
            head,
            now,
            people,
        }
    }

    fn of_kind(&self, kind: &str) -> impl Iterator<Item = &Value> {
        self.events.iter().filter(move |e| e["kind"] == kind)
    }

    fn about(&self, serial: &str) -> impl Iterator<Item = &Value> {
        self.events
            .iter()
            .filter(move |e| e["data"]["serial"] == serial)
    }

    fn key(&self, issued: &Value) -> Key {
        let data = &issued["data"];
        let (serial, number) = (text(data, "serial"), &data["generation"]);
        let same = |e: &&Value| e["data"]["generation"] == *number;
        let confirmed = self
            .about(serial)
            .filter(|e| e["kind"] == "token.confirmed")
            .find(same);
        let end = self
            .about(serial)
            .filter(|e| e["seq"].as_u64() > issued["seq"].as_u64())
            .find_map(|e| {
                let d = &e["data"];
                let mine = d["generation"] == *number;
                let state = match text(e, "kind") {
                    "token.issued" if d["replaces"].as_array()?.contains(number) => "superseded",
                    "rotation.finished" if d["supersedes"] == *number => "superseded",
                    "token.expired" | "rotation.overdue" if mine => "expired",
                    "token.revoke_requested" if d["again"] == false => "revoked",
                    _ => return None,
                };
                Some((state, time(&e["at"])))
            });
        let promoted = self
            .about(serial)
            .any(|e| e["kind"] == "rotation.finished" && same(&e));
        Key {
            admin: self.people[text(data, "admin")].clone(),
            realm: text(data, "realm").to_owned(),
            serial: serial.to_owned(),
            number: number.as_u64().unwrap(),
            purpose: text(data, "purpose").to_owned(),
            slot: if promoted {
                "current"
            } else {
                text(data, "slot")
            }
            .to_owned(),
            state: match (end, confirmed) {
                (Some((state, _)), _) => state,
                (None, Some(_)) => "active",
                (None, None) => "pending",
            },
            issued: time(&issued["at"]),
            expires: data.get("expires_at").filter(|v| !v.is_null()).map(time),
            confirmed: confirmed.map(|e| time(&e["at"])),
            how: confirmed.map_or(Value::Null, |e| e["data"]["how"].clone()),
            ended: end.map(|e| e.1),
            sheet: text(data, "sheet").to_owned(),
            encryption: text(data, "encryption").to_owned(),
        }
    }

    /// By admin: there is one realm.
    fn tokens(&self) -> Vec<Token> {
        let mut tokens: BTreeMap<String, Token> = BTreeMap::new();
        for issued in self.of_kind("token.issued") {
            let key = self.key(issued);
            let state = self.about(&key.serial).filter_map(|e| {
                match (text(e, "kind"), e["data"]["state"].as_str()) {
                    ("token.issued" | "token.confirmed" | "rotation.overdue", state) => {
                        ["pending", "active", "rotating", "expired"]
                            .into_iter()
                            .find(|word| state == Some(word))
                    }
                    ("token.expired", _) => Some("expired"),
                    ("rotation.finished", _) => Some("active"),
                    ("token.revoke_requested" | "token.revoke_reopened", _) => Some("revoking"),
                    ("token.revoked", _) => Some("revoked"),
                    _ => None,
                }
            });
            let state = state.last().unwrap();
            tokens
                .entry(key.admin.clone())
                .or_insert(Token {
                    admin: key.admin.clone(),
                    serial: key.serial.clone(),
                    state,
                    keys: Vec::new(),
                })
                .keys
                .push(key);
        }
        tokens.into_values().collect()
    }

    fn all(&self, report: &Value, away: &[&str]) {
        let name = text(report, "report");
        let expected = match name {
            "rotation" => self.rotation(),
            "revocation" => self.revocation(),
            _ => self.coverage(away),
        };
        for (key, value) in report.as_object().unwrap() {
            let wanted = match key.as_str() {
                "schema" => json!(1),
                "version" => json!(env!("CARGO_PKG_VERSION")),
                "project" => json!(self.project),
                "log" => json!({"events": self.events.len(), "head": self.head}),
                "between" | "narrowed" => Value::Null,
                // Words, and what the count began with.
                "report" | "title" | "as_of" | "limits" | "sections" => continue,
                key => panic!("unchecked figure: {key} of {name}"),
            };
            assert_eq!(*value, wanted, "{key} of {name}");
        }
        let sections = report["sections"].as_array().unwrap();
        let ids: Vec<&str> = sections.iter().map(|s| text(s, "id")).collect();
        let wanted: Vec<&str> = expected.iter().map(|(id, _)| *id).collect();
        assert_eq!(ids, wanted, "unchecked sections of {name}");
        for (section, (id, wanted)) in sections.iter().zip(expected) {
            compare(&format!("{name}.{id}"), section, &wanted);
        }
    }

    fn rotation(&self) -> Vec<(&'static str, Value)> {
        let (now, days) = (self.now, self.story.rotate_days);
        let tokens = self.tokens();
        let live: Vec<&Token> = tokens.iter().filter(|t| t.in_force().is_some()).collect();
        let age = |t: &Token| t.in_force().map(|k| seconds(k.issued, now));
        let ages = || -> Vec<i64> { live.iter().filter_map(|t| age(t)).collect() };
        let number = |is: &dyn Fn(&Token) -> bool| tokens.iter().filter(|t| is(t)).count();
        let overdue = number(&|t| t.is_overdue(now));
        let due = number(&|t| t.is_due(now, days));
        let overlaps = number(&Token::in_overlap);
        let mut summary = json!({
            "overdue": overdue,
            "due": due,
            "overlaps": overlaps,
            "tokens": live.len(),
            "median_age": rank(ages(), 50.0),
            "max_age": ages().into_iter().max(),
        });
        for state in [
            "pending", "active", "rotating", "revoking", "revoked", "expired",
        ] {
            summary[state] = json!(number(&|t| t.state == state));
        }
        let mut sorted: Vec<&Token> = tokens.iter().collect();
        sorted.sort_by_key(|t| {
            let urgency = if t.is_overdue(now) {
                0
            } else if t.is_due(now, days) {
                1
            } else if t.in_overlap() {
                2
            } else {
                3
            };
            (urgency, -age(t).unwrap_or(-1))
        });
        let rows: Vec<Value> = sorted.iter().map(|t| self.token_row(t)).collect();
        let mut bars = Map::new();
        for (label, from, to) in [
            ("0 to 30 days", 0, 30),
            ("30 to 60 days", 30, 60),
            ("60 to 90 days", 60, 90),
            ("90 to 180 days", 90, 180),
            ("180 to 365 days", 180, 365),
            ("365 days and more", 365, i64::MAX / DAY),
        ] {
            let inside = |age: &i64| (from * DAY..to * DAY).contains(age);
            bars.insert(
                label.to_owned(),
                json!(ages().iter().filter(|a| inside(a)).count()),
            );
        }
        let by_realm = if live.is_empty() {
            Vec::new()
        } else {
            vec![json!({
                "name": "default", "tokens": live.len(), "due": due, "overdue": overdue, "overlaps": overlaps,
                "median_age": rank(ages(), 50.0), "max_age": ages().into_iter().max(),
            })]
        };
        let keys: Vec<Value> = tokens
            .iter()
            .flat_map(|t| &t.keys)
            .map(|k| {
                json!({
                    "admin": k.admin, "realm": k.realm, "serial": k.serial, "generation": k.number, "purpose": k.purpose,
                    "state": k.state, "issued_at": k.issued.to_string(), "issued_by": TESTER, "approved_by": null,
                    "verified_by": null, "verified_how": null, "confirmed_at": maybe(k.confirmed),
                    "confirmed_by": k.confirmed.map(|_| TESTER),
                    "time_to_confirm": k.confirmed.map(|at| seconds(k.issued, at)), "ended_at": maybe(k.ended),
                })
            })
            .collect();
        vec![
            ("summary", json!({"figures": summary})),
            ("tokens", json!({"rows": rows})),
            ("ages", json!({"bars": bars})),
            ("by_realm", json!({"rows": by_realm})),
            // Nobody is in a group.
            ("by_group", json!({"rows": []})),
            ("keys", json!({"rows": keys})),
        ]
    }

    fn token_row(&self, token: &Token) -> Value {
        let (now, days) = (self.now, self.story.rotate_days);
        let (key, next) = (
            token.in_force(),
            token.coming().filter(|_| token.in_overlap()),
        );
        let status = if token.is_overdue(now) {
            "overdue"
        } else if token.in_overlap() {
            "rotating"
        } else if token.is_due(now, days) {
            "due"
        } else if token.state == "active" {
            "current"
        } else {
            token.state
        };
        let rotations = token.keys.iter().filter(|k| k.purpose == "rotation");
        json!({
            "admin": token.admin, "realm": "default", "status": status,
            "age": key.map(|k| seconds(k.issued, now)),
            "last_rotation": maybe(rotations.filter_map(|k| k.confirmed).next_back()),
            "due_at": maybe(token.due_at(days)),
            "overlap_ends": maybe(next.filter(|k| k.confirmed.is_none()).and_then(|k| k.expires)),
            "generation": key.map(|k| k.number), "next_generation": next.map(|k| k.number),
            "serial": token.serial, "state": token.state, "issued_at": maybe(key.map(|k| k.issued)),
            "issued_by": key.map(|_| TESTER), "approved_by": null,
            "confirmed_at": maybe(key.and_then(|k| k.confirmed)),
            "confirmed_by": key.and_then(|k| k.confirmed).map(|_| TESTER),
            "confirmed_how": key.map_or(Value::Null, |k| k.how.clone()),
            // tester is no admin, and nobody approved anything.
            "same_person": key.map(|_| false),
        })
    }

    /// When a host was proven to have nothing of a token; `None` while it is open.
    fn proven(&self, serial: &str, host: &str) -> Option<Timestamp> {
        let mut items = self.about(serial).filter(|e| e["data"]["host"] == host);
        assert!(
            !self.about(serial).any(|e| e["data"]["again"] == true),
            "nothing comes back in this story"
        );
        items
            .find(|e| e["kind"] == "revocation.proven")
            .map(|e| time(&e["at"]))
    }

    /// When a host was last read, and last tried.
    fn reached(&self, host: &str) -> (Option<Timestamp>, Option<Timestamp>, bool, Value) {
        let (mut seen, mut tried, mut reachable, mut detail) = (None, None, false, Value::Null);
        for event in &self.events {
            let data = &event["data"];
            let has = |key: &str| {
                data[key]
                    .as_array()
                    .is_some_and(|l| l.contains(&json!(host)))
            };
            match text(event, "kind") {
                "host.observed" if data["host"] == host => {
                    if let Some(now) = data.get("reachable") {
                        reachable = now.as_bool().unwrap();
                        detail = data["detail"].clone();
                    }
                    if let Some(at) = data.get("at").map(time) {
                        tried = Some(at);
                        seen = if reachable && detail.is_null() {
                            Some(at)
                        } else {
                            seen
                        };
                    }
                }
                "hosts.read" if has("hosts") || data["some"].get(host).is_some() => {
                    (seen, tried) = (Some(time(&data["at"])), Some(time(&data["at"])));
                }
                "hosts.read" if has("tried") => tried = Some(time(&data["at"])),
                _ => {}
            }
        }
        (seen, tried, reachable, detail)
    }

    fn revocation(&self) -> Vec<(&'static str, Value)> {
        let asked: Vec<&Value> = self.of_kind("token.revoke_requested").collect();
        let (mut revocations, mut open, mut closed) = (Vec::new(), Vec::new(), Vec::new());
        let (mut times, mut host_times, mut oldest) = (Vec::new(), Vec::new(), Value::Null);
        for event in &asked {
            let data = &event["data"];
            let (at, serial) = (time(&event["at"]), text(data, "serial"));
            let mut done = Some(at);
            // Its hosts are those that the ledger has ever seen the token on, in the order in which it met them.
            let mut met: Vec<&str> = Vec::new();
            for e in self.of_kind("host.observed") {
                let host = text(&e["data"], "host");
                if !met.contains(&host) {
                    met.push(host);
                }
            }
            assert_eq!(met.len(), self.story.hosts.len());
            for host in met {
                let proven = self.proven(serial, host);
                let (seen, _, _, detail) = self.reached(host);
                let told = self
                    .about(serial)
                    .filter(|e| e["kind"] == "revocation.open" && e["data"]["host"] == host);
                let why = told.last().map_or(detail, |e| e["data"]["why"].clone());
                let row = json!({
                    "admin": self.people[text(data, "admin")], "realm": "default", "host": host,
                    "state": if proven.is_some() { "proven" } else { "open" }, "asked_at": event["at"],
                    "open_since": if proven.is_some() { Value::Null } else { event["at"].clone() },
                    "closed_at": maybe(proven), "took": seconds(at, proven.unwrap_or(self.now)),
                    "why": if proven.is_some() { Value::Null } else { why },
                    "last_seen_at": maybe(seen), "serial": serial,
                });
                match proven {
                    Some(proven) => {
                        closed.push(row);
                        host_times.push(seconds(at, proven));
                        done = done.map(|d| d.max(proven));
                    }
                    None => {
                        open.push(row);
                        done = None;
                        oldest = json!(oldest.as_i64().unwrap_or(0).max(seconds(at, self.now)));
                    }
                }
            }
            times.extend(done.map(|d| seconds(at, d)));
            revocations.push(json!({
                "admin": self.people[text(data, "admin")], "realm": "default",
                "state": if done.is_some() { "done" } else { "open" }, "asked_at": event["at"], "asked_by": TESTER,
                "reason": data["reason"], "ticket": data["ticket"], "hosts": self.story.hosts.len(),
                "proven": closed.len(), "attested": 0, "open": open.len(), "done_at": maybe(done),
                "time_to_revoke": done.map(|d| seconds(at, d)), "replaced_at": null, "serial": serial,
            }));
        }
        assert!(
            asked.len() <= 1,
            "rows of two revocations would be counted as one"
        );
        let summary = json!({
            "open": open.len(), "oldest_open": oldest, "revocations": asked.len(), "done": times.len(),
            "hosts": open.len() + closed.len(), "proven": closed.len(), "attested": 0,
            "median_time": rank(times.clone(), 50.0), "p95_time": rank(times.clone(), 95.0),
            "max_time": times.iter().max(), "host_median_time": rank(host_times.clone(), 50.0),
            "host_p95_time": rank(host_times.clone(), 95.0), "host_max_time": host_times.iter().max(),
        });
        let everything = [open.clone(), closed].concat();
        vec![
            ("summary", json!({"figures": summary})),
            ("open", json!({"rows": open})),
            ("revocations", json!({"rows": revocations})),
            ("hosts", json!({"rows": everything})),
        ]
    }

    /// When a token's row of a host last changed, and was last read.
    fn row_times(&self, serial: &str, host: &str) -> (Option<Timestamp>, Option<Timestamp>) {
        let (mut changed, mut read) = (None, None);
        let mut goes = false;
        for event in &self.events {
            let data = &event["data"];
            let at = || data.get("at").map_or_else(|| time(&event["at"]), time);
            let lists = |list: &Value| list.as_array().is_some_and(|l| l.contains(&json!(serial)));
            let on_host = data["host"] == host;
            match text(event, "kind") {
                "token.revoke_requested" if data["serial"] == serial => goes = true,
                "host.observed" if on_host => {
                    let tokens = data["tokens"].as_array();
                    if tokens.is_some_and(|l| l.iter().any(|t| t["serial"] == serial)) {
                        changed = Some(at());
                        read = changed;
                    } else if read.is_some()
                        && (data["rest"] == true && !goes || lists(&data["same"]))
                    {
                        read = Some(at());
                    }
                }
                "hosts.read" if read.is_some() => {
                    let all = data["hosts"]
                        .as_array()
                        .is_some_and(|l| l.contains(&json!(host)));
                    if all && !goes || lists(&data["some"][host]) {
                        read = Some(at());
                    }
                }
                "revocation.proven" if on_host && data["serial"] == serial => {
                    changed = Some(time(&event["at"]));
                    read = changed;
                }
                _ => {}
            }
        }
        (changed, read)
    }

    fn coverage(&self, away: &[&str]) -> Vec<(&'static str, Value)> {
        let tokens = self.tokens();
        let mut hosts = self.story.hosts.to_vec();
        hosts.sort_unstable();
        let (mut accounts, mut counts) = (Vec::new(), BTreeMap::<&str, u64>::new());
        for host in &hosts {
            for token in &tokens {
                let (standing, row) = self.account(token, host, away);
                *counts.entry(standing).or_default() += 1;
                accounts.push((standing, row));
            }
        }
        let all = accounts.len() as u64;
        let of = |word: &str| counts.get(word).copied().unwrap_or(0);
        let required = all - of("no_account") - of("revoked");
        let is_open = |word: &str| !["enforced", "exempt", "revoked", "no_account"].contains(&word);
        let open: Vec<Value> = accounts
            .iter()
            .filter(|(standing, _)| is_open(standing))
            .map(|(_, row)| row.clone())
            .collect();
        let tenths = of("enforced") * 1000 / required;
        let mut summary = json!({
            "coverage": format!("{}.{} %", tenths / 10, tenths % 10), "population": all, "required": required,
            "not_enforced": open.len(),
        });
        for word in [
            "enforced",
            "unknown",
            "pending",
            "gap",
            "absent",
            "not_issued",
            "exempt",
            "exemption_over",
            "exempt_undeclared",
            "revocation_open",
            "revoked",
            "no_account",
        ] {
            summary[word] = json!(of(word));
        }
        let unknown: Vec<Value> = hosts
            .iter()
            .filter(|h| away.contains(h))
            .map(|host| {
                let (seen, tried, _, detail) = self.reached(host);
                json!({
                    "host": host, "last_seen_at": maybe(seen), "unknown_for": seen.map(|at| seconds(at, self.now)),
                    "last_attempt_at": maybe(tried), "why": detail, "tokens": tokens.len(),
                })
            })
            .collect();
        // The hosts are as Debian made them, with sudo: no nullok, no grace period, nobody exempt, no NOPASSWD.
        let weaknesses: Vec<Value> = hosts
            .iter()
            .map(|host| {
                let services = self.story.hosts_seen[*host].services.join(", ");
                json!({
                    "host": host, "kind": "other_services", "accounts": null,
                    "detail": format!("/etc/pam.d: {services}"), "observed_at": maybe(self.reached(host).0),
                    "current": !away.contains(host),
                })
            })
            .collect();
        let codes: Vec<Value> = self
            .of_kind("bypass.granted")
            .map(|event| self.code(event, &tokens))
            .collect();
        let (sheet_summary, sheets) = self.sheets(&tokens);
        let (n_hosts, n_admins) = (hosts.len(), self.story.admins.len());
        let population = [("hosts", n_hosts), ("admins", n_admins)].map(|(what, n)| {
            json!({"what": what, "inventory": n, "ledger": n, "both": n, "only_inventory": 0, "only_ledger": 0})
        });
        let accounts: Vec<Value> = accounts.into_iter().map(|(_, row)| row).collect();
        vec![
            ("summary", json!({"figures": summary})),
            ("open", json!({"rows": open})),
            ("unknown_hosts", json!({"rows": unknown})),
            ("weaknesses", json!({"rows": weaknesses})),
            ("exceptions", json!({"rows": []})),
            ("codes", json!({"rows": codes})),
            ("sheet_summary", json!({"figures": sheet_summary})),
            ("sheets", json!({"rows": sheets})),
            ("duties", json!({"rows": []})),
            ("population", json!({"rows": population})),
            (
                "sources",
                json!({"rows": [{"source": "inventory.yml", "kind": "yaml", "hosts": n_hosts, "admins": n_admins}]}),
            ),
            ("differences", json!({"rows": []})),
            ("accounts", json!({"rows": accounts})),
        ]
    }

    /// How an account stands by the host's own files: those of now, or of when it was last reached.
    fn account(&self, token: &Token, host: &str, away: &[&str]) -> (&'static str, Value) {
        let files = &self.story.hosts_seen[host];
        let login = token.admin.as_str();
        let current = files.generation("current", login);
        let demanded = files.is_in("fleetotp", login);
        let goes = ["revoking", "revoked"].contains(&token.state);
        if let Some((_, serial)) = files
            .generations
            .get(&("current".to_owned(), login.to_owned()))
        {
            assert_eq!(*serial, token.serial, "{login} on {host}");
        }
        let (seen, standing) = if demanded && !current.is_null() {
            ("enforced", "enforced")
        } else if demanded && goes && self.proven(&token.serial, host).is_some() {
            ("revoked", "revoked")
        } else if !current.is_null() && files.is_in("fleetotp-pending", login) {
            ("staged", "pending")
        } else {
            assert!(current.is_null(), "{login} on {host} is in no group");
            ("absent", "absent")
        };
        let is_away = away.contains(&host);
        let standing = if is_away { "unknown" } else { standing };
        let unknown = |value: Value| if is_away { json!("unknown") } else { value };
        let (_, _, reachable, detail) = self.reached(host);
        assert_eq!(reachable, !is_away, "{host}");
        let (since, observed) = self.row_times(&token.serial, host);
        let last_code = match &self.story.codes {
            None => json!("unknown"),
            Some(codes) => maybe(codes.get(&(host.to_owned(), login.to_owned())).copied()),
        };
        let row = json!({
            "host": host, "admin": token.admin, "login": token.admin, "realm": "default", "standing": standing,
            "last_code_at": last_code,
            "seen": seen, "why": if is_away { detail } else { Value::Null },
            "generation": unknown(current), "next_generation": unknown(files.generation("next", login)),
            "since": maybe(since), "observed_at": maybe(observed), "reachable": reachable, "known_from": "both",
            "serial": token.serial,
            // The policy of the month has sshd alone.
            "services": match standing {
                "enforced" => json!("sshd"),
                "unknown" => json!("unknown"),
                _ => Value::Null,
            },
        });
        (standing, row)
    }

    fn code(&self, granted: &Value, tokens: &[Token]) -> Value {
        let data = &granted["data"];
        let end = self
            .events
            .iter()
            .find(|e| e["data"]["bypass"] == data["bypass"] && text(e, "kind") != "bypass.granted");
        let whose = tokens.iter().find(|t| data["serial"] == t.serial.as_str());
        json!({
            "id": data["bypass"], "admin": whose.unwrap().admin, "host": data["host"],
            "state": end.map_or("open", |e| text(e, "kind").strip_prefix("bypass.").unwrap()),
            "granted_at": granted["at"], "granted_by": TESTER, "due_at": data["due"],
            "ended_at": end.map(|e| &e["at"]), "reason": data["reason"], "ticket": data["ticket"],
        })
    }

    fn sheets(&self, tokens: &[Token]) -> (Value, Vec<Value>) {
        let mut keys: Vec<&Key> = tokens.iter().flat_map(|t| &t.keys).collect();
        keys.sort_by_key(|k| (k.issued, k.sheet.clone()));
        let mut counts = BTreeMap::<&str, u64>::new();
        let rows = keys.iter().map(|k| {
            let over = k.expires.is_some_and(|at| at <= self.now);
            let state = match (k.confirmed, k.ended, k.state) {
                (Some(_), ..) => "redeemed",
                (None, _, "expired") => "expired",
                (None, None, _) if over => "expired",
                (None, None, _) => "issued",
                (None, Some(_), _) => "void",
            };
            *counts.entry(state).or_default() += 1;
            json!({
                "sheet": k.sheet, "admin": k.admin, "realm": k.realm, "state": state,
                "issued_at": k.issued.to_string(), "issued_by": TESTER, "encryption": k.encryption,
                "delivered_at": null, "delivered_to": null, "redeemed_at": maybe(k.confirmed),
                "expires_at": maybe(k.expires), "ended_at": maybe(k.confirmed.or(k.ended)),
            })
        });
        let rows: Vec<Value> = rows.collect();
        let of = |word: &str| counts.get(word).copied().unwrap_or(0);
        let summary = json!({
            "sheets_issued": keys.len(), "sheets_redeemed": of("redeemed"), "sheets_expired": of("expired"),
            "sheets_void": of("void"), "sheets_open": of("issued"),
        });
        (summary, rows)
    }
}

/// Compares a section with what was counted: every figure, every range, every cell of every row, and no other.
#[track_caller]
fn compare(place: &str, section: &Value, wanted: &Value) {
    if let Some(figures) = section.get("figures") {
        let told: Map<String, Value> = figures
            .as_array()
            .unwrap()
            .iter()
            .map(|f| (text(f, "id").to_owned(), f["value"].clone()))
            .collect();
        equal(place, &json!(told), &wanted["figures"]);
    } else if let Some(histogram) = section.get("histogram") {
        let told: Map<String, Value> = histogram["bars"]
            .as_array()
            .unwrap()
            .iter()
            .map(|b| (text(b, "label").to_owned(), b["count"].clone()))
            .collect();
        equal(place, &json!(told), &wanted["bars"]);
    } else {
        let (told, counted) = (&section["rows"], &wanted["rows"]);
        let (told, counted) = (told.as_array().unwrap(), counted.as_array().unwrap());
        for (number, (told, counted)) in told.iter().zip(counted).enumerate() {
            equal(&format!("{place}, row {number}"), told, counted);
        }
        assert_eq!(told.len(), counted.len(), "rows of {place}: {told:#?}");
    }
}

#[track_caller]
fn equal(place: &str, told: &Value, counted: &Value) {
    let (told, counted) = (told.as_object().unwrap(), counted.as_object().unwrap());
    for (key, value) in told {
        let Some(wanted) = counted.get(key) else {
            panic!("unchecked figure: {key} of {place}");
        };
        assert_eq!(
            value, wanted,
            "{key} of {place}: {told:#?} counted {counted:#?}"
        );
    }
    assert_eq!(told.len(), counted.len(), "{place}: {told:#?}");
}
