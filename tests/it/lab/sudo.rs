//! The real sudo of a host, by an account that answers on standard input.

use std::process::Stdio;

use super::{Host, Totp};

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
        is_root
    }

    /// Asserts what holds in sudo for an admin on whom a host enforces: the code and what sudo asked before, both.
    pub(crate) fn assert_sudo_member(self, login: &str, totp: &mut Totp) {
        for option in ["", "-i"] {
            let code = totp.fresh();
            let sudo = |answers: &[&str]| self.sudo(login, option, answers);
            assert!(!sudo(&[PASSWORD]), "no code");
            assert!(!sudo(&[&totp.wrong(), PASSWORD]), "a wrong code");
            assert!(sudo(&[&code, PASSWORD]), "the right code");
            assert!(!sudo(&[&code, PASSWORD]), "a replayed code");
        }
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
