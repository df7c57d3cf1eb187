//! fleetotp enrols the admins of a Linux fleet in TOTP over SSH.
//!
//! This library is the program's own; it makes no promise of stability to others. Modules are listed from the bottom
//! up, and each may only use those above it in this list.

pub mod alike;
pub mod clock;
pub mod error;
pub mod exit;
pub mod names;
pub mod text;

pub mod token;

pub mod vault;

pub mod ledger;

pub mod host;
pub mod inventory;
pub mod project;

pub mod audit;

pub mod plan;

pub mod activity;

pub mod fleet;
pub mod sheet;

pub mod report;

pub mod playbook;

pub mod cli;
