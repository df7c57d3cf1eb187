//! A whole enrolment on real hosts of all releases: two realms, three admins, four hosts.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use serde_json::json;

use crate::lab::{Code, InodeSnapshot, Key, KeyPair, Lab, Prefs, Suite, Totp, WINDOW, run};
use crate::support::project::{Otpauth, Project, Ran, Sheet, all, assert_pending, scan};

const HOSTS: [(&str, Suite); 4] = [
    ("web1", Suite::Bookworm),
    ("web2", Suite::Trixie),
    ("db1", Suite::Bullseye),
    ("db2", Suite::Bookworm),
];
const WEB: [&str; 2] = ["web1", "web2"];
const DATA: [&str; 2] = ["db1", "db2"];
const ADMINS: [(&str, &str); 3] = [
    ("zoe", "Zoë Żółć-Đặng"),
    ("elena", "Ελένη Παπαδοπούλου"),
    ("boris", "Борис Щукин"),
];
/// Where boris has no account.
const WITHOUT_BORIS: &str = "db2";
const PASSWORD: &str = "correct horse";

/// The fleet, and everybody's keys.
struct Fleet<'lab> {
    lab: &'lab Lab,
    project: Project<'lab>,
    keys: BTreeMap<&'static str, KeyPair>,
}

impl<'lab> Fleet<'lab> {
    /// Gives everybody an account: three admins, olga whom nobody manages, and deploy, by which the program connects to
    /// two of the hosts.
    fn new(lab: &'lab Lab) -> Self {
        let keys: BTreeMap<_, _> = ["zoe", "elena", "boris", "olga", "deploy"]
            .map(|login| (login, lab.key_pair(login)))
            .into();
        on_every_host(|name| {
            let host = lab.host(name);
            for (login, _) in ADMINS {
                if (login, name) != ("boris", WITHOUT_BORIS) {
                    host.add_user(login, &keys[login]);
                }
            }
            host.add_user_with_password("olga", &keys["olga"], PASSWORD);
            host.add_sudo_user("deploy", &keys["deploy"]);
        });
        let by_sudo = json!({
            "ansible_user": "deploy",
            "ansible_become": true,
            "ansible_ssh_private_key_file": keys["deploy"].private,
        });
        let mut hosts = all(
            lab,
            &[
                ("web1", by_sudo.clone()),
                ("web2", json!({})),
                ("db1", json!({})),
                ("db2", by_sudo),
            ],
        );
        hosts["children"] = json!({
            "web": {"hosts": {"web1": {}, "web2": {}}},
            "db": {"hosts": {"db1": {}, "db2": {}}},
        });
        let age_identity = lab.dir().join("boris.age");
        run(Command::new("age-keygen").arg("-o").arg(&age_identity));
        let age_recipient = run(Command::new("age-keygen").arg("-y").arg(&age_identity));
        let project = Project::new(
            lab,
            &json!({
                "all": hosts,
                "admins": {
                    "zoe": {"name": ADMINS[0].1, "language": "fr"},
                    "elena": {"name": ADMINS[1].1, "recipient": keys["elena"].public},
                    "boris": {"name": ADMINS[2].1, "recipient": age_recipient.trim()},
                },
                "realms": {
                    "web": {"hosts": "web", "policy": "standard"},
                    "data": {"hosts": "db", "policy": "strict"},
                },
                // Many logins in little time are what a test does; the limit itself is tested elsewhere.
                "policies": {
                    "standard": {"issuer": "Example Corp", "rate_limit": "30/30s", "window": WINDOW},
                    "strict": {"issuer": "Example Corp Data", "rate_limit": "30/30s", "window": WINDOW, "enrolment_ttl": "24h"},
                },
            }),
        );
        Self { lab, project, keys }
    }

    fn has_account(&self, login: &str, host: &str) -> bool {
        (login, host) != ("boris", WITHOUT_BORIS)
    }

    /// Whoever is no admin logs in as ever: olga also by her password, and nobody is offered keyboard-interactive.
    fn assert_others_as_before(&self, host: &str) {
        for login in ["olga", "deploy"] {
            self.lab
                .assert_key_only(host, login, Key::With(&self.keys[login]));
        }
        self.lab.assert_key_only(host, "root", Key::Root);
        let password = Code::Password(PASSWORD);
        self.lab
            .assert_in(host, "olga", Key::No, password, Prefs::Default);
        self.lab
            .assert_refused(host, "olga", Key::No, password, Prefs::CodeOnly);
        let wrong = Code::Password("wrong");
        self.lab
            .assert_refused(host, "olga", Key::No, wrong, Prefs::Default);
    }

    fn assert_all_key_only(&self, host: &str) {
        for (login, _) in ADMINS {
            if self.has_account(login, host) {
                self.lab
                    .assert_key_only(host, login, Key::With(&self.keys[login]));
            }
        }
        self.assert_others_as_before(host);
    }

    fn assert_all_pending(&self, host: &str) {
        for (login, _) in ADMINS {
            if self.has_account(login, host) {
                assert_pending(self.lab, host, login, &self.keys[login]);
            }
        }
        self.assert_others_as_before(host);
    }

    /// The whole table of what an admin can do whose code a host demands, with a copy of the authenticator per host:
    /// what was used on one is fresh on another.
    fn assert_members(&self, hosts: &[&'static str], login: &str, totp: &Totp) {
        std::thread::scope(|scope| {
            for host in hosts {
                let mut totp = totp.clone();
                scope.spawn(move || {
                    self.lab
                        .assert_member(host, login, &self.keys[login], &mut totp);
                });
            }
        });
    }

    fn snapshots(&self) -> BTreeMap<&'static str, InodeSnapshot> {
        HOSTS
            .iter()
            .map(|(name, _)| (*name, self.lab.host(name).inode_snapshot()))
            .collect()
    }

    #[track_caller]
    fn assert_untouched_since(&self, before: &BTreeMap<&'static str, InodeSnapshot>) {
        for (name, now) in self.snapshots() {
            assert_eq!(
                now.changed_since(&before[name]),
                Vec::<String>::new(),
                "files of {name} were touched"
            );
        }
    }

    /// Reads a sheet as its admin would: decrypts it with the key that the admin has.
    fn scan(&self, sheet: &Sheet) -> Otpauth {
        let mode = std::fs::metadata(&sheet.path).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o600, "{}", sheet.path.display());
        let identity = match sheet.admin.as_str() {
            "elena" => self.keys["elena"].private.clone(),
            "boris" => self.lab.dir().join("boris.age"),
            _ => return scan(&sheet.path),
        };
        assert!(sheet.path.to_str().unwrap().ends_with(".pdf.age"));
        let plain = self.lab.dir().join("decrypted.pdf");
        run(Command::new("age")
            .arg("--decrypt")
            .arg("--identity")
            .arg(identity)
            .arg("--output")
            .arg(&plain)
            .arg(&sheet.path));
        assert_text(&plain, &sheet.admin);
        let found = scan(&plain);
        std::fs::remove_file(plain).unwrap();
        found
    }

    /// Asserts that hosts hold what `status` says, for an admin in a realm.
    #[track_caller]
    fn assert_status(&self, login: &str, realm: &str, state: &str, on: &[(&str, &str)]) {
        let row = self.project.status(login, realm);
        assert_eq!(row["state"], state, "{row:#}");
        let cells: BTreeMap<&str, &str> = row["on"]
            .as_array()
            .unwrap()
            .iter()
            .map(|cell| {
                (
                    cell["host"].as_str().unwrap(),
                    cell["state"].as_str().unwrap(),
                )
            })
            .collect();
        assert_eq!(
            cells,
            on.iter().copied().collect(),
            "{login} in {realm}: {row:#}"
        );
        for (host, state) in on {
            let members = |group: &str| {
                let line = self.lab.host(host).sh(&format!("getent group {group}"));
                line.trim()
                    .rsplit(':')
                    .next()
                    .unwrap()
                    .split(',')
                    .any(|m| m == login)
            };
            assert_eq!(members("fleetotp"), *state == "enforced", "{login}@{host}");
            assert_eq!(
                members("fleetotp-pending"),
                *state == "staged",
                "{login}@{host}"
            );
        }
        let count = on.iter().filter(|(_, state)| *state == "enforced").count();
        assert_eq!(row["hosts"]["enforced"], count);
        assert_eq!(row["hosts"]["all"], on.len());
        assert_eq!(row["hosts"]["reachable"], on.len());
        assert_eq!(row["hosts"]["unknown"], 0);
    }
}

/// Does something on every host, at the same time.
fn on_every_host(what: impl Fn(&'static str) + Sync) {
    std::thread::scope(|scope| {
        for (name, _) in HOSTS {
            scope.spawn(|| what(name));
        }
    });
}

/// The admin's name stands on the sheet, in its own script.
fn assert_text(pdf: &Path, admin: &str) {
    let text = run(Command::new("pdftotext").arg(pdf).arg("-"));
    let name = ADMINS.iter().find(|(login, _)| *login == admin).unwrap().1;
    assert!(text.contains(name), "{text}");
}

/// What was changed, or would be: host, verb and place, without ids and times that only the real run has.
fn changes(ran: &Ran) -> BTreeSet<(String, String)> {
    let document = ran.json();
    let hosts = document["plays"][0]["hosts"].as_array().unwrap();
    let mut found = BTreeSet::new();
    for host in hosts {
        for change in host["changes"].as_array().unwrap() {
            let summary = change["summary"].as_str().unwrap();
            // The ids and the times of what is issued are made by the real run.
            let known = summary
                .split(": token ")
                .next()
                .unwrap()
                .split(": expires ")
                .next()
                .unwrap();
            found.insert((host["host"].to_string(), known.to_owned()));
        }
    }
    found
}

fn diffs(ran: &Ran) -> BTreeMap<String, String> {
    let document = ran.json();
    let hosts = document["plays"][0]["hosts"].as_array().unwrap();
    let mut found = BTreeMap::new();
    for host in hosts {
        for change in host["changes"].as_array().unwrap() {
            let place = format!("{} {}", host["host"], change["summary"]);
            // Configuration has to be exactly what was shown before; secrets have no text to compare.
            if place.contains("/etc/") {
                found.insert(place, change["diff"].as_str().unwrap().to_owned());
            }
        }
    }
    found
}

#[test]
#[expect(
    clippy::too_many_lines,
    reason = "one story, told in order: each step stands on the one before"
)]
fn a_fleet_is_enrolled_from_keys_alone_to_codes_everywhere() {
    let lab = Lab::start(&HOSTS);
    let fleet = Fleet::new(&lab);
    let project = &fleet.project;
    on_every_host(|host| fleet.assert_all_key_only(host));

    // --check touches nothing and says what the rollout then does.
    let before = fleet.snapshots();
    let planned = project
        .rollout(&["--check", "--diff", "-o", "json"])
        .expect_code(0);
    project
        .rollout(&["--check", "--diff", "--detailed-exitcode"])
        .expect_code(8)
        .expect_text(&[
            "/etc/pam.d/sshd",
            "+# BEGIN fleetotp",
            "00-fleetotp.conf",
            "fleetotp-pending",
            "boris has no account",
        ]);
    fleet.assert_untouched_since(&before);
    assert_eq!(project.status("zoe", "web")["state"], "none");
    assert_eq!(project.sheet_files(), Vec::<std::path::PathBuf>::new());

    // The rollout: sheets for everybody, and nobody is asked for anything yet.
    let rolled_out = project.rollout(&["-o", "json"]).expect_code(0);
    assert_eq!(changes(&planned), changes(&rolled_out));
    assert_eq!(diffs(&planned), diffs(&rolled_out));
    assert!(diffs(&planned).len() >= 8, "{:?}", diffs(&planned));
    assert!(rolled_out.stderr.contains("plain PDF"), "said of zoe's");
    let sheets = rolled_out.sheets();
    assert_eq!(sheets.len(), 6);
    assert_eq!(project.sheet_files().len(), 6, "and nothing else");
    on_every_host(|host| fleet.assert_all_pending(host));
    fleet.assert_status(
        "zoe",
        "web",
        "pending",
        &[("web1", "staged"), ("web2", "staged")],
    );
    fleet.assert_status(
        "boris",
        "data",
        "pending",
        &[("db1", "staged"), ("db2", "no_account")],
    );

    let codes: BTreeMap<(String, String), Otpauth> = sheets
        .iter()
        .map(|sheet| {
            (
                (sheet.admin.clone(), sheet.realm.clone()),
                fleet.scan(sheet),
            )
        })
        .collect();
    assert_eq!(
        codes
            .values()
            .map(|c| &c.secret)
            .collect::<BTreeSet<_>>()
            .len(),
        6,
        "every token has a key of its own"
    );
    let mut totp: BTreeMap<(&str, &str), Totp> = codes
        .iter()
        .map(|((admin, realm), code)| ((admin.as_str(), realm.as_str()), code.wide_totp()))
        .collect();
    for ((admin, realm), code) in &codes {
        let issuer = if realm == "web" {
            "Example%20Corp"
        } else {
            "Example%20Corp%20Data"
        };
        assert!(
            code.uri.starts_with("otpauth://totp/")
                && code.uri.contains(&format!("issuer={issuer}"))
                && code.uri.contains(admin.as_str()),
            "{}",
            code.uri
        );
    }

    // A code alone proves that the host takes the sheet's codes, and lets nobody in.
    for (host, realm) in [("web1", "web"), ("web2", "web"), ("db1", "data")] {
        let code = totp[&("boris", realm)].clone().fresh();
        lab.assert_refused(host, "boris", Key::No, Code::Some(&code), Prefs::CodeOnly);
        let log = lab.host(host).read_file("/var/log/auth.log");
        assert!(
            log.contains("Partial keyboard-interactive/pam for boris"),
            "{host} did not take the code of the sheet: {log}"
        );
    }

    // Confirmed for one realm by code: enforced there on every release, and nothing changes in the other.
    let code = totp.get_mut(&("zoe", "web")).unwrap().fresh();
    project
        .confirm("zoe", &code, &["--realm", "web"])
        .expect_code(0)
        .expect_text(&["confirmed: zoe in realm web"]);
    fleet.assert_members(&WEB, "zoe", &totp[&("zoe", "web")]);
    for host in DATA {
        assert_pending(&lab, host, "zoe", &fleet.keys["zoe"]);
    }
    for host in WEB {
        assert_pending(&lab, host, "elena", &fleet.keys["elena"]);
        fleet.assert_others_as_before(host);
    }
    fleet.assert_status(
        "zoe",
        "web",
        "active",
        &[("web1", "enforced"), ("web2", "enforced")],
    );
    fleet.assert_status(
        "zoe",
        "data",
        "pending",
        &[("db1", "staged"), ("db2", "staged")],
    );
    let sheet = rolled_out.sheet("zoe", "web");
    assert!(!sheet.path.exists(), "a confirmed sheet's file is removed");
    assert!(rolled_out.sheet("zoe", "data").path.exists());

    // The other realm's token is another one: its code is none here.
    let other = totp[&("zoe", "data")].clone().fresh();
    lab.assert_refused(
        "web1",
        "zoe",
        Key::With(&fleet.keys["zoe"]),
        Code::Some(&other),
        Prefs::Default,
    );

    // And the other realm, and the other admins; one of them by way of a later sync.
    let code = totp.get_mut(&("zoe", "data")).unwrap().fresh();
    project.confirm("zoe", &code, &[]).expect_code(0);
    for (admin, realm) in [("elena", "web"), ("elena", "data"), ("boris", "web")] {
        let code = totp.get_mut(&(admin, realm)).unwrap().fresh();
        project
            .confirm(admin, &code, &["--realm", realm])
            .expect_code(0);
    }
    let code = totp.get_mut(&("boris", "data")).unwrap().fresh();
    project
        .confirm("boris", &code, &["--no-push"])
        .expect_code(0)
        .expect_text(&["hosts were not contacted"]);
    assert_pending(&lab, "db1", "boris", &fleet.keys["boris"]);
    let synced = project.fleetotp(&["sync"]).expect_code(0);
    assert_eq!(synced.stdout, "db1: now asks for a code: boris\n");
    fleet.assert_members(&DATA, "zoe", &totp[&("zoe", "data")]);
    fleet.assert_members(&WEB, "elena", &totp[&("elena", "web")]);
    fleet.assert_members(&DATA, "elena", &totp[&("elena", "data")]);
    fleet.assert_members(&WEB, "boris", &totp[&("boris", "web")]);
    fleet.assert_members(&["db1"], "boris", &totp[&("boris", "data")]);
    on_every_host(|host| fleet.assert_others_as_before(host));
    assert_eq!(project.sheet_files(), Vec::<std::path::PathBuf>::new());

    // Everything is as it should be: nothing is written any more.
    let before = fleet.snapshots();
    project.rollout(&[]).expect_code(0).expect_unchanged();
    project
        .rollout(&["--check", "--detailed-exitcode"])
        .expect_code(0);
    let synced = project.fleetotp(&["sync", "-o", "json"]).expect_code(0);
    for (host, counts) in synced.json()["stats"].as_object().unwrap() {
        assert_eq!(
            (&counts["ok"], &counts["changed"]),
            (&json!(1), &json!(0)),
            "{host}"
        );
    }
    // A gap that stands is said where it is asked for, and judged where that is asked for.
    assert_eq!(project.fleetotp(&["sync"]).expect_code(0).stdout, "");
    let gap = "db2: gap (no-account): boris has no account on this host\n";
    let strict = project.fleetotp(&["sync", "--strict", "-v"]).expect_code(9);
    assert!(strict.stdout.contains(gap), "{}", strict.stdout);
    fleet.assert_untouched_since(&before);
    for (login, _) in ADMINS {
        fleet.assert_status(
            login,
            "web",
            "active",
            &[("web1", "enforced"), ("web2", "enforced")],
        );
    }
    let third = ("db2", "no_account");
    fleet.assert_status("boris", "data", "active", &[("db1", "enforced"), third]);
    assert_table(
        &project
            .fleetotp(&["status", "--hosts"])
            .expect_code(0)
            .stdout,
    );
}

/// The text of `status` says the same as its JSON.
fn assert_table(text: &str) {
    let rows: Vec<Vec<&str>> = text
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert_eq!(rows[0][..3], ["ADMIN", "REALM", "STATE"]);
    let row = |admin, realm| {
        let found = rows.iter().find(|r| r[..2] == [admin, realm]);
        found.unwrap_or_else(|| panic!("no {admin} in {realm}: {text}"))
    };
    for (admin, _) in ADMINS {
        let web = row(admin, "web");
        assert!(web[2] == "active" && web.contains(&"2/2"), "{text}");
    }
    assert!(row("boris", "data").contains(&"1/2"), "{text}");
    assert!(text.contains("db2  no_account"), "{text}");
}
