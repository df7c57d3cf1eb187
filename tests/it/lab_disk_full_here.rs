//! The disk of the machine that runs fleetotp is full at each write: no sheet is handed out that the ledger does not know,
//! no file is cut off, and with room again the next run completes.

use std::path::Path;
use std::process::Command;

use fleetotp::token::secret::fingerprint_of;
use serde_json::json;

use crate::support::bare::Bare;
use crate::support::project::{Ran, scan};

/// Runs a program in a copy of `$FROM` on a disk of its own, which has room for so many pages more; keeps what came of it.
const ON_A_SMALL_DISK: &str = r#"
    set -e
    mount -t tmpfs -o mode=0700 small "$AT"
    cp -a "$FROM/." "$AT/"
    cd "$AT"
    set -- $(stat -f -c '%b %f' .) "$@"
    mount -o remount,size=$((($1 - $2 + $LEFT) * 4))k "$AT"
    shift 2
    status=0
    "$@" || status=$?
    mount -o remount,size=256m "$AT"
    cp -a "$AT/." "$OUT/"
    exit $status
"#;

fn issue(from: &Path, at: &Path, out: &Path, left: usize) -> Ran {
    let output = Command::new("unshare")
        .args([
            "--mount",
            "--propagation",
            "private",
            "sh",
            "-c",
            ON_A_SMALL_DISK,
            "sh",
        ])
        .args([env!("CARGO_BIN_EXE_fleetotp"), "enroll", "--no-push"])
        .env_clear()
        .env("PATH", "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin")
        .env("USER", "tester")
        .envs([("FROM", from), ("AT", at), ("OUT", out)])
        .env("LEFT", left.to_string())
        .output()
        .expect("unshare (util-linux) and root are needed");
    Ran::of(&output)
}

/// The first digits of the SHA-256 of each key that a whole sheet shows.
fn on_sheets(project: &Bare) -> Vec<String> {
    let whole = project.sheet_files().into_iter().filter(|path| {
        let name = path.file_name().and_then(|n| n.to_str()).unwrap();
        !name.starts_with('.')
    });
    let mut keys: Vec<String> = whole
        .map(|path| fingerprint_of(scan(&path).secret.as_bytes()))
        .collect();
    keys.sort();
    keys
}

fn in_ledger(project: &Bare) -> Vec<String> {
    let rows = project
        .sql("SELECT fingerprint FROM generation WHERE state = 'pending' ORDER BY fingerprint");
    rows.lines().map(str::to_owned).collect()
}

#[test]
fn lab_issuing_on_a_disk_that_runs_full_at_each_write() {
    let inventory = json!({
        "all": {"hosts": {"web1": {}}},
        "admins": {"alice": {}, "bob": {}},
        "realms": {"all": {"hosts": "all", "policy": "plain"}},
        "policies": {"plain": {"issuer": "Example Corp"}},
    });
    let first = Bare::new(&inventory);
    let (mut left, mut failed) = (0, Vec::new());
    loop {
        let after = Bare::new(&inventory);
        let out = tempfile::tempdir().unwrap();
        let ran = issue(first.path(), after.path(), out.path(), left);
        // What `init` made there is replaced by what came of it: the ledger knows where its sheets are.
        for name in ["state", "sheets"] {
            let there = after.path().join(name);
            std::fs::remove_dir_all(&there).unwrap();
            std::fs::rename(out.path().join(name), there).unwrap();
        }
        if ran.code == 0 {
            break;
        }
        assert_eq!(ran.code, 1, "{left} pages: {ran:?}");
        assert!(
            ran.stderr.contains("hint: a disk of this machine is full"),
            "{left} pages: {ran:?}"
        );
        let said = ran.stderr.lines().find(|l| l.starts_with("error: "));
        let said = said.unwrap_or_default();
        let said: String = said.chars().take_while(|c| *c != '`').collect();
        println!("{left} pages: {said}");
        if !failed.contains(&said) {
            failed.push(said);
        }
        after.run(&["audit", "verify"]).expect_code(0);
        let known = in_ledger(&after);
        for key in on_sheets(&after) {
            assert!(
                known.contains(&key),
                "{left} pages: a sheet that the ledger does not know"
            );
        }
        after.run(&["enroll", "--no-push"]).expect_code(0);
        assert_eq!(on_sheets(&after), in_ledger(&after), "{left} pages");
        assert_eq!(
            after.sheet_files().len(),
            2,
            "{left} pages: {:?}",
            after.sheet_files()
        );
        left += 7;
        assert!(left < 900, "there is never enough room: {ran:?}");
    }
    println!("{left} pages were enough; {failed:#?}");
    // The ledger's writes and the sheets'.
    assert!(failed.len() >= 2, "{failed:#?}");
}
