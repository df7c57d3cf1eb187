//! What a new user may do in an unusual order: sheets before any host, secrets before PAM.

use serde_json::json;

use crate::lab::{Lab, Suite};
use crate::support::project::{Project, all};

#[test]
fn sheets_may_come_first_and_unprepared_hosts_are_a_gap() {
    let lab = Lab::start(&[("web1", Suite::Bookworm)]);
    let key = lab.key_pair("alice");
    lab.host("web1").add_user("alice", &key);
    let inventory = json!({
        "all": all(&lab, &[("web1", json!({}))]),
        "admins": {"alice": {}},
    });
    let project = Project::new(&lab, &inventory);

    let issued = project
        .fleetotp(&["enroll", "--no-push", "-o", "json"])
        .expect_code(0);
    let sheet = issued.sheet("alice", "default").scan();
    assert_eq!(project.state_on("alice", "default", "web1"), "unknown");
    let untouched =
        "test ! -e /var/lib/fleetotp -a ! -e /var/lib/google-authenticator && echo untouched";
    assert_eq!(lab.host("web1").sh(untouched).trim(), "untouched");

    // The commands that only push secrets name what is missing, and change nothing.
    for command in [
        &["enroll", "-o", "json"][..],
        &["sync", "--no-new", "-o", "json"],
    ] {
        let ran = project.fleetotp(command).expect_code(0);
        let gap = &ran.json()["hosts"][0]["gaps"][0];
        assert_eq!(gap["id"], "pam-not-ready", "{}", ran.stdout);
        assert!(ran.sheets().is_empty(), "no second sheet");
        assert_eq!(lab.host("web1").sh(untouched).trim(), "untouched");
    }

    // The rollout pushes the secret of the sheet that was there before.
    project.rollout(&[]).expect_code(0);
    let code = sheet.totp().fresh();
    project.confirm("alice", &code, &[]).expect_code(0);
    assert_eq!(project.state_on("alice", "default", "web1"), "enforced");
    assert!(
        lab.host("web1")
            .read_file("/var/lib/google-authenticator/current/alice")
            .starts_with(&sheet.secret)
    );
}

/// Where a machine permits no namespaces the demo runs on loopback hosts: what the program asks of a host is there, too.
#[test]
fn a_rollout_works_on_loopback_hosts() {
    let lab = Lab::start_with(
        &[("web1", Suite::Bookworm)],
        &[("FLEETOTP_LAB_MODE", "loopback")],
    );
    lab.host("web1").add_user("alice", &lab.key_pair("alice"));
    // The lab cannot change the machine's own list of host keys here.
    let config = format!("-F {}", lab.dir().join("system_ssh_config").display());
    let inventory = json!({
        "all": all(&lab, &[("web1", json!({"ansible_ssh_common_args": config}))]),
        "admins": {"alice": {}},
    });
    let project = Project::new(&lab, &inventory);
    project.rollout(&[]).expect_code(0);
    assert_eq!(project.state_on("alice", "default", "web1"), "staged");
    project.rollout(&[]).expect_code(0).expect_unchanged();
}
