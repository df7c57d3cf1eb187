//! Exit codes: part of the contract with scripts, so they are constants with a meaning each.

/// Everything asked for was done.
pub const DONE: u8 = 0;
/// Nothing matched, I/O failed, or the state is not as needed.
pub const ERROR: u8 = 1;
/// Some hosts failed.
pub const HOSTS_FAILED: u8 = 2;
/// Some hosts were unreachable.
pub const HOSTS_UNREACHABLE: u8 = 4;
/// Some hosts failed and others were unreachable.
pub const HOSTS_FAILED_AND_UNREACHABLE: u8 = 6;
/// The plan has changes; only with `--check --detailed-exitcode`.
pub const CHANGES: u8 = 8;
/// Done, but with findings, where the command was asked to judge, or something stays open.
pub const FINDINGS: u8 = 9;
/// The command line is wrong.
pub const USAGE: u8 = 64;
/// A file that the user wrote is wrong.
pub const FILE: u8 = 65;
/// A defect in the program itself.
pub const INTERNAL: u8 = 70;
/// Another run holds the lock on the state.
pub const LOCKED: u8 = 75;
/// Interrupted by a signal.
pub const INTERRUPTED: u8 = 99;
