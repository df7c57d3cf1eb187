//! `group_vars/` and `host_vars/` beside a source.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use super::data::{Data, GroupId, HostId};
use super::sources::{read_vars_file, yaml::read_vars};
use super::value::Vars;
use crate::error::Error;
use crate::names::printable;
use crate::text::suggest;

/// Tried in this order after the bare name; the first that exists counts.
const EXTENSIONS: [&str; 3] = [".yml", ".yaml", ".json"];
/// How deep directories of variables may nest.
const MAX_DEPTH: usize = 16;

/// The variables that lie beside one source.
#[derive(Debug)]
pub(crate) struct VarsDirectory {
    pub(crate) groups: HashMap<GroupId, Vars>,
    pub(crate) hosts: HashMap<HostId, Vars>,
}

/// Reads the variables beside a source for every group and host.
pub(crate) fn read(directory: &Path, data: &mut Data) -> Result<VarsDirectory, Error> {
    let groups = Entities::open(directory, "group_vars")?;
    let hosts = Entities::open(directory, "host_vars")?;
    let mut read = VarsDirectory {
        groups: HashMap::new(),
        hosts: HashMap::new(),
    };
    for (id, name) in data.groups.keys().enumerate() {
        read.groups
            .extend(groups.read(name)?.map(|vars| (id, vars)));
    }
    for (id, name) in data.hosts.keys().enumerate() {
        read.hosts.extend(hosts.read(name)?.map(|vars| (id, vars)));
    }
    let known: Vec<&str> = data.groups.keys().map(|n| &**n).collect();
    let mut unused = groups.unused("group", &known);
    let known: Vec<&str> = data.hosts.keys().map(|n| &**n).collect();
    unused.extend(hosts.unused("host", &known));
    data.warnings.extend(unused);
    Ok(read)
}

/// One of the two directories, listed once: ten thousand hosts would otherwise mean forty thousand look-ups.
struct Entities {
    path: PathBuf,
    shown: String,
    names: HashSet<String>,
}

impl Entities {
    fn open(directory: &Path, kind: &str) -> Result<Self, Error> {
        let path = directory.join(kind);
        let shown = path.display().to_string();
        let mut names = HashSet::new();
        if path.is_dir() {
            names.extend(list(&path, &shown)?);
        }
        Ok(Self { path, shown, names })
    }

    fn has(&self, name: &str) -> bool {
        // A name with a slash lies deeper than the listing.
        if name.contains('/') {
            self.path.join(name).exists()
        } else {
            self.names.contains(name)
        }
    }

    /// Reads the variables of one group or host; `None` where it has none.
    fn read(&self, name: &str) -> Result<Option<Vars>, Error> {
        let found = std::iter::once(name.to_owned())
            .chain(EXTENSIONS.iter().map(|ext| format!("{name}{ext}")))
            .find(|file| self.has(file));
        let Some(file) = found else {
            return Ok(None);
        };
        let mut vars = Vars::new();
        let path = self.path.join(&file);
        let shown = format!("{}/{file}", self.shown);
        if path.is_dir() {
            read_directory(&path, &shown, 0, &mut vars)?;
        } else {
            read_into(&path, &shown, &mut vars)?;
        }
        Ok(Some(vars))
    }

    /// Says which files belong to nothing: often a misspelt name, yet legal, so no error.
    fn unused(&self, noun: &str, known: &[&str]) -> Vec<String> {
        let used: HashSet<&str> = known.iter().copied().collect();
        let mut unused: Vec<&str> = self
            .names
            .iter()
            .map(String::as_str)
            .filter(|name| !name.starts_with('.') && !name.ends_with('~'))
            .filter(|name| {
                !used.contains(name)
                    && !EXTENSIONS
                        .iter()
                        .filter_map(|ext| name.strip_suffix(ext))
                        .any(|stem| used.contains(stem))
            })
            .collect();
        unused.sort_unstable();
        unused
            .into_iter()
            .map(|name| {
                let stem = EXTENSIONS
                    .iter()
                    .find_map(|ext| name.strip_suffix(ext))
                    .unwrap_or(name);
                let hint = suggest::hint(stem, known.iter().copied())
                    .map_or_else(String::new, |hint| format!(": {hint}"));
                format!(
                    "`{}/{}` belongs to no {noun}{hint}",
                    self.shown,
                    printable(name, 80)
                )
            })
            .collect()
    }
}

fn list(path: &Path, shown: &str) -> Result<Vec<String>, Error> {
    let cannot = |e| Error::failed(format!("cannot read the directory `{shown}`")).caused_by(e);
    let mut names = Vec::new();
    for entry in std::fs::read_dir(path).map_err(cannot)? {
        // A name that is not UTF-8 is no group's or host's.
        names.extend(entry.map_err(cannot)?.file_name().into_string().ok());
    }
    names.sort_unstable();
    Ok(names)
}

fn read_directory(path: &Path, shown: &str, depth: usize, vars: &mut Vars) -> Result<(), Error> {
    if depth > MAX_DEPTH {
        return Err(Error::failed(format!(
            "the directory `{shown}` nests more than {MAX_DEPTH} levels deep"
        )));
    }
    for name in list(path, shown)? {
        if name.starts_with('.') || name.ends_with('~') {
            continue;
        }
        let file = path.join(&name);
        let shown = format!("{shown}/{name}");
        // As Python's splitext: a dot counts unless it leads.
        let extension = name
            .rfind('.')
            .filter(|i| *i > 0)
            .and_then(|i| name.get(i..));
        if file.is_dir() {
            if extension.is_none() {
                read_directory(&file, &shown, depth + 1, vars)?;
            }
        } else if extension.is_none_or(|ext| EXTENSIONS.contains(&ext)) {
            read_into(&file, &shown, vars)?;
        }
    }
    Ok(())
}

fn read_into(path: &Path, shown: &str, vars: &mut Vars) -> Result<(), Error> {
    if let Some((file, root)) = read_vars_file(path, shown)?
        && let Some(mapping) = root.as_mapping()
    {
        vars.extend(read_vars(&file, mapping)?);
    }
    Ok(())
}
