//! Why sudo did not let the program become root, by what sudo said (sudo(8), sudoers(5)).

use crate::plan::finding::Finding;

/// Returns what is to be done, where it is known.
pub fn refused(said: &str) -> Option<Finding> {
    let has = |text: &str| said.contains(text);
    let text = format!("sudo refused: {said}");
    if has("must have a tty") {
        Some(Finding::refusal(
            "sudo-requiretty",
            text,
            "exempt the connecting account: Defaults:LOGIN !requiretty",
        ))
    } else if has("password is required") {
        Some(Finding::refusal(
            "sudo-password",
            text,
            "set ansible_become_password, or let sudo ask that account for none (NOPASSWD)",
        ))
    } else if has("incorrect password") || has("try again") {
        Some(Finding::refusal(
            "sudo-wrong-password",
            text,
            "correct ansible_become_password; it was tried once",
        ))
    } else if has("not in the sudoers file") || has("not allowed to") || has("may not run") {
        Some(Finding::refusal(
            "sudo-not-allowed",
            text,
            "let the connecting account run commands as root, or connect as root",
        ))
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_sudo_says_is_told_apart() {
        for (said, id) in [
            (
                "sudo: sorry, you must have a tty to run sudo",
                Some("sudo-requiretty"),
            ),
            ("sudo: a password is required", Some("sudo-password")),
            (
                "sudo: 1 incorrect password attempt",
                Some("sudo-wrong-password"),
            ),
            (
                "deploy is not in the sudoers file.  This incident will be reported.",
                Some("sudo-not-allowed"),
            ),
            ("sh: sudo: not found", None),
        ] {
            assert_eq!(refused(said).map(|f| f.id), id, "{said}");
        }
    }
}
