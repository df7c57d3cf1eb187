//! Hosts whose own users are hostile: nothing a local account or an unauthenticated stranger can do turns the program,
//! which runs as root there, or the evidence it reads, against the host.

use crate::lab::Suite;
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
