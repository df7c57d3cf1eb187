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
    walk(words, |word, letter, value| {
        if !letter.is_ascii_alphanumeric() || OTHER_USES.contains(letter) {
            return Err(format!(
                "`{}` in the arguments for ssh cannot be used: fleetotp calls ssh in its own way",
                crate::names::printable(word, 60)
            ));
        }
        if letter == 'o' && host_key == HostKey::AcceptNew && value.is_some_and(forgets_keys) {
            return Err(format!(
                "`{}` keeps no host keys: with accept-new every key would be taken, every time",
                crate::names::printable(value.unwrap_or_default(), 60)
            ));
        }
        Ok(())
    })
}

/// What the words say of the way to a host and of who logs in.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Told {
    /// The jump host that is connected to first, or the command that connects, with `%h` for the address.
    pub(crate) way: Option<String>,
    /// A configuration file of its own is named.
    pub(crate) configured: bool,
    /// How keys are exchanged is told.
    pub(crate) key_exchange: bool,
    /// What decides who logs in: other logins, keys, agents and configuration files.
    pub(crate) identity: Vec<String>,
}

/// Reads words that [`check`] let pass. As in ssh, the first value given wins.
pub(crate) fn told(words: &[String], address: Option<&str>) -> Told {
    let (mut told, mut way_is_told) = (Told::default(), false);
    let read = walk(words, |_, letter, value| {
        let value = value.unwrap_or_default();
        let (key, value) = match letter {
            'o' => split_option(value),
            'J' => ("proxyjump", value),
            'F' => {
                told.configured = true;
                ("identity", value)
            }
            'l' | 'i' | 'I' => ("identity", value),
            _ => return Ok(()),
        };
        let key = key.to_ascii_lowercase();
        let is_way = matches!(key.as_str(), "proxyjump" | "proxycommand");
        if is_way && !way_is_told {
            way_is_told = true;
            let way = if key == "proxyjump" {
                value.split(',').next().unwrap_or_default().to_owned()
            } else {
                address.map_or_else(|| value.to_owned(), |a| value.replace(a, "%h"))
            };
            told.way = Some(way).filter(|w| !w.is_empty() && w != "none");
        } else if key == "kexalgorithms" {
            told.key_exchange = true;
        } else if !is_way
            && ["identit", "user", "certificate", "pkcs11", "preferred"]
                .iter()
                .any(|w| key.starts_with(w))
            && !key.starts_with("userknown")
        {
            told.identity.push(format!("{key}={value}"));
        }
        Ok(())
    });
    // Words that cannot be read tell nothing; they were refused before.
    drop(read);
    told
}

/// Calls `visit` with the word, letter and value of each option, as getopt reads them.
fn walk(
    words: &[String],
    mut visit: impl FnMut(&str, char, Option<&str>) -> Result<(), String>,
) -> Result<(), String> {
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
            if !WITH_VALUE.contains(letter) {
                visit(word, letter, None)?;
                continue;
            }
            let rest = letters
                .get(at + letter.len_utf8()..)
                .filter(|r| !r.is_empty());
            let Some(value) = rest.or_else(|| words.next().map(String::as_str)) else {
                return Err(format!(
                    "`{}` in the arguments for ssh lacks its value",
                    shown()
                ));
            };
            visit(word, letter, Some(value))?;
            break;
        }
    }
    Ok(())
}

/// `Key=value` or `Key value`.
fn split_option(option: &str) -> (&str, &str) {
    let (key, value) = option
        .trim()
        .split_once(|c: char| c == '=' || c.is_whitespace())
        .unwrap_or((option, ""));
    (
        key,
        value.trim_matches(|c: char| c == '=' || c == '"' || c.is_whitespace()),
    )
}

/// `UserKnownHostsFile=/dev/null` and its like.
fn forgets_keys(option: &str) -> bool {
    let (key, value) = split_option(option);
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

    #[test]
    fn the_way_to_a_host_is_the_first_that_is_told() {
        let way = |line: &str| {
            let words: Vec<String> = shell_words(line);
            told(&words, Some("10.0.0.7")).way
        };
        for (line, wanted) in [
            ("-4 -p 22", None),
            ("-J ops@bastion:2222,inner", Some("ops@bastion:2222")),
            ("-Jbastion -o ProxyJump=other", Some("bastion")),
            ("-o ProxyJump=none -J bastion", None),
            ("-oproxyjump=bastion", Some("bastion")),
            (
                "-o 'ProxyCommand=ssh -W 10.0.0.7:22 bastion'",
                Some("ssh -W %h:22 bastion"),
            ),
            (
                "-o 'ProxyCommand ssh -W %h:%p bastion'",
                Some("ssh -W %h:%p bastion"),
            ),
        ] {
            assert_eq!(way(line).as_deref(), wanted, "{line}");
        }
        let who = |line: &str| told(&shell_words(line), None).identity;
        assert_eq!(who("-l ops -oUserKnownHostsFile=x -C"), ["identity=ops"]);
        assert_eq!(who("-o IdentityFile=k -4"), ["identityfile=k"]);
    }

    fn shell_words(line: &str) -> Vec<String> {
        let mut words = vec![String::new()];
        let mut quoted = false;
        for c in line.chars() {
            match c {
                '\'' => quoted = !quoted,
                ' ' if !quoted => words.push(String::new()),
                c => words.last_mut().unwrap().push(c),
            }
        }
        words
    }
}
