//! Inventory sources: which reader a source wants, and how directories are walked.

mod ini;
mod list;
mod script;
pub(crate) mod yaml;

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::LoadOptions;
use super::data::Data;
use super::enrolment::Declared;
use super::value::Origin;
use crate::error::{Error, Kind};
use crate::text::{FileError, Position, SourceFile, yaml as text_yaml};

/// What ends with one of these is skipped in a directory, as in Ansible.
const SKIPPED_ENDINGS: [&str; 12] = [
    ".pyc", ".pyo", ".swp", ".bak", "~", ".rpm", ".md", ".txt", ".rst", ".orig", ".cfg", ".retry",
];
/// Directories of variables are no sources.
const SKIPPED_NAMES: [&str; 3] = ["host_vars", "group_vars", "vars_plugins"];
/// How deep directories of sources may nest.
const MAX_DIRECTORY_DEPTH: usize = 16;

/// What sources fill.
#[derive(Debug)]
pub(crate) struct Sink {
    pub(crate) data: Data,
    pub(crate) declared: Declared,
    /// What was read, for `inventory validate`.
    pub(crate) read: Vec<SourceRead>,
}

/// A source that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceRead {
    /// The source as shown to the user.
    pub name: String,
    /// Its kind: `yaml`, `ini`, `script`, `list` or `csv`.
    pub kind: &'static str,
    /// Hosts that it was the first to name.
    pub hosts: usize,
    /// Admins that it declares.
    pub admins: usize,
}

impl Sink {
    /// Notes what was read since the last time.
    fn note(&mut self, name: &str, kind: &'static str) {
        let before = |of: fn(&SourceRead) -> usize| self.read.iter().map(of).sum::<usize>();
        let hosts = self.data.hosts.len() - before(|s| s.hosts);
        let admins = self.declared.admin_count() - before(|s| s.admins);
        self.read.push(SourceRead {
            name: name.to_owned(),
            kind,
            hosts,
            admins,
        });
    }
}

/// Reads one source as given by `-i` or in the project file.
///
/// Returns the directory in which its `group_vars` and `host_vars` lie; comma lists have none.
pub(crate) fn read(
    source: &str,
    cwd: &Path,
    options: &LoadOptions<'_>,
    sink: &mut Sink,
) -> Result<Option<PathBuf>, Error> {
    if source.is_empty() {
        return Err(Error::usage("an inventory source is empty"));
    }
    let path = cwd.join(source);
    if !path.exists() {
        if source.contains(',') {
            list::read(source, sink)?;
            sink.note(source, "list");
            return Ok(None);
        }
        return Err(
            Error::failed(format!("the inventory source `{source}` does not exist")).hinted(
                format!("to name a single host, add a comma: -i '{source},'"),
            ),
        );
    }
    if path.is_dir() {
        read_directory(&path, source, 0, options, sink)?;
        return Ok(Some(path));
    }
    read_file(&path, source, options, sink)?;
    Ok(Some(path.parent().unwrap_or(cwd).to_path_buf()))
}

fn read_directory(
    path: &Path,
    shown: &str,
    depth: usize,
    options: &LoadOptions<'_>,
    sink: &mut Sink,
) -> Result<(), Error> {
    let cannot = |e: std::io::Error| {
        Error::failed(format!("cannot read the inventory directory `{shown}`")).caused_by(e)
    };
    if depth > MAX_DIRECTORY_DEPTH {
        return Err(Error::failed(format!(
            "the inventory directory `{shown}` nests more than {MAX_DIRECTORY_DEPTH} levels deep"
        )));
    }
    let mut names = Vec::new();
    for entry in std::fs::read_dir(path).map_err(cannot)? {
        let name = entry.map_err(cannot)?.file_name();
        let Some(name) = name.to_str() else {
            return Err(Error::failed(format!(
                "a file name in `{shown}` is not valid UTF-8"
            )));
        };
        let skipped = name.starts_with('.')
            || SKIPPED_NAMES.contains(&name)
            || SKIPPED_ENDINGS.iter().any(|ending| name.ends_with(ending));
        if !skipped {
            names.push(name.to_owned());
        }
    }
    names.sort_unstable();
    let shown = shown.trim_end_matches('/');
    if names.is_empty() && depth == 0 {
        return Err(Error::new(
            Kind::File,
            format!("the inventory directory `{shown}` holds no source"),
        ));
    }
    for name in names {
        let path = path.join(&name);
        let shown = format!("{shown}/{name}");
        if path.is_dir() {
            read_directory(&path, &shown, depth + 1, options, sink)?;
        } else {
            read_file(&path, &shown, options, sink)?;
        }
    }
    Ok(())
}

/// More than any inventory file can be, and little enough to be read: a device or a log was named by mistake.
const MAX_SOURCE: u64 = 32 * 1024 * 1024;

/// Reads a text file; `None` where it is a program.
fn read_text(path: &Path, shown: &str) -> Result<SourceFile, Error> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(MAX_SOURCE + 1).read_to_end(&mut bytes))
        .map_err(|e| {
            Error::failed(format!("cannot read the inventory source `{shown}`")).caused_by(e)
        })?;
    if bytes.len() as u64 > MAX_SOURCE {
        let mut error = FileError::whole(shown, "larger than 32 MiB, which no inventory is");
        error.position = Some(Position::new(1, 1));
        return Err(error.into());
    }
    let text = String::from_utf8(bytes).map_err(|e| {
        let line = e
            .as_bytes()
            .iter()
            .take(e.utf8_error().valid_up_to())
            .filter(|b| **b == b'\n')
            .count();
        let mut error = FileError::whole(shown, "not valid UTF-8");
        error.position = Some(Position::new(line + 1, 1));
        error
    })?;
    Ok(source_file(shown, text))
}

/// Makes a source whose lines are shown in errors only if nothing in it looks like a secret.
pub(crate) fn source_file(shown: &str, text: String) -> SourceFile {
    let lower = text.to_ascii_lowercase();
    if ["passw", "_pass", "secret", "token", "vault"]
        .iter()
        .any(|word| lower.contains(word))
    {
        SourceFile::secret(shown, text)
    } else {
        SourceFile::new(shown, text)
    }
}

fn read_file(
    path: &Path,
    shown: &str,
    options: &LoadOptions<'_>,
    sink: &mut Sink,
) -> Result<(), Error> {
    let extension = path
        .extension()
        .and_then(|e| e.to_str())
        .unwrap_or_default();
    let kind = if script::is_program(path) {
        script::read(path, shown, options, sink)?;
        "script"
    } else {
        let file = read_text(path, shown)?;
        read_source_text(&file, extension, sink)?
    };
    sink.note(shown, kind);
    Ok(())
}

fn read_source_text(
    file: &SourceFile,
    extension: &str,
    sink: &mut Sink,
) -> Result<&'static str, Error> {
    let text = file.text();
    if text.starts_with("#!") {
        return Err(file
            .error(Position::new(1, 1), "this is a script but not executable")
            .hinted("make it executable: chmod +x")
            .into());
    }
    if text.starts_with("$ANSIBLE_VAULT") {
        return Err(vaulted(file).into());
    }
    match extension {
        "csv" => {
            sink.declared.read_csv(file)?;
            Ok("csv")
        }
        "toml" => Err(file
            .error_whole("TOML inventories are not supported")
            .hinted(REMEDY)
            .into()),
        "yml" | "yaml" | "json" | "" => {
            // A file that is INI in spite of its name begins with a section, which is not YAML.
            let ini_first = first_line(text).is_some_and(ini::is_section);
            match text_yaml::parse(file) {
                Ok(root) if root.as_mapping().is_some() => yaml::read(file, &root, sink)?,
                Ok(root) if !extension.is_empty() => {
                    return Err(if root.is_null() {
                        file.error_whole("the inventory is empty").into()
                    } else {
                        file.error(
                            root.position,
                            format!(
                                "an inventory is a mapping of groups, not {}",
                                root.describe()
                            ),
                        )
                        .into()
                    });
                }
                Err(error) if !ini_first && looks_like_yaml(text, extension) => {
                    return Err(error.into());
                }
                Ok(_) | Err(_) => {
                    ini::read(file, sink)?;
                    return Ok("ini");
                }
            }
            Ok("yaml")
        }
        _ => {
            ini::read(file, sink)?;
            Ok("ini")
        }
    }
}

/// What to do about an inventory that only Ansible itself can read.
pub(crate) const REMEDY: &str =
    "use a script as the source (-i) that runs `ansible-inventory --list`";

fn vaulted(file: &SourceFile) -> FileError {
    file.error(
        Position::new(1, 1),
        "this file is encrypted with ansible-vault",
    )
    .hinted(REMEDY)
}

/// Reads a file of variables; `None` where it is empty.
pub(crate) fn read_vars_file(
    path: &Path,
    shown: &str,
) -> Result<Option<(SourceFile, text_yaml::Node)>, Error> {
    let file = read_text(path, shown)?;
    // Files of variables are where secrets are kept.
    let file = SourceFile::secret(shown, file.text());
    if file.text().starts_with("$ANSIBLE_VAULT") {
        return Err(vaulted(&file).into());
    }
    let root = text_yaml::parse(&file)?;
    if root.is_null() {
        return Ok(None);
    }
    if root.as_mapping().is_none() {
        return Err(file
            .error(
                root.position,
                format!("variables are a mapping, not {}", root.describe()),
            )
            .into());
    }
    Ok(Some((file, root)))
}

fn first_line(text: &str) -> Option<&str> {
    text.lines()
        .map(str::trim)
        .find(|line| !line.is_empty() && !line.starts_with(['#', ';']))
}

fn looks_like_yaml(text: &str, extension: &str) -> bool {
    !extension.is_empty()
        || first_line(text)
            .is_some_and(|line| line == "---" || line.ends_with(':') || line.starts_with('{'))
}

/// An origin at a place of a file.
pub(crate) fn at(file: &SourceFile, position: Position) -> Origin {
    Origin {
        file: file.clone(),
        position,
    }
}

/// A variable's name, shared by all hosts that have it.
pub(crate) fn shared(name: &str) -> Arc<str> {
    Arc::from(name)
}
