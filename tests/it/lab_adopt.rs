//! Taking over: hosts of another project.

use serde_json::json;

use crate::lab::{Code, Key, Prefs, Suite, Totp};
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
    let mut alice = ran.sheet("alice", "default").scan().totp();
    let mut bob = ran.sheet("bob", "default").scan().totp();
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
    let row = second.status("alice", "default");
    assert_eq!(
        (&row["generation"], &row["hosts"]["enforced"]),
        (&json!(1), &json!(2))
    );
    let again = second
        .fleetotp(&["adopt", "all", "--reason", "merger"])
        .expect_code(0);
    assert_eq!(again.stdout, "");
}
