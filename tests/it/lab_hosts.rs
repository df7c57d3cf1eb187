//! Hosts that are not as a distribution ships them: what is taken as it is, and what is refused untouched.

use serde_json::{Value, json};

use crate::lab::{Code, Key, Lab, Prefs, Suite, WINDOW};
use crate::support::project::{Project, Ran, all, assert_pending};

/// The admins, on every host of these tests.
fn inventory(lab: &Lab, hosts: &[(&str, Value)]) -> Value {
    json!({
        "all": all(lab, hosts),
        "admins": {"alice": {"name": "Alice Martin"}},
        "policies": {"default": {"issuer": "Example Corp", "rate_limit": "30/30s", "window": WINDOW}},
    })
}

fn plain<'a>(hosts: &[&'a str]) -> Vec<(&'a str, Value)> {
    hosts.iter().map(|name| (*name, json!({}))).collect()
}

/// What sshd would do for a user who comes from somewhere.
fn effective(lab: &Lab, host: &str, user: &str) -> Vec<String> {
    let script = format!(
        "/usr/sbin/sshd -T -C user={user},host=client,addr=192.0.2.1,laddr=192.0.2.2,lport=22"
    );
    lab.host(host)
        .sh(&script)
        .lines()
        .map(str::to_owned)
        .collect()
}

/// Replaces sshd's main configuration by an edit of its text, and has sshd read it.
fn configure_sshd(lab: &Lab, host: &str, edit: impl Fn(String) -> String) {
    let host = lab.host(host);
    let text = edit(host.read_file("/etc/ssh/sshd_config"));
    host.write_file("/etc/ssh/sshd_config", "0644", text);
    host.sh("/usr/sbin/sshd -t && kill -HUP $(cat /run/sshd.pid) && sleep 0.3");
}

/// The report on a host in a run of a playbook with `-o json`.
fn report(ran: &Ran, host: &str) -> Value {
    let document = ran.json();
    let hosts = document["plays"][0]["hosts"].as_array().unwrap();
    let found = hosts.iter().find(|report| report["host"] == host);
    found
        .unwrap_or_else(|| panic!("no {host}: {document:#}"))
        .clone()
}

fn finding<'a>(report: &'a Value, id: &str) -> Option<&'a Value> {
    report["findings"]
        .as_array()
        .unwrap()
        .iter()
        .find(|finding| finding["id"] == id)
}

/// A host that is refused: the plan says so before anything is tried, the rollout does as well, and nothing is written.
fn assert_refused_untouched(lab: &Lab, project: &Project<'_>, host: &str, id: &str) {
    let before = lab.host(host).inode_snapshot();
    for more in [&["--check"][..], &[]] {
        let args = [&["-l", host, "-o", "json"], more].concat();
        let ran = project.rollout(&args).expect_code(2);
        let report = report(&ran, host);
        assert_eq!(report["status"], "failed", "{report:#}");
        let finding = finding(&report, id).unwrap_or_else(|| panic!("no {id}: {report:#}"));
        assert_eq!(finding["severity"], "refusal");
        assert_eq!(report["changes"], json!([]));
    }
    let after = lab.host(host).inode_snapshot();
    assert_eq!(after.changed_since(&before), Vec::<String>::new(), "{host}");
}

#[test]
fn hosts_where_a_change_cannot_be_proved_or_would_stack_are_left_alone() {
    let lab = Lab::start(&[
        ("users", Suite::Trixie),
        ("patterns", Suite::Bookworm),
        ("taken", Suite::Bullseye),
        ("shadowed", Suite::Bookworm),
    ]);
    let alice = lab.key_pair("alice");
    let names = ["users", "patterns", "taken", "shadowed"];
    for name in names {
        lab.host(name).add_user("alice", &alice);
    }
    configure_sshd(&lab, "users", |text| text + "\nAllowUsers root alice\n");
    lab.host("patterns")
        .sh("groupadd ssh-users && usermod -aG ssh-users alice");
    configure_sshd(&lab, "patterns", |text| text + "\nAllowGroups root ssh-*\n");
    let taken = lab.host("taken");
    let line = "auth required pam_google_authenticator.so nullok\n";
    taken.write_file(
        "/etc/pam.d/sshd",
        "0644",
        taken.read_file("/etc/pam.d/sshd") + line,
    );
    // Debian's file says `X11Forwarding yes` for everybody: behind a `Match all` on top, this would win.
    configure_sshd(&lab, "shadowed", |text| {
        text.replace("Include ", "#Include ") + "\nMatch User alice\n  X11Forwarding no\n"
    });
    let project = Project::new(&lab, &inventory(&lab, &plain(&names)));

    assert_refused_untouched(&lab, &project, "shadowed", "match-shadowed");
    assert_refused_untouched(&lab, &project, "users", "cannot-prove");
    assert_refused_untouched(&lab, &project, "patterns", "cannot-prove");
    assert_refused_untouched(&lab, &project, "taken", "pam-other-mfa");
    for name in names {
        lab.assert_in(name, "alice", Key::With(&alice), Code::No, Prefs::Default);
    }
}

#[test]
fn hosts_configured_by_hand_are_taken_as_they_are() {
    let lab = Lab::start(&[
        ("groups", Suite::Trixie),
        ("bare", Suite::BookwormWithoutModule),
        ("noinclude", Suite::Bookworm),
        ("oldnoinclude", Suite::Bullseye),
    ]);
    let (alice, olga) = (lab.key_pair("alice"), lab.key_pair("olga"));
    let names = ["groups", "bare", "noinclude", "oldnoinclude"];
    for name in names {
        lab.host(name).add_user("alice", &alice);
        lab.host(name)
            .add_user_with_password("olga", &olga, "secret");
    }
    lab.host("groups")
        .sh("groupadd sshusers && usermod -aG sshusers alice && usermod -aG sshusers olga");
    configure_sshd(&lab, "groups", |text| {
        text + "\nAllowGroups root sshusers\n"
    });
    let mut before = Vec::new();
    for name in ["noinclude", "oldnoinclude"] {
        configure_sshd(&lab, name, |text| {
            text.replace("Include ", "#Include ")
                + "\nMaxAuthTries 4\nClientAliveInterval 77\nBanner /etc/issue.net\n\
                   Match User olga\n  PasswordAuthentication no\n  AllowTcpForwarding no\n"
        });
        before.extend(
            ["root", "olga", "nobody"].map(|user| (name, user, effective(&lab, name, user))),
        );
    }
    let project = Project::new(&lab, &inventory(&lab, &plain(&names)));

    let planned = project.rollout(&["--check", "-o", "json"]).expect_code(0);
    let install = &report(&planned, "bare")["changes"][0]["summary"];
    assert!(
        install
            .as_str()
            .unwrap()
            .contains("install libpam-google-authenticator"),
        "{install}"
    );
    assert!(
        !lab.host("bare")
            .exists("/usr/share/doc/libpam-google-authenticator")
    );
    let ran = project.rollout(&["-o", "json"]).expect_code(0);
    assert!(
        lab.host("bare")
            .exists("/usr/share/doc/libpam-google-authenticator")
    );

    // The temporary member stood where alice stands, and not where root does.
    let log = lab.host("groups").read_file("/var/log/auth.log");
    assert!(
        log.contains("add 'fleetotp-canary' to group 'sshusers'"),
        "{log}"
    );
    assert!(
        !log.contains("add 'fleetotp-canary' to group 'root'"),
        "{log}"
    );

    for name in names {
        assert_pending(&lab, name, "alice", &alice);
        lab.assert_key_only(name, "olga", Key::With(&olga));
        assert!(
            lab.host(name)
                .sh("getent passwd")
                .lines()
                .all(|l| !l.contains("canary"))
        );
    }
    let mut totp = ran.sheet("alice", "default").scan().wide_totp();
    project.confirm("alice", &totp.fresh(), &[]).expect_code(0);
    for name in names {
        lab.assert_member(name, "alice", &alice, &mut totp.clone());
        lab.assert_key_only(name, "olga", Key::With(&olga));
    }

    // Everything else in a main file that had to be changed has the effect it had: only the old sshd's global switch
    // differs, and what it switches on is switched off for everybody else.
    for (name, user, was) in before {
        let is = effective(&lab, name, user);
        let gone: Vec<&String> = was.iter().filter(|line| !is.contains(line)).collect();
        let come: Vec<&String> = is.iter().filter(|line| !was.contains(line)).collect();
        let (old, new): (&[&str], &[&str]) = if name == "oldnoinclude" {
            (
                &["challengeresponseauthentication no"],
                &["challengeresponseauthentication yes"],
            )
        } else {
            (&[], &[])
        };
        assert!(
            gone == *old && come == *new,
            "{user}@{name}: -{gone:?} +{come:?}"
        );
        assert!(is.contains(&"maxauthtries 4".to_owned()));
    }
    let password = Code::Password("secret");
    for name in ["noinclude", "oldnoinclude"] {
        lab.assert_refused(name, "olga", Key::No, password, Prefs::Default);
        assert!(
            lab.host(name)
                .read_file("/etc/ssh/sshd_config")
                .starts_with("# BEGIN fleetotp\n")
        );
        assert!(
            !lab.host(name)
                .exists("/etc/ssh/sshd_config.d/00-fleetotp.conf")
        );
    }
    lab.assert_in("groups", "olga", Key::No, password, Prefs::Default);
    let before: Vec<_> = names.map(|name| lab.host(name).inode_snapshot()).into();
    project.rollout(&[]).expect_code(0).expect_unchanged();
    for (name, before) in names.iter().zip(before) {
        let changed = lab.host(name).inode_snapshot().changed_since(&before);
        assert_eq!(changed, Vec::<String>::new(), "{name}");
    }
}

/// A program that works on the machine it runs on has no fresh connection to confirm a change by, unless it is told one.
/// It is run inside a lab host, so that the machine in question is that one.
#[test]
fn a_local_connection_needs_a_host_to_confirm_by() {
    let lab = Lab::start(&[("own", Suite::Trixie)]);
    let alice = lab.key_pair("alice");
    let own = lab.host("own");
    own.add_user("alice", &alice);
    let program = std::fs::read(env!("CARGO_BIN_EXE_fleetotp")).unwrap();
    own.write_file("/usr/local/bin/fleetotp", "0755", program);
    own.sh("mkdir /root/project && cd /root/project && fleetotp init");
    let inventory = |own: Value| {
        json!({"all": {"hosts": {"own": own}}, "admins": {"alice": {"name": "Alice Martin"}}})
            .to_string()
    };
    own.write_file(
        "/root/project/rollout.yml",
        "0644",
        std::fs::read(crate::support::project::ROLLOUT).unwrap(),
    );
    own.write_file(
        "/root/project/inventory.yml",
        "0644",
        inventory(json!({"ansible_connection": "local"})),
    );
    let before = own.inode_snapshot();
    let refused = own.try_sh("cd /root/project && fleetotp play rollout.yml");
    let text = String::from_utf8_lossy(&refused.stdout).into_owned();
    assert_eq!(refused.status.code(), Some(2), "{text}");
    assert!(
        text.contains("no-fresh-connection") && text.contains("confirm_host"),
        "{text}"
    );
    assert_eq!(
        own.inode_snapshot().changed_since(&before),
        Vec::<String>::new()
    );

    own.sh("ssh-keygen -q -t ed25519 -N '' -f /root/.ssh/id_ed25519 &&
        cat /root/.ssh/id_ed25519.pub >>/root/.ssh/authorized_keys &&
        echo \"127.0.0.1 $(cut -d' ' -f1,2 /etc/ssh/ssh_host_ed25519_key.pub)\" >/root/.ssh/known_hosts");
    own.write_file(
        "/root/project/inventory.yml",
        "0644",
        inventory(json!({"ansible_connection": "local", "confirm_host": "127.0.0.1"})),
    );
    own.sh("cd /root/project && fleetotp play rollout.yml");
    assert_pending(&lab, "own", "alice", &alice);
    assert!(
        own.read_file("/etc/pam.d/sshd")
            .contains("# BEGIN fleetotp")
    );
}
