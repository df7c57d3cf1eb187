//! `fleetotp status`: every admin and realm, from what hosts were last seen to have.

mod rotation;

use std::collections::{BTreeMap, HashMap};
use std::io::Write;

use clap::Args;
use serde::Serialize;

use self::rotation::RotationCell;
use super::bypass;
use super::care::{Care, Cares, FEW};
use super::globals::{Globals, Output};
use super::play::{json, write};
use super::revoke::show as revoke;
use super::run::admins_of;
use super::setup::{Setup, World};
use crate::clock::Timestamp;
use crate::error::Error;
use crate::exit;
use crate::host::facts::Slot;
use crate::ledger::{HostRecord, RevocationItem, TokenHostRecord};
use crate::names::{AdminName, HostName, RealmName};
use crate::playbook::job::Memory;
use crate::token::state::TokenHostState;

/// Arguments of `status`.
#[derive(Debug, Clone, Args)]
pub struct StatusArgs {
    /// Also every host of every token
    #[arg(long, env = "FLEETOTP_STATUS_HOSTS")]
    hosts: bool,
}

/// All of it, as JSON.
#[derive(Debug, Serialize)]
struct Document<'a> {
    tokens: &'a [Row],
    bypasses: Vec<serde_json::Value>,
}

/// A token's row.
#[derive(Debug, Serialize)]
struct Row {
    admin: String,
    realm: String,
    state: String,
    generation: Option<u32>,
    issued_at: Option<Timestamp>,
    confirmed_at: Option<Timestamp>,
    sheet: Option<SheetCell>,
    rotation: Option<RotationCell>,
    /// Nobody confirmed its last rotation in time.
    overdue: bool,
    hosts: Counts,
    #[serde(flatten)]
    care: Care,
    scratch_codes: Option<Scratch>,
    on: Vec<HostCell>,
    revocation: Option<Revocation>,
}

/// Scratch codes, where the policy has them. Each host has its own.
#[derive(Debug, Serialize)]
struct Scratch {
    /// On the host that had the fewest when it was read; null where none was.
    left: Option<u32>,
    /// On the sheet, as the policy has it now.
    issued: u32,
}

impl Scratch {
    fn of(issued: u8, on: &[HostCell]) -> Option<Self> {
        (issued > 0).then(|| Self {
            left: on.iter().filter_map(|c| c.scratch_codes).min(),
            issued: u32::from(issued),
        })
    }

    /// Says where few are left.
    fn warning(&self, row: &Row) -> Option<String> {
        let few: Vec<String> = row
            .on
            .iter()
            .filter_map(|c| Some((c, c.scratch_codes.filter(|n| *n <= FEW)?)))
            .map(|(c, n)| format!("{n} on {}", c.host))
            .collect();
        (!few.is_empty()).then(|| {
            format!(
                "{} in realm {} has few of {} scratch codes left: {}; a new sheet has new ones",
                row.admin,
                row.realm,
                self.issued,
                few.join(", ")
            )
        })
    }
}

/// How far a revocation is.
#[derive(Debug, Serialize)]
struct Revocation {
    requested_at: Timestamp,
    reason: Option<String>,
    ticket: Option<String>,
    proven: usize,
    attested: usize,
    open: usize,
    hosts: Vec<serde_json::Value>,
}

impl Revocation {
    fn of(items: &[&RevocationItem]) -> Option<Self> {
        let first = items.first()?;
        let count = |state: &str| items.iter().filter(|i| revoke::state(i) == state).count();
        Some(Self {
            requested_at: first.since,
            reason: first.reason.clone(),
            ticket: first.ticket.clone(),
            proven: count("proven"),
            attested: count("attested"),
            open: count("open"),
            hosts: items.iter().map(|i| revoke::item_json(i)).collect(),
        })
    }

    /// Counts, and the clock of what is open.
    fn line(&self, now: Timestamp) -> String {
        let mut parts = vec![format!("{} hosts proven", self.proven)];
        if self.attested > 0 {
            parts.push(format!("{} attested", self.attested));
        }
        if self.open > 0 {
            let away = span(now.as_second() - self.requested_at.as_second());
            parts.push(format!(
                "{} open since {} ({away})",
                self.open, self.requested_at
            ));
        }
        let open: Vec<&str> = self
            .hosts
            .iter()
            .filter(|h| h["state"] == "open")
            .filter_map(|h| h["host"].as_str())
            .collect();
        let names = if open.is_empty() {
            String::new()
        } else {
            format!(": {}", open.join(", "))
        };
        format!("  {}{names}\n", parts.join(", "))
    }
}

#[derive(Debug, Serialize)]
struct SheetCell {
    id: String,
    state: String,
    expires_at: Option<Timestamp>,
}

/// How many hosts of an assignment are how.
#[derive(Debug, Default, Serialize)]
struct Counts {
    all: usize,
    enforced: usize,
    reachable: usize,
    unknown: usize,
}

#[derive(Debug, Serialize)]
struct HostCell {
    host: HostName,
    state: String,
    reachable: Option<bool>,
    observed_at: Option<Timestamp>,
    reason: Option<String>,
    /// Generations last seen in the two slots.
    current: Option<u32>,
    next: Option<u32>,
    /// Scratch codes that were left then; null where the policy has none.
    scratch_codes: Option<u32>,
}

/// Runs the command.
///
/// # Errors
/// When inventory or ledger cannot be read.
pub async fn run(
    args: &StatusArgs,
    globals: &Globals,
    world: &World,
    out: &mut (dyn Write + Send),
) -> Result<u8, Error> {
    let setup = Setup::open(globals, world).await?;
    let open = setup.ledger.open_bypasses().await?;
    let with_hosts = args.hosts || globals.output == Output::Json;
    let rows = rows(&setup, globals, world.clock.now(), with_hosts).await?;
    let text = match globals.output {
        Output::Json => json(&Document {
            tokens: &rows,
            bypasses: open.iter().map(bypass::row).collect(),
        })?,
        Output::Text => {
            let mut text = table(&rows, world.clock.now(), args.hosts);
            text.extend(open.iter().map(|r| {
                format!(
                    "BYPASS {}
",
                    bypass::line(r)
                )
            }));
            text
        }
    };
    write(out, &text)?;
    for row in &rows {
        let scratch = row.scratch_codes.as_ref().and_then(|s| s.warning(row));
        let lines = row.care.warnings(&row.admin, &row.realm, row.issued_at);
        for line in lines.into_iter().chain(scratch) {
            eprintln!("warning: {line}");
        }
    }
    Ok(exit::DONE)
}

/// Returns the table, for the task `report`.
///
/// # Errors
/// When the ledger cannot be read.
pub async fn text(setup: &Setup, globals: &Globals, now: Timestamp) -> Result<String, Error> {
    Ok(table(&rows(setup, globals, now, false).await?, now, false))
}

/// Reads a row for each admin and realm; what each host has stays in it where that is to be shown, or has to be warned of.
async fn rows(
    setup: &Setup,
    globals: &Globals,
    now: Timestamp,
    with_hosts: bool,
) -> Result<Vec<Row>, Error> {
    let only = admins_of(setup, globals.admins.as_deref())?;
    let tokens = setup.ledger.tokens_by_admin().await?;
    let overdue = setup.ledger.unconfirmed_rotations().await?;
    let realms = &setup.inventory.enrolment().realms;
    let has_scratch = realms.values().any(|r| r.policy.scratch_codes > 0);
    let ledger = &setup.ledger;
    let all = if has_scratch {
        ledger.hosts().await?
    } else {
        ledger.hosts_at_a_glance().await?
    };
    let hosts: HashMap<HostName, HostRecord> =
        all.into_iter().map(|h| (h.name.clone(), h)).collect();
    let all_items = setup.ledger.revocation_items().await?;
    let mut items: HashMap<&crate::token::id::Serial, Vec<&RevocationItem>> = HashMap::new();
    for item in &all_items {
        items.entry(&item.serial).or_default().push(item);
    }
    let mut cares = Cares::read(&setup.ledger).await?;
    // Once a host, and not for each of its tokens: what a host has is one document.
    let scratch: HashMap<&HostName, BTreeMap<String, u32>> = hosts
        .values()
        .filter(|_| has_scratch)
        .map(|h| (&h.name, Memory::of(h).scratch_codes))
        .collect();
    // Who left the inventory is not left out of the status.
    let mut realms_of: BTreeMap<&AdminName, Vec<&RealmName>> = BTreeMap::new();
    let admins = &setup.inventory.enrolment().admins;
    realms_of.extend(admins.keys().map(|admin| (admin, Vec::new())));
    for (admin, realm) in tokens.keys() {
        realms_of.entry(admin).or_default().push(realm);
    }
    realms_of.retain(|admin, _| only.as_ref().is_none_or(|o| o.contains(*admin)));
    // Admin by admin: a hundred of them on ten thousand hosts are a million names.
    let places = realms_of.into_iter().flat_map(|(admin, with_token)| {
        let mut places: BTreeMap<RealmName, Vec<HostName>> = BTreeMap::new();
        let assigned = admins.get(admin).into_iter();
        for assignment in assigned.flat_map(|a| setup.inventory.assignments_of(a)) {
            let names = places.entry(assignment.realm).or_default();
            names.push(assignment.host);
        }
        for realm in with_token {
            places.entry(realm.clone()).or_default();
        }
        let whose = move |(realm, names)| (admin.clone(), realm, names);
        places.into_iter().map(whose)
    });
    let mut rows = Vec::new();
    for (admin, realm, names) in places {
        let token = tokens.get(&(admin.clone(), realm.clone()));
        // Token by token: all of them on all hosts may be millions.
        let seen: HashMap<HostName, TokenHostRecord> = match token {
            Some(token) => {
                let seen = ledger.hosts_of_token(&token.serial).await?;
                seen.into_iter().map(|r| (r.host.clone(), r)).collect()
            }
            None => HashMap::new(),
        };
        let issued = realms.get(&realm).map_or(0, |r| r.policy.scratch_codes);
        let on: Vec<HostCell> = names
            .iter()
            .map(|host| {
                let scratch = scratch.get(host).filter(|_| issued > 0);
                cell(host, &hosts, &seen, scratch)
            })
            .collect();
        let live = token.and_then(|t| t.next.as_ref().or(t.current.as_ref()));
        rows.push(Row {
            admin: admin.to_string(),
            realm: realm.to_string(),
            state: token.map_or_else(|| "none".to_owned(), |t| t.state.to_string()),
            generation: live.map(|g| g.number),
            issued_at: live.map(|g| g.issued_at),
            confirmed_at: live.and_then(|g| g.confirmed_at),
            sheet: live.and_then(|g| g.sheet.as_ref()).map(|s| SheetCell {
                id: s.id.to_string(),
                state: s.state.to_string(),
                expires_at: s.expires_at,
            }),
            rotation: token.and_then(|t| RotationCell::of(t, &on)),
            overdue: token.is_some_and(|t| overdue.contains(&t.serial) || t.is_overdue(now)),
            hosts: Counts {
                all: on.len(),
                enforced: on
                    .iter()
                    .filter(|c| c.state == TokenHostState::Enforced.as_str())
                    .count(),
                reachable: on.iter().filter(|c| c.reachable == Some(true)).count(),
                unknown: on.iter().filter(|c| c.reachable != Some(true)).count(),
            },
            scratch_codes: Scratch::of(issued, &on),
            care: token.map_or_else(Care::default, |t| cares.take(&t.serial)),
            on: if with_hosts || has_scratch {
                on
            } else {
                Vec::new()
            },
            revocation: token.and_then(|t| Revocation::of(items.get(&t.serial)?)),
        });
    }
    Ok(rows)
}

fn cell(
    host: &HostName,
    hosts: &HashMap<HostName, HostRecord>,
    seen: &HashMap<HostName, TokenHostRecord>,
    scratch: Option<&BTreeMap<String, u32>>,
) -> HostCell {
    let record = hosts.get(host);
    let observed = seen.get(host);
    HostCell {
        host: host.clone(),
        state: observed.map_or_else(|| "unknown".to_owned(), |o| o.state.to_string()),
        reachable: record.map(|r| r.reachable),
        observed_at: observed
            .map(|o| o.observed_at)
            .or_else(|| record.and_then(|r| r.last_seen_at)),
        current: observed.and_then(|o| o.current),
        next: observed.and_then(|o| o.next),
        scratch_codes: observed
            .filter(|o| o.current.is_some())
            .zip(scratch)
            .and_then(|(o, left)| {
                let name = format!("{}/{}", Slot::Current.as_str(), o.login);
                left.get(&name).copied()
            }),
        reason: observed.and_then(|o| o.reason.clone()).or_else(|| {
            record
                .filter(|r| !r.reachable)
                .and_then(|r| r.detail.clone())
        }),
    }
}

fn table(rows: &[Row], now: Timestamp, with_hosts: bool) -> String {
    let mut lines = vec![
        [
            "ADMIN",
            "REALM",
            "STATE",
            "AGE",
            "SHEET",
            "ENFORCED",
            "REACHABLE",
            "UNKNOWN",
        ]
        .map(str::to_owned)
        .to_vec(),
    ];
    let with_codes = rows.iter().any(|r| r.care.recovery_codes.is_some());
    let mut below: Vec<Vec<String>> = vec![Vec::new()];
    for row in rows {
        let sheet = row.sheet.as_ref().map_or_else(
            || "-".to_owned(),
            |s| match (s.state.as_str(), s.expires_at) {
                ("issued" | "delivered", Some(at)) => format!(
                    "{} {}, expires in {}",
                    s.id,
                    s.state,
                    span(at.as_second() - now.as_second())
                ),
                _ => format!("{} {}", s.id, s.state),
            },
        );
        lines.push(vec![
            row.admin.clone(),
            row.realm.clone(),
            match &row.rotation {
                Some(rotation) => format!("{} {}", row.state, rotation.text(row.hosts.all, now)),
                None if row.overdue => format!("{}, rotation overdue", row.state),
                None => row.state.clone(),
            },
            row.issued_at.map_or_else(
                || "-".to_owned(),
                |at| span(now.as_second() - at.as_second()),
            ),
            sheet,
            format!("{}/{}", row.hosts.enforced, row.hosts.all),
            format!("{}/{}", row.hosts.reachable, row.hosts.all),
            row.hosts.unknown.to_string(),
        ]);
        let mut more: Vec<String> = row.revocation.iter().map(|r| r.line(now)).collect();
        if with_hosts {
            more.extend(host_lines(&row.on, now));
        }
        below.push(more);
    }
    if with_codes {
        let codes = rows.iter().map(|r| {
            r.care
                .recovery_codes
                .map_or_else(|| "-".to_owned(), |c| format!("{}/{}", c.left, c.issued))
        });
        let cells = std::iter::once("RECOVERY".to_owned()).chain(codes);
        for (line, cell) in lines.iter_mut().zip(cells) {
            line.push(cell);
        }
    }
    if rows.iter().any(|r| r.scratch_codes.is_some()) {
        let codes = rows.iter().map(|r| match &r.scratch_codes {
            Some(Scratch {
                left: Some(left),
                issued,
            }) => format!("{left}/{issued}"),
            Some(Scratch { left: None, issued }) => format!("?/{issued}"),
            None => "-".to_owned(),
        });
        let cells = std::iter::once("SCRATCH".to_owned()).chain(codes);
        for (line, cell) in lines.iter_mut().zip(cells) {
            line.push(cell);
        }
    }
    let text = super::inventory::table(&lines);
    let mut out = String::new();
    for (line, hosts) in text.lines().zip(below) {
        out.push_str(line);
        out.push('\n');
        for host in hosts {
            out.push_str(&host);
        }
    }
    out
}

/// One line a host, in columns.
fn host_lines(cells: &[HostCell], now: Timestamp) -> Vec<String> {
    let rows: Vec<[String; 4]> = cells
        .iter()
        .map(|cell| {
            let seen = cell.observed_at.map_or_else(
                || "never seen".to_owned(),
                |at| format!("seen {} ago", span(now.as_second() - at.as_second())),
            );
            let away = if cell.reachable == Some(false) {
                ", now unreachable"
            } else {
                ""
            };
            [
                format!("  {}", cell.host),
                cell.state.clone(),
                format!("{seen}{away}"),
                cell.reason.clone().unwrap_or_default(),
            ]
        })
        .collect();
    super::inventory::table(&rows)
        .lines()
        .map(|line| format!("{line}\n"))
        .collect()
}

/// `2d23h`, `5h`, `12m`, `40s`: the largest unit that fits, and after days and hours the next one.
pub(crate) fn span(seconds: i64) -> String {
    let seconds = seconds.max(0);
    let two = |size: i64, unit, small: i64, small_unit| {
        let (large, rest) = (seconds / size, seconds % size / small);
        if rest == 0 {
            format!("{large}{unit}")
        } else {
            format!("{large}{unit}{rest}{small_unit}")
        }
    };
    match seconds {
        86_400.. => two(86_400, 'd', 3_600, 'h'),
        3_600.. => two(3_600, 'h', 60, 'm'),
        60.. => format!("{}m", seconds / 60),
        _ => format!("{seconds}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::span;

    #[test]
    fn spans_have_at_most_two_units() {
        for (seconds, text) in [
            (-5, "0s"),
            (59, "59s"),
            (3_599, "59m"),
            (7_200, "2h"),
            (259_199, "2d23h"),
            (7_776_000, "90d"),
        ] {
            assert_eq!(span(seconds), text);
        }
    }
}
