//! "Did you mean …?"

/// Returns the candidate that `name` is most probably a misspelling of.
pub fn did_you_mean<'a>(
    name: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let limit = (name.chars().count() / 3).max(1);
    candidates
        .into_iter()
        .filter(|c| *c != name)
        .map(|c| {
            (
                strsim::damerau_levenshtein(&name.to_lowercase(), &c.to_lowercase()),
                c,
            )
        })
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Returns a hint naming the probable candidate, if there is one.
pub fn hint<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<String> {
    did_you_mean(name, candidates).map(|c| format!("did you mean `{c}`?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn close_names_are_found_and_far_ones_are_not() {
        assert_eq!(
            did_you_mean("polices", ["policies", "realms", "admins"]),
            Some("policies")
        );
        assert_eq!(did_you_mean("xyz", ["policies", "realms", "admins"]), None);
        assert_eq!(did_you_mean("Alice", ["alice", "bob"]), Some("alice"));
    }
}
