//! What differs between distributions: where packages come from, where a service's text for PAM lies, and which words help.
//!
//! Facts: the distributions' own package pages; pam.d(5); aports main/openssh (`openssh-server-pam` brings `/usr/sbin/sshd.pam`);
//! openSUSE's page on PAM (`/usr/lib/pam.d` before `/usr/etc/pam.d`).

use crate::host::facts::{Facts, Os, SshVersion};
use crate::plan::finding::Finding;
use crate::plan::pam;

/// Where a distribution keeps sshd's text for hosts that have none of their own, in libpam's order.
const VENDOR_FILES: [&str; 2] = ["/usr/lib/pam.d/sshd", "/usr/etc/pam.d/sshd"];

/// Since when PAM is asked for the service `sshd` whatever the program is called (release notes of 9.8, `PAMServiceName`).
const SERVICE_NAME_SINCE: SshVersion = SshVersion(9, 8);

fn is_like(os: &Os, name: &str) -> bool {
    os.id == name || os.like.split_whitespace().any(|l| l == name)
}

/// Returns sshd's text for PAM that the distribution keeps, with its path.
pub fn vendor_text(facts: &Facts) -> Option<(&'static str, &str)> {
    VENDOR_FILES
        .into_iter()
        .find(|path| facts.files.contains_key(*path))
        .and_then(|path| Some((path, facts.text(path)?)))
}

/// Returns the text that sshd's PAM follows, with its path: the host's own, else the distribution's.
pub fn service_text(facts: &Facts) -> Option<(&'static str, &str)> {
    if facts.files.contains_key(pam::SERVICE_FILE) {
        return Some((pam::SERVICE_FILE, facts.text(pam::SERVICE_FILE)?));
    }
    vendor_text(facts)
}

/// Returns the command that installs the module by a package manager.
pub(super) fn install_command(manager: &str) -> Option<&'static str> {
    Some(match manager {
        "apt-get" => {
            "export DEBIAN_FRONTEND=noninteractive; apt-get -q -y --no-install-recommends install libpam-google-authenticator || { apt-get -q update && apt-get -q -y --no-install-recommends install libpam-google-authenticator; }"
        }
        "dnf" => "dnf -q -y install google-authenticator",
        "zypper" => "zypper -n -q install google-authenticator-libpam",
        "apk" => "apk add -q google-authenticator",
        "pacman" => "pacman -S --noconfirm --needed libpam-google-authenticator",
        _ => return None,
    })
}

/// Tells where the module's package comes from, if that is not what every installation has switched on.
pub(super) fn repository(os: &Os) -> Option<Finding> {
    let (repository, remedy) = if os.id == "ubuntu" {
        ("universe", "if it is off: add-apt-repository universe")
    } else if matches!(os.id.as_str(), "sles" | "sled" | "sle_hpc") {
        (
            "SUSE Package Hub",
            "if it is off: SUSEConnect -p PackageHub/VERSION/ARCHITECTURE",
        )
    } else if is_like(os, "alpine") {
        (
            "community",
            "if it is off: name it in /etc/apk/repositories",
        )
    } else if os.id != "fedora" && (is_like(os, "rhel") || is_like(os, "fedora")) {
        (
            "EPEL",
            "if it is off: install epel-release, or put the package into a repository of your own",
        )
    } else {
        return None;
    };
    Some(Finding::note(
        "module-repository",
        format!("the module's package comes from the repository {repository}, which has to be on"),
        remedy,
    ))
}

/// What helps where sshd does not ask PAM, or has no text for it.
pub(super) fn pam_remedy(os: &Os) -> &'static str {
    if is_like(os, "alpine") {
        "Alpine's openssh-server has no PAM: apk add openssh-server-pam, set UsePAM yes, and restart sshd"
    } else {
        "install the distribution's openssh-server with PAM support"
    }
}

/// What helps where nothing can run the reaper.
pub(super) fn deadline_remedy(os: &Os) -> &'static str {
    if is_like(os, "alpine") {
        "install and start cronie (busybox's crond does not read /etc/cron.d), or leave this host out"
    } else {
        "install cron, or leave this host out"
    }
}

/// Finds an sshd that asks PAM by another name than `sshd`: it follows another text than the one that is written.
pub(super) fn other_service(facts: &Facts) -> Option<Finding> {
    let program = facts.listeners.first()?.program.as_str();
    let name = program.rsplit('/').next().unwrap_or(program);
    (name != "sshd" && facts.version < SERVICE_NAME_SINCE).then(|| {
        Finding::refusal(
            "pam-service-name",
            format!(
                "{} of OpenSSH {} asks PAM for the service `{}`, not for `sshd`",
                crate::names::printable(program, 80),
                facts.version,
                crate::names::printable(name, 40)
            ),
            "bring a newer OpenSSH: since 9.8 (Alpine 3.21) the service is always `sshd`",
        )
    })
}

/// Says what becomes of a text for PAM that the distribution keeps: the host gets a copy, which is what counts from then on.
pub(super) fn copied(facts: &Facts) -> Option<Finding> {
    let (path, vendor) = vendor_text(facts)?;
    let Some(own) = facts.text(pam::SERVICE_FILE) else {
        return Some(Finding::note(
            "pam-vendor-copy",
            format!(
                "sshd's text for PAM is the distribution's own, {path}; {} becomes a copy of it with the block, and counts instead",
                pam::SERVICE_FILE
            ),
            "later changes of the distribution's text reach nobody until the copy is brought up to date",
        ));
    };
    let differs =
        own.contains(pam::BEGIN) && pam::without_block(own).is_ok_and(|bare| bare != vendor);
    differs.then(|| {
        Finding::note(
            "pam-vendor-differs",
            format!(
                "{} without the block is not {path} (any more)",
                pam::SERVICE_FILE
            ),
            "if nobody changed it on purpose, copy the distribution's text there and run again",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::facts::{FileFact, Listener};

    fn os(id: &str, like: &str) -> Os {
        Os {
            id: id.to_owned(),
            like: like.to_owned(),
            ..Os::default()
        }
    }

    fn with(path: &str, text: &str) -> Facts {
        let file = FileFact {
            text: Some(text.to_owned()),
            ..FileFact::default()
        };
        Facts {
            files: [(path.to_owned(), file)].into(),
            ..Facts::default()
        }
    }

    #[test]
    fn packages_come_from_repositories_that_may_be_off() {
        let of = |id, like| repository(&os(id, like)).map(|f| f.text);
        for (id, like, name) in [
            ("rhel", "fedora", "EPEL"),
            ("rocky", "rhel centos fedora", "EPEL"),
            ("ubuntu", "debian", "universe"),
            ("sles", "suse", "Package Hub"),
            ("alpine", "", "community"),
        ] {
            assert!(of(id, like).unwrap().contains(name), "{id}");
        }
        for (id, like) in [
            ("debian", ""),
            ("fedora", ""),
            ("arch", ""),
            ("opensuse-leap", "suse opensuse"),
        ] {
            assert_eq!(of(id, like), None, "{id}");
        }
    }

    #[test]
    fn the_hosts_own_text_comes_before_the_distributions() {
        let mut facts = with("/usr/lib/pam.d/sshd", "vendor");
        assert_eq!(
            service_text(&facts),
            Some(("/usr/lib/pam.d/sshd", "vendor"))
        );
        let own = with(pam::SERVICE_FILE, "own");
        facts.files.extend(own.files);
        assert_eq!(service_text(&facts), Some((pam::SERVICE_FILE, "own")));
        facts.files.get_mut(pam::SERVICE_FILE).unwrap().text = None;
        assert_eq!(
            service_text(&facts),
            None,
            "it counts although it is no text"
        );
        assert_eq!(service_text(&Facts::default()), None);
    }

    #[test]
    fn a_program_of_another_name_asks_by_it_before_9_8() {
        let mut facts = Facts {
            listeners: vec![Listener {
                pid: 1,
                program: "/usr/sbin/sshd.pam".to_owned(),
                config: "/etc/ssh/sshd_config".to_owned(),
                options: String::new(),
            }],
            version: SshVersion(9, 7),
            ..Facts::default()
        };
        assert_eq!(other_service(&facts).unwrap().id, "pam-service-name");
        facts.version = SshVersion(9, 9);
        assert_eq!(other_service(&facts), None);
    }
}
