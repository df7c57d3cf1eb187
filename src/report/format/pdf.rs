//! A report as PDF, with the fonts and the drawing of the sheets: A4, upright or across as its tables need.
//!
//! It is drawn in memory, so a table of more than [`MOST_ROWS`] rows is cut, and says so and where all of them are. A
//! character that the fonts lack, or whose script needs shaping, is written as its number; that is said too.

mod paper;
mod table;

use std::io::{self, Write};

use self::paper::{GREY, INK, Pages, tint};
use super::Format;
use super::text::{scaled, scope};
use super::words::{LIMITS, cut, human, sign, tone};
use crate::report::model::{Body, Figure, Histogram, Report, Tone};
use crate::sheet::canvas::{Paper, UPRIGHT};
use crate::sheet::document::{self, Metadata};
use crate::sheet::font::Style;
use crate::sheet::{Fonts, SheetError};

/// How many rows of a table are printed.
pub const MOST_ROWS: usize = 1_000;

/// A4, across.
const ACROSS: Paper = Paper {
    width: 297.0,
    height: 210.0,
};

/// With the built-in fonts; [`write_with`] takes others.
pub(super) struct Pdf;

impl Format for Pdf {
    fn name(&self) -> &'static str {
        "pdf"
    }

    fn extension(&self) -> &'static str {
        "pdf"
    }

    fn write(&self, report: &Report, out: &mut dyn Write) -> io::Result<()> {
        let fonts = Fonts::builtin().map_err(io::Error::other)?;
        write_with(report, &fonts, out)
    }
}

/// Writes the report with the fonts of a project, which may hold more scripts than the built-in ones.
///
/// # Errors
/// Those of `out` and of the rows, and what the PDF library refuses.
pub fn write_with(report: &Report, fonts: &Fonts, out: &mut dyn Write) -> io::Result<()> {
    let mut tables = Vec::new();
    for section in &report.sections {
        tables.push(match &section.body {
            Body::Table(table) => Some(table::Grid::read(table, fonts)?),
            _ => None,
        });
    }
    let upright = paper::text_width(UPRIGHT);
    let wide = tables.iter().flatten().any(|t| t.natural() > upright);
    let mut pages = Pages::new(fonts, if wide { ACROSS } else { UPRIGHT });
    pages.paragraph(Style::Bold, 16.0, INK, &report.title);
    pages.gap(4.0);
    for (name, value) in scope(&report.scope) {
        pages.pair(name, 70.0, 8.5, &value, INK);
    }
    for (section, grid) in report.sections.iter().zip(&tables) {
        pages.heading(&section.title);
        pages.paragraph(Style::Text, 8.5, GREY, &section.about);
        pages.gap(5.0);
        match &section.body {
            Body::Figures(figures) => self::figures(&mut pages, figures),
            Body::Histogram(histogram) => self::histogram(&mut pages, histogram),
            Body::Table(_) => {}
        }
        if let Some(grid) = grid {
            grid.draw(&mut pages);
            if let Body::Table(table) = &section.body
                && let Some(words) = cut(report, section, table, MOST_ROWS)
            {
                pages.gap(4.0);
                pages.paragraph(Style::Bold, 8.5, INK, &words);
            }
        }
    }
    if !report.limits.is_empty() {
        pages.heading(LIMITS);
    }
    for limit in &report.limits {
        pages.paragraph(Style::Text, 8.5, INK, &format!("• {limit}"));
        pages.gap(2.0);
    }
    if pages.replaced {
        pages.gap(6.0);
        pages.paragraph(
            Style::Text,
            8.5,
            GREY,
            "Characters that the fonts of this file lack are written as their Unicode numbers, such as \\u{5d0}; the \
             other formats hold the characters themselves.",
        );
    }
    let bytes = finish(report, pages, fonts).map_err(io::Error::other)?;
    out.write_all(&bytes)
}

fn finish(
    report: &Report,
    pages: Pages<'_>,
    fonts: &Fonts,
) -> Result<zeroize::Zeroizing<Vec<u8>>, SheetError> {
    let scope = &report.scope;
    let (drawn, characters) = pages.finish(&report.title);
    let id = format!(
        "report {} {} {} {}",
        report.name, scope.project, scope.as_of, scope.log.1
    );
    let metadata = Metadata {
        title: &report.title,
        language: "en",
        id: &id,
        issued: scope.as_of,
    };
    document::write(drawn, &characters, fonts, None, &metadata)
}

fn figures(pages: &mut Pages<'_>, figures: &[Figure]) {
    let widest = figures
        .iter()
        .map(|f| pages.width(Style::Text, 9.0, &f.title))
        .fold(0.0, f32::max);
    let column = (widest + 14.0).min(pages.text_width() / 2.0);
    for figure in figures {
        let colour = tint(tone(&figure.value));
        pages.pair(&figure.title, column, 9.0, &human(&figure.value), colour);
    }
}

fn histogram(pages: &mut Pages<'_>, histogram: &Histogram) {
    const LONGEST: u64 = 240;
    let bars = &histogram.bars;
    let most = bars.iter().map(|b| b.count).max().unwrap_or(0);
    let widest = bars
        .iter()
        .map(|b| pages.width(Style::Text, 8.5, &b.label))
        .fold(0.0, f32::max);
    let column = (widest + 10.0).min(pages.text_width() / 2.0);
    for bar in bars {
        let count = sign(bar.tone, &bar.count.to_string());
        let colour = match bar.tone {
            Tone::Plain => paper::BAR,
            tone => tint(tone),
        };
        // At most 240.
        let length = scaled(bar.count, most, LONGEST) as f32;
        pages.bar(&bar.label, column, length, colour, &count);
    }
    pages.gap(2.0);
    pages.paragraph(Style::Text, 8.0, GREY, &format!("({})", histogram.unit));
}
