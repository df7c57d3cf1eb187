//! Migrations: applied in order, each once, all in one transaction that no second process can enter.
//!
//! sqlx's own runner does not lock SQLite, so two first starts at a time would collide.

use sqlx::AnyConnection;
use sqlx::Row as _;

use crate::ledger::LedgerError;

/// The migrations, oldest first; the version is the position, from 1. Never change one that was released.
const MIGRATIONS: &[&str] = &[
    include_str!("migrations/0001_ledger.sql"),
    include_str!("migrations/0004_codes.sql"),
    include_str!("migrations/0005_moving.sql"),
    include_str!("migrations/0006_rotation_cause.sql"),
    include_str!("migrations/0007_activity.sql"),
    include_str!("migrations/0008_audit.sql"),
    include_str!("migrations/0009_weaknesses.sql"),
    include_str!("migrations/0010_run_journal.sql"),
    include_str!("migrations/0011_findings.sql"),
    include_str!("migrations/0012_own_code.sql"),
    include_str!("migrations/0013_run_request.sql"),
];

/// Newest version that this program knows.
const KNOWN: i64 = MIGRATIONS.len() as i64;

/// Brings the schema up to date; called inside a write transaction.
pub(super) async fn migrate(connection: &mut AnyConnection) -> Result<(), LedgerError> {
    sqlx::query("CREATE TABLE IF NOT EXISTS schema_version (version BIGINT NOT NULL)")
        .execute(&mut *connection)
        .await?;
    let found = version(connection).await?;
    for (index, script) in (1..).zip(MIGRATIONS) {
        if index <= found {
            continue;
        }
        sqlx::raw_sql(*script).execute(&mut *connection).await?;
        sqlx::query("INSERT INTO schema_version (version) VALUES ($1)")
            .bind(index)
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}

/// Returns whether the schema is up to date; asked first, since reading takes no lock.
pub(super) async fn is_current(connection: &mut AnyConnection) -> Result<bool, LedgerError> {
    let tables =
        sqlx::query("SELECT COUNT(*) AS n FROM sqlite_master WHERE name = 'schema_version'")
            .fetch_one(&mut *connection)
            .await?;
    if tables.try_get::<i64, _>("n")? == 0 {
        return Ok(false);
    }
    let found = version(connection).await?;
    if found > KNOWN {
        return Err(LedgerError::Newer {
            found,
            known: KNOWN,
        });
    }
    Ok(found == KNOWN)
}

async fn version(connection: &mut AnyConnection) -> Result<i64, LedgerError> {
    let row = sqlx::query("SELECT COALESCE(MAX(version), 0) AS version FROM schema_version")
        .fetch_one(&mut *connection)
        .await?;
    Ok(row.try_get("version")?)
}
