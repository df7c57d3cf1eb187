//! What the flags of `play` do, told without any host of the lab: nobody listens where these hosts are.

use serde_json::json;

use crate::support::bare::Bare;
use crate::support::project::Ran;

const READS: &str = "- hosts: all\n  tasks:\n    - preflight:\n";

/// Two plays; tags of plays and of tasks.
const TWO_PLAYS: &str = "\
- name: Look
  hosts: web1
  tags: [early]
  tasks:
    - {name: See, preflight: , tags: [look]}
- name: Roll out
  hosts: all
  tasks:
    - {name: Hosts, pam_totp: , tags: [host]}
    - {name: People, enroll: }
";

/// Hosts at which nobody listens, and the playbooks of a test.
fn away(hosts: &[&str], books: &[(&str, &str)]) -> Bare {
    let hosts: serde_json::Map<_, _> = hosts
        .iter()
        .map(|name| {
            let at = json!({"ansible_host": "127.0.0.1", "ansible_port": 1});
            ((*name).to_owned(), at)
        })
        .collect();
    let bare = Bare::new(&json!({
        "all": {"hosts": hosts},
        "admins": {"alice": {}},
        "policies": {"default": {"issuer": "Example Corp"}},
    }));
    for (name, text) in books {
        std::fs::write(bare.path().join(name), text).unwrap();
    }
    bare
}

#[test]
fn plays_are_listed_and_nothing_is_contacted() {
    let bare = away(&["web1", "web2"], &[("two.yml", TWO_PLAYS)]);
    let listed = |args: &[&str]| {
        let ran = bare
            .run(&[&["play", "two.yml"], args].concat())
            .expect_code(0);
        assert_eq!(ran.stderr, "");
        ran.stdout
    };
    assert_eq!(
        listed(&["--list-hosts", "--list-tasks"]),
        "
playbook: two.yml

  play #1 (web1): Look\tTAGS: [early]
    pattern: ['web1']
    hosts (1):
      web1
    tasks:
      See\tTAGS: [early, look]

  play #2 (all): Roll out\tTAGS: []
    pattern: ['all']
    hosts (2):
      web1
      web2
    tasks:
      Hosts\tTAGS: [host]
      People\tTAGS: []
"
    );
    let first = "\nplaybook: two.yml\n\n  play #1 (web1): Look\tTAGS: [early]\n    tasks:\n";
    let second = "\n  play #2 (all): Roll out\tTAGS: []\n    tasks:\n";
    let see = "      See\tTAGS: [early, look]\n";
    let (hosts, people) = ("      Hosts\tTAGS: [host]\n", "      People\tTAGS: []\n");
    for (args, wanted) in [
        (&["--tags", "host"][..], [first, second, hosts].concat()),
        (&["-t", "early,host"], [first, see, second, hosts].concat()),
        (
            &["--skip-tags", "look,host"],
            [first, second, people].concat(),
        ),
        (
            &["--start-at-task", "Peop*"],
            ["\nplaybook: two.yml\n", &second.replace("#2", "#1"), people].concat(),
        ),
    ] {
        assert_eq!(
            listed(&[&["--list-tasks"], args].concat()),
            wanted,
            "{args:?}"
        );
    }
    assert!(listed(&["--list-hosts", "-l", "web2:&web1:web1"]).contains("hosts (1)"));
    // No run has begun.
    assert_eq!(bare.sql("SELECT count(*) FROM run").trim(), "0");
}

#[test]
fn step_asks_of_each_task_and_nothing_is_done_without_an_answer() {
    let bare = away(&["web1"], &[("two.yml", TWO_PLAYS)]);
    let asked = |ran: &Ran| ran.stderr.matches("(N)o/(y)es/(c)ontinue").count();
    for (answers, questions, code) in [
        ("n\nn\nn", 3, 0),
        // Whatever is no yes is a no.
        ("maybe\n\nno", 3, 0),
        ("n\nY\nn", 3, 4),
        ("c", 1, 4),
        ("y\ncontinue", 2, 4),
        ("y", 2, 1),
    ] {
        let ran = bare.fed(answers, &["play", "two.yml", "--step"]);
        let ran = ran.expect_code(code);
        assert_eq!(asked(&ran), questions, "{answers:?}: {ran:?}");
        let tried = ran.stdout.contains("UNREACHABLE!");
        assert_eq!(tried, code == 4, "{answers:?}: {ran:?}");
    }
    bare.run(&["play", "two.yml", "--step"])
        .expect_code(1)
        .expect_text(&[
            "Perform task: See (Look) (N)o/(y)es/(c)ontinue: ",
            "--step asks of each task, and nobody answers",
        ]);
}

#[test]
fn a_job_of_ci_gets_its_files_and_annotations() {
    let bare = away(&["web1"], &[("reads.yml", READS)]);
    let annotated = "::error title=fleetotp%3A web1 (unreachable)::";
    let in_github = |args: &[&str]| {
        let mut command = bare.command(&[&["play", "reads.yml"], args].concat());
        let output = command.env("GITHUB_ACTIONS", "true").output().unwrap();
        let ran = Ran::of(&output).expect_code(4);
        assert!(!ran.stdout.contains("::"), "{}", ran.stdout);
        ran.stderr.contains(annotated)
    };
    assert!(in_github(&[]));
    assert!(in_github(&["--annotations", "github"]));
    assert!(!in_github(&["--annotations", "none"]));
    assert!(!in_github(&["--annotations", "gitlab=other.json"]));

    let ran = bare.run(&[
        "play",
        "reads.yml",
        "--junit",
        "junit.xml",
        "--annotations",
        "gitlab=quality.json",
    ]);
    let ran = ran.expect_code(4);
    assert!(!ran.stderr.contains("::error"), "{}", ran.stderr);
    let read = |name: &str| std::fs::read_to_string(bare.path().join(name)).unwrap();
    let junit = read("junit.xml");
    for says in [
        r#"<testsuites name="fleetotp play" tests="1" skipped="0" failures="0" errors="1">"#,
        r#"<testcase name="web1" classname="all""#,
        r#"type="unreachable""#,
    ] {
        assert!(junit.contains(says), "no {says} in {junit}");
    }
    let quality: serde_json::Value = serde_json::from_str(&read("quality.json")).unwrap();
    assert_eq!(quality.as_array().unwrap().len(), 1, "{quality:#}");
    assert_eq!(quality[0]["check_name"], "unreachable");
    assert_eq!(quality[0]["severity"], "critical");
    assert_eq!(quality[0]["location"]["path"], "reads.yml");

    bare.run(&["play", "reads.yml", "--annotations", "gitlab"])
        .expect_code(64)
        .expect_text(&["it is `github`, `gitlab=FILE` or `none`"]);
    bare.run(&["play", "reads.yml", "--junit", "none/junit.xml"])
        .expect_code(1)
        .expect_text(&["cannot write `"]);
}

#[test]
fn a_profile_says_where_the_time_went() {
    let bare = away(&["web1"], &[("reads.yml", READS)]);
    let profiled = ["play", "reads.yml", "--profile"];
    bare.run(&profiled).expect_code(4).expect_text(&[
        "\nTIME\n",
        " s  all\n",
        "\nPHASE ",
        "\nconnect ",
    ]);
    let profile = &bare.run(&[&profiled[..], &["-o", "json"]].concat()).json()["profile"];
    assert_eq!(profile["parts"][0]["part"], "all", "{profile:#}");
    let connect = &profile["phases"][0];
    assert_eq!(connect["phase"], "connect", "{profile:#}");
    assert_eq!(connect["longest"]["host"], "web1", "{profile:#}");
    let without = bare.run(&["play", "reads.yml", "-o", "json"]).json();
    assert!(without["profile"].is_null(), "{without:#}");
}

/// One host at a time, all of them away: how many are tried is what the limit says, and no later batch or play begins.
#[test]
fn a_limit_that_is_exceeded_lets_no_further_host_begin() {
    let play = |limits: &str| {
        format!("- hosts: all\n  serial: 4\n{limits}  tasks:\n    - preflight:\n") + READS
    };
    let books = [
        ("none.yml", ""),
        ("half.yml", "  max_unreachable: 50\n"),
        ("quarter.yml", "  max_unreachable: 24%\n"),
        ("fatal.yml", "  any_errors_fatal: true\n"),
    ]
    .map(|(name, limits)| (name, play(limits)));
    let books: Vec<_> = books.iter().map(|(n, t)| (*n, t.as_str())).collect();
    let bare = away(&["a", "b", "c", "d", "e"], &books);
    for (book, tried, why) in [
        (
            "none.yml",
            4,
            "all 4 hosts of the batch failed or were not reached",
        ),
        ("half.yml", 3, "more than max_unreachable: 50%"),
        ("quarter.yml", 1, "more than max_unreachable: 24%"),
        ("fatal.yml", 1, "any_errors_fatal is set"),
    ] {
        let ran = bare.run(&["play", book, "--forks", "1"]).expect_code(4);
        let ran = ran.expect_text(&["batch 1 of 2", "NO MORE HOSTS LEFT", why]);
        let away = ran.stdout.matches("UNREACHABLE!").count();
        assert_eq!(away, tried, "{book}: {}", ran.stdout);
        assert_eq!(ran.stdout.matches("PLAY [").count(), 1, "{}", ran.stdout);
        assert!(!ran.stdout.contains("batch 2"), "{}", ran.stdout);
    }
}
