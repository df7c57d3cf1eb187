//! An evidence pack is checked by its own script with stock tools, and every change to it shows.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use fleetotp::report::controls::Controls;
use fleetotp::report::pack::{MANIFEST, NAMESPACE, Pack, SIGNERS};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::support::bare::Bare;

/// Programs that the script may use: nothing of fleetotp's.
const STOCK: &[&str] = &[
    "sh",
    "sha256sum",
    "awk",
    "sort",
    "find",
    "mktemp",
    "sed",
    "head",
    "rm",
    "mkdir",
    "dirname",
    "ssh-keygen",
];

fn key(dir: &Path, name: &str) -> PathBuf {
    let path = dir.join(name);
    let made = Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-C", name, "-f"])
        .arg(&path)
        .status()
        .unwrap();
    assert!(made.success());
    path
}

fn signer(key: &Path) -> String {
    let public = fs::read_to_string(key.with_extension("pub")).unwrap();
    let words: Vec<&str> = public.split_whitespace().collect();
    format!("auditor@example.com {} {}\n", words[0], words[1])
}

fn sign(text: &str, key: &Path, dir: &Path) -> String {
    let file = dir.join("to-sign");
    fs::write(&file, text).unwrap();
    let signature = dir.join("to-sign.sig");
    if signature.exists() {
        fs::remove_file(&signature).unwrap();
    }
    let signed = Command::new("ssh-keygen")
        .args(["-q", "-Y", "sign", "-n", NAMESPACE, "-f"])
        .arg(key)
        .arg(&file)
        .stderr(Stdio::null())
        .status()
        .unwrap();
    assert!(signed.success());
    fs::read_to_string(signature).unwrap()
}

/// Lines of a log of `count` events, as `audit export` writes them, and its head.
fn log(count: u64) -> (String, String) {
    let mut last = "0".repeat(64);
    let mut text = format!(
        "{{\"export\":{{\"from\":1,\"previous\":\"{last}\",\"project\":\"P\",\"to\":{count},\"v\":1}}}}\n"
    );
    for seq in 1..=count {
        let body = format!(
            r#"{{"at":"2026-11-01T00:00:00Z","data":{{"why":"quote \" and \\ and é \",\"hash\":\"00\"}}"}},"kind":"k","seq":{seq},"v":1}}"#
        );
        let mut hash = Sha256::new();
        hash.update(&last);
        hash.update(&body);
        last = data_encoding::HEXLOWER.encode(&hash.finalize());
        text.extend(["{\"event\":", &body, ",\"hash\":\"", &last, "\"}\n"]);
    }
    (text, last)
}

/// Makes a pack of a report and a log, signed where there is a key.
fn pack(dir: &Path, name: &str, key: Option<&Path>) -> PathBuf {
    let place = dir.join(name);
    let (log, head) = log(60);
    let mut pack = Pack::begin(&place).unwrap();
    pack.add("reports/rotation.csv", |out| {
        out.write_all(b"admin\nalice\n")
    })
    .unwrap();
    pack.add("log/events.jsonl", |out| out.write_all(log.as_bytes()))
        .unwrap();
    pack.add("log/head", |out| {
        out.write_all(format!("60 {head}\n").as_bytes())
    })
    .unwrap();
    if let Some(key) = key {
        pack.add(SIGNERS, |out| out.write_all(signer(key).as_bytes()))
            .unwrap();
    }
    let signature = key.map(|key| sign(&pack.manifest(), key, dir));
    pack.finish(signature.as_deref()).unwrap();
    place
}

/// Runs the script with stock programs alone; returns whether it was content, and what it said.
fn verify(dir: &Path, pack: &Path, signers: Option<&Path>) -> (bool, String) {
    let bin = dir.join("bin");
    if !bin.exists() {
        fs::create_dir(&bin).unwrap();
        for name in STOCK {
            let found = ["/usr/bin", "/bin"]
                .map(|d| Path::new(d).join(name))
                .into_iter()
                .find(|p| p.exists())
                .unwrap_or_else(|| panic!("{name} is missing here"));
            std::os::unix::fs::symlink(found, bin.join(name)).unwrap();
        }
    }
    let mut command = Command::new(bin.join("sh"));
    command.env_clear().env("PATH", &bin).current_dir(dir);
    command.arg(pack.join("verify.sh")).args(signers);
    let output = command.output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        output.stderr.is_empty(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let code = output.status.code().unwrap();
    assert!(code == 0 || code == 1, "{code}: {text}");
    (code == 0, text)
}

#[test]
fn a_whole_pack_is_right_by_stock_tools() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let signed_by = key(dir, "auditor");
    let signers = dir.join("held");
    fs::write(&signers, signer(&signed_by)).unwrap();

    let whole = pack(dir, "signed", Some(&signed_by));
    let (right, text) = verify(dir, &whole, Some(&signers));
    assert!(right, "{text}");
    for line in [
        "5 files are those of the manifest",
        "nothing was added",
        "signed by auditor@example.com, a signer of ",
        "one chain of 60 events",
        "the head which the pack names, event 60",
    ] {
        assert!(text.contains(line), "{line} is missing in {text}");
    }
    // A key of the pack itself proves less, and that is said.
    let (right, text) = verify(dir, &whole, None);
    assert!(right, "{text}");
    assert!(text.contains("only a file of allowed signers from elsewhere can tell"));

    let unsigned = pack(dir, "unsigned", None);
    let (right, text) = verify(dir, &unsigned, None);
    assert!(right, "{text}");
    assert!(text.contains("without a signing key"), "{text}");
    assert!(!verify(dir, &unsigned, Some(&signers)).0);
}

/// A manipulation of a pack, and the words by which the script tells it.
type Manipulation = (&'static str, fn(&Path, &Path), &'static str);

#[test]
fn every_manipulation_of_a_pack_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let signed_by = key(dir, "auditor");
    key(dir, "stranger");
    let signers = dir.join("held");
    fs::write(&signers, signer(&signed_by)).unwrap();

    fn edit(file: &Path, from: &str, to: &str) {
        let text = fs::read_to_string(file).unwrap();
        assert!(text.contains(from), "{from}");
        fs::write(file, text.replacen(from, to, 1)).unwrap();
    }
    /// Makes the manifest fit the files again, as someone would who changed them.
    fn refit(pack: &Path) {
        let manifest = fs::read_to_string(pack.join(MANIFEST)).unwrap();
        let fitted: String = manifest
            .lines()
            .filter_map(|line| line.split_once("  "))
            .map(|(_, path)| {
                let hash = Sha256::digest(fs::read(pack.join(path)).unwrap());
                format!("{}  {path}\n", data_encoding::HEXLOWER.encode(&hash))
            })
            .collect();
        fs::write(pack.join(MANIFEST), fitted).unwrap();
    }
    let manipulations: &[Manipulation] = &[
        (
            "a report edited",
            |pack, _| edit(&pack.join("reports/rotation.csv"), "alice", "bob"),
            "reports/rotation.csv: FAILED",
        ),
        (
            "a report and the manifest edited",
            |pack, _| {
                edit(&pack.join("reports/rotation.csv"), "alice", "bob");
                refit(pack);
            },
            "signature is not good",
        ),
        (
            "a file removed",
            |pack, _| fs::remove_file(pack.join("reports/rotation.csv")).unwrap(),
            "reports/rotation.csv: FAILED open or read",
        ),
        (
            "a file added",
            |pack, _| fs::write(pack.join("reports/new.csv"), "x").unwrap(),
            "reports/new.csv is in no manifest",
        ),
        (
            "a link added",
            |pack, _| std::os::unix::fs::symlink("/etc/passwd", pack.join("reports/link")).unwrap(),
            "reports/link is in no manifest",
        ),
        (
            "the signature removed",
            |pack, _| fs::remove_file(pack.join("MANIFEST.sha256.sig")).unwrap(),
            "MANIFEST.sha256.sig is missing",
        ),
        (
            "signed by another key",
            |pack, dir| {
                let stranger = dir.join("stranger");
                fs::write(pack.join(SIGNERS), signer(&stranger)).unwrap();
                refit(pack);
                let text = fs::read_to_string(pack.join(MANIFEST)).unwrap();
                fs::write(
                    pack.join("MANIFEST.sha256.sig"),
                    sign(&text, &stranger, dir),
                )
                .unwrap();
            },
            "not good for any signer of",
        ),
        (
            "an event edited, and the manifest",
            |pack, _| {
                edit(&pack.join("log/events.jsonl"), "2026-11-01", "2026-10-01");
                refit(pack);
            },
            "the hash does not follow at event 1",
        ),
        (
            "an event in the middle removed",
            |pack, _| {
                let file = pack.join("log/events.jsonl");
                let text = fs::read_to_string(&file).unwrap();
                let kept: Vec<&str> = text
                    .lines()
                    .filter(|l| !l.contains(r#""seq":30,"#))
                    .collect();
                fs::write(&file, kept.join("\n") + "\n").unwrap();
            },
            "holds event 31 where 30 is due",
        ),
        (
            "the last events removed",
            |pack, _| {
                let file = pack.join("log/events.jsonl");
                let text = fs::read_to_string(&file).unwrap();
                let kept: Vec<&str> = text.lines().take(50).collect();
                fs::write(&file, kept.join("\n") + "\n").unwrap();
                refit(pack);
            },
            "the pack names another head",
        ),
        (
            "the manifest removed",
            |pack, _| fs::remove_file(pack.join(MANIFEST)).unwrap(),
            "nothing can be checked",
        ),
    ];
    for (number, (what, change, told)) in manipulations.iter().enumerate() {
        let place = pack(dir, &format!("pack{number}"), Some(&signed_by));
        change(&place, dir);
        let (right, text) = verify(dir, &place, Some(&signers));
        assert!(!right, "{what} was not noticed: {text}");
        assert!(text.contains(told), "{what}: {told} is missing in {text}");
    }
}

#[test]
fn a_pack_is_never_mixed_with_another_and_paths_stay_inside() {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().join("there");
    fs::create_dir(&place).unwrap();
    assert!(Pack::begin(&place).is_err());

    let mut pack = Pack::begin(&dir.path().join("new")).unwrap();
    for path in ["../x", "/x", "a//b", ".hidden", "a b", "a\nb", "é", ""] {
        assert!(pack.add(path, |_| Ok(())).is_err(), "{path}");
    }
    drop(pack);
    let left: Vec<_> = fs::read_dir(dir.path()).unwrap().collect();
    assert_eq!(left.len(), 1, "an unfinished pack leaves nothing");
}

#[test]
fn a_project_makes_a_pack_that_is_right_and_answers_what_its_table_says() {
    let bare = Bare::new(&json!({
        "all": {"hosts": {"web1": {}, "web2": {}}},
        "admins": {"alice": {}, "bob": {}},
    }));
    let settings = bare.path().join("fleetotp.yml");
    let text = fs::read_to_string(&settings).unwrap();
    let signed = text.replace("#signing_key: state/audit_key", "signing_key: audit_key");
    assert_ne!(text, signed);
    fs::write(&settings, signed).unwrap();
    let signed_by = key(bare.path(), "audit_key");
    let sheet = bare.enroll("alice", &[]);
    bare.fed(
        &sheet.scan().totp().fresh(),
        &["confirm", "alice", "--no-push"],
    )
    .expect_code(0);
    let place = bare.path().join("evidence/q4");
    bare.run(&["report", "pack", "--out", "evidence/q4", "--check"])
        .expect_code(0)
        .expect_text(&["would write a pack to evidence/q4"]);
    assert!(!place.exists() && bare.events("events.exported").is_empty());
    bare.run(&[
        "report",
        "pack",
        "--out",
        "evidence/q4",
        "--formats",
        "text,csv,json,html,markdown,pdf",
    ])
    .expect_code(0);

    let signers = bare.path().join("held");
    fs::write(&signers, signer(&signed_by)).unwrap();
    let scratch = tempfile::tempdir().unwrap();
    let (right, text) = verify(scratch.path(), &place, Some(&signers));
    assert!(right, "{text}");
    assert!(text.contains("one chain of"), "{text}");
    assert!(text.contains("the head which the pack names"), "{text}");

    // The event log of the pack is an export like any other.
    bare.run(&[
        "audit",
        "verify",
        "--export",
        "evidence/q4/log/events.jsonl",
        "--signer",
        "audit_key.pub",
    ])
    .expect_code(0);

    // Every report in every format, and every place that the table of controls names.
    for report in ["rotation", "revocation", "coverage", "activity", "controls"] {
        for extension in ["txt", "json", "html", "md", "pdf"] {
            let file = place.join(format!("reports/{report}.{extension}"));
            assert!(file.exists(), "{}", file.display());
        }
    }
    for control in Controls::read().unwrap().controls {
        for see in &control.see {
            let parts: Vec<&str> = see.split('.').collect();
            let report = place.join(format!("reports/{}.json", parts[0]));
            if see.contains('/') || !report.exists() {
                assert!(place.join(see).exists(), "{}: {see}", control.id);
                continue;
            }
            let document: Value = serde_json::from_slice(&fs::read(report).unwrap()).unwrap();
            let section = document["sections"]
                .as_array()
                .unwrap()
                .iter()
                .find(|s| s["id"] == parts[1]);
            assert!(section.is_some(), "{}: {see}", control.id);
            if let Some(column) = parts.get(2) {
                let table = place.join(format!("reports/{}-{}.csv", parts[0], parts[1]));
                let text = fs::read_to_string(table).unwrap();
                let header = text.lines().next().unwrap();
                assert!(
                    header.split(',').any(|c| c.trim_matches('"') == *column),
                    "{}: {see}",
                    control.id
                );
            }
        }
    }

    // A pack is not mixed with another, and the log names the one that was made.
    bare.run(&["report", "pack", "--out", "evidence/q4"])
        .expect_code(1)
        .expect_text(&["give another --out"]);
    assert_eq!(bare.events("events.exported").len(), 1);
}

/// What an assessor asks for by number is there, each with what answers it and what is not claimed. That the places exist
/// is looked at in a pack, above.
#[test]
fn every_control_that_is_promised_is_in_the_table() {
    let controls = Controls::read().unwrap().controls;
    for (framework, wanted) in [
        (
            "NIST SP 800-53",
            &[
                "IA-2(1)", "IA-2(2)", "IA-2(8)", "IA-5", "AC-2(3)", "AU-2", "AU-3", "AU-8", "AU-9",
                "AU-10", "AU-12",
            ][..],
        ),
        (
            "PCI DSS 4",
            &[
                "8.2.1", "8.2.4", "8.2.5", "8.2.6", "8.3.2", "8.3.3", "8.3.11", "8.4.1", "8.4.2",
                "8.4.3", "8.5.1",
            ],
        ),
        ("SOC 2", &["CC6.1", "CC6.2", "CC6.3"]),
        (
            "ISO/IEC 27001",
            &["A.5.16", "A.5.17", "A.5.18", "A.8.2", "A.8.5", "A.8.15"],
        ),
        (
            "HIPAA",
            &[
                "164.312(a)(2)(i)",
                "164.312(b)",
                "164.312(c)(1)",
                "164.312(d)",
            ],
        ),
    ] {
        let there: Vec<&str> = controls
            .iter()
            .filter(|c| c.framework.starts_with(framework))
            .flat_map(|c| c.id.split(", "))
            .collect();
        for id in wanted {
            assert!(there.contains(id), "{framework} {id}: {there:?}");
        }
    }
    for control in &controls {
        let id = &control.id;
        assert!(
            !control.see.is_empty() && control.asks.ends_with('?'),
            "{id}"
        );
        assert!(control.not_claimed.len() > 10, "{id}");
    }
    // Wherever a control is about how people prove who they are, the table says what a code cannot do.
    let not_claimed = |id: &str| {
        let found = controls.iter().find(|c| c.id.split(", ").any(|i| i == id));
        &found.unwrap().not_claimed
    };
    for id in ["IA-2(1)", "A.8.5", "8.4.2", "CC6.1", "164.312(d)"] {
        assert!(not_claimed(id).contains("phishing-resistant"), "{id}");
    }
}

#[test]
fn the_table_of_controls_can_be_read() {
    let controls = Controls::read().unwrap();
    assert!(
        controls
            .general
            .iter()
            .any(|g| g.contains("not phishing-resistant"))
    );
    assert!(
        controls
            .controls
            .iter()
            .all(|c| !c.see.is_empty() && !c.not_claimed.is_empty())
    );
}
