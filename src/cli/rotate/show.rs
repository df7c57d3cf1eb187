//! What a rotation would do, for people and programs.

use std::collections::BTreeMap;

use crate::cli::play::json;
use crate::error::Error;
use crate::playbook::rotate::Choice;

/// What would be done, for people.
pub(super) fn table(choice: &Choice) -> String {
    let mut lines = vec![
        [
            "ADMIN",
            "REALM",
            "STATE",
            "GENERATION",
            "AGE",
            "DUE",
            "WOULD BE",
        ]
        .map(str::to_owned),
    ];
    for row in choice.rows() {
        let dash = || "-".to_owned();
        let due = row.due_at.map_or_else(dash, |at| {
            let day = at.strftime("%Y-%m-%d").to_string();
            if row.due { format!("{day}, now") } else { day }
        });
        lines.push([
            row.admin.to_string(),
            row.realm.to_string(),
            if row.overdue {
                format!("{}, overdue", row.state)
            } else {
                row.state.clone()
            },
            row.generation.map_or_else(dash, |g| g.to_string()),
            row.age_seconds.map_or_else(dash, crate::cli::status::span),
            due,
            row.left_because
                .as_ref()
                .map_or_else(|| "done".to_owned(), |why| format!("left: {why}")),
        ]);
    }
    crate::cli::inventory::table(&lines)
}

/// What would be done, as JSON.
///
/// # Errors
/// As [`json`].
pub(super) fn document(choice: &Choice) -> Result<String, Error> {
    json(&BTreeMap::from([("tokens", choice.rows())]))
}
