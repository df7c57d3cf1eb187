//! Ways past the code that a host has, for the coverage report: from what is read of it anyway.

use std::collections::BTreeSet;

use crate::host::facts::{Facts, Placed, Slot};
use crate::names::printable;
use crate::plan::change::GROUP_EXEMPT;
use crate::plan::{distribution, pam, stacks, sudo, sudoers};
use crate::report::picture::Weakness;

/// Texts from a host are cut to this many characters.
const MAX: usize = 120;
/// Names that are listed before the rest is only counted.
const NAMES: usize = 400;

/// Returns what was seen, sorted; `None` where PAM's text was not read.
pub(super) fn weaknesses(facts: &Facts) -> Option<Vec<Weakness>> {
    let (file, text) = distribution::service_text(facts)?;
    let mut found = Vec::new();
    let ours = pam::numbered_outside_block(text).map(|(line, text)| Placed {
        file: file.to_owned(),
        line,
        text: text.to_owned(),
    });
    let of_sudo = sudo::SERVICE_FILES.into_iter();
    let ours = ours.chain(of_sudo.flat_map(|file| own_lines(facts, file)));
    for line in ours.chain(facts.service_lines.iter().cloned()) {
        found.extend(options(&line));
    }
    found.extend(facts.sudo_lines.iter().filter_map(|line| {
        let way = sudoers::way(line)?;
        let accounts = u32::from(way.account.is_some());
        let at = place(line);
        Some(weakness(way.kind, accounts, format!("{at}: {}", way.whom)))
    }));
    let without = without_code(facts);
    if !without.is_empty() {
        let names = printable(&without.join(", "), NAMES);
        found.push(weakness(
            "other_services",
            0,
            format!("/etc/pam.d: {names}"),
        ));
    }
    let with_codes = facts
        .states
        .iter()
        .filter(|((slot, _), state)| *slot == Slot::Current && state.scratch_codes > 0);
    let (mut accounts, mut codes) = (0, 0);
    for (_, state) in with_codes {
        accounts += 1;
        codes += state.scratch_codes;
    }
    if accounts > 0 {
        let left = format!("/var/lib/google-authenticator/current: {codes} unused");
        found.push(weakness("scratch_codes", accounts, left));
    }
    let exempt = facts.members(GROUP_EXEMPT).len();
    if exempt > 0 {
        let exempt = u32::try_from(exempt).unwrap_or(u32::MAX);
        let group = format!("/etc/group: members of {GROUP_EXEMPT}");
        found.push(weakness("exempt_group", exempt, group));
    }
    found.sort();
    found.dedup();
    Some(found)
}

/// What stands in a service's text besides fleetotp's block.
fn own_lines<'f>(facts: &'f Facts, file: &'static str) -> impl Iterator<Item = Placed> + 'f {
    let text = facts.text(file).unwrap_or_default();
    pam::numbered_outside_block(text).map(move |(line, text)| Placed {
        file: file.to_owned(),
        line,
        text: text.to_owned(),
    })
}

fn place(line: &Placed) -> String {
    format!("{}:{}", printable(&line.file, MAX), line.line)
}

/// Options of our module that let somebody in without a code. Our own line for slot `next` has `nullok`, and may: the line
/// after it asks whoever has nothing there; so this is asked of lines outside the block.
fn options(line: &Placed) -> Vec<Weakness> {
    let text = line.text.trim();
    if text.starts_with('#') || !text.contains("pam_google_authenticator") {
        return Vec::new();
    }
    let kinds = text
        .split_whitespace()
        .filter_map(|word| match word.split('=').next() {
            Some("nullok") => Some("nullok"),
            Some("grace_period") => Some("grace_period"),
            _ => None,
        });
    kinds
        .map(|kind| {
            weakness(
                kind,
                0,
                format!("{}: {}", place(line), printable(text, MAX)),
            )
        })
        .collect()
}

/// Services that are there, let somebody in, and ask for no second factor: neither by a line of their own nor by one of a
/// file that they bring in.
fn without_code(facts: &Facts) -> Vec<&str> {
    let mut asking: BTreeSet<&str> = facts
        .mfa_lines
        .iter()
        .filter(|line| pam::is_second_factor(line))
        .filter_map(|line| line.split(':').next())
        .collect();
    let of_sudo: Vec<Placed> = sudo::SERVICE_FILES
        .into_iter()
        .flat_map(|file| own_lines(facts, file))
        .collect();
    let lines = || facts.service_lines.iter().chain(&of_sudo);
    asking.extend(
        lines()
            .filter(|l| pam::is_second_factor(&l.text))
            .map(|l| l.file.as_str()),
    );
    // Its members are asked.
    let has_block = |file: &&str| facts.text(file).is_some_and(|t| t.contains(sudo::BLOCK));
    asking.extend(sudo::SERVICE_FILES.into_iter().filter(has_block));
    loop {
        let before = asking.len();
        for line in lines() {
            let brings = stacks::included(&line.text)
                .is_some_and(|name| asking.iter().any(|file| service_of(file) == name));
            if brings {
                asking.insert(&line.file);
            }
        }
        if asking.len() == before {
            break;
        }
    }
    let without = facts
        .services
        .iter()
        .filter(|s| !asking.contains(s.as_str()));
    without.map(|s| service_of(s)).collect()
}

/// The name of a service by the file of its text, which may be the host's own or the distribution's.
fn service_of(file: &str) -> &str {
    file.rsplit('/').next().unwrap_or(file)
}

fn weakness(kind: &str, accounts: u32, detail: String) -> Weakness {
    Weakness {
        kind: kind.to_owned(),
        accounts,
        detail,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::facts::{FileFact, Group, StateFact};

    fn placed(file: &str, line: u32, text: &str) -> Placed {
        Placed {
            file: file.to_owned(),
            line,
            text: text.to_owned(),
        }
    }

    #[test]
    fn services_that_ask_for_no_code_are_told_and_those_that_do_are_not() {
        let mut facts = Facts {
            service_lines: vec![
                placed("/etc/pam.d/su", 3, "auth sufficient pam_rootok.so"),
                placed("/etc/pam.d/su", 9, "@include common-auth"),
                placed("/etc/pam.d/su-l", 1, "auth include su"),
                placed("/etc/pam.d/cockpit", 2, "auth required pam_oath.so"),
                placed(
                    "/etc/pam.d/vsftpd",
                    2,
                    "auth required pam_google_authenticator.so nullok",
                ),
            ],
            ..Facts::default()
        };
        for name in ["login", "su", "su-l", "cockpit", "vsftpd"] {
            facts.services.insert(format!("/etc/pam.d/{name}"));
        }
        assert_eq!(without_code(&facts), ["login", "su", "su-l"]);
        facts.mfa_lines = vec!["/etc/pam.d/common-auth: auth required pam_oath.so".to_owned()];
        assert_eq!(without_code(&facts), ["login"]);
        let file = FileFact {
            text: Some(String::new()),
            ..FileFact::default()
        };
        facts.files.insert(pam::SERVICE_FILE.to_owned(), file);
        let found = weaknesses(&facts).unwrap();
        let nullok = found.iter().find(|w| w.kind == "nullok").unwrap();
        assert!(
            nullok
                .detail
                .starts_with("/etc/pam.d/vsftpd:2: auth required"),
            "{found:?}"
        );
        assert!(
            found.iter().any(|w| w.detail == "/etc/pam.d: login"),
            "{found:?}"
        );
    }

    #[test]
    fn ways_past_the_code_are_named_without_naming_anybody() {
        let mut facts = Facts::default();
        assert_eq!(weaknesses(&facts), None, "nobody looked");
        let text = format!(
            "{}\nauth required pam_google_authenticator.so nullok\n{}\n# pam_google_authenticator.so nullok\n\
             auth required pam_google_authenticator.so nullok grace_period=600\n",
            pam::BEGIN,
            pam::END
        );
        let file = FileFact {
            text: Some(text),
            ..FileFact::default()
        };
        facts.files.insert(pam::SERVICE_FILE.to_owned(), file);
        let state = StateFact {
            scratch_codes: 4,
            ..StateFact::default()
        };
        for login in ["alice", "bob"] {
            let key = (Slot::Current, login.parse().unwrap());
            facts.states.insert(key, state.clone());
        }
        let group = Group {
            gid: 1,
            members: vec!["carol".to_owned()],
        };
        facts.groups.insert(GROUP_EXEMPT.to_owned(), group);
        let found = weaknesses(&facts).unwrap();
        let seen: Vec<_> = found
            .iter()
            .map(|w| (w.kind.as_str(), w.accounts))
            .collect();
        assert_eq!(
            seen,
            [
                ("exempt_group", 1),
                ("grace_period", 0),
                ("nullok", 0),
                ("scratch_codes", 2)
            ]
        );
        assert!(
            found[1].detail.starts_with("/etc/pam.d/sshd:5: "),
            "{found:?}"
        );
        let text = format!("{found:?}");
        assert!(!text.contains("alice") && !text.contains("carol"), "{text}");
    }
}
