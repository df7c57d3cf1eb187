//! A table as CSV (RFC 4180): UTF-8, a header with the ids of the columns, every text quoted.
//!
//! Spreadsheets run what looks like a formula. A text that one of them could take for a formula is written with an
//! apostrophe before it, as OWASP's "CSV Injection" says; so is a text that begins with an apostrophe, so that a reader
//! gets back what was there by dropping one. Texts are quoted even where RFC 4180 does not ask for it: a spreadsheet that
//! splits at `;` would otherwise find a cell of its own behind one.

use std::borrow::Cow;
use std::io::{self, Write};

use super::Format;
use super::words::plain;
use crate::report::model::{Body, Cell, Report, Section};

/// One table per file; the first one, unless [`write_table`] is told which.
pub(super) struct Csv;

impl Format for Csv {
    fn name(&self) -> &'static str {
        "csv"
    }

    fn extension(&self) -> &'static str {
        "csv"
    }

    fn write(&self, report: &Report, out: &mut dyn Write) -> io::Result<()> {
        let tables = |s: &&Section| matches!(s.body, Body::Table(_));
        match report.sections.iter().find(tables) {
            Some(section) => write_section(section, out),
            None => Err(missing(report, "a table")),
        }
    }
}

/// Writes one section of a report: a table, or its figures as `figure,value`, or its histogram as `range,count`.
///
/// # Errors
/// Those of `out` and of the rows; [`io::ErrorKind::NotFound`] where the report has no such section.
pub fn write_table(report: &Report, section_id: &str, out: &mut dyn Write) -> io::Result<()> {
    match report.sections.iter().find(|s| s.id == section_id) {
        Some(section) => write_section(section, out),
        None => Err(missing(report, section_id)),
    }
}

/// The name of the file that holds a section as CSV, which other formats refer to.
pub fn file_name(report: &str, section: &str) -> String {
    format!("{report}-{section}.csv")
}

fn missing(report: &Report, what: &str) -> io::Error {
    let why = format!("the report `{}` has no {what}", report.name);
    io::Error::new(io::ErrorKind::NotFound, why)
}

fn write_section(section: &Section, out: &mut dyn Write) -> io::Result<()> {
    let mut csv = ::csv::WriterBuilder::new()
        .terminator(::csv::Terminator::CRLF)
        .quote_style(::csv::QuoteStyle::NonNumeric)
        .from_writer(out);
    match &section.body {
        Body::Table(table) => {
            csv.write_record(table.columns.iter().map(|c| c.id))?;
            table.rows.each(&mut |row| {
                for cell in row {
                    csv.write_field(inert(cell).as_bytes())?;
                }
                // Ends the record.
                Ok(csv.write_record(None::<&[u8]>)?)
            })?;
        }
        Body::Figures(figures) => {
            csv.write_record(["figure", "value"])?;
            for figure in figures {
                csv.write_record([figure.id, &inert(&figure.value)])?;
            }
        }
        Body::Histogram(histogram) => {
            csv.write_record(["range", "count"])?;
            for bar in &histogram.bars {
                let label = Cell::text(&bar.label);
                csv.write_record([&*inert(&label), &bar.count.to_string()])?;
            }
        }
    }
    csv.flush()
}

/// A value that no spreadsheet takes for a formula. Only texts can be one: a negative span stays a number.
fn inert(cell: &Cell) -> Cow<'_, str> {
    let words = plain(cell);
    if matches!(cell, Cell::Text(_)) && dangerous(&words) {
        return format!("'{words}").into();
    }
    words
}

/// Whether a text begins with what OWASP names, also in full width and also behind what a spreadsheet may skip.
fn dangerous(words: &str) -> bool {
    let skipped = |c: char| {
        c.is_whitespace()
            || c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}' | '"')
    };
    words.starts_with(['\t', '\r', '\n'])
        || words.trim_start_matches(skipped).starts_with([
            '=', '+', '-', '@', '\'', '＝', '＋', '－', '＠', '−', '﹢', '﹣', '﹦', '﹫',
        ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_looks_like_a_formula_is_a_text() {
        for text in [
            "=1+1",
            "+1",
            "-1",
            "@SUM(A1)",
            "\t=1",
            "\n=1",
            " =1",
            "\u{a0}\u{3000}=1",
            "＝1",
            "＋1",
            "－1",
            "＠x",
            "\u{feff}=1",
            "\u{200b}=1",
            "'=1",
            "\"=1",
            "\tx",
        ] {
            let cell = Cell::text(text);
            assert!(inert(&cell).starts_with('\''), "{text:?}");
        }
        for text in ["ada", "a=b", "1-2", "x@y", " a", "é", "unknown"] {
            assert_eq!(inert(&Cell::text(text)), text);
        }
        assert_eq!(inert(&Cell::text("\r=1")), "\\u{d}=1");
        assert_eq!(inert(&Cell::Seconds(-5)), "-5");
        assert_eq!(inert(&Cell::Unknown), "unknown");
        assert_eq!(inert(&Cell::Empty), "");
    }
}
