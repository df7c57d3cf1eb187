//! What people did on hosts, as their logs tell it: lines, what each says, logins, findings. All of it pure.
//!
//! Facts: sshd's `auth_log` (auth.c) and pam_google_authenticator's messages; `docs/design/activity.md` has the table.

pub mod findings;
pub mod geo;
pub mod join;
pub mod line;
pub mod parse;

pub use join::{Factor, Joiner, LoginEvent, Outcome};
