//! A report as text: for a terminal, `less` and mails.

use std::io::{self, Write};

use unicode_width::UnicodeWidthStr as _;

use super::Format;
use super::words::{human, instant, symbol};
use crate::names::printable;
use crate::report::model::{Body, Cell, Figure, Histogram, Kind, Report, Scope, Table};

/// Plain text with aligned columns.
pub(super) struct Text;

/// No column is padded beyond this; a longer value moves the rest of its own line only.
const WIDEST: usize = 48;
/// Length of the longest bar.
const BAR: u64 = 40;

impl Format for Text {
    fn name(&self) -> &'static str {
        "text"
    }

    fn extension(&self) -> &'static str {
        "txt"
    }

    fn write(&self, report: &Report, out: &mut dyn Write) -> io::Result<()> {
        heading(out, &report.title, "=")?;
        for (name, value) in scope(&report.scope) {
            writeln!(out, "{name}: {value}")?;
        }
        for section in &report.sections {
            writeln!(out)?;
            heading(out, &section.title, "-")?;
            writeln!(out, "{}\n", printable(&section.about, usize::MAX))?;
            match &section.body {
                Body::Figures(figures) => self::figures(out, figures)?,
                Body::Table(table) => self::table(out, table)?,
                Body::Histogram(histogram) => self::histogram(out, histogram)?,
            }
        }
        if !report.limits.is_empty() {
            writeln!(out)?;
            heading(out, super::words::LIMITS, "-")?;
        }
        for limit in &report.limits {
            writeln!(out, "- {}", printable(limit, usize::MAX))?;
        }
        Ok(())
    }
}

fn heading(out: &mut dyn Write, title: &str, line: &str) -> io::Result<()> {
    let title = printable(title, usize::MAX);
    writeln!(out, "{title}\n{}", line.repeat(title.width()))
}

fn figures(out: &mut dyn Write, figures: &[Figure]) -> io::Result<()> {
    let widest = figures.iter().map(|f| f.title.width()).max().unwrap_or(0);
    for figure in figures {
        let gap = widest.saturating_sub(figure.title.width()) + 2;
        writeln!(out, "{}{:gap$}{}", figure.title, "", human(&figure.value))?;
    }
    Ok(())
}

fn table(out: &mut dyn Write, table: &Table) -> io::Result<()> {
    if table.rows.count() == 0 {
        return writeln!(out, "{}", super::words::NO_ROWS);
    }
    let mut widths: Vec<usize> = table.columns.iter().map(|c| c.title.width()).collect();
    table.rows.each(&mut |row| {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(human(cell).width().min(WIDEST));
        }
        Ok(())
    })?;
    let right: Vec<bool> = table
        .columns
        .iter()
        .map(|c| c.kind == Kind::Count)
        .collect();
    let titles = table.columns.iter().map(|c| c.title.to_owned());
    line(out, &widths, &right, titles)?;
    let rules = widths.iter().map(|w| "-".repeat(*w));
    line(out, &widths, &right, rules)?;
    table
        .rows
        .each(&mut |row: &[Cell]| line(out, &widths, &right, row.iter().map(human)))
}

fn line(
    out: &mut dyn Write,
    widths: &[usize],
    right: &[bool],
    cells: impl Iterator<Item = String>,
) -> io::Result<()> {
    // What ends a line is not padded.
    let mut owed = 0;
    for ((cell, width), right) in cells.zip(widths).zip(right) {
        let gap = width.saturating_sub(cell.width());
        let (before, after) = if *right { (gap, 0) } else { (0, gap) };
        write!(out, "{:owed$}{:before$}{cell}", "", "")?;
        owed = after + 2;
    }
    writeln!(out)
}

fn histogram(out: &mut dyn Write, histogram: &Histogram) -> io::Result<()> {
    let labels = histogram.bars.iter().map(|b| b.label.width()).max();
    let most = histogram.bars.iter().map(|b| b.count).max().unwrap_or(0);
    let digits = most.to_string().len();
    for bar in &histogram.bars {
        let gap = labels.unwrap_or(0).saturating_sub(bar.label.width());
        let length = scaled(bar.count, most, BAR);
        let line = format!(
            "{}{:gap$}  {:1}  {:>digits$}  {}",
            bar.label,
            "",
            symbol(bar.tone),
            bar.count,
            "█".repeat(usize::try_from(length).unwrap_or(0)),
        );
        writeln!(out, "{}", line.trim_end())?;
    }
    writeln!(out, "({})", histogram.unit)
}

/// The length of a bar; what is there at all is seen.
pub(super) fn scaled(count: u64, most: u64, longest: u64) -> u64 {
    let exact = u128::from(count) * u128::from(longest) / u128::from(most.max(1));
    let length = u64::try_from(exact).unwrap_or(longest);
    length.max(u64::from(count > 0))
}

/// What a report is about, as names and values.
pub(super) fn scope(scope: &Scope) -> Vec<(&'static str, String)> {
    let mut lines = vec![
        ("Project", printable(&scope.project, usize::MAX)),
        ("As of", instant(scope.as_of)),
    ];
    if let Some((from, to)) = scope.between {
        let (from, to) = (instant(from), instant(to));
        lines.push(("Period", format!("from {from} until before {to}")));
    }
    if let Some(only) = &scope.only {
        let only = printable(only, usize::MAX);
        lines.push((
            "Narrowed",
            format!("to {only}; what else there is, is left out"),
        ));
    }
    let (events, head) = &scope.log;
    let head = printable(head, usize::MAX);
    lines.push((
        "Rests on",
        format!("{events} events of the log, head {head}"),
    ));
    lines.push(("Made by", format!("fleetotp {}", scope.version)));
    lines
}
