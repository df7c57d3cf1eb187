//! Which PAM services ask by which file.

use crate::names::printable;
use crate::plan::{pam, tool_line};

/// What of the text of every service matters here, by its name.
pub type Stacks = [(String, String)];

/// Lines that bring in others or ask for a second factor. Modules for databases have passwords in theirs: those are not kept.
pub fn excerpt<'l>(lines: impl Iterator<Item = &'l str>) -> String {
    lines
        .filter(|line| included(line).is_some() || pam::is_second_factor(line))
        .fold(String::new(), |text, line| text + line + "\n")
}

/// Services that ask by lines of their own, besides sshd: they go on doing so.
pub fn elsewhere(stacks: &Stacks) -> Vec<&str> {
    stacks
        .iter()
        .filter(|(name, text)| {
            format!("/etc/pam.d/{name}") != pam::SERVICE_FILE
                && pam::other_mfa(text).into_iter().any(tool_line::is_known)
        })
        .map(|(name, _)| name.as_str())
        .collect()
}

/// Names of services, for a sentence.
pub fn list(names: &[&str]) -> String {
    match names {
        [] => "no service that is known".to_owned(),
        names => printable(&names.join(", "), 200),
    }
}

/// Services whose questions come from a file of that name, directly or through others.
pub fn including<'s>(stacks: &'s Stacks, file: &'s str) -> Vec<&'s str> {
    let mut found = vec![file];
    loop {
        let before = found.len();
        for (name, text) in stacks {
            let includes = |line: &str| included(line).is_some_and(|f| found.contains(&f));
            if !found.contains(&name.as_str()) && text.lines().any(includes) {
                found.push(name);
            }
        }
        if found.len() == before {
            break;
        }
    }
    found.remove(0);
    found.sort_unstable();
    found
}

/// The file whose auth lines a line brings in (pam.conf(5); `@include` is Debian's).
pub fn included(line: &str) -> Option<&str> {
    let mut words = line.split_whitespace();
    let kind = words.next()?;
    let file = if kind == "@include" {
        words.next()?
    } else if kind.trim_start_matches('-').eq_ignore_ascii_case("auth") {
        matches!(words.next()?, "include" | "substack").then_some(())?;
        words.next()?
    } else {
        return None;
    };
    Some(file.strip_prefix("/etc/pam.d/").unwrap_or(file))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_are_found_through_others() {
        let stacks = [
            ("common-auth", "auth required pam_oath.so\n"),
            ("sshd", "@include common-auth\n@include common-account\n"),
            ("su", "auth include common-auth\n"),
            ("su-l", "-auth substack /etc/pam.d/su\n"),
            (
                "cron",
                "account include common-auth\n# @include common-auth\n",
            ),
            ("vpn", "auth required pam_oath.so usersfile=/u\n"),
        ]
        .map(|(name, text)| (name.to_owned(), text.to_owned()));
        let text =
            "auth required pam_mysql.so passwd=x\n@include common-auth\nauth required pam_oath.so";
        let kept = "@include common-auth\nauth required pam_oath.so\n";
        assert_eq!(excerpt(text.lines()), kept);
        assert_eq!(including(&stacks, "common-auth"), ["sshd", "su", "su-l"]);
        assert_eq!(elsewhere(&stacks), ["common-auth", "vpn"]);
    }
}
