//! Outcomes as text, in Ansible's words, and as JSON.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write;
use std::path::Path;

use serde::{Serialize, Serializer};
use serde_json::{Value, json};

use super::globals::{Globals, Output};
use super::play::{write, write_json};
use crate::error::Error;
use crate::names::HostName;
use crate::plan::change::Part;
use crate::plan::finding::{Finding, Severity};
use crate::playbook::logins::Verification;
use crate::playbook::outcome::{HostReport, IssuedSheet, Outcome, Status};
use crate::playbook::schema::{Action, Play, Task};

const WIDTH: usize = 78;

fn banner(text: &str) -> String {
    let stars = WIDTH.saturating_sub(text.chars().count() + 1).max(3);
    format!("\n{text} {}\n", "*".repeat(stars))
}

/// Which parts a task shows.
const fn parts(action: &Action) -> &'static [Part] {
    match action {
        Action::Preflight(_) | Action::Verify(_) | Action::Collect(_) | Action::Report(_) => &[],
        Action::Sync(_) => &[
            Part::Host,
            Part::Secrets,
            Part::Enforcement,
            Part::Revocation,
        ],
        Action::PamTotp(_) => &[Part::Host],
        Action::Enroll | Action::Rotate(_) => &[Part::Secrets, Part::Enforcement],
        Action::Revoke => &[Part::Revocation],
    }
}

/// What tasks have to say besides how hosts ended, by the task's place in its play: for people and as JSON.
pub type Told = BTreeMap<usize, (String, Value)>;

/// How much text is gathered before it is written: of many hosts it is more than should be in memory.
const GATHERED: usize = 64 * 1024;

/// Shows a play task by task, host by host. `batch` is which of how many, where there are several. `told` is there with the
/// last of them, and tasks that are done once, not host by host, are shown then.
///
/// # Errors
/// When standard output cannot be written.
pub fn play(
    play: &Play,
    batch: Option<(usize, usize)>,
    outcome: &Outcome,
    told: Option<&Told>,
    globals: &Globals,
    out: &mut (dyn Write + Send),
) -> Result<(), Error> {
    let mut text = banner(&format!(
        "PLAY [{}]{}{}",
        play.name,
        batch.map_or_else(String::new, |(n, of)| format!(" batch {n} of {of}")),
        if globals.check { " [CHECK MODE]" } else { "" }
    ));
    let enrols = |t: &Task| {
        matches!(
            t.action,
            Action::Enroll | Action::Rotate(_) | Action::Sync(_)
        )
    };
    let enrols = play.tasks.iter().any(enrols);
    let mut first = true;
    for (number, task) in play.tasks.iter().enumerate() {
        let once = matches!(task.action, Action::Collect(_) | Action::Report(_));
        if once && told.is_none() {
            continue;
        }
        text.push_str(&banner(&format!("TASK [{}]", task.name)));
        if let Some((told, _)) = told.and_then(|told| told.get(&number)) {
            text.push_str(told);
            first = false;
            continue;
        }
        for report in outcome.hosts.values() {
            if report.left_out.contains(&number) {
                // Writing to a string cannot fail.
                _ = writeln!(text, "skipping: [{}]", report.host);
                continue;
            }
            host_line(&mut text, task, report, first, globals);
            // Where nobody is enrolled by this play, this is who could not be.
            if matches!(task.action, Action::Preflight(_)) && !enrols {
                gaps(&mut text, report);
            }
            if text.len() > GATHERED {
                write(out, &text)?;
                text.clear();
            }
        }
        first = false;
    }
    write(out, &text)
}

fn host_line(text: &mut String, task: &Task, report: &HostReport, first: bool, globals: &Globals) {
    let host = &report.host;
    // Writing to a string cannot fail.
    match &report.status {
        Status::Unreachable(why) if first => {
            _ = writeln!(text, "fatal: [{host}]: UNREACHABLE! => {why}");
        }
        Status::Failed(why) if first => _ = writeln!(text, "fatal: [{host}]: FAILED! => {why}"),
        Status::Skipped(_) if first => _ = writeln!(text, "skipping: [{host}]"),
        Status::Unreachable(_) | Status::Failed(_) | Status::Skipped(_) => return,
        Status::Ok => {
            let changes: Vec<_> = report
                .changes
                .iter()
                .filter(|c| c.part.is_some_and(|p| parts(&task.action).contains(&p)))
                .collect();
            _ = writeln!(
                text,
                "{}: [{host}]",
                if changes.is_empty() { "ok" } else { "changed" }
            );
            for change in changes {
                if globals.diff {
                    for line in change.diff.lines() {
                        _ = writeln!(text, "    {line}");
                    }
                } else if globals.check {
                    _ = writeln!(text, "    {}", change.summary);
                }
            }
        }
    }
    if let (Action::Preflight(_), Some(overview)) = (&task.action, &report.overview) {
        for line in overview.lines() {
            _ = writeln!(text, "    {line}");
        }
    }
    if first {
        for finding in &report.findings {
            let mark = match finding.severity {
                Severity::Refusal => "refused",
                Severity::Warning => "warning",
                Severity::Note => "note",
            };
            if !is_told(report, finding) {
                _ = writeln!(text, "    {mark} ({}): {}", finding.id, finding.text);
            }
            _ = writeln!(text, "      -> {}", finding.remedy);
        }
    }
    if let (Action::Verify(_), Some(done)) = (&task.action, &report.verification) {
        text.push_str(&table(done, globals));
    }
    if matches!(task.action, Action::Revoke | Action::Sync(_)) {
        for item in &report.revoked {
            _ = match &item.why {
                Some(why) => writeln!(text, "    {}: open since {}: {why}", item.admin, item.since),
                None => writeln!(text, "    {}: read back: nothing is left", item.admin),
            };
        }
    }
    let secrets = matches!(
        task.action,
        Action::Enroll | Action::Rotate(_) | Action::Sync(_)
    );
    if secrets {
        gaps(text, report);
    }
}

fn gaps(text: &mut String, report: &HostReport) {
    for gap in &report.gaps {
        // Writing to a string cannot fail.
        _ = writeln!(text, "    gap ({}): {}", gap.id, gap.text);
    }
}

/// Returns what came of a login table: its lines where something is wrong, or with `-v`.
pub fn table(done: &Verification, globals: &Globals) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    if let Some(first) = &done.like {
        _ = writeln!(
            text,
            "    as {first}: same sshd, configuration and PAM text"
        );
    }
    let held = done.logins.iter().filter(|r| r.held == Some(true)).count();
    if !done.logins.is_empty() {
        let all = done.logins.len();
        _ = writeln!(text, "    {held} of {all} logins ended as they must");
    }
    for row in &done.logins {
        let mark = match row.held {
            Some(true) if globals.verbose == 0 && done.held => continue,
            Some(true) => "ok",
            Some(false) => "WRONG",
            None => "--",
        };
        _ = writeln!(
            text,
            "    {mark:<5} {:<7} {:<20} expected {}: {}",
            row.who.as_str(),
            row.with,
            row.expected.as_str(),
            row.got
        );
    }
    text
}

/// Returns whether the host's status says this finding already.
fn is_told(report: &HostReport, finding: &Finding) -> bool {
    matches!(&report.status, Status::Failed(why) if why.starts_with(&finding.text))
}

/// Says why a run goes no further, and how many hosts it did not come to. A check keeps no journal by which it could be retried.
pub fn stopped(why: &str, left: usize, check: bool) -> String {
    let mut text = banner("NO MORE HOSTS LEFT");
    // Writing to a string cannot fail.
    _ = writeln!(text, "{why}: the run goes no further");
    if left > 0 {
        _ = writeln!(
            text,
            "{left} {} not begun{}",
            if left == 1 { "host was" } else { "hosts were" },
            if check {
                ""
            } else {
                "; once it is mended: fleetotp play --retry-failed last"
            }
        );
    }
    text
}

/// Counts of one host, as Ansible's recap has them.
fn counts(report: &HostReport) -> [usize; 4] {
    let changed = [
        Part::Host,
        Part::Secrets,
        Part::Enforcement,
        Part::Revocation,
    ]
    .into_iter()
    .filter(|p| report.changed(*p))
    .count();
    match report.status {
        Status::Ok => [1, changed, 0, 0],
        Status::Unreachable(_) => [0, 0, 1, 0],
        Status::Failed(_) => [0, 0, 0, 1],
        Status::Skipped(_) => [0, 0, 0, 0],
    }
}

/// Returns Ansible's recap.
pub fn recap(outcome: &Outcome) -> String {
    let mut text = banner("PLAY RECAP");
    for (host, report) in &outcome.hosts {
        let [ok, changed, unreachable, failed] = counts(report);
        let skipped = usize::from(matches!(report.status, Status::Skipped(_)));
        _ = writeln!(
            text,
            "{host:<26} : ok={ok:<4} changed={changed:<4} unreachable={unreachable:<4} failed={failed:<4} skipped={skipped:<4} rescued=0    ignored=0   "
        );
    }
    text
}

/// Says on standard error what only the controller knows: sheets written, notes.
pub fn tell(outcome: &Outcome) {
    let here = std::env::current_dir().unwrap_or_default();
    for sheet in &outcome.sheets {
        let path = Path::new(&sheet.path);
        let path = path.strip_prefix(&here).unwrap_or(path).display();
        let until = sheet
            .expires
            .as_deref()
            .map(|e| format!(", expires {e}"))
            .unwrap_or_default();
        eprintln!(
            "sheet {} for {} in realm {}: {path}{until}",
            sheet.id, sheet.admin, sheet.realm
        );
        if let Some(passphrase) = &sheet.passphrase {
            // The one secret that is printed: asked for by --passphrase, shown once, kept nowhere.
            eprintln!("  passphrase, shown only now: {}", passphrase.expose());
        }
    }
    match outcome.sheets.iter().filter(|s| s.plain).count() {
        0 => {}
        1 if outcome.sheets.len() == 1 => eprintln!(
            "note: it is a plain PDF: whoever can read the file has the key. Hand it over, and keep no copy"
        ),
        plain => eprintln!(
            "note: {plain} of these sheets are plain PDFs: whoever can read such a file has the key. Hand them over, and keep no copy"
        ),
    }
    for note in &outcome.notes {
        eprintln!("note: {note}");
    }
    if outcome.needs_identity {
        eprintln!(
            "note: some secrets could not be read without the vault's identity; run again with --identity where it is kept"
        );
    }
}

/// Says what came of a command that is not a playbook, on both outputs.
///
/// # Errors
/// When standard output cannot be written.
pub fn print(
    outcome: &Outcome,
    globals: &Globals,
    out: &mut (dyn Write + Send),
) -> Result<(), Error> {
    tell(outcome);
    match globals.output {
        Output::Text => write(out, &lines(outcome, globals)),
        Output::Json => document(&[], outcome, None, out),
    }
}

/// A play as JSON.
#[derive(Debug, Serialize)]
pub struct ShownPlay {
    name: String,
    #[serde(serialize_with = "reports")]
    hosts: BTreeMap<HostName, HostReport>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stopped: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    results: Vec<Value>,
}

/// Returns a play as JSON.
pub fn play_json(play: &Play, outcome: &Outcome, told: &Told) -> ShownPlay {
    let results = (0..).zip(&play.tasks).filter_map(|(number, task)| {
        let (_, said) = told.get(&number).filter(|(_, said)| !said.is_null())?;
        Some(json!({ "task": task.name, "action": task.action.as_str(), "result": said }))
    });
    ShownPlay {
        name: play.name.clone(),
        hosts: outcome.hosts.clone(),
        stopped: outcome.stopped.clone(),
        results: results.collect(),
    }
}

fn reports<S: Serializer>(
    hosts: &BTreeMap<HostName, HostReport>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(hosts.values())
}

/// Counts of one host.
#[derive(Serialize)]
struct Counts {
    ok: usize,
    changed: usize,
    unreachable: usize,
    failed: usize,
}

/// The one document of a run.
#[derive(Serialize)]
struct Document<'a> {
    plays: &'a [ShownPlay],
    sheets: &'a [IssuedSheet],
    notes: &'a [String],
    stats: BTreeMap<&'a HostName, Counts>,
    exit_code: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    profile: Option<Value>,
    /// Plays hold the reports of their hosts; what is no playbook has them here.
    #[serde(skip_serializing_if = "Option::is_none")]
    hosts: Option<Vec<&'a HostReport>>,
}

/// Writes the one document of a run.
///
/// # Errors
/// When standard output cannot be written.
pub fn document(
    plays: &[ShownPlay],
    outcome: &Outcome,
    profile: Option<Value>,
    out: &mut (dyn Write + Send),
) -> Result<(), Error> {
    let stats = outcome.hosts.iter().map(|(host, report)| {
        let [ok, changed, unreachable, failed] = counts(report);
        let counts = Counts {
            ok,
            changed,
            unreachable,
            failed,
        };
        (host, counts)
    });
    write_json(
        out,
        &Document {
            plays,
            sheets: &outcome.sheets,
            notes: &outcome.notes,
            stats: stats.collect(),
            exit_code: outcome.code(),
            profile,
            hosts: plays.is_empty().then(|| outcome.hosts.values().collect()),
        },
    )
}

/// Returns what came of a command that is not a playbook: one line a host that was changed or is not well.
pub fn lines(outcome: &Outcome, globals: &Globals) -> String {
    let mut text = String::new();
    for report in outcome.hosts.values() {
        let host = &report.host;
        match &report.status {
            Status::Unreachable(why) => _ = writeln!(text, "{host}: unreachable: {why}"),
            Status::Failed(why) => _ = writeln!(text, "{host}: failed: {why}"),
            Status::Skipped(_) => _ = writeln!(text, "{host}: not begun"),
            Status::Ok => {
                if !report.enforced.is_empty() {
                    _ = writeln!(
                        text,
                        "{host}: now asks for a code: {}",
                        report.enforced.join(", ")
                    );
                }
                for change in &report.changes {
                    if globals.diff {
                        text.push_str(&change.diff);
                    } else if globals.check || globals.verbose > 0 {
                        _ = writeln!(text, "{host}: {}", change.summary);
                    }
                }
                let told = globals.diff || globals.check || globals.verbose > 0;
                if !told && report.enforced.is_empty() {
                    match report.changes.len() {
                        0 => {}
                        1 => _ = writeln!(text, "{host}: 1 change"),
                        many => _ = writeln!(text, "{host}: {many} changes"),
                    }
                }
            }
        }
        for item in report.revoked.iter().filter(|i| i.new || i.state == "open") {
            _ = match &item.why {
                Some(why) => writeln!(
                    text,
                    "{host}: {}: open since {}: {why}",
                    item.admin, item.since
                ),
                None => writeln!(text, "{host}: {}: removed and read back", item.admin),
            };
        }
        for finding in &report.findings {
            if !is_told(report, finding) {
                _ = writeln!(text, "{host}: ({}) {}", finding.id, finding.text);
            }
            _ = writeln!(text, "{host}:   -> {}", finding.remedy);
        }
        for gap in &report.gaps {
            _ = writeln!(text, "{host}: gap ({}): {}", gap.id, gap.text);
        }
    }
    text
}
