//! This machine's syslog: one datagram for each finding, RFC 3164, facility `auth`.
//!
//! No stamp is written: every syslog daemon puts the time of arrival there, in its own zone. When the finding was stands
//! in the text.

use std::os::unix::net::UnixDatagram;
use std::path::Path;

use crate::error::Error;
use crate::ledger::FindingRecord;
use crate::names::{HostName, printable};

/// RFC 3164 section 4.1.1: security and authorisation messages.
const FACILITY: u8 = 4;
/// A message is cut to so many characters; RFC 3164 has 1024 bytes with everything, and daemons take more.
const MAX_TEXT: usize = 900;

/// Sends findings.
///
/// # Errors
/// When nobody listens at the socket.
pub(super) fn send(socket: &Path, found: &[FindingRecord]) -> Result<(), Error> {
    let cannot = |e: std::io::Error| {
        Error::failed(format!(
            "syslog at `{}` did not take the findings",
            socket.display()
        ))
        .caused_by(e)
        .hinted("everything is stored; the next run with --syslog tells it again")
    };
    let to = UnixDatagram::unbound().map_err(cannot)?;
    to.connect(socket).map_err(cannot)?;
    for one in found {
        to.send(message(one).as_bytes()).map_err(cannot)?;
    }
    Ok(())
}

fn message(found: &FindingRecord) -> String {
    let severity = match found.severity.as_str() {
        "alert" => 1,
        "warning" => 4,
        _ => 5,
    };
    let hosts: Vec<&str> = found.hosts.iter().map(HostName::as_str).collect();
    let text = format!(
        "finding={} severity={} key={} at={} login={} hosts={}: {}",
        found.id,
        found.severity,
        found.key,
        found.at,
        found.login.as_ref().map_or("-", |l| l.as_str()),
        if hosts.is_empty() {
            "-".to_owned()
        } else {
            hosts.join(",")
        },
        found.text
    );
    format!(
        "<{}>fleetotp[{}]: {}",
        FACILITY * 8 + severity,
        std::process::id(),
        printable(&text, MAX_TEXT)
    )
}
