//! Proof that the event log is what was written: signed heads, exports that stock tools can check, and the comparison of
//! a chain with what was kept elsewhere.
//!
//! The check of the chain itself is the ledger's ([`crate::ledger::ChainCheck`]); only `ssh` starts a program.

pub mod export;
pub mod head;
pub mod ssh;
pub mod verdict;
