//! `fleetotp inventory` with the real program.

use std::path::Path;

use assert_cmd::Command;

/// Runs the program in a directory, without anything of the machine's environment.
fn fleetotp(directory: &Path, arguments: &[&str]) -> (i32, String, String) {
    let output = Command::new(assert_cmd::cargo::cargo_bin!("fleetotp"))
        .args(arguments)
        .current_dir(directory)
        .env_clear()
        .env("HOME", directory)
        .output()
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    let code = output.status.code().unwrap();
    (code, text(output.stdout), text(output.stderr))
}

fn examples() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/examples"))
}

fn shown(arguments: &[&str]) -> String {
    let (code, stdout, stderr) = fleetotp(examples(), arguments);
    assert_eq!((code, stderr.as_str()), (0, ""));
    stdout
}

#[test]
fn the_examples_are_listed_drawn_shown_and_valid() {
    let both = ["-i", "inventory.yml", "-i", "admins.csv"];
    let with = |arguments: &[&'static str]| shown(&[arguments, &both].concat());
    insta::assert_snapshot!(with(&["inventory", "list"]), @r#"
    HOST  ADDRESS      REALM  GROUPS
    web1  deploy@web1  web    web
    web2  deploy@web2  web    web
    db1   deploy@db1   data   db
    "#);
    insta::assert_snapshot!(with(&["inventory", "graph"]), @r#"
    @all:
      |--@ungrouped:
      |--@web:
      |  |--web1
      |  |--web2
      |--@db:
      |  |--db1
    "#);
    insta::assert_snapshot!(with(&["inventory", "show", "chloe"]), @r#"
    admin:
      name: Chloé Lefèvre
      login: chloe
      email: chloe@example.com
      groups: web
      hosts: web
      language: fr
      recipient: -
      realms:
        web: web1, web2
      unmanaged_hosts: none
    "#);
    insta::assert_snapshot!(with(&["inventory", "show", "db1"]), @r#"
    host:
      name: db1
      groups: db
      address: deploy@db1
      sudo: yes
      realm: data
      policy: strict
      admins:
        alice:
          login: alice
        bob:
          login: bob
        dave:
          login: dave
        erin:
          login: ezizkova
    "#);
    insta::assert_snapshot!(with(&["inventory", "validate"]), @r#"
    sources:
      source inventory.yml, kind yaml
      source admins.csv, kind csv
    hosts: 3
    groups: 2
    admins: 5
    realms: 2
    policies: 3
    exemptions: 0
    warnings: none
    "#);
    let list: serde_json::Value =
        serde_json::from_str(&with(&["inventory", "list", "-o", "json"])).unwrap();
    assert_eq!(list["web"]["hosts"], serde_json::json!(["web1", "web2"]));
    let show: serde_json::Value =
        serde_json::from_str(&with(&["inventory", "show", "-o", "json"])).unwrap();
    assert_eq!(show["policies"]["strict"]["enrolment_ttl"], "1d");
    assert_eq!(show["policies"]["strict"]["scratch_codes"], 0);
    assert_eq!(
        show["admins"]["erin"]["realms"]["data"],
        serde_json::json!(["db1"])
    );
}

#[test]
fn errors_name_the_place_and_the_exit_code_says_what_kind() {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(directory.path().join(name), text).unwrap();
    write("inv.yml", "web:\n  hosts:\n    w1:\n    w1:\n");
    let run = |arguments: &[&str]| fleetotp(directory.path(), arguments);
    let (code, stdout, stderr) = run(&["inventory", "validate", "-i", "inv.yml"]);
    assert_eq!((code, stdout.as_str()), (65, ""));
    insta::assert_snapshot!(stderr, @r#"
    error: inv.yml:4:5: duplicate `w1` (first at line 3, column 5)
       |
     4 |     w1:
       |     ^^
    "#);
    let (code, _, stderr) = run(&["inventory", "list", "-i", "nowhere"]);
    assert_eq!(code, 1);
    insta::assert_snapshot!(stderr, @r#"
    error: the inventory source `nowhere` does not exist
    hint: to name a single host, add a comma: -i 'nowhere,'
    "#);
    write("inv.yml", "web: {hosts: {w1: }}\n");
    let (code, _, stderr) = run(&["inventory", "show", "w2", "-i", "inv.yml"]);
    assert_eq!(code, 1);
    insta::assert_snapshot!(stderr, @r#"
    error: there is no host or admin `w2`
    hint: did you mean `w1`?
    "#);
    // The project file names the sources, relative to itself.
    write(
        "fleetotp.yml",
        "inventory: [inv.yml]\nprotected: [deploy]\n",
    );
    let (code, stdout, _) = run(&["inventory", "list"]);
    assert_eq!((code, stdout.lines().count()), (0, 2));
    let (code, _, stderr) = run(&["inventory", "list", "--limit", ""]);
    assert_eq!(code, 64, "{stderr}");
}
