//! The table of controls: which report and column answers which question, and what is not claimed.
//!
//! Its text is data, `templates/report/controls.yml`, so that a reader of the source can check it without Rust.

use serde::Deserialize;

use crate::report::model::{Cell, Kind, Report, Scope};
use crate::report::view::{column, table};

const TEXT: &str = include_str!("../../templates/report/controls.yml");

/// The text of the table.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Controls {
    /// What holds for every report.
    pub general: Vec<String>,
    /// The controls, by framework.
    pub controls: Vec<Control>,
}

/// One question of an assessor.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Control {
    /// The standard.
    pub framework: String,
    /// The control, or several, in that standard's numbering.
    pub id: String,
    /// The question, in this project's words.
    pub asks: String,
    /// What answers it: `report.section`, `report.section.column`, or a file of the pack.
    pub see: Vec<String>,
    /// What is not claimed.
    pub not_claimed: String,
}

impl Controls {
    /// Reads the text that the program carries.
    ///
    /// # Errors
    /// When that text is broken, which a test rules out.
    pub fn read() -> Result<Self, serde_yaml::Error> {
        serde_yaml::from_str(TEXT)
    }

    /// Makes the table a report, so that every format can write it.
    pub fn report(&self, scope: Scope) -> Report {
        let text = |id, title, meaning| column(id, title, Kind::Text, meaning);
        let rows: Vec<Vec<Cell>> = self
            .controls
            .iter()
            .map(|control| {
                vec![
                    Cell::text(&control.framework),
                    Cell::text(&control.id),
                    Cell::text(&control.asks),
                    Cell::text(control.see.join(", ")),
                    Cell::text(&control.not_claimed),
                ]
            })
            .collect();
        Report {
            name: "controls",
            title: "Controls, and what answers them".to_owned(),
            scope,
            sections: vec![table(
                "controls",
                "Controls",
                "Which report and column answers which question. The questions are this project's short reading \
                 of a control; what counts is the standard's own text.",
                vec![
                    text("framework", "Standard", "The standard."),
                    text("control", "Control", "The control's number there."),
                    text("asks", "Question", "What it asks, in short."),
                    text(
                        "see",
                        "Answered by",
                        "Report, section and column, or a file of the pack.",
                    ),
                    text(
                        "not_claimed",
                        "Not claimed",
                        "What these files do not show.",
                    ),
                ],
                rows,
            )],
            limits: self.general.clone(),
        }
    }
}
