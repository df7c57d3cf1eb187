//! How `play` ends where no host of the lab is needed to tell; `lab_play`, `lab_faults` and `lab_fanout` have the others.

use std::io::{BufRead as _, BufReader, Read as _};

use serde_json::{Value, json};

use crate::support::bare::Bare;
use crate::support::faults::{ended_within, eventually, signal};
use crate::support::project::Ran;
use crate::support::simulated::Simulated;

const READS: &str = "- hosts: all\n  tasks:\n    - preflight:\n";

#[test]
fn a_play_that_cannot_begin_says_why_by_its_exit_code() {
    // Nobody listens there.
    let bare = Bare::new(&json!({
        "all": {"hosts": {"web1": {"ansible_host": "127.0.0.1", "ansible_port": 1}}},
        "admins": {"alice": {}},
        "policies": {"default": {"issuer": "Example Corp"}},
    }));
    let write = |name: &str, text: &str| std::fs::write(bare.path().join(name), text).unwrap();
    write("reads.yml", READS);
    write("wrong.yml", &READS.replace("preflight", "preflght"));

    bare.run(&["play", "reads.yml", "--seriel", "1"])
        .expect_code(64)
        .expect_text(&["--seriel", "--help"]);
    bare.run(&["play"]).expect_code(64);
    bare.run(&["play", "wrong.yml"])
        .expect_code(65)
        .expect_text(&[
            "wrong.yml:3:7",
            "unknown task or key",
            "did you mean `preflight`?",
        ]);
    bare.run(&["play", "none.yml"])
        .expect_code(1)
        .expect_text(&["none.yml"]);
    bare.run(&["play", "reads.yml", "--limit", "web9"])
        .expect_code(1)
        .expect_text(&["web9"]);
    bare.run(&["play", "reads.yml"])
        .expect_code(4)
        .expect_text(&["fatal: [web1]: UNREACHABLE!", "Connection refused"]);
}

/// Two hosts at which nobody listens.
fn away() -> Bare {
    let at = json!({"ansible_host": "127.0.0.1", "ansible_port": 1});
    Bare::new(&json!({
        "all": {"hosts": {"web1": at, "web2": at}},
        "admins": {"alice": {}, "bob": {}},
        "policies": {"default": {"issuer": "Example Corp"}},
    }))
}

#[test]
fn a_retry_is_as_narrow_as_the_run_was() {
    let bare = away();
    let book = "- hosts: all\n  tasks:\n    - {name: look, preflight: , tags: [look]}\n    - {name: host, pam_totp: }\n    - {name: keys, enroll: }\n";
    std::fs::create_dir_all(bare.path().join("of mine")).unwrap();
    std::fs::write(bare.path().join("of mine/roll out.yml"), book).unwrap();
    let first = [
        "play",
        "of mine/roll out.yml",
        "--tags",
        "look",
        "-l",
        "web1",
        "-a",
        "alice",
    ];
    bare.run(&first).expect_code(4);
    bare.run(&["runs", "show", "last"])
        .expect_code(0)
        .expect_text(&[
            "play of mine/roll out.yml",
            "narrowed by --tags look --limit web1 --admins alice",
        ]);
    let retry = ["play", "--retry-failed", "last"];
    let with = |more: &[&str]| bare.run(&[retry.as_slice(), more].concat());

    // Nothing but the look, and nowhere else: also called from another directory.
    let list = with(&["--list-hosts", "--list-tasks"]).expect_code(0);
    assert!(list.stdout.contains("hosts (1):"), "{}", list.stdout);
    assert!(list.stdout.contains("look\tTAGS"), "{}", list.stdout);
    for other in ["host\tTAGS", "keys\tTAGS", "web2"] {
        assert!(!list.stdout.contains(other), "{other}: {}", list.stdout);
    }
    let ran = bare
        .command(&[retry.as_slice(), &["--config", "../fleetotp.yml"]].concat())
        .current_dir(bare.path().join("of mine"))
        .output()
        .unwrap();
    let ran = Ran::of(&ran)
        .expect_code(4)
        .expect_text(&["TASK [look]", "fatal: [web1]: UNREACHABLE!"]);
    assert!(!ran.stdout.contains("TASK [host]"), "{}", ran.stdout);
    assert!(!ran.stdout.contains("web2"), "{}", ran.stdout);

    // The retry can be retried, the same said again is no other, and less of it may be asked for.
    let request = bare.run(&["runs", "show", "last", "-o", "json"]).json()["request"].clone();
    assert_eq!(request["tags"], json!(["look"]));
    assert_eq!(request["admins"], "alice");
    with(&["--tags", "look", "-a", "alice", "--start-at-task", "look"]).expect_code(4);
    for (other, said) in [
        (["--tags", "all"], "had --tags look"),
        (["-a", "bob"], "had --admins alice"),
    ] {
        with(&other)
            .expect_code(64)
            .expect_text(&[said, "its variable away"]);
    }
    with(&["-l", "web2"])
        .expect_code(1)
        .expect_text(&["none of the hosts that the run left undone is chosen: web1"]);
    // Named again it is the same playbook, and no wider for that.
    let named = with(&["of mine/roll out.yml"]).expect_code(4);
    assert!(!named.stdout.contains("TASK [host]"), "{}", named.stdout);

    // A check keeps no record, and proposes no retry; one of a run that kept nothing is refused.
    bare.run(&["play", "of mine/roll out.yml", "--check"])
        .expect_code(4);
    let last = bare.run(&["runs", "show", "last", "-o", "json"]).json();
    assert_eq!(last["request"]["tags"], json!(["look"]), "{last:#}");
    bare.sql("UPDATE run SET request = NULL");
    with(&[])
        .expect_code(1)
        .expect_text(&["does not say how the run was narrowed"]);
}

/// Two plays on hosts of their own, the first of them host by host.
const TWO: &str = "
- {name: first, hosts: 'w1:w2', serial: 1, any_errors_fatal: true, tasks: [{preflight: }]}
- {name: second, hosts: d1, tasks: [{preflight: }]}
";

/// `play host: status` of all plays of a run with `-o json`.
fn statuses(ran: &Ran) -> Vec<String> {
    let document = ran.json();
    let plays = (1..).zip(document["plays"].as_array().unwrap());
    let hosts = plays.flat_map(|(n, play)| {
        let hosts = play["hosts"].as_array().unwrap().iter();
        hosts.map(move |h| {
            let why = if h["status"] == "skipped" {
                h["why"].as_str().unwrap()
            } else {
                ""
            };
            format!(
                "{n} {}: {}{why}",
                h["host"].as_str().unwrap(),
                h["status"].as_str().unwrap()
            )
        })
    });
    hosts.collect()
}

#[test]
fn what_a_stop_kept_from_its_turn_is_gone_on_with_in_all_plays() {
    let fleet = Simulated::new(&["w1", "w2", "d1"], &[]);
    fleet.write("two.yml", TWO);
    fleet.set("broken", true);
    let ran = fleet.run(&["play", "two.yml", "-o", "json"]).expect_code(2);
    assert_eq!(statuses(&ran), ["1 w1: failed", "1 w2: skippedstopped"]);
    assert_eq!(
        fleet.journal(),
        ["1 w1: done failed", "1 w2: waiting -", "2 d1: waiting -"]
    );
    let listed = fleet.run(&["runs", "list", "-n", "1", "-o", "json"]).json();
    let hosts = &listed["runs"][0]["hosts"];
    assert_eq!(*hosts, json!({"failed": 1, "not_done": 2}));

    fleet.set("broken", false);
    let retry = ["play", "--retry-failed", "last", "-o", "json"];
    // Who is in no play any more is named.
    fleet.write("two.yml", &TWO.replace("hosts: d1", "hosts: w1"));
    fleet
        .run(&[retry.as_slice(), &["--check"]].concat())
        .expect_code(0)
        .expect_text(&["left undone as well, and among the hosts of no play: d1"]);
    fleet.write("two.yml", TWO);
    let ran = fleet.run(&retry).expect_code(0);
    assert_eq!(statuses(&ran), ["1 w1: ok", "1 w2: ok", "2 d1: ok"]);
    assert_eq!(
        fleet.journal(),
        ["1 w1: done ok", "1 w2: done ok", "2 d1: done ok"]
    );
    fleet
        .run(&retry)
        .expect_code(0)
        .expect_text(&["has left no host undone"]);
}

#[test]
fn what_an_interrupt_kept_from_its_turn_is_gone_on_with_in_all_plays() {
    let fleet = Simulated::new(&["w1", "w2", "d1"], &[]);
    fleet.write("two.yml", TWO);
    let mut run = fleet.held(&["play", "two.yml", "-o", "json"]);
    signal(&run, "INT");
    let mut said = BufReader::new(run.stderr.take().unwrap());
    let mut first = String::new();
    said.read_line(&mut first).unwrap();
    assert!(first.contains("once more ends at once"), "{first}");
    fleet.set("held", false);
    let ran = Ran::of(&ended_within(run, 60)).expect_code(99);
    let after = statuses(&ran);
    assert_eq!(after[1..], ["1 w2: skippedinterrupted"], "{after:?}");
    let journal = fleet.journal();
    assert_eq!(journal[1..], ["1 w2: waiting -", "2 d1: waiting -"]);
    let retry = ["play", "--retry-failed", "last", "-o", "json"];
    let ran = fleet.run(&retry).expect_code(0);
    let again = statuses(&ran);
    assert!(again.contains(&"2 d1: ok".to_owned()), "{again:?}");
    assert!(again.contains(&"1 w2: ok".to_owned()), "{again:?}");
}

#[test]
fn a_host_is_done_once_all_tasks_that_concern_it_were() {
    let fleet = Simulated::new(&["w1", "w2"], &["a1"]);
    // Nothing is wanted of w2, and that is no reason to come again.
    fleet.write(
        "when.yml",
        "- hosts: w1:w2\n  tasks:\n    - preflight:\n      when: inventory_hostname == 'w1'\n",
    );
    let ran = fleet
        .run(&["play", "when.yml", "-o", "json"])
        .expect_code(0);
    assert_eq!(statuses(&ran), ["1 w1: ok", "1 w2: skippedcondition"]);
    assert_eq!(fleet.journal(), ["1 w1: done ok", "1 w2: done skipped"]);
    let retry = ["play", "--retry-failed", "last"];
    let none = "has left no host undone";
    fleet.run(&retry).expect_code(0).expect_text(&[none]);

    // What `collect` could not do is not done, whatever was before it.
    fleet.write("collect.yml", "- {hosts: a1, tasks: [{collect: }]}\n");
    fleet.run(&["play", "collect.yml"]).expect_code(4);
    assert_eq!(fleet.journal(), ["1 a1: done unreachable"]);
}

#[test]
fn limits_are_shares_of_the_batch_not_of_those_on_which_a_condition_holds() {
    let hosts: Vec<String> = (0..11).map(|n| format!("h{n:02}")).collect();
    let names: Vec<&str> = hosts.iter().map(String::as_str).collect();
    let fleet = Simulated::new(&names, &[]);
    let play = |limit: u8| {
        let text = format!(
            "- hosts: all\n  serial: 10\n  max_fail_percentage: {limit}\n  tasks:\n    - preflight:\n      when: inventory_hostname in ['h00', 'h10']\n"
        );
        fleet.write("when.yml", &text);
        fleet
            .run(&["play", "when.yml", "-o", "json"])
            .expect_code(2)
    };
    fleet.set("broken", true);
    // One of ten failed: ten per cent are not more than ten, and the next batch begins, of which it is everything.
    let ran = play(10).json();
    let of = |ran: &Value, host: usize| ran["plays"][0]["hosts"][host].clone();
    assert_eq!(of(&ran, 0)["status"], "failed");
    assert_eq!(of(&ran, 1)["why"], "condition");
    assert_eq!(of(&ran, 10)["status"], "failed");
    assert_eq!(
        ran["plays"][0]["stopped"],
        "1 of 1 hosts failed: more than max_fail_percentage: 10"
    );
    let ran = play(9).json();
    assert_eq!(
        ran["plays"][0]["stopped"],
        "1 of 10 hosts failed: more than max_fail_percentage: 9"
    );
    assert_eq!(of(&ran, 10)["why"], "stopped");
}

#[test]
fn whoever_interrupts_twice_is_told_which_hosts_are_left() {
    let fleet = Simulated::new(&["w1", "w2", "d1"], &[]);
    fleet.write("two.yml", TWO);
    let mut run = fleet.held(&["play", "two.yml"]);
    signal(&run, "INT");
    // Two signals at a time would be one.
    let mut said = BufReader::new(run.stderr.take().unwrap());
    let mut first = String::new();
    said.read_line(&mut first).unwrap();
    assert!(first.contains("once more ends at once"), "{first}");
    signal(&run, "INT");
    Ran::of(&ended_within(run, 60)).expect_code(99);
    fleet.set("held", false);
    let mut rest = String::new();
    said.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "interrupted again: no change is open on w1\n");
    assert_eq!(
        fleet.journal(),
        ["1 w1: waiting -", "1 w2: waiting -", "2 d1: waiting -"]
    );
}

#[test]
fn a_host_for_which_tasks_are_to_come_is_not_done_when_the_run_is_killed() {
    let fleet = Simulated::new(&["w1", "w2"], &[]);
    let play = "- {hosts: all, order: sorted, serial: 1, tasks: [{preflight: }, {collect: }]}\n";
    fleet.write("both.yml", play);
    let reached = fleet.0.path().join("reached");
    let pause = format!("connected:2:{}", reached.display());
    let mut command = fleet.command(&["play", "both.yml"]);
    let mut run = command.env("FLEETOTP_TEST_PAUSE", pause).spawn().unwrap();
    eventually("w1 is reached", 60, || {
        std::fs::remove_file(&reached).is_ok()
    });
    eventually("w2 is reached", 60, || reached.exists());
    run.kill().unwrap();
    run.wait().unwrap();
    // Nothing was collected yet, of w1 neither.
    assert_eq!(fleet.journal(), ["1 w1: waiting ok", "1 w2: waiting -"]);
    let retry = ["play", "--retry-failed", "last", "-o", "json"];
    let ran = fleet.run(&retry);
    assert_eq!(statuses(&ran)[..2], ["1 w1: ok", "1 w2: ok"], "{ran:?}");
    let left = fleet.journal();
    assert!(left.iter().all(|l| l.contains(": done ")), "{left:?}");
}

#[test]
fn what_a_limit_kept_from_a_host_is_left_though_it_was_collected() {
    let fleet = Simulated::new(&["w1"], &["z1"]);
    let play = "- {hosts: all, order: sorted, any_errors_fatal: true, tasks: [{preflight: }, {verify: }, {collect: }]}\n";
    fleet.write("all.yml", play);
    fleet.run(&["play", "all.yml"]).expect_code(4);
    assert_eq!(
        fleet.journal(),
        ["1 w1: waiting ok", "1 z1: waiting unreachable"]
    );
}

#[test]
fn whoever_was_not_begun_is_not_done_by_what_is_done_once_at_the_end() {
    let fleet = Simulated::new(&["w1"], &["a1"]);
    let play = "- {hosts: all, order: sorted, serial: 1, any_errors_fatal: true, tasks: [{preflight: }, {collect: }]}\n";
    fleet.write("both.yml", play);
    let ran = fleet
        .run(&["play", "both.yml", "-o", "json"])
        .expect_code(4);
    assert_eq!(
        statuses(&ran),
        ["1 a1: unreachable", "1 w1: skippedstopped"]
    );
    assert_eq!(
        fleet.journal(),
        ["1 a1: done unreachable", "1 w1: waiting -"]
    );
}

#[test]
fn admins_of_the_command_line_narrow_those_of_a_play_and_add_nobody() {
    let bare = Bare::new(&json!({
        "all": {"hosts": {"web1": {"ansible_host": "127.0.0.1", "ansible_port": 1}}},
        "admins": {"alice": {"groups": ["sre"]}, "bob": {}},
        "policies": {"default": {"issuer": "Example Corp"}},
    }));
    let play = "- {name: Rota, hosts: all, admins: sre, tasks: [{report: }]}\n";
    std::fs::write(bare.path().join("sre.yml"), play).unwrap();
    let told = |args: &[&str]| bare.run(&[&["play", "sre.yml"], args].concat());
    let none = "Rota: none of its admins is among those of --admins";
    assert!(!told(&[]).expect_code(0).stderr.contains(none));
    assert!(
        !told(&["-a", "alice,bob"])
            .expect_code(0)
            .stderr
            .contains(none)
    );
    told(&["-a", "bob"]).expect_code(0).expect_text(&[none]);
    // What is computed says of whom it is.
    let play = play.replace(
        "{report: }",
        "{report: {kinds: [coverage], out: out, formats: [json]}}",
    );
    std::fs::write(bare.path().join("sre.yml"), play).unwrap();
    told(&["-a", "bob"]).expect_code(0);
    let files = std::fs::read_dir(bare.path().join("out")).unwrap();
    let texts: Vec<String> = files
        .map(|f| std::fs::read_to_string(f.unwrap().path()).unwrap())
        .collect();
    assert!(
        texts
            .iter()
            .any(|t| t.contains("admins sre; admins limited to bob")),
        "{texts:?}"
    );
}
