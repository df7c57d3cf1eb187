//! What was found in logins, and who was told of it.

use sqlx::any::AnyRow;

use crate::clock::Timestamp;
use crate::ledger::event::Draft;
use crate::ledger::open::Ledger;
use crate::ledger::row::RowExt as _;
use crate::ledger::{LedgerError, canonical_json};
use crate::names::{HostName, Login, printable};
use crate::token::id::Serial;

/// Until when logins were judged; a value of `meta`.
const JUDGED: &str = "activity_judged";
/// Texts are cut to this many characters.
const MAX_TEXT: usize = 1000;

/// A finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FindingRecord {
    /// Names it for ever: judged again, it is the same.
    pub key: String,
    /// What kind it is, such as `failure-spike`.
    pub id: String,
    /// `notice`, `warning` or `alert`.
    pub severity: String,
    /// When it was.
    pub at: Timestamp,
    /// When it was stored.
    pub noticed_at: Timestamp,
    /// The token it is about.
    pub serial: Option<Serial>,
    /// The account.
    pub login: Option<Login>,
    /// Where.
    pub hosts: Vec<HostName>,
    /// What was found.
    pub text: String,
    /// Lines of logs.
    pub evidence: Vec<String>,
}

/// Somebody who is told of findings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Channel {
    /// A web server.
    Webhook,
    /// This machine's syslog.
    Syslog,
}

impl Channel {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Webhook, Self::Syslog];

    /// Returns the word that stands in events.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Webhook => "webhook",
            Self::Syslog => "syslog",
        }
    }
}

impl Ledger {
    /// Returns until when logins were judged: those stored since then nobody has looked at.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn judged_until(&self) -> Result<Option<Timestamp>, LedgerError> {
        sqlx::query("SELECT value FROM meta WHERE key = $1")
            .bind(JUDGED)
            .fetch_optional(&self.inner.pool)
            .await?
            .map(|row| row.parsed("value"))
            .transpose()
    }

    /// Stores findings that are not there yet, for some to be told of, and until when logins were judged. Returns how
    /// many were new.
    ///
    /// # Errors
    /// When the database fails; then nothing of it is stored, and the next judgement finds them again.
    pub async fn store_findings(
        &self,
        found: &[FindingRecord],
        tell: &[Channel],
        judged_until: Timestamp,
    ) -> Result<usize, LedgerError> {
        let mut tx = self.begin().await?;
        let noticed_at = tx.now_ms();
        let open = |channel| tell.contains(&channel).then_some("open");
        let mut new = 0;
        for one in found {
            let hosts: Vec<&str> = one.hosts.iter().map(HostName::as_str).collect();
            let done = sqlx::query(
                "INSERT INTO activity_finding (key, id, severity, at, noticed_at, serial, login, hosts, text, evidence,
                 webhook, syslog) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) ON CONFLICT DO NOTHING",
            )
            .bind(one.key.clone())
            .bind(one.id.clone())
            .bind(one.severity.clone())
            .bind(one.at.as_millisecond())
            .bind(noticed_at)
            .bind(one.serial.as_ref().map(|s| s.as_str().to_owned()))
            .bind(one.login.as_ref().map(|l| l.as_str().to_owned()))
            .bind(canonical_json(&hosts.into()))
            .bind(printable(&one.text, MAX_TEXT))
            .bind(canonical_json(&one.evidence.clone().into()))
            .bind(open(Channel::Webhook))
            .bind(open(Channel::Syslog))
            .execute(tx.db())
            .await?;
            new += usize::from(done.rows_affected() > 0);
        }
        sqlx::query(
            "INSERT INTO meta (key, value) VALUES ($1, $2) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
        )
        .bind(JUDGED)
        .bind(judged_until.to_string())
        .execute(tx.db())
        .await?;
        tx.commit().await?;
        Ok(new)
    }

    /// Returns the findings of which somebody is still to be told, oldest first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn findings_to_tell(
        &self,
        channel: Channel,
    ) -> Result<Vec<FindingRecord>, LedgerError> {
        let query = match channel {
            Channel::Webhook => {
                "SELECT * FROM activity_finding WHERE webhook = 'open' ORDER BY noticed_at, at, key"
            }
            Channel::Syslog => {
                "SELECT * FROM activity_finding WHERE syslog = 'open' ORDER BY noticed_at, at, key"
            }
        };
        sqlx::query(query)
            .fetch_all(&self.inner.pool)
            .await?
            .iter()
            .map(finding_of)
            .collect()
    }

    /// Notes that somebody was told of findings.
    ///
    /// # Errors
    /// When the database fails; then they are told once more.
    pub async fn findings_told(
        &self,
        channel: Channel,
        told: &[FindingRecord],
    ) -> Result<(), LedgerError> {
        let query = match channel {
            Channel::Webhook => "UPDATE activity_finding SET webhook = 'sent' WHERE key = $1",
            Channel::Syslog => "UPDATE activity_finding SET syslog = 'sent' WHERE key = $1",
        };
        let mut tx = self.begin().await?;
        for one in told {
            sqlx::query(query)
                .bind(one.key.clone())
                .execute(tx.db())
                .await?;
        }
        tx.event(
            Draft::new("activity.told")
                .with("channel", channel.as_str())
                .with("findings", told.len()),
        )
        .await?;
        tx.commit().await
    }

    /// Returns what was found up to a time, in the order in which it happened.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn findings_by(&self, until: Timestamp) -> Result<Vec<FindingRecord>, LedgerError> {
        sqlx::query("SELECT * FROM activity_finding WHERE noticed_at <= $1 ORDER BY at, key")
            .bind(until.as_millisecond())
            .fetch_all(&self.inner.pool)
            .await?
            .iter()
            .map(finding_of)
            .collect()
    }
}

fn finding_of(row: &AnyRow) -> Result<FindingRecord, LedgerError> {
    let list = |column| {
        let text = row.text(column)?;
        serde_json::from_str::<Vec<String>>(&text).map_err(LedgerError::damaged)
    };
    let hosts = list("hosts")?;
    Ok(FindingRecord {
        key: row.text("key")?,
        id: row.text("id")?,
        severity: row.text("severity")?,
        at: row.time("at")?,
        noticed_at: row.time("noticed_at")?,
        serial: row.maybe_parsed("serial")?,
        login: row.maybe_parsed("login")?,
        hosts: hosts
            .iter()
            .map(|host| HostName::new(host).map_err(LedgerError::damaged))
            .collect::<Result<_, _>>()?,
        text: row.text("text")?,
        evidence: list("evidence")?,
    })
}
