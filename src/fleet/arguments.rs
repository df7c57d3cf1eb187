//! Arguments for ssh that come from an inventory: options, and none that would lead somewhere else.
//!
//! Facts: ssh(1); ssh goes on reading options after the destination, so the first word that is no option is the host.

use crate::project::HostKey;

/// Options that take a value, as one word or as the next.
const WITH_VALUE: &str = "BbcDEeFIiJLlmOoPpQRSWw";
/// Options that make ssh do something else than run a command, or with other channels than fleetotp's.
const OTHER_USES: &str = "EfGMNnOQSstVW";

/// Checks the words of `ansible_ssh_args` and the like.
///
/// # Errors
/// Says which word cannot be used and why.
pub fn check(words: &[String], host_key: HostKey) -> Result<(), String> {
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let shown = || crate::names::printable(word, 60);
        let Some(letters) = word.strip_prefix('-').filter(|l| !l.is_empty()) else {
            return Err(format!(
                "`{}` in the arguments for ssh is no option: ssh would take it for the host to connect to",
                shown()
            ));
        };
        for (at, letter) in letters.char_indices() {
            if !letter.is_ascii_alphanumeric() || OTHER_USES.contains(letter) {
                return Err(format!(
                    "`{}` in the arguments for ssh cannot be used: fleetotp calls ssh in its own way",
                    shown()
                ));
            }
            if !WITH_VALUE.contains(letter) {
                continue;
            }
            let rest = letters.get(at + 1..).filter(|r| !r.is_empty());
            let Some(value) = rest.or_else(|| words.next().map(String::as_str)) else {
                return Err(format!(
                    "`{}` in the arguments for ssh lacks its value",
                    shown()
                ));
            };
            if letter == 'o' && host_key == HostKey::AcceptNew && forgets_keys(value) {
                return Err(format!(
                    "`{}` keeps no host keys: with accept-new every key would be taken, every time",
                    crate::names::printable(value, 60)
                ));
            }
            break;
        }
    }
    Ok(())
}

/// `UserKnownHostsFile=/dev/null` and its like.
fn forgets_keys(option: &str) -> bool {
    let (key, value) = option
        .trim()
        .split_once(|c: char| c == '=' || c.is_whitespace())
        .unwrap_or((option, ""));
    let value = value.trim_matches(|c: char| c == '=' || c == '"' || c.is_whitespace());
    key.eq_ignore_ascii_case("UserKnownHostsFile") && matches!(value, "/dev/null" | "none")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(line: &str, host_key: HostKey) -> Result<(), String> {
        let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        check(&words, host_key)
    }

    #[test]
    fn options_with_their_values_pass() {
        for line in [
            "-o ProxyJump=bastion -4",
            "-oProxyCommand=none -p 22 -i key",
            "-4vC -J bastion",
            "-F config -vvo User=x",
            "-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null",
        ] {
            assert_eq!(checked(line, HostKey::Strict), Ok(()), "{line}");
        }
    }

    /// Seen: `ssh -oBatchMode=yes elsewhere -- host command` connects to `elsewhere`.
    #[test]
    fn a_word_that_ssh_would_take_for_the_host_is_refused() {
        for line in [
            "elsewhere",
            "-4 elsewhere",
            "-p 22 elsewhere",
            "--",
            "-o A=b -- x",
            "-",
        ] {
            let error = checked(line, HostKey::Strict).unwrap_err();
            assert!(error.contains("ssh"), "{line}: {error}");
        }
    }

    #[test]
    fn other_uses_of_ssh_are_refused_also_behind_harmless_letters() {
        for line in [
            "-G",
            "-4N",
            "-S /tmp/x",
            "-Oexit",
            "-W x:1",
            "-E log",
            "-f",
            "-o",
        ] {
            checked(line, HostKey::Strict).unwrap_err();
        }
    }

    #[test]
    fn accept_new_needs_a_place_to_keep_keys() {
        for option in [
            "UserKnownHostsFile=/dev/null",
            "userknownhostsfile=none",
            "UserKnownHostsFile=\"/dev/null\"",
        ] {
            checked(&format!("-o{option}"), HostKey::AcceptNew).unwrap_err();
            checked(&format!("-o {option}"), HostKey::AcceptNew).unwrap_err();
        }
        assert_eq!(
            checked("-oUserKnownHostsFile=~/known", HostKey::AcceptNew),
            Ok(())
        );
    }
}
