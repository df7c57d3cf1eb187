//! The command line: arguments as typed, one file per command, output and exit codes.

pub mod adopt;
pub mod app;
pub mod bypass;
pub mod care;
pub mod confirm;
pub mod enroll;
pub mod errand;
pub mod generate;
pub mod globals;
pub mod hold;
pub mod init;
pub mod inventory;
pub mod ledger;
pub mod play;
pub mod progress;
pub mod recover;
pub mod remove;
pub mod run;
pub mod setup;
pub mod sheets;
pub mod show;
pub mod status;
pub mod suspect;
pub mod sync;
pub mod vault;
