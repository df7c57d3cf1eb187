//! `fleetotp inventory`: what the inventory says, as fleetotp reads it.

mod show;

use std::io::Write;
use std::path::Path;

use clap::Subcommand;
use serde_json::json;

use super::globals::{Globals, Output};
use crate::error::Error;
use crate::exit;
use crate::inventory::model::Host;
use crate::inventory::{Inventory, LoadOptions};
use crate::project::{FILE_NAME, Project};

/// What to do with the inventory.
#[derive(Debug, Clone, Subcommand)]
pub enum InventoryCommand {
    /// List hosts and groups; as JSON exactly what ansible-inventory --list prints
    List {
        /// Only the variables of this host
        #[arg(long, env = "FLEETOTP_INVENTORY_HOST", value_name = "HOST")]
        host: Option<String>,
    },
    /// Draw groups and hosts as a tree, as ansible-inventory --graph does
    Graph {
        /// The group at the top
        #[arg(default_value = "all")]
        group: String,
    },
    /// Show realms, policies with all defaults, and who has an account where
    Show {
        /// One host or admin
        #[arg(value_name = "HOST|ADMIN")]
        name: Option<String>,
    },
    /// Say what was read, or what is wrong with it
    Validate,
}

/// Loads the inventory that the flags name, else the project's.
///
/// # Errors
/// Those of [`Inventory::load`].
pub fn load(globals: &Globals, project: &Project) -> Result<Inventory, Error> {
    let cwd = std::env::current_dir()
        .map_err(|e| Error::failed("cannot tell the working directory").caused_by(e))?;
    let home = std::env::home_dir();
    let options = LoadOptions {
        protected: &project.settings.protected,
        home: home.as_deref(),
        playbook_directory: Some(&project.root),
        limit_directory: Some(&cwd),
        ..LoadOptions::default()
    };
    // Flags are relative to where they were typed, the project file's words to the file.
    let defaults = &project.settings.inventory;
    if globals.inventory.is_empty()
        && !project.has_file
        && !defaults.iter().any(|s| project.root.join(s).exists())
    {
        return Err(Error::failed(format!("there is no {FILE_NAME} here, and no inventory is given"))
            .hinted("make a project with `fleetotp init`, name its file with --config, or an inventory with -i"));
    }
    let (sources, base): (&[String], &Path) = if globals.inventory.is_empty() {
        (&project.settings.inventory, &project.root)
    } else {
        (&globals.inventory, &cwd)
    };
    Inventory::load(sources, base, &options)
}

/// Runs `fleetotp inventory`; returns the exit code.
///
/// # Errors
/// Those of [`load`]; names that are not in the inventory; `stdout` fails.
pub fn run(
    command: &InventoryCommand,
    globals: &Globals,
    project: &Project,
    stdout: &mut dyn Write,
) -> Result<u8, Error> {
    let inventory = load(globals, project)?;
    let limit = globals.limit.as_deref();
    let json = globals.output == Output::Json;
    match command {
        InventoryCommand::List { host: Some(name) } => {
            let text = inventory.host_json(name)?;
            write(stdout, &(text + "\n"))?;
        }
        InventoryCommand::List { host: None } if json => {
            let text = inventory.list_json(limit)?;
            write(stdout, &(text + "\n"))?;
        }
        InventoryCommand::List { host: None } => {
            let hosts = match limit {
                Some(_) => inventory.select("all", limit)?,
                None => inventory.hosts().collect(),
            };
            write(stdout, &list_text(&inventory, &hosts))?;
        }
        InventoryCommand::Graph { group } => inventory.write_graph(group, stdout)?,
        InventoryCommand::Show { name } => {
            let document = match name {
                Some(name) => show::one(&inventory, name)?,
                None => show::all(&inventory),
            };
            write_document(stdout, &document, json)?;
        }
        InventoryCommand::Validate => {
            let document = validation(&inventory);
            write_document(stdout, &document, json)?;
        }
    }
    Ok(exit::DONE)
}

fn write(stdout: &mut dyn Write, text: &str) -> Result<(), Error> {
    stdout
        .write_all(text.as_bytes())
        .map_err(|e| Error::failed("cannot write to standard output").caused_by(e))
}

fn write_document(
    stdout: &mut dyn Write,
    document: &serde_json::Value,
    json: bool,
) -> Result<(), Error> {
    let text = if json {
        format!("{document:#}\n")
    } else {
        show::text(document)
    };
    write(stdout, &text)
}

fn validation(inventory: &Inventory) -> serde_json::Value {
    let sources: Vec<_> = inventory
        .sources()
        .iter()
        .map(|s| json!({"source": s.name, "kind": s.kind}))
        .collect();
    let mut warnings = inventory.warnings().to_vec();
    // One line of an inventory can make ten thousand hosts unusable.
    let mut seen = std::collections::HashSet::new();
    for (host, error) in inventory.unusable() {
        let place = error
            .position
            .map_or_else(String::new, |p| format!(":{}:{}", p.line, p.column));
        let text = format!("{}{place}: {}", error.file, error.message);
        if seen.insert(text.clone()) {
            warnings.push(format!("`{}` cannot be contacted: {text}", host.name));
        }
    }
    let enrolment = inventory.enrolment();
    json!({
        "sources": sources,
        "hosts": inventory.hosts().len(),
        "groups": inventory.group_count(),
        "admins": enrolment.admins.len(),
        "realms": enrolment.realms.len(),
        "policies": enrolment.policies.len(),
        "exemptions": enrolment.exemptions.len(),
        "warnings": warnings,
    })
}

/// Formats hosts as Ansible's `--list-hosts` does.
pub fn list_hosts(hosts: &[&Host]) -> String {
    let mut text = format!("  hosts ({}):\n", hosts.len());
    for host in hosts {
        text.push_str("    ");
        text.push_str(host.name.as_str());
        text.push('\n');
    }
    text
}

fn list_text(inventory: &Inventory, hosts: &[&Host]) -> String {
    let mut rows = vec![["HOST", "ADDRESS", "REALM", "GROUPS"].map(str::to_owned)];
    for host in hosts {
        let realm = inventory.realm_of(&host.name);
        rows.push([
            host.name.to_string(),
            show::address(host),
            realm.map_or_else(|| "unmanaged".to_owned(), |r| r.name.to_string()),
            host.groups.iter().cloned().collect::<Vec<_>>().join(", "),
        ]);
    }
    table(&rows)
}

/// Aligns columns; the last is not padded.
pub(crate) fn table<R: AsRef<[String]>>(rows: &[R]) -> String {
    let columns = rows.iter().map(|r| r.as_ref().len()).max();
    let mut widths = vec![0usize; columns.unwrap_or_default()];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row.as_ref()) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.as_ref().iter().zip(&widths) {
            let padding = width.saturating_sub(cell.chars().count()) + 2;
            line.push_str(cell);
            line.extend(std::iter::repeat_n(' ', padding));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}
