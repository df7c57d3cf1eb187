//! Playbooks, and the engine that brings hosts to what they should be; every command that touches hosts is a play.
//!
//! One dispatcher owns the run's state (tokens, proofs, reports); a worker per host only sends it messages.

pub mod active;
pub mod adopt;
pub mod apply;
pub mod behind;
pub mod bypass;
pub mod codes;
pub mod collect;
pub mod conditions;
mod confirmations;
pub mod desk;
pub mod engine;
pub mod errand;
pub mod job;
pub mod journal;
pub mod limits;
pub mod logins;
mod observe;
pub mod outcome;
pub mod prove;
mod prove_sudo;
pub mod purge;
pub mod recover;
pub mod remove;
pub mod restore;
mod revoke;
pub mod rollback;
pub mod rotate;
mod said;
pub mod schema;
pub mod serial;
pub mod sheets;
mod stop;
pub mod tasks;
pub mod times;
mod transact;
pub mod unseal;
pub mod verify;
mod weakness;
pub mod when;
pub mod witness;
pub mod worker;
