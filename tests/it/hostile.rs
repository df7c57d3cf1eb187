//! Hostile input, from files and from hosts: a clear error with its place, nothing contacted, nothing written; and no
//! host can flood the controller or write on its terminal.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use serde_json::json;

use crate::lab::{Host, Suite};
use crate::support::faults::{Site, text_of};
use crate::support::memory;
use crate::support::project::{Project, ROLLOUT, all};

/// A project on this machine alone, where `ssh` is a program that tells on whoever calls it.
struct Alone(tempfile::TempDir);

impl Alone {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("bin")).unwrap();
        std::fs::create_dir(dir.path().join("project")).unwrap();
        for name in ["ssh", "ssh-keygen"] {
            let program = dir.path().join("bin").join(name);
            let text = format!(
                "#!/bin/sh\n: >'{}'\nexit 255\n",
                dir.path().join("contacted").display()
            );
            std::fs::write(&program, text).unwrap();
            std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        }
        let alone = Self(dir);
        assert_eq!(alone.run(&["init"]).0, 0);
        alone
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("project")
    }

    fn contacted(&self) -> bool {
        self.0.path().join("contacted").exists()
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        std::fs::write(self.path().join(name), content).unwrap();
    }

    /// Runs the program with little memory and little time.
    fn run(&self, args: &[&str]) -> (i32, String) {
        let output = Command::new("sh")
            .args(["-c", "ulimit -v 600000; exec timeout 60 \"$@\"", "sh"])
            .arg(env!("CARGO_BIN_EXE_fleetotp"))
            .args(args)
            .current_dir(self.path())
            .env_clear()
            .env(
                "PATH",
                format!("{}:/usr/bin:/bin", self.0.path().join("bin").display()),
            )
            .env("HOME", self.0.path())
            .env("USER", "tester")
            .stdin(Stdio::null())
            .output()
            .unwrap();
        (output.status.code().unwrap_or(-1), text_of(&output))
    }

    fn files(&self) -> BTreeMap<PathBuf, (Vec<u8>, SystemTime)> {
        let mut files = BTreeMap::new();
        let mut directories = vec![self.path()];
        while let Some(directory) = directories.pop() {
            for entry in std::fs::read_dir(directory).unwrap() {
                let path = entry.unwrap().path();
                let metadata = path.symlink_metadata().unwrap();
                if metadata.is_dir() {
                    directories.push(path);
                } else {
                    let bytes = std::fs::read(&path).unwrap();
                    files.insert(path, (bytes, metadata.modified().unwrap()));
                }
            }
        }
        files
    }

    /// Every command refuses with exit code 65 and a place in `file`, touching nothing.
    fn assert_refused(&self, what: &str, file: &str, more: &[&str]) {
        let before = self.files();
        for command in [
            &["play", ROLLOUT][..],
            &["enroll"],
            &["inventory", "validate"],
        ] {
            let (code, text) = self.run(&[command, more].concat());
            assert_eq!(code, 65, "{what}: {command:?}: {text}");
            let place = text
                .strip_prefix("error: ")
                .and_then(|rest| rest.strip_prefix(file))
                .and_then(|rest| rest.strip_prefix(':'))
                .unwrap_or_else(|| panic!("{what}: no place in {text}"));
            let mut numbers = place.split(':');
            for _ in 0..2 {
                let number = numbers.next().unwrap();
                assert!(number.parse::<u32>().is_ok(), "{what}: {text}");
            }
            assert_harmless(what, &text);
            assert!(text.len() < 4000, "{what}: a long error: {text}");
        }
        assert!(!self.contacted(), "{what}: somebody was contacted");
        assert_eq!(before, self.files(), "{what}: something was written");
    }
}

/// Nothing in a text can steer a terminal.
fn assert_harmless(what: &str, text: &str) {
    let bad = text
        .chars()
        .find(|c| c.is_control() && !matches!(c, '\n' | '\t'));
    assert_eq!(bad, None, "{what}: {text:?}");
}

/// Names as people with bad intentions would write them, in the escapes of YAML and JSON.
fn names() -> Vec<String> {
    let long = "a".repeat(300);
    [
        "a;rm -rf /",
        "../../etc/x",
        "$(id)",
        "`id`",
        &long,
        "a\\u001b[31mb",
        "a\\u0007b",
        "a\\u0000b",
        "a\\nb",
        "a\\rb",
        "a\\tb",
        "a\\u009bb",
        "-oProxyCommand=x",
        "a b",
        "a/b",
        "a'b",
        "a\\\"b",
        "a|b",
        "a&b",
        "a>b",
        "",
    ]
    .map(str::to_owned)
    .to_vec()
}

#[test]
fn hostile_names_in_yaml_are_refused_at_their_place() {
    let alone = Alone::new();
    let host = "all:\n  hosts:\n    web1: {ansible_host: 127.0.0.1, ansible_port: 1}\n";
    // The harmless form is contacted: what follows proves something.
    alone.write("inventory.yml", format!("{host}admins:\n  alice: {{}}\n"));
    let (code, text) = alone.run(&["play", ROLLOUT, "--check"]);
    assert_eq!(code, 4, "{text}");
    assert!(alone.contacted());
    std::fs::remove_file(alone.0.path().join("contacted")).unwrap();
    for name in names() {
        alone.write(
            "inventory.yml",
            format!("{host}admins:\n  \"{name}\": {{email: a@example.com}}\n"),
        );
        alone.assert_refused(&format!("admin {name:?}"), "inventory.yml", &[]);
        alone.write(
            "inventory.yml",
            format!("{host}admins:\n  alice: {{login: \"{name}\"}}\n"),
        );
        alone.assert_refused(&format!("login {name:?}"), "inventory.yml", &[]);
        // A quote, a bar and the like cannot be in a host's name either; a space ends it in other formats.
        alone.write(
            "inventory.yml",
            format!("all:\n  hosts:\n    \"{name}\": {{}}\nadmins:\n  alice: {{}}\n"),
        );
        alone.assert_refused(&format!("host {name:?}"), "inventory.yml", &[]);
    }
}

#[test]
fn hostile_names_in_csv_are_refused_at_their_place() {
    let alone = Alone::new();
    alone.write(
        "inventory.yml",
        "all:\n  hosts:\n    web1: {ansible_host: 127.0.0.1, ansible_port: 1}\n",
    );
    let header = "admin,name,email,groups,hosts,login,language,recipient\n";
    let sources = ["-i", "inventory.yml", "-i", "admins.csv"];
    for name in names() {
        // What YAML writes as an escape stands here as it is.
        let raw: String = serde_json::from_str(&format!("\"{name}\"")).unwrap();
        let cell = raw.replace('"', "\"\"");
        alone.write(
            "admins.csv",
            format!("{header}\"{cell}\",X,x@example.com,,,,,\n"),
        );
        alone.assert_refused(&format!("admin {name:?}"), "admins.csv", &sources);
        if raw.is_empty() {
            // No login is the admin's own name.
            continue;
        }
        alone.write(
            "admins.csv",
            format!("{header}alice,X,x@example.com,,,\"{cell}\",,\n"),
        );
        alone.assert_refused(&format!("login {name:?}"), "admins.csv", &sources);
    }
    for (what, text) in [
        ("no header", "alice,X\n".to_owned()),
        (
            "an unknown column",
            "admin,shoe_size\nalice,42\n".to_owned(),
        ),
        (
            "a row too long",
            format!("{header}alice,X,x@example.com,,,,,,,,\n"),
        ),
        ("an open quote", format!("{header}\"alice,X\n")),
        (
            "twice the same",
            format!("{header}alice,X,,,,,,\nalice,Y,,,,,,\n"),
        ),
        ("a formula", format!("{header}=cmd|' /C calc'!A0,X,,,,,,\n")),
    ] {
        alone.write("admins.csv", text);
        alone.assert_refused(what, "admins.csv", &sources);
    }
    alone.write("admins.csv", b"admin,name\nalice,\xff\xfe\n");
    alone.assert_refused("no UTF-8", "admins.csv", &sources);
}

#[test]
fn hostile_shapes_are_refused_at_their_place_and_cost_little() {
    let alone = Alone::new();
    let mut bomb = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n".to_owned();
    for level in 1..12 {
        let aliases = vec![format!("*a{}", level - 1); 10].join(",");
        writeln!(bomb, "a{level}: &a{level} [{aliases}]").unwrap();
    }
    bomb += "all: {vars: {x: *a11}, hosts: {web1: {}}}\n";
    let hosts = "all: {hosts: {web1: {}}}\n";
    for (what, text) in [
        (
            "a cycle of groups",
            "all:\n  children:\n    a: {children: {b: {}}}\n    b: {children: {a: {}}}\n"
                .to_owned(),
        ),
        (
            "a group that is its own child",
            "a: {children: {a: {}}}\n".to_owned(),
        ),
        (
            "a host twice",
            "all:\n  hosts:\n    web1: {}\n    web1: {}\n".to_owned(),
        ),
        (
            "an admin twice",
            format!("{hosts}admins:\n  alice: {{}}\n  alice: {{}}\n"),
        ),
        (
            "a key twice",
            format!("{hosts}admins:\n  alice: {{login: a, login: root}}\n"),
        ),
        ("an alias bomb", bomb),
        ("an alias to itself", "all: &a {hosts: *a}\n".to_owned()),
        (
            "brackets 20 000 deep",
            format!("all: {}\n", "[".repeat(20_000)),
        ),
        (
            "mappings 20 000 deep",
            format!("all: {}x{}\n", "{a: ".repeat(20_000), "}".repeat(20_000)),
        ),
        (
            "a staircase",
            (0..3000)
                .map(|n| format!("{}a:\n", " ".repeat(n)))
                .collect(),
        ),
        ("a NUL byte", "all:\n  hosts:\n    web1: {}\0\n".to_owned()),
        (
            "an escape",
            "all:\n  hosts:\n    web1: {}\x1b[2J\n".to_owned(),
        ),
        (
            "a range without end",
            "all:\n  hosts:\n    \"web[1:999999999]\": {}\n".to_owned(),
        ),
        (
            "ranges that multiply",
            "all:\n  hosts:\n    \"w[1:9999][1:9999]\": {}\n".to_owned(),
        ),
        (
            "a tag that builds something",
            "all: !!python/object/apply:os.system [id]\n".to_owned(),
        ),
        (
            "an admin who is root",
            format!("{hosts}admins:\n  eve: {{login: root}}\n"),
        ),
        (
            "two admins with one login",
            format!("{hosts}admins:\n  a: {{login: x}}\n  b: {{login: x}}\n"),
        ),
        ("a huge file", "# nothing\n".repeat(4_000_000)),
        ("a huge line", "x".repeat(40_000_000)),
    ] {
        alone.write("inventory.yml", text);
        let start = Instant::now();
        alone.assert_refused(what, "inventory.yml", &[]);
        assert!(
            start.elapsed() < Duration::from_secs(40),
            "{what}: {:?}",
            start.elapsed()
        );
    }
    alone.write("inventory.yml", b"all:\n  hosts:\n    we\xffb1: {}\n");
    alone.assert_refused("no UTF-8", "inventory.yml", &[]);
    std::fs::remove_file(alone.path().join("inventory.yml")).unwrap();
    std::os::unix::fs::symlink("/dev/zero", alone.path().join("inventory.yml")).unwrap();
    let (code, text) = alone.run(&["play", ROLLOUT]);
    assert_eq!(code, 65, "{text}");
    assert!(!alone.contacted());
}

#[test]
fn hostile_arguments_do_not_reach_a_terminal_or_a_host() {
    let alone = Alone::new();
    alone.write(
        "inventory.yml",
        "all: {hosts: {web1: {}}}\nadmins: {alice: {}}\n",
    );
    for args in [
        &["confirm", "a\x1b]0;pwned\x07"][..],
        &["play", "no\x1b[2Jbook.yml"],
        &["--limit", "w\x1b[2J", "play", ROLLOUT],
        &["enroll", "../../etc/x"],
        &["--admins", "$(id)\x1b[2J", "enroll"],
        &["--config", "\x1b[2J.yml", "status"],
        &["--state", "\x1b[2J.db", "status"],
        &["-i", "\x1b[2J.ini", "inventory", "list"],
        &["--identity", "\x1b[2J", "play", "\x1b[2J"],
    ] {
        let (code, text) = alone.run(args);
        assert!(code == 1 || code == 64, "{args:?}: {code} {text:?}");
        assert_harmless(&format!("{args:?}"), &text);
    }
    assert!(!alone.contacted());
}

/// Has root's logins on a host answered by a command of the host's choice.
fn force(host: Host<'_>, script: &str) {
    host.write_file(
        "/usr/local/bin/forced",
        "0755",
        format!("#!/bin/bash\n{script}\n"),
    );
    host.sh("printf 'Match User root\\n  ForceCommand /usr/local/bin/forced\\n' >>/etc/ssh/sshd_config && sshd -t && kill -HUP \"$(cat /run/sshd.pid)\"");
}

/// Runs the program and watches its memory.
fn watched(site: &Site, project: &Project<'_>, args: &[&str]) -> (i32, String, u64) {
    let (code, texts, most) = memory::watched(site.command(project, args));
    (code, texts.concat(), most)
}

#[test]
fn lab_hosts_that_shout_or_lie_harm_nobody() {
    let names = [
        "good", "chatty", "flood", "stderr", "endless", "escapes", "liar", "mute",
    ];
    let suites: Vec<(&str, Suite)> = names.iter().map(|n| (*n, Suite::Bookworm)).collect();
    let site = Site::start(&suites);
    let project = site.project(20);
    // Other hosts than these are asked as the project says.
    let settings: Vec<_> = names.iter().map(|n| (*n, json!({}))).collect();
    project.set_inventory(&json!({
        "all": all(&site.lab, &settings),
        "admins": {"alice": {}},
        "policies": {"default": {"issuer": "Example Corp"}},
    }));
    let escapes = r"\033[2J\033]0;pwned\007\033]52;c;cHduZWQ=\007\302\233\033P1$r\033\\";
    let host = |name| site.host(name);
    // A login shell that greets, before the program's answer, and then works.
    host("chatty").write_file(
        "/root/.bashrc",
        "0644",
        format!("printf '{escapes}\\nWelcome!\\n'; printf '{escapes}' >&2\n"),
    );
    host("chatty").sh("usermod -s /bin/bash root");
    force(
        host("flood"),
        &format!("printf '{escapes}'; head -c 100000000 /dev/zero | tr '\\0' A"),
    );
    force(
        host("stderr"),
        &format!("printf '{escapes}' >&2; head -c 100000000 /dev/zero | tr '\\0' A >&2"),
    );
    force(
        host("endless"),
        &format!("printf 'fleetotp\\t1\\n'; exec yes \"$(printf '{escapes}')\""),
    );
    force(
        host("escapes"),
        &format!("printf 'fleetotp\\t1\\nfail\\t{escapes}\\tno {escapes}\\n'"),
    );
    force(
        host("liar"),
        &format!(
            "printf 'fleetotp\\t1\\nself\\t{escapes}\\nhost\\t{escapes}\\t{escapes}\\tx\\t9999999999999999999999\\nos\\t{escapes}\\nversion\\t{escapes}\\nstat\\t9\\nlines\\t-1\\ngroup\\tfleetotp\\t0\\troot,{escapes}\\ndone\\n'"
        ),
    );
    force(host("mute"), "exit 0");
    for args in [&["-vvv"][..], &["-vvv", "-o", "json", "--diff"]] {
        let (code, text, most) = watched(&site, &project, &[&["play", ROLLOUT], args].concat());
        // One ends without a word, as a lost connection does.
        assert_eq!(code, 6, "{text}");
        assert_harmless("output", &text);
        assert!(most > 0 && most < 200 * 1024, "{most} KiB");
        assert!(text.len() < 200_000, "{} bytes of output", text.len());
        if args.len() == 1 {
            for name in ["flood", "stderr", "endless", "escapes", "liar", "mute"] {
                assert!(
                    text.contains(&format!("fatal: [{name}]: ")),
                    "{name}: {text}"
                );
            }
            for name in ["good", "chatty"] {
                let line = format!("changed: [{name}]");
                assert!(text.contains(&line), "{name}: {text}");
            }
            assert!(
                text.contains("[endless]: FAILED! => the host sent more than"),
                "{text}"
            );
        }
    }
    let (code, text, most) = watched(&site, &project, &["sync", "-vvv"]);
    assert_eq!(code, 6, "{text}");
    assert_harmless("output", &text);
    assert!(most < 200 * 1024, "{most} KiB");
    let status = project.fleetotp(&["status"]).expect_code(0);
    assert_harmless("status", &(status.stdout + &status.stderr));
}
