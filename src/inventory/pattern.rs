//! Patterns that select hosts or admins: `web:&prod:!web3`, `web[0:2]`, `*.example.com`, `~regex`.
//!
//! The algorithm is Ansible's, as measured; what Ansible only warns about (a part that matches nothing) is an error.

use std::collections::HashSet;

use regex::Regex;

use super::address;
use super::glob::Glob;
use crate::error::Error;
use crate::names::printable;
use crate::text::suggest;

/// Something with named items in named groups.
pub(crate) trait Universe {
    /// What an item is, for errors: `host` or `admin`.
    fn noun(&self) -> &'static str;
    /// Returns the group of that name.
    fn group(&self, name: &str) -> Option<usize>;
    /// Returns all groups in order.
    fn groups(&self) -> impl Iterator<Item = &str>;
    /// Returns the items of a group in order.
    fn members(&self, group: usize) -> &[usize];
    /// Returns the item of that name.
    fn item(&self, name: &str) -> Option<usize>;
    /// Returns all items in order.
    fn items(&self) -> impl Iterator<Item = &str>;
}

/// A pattern cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub(crate) struct PatternError {
    /// What is wrong.
    pub(crate) message: String,
    /// What was probably meant.
    pub(crate) hint: Option<String>,
}

impl PatternError {
    fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            hint: None,
        }
    }
}

impl From<PatternError> for Error {
    fn from(error: PatternError) -> Self {
        Self::failed(error.message).hinted_if(error.hint)
    }
}

/// Splits a pattern into its parts: at commas if there are any, else at colons, unless the whole is one address.
pub(crate) fn split(pattern: &str) -> Vec<String> {
    let parts: Vec<String> = if pattern.contains(',') {
        pattern.split(',').map(str::to_owned).collect()
    } else if address::parse(pattern).is_some() {
        vec![pattern.to_owned()]
    } else {
        split_at_colons(pattern)
    };
    parts
        .iter()
        .map(|part| part.trim().to_owned())
        .filter(|part| !part.is_empty())
        .collect()
}

/// Makes one pattern of a list of them, which is the parts of all; so Ansible has it.
pub(crate) fn join(patterns: &[String]) -> String {
    let parts: Vec<String> = patterns.iter().flat_map(|p| split(p)).collect();
    parts.join(",")
}

/// Splits at colons and white space outside brackets; a bracket without its partner separates as well.
fn split_at_colons(pattern: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut rest = pattern;
    while let Some(c) = rest.chars().next() {
        let mut taken = c.len_utf8();
        if c == '['
            && let Some(end) = rest.find(']')
        {
            taken = end + 1;
            if let (Some(part), Some(text)) = (parts.last_mut(), rest.get(..taken)) {
                part.push_str(text);
            }
        } else if c == ':' || c == '[' || c == ']' || c.is_whitespace() {
            parts.push(String::new());
        } else if let Some(part) = parts.last_mut() {
            part.push(c);
        }
        rest = rest.get(taken..).unwrap_or_default();
    }
    parts
}

/// Evaluates parts: first the plain ones, then `&`, then `!`, whatever their order.
///
/// # Errors
/// A part that matches nothing, a wrong expression or subscript.
pub(crate) fn evaluate(
    universe: &impl Universe,
    parts: &[String],
) -> Result<Vec<usize>, PatternError> {
    let is = |part: &&String, mark: char| part.starts_with(mark);
    let plain: Vec<&str> = parts
        .iter()
        .filter(|p| !is(p, '!') && !is(p, '&'))
        .map(String::as_str)
        .collect();
    let plain = if plain.is_empty() { vec!["all"] } else { plain };
    let mut found = Vec::new();
    let mut seen = HashSet::new();
    for part in plain {
        match universe.item(part) {
            Some(item) => found.extend(seen.insert(item).then_some(item)),
            None => {
                let matched = match_one(universe, part)?;
                found.extend(matched.into_iter().filter(|item| seen.insert(*item)));
            }
        }
    }
    for (mark, keep) in [('&', true), ('!', false)] {
        for part in parts.iter().filter(|p| is(p, mark)) {
            let expression = part.get(1..).unwrap_or_default();
            let matched: HashSet<usize> = match_one(universe, expression)?.into_iter().collect();
            found.retain(|item| matched.contains(item) == keep);
        }
    }
    Ok(found)
}

/// What a subscript asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Subscript {
    One(i64),
    Slice(usize, Option<usize>),
}

/// Evaluates one part without its mark; the result may name an item twice.
fn match_one(universe: &impl Universe, part: &str) -> Result<Vec<usize>, PatternError> {
    if part.is_empty() {
        return Err(PatternError::new("a part of the pattern is empty"));
    }
    let (expression, subscript) = split_subscript(part)?;
    let mut found = enumerate(universe, expression)?;
    let Some(subscript) = subscript.filter(|_| !found.is_empty()) else {
        return Ok(found);
    };
    let len = found.len();
    match subscript {
        Subscript::One(index) => {
            let place = usize::try_from(if index < 0 {
                index.saturating_add(i64::try_from(len).unwrap_or(i64::MAX))
            } else {
                index
            });
            place
                .ok()
                .and_then(|place| found.get(place))
                .map(|item| vec![*item])
                .ok_or_else(|| {
                    PatternError::new(format!(
                        "`{}` is out of range: `{}` has {len} {}{}",
                        printable(part, 80),
                        printable(expression, 80),
                        universe.noun(),
                        if len == 1 { "" } else { "s" }
                    ))
                })
        }
        Subscript::Slice(first, last) => {
            found.truncate(last.map_or(len, |l| l.saturating_add(1)));
            found.drain(..first.min(found.len()));
            if found.is_empty() {
                return Err(PatternError::new(format!(
                    "`{}` selects nothing: `{}` has {len} {}{}",
                    printable(part, 80),
                    printable(expression, 80),
                    universe.noun(),
                    if len == 1 { "" } else { "s" }
                )));
            }
            Ok(found)
        }
    }
}

fn split_subscript(part: &str) -> Result<(&str, Option<Subscript>), PatternError> {
    let none = Ok((part, None));
    if part.starts_with('~') {
        return none;
    }
    let Some((expression, inside)) = part.strip_suffix(']').and_then(|p| p.rsplit_once('[')) else {
        return none;
    };
    if expression.is_empty() {
        return none;
    }
    let digits = |t: &str| !t.is_empty() && t.bytes().all(|b| b.is_ascii_digit());
    let too_large = || {
        PatternError::new(format!(
            "the subscript of `{}` is too large",
            printable(part, 80)
        ))
    };
    if digits(inside.strip_prefix('-').unwrap_or(inside)) {
        let index = inside.parse().map_err(|_| too_large())?;
        return Ok((expression, Some(Subscript::One(index))));
    }
    let Some((first, last)) = inside.split_once([':', '-']) else {
        return none;
    };
    if !digits(first) || !(last.is_empty() || digits(last)) {
        return none;
    }
    let first: usize = first.parse().map_err(|_| too_large())?;
    let last: Option<usize> = if last.is_empty() {
        None
    } else {
        Some(last.parse().map_err(|_| too_large())?)
    };
    if last.is_some_and(|l| l < first) {
        return Err(PatternError::new(format!(
            "the subscript of `{}` is reversed",
            printable(part, 80)
        )));
    }
    Ok((expression, Some(Subscript::Slice(first, last))))
}

enum Matcher<'a> {
    Exact(&'a str),
    Glob(Glob),
    Expression(Regex),
}

impl Matcher<'_> {
    fn matches(&self, name: &str) -> bool {
        match self {
            Self::Exact(exact) => *exact == name,
            Self::Glob(glob) => glob.matches(name),
            Self::Expression(regex) => regex.is_match(name),
        }
    }
}

fn enumerate(universe: &impl Universe, expression: &str) -> Result<Vec<usize>, PatternError> {
    let matcher = if let Some(regex) = expression.strip_prefix('~') {
        // Python's `match` is anchored at the beginning only.
        let regex = Regex::new(&format!("^(?:{regex})")).map_err(|_| {
            PatternError::new(format!(
                "`{}` is not a regular expression that fleetotp understands",
                printable(expression, 80)
            ))
        })?;
        Matcher::Expression(regex)
    } else if expression.contains(['*', '?', '[']) {
        Matcher::Glob(Glob::new(expression))
    } else {
        Matcher::Exact(expression)
    };
    let mut found = Vec::new();
    let mut group_matched = false;
    match &matcher {
        // Ten thousand names in a limit file would otherwise each walk ten thousand hosts.
        Matcher::Exact(name) => {
            if let Some(group) = universe.group(name) {
                group_matched = true;
                found.extend_from_slice(universe.members(group));
            }
            if !group_matched || name.contains('.') {
                found.extend(universe.item(name));
            }
        }
        Matcher::Glob(_) | Matcher::Expression(_) => {
            for (id, _) in universe
                .groups()
                .enumerate()
                .filter(|(_, name)| matcher.matches(name))
            {
                group_matched = true;
                found.extend_from_slice(universe.members(id));
            }
            found.extend(
                universe
                    .items()
                    .enumerate()
                    .filter(|(_, name)| matcher.matches(name))
                    .map(|(id, _)| id),
            );
        }
    }
    if found.is_empty() && !group_matched && expression != "all" {
        let noun = universe.noun();
        let mut error = PatternError::new(format!(
            "`{}` matches no {noun} and no group",
            printable(expression, 80)
        ));
        error.hint = suggest::hint(expression, universe.groups().chain(universe.items()))
            .or_else(|| ["localhost", "127.0.0.1", "::1"].contains(&expression).then(|| {
                "fleetotp knows no implicit localhost: add it to the inventory with `ansible_connection: local`"
                    .to_owned()
            }));
        return Err(error);
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fixture;
    const HOSTS: [&str; 5] = ["web1", "web2", "db1", "a.example.com", "x"];

    impl Universe for Fixture {
        fn noun(&self) -> &'static str {
            "host"
        }
        fn group(&self, name: &str) -> Option<usize> {
            self.groups().position(|g| g == name)
        }
        fn groups(&self) -> impl Iterator<Item = &str> {
            ["all", "web", "db", "empty"].into_iter()
        }
        fn members(&self, group: usize) -> &[usize] {
            [&[0, 1, 2, 3, 4][..], &[0, 1], &[2], &[]][group]
        }
        fn item(&self, name: &str) -> Option<usize> {
            HOSTS.iter().position(|h| *h == name)
        }
        fn items(&self) -> impl Iterator<Item = &str> {
            HOSTS.into_iter()
        }
    }

    fn select(pattern: &str) -> Result<String, String> {
        evaluate(&Fixture, &split(pattern))
            .map(|ids| ids.iter().map(|i| HOSTS[*i]).collect::<Vec<_>>().join(" "))
            .map_err(|e| format!("{}|{}", e.message, e.hint.unwrap_or_default()))
    }

    #[test]
    fn patterns_are_split_as_ansible_does() {
        for (pattern, parts) in [
            ("a,b:c", vec!["a", "b:c"]),
            ("db1:2222", vec!["db1:2222"]),
            ("a::b", vec!["a::b"]),
            ("a:b", vec!["a", "b"]),
            ("web[0:2]:&prod:!x", vec!["web[0:2]", "&prod", "!x"]),
            ("web*[0:2]:b", vec!["web*[0:2]", "b"]),
            (" a , b ", vec!["a", "b"]),
            ("a b", vec!["a", "b"]),
            ("a[b:c", vec!["a", "b", "c"]),
            ("", vec![]),
        ] {
            assert_eq!(split(pattern), parts, "{pattern}");
        }
    }

    #[test]
    fn patterns_select() {
        for (pattern, hosts) in [
            ("all", "web1 web2 db1 a.example.com x"),
            ("*", "web1 web2 db1 a.example.com x"),
            ("!web", "db1 a.example.com x"),
            ("&web", "web1 web2"),
            ("!web1:web", "web2"),
            ("db:web1", "db1 web1"),
            ("web[0]", "web1"),
            ("web[-1]", "web2"),
            ("web[1:]", "web2"),
            ("web[0-0]", "web1"),
            ("web[:2]", "web2"),
            ("~w.b[12]", "web1 web2"),
            ("w?b1", "web1"),
            ("*.example.com", "a.example.com"),
            ("empty", ""),
        ] {
            assert_eq!(select(pattern).as_deref(), Ok(hosts), "{pattern}");
        }
    }

    #[test]
    fn what_matches_nothing_is_an_error() {
        assert_eq!(
            select("wob").unwrap_err(),
            "`wob` matches no host and no group|did you mean `web`?"
        );
        for pattern in [
            "web:!nobody",
            "web[7]",
            "web[-3]",
            "web[2:5]",
            "web[1:0]",
            "~(",
            "!",
            "zzz*",
            "localhost",
        ] {
            assert!(select(pattern).is_err(), "{pattern}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_pattern_panics(pattern in "[a-cwe12:,&!~*?.\\[\\]() é^-]{0,20}") {
            drop(select(&pattern));
        }
    }
}
