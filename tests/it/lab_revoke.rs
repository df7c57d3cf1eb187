//! Revocation on real hosts: nothing of an admin is left, every login is refused at each stage, and nobody else notices.

use std::os::unix::fs::PermissionsExt as _;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use crate::lab::{Code, Key, KeyPair, Lab, Prefs, Suite, Totp};
use crate::support::faults::eventually;
use crate::support::project::{Project, Ran, all, assert_pending};

const WHY: [&str; 4] = ["--reason", "left the company", "--ticket", "HR-7"];

fn policies() -> Value {
    json!({"default": {"issuer": "Example Corp", "rate_limit": "30/30s"}})
}

/// `revoke ADMIN…` with a reason and more arguments.
pub(crate) fn revoke(project: &Project<'_>, args: &[&str]) -> Ran {
    project.fleetotp(&[&["revoke"], args, &WHY].concat())
}

/// Neither key nor code nor both let this login in.
#[track_caller]
fn assert_out(lab: &Lab, host: &str, login: &str, key: &KeyPair, totp: &Totp) {
    let code = totp.clone().fresh();
    let with = Key::With(key);
    for (key, code, prefs) in [
        (with, Code::Some(&code), Prefs::Default),
        (with, Code::Some(&code), Prefs::CodeFirst),
        (with, Code::No, Prefs::Default),
        (with, Code::No, Prefs::KeyOnly),
        (Key::No, Code::Some(&code), Prefs::CodeOnly),
    ] {
        lab.assert_refused(host, login, key, code, prefs);
    }
}

fn ssh(lab: &Lab, host: &str, login: &str, key: &KeyPair) -> Command {
    let mut ssh = lab.controller("ssh");
    ssh.args(["-F", "none", "-T", "-p", &lab.host(host).port().to_string()])
        .args([
            "-o",
            &format!("UserKnownHostsFile={}", lab.known_hosts().display()),
        ])
        .args([
            "-o",
            "GlobalKnownHostsFile=/dev/null",
            "-o",
            "ControlPath=none",
        ])
        .args(["-o", "IdentitiesOnly=yes", "-o", "IdentityAgent=none"])
        .arg("-i")
        .arg(&key.private)
        .arg(format!("{login}@{}", lab.host(host).address()))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    ssh
}

/// A session that stays open, with a process that would survive it.
fn session(lab: &Lab, host: &str, login: &str, key: &KeyPair) -> Child {
    let child = ssh(lab, host, login, key)
        .arg("setsid sleep 4711 >/dev/null 2>&1 & sleep 4712")
        .spawn()
        .unwrap();
    eventually("the session runs", 20, || {
        let seen = processes(lab, host, login);
        seen.contains("sleep 4711") && seen.contains("sleep 4712")
    });
    child
}

/// A login that has given its key and sits at the question for the code.
fn half_open(lab: &Lab, host: &str, login: &str, key: &KeyPair) -> Child {
    let helper = lab.dir().join("slow-askpass");
    std::fs::write(&helper, "#!/bin/sh\nexec sleep 600\n").unwrap();
    std::fs::set_permissions(&helper, std::fs::Permissions::from_mode(0o700)).unwrap();
    let child = ssh(lab, host, login, key)
        .arg("true")
        .env("SSH_ASKPASS", helper)
        .env("SSH_ASKPASS_REQUIRE", "force")
        .spawn()
        .unwrap();
    eventually("the login is half open", 20, || {
        !open_logins(lab, host, login).is_empty()
    });
    child
}

fn processes(lab: &Lab, host: &str, login: &str) -> String {
    let script = format!(
        "u=$(id -u {login}); for s in $(grep -lsE \"^Uid:.*[[:blank:]]$u[[:blank:]]\" /proc/[0-9]*/status); do tr '\\0' ' ' <${{s%status}}cmdline; echo; done"
    );
    lab.host(host).sh(&script)
}

fn open_logins(lab: &Lab, host: &str, login: &str) -> String {
    lab.host(host).sh(&format!(
        "cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' '\\n' | grep -E '^sshd[a-z-]*: {login} \\[' || true"
    ))
}

fn state_files(lab: &Lab, host: &str) -> String {
    lab.host(host)
        .sh("cd /var/lib/google-authenticator; find . -type f -printf '%P %i %T@ %C@ ' -exec sha256sum {} \\; | sort")
}

fn others(listing: &str, login: &str) -> Vec<String> {
    let own = format!("/{login} ");
    let lines = listing.lines().filter(|l| !l.contains(&own));
    lines.map(str::to_owned).collect()
}

fn in_group(lab: &Lab, host: &str, login: &str, group: &str) -> bool {
    let line = lab.host(host).sh(&format!("getent group {group}"));
    line.trim()
        .rsplit(':')
        .next()
        .unwrap()
        .split(',')
        .any(|m| m == login)
}

/// Two admins, one confirmed and one not, on a host of each release.
struct Fleet<'lab> {
    project: Project<'lab>,
    alice: KeyPair,
    bob: KeyPair,
    alices: Totp,
    bobs: Totp,
}

const HOSTS: [(&str, Suite); 3] = [
    ("web1", Suite::Bookworm),
    ("web2", Suite::Trixie),
    ("db1", Suite::Bullseye),
];

impl<'lab> Fleet<'lab> {
    fn new(lab: &'lab Lab, hosts: &[&str], policy: Value) -> Self {
        let (alice, bob) = (lab.key_pair("alice"), lab.key_pair("bob"));
        for host in hosts {
            lab.host(host).add_user("alice", &alice);
            lab.host(host).add_user("bob", &bob);
        }
        let listed: Vec<_> = hosts.iter().map(|name| (*name, json!({}))).collect();
        let project = Project::new(
            lab,
            &json!({
                "all": all(lab, &listed),
                "admins": {"alice": {"email": "alice@example.com"}, "bob": {"email": "bob@example.com"}},
                "policies": {"default": policy},
            }),
        );
        project.change_settings("#connect_timeout: 10s", "connect_timeout: 3s");
        let ran = project.rollout(&["-o", "json"]).expect_code(0);
        let totp = |admin| ran.sheet(admin, "default").scan().totp();
        let (alices, bobs) = (totp("alice"), totp("bob"));
        Self {
            project,
            alice,
            bob,
            alices,
            bobs,
        }
    }

    fn confirm_alice(&mut self) {
        let code = self.alices.fresh();
        self.project.confirm("alice", &code, &[]).expect_code(0);
    }
}

#[test]
fn nothing_of_a_revoked_admin_is_left_and_nobody_else_notices() {
    let lab = Lab::start(&HOSTS);
    let names = HOSTS.map(|(name, _)| name);
    let mut fleet = Fleet::new(&lab, &names, policies()["default"].clone());
    let mut open: Vec<Child> = names
        .map(|host| session(&lab, host, "alice", &fleet.alice))
        .into();
    let mut bobs: Vec<Child> = names
        .map(|host| session(&lab, host, "bob", &fleet.bob))
        .into();
    fleet.confirm_alice();
    let mut waiting = Vec::new();
    // Bob has used a code: what the module remembers of it must stay.
    let mut used = fleet.bobs.clone();
    for host in names {
        let code = used.clone().fresh();
        lab.assert_refused(host, "bob", Key::No, Code::Some(&code), Prefs::CodeOnly);
        waiting.push(half_open(&lab, host, "alice", &fleet.alice));
    }
    used.fresh();
    let before = names.map(|host| state_files(&lab, host));
    for list in &before {
        assert!(list.contains("current/alice ") && list.contains("current/bob "));
    }
    // It needs nothing that could read a secret.
    let project = &fleet.project;
    let identity = project.path().join("state/identity.txt");
    std::fs::rename(&identity, project.path().join("elsewhere")).unwrap();
    revoke(project, &["alice", "--check"])
        .expect_code(0)
        .expect_text(&["db1, web1, web2"]);
    assert_eq!(
        names.map(|host| state_files(&lab, host)),
        before,
        "--check touches nothing"
    );

    let ran = revoke(project, &["alice", "-o", "json"]).expect_code(0);
    let document = ran.json();
    let revocation = &document["revocations"][0];
    assert_eq!(
        (&revocation["state"], &revocation["ticket"]),
        (&json!("revoked"), &json!("HR-7"))
    );
    for item in revocation["hosts"].as_array().unwrap() {
        assert_eq!(item["state"], "proven", "{document:#}");
        let proof = &item["proof"];
        assert_eq!(
            (&proof["processes"], &proof["code_demanded"]),
            (&json!(0), &json!(true))
        );
        let host = item["host"].as_str().unwrap();
        let known = lab
            .host(host)
            .sh("ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub");
        let fingerprint = known.split_whitespace().nth(1).unwrap();
        assert!(
            proof["host_keys"]
                .as_array()
                .unwrap()
                .iter()
                .any(|k| k == fingerprint),
            "{proof:#} {known}"
        );
    }
    for (host, before) in names.iter().zip(&before) {
        assert_eq!(processes(&lab, host, "alice").trim(), "");
        assert_eq!(open_logins(&lab, host, "alice"), "");
        assert!(
            processes(&lab, host, "bob").contains("sleep 4711"),
            "bob's session lives"
        );
        let now = state_files(&lab, host);
        assert!(!now.contains("/alice"), "{now}");
        assert_eq!(
            others(&now, "alice"),
            others(before, "alice"),
            "content and inode of the others"
        );
        assert!(in_group(&lab, host, "alice", "fleetotp"));
        assert_out(&lab, host, "alice", &fleet.alice, &fleet.alices);
        assert_pending(&lab, host, "bob", &fleet.bob);
        lab.assert_key_only(host, "root", Key::Root);
    }
    for child in &mut open {
        eventually("the session has ended", 10, || {
            child.try_wait().unwrap().is_some()
        });
    }
    let status = project.status("alice", "default");
    assert_eq!(
        (&status["state"], &status["revocation"]["proven"]),
        (&json!("revoked"), &json!(3))
    );
    // Once more: done already. Nothing is quietly undone by other runs.
    revoke(project, &["alice"])
        .expect_code(0)
        .expect_text(&["was revoked in realm default before"]);
    project.rollout(&[]).expect_code(0);
    assert!(
        project.fleetotp(&["sync"]).expect_code(0).stdout.is_empty(),
        "quiet"
    );
    for host in names {
        assert_out(&lab, host, "alice", &fleet.alice, &fleet.alices);
    }

    // A login in flight wrote its file after it was deleted: gone after the next sync.
    let host = lab.host("web1");
    let secret = lab
        .host("web2")
        .sh("true; cat /var/lib/google-authenticator/current/bob");
    host.write_file(
        "/var/lib/google-authenticator/current/alice",
        "400",
        &secret,
    );
    host.write_file(
        "/var/lib/google-authenticator/current/alice~Xy12Zq",
        "400",
        &secret,
    );
    let code = used.fresh();
    lab.assert_in(
        "web1",
        "alice",
        Key::With(&fleet.alice),
        Code::Some(&code),
        Prefs::Default,
    );
    project
        .fleetotp(&["sync"])
        .expect_code(0)
        .expect_text(&["web1: alice: removed and read back"]);
    assert!(!state_files(&lab, "web1").contains("/alice"));
    assert_out(&lab, "web1", "alice", &fleet.alice, &used);

    // A new enrolment is the way back, and only the new code lets in.
    std::fs::rename(project.path().join("elsewhere"), identity).unwrap();
    let ran = project
        .fleetotp(&["enroll", "alice", "--reissue", "-o", "json"])
        .expect_code(0);
    let mut anew = ran.sheet("alice", "default").scan().totp();
    assert_out(&lab, "web2", "alice", &fleet.alice, &fleet.alices);
    lab.assert_in(
        "web2",
        "alice",
        Key::With(&fleet.alice),
        Code::Some(&anew.fresh()),
        Prefs::Default,
    );
    for child in &mut bobs {
        assert!(child.try_wait().unwrap().is_none());
    }
    // Whoever sits at a prompt learns of it only by answering.
    for child in bobs.iter_mut().chain(&mut waiting) {
        child.kill().unwrap();
        child.wait().unwrap();
    }
}

#[test]
fn a_pending_admin_is_revoked_to_no_login_at_all() {
    let lab = Lab::start(&HOSTS);
    let names = HOSTS.map(|(name, _)| name);
    let fleet = Fleet::new(&lab, &names, policies()["default"].clone());
    let sheets = fleet.project.sheet_files();
    revoke(&fleet.project, &["bob"])
        .expect_code(0)
        .expect_text(&["3 of 3 hosts done"]);
    assert_eq!(
        fleet.project.sheet_files().len(),
        sheets.len() - 1,
        "the sheet is removed"
    );
    for host in names {
        assert!(!in_group(&lab, host, "bob", "fleetotp-pending"));
        assert_out(&lab, host, "bob", &fleet.bob, &fleet.bobs);
        assert_pending(&lab, host, "alice", &fleet.alice);
    }
}

/// Appended to the account files at once: a hundred calls of useradd on each of forty hosts would take minutes.
const HUNDRED: &str = r#"
    for n in $(seq 1 100); do
        echo "u$n:x:$((2000 + n)):$((2000 + n))::/home/u$n:/bin/sh" >>/etc/passwd
        echo "u$n:*:19000:0:99999:7:::" >>/etc/shadow
        echo "u$n:x:$((2000 + n)):" >>/etc/group
    done
    for n in 7 42; do
        mkdir -p /home/u$n/.ssh && printf '%s\n' "$1" >/home/u$n/.ssh/authorized_keys
        chown -R $((2000 + n)):$((2000 + n)) /home/u$n && chmod 700 /home/u$n /home/u$n/.ssh
    done
"#;

/// One admin of a hundred leaves; forty hosts, of which three are down.
#[test]
fn one_of_a_hundred_leaves_forty_hosts_of_which_three_are_down() {
    let names: Vec<String> = (1..=40).map(|n| format!("h{n:02}")).collect();
    let suites = [Suite::Bookworm, Suite::Trixie, Suite::Bullseye];
    let specs: Vec<(&str, Suite)> = names
        .iter()
        .zip(suites.iter().cycle())
        .map(|(name, suite)| (name.as_str(), *suite))
        .collect();
    let lab = Lab::start(&specs);
    let key = lab.key_pair("everybody");
    let on_each = |what: &(dyn Fn(&str) + Sync)| {
        std::thread::scope(|scope| {
            for chunk in names.chunks(10) {
                scope.spawn(move || chunk.iter().for_each(|name| what(name)));
            }
        });
    };
    on_each(&|name| {
        let script = HUNDRED.replace("\"$1\"", &format!("'{}'", key.public));
        lab.host(name).sh(&script);
    });
    let hosts: Vec<_> = names
        .iter()
        .map(|name| (name.as_str(), json!({})))
        .collect();
    let admins: serde_json::Map<String, Value> = (1..=100)
        .map(|n| (format!("a{n}"), json!({"login": format!("u{n}")})))
        .collect();
    let project = Project::new(
        &lab,
        &json!({"all": all(&lab, &hosts), "admins": admins, "policies": policies()}),
    );
    project.change_settings("#connect_timeout: 10s", "connect_timeout: 3s");
    let ran = project.rollout(&["-o", "json"]).expect_code(0);
    let mut leaver = ran.sheet("a42", "default").scan().totp();
    let mut stays = ran.sheet("a7", "default").scan().totp();
    for (admin, totp) in [("a42", &mut leaver), ("a7", &mut stays)] {
        let code = totp.fresh();
        project.confirm(admin, &code, &[]).expect_code(0);
    }
    let before: Vec<String> = names.iter().map(|name| state_files(&lab, name)).collect();
    let mut session = session(
        &lab,
        "h05",
        "root",
        &KeyPair {
            private: lab.root_key().into(),
            public: String::new(),
        },
    );
    let down = ["h03", "h20", "h38"];
    for name in down {
        lab.host(name).cut();
    }

    let ran = revoke(&project, &["a42", "-o", "json"]).expect_code(4);
    let document = ran.json();
    let items = document["revocations"][0]["hosts"]
        .as_array()
        .unwrap()
        .clone();
    let of = |state: &str| -> Vec<&str> {
        let found = items.iter().filter(|i| i["state"] == state);
        found.map(|i| i["host"].as_str().unwrap()).collect()
    };
    assert_eq!(of("proven").len(), 37);
    assert_eq!(of("open"), down);
    for item in items.iter().filter(|i| i["state"] == "open") {
        assert!(
            item["since"].is_string() && item["why"].as_str().unwrap().starts_with("unreachable"),
            "{item:#}"
        );
    }
    let status = project.status("a42", "default");
    assert_eq!(status["state"], "revoking");
    let counts = ["proven", "open", "attested"].map(|k| status["revocation"][k].as_u64().unwrap());
    assert_eq!(counts, [37, 3, 0]);
    project
        .fleetotp(&["status"])
        .expect_code(0)
        .expect_text(&["37 hosts proven, 3 open since", "h03, h20, h38"]);
    // The clock of what is open runs on from the same moment.
    let since = status["revocation"]["requested_at"].clone();
    project
        .fleetotp(&["sync"])
        .expect_code(4)
        .expect_text(&["h03: a42: open since"]);
    assert_eq!(
        project.status("a42", "default")["revocation"]["requested_at"],
        since
    );
    on_each(&|name| {
        if !down.contains(&name) {
            assert_out(&lab, name, "u42", &key, &leaver);
        }
    });

    for name in down {
        lab.host(name).mend();
    }
    project
        .fleetotp(&["sync"])
        .expect_code(0)
        .expect_text(&["h03: a42: removed and read back"]);
    assert_eq!(project.status("a42", "default")["state"], "revoked");
    for (name, before) in names.iter().zip(&before) {
        let now = state_files(&lab, name);
        assert!(!now.contains("/u42 "), "{name}");
        assert_eq!(
            others(&now, "u42"),
            others(before, "u42"),
            "the other 99 on {name}"
        );
    }
    for name in down {
        assert_out(&lab, name, "u42", &key, &leaver);
    }
    for name in ["h01", "h02", "h03"] {
        let mut totp = stays.clone();
        lab.assert_member(name, "u7", &key, &mut totp);
    }
    assert!(
        session.try_wait().unwrap().is_none(),
        "nobody else's session ended"
    );
    session.kill().unwrap();
    session.wait().unwrap();
}
