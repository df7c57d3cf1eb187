//! `fleetotp hosts`: what the ledger knows of hosts, and the end of one.

use std::io::Write;

use clap::Subcommand;
use serde_json::json;

use super::globals::{Globals, Output};
use super::inventory::table;
use super::play::write;
use super::setup::{Setup, World};
use super::status::span;
use crate::error::Error;
use crate::exit;
use crate::names::HostName;
use crate::text::suggest;

/// What to do with hosts.
#[derive(Debug, Clone, Subcommand)]
pub enum HostsCommand {
    /// List every host that was ever met or named in a revocation, with when it was last read
    List,
    /// Say that a host is not expected back; what is open on it is closed as attested, never as proven
    Retire {
        /// The host
        #[arg(value_name = "HOST")]
        host: String,

        /// Why; goes into the log
        #[arg(long, env = "FLEETOTP_REASON", value_name = "TEXT")]
        reason: String,

        /// The ticket; goes into the log
        #[arg(long, env = "FLEETOTP_TICKET", value_name = "ID")]
        ticket: Option<String>,
    },
}

/// Runs the command.
///
/// # Errors
/// An unknown host, or a ledger that cannot be read or written.
pub async fn run(
    command: &HostsCommand,
    globals: &Globals,
    world: &World,
    out: &mut (dyn Write + Send),
) -> Result<u8, Error> {
    let setup = Setup::open(globals, world).await?;
    match command {
        HostsCommand::List => list(&setup, globals, world, out).await,
        HostsCommand::Retire {
            host,
            reason,
            ticket,
        } => {
            retire(
                &setup,
                globals,
                world,
                (host, reason, ticket.as_deref()),
                out,
            )
            .await
        }
    }
}

async fn list(
    setup: &Setup,
    globals: &Globals,
    world: &World,
    out: &mut (dyn Write + Send),
) -> Result<u8, Error> {
    let items = setup.ledger.revocation_items().await?;
    let open_on = |host: &HostName| {
        items
            .iter()
            .filter(|i| i.is_open() && i.host == *host)
            .count()
    };
    let hosts = setup.ledger.hosts().await?;
    let now = world.clock.now();
    let known = |host: &HostName| setup.inventory.host(host.as_str()).is_some();
    let text = match globals.output {
        Output::Json => {
            let hosts: Vec<_> = hosts
                .iter()
                .map(|h| {
                    json!({
                        "host": h.name, "in_inventory": known(&h.name), "reachable": h.reachable,
                        "last_seen_at": h.last_seen_at, "last_attempt_at": h.last_attempt_at, "why": h.detail,
                        "machine_id": h.machine_id, "open_revocations": open_on(&h.name),
                    })
                })
                .collect();
            format!("{:#}\n", json!({"hosts": hosts}))
        }
        Output::Text => {
            let mut rows =
                vec![["HOST", "INVENTORY", "SEEN", "REACHABLE", "OPEN"].map(str::to_owned)];
            rows.extend(hosts.iter().map(|h| {
                [
                    h.name.to_string(),
                    if known(&h.name) { "yes" } else { "no" }.to_owned(),
                    h.last_seen_at.map_or_else(
                        || "never".to_owned(),
                        |at| format!("{} ago", span(now.as_second() - at.as_second())),
                    ),
                    if h.reachable { "yes" } else { "no" }.to_owned(),
                    open_on(&h.name).to_string(),
                ]
            }));
            table(&rows)
        }
    };
    write(out, &text)?;
    Ok(exit::DONE)
}

async fn retire(
    setup: &Setup,
    globals: &Globals,
    world: &World,
    (name, reason, ticket): (&str, &str, Option<&str>),
    out: &mut (dyn Write + Send),
) -> Result<u8, Error> {
    let hosts = setup.ledger.hosts().await?;
    let Some(host) = hosts.iter().find(|h| h.name.as_str() == name) else {
        return Err(Error::failed(format!(
            "the ledger knows no host `{}`",
            crate::names::printable(name, 60)
        ))
        .hinted_if(suggest::hint(name, hosts.iter().map(|h| h.name.as_str()))));
    };
    if globals.check {
        write(out, &format!("would retire {name}\n"))?;
        return Ok(exit::DONE);
    }
    setup.ledger.begin_run("hosts retire", &world.actor).await?;
    let closed = setup
        .ledger
        .retire_host(&host.name, reason, ticket)
        .await?
        .unwrap_or(0);
    if setup.inventory.host(name).is_some() {
        eprintln!(
            "note: {name} is still in the inventory: the next run that reads it makes it a known host again"
        );
    }
    let text = match globals.output {
        Output::Json => format!("{:#}\n", json!({"host": name, "attested": closed})),
        Output::Text => format!("{name} is retired; {closed} open revocations attested\n"),
    };
    write(out, &text)?;
    setup.ledger.finish_run(exit::DONE).await?;
    Ok(exit::DONE)
}
