//! Decides which bytes a host must have, given what is there. Pure: facts in, changes out.
//!
//! All knowledge of PAM and sshd is here. Tests are data: no SSH is needed to test a decision.

mod account;
pub mod adopt;
pub mod bypass;
pub mod canary;
pub mod change;
pub mod decide;
pub mod diff;
pub mod distribution;
pub mod elevation;
pub mod enforce;
pub mod everyone;
pub mod evidence;
pub mod finding;
mod host_part;
pub mod oath;
pub mod oath_file;
pub mod pam;
mod preconditions;
pub mod preflight;
pub mod recover;
pub mod remove;
mod returned;
pub mod revoke;
pub mod rollback;
pub mod rotation;
mod secrets;
mod slot;
pub mod sshd;
pub mod stacks;
pub mod state;
pub mod sudo;
pub mod sudoers;
pub mod tool;
pub mod tool_line;
mod ways;
pub mod wish;
