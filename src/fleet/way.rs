//! What ssh's own configuration files may say where neither inventory nor flags do: by which way a host is reached, and how
//! keys are exchanged.
//!
//! Many hosts behind one jump host meet one sshd, and what that asks must not get a code that is meant for the host. ssh
//! alone reads its configuration (`ssh -G`, ssh(1)); it is asked only where its files can name a way at all. A key exchange
//! that somebody has chosen is left alone.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::Stdio;

use tokio::process::Command;

use crate::fleet::FleetError;
use crate::fleet::target::Target;

/// Where ssh looks besides the user's own file (ssh_config(5), FILES); SUSE has the distribution's own below /usr.
const OF_ALL: [&str; 2] = ["/etc/ssh/ssh_config", "/usr/etc/ssh/ssh_config"];
/// What these include on most distributions.
const INCLUDED: [&str; 2] = ["/etc/ssh/ssh_config.d", "/usr/etc/ssh/ssh_config.d"];

/// What ssh's configuration files can name. What cannot be read or told may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Configured {
    /// A way to hosts.
    pub(crate) way: bool,
    /// How keys are exchanged.
    pub(crate) key_exchange: bool,
}

impl Configured {
    const ANY: Self = Self {
        way: true,
        key_exchange: true,
    };
    const NONE: Self = Self {
        way: false,
        key_exchange: false,
    };

    /// Looks into the files.
    pub(super) fn look() -> Self {
        let mut texts: Vec<_> = OF_ALL.map(std::fs::read_to_string).into();
        for directory in INCLUDED {
            let included = std::fs::read_dir(directory).into_iter().flatten().flatten();
            texts.extend(included.map(|file| std::fs::read_to_string(file.path())));
        }
        match home() {
            Some(home) => texts.push(std::fs::read_to_string(
                Path::new(&home).join(".ssh/config"),
            )),
            None => return Self::ANY,
        }
        let named = texts.into_iter().map(|text| match text {
            Ok(text) => Self::named_by(&text),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Self::NONE,
            Err(_) => Self::ANY,
        });
        named.fold(Self::NONE, Self::or)
    }

    /// What a configuration's text names, or other files that may.
    fn named_by(text: &str) -> Self {
        let named = text.lines().map(|line| {
            let word = |c: char| c.is_whitespace() || c == '=' || c == '"';
            let mut words = line.split(word).filter(|w| !w.is_empty());
            let elsewhere = |w: &str| {
                let directory = Path::new(w).parent();
                !INCLUDED.iter().any(|i| directory == Some(Path::new(i)))
            };
            match words.next().map(str::to_ascii_lowercase).as_deref() {
                Some("proxyjump" | "proxycommand") => Self {
                    way: true,
                    ..Self::NONE
                },
                Some("kexalgorithms") => Self {
                    key_exchange: true,
                    ..Self::NONE
                },
                Some("include") if words.any(elsewhere) => Self::ANY,
                _ => Self::NONE,
            }
        });
        named.fold(Self::NONE, Self::or)
    }

    const fn or(self, other: Self) -> Self {
        Self {
            way: self.way || other.way,
            key_exchange: self.key_exchange || other.key_exchange,
        }
    }
}

/// The home that ssh takes for this user's, whatever the environment says (readconf.c: getpwuid).
fn home() -> Option<String> {
    let uid = std::fs::metadata("/proc/self").ok()?.uid().to_string();
    let passwd = std::fs::read_to_string("/etc/passwd").ok()?;
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':').skip(2);
        (fields.next() == Some(uid.as_str())).then(|| fields.nth(2).map(str::to_owned))?
    })
}

/// Asks ssh: the jump host that is connected to first, or the command that connects, with `%h` for the address.
///
/// # Errors
/// When ssh cannot be started. Where it does not understand its configuration, connecting says so.
pub(super) async fn configured(target: &Target) -> Result<Option<String>, FleetError> {
    let asked = Command::new("ssh")
        .arg("-G")
        .args(target.options(false))
        .args(target.destination()?)
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .output();
    // A `Match exec` may run anything.
    let output = tokio::time::timeout(target.connect_timeout, asked).await;
    let output = output
        .map_err(|_| FleetError::Timeout(target.connect_timeout.as_secs()))?
        .map_err(FleetError::local(
            "cannot start ssh: is openssh-client installed?",
        ))?;
    Ok(way_of(&String::from_utf8_lossy(&output.stdout)))
}

fn way_of(settings: &str) -> Option<String> {
    settings
        .lines()
        .find_map(|line| match line.split_once(' ')? {
            ("proxyjump", hosts) => hosts.split(',').next().map(str::to_owned),
            ("proxycommand", command) => Some(command.to_owned()),
            _ => None,
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_configuration_names_is_known() {
        for (text, way, key_exchange) in [
            ("", false, false),
            (
                "Host *\n#   ProxyCommand ssh -q -W %h:%p gateway\n    SendEnv LANG\n",
                false,
                false,
            ),
            ("Include /etc/ssh/ssh_config.d/*.conf\n", false, false),
            ("Include config.d/*\n", true, true),
            (
                "Include /etc/ssh/ssh_config.d/*.conf ~/.ssh/work\n",
                true,
                true,
            ),
            ("Host web*\n\tproxyjump=ops@bastion\n", true, false),
            (
                "Host web*\n  ProxyCommand ssh -W %h:%p bastion\n",
                true,
                false,
            ),
            ("Host web*\n  KexAlgorithms -diffie*\n", false, true),
            ("#KexAlgorithms x\nKEXALGORITHMS=x\n", false, true),
        ] {
            let wanted = Configured { way, key_exchange };
            assert_eq!(Configured::named_by(text), wanted, "{text}");
        }
    }

    #[test]
    fn the_way_is_what_ssh_says() {
        let said = "host 10.0.0.7\nproxyusefdpass no\nproxyjump ops@bastion:2222,inner\n";
        assert_eq!(way_of(said).as_deref(), Some("ops@bastion:2222"));
        let said = "proxycommand ssh -W %h:%p bastion\n";
        assert_eq!(way_of(said).as_deref(), Some("ssh -W %h:%p bastion"));
        assert_eq!(way_of("host 10.0.0.7\nproxyusefdpass no\n"), None);
    }
}
