//! A disk that runs full at each write: nobody is locked out, no file is cut off, it is said, and with room again the next
//! run completes.

use std::collections::BTreeSet;
use std::sync::Mutex;

use fleetotp::host::request::{Line, Request, Scope};

use crate::lab::{Code, Host, Key, Prefs, Suite};
use crate::support::faults::{
    Site, ask_host, assert_nothing_open, eventually, login_texts, open_changes, tick,
    wait_until_open,
};
use crate::support::small_disk::{
    PLACES, SCARCE, after_the_window, ask_again, asked, give_disks, operations, window_ends,
};

const HOSTS: [(&str, Suite); 3] = [
    ("web1", Suite::Bookworm),
    ("web2", Suite::Trixie),
    ("db1", Suite::Bullseye),
];

/// A request that a command has made on a host.
struct Recorded {
    command: &'static str,
    request: String,
    operations: String,
    /// The request that has opened the change which this one is about, or this one.
    opener: String,
    /// The last one of that command.
    last: String,
}

/// Does the same for every host, all at once.
fn on_each(site: &Site, act: impl Fn(usize, Host<'_>) + Sync) {
    std::thread::scope(|scope| {
        for (index, host) in site.each().enumerate() {
            let act = &act;
            scope.spawn(move || act(index, host));
        }
    });
}

/// What a command has asked a host.
fn recorded(host: Host<'_>, command: &'static str) -> Vec<Recorded> {
    let requests = asked(host, command);
    let last = requests.last().cloned().unwrap_or_default();
    let mut opener = requests.first().cloned().unwrap_or_default();
    let mut found = Vec::new();
    for request in requests {
        let operations = operations(host, &request);
        if operations.split(' ').any(|o| o == "tx") {
            opener.clone_from(&request);
        }
        // One of each kind is enough: the temporary member is moved between groups several times.
        if found.iter().any(|f: &Recorded| f.operations == operations) {
            continue;
        }
        found.push(Recorded {
            command,
            request,
            operations,
            opener: opener.clone(),
            last: last.clone(),
        });
    }
    found
}

/// Who gets in by key alone while a command's request fails.
fn by_key(command: &str) -> &'static [&'static str] {
    match command {
        "rollout" => &["root", "alice", "bob"],
        "revoke" => &["root"],
        _ => &["root", "bob"],
    }
}

/// Asks a host everything again, with ever more room on one of its disks, until there is enough. Of what takes many writes
/// each host has its own counts of what is left. Returns what failed, by what was said.
fn sweep(site: &Site, index: usize, host: Host<'_>, all: &[Recorded]) -> BTreeSet<String> {
    let mut said = BTreeSet::new();
    for (number, one) in all.iter().enumerate() {
        let opens = one.request == one.opener && one.operations.contains("tx");
        if !opens && number % HOSTS.len() != index {
            continue;
        }
        let step = if opens { HOSTS.len() } else { 1 };
        for place in PLACES {
            for scarce in SCARCE {
                let mut left = if opens { index } else { 0 };
                loop {
                    let again = ask_again(host, &one.request, place, scarce, left);
                    let at = format!(
                        "{}, {} ({}), {left} of {scarce} in {place}: {}",
                        site.hosts[index], one.command, one.operations, again.said
                    );
                    assert_eq!(again.wrong, "", "{at}");
                    if again.done {
                        break;
                    }
                    assert!(again.said.contains("free some space"), "{at}");
                    if said.insert(format!(
                        "{} ({}) {place} {scarce} {}",
                        one.command, one.operations, again.said
                    )) {
                        println!("{at}");
                        for login in by_key(one.command) {
                            let key = match *login {
                                "root" => Key::Root,
                                "alice" => Key::With(&site.alice),
                                _ => Key::With(&site.bob),
                            };
                            let name = &site.hosts[index];
                            let result = site.lab.login(name, login, key, Code::No, Prefs::KeyOnly);
                            assert!(result.accepted, "{login}: {at}: {}", result.stderr);
                        }
                    }
                    assert_eq!(after_the_window(host, &one.opener, &one.last), "", "{at}");
                    left += step;
                    assert!(left < 120, "there is never enough room: {at}");
                }
            }
        }
        // The host is alone with an open change, and its disk is full.
        if one.operations.starts_with("confirm") {
            for place in PLACES {
                for scarce in SCARCE {
                    for left in 0..2 {
                        let wrong = window_ends(
                            host,
                            (&one.opener, &one.request),
                            one.command == "rollout",
                            place,
                            scarce,
                            left,
                        );
                        assert_eq!(wrong, "", "{}, {left} of {scarce} in {place}", one.command);
                    }
                }
            }
        }
    }
    said
}

#[test]
fn lab_a_full_disk_locks_nobody_out() {
    let site = Site::start(&[("web1", Suite::Bookworm)]);
    let project = site.project(6);
    let host = site.host("web1");
    let before = login_texts(host);
    // It fills up between the change and its confirmation, and the controller is gone.
    let mut run = site.spawn_rollout(&project, &[("FLEETOTP_TEST_PAUSE", "opened:100")]);
    wait_until_open(&[host]);
    host.fill();
    run.kill().unwrap();
    run.wait().unwrap();
    eventually("the host has reverted the change", 30, || {
        open_changes(host).is_empty()
    });
    assert_eq!(login_texts(host), before);
    host.drain();
    site.assert_key_logins();
    // What there was no room for is done by the next tick.
    tick(host);
    assert_nothing_open(host);
    // It fills up after the host was looked at: no part of a file takes a file's place.
    host.fill();
    let pam = host.sh("sha256sum </etc/pam.d/sshd");
    let lines: Vec<Line> = (0..4000)
        .map(|n| Line::Text(format!("# line {n} of a file that does not fit")))
        .collect();
    let mut request = Request::apply();
    request.file("/etc/pam.d/sshd", 0o644, "any", Scope::Live, &lines);
    let answer = ask_host(host, request, 30);
    assert!(
        answer.contains("fail\tdisk-full\t") && !answer.contains("\ndone"),
        "{answer}"
    );
    assert_eq!(host.sh("sha256sum </etc/pam.d/sshd"), pam);
    assert!(!host.exists("/var/lib/fleetotp/lock"));
    project
        .rollout(&[])
        .expect_code(2)
        .expect_text(&["(disk-full)"]);
    host.drain();
    site.assert_key_logins();
    project.rollout(&[]).expect_code(0);
    site.assert_key_logins();
}

#[test]
fn lab_a_disk_that_runs_full_at_each_write_of_a_host_locks_nobody_out() {
    let site = Site::start(&HOSTS);
    let project = site.project(60);
    on_each(&site, |index, host| {
        // Each of a class of its own, so that each proves its changes itself.
        host.sh(&format!("echo '# host {index}' >>/etc/pam.d/sshd"));
        give_disks(host);
    });
    let all: Vec<Mutex<Vec<Recorded>>> = HOSTS.iter().map(|_| Mutex::default()).collect();
    let keep = |command| {
        on_each(&site, |index, host| {
            all[index].lock().unwrap().extend(recorded(host, command));
        });
    };
    let ran = project.rollout(&["-o", "json"]).expect_code(0);
    let newest = project.newest_run();
    let run = newest["id"].as_str().expect("an id");
    keep("rollout");
    let mut alice = ran.sheet("alice", "default").scan().wide_totp();
    project.confirm("alice", &alice.fresh(), &[]).expect_code(0);
    keep("enforce");
    let next = project
        .fleetotp(&["rotate", "alice", "-o", "json"])
        .expect_code(0);
    keep("rotate");
    let mut new = next.sheet("alice", "default").scan().wide_totp();
    project.confirm("alice", &new.fresh(), &[]).expect_code(0);
    keep("end-of-rotation");
    project
        .fleetotp(&["rollback", run, "--allow-weaker", "--reason", "a trial"])
        .expect_code(0);
    keep("rollback");
    project
        .fleetotp(&["revoke", "bob", "--reason", "left"])
        .expect_code(0);
    keep("revoke");

    let said = Mutex::new(BTreeSet::new());
    on_each(&site, |index, host| {
        let mine = all[index].lock().unwrap();
        let found = sweep(&site, index, host, &mine);
        said.lock().unwrap().extend(found);
    });
    let said = said.into_inner().unwrap();
    println!("{} ways to fail: {said:#?}", said.len());
    for command in [
        "rollout",
        "enforce",
        "rotate",
        "end-of-rotation",
        "rollback",
        "revoke",
    ] {
        let of_it = said.iter().filter(|s| s.starts_with(command)).count();
        assert!(of_it > 0, "no write of {command} has failed: {said:#?}");
    }
    assert!(said.len() >= 40, "{said:#?}");
}
