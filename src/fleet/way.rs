//! By which way ssh goes to a host where neither inventory nor flags say so: the user's own configuration may name a jump host.
//!
//! Many hosts behind one jump host meet one sshd, and what that asks must not get a code that is meant for the host. ssh
//! alone reads its configuration (`ssh -G`, ssh(1)); it is asked only where its files can name a way at all.

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

/// Whether one of ssh's configuration files can name a way. What cannot be read or told may.
pub(super) fn may_be_configured() -> bool {
    let mut texts: Vec<_> = OF_ALL.map(std::fs::read_to_string).into();
    for directory in INCLUDED {
        let included = std::fs::read_dir(directory).into_iter().flatten().flatten();
        texts.extend(included.map(|file| std::fs::read_to_string(file.path())));
    }
    match home() {
        Some(home) => texts.push(std::fs::read_to_string(
            Path::new(&home).join(".ssh/config"),
        )),
        None => return true,
    }
    texts.into_iter().any(|text| match text {
        Ok(text) => names_a_way(&text),
        Err(error) => error.kind() != std::io::ErrorKind::NotFound,
    })
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

/// Whether a configuration's text names a way, or other files that may.
fn names_a_way(text: &str) -> bool {
    text.lines().any(|line| {
        let word = |c: char| c.is_whitespace() || c == '=' || c == '"';
        let mut words = line.split(word).filter(|w| !w.is_empty());
        match words.next().map(str::to_ascii_lowercase).as_deref() {
            Some("proxyjump" | "proxycommand") => true,
            Some("include") => words.any(|w| {
                let directory = Path::new(w).parent();
                !INCLUDED.iter().any(|i| directory == Some(Path::new(i)))
            }),
            _ => false,
        }
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
    fn a_configuration_that_names_a_way_is_known() {
        for (text, wanted) in [
            ("", false),
            (
                "Host *\n#   ProxyCommand ssh -q -W %h:%p gateway\n    SendEnv LANG\n",
                false,
            ),
            ("Include /etc/ssh/ssh_config.d/*.conf\n", false),
            ("Include config.d/*\n", true),
            ("Include /etc/ssh/ssh_config.d/*.conf ~/.ssh/work\n", true),
            ("Host web*\n\tproxyjump=ops@bastion\n", true),
            ("Host web*\n  ProxyCommand ssh -W %h:%p bastion\n", true),
        ] {
            assert_eq!(names_a_way(text), wanted, "{text}");
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
