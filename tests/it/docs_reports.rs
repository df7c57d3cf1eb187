//! docs/reports.md is made from the reports themselves.

use std::fmt::Write as _;
use std::sync::Arc;

use fleetotp::clock::Timestamp;
use fleetotp::report::activity::{Collections, activity};
use fleetotp::report::coverage::{Counts, coverage};
use fleetotp::report::picture::{People, Picture};
use fleetotp::report::view::{Only, Population, View};
use fleetotp::report::{Body, Kind, Scope, revocation, rotation};

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/reports.md");

#[test]
fn the_page_of_reports_names_every_section_and_column() {
    let wanted = page();
    if std::env::var_os("FLEETOTP_UPDATE_DOCS").is_some() {
        std::fs::write(PAGE, &wanted).unwrap();
    }
    assert_eq!(
        std::fs::read_to_string(PAGE).unwrap(),
        wanted,
        "run: FLEETOTP_UPDATE_DOCS=1 cargo test docs"
    );
}

fn page() -> String {
    let view = Arc::new(View {
        picture: Picture::default(),
        people: People::default(),
        population: Population::default(),
        only: Only::default(),
        scope: Scope {
            project: String::new(),
            as_of: Timestamp::UNIX_EPOCH,
            between: None,
            version: "",
            log: (0, String::new()),
            only: None,
        },
        accepted: Default::default(),
    });
    let mut text = String::from(
        "# Reports\n\n\
         <!-- Made from the reports themselves by tests/it/docs_reports.rs; edits here are lost. -->\n\n\
         `fleetotp report rotation|revocation|coverage|activity` computes them. The first three come from the [event log](design/ledger.md#events): what\n\
         hosts were last seen to have, never what was intended; the fourth from the [logins that `collect` stored](design/activity.md). `--as-of` shows the state at the end of a date or at a time, `--between` what happened from one date up to and\n\
         with another. Names, accounts and the inventory are those of now. Ids of sections and columns are stable; new ones may be added.\n",
    );
    let reports = [
        ("rotation", rotation::rotation(&view)),
        ("revocation", revocation::revocation(&view)),
        ("coverage", coverage(&view, Some(&Counts::default()))),
        ("activity", activity(&view, &Collections::default())),
    ];
    for (name, judged) in reports {
        assert_eq!(judged.report.name, name);
        _ = writeln!(text, "\n## {name}");
        for section in &judged.report.sections {
            _ = writeln!(
                text,
                "\n### `{}`: {}\n\n{}\n",
                section.id, section.title, section.about
            );
            match &section.body {
                Body::Figures(figures) => {
                    text.push_str("| figure | meaning |\n|---|---|\n");
                    for figure in figures {
                        _ = writeln!(text, "| `{}` | {} |", figure.id, figure.title);
                    }
                }
                Body::Table(table) => {
                    text.push_str("| column | kind | meaning |\n|---|---|---|\n");
                    for column in &table.columns {
                        let kind = match column.kind {
                            Kind::Text => "text",
                            Kind::Status => "status",
                            Kind::Count => "count",
                            Kind::Time => "time",
                            Kind::Span => "seconds",
                            Kind::Flag => "yes or no",
                        };
                        _ = writeln!(text, "| `{}` | {kind} | {} |", column.id, column.meaning);
                    }
                }
                Body::Histogram(histogram) => {
                    let labels: Vec<&str> =
                        histogram.bars.iter().map(|b| b.label.as_str()).collect();
                    _ = writeln!(text, "Counts of {}: {}.", histogram.unit, labels.join("; "));
                }
            }
        }
        text.push_str("\nWhat it does not claim:\n\n");
        for limit in &judged.report.limits {
            _ = writeln!(text, "- {limit}");
        }
    }
    text
}
