//! `fleetotp sheets`: what became of every sheet, and clearing away what is left of them.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::Path;

use clap::{Args, Subcommand};
use serde::Serialize;
use serde_json::json;

use super::globals::{Globals, Output};
use super::hold::Hold;
use super::play::write;
use super::run::admins_of;
use super::setup::{Setup, World};
use crate::clock::Timestamp;
use crate::error::Error;
use crate::exit;
use crate::ledger::SheetEntry;
use crate::names::printable;
use crate::playbook::purge::{self, Left};
use crate::sheet::store;
use crate::text::suggest;
use crate::token::id::SheetId;

/// Sheets: what became of them.
#[derive(Debug, Clone, Subcommand)]
pub enum SheetsCommand {
    /// Show every sheet: whose, since when, how protected, delivered to whom, and whether its file is still here
    List(ListArgs),
    /// Record that a sheet was handed over
    Delivered(DeliveredArgs),
    /// Overwrite and remove the files of sheets whose time is over, and what interrupted runs left
    Purge(PurgeArgs),
}

/// Arguments of `sheets list`.
#[derive(Debug, Clone, Args)]
pub struct ListArgs {
    /// Only sheets that can still be used
    #[arg(long, env = "FLEETOTP_SHEETS_OPEN")]
    open: bool,
}

/// Arguments of `sheets delivered`.
#[derive(Debug, Clone, Args)]
pub struct DeliveredArgs {
    /// The sheet's number, as printed on it
    #[arg(value_name = "SHEET")]
    sheet: String,

    /// To whom
    #[arg(long, env = "FLEETOTP_DELIVERED_TO", value_name = "WHOM")]
    to: String,

    /// How: such as "in person" or "courier"
    #[arg(long, env = "FLEETOTP_DELIVERED_HOW", value_name = "HOW")]
    how: String,
}

/// Arguments of `sheets purge`.
#[derive(Debug, Clone, Args)]
pub struct PurgeArgs {}

/// Runs the command.
///
/// # Errors
/// When the ledger or the directory of sheets cannot be used, or a sheet is not known.
pub async fn run(
    command: &SheetsCommand,
    globals: &Globals,
    world: &World,
    out: &mut (dyn Write + Send),
) -> Result<u8, Error> {
    let setup = Setup::open(globals, world).await?;
    match command {
        SheetsCommand::List(args) => list(args, globals, world, &setup, out).await,
        SheetsCommand::Delivered(args) => {
            if globals.check {
                return Err(Error::usage(
                    "--check makes no sense here: a delivery is a fact",
                ));
            }
            let hold = Hold::begin(&setup.ledger, world, "sheets delivered").await?;
            let result = delivered(args, &setup).await;
            hold.end(result).await
        }
        SheetsCommand::Purge(_) if globals.check => purge(globals, world, &setup, out).await,
        SheetsCommand::Purge(_) => {
            let hold = Hold::begin(&setup.ledger, world, "sheets purge").await?;
            let result = purge(globals, world, &setup, out).await;
            hold.end(result).await
        }
    }
}

/// A sheet's row.
#[derive(Debug, Serialize)]
struct Row {
    id: String,
    admin: Option<String>,
    realm: String,
    serial: String,
    generation: u32,
    state: String,
    encryption: &'static str,
    issued_at: Timestamp,
    expires_at: Option<Timestamp>,
    /// Its time is over, though nothing has recorded that yet.
    overdue: bool,
    delivered_at: Option<Timestamp>,
    delivered_to: Option<String>,
    delivered_how: Option<String>,
    ended_at: Option<Timestamp>,
    path: Option<String>,
    file: FileIs,
}

/// Whether a sheet's file is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum FileIs {
    /// As it was written.
    There,
    /// There is a file of that name, yet not the one that was written.
    Changed,
    /// There is none.
    Gone,
}

impl FileIs {
    const fn as_str(self) -> &'static str {
        match self {
            Self::There => "there",
            Self::Changed => "changed",
            Self::Gone => "gone",
        }
    }

    fn of(entry: &SheetEntry) -> Self {
        match (&entry.sheet.path, &entry.sheet.sha256) {
            (Some(path), _) if Path::new(path).symlink_metadata().is_err() => Self::Gone,
            (Some(path), Some(hash)) if store::verify(Path::new(path), hash) => Self::There,
            (Some(_), _) => Self::Changed,
            (None, _) => Self::Gone,
        }
    }
}

async fn list(
    args: &ListArgs,
    globals: &Globals,
    world: &World,
    setup: &Setup,
    out: &mut (dyn Write + Send),
) -> Result<u8, Error> {
    let now = world.clock.now();
    let only: Option<BTreeSet<_>> = admins_of(setup, globals.admins.as_deref())?;
    let rows: Vec<Row> = setup
        .ledger
        .sheet_entries()
        .await?
        .iter()
        .filter(|e| {
            only.as_ref()
                .is_none_or(|o| e.admin.as_ref().is_some_and(|a| o.contains(a)))
        })
        .filter(|e| !args.open || e.sheet.state.is_open())
        .map(|e| row(e, now))
        .collect();
    let text = match globals.output {
        Output::Json => format!("{:#}\n", json!({"sheets": rows})),
        Output::Text => table(&rows),
    };
    write(out, &text)?;
    Ok(exit::DONE)
}

fn row(entry: &SheetEntry, now: Timestamp) -> Row {
    let sheet = &entry.sheet;
    Row {
        id: sheet.id.to_string(),
        admin: entry.admin.as_ref().map(ToString::to_string),
        realm: entry.realm.to_string(),
        serial: sheet.serial.to_string(),
        generation: sheet.generation,
        state: sheet.state.to_string(),
        encryption: sheet.encryption.as_str(),
        issued_at: sheet.issued_at,
        expires_at: sheet.expires_at,
        overdue: sheet.state.is_open() && sheet.expires_at.is_some_and(|at| at <= now),
        delivered_at: entry.delivered_at,
        delivered_to: entry.delivered_to.clone(),
        delivered_how: entry.delivered_how.clone(),
        ended_at: entry.ended_at,
        path: sheet.path.clone(),
        file: FileIs::of(entry),
    }
}

fn table(rows: &[Row]) -> String {
    let mut lines = vec![
        [
            "SHEET",
            "ADMIN",
            "REALM",
            "STATE",
            "ISSUED",
            "USE BEFORE",
            "PROTECTION",
            "FILE",
            "DELIVERED",
        ]
        .map(str::to_owned),
    ];
    let minute = |t: Timestamp| t.strftime("%Y-%m-%d %H:%MZ").to_string();
    lines.extend(rows.iter().map(|r| {
        let delivered = match (&r.delivered_at, &r.delivered_to, &r.delivered_how) {
            (Some(at), to, how) => format!(
                "{} to {}, {}",
                minute(*at),
                to.as_deref().unwrap_or("(erased)"),
                how.as_deref().unwrap_or("-")
            ),
            (None, ..) => String::new(),
        };
        [
            r.id.clone(),
            r.admin.clone().unwrap_or_else(|| "(erased)".to_owned()),
            r.realm.clone(),
            if r.overdue {
                format!("{}, overdue", r.state)
            } else {
                r.state.clone()
            },
            minute(r.issued_at),
            r.expires_at.map_or_else(|| "-".to_owned(), minute),
            r.encryption.to_owned(),
            r.file.as_str().to_owned(),
            delivered,
        ]
    }));
    super::inventory::table(&lines)
}

async fn delivered(args: &DeliveredArgs, setup: &Setup) -> Result<u8, Error> {
    let entries = setup.ledger.sheet_entries().await?;
    let known = entries.iter().map(|e| e.sheet.id.as_str());
    let sheet = SheetId::new(&args.sheet)
        .ok()
        .filter(|id| known.clone().any(|k| k == id.as_str()))
        .ok_or_else(|| {
            let shown = printable(&args.sheet, 40);
            Error::failed(format!("there is no sheet `{shown}`"))
                .hinted_if(suggest::hint(&args.sheet, known))
                .hinted("`fleetotp sheets list` shows all of them")
        })?;
    let to = printable(args.to.trim(), 200);
    if to.is_empty() || args.how.trim().is_empty() {
        return Err(Error::usage("say to whom the sheet was given, and how"));
    }
    setup
        .ledger
        .sheet_delivered(&sheet, &to, args.how.trim())
        .await?;
    eprintln!("sheet {sheet}: delivered to {to}");
    Ok(exit::DONE)
}

async fn purge(
    globals: &Globals,
    world: &World,
    setup: &Setup,
    out: &mut (dyn Write + Send),
) -> Result<u8, Error> {
    let dir = setup.project.resolve(&setup.project.settings.sheets.dir);
    let sheets = setup.ledger.sheets().await?;
    let found = purge::left_over(&dir, &sheets, world.clock.now())?;
    let (mut removed, mut failed) = (Vec::new(), Vec::new());
    for left in &found {
        if globals.check {
            removed.push(left);
            continue;
        }
        match store::remove(&left.path) {
            Ok(_) => removed.push(left),
            Err(error) => failed.push((left, error.to_string())),
        }
    }
    if !globals.check && !removed.is_empty() {
        let names: Vec<String> = removed.iter().map(|l| l.name.clone()).collect();
        setup.ledger.sheets_purged(&names).await?;
    }
    let text = match globals.output {
        Output::Json => format!(
            "{:#}\n",
            json!({
                "check": globals.check,
                "removed": removed,
                "failed": failed.iter().map(|(l, why)| json!({"path": l.path, "why": why})).collect::<Vec<_>>(),
            })
        ),
        Output::Text => told(&removed, globals.check),
    };
    write(out, &text)?;
    for (left, why) in &failed {
        eprintln!(
            "error: {} could not be removed: {why}; delete it by hand",
            left.path.display()
        );
    }
    Ok(if failed.is_empty() {
        exit::DONE
    } else {
        exit::ERROR
    })
}

fn told(removed: &[&Left], check: bool) -> String {
    let verb = if check { "would remove" } else { "removed" };
    if removed.is_empty() {
        return "nothing to remove\n".to_owned();
    }
    removed.iter().fold(String::new(), |text, left| {
        format!("{text}{verb} {}: {}\n", left.name, left.why)
    })
}
