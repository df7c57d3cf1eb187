//! Who signs heads and who may have: a key that only an agent holds, a list with several signers; and a log that is followed.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::bare::Bare;
use crate::support::project::Ran;

/// A project that signs heads with the key of this file.
fn signing(key: &str) -> Bare {
    let bare = Bare::new(&json!({
        "all": {"hosts": {"web1": {}}},
        "admins": {"alice": {}, "bob": {}, "carol": {}},
    }));
    sign_with(&bare, "#signing_key: state/audit_key", key);
    bare
}

fn sign_with(bare: &Bare, before: &str, key: &str) {
    let settings = bare.path().join("fleetotp.yml");
    let text = std::fs::read_to_string(&settings).unwrap();
    assert!(text.contains(before), "{text}");
    let text = text.replace(before, &format!("signing_key: {key}"));
    std::fs::write(settings, text).unwrap();
}

/// Makes a key pair; returns the public key's type and text.
fn keygen(bare: &Bare, name: &str) -> String {
    let path = bare.path().join(name);
    let made = Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-C", "", "-f"])
        .arg(&path)
        .status()
        .unwrap();
    assert!(made.success());
    let public = std::fs::read_to_string(path.with_extension("pub")).unwrap();
    public.trim().to_owned()
}

/// An agent of its own. Ends with the test.
struct Agent(Child);

impl Agent {
    fn start(socket: &Path) -> Self {
        let child = Command::new("ssh-agent")
            .args(["-D", "-a"])
            .arg(socket)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let agent = Self(child);
        for _ in 0..500 {
            if socket.exists() {
                return agent;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("no agent came up");
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[test]
fn heads_and_packs_are_signed_by_a_key_that_only_an_agent_holds() {
    let bare = signing("agent_key.pub");
    keygen(&bare, "agent_key");
    let socket = bare.path().join("agent.sock");
    let agent = Agent::start(&socket);
    let added = Command::new("ssh-add")
        .arg("-q")
        .arg(bare.path().join("agent_key"))
        .env("SSH_AUTH_SOCK", &socket)
        .status()
        .unwrap();
    assert!(added.success());
    std::fs::remove_file(bare.path().join("agent_key")).unwrap();
    let with_agent = |args: &[&str]| {
        let mut command = bare.command(args);
        Ran::of(&command.env("SSH_AUTH_SOCK", &socket).output().unwrap())
    };
    bare.enroll("alice", &[]);
    with_agent(&["audit", "export", "--out", "one.jsonl"]).expect_code(0);
    with_agent(&["report", "pack", "--out", "pack", "--formats", "csv"])
        .expect_code(0)
        .expect_text(&["signed by SHA256:"]);
    // Whoever checks needs the public key and no agent.
    let verified = bare
        .run(&[
            "audit",
            "verify",
            "--export",
            "one.jsonl",
            "--signer",
            "agent_key.pub",
            "-o",
            "json",
        ])
        .expect_code(0)
        .json();
    assert!(verified["signed_heads"].as_u64() > Some(0), "{verified:#}");
    bare.run(&["audit", "verify"]).expect_code(0);
    let checked = Command::new("sh")
        .arg(bare.path().join("pack/verify.sh"))
        .output()
        .unwrap();
    let said = String::from_utf8(checked.stdout).unwrap();
    assert!(checked.status.success(), "{said}");
    assert!(said.contains("signed by fleetotp"), "{said}");

    // Without the agent nothing is signed, and nothing is written that would be unsigned.
    drop(agent);
    bare.enroll("bob", &[]);
    with_agent(&["audit", "export", "--out", "two.jsonl"])
        .expect_code(1)
        .expect_text(&["cannot sign with `", "agent_key.pub`: "]);
    with_agent(&["report", "pack", "--out", "second"]).expect_code(1);
    for left in ["two.jsonl", "second"] {
        assert!(!bare.path().join(left).exists(), "{left}");
    }
}

#[test]
fn a_list_of_several_signers_is_held_against_every_head() {
    let bare = signing("first");
    let first = keygen(&bare, "first");
    let second = keygen(&bare, "second");
    let third = keygen(&bare, "third");
    bare.enroll("alice", &[]);
    bare.run(&["audit", "export", "--out", "one.jsonl"])
        .expect_code(0);
    // The key was changed: heads of both are in the log.
    sign_with(&bare, "signing_key: first", "second");
    bare.enroll("bob", &[]);
    bare.run(&["audit", "export", "--out", "both.jsonl"])
        .expect_code(0);
    let judged = |list: &str| {
        std::fs::write(bare.path().join("signers"), list).unwrap();
        [
            &["audit", "verify", "--export", "both.jsonl"][..],
            &["audit", "verify"],
        ]
        .map(|args| {
            let ran = bare.run(&[args, &["--signer", "signers", "-o", "json"]].concat());
            let faults = ran.json()["faults"].as_array().unwrap().clone();
            let ids: Vec<String> = faults
                .iter()
                .map(|f| f["id"].as_str().unwrap().to_owned())
                .collect();
            assert_eq!(ran.code, if ids.is_empty() { 0 } else { 9 }, "{ids:?}");
            ids
        })
    };
    let good = format!(
        "# held by the auditor\nops@example.com {first}\n\naudit@example.com,sec@example.com namespaces=\"fleetotp-head\" {second}\nnobody@example.com {third}\n"
    );
    assert_eq!(judged(&good), [Vec::<String>::new(), Vec::new()]);
    for (what, list) in [
        (
            "the second is missing",
            format!("a@example.com {first}\nb@example.com {third}\n"),
        ),
        (
            "the second may sign something else",
            format!("a@example.com {first}\nb@example.com namespaces=\"git\" {second}\n"),
        ),
        (
            "the second was valid before",
            format!("a@example.com {first}\nb@example.com valid-before=\"20200101\" {second}\n"),
        ),
    ] {
        let found = judged(&list);
        assert_eq!(found[0], ["signature-wrong"], "{what}");
        assert_eq!(found[1], ["signature-wrong"], "{what}");
    }
    assert_eq!(
        judged(&format!("a@example.com {third}\n"))[0],
        ["signature-wrong", "signature-wrong"]
    );
}

/// The program, following the log: its lines as they come.
struct Follower {
    child: Child,
    lines: mpsc::Receiver<String>,
}

impl Follower {
    fn start(bare: &Bare, args: &[&str]) -> Self {
        let mut child = bare
            .command(&[&["audit", "log", "--follow"], args].concat())
            .spawn()
            .unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in out.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Self { child, lines }
    }

    fn next(&self) -> String {
        self.lines
            .recv_timeout(Duration::from_secs(20))
            .expect("a line comes")
    }

    fn interrupt(mut self) -> i32 {
        let sent = Command::new("kill")
            .args(["-INT", &self.child.id().to_string()])
            .status()
            .unwrap();
        assert!(sent.success());
        let code = self.child.wait().unwrap().code().unwrap_or(-1);
        assert!(
            self.lines.recv_timeout(Duration::from_secs(20)).is_err(),
            "nothing comes after its end"
        );
        code
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[test]
fn a_followed_log_shows_events_as_they_are_written() {
    let bare = signing("none");
    bare.enroll("alice", &[]);
    let text = Follower::start(&bare, &["--kind", "token.issued"]);
    let json = Follower::start(&bare, &["-o", "json", "--kind", "token", "-n", "1"]);
    let document = |line: &str| serde_json::from_str::<Value>(line).unwrap();
    let line = text.next();
    assert!(
        line.contains("token.issued by tester admin=alice"),
        "{line}"
    );
    assert_eq!(document(&json.next())["event"]["data"]["admin"], "alice");
    // By names of people whom it did not know when it began; and only what was asked for.
    for admin in ["bob", "carol"] {
        bare.enroll(admin, &[]);
        let line = text.next();
        let wanted = format!("token.issued by tester admin={admin}");
        assert!(line.contains(&wanted), "{line}");
        assert_eq!(document(&json.next())["event"]["data"]["admin"], admin);
    }
    bare.run(&["revoke", "bob", "--reason", "left", "--no-push"])
        .expect_code(0);
    let event = document(&json.next());
    assert_eq!(event["event"]["kind"], "token.revoke_requested");
    assert_eq!(event["event"]["data"]["reason"], "left");
    assert_eq!(event["hash"].as_str().map(str::len), Some(64));
    assert_eq!([text.interrupt(), json.interrupt()], [99, 99]);
}
