//! `fleetotp init`: makes a project's directory.

use std::fmt::Write as _;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use serde_json::json;

use crate::clock::{Clock, Entropy};
use crate::error::Error;
use crate::exit;
use crate::ledger::Ledger;
use crate::vault::generate_identity;

use super::globals::Output;

const SETTINGS: &str = include_str!("../../templates/project/fleetotp.yml");
const INVENTORY: &str = include_str!("../../templates/project/inventory.yml");

/// What a directory may hold that Ansible would call an inventory; the first one found is used.
const INVENTORIES: [&str; 7] = [
    "inventory.yml",
    "inventory.yaml",
    "inventory.ini",
    "inventory",
    "hosts.yml",
    "hosts.ini",
    "hosts",
];

/// Lines for `.gitignore`: secrets and their ciphertexts have no place in a repository.
const IGNORED: [&str; 2] = ["/state/", "/sheets/"];

/// Makes a project directory: settings, key, ledger
#[derive(Debug, Clone, Args)]
pub struct InitArgs {
    /// Directory of the project; made if missing
    #[arg(value_name = "DIR", default_value = ".")]
    pub dir: PathBuf,
}

/// What was made.
#[derive(Debug)]
struct Made {
    /// The directory, as the user named it.
    shown: PathBuf,
    project: String,
    recipient: String,
    inventory: String,
    /// Whether a starter inventory was written.
    starter: bool,
    /// Whether `.gitignore` was written or extended.
    ignored: bool,
}

/// Runs the command: makes everything or says why not. Nothing that exists is overwritten.
///
/// # Errors
/// When the directory holds a project already, or something cannot be written.
pub async fn run(
    args: &InitArgs,
    output: Output,
    cwd: &Path,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    out: &mut (dyn std::io::Write + Send),
) -> Result<u8, Error> {
    let root = cwd.join(&args.dir);
    refuse_existing(&root, &args.dir)?;
    let made = make(&root, &args.dir, clock, entropy).await?;
    let text = match output {
        Output::Text => made.text(),
        Output::Json => made.json(),
    };
    out.write_all(text.as_bytes())
        .map_err(|e| Error::failed("cannot write the result").caused_by(e))?;
    Ok(exit::DONE)
}

/// Looks for everything before anything is written, so that a refusal leaves the directory as it was.
fn refuse_existing(root: &Path, shown: &Path) -> Result<(), Error> {
    for name in ["fleetotp.yml", "state/ledger.db", "state/identity.txt"] {
        if fs::symlink_metadata(root.join(name)).is_ok() {
            let hint = if name == "fleetotp.yml" {
                "use this project as it is, or give another directory"
            } else {
                "an earlier project, or an `init` that was cut short, left it: use another directory, or move `state` away \
                 if no host was ever enrolled with it"
            };
            return Err(Error::failed(format!(
                "`{}` exists already, and init overwrites nothing",
                shown.join(name).display()
            ))
            .hinted(hint));
        }
    }
    Ok(())
}

async fn make(
    root: &Path,
    shown: &Path,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
) -> Result<Made, Error> {
    fs::create_dir_all(root).map_err(cannot("make the directory", root))?;
    private_dir(&root.join("state"))?;
    private_dir(&root.join("sheets"))?;
    let identity = generate_identity(clock.now());
    // The key before the ledger, and the settings last: cut short anywhere, there is no project that lacks its key.
    new_file(
        &root.join("state/identity.txt"),
        identity.file.expose().as_bytes(),
        0o600,
    )?;
    let ledger = Ledger::create(&root.join("state/ledger.db"), clock, entropy).await?;
    let project = ledger.project_id().to_string();
    ledger.close().await;
    let found = INVENTORIES
        .into_iter()
        .find(|name| root.join(name).exists());
    let inventory = found.unwrap_or("inventory.yml").to_owned();
    if found.is_none() {
        new_file(&root.join(&inventory), INVENTORY.as_bytes(), 0o644)?;
    }
    let ignored = ignore(&root.join(".gitignore"))?;
    let recipient = identity.recipient.to_string();
    let settings = SETTINGS
        .replace("{inventory}", &inventory)
        .replace("{recipient}", &recipient);
    new_file(&root.join("fleetotp.yml"), settings.as_bytes(), 0o644)?;
    Ok(Made {
        shown: shown.to_owned(),
        project,
        recipient,
        inventory,
        starter: found.is_none(),
        ignored,
    })
}

impl Made {
    fn text(&self) -> String {
        let mut text = format!("made a project in {}:\n", self.shown.display());
        let mut line = |name: &str, what: &str| {
            // Writing to a string cannot fail.
            _ = writeln!(text, "  {name:<20} {what}");
        };
        line("fleetotp.yml", "settings, each with its explanation");
        line(
            "state/identity.txt",
            "the key that opens the secrets; nobody else can read it",
        );
        line(
            "state/ledger.db",
            "the ledger: tokens, sheets, hosts, event log",
        );
        line("sheets/", "enrolment sheets will be written here");
        if self.starter {
            line(&self.inventory, "a start: name your hosts and admins here");
        }
        if self.ignored {
            line(".gitignore", "keeps state/ and sheets/ out of Git");
        }
        _ = write!(
            text,
            "
project id   {}
public key   {}

Back up state/identity.txt now, to a place that is not this machine. Without it nobody can open the secrets in the
ledger: no code can be confirmed here, a new or reinstalled host cannot be given the codes that admins already have, and
in the end every admin needs a new sheet.
Back up state/ledger.db after every run. Without it fleetotp no longer knows which sheet, token and host belong together.
Whoever holds both can compute every admin's codes: keep the two backups apart.

Next: name hosts and admins in {}, then run `fleetotp inventory validate`.
",
            self.project, self.recipient, self.inventory
        );
        text
    }

    fn json(&self) -> String {
        let at = |name: &str| self.shown.join(name).display().to_string();
        let value = json!({
            "project": self.project,
            "recipient": self.recipient,
            "config": at("fleetotp.yml"),
            "identity": at("state/identity.txt"),
            "ledger": at("state/ledger.db"),
            "sheets": at("sheets"),
            "inventory": at(&self.inventory),
            "inventory_made": self.starter,
            "back_up": [at("state/identity.txt"), at("state/ledger.db")],
        });
        format!("{value:#}\n")
    }
}

/// Makes a directory that only its owner can enter; one that is there keeps its mode.
fn private_dir(path: &Path) -> Result<(), Error> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(cannot("make the directory", path))
}

/// Writes a file that must not exist yet, down to the disk.
fn new_file(path: &Path, content: &[u8], mode: u32) -> Result<(), Error> {
    let write = || -> std::io::Result<()> {
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(path)?;
        file.write_all(content)?;
        file.sync_all()?;
        if let Some(parent) = path.parent() {
            fs::File::open(parent)?.sync_all()?;
        }
        Ok(())
    };
    write().map_err(cannot("write", path))
}

/// Adds what is missing to `.gitignore`; returns whether anything was.
fn ignore(path: &Path) -> Result<bool, Error> {
    let present = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(e) => return Err(cannot("read", path)(e)),
    };
    let mut added = String::new();
    for entry in IGNORED {
        if !present.lines().any(|line| line.trim() == entry) {
            added.push_str(entry);
            added.push('\n');
        }
    }
    if added.is_empty() {
        return Ok(false);
    }
    if !present.is_empty() && !present.ends_with('\n') {
        added.insert(0, '\n');
    }
    OpenOptions::new()
        .append(true)
        .create(true)
        .open(path)
        .and_then(|mut file| file.write_all(added.as_bytes()))
        .map_err(cannot("write", path))?;
    Ok(true)
}

fn cannot(what: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::failed(format!("cannot {what} `{}`", path.display())).caused_by(source)
}
