//! The command line: arguments as typed, one file per command, output and exit codes.

pub mod globals;
pub mod init;
pub mod inventory;
