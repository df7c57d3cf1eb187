//! Secrets travel on standard input only: everything is run at `-vvv`, and everything it leaves or shows meanwhile is
//! searched for every key, every code and every password.

use std::collections::HashSet;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use data_encoding::{BASE32_NOPAD, BASE64_NOPAD, BASE64URL_NOPAD, HEXLOWER, HEXUPPER};
use fleetotp::clock::{Clock as _, SystemClock};
use regex::bytes::Regex;
use serde_json::json;

use crate::lab::{Suite, oathtool};
use crate::lab_recovery::scratch_codes;
use crate::recovery;
use crate::support::faults::Site;
use crate::support::project::{Project, ROLLOUT, Ran, Sheet, all};

const SUDO_PASSWORD: &str = "correct-Horse.battery-staple";

/// What must be found nowhere.
#[derive(Default)]
struct Needles {
    texts: Vec<(String, Regex)>,
    codes: Vec<(String, Regex)>,
}

impl Needles {
    fn add(&mut self, what: &str, bytes: impl Into<Vec<u8>>) {
        self.texts.push((what.to_owned(), literal(&bytes.into())));
    }

    /// A key in every form somebody could write it in by mistake.
    fn add_key(&mut self, what: &str, base32: &str) {
        let raw = BASE32_NOPAD.decode(base32.as_bytes()).unwrap();
        let groups: Vec<&str> = (0..base32.len())
            .step_by(4)
            .map(|at| &base32[at..(at + 4).min(base32.len())])
            .collect();
        let decimal: Vec<String> = raw.iter().map(u8::to_string).collect();
        for form in [
            base32.to_owned(),
            base32.to_lowercase(),
            groups.join(" "),
            HEXLOWER.encode(&raw),
            HEXUPPER.encode(&raw),
            // The end depends on what follows, also on a line end that was encoded with it.
            BASE64_NOPAD.encode(&raw)[..20].to_owned(),
            BASE64URL_NOPAD.encode(&raw)[..20].to_owned(),
            BASE64_NOPAD.encode(base32.as_bytes())[..40].to_owned(),
            decimal.join(", "),
        ] {
            self.add(what, form);
        }
        self.add(what, raw);
    }

    fn add_code(&mut self, code: String) {
        let searched = literal(code.as_bytes());
        self.codes.push((code, searched));
    }

    /// The codes on a sheet's second page.
    fn add_codes(&mut self, sheet: &Sheet) {
        let codes = recovery::codes(sheet);
        assert_eq!(codes.len(), 3, "{codes:?}");
        for code in codes {
            let bare = code.replace('-', "");
            self.add("recovery code", code.to_lowercase());
            self.add("recovery code", code);
            self.add("recovery code", bare.to_lowercase());
            self.add("recovery code", bare);
        }
        let scratch = scratch_codes(sheet);
        assert_eq!(scratch.len(), 2, "{scratch:?}");
        scratch.into_iter().for_each(|code| self.add_code(code));
    }

    /// The needles that stand in a text.
    fn found_in(&self, haystack: &[u8]) -> Vec<String> {
        let mut found: Vec<String> = self
            .texts
            .iter()
            .filter(|(_, needle)| needle.is_match(haystack))
            .map(|(what, _)| what.clone())
            .collect();
        for (code, searched) in &self.codes {
            // Six digits stand in many a number and hash: only a word of its own is a code.
            let alone = |index: Option<usize>| {
                index
                    .and_then(|i| haystack.get(i))
                    .is_none_or(|b| !b.is_ascii_alphanumeric())
            };
            if searched
                .find_iter(haystack)
                .any(|it| alone(it.start().checked_sub(1)) && alone(Some(it.end())))
            {
                found.push(format!("code {code}"));
            }
        }
        found
    }
}

/// These bytes and nothing else. A loop of this test's own takes a minute where the library's takes a second.
fn literal(bytes: &[u8]) -> Regex {
    let escaped: String = bytes.iter().map(|b| format!("\\x{b:02x}")).collect();
    Regex::new(&format!("(?-u){escaped}")).unwrap()
}

/// Looks at every process that the program has started here, and at all of lab hosts, again and again; and at files
/// that may be there for a moment only. Other processes of this machine are nobody's business.
struct Sampler {
    stop: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<(HashSet<Vec<u8>>, u32)>,
}

impl Sampler {
    fn start(mark: (&str, &str), directories: Vec<std::path::PathBuf>) -> Self {
        let mark = format!("{}={}", mark.0, mark.1).into_bytes();
        let own_world = std::fs::read_link("/proc/self/ns/pid").unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            let (mut seen, mut rounds) = (HashSet::new(), 0);
            while !stopped.load(Ordering::Relaxed) {
                for entry in std::fs::read_dir("/proc").unwrap().flatten() {
                    let number = entry.file_name().to_string_lossy().parse::<u32>();
                    if number.is_err() {
                        continue;
                    }
                    let read = |file| std::fs::read(entry.path().join(file)).unwrap_or_default();
                    let (words, environment) = (read("cmdline"), read("environ"));
                    let link = |file| std::fs::read_link(entry.path().join(file));
                    let on_a_host = link("ns/pid").is_ok_and(|world| world != own_world)
                        || link("root").is_ok_and(|root| root != Path::new("/"));
                    if on_a_host || environment.split(|b| *b == 0).any(|v| v == mark) {
                        seen.insert(words);
                        seen.insert(environment);
                    }
                }
                for directory in &directories {
                    files_below(directory, &mut |_, bytes| {
                        seen.insert(bytes);
                    });
                }
                rounds += 1;
            }
            (seen, rounds)
        });
        Self { stop, thread }
    }

    fn end(self) -> (HashSet<Vec<u8>>, u32) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

/// Every file below a directory, as far as it is still there when its turn comes.
fn files_below(directory: &Path, take: &mut dyn FnMut(&Path, Vec<u8>)) {
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        let Ok(kind) = entry.file_type() else {
            continue;
        };
        if kind.is_dir() {
            files_below(&entry.path(), take);
        } else if kind.is_file()
            && let Ok(bytes) = std::fs::read(entry.path())
        {
            take(&entry.path(), bytes);
        }
    }
}

/// What was printed by all commands so far.
struct Transcript<'a> {
    site: &'a Site,
    project: &'a Project<'a>,
    text: Vec<u8>,
}

impl Transcript<'_> {
    fn run(&mut self, line: Option<&str>, args: &[&str]) -> Ran {
        use std::io::Write as _;
        let mut command = self
            .site
            .command(self.project, &[args, &["-vvv", "--diff"]].concat());
        let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
        let mut pipe = child.stdin.take().unwrap();
        if let Some(line) = line {
            writeln!(pipe, "{line}").unwrap();
        }
        drop(pipe);
        let output = child.wait_with_output().unwrap();
        self.text.extend_from_slice(&output.stdout);
        self.text.extend_from_slice(&output.stderr);
        let ran = Ran {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        };
        assert!(!ran.stderr.is_empty() || !ran.stdout.is_empty(), "{args:?}");
        ran
    }
}

#[test]
fn lab_secrets_are_nowhere_but_in_state_files_and_sheets() {
    let site = Site::start(&[("web1", Suite::Bookworm), ("web2", Suite::Trixie)]);
    let deploy = site.lab.key_pair("deploy");
    site.host("web2")
        .add_user_with_password("deploy", &deploy, SUDO_PASSWORD);
    site.host("web2").sh("usermod -aG sudo deploy");
    // It is root on web1 without a password, and later the account of fleetotp itself there.
    let robot = site.lab.key_pair("robot");
    site.host("web1").add_sudo_user("robot", &robot);
    let project = site.project(60);
    let inventory = |web1: &serde_json::Value| {
        json!({
            "all": all(&site.lab, &[
                ("web1", web1.clone()),
                ("web2", json!({
                    "ansible_user": "deploy",
                    "ansible_ssh_private_key_file": deploy.private,
                    "ansible_become": true,
                    "ansible_become_password": SUDO_PASSWORD,
                })),
            ]),
            "admins": {"alice": {}, "bob": {}, "robot": {"hosts": "web1"}},
            "policies": {"default": {"issuer": "Example Corp", "recovery_codes": 3, "scratch_codes": 2, "services": ["sshd", "sudo"]}},
        })
    };
    project.set_inventory(&inventory(&json!({})));
    let mut needles = Needles::default();
    needles.add("sudo password", SUDO_PASSWORD);
    let identity = std::fs::read_to_string(project.path().join("state/identity.txt")).unwrap();
    let identity = identity
        .lines()
        .find(|l| l.starts_with("AGE-SECRET-KEY-1"))
        .unwrap();
    needles.add("identity", identity);
    let sampler = Sampler::start(
        site.mark(),
        vec![
            site.temporary_directory().to_owned(),
            project.path().join("state"),
        ],
    );
    // The sampler sees what it is meant to see: a key among a program's arguments, and one in its environment.
    let planted = [
        "PLANTEDKEYINANARGUMENTAAAAAAAAAA",
        "PLANTEDKEYINTHEENVIRONMENTAAAAAA",
    ];
    let mut sleeper = Command::new("sh")
        .args(["-c", "sleep 0.3", planted[0]])
        .env("PLANTED", planted[1])
        .env(site.mark().0, site.mark().1)
        .spawn()
        .unwrap();

    let mut log = Transcript {
        site: &site,
        project: &project,
        text: Vec::new(),
    };
    let first = log
        .run(None, &["play", ROLLOUT, "-o", "json"])
        .expect_code(0);
    let bobs_sheet = first.sheet("bob", "default");
    needles.add_codes(&first.sheet("alice", "default"));
    needles.add_codes(&bobs_sheet);
    let redeemed = recovery::codes(&bobs_sheet).remove(1);
    let first_alice = first.sheet("alice", "default").scan();
    let bob = bobs_sheet.scan();
    needles.add_key("alice's first key", &first_alice.secret);
    needles.add_key("bob's key", &bob.secret);
    let robots_sheet = first.sheet("robot", "default");
    needles.add_codes(&robots_sheet);
    let robots_key = robots_sheet.scan().secret;
    needles.add_key("robot's key", &robots_key);
    let second = log
        .run(None, &["enroll", "alice", "--reissue", "-o", "json"])
        .expect_code(0);
    needles.add_codes(&second.sheet("alice", "default"));
    let alice_scratch = scratch_codes(&second.sheet("alice", "default"));
    let alice = second.sheet("alice", "default").scan();
    needles.add_key("alice's second key", &alice.secret);
    let (mut alice, mut bob) = (alice.totp(), bob.totp());
    for (name, code, args, wanted) in [
        ("alice", alice.wrong(), &["-o", "json"][..], 1),
        ("alice", alice.fresh(), &["-o", "json"], 0),
        ("bob", bob.fresh(), &["-o", "text"], 0),
    ] {
        log.run(Some(&code), &[&["confirm", name], args].concat())
            .expect_code(wanted);
        // What other tests type as well says nothing.
        if code != "000000" {
            needles.add_code(code);
        }
    }
    // A recovery code: a wrong one, then one that is worth a sheet, then the same again.
    for (code, wanted) in [
        ("ZZZZ-7K2M-9QXA-04TB", 1),
        (redeemed.as_str(), 0),
        (redeemed.as_str(), 1),
    ] {
        let ran = log
            .run(Some(code), &["confirm", "bob", "--recovery", "-o", "json"])
            .expect_code(wanted);
        if wanted == 0 {
            let sheet = ran.sheet("bob", "default");
            needles.add_codes(&sheet);
            needles.add_key("bob's second key", &sheet.scan().secret);
        }
    }
    // A sheet with a passphrase that somebody types.
    let phrase = "open-Sesame 12 open-Sesame";
    needles.add("passphrase", phrase);
    log.run(
        Some(phrase),
        &["enroll", "bob", "--lost-device", "--passphrase", "stdin"],
    )
    .expect_code(0);
    for format in ["text", "json"] {
        log.run(None, &["sync", "-o", format]).expect_code(0);
        log.run(None, &["status", "-o", format]).expect_code(0);
        log.run(None, &["play", ROLLOUT, "-o", format])
            .expect_code(0);
        log.run(None, &["play", ROLLOUT, "--check", "-o", format])
            .expect_code(0);
        log.run(None, &["inventory", "show", "-o", format]);
        log.run(None, &["inventory", "list"]);
    }
    // A way in for once: its code is printed once, and only there.
    let shown = log.text.len();
    let granted = log
        .run(
            None,
            &[
                "bypass", "grant", "alice", "--hosts", "web1", "--for", "30m", "--reason", "r",
                "--ticket", "t", "-o", "json",
            ],
        )
        .expect_code(0);
    log.text.truncate(shown);
    log.text.extend_from_slice(granted.stderr.as_bytes());
    let code = granted.json()["codes"][0]["code"]
        .as_str()
        .unwrap()
        .to_owned();
    needles.add_code(code);
    log.run(None, &["bypass", "list"]).expect_code(0);
    let bypass = granted.json()["id"].as_str().unwrap().to_owned();
    log.run(None, &["bypass", "revoke", &bypass, "--reason", "found"])
        .expect_code(0);
    // The life goes on, and ends.
    let rotated = log
        .run(None, &["rotate", "alice", "-o", "json"])
        .expect_code(0);
    let sheet = rotated.sheet("alice", "default");
    needles.add_codes(&sheet);
    needles.add_key("alice's third key", &sheet.scan().secret);
    log.run(
        None,
        &["remove", "all", "--reason", "it was a trial", "--check"],
    )
    .expect_code(0);
    log.run(None, &["revoke", "bob", "--reason", "left"])
        .expect_code(0);
    own_code(&mut log, &mut needles, &robots_key);
    project.set_inventory(&inventory(&json!({
        "ansible_user": "robot",
        "ansible_ssh_private_key_file": robot.private,
        "ansible_become": true,
    })));
    log.run(None, &["sync", "-l", "web1"]).expect_code(0);
    let auth_log = site.host("web1").read_file("/var/log/auth.log");
    assert!(auth_log.contains("Accepted keyboard-interactive/pam for robot"));
    let output = std::mem::take(&mut log.text);
    assert!(output.len() > 5_000, "{} bytes of output", output.len());
    sleeper.wait().unwrap();
    let (samples, rounds) = sampler.end();
    assert!(rounds > 50, "{rounds} looks at the processes");
    for key in planted {
        let key_bytes = literal(key.as_bytes());
        let seen = samples.iter().any(|s| key_bytes.is_match(s));
        assert!(seen, "{key} was not seen");
    }
    let program = literal(b"fleetotp\0");
    assert!(
        samples.iter().any(|s| s.starts_with(b"ssh\0-M"))
            && samples.iter().any(|s| program.is_match(s)),
        "neither ssh nor the program on a host was seen"
    );

    // `inventory list` is Ansible's own output, which shows what the inventory holds.
    let inventory_texts = |found: &mut Vec<String>| found.retain(|what| what != "sudo password");
    let mut found = needles.found_in(&output);
    if needles_in_listing(&project) {
        inventory_texts(&mut found);
    }
    assert_eq!(found, Vec::<String>::new(), "in the output");
    let public = literal(b"# public key: age1");
    for sample in &samples {
        let mut found = needles.found_in(sample);
        // The identity's own file is among those that are looked at.
        if public.is_match(sample) || sample.starts_with(b"#") {
            found.retain(|what| what != "identity");
        }
        // Only how it begins: what else is in there need not be in a report.
        let start = String::from_utf8_lossy(&sample[..sample.len().min(40)]).into_owned();
        assert_eq!(found, Vec::<String>::new(), "in {start:?}...");
    }
    let sheets = project.path().join("sheets");
    files_below(&project.path(), &mut |path, bytes| {
        if path.starts_with(&sheets) {
            return;
        }
        let mut found = needles.found_in(&bytes);
        found.retain(|what| match what.as_str() {
            "identity" => !path.ends_with("state/identity.txt"),
            "sudo password" => !path.ends_with("inventory.yml"),
            _ => true,
        });
        assert_eq!(found, Vec::<String>::new(), "in {}", path.display());
    });
    for host in site.each() {
        let everything = "find /var /tmp /etc /run /root /home /dev/shm -xdev -type f -not -path '/var/lib/google-authenticator/*' -not -path '/var/lib/dpkg/*' -not -path '/var/cache/*' -not -path '/usr/*' -newer /etc/machine-id -exec cat {} +";
        let bytes = host
            .command(&["sh", "-c", everything])
            .output()
            .unwrap()
            .stdout;
        assert!(bytes.len() > 1000, "{} bytes on a host", bytes.len());
        assert_eq!(needles.found_in(&bytes), Vec::<String>::new(), "on a host");
        // Here they are: the search finds what is there.
        let states = host
            .command(&["sh", "-c", "cat /var/lib/google-authenticator/current/*"])
            .output()
            .unwrap()
            .stdout;
        assert!(
            needles
                .found_in(&states)
                .contains(&"alice's second key".to_owned())
        );
        for code in &alice_scratch {
            assert!(literal(code.as_bytes()).is_match(&states));
        }
    }
}

/// Confirms the token of what is to be fleetotp's own account. The codes that fleetotp may give for it next are searched for.
fn own_code(log: &mut Transcript<'_>, needles: &mut Needles, key: &str) {
    let now = || SystemClock.now().as_second();
    // An earlier step's code, so that this one is left; early in a step, so that it is not two steps ago.
    while now() % 30 > 20 {
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    let codes: Vec<String> = (-1..2).map(|n| oathtool(key, now() + 30 * n)).collect();
    log.run(Some(&codes[0]), &["confirm", "robot"])
        .expect_code(0);
    codes.into_iter().for_each(|code| needles.add_code(code));
    log.project
        .change_settings("#own_token: automation", "own_token: robot");
}

/// Whether `inventory list` shows the password, as Ansible's does.
fn needles_in_listing(project: &Project<'_>) -> bool {
    let list = project.fleetotp(&["inventory", "list"]);
    list.stdout.contains(SUDO_PASSWORD)
}

#[test]
fn the_search_finds_every_form_that_is_planted() {
    let key = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP";
    let mut needles = Needles::default();
    needles.add_key("key", key);
    needles.add_code("123456".to_owned());
    assert_eq!(
        needles.found_in(b"nothing 1234567 a123456 0.123456789"),
        Vec::<String>::new()
    );
    for planted in [
        format!("secret={key}&issuer"),
        format!("{{\"key\": \"{}\"}}", key.to_lowercase()),
        "JBSW Y3DP EHPK 3PXP JBSW Y3DP EHPK 3PXP".to_owned(),
        "48656c6c6f21deadbeef48656c6c6f21deadbeef".to_owned(),
        "48656C6C6F21DEADBEEF48656C6C6F21DEADBEEF".to_owned(),
        BASE64_NOPAD.encode(b"Hello!\xde\xad\xbe\xefHello!\xde\xad\xbe\xef\n"),
        BASE64_NOPAD.encode(format!("{key}\n").as_bytes()),
        format!("{:?}", b"Hello!\xde\xad\xbe\xefHello!\xde\xad\xbe\xef"),
        "code=123456\n".to_owned(),
    ] {
        assert_eq!(needles.found_in(planted.as_bytes()).len(), 1, "{planted}");
    }
    let raw = b"\0Hello!\xde\xad\xbe\xefHello!\xde\xad\xbe\xef\0";
    assert_eq!(needles.found_in(raw), ["key"]);
}
