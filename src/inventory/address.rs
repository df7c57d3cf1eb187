//! `name`, `name:port`, `[address]:port`, with ranges: what Ansible takes for a host.

use std::net::Ipv6Addr;

/// A host, perhaps with ranges, and a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Address<'a> {
    pub(crate) host: &'a str,
    /// As written; it can be larger than any port.
    pub(crate) port: Option<&'a str>,
}

/// Reads a host with an optional port; `None` for what is neither a name nor an address.
pub(crate) fn parse(text: &str) -> Option<Address<'_>> {
    let mut address = Address {
        host: text,
        port: None,
    };
    if let Some((host, port)) = bracketed(text) {
        address = Address {
            host,
            port: Some(port),
        };
    }
    if let Some((host, port)) = with_port(address.host) {
        address = Address {
            host,
            port: Some(port),
        };
    }
    (is_hostname(address.host) || is_ipv6(address.host)).then_some(address)
}

/// `[anything]:22`
fn bracketed(text: &str) -> Option<(&str, &str)> {
    let (host, port) = text.strip_prefix('[')?.rsplit_once("]:")?;
    (!host.is_empty() && is_number(port)).then_some((host, port))
}

/// `name:22`, where the only other colons stand inside brackets.
fn with_port(text: &str) -> Option<(&str, &str)> {
    let (host, port) = text.rsplit_once(':')?;
    if !is_number(port) {
        return None;
    }
    let mut inside = false;
    for c in host.chars() {
        match c {
            '[' if !inside => inside = true,
            ']' if inside => inside = false,
            ':' | ']' if !inside => return None,
            _ => {}
        }
    }
    (!inside).then_some((host, port))
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

/// Labels of letters, digits, `_`, `-` and ranges, joined by dots; none ends with `-` or `_`. IPv4 is a case of it.
fn is_hostname(text: &str) -> bool {
    text.split('.').all(is_label)
}

fn is_label(label: &str) -> bool {
    let mut rest = label;
    let mut last = '-';
    while let Some(c) = rest.chars().next() {
        if c == '[' {
            let Some((range, after)) = rest.get(1..).and_then(|r| r.split_once(']')) else {
                return false;
            };
            if !is_range(range, |c| c.is_ascii_digit(), true) {
                return false;
            }
            rest = after;
            last = ']';
        } else if c.is_alphanumeric() || c == '_' || (c == '-' && rest.len() < label.len()) {
            rest = rest.get(c.len_utf8()..).unwrap_or_default();
            last = c;
        } else {
            return false;
        }
    }
    !matches!(last, '-' | '_')
}

/// `begin:end` or `begin:end:step`.
fn is_range(text: &str, is_digit: fn(char) -> bool, letters: bool) -> bool {
    let mut parts = text.split(':');
    let (Some(begin), Some(end)) = (parts.next(), parts.next()) else {
        return false;
    };
    let step = parts.next().unwrap_or("1");
    let all = |t: &str| !t.is_empty() && t.chars().all(is_digit);
    let letter = |t: &str| t.len() == 1 && t.chars().all(|c| c.is_ascii_alphabetic());
    parts.next().is_none()
        && is_number(step)
        && ((all(begin) && all(end)) || (letters && letter(begin) && letter(end)))
}

/// An IPv6 address in which a range may stand for a group.
fn is_ipv6(text: &str) -> bool {
    let mut plain = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('[') {
        let Some((range, after)) = after.split_once(']') else {
            return false;
        };
        if !is_range(range, |c| c.is_ascii_hexdigit(), false) {
            return false;
        }
        plain.push_str(before);
        plain.push('1');
        rest = after;
    }
    plain.push_str(rest);
    plain.parse::<Ipv6Addr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_and_ports_are_told_apart() {
        for (text, host, port) in [
            ("web1", "web1", None),
            ("web1:2222", "web1", Some("2222")),
            ("web_1.ex-a.com:22", "web_1.ex-a.com", Some("22")),
            ("10.0.0.1", "10.0.0.1", None),
            ("10.0.0.[1:5]:22", "10.0.0.[1:5]", Some("22")),
            ("2001:db8::1", "2001:db8::1", None),
            ("[2001:db8::1]:22", "2001:db8::1", Some("22")),
            ("::", "::", None),
            ("2001:db8::[1:f]", "2001:db8::[1:f]", None),
            ("web[01:10:2]", "web[01:10:2]", None),
            ("db-[a:f]-node", "db-[a:f]-node", None),
            ("[a:c]1:8", "[a:c]1", Some("8")),
            ("[web1]:22", "web1", Some("22")),
        ] {
            assert_eq!(parse(text), Some(Address { host, port }), "{text}");
        }
        for text in [
            "", "a:b", "-a", "a-", "a_", "web[:3]", "web[1:", "a..b", "a b", "web*", "a::b:",
            "web1:", "[::1]", "a,b",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(text in "[a-c0-2é:.\\[\\]_-]{0,20}") {
            _ = parse(&text);
        }
    }
}
