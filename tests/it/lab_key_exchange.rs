//! How keys are exchanged: as ssh prefers where secrets are sent, cheaply where a login proves something, and always as
//! somebody has chosen.

use serde_json::{Value, json};

use crate::lab::{Host, Lab, QUICK_KEX, Suite};
use crate::support::project::{Project, all};

const CHEAP: &str = "curve25519-sha256";

/// The exchanges of all connections since the last look, in their order.
fn exchanges(host: Host<'_>) -> Vec<String> {
    // syslog may be a moment behind.
    host.sh("sleep 0.5; sed -n 's/.*debug1: kex: algorithm: \\([^ ]*\\).*/\\1/p' /var/log/auth.log; : >/var/log/auth.log")
        .lines()
        .map(str::to_owned)
        .collect()
}

fn inventory(lab: &Lab, variables: Value) -> Value {
    json!({
        "all": all(lab, &[("web1", variables)]),
        "admins": {"alice": {"email": "alice@example.com"}},
    })
}

#[test]
fn lab_keys_are_exchanged_cheaply_only_where_nothing_of_worth_is_sent() {
    let lab = Lab::start(&[("web1", Suite::Bookworm)]);
    let config = lab.dir().join("system_ssh_config");
    let text = std::fs::read_to_string(&config).expect("the lab wrote it");
    let usual = text.replace(&format!("    {QUICK_KEX}\n"), "");
    assert_ne!(usual, text);
    std::fs::write(&config, usual).expect("it can be written");
    let host = lab.host("web1");
    host.add_user("alice", &lab.key_pair("alice"));
    host.write_file(
        "/etc/ssh/sshd_config.d/00-log.conf",
        "0644",
        "LogLevel DEBUG1\n",
    );
    host.sh("kill -HUP \"$(cat /run/sshd.pid)\" && sleep 0.3");
    exchanges(host);
    let mut ssh = lab.controller("ssh");
    ssh.args(["-i".as_ref(), lab.root_key().as_os_str()]);
    let login = ssh.args(["-oBatchMode=yes", "root@web1", "true"]).output();
    assert!(login.expect("ssh starts").status.success());
    let preferred = exchanges(host);
    assert_eq!(preferred.len(), 1);
    assert_ne!(
        preferred,
        [CHEAP],
        "this ssh prefers what is cheap: nothing can be told"
    );

    let project = Project::new(&lab, &inventory(&lab, json!({})));
    project.rollout(&[]).expect_code(0);
    let used = exchanges(host);
    assert!(used.len() > 9, "the proof takes as many: {used:?}");
    assert_eq!(used[..1], preferred, "the secrets come by the first");
    assert!(used[1..].iter().all(|e| e == CHEAP), "{used:?}");

    let chosen = json!({"ansible_ssh_common_args": "-o KexAlgorithms=ecdh-sha2-nistp256"});
    project.set_inventory(&inventory(&lab, chosen));
    project.fleetotp(&["verify", "--strict"]).expect_code(0);
    let used = exchanges(host);
    assert!(used.len() > 8, "{used:?}");
    assert!(used.iter().all(|e| e == "ecdh-sha2-nistp256"), "{used:?}");
}
