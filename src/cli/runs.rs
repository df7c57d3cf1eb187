//! `fleetotp runs`: what earlier runs did, host by host.

use std::fmt::Write as _;
use std::io::Write;

use clap::Subcommand;
use serde_json::{Value, json};

use super::globals::{Globals, Output};
use super::inventory::table;
use super::play::write;
use super::setup::{Setup, World};
use super::status::span;
use crate::error::Error;
use crate::exit;
use crate::ledger::{HostPhase, HostResult, RunFile, RunHost, RunRecord};
use crate::names::printable;
use crate::token::id::RunId;

/// The word for the newest run.
const LAST: &str = "last";

/// What to say of runs.
#[derive(Debug, Clone, Subcommand)]
pub enum RunsCommand {
    /// List runs, the newest first
    List {
        /// How many
        #[arg(
            short = 'n',
            long,
            env = "FLEETOTP_RUNS_NUMBER",
            value_name = "N",
            default_value_t = 20
        )]
        number: u32,
    },
    /// Show what a run did on each host: result, reason, configuration texts before and after by their hashes
    Show {
        /// The run's id, or `last`
        #[arg(value_name = "RUN")]
        run: String,
    },
}

/// Runs the command.
///
/// # Errors
/// An unknown run, or a ledger that cannot be read.
pub async fn run(
    command: &RunsCommand,
    globals: &Globals,
    world: &World,
    out: &mut (dyn Write + Send),
) -> Result<u8, Error> {
    let setup = Setup::open(globals, world).await?;
    let text = match command {
        RunsCommand::List { number } => {
            let runs = setup.ledger.runs(*number).await?;
            match globals.output {
                Output::Json => {
                    let runs: Vec<Value> = runs.iter().map(run_json).collect();
                    format!("{:#}\n", json!({"runs": runs}))
                }
                Output::Text => list_text(&runs),
            }
        }
        RunsCommand::Show { run } => {
            let run = find(&setup, run).await?;
            let hosts = setup.ledger.run_hosts(&run.id).await?;
            let files = setup.ledger.run_files(&run.id).await?;
            match globals.output {
                Output::Json => format!("{:#}\n", show_json(&run, &hosts, &files)),
                Output::Text => show_text(&run, &hosts, &files),
            }
        }
    };
    write(out, &text)?;
    Ok(exit::DONE)
}

/// Returns the run that is named by its id or by `last`.
///
/// # Errors
/// When there is none.
pub async fn find(setup: &Setup, name: &str) -> Result<RunRecord, Error> {
    let found = if name == LAST {
        setup.ledger.runs(1).await?.pop()
    } else {
        match name.parse::<RunId>() {
            Ok(id) => setup.ledger.run(&id).await?,
            Err(_) => None,
        }
    };
    found.ok_or_else(|| {
        Error::failed(format!("the ledger has no run `{}`", printable(name, 60)))
            .hinted("fleetotp runs list")
    })
}

/// `12 ok, 3 failed`, or nothing where the run had no hosts.
fn counts(run: &RunRecord) -> String {
    let counts: Vec<String> = run
        .hosts
        .iter()
        .map(|(result, hosts)| format!("{hosts} {}", result.map_or("not done", HostResult::as_str)))
        .collect();
    counts.join(", ")
}

/// How a run ended; one without an end goes on or was killed, and only its lock tells which.
fn ended(run: &RunRecord) -> String {
    run.exit_code
        .map_or_else(|| "no end".to_owned(), |code| code.to_string())
}

fn took(run: &RunRecord) -> String {
    let Some(end) = run.ended_at else {
        return "-".to_owned();
    };
    span(end.as_second() - run.started_at.as_second())
}

fn list_text(runs: &[RunRecord]) -> String {
    let mut rows =
        vec![["RUN", "BEGAN", "TOOK", "EXIT", "BY", "COMMAND", "HOSTS"].map(str::to_owned)];
    rows.extend(runs.iter().map(|run| {
        [
            run.id.to_string(),
            run.started_at.to_string(),
            took(run),
            ended(run),
            run.actor.clone().unwrap_or_else(|| "-".to_owned()),
            run.command.clone(),
            counts(run),
        ]
    }));
    table(&rows)
}

fn show_text(run: &RunRecord, hosts: &[RunHost], files: &[RunFile]) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    _ = writeln!(text, "{}: {}", run.id, run.command);
    _ = writeln!(
        text,
        "began {} by {}; took {}; exit code: {}",
        run.started_at,
        run.actor.as_deref().unwrap_or("somebody who was erased"),
        took(run),
        ended(run)
    );
    let narrowed = narrowed(run);
    if !narrowed.is_empty() {
        _ = writeln!(text, "narrowed by {narrowed}");
    }
    let mut at = None;
    for host in hosts {
        if at != Some(host.stage) {
            at = Some(host.stage);
            let name = match host.play_name.as_str() {
                "" => String::new(),
                name => format!(" [{name}]"),
            };
            _ = writeln!(
                text,
                "\nplay {}{name}, batch {}",
                host.stage.play, host.stage.batch
            );
        }
        let how = match (host.phase, host.result) {
            (HostPhase::Changing, _) => "was being changed when the run ended".to_owned(),
            (HostPhase::Done, Some(result)) => result.as_str().to_owned(),
            (HostPhase::Waiting | HostPhase::Done, None) => "not done".to_owned(),
            (HostPhase::Waiting, Some(result)) => format!("{}, but not all done", result.as_str()),
        };
        let why = host.reason.as_deref().map(|r| format!(": {r}"));
        _ = writeln!(text, "  {}: {how}{}", host.host, why.unwrap_or_default());
        for file in files.iter().filter(|f| f.host == host.host) {
            let short = |sum: Option<&str>| {
                sum.and_then(|s| s.get(..12))
                    .unwrap_or("no file")
                    .to_owned()
            };
            _ = writeln!(
                text,
                "    {}: {} -> {}",
                file.change.path,
                short(file.before_sha256.as_deref()),
                short(file.change.after.as_deref())
            );
        }
    }
    text
}

/// What a run of playbooks was asked for, where its record says so.
fn request(run: &RunRecord) -> Value {
    let text = run.request.as_deref().unwrap_or("null");
    serde_json::from_str(text).unwrap_or_default()
}

/// `--tags preflight --limit web`: what narrowed a run.
fn narrowed(run: &RunRecord) -> String {
    let request = request(run);
    let mut words = Vec::new();
    for key in [
        "tags",
        "skip_tags",
        "start_at_task",
        "step",
        "limit",
        "admins",
    ] {
        let value = match request.get(key) {
            Some(Value::String(text)) => format!(" {text}"),
            Some(Value::Array(list)) if !list.is_empty() => {
                let list: Vec<&str> = list.iter().filter_map(Value::as_str).collect();
                format!(" {}", list.join(","))
            }
            Some(Value::Bool(true)) => String::new(),
            _ => continue,
        };
        words.push(format!("--{}{value}", key.replace('_', "-")));
    }
    words.join(" ")
}

fn run_json(run: &RunRecord) -> Value {
    let hosts: serde_json::Map<String, Value> = run
        .hosts
        .iter()
        .map(|(result, n)| {
            (
                result.map_or("not_done", HostResult::as_str).to_owned(),
                (*n).into(),
            )
        })
        .collect();
    json!({
        "id": run.id.as_str(), "command": run.command, "actor": run.actor, "started_at": run.started_at,
        "ended_at": run.ended_at, "exit_code": run.exit_code, "hosts": hosts,
        "request": request(run),
    })
}

fn show_json(run: &RunRecord, hosts: &[RunHost], files: &[RunFile]) -> Value {
    let mut document = run_json(run);
    let hosts: Vec<Value> = hosts
        .iter()
        .map(|h| {
            let texts: Vec<Value> = files
                .iter()
                .filter(|f| f.host == h.host)
                .map(|f| {
                    json!({
                        "path": f.change.path, "before_sha256": f.before_sha256, "after_sha256": f.change.after,
                    })
                })
                .collect();
            json!({
                "play": h.stage.play, "play_name": h.play_name, "batch": h.stage.batch, "host": h.host,
                "phase": h.phase, "result": h.result, "reason": h.reason, "begun_at": h.begun_at,
                "ended_at": h.ended_at, "texts": texts,
            })
        })
        .collect();
    if let Some(map) = document.as_object_mut() {
        map.insert("on".to_owned(), hosts.into());
    }
    document
}
