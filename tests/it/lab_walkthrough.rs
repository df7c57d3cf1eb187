//! The walk-through in docs/walkthrough.md: its commands are run on real hosts, and say what stands there.
//!
//! `FLEETOTP_UPDATE_DOCS=1` writes what they say into the document instead of comparing it.

use std::fs;
use std::io::{Read as _, Seek as _, Write as _};
use std::path::Path;
use std::process::Stdio;

use regex::Regex;

use crate::lab::{Suite, typed};
use crate::support::faults::{Site, assert_nothing_open, login_texts};
use crate::support::project::{Project, scan};

const DOCUMENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/walkthrough.md");

/// A stack that lets everybody in but members: only a login by one shows it.
const POISON: &str = "account required pam_succeed_if.so quiet user notingroup fleetotp";

#[test]
fn lab_the_walkthrough_says_what_the_program_says() {
    let site = Site::start(&[
        ("web1", Suite::Bullseye),
        ("web2", Suite::Bookworm),
        ("db1", Suite::Bookworm),
        ("db2", Suite::Trixie),
    ]);
    let web2 = site.host("web2");
    web2.sh(&format!("echo '{POISON}' >>/etc/pam.d/sshd"));
    let before = login_texts(web2);
    let project = site.project(60);
    let text = fs::read_to_string(DOCUMENT).expect("the document is there");
    lay_out(&site, &project, &text);

    let (mut written, mut commands) = (String::new(), 0);
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        written += line;
        written.push('\n');
        let Some(command) = line.strip_prefix("    $ ") else {
            continue;
        };
        // What stands below a command, up to the next one or the end of the block, is its output.
        while lines.next_if(|l| is_output(l)).is_some() {}
        let output = run(&site, &project, command);
        for line in output.trim_end().lines() {
            written += format!("    {line}").trim_end();
            written.push('\n');
        }
        commands += 1;
        // Reverted by itself, before anybody mended it.
        if command.contains("rollout.yml") && output.contains("[exit code 2]") {
            assert_eq!(login_texts(web2), before);
            assert_nothing_open(web2);
        }
        // `init` has made the settings that name the inventory.
        if command == "fleetotp init" {
            project.change_settings("  - hosts.ini", "  - hosts.ini\n  - admins.yml");
        }
        if lines.peek().is_some_and(|l| !l.starts_with("    ")) {
            written.push('\n');
        }
    }
    assert!(commands > 10, "only {commands} commands were found");
    for wanted in [
        "fatal: [web2]: FAILED! => a member with key and right code was refused; it has been reverted",
        "confirmed: alice in realm prod",
        "confirmed: bob in realm prod",
        "100.0 %",
        "9 of 9 logins ended as they must",
        "[exit code 8]",
    ] {
        assert!(written.contains(wanted), "{wanted} is not in\n{written}");
    }
    if std::env::var_os("FLEETOTP_UPDATE_DOCS").is_some() {
        fs::write(DOCUMENT, &written).expect("the document can be written");
        return;
    }
    let (shown, real) = (normal(&text), normal(&written));
    for (shown, real) in shown.lines().zip(real.lines()) {
        assert_eq!(shown, real, "docs/walkthrough.md differs:\n{written}");
    }
    assert_eq!(shown.lines().count(), real.lines().count(), "{written}");
}

/// Whether a line of the document belongs to the output of the command above it.
fn is_output(line: &str) -> bool {
    line.is_empty() || (line.starts_with("    ") && !line.starts_with("    $ "))
}

/// The team's project before fleetotp: the document's inventory, and where this lab has its hosts.
fn lay_out(site: &Site, project: &Project<'_>, text: &str) {
    let at = project.path();
    fs::remove_dir_all(&at).expect("it is ours");
    fs::create_dir_all(at.join("group_vars")).expect("it is ours");
    fs::create_dir_all(at.join("host_vars")).expect("it is ours");
    fs::create_dir_all(at.join("playbooks")).expect("it is ours");
    let write = |name: &str, text: &str| fs::write(at.join(name), text).expect("it is ours");
    write("hosts.ini", &block(text, "ini"));
    write("admins.yml", &block(text, "yaml"));
    let key = site.lab.root_key();
    write(
        "group_vars/all.yml",
        &format!(
            "ansible_user: root\nansible_ssh_private_key_file: {}\n",
            key.display()
        ),
    );
    for name in &site.hosts {
        let host = site.host(name);
        let variables = format!(
            "ansible_host: {}\nansible_port: {}\n",
            host.address(),
            host.port()
        );
        write(&format!("host_vars/{name}.yml"), &variables);
    }
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("playbooks");
    for name in ["rollout.yml", "drift.yml"] {
        fs::copy(shipped.join(name), at.join("playbooks").join(name)).expect("it is shipped");
    }
}

/// The document's first block of a kind.
fn block(text: &str, kind: &str) -> String {
    let regex = Regex::new(&format!("(?ms)^```{kind}\n(.*?)^```")).expect("a pattern");
    let found = regex.captures(text).expect("the document has one");
    found[1].to_owned()
}

/// What one command of the document prints and says, in that order of time, and its exit code where that is not 0.
fn run(site: &Site, project: &Project<'_>, command: &str) -> String {
    if let Some(remote) = command.strip_prefix("ssh root@") {
        let (host, script) = remote.split_once(' ').expect("a host and a command");
        return site.host(host).sh(script.trim_matches('"'));
    }
    if let Some((whole, lines)) = command.split_once(" | head -") {
        let count = lines.parse().expect("a number of lines");
        let output = run(site, project, whole);
        return output.split_inclusive('\n').take(count).collect();
    }
    let words: Vec<&str> = command.split_whitespace().collect();
    assert_eq!(words[0], "fleetotp", "{command}");
    let mut file = tempfile::tempfile().expect("a file can be made");
    let mut child = project
        .command(&words[1..])
        .stdin(Stdio::piped())
        .stdout(file.try_clone().expect("a file"))
        .stderr(file.try_clone().expect("a file"))
        .spawn()
        .expect("the program starts");
    let mut pipe = child.stdin.take().expect("stdin is a pipe");
    if words[1] == "confirm" {
        let code = code_of(project, words[2]);
        drop(writeln!(pipe, "{code}"));
    }
    drop(pipe);
    let status = child.wait().expect("the program ends");
    let mut output = String::new();
    file.rewind().expect("a file");
    file.read_to_string(&mut output).expect("text");
    match status.code() {
        Some(0) => output,
        code => format!("{output}[exit code {}]\n", code.unwrap_or(-1)),
    }
}

/// What an admin's app shows, who has scanned the sheet.
fn code_of(project: &Project<'_>, admin: &str) -> String {
    let sheets = project.sheet_files();
    let pdfs = sheets
        .iter()
        .filter(|p| p.extension().is_some_and(|e| e == "pdf"));
    let mine = pdfs.map(|p| scan(p)).find(|s| s.uri.contains(admin));
    let code = mine.expect("there is a sheet").totp().fresh();
    typed(&code);
    code
}

/// Text without what differs by run. Columns are as wide as what stands in them, so runs of spaces count as one.
fn normal(text: &str) -> String {
    let mut text = text.to_owned();
    for (pattern, by) in [
        (r"\b([A-Z])-[0-9A-Z]{6,}\b", "$1-ID"),
        (r"\bage1[0-9a-z]{50,}\b", "age1KEY"),
        (r"\b20\d\d-\d\d-\d\dT[\d:.]+Z", "TIME"),
        (r"\b20\d\d-\d\d-\d\d\b", "DATE"),
        (r"\b\d\d:\d\d(:\d\d)?Z?\b", "CLOCK"),
        (r"\b\d+\.\d+\.\d+\.\d+(:\d+)?\b", "ADDRESS"),
        (r"\b[\d.]+ ?(MiB|GiB)\b", "SIZE"),
        (r"\b(\d+d)?(\d+h)?(\d+m)?(\d+(\.\d+)?m?s)?\b", "SPAN"),
        (r"\b[0-9a-f]{12,}\b", "HASH"),
        (r"-{3,}|\*{3,}", "RULE"),
        (r" +", " "),
    ] {
        let regex = Regex::new(pattern).expect("a pattern");
        text = regex
            .replace_all(&text, |found: &regex::Captures<'_>| {
                if found[0].is_empty() {
                    return String::new();
                }
                let mut to = String::new();
                found.expand(by, &mut to);
                to
            })
            .into_owned();
    }
    text
}
