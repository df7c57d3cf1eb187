//! A reviewer's machine: it has never seen the program, and checks a pack with what its distribution has.

use std::process::{Command, Stdio};

use crate::lab::{Host, Lab, run};

use super::project::Project;

/// What somebody does to a pack, and the words by which the script tells it. The script runs in the pack's directory.
const MANIPULATIONS: &[(&str, &str)] = &[
    (
        "sed -i '1s/.*/x/' reports/rotation-tokens.csv",
        "WRONG  reports/rotation-tokens.csv: FAILED",
    ),
    (
        "sed -i '1s/.*/x/' reports/rotation-tokens.csv; refit",
        "WRONG  the manifest's signature is not good",
    ),
    (
        "echo x >reports/more.csv",
        "WRONG  reports/more.csv is in no manifest",
    ),
    (
        "rm MANIFEST.sha256.sig",
        "WRONG  MANIFEST.sha256.sig is missing",
    ),
    (
        "sed -i '/\"seq\":3,\"v\":1}/d' log/events.jsonl; refit",
        "holds event 4 where 3 is due",
    ),
    (
        "sed -i 's/\"kind\":\"token.issued\"/\"kind\":\"token.expired\"/' log/events.jsonl; refit",
        "the hash does not follow at event ",
    ),
];

/// Makes a signed pack and checks it as an unprivileged user of each host, by its `sh` and by bash, whole and manipulated.
pub(crate) fn check_packs(lab: &Lab, project: &Project<'_>, hosts: &[&str]) {
    let key = project.path().join("audit_key");
    run(Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-f"])
        .arg(&key));
    project.change_settings("#signing_key: state/audit_key", "signing_key: audit_key");
    project
        .fleetotp(&["report", "pack", "--out", "pack"])
        .expect_code(0);
    let public = std::fs::read_to_string(key.with_extension("pub")).unwrap();
    let tar = Command::new("tar")
        .args(["-C", project.path().to_str().unwrap(), "-cf", "-", "pack"])
        .stderr(Stdio::null())
        .output()
        .unwrap();
    assert!(tar.status.success());
    std::thread::scope(|scope| {
        for name in hosts {
            let (tar, public) = (&tar.stdout, &public);
            scope.spawn(move || check_on(lab.host(name), tar, public));
        }
    });
}

fn check_on(host: Host<'_>, tar: &[u8], public: &str) {
    host.sh("useradd -m -s /bin/sh reviewer; ! command -v fleetotp");
    host.write_file("/home/reviewer/pack.tar", "644", tar);
    let signers = format!("# held by us\nops@example.com {public}");
    host.write_file("/home/reviewer/held", "644", signers);
    // Somebody changes the pack, as root; the reviewer has a copy that is read-only for them, and nothing else of it.
    let verify = |change: &str, shell: &str, arguments: &str| {
        let output = host.try_sh(&format!(
            "set -eu; cd /home/reviewer; rm -rf pack; tar -xf pack.tar; cd pack
            refit() {{ cut -d' ' -f3 MANIFEST.sha256 | xargs sha256sum >new; mv new MANIFEST.sha256; }}
            {change}
            chown -R root:root . && chmod -R a+rX,go-w .
            su reviewer -s /bin/sh -c 'cd / && {shell} /home/reviewer/pack/verify.sh {arguments}' 2>&1"
        ));
        let said = String::from_utf8(output.stdout).unwrap();
        (output.status.code(), said)
    };
    for shell in ["sh", "bash", "dash"] {
        let (code, said) = verify("", shell, "/home/reviewer/held");
        assert_eq!(code, Some(0), "{shell}: {said}");
        for wanted in [
            "signed by ops@example.com, a signer of /home/reviewer/held",
            "the log is one chain of ",
            "that is the head which the pack names",
            "Everything that could be checked here is right.",
        ] {
            assert!(said.contains(wanted), "{shell}: {said}");
        }
        assert!(
            !said.contains("WRONG") && !said.contains("not found"),
            "{said}"
        );
    }
    let (code, said) = verify("", "sh", "");
    assert_eq!(code, Some(0), "{said}");
    assert!(
        said.contains("only a file of allowed signers from elsewhere"),
        "{said}"
    );
    for (change, told) in MANIPULATIONS {
        let (code, said) = verify(change, "sh", "/home/reviewer/held");
        assert_eq!(code, Some(1), "{change}: {said}");
        assert!(said.contains(told), "{change}: {said}");
        assert!(
            said.ends_with("This pack is not as it was made.\n"),
            "{said}"
        );
    }
}
