//! `sync` finds what somebody changed by hand, shows it, and repairs it; and takes in what is new.

use serde_json::{Value, json};

use crate::lab::{Code, Host, Key, KeyPair, Lab, Prefs, Suite, Totp, WINDOW};
use crate::support::faults::eventually;
use crate::support::project::{Project, all, assert_pending};

const HOSTS: [(&str, Suite); 3] = [
    ("old", Suite::Bullseye),
    ("mid", Suite::Bookworm),
    ("new", Suite::Trixie),
];
const STATE: &str = "/var/lib/google-authenticator/current";

fn inventory(lab: &Lab, hosts: &[&str], admins: &[&str]) -> Value {
    let hosts: Vec<_> = hosts.iter().map(|name| (*name, json!({}))).collect();
    let admins: serde_json::Map<_, _> = admins
        .iter()
        .map(|name| ((*name).to_owned(), json!({"name": name})))
        .collect();
    json!({
        "all": all(lab, &hosts),
        "admins": admins,
        "policies": {"default": {"issuer": "Example Corp", "rate_limit": "30/30s", "window": WINDOW}},
    })
}

/// What somebody did on a host by hand, the word that the plan has for it, and what it opens or breaks until then.
struct Deed {
    what: &'static str,
    script: &'static str,
    shown: &'static str,
}

const DEEDS: [Deed; 6] = [
    Deed {
        what: "somebody let everybody in who has no secret",
        script: "sed -i 's/^auth required pam_google_authenticator.so/& nullok/; \
                 /pam_google_authenticator/s/secret=/nullok secret=/' /etc/pam.d/sshd",
        shown: "/etc/pam.d/sshd",
    },
    Deed {
        what: "somebody took the block out",
        script: "sed -i '/# BEGIN fleetotp/,/# END fleetotp/d' /etc/pam.d/sshd",
        shown: "/etc/pam.d/sshd",
    },
    Deed {
        what: "somebody removed sshd's addition",
        script: "rm -f /etc/ssh/sshd_config.d/00-fleetotp.conf; kill -HUP $(cat /run/sshd.pid); sleep 0.3",
        shown: "/etc/ssh/sshd_config.d/00-fleetotp.conf",
    },
    Deed {
        what: "somebody took her out of the group",
        script: "gpasswd -d alice fleetotp",
        shown: "group fleetotp: +alice",
    },
    Deed {
        what: "somebody took the rate limit away",
        script: "sed -i '/RATE_LIMIT/d' /var/lib/google-authenticator/current/alice",
        shown: "current/alice",
    },
    Deed {
        what: "somebody deleted the secret",
        script: "rm /var/lib/google-authenticator/current/alice",
        shown: "current/alice",
    },
];

/// The files that decide about alice, as text; without what logins change, and without the expiry, which only the first
/// file of a generation has.
fn texts(host: Host<'_>) -> String {
    host.sh("cat /etc/pam.d/sshd /etc/ssh/sshd_config.d/00-fleetotp.conf; getent group fleetotp; \
             grep -v -e DISALLOW_REUSE -e 'RATE_LIMIT' /var/lib/google-authenticator/current/alice | sed 's/ exp=.*//'; \
             grep -c RATE_LIMIT /var/lib/google-authenticator/current/alice")
}

#[test]
fn lab_what_was_changed_by_hand_is_shown_and_repaired() {
    let lab = Lab::start(&HOSTS);
    let names = HOSTS.map(|(name, _)| name);
    let alice = lab.key_pair("alice");
    for name in names {
        lab.host(name).add_user("alice", &alice);
    }
    let project = Project::new(&lab, &inventory(&lab, &names, &["alice"]));
    let ran = project.rollout(&["-o", "json"]).expect_code(0);
    let mut totp = ran.sheet("alice", "default").scan().wide_totp();
    project.confirm("alice", &totp.fresh(), &[]).expect_code(0);
    let everywhere = |totp: &Totp| member_everywhere(&lab, &names, "alice", &alice, totp);
    everywhere(&totp);
    let good = names.map(|name| texts(lab.host(name)));
    for deed in &DEEDS {
        for name in names {
            lab.host(name).sh(deed.script);
            eventually("nothing is at work on the host", 20, || {
                let at_work = "pgrep -f 'fleetotp/[r]eaper' || true";
                lab.host(name).sh(at_work).is_empty()
            });
        }
        let before = names.map(|name| lab.host(name).inode_snapshot());
        let shown = project
            .fleetotp(&["sync", "--check", "--diff", "-o", "json"])
            .expect_code(0)
            .json();
        for (name, before) in names.iter().zip(&before) {
            let changed = lab.host(name).inode_snapshot().changed_since(before);
            assert_eq!(changed, Vec::<String>::new(), "only looked at");
        }
        let repaired = project.fleetotp(&["sync"]).expect_code(0);
        for (name, good) in names.iter().zip(&good) {
            let hosts = shown["hosts"].as_array().unwrap();
            let report = hosts.iter().find(|h| h["host"] == *name).unwrap();
            let diff = report["changes"].to_string();
            assert!(diff.contains(deed.shown), "{} on {name}: {diff}", deed.what);
            assert!(
                repaired.stdout.contains(name),
                "{}: nothing said",
                deed.what
            );
            assert_eq!(&texts(lab.host(name)), good, "{} on {name}", deed.what);
        }
        let quiet = project.fleetotp(&["sync"]).expect_code(0);
        assert_eq!((quiet.stdout, quiet.stderr), (String::new(), String::new()));
    }
    ways_past_the_code(&lab, &project, &names);
    // Whom nobody knows stays in the group: out of it a key alone would do.
    let mid = lab.host("mid");
    mid.sh("useradd mallory; gpasswd -a mallory fleetotp");
    let stranger = ["(unknown-members)", "does not know: mallory"];
    project
        .fleetotp(&["sync", "--check", "--diff"])
        .expect_code(0)
        .expect_text(&stranger);
    project
        .fleetotp(&["sync", "--strict"])
        .expect_code(9)
        .expect_text(&stranger);
    assert!(mid.sh("getent group fleetotp").contains("mallory"));
    totp.fresh();
    everywhere(&totp);
}

/// What somebody opened by hand, where, and how the report says it; `sync` leaves it alone, it is not fleetotp's.
const WAYS: [(&str, &str, &str); 6] = [
    (
        "echo '# x' >/etc/sudoers.d/90-lab; echo 'alice ALL=(ALL) \\' >>/etc/sudoers.d/90-lab; echo ' NOPASSWD: ALL' >>/etc/sudoers.d/90-lab",
        "nopasswd",
        "/etc/sudoers.d/90-lab:2: one account",
    ),
    (
        "echo 'Defaults:%ops !authenticate' >/etc/sudoers.d/91-lab",
        "no_authenticate",
        "/etc/sudoers.d/91-lab:1: members of %ops",
    ),
    (
        "echo 'auth required pam_google_authenticator.so nullok grace_period=60' >/etc/pam.d/vsftpd",
        "nullok",
        "/etc/pam.d/vsftpd:1: auth required pam_google_authenticator.so nullok grace_period=60",
    ),
    (":", "grace_period", "/etc/pam.d/vsftpd:1: "),
    (
        "groupadd -f fleetotp-exempt; gpasswd -a daemon fleetotp-exempt",
        "exempt_group",
        "/etc/group: members of fleetotp-exempt",
    ),
    (
        "echo 12345678 >>/var/lib/google-authenticator/current/alice",
        "scratch_codes",
        "/var/lib/google-authenticator/current: 1 unused",
    ),
];

/// Every way past the code that was opened on a real host is in the report with its place, and gone from it afterwards.
fn ways_past_the_code(lab: &Lab, project: &Project<'_>, names: &[&str]) {
    let seen = || {
        let report = project.fleetotp(&["report", "coverage", "-o", "json"]);
        let report = report.expect_code(0).json();
        let rows = crate::report_cmd::rows(&report, "weaknesses").iter();
        let text = |row: &Value, key: &str| row[key].as_str().unwrap_or_default().to_owned();
        rows.map(|r| (text(r, "host"), text(r, "kind"), text(r, "detail")))
            .collect::<Vec<_>>()
    };
    let before = seen();
    for name in names {
        let other = before
            .iter()
            .find(|(host, kind, _)| host == name && kind == "other_services");
        let (_, _, services) = other.unwrap_or_else(|| panic!("{name}: {before:?}"));
        for service in ["login", "su", "sudo"] {
            assert!(services.contains(service), "{name}: {services}");
        }
        // Only what the tests' own account has.
        let others = [
            "no_authenticate",
            "nullok",
            "grace_period",
            "exempt_group",
            "scratch_codes",
        ];
        let has = before
            .iter()
            .find(|(host, kind, _)| host == name && others.contains(&kind.as_str()));
        assert_eq!(has, None);
        for (script, _, _) in &WAYS {
            lab.host(name).sh(script);
        }
        lab.host(name)
            .sh("echo 'auth required pam_unix.so' >/etc/pam.d/cockpit");
    }
    project.fleetotp(&["sync"]).expect_code(0);
    let after = seen();
    for name in names {
        for (_, kind, detail) in &WAYS {
            let found = after
                .iter()
                .any(|(host, k, d)| host == name && k == kind && d.starts_with(detail));
            assert!(found, "{kind} on {name}: {after:?}");
        }
        let told = |service: &str| {
            let mut rows = after
                .iter()
                .filter(|(host, kind, _)| host == name && kind == "other_services");
            rows.any(|(_, _, d)| d.split([' ', ',']).any(|s| s == service))
        };
        assert!(told("cockpit") && !told("vsftpd"), "{after:?}");
        let said = after
            .iter()
            .filter(|(host, _, _)| host == name)
            .map(|(_, _, d)| d.as_str());
        assert!(said.into_iter().all(|d| !d.contains("alice")), "{after:?}");
        lab.host(name).sh("rm /etc/sudoers.d/9?-lab /etc/pam.d/vsftpd /etc/pam.d/cockpit; gpasswd -d daemon fleetotp-exempt; \
             sed -i '/^12345678$/d' /var/lib/google-authenticator/current/alice");
    }
    project.fleetotp(&["sync"]).expect_code(0);
    assert_eq!(seen(), before);
}

fn member_everywhere(lab: &Lab, hosts: &[&str], login: &str, key: &KeyPair, totp: &Totp) {
    for host in hosts {
        lab.assert_member(host, login, key, &mut totp.clone());
    }
}

#[test]
fn lab_new_hosts_and_admins_of_the_inventory_are_enrolled() {
    let lab = Lab::start(&HOSTS);
    let (alice, bob) = (lab.key_pair("alice"), lab.key_pair("bob"));
    for (name, _) in HOSTS {
        lab.host(name).add_user("alice", &alice);
        lab.host(name).add_user("bob", &bob);
    }
    let project = Project::new(&lab, &inventory(&lab, &["old"], &["alice"]));
    let ran = project.rollout(&["-o", "json"]).expect_code(0);
    let mut hers = ran.sheet("alice", "default").scan().wide_totp();
    project.confirm("alice", &hers.fresh(), &[]).expect_code(0);

    // The inventory grows. Whoever does not want `sync` to begin with what is new can say so.
    project.set_inventory(&inventory(&lab, &["old", "mid", "new"], &["alice", "bob"]));
    let untouched = lab.host("new").inode_snapshot();
    let held = project
        .fleetotp(&["sync", "--no-new", "-o", "json"])
        .expect_code(0);
    assert!(held.sheets().is_empty());
    assert_eq!(
        lab.host("new").inode_snapshot().changed_since(&untouched),
        Vec::<String>::new()
    );
    let ran = project.fleetotp(&["sync", "-o", "json"]).expect_code(0);
    assert_eq!(ran.sheets().len(), 1, "{}", ran.stdout);
    member_everywhere(&lab, &["old", "mid", "new"], "alice", &alice, &hers);
    for host in ["old", "mid", "new"] {
        assert_pending(&lab, host, "bob", &bob);
        assert!(lab.host(host).exists(&format!("{STATE}/bob")));
    }
    let mut his = ran.sheet("bob", "default").scan().wide_totp();
    project.confirm("bob", &his.fresh(), &[]).expect_code(0);
    member_everywhere(&lab, &["old", "mid", "new"], "bob", &bob, &his);
    lab.assert_in("new", "root", Key::Root, Code::No, Prefs::Default);
    let quiet = project.fleetotp(&["sync"]).expect_code(0);
    assert_eq!((quiet.stdout, quiet.stderr), (String::new(), String::new()));
}
