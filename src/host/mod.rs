//! The host's side: the program sent to it, the protocol, and the facts it reports.
//!
//! One POSIX sh program is sent on standard input and never stored. It knows files, groups and sshd's own tests; what
//! those files should hold is decided by `plan/`. Only the reaper stays on a host, while a deadline is open.

pub mod facts;
pub mod log;
pub mod parse;
pub mod program;
pub mod reply;
pub mod request;
pub mod sudo_reply;
