//! Ways past the code that a host has, for the coverage report: from what is read of it anyway.

use crate::host::facts::{Facts, Slot};
use crate::names::printable;
use crate::plan::change::GROUP_EXEMPT;
use crate::plan::pam;
use crate::report::picture::Weakness;

/// Returns what was seen, sorted; `None` where PAM's text was not read.
pub(super) fn weaknesses(facts: &Facts) -> Option<Vec<Weakness>> {
    let text = facts.text(pam::SERVICE_FILE)?;
    let mut found = Vec::new();
    let shared = facts.mfa_lines.iter().map(String::as_str);
    // Our own line for slot `next` has `nullok`, and may: the line after it asks whoever has nothing there.
    for line in pam::outside_block(text).chain(shared) {
        let line = line.trim();
        if line.starts_with('#') || !line.contains("pam_google_authenticator") {
            continue;
        }
        for word in line.split_whitespace() {
            let kind = match word.split('=').next() {
                Some("nullok") => "nullok",
                Some("grace_period") => "grace_period",
                _ => continue,
            };
            found.push(weakness(kind, 0, printable(line, 120)));
        }
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
        found.push(weakness(
            "scratch_codes",
            accounts,
            format!("{codes} unused"),
        ));
    }
    let exempt = facts.members(GROUP_EXEMPT).len();
    if exempt > 0 {
        let exempt = u32::try_from(exempt).unwrap_or(u32::MAX);
        found.push(weakness(
            "exempt_group",
            exempt,
            format!("members of {GROUP_EXEMPT}"),
        ));
    }
    found.sort();
    found.dedup();
    Some(found)
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
        let text = format!("{found:?}");
        assert!(!text.contains("alice") && !text.contains("carol"), "{text}");
    }
}
