//! Whom the temporary member can stand for: its logins prove a change only where sshd treats it as it does an admin.

use crate::host::facts::Facts;
use crate::plan::change::{GROUP_ENFORCED, GROUP_PENDING};
use crate::plan::finding::Finding;

/// Returns the groups of which the temporary member needs one to be let in; none where everybody is let in.
///
/// The host picks one that an admin is in (`AllowGroups`, sshd_config(5)).
///
/// # Errors
/// A refusal where its logins would prove nothing.
pub fn allowed_groups(facts: &Facts) -> Result<Vec<String>, Finding> {
    for effective in facts.effective.values() {
        if !effective.get("allowusers").is_empty() {
            return Err(cannot_prove(
                "AllowUsers is set: a temporary member would not be let in, so a change cannot be proved by logins",
                "use AllowGroups instead, with a group that the admins are in",
            ));
        }
        let places = effective.get("authorizedkeysfile");
        if !places.is_empty()
            && !places
                .split_whitespace()
                .any(|p| matches!(p, ".ssh/authorized_keys" | "%h/.ssh/authorized_keys"))
        {
            return Err(cannot_prove(
                "AuthorizedKeysFile names no file below the home: a temporary member would have no key, so a change cannot be proved by logins",
                "add .ssh/authorized_keys to it for group fleetotp, or to all",
            ));
        }
        let groups = effective.get("allowgroups");
        if !groups.bytes().all(is_plain) {
            return Err(cannot_prove(
                "AllowGroups holds patterns: a change cannot be proved by logins",
                "name the groups in full",
            ));
        }
        let groups: Vec<String> = groups.split_whitespace().map(str::to_owned).collect();
        if groups.iter().any(|g| g == GROUP_ENFORCED) {
            return Ok(Vec::new());
        }
        if !groups.is_empty() {
            return Ok(groups);
        }
    }
    Ok(Vec::new())
}

/// Whether sshd lets an account that is none of fleetotp's in by its key alone.
pub fn key_is_enough_for_others(facts: &Facts) -> bool {
    let (members, pending) = (facts.members(GROUP_ENFORCED), facts.members(GROUP_PENDING));
    let others =
        |user: &&String| *user != "root" && !members.contains(*user) && !pending.contains(*user);
    let mut users = facts.effective.keys().filter(others);
    // Where nobody else was asked about, root stands for them.
    let user = users.next().map_or("root", String::as_str);
    facts.effective.get(user).is_some_and(|effective| {
        let methods = effective.get("authenticationmethods");
        let alone = methods
            .split_whitespace()
            .any(|m| matches!(m, "any" | "publickey"));
        effective.on("pubkeyauthentication") && (methods.is_empty() || alone)
    })
}

/// Returns the addresses at which sshd can be reached from the host itself through the open connection, as `ssh -W` names
/// them; none where forwarding is off for the account of the connection (sshd_config(5), `AllowTcpForwarding`).
///
/// 127.0.0.1 comes first, where sshd listens there: a log reader that bans knows it for the host's own by the name `localhost`,
/// and `::1` only where the host's files name that as well (fail2ban 1.0, `DNSUtils.getSelfIPs`).
pub fn inside(facts: &Facts) -> Vec<String> {
    let login = facts.connecting_login.as_deref().unwrap_or("root");
    let Some(effective) = facts
        .effective
        .get(login)
        .or(facts.effective.values().next())
    else {
        return vec![LOOPBACK.to_owned()];
    };
    let forwards = matches!(
        effective.get("allowtcpforwarding"),
        "" | "yes" | "all" | "local"
    );
    let opens = matches!(effective.get("permitopen"), "" | "any");
    if !forwards || !opens || effective.on("disableforwarding") {
        return Vec::new();
    }
    let mut found = Vec::new();
    for listens in effective.get("listenaddress").split_whitespace() {
        // `0.0.0.0:22`, `[::]:22`.
        let address = listens.rsplit_once(':').map_or(listens, |(host, _)| host);
        let address = match address {
            "0.0.0.0" => LOOPBACK,
            "[::]" => "[::1]",
            other => other,
        };
        if !found.iter().any(|f| f == address) {
            found.push(address.to_owned());
        }
    }
    if found.is_empty() {
        found.push(LOOPBACK.to_owned());
    }
    found.sort_by_key(|address| address != LOOPBACK);
    found
}

/// Where every sshd listens that is not told to listen elsewhere.
const LOOPBACK: &str = "127.0.0.1";

const fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-' | b' ')
}

fn cannot_prove(text: &str, remedy: &'static str) -> Finding {
    Finding::refusal("cannot-prove", text, remedy)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::facts::Effective;

    fn with(key: &str, value: &str) -> Facts {
        let mut facts = Facts::default();
        let mut effective = Effective::default();
        effective.values.insert(key.to_owned(), value.to_owned());
        facts.effective.insert("root".to_owned(), effective);
        facts
    }

    #[test]
    fn a_host_is_reached_from_inside_where_its_sshd_listens() {
        assert_eq!(inside(&Facts::default()), ["127.0.0.1"]);
        let listens = |value| inside(&with("listenaddress", value));
        assert_eq!(listens("[::]:22 0.0.0.0:22"), ["127.0.0.1", "[::1]"]);
        assert_eq!(listens("127.0.1.1:2201"), ["127.0.1.1"]);
        assert_eq!(listens("0.0.0.0:22 0.0.0.0:2222"), ["127.0.0.1"]);
        for (key, value) in [
            ("allowtcpforwarding", "no"),
            ("allowtcpforwarding", "remote"),
            ("disableforwarding", "yes"),
            ("permitopen", "none"),
        ] {
            assert_eq!(inside(&with(key, value)), Vec::<String>::new(), "{key}");
        }
    }

    #[test]
    fn the_temporary_member_stands_only_where_an_admin_stands() {
        assert_eq!(allowed_groups(&Facts::default()), Ok(Vec::new()));
        assert_eq!(
            allowed_groups(&with("allowgroups", "root ssh-users")),
            Ok(vec!["root".to_owned(), "ssh-users".to_owned()])
        );
        assert_eq!(
            allowed_groups(&with("allowgroups", "root fleetotp")),
            Ok(Vec::new()),
            "it is in that one anyway"
        );
        for (key, value) in [
            ("allowusers", "root"),
            ("authorizedkeysfile", "/etc/ssh/keys/%u"),
            ("allowgroups", "ssh-*"),
            ("allowgroups", "root !bad"),
        ] {
            let finding = allowed_groups(&with(key, value)).unwrap_err();
            assert_eq!(finding.id, "cannot-prove", "{key} {value}");
        }
    }
}
