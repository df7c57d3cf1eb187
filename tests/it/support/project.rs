//! A project directory on a lab: the program is run in it, as a person would, on the controller's side of the lab's
//! network and with nothing of this machine's environment.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

use crate::lab::{Code, Key, KeyPair, Lab, Prefs, Totp, WINDOW, run};

/// The playbook that the project ships, in a single batch.
pub(crate) const ROLLOUT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/rollout.yml");

/// A project made by `fleetotp init`, with its ledger, identity and sheets. Gone when dropped.
#[derive(Debug)]
pub(crate) struct Project<'lab> {
    lab: &'lab Lab,
    dir: tempfile::TempDir,
}

/// What came of one run of the program.
#[derive(Debug)]
pub(crate) struct Ran {
    /// The exit code; -1 where a signal ended it.
    pub(crate) code: i32,
    /// What it printed.
    pub(crate) stdout: String,
    /// What it said.
    pub(crate) stderr: String,
}

/// What the QR code of a sheet holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Otpauth {
    /// The whole URI.
    pub(crate) uri: String,
    /// The key in base 32.
    pub(crate) secret: String,
}

/// A sheet that a run has written, as its JSON document and the file tell.
#[derive(Debug, Clone)]
pub(crate) struct Sheet {
    /// The admin.
    pub(crate) admin: String,
    /// The realm.
    pub(crate) realm: String,
    /// The sheet's id.
    pub(crate) id: String,
    /// Its file.
    pub(crate) path: PathBuf,
}

/// The inventory's `all`: hosts of the lab, each with variables of its own. The program connects as root with the
/// lab's key where those do not say otherwise.
pub(crate) fn all(lab: &Lab, hosts: &[(&str, Value)]) -> Value {
    let hosts: serde_json::Map<String, Value> = hosts
        .iter()
        .map(|(name, own)| {
            let host = lab.host(name);
            let mut variables = json!({
                "ansible_host": host.address(),
                "ansible_port": host.port(),
                "ansible_user": "root",
                "ansible_ssh_private_key_file": lab.root_key(),
            });
            for (key, value) in own.as_object().expect("variables are an object") {
                variables[key] = value.clone();
            }
            ((*name).to_owned(), variables)
        })
        .collect();
    json!({ "hosts": hosts })
}

/// Asserts what holds for an admin whose token is not confirmed: the key alone gets in and nothing is asked, and
/// neither a code alone nor nothing at all does.
#[track_caller]
pub(crate) fn assert_pending(lab: &Lab, host: &str, login: &str, key: &KeyPair) {
    let result = lab.login(
        host,
        login,
        Key::With(key),
        Code::Some("000000"),
        Prefs::Default,
    );
    assert!(
        result.accepted && result.questions.is_empty(),
        "{login}@{host} should get in by key alone: {}",
        result.stderr
    );
    lab.assert_refused(host, login, Key::No, Code::Some("000000"), Prefs::CodeOnly);
    lab.assert_refused(host, login, Key::No, Code::No, Prefs::Default);
}

impl<'lab> Project<'lab> {
    /// Makes a project by `fleetotp init` and gives it an inventory: `{"all": all(..), "admins": {..}, ..}`.
    pub(crate) fn new(lab: &'lab Lab, inventory: &Value) -> Self {
        let project = Self {
            lab,
            dir: tempfile::tempdir().expect("a directory can be made"),
        };
        std::fs::create_dir(project.dir.path().join("home")).expect("it is ours");
        std::fs::create_dir(project.path()).expect("it is ours");
        project.fleetotp(&["init"]).expect_code(0);
        project.set_inventory(inventory);
        project
    }

    /// The project's directory.
    pub(crate) fn path(&self) -> PathBuf {
        self.dir.path().join("project")
    }

    /// A directory beside the project's, for what a test keeps.
    pub(crate) fn scratch(&self) -> &Path {
        self.dir.path()
    }

    /// Replaces the inventory. JSON is YAML.
    pub(crate) fn set_inventory(&self, inventory: &Value) {
        std::fs::write(self.path().join("inventory.yml"), format!("{inventory:#}"))
            .expect("the project can be written");
    }

    /// Replaces a part of `fleetotp.yml`, which has to be there.
    pub(crate) fn change_settings(&self, from: &str, to: &str) {
        let path = self.path().join("fleetotp.yml");
        let text = std::fs::read_to_string(&path).expect("init wrote it");
        assert!(text.contains(from), "{from:?} is not in {text}");
        std::fs::write(&path, text.replace(from, to)).expect("the project can be written");
    }

    /// The program with arguments, ready to be run or spawned: its process id is the child's own.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = self.lab.controller(env!("CARGO_BIN_EXE_fleetotp"));
        command
            .args(args)
            .current_dir(self.path())
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin")
            .env("HOME", self.dir.path().join("home"))
            .env("USER", "tester")
            .env("LANG", "C.UTF-8")
            .envs(self.lab.clock_environment())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Runs the program.
    pub(crate) fn fleetotp(&self, args: &[&str]) -> Ran {
        Self::finish(&mut self.command(args))
    }

    /// Runs the program with a variable of its environment set, such as a test hook.
    pub(crate) fn fleetotp_with(&self, variable: (&str, &str), args: &[&str]) -> Ran {
        Self::finish(self.command(args).env(variable.0, variable.1))
    }

    /// Runs the program with a line on its standard input.
    pub(crate) fn fleetotp_fed(&self, line: &str, args: &[&str]) -> Ran {
        let mut command = self.command(args);
        let mut child = command
            .stdin(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let mut pipe = child.stdin.take().expect("stdin is a pipe");
        // A program that refuses early does not read; that is no failure of the test.
        drop(writeln!(pipe, "{line}"));
        drop(pipe);
        Ran::of(&child.wait_with_output().expect("the program ends"))
    }

    fn finish(command: &mut Command) -> Ran {
        Ran::of(&command.output().expect("the program starts"))
    }

    /// Runs the shipped rollout with more arguments.
    pub(crate) fn rollout(&self, args: &[&str]) -> Ran {
        self.fleetotp(&[&["play", ROLLOUT], args].concat())
    }

    /// Runs `confirm ADMIN` with a code and more arguments.
    pub(crate) fn confirm(&self, admin: &str, code: &str, args: &[&str]) -> Ran {
        crate::lab::typed(code);
        self.fleetotp_fed(code, &[&["confirm", admin], args].concat())
    }

    /// The tokens of `status -o json`, by admin and realm.
    pub(crate) fn status(&self, admin: &str, realm: &str) -> Value {
        let document = self
            .fleetotp(&["status", "-o", "json"])
            .expect_code(0)
            .json();
        let rows = document["tokens"].as_array().expect("a list of tokens");
        let row = rows
            .iter()
            .find(|row| row["admin"] == admin && row["realm"] == realm);
        row.unwrap_or_else(|| panic!("no {admin} in {realm}: {document:#}"))
            .clone()
    }

    /// The run that was last, as `runs list` tells of it.
    pub(crate) fn newest_run(&self) -> Value {
        let shown = self.fleetotp(&["runs", "list", "-n", "1", "-o", "json"]);
        shown.json()["runs"][0].clone()
    }

    /// What `status` says about a token on a host: `staged`, `enforced`, ...
    pub(crate) fn state_on(&self, admin: &str, realm: &str, host: &str) -> String {
        let row = self.status(admin, realm);
        let cell = row["on"]
            .as_array()
            .expect("a list of hosts")
            .iter()
            .find(|cell| cell["host"] == host);
        let cell = cell.unwrap_or_else(|| panic!("no {host}: {row:#}"));
        cell["state"].as_str().expect("a state").to_owned()
    }

    /// The files in the directory of sheets, hidden ones as well.
    pub(crate) fn sheet_files(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.path().join("sheets")).expect("init made it");
        let mut files: Vec<PathBuf> = entries.map(|e| e.expect("an entry").path()).collect();
        files.sort();
        files
    }
}

impl Ran {
    pub(crate) fn of(output: &Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Asserts the exit code.
    #[track_caller]
    pub(crate) fn expect_code(self, code: i32) -> Self {
        assert_eq!(
            self.code,
            code,
            "unexpected exit code; not ok: {:?}\n--- stdout\n{}\n--- stderr\n{}",
            self.not_ok(),
            self.stdout,
            self.stderr
        );
        self
    }

    /// The hosts of a JSON document that are not `ok`, without their changes: first in a message that may be cut.
    fn not_ok(&self) -> Vec<Value> {
        let document: Value = serde_json::from_str(&self.stdout).unwrap_or_default();
        let plays = document["plays"].as_array().cloned().unwrap_or_default();
        let hosts = plays
            .iter()
            .filter_map(|play| play["hosts"].as_array())
            .flatten();
        hosts
            .filter(|host| host["status"] != "ok")
            .map(|host| json!([host["host"], host["status"], host["why"], host["findings"]]))
            .collect()
    }

    /// Asserts that standard output and error together have all these texts.
    #[track_caller]
    pub(crate) fn expect_text(self, wanted: &[&str]) -> Self {
        for text in wanted {
            assert!(
                self.stdout.contains(text) || self.stderr.contains(text),
                "no {text:?} in\n--- stdout\n{}\n--- stderr\n{}",
                self.stdout,
                self.stderr
            );
        }
        self
    }

    /// Asserts that the recap says `changed=0` of every host, and that there is a recap.
    #[track_caller]
    pub(crate) fn expect_unchanged(self) -> Self {
        let recap: Vec<&str> = self
            .stdout
            .lines()
            .filter(|line| line.contains("changed="))
            .collect();
        assert!(
            !recap.is_empty() && recap.iter().all(|line| line.contains("changed=0 ")),
            "something was changed\n--- stdout\n{}\n--- stderr\n{}",
            self.stdout,
            self.stderr
        );
        self
    }

    /// Standard output as the one JSON document it has to be.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|e| panic!("no JSON: {e}\n{}\n{}", self.stdout, self.stderr))
    }

    /// The sheets that this run has written, in a run with `-o json`.
    #[track_caller]
    pub(crate) fn sheets(&self) -> Vec<Sheet> {
        let document = self.json();
        let sheets = document["sheets"].as_array().expect("a list of sheets");
        let text = |sheet: &Value, key: &str| sheet[key].as_str().expect("a text").to_owned();
        sheets
            .iter()
            .map(|sheet| Sheet {
                admin: text(sheet, "admin"),
                realm: text(sheet, "realm"),
                id: text(sheet, "id"),
                path: PathBuf::from(text(sheet, "path")),
            })
            .collect()
    }

    /// The one sheet of an admin in a realm, in a run with `-o json`.
    #[track_caller]
    pub(crate) fn sheet(&self, admin: &str, realm: &str) -> Sheet {
        let sheets = self.sheets();
        let mine: Vec<&Sheet> = sheets
            .iter()
            .filter(|s| s.admin == admin && s.realm == realm)
            .collect();
        assert_eq!(mine.len(), 1, "{admin} in {realm}: {sheets:?}");
        mine[0].clone()
    }
}

impl Sheet {
    /// Reads the QR code of a plain sheet as a phone would.
    pub(crate) fn scan(&self) -> Otpauth {
        scan(&self.path)
    }
}

impl Otpauth {
    /// An authenticator that has scanned it.
    pub(crate) fn totp(&self) -> Totp {
        Totp::new(&self.secret)
    }

    /// The same under a policy whose window is [`WINDOW`].
    pub(crate) fn wide_totp(&self) -> Totp {
        Totp::with_window(&self.secret, WINDOW)
    }
}

/// Reads the QR code of a plain PDF: drawn by `pdftoppm` at 150 dpi, read by `zbarimg`. Not by way of PNG: packing that
/// takes ten times as long as all else. Every second line of pixels is enough: a module of the code has six.
pub(crate) fn scan(pdf: &Path) -> Otpauth {
    let dir = tempfile::tempdir().expect("a directory can be made");
    let page = dir.path().join("page");
    run(Command::new("pdftoppm")
        .args(["-r", "150", "-gray", "-singlefile"])
        .arg(pdf)
        .arg(&page));
    let uri = run(Command::new("zbarimg")
        .args(["--quiet", "--raw", "--nodbus"])
        .args([
            "-Sdisable",
            "-Sqrcode.enable",
            "-Sx-density=2",
            "-Sy-density=2",
        ])
        .arg(page.with_extension("pgm")))
    .trim_end()
    .to_owned();
    let secret = uri
        .split(['?', '&'])
        .find_map(|part| part.strip_prefix("secret="))
        .unwrap_or_else(|| panic!("no key in {uri}"))
        .to_owned();
    Otpauth { uri, secret }
}
