//! What commands stand on: the machine around them, and the project's inventory, ledger and vault.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::globals::{Globals, HostKeyArg};
use super::inventory;
use crate::audit::ssh::Signer;
use crate::clock::{Clock, Entropy, SystemClock, SystemEntropy};
use crate::error::Error;
use crate::fleet::target::Defaults;
use crate::inventory::Inventory;
use crate::ledger::{Actor, Ledger, locate};
use crate::project::{HostKey, Project};
use crate::vault::Vault;

/// The machine around a command.
#[derive(Debug, Clone)]
pub struct World {
    /// The working directory.
    pub cwd: PathBuf,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub entropy: Arc<dyn Entropy>,
    /// Whether this runs in a CI job.
    pub in_ci: bool,
    /// Whether that job is one of GitHub's.
    pub in_github: bool,
    /// Who runs it, as far as the environment says.
    pub actor: Actor,
}

impl World {
    /// The real one.
    ///
    /// # Errors
    /// When there is no working directory.
    pub fn real() -> Result<Self, Error> {
        let cwd = std::env::current_dir()
            .map_err(|e| Error::failed("cannot tell the working directory").caused_by(e))?;
        Ok(Self {
            cwd,
            clock: Arc::new(SystemClock),
            entropy: Arc::new(SystemEntropy),
            in_ci: std::env::var("CI").is_ok_and(|v| !v.is_empty() && v != "false" && v != "0"),
            in_github: std::env::var("GITHUB_ACTIONS").is_ok_and(|v| v == "true"),
            actor: actor(|name| std::env::var(name).ok().filter(|v| !v.is_empty())),
        })
    }
}

impl World {
    /// The same, run by somebody who says who they are.
    ///
    /// # Errors
    /// When the name is empty.
    pub fn acting_as(mut self, name: Option<&str>) -> Result<Self, Error> {
        if let Some(name) = name {
            let name = crate::names::printable(name.trim(), 200);
            if name.is_empty() {
                return Err(Error::usage("--actor names nobody"));
            }
            self.actor = Actor {
                name,
                claimed: true,
            };
        }
        Ok(self)
    }
}

/// The CI job, the user behind sudo, or the user: a claim of the environment, marked as such.
fn actor(variable: impl Fn(&str) -> Option<String>) -> Actor {
    let ci = ["CI_JOB_URL", "GITHUB_RUN_ID", "BUILD_TAG"]
        .iter()
        .find_map(|n| variable(n).map(|v| format!("ci:{v}")));
    let name = ci
        .or_else(|| variable("SUDO_USER"))
        .or_else(|| variable("USER"))
        .or_else(|| variable("LOGNAME"))
        .unwrap_or_else(|| "unknown".to_owned());
    Actor {
        name: crate::names::printable(&name, 200),
        claimed: true,
    }
}

/// Returns the key file that signs heads of the event log, if a project names one.
pub fn signing_key(project: &Project) -> Option<PathBuf> {
    let path = project.settings.audit.signing_key.as_ref()?;
    (path != Path::new("none")).then(|| project.resolve(path))
}

/// A project, opened.
#[derive(Debug)]
pub struct Setup {
    /// The project file.
    pub project: Project,
    /// Hosts and admins.
    pub inventory: Inventory,
    /// Tokens, sheets, observations, events.
    pub ledger: Ledger,
    /// Seals and opens secrets.
    pub vault: Arc<Vault>,
}

impl Setup {
    /// Reads the project file and the inventory, then opens ledger and vault.
    ///
    /// # Errors
    /// What is wrong with any of them.
    pub async fn open(globals: &Globals, world: &World) -> Result<Self, Error> {
        let project = Project::load(globals.config.as_deref(), &world.cwd)?;
        let inventory = inventory::load(globals, &project)?;
        let (state, base): (&str, &Path) = match &globals.state {
            Some(state) => (state, &world.cwd),
            None => (&project.settings.state, &project.root),
        };
        let ledger = Ledger::open(
            &locate(state, base)?,
            world.clock.clone(),
            world.entropy.clone(),
        )
        .await?;
        let identity = match &globals.identity {
            Some(path) => Some(world.cwd.join(path)),
            None => project
                .settings
                .vault
                .identity
                .as_ref()
                .map(|p| project.resolve(p)),
        };
        let vault = Arc::new(Vault::parse(&project.settings.vault.recipients, identity)?);
        for warning in inventory.warnings() {
            tracing::warn!("{warning}");
        }
        Ok(Self {
            project,
            inventory,
            ledger,
            vault,
        })
    }

    /// Returns the key file that signs heads of the event log, if the project names one.
    pub fn signing_key(&self) -> Option<PathBuf> {
        signing_key(&self.project)
    }

    /// Returns what signs heads of the event log; `None` where heads were never to be signed, or are no longer to be.
    ///
    /// # Errors
    /// When the key is gone, or the setting: heads that were signed do not become unsigned in silence.
    pub async fn signer(&self) -> Result<Option<Signer>, Error> {
        if let Some(path) = self.signing_key() {
            return Signer::open(&path).map(Some);
        }
        let setting = &self.project.settings.audit.signing_key;
        match self.ledger.last_signing_key().await? {
            Some(key) if setting.is_none() => Err(Error::failed(format!(
                "the heads of this event log were signed by {key}, and fleetotp.yml names no signing key"
            ))
            .hinted(
                "set `audit: {signing_key: FILE}`; with `none` heads stay unsigned from now on, and `audit verify` says so",
            )),
            _ => Ok(None),
        }
    }

    /// Returns what flags and project say about connections.
    pub fn defaults(&self, globals: &Globals, cwd: &Path) -> Defaults {
        Defaults {
            user: globals.user.clone(),
            sudo: globals.r#become,
            private_key: globals.private_key.as_ref().map(|p| cwd.join(p)),
            host_key: match globals.host_key {
                Some(HostKeyArg::Strict) => HostKey::Strict,
                Some(HostKeyArg::AcceptNew) => HostKey::AcceptNew,
                None => self.project.settings.host_key,
            },
            connect_timeout: self.project.settings.connect_timeout.duration(),
        }
    }
}
