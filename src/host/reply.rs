//! The frame of every answer, and the answer to `apply`.

use crate::names::printable;

/// Why an answer cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReplyError {
    /// The program said that something failed.
    #[error("{what} ({code})")]
    Failed {
        /// A word that says what kind of operation failed.
        code: String,
        /// What happened.
        what: String,
    },
    /// The program did not run to its end.
    #[error("the host's answer is cut off{}", tail(.0))]
    CutOff(String),
    /// Something else than the program answered.
    #[error("the host answered something else than fleetotp's program: {0}")]
    Foreign(String),
}

fn tail(text: &str) -> String {
    if text.is_empty() {
        String::new()
    } else {
        format!(": {text}")
    }
}

/// Returns the lines of an answer between its first and its last line.
///
/// Output that a login shell printed before the program started is skipped.
///
/// # Errors
/// When the program reported a failure, or its first or last line is missing.
pub fn lines_of(answer: &[u8]) -> Result<Vec<&[u8]>, ReplyError> {
    let mut lines = answer.split(|b| *b == b'\n');
    let shown = |bytes: &[u8]| printable(String::from_utf8_lossy(bytes).trim(), 200);
    if !lines.any(|l| l == b"fleetotp\t1") {
        return Err(ReplyError::Foreign(shown(answer)));
    }
    let mut kept = Vec::new();
    for line in lines {
        if line == b"done" {
            return Ok(kept);
        }
        if let Some(rest) = line.strip_prefix(b"fail\t") {
            let text = String::from_utf8_lossy(rest);
            let (code, what) = text.split_once('\t').unwrap_or((&text, ""));
            return Err(ReplyError::Failed {
                code: printable(code, 40),
                what: printable(what, 400),
            });
        }
        kept.push(line);
    }
    Err(ReplyError::CutOff(
        kept.last().map(|l| shown(l)).unwrap_or_default(),
    ))
}

/// Splits a line at its tabs.
pub fn fields_of(line: &str) -> Vec<&str> {
    line.split('\t').collect()
}

/// What an `apply` did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Applied {
    /// Files written outside the transaction.
    pub wrote: Vec<String>,
    /// The change that is now open and waits for its confirmation.
    pub opened: Option<String>,
    /// The change that was confirmed.
    pub confirmed: Option<String>,
    /// The configuration's hash afterwards, if asked for.
    pub config_hash: Option<String>,
}

/// Reads the answer to an `apply` request.
///
/// # Errors
/// As [`lines_of`].
pub fn applied(answer: &[u8]) -> Result<Applied, ReplyError> {
    let mut applied = Applied::default();
    for line in lines_of(answer)? {
        let text = String::from_utf8_lossy(line);
        match fields_of(&text).as_slice() {
            ["wrote", path] => applied.wrote.push((*path).to_owned()),
            ["opened", id, ..] => applied.opened = Some((*id).to_owned()),
            ["confirmed", id] => applied.confirmed = Some((*id).to_owned()),
            ["config", hash] => applied.config_hash = Some((*hash).to_owned()),
            _ => {}
        }
    }
    Ok(applied)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_told_without_terminal_escapes() {
        let error = applied(b"fleetotp\t1\nfail\tchanged\t/etc/x \x1b[2J changed\n").unwrap_err();
        assert_eq!(error.to_string(), "/etc/x \\u{1b}[2J changed (changed)");
    }

    #[test]
    fn noise_before_the_answer_is_skipped_and_other_programs_are_not_believed() {
        assert!(applied(b"Welcome!\nfleetotp\t1\ndone\n").is_ok());
        assert!(matches!(
            applied(b"This account is currently not available.\n"),
            Err(ReplyError::Foreign(_))
        ));
    }
}
