//! The real sudo of a host, by an account that answers on standard input.

use std::process::Stdio;

use super::Host;

/// What accounts that may use sudo type as their password.
pub(crate) const PASSWORD: &str = "pass-Word.3";

impl Host<'_> {
    /// Lets accounts do everything by sudo, with their password.
    pub(crate) fn allow_sudo(self, logins: &[&str]) {
        for login in logins {
            self.sh(&format!(
                "echo '{login}:{PASSWORD}' | chpasswd; echo '{login} ALL=(ALL:ALL) ALL' >/etc/sudoers.d/{login}; chmod 440 /etc/sudoers.d/{login}"
            ));
        }
    }

    /// Whether sudo makes an account root that answers these lines; `option` is `-i` or nothing.
    pub(crate) fn sudo(self, login: &str, option: &str, answers: &[&str]) -> bool {
        self.sudo_asking(login, option, answers).0
    }

    /// The same, and what sudo asked and said.
    pub(crate) fn sudo_asking(self, login: &str, option: &str, answers: &[&str]) -> (bool, String) {
        let script = r#"login=$1 option=$2; shift 2; cd /
            for answer; do printf '%s\n' "$answer"; done |
            setpriv --reuid "$login" --regid "$login" --init-groups sudo -k -S $option id -u"#;
        let output = self
            .command(&[&["sh", "-c", script, "sh", login, option], answers].concat())
            .stdin(Stdio::null())
            .output()
            .expect("the lab's program starts");
        let is_root = output.stdout.trim_ascii_end().ends_with(b"0");
        assert_eq!(is_root, output.status.success(), "{output:?}");
        (
            is_root,
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )
    }

    /// Asserts that sudo asks of accounts what it asked before.
    pub(crate) fn assert_sudo_as_before(self, logins: &[&str]) {
        for login in logins {
            for option in ["", "-i"] {
                assert!(self.sudo(login, option, &[PASSWORD]), "{login}");
                assert!(!self.sudo(login, option, &[]), "{login} without a password");
            }
        }
        // root is asked for nothing, with no answer to give.
        assert_eq!(self.sh("sudo -k -n id -u").trim(), "0");
    }
}
