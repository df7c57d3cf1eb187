//! Hosts whose own users are hostile: nothing a local account or an unauthenticated stranger can do turns the program,
//! which runs as root there, or the evidence it reads, against the host.

use crate::lab::{Code, Key, Prefs, Suite};
use crate::support::faults::Site;

/// A process that calls itself a listening sshd and names a program of its owner's as the one that runs; also under a
/// program that is root because it is setuid.
#[test]
fn lab_a_local_user_cannot_have_root_run_a_program() {
    let site = Site::start(&[("web1", Suite::Bookworm)]);
    let project = site.project(60);
    let host = site.host("web1");
    host.sh(r#"mkdir -m 755 /tmp/bait /tmp/bait/own
        useradd -m -s /bin/bash mallory; echo mallory:known-to-nobody | chpasswd
        printf '#!/bin/sh\nid >>/tmp/bait/ran\necho OpenSSH_9.2p1\n' >/tmp/bait/program
        cp /bin/sleep /tmp/bait/own/sshd
        ln -s /usr/bin/passwd /tmp/bait/sshd
        cp /bin/sleep /tmp/bait/own/cron
        chmod 755 /tmp/bait/program /tmp/bait/own/*; chmod 777 /tmp/bait
        for program in '/tmp/bait/own/sshd 600' /tmp/bait/sshd; do
            (sleep 600 | su mallory -s /bin/bash -c "exec -a 'sshd: /tmp/bait/program -D [listener] 0 of 10-100 startups' $program") >/dev/null 2>&1 &
        done"#);
    // Process ids are compared as text: one that begins with a lower digit comes first.
    let titles = host.sh(
        "sleep 1; cat /proc/[0-9]*/cmdline | tr '\\0' '\\n' | grep -c '^sshd: /tmp/bait/program'",
    );
    assert_eq!(titles.trim(), "2", "both impostors run");
    project.rollout(&[]).expect_code(0);
    project.rollout(&[]).expect_code(0).expect_unchanged();
    assert!(
        !host.exists("/tmp/bait/ran"),
        "{}",
        host.read_file("/tmp/bait/ran")
    );
    site.assert_key_logins();
    // A cron that is nobody's cron is no way to keep a deadline.
    let host = site.host("web1");
    host.sh("for p in /proc/[0-9]*; do [ \"$(readlink $p/exe)\" != /usr/sbin/cron ] || kill ${p#/proc/}; done; \
        (su mallory -s /bin/sh -c 'exec /tmp/bait/own/cron 600' >/dev/null 2>&1 &) ; sleep 1");
    project
        .fleetotp(&["enroll", "alice", "--reissue"])
        .expect_text(&["the host has neither systemd nor cron"]);
}

/// Alice logs in with the code of her first sheet; then she gets another one, and the host that saw that login is away.
/// What it knows is about a sheet that is no more: nobody has shown that the new one was read.
#[test]
fn lab_a_login_with_an_earlier_sheet_does_not_confirm_the_next() {
    let site = Site::start(&[("web1", Suite::Bookworm), ("web2", Suite::Trixie)]);
    let project = site.project(60);
    let first = project
        .rollout(&["-o", "json"])
        .expect_code(0)
        .sheet("alice", "default");
    let code = first.scan().totp().fresh();
    let key = Key::With(&site.alice);
    site.lab
        .assert_in("web1", "alice", key, Code::Some(&code), Prefs::CodeFirst);
    site.host("web1").cut();
    let second = project
        .fleetotp(&["enroll", "alice", "--reissue", "-o", "json"])
        .expect_code(4)
        .sheet("alice", "default");
    site.host("web1").mend();
    project.fleetotp(&["sync"]).expect_code(0);
    assert_eq!(project.status("alice", "default")["state"], "pending");
    assert!(second.path.exists(), "nobody has read it yet");
    site.assert_key_logins();
    // The host has the new key by now, and a login with that one counts.
    let code = second.scan().totp().fresh();
    site.lab
        .assert_in("web1", "alice", key, Code::Some(&code), Prefs::CodeFirst);
    project.fleetotp(&["sync"]).expect_code(0);
    assert_eq!(project.status("alice", "default")["state"], "active");
    assert!(!second.path.exists());
}
