//! What sudo said to the temporary member.

use crate::host::reply::{ReplyError, fields_of, lines_of};
use crate::names::printable;

/// The module's question (pam_google_authenticator.c: `PROMPT`).
const QUESTION: &str = "Verification code:";
/// What the program has sudo ask in the place of a password's usual question.
const GOES_ON: &str = "fleetotp-goes-on";
/// What sudo says to whoever has passed and may do nothing (plugins/sudoers/logging.c).
const PASSED: [&str; 3] = [
    "not in the sudoers file",
    "may not run sudo",
    "is not allowed to",
];

/// How far an answer to the code's question led.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Led {
    /// Nobody asked for a code.
    Unasked,
    /// To the lines that were there before, which ask for what they asked before.
    On,
    /// Past everything: a code alone was enough.
    Through,
    /// To nothing: it was refused.
    Nowhere,
    /// sudo said something else.
    Unclear(String),
}

/// Reads the answer to a request of `sudo` operations, in their order.
///
/// # Errors
/// As [`lines_of`].
pub fn led(answer: &[u8]) -> Result<Vec<Led>, ReplyError> {
    let mut all = Vec::new();
    for line in lines_of(answer)? {
        let text = String::from_utf8_lossy(line);
        if let ["sudo", status, said] = fields_of(&text).as_slice() {
            all.push(read(status, said));
        }
    }
    Ok(all)
}

fn read(status: &str, said: &str) -> Led {
    let asked = said.find(QUESTION);
    let went_on = said.find(GOES_ON);
    let passed = status == "0" || PASSED.iter().any(|t| said.contains(t));
    match (asked, went_on) {
        (None, Some(_)) => Led::Unasked,
        (Some(asked), Some(on)) if on < asked => Led::Unasked,
        (Some(_), Some(_)) => Led::On,
        _ if passed => Led::Through,
        (Some(_), None) if said.contains("incorrect password attempt") => Led::Nowhere,
        _ => Led::Unclear(printable(said.trim(), 200)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What sudo 1.9.5, 1.9.13 and 1.9.16 said.
    #[test]
    fn what_sudo_says_is_told_apart() {
        let lecture = "We trust you have received the usual lecture  ";
        for (said, wanted) in [
            (
                "1\tVerification code: fleetotp-goes-on  sudo: no password was provided sudo: a password is required",
                Led::On,
            ),
            (
                "1\tVerification code: Sorry, try again. Verification code:  sudo: no password was provided sudo: 1 incorrect password attempt",
                Led::Nowhere,
            ),
            (
                "1\tfleetotp-goes-on Sorry, try again. fleetotp-goes-on sudo: no password was provided",
                Led::Unasked,
            ),
            (
                "1\tVerification code: fleetotp-canary is not in the sudoers file.",
                Led::Through,
            ),
            ("0\tVerification code: ", Led::Through),
            (
                "1\tsudo: you must have a tty to run sudo",
                Led::Unclear("sudo: you must have a tty to run sudo".to_owned()),
            ),
        ] {
            let (status, text) = said.split_once('\t').unwrap();
            let answer = format!(
                "fleetotp\t1\nsudo\t{status}\t{text}\nsudo\t{status}\t{lecture}{text}\ndone\n"
            );
            let all = led(answer.as_bytes()).unwrap();
            assert_eq!(all[0], wanted);
            if !matches!(wanted, Led::Unclear(_)) {
                assert_eq!(all[1], wanted);
            }
        }
    }
}
