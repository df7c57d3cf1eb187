use std::path::Path;
use std::time::{Duration, Instant};

use super::*;
use crate::error::Error;
use crate::names::Login;

/// Writes files into a directory; those that begin with `#!` become executable.
fn files(files: &[(&str, &str)]) -> tempfile::TempDir {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = dir.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        if text.starts_with("#!") {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        }
    }
    dir
}

fn load_with(dir: &Path, sources: &[&str], options: &LoadOptions<'_>) -> Result<Inventory, Error> {
    let sources: Vec<String> = sources.iter().map(|s| (*s).to_owned()).collect();
    Inventory::load(&sources, dir, options)
}

fn load(dir: &Path, sources: &[&str]) -> Result<Inventory, Error> {
    load_with(dir, sources, &LoadOptions::default())
}

/// Loads one YAML source.
fn yaml(text: &str) -> Result<Inventory, Error> {
    load(files(&[("inv.yml", text)]).path(), &["inv.yml"])
}

/// The report of a source that must be refused with exit code 65.
fn refused(name: &str, text: &str) -> String {
    let error = load(files(&[(name, text)]).path(), &[name])
        .err()
        .unwrap_or_else(|| panic!("accepted: {text}"));
    assert_eq!(error.kind().code(), 65, "{}", error.report());
    error.report()
}

fn names<'a>(hosts: impl IntoIterator<Item = &'a model::Host>) -> String {
    let names: Vec<&str> = hosts.into_iter().map(|h| h.name.as_str()).collect();
    names.join(" ")
}

const HOSTS: &str = "web: {hosts: {w1: , w2: }}\ndb: {hosts: {d1: }}\n";

#[test]
fn wrong_yaml_is_refused_at_its_place() {
    for (text, expected) in [
        (
            "web: {hosts: {w1: }, hosst: {w2: }}\n",
            "inv.yml:1:22: unknown key `hosst` in the group `web`",
        ),
        (
            "web:\n  hosts:\n  - w1\n",
            "inv.yml:3:5: `hosts` is a mapping, not a list",
        ),
        (
            "web:\n  hosts: {1234: }\n",
            "inv.yml:2:11: a host name is text, and this is a whole number",
        ),
        ("web: 5\n", "inv.yml:1:6: the group `web` needs a mapping"),
        (
            "web: {hosts: {h1: }}\nweb: {}\n",
            "inv.yml:2:1: duplicate `web` (first at line 1, column 1)",
        ),
        (
            "web: {hosts: {\"w[3:1]\": }}\n",
            "inv.yml:1:15: the range `[3:1]` is reversed",
        ),
        (
            "a: {children: {b: {children: {a: }}}}\n",
            "inv.yml:1:16: the group `b` would be its own child",
        ),
        (
            "a: {children: {a: }}\n",
            "the group `a` would be its own child",
        ),
        (
            "plugin: aws_ec2\n",
            "inv.yml:1:1: this configures an inventory plugin",
        ),
        ("", "inv.yml: the inventory is empty"),
        (
            "- a\n",
            "inv.yml:1:1: an inventory is a mapping of groups, not a list",
        ),
        (
            "web: {hosts: {\"a;rm -rf /\": }}\n",
            "contains white space or control characters",
        ),
        (
            "web: {hosts: {\"../../etc/x\": }}\n",
            "contains a character that no host name has",
        ),
        (
            "web: {hosts: {\"$(id)\": }}\n",
            "contains a character that no host name has",
        ),
        ("web: {hosts: {\"a\\u001b\": }}\n", "host name `a\\u{1b}`"),
        (
            "\"a\\u001b[2J\": {}\n",
            "the group name `a\\u{1b}[2J` contains control characters",
        ),
        ("\"../x\": {}\n", "the group name `../x` is a path"),
        (
            "web: {hosts: {\"w1:99999\": }}\n",
            "the port 99999 does not exist",
        ),
        (
            "web: {vars: {x: !foo 1}}\n",
            "inv.yml:1:17: the tag `!foo` is not known",
        ),
        ("web: {vars: {x: 2024-02-31}}\n", "this date does not exist"),
        (
            "web: {vars: {x: {1: a, 0x1: b}}}\n",
            "duplicate key: it is written differently",
        ),
        (
            "web: {vars: {ansible_group_priority: high}}\n",
            "needs a whole number",
        ),
        (
            "g: {children: {ungrouped: }}\n",
            "`ungrouped` cannot be a child",
        ),
        (
            "g: {children: {all: }}\n",
            "the group `g` has `all` as a child",
        ),
        ("web: {hosts: {h1: }\n", "wrong YAML"),
        (
            "$ANSIBLE_VAULT;1.1;AES256\n61\n",
            "encrypted with ansible-vault",
        ),
    ] {
        let report = refused("inv.yml", text);
        assert!(report.contains(expected), "{text}: {report}");
    }
    let long = refused(
        "inv.yml",
        &format!("web: {{hosts: {{\"{}\": }}}}\n", "a".repeat(300)),
    );
    assert!(
        long.contains("is longer than 255 bytes") && long.len() < 600,
        "{long}"
    );
}

#[test]
fn a_list_of_hosts_gets_the_hint_it_needs() {
    insta::assert_snapshot!(refused("inv.yml", "web:\n  hosts:\n  - w1\n  - w2\n"), @r"
    error: inv.yml:3:5: `hosts` is a mapping, not a list
       |
     3 |   - w1
       |     ^
    hint: end each name with a colon instead of beginning it with a dash: `w1:`
    ");
}

#[test]
fn wrong_ini_is_refused_at_its_place() {
    for (text, expected) in [
        (
            "[web]\nw1 user deploy\n",
            "hosts:2:4: expected `name=value`, found `user`",
        ),
        (
            "[web:hots]\nw1\n",
            "hosts:1:1: unknown kind of section `:hots`",
        ),
        (
            "[web servers]\nw1\n",
            "hosts:1:1: this is not a section header",
        ),
        (
            "[a:children]\nweb\n",
            "hosts:2:1: the group `web` is not declared",
        ),
        (
            "[web:vars]\nx=1\n",
            "variables of the group `web`, which is not declared",
        ),
        ("[web:vars]\nx\n[web]\n", "hosts:2:1: expected `name=value`"),
        ("[web]\nw1:\n", "hosts:2:1: a host name ends with a colon"),
        ("[web]\n---\n", "`---` begins a YAML file"),
        ("[web]\nw1 a='b\n", "a quote is not closed"),
        ("[web]\nw[2:1]\n", "the range `[2:1]` is reversed"),
        (
            "[a:children]\nb\n[b:children]\na\n",
            "would be its own child",
        ),
        ("# nothing\n", "hosts: the inventory is empty"),
        (
            "[web]\na;rm\n",
            "contains a character that no host name has",
        ),
        ("#!/bin/sh\necho\n", "a script but not executable"),
    ] {
        let dir = files(&[("hosts", text)]);
        // Written as a program by its first line; here the mode is what is wrong.
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
        std::fs::set_permissions(dir.path().join("hosts"), mode).unwrap();
        let error = load(dir.path(), &["hosts"]).unwrap_err();
        assert_eq!(error.kind().code(), 65);
        assert!(
            error.report().contains(expected),
            "{text}: {}",
            error.report()
        );
    }
}

#[test]
fn sources_that_ansible_would_skip_are_errors() {
    let dir = files(&[
        ("inv/a.yml", "web: {hosts: {w1: }}\n"),
        ("inv/b.yml", "broken: ["),
        ("empty/x.md", ""),
    ]);
    let report = |source: &str| load(dir.path(), &[source]).unwrap_err().report();
    assert!(
        report("inv").contains("inv/b.yml:1:10: wrong YAML"),
        "{}",
        report("inv")
    );
    assert!(report("nowhere").contains("`nowhere` does not exist"));
    assert!(report("empty").contains("holds no source"));
    assert!(report(",").contains("names no host"));
    assert!(report("w[1:3],").contains("ranges are not expanded in a host list"));
    assert!(load(dir.path(), &[]).is_err());
    std::fs::write(dir.path().join("latin1"), b"h1 a=\xe9\n").unwrap();
    assert!(report("latin1").contains("latin1:1:1: not valid UTF-8"));
}

#[test]
fn a_file_with_a_password_shows_none_of_its_text() {
    let report = refused(
        "inv.yml",
        "web: {hosts: {w1: {ansible_become_password: hunter2}}, hosst: }\n",
    );
    assert!(report.contains("inv.yml:1:56: unknown key"), "{report}");
    assert!(!report.contains("hunter2"));
    let report = refused("hosts", "w1 ansible_become_password=x hunter2\n");
    assert!(!report.contains("hunter2"), "{report}");
    let dir = files(&[
        ("inv.yml", HOSTS),
        ("group_vars/web.yml", "a: hunter2\na: 1\n"),
    ]);
    let report = load(dir.path(), &["inv.yml"]).unwrap_err().report();
    assert!(
        report.contains("group_vars/web.yml:2:1: duplicate key"),
        "{report}"
    );
    assert!(!report.contains("hunter2"));
}

#[test]
fn scripts_are_run_with_a_deadline_and_their_messages_made_safe() {
    let sources = |text| files(&[("inv.sh", text)]);
    let report = |text| {
        load(sources(text).path(), &["inv.sh"])
            .unwrap_err()
            .report()
    };
    let failed = report("#!/bin/sh\nprintf 'bad\\033[2J thing\\n' >&2; exit 3\n");
    assert!(
        failed.contains("exit status: 3") && failed.contains("bad\\u{1b}[2J thing"),
        "{failed}"
    );
    assert!(report("#!/bin/sh\necho '[1]'\n").contains("printed a list, not an object"));
    assert!(report("#!/bin/sh\necho '{\"a\": '\n").contains("did not print JSON"));
    assert!(
        report("#!/bin/sh\necho '{\"a\": {\"hosts\": [\"x\"]}, \"a\": {}}'\n")
            .contains("duplicate key `a`")
    );
    assert!(report("#!/bin/sh\necho '{\"_meta\": {}}'\n").contains("`_meta` lacks"));
    assert!(
        report("#!/bin/sh\necho '{\"a\": {\"hosts\": \"x\"}}'\n")
            .contains("`hosts` of the group `a` is text")
    );
    assert!(report("#!/bin/sh\nprintf '\\377'\n").contains("not UTF-8"));
    let dir = sources("#!/bin/sh\nexec sleep 60\n");
    let options = LoadOptions {
        script_timeout: Duration::from_millis(200),
        ..LoadOptions::default()
    };
    let started = Instant::now();
    let slow = load_with(dir.path(), &["inv.sh"], &options)
        .unwrap_err()
        .report();
    assert!(slow.contains("did not end within"), "{slow}");
    assert!(started.elapsed() < Duration::from_secs(10));
}

#[test]
fn own_keys_and_groups_of_their_names_are_told_apart() {
    let group = yaml("admins: {hosts: {h1: }}\n").unwrap();
    assert_eq!(names(group.select("admins", None).unwrap()), "h1");
    assert!(group.enrolment().admins.is_empty());
    let report = refused("inv.yml", "admins: {hosts: {h1: }, alice: {}}\n");
    assert!(
        report.contains("inv.yml:1:10: `hosts` here makes `admins` an Ansible group"),
        "{report}"
    );
    let report = refused("inv.yml", "h: {hosts: {h1: }}\nadmins: [alice]\n");
    assert!(
        report.contains("inv.yml:2:9: `admins` is a mapping, not a list"),
        "{report}"
    );
    let report = refused("inv.yml", "polices: {p: {issuer: X}}\n");
    assert!(
        report.contains("unknown key `p` in the group `polices`"),
        "{report}"
    );
}

#[test]
fn enrolment_is_resolved() {
    let inventory = yaml(&format!(
        "{HOSTS}
admins:
  alice: {{hosts: 'web:!w2', groups: [sre, dba]}}
  bob: {{login: b_o_b, groups: dba, name: Bob Žižka}}
realms:
  front: {{hosts: web, policy: strict}}
policies:
  strict: {{issuer: Example, window: 0, enforce_from: 2026-01-31, rate_limit: 5/1m}}
"
    ))
    .unwrap();
    let enrolment = inventory.enrolment();
    let alice = &enrolment.admins["alice"];
    assert_eq!(names(inventory.hosts_of(alice)), "w1");
    assert_eq!(enrolment.admins["bob"].login.as_str(), "b_o_b");
    let host = |name: &str| inventory.host(name).unwrap();
    let front = inventory.realm_of(&host("w1").name).unwrap();
    assert_eq!(
        (front.policy.window, front.policy.rate_limit.seconds),
        (0, 60)
    );
    assert_eq!(
        front.policy.enforce_from.unwrap().to_string(),
        "2026-01-31T00:00:00Z"
    );
    assert!(inventory.realm_of(&host("d1").name).is_none());
    let admins: Vec<&str> = inventory
        .admins_on(&host("w1").name)
        .map(|a| a.name.as_str())
        .collect();
    assert_eq!(admins, ["alice", "bob"]);
    let assignments: Vec<String> = inventory
        .assignments()
        .map(|a| format!("{} {} {} {}", a.admin, a.realm, a.host, a.login))
        .collect();
    assert_eq!(
        assignments,
        [
            "alice front w1 alice",
            "bob front w1 b_o_b",
            "bob front w2 b_o_b"
        ]
    );
    let select = |pattern| {
        let admins = inventory.select_admins(pattern).unwrap();
        admins
            .iter()
            .map(|a| a.name.as_str())
            .collect::<Vec<_>>()
            .join(" ")
    };
    assert_eq!(select(None), "alice bob");
    assert_eq!(select(Some("dba:!bob")), "alice");
    assert_eq!(select(Some("~b|x")), "bob");
    assert_eq!(select(Some("!sre")), "bob");
    let error = inventory.select_admins(Some("alise")).unwrap_err();
    assert!(
        error
            .report()
            .contains("`alise` matches no admin and no group\nhint: did you mean `alice`?")
    );
    assert!(inventory.select_admins(Some("")).is_err());
}

#[test]
fn without_realms_one_holds_every_host_under_the_default_policy() {
    let inventory = yaml(HOSTS).unwrap();
    let realm = &inventory.enrolment().realms["default"];
    assert_eq!(realm.hosts.len(), 3);
    assert_eq!(realm.policy.issuer, "fleetotp");
    assert_eq!(realm.policy.enrolment_ttl.to_string(), "3d");
    let changed = yaml(&format!("{HOSTS}policies: {{default: {{window: 2}}}}\n")).unwrap();
    assert_eq!(changed.enrolment().realms["default"].policy.window, 2);
}

#[test]
fn what_enrolment_forbids_is_refused_at_its_place() {
    for (text, expected) in [
        (
            "admins: {alice: {}, bob: {login: alice}}",
            "inv.yml:3:34: the admins `bob` and `alice` (at inv.yml:3:10) have the same login `alice` on `w1`",
        ),
        (
            "policies: {p: {issuer: X, digits: 8}}",
            "inv.yml:3:35: pam_google_authenticator checks codes of 6 digits only, not 8",
        ),
        (
            "policies: {p: {issuer: X, algorithm: sha256}}",
            "inv.yml:3:38: pam_google_authenticator checks SHA1 codes only",
        ),
        (
            "admins: {root2: {login: root}}",
            "inv.yml:3:25: the login `root` is protected",
        ),
        ("admins: {alice.m@ex: {}}", "the admin's name is no login"),
        ("admins: {\"a;rm -rf /\": {}}", "admin name `a;rm -rf /`"),
        (
            "admins: {alice: {login: \"$(id)\"}}",
            "inv.yml:3:25: login `$(id)`",
        ),
        (
            "admins: {alice: {hosts: nowhere}}",
            "inv.yml:3:25: `nowhere` matches no host and no group",
        ),
        (
            "admins: {alice: {emial: a@b}}",
            "inv.yml:3:18: unknown key `emial`",
        ),
        (
            "admins: {alice: {email: a}}",
            "this is not an e-mail address",
        ),
        (
            "admins: {alice: {name: \"a\\u202eb\"}}",
            "the name contains control characters",
        ),
        (
            "admins: {alice: {recipient: ecdsa-sha2-nistp256 AAAA}}",
            "`ecdsa-sha2-nistp256` cannot be a recipient",
        ),
        ("admins: {alice: {language: ../fr}}", "is not a language"),
        (
            "realms: {a: {hosts: web}, b: {hosts: 'w1:d1'}}",
            "inv.yml:3:38: the host `w1` would be in two realms: `b` and `a` (at inv.yml:3:21)",
        ),
        (
            "realms: {a: {hosts: wob}}",
            "inv.yml:3:21: `wob` matches no host",
        ),
        ("realms: {a: {hosts: 'web:!wob'}}", "`wob` matches no host"),
        (
            "realms: {a: {hosts: web, policy: strikt}}\npolicies: {strict: {issuer: X}}",
            "inv.yml:3:34: there is no policy `strikt`",
        ),
        (
            "realms: {a: {policy: default}}",
            "the key `hosts` is missing",
        ),
        (
            "policies: {p: {}}",
            "inv.yml:3:12: the key `issuer` is missing",
        ),
        ("policies: {p: {issuer: 'a:b'}}", "cannot contain a colon"),
        (
            "policies: {p: {issuer: X, window: 9}}",
            "inv.yml:3:35: the window is a number of steps from 0 to 8",
        ),
        ("policies: {p: {issuer: X, window: 999}}", "found 999"),
        (
            "policies: {p: {issuer: X, overlap: 7}}",
            "`7` is not a duration",
        ),
        (
            "policies: {p: {issuer: X, overlap: 0s}}",
            "inv.yml:3:36: it would be over before it began",
        ),
        (
            "policies: {p: {issuer: X, enrolment_ttl: 0d}}",
            "it would be over before it began",
        ),
        (
            "policies: {p: {issuer: X, services: [sudo]}}",
            "`sudo` comes besides `sshd`, not in its place",
        ),
        (
            "policies: {p: {issuer: X, services: [sshdd]}}",
            "unknown service `sshdd`",
        ),
        (
            "policies: {p: {issuer: X, services: []}}",
            "at least one service",
        ),
        (
            "policies: {p: {issuer: X, recovery_codes: 21}}",
            "room for 0 to 20 recovery codes",
        ),
        (
            "policies: {p: {issuer: X, scratch_codes: 11}}",
            "0 to 10 scratch codes",
        ),
        (
            "policies: {p: {issuer: X, confirm_tries: 0}}",
            "1 to 100 wrong codes",
        ),
        (
            "policies: {p: {issuer: X, module: duo}}",
            "unknown value `duo`",
        ),
        (
            "policies: {p: {issuer: X, module: oath, rate_limit: 3/30s}}",
            "pam_oath limits no tries",
        ),
        (
            "policies: {p: {issuer: X, module: oath, scratch_codes: 1}}",
            "knows no scratch codes",
        ),
        (
            "policies: {p: {issuer: X, module: oath, period: 60s}}",
            "the period is 30s",
        ),
        (
            "policies: {p: {issuer: X, on_overdue: forget}}",
            "unknown value `forget`",
        ),
        (
            "policies: {p: {issuer: X, on_state_unwritable: allow}}",
            "not built yet",
        ),
        (
            "policies: {p: {issuer: X, enforce: on_confrim}}",
            "unknown value `on_confrim`",
        ),
        (
            "policies: {p: {issuer: X, rate_limit: 0/30s}}",
            "is no rate limit",
        ),
        ("policies: {p: {issuer: X, digits: 7}}", "6 or 8 digits"),
        (
            "policies: {p: {issuer: X, rotate_every: 1d}}",
            "must be longer than `overlap`",
        ),
        (
            "policies: {p: {issuer: X, enforce_from: soon}}",
            "`soon` is no time",
        ),
        (
            "exemptions: {ci: {owner: o, reason: r}}",
            "the key `expires` is missing",
        ),
        (
            "exemptions: {ci: {owner: o, reason: r, expires: 2027-01-01, hosts: nowhere}}",
            "`nowhere` matches no host",
        ),
    ] {
        let report = refused("inv.yml", &format!("{HOSTS}{text}\n"));
        assert!(report.contains(expected), "{text}: {report}");
    }
    // Disjoint hosts may share a login, and defaults may be written out.
    yaml(&format!(
        "{HOSTS}admins: {{a: {{login: ops, hosts: web}}, b: {{login: ops, hosts: db}}}}\n\
         policies: {{p: {{issuer: X, recovery_codes: 20, scratch_codes: 10, confirm_tries: 3, on_overdue: expire, services: sshd, module: google-authenticator}}}}\n"
    ))
    .unwrap();
}

#[test]
fn protected_logins_and_admins_of_two_files_are_checked() {
    let dir = files(&[
        ("a.yml", &format!("{HOSTS}admins: {{alice: {{}}}}\n")),
        ("b.yml", "admins: {deploy: {}}\n"),
        ("c.yml", "admins: {alice: {}}\n"),
        ("d.csv", "admin,login\nbob,alice\n"),
    ]);
    let protected = [Login::new("deploy").unwrap()];
    let options = LoadOptions {
        protected: &protected,
        ..LoadOptions::default()
    };
    let report = |sources: &[&str]| {
        load_with(dir.path(), sources, &options)
            .unwrap_err()
            .report()
    };
    assert!(report(&["a.yml", "b.yml"]).contains("b.yml:1:10: the login `deploy` is protected"));
    assert!(
        report(&["a.yml", "c.yml"])
            .contains("c.yml:1:10: the admin `alice` is declared twice (first at a.yml:3:10)")
    );
    let same = report(&["a.yml", "d.csv"]);
    assert!(
        same.contains("d.csv:2:5:") || same.contains("(at d.csv:2:5)"),
        "{same}"
    );
}

#[test]
fn admins_come_from_csv() {
    let dir = files(&[
        ("inv.yml", HOSTS),
        (
            "admins.csv",
            "\u{feff}admin,name,email,groups,hosts,login,language,recipient\r\nalice,\"Martin, Alice\",a@example.com,sre;dba,web;d1,,fr,\r\nbob,,,,,bobby,,age1xyz\r\n",
        ),
        ("bad.csv", "admin,emial\nalice,x\n"),
        ("short.csv", "admin,email\nalice\n"),
        ("none.csv", "admin,email\n"),
        ("nohead.csv", "alice,a@example.com\n"),
        ("login.csv", "admin,login\nalice,a b\n"),
    ]);
    let inventory = load(dir.path(), &["inv.yml", "admins.csv"]).unwrap();
    let admins = &inventory.enrolment().admins;
    let alice = &admins["alice"];
    assert_eq!(alice.display_name, "Martin, Alice");
    assert_eq!(
        alice.groups.iter().map(String::as_str).collect::<Vec<_>>(),
        ["dba", "sre"]
    );
    assert_eq!(names(inventory.hosts_of(alice)), "w1 w2 d1");
    assert_eq!(
        (admins["bob"].login.as_str(), admins["bob"].hosts.as_str()),
        ("bobby", "all")
    );
    for (source, expected) in [
        ("bad.csv", "bad.csv:1:7: unknown column `emial`"),
        (
            "short.csv",
            "short.csv:2:1: the line has 1 cells, the header 2",
        ),
        ("none.csv", "names no admin"),
        ("nohead.csv", "nohead.csv:1:1: unknown column `alice`"),
        ("login.csv", "login.csv:2:7: login `a b`"),
    ] {
        let error = load(dir.path(), &["inv.yml", source]).unwrap_err();
        assert_eq!(error.kind().code(), 65);
        assert!(error.report().contains(expected), "{}", error.report());
    }
}

#[test]
fn connection_variables_are_read() {
    let inventory = yaml(
        "all: {hosts: {h1: {
  ansible_host: 10.0.0.1, ansible_port: '2222', ansible_user: deploy, ansible_ssh_private_key_file: ~/.ssh/k,
  ansible_ssh_args: '-C -o ControlMaster=auto -o ControlPersist=60s -o ProxyJump=j', ansible_ssh_common_args: \"-o 'User=x y'\",
  ansible_ssh_extra_args: -v, ansible_become: yes, ansible_become_password: hunter2, ansible_ssh_timeout: 5,
  ansible_host_key_checking: 'no', confirm_host: 127.0.0.1},
 h2: {ansible_connection: local}, h3: {}}}",
    )
    .unwrap();
    let h1 = inventory.host("h1").unwrap();
    let c = inventory.connection(h1).unwrap();
    assert_eq!(
        (c.address.as_deref(), c.port, c.user.as_deref()),
        (Some("10.0.0.1"), Some(2222), Some("deploy"))
    );
    assert_eq!(
        c.ssh_args,
        ["-C", "-o", "ProxyJump=j", "-o", "User=x y", "-v"]
    );
    assert_eq!((c.use_sudo, c.host_key_checking), (Some(true), Some(false)));
    assert_eq!(c.connect_timeout, Some(Duration::from_secs(5)));
    assert_eq!(c.become_password.as_ref().unwrap().expose(), "hunter2");
    assert_eq!(c.confirm_host.as_deref(), Some("127.0.0.1"));
    assert!(!format!("{c:?}").contains("hunter2"));
    assert!(inventory.host("h2").unwrap().connection.local);
    assert!(inventory.host("h3").unwrap().connection.port.is_none());
}

#[test]
fn connection_variables_that_cannot_be_used_are_errors_only_where_used() {
    for (vars, expected) in [
        (
            "ansible_host: '{{ ip }}'",
            "inv.yml:1:34: `ansible_host` is a Jinja template",
        ),
        (
            "ansible_user: !vault x",
            "`ansible_user` is encrypted with ansible-vault",
        ),
        (
            "ansible_port: 0",
            "`ansible_port` needs a number from 1 to 65535",
        ),
        ("ansible_port: [1]", "`ansible_port` needs a number"),
        (
            "ansible_host: -oProxyCommand=x",
            "`ansible_host` is not an address",
        ),
        ("ansible_user: -oProxyCommand=x", "login `-oProxyCommand=x`"),
        ("ansible_connection: winrm", "only ssh and local"),
        ("ansible_become_method: su", "only sudo"),
        ("ansible_become_user: postgres", "changes to PAM need root"),
        (
            "ansible_become: perhaps",
            "`ansible_become` needs a boolean",
        ),
        (
            "ansible_ssh_common_args: \"-o 'x\"",
            "a quote is not closed",
        ),
    ] {
        let inventory = yaml(&format!("all: {{hosts: {{h1: {{{vars}}}, h2: }}}}\n")).unwrap();
        assert_eq!(names(inventory.select("all", None).unwrap()), "h1 h2");
        let host = |name: &str| inventory.host(name).unwrap();
        assert!(inventory.connection(host("h2")).is_ok());
        let error = inventory.connection(host("h1")).unwrap_err();
        assert_eq!(error.kind().code(), 65);
        assert!(
            error.report().contains(expected),
            "{vars}: {}",
            error.report()
        );
        assert_eq!(inventory.unusable().count(), 1);
    }
    // Templates elsewhere are nobody's business.
    let inventory = yaml(
        "all: {hosts: {h1: {motd: '{{ x }}', ansible_become: no, ansible_become_method: su}}}\n",
    )
    .unwrap();
    assert!(inventory.connection(inventory.host("h1").unwrap()).is_ok());
}

#[test]
fn limits_never_widen_by_accident() {
    let dir = files(&[
        ("inv.yml", HOSTS),
        ("limit", "w1\n\n d1 \n"),
        ("empty", "\n\n"),
        ("typo", "w1\n  w3\n"),
        ("comment", "# only w1\nw1\n"),
    ]);
    let inventory = load(dir.path(), &["inv.yml"]).unwrap();
    assert_eq!(
        names(inventory.select("all", Some("@limit")).unwrap()),
        "w1 d1"
    );
    let refused = |limit: &str| inventory.select("all", Some(limit)).unwrap_err();
    for limit in ["", ",", "@empty", "@missing", "@.", "nothing", "web:&db"] {
        assert!(inventory.select("all", Some(limit)).is_err(), "{limit}");
    }
    assert_eq!(refused("@empty").kind().code(), 65);
    assert!(
        refused("@typo")
            .report()
            .contains("typo:2:3: `w3` matches no host")
    );
    assert_eq!(refused("@comment").kind().code(), 65);
    assert!(inventory.select("", None).is_err());
    assert!(inventory.select("web", Some("db")).is_err());
    assert!(
        inventory
            .select_or_none("web", Some("db"))
            .unwrap()
            .is_empty()
    );
    assert!(
        inventory
            .select("localhost", None)
            .unwrap_err()
            .report()
            .contains("no implicit localhost")
    );
}

#[test]
fn what_is_legal_and_odd_is_a_warning() {
    let dir = files(&[
        (
            "inv.yml",
            &format!("{HOSTS}policies: {{p: {{issuer: X}}}}\n"),
        ),
        ("hosts.ini", "w1 ansible_password=ab#c\n"),
        ("group_vars/wob.yml", "x: 1\n"),
    ]);
    let inventory = load(dir.path(), &["inv.yml", "hosts.ini"]).unwrap();
    let warnings = inventory.warnings().join("\n");
    for expected in [
        "inv.yml:3:12: no realm uses the policy `p`",
        "hosts.ini:1: the value before `#` is cut there",
        "wob.yml` belongs to no group: did you mean `web`?",
        "`ansible_password` (on 1 hosts) has no effect",
    ] {
        assert!(warnings.contains(expected), "{warnings}");
    }
}

#[test]
fn ten_thousand_hosts_and_a_hundred_admins_are_quick() {
    use std::fmt::Write as _;
    let mut text = "all:\n  vars: {ansible_user: deploy}\n  children:\n".to_owned();
    for group in 0..100 {
        _ = writeln!(
            text,
            "    g{group}: {{hosts: {{\"h{group}-[000:099].example.com\": {{x: 1}}}}, vars: {{y: {group}}}}}"
        );
    }
    text.push_str("admins:\n");
    for admin in 0..100 {
        _ = writeln!(
            text,
            "  admin{admin}: {{hosts: all, groups: [g{}]}}",
            admin % 7
        );
    }
    let started = Instant::now();
    let inventory = yaml(&text).unwrap();
    assert_eq!(inventory.hosts().len(), 10_000);
    assert_eq!(inventory.assignments().count(), 1_000_000);
    assert_eq!(
        inventory.select("g1*:!g11:*[0:9]", None).unwrap().len(),
        1100 - 100 + 10
    );
    let all: Vec<&str> = inventory.hosts().map(|h| h.name.as_str()).collect();
    assert_eq!(
        inventory.select("all", Some(&all.join(","))).unwrap().len(),
        10_000
    );
    assert!(inventory.list_json(None).unwrap().len() > 1_000_000);
    // Unoptimised code on a busy machine; a quadratic loop takes minutes.
    assert!(
        started.elapsed() < Duration::from_secs(30),
        "{:?}",
        started.elapsed()
    );
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]

    #[test]
    fn no_ini_panics(text in "[a-c=:#\\[\\]'\" \n0-2;éx]{0,60}") {
        drop(load(files(&[("a.ini", &text)]).path(), &["a.ini"]));
    }

    #[test]
    fn no_yaml_inventory_panics(text in "(all|admins|hosts|vars|children|realms|policies|a|: |\n|  |\\{|\\}|,|\\[1:2\\]|no|!x ){0,20}") {
        drop(load(files(&[("a.yml", &text)]).path(), &["a.yml"]));
    }

    #[test]
    fn no_csv_panics(text in "(admin|name|,|;|\n|\"|é|x){0,20}") {
        drop(load(files(&[("a.csv", &text)]).path(), &["a.csv"]));
    }
}
