//! A run is ended by a signal in each of its phases. Until it changes a host, the host's text is as it was; from then on
//! whoever could log in still can when it has ended. An interrupted run finishes what it has begun and begins nothing
//! else; the next one completes what either has left.

use std::path::PathBuf;
use std::process::{Child, Output};

use crate::lab::{Code, Key, Prefs, Suite, Totp};
use crate::support::faults::{
    RESET, Site, assert_nothing_open, assert_sheets_fit, ended_within, eventually, login_texts,
    signal, text_of,
};
use crate::support::project::{Project, ROLLOUT, scan};

/// The host that is worked on, and another of its kind.
const HOST: &str = "web1";
const TWIN: &str = "web2";

/// How an interrupted run leaves the host.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Left {
    /// As it was before the run.
    Alone,
    /// As the run was to make it.
    Done,
}

/// Where a first rollout is held.
const ROLLOUT_POINTS: [(&str, Left); 7] = [
    ("connected", Left::Alone),
    ("read", Left::Alone),
    ("issued", Left::Alone),
    ("planned", Left::Alone),
    ("opened", Left::Done),
    ("proved", Left::Done),
    ("confirmed", Left::Done),
];

/// One signal on one release, in every phase.
struct Trial {
    site: Site,
    signal: &'static str,
}

#[test]
fn lab_an_interrupt_in_each_phase() {
    Trial::new("INT", Suite::Bookworm).all();
}

#[test]
fn lab_a_request_to_end_in_each_phase() {
    Trial::new("TERM", Suite::Trixie).all();
}

#[test]
fn lab_a_kill_in_each_phase() {
    Trial::new("KILL", Suite::Bullseye).all();
}

impl Trial {
    fn new(signal: &'static str, suite: Suite) -> Self {
        let site = Site::start(&[(HOST, suite), (TWIN, suite)]);
        Self { site, signal }
    }

    fn all(&self) {
        let befores: Vec<String> = self.site.each().map(login_texts).collect();
        let before = &befores[0];
        let host = self.site.host(HOST);
        let mut project = self.site.project(60);
        for (point, left) in ROLLOUT_POINTS {
            let output = self.held(&project, &["play", ROLLOUT, "--limit", HOST], point);
            let (texts, said) = (login_texts(host), text_of(&output));
            if left == Left::Alone {
                assert_eq!(&texts, before, "at {point}: {said}");
                assert!(
                    self.killed() || said.contains("changed=0"),
                    "at {point}: {said}"
                );
                // The next of these is the run that finds it so.
                continue;
            }
            if !self.killed() {
                assert_ne!(&texts, before, "at {point}: {said}");
                assert!(said.contains("changed: [web1]"), "at {point}: {said}");
            }
            self.site.assert_key_logins_on(HOST);
            self.completed(&project, point);
            project = self.site.project(60);
            for host in self.site.each() {
                host.sh(RESET);
            }
        }
        self.one_host_waits_for_another(&befores);
        self.rest_of_a_life();
    }

    /// The journal says of a killed run that the host was being changed, and of an interrupted one that it is changed.
    fn noted(&self, project: &Project<'_>) {
        let wanted = if self.killed() {
            "web1: was being changed when the run ended"
        } else {
            "web1: changed"
        };
        project
            .fleetotp(&["runs", "show", "last"])
            .expect_code(0)
            .expect_text(&[wanted]);
    }

    fn killed(&self) -> bool {
        self.signal == "KILL"
    }

    /// Runs a command until it is at a point, sends the signal, and asserts what holds for every interrupted run.
    fn held(&self, project: &Project<'_>, args: &[&str], point: &str) -> Output {
        let mark = project.scratch().join(format!("at-{point}"));
        drop(std::fs::remove_file(&mark));
        let run = self.begun(project, args, point, &mark);
        eventually(&format!("{args:?} is at {point}"), 60, || mark.exists());
        signal(&run, self.signal);
        let output = ended_within(run, 60);
        let wanted = (!self.killed()).then_some(99);
        assert_eq!(
            output.status.code(),
            wanted,
            "at {point}: {}",
            text_of(&output)
        );
        if !self.killed() {
            self.site.each().for_each(assert_nothing_open);
            eventually("no process is left", 5, || self.site.processes().is_empty());
            assert_eq!(self.site.temporary_files(), Vec::<PathBuf>::new());
        }
        output
    }

    fn begun(
        &self,
        project: &Project<'_>,
        args: &[&str],
        point: &str,
        mark: &std::path::Path,
    ) -> Child {
        // An interrupted run goes on from there; a killed one never does.
        let seconds = if self.killed() { 100 } else { 1 };
        let pause = format!("{point}:{seconds}:{}", mark.display());
        let mut command = self.site.command(project, args);
        command.env("FLEETOTP_TEST_PAUSE", pause).spawn().unwrap()
    }

    /// The next rollout completes it, on both hosts.
    fn completed(&self, project: &Project<'_>, what: &str) {
        let next = self
            .site
            .command(project, &["play", ROLLOUT])
            .output()
            .unwrap();
        assert!(next.status.success(), "after {what}: {}", text_of(&next));
        for host in self.site.each() {
            assert_nothing_open(host);
        }
        assert_eq!(self.site.temporary_files(), Vec::<PathBuf>::new());
        assert_sheets_fit(&self.site, project, &["alice", "bob"]);
    }

    /// While one host's change is open, another of its kind waits for its proof: nothing is begun there any more.
    fn one_host_waits_for_another(&self, befores: &[String]) {
        let project = self.site.project(60);
        let output = self.held(&project, &["play", ROLLOUT], "opened");
        let touched = self.site.each().zip(befores);
        let touched = touched.filter(|(host, before)| &login_texts(*host) != *before);
        assert_eq!(touched.count(), 1, "{}", text_of(&output));
        self.completed(&project, "waiting");
        for host in self.site.each() {
            host.sh(RESET);
        }
    }

    fn members(&self) -> String {
        let group = self.site.host(HOST).sh("getent group fleetotp");
        group
            .trim()
            .rsplit(':')
            .next()
            .unwrap_or_default()
            .to_owned()
    }

    /// Wherever a rotation ends, the old code is still good, and the next `sync` brings the new one.
    fn rotating(&self, project: &Project<'_>, mut old: Totp) {
        let (site, next) = (&self.site, "/var/lib/google-authenticator/next/alice");
        let key = Key::With(&site.alice);
        let assert_in = |code: &str| {
            let lab = &site.lab;
            lab.assert_in(HOST, "alice", key, Code::Some(code), Prefs::Default);
            lab.assert_refused(HOST, "alice", key, Code::No, Prefs::Default);
        };
        for point in ["issued", "planned"] {
            self.held(project, &["rotate", "alice"], point);
            assert!(site.each().all(|host| !host.exists(next)), "at {point}");
            assert_in(&old.fresh());
            project.fleetotp(&["sync"]).expect_code(0);
            assert!(site.each().all(|host| host.exists(next)), "after {point}");
            if point == "issued" {
                project
                    .fleetotp(&["rotate", "alice", "--abort"])
                    .expect_code(0);
            }
        }
        let sheets = project.sheet_files();
        assert_eq!(sheets.len(), 1, "{sheets:?}");
        let new = scan(&sheets[0]);
        project
            .confirm("alice", &new.totp().fresh(), &[])
            .expect_code(0);
        assert_in(&new.wide_totp().fresh());
        assert_eq!(project.status("alice", "default")["state"], "active");
    }

    /// Enforcing, rotating, verifying, putting text back, revoking, removing.
    fn rest_of_a_life(&self) {
        let (site, host) = (&self.site, self.site.host(HOST));
        let project = site.project(60);
        let before = login_texts(host);
        let ran = project.rollout(&["-o", "json"]).expect_code(0);
        let newest = project.newest_run();
        let run = newest["id"].as_str().expect("an id");
        let rolled_out = login_texts(host);
        let play = ["play", ROLLOUT, "--limit", HOST];

        // A code is demanded of each in turn.
        let mut alice_codes = None;
        for (admin, point, left, already) in [
            ("alice", "enforcing", Left::Alone, ""),
            ("bob", "enforced", Left::Done, "alice"),
        ] {
            let mut totp = ran.sheet(admin, "default").scan().wide_totp();
            project
                .confirm(admin, &totp.fresh(), &["--no-push"])
                .expect_code(0);
            let key = if admin == "alice" {
                &site.alice
            } else {
                &site.bob
            };
            self.held(&project, &play, point);
            let asked = self.members() != already;
            assert_eq!(asked, left == Left::Done, "{}", self.members());
            if asked {
                site.lab.assert_member(HOST, admin, key, &mut totp.clone());
            } else {
                site.lab
                    .assert_in(HOST, admin, Key::With(key), Code::No, Prefs::Default);
            }
            project.rollout(&[]).expect_code(0);
            assert_eq!(project.state_on(admin, "default", HOST), "enforced");
            assert_nothing_open(host);
            site.lab.assert_member(TWIN, admin, key, &mut totp);
            alice_codes.get_or_insert(totp);
        }
        self.rotating(&project, alice_codes.expect("alice came first"));

        self.held(
            &project,
            &["verify", "--limit", HOST, "--strict"],
            "verifying",
        );
        project.fleetotp(&["verify", "--strict"]).expect_code(0);
        assert_nothing_open(host);
        assert_eq!(login_texts(host), rolled_out);

        let back = [
            "rollback",
            run,
            "--allow-weaker",
            "--reason",
            "a trial",
            "--limit",
            HOST,
        ];
        self.held(&project, &back, "opened");
        self.noted(&project);
        site.lab.assert_key_only(HOST, "root", Key::Root);
        project.fleetotp(&back).expect_code(0);
        assert_eq!(login_texts(host), before);
        assert_nothing_open(host);
        project.rollout(&[]).expect_code(0);
        assert_eq!(login_texts(host), rolled_out);

        let remove = ["remove", HOST, "--reason", "a trial"];
        self.held(&project, &remove, "restored");
        self.noted(&project);
        project.fleetotp(&remove).expect_code(0);
        assert_eq!(login_texts(host), before);
        for (login, key) in [("root", Key::Root), ("bob", Key::With(&site.bob))] {
            site.lab.assert_key_only(HOST, login, key);
        }
        project.rollout(&[]).expect_code(0);
        assert_eq!(login_texts(host), rolled_out);

        let revoke = ["revoke", "alice", "--reason", "left"];
        self.held(&project, &revoke, "revoking");
        project.fleetotp(&["sync"]).expect_code(0);
        for name in &site.hosts {
            site.lab.assert_refused(
                name,
                "alice",
                Key::With(&site.alice),
                Code::No,
                Prefs::Default,
            );
            assert_eq!(project.state_on("alice", "default", name), "revoked");
        }

        project.fleetotp(&["audit", "verify"]).expect_code(0);
    }
}
