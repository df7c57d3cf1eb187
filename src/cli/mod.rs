//! The command line: arguments as typed, one file per command, output and exit codes.

pub mod app;
pub mod confirm;
pub mod enroll;
pub mod generate;
pub mod globals;
pub mod hosts;
pub mod init;
pub mod inventory;
pub mod leavers;
pub mod play;
pub mod progress;
pub mod revoke;
pub mod run;
pub mod setup;
pub mod show;
pub mod status;
pub mod sync;
