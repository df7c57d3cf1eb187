//! The task `report`: the same reports and packs as the commands make, for the hosts and admins of a play.

use std::io::Write;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::ground::{Ground, Narrow, Time, TimeArgs, ground};
use super::pack::{self, formats_of};
use super::{judge, to_file, whole};
use crate::cli::setup::{Setup, World};
use crate::error::Error;
use crate::playbook::tasks::{ReportKind, ReportTask};
use crate::report::format::{self, Format, csv};
use crate::report::view::Judged;
use crate::report::{Body, Report};

/// What came of a task `report`.
#[derive(Debug, Default)]
pub(in crate::cli) struct Reported {
    /// For standard output.
    pub(in crate::cli) text: String,
    /// The same for JSON.
    pub(in crate::cli) document: Value,
    /// How much is not as it should be.
    pub(in crate::cli) open: u64,
}

/// Computes what a task asks for; a run holds the lock. With `check` nothing is written.
///
/// # Errors
/// As the commands.
pub(in crate::cli) async fn run(
    task: &ReportTask,
    narrow: Narrow,
    check: bool,
    setup: &Setup,
    world: &World,
    out: &mut (dyn Write + Send),
) -> Result<Reported, Error> {
    let time = TimeArgs {
        as_of: task.as_of.clone(),
        between: task.between.clone(),
        period: task.period.clone(),
        archive: task.archive.clone(),
    };
    let time = time.read(world)?;
    let formats = formats_of(&task.formats)?;
    if let Some(place) = &task.pack {
        let place = named(place, &time);
        let shown = place.display().to_string();
        let wish = pack::Wish {
            formats,
            time,
            narrow,
            out: place,
        };
        let (text, open) = if check {
            (format!("would write a pack to {shown}\n"), 0)
        } else {
            let open = pack::make(&wish, world, setup, out).await?;
            (format!("pack {shown}\n"), open)
        };
        return Ok(Reported {
            text,
            document: json!({ "pack": shown, "open": open, "written": !check }),
            open,
        });
    }
    let counts = task.kinds.contains(&ReportKind::Coverage);
    let mut ground = ground(setup, &narrow, &time, counts).await?;
    if task.kinds.contains(&ReportKind::Activity) {
        ground.read_collections(setup).await?;
    }
    match &task.out {
        Some(place) => {
            let place = named(place, &time);
            let formats = if check { Vec::new() } else { formats };
            files(task, &ground, &formats, &place, world)
        }
        None => numbers(task, &ground),
    }
}

/// A place's name: `{period}` in it is the month, day or days that the report is of.
fn named(place: &Path, time: &Time) -> PathBuf {
    PathBuf::from(place.to_string_lossy().replace("{period}", &time.name))
}

/// Writes the reports into a directory, as CSV one file for each section; without formats it says where they would go.
fn files(
    task: &ReportTask,
    ground: &Ground,
    formats: &[&'static dyn Format],
    place: &Path,
    world: &World,
) -> Result<Reported, Error> {
    let dir = world.cwd.join(place);
    let mut reported = Reported::default();
    let mut written = Vec::new();
    if !formats.is_empty() {
        std::fs::create_dir_all(&dir).map_err(super::cannot)?;
    }
    for kind in &task.kinds {
        let judged = judge(*kind, ground);
        reported.open += judged.open;
        for format in formats {
            written.extend(write(&judged, *format, &dir)?);
        }
    }
    let shown = place.display();
    reported.text = if formats.is_empty() {
        format!("would write reports to {shown}\n")
    } else {
        written
            .iter()
            .map(|name| format!("{shown}/{name}\n"))
            .collect()
    };
    reported.document = json!({ "out": place, "files": written, "open": reported.open });
    Ok(reported)
}

fn write(judged: &Judged, format: &dyn Format, dir: &Path) -> Result<Vec<String>, Error> {
    let report = &judged.report;
    if format.name() != "csv" {
        let name = format!("{}.{}", report.name, format.extension());
        to_file(judged, format, &dir.join(&name))?;
        return Ok(vec![name]);
    }
    let sections = report.sections.iter();
    sections
        .map(|section| {
            let name = csv::file_name(report.name, section.id);
            whole(&dir.join(&name), &mut |out| {
                csv::write_table(report, section.id, out)
            })?;
            Ok(name)
        })
        .collect()
}

/// Returns the numbers of the reports as text.
fn numbers(task: &ReportTask, ground: &Ground) -> Result<Reported, Error> {
    let mut reported = Reported::default();
    let (mut text, mut documents) = (Vec::new(), Vec::new());
    for kind in &task.kinds {
        let judged = judge(*kind, ground);
        reported.open += judged.open;
        let report = Report {
            limits: Vec::new(),
            sections: judged
                .report
                .sections
                .into_iter()
                .filter(|s| matches!(s.body, Body::Figures(_)))
                .collect(),
            ..judged.report
        };
        if !text.is_empty() {
            text.push(b'\n');
        }
        in_format("text", &report, &mut text)?;
        let mut document = Vec::new();
        in_format("json", &report, &mut document)?;
        documents.push(serde_json::from_slice::<Value>(&document).map_err(|e| broken(&e))?);
    }
    reported.text = String::from_utf8(text).map_err(|e| broken(&e))?;
    reported.document = json!({ "reports": documents, "open": reported.open });
    Ok(reported)
}

fn in_format(name: &str, report: &Report, out: &mut Vec<u8>) -> Result<(), Error> {
    format::by_name(name)
        .ok_or_else(|| broken(&name))?
        .write(report, out)
        .map_err(super::cannot)
}

fn broken(what: &dyn std::fmt::Display) -> Error {
    Error::failed(format!("the numbers of a report cannot be told: {what}"))
}
