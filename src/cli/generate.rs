//! Completions and manual pages, generated from the command line's definition.

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use super::app::Cli;
use crate::error::Error;
use crate::exit;

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
