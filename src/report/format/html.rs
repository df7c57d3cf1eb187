//! A report as one HTML file that loads nothing and runs nothing: its own style, charts as SVG, no script.
//!
//! Names come from files that anybody may have written. Every text is escaped; beyond that, the file's own policy
//! (Content-Security-Policy) allows exactly one thing, the style whose hash it names. It is written row by row.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io::{self, Write};

use data_encoding::BASE64;
use sha2::{Digest as _, Sha256};

use super::chart;
use super::text::scope;
use super::words::{LIMITS, NO_ROWS, cut, human, tone};
use super::{Format, MOST_ROWS};
use crate::names::printable;
use crate::report::model::{Body, Cell, Column, Kind, Report, Section, Table, Tone};

/// One file.
pub(super) struct Html;

/// The style of every report; colours are named once, for light and for dark.
const STYLE: &str = include_str!("../../../templates/report/report.css");
/// A table with more columns than this is printed across the paper.
const UPRIGHT: usize = 7;

impl Format for Html {
    fn name(&self) -> &'static str {
        "html"
    }

    fn extension(&self) -> &'static str {
        "html"
    }

    fn write(&self, report: &Report, out: &mut dyn Write) -> io::Result<()> {
        let style = style(report);
        let hash = BASE64.encode(&Sha256::digest(&style));
        let title = escape(&report.title);
        write!(
            out,
            "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'sha256-{hash}'; \
             base-uri 'none'; form-action 'none'\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <meta name=\"referrer\" content=\"no-referrer\">\n\
             <title>{title}</title>\n<style>{style}</style>\n</head>\n<body>\n<header>\n<h1>{title}</h1>\n"
        )?;
        writeln!(out, "<dl class=\"scope\">")?;
        for (name, value) in scope(&report.scope) {
            writeln!(out, "<dt>{name}</dt><dd>{}</dd>", escape(&value))?;
        }
        writeln!(out, "</dl>\n<nav aria-label=\"Sections\"><ul>")?;
        for section in &report.sections {
            let (id, title) = (section.id, escape(&section.title));
            writeln!(out, "<li><a href=\"#{id}\">{title}</a></li>")?;
        }
        if !report.limits.is_empty() {
            writeln!(out, "<li><a href=\"#limits\">{LIMITS}</a></li>")?;
        }
        writeln!(out, "</ul></nav>\n</header>\n<main>")?;
        for section in &report.sections {
            self::section(out, report, section)?;
        }
        if !report.limits.is_empty() {
            writeln!(
                out,
                "<section aria-labelledby=\"limits\">\n<h2 id=\"limits\">{LIMITS}</h2>\n<ul class=\"limits\">"
            )?;
            for limit in &report.limits {
                writeln!(out, "<li>{}</li>", escape(limit))?;
            }
            writeln!(out, "</ul>\n</section>")?;
        }
        writeln!(out, "</main>\n</body>\n</html>")
    }
}

/// The style, and the headings that stand before each value where a row is a card, on a phone.
fn style(report: &Report) -> String {
    let mut style = format!("\n{STYLE}@media screen and (max-width: 48rem) {{\n");
    for section in &report.sections {
        let Body::Table(table) = &section.body else {
            continue;
        };
        for (column, place) in table.columns.iter().zip(1..) {
            // Ids and headings are the program's own; a quote or a backslash would end the text.
            let heading: String = column
                .title
                .chars()
                .filter(|c| !matches!(c, '"' | '\\' | '<') && !c.is_control())
                .collect();
            // Writing to a string cannot fail.
            writeln!(
                style,
                "  #t-{} tbody tr > :nth-child({place})::before {{ content: \"{heading}\" / \"\"; }}",
                section.id
            )
            .unwrap_or_default();
        }
    }
    style.push_str("}\n");
    style
}

fn section(out: &mut dyn Write, report: &Report, section: &Section) -> io::Result<()> {
    let id = section.id;
    let wide = match &section.body {
        Body::Table(table) if table.columns.len() > UPRIGHT => " class=\"wide\"",
        _ => "",
    };
    writeln!(
        out,
        "<section aria-labelledby=\"{id}\"{wide}>\n<h2 id=\"{id}\">{}</h2>\n<p class=\"about\">{}</p>",
        escape(&section.title),
        escape(&section.about),
    )?;
    match &section.body {
        Body::Figures(figures) => {
            writeln!(out, "<dl class=\"figures\">")?;
            for figure in figures {
                let (title, value) = (escape(&figure.title), value(&figure.value));
                writeln!(out, "<div><dt>{title}</dt><dd>{value}</dd></div>")?;
            }
            writeln!(out, "</dl>")?;
        }
        Body::Table(table) => {
            self::table(out, section, table)?;
            if let Some(words) = cut(report, section, table, MOST_ROWS) {
                writeln!(out, "<p class=\"cut\">{}</p>", escape(&words))?;
            }
        }
        Body::Histogram(histogram) => chart::write(out, id, &section.title, histogram)?,
    }
    writeln!(out, "</section>")
}

fn table(out: &mut dyn Write, section: &Section, table: &Table) -> io::Result<()> {
    let count = table.rows.count();
    if count == 0 {
        return writeln!(out, "<p class=\"none\">{NO_ROWS}</p>");
    }
    let rows = if count == 1 { "row" } else { "rows" };
    let title = escape(&section.title);
    writeln!(
        out,
        "<table id=\"t-{}\">\n<caption>{title}: {count} {rows}</caption>\n<thead><tr>",
        section.id
    )?;
    for column in &table.columns {
        let title = escape(column.title);
        writeln!(out, "<th scope=\"col\"{}>{title}</th>", class(column))?;
    }
    writeln!(out, "</tr></thead>\n<tbody>")?;
    table.rows.first(MOST_ROWS, &mut |row| {
        out.write_all(b"<tr>")?;
        for (place, (column, cell)) in table.columns.iter().zip(row).enumerate() {
            let (value, class) = (value(cell), class(column));
            // What a row is about stands first.
            if place == 0 {
                write!(out, "<th scope=\"row\"{class}>{value}</th>")?;
            } else {
                write!(out, "<td{class}>{value}</td>")?;
            }
        }
        out.write_all(b"</tr>\n")
    })?;
    writeln!(out, "</tbody>\n</table>")
}

const fn class(column: &Column) -> &'static str {
    match column.kind {
        Kind::Count => " class=\"n\"",
        _ => "",
    }
}

/// A value; the elements keep a name's direction of writing to itself, and an instant readable by programs.
fn value(cell: &Cell) -> String {
    let human = human(cell);
    let words = escape(&human);
    match (cell, tone(cell)) {
        // Where there is little room it is broken between day and time, and nowhere else.
        (Cell::Time(at), _) => match words.split_once(' ') {
            Some((day, time)) => {
                format!("<time datetime=\"{at}\"><span>{day}</span> <span>{time}</span></time>")
            }
            None => format!("<time datetime=\"{at}\">{words}</time>"),
        },
        (Cell::Text(_), _) => format!("<bdi>{words}</bdi>"),
        (Cell::Seconds(_), _) => format!("<span class=\"w\">{words}</span>"),
        (_, Tone::Plain) => format!("<span>{words}</span>"),
        (_, tone) => format!("<span class=\"{}\">{words}</span>", tone_class(tone)),
    }
}

/// The class of a judgement's colour.
pub(super) const fn tone_class(tone: Tone) -> &'static str {
    match tone {
        Tone::Good => "good",
        Tone::Warn => "warn",
        Tone::Bad => "bad",
        Tone::Unknown => "unknown",
        Tone::Plain => "plain",
    }
}

/// A text without markup, in elements and in quoted attributes.
pub(super) fn escape(text: &str) -> Cow<'_, str> {
    let clean = |c: char| !matches!(c, '&' | '<' | '>' | '"' | '\'') && (' '..='~').contains(&c);
    if text.chars().all(clean) {
        return text.into();
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in printable(text, usize::MAX).chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            _ => out.push(c),
        }
    }
    out.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_hold_no_markup() {
        assert_eq!(
            escape("<a href='x' b=\"y\">&amp;\u{202e}\n"),
            "&lt;a href=&#39;x&#39; b=&quot;y&quot;&gt;&amp;amp;\\u{202e}\\u{a}"
        );
    }

    /// Contrast as WCAG 2.2 defines it.
    fn contrast(a: &str, b: &str) -> f64 {
        let luminance = |hex: &str| {
            let channel = |at: usize| {
                let c = f64::from(u8::from_str_radix(&hex[at..at + 2], 16).unwrap()) / 255.0;
                if c <= 0.04045 {
                    c / 12.92
                } else {
                    ((c + 0.055) / 1.055).powf(2.4)
                }
            };
            0.2126 * channel(1) + 0.7152 * channel(3) + 0.0722 * channel(5)
        };
        let (a, b) = (luminance(a), luminance(b));
        (a.max(b) + 0.05) / (a.min(b) + 0.05)
    }

    #[test]
    fn every_colour_of_text_can_be_read_in_light_and_in_dark() {
        let palettes: Vec<std::collections::HashMap<&str, &str>> = STYLE
            .split("--paper:")
            .skip(1)
            .map(|rest| {
                let block = rest.split('}').next().unwrap();
                let named = block.split("--").skip(1).map(|pair| {
                    let (name, value) = pair.split_once(':').unwrap();
                    (name.trim(), value.trim().trim_end_matches(';').trim())
                });
                let paper = block.split(';').next().unwrap().trim();
                std::iter::once(("paper", paper)).chain(named).collect()
            })
            .collect();
        assert_eq!(palettes.len(), 2, "light and dark");
        for palette in palettes {
            for name in [
                "ink", "soft", "link", "good", "warn", "bad", "unknown", "plain",
            ] {
                for ground in ["paper", "band"] {
                    let ratio = contrast(palette[name], palette[ground]);
                    assert!(ratio >= 4.5, "{name} on {ground}: {ratio:.2}");
                }
            }
        }
    }
}
