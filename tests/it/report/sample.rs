//! A report with every kind of value and names of somebody who means harm, and what each value must read as.

use fleetotp::clock::Timestamp;
use fleetotp::report::{
    Bar, Body, Cell, Column, Figure, Histogram, Kind, Report, Rows, Scope, Section, Table, Tone,
};

/// A name, as programs and as people must read it.
pub(super) const NAMES: &[(&str, &str, &str)] = &[
    ("ada", "ada", "ada"),
    (
        "=cmd|' /C calc'!A0",
        "=cmd|' /C calc'!A0",
        "=cmd|' /C calc'!A0",
    ),
    ("@SUM(1+1)", "@SUM(1+1)", "@SUM(1+1)"),
    (
        "<script>alert(1)</script>",
        "<script>alert(1)</script>",
        "<script>alert(1)</script>",
    ),
    (
        "\"><img src=http://x.test/>",
        "\"><img src=http://x.test/>",
        "\"><img src=http://x.test/>",
    ),
    ("a|b`c``d\\", "a|b`c``d\\", "a|b`c``d\\"),
    (
        "[l](http://x.test) @all",
        "[l](http://x.test) @all",
        "[l](http://x.test) @all",
    ),
    ("שלום", "שלום", "שלום"),
    ("smile 😀", "smile 😀", "smile 😀"),
    ("two\nlines", "two\nlines", "two\\u{a}lines"),
    ("red\u{1b}[31m", "red\\u{1b}[31m", "red\\u{1b}[31m"),
    ("turn\u{202e}ed", "turn\u{202e}ed", "turn\\u{202e}ed"),
    ("O'Łukasz &amp; Σ", "O'Łukasz &amp; Σ", "O'Łukasz &amp; Σ"),
    ("'quoted", "'quoted", "'quoted"),
];

/// The cells beside a name: by the number of its row, as value, for programs, for people.
fn beside(row: usize) -> Vec<(Cell, &'static str, &'static str)> {
    let at: Timestamp = "2026-03-04T05:06:07.5Z".parse().unwrap();
    match row % 3 {
        0 => vec![
            (
                Cell::Status("confirmed", Tone::Good),
                "confirmed",
                "✓ confirmed",
            ),
            (Cell::Count(1_234_567), "1234567", "1234567"),
            (
                Cell::Time(at),
                "2026-03-04T05:06:07.5Z",
                "2026-03-04 05:06:07Z",
            ),
            (Cell::Seconds(273_906), "273906", "3d 4h 5m 6s"),
            (Cell::Flag(true), "true", "yes"),
        ],
        1 => vec![
            (Cell::Status("overdue", Tone::Bad), "overdue", "× overdue"),
            (Cell::Count(0), "0", "0"),
            (Cell::Empty, "", "–"),
            (Cell::Seconds(-60), "-60", "-1m"),
            (Cell::Flag(false), "false", "no"),
        ],
        _ => vec![
            (Cell::Status("due", Tone::Warn), "due", "! due"),
            (Cell::Unknown, "unknown", "? unknown"),
            (Cell::Unknown, "unknown", "? unknown"),
            (Cell::Empty, "", "–"),
            (Cell::Unknown, "unknown", "? unknown"),
        ],
    }
}

/// The rows as programs, or as people, must read them.
pub(super) fn expected(people: bool) -> Vec<Vec<String>> {
    let pick = |plain: &str, human: &str| if people { human } else { plain }.to_owned();
    NAMES
        .iter()
        .enumerate()
        .map(|(number, (_, plain, human))| {
            let name = pick(plain, human);
            let others = beside(number).into_iter().map(|(_, p, h)| pick(p, h));
            std::iter::once(name).chain(others).collect()
        })
        .collect()
}

pub(super) fn columns() -> Vec<Column> {
    let column = |id, title, kind| Column {
        id,
        title,
        kind,
        meaning: "for the test",
    };
    vec![
        column("admin", "Admin", Kind::Text),
        column("state", "State", Kind::Status),
        column("hosts", "Hosts", Kind::Count),
        column("issued_at", "Issued", Kind::Time),
        column("age_seconds", "Age", Kind::Span),
        column("exposed", "Exposed", Kind::Flag),
    ]
}

/// As many rows as wanted, made when they are asked for.
pub(super) struct Many(pub(super) usize);

impl Rows for Many {
    fn count(&self) -> usize {
        self.0
    }

    fn each(&self, to: &mut dyn FnMut(&[Cell]) -> std::io::Result<()>) -> std::io::Result<()> {
        for number in 0..self.0 {
            let mut row = vec![Cell::text(format!("admin{number}"))];
            row.extend(beside(number).into_iter().map(|(cell, _, _)| cell));
            to(&row)?;
        }
        Ok(())
    }
}

pub(super) fn report(rows: Box<dyn Rows>) -> Report {
    let time = |text: &str| text.parse().unwrap();
    let figure = |id, title: &str, value| Figure {
        id,
        title: title.to_owned(),
        value,
    };
    let bar = |label: &str, count, tone| Bar {
        label: label.to_owned(),
        count,
        tone,
    };
    Report {
        name: "rotation",
        title: "Rotation of <the> fleet".to_owned(),
        scope: Scope {
            project: "p-7K2M9QXA".to_owned(),
            as_of: time("2026-11-24T12:00:00Z"),
            between: Some((time("2026-08-01T00:00:00Z"), time("2026-11-01T00:00:00Z"))),
            version: "0.1.0",
            log: (4711, "9f86d081884c7d659a2feaa0c55ad015".to_owned()),
            only: None,
        },
        sections: vec![
            Section {
                id: "summary",
                title: "Summary".to_owned(),
                about: "Counted from the log of events & the last readings of the hosts."
                    .to_owned(),
                body: Body::Figures(vec![
                    figure("tokens", "Tokens in force", Cell::Count(42)),
                    figure(
                        "overdue",
                        "Tokens past their date",
                        Cell::Status("none", Tone::Good),
                    ),
                    figure("unread", "Hosts that nobody could read", Cell::Unknown),
                    figure("oldest", "Age of the oldest token", Cell::Seconds(273_906)),
                ]),
            },
            Section {
                id: "ages",
                title: "Age of tokens".to_owned(),
                about: "From the day a key was issued to the date of this report.".to_owned(),
                body: Body::Histogram(Histogram {
                    unit: "tokens",
                    bars: vec![
                        bar("under 30 days", 17, Tone::Good),
                        bar("30 to 90 days", 23, Tone::Plain),
                        bar("over 90 days", 2, Tone::Bad),
                        bar("never read", 0, Tone::Unknown),
                    ],
                }),
            },
            Section {
                id: "tokens",
                title: "Tokens".to_owned(),
                about: "Every token that was in force in the period.".to_owned(),
                body: Body::Table(Table {
                    columns: columns(),
                    rows,
                }),
            },
        ],
        limits: vec![
            "It does not say that a phone is safe.".to_owned(),
            "A host that was not read is unknown, *not* fine.".to_owned(),
        ],
    }
}

/// The report with the hostile names.
pub(super) fn hostile() -> Report {
    let rows: Vec<Vec<Cell>> = NAMES
        .iter()
        .enumerate()
        .map(|(number, (name, _, _))| {
            let others = beside(number).into_iter().map(|(cell, _, _)| cell);
            std::iter::once(Cell::text(name)).chain(others).collect()
        })
        .collect();
    report(Box::new(rows))
}

/// A report whose table is too wide for upright paper, with texts longer than a line and a word longer than a column.
pub(super) fn wide(rows: usize) -> Report {
    let mut all = Vec::new();
    for number in 0..rows {
        let mut row = vec![Cell::text(format!("host{number}.example.org"))];
        row.extend(beside(number).into_iter().map(|(cell, _, _)| cell));
        row.push(Cell::text("ß".repeat(120)));
        row.extend(beside(number + 1).into_iter().map(|(cell, _, _)| cell));
        row.push(Cell::text(
            "one reason after another, in more words than a line of any column holds ".repeat(3),
        ));
        all.push(row);
    }
    let mut report = report(Box::new(all));
    let Body::Table(table) = &mut report.sections[2].body else {
        panic!("the third section is the table");
    };
    let column = |id, title, kind| Column {
        id,
        title,
        kind,
        meaning: "for the test",
    };
    let mut twice = columns();
    twice.push(column("proof", "Proof", Kind::Text));
    twice.extend(columns().into_iter().skip(1));
    twice.push(column("why", "Why", Kind::Text));
    table.columns = twice;
    report
}
