//! docs/distributions.md says what was logged in to and what was only planned: it is held to the cases and to the lab's roots.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use regex::Regex;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(ROOT).join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

/// The debootstrap suites that the lab has roots of, as directories of cases are named.
fn lab_roots() -> BTreeSet<String> {
    let text = read("tests/lab/roots.sh");
    let suites = Regex::new(r"LAB_SUITES=\(([^)]*)\)").unwrap();
    suites.captures(&text).unwrap()[1]
        .split_whitespace()
        .map(|suite| match suite {
            "bullseye" => "debian-11".to_owned(),
            "bookworm" => "debian-12".to_owned(),
            "trixie" => "debian-13".to_owned(),
            other => panic!("{other} is no suite that docs/distributions.md knows"),
        })
        .collect()
}

#[test]
fn the_table_is_what_cases_and_lab_have() {
    let row = Regex::new(r"(?m)^\| [^|]+ \| `([a-z0-9.-]+)` \|.*\| (logged in|planned only) \|$")
        .unwrap();
    let text = read("docs/distributions.md");
    let table: BTreeMap<String, bool> = row
        .captures_iter(&text)
        .map(|found| (found[1].to_owned(), &found[2] == "logged in"))
        .collect();
    let roots = lab_roots();
    let cases: BTreeMap<String, bool> = fs::read_dir(Path::new(ROOT).join("tests/plan"))
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.path().is_dir())
        .map(|entry| {
            let name = entry.file_name().into_string().unwrap();
            let in_lab = roots.contains(&name);
            (name, in_lab)
        })
        .collect();
    assert_eq!(table, cases);
    for (name, in_lab) in &cases {
        let dir = Path::new(ROOT).join("tests/plan").join(name);
        let yml = |e: &fs::DirEntry| e.path().extension().is_some_and(|x| x == "yml");
        let count = fs::read_dir(&dir)
            .unwrap()
            .filter(|e| yml(e.as_ref().unwrap()))
            .count();
        assert!(count >= 3, "{name} has {count} cases");
        // Only a host of the lab can have said what it looks like afterwards.
        assert_eq!(dir.join("done.answer").exists(), *in_lab, "{name}");
    }
}

/// A test that is renamed must not leave the matrix in silence, and each runs on all releases.
#[test]
fn the_matrix_has_tests_on_every_release() {
    let filter = read(".config/nextest.toml");
    let filter = filter
        .split("[profile.matrix]")
        .nth(1)
        .expect("there is a profile");
    let named = Regex::new(r"test\(=(lab_\w+)::(\w+)\)").unwrap();
    let tests: Vec<_> = named.captures_iter(filter).collect();
    assert!(tests.len() >= 4, "{tests:?}");
    for found in tests {
        let text = read(&format!("tests/it/{}.rs", &found[1]));
        assert!(
            text.contains(&format!("fn {}()", &found[2])),
            "{}",
            &found[0]
        );
        for suite in ["Bullseye", "Bookworm", "Trixie"] {
            assert!(
                text.contains(&format!("Suite::{suite}")),
                "{} {suite}",
                &found[1]
            );
        }
    }
}
