//! `fleetotp doctor`: what is wrong with the project on this side, and what to do about it. Contacts no host.

mod checks;

use std::io::Write;

use clap::Args;
use serde::Serialize;
use serde_json::json;

use super::globals::{Globals, Output};
use super::play::write;
use super::setup::{Setup, World};
use crate::error::Error;
use crate::exit;

/// Arguments of `doctor`.
#[derive(Debug, Clone, Args)]
pub struct DoctorArgs {
    /// End with 9 where there is a problem; advice does not count
    #[arg(long, env = "FLEETOTP_STRICT")]
    strict: bool,
}

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
enum Severity {
    /// Something is wrong, or stays open.
    Problem,
    /// It could be better.
    Advice,
}

impl Severity {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Problem => "problem",
            Self::Advice => "advice",
        }
    }
}

/// Something that was found; `id` stays the same over versions.
#[derive(Debug, Serialize)]
struct Finding {
    id: &'static str,
    severity: Severity,
    text: String,
    remedy: String,
}

/// Runs the command.
///
/// # Errors
/// When the project cannot be opened or read.
pub async fn run(
    args: &DoctorArgs,
    globals: &Globals,
    world: &World,
    out: &mut (dyn Write + Send),
) -> Result<u8, Error> {
    let setup = Setup::open(globals, world).await?;
    let mut found = checks::all(&setup, globals, world).await?;
    found.sort_by_key(|f| f.severity);
    let text = match globals.output {
        Output::Json => format!("{:#}\n", json!({"findings": found})),
        Output::Text if found.is_empty() => "nothing found\n".to_owned(),
        Output::Text => found.iter().fold(String::new(), |text, f| {
            format!(
                "{text}{} ({}): {}\n  -> {}\n",
                f.severity.as_str(),
                f.id,
                f.text,
                f.remedy
            )
        }),
    };
    write(out, &text)?;
    let problems = found.iter().any(|f| f.severity == Severity::Problem);
    Ok(if args.strict && problems {
        exit::FINDINGS
    } else {
        exit::DONE
    })
}
