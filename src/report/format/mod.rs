//! The formats of a report: one trait, one file per format.
//!
//! | name | for | rows |
//! |---|---|---|
//! | `text` | a terminal, `less`, a mail | all |
//! | `csv` | spreadsheets and scripts; one table per file | all |
//! | `json` | programs; docs/schema/report.schema.json | all |
//! | `html` | browsers, paper, phones; one file that loads nothing and runs nothing | all |
//! | `pdf` | the archive | as many as it says, and where the others are |
//! | `markdown` | tickets and wikis | all |

mod chart;
pub mod csv;
mod html;
mod json;
mod markdown;
pub mod pdf;
mod text;
mod words;

use std::io;

pub use self::words::{human, plain};
use super::model::Report;

/// A way to write a report.
pub trait Format: Sync {
    /// Its name on the command line.
    fn name(&self) -> &'static str;

    /// What file names end in, without the dot.
    fn extension(&self) -> &'static str;

    /// Writes the report. The same report gives the same bytes.
    ///
    /// # Errors
    /// Those of `out`, and those of the rows.
    fn write(&self, report: &Report, out: &mut dyn io::Write) -> io::Result<()>;
}

/// Every format.
pub const FORMATS: &[&dyn Format] = &[
    &text::Text,
    &csv::Csv,
    &json::Json,
    &html::Html,
    &pdf::Pdf,
    &markdown::Markdown,
];

/// Returns the format of a name.
pub fn by_name(name: &str) -> Option<&'static dyn Format> {
    FORMATS.iter().copied().find(|f| f.name() == name)
}
