//! A report as Markdown with GitHub's tables, for tickets and wikis.
//!
//! A name is written as code, in which nothing is markup, a link, an image, HTML or a mention of somebody.

use std::io::{self, Write};

use super::text::{scaled, scope};
use super::words::{LIMITS, NO_ROWS, cut, human, symbol};
use super::{Format, MOST_ROWS};
use crate::names::printable;
use crate::report::model::{Body, Cell, Histogram, Kind, Report, Section, Table};

/// GitHub Flavored Markdown.
pub(super) struct Markdown;

/// Length of the longest bar.
const BAR: u64 = 24;

impl Format for Markdown {
    fn name(&self) -> &'static str {
        "markdown"
    }

    fn extension(&self) -> &'static str {
        "md"
    }

    fn write(&self, report: &Report, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "# {}\n", prose(&report.title))?;
        for (name, value) in scope(&report.scope) {
            writeln!(out, "- {name}: {}", prose(&value))?;
        }
        for section in &report.sections {
            writeln!(out, "\n## {}\n", prose(&section.title))?;
            writeln!(out, "{}\n", prose(&section.about))?;
            self::section(out, report, section)?;
        }
        if !report.limits.is_empty() {
            writeln!(out, "\n## {LIMITS}\n")?;
        }
        for limit in &report.limits {
            writeln!(out, "- {}", prose(limit))?;
        }
        Ok(())
    }
}

fn section(out: &mut dyn Write, report: &Report, section: &Section) -> io::Result<()> {
    match &section.body {
        Body::Figures(figures) => {
            writeln!(out, "| figure | value |\n|---|---|")?;
            for figure in figures {
                let (title, value) = (prose(&figure.title), cell(&figure.value));
                writeln!(out, "| {title} | {value} |")?;
            }
            Ok(())
        }
        Body::Table(table) => {
            self::table(out, table)?;
            cut(report, section, table, MOST_ROWS)
                .map_or(Ok(()), |words| writeln!(out, "\n{}", prose(&words)))
        }
        Body::Histogram(histogram) => self::histogram(out, histogram),
    }
}

fn table(out: &mut dyn Write, table: &Table) -> io::Result<()> {
    if table.rows.count() == 0 {
        return writeln!(out, "{NO_ROWS}");
    }
    for column in &table.columns {
        write!(out, "| {} ", prose(column.title))?;
    }
    writeln!(out, "|")?;
    for column in &table.columns {
        let right = column.kind == Kind::Count;
        write!(out, "{}", if right { "|---:" } else { "|---" })?;
    }
    writeln!(out, "|")?;
    table.rows.first(MOST_ROWS, &mut |row| {
        for value in row {
            write!(out, "| {} ", cell(value))?;
        }
        writeln!(out, "|")
    })
}

fn histogram(out: &mut dyn Write, histogram: &Histogram) -> io::Result<()> {
    let most = histogram.bars.iter().map(|b| b.count).max().unwrap_or(0);
    writeln!(out, "| range | {} | |\n|---|---:|---|", histogram.unit)?;
    for bar in &histogram.bars {
        let length = usize::try_from(scaled(bar.count, most, BAR)).unwrap_or(0);
        let bars = format!("{} {}", symbol(bar.tone), "█".repeat(length));
        let label = prose(&bar.label);
        writeln!(out, "| {label} | {} | {} |", bar.count, bars.trim())?;
    }
    Ok(())
}

fn cell(cell: &Cell) -> String {
    let words = human(cell);
    match cell {
        Cell::Text(text) if !text.is_empty() => code(&words),
        _ => words,
    }
}

/// A text as code. A bar cannot be escaped in code such that every reader agrees, so it stands between two pieces of it.
fn code(text: &str) -> String {
    let pieces: Vec<String> = text.split('|').map(span).collect();
    pieces.join("&#124;")
}

/// One piece of code, fenced by more backticks than are in it (CommonMark 0.31, 6.1).
fn span(text: &str) -> String {
    if text.is_empty() {
        return String::new();
    }
    let longest = text.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    let fence = "`".repeat(longest + 1);
    // One space at each end is dropped by readers, but only where there is something else.
    let edge = |c: char| c == '`' || c == ' ';
    let padded = text.starts_with(edge) || text.ends_with(edge);
    let pad = if padded && text.trim() != "" { " " } else { "" };
    format!("{fence}{pad}{text}{pad}{fence}")
}

/// A sentence in which nothing is markup.
fn prose(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in printable(text, usize::MAX).chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '|' => out.push_str("&#124;"),
            '@' => out.push_str("&#64;"),
            '\\' | '`' | '*' | '_' | '[' | ']' | '#' | '~' | '$' | '!' | '+' | '=' => {
                out.push('\\');
                out.push(c);
            }
            _ => out.push(c),
        }
    }
    // What a reader would make a link of by itself.
    out.replace("://", "\\://").replace("www.", "www\\.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_code_whatever_is_in_them() {
        for (text, written) in [
            ("ada", "`ada`"),
            ("a|b", "`a`&#124;`b`"),
            ("|", "&#124;"),
            ("a`b``c", "```a`b``c```"),
            ("`", "`` ` ``"),
            ("<b>@x</b> [l](http://x)", "`<b>@x</b> [l](http://x)`"),
            ("a\nb", "`a\\u{a}b`"),
            ("  ", "`  `"),
        ] {
            assert_eq!(cell(&Cell::text(text)), written);
        }
    }

    #[test]
    fn sentences_hold_no_markup() {
        assert_eq!(
            prose("*a* <img> [x](y) www.x.org http://x a|b"),
            "\\*a\\* &lt;img&gt; \\[x\\](y) www\\.x.org http\\://x a&#124;b"
        );
    }
}
