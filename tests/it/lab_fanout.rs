//! Many hosts behind one sshd, and logins that are refused everywhere: the run is careful with both.

use serde_json::{Value, json};

use crate::lab::{Host, Lab, Suite};
use crate::support::project::{Project, ROLLOUT, all};

const PASSWORD: &str = "correct horse";

fn set_startups(bastion: Host<'_>, value: &str) {
    bastion.write_file(
        "/etc/ssh/sshd_config.d/00-startups.conf",
        "0644",
        format!("MaxStartups {value}\n"),
    );
    bastion.sh("kill -HUP \"$(cat /run/sshd.pid)\" && sleep 0.3");
}

/// How many lines of the hosts' log match.
fn count(lab: &Lab, hosts: &[String], pattern: &str) -> usize {
    // syslog may be a moment behind.
    std::thread::sleep(std::time::Duration::from_millis(300));
    let script = format!("grep -c '{pattern}' /var/log/auth.log || true");
    hosts
        .iter()
        .map(|name| {
            let shown = lab.host(name).sh(&script);
            shown.trim().parse::<usize>().expect("a number")
        })
        .sum()
}

fn inventory(lab: &Lab, hosts: &[String], own: &Value) -> Value {
    let hosts: Vec<_> = hosts.iter().map(|h| (h.as_str(), own.clone())).collect();
    json!({
        "all": all(lab, &hosts),
        "admins": {"alice": {"email": "alice@example.com"}},
    })
}

#[test]
fn lab_twelve_hosts_behind_a_narrow_jump_host_and_logins_that_are_refused() {
    let targets: Vec<String> = (1..=12).map(|n| format!("t{n:02}")).collect();
    let mut specs = vec![("bastion", Suite::Trixie)];
    specs.extend(targets.iter().map(|name| (name.as_str(), Suite::Bookworm)));
    let lab = Lab::start(&specs);
    let bastion = lab.host("bastion");
    let way = format!(
        "ssh -o BatchMode=yes -i {} -W %h:%p root@{}",
        lab.root_key().display(),
        bastion.address()
    );
    let behind = json!({"ansible_ssh_common_args": format!("-o ProxyCommand=\"{way}\"")});
    let project = Project::new(&lab, &inventory(&lab, &targets, &behind));
    let look = |args: &[&str]| {
        project.fleetotp(&[&["play", ROLLOUT, "--check", "-o", "json"], args].concat())
    };
    let notes = |document: &Value| {
        let text = document.to_string();
        text.matches("dropped-before-login").count()
    };

    // Never more than eight at a time are not authenticated: nothing is dropped where the ninth would be.
    set_startups(bastion, "9:100:9");
    let ran = look(&[]).expect_code(0);
    assert_eq!(notes(&ran.json()), 0, "{}", ran.stdout);
    let drops = "drop connection #\\|MaxStartups throttling";
    let behind_bastion = ["bastion".to_owned()];
    assert_eq!(count(&lab, &behind_bastion, drops), 0);
    // The same where no inventory says that there is a jump host, but ssh's own configuration.
    let config = project.scratch().join("ssh_config");
    let known = lab.known_hosts();
    let text = format!(
        "Host *\n  GlobalKnownHostsFile {}\n  ProxyCommand {way}\n",
        known.display()
    );
    std::fs::write(&config, text).expect("it can be written");
    let configured = json!({"ansible_ssh_common_args": format!("-F {}", config.display())});
    project.set_inventory(&inventory(&lab, &targets, &configured));
    let ran = look(&[]).expect_code(0);
    assert_eq!(notes(&ran.json()), 0, "{}", ran.stdout);
    assert_eq!(count(&lab, &behind_bastion, drops), 0);
    project.set_inventory(&inventory(&lab, &targets, &behind));
    // Where less is let in, those that were dropped come again until all are in.
    set_startups(bastion, "2:100:2");
    let ran = look(&[]).expect_code(0);
    assert!(notes(&ran.json()) > 0, "{}", ran.stdout);
    assert!(count(&lab, &behind_bastion, drops) > 0);

    // A key that nobody accepts: one host says so, the others are not asked.
    let stranger = lab.key_pair("stranger");
    let refused = "Connection closed by authenticating user root";
    assert_eq!(count(&lab, &targets, refused), 0);
    let wrong_key = json!({"ansible_ssh_private_key_file": stranger.private});
    project.set_inventory(&inventory(&lab, &targets, &wrong_key));
    let ran = project
        .fleetotp(&["play", ROLLOUT])
        .expect_code(4)
        .expect_text(&[
            "the login was refused: root@",
            "not tried, because t",
            "Correct it, or leave that host out: --limit 'all:!t",
        ]);
    assert_eq!(count(&lab, &targets, refused), 1);
    assert_eq!(
        ran.stdout.matches("not tried, because").count(),
        11,
        "{}",
        ran.stdout
    );
    // Whoever was not asked was not observed.
    let hosts = project
        .fleetotp(&["status", "--hosts", "-o", "json"])
        .json();
    assert!(!hosts.to_string().contains("not tried"), "{hosts:#}");

    // A password for sudo that is wrong: tried once, on one host.
    let deploy = lab.key_pair("deploy");
    for name in &targets {
        let host = lab.host(name);
        host.add_user_with_password("deploy", &deploy, PASSWORD);
        host.write_file("/etc/sudoers.d/deploy", "0440", "deploy ALL=(ALL) ALL\n");
    }
    let with = |password: &str| {
        json!({
            "ansible_user": "deploy",
            "ansible_ssh_private_key_file": deploy.private,
            "ansible_become": true,
            "ansible_become_password": password,
        })
    };
    project.set_inventory(&inventory(&lab, &targets, &with("wrong horse")));
    look(&[]).expect_code(6).expect_text(&[
        "each refusal of the same secret counts against the account",
        "sudo: ",
    ]);
    assert_eq!(
        count(
            &lab,
            &targets,
            "pam_unix(sudo:auth): authentication failure"
        ),
        1
    );
    project.set_inventory(&inventory(&lab, &targets, &with(PASSWORD)));
    look(&[]).expect_code(0);
    assert_eq!(
        count(
            &lab,
            &targets,
            "pam_unix(sudo:auth): authentication failure"
        ),
        1
    );

    // Alone, `preflight` tells what it sees and changes nothing.
    let book = project.path().join("preflight.yml");
    std::fs::write(
        &book,
        "- hosts: all\n  tasks:\n    - preflight: {strict: true}\n",
    )
    .unwrap();
    let mut mixed = inventory(&lab, &targets[..2], &with(PASSWORD));
    mixed["all"]["hosts"]["bastion"] =
        all(&lab, &[("bastion", json!({}))])["hosts"]["bastion"].clone();
    // One machine under two names.
    mixed["all"]["hosts"]["twin"] = mixed["all"]["hosts"]["t02"].clone();
    project.set_inventory(&mixed);
    let before = [bastion, lab.host("t01")].map(Host::inode_snapshot);
    let book = book.to_str().unwrap();
    project
        .fleetotp(&["play", book])
        .expect_code(9)
        .expect_text(&[
            "debian 12, OpenSSH 9.2",
            "root: publickey",
            "warning (max-startups): MaxStartups 2:100:2",
            "warning (no-break-glass)",
            "note (source-penalties)",
            "note (same-machine): ",
            "have the same machine-id: one machine under two names",
            "gap (no-account): alice has no account on this host",
        ]);
    let after = [bastion, lab.host("t01")].map(Host::inode_snapshot);
    assert_eq!(before, after);
    // The account's own home is not what fleetotp looks at; its sudo is.
    lab.host("t02")
        .sh("echo 'Defaults requiretty' >>/etc/sudoers.d/deploy");
    let ran = project
        .fleetotp(&["play", book, "-o", "json"])
        .expect_code(2);
    assert!(ran.stdout.contains("sudo-requiretty"), "{}", ran.stdout);
    let document = ran.json();
    let hosts = document["plays"][0]["hosts"].as_array().unwrap();
    let t01 = hosts.iter().find(|h| h["host"] == "t01").unwrap();
    assert_eq!(t01["overview"]["selinux"], "none", "{t01:#}");
    assert_eq!(t01["overview"]["clock_offset"], 0, "{t01:#}");
}
