//! Playbooks in batches on real hosts: what goes wrong stops the rest, and the rest is done once it is mended.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::lab::Suite;
use crate::support::faults::{Site, assert_nothing_open, login_texts};
use crate::support::project::Project;

const PLAYBOOK: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/playbooks/rollout.yml");

/// A stack that lets everybody in but members: only a login by one shows it.
const POISON: &str = "account required pam_succeed_if.so quiet user notingroup fleetotp";

fn results(shown: &Value) -> BTreeMap<&str, (i64, &str)> {
    let hosts = shown["on"].as_array().expect("a list");
    hosts
        .iter()
        .map(|h| {
            let result = h["result"].as_str().unwrap_or("none");
            let batch = h["batch"].as_i64().expect("a number");
            (h["host"].as_str().expect("a name"), (batch, result))
        })
        .collect()
}

#[test]
fn lab_a_poisoned_host_stops_a_rollout_and_is_retried_once_mended() {
    let suites = [Suite::Bookworm, Suite::Bullseye, Suite::Trixie];
    let names: Vec<String> = (1..=12).map(|n| format!("h{n:02}")).collect();
    let hosts: Vec<(&str, Suite)> = names
        .iter()
        .zip(suites.iter().cycle())
        .map(|(name, suite)| (name.as_str(), *suite))
        .collect();
    let site = Site::start(&hosts);
    let poisoned = site.host("h03");
    poisoned.sh(&format!("echo '{POISON}' >>/etc/pam.d/sshd"));
    let before: Vec<String> = site.each().map(login_texts).collect();
    let project = site.project(60);

    // Batches of 1, 3 and 8 hosts: the third of them fails its proof, in the second batch.
    let ran = project.fleetotp(&["play", PLAYBOOK]).expect_code(2).expect_text(&[
        "PLAY [Roll out TOTP] batch 1 of 3",
        "PLAY [Roll out TOTP] batch 2 of 3",
        "fatal: [h03]: FAILED! => a member with key and right code was refused; it has been reverted",
        "NO MORE HOSTS LEFT",
        "1 of 3 hosts failed: more than max_fail_percentage: 0: the run goes no further",
        "8 hosts were not begun",
    ]);
    assert!(!ran.stdout.contains("batch 3 of 3"), "{}", ran.stdout);
    assert_eq!(login_texts(poisoned), before[2]);
    assert_nothing_open(poisoned);
    site.assert_key_logins_on("h03");
    let shown = project
        .fleetotp(&["runs", "show", "last", "-o", "json"])
        .json();
    let results_of_first = results(&shown);
    for (index, name) in names.iter().enumerate() {
        let host = site.host(name);
        let wanted = match index {
            0 => (1, "changed"),
            2 => (2, "failed"),
            1 | 3 => (2, "changed"),
            _ => (3, "none"),
        };
        assert_eq!(results_of_first[name.as_str()], wanted, "{name}");
        let changed = login_texts(host) != before[index];
        assert_eq!(changed, wanted.1 == "changed", "{name}");
        // Whoever's turn did not come was not even looked at.
        if index > 3 {
            assert!(!host.exists("/var/lib/fleetotp"), "{name}");
            let log = host.read_file("/var/log/auth.log");
            assert!(!log.contains("10.77.0.1"), "{name}: {log}");
        }
    }

    // Mended. On another host, whose like was proved in the second batch, the same stands in text that PAM's includes: no
    // host takes another's proof for its own that is not like it to the last of these files.
    poisoned.sh("sed -i '/notingroup fleetotp/d' /etc/pam.d/sshd");
    let stopped = project.newest_run();
    let stopped = stopped["id"].as_str().expect("an id");
    let included = site.host("h12");
    included.sh(&format!("echo '{POISON}' >>/etc/pam.d/common-account"));
    project
        .fleetotp(&["play", "--retry-failed", stopped, "-l", "h12"])
        .expect_code(2)
        .expect_text(&["fatal: [h12]: FAILED! => a member with key and right code was refused; it has been reverted"]);
    assert_nothing_open(included);
    site.assert_key_logins_on("h12");
    included.sh("sed -i '/notingroup fleetotp/d' /etc/pam.d/common-account");
    assert_eq!(login_texts(included), before[11]);

    // Only what is left is done.
    let shots: Vec<_> = [0, 1, 3]
        .map(|n| site.host(&names[n]).inode_snapshot())
        .into();
    let again = project
        .fleetotp(&["play", "--retry-failed", stopped, "-o", "json"])
        .expect_code(0)
        .json();
    let hosts = again["plays"][0]["hosts"].as_array().expect("a list");
    assert_eq!(hosts.len(), 9);
    for (n, shot) in [0, 1, 3].into_iter().zip(&shots) {
        let now = site.host(&names[n]).inode_snapshot();
        assert_eq!(now.changed_since(shot), Vec::<String>::new());
    }
    for name in &names {
        assert!(
            site.host(name)
                .read_file("/etc/pam.d/sshd")
                .contains("# BEGIN fleetotp")
        );
        site.assert_key_logins_on(name);
    }
    project
        .fleetotp(&["play", "--retry-failed", "last"])
        .expect_code(0)
        .expect_text(&["has left no host undone"]);

    verified_later(&site, &project, &names);

    // Conditions: by a host's facts once it was read, by its variables before it is contacted at all.
    let conditions = project.path().join("when.yml");
    std::fs::write(
        &conditions,
        "- hosts: all\n  vars: {wanted: [h01, h02]}\n  tasks:\n    - preflight:\n      when: inventory_hostname in wanted\n    - name: secrets\n      enroll:\n      when: [inventory_hostname in wanted, facts.openssh < 9]\n",
    )
    .expect("it can be written");
    let conditions = conditions.to_str().expect("text");
    project
        .fleetotp(&["play", conditions])
        .expect_code(0)
        .expect_text(&[
            "TASK [secrets] ***",
            "skipping: [h01]",
            "ok: [h02]",
            "skipping: [h12]",
        ]);
    let runs = project.fleetotp(&["runs", "list", "-o", "json"]).stdout;
    let untold = project.path().join("untold.yml");
    let tasks = "- hosts: all\n  serial: 1\n  tasks:\n    - preflight:\n      when: inventory_hostname != 'h12' or nothing == 1\n";
    std::fs::write(&untold, tasks).expect("it can be written");
    project
        .fleetotp(&["play", "untold.yml"])
        .expect_code(65)
        .expect_text(&["untold.yml:5:13", "undefined value"]);
    assert_eq!(
        project.fleetotp(&["runs", "list", "-o", "json"]).stdout,
        runs
    );
    project
        .fleetotp(&["play", conditions, "--start-at-task", "secrts"])
        .expect_code(1)
        .expect_text(&["did you mean `secrets`?"]);
}

#[test]
fn lab_each_host_proves_its_change_where_that_is_asked_for() {
    let site = Site::start(&[("web1", Suite::Bookworm), ("web2", Suite::Bookworm)]);
    let project = site.project(60);
    let proved = |pam_totp: &str| {
        let play = project.path().join("each.yml");
        let tasks = format!("- hosts: all\n  tasks:\n    - pam_totp: {pam_totp}\n    - enroll:\n");
        std::fs::write(&play, tasks).expect("it can be written");
        let ran = project.fleetotp(&["play", "each.yml", "-o", "json"]);
        let document = ran.expect_code(0).json();
        let hosts = document["plays"][0]["hosts"].as_array().expect("a list");
        let logins = |host: &Value| {
            let logins = &host["verification"]["logins"];
            logins.as_array().map_or(0, Vec::len)
        };
        hosts.iter().map(logins).collect::<Vec<_>>()
    };
    assert_eq!(proved("{every_host: true}"), [9, 9]);
    project
        .fleetotp(&["remove", "all", "--reason", "a trial"])
        .expect_code(0);
    let mut once = proved("{}");
    once.sort_unstable();
    assert_eq!(once, [0, 9]);
}

/// Any time later: the login table by a temporary member, once for each release, and on the hosts that are named.
fn verified_later(site: &Site, project: &Project, names: &[String]) {
    let state = |name: &str| {
        site.host(name).sh("cat /etc/passwd /etc/shadow /etc/group /etc/pam.d/sshd /etc/ssh/sshd_config.d/*; find /var/lib/fleetotp /var/lib/google-authenticator | sort")
    };
    let before: Vec<String> = names.iter().map(|n| state(n)).collect();
    let document = project
        .fleetotp(&["verify", "--strict", "-o", "json"])
        .expect_code(0)
        .json();
    let hosts = document["hosts"].as_array().expect("a list");
    assert_eq!(hosts.len(), 12);
    let tried: Vec<&Value> = hosts
        .iter()
        .map(|h| &h["verification"])
        .filter(|v| v["like"].is_null())
        .collect();
    assert_eq!(tried.len(), 3, "one of each release: {document:#}");
    for verification in tried {
        let rows = verification["logins"].as_array().expect("a list");
        assert_eq!(rows.len(), 9, "{verification:#}");
        assert!(rows.iter().all(|r| r["held"] == true), "{verification:#}");
    }
    for (name, before) in names.iter().zip(&before) {
        assert_nothing_open(site.host(name));
        assert_eq!(state(name), *before, "{name}");
    }

    // What somebody did to hosts since then.
    for (name, edit) in [
        (
            "h01",
            "sed -i 's/^# BEGIN fleetotp/auth sufficient pam_permit.so\\n&/' /etc/pam.d/sshd",
        ),
        (
            "h02",
            "sed -i 's/AuthenticationMethods publickey,keyboard.*/AuthenticationMethods publickey/' /etc/ssh/sshd_config.d/00-fleetotp.conf && kill -HUP $(cat /run/sshd.pid)",
        ),
        (
            "h03",
            "printf 'account required pam_access.so\\n' >>/etc/pam.d/sshd && echo '- : ALL EXCEPT root alice bob : ALL' >>/etc/security/access.conf",
        ),
        (
            "h06",
            "printf 'account required pam_access.so\\n' >>/etc/pam.d/sshd && printf '+ : root : ALL\\n+ : (ops) : ALL\\n- : ALL : ALL\\n' >>/etc/security/access.conf && groupadd ops && usermod -a -G ops alice",
        ),
    ] {
        site.host(name).sh(edit);
    }
    let ran = project.fleetotp(&["verify", "h01:h02:h03:h06", "--every-host", "--strict"]);
    ran.expect_code(9).expect_text(&[
        "h01: NOT VERIFIED: a member was let in without being asked for a code",
        "h02: NOT VERIFIED: a member was let in without being asked for a code",
        "h03: NOT VERIFIED: an account that is no member was refused with its key: something there",
        "h06: verified",
    ]);
    let log = project.fleetotp(&["audit", "log", "--kind", "host.verified", "-o", "json"]);
    assert!(log.stdout.contains("h03"), "{}", log.stdout);
    for name in ["h01", "h02", "h03", "h06"] {
        assert_nothing_open(site.host(name));
        site.host(name).sh("! grep -q fleetotp-canary /etc/passwd");
    }
    // A play that verifies lets a host fail, and no further batch begin.
    let play = project.path().join("verify.yml");
    let tasks = "- hosts: h01:h02\n  serial: 1\n  max_fail_percentage: 0\n  tasks:\n    - verify: {every_host: true}\n";
    std::fs::write(&play, tasks).expect("it can be written");
    project
        .fleetotp(&["play", "verify.yml"])
        .expect_code(2)
        .expect_text(&[
            "fatal: [h01]: FAILED! => a member was let in without being asked for a code",
            "1 host was not begun",
        ]);
    let shown = project.fleetotp(&["runs", "show", "last", "-o", "json"]);
    let shown = shown.expect_code(0).json();
    let noted = BTreeMap::from([("h01", (1, "failed")), ("h02", (2, "none"))]);
    assert_eq!(results(&shown), noted);
    site.host("h01")
        .sh("sed -i '/^auth sufficient pam_permit.so/d' /etc/pam.d/sshd");
    project
        .fleetotp(&["play", PLAYBOOK, "-l", "h02"])
        .expect_code(0);
    for name in ["h03", "h06"] {
        site.host(name)
            .sh("sed -i '/pam_access.so/d' /etc/pam.d/sshd");
    }
}
