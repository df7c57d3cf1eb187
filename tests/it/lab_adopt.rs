//! Taking over: hosts of another project.

use serde_json::json;

use crate::lab::{Code, Host, Key, Prefs, Suite, Totp, WINDOW, oathtool};
use crate::lab_recover::inventory;
use crate::support::faults::Site;
use crate::support::project::assert_pending;

/// One code is good on each host.
fn log_in(site: &Site, login: &str, totp: &mut Totp) {
    let code = totp.fresh();
    let key = if login == "alice" {
        &site.alice
    } else {
        &site.bob
    };
    for name in &site.hosts {
        site.lab.assert_in(
            name,
            login,
            Key::With(key),
            Code::Some(&code),
            Prefs::Default,
        );
    }
}

/// A state file without its stamp.
fn body(site: &Site, host: &str, login: &str) -> String {
    site.host(host).sh(&format!(
        "grep -v '^\" FLEETOTP' /var/lib/google-authenticator/current/{login} | sha256sum"
    ))
}

#[test]
fn lab_a_second_project_is_refused_and_adopt_takes_the_codes_over() {
    let site = Site::start(&[("web1", Suite::Bookworm), ("web2", Suite::Trixie)]);
    let first = site.project(60);
    first.set_inventory(&inventory(&site, &["alice", "bob"]));
    let ran = first.rollout(&["-o", "json"]).expect_code(0);
    let mut alice = ran.sheet("alice", "default").scan().wide_totp();
    let mut bob = ran.sheet("bob", "default").scan().wide_totp();
    first.confirm("alice", &alice.fresh(), &[]).expect_code(0);
    log_in(&site, "alice", &mut alice);

    let second = site.project(60);
    second.set_inventory(&inventory(&site, &["alice", "bob"]));
    let before: Vec<_> = site.each().map(|h| h.inode_snapshot()).collect();
    let refused = second
        .rollout(&[])
        .expect_code(2)
        .expect_text(&["(foreign-project)", "fleetotp adopt"]);
    second.fleetotp(&["sync"]).expect_code(2);
    second
        .fleetotp(&["remove", "all", "--reason", "x"])
        .expect_code(2)
        .expect_text(&["(foreign-project)"]);
    second.fleetotp(&["adopt", "all"]).expect_code(64);
    second
        .fleetotp(&["adopt", "all", "--reason", "merger", "--check"])
        .expect_code(0);
    for (host, before) in site.each().zip(&before) {
        assert_eq!(
            host.inode_snapshot().changed_since(before),
            Vec::<String>::new(),
            "{}",
            refused.stdout
        );
    }
    log_in(&site, "alice", &mut alice);

    let bodies = ["alice", "bob"].map(|l| body(&site, "web1", l));
    let adopted = second
        .fleetotp(&["adopt", "all", "--reason", "merger"])
        .expect_code(0);
    let said = format!("{}{}", adopted.stdout, adopted.stderr);
    assert!(
        said.contains("alice in realm default: the code in use is taken in as token T-"),
        "{said}"
    );
    assert_eq!(["alice", "bob"].map(|l| body(&site, "web1", l)), bodies);
    // Used steps stay used, codes stay right, and the other project is the stranger now.
    first
        .fleetotp(&["sync"])
        .expect_code(2)
        .expect_text(&["(foreign-project)"]);
    second.fleetotp(&["sync"]).expect_code(0);
    assert_eq!(second.status("alice", "default")["state"], "active");
    assert_eq!(second.status("bob", "default")["state"], "pending");
    for name in &site.hosts {
        assert_eq!(second.state_on("alice", "default", name), "enforced");
        assert_eq!(second.state_on("bob", "default", name), "staged");
        assert_pending(&site.lab, name, "bob", &site.bob);
    }
    let mut own = alice.clone();
    site.lab
        .assert_member("web2", "alice", &site.alice, &mut own);
    // The key is in the vault: bob confirms here, and a host that is set up anew gets alice's.
    second.confirm("bob", &bob.fresh(), &[]).expect_code(0);
    log_in(&site, "bob", &mut bob);
    second
        .fleetotp(&["remove", "web1", "--reason", "rebuilt"])
        .expect_code(0);
    second.rollout(&[]).expect_code(0);
    let mut own = bob.clone();
    site.lab.assert_member("web1", "bob", &site.bob, &mut own);
    // The refused rollout had issued generation 1, which no host ever had.
    let row = second.status("alice", "default");
    assert_eq!(
        (&row["generation"], &row["hosts"]["enforced"]),
        (&json!(2), &json!(2))
    );
    let again = second
        .fleetotp(&["adopt", "all", "--reason", "merger"])
        .expect_code(0);
    assert_eq!(again.stdout, "");
}

/// What the usual instructions make of a host: every user's own file, one line of PAM, one of sshd.
fn tutorial(site: &Site, enrolled: &[&str]) {
    for host in site.each() {
        for login in enrolled {
            let secret = if *login == "alice" { ALICE } else { BOB };
            host.write_file(
                &format!("/home/{login}/.google_authenticator"),
                "400",
                format!("{secret}\n\" RATE_LIMIT 30 30\n\" WINDOW_SIZE {}\n\" DISALLOW_REUSE\n\" TOTP_AUTH\n48151623\n", 2 * WINDOW + 1),
            );
            host.sh(&format!(
                "chown {login}: /home/{login}/.google_authenticator"
            ));
        }
        ask_by(host, "auth required pam_google_authenticator.so nullok");
    }
}

/// Puts a line into sshd's file, and lets sshd demand what it asks, of alice and bob.
fn ask_by(host: Host<'_>, line: &str) {
    host.sh(&format!("sed -i 's|^@include common-auth|{line}\\nauth sufficient pam_permit.so\\n#&|' /etc/pam.d/sshd
        printf 'KbdInteractiveAuthentication yes\\nChallengeResponseAuthentication yes\\nMatch User alice,bob\\n  AuthenticationMethods publickey,keyboard-interactive\\n' >/etc/ssh/sshd_config.d/50-totp.conf
        usermod -p '*' alice; usermod -p '*' bob; sshd -t && kill -HUP \"$(cat /run/sshd.pid)\""));
}

/// 128 bits, as the program made them for long.
const ALICE: &str = "JBSWY3DPEHPK3PXPJBSWY3DPEA";
const BOB: &str = "KRSXG5CTMVRXEZLUKRSXG5CTMVRXEZLU";

#[test]
fn lab_adopt_takes_over_google_authenticator_with_steps_and_scratch_codes() {
    let site = Site::start(&[
        ("old", Suite::Bullseye),
        ("web1", Suite::Bookworm),
        ("web2", Suite::Trixie),
    ]);
    tutorial(&site, &["alice", "bob"]);
    let (mut alice, mut bob) = (
        Totp::with_window(ALICE, WINDOW),
        Totp::with_window(BOB, WINDOW),
    );
    let used = alice.fresh();
    for name in &site.hosts {
        site.lab.assert_in(
            name,
            "alice",
            Key::With(&site.alice),
            Code::Some(&used),
            Prefs::Default,
        );
    }
    let project = site.project(60);
    project.set_inventory(&inventory(&site, &["alice"]));
    // Never stacked, and nobody loses a second factor by it.
    project
        .rollout(&[])
        .expect_code(2)
        .expect_text(&["(pam-other-mfa)"]);
    let adopt = ["adopt", "all", "--reason", "one tool for all"];
    project
        .fleetotp(&adopt)
        .expect_code(2)
        .expect_text(&["bob is enrolled there", "(adopt-others)"]);
    project.set_inventory(&inventory(&site, &["alice", "bob"]));
    let before: Vec<_> = site.each().map(|h| h.inode_snapshot()).collect();
    project
        .fleetotp(&[&adopt[..], &["--check", "--diff"]].concat())
        .expect_code(0)
        .expect_text(&[
            "-auth required pam_google_authenticator.so nullok",
            "+# BEGIN fleetotp",
        ]);
    for (host, before) in site.each().zip(&before) {
        assert_eq!(
            host.inode_snapshot().changed_since(before),
            Vec::<String>::new()
        );
    }

    let ran = project.fleetotp(&adopt).expect_code(0);
    for secret in [ALICE, BOB, "48151623"] {
        assert!(!ran.stdout.contains(secret) && !ran.stderr.contains(secret));
    }
    for (name, host) in site.hosts.iter().zip(site.each()) {
        let pam = host.read_file("/etc/pam.d/sshd");
        assert!(
            !pam.contains("so nullok\n") && pam.contains("# BEGIN fleetotp"),
            "{pam}"
        );
        assert_eq!(project.state_on("alice", "default", name), "enforced");
        let key = Key::With(&site.alice);
        // A step that was used before is used still; the scratch code works, once.
        site.lab
            .assert_refused(name, "alice", key, Code::Some(&used), Prefs::Default);
        site.lab
            .assert_in(name, "alice", key, Code::Some("48151623"), Prefs::Default);
        site.lab
            .assert_refused(name, "alice", key, Code::Some("48151623"), Prefs::Default);
        site.lab
            .assert_member(name, "bob", &site.bob, &mut bob.clone());
        site.lab.assert_key_only(name, "root", Key::Root);
    }
    log_in(&site, "alice", &mut alice);
    bob.fresh();
    project.rollout(&[]).expect_code(0).expect_unchanged();
    assert_eq!(project.fleetotp(&adopt).expect_code(0).stdout, "");
}

/// A key in hexadecimal, as `pam_oath` has it, and in base 32.
const OATH_ALICE: [&str; 2] = [
    "3132333435363738393031323334353637383930",
    "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ",
];
const OATH_BOB: [&str; 2] = [
    "48656c6c6f21deadbeef48656c6c6f21deadbeef",
    "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP",
];
const OATH_LINE: &str = "auth [user_unknown=ignore success=ok default=die] pam_oath.so usersfile=/etc/users.oath window=5";

#[test]
fn lab_adopt_takes_over_pam_oath_with_the_code_that_was_used() {
    let site = Site::start(&[("web1", Suite::BookwormWithOath)]);
    let host = site.host("web1");
    let [[alice_hex, alice_key], [bob_hex, bob_key]] = [OATH_ALICE, OATH_BOB];
    host.write_file(
        "/etc/users.oath",
        "600",
        format!("# admins\nHOTP/T30/6 alice - {alice_hex}\nHOTP/T30\tbob\t-\t{bob_hex}\n"),
    );
    let project = site.project(60);
    project.set_inventory(&inventory(&site, &["alice", "bob"]));
    let adopt = ["adopt", "web1", "--reason", "one tool for all"];

    // A line that other services ask by as well is not taken over for sshd alone, and nothing is put before it.
    let common = host.read_file("/etc/pam.d/common-auth");
    host.write_file(
        "/etc/pam.d/common-auth",
        "644",
        format!("{OATH_LINE}\n{common}"),
    );
    let before = host.inode_snapshot();
    project
        .rollout(&[])
        .expect_code(2)
        .expect_text(&["(pam-other-mfa)"]);
    project.fleetotp(&adopt).expect_code(2).expect_text(&[
        "/etc/pam.d/common-auth: auth [user_unknown=ignore",
        "cron, login,",
        "sshd, su, ",
        "sudo",
        "(adopt-shared)",
    ]);
    assert_eq!(
        host.inode_snapshot().changed_since(&before),
        Vec::<String>::new()
    );
    host.write_file("/etc/pam.d/common-auth", "644", common);

    ask_by(host, OATH_LINE);
    let (mut alice, mut bob) = (Totp::new(alice_key), Totp::new(bob_key));
    let used = alice.fresh();
    let key = Key::With(&site.alice);
    site.lab
        .assert_in("web1", "alice", key, Code::Some(&used), Prefs::Default);
    assert!(
        host.read_file("/etc/users.oath").contains(&used),
        "the module keeps the last code"
    );

    let before = host.inode_snapshot();
    project
        .fleetotp(&[&adopt[..], &["--check", "--diff"]].concat())
        .expect_code(0)
        .expect_text(&["-auth [user_unknown=ignore", "+# BEGIN fleetotp"]);
    assert_eq!(
        host.inode_snapshot().changed_since(&before),
        Vec::<String>::new()
    );
    host.sh("mv /etc/users.oath /etc/users");
    project
        .fleetotp(&adopt)
        .expect_code(2)
        .expect_text(&["/etc/users.oath: it is missing", "(adopt-no-key)"]);
    host.sh("mv /etc/users /etc/users.oath; sed -i 's,T30\\tbob,T60\\tbob,' /etc/users.oath");
    project
        .fleetotp(&adopt)
        .expect_code(2)
        .expect_text(&["bob are for 60 seconds", "(adopt-other-steps)"]);
    host.sh("sed -i 's,T60\\tbob,T30\\tbob,' /etc/users.oath");

    let ran = project
        .fleetotp(&adopt)
        .expect_code(0)
        .expect_text(&["web1: sshd reads /etc/users.oath no more"]);
    for secret in [OATH_ALICE, OATH_BOB].concat() {
        assert!(!ran.stdout.contains(secret) && !ran.stderr.contains(secret));
    }
    let pam = host.read_file("/etc/pam.d/sshd");
    assert!(
        !pam.contains("pam_oath") && pam.contains("# BEGIN fleetotp"),
        "{pam}"
    );
    assert!(host.read_file("/etc/users.oath").contains(&used));
    let state = host.read_file("/var/lib/google-authenticator/current/alice");
    let steps: Vec<i64> = state
        .lines()
        .find_map(|l| l.strip_prefix("\" DISALLOW_REUSE "))
        .expect("steps are used")
        .split(' ')
        .map(|step| step.parse().unwrap())
        .collect();
    // The step of the code, and those before it that could be taken still.
    assert_eq!(oathtool(alice_key, steps.last().unwrap() * 30), used);
    assert!(steps.len() >= 8 && steps.is_sorted(), "{steps:?}");
    site.lab
        .assert_refused("web1", "alice", key, Code::Some(&used), Prefs::Default);
    log_in(&site, "alice", &mut alice);
    log_in(&site, "bob", &mut bob);
    site.lab
        .assert_refused("web1", "alice", key, Code::No, Prefs::Default);
    site.lab.assert_key_only("web1", "root", Key::Root);
    assert_eq!(project.state_on("alice", "default", "web1"), "enforced");
    project.rollout(&[]).expect_code(0).expect_unchanged();
    assert_eq!(project.fleetotp(&adopt).expect_code(0).stdout, "");
}
