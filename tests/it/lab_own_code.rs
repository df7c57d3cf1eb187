//! Hosts that ask fleetotp's own account for a code.

use std::time::{Duration, Instant};

use fleetotp::clock::{Clock as _, Span, SystemClock, Timestamp};
use fleetotp::token::code::code_at;
use fleetotp::token::params::{Algorithm, CodeParams};
use fleetotp::token::secret::Secret;
use serde_json::{Value, json};

use crate::lab::{Lab, Suite};
use crate::support::project::{Project, all};

/// Seconds of a step: the shortest that a policy takes, since the test waits for one.
const STEP: i64 = 15;

fn seconds() -> i64 {
    SystemClock.now().as_second()
}

#[test]
fn lab_a_host_that_asks_the_tools_own_account_gets_each_code_once() {
    let lab = Lab::start(&[("web1", Suite::Bookworm), ("web2", Suite::Trixie)]);
    let deploy = lab.key_pair("deploy");
    for name in ["web1", "web2"] {
        lab.host(name).add_sudo_user("deploy", &deploy);
    }
    let inventory = |own: &Value| {
        json!({
            "all": all(&lab, &[("web1", own.clone()), ("web2", own.clone())]),
            "admins": {"deploy": {"email": "deploy@example.com"}},
            "policies": {"default": {"issuer": "Example Corp", "period": "15s"}},
        })
    };
    // Enrolled while fleetotp connected as root.
    let project = Project::new(&lab, &inventory(&json!({})));
    let sheet = project
        .rollout(&["-o", "json"])
        .expect_code(0)
        .sheet("deploy", "default");
    let key = Secret::new(sheet.scan().secret);
    let params = CodeParams::new(Algorithm::Sha1, 6, Span::from_secs(15));
    // An earlier step, so that this one is left for the run itself.
    let before = Timestamp::from_second(seconds() - STEP).unwrap();
    let code = code_at(&key, params, before).unwrap();
    project.confirm("deploy", code.expose(), &[]).expect_code(0);
    for name in ["web1", "web2"] {
        assert_eq!(project.state_on("deploy", "default", name), "enforced");
    }

    let as_deploy = json!({
        "ansible_user": "deploy",
        "ansible_ssh_private_key_file": deploy.private,
        "ansible_become": true,
    });
    project.set_inventory(&inventory(&as_deploy));
    project.fleetotp(&["sync"]).expect_code(4).expect_text(&[
        "the host asks fleetotp's own account for a code, and none can be given: name the admin whose token it is: own_token",
        "not tried, because web",
    ]);
    project.change_settings("#own_token: automation", "own_token: deploy");
    let sync = || {
        let start = Instant::now();
        let ran = project.fleetotp(&["sync", "-vvv"]).expect_code(0);
        let said = ran.stdout + &ran.stderr;
        assert!(!said.contains(key.expose()), "{said}");
        start.elapsed()
    };
    // Early in a step, so that the second run is in the same one.
    while seconds() % STEP > STEP / 2 {
        std::thread::sleep(Duration::from_millis(100));
    }
    let step = seconds() / STEP;
    let first = sync();
    let left = (step + 1) * STEP - seconds();
    let second = sync();
    // Within the step there is no other code: the second run has waited for the next.
    let waited = i64::try_from(second.as_secs()).unwrap();
    assert!(waited >= left - 1, "first {first:?}, second {second:?}");
    let accepted = "Accepted keyboard-interactive/pam for deploy";
    for name in ["web1", "web2"] {
        let host = lab.host(name);
        let log = host.read_file("/var/log/auth.log");
        assert_eq!(log.matches(accepted).count(), 2, "{name}: {log}");
        for refused in [
            "Failed keyboard-interactive/pam for deploy",
            "Invalid verification code for deploy",
        ] {
            assert!(!log.contains(refused), "{name}: {log}");
        }
    }

    // A change is confirmed by a second login, with a second code; the account stays asked.
    lab.host("web1").sh("sed -i 's/Written by fleetotp/Written by somebody/' /etc/ssh/sshd_config.d/00-fleetotp.conf");
    project.fleetotp(&["sync", "-l", "web1"]).expect_code(0);
    let log = lab.host("web1").read_file("/var/log/auth.log");
    assert_eq!(log.matches(accepted).count(), 4, "{log}");
    assert_eq!(
        lab.host("web1")
            .sh("id -nG deploy | grep -cw fleetotp")
            .trim(),
        "1"
    );
    // Hosts for which the key is no longer right: one of them sees one wrong code, and the other is not asked.
    for name in ["web1", "web2"] {
        lab.host(name).sh("sed -i '1s/.*/JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP/' /var/lib/google-authenticator/current/deploy");
    }
    let ran = project
        .fleetotp(&["sync"])
        .expect_code(4)
        .expect_text(&["the login was refused: deploy@", "not tried, because web"]);
    let not_tried = ran.stdout.matches("not tried, because web").count();
    assert_eq!(not_tried, 1, "{}", ran.stdout);
    let log = ["web1", "web2"].map(|name| lab.host(name).read_file("/var/log/auth.log"));
    let log = log.concat();
    for (line, times) in [
        ("Invalid verification code for deploy", 1),
        ("Failed keyboard-interactive/pam for deploy", 1),
        (accepted, 6),
    ] {
        assert_eq!(log.matches(line).count(), times, "{line}: {log}");
    }
}
