//! The run lock: one run at a time changes hosts. A lease with a heartbeat, so that nobody waits for the dead.

use std::fmt;
use std::fs;
use std::time::Duration;

use crate::clock::{Timestamp, readable_id};
use crate::ledger::LedgerError;
use crate::ledger::event::Draft;
use crate::ledger::open::Ledger;
use crate::ledger::row::RowExt as _;
use crate::names::printable;

/// How long a lease holds without a heartbeat. Only counts where the holder's process cannot be looked up.
const LEASE: Duration = Duration::from_secs(90);

/// How often the lease is renewed.
const BEAT: Duration = Duration::from_secs(20);

/// Who holds the lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// The person or job, as it calls itself.
    pub who: String,
    /// The host's name.
    pub host: String,
    /// The process on that host.
    pub pid: u32,
    /// Since when.
    pub since: Timestamp,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} (process {} on {}) since {}",
            printable(&self.who, 60),
            self.pid,
            printable(&self.host, 60),
            self.since
        )
    }
}

/// The lock, held. Give it back with [`Ledger::release`]; when dropped instead, the next run finds the process gone or
/// the lease run out.
#[derive(Debug)]
pub struct Lock {
    lease: String,
    heartbeat: tokio::task::JoinHandle<()>,
    /// Who held it before, if this run took it over from a run that did not end properly.
    pub taken_over: Option<Holder>,
}

impl Drop for Lock {
    fn drop(&mut self) {
        self.heartbeat.abort();
    }
}

/// This process, as others can look it up.
#[derive(Debug)]
struct Process {
    host: String,
    machine: String,
    boot: String,
    pid_namespace: String,
    pid: i64,
    start: i64,
}

impl Process {
    fn current() -> Self {
        let read = |path: &str| {
            fs::read_to_string(path)
                .unwrap_or_default()
                .trim()
                .to_owned()
        };
        let pid = std::process::id();
        Self {
            host: read("/proc/sys/kernel/hostname"),
            machine: read("/etc/machine-id"),
            boot: read("/proc/sys/kernel/random/boot_id"),
            pid_namespace: fs::read_link("/proc/self/ns/pid")
                .map(|link| link.display().to_string())
                .unwrap_or_default(),
            pid: i64::from(pid),
            start: start_of(i64::from(pid)).unwrap_or_default(),
        }
    }
}

/// Start time of a process in clock ticks since boot: field 22 of proc_pid_stat(5), counted after the parenthesised
/// name, which can hold anything. `None` where there is no such process, or only its remains.
fn start_of(pid: i64) -> Option<i64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace();
    if matches!(fields.next()?, "Z" | "X") {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

impl Ledger {
    /// Takes the run lock.
    ///
    /// A holder whose process is gone is replaced at once, and so is one on another machine whose lease ran out; both
    /// are events. From here on every change checks that the lock is still held.
    ///
    /// # Errors
    /// [`LedgerError::Locked`] names the holder.
    pub async fn acquire_lock(&self, who: &str) -> Result<Lock, LedgerError> {
        let process = Process::current();
        let mut tx = self.begin().await?;
        let row = sqlx::query("SELECT * FROM run_lock WHERE name = 'run'")
            .fetch_optional(tx.db())
            .await?;
        let mut taken_over = None;
        if let Some(row) = row {
            let holder = Holder {
                who: row.text("who")?,
                host: row.text("host")?,
                pid: row.number("pid")?,
                since: row.time("since")?,
            };
            let same_machine =
                row.text("machine")? == process.machine && holder.host == process.host;
            let same_boot = row.text("boot")? == process.boot && !process.boot.is_empty();
            let why = if same_boot && row.text("pid_namespace")? == process.pid_namespace {
                // The process can be looked up, so its lease does not matter: it may have been stopped for an hour.
                let start = row.int("pid_start")?;
                (start_of(i64::from(holder.pid)) != Some(start)).then_some("process gone")
            } else if same_machine && !same_boot && !process.machine.is_empty() {
                Some("machine restarted")
            } else {
                let expiry = row.time("beat_at")?.as_millisecond() + lease_ms();
                (tx.now_ms() > expiry).then_some("lease ran out")
            };
            let Some(why) = why else {
                return Err(LedgerError::Locked(holder));
            };
            tx.event(
                Draft::new("lock.taken_over")
                    .with("why", why)
                    .with("machine", holder.host.as_str())
                    .with("pid", holder.pid)
                    .with("since", holder.since.to_string()),
            )
            .await?;
            taken_over = Some(holder);
        }
        let lease = readable_id(tx.entropy.as_ref(), "L", 16)?;
        let now = tx.now_ms();
        sqlx::query("DELETE FROM run_lock").execute(tx.db()).await?;
        sqlx::query(
            "INSERT INTO run_lock (name, lease, who, host, machine, boot, pid_namespace, pid, pid_start, since, beat_at)
             VALUES ('run', $1, $2, $3, $4, $5, $6, $7, $8, $9, $9)",
        )
        .bind(lease.clone())
        .bind(who.to_owned())
        .bind(process.host)
        .bind(process.machine)
        .bind(process.boot)
        .bind(process.pid_namespace)
        .bind(process.pid)
        .bind(process.start)
        .bind(now)
        .execute(tx.db())
        .await?;
        tx.commit().await?;
        self.context().lease = Some(lease.clone());
        Ok(Lock {
            heartbeat: tokio::spawn(beat(self.clone(), lease.clone())),
            lease,
            taken_over,
        })
    }

    /// Gives the lock back.
    ///
    /// # Errors
    /// When the database fails. A lock that was lost meanwhile is no error here: there is nothing to give back.
    pub async fn release(&self, lock: Lock) -> Result<(), LedgerError> {
        lock.heartbeat.abort();
        self.context().lease = None;
        sqlx::query("DELETE FROM run_lock WHERE lease = $1")
            .bind(lock.lease.clone())
            .execute(&self.inner.pool)
            .await?;
        Ok(())
    }
}

fn lease_ms() -> i64 {
    i64::try_from(LEASE.as_millis()).unwrap_or(i64::MAX)
}

/// Renews the lease until it is lost; a failure is left to the next transaction, which finds out and reports it.
async fn beat(ledger: Ledger, lease: String) {
    loop {
        tokio::time::sleep(BEAT).await;
        let renewed = sqlx::query("UPDATE run_lock SET beat_at = $1 WHERE lease = $2")
            .bind(ledger.inner.clock.now().as_millisecond())
            .bind(lease.clone())
            .execute(&ledger.inner.pool)
            .await;
        if matches!(renewed, Ok(done) if done.rows_affected() == 0) {
            return;
        }
    }
}
