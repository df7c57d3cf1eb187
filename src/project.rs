//! The project file `fleetotp.yml`: where things are and what this organisation's sheets look like.

use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::Deserialize;

use crate::clock::Span;
use crate::error::Error;
use crate::names::{AdminName, Login};
use crate::text::{SourceFile, yaml};

/// The name under which the project file is looked for in the working directory.
pub const FILE_NAME: &str = "fleetotp.yml";

/// The settings of a project, as written; paths are relative to the file's directory.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(title = "fleetotp project file")]
pub struct Settings {
    /// Inventory sources, in order; `-i` replaces them.
    pub inventory: Vec<String>,
    /// The ledger: a path or a `sqlite:` URL; `--state` replaces it.
    pub state: String,
    /// Who can read secrets.
    pub vault: VaultSettings,
    /// How sheets are made.
    pub sheets: SheetSettings,
    /// Accepted, and not used yet.
    pub reports: ReportSettings,
    /// How the event log is attested.
    pub audit: AuditSettings,
    /// What is made of logins.
    pub activity: ActivitySettings,
    /// Accounts that are never managed; the connecting login is implied.
    pub protected: Vec<Login>,
    /// The admin whose token fleetotp uses itself, where a host asks its own account for a code.
    pub own_token: Option<AdminName>,
    /// How unknown host keys are treated.
    pub host_key: HostKey,
    /// How long a connection may take to be authenticated.
    pub connect_timeout: Span,
    /// How long a host waits for the confirmation of a change before it reverts it by itself.
    pub revert_after: Span,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            inventory: vec!["inventory.yml".to_owned()],
            state: "state/ledger.db".to_owned(),
            vault: VaultSettings::default(),
            sheets: SheetSettings::default(),
            reports: ReportSettings::default(),
            audit: AuditSettings::default(),
            activity: ActivitySettings::default(),
            protected: Vec::new(),
            own_token: None,
            host_key: HostKey::Strict,
            connect_timeout: Span::from_secs(10),
            revert_after: Span::from_secs(90),
        }
    }
}

/// Who can read secrets.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct VaultSettings {
    /// age public keys every secret is encrypted to; encrypting needs nothing else.
    pub recipients: Vec<String>,
    /// The age identity file, for what must read a secret; `--identity` replaces it.
    pub identity: Option<PathBuf>,
}

/// How sheets are made.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SheetSettings {
    /// Directory of the sheets.
    pub dir: PathBuf,
    /// Allows plain PDFs where CI is detected.
    pub plaintext: bool,
    /// Language where the admin has none.
    pub language: String,
    /// Organisation, as printed in the heading; the policy's issuer where absent.
    pub organisation: Option<String>,
    /// Whom to ask, as printed on the sheet.
    pub contact: Option<String>,
    /// A PNG logo.
    pub logo: Option<PathBuf>,
    /// Accent colour, `#rrggbb`; needs a contrast of 4.5:1 with white.
    pub accent: Option<String>,
    /// Directory of sheet texts that win over the built-in ones.
    pub templates: Option<PathBuf>,
    /// A TrueType font for names that the built-in one does not cover.
    pub font: Option<PathBuf>,
}

impl Default for SheetSettings {
    fn default() -> Self {
        Self {
            dir: PathBuf::from("sheets"),
            plaintext: false,
            language: "en".to_owned(),
            organisation: None,
            contact: None,
            logo: None,
            accent: None,
            templates: None,
            font: None,
        }
    }
}

/// Where reports would go: accepted, and not used yet.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ReportSettings {
    /// Directory of the reports.
    pub dir: PathBuf,
}

impl Default for ReportSettings {
    fn default() -> Self {
        Self {
            dir: PathBuf::from("reports"),
        }
    }
}

/// How the event log is attested.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AuditSettings {
    /// The SSH key that signs heads of the log: a private key's file, or a public key's whose private half an agent holds.
    /// `none` says that heads are no longer to be signed.
    pub signing_key: Option<PathBuf>,
}

/// What is made of logins.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ActivitySettings {
    /// Databases of addresses in MaxMind's format; `--geo` replaces them.
    pub geo: Vec<PathBuf>,
    /// Who is sent new findings; `--webhook` replaces it.
    pub webhook: Option<WebhookSettings>,
}

/// A web server that is sent findings.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WebhookSettings {
    /// Where to.
    pub url: String,
    /// File with a header that goes with it, such as `Authorization: Bearer …`; nobody else may read it.
    #[serde(default)]
    pub header_file: Option<PathBuf>,
}

/// How unknown host keys are treated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum HostKey {
    /// A host whose key is not known is unreachable.
    Strict,
    /// The first key seen is kept; a changed key is refused.
    AcceptNew,
}

/// A project: its settings and where they came from.
#[derive(Debug, Clone)]
pub struct Project {
    /// Directory against which paths are resolved.
    pub root: PathBuf,
    /// The settings.
    pub settings: Settings,
    /// Whether there is a project file; without one the settings are the defaults.
    pub has_file: bool,
}

impl Project {
    /// Reads the project file: `explicit`, else `fleetotp.yml` in `cwd`, else the defaults with `cwd` as the root.
    ///
    /// # Errors
    /// An explicit file that is not there, a file that cannot be read, and what is wrong in it (at its position).
    pub fn load(explicit: Option<&Path>, cwd: &Path) -> Result<Self, Error> {
        let path = cwd.join(explicit.unwrap_or(Path::new(FILE_NAME)));
        let shown = explicit
            .unwrap_or(Path::new(FILE_NAME))
            .display()
            .to_string();
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound && explicit.is_none() => {
                return Ok(Self {
                    root: cwd.to_path_buf(),
                    settings: Settings::default(),
                    has_file: false,
                });
            }
            Err(e) => {
                return Err(
                    Error::failed(format!("cannot read the project file `{shown}`")).caused_by(e),
                );
            }
        };
        let settings = yaml::from_source(&SourceFile::new(shown, text))?;
        Ok(Self {
            root: path.parent().unwrap_or(cwd).to_path_buf(),
            settings,
            has_file: true,
        })
    }

    /// Returns `path` against the project's directory; absolute paths stay as they are.
    pub fn resolve(&self, path: &Path) -> PathBuf {
        self.root.join(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_without_a_project_file_has_the_defaults() {
        let dir = tempfile::tempdir().unwrap();
        let project = Project::load(None, dir.path()).unwrap();
        assert_eq!(project.root, dir.path());
        assert_eq!(project.settings.inventory, ["inventory.yml"]);
        let error = Project::load(Some(Path::new("x.yml")), dir.path()).unwrap_err();
        assert_eq!(error.kind().code(), 1);
    }

    #[test]
    fn paths_are_relative_to_the_file_and_errors_have_a_place() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("p")).unwrap();
        let file = dir.path().join("p/f.yml");
        std::fs::write(
            &file,
            "protected: [root, deploy]\nconnect_timeout: 5s\nvault:\n",
        )
        .unwrap();
        let project = Project::load(Some(Path::new("p/f.yml")), dir.path()).unwrap();
        assert_eq!(project.root, dir.path().join("p"));
        assert_eq!(project.settings.protected.len(), 2);
        assert_eq!(project.settings.connect_timeout, Span::from_secs(5));
        std::fs::write(&file, "sheets:\n  languge: fr\n").unwrap();
        let error = Project::load(Some(Path::new("p/f.yml")), dir.path()).unwrap_err();
        insta::assert_snapshot!(error.report(), @r"
        error: p/f.yml:2:3: unknown key `languge`
           |
         2 |   languge: fr
           |   ^^^^^^^
        hint: did you mean `language`?
        ");
    }
}
