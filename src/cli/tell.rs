//! Telling others of findings: a web server, and this machine's syslog.
//!
//! A finding is stored first, with who is to be told; only what a receiver has taken is marked as told. So whoever was
//! not reached is told in the next run, and may be told twice, never not at all.

mod syslog;
mod webhook;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use serde_json::{Value, json};

use self::webhook::Webhook;
use crate::cli::setup::{Setup, World};
use crate::error::Error;
use crate::ledger::{Channel, FindingRecord};
use crate::token::id::Serial;

/// Whom to tell of findings.
#[derive(Debug, Clone, Default, Args)]
pub struct TellArgs {
    /// POST new findings as JSON to this URL, once a run; a URL that is itself a secret belongs into the project file
    #[arg(long, env = "FLEETOTP_WEBHOOK", value_name = "URL")]
    webhook: Option<String>,

    /// File with a header that goes with it, such as `Authorization: Bearer …`; `-` reads it from standard input
    #[arg(
        long,
        env = "FLEETOTP_WEBHOOK_HEADER",
        value_name = "FILE",
        requires = "webhook"
    )]
    webhook_header: Option<PathBuf>,

    /// Tell this machine's syslog of new findings; another socket than /dev/log where one is given
    #[arg(
        long,
        env = "FLEETOTP_SYSLOG",
        value_name = "SOCKET",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "/dev/log"
    )]
    syslog: Option<PathBuf>,
}

/// Those who are told.
#[derive(Debug)]
pub(super) struct Tellers {
    webhook: Option<Arc<Webhook>>,
    syslog: Option<PathBuf>,
}

impl Tellers {
    /// Takes them from flags, else from the project file. A header goes to nobody but the URL that it was given with.
    ///
    /// # Errors
    /// When the URL is none, or the header cannot be read.
    pub(super) fn new(args: &TellArgs, setup: &Setup, world: &World) -> Result<Self, Error> {
        let project = &setup.project;
        let webhook = match (&args.webhook, &project.settings.activity.webhook) {
            (Some(url), _) => {
                let header = args.webhook_header.as_ref();
                Some(Webhook::open(url, header.map(|p| world.cwd.join(p)))?)
            }
            (None, Some(settings)) => {
                let header = settings.header_file.as_ref();
                Some(Webhook::open(
                    &settings.url,
                    header.map(|p| project.resolve(p)),
                )?)
            }
            (None, None) => None,
        };
        Ok(Self {
            webhook: webhook.map(Arc::new),
            syslog: args.syslog.clone(),
        })
    }

    /// Returns them by the names that the ledger has for them.
    pub(super) fn channels(&self) -> Vec<Channel> {
        let mut channels = Vec::new();
        channels.extend(self.webhook.as_ref().map(|_| Channel::Webhook));
        channels.extend(self.syslog.as_ref().map(|_| Channel::Syslog));
        channels
    }

    /// Tells each what it was not told yet.
    ///
    /// # Errors
    /// When one of them did not take it; the other was told.
    pub(super) async fn tell(&self, setup: &Setup) -> Result<(), Error> {
        let ledger = &setup.ledger;
        let admins = admins(setup).await?;
        let mut failed = None;
        if let Some(webhook) = self.webhook.clone() {
            let open = ledger.findings_to_tell(Channel::Webhook).await?;
            if !open.is_empty() {
                let findings: Vec<Value> = open.iter().map(|f| document(f, &admins)).collect();
                let body = json!({
                    "version": 1,
                    "project": ledger.project_id().to_string(),
                    "findings": findings,
                });
                let sent = tokio::task::spawn_blocking(move || webhook.post(&body.to_string()));
                match sent.await {
                    Ok(Ok(())) => ledger.findings_told(Channel::Webhook, &open).await?,
                    Ok(Err(error)) => failed = Some(error),
                    Err(error) => {
                        failed = Some(
                            Error::failed("the webhook's request ended abnormally")
                                .caused_by(error),
                        );
                    }
                }
            }
        }
        if let Some(socket) = &self.syslog {
            let open = ledger.findings_to_tell(Channel::Syslog).await?;
            if !open.is_empty() {
                match syslog::send(socket, &open) {
                    Ok(()) => ledger.findings_told(Channel::Syslog, &open).await?,
                    Err(error) => {
                        if let Some(first) = failed.replace(error) {
                            tracing::error!("{}", first.report());
                        }
                    }
                }
            }
        }
        failed.map_or(Ok(()), Err)
    }
}

async fn admins(setup: &Setup) -> Result<BTreeMap<Serial, String>, Error> {
    let tokens = setup.ledger.tokens().await?;
    Ok(tokens
        .into_iter()
        .filter_map(|t| Some((t.serial, t.admin?.to_string())))
        .collect())
}

fn document(found: &FindingRecord, admins: &BTreeMap<Serial, String>) -> Value {
    json!({
        "key": found.key,
        "id": found.id,
        "severity": found.severity,
        "at": found.at,
        "noticed_at": found.noticed_at,
        "admin": found.serial.as_ref().and_then(|s| admins.get(s)),
        "serial": found.serial,
        "login": found.login,
        "hosts": found.hosts,
        "text": found.text,
        "evidence": found.evidence,
    })
}
