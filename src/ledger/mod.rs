//! The ledger: tokens, sheets, hosts, runs and events in one SQLite database.
//!
//! Every change goes through a transaction of `tx`, which also appends its events to the hash chain; so what is in
//! the tables and what the log says cannot differ by a crash. The operations are methods of [`Ledger`], one file per
//! topic.

mod activity;
mod bypass;
mod canonical;
mod cause;
mod chain;
mod check;
mod confirm;
mod delivery;
mod error;
mod event;
mod expire;
mod exposure;
mod findings;
mod heads;
mod hosts;
mod issue;
mod journal;
mod lock;
mod observe;
mod open;
mod origin;
mod own_code;
mod people;
mod readings;
mod record;
mod recover;
mod recovery;
mod remove;
mod revoke;
mod rotation;
mod row;
mod run;
mod schema;
mod sheets;
mod signals;
mod tokens;
mod tries;
mod tx;
mod verified;

#[cfg(test)]
mod tests;

pub use activity::{Collected, LogCursor, LogGap, LoginRecord, NewLogin};
pub use bypass::{BypassRecord, NewBypass};
pub use canonical::canonical_json;
pub use cause::Cause;
pub use chain::Head;
pub use check::{ChainCheck, ChainFault, ChainReport, Columns, Item};
pub use confirm::{Confirmation, Confirmed, ConfirmedHow, Vouched};
pub use delivery::SheetEntry;
pub use error::LedgerError;
pub use event::Event;
pub use expire::Expired;
pub use exposure::{Ciphertext, Exposed};
pub use findings::{Channel, FindingRecord};
pub use heads::{ExportNote, SignedHead};
pub use issue::{IssueKind, Issued, NewGeneration, Reserved};
pub use journal::{
    HostEnd, HostPhase, HostResult, RunFile, RunHost, RunRecord, Stage, TextChange, sum_of,
};
pub use lock::{Holder, Lock};
pub use observe::{HostObservation, HostOutcome, MAX_DETAIL, Readings, TokenHostObservation};
pub use open::{Ledger, locate};
pub use origin::{Origin, Spot};
pub use readings::{ItemReading, ItemResult};
pub use record::{
    GenerationRecord, HostRecord, SheetEncryption, SheetRecord, TokenHostRecord, TokenRecord,
};
pub use recover::{TakenGeneration, TakenHow, TakenToken};
pub use recovery::{RecoveryCount, RecoveryRecord, is_redeemable};
pub use remove::RemovedHost;
pub use revoke::{Revocation, RevocationHost, RevocationItem, RevocationRequest};
pub use rotation::RotationEnd;
pub use run::Actor;
pub use signals::{Signal, Signals};
pub use tries::{TryId, TryLimit, TryOutcome};
pub use verified::VerifiedHost;
