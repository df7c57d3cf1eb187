//! The text of the program that runs on a host, and the command that starts it.

use std::fmt::Write as _;
use std::sync::LazyLock;
use std::time::Duration;

use data_encoding::HEXLOWER;
use sha2::{Digest as _, Sha256};

const COMMON: &str = include_str!("sh/common.sh");
const PROGRAM: &str = include_str!("sh/program.sh");
const REAPER: &str = include_str!("sh/reaper.sh");

/// Where the reaper lives on a host while a deadline is open.
pub const REAPER_PATH: &str = "/var/lib/fleetotp/reaper";

/// The program as sent: without comments and indentation, which are half of its bytes.
pub static PROGRAM_TEXT: LazyLock<String> =
    LazyLock::new(|| format!("{}{}", minify(COMMON), minify(PROGRAM)));

/// The reaper as stored on a host.
pub static REAPER_TEXT: LazyLock<String> =
    LazyLock::new(|| format!("#!/bin/sh\n{}{}", minify(COMMON), minify(REAPER)));

/// SHA-256 of [`REAPER_TEXT`] in lower-case hexadecimal.
pub static REAPER_SHA256: LazyLock<String> =
    LazyLock::new(|| HEXLOWER.encode(&Sha256::digest(REAPER_TEXT.as_bytes())));

/// Drops comment lines, blank lines and leading blanks. Tabs at the start of a line never matter in these programs.
fn minify(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for line in text
        .lines()
        .map(str::trim_start)
        .filter(|l| !l.is_empty() && !l.starts_with('#'))
    {
        // Writing to a string cannot fail.
        _ = writeln!(out, "{line}");
    }
    out
}

/// The line that separates whatever sudo may read (a password) from the program.
pub const BEGIN: &str = "FLEETOTP/1";

/// How the program becomes root on the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Elevation {
    /// The connecting login is root.
    None,
    /// sudo without a password.
    Sudo,
    /// sudo that reads the password from standard input before the program.
    SudoWithPassword,
}

/// Returns the remote command line for one exec of the program.
///
/// The command reads standard input up to the line [`BEGIN`], then the program by its length, then the program reads
/// its request from the rest. `dd` with a count of one reads once and never more than is missing, so nothing of the
/// request is read ahead; `head -c` does read ahead in some implementations. `timeout` (coreutils, busybox) stops the program on the target, whatever becomes of the connection.
pub fn command_line(elevation: Elevation, limit: Duration) -> String {
    let sudo = match elevation {
        Elevation::None => "",
        Elevation::Sudo => "sudo -n -- ",
        Elevation::SudoWithPassword => "sudo -S -p '' -- ",
    };
    let script = format!(
        "while IFS= read -r l; do [ \"$l\" = {BEGIN} ] && break; done; connection=$2; LC_ALL=C; p=; \
         while [ ${{#p}} -lt $1 ]; do q=$(dd bs=$(($1-${{#p}})) count=1 2>/dev/null; echo .); \
         [ \"$q\" = . ] && exit 9; p=$p${{q%.}}; done; eval \"$p\""
    );
    format!(
        "{sudo}timeout -k 5 {} sh -c '{script}' fleetotp {} \"$SSH_CONNECTION\"",
        limit.as_secs().max(1),
        PROGRAM_TEXT.len()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_survives_a_posix_login_shell() {
        let line = command_line(Elevation::Sudo, Duration::from_secs(30));
        assert_eq!(
            line.matches('\'').count(),
            2,
            "the script is one quoted word: {line}"
        );
        assert!(!line.contains('!'), "csh expands it even in quotes");
    }

    #[test]
    fn minifying_keeps_every_command() {
        assert_eq!(
            minify("# note\n  if a; then\n\n    b # keep\n  fi\n"),
            "if a; then\nb # keep\nfi\n"
        );
    }

    #[test]
    fn shells_accept_both_programs() {
        for text in [&*PROGRAM_TEXT, &*REAPER_TEXT] {
            for shell in [
                &["dash", "-n"][..],
                &["bash", "-n"],
                &["busybox", "sh", "-n"],
            ] {
                use std::io::Write as _;
                let mut child = std::process::Command::new(shell[0])
                    .args(&shell[1..])
                    .stdin(std::process::Stdio::piped())
                    .spawn()
                    .unwrap_or_else(|e| panic!("{} is needed for this test: {e}", shell[0]));
                child
                    .stdin
                    .take()
                    .unwrap()
                    .write_all(text.as_bytes())
                    .unwrap();
                assert!(child.wait().unwrap().success(), "{shell:?}");
            }
        }
    }
}
