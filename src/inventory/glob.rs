//! Shell patterns as Python's `fnmatch` reads them: `*`, `?`, `[abc]`, `[a-z]`, `[!abc]`.

/// A compiled pattern.
#[derive(Debug)]
pub(crate) struct Glob(Vec<Token>);

#[derive(Debug)]
enum Token {
    Many,
    One,
    Literal(char),
    Class {
        negated: bool,
        ranges: Vec<(char, char)>,
    },
}

impl Token {
    fn matches(&self, c: char) -> bool {
        match self {
            Self::Many => false,
            Self::One => true,
            Self::Literal(literal) => *literal == c,
            Self::Class { negated, ranges } => {
                ranges.iter().any(|(low, high)| (*low..=*high).contains(&c)) != *negated
            }
        }
    }
}

impl Glob {
    /// Compiles a pattern; every text is one.
    pub(crate) fn new(pattern: &str) -> Self {
        let chars: Vec<char> = pattern.chars().collect();
        let mut tokens = Vec::new();
        let mut at = 0;
        while let Some(c) = chars.get(at) {
            at += 1;
            tokens.push(match c {
                '*' => Token::Many,
                '?' => Token::One,
                '[' => match class(chars.get(at..).unwrap_or_default()) {
                    Some((token, len)) => {
                        at += len;
                        token
                    }
                    None => Token::Literal('['),
                },
                c => Token::Literal(*c),
            });
        }
        Self(tokens)
    }

    /// Returns whether the whole name matches; linear in time but for stars, which go back one star at most.
    pub(crate) fn matches(&self, name: &str) -> bool {
        let chars: Vec<char> = name.chars().collect();
        let (mut at, mut token) = (0, 0);
        let mut star: Option<(usize, usize)> = None;
        loop {
            match (self.0.get(token), chars.get(at)) {
                (Some(Token::Many), _) => {
                    star = Some((token, at));
                    token += 1;
                }
                (Some(t), Some(c)) if t.matches(*c) => {
                    token += 1;
                    at += 1;
                }
                (None, None) => return true,
                (_, c) => match (star, c) {
                    (Some((star_token, star_at)), _) if star_at < chars.len() => {
                        star = Some((star_token, star_at + 1));
                        token = star_token + 1;
                        at = star_at + 1;
                    }
                    _ => return false,
                },
            }
        }
    }
}

/// Reads a class after its `[`; returns it with its length including the `]`.
fn class(chars: &[char]) -> Option<(Token, usize)> {
    let negated = chars.first() == Some(&'!');
    let start = usize::from(negated);
    // A `]` that comes first is a member.
    let end = start + 1 + chars.get(start + 1..)?.iter().position(|c| *c == ']')?;
    let members = chars.get(start..end)?;
    let mut ranges = Vec::new();
    let mut rest = members;
    while let Some((first, after)) = rest.split_first() {
        if let ['-', last, after @ ..] = after {
            // An empty range such as `z-a` has no members.
            ranges.push((*first, *last));
            rest = after;
        } else {
            ranges.push((*first, *first));
            rest = after;
        }
    }
    Some((Token::Class { negated, ranges }, end + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs_match_as_fnmatch_does() {
        for (pattern, name, expected) in [
            ("web*", "web1", true),
            ("*", "", true),
            ("w*b*1", "wxxbyy1", true),
            ("w*b*1", "wxxbyy2", false),
            ("web?", "web", false),
            ("web[12]", "web2", true),
            ("web[!12]", "web2", false),
            ("web[!12]", "web3", true),
            ("web[a-c]", "webb", true),
            ("web[]x]", "web]", true),
            ("web[", "web[", true),
            ("web[]", "web[]", true),
            ("[a-]", "-", true),
            ("{a,b}", "a", false),
            ("Web*", "web1", false),
            ("a*", "ba", false),
        ] {
            assert_eq!(
                Glob::new(pattern).matches(name),
                expected,
                "{pattern} {name}"
            );
        }
    }

    #[test]
    fn many_stars_stay_fast() {
        let glob = Glob::new(&"a*".repeat(200));
        assert!(glob.matches(&"a".repeat(5000)));
        assert!(!glob.matches(&format!("{}b", "ca".repeat(100))));
    }

    proptest::proptest! {
        #[test]
        fn no_glob_panics(pattern in "[a-c*?!\\[\\]é-]{0,12}", name in "[a-cé]{0,12}") {
            _ = Glob::new(&pattern).matches(&name);
        }
    }
}
