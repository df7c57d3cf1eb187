//! Connections to hosts: one OpenSSH master per host, one exec per request, fresh connections for proofs.
//!
//! Asynchronous code lives here and in the ledger; what to do on a host is decided in `plan/`.

pub mod arguments;
pub mod askpass;
pub mod canary;
pub mod control;
pub mod error;
pub mod fanout;
pub mod fresh;
pub mod limit;
mod master;
pub mod own;
pub mod session;
pub mod target;
mod way;

pub use error::FleetError;
