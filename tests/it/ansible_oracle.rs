//! Compares what fleetotp reads from an inventory with what Ansible reads from it.
//!
//! The referee is a real ansible-core, found by `FLEETOTP_TEST_ANSIBLE` (the directory that holds `ansible-inventory`
//! and `ansible`). Every fixture is read by both; the JSON must be equal byte for byte, and so must the graph.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::{LazyLock, Mutex};

use fleetotp::cli::inventory::list_hosts;
use fleetotp::inventory::{Inventory, LoadOptions};
use fleetotp::playbook::schema;
use fleetotp::text::{SourceFile, yaml};
use serde_json::{Value, json};

/// Returns the path of one of Ansible's programs.
fn ansible(program: &str) -> PathBuf {
    let Some(directory) = std::env::var_os("FLEETOTP_TEST_ANSIBLE") else {
        panic!(
            "FLEETOTP_TEST_ANSIBLE is not set: it names the bin directory of a virtual environment with ansible-core \
             (make test sets it up)"
        );
    };
    let path = PathBuf::from(directory).join(program);
    assert!(path.exists(), "{} does not exist", path.display());
    path
}

/// Ansible's programs in one process that carries out one request after another: each start would take most of a second.
struct Referee {
    process: Child,
    answers: BufReader<ChildStdout>,
}

/// What came of a program: exit status, standard output, standard error.
type Answer = (i32, String, String);

impl Referee {
    fn start() -> Self {
        // Its own interpreter stands in the first line of each of its programs.
        let text = fs::read_to_string(ansible("ansible-inventory")).unwrap();
        let python = text.lines().next().unwrap().strip_prefix("#!").unwrap();
        let home = env!("CARGO_TARGET_TMPDIR");
        let mut process = Command::new(python.trim())
            .arg(concat!(
                env!("CARGO_MANIFEST_DIR"),
                "/tests/it/ansible_referee.py"
            ))
            .current_dir(home)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", home)
            .env("LC_ALL", "C.UTF-8")
            .env("ANSIBLE_LOCALHOST_WARNING", "false")
            .env("ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED", "true")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // Not the test's own: this may end a moment later than the test.
            .stderr(fs::File::create(Path::new(home).join("ansible-referee.log")).unwrap())
            .spawn()
            .unwrap();
        // It ends with the end of its requests.
        Self {
            answers: BufReader::new(process.stdout.take().unwrap()),
            process,
        }
    }

    fn ask(&mut self, program: &str, directory: &Path, arguments: &[&str]) -> Answer {
        let request = serde_json::json!([program, directory, arguments]);
        writeln!(self.process.stdin.as_ref().unwrap(), "{request}").unwrap();
        let mut answer = String::new();
        self.answers.read_line(&mut answer).unwrap();
        serde_json::from_str(&answer).unwrap_or_else(|e| {
            panic!("{request}: {e}: {answer} (see ansible-referee.log in target/tmp)")
        })
    }
}

/// Runs one of Ansible's programs in a directory.
fn run(program: &str, directory: &Path, arguments: &[&str]) -> Answer {
    static REFEREE: LazyLock<Mutex<Referee>> = LazyLock::new(|| Mutex::new(Referee::start()));
    let mut referee = REFEREE.lock().unwrap();
    referee.ask(program, directory, arguments)
}

/// The plays of a playbook as they are written, to have them judged by Ansible.
pub(super) fn plays_of(book: &SourceFile) -> Vec<Value> {
    let plays: Value = yaml::from_source(book).unwrap();
    plays.as_array().unwrap().clone()
}

/// The batches that Ansible cuts, for each request: an inventory or a number of hosts, a limit, and a play.
pub(super) fn batches(requests: &Value) -> Vec<Vec<Vec<String>>> {
    let (status, stdout, messages) = run("batches", Path::new("."), &[&requests.to_string()]);
    assert_eq!(status, 0, "{messages}");
    serde_json::from_str(&stdout).unwrap()
}

/// Fails with the lines that differ.
fn assert_same(ours: &str, theirs: &str, what: &str) {
    let difference = similar::TextDiff::from_lines(theirs, ours);
    let shown = difference
        .unified_diff()
        .header("Ansible", "fleetotp")
        .to_string();
    assert!(ours == theirs, "{what}:\n{shown}");
}

/// A directory with files, and the sources to read from it.
struct Fixture {
    name: &'static str,
    directory: tempfile::TempDir,
    sources: Vec<String>,
}

impl Fixture {
    fn new(name: &'static str, sources: &[&str], files: &[(&str, &str)]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = directory.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, text).unwrap();
            if text.starts_with("#!") {
                fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
            }
        }
        Self {
            name,
            directory,
            sources: sources.iter().map(|s| (*s).to_owned()).collect(),
        }
    }

    fn load(&self) -> Inventory {
        // Ansible takes the working directory for that of the playbook.
        let options = LoadOptions {
            playbook_directory: Some(self.directory.path()),
            ..LoadOptions::default()
        };
        Inventory::load(&self.sources, self.directory.path(), &options)
            .unwrap_or_else(|e| panic!("{}: {}", self.name, e.report()))
    }

    fn arguments<'a>(&'a self, rest: &[&'a str]) -> Vec<&'a str> {
        let mut arguments: Vec<&str> = Vec::new();
        for source in &self.sources {
            arguments.extend(["-i", source]);
        }
        arguments.extend(rest);
        arguments
    }

    fn ansible(&self, program: &str, rest: &[&str]) -> Result<String, String> {
        let (status, stdout, stderr) = run(program, self.directory.path(), &self.arguments(rest));
        if status == 0 { Ok(stdout) } else { Err(stderr) }
    }

    /// Both must print the same list and the same graph.
    fn check(&self) {
        let ours = self.load();
        let list = self
            .ansible("ansible-inventory", &["--list"])
            .unwrap_or_else(|e| panic!("{}: {e}", self.name));
        assert_same(
            &(ours.list_json(None).unwrap()
                + "
"),
            &list,
            self.name,
        );
        let graph = self.ansible("ansible-inventory", &["--graph"]).unwrap();
        let mut drawn = Vec::new();
        ours.write_graph("all", &mut drawn).unwrap();
        assert_same(&String::from_utf8(drawn).unwrap(), &graph, self.name);
    }
}

const YAML: &str = r#"
all:
  vars: {top: 1}
  hosts:
    loose1:
    "loose[2:3]": {x: 1}
  children:
    web:
      hosts:
        "web[01:04].example.com": {ansible_port: 2222, role: front}
        "web[08:10:2]":
        "n[a:e:2]-x":
      vars: {v: web, only_web: true}
      children:
        canary: {hosts: {"web01.example.com": {v: canary}}, vars: {v: canary}}
    db:
      hosts: db1:2222
      vars:
    prod:
      children: {web: , db: }
      vars: {v: prod, only_prod: yes}
    empty:
  "#;

const VALUES: &str = r#"
all:
  hosts:
    h1:
      day: 2024-01-01
      time: 2024-01-01 10:00:00
      zone: 2001-12-14t21:59:43.10-05:00
      octal: 0755
      hex: 0x1F
      under: 1_000
      sixty: 1:30
      float: 1.50
      big_text: 1e16
      big: 1.0e+16
      small: 0.00001
      tenth: 0.1
      inf: .inf
      ninf: -.INF
      nan: .nan
      none: ~
      empty:
      yes_: yes
      off_: Off
      y: y
      text: "é ☃ 😀 \x01 \x7f \u2028 \\ / < > & ' \""
      vault: !vault |
        $ANSIBLE_VAULT;1.1;AES256
        6162
      unsafe: !unsafe "{{ x }}"
      unsafe_map: !unsafe {a: "{{ x }}", b: [1, "{{ y }}"]}
      keys: {1: a, no: b, ~: c, 1.5: d}
      huge: 123456789012345678901234567890
      long_sixty: 190:20:30.15
      binary: 0b101
      not_octal: 089
      list: [a, [b, {c: d}], {}, []]
      map: {z: 1, a: {b: {}}}
      str: !!str 12
      int: !!int "12"
      folded: >
        a
        b

        c
      literal: |-
        a
          b
      template: "{{ other }}"
      "name with space": 1
      merged: &m {a: 1, b: 2}
      merging: {<<: *m, b: 3}
      merging_list: {<<: [{a: 1}, {a: 2, c: 3}], d: 4}
      alias: *m
      quoted: ['no', "0755", '~', 'null', '']
      ansible_group_priority: 7
      inventory_hostname: hidden
      group_names: hidden
    h2: {inventory_dir: only internal}
    h3: {}
"#;

const INI: &str = r#"
# a comment
; another
loose ansible_host=10.0.0.9
[web]
web[1:3] a=1 b=0123 c=yes d=True e="x y" f='[1,2]' g=0x1F h=1.50 i= j=None k="'03'" l=a#b m=lost
web9:2222 n=1,2 o=(1) p={'a':1,2:None} q=-1 r=--1 s=1_000 t=1e5 u=10.0.0.1 v=b'x' w=3j
"quoted host1" # never
[web:vars]
v1=23
v2=FALSE
v3=some text # and this belongs to it
v4 = 1 # and this does not
v5='quoted'
v6="it's"
v7=a=b=c
v8=
v9={"x": [1, 2.5, True, None]}
v10="unclosed
v11=...
v12=1+2
v13=r'a\n' 'b\t'
v14=set()
v15={1,1}
v16='é'
v17=\x41
v18=b'x'
v19=0_j
[prod:children]
web
later
[later]
db[a:c] x=1
[later:vars]
ansible_group_priority=5
x=2
[deep:children]
prod  # with a comment
[all:vars]
top=1
"#;

const SCRIPT: &str = r#"#!/bin/sh
if [ "$1" = --list ]; then
cat <<'EOF'
{"web": {"hosts": ["w1", "w2"], "vars": {"a": 1, "f": 1.10, "big": 1e22, "s": "\ud83d\ude00\/"}, "children": ["sub"]},
 "sub": {"hosts": ["s1"]},
 "old": ["o1", "w1"],
 "alone": {"x": 1},
 "_meta": {"hostvars": {"w1": {"b": [1, {"c": null}]}, "o1": {"v": {"__ansible_vault": "x"}, "u": {"__ansible_unsafe": "{{ a }}"}}, "nowhere": {"a": 1}}}}
EOF
fi
"#;

const SCRIPT_HOST: &str = r#"#!/bin/sh
case "$1" in
--list) echo '{"web": {"hosts": ["w1", "w2"]}}' ;;
--host) [ "$2" = w1 ] && echo '{"own": "w1"}' || true ;;
esac
"#;

fn fixtures() -> Vec<Fixture> {
    vec![
        Fixture::new("yaml", &["inv.yml"], &[("inv.yml", YAML)]),
        Fixture::new("yaml without extension", &["hosts"], &[("hosts", YAML)]),
        Fixture::new("values", &["inv.yaml"], &[("inv.yaml", VALUES)]),
        Fixture::new(
            "json",
            &["inv.json"],
            &[(
                "inv.json",
                r#"{"all": {"hosts": {"h1": {"a": 1e5, "b": "é\n", "c": null, "d": 1.0}}}}"#,
            )],
        ),
        Fixture::new(
            "ini",
            &["hosts"],
            &[("hosts", &INI.replace("\"quoted host1\" # never\n", ""))],
        ),
        Fixture::new(
            "ini in .ini",
            &["a.ini"],
            &[("a.ini", "h1\n[g]\nh2:22 x='a b'\n")],
        ),
        Fixture::new("ini in .yml", &["a.yml"], &[("a.yml", "[g]\nh2 x=1\n")]),
        Fixture::new("plain names", &["hosts"], &[("hosts", "h1\nh2 a=b\n")]),
        Fixture::new(
            "list",
            &["web1,db1:2222, [2001:db8::1]:22 ,2001:db8::2,"],
            &[],
        ),
        Fixture::new("script", &["inv.sh"], &[("inv.sh", SCRIPT)]),
        Fixture::new(
            "script with --host",
            &["inv.sh"],
            &[("inv.sh", SCRIPT_HOST)],
        ),
        Fixture::new(
            "several",
            &["a.yml", "b.ini", "c,d,", "d/"],
            &[
                (
                    "a.yml",
                    "all: {hosts: {h1: {a: 1, b: 1}}, children: {g: {hosts: {h1: }, vars: {x: a}}}}\n",
                ),
                (
                    "b.ini",
                    "[g]\nh1 a=2\nc\n[g:vars]\nx=b\n[top:children]\ng\n",
                ),
                ("d/hosts", "h9\n"),
                ("d/group_vars/g.yml", "x: from d\n"),
                ("group_vars/g.yml", "x: from here\ny: here\n"),
                ("host_vars/h1.yml", "a: 3\n"),
                ("d/host_vars/h1.yml", "b: 4\n"),
            ],
        ),
        Fixture::new(
            "directory",
            &["inv"],
            &[
                (
                    "inv/01-a.yml",
                    "web: {hosts: {w1: , w2: }}\nall: {vars: {v: inline}}\n",
                ),
                ("inv/02-b", "[db]\nd1\n[db:vars]\nv=ini\n"),
                ("inv/03-c.ini", "[db]\nd2\n"),
                ("inv/sub/hosts.yml", "sub: {hosts: {s1: }}\n"),
                ("inv/sub/group_vars/sub.yml", "never: read\n"),
                ("inv/10.sh", SCRIPT_HOST),
                ("inv/.hidden.yml", "broken: ["),
                ("inv/readme.md", "broken: ["),
                ("inv/x.yml~", "broken: ["),
                ("inv/x.cfg", "broken: ["),
                ("inv/x.retry", "w1"),
                ("inv/group_vars/all.yml", "v: all file\nsecret: 1\n"),
                ("inv/group_vars/web/a.yml", "a: 1\nb: 1\n"),
                ("inv/group_vars/web/b", "b: 2\n"),
                ("inv/group_vars/web/c.json", "{\"c\": 3}"),
                ("inv/group_vars/web/d.txt", "d: never\n"),
                ("inv/group_vars/web/.e.yml", "e: never\n"),
                ("inv/group_vars/web/f.yml~", "f: never\n"),
                ("inv/group_vars/web/sub/g.yml", "g: 1\n"),
                ("inv/group_vars/web/sub.d/h.yml", "h: never\n"),
                ("inv/group_vars/web.yml", "hidden: by the directory\n"),
                ("inv/group_vars/db", "v: bare\n"),
                ("inv/group_vars/db.yml", "v: never\n"),
                ("inv/group_vars/ungrouped.yaml", "u: 1\n"),
                ("inv/host_vars/w1.yaml", "h: 1\n"),
                ("inv/host_vars/w2/x.yml", "h: 2\n"),
                ("inv/host_vars/d1.json", "{\"h\": true}"),
                ("inv/group_vars/sub.yml", "# nothing\n"),
            ],
        ),
        Fixture::new(
            "precedence",
            &["inv.yml"],
            &[
                (
                    "inv.yml",
                    concat!(
                        "all: {vars: {v: all, w: all}}\n",
                        "azone: {hosts: {h1: {i: inline}}, vars: {z: a, v: a}}\n",
                        "bzone: {hosts: {h1: }, vars: {z: b}}\n",
                        "aprio: {hosts: {h1: }, vars: {p: a, ansible_group_priority: 10}}\n",
                        "czone: {hosts: {h1: }, vars: {p: c, ansible_group_priority: '2'}}\n",
                        "parent: {children: {child: }, vars: {c: parent, d: {a: 1, b: 2}}}\n",
                        "child: {hosts: {h1: }, vars: {c: child, d: {a: 3}}}\n",
                        "deep: {children: {parent: }, vars: {c: deep, e: deep}}\n",
                    ),
                ),
                (
                    "group_vars/all.yml",
                    "v: all file\nw: all file\ni: all file\n",
                ),
                ("group_vars/parent.yml", "c: parent file\n"),
                (
                    "group_vars/azone.yml",
                    "z: a file\nansible_group_priority: 99\n",
                ),
                ("host_vars/h1.yml", "i: host file\n"),
            ],
        ),
        Fixture::new(
            "a host named like a group",
            &["inv.yml"],
            &[("inv.yml", "web: {hosts: {web: {x: 1}, w2: }}\n")],
        ),
        Fixture::new(
            "ungrouped hosts",
            &["a.ini", "b.yml"],
            &[
                ("a.ini", "h1\nh2\n[g]\nh1\n"),
                (
                    "b.yml",
                    "all: {hosts: {h3: , h4: }, children: {ungrouped: {hosts: {h5: }}, g: {hosts: {h4: , h5: }}}}\n",
                ),
            ],
        ),
        Fixture::new(
            "ports count once",
            &["a.ini"],
            &[("a.ini", "[a]\nh1\n[b]\nh1:2222\nh2:22\n[c]\nh2:23\n")],
        ),
        Fixture::new(
            "children before their groups",
            &["a.ini"],
            &[(
                "a.ini",
                "[top:children]\nmid\n[mid:children]\nlow\n[low]\nh1\n[low:vars]\nx=1\n[other:children]\nlow\nmid\n",
            )],
        ),
        Fixture::new(
            "ours beside Ansible's",
            &["hosts.yml"],
            &[(
                "hosts.yml",
                "web: {hosts: {w1: }}\nadmins: {hosts: {a1: }, vars: {x: 1}}\nrealms: {children: {web: }}\n",
            )],
        ),
    ]
}

#[test]
fn lists_and_graphs_equal_ansibles() {
    for fixture in fixtures() {
        fixture.check();
    }
}

#[test]
fn own_keys_leave_ansibles_part_as_it_is() {
    let own = "admins: {alice: {hosts: web}}\nrealms: {r: {hosts: web, policy: p}}\npolicies: {p: {issuer: X}}\n";
    let with = Fixture::new(
        "with",
        &["inv.yml"],
        &[("inv.yml", &format!("{YAML}\n{own}"))],
    );
    let without = Fixture::new("without", &["inv.yml"], &[("inv.yml", YAML)]);
    let list = without.ansible("ansible-inventory", &["--list"]).unwrap();
    assert_eq!(with.load().list_json(None).unwrap() + "\n", list);
}

/// Patterns with their limits, for the fixture `PATTERNS`.
const SELECTIONS: &[(&str, Option<&str>)] = &[
    ("all", None),
    ("*", None),
    ("ungrouped", None),
    ("web", None),
    ("web:db", None),
    ("db:web", None),
    ("web,db", None),
    ("web, db", None),
    ("web db", None),
    ("web:&prod", None),
    ("&prod:web", None),
    ("web:!canary", None),
    ("!canary:web", None),
    ("!web", None),
    ("&web", None),
    ("&web:!canary", None),
    ("!web:!db", None),
    ("all:!web:&prod", None),
    ("web[0]", None),
    ("web[-1]", None),
    ("web[1:2]", None),
    ("web[1:]", None),
    ("web[0-1]", None),
    ("web[0:0]", None),
    ("web[2:99]", None),
    ("web[0:2]:!canary", None),
    ("web:!web[0]", None),
    ("web:&web[0:1]", None),
    ("w*[0:3]", None),
    ("*[0:1]", None),
    ("*b", None),
    ("w*", None),
    ("w?b", None),
    ("web0?.example.com", None),
    ("*.example.com", None),
    ("web0[12].example.com", None),
    ("web0[!12].example.com", None),
    ("web0[1-3].example.com", None),
    ("web0[]1].example.com", None),
    ("~web0[13]", None),
    ("~.*\\.example\\.com$", None),
    ("~(web|db)", None),
    ("~(web|db):!canary", None),
    ("~^d", None),
    ("~b1", Some("all")),
    ("db1", None),
    ("db1:web", None),
    ("web01.example.com", None),
    ("web01.example.com:db1", None),
    ("db1:db1", None),
    ("[ab]*", None),
    ("loose*:!loose1", None),
    ("2001:db8::1", None),
    ("2001:db8::1,db1", None),
    ("10.0.0.1", None),
    ("10.0.0.*", None),
    ("10.0.0.1:10.0.0.2", None),
    ("10.0.0.1,10.0.0.2", None),
    ("both", None),
    ("both*", None),
    ("canary:prod", None),
    ("deep", None),
    ("all", Some("web")),
    ("all", Some("web:!canary")),
    ("all", Some("db,canary")),
    ("prod", Some("web[0]")),
    ("web", Some("!canary")),
    ("db:web", Some("prod:&web")),
    ("all", Some("@limit.txt")),
    ("web", Some("@limit.txt")),
    ("all", Some("@limit.txt,10.0.0.1")),
    ("all", Some("@limit.txt:!db1")),
    ("all", Some("*.example.com")),
    ("all", Some("~web0[12]")),
    ("web:db", Some("web0?.example.com:db1")),
    ("Web*", None),
    ("nothing", None),
    ("web:nothing", None),
    ("web[9]", None),
    ("web[-9]", None),
    ("web[5:9]", None),
    ("db1:2222", None),
    ("a::b", None),
    ("web[:2]", None),
    ("web[3:1]", None),
    ("empty", None),
    ("web:&empty", None),
    ("all", Some("nothing")),
    ("db", Some("web")),
];

const PATTERNS: &str = r#"
all:
  hosts: {loose1: , loose2: , "2001:db8::1": , "10.0.0.1": , "10.0.0.2": , both: }
web: {hosts: {"web[01:03].example.com": , web4: , web2: }}
canary: {hosts: {"web01.example.com": , db2: }}
db: {hosts: {"db[1:3]": }}
prod: {children: {web: , db: }}
deep: {children: {prod: }}
both: {hosts: {db3: , loose1: }}
empty:
"#;

/// What Ansible printed as hosts; `None` where it failed, or warned that a part matches nothing.
fn ansible_hosts(fixture: &Fixture, pattern: &str, limit: Option<&str>) -> Option<String> {
    let mut arguments = vec![pattern, "--list-hosts"];
    if let Some(limit) = limit {
        arguments.extend(["--limit", limit]);
    }
    let (status, stdout, messages) = run(
        "ansible",
        fixture.directory.path(),
        &fixture.arguments(&arguments),
    );
    let refused = status != 0
        || messages.contains("Could not match supplied host pattern")
        || stdout.contains("hosts (0)");
    (!refused).then_some(stdout)
}

#[test]
fn patterns_and_limits_select_what_ansible_selects() {
    let fixture = Fixture::new(
        "patterns",
        &["inv.yml"],
        &[
            ("inv.yml", PATTERNS),
            ("limit.txt", "db1\n\n  web02.example.com \nweb4\n"),
        ],
    );
    let inventory = fixture.load();
    assert!(SELECTIONS.len() >= 60);
    let mut accepted = 0;
    for (pattern, limit) in SELECTIONS {
        let ours = inventory.select(pattern, *limit);
        match ansible_hosts(&fixture, pattern, *limit) {
            Some(theirs) => {
                accepted += 1;
                let hosts = ours.unwrap_or_else(|e| panic!("{pattern} {limit:?}: {}", e.report()));
                assert_eq!(list_hosts(&hosts), theirs, "{pattern} {limit:?}");
            }
            None => assert!(ours.is_err(), "{pattern} {limit:?} selected {ours:?}"),
        }
    }
    assert!(accepted >= 60, "too few patterns are accepted by both");
}

#[test]
fn limited_lists_equal_ansibles() {
    let fixture = Fixture::new("limited", &["inv.yml"], &[("inv.yml", YAML)]);
    let inventory = fixture.load();
    for limit in ["canary", "web:!canary", "db1"] {
        let theirs = fixture
            .ansible("ansible-inventory", &["--list", "--limit", limit])
            .unwrap();
        assert_eq!(
            inventory.list_json(Some(limit)).unwrap() + "\n",
            theirs,
            "{limit}"
        );
    }
    for host in ["web01.example.com", "loose2", "loose1"] {
        let theirs = fixture
            .ansible("ansible-inventory", &["--host", host])
            .unwrap();
        assert_eq!(inventory.host_json(host).unwrap() + "\n", theirs, "{host}");
    }
}

/// Ranges, each as the one key of an inventory.
const RANGES: &[&str] = &[
    "w[1:3]",
    "w[01:03]",
    "w[1:10:3]",
    "w[a:e]",
    "w[a:e:2]",
    "w[y:B]",
    "w[:3]",
    "w[0:0]",
    "w[001:010:9]x",
    "w[1:2]-[a:b]",
    "[1:3]w",
    "10.0.0.[1:3]",
    "2001:db8::[1:3]",
    "w[1:3].ex.com:2222",
    "w[9:11]",
    "w[A:C]",
    // Refused by both, or by us because they stand for no host.
    "w[3:1]",
    "w[b:a]",
    "w[1:]",
    "w[01:100]",
    "w[1:j]",
    "w[1:2:0]",
    "w[1:2:3:4]",
    "w[]",
    "w[1]",
];

#[test]
fn ranges_stand_for_the_hosts_ansible_takes_them_for() {
    for range in RANGES {
        let fixture = Fixture::new(
            "range",
            &["inv.yml"],
            &[("inv.yml", &format!("g: {{hosts: {{\"{range}\": }}}}\n"))],
        );
        let theirs = fixture.ansible("ansible-inventory", &["--list"]);
        let ours = Inventory::load(
            &fixture.sources,
            fixture.directory.path(),
            &LoadOptions::default(),
        );
        match (ours, theirs) {
            (Ok(ours), Ok(theirs)) => {
                assert_eq!(ours.list_json(None).unwrap() + "\n", theirs, "{range}");
            }
            (Ok(_), Err(e)) => panic!("{range}: only Ansible refuses it: {e}"),
            (Err(ours), Ok(theirs)) => {
                assert!(
                    !theirs.contains("\"w"),
                    "{range}: {} but {theirs}",
                    ours.report()
                );
            }
            (Err(ours), Err(_)) => assert_eq!(ours.kind().code(), 65, "{range}"),
        }
    }
}

#[test]
fn batches_are_cut_as_ansible_cuts_them() {
    let mut requests = Vec::new();
    let counts = [1, 2, 3, 7, 10, 12, 29, 100, 999];
    for percent in 0..=101 {
        requests.extend(counts.map(|n| json!([n, null, {"serial": format!("{percent}%")}])));
    }
    for serial in [
        json!(0),
        json!(-3),
        json!(5),
        json!("5"),
        json!([1, "25%", "100%"]),
        json!([1, 2, 3]),
        json!([3, "10%"]),
        json!(["1%", "7%", "50%", 1]),
        json!([2, 0]),
        json!([2, -1, 5]),
        json!(["30 %"]),
    ] {
        requests.extend(counts.map(|n| json!([n, null, {"serial": serial}])));
    }
    let theirs = batches(&json!(requests));
    assert_eq!(theirs.len(), requests.len());
    for (request, theirs) in requests.iter().zip(theirs) {
        let play = json!([{"hosts": "all", "tasks": [], "serial": request[2]["serial"]}]);
        let plays = schema::parse(&SourceFile::new("p.yml", play.to_string())).unwrap();
        let hosts = (0..request[0].as_u64().unwrap()).map(|n| n.to_string());
        let ours = plays[0].serial.batches(hosts.collect::<Vec<_>>());
        assert_eq!(ours, theirs, "{request}");
    }
}
