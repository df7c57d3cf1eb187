//! A report as one JSON document; docs/schema/report.schema.json describes it.
//!
//! A value that does not apply is `null`; one that nobody could read is the word `unknown`, whatever the column holds.

use std::io::{self, Write};

use serde::{Serialize, Serializer};
use serde_json::{Value, json};

use super::Format;
use super::words::UNKNOWN;
use crate::report::model::{Bar, Body, Cell, Column, Figure, Kind, Report, Section, Table, Tone};

/// The version of the document's shape: a key is only added within one.
const SCHEMA: u32 = 1;

/// One document.
pub(super) struct Json;

impl Format for Json {
    fn name(&self) -> &'static str {
        "json"
    }

    fn extension(&self) -> &'static str {
        "json"
    }

    fn write(&self, report: &Report, out: &mut dyn Write) -> io::Result<()> {
        let scope = &report.scope;
        let between = scope
            .between
            .map(|(from, until)| json!({ "from": from, "until": until }));
        let (events, head) = &scope.log;
        let head = [
            ("schema", json!(SCHEMA)),
            ("report", json!(report.name)),
            ("title", json!(report.title)),
            ("version", json!(scope.version)),
            ("project", json!(scope.project)),
            ("as_of", json!(scope.as_of)),
            ("between", json!(between)),
            ("narrowed", json!(scope.only)),
            ("log", json!({ "events": events, "head": head })),
        ];
        out.write_all(b"{\n")?;
        for (key, value) in head {
            writeln!(out, "  \"{key}\": {value},")?;
        }
        out.write_all(b"  \"sections\": [")?;
        for (number, section) in report.sections.iter().enumerate() {
            next(out, number, 4)?;
            self::section(out, section)?;
        }
        let limits = json!(report.limits);
        writeln!(out, "\n  ],\n  \"limits\": {limits}\n}}")
    }
}

/// Ends the element before, if there is one, and begins a line.
fn next(out: &mut dyn Write, number: usize, indent: usize) -> io::Result<()> {
    let comma = if number == 0 { "" } else { "," };
    write!(out, "{comma}\n{:indent$}", "")
}

fn section(out: &mut dyn Write, section: &Section) -> io::Result<()> {
    let (id, title, about) = (
        json!(section.id),
        json!(section.title),
        json!(section.about),
    );
    write!(
        out,
        "{{\"id\": {id}, \"title\": {title}, \"about\": {about}, "
    )?;
    match &section.body {
        Body::Figures(figures) => {
            let figures: Vec<Value> = figures.iter().map(figure).collect();
            write!(out, "\"figures\": {}}}", json!(figures))
        }
        Body::Table(table) => self::table(out, table),
        Body::Histogram(histogram) => {
            let bars: Vec<Value> = histogram.bars.iter().map(bar).collect();
            let histogram = json!({ "unit": histogram.unit, "bars": bars });
            write!(out, "\"histogram\": {histogram}}}")
        }
    }
}

/// One row on each line, written as it comes.
fn table(out: &mut dyn Write, table: &Table) -> io::Result<()> {
    let columns: Vec<Value> = table.columns.iter().map(column).collect();
    write!(out, "\"columns\": {}, \"rows\": [", json!(columns))?;
    let mut number = 0;
    table.rows.each(&mut |row| {
        next(out, number, 6)?;
        number += 1;
        out.write_all(b"{")?;
        for (place, (column, cell)) in table.columns.iter().zip(row).enumerate() {
            let comma = if place == 0 { "" } else { ", " };
            write!(out, "{comma}\"{}\": ", column.id)?;
            serde_json::to_writer(&mut *out, &Plain(cell))?;
        }
        out.write_all(b"}")
    })?;
    out.write_all(b"]}")
}

fn column(column: &Column) -> Value {
    let kind = match column.kind {
        Kind::Text => "text",
        Kind::Status => "status",
        Kind::Count => "count",
        Kind::Time => "time",
        Kind::Span => "seconds",
        Kind::Flag => "flag",
    };
    json!({ "id": column.id, "title": column.title, "kind": kind, "meaning": column.meaning })
}

fn figure(figure: &Figure) -> Value {
    json!({ "id": figure.id, "title": figure.title, "value": Plain(&figure.value) })
}

fn bar(bar: &Bar) -> Value {
    let tone = match bar.tone {
        Tone::Good => "good",
        Tone::Warn => "warn",
        Tone::Bad => "bad",
        Tone::Unknown => "unknown",
        Tone::Plain => "plain",
    };
    json!({ "label": bar.label, "count": bar.count, "tone": tone })
}

/// A cell as JSON.
struct Plain<'a>(&'a Cell);

impl Serialize for Plain<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Cell::Empty => to.serialize_none(),
            Cell::Unknown => to.serialize_str(UNKNOWN),
            Cell::Text(words) if words.is_empty() => to.serialize_none(),
            Cell::Text(words) => to.serialize_str(words),
            Cell::Status(word, _) => to.serialize_str(word),
            Cell::Count(count) => to.serialize_u64(*count),
            Cell::Time(at) => at.serialize(to),
            Cell::Seconds(seconds) => to.serialize_i64(*seconds),
            Cell::Flag(flag) => to.serialize_bool(*flag),
        }
    }
}
