//! What a report holds, whatever it is written as.

use std::io;
use std::sync::Arc;

use crate::clock::Timestamp;

/// A report, ready to be written.
pub struct Report {
    /// Its name on the command line and in file names, such as `rotation`.
    pub name: &'static str,
    /// Its title.
    pub title: String,
    /// Of what, when, and by which program.
    pub scope: Scope,
    /// Its parts, in the order of reading; what matters most comes first.
    pub sections: Vec<Section>,
    /// What this report does not claim, in plain words.
    pub limits: Vec<String>,
}

/// What a report is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scope {
    /// The project's id.
    pub project: String,
    /// The state of what time is shown.
    pub as_of: Timestamp,
    /// The period, where the report is of one: first instant, and the first one after it.
    pub between: Option<(Timestamp, Timestamp)>,
    /// The program's version.
    pub version: &'static str,
    /// Number of events of the log that the report rests on, and the hash of the last of them.
    pub log: (i64, String),
    /// Whom it was narrowed to, in words; everybody where absent.
    pub only: Option<String>,
}

/// One part of a report.
pub struct Section {
    /// Its name in JSON and in file names; stable.
    pub id: &'static str,
    /// Its title.
    pub title: String,
    /// What it shows and where that was taken from, in a sentence or two.
    pub about: String,
    /// What it holds.
    pub body: Body,
}

/// What a section holds.
pub enum Body {
    /// Single numbers.
    Figures(Vec<Figure>),
    /// A table.
    Table(Table),
    /// Counts by range.
    Histogram(Histogram),
}

/// A single number, or word, with its name.
#[derive(Debug, Clone, PartialEq)]
pub struct Figure {
    /// Its name in JSON; stable.
    pub id: &'static str,
    /// Its name for people.
    pub title: String,
    /// Its value.
    pub value: Cell,
}

/// A table with a stable schema.
pub struct Table {
    /// Its columns.
    pub columns: Vec<Column>,
    /// Its rows, each with as many cells as there are columns.
    pub rows: Box<dyn Rows>,
}

/// Rows that can be gone through more than once, so that a million of them need not be in memory as cells.
pub trait Rows: Send + Sync {
    /// Returns how many there are.
    fn count(&self) -> usize;

    /// Hands over every row, in order.
    ///
    /// # Errors
    /// Those of `to`, which end it.
    fn each(&self, to: &mut dyn FnMut(&[Cell]) -> io::Result<()>) -> io::Result<()>;

    /// Hands over the first `most` rows, and goes through no more of them.
    ///
    /// # Errors
    /// Those of `to`, which end it.
    fn first(&self, most: usize, to: &mut dyn FnMut(&[Cell]) -> io::Result<()>) -> io::Result<()> {
        let mut number = 0;
        let result = self.each(&mut |row| {
            number += 1;
            if number > most {
                return Err(io::ErrorKind::Other.into());
            }
            to(row)
        });
        if number > most { Ok(()) } else { result }
    }
}

impl Rows for Vec<Vec<Cell>> {
    fn count(&self) -> usize {
        self.len()
    }

    fn each(&self, to: &mut dyn FnMut(&[Cell]) -> io::Result<()>) -> io::Result<()> {
        self.iter().try_for_each(|row| to(row))
    }
}

/// A column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Its name in CSV and JSON; stable.
    pub id: &'static str,
    /// Its heading for people.
    pub title: &'static str,
    /// What its cells are.
    pub kind: Kind,
    /// What it means and where it comes from, for the documentation.
    pub meaning: &'static str,
}

/// What the cells of a column are; any of them may also be empty or unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Words.
    Text,
    /// A word of a short list, with a judgement.
    Status,
    /// A count.
    Count,
    /// An instant.
    Time,
    /// A span.
    Span,
    /// Yes or no.
    Flag,
}

/// One value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cell {
    /// There is none.
    Empty,
    /// There may be one, but nobody could read it. Never the same as a good one.
    Unknown,
    /// Words.
    Text(Arc<str>),
    /// A word of a short list, and whether it is good.
    Status(&'static str, Tone),
    /// A count.
    Count(u64),
    /// An instant.
    Time(Timestamp),
    /// A span in seconds.
    Seconds(i64),
    /// Yes or no.
    Flag(bool),
}

impl Cell {
    /// Words; empty ones are [`Cell::Empty`].
    pub fn text(words: impl AsRef<str>) -> Self {
        match words.as_ref() {
            "" => Self::Empty,
            words => Self::Text(words.into()),
        }
    }

    /// An instant, or none.
    pub fn time(at: Option<Timestamp>) -> Self {
        at.map_or(Self::Empty, Self::Time)
    }
}

/// A judgement; never told by colour alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// As it should be.
    Good,
    /// Somebody should look at it.
    Warn,
    /// Not as it should be.
    Bad,
    /// Nobody knows.
    Unknown,
    /// Neither good nor bad.
    Plain,
}

/// Counts by range.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Histogram {
    /// What is counted, such as `tokens`.
    pub unit: &'static str,
    /// The ranges, in order.
    pub bars: Vec<Bar>,
}

/// One range of a histogram.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bar {
    /// The range, in words.
    pub label: String,
    /// How many.
    pub count: u64,
    /// Whether that is good.
    pub tone: Tone,
}
