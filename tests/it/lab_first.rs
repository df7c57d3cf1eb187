//! What a new user may do in an unusual order: sheets before any host, secrets before PAM.

use std::process::Command;

use serde_json::json;

use crate::lab::{Lab, Suite, run};
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
    let signing_key = project.path().join("audit_key");
    run(Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-C", "", "-f"])
        .arg(&signing_key));
    project.change_settings("#signing_key: state/audit_key", "signing_key: audit_key");

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
    assert_witnessed(&lab, &project);
}

/// The host keeps signed heads, that ssh-keygen accepts; its syslog got them; and a log that is cut or rewritten no longer fits.
fn assert_witnessed(lab: &Lab, project: &Project<'_>) {
    let file = lab.host("web1").read_file("/var/lib/fleetotp/witness");
    let last: Vec<&str> = file.lines().last().unwrap().split('\t').collect();
    let &[id, size, hash, at, signature] = last.as_slice() else {
        panic!("{file}");
    };
    let log = lab.host("web1").read_file("/var/log/auth.log");
    let told = format!(
        "fleetotp: witness of project {id}: {size} events, head {hash}, at {at}, signature {signature}"
    );
    assert!(log.contains(&told), "{told}\n{log}");

    // An independent referee, with the public key alone.
    let scratch = project.scratch();
    let key = std::fs::read_to_string(project.path().join("audit_key.pub")).unwrap();
    std::fs::write(scratch.join("allowed"), format!("me {key}")).unwrap();
    let armoured =
        format!("-----BEGIN SSH SIGNATURE-----\n{signature}\n-----END SSH SIGNATURE-----\n");
    std::fs::write(scratch.join("sig"), armoured).unwrap();
    let text = format!("fleetotp head v1\nproject {id}\nsize {size}\nhash {hash}\nat {at}\n");
    std::fs::write(scratch.join("text"), text).unwrap();
    let verify = "ssh-keygen -Y verify -f allowed -I me -n fleetotp-head -s sig <text";
    run(Command::new("sh").args(["-c", verify]).current_dir(scratch));

    let verify = ["audit", "verify", "--witnesses", "-o", "json"];
    let sound = project.fleetotp(&verify).expect_code(0).json();
    assert_eq!(sound["witnesses"]["lines"], json!(file.lines().count()));
    assert_eq!(sound["proven"]["size"].to_string(), size);
    assert_eq!(sound["signed_heads"], sound["witnesses"]["lines"]);

    // The end of the log is cut off, and whatever notes it: only the host knows.
    let forge = |script: &str| {
        let forged = run(Command::new("python3")
            .args([
                "-c",
                &format!(
                    "import sqlite3\nc = sqlite3.connect('state/ledger.db')\n{script}\nc.commit()"
                ),
            ])
            .current_dir(project.path()));
        drop(forged);
    };
    forge(
        "c.execute('DELETE FROM event WHERE seq > 3'); c.execute('DELETE FROM signed_head')\n\
         h = c.execute('SELECT hash FROM event WHERE seq = 3').fetchone()[0]\n\
         c.execute(\"UPDATE meta SET value = '3 ' || ? WHERE key = 'head'\", (h,))",
    );
    project.fleetotp(&["audit", "verify"]).expect_code(0);
    let cut = project.fleetotp(&verify).expect_code(9).json();
    let newest = format!(
        "events 4 to {size} are missing at the end: the witness on web1 names event {size}"
    );
    let faults = cut["faults"].as_array().unwrap();
    assert!(
        faults
            .iter()
            .any(|f| f["id"] == "removed-at-tail" && f["text"] == newest.as_str()),
        "{cut:#}"
    );

    // A host that is not read is named: what it would say is unknown.
    project.change_settings("#connect_timeout: 10s", "connect_timeout: 5s");
    lab.host("web1").cut();
    let ran = project
        .fleetotp(&["audit", "verify", "--witnesses"])
        .expect_code(4);
    assert!(ran.stdout.contains("not read: web1"), "{}", ran.stdout);
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
