//! A plan as differences, for `--diff`: exactly what apply would do, without secrets.

use std::fmt::Write as _;

use crate::plan::change::{Change, Shown};

/// Returns a change as a unified difference, or as one line where there is no text to compare.
pub fn difference(change: &Change) -> String {
    let Change::File(file) = change else {
        return format!("{}\n", change.summary());
    };
    let Shown::Text { before, after } = &file.shown else {
        return format!("{}\n", change.summary());
    };
    let old = if file.before.is_some() {
        format!("a{}", file.path)
    } else {
        "/dev/null".to_owned()
    };
    let mut text = String::new();
    let diff = similar::TextDiff::from_lines(before.as_str(), after.as_str());
    // Writing to a string cannot fail.
    _ = write!(
        text,
        "{}",
        diff.unified_diff()
            .context_radius(3)
            .header(&old, &format!("b{}", file.path))
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::request::{Line, Scope};
    use crate::plan::change::FileChange;
    use crate::token::secret::Secret;

    #[test]
    fn text_is_shown_as_a_difference_and_a_secret_as_a_sentence() {
        let mut file = FileChange {
            path: "/etc/pam.d/sshd".into(),
            mode: 0o644,
            before: Some("x".into()),
            scope: Scope::Transaction,
            lines: vec![],
            shown: Shown::Text {
                before: "a\nb\n".into(),
                after: "a\nc\nb\n".into(),
            },
        };
        assert!(difference(&Change::File(file.clone())).contains("\n+c\n"));
        file.shown = Shown::Sentence("key 0123456789ab".into());
        file.lines = vec![Line::Secret(Secret::from("hunter2"))];
        assert_eq!(
            difference(&Change::File(file)),
            "write /etc/pam.d/sshd: key 0123456789ab\n"
        );
    }
}
