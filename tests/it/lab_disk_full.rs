//! A disk that runs full at each write: nobody is locked out, no file is cut off, it is said, and with room again the next
//! run completes.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use fleetotp::host::request::{Line, Request, Scope};

use crate::lab::{Code, Host, Key, Prefs, Suite};
use crate::support::faults::{
    Site, ask_host, assert_nothing_open, eventually, login_texts, open_changes, tick,
    wait_until_open,
};
use crate::support::project::{Project, ROLLOUT, Ran};
use crate::support::small_disk::{
    Full, PLACES, Scarce, broken, full_after_look, give_disks, keep, restore, room_again,
    texts_differ,
};

/// Four hosts with small disks, each of a class of its own, so that each proves a change by itself.
const HOSTS: [(&str, Suite); 4] = [
    ("web1", Suite::Bookworm),
    ("web2", Suite::Trixie),
    ("web3", Suite::Bookworm),
    ("db1", Suite::Bullseye),
];

/// What became of a host in one run.
struct Ended {
    ok: bool,
    why: String,
}

/// One run of the program on all hosts after another, with ever more room on one of their disks.
struct Sweep<'a> {
    site: &'a Site,
    project: &'a Project<'a>,
    /// The arguments that are run.
    command: &'a [&'a str],
    /// What the hosts are before each run, as it was kept, and what they are afterwards where all goes well.
    states: (&'a str, &'a str),
    /// What holds on a host that has failed, its disk still full.
    while_full: &'a (dyn Fn(&str) + Sync),
}

impl Sweep<'_> {
    /// Runs until there is enough room on some of the hosts. Returns what failed, by what was said.
    fn run(&self, places: &[&'static str]) -> BTreeSet<String> {
        let mut said = BTreeSet::new();
        for place in places {
            for scarce in [Scarce::Space, Scarce::Inodes] {
                let mut round = 0;
                while !self.round(place, scarce, round, &mut said) {
                    round += 1;
                    assert!(round < 20, "there is never enough room");
                }
            }
        }
        said
    }

    /// One run, in which each host has room for one write more than the one before it.
    fn round(
        &self,
        place: &'static str,
        scarce: Scarce,
        round: u32,
        said: &mut BTreeSet<String>,
    ) -> bool {
        let (before, after) = self.states;
        let left = |index: usize| round * HOSTS.len() as u32 + index as u32;
        on_each(self.site, |index, host| {
            restore(host, before);
            let left = left(index);
            full_after_look(
                host,
                Full {
                    place,
                    scarce,
                    left,
                },
            );
        });
        let ran = self
            .project
            .fleetotp(&[self.command, &["-o", "json"]].concat());
        let (failed, done) = (Mutex::new(BTreeSet::new()), AtomicU32::new(0));
        on_each(self.site, |index, host| {
            let name = &self.site.hosts[index];
            let Ended { ok, why } = ended(&ran, name);
            let at = format!("{name}, {place}, {} of {scarce:?}: {why}", left(index));
            println!("{at}");
            assert_eq!(broken(host, before, after), "", "{at}");
            assert_eq!(
                texts_differ(host, if ok { after } else { before }),
                "",
                "{at}"
            );
            done.fetch_add(u32::from(ok), Ordering::Relaxed);
            if !ok {
                assert!(why.contains("; free some space (disk-full)"), "{at}");
                failed.lock().unwrap().insert(format!("{place} {why}"));
                (self.while_full)(name);
            }
            room_again(host);
            tick(host);
            assert_nothing_open(host);
        });
        let failed = failed.into_inner().unwrap();
        assert_eq!(ran.code, if failed.is_empty() { 0 } else { 2 }, "{ran:?}");
        // What there was no room for is done by the next run. Not each time: it takes longer than the run that failed.
        if round % 4 == 1 {
            self.project.fleetotp(self.command).expect_code(0);
        }
        said.extend(failed);
        // Those with even more room would only do the same.
        done.into_inner() >= 2
    }
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

fn ended(ran: &Ran, host: &str) -> Ended {
    let document = ran.json();
    let plays = document["plays"].as_array().expect("plays");
    let found = plays
        .iter()
        .filter_map(|play| play["hosts"].as_array())
        .flatten()
        .find(|row| row["host"] == host);
    let row = found.unwrap_or_else(|| panic!("no {host}: {document:#}"));
    Ended {
        ok: row["status"] == "ok",
        why: row["why"].as_str().unwrap_or_default().to_owned(),
    }
}

/// Root, alice and bob get in by their keys.
fn keys_get_in(site: &Site, host: &str) {
    for (login, key) in [
        ("root", Key::Root),
        ("alice", Key::With(&site.alice)),
        ("bob", Key::With(&site.bob)),
    ] {
        let result = site.lab.login(host, login, key, Code::No, Prefs::KeyOnly);
        assert!(result.accepted, "{login}@{host}: {}", result.stderr);
    }
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
fn lab_a_disk_that_runs_full_at_each_write_of_a_rollout_locks_nobody_out() {
    let site = Site::start(&HOSTS);
    let project = site.project(6);
    on_each(&site, |index, host| {
        host.sh(&format!("echo '# host {index}' >>/etc/pam.d/sshd"));
        give_disks(host);
        keep(host, "before");
    });
    project.rollout(&[]).expect_code(0);
    on_each(&site, |_, host| keep(host, "after"));
    let said = Sweep {
        site: &site,
        project: &project,
        command: &["play", ROLLOUT],
        states: ("before", "after"),
        while_full: &|host| keys_get_in(&site, host),
    }
    .run(&PLACES);
    // So many different writes have failed, by what was said of them.
    println!("{} places: {said:#?}", said.len());
    assert!(said.len() >= 20, "{said:#?}");
    project.rollout(&[]).expect_code(0).expect_unchanged();
    site.assert_key_logins();
}
