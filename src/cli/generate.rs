//! Completions and manual pages, generated from the command line's definition.

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::{Args, CommandFactory as _, ValueEnum};
use clap_complete::Shell;

use super::app::Cli;
use crate::error::Error;
use crate::exit;
use crate::{inventory, playbook, project, text};

/// Arguments of `completions`.
#[derive(Debug, Clone, Args)]
pub struct CompletionsArgs {
    /// The shell
    shell: Shell,
}

/// Arguments of `man`.
#[derive(Debug, Clone, Args)]
pub struct ManArgs {
    /// Directory for the pages; made if missing
    #[arg(value_name = "DIR")]
    dir: PathBuf,
}

/// Arguments of `schema`.
#[derive(Debug, Clone, Args)]
pub struct SchemaArgs {
    /// Which files it describes
    of: SchemaOf,
}

/// Files that an editor can complete.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum SchemaOf {
    /// Playbooks
    Playbook,
    /// Inventory sources in YAML
    Inventory,
    /// The project file, fleetotp.yml
    Project,
}

/// Prints a JSON Schema of what users write.
///
/// # Errors
/// When it cannot be written.
pub fn schema(args: &SchemaArgs, out: &mut dyn Write) -> Result<u8, Error> {
    let schema = match args.of {
        SchemaOf::Playbook => playbook::schema::words::schema(),
        SchemaOf::Inventory => inventory::schema(),
        SchemaOf::Project => text::schema::of::<project::Settings>(),
    };
    writeln!(out, "{schema:#}")
        .map_err(|e| Error::failed("cannot write the schema").caused_by(e))?;
    Ok(exit::DONE)
}

/// Prints completions.
///
/// # Errors
/// When they cannot be written.
pub fn completions(args: &CompletionsArgs, out: &mut dyn Write) -> Result<u8, Error> {
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "fleetotp", &mut text);
    out.write_all(&text)
        .map_err(|e| Error::failed("cannot write the completions").caused_by(e))?;
    Ok(exit::DONE)
}

/// Writes one manual page per command.
///
/// # Errors
/// When they cannot be written.
pub fn man(args: &ManArgs, cwd: &Path) -> Result<u8, Error> {
    let dir = cwd.join(&args.dir);
    std::fs::create_dir_all(&dir)
        .and_then(|()| clap_mangen::generate_to(Cli::command(), &dir))
        .map_err(|e| {
            Error::failed(format!(
                "cannot write manual pages to `{}`",
                args.dir.display()
            ))
            .caused_by(e)
        })?;
    Ok(exit::DONE)
}
