//! The run lock for commands that change the ledger and contact no host.

use super::setup::World;
use crate::error::Error;
use crate::ledger::{Ledger, Lock};

/// A run without hosts.
#[derive(Debug)]
pub struct Hold {
    ledger: Ledger,
    lock: Lock,
}

impl Hold {
    /// Takes the lock and begins a run.
    ///
    /// # Errors
    /// When another run holds the lock (exit code 75), or the ledger cannot be written.
    pub async fn begin(ledger: &Ledger, world: &World, command: &str) -> Result<Self, Error> {
        let lock = ledger.acquire_lock(&world.actor.name).await?;
        if let Some(holder) = &lock.taken_over {
            tracing::warn!("took over the lock of a run that is gone: {holder}");
        }
        ledger.begin_run(command, &world.actor).await?;
        Ok(Self {
            ledger: ledger.clone(),
            lock,
        })
    }

    /// Records how the run ended and gives the lock back; returns what it ended with.
    ///
    /// # Errors
    /// That of the run, else what keeps the ledger from being written.
    pub async fn end(self, result: Result<u8, Error>) -> Result<u8, Error> {
        let code = match &result {
            Ok(code) => *code,
            Err(error) => error.kind().code(),
        };
        self.ledger.finish_run(code).await?;
        self.ledger.release(self.lock).await?;
        result
    }
}
