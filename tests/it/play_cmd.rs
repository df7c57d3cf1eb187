//! How `play` ends where no host of the lab is needed to tell; `lab_play`, `lab_faults` and `lab_fanout` have the others.

use serde_json::json;

use crate::support::bare::Bare;

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
