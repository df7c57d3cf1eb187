//! The formats of a report: one trait, one file per format.
//!
//! | name | for | rows |
//! |---|---|---|
//! | `text` | a terminal, `less`, a mail | all |
//! | `csv` | spreadsheets and scripts; one table per file | all |
//! | `json` | programs; docs/schema/report.schema.json | all |
//! | `html` | browsers, paper, phones; one file that loads nothing and runs nothing | the first [`MOST_ROWS`] of a table |
//! | `pdf` | the archive | the first [`pdf::MOST_ROWS`] of a table |
//! | `markdown` | tickets and wikis | the first [`MOST_ROWS`] of a table |
//!
//! Where rows are left out, the file says how many and where all of them are. Figures count all of them, and what is not
//! as it should be stands in a table of its own before the one of everything.

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

/// How many rows of a table the formats hold that a person opens as a whole: no browser shows a million.
pub const MOST_ROWS: usize = 10_000;

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
