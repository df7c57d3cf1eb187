//! Reports: every format holds the same values, and names do nothing in any of them.

mod sample;
mod schema;

use std::io::Write as _;
use std::process::{Command, Stdio};

use fleetotp::report::Report;
use fleetotp::report::format::{FORMATS, by_name, csv, pdf};
use regex::Regex;

fn written(report: &Report, format: &str) -> Vec<u8> {
    let mut out = Vec::new();
    by_name(format).unwrap().write(report, &mut out).unwrap();
    out
}

fn text(report: &Report, format: &str) -> String {
    String::from_utf8(written(report, format)).unwrap()
}

/// The words of a PDF in the order in which they were drawn.
fn pdf_words(bytes: &[u8]) -> String {
    let mut pdftotext = Command::new("pdftotext")
        .args(["-raw", "-", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    pdftotext.stdin.take().unwrap().write_all(bytes).unwrap();
    let output = pdftotext.wait_with_output().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap()
}

fn squeezed(text: &str) -> String {
    text.split_whitespace().collect()
}

fn captures(pattern: &str, text: &str) -> Vec<String> {
    let pattern = Regex::new(pattern).unwrap();
    pattern
        .captures_iter(text)
        .map(|c| c[1].to_owned())
        .collect()
}

#[test]
fn csv_holds_the_values_and_no_formula() {
    let bytes = written(&sample::hostile(), "csv");
    let text = String::from_utf8(bytes.clone()).unwrap();
    assert!(text.starts_with("\"admin\",\"state\",\"hosts\""), "{text}");
    let mut reader = ::csv::Reader::from_reader(&*bytes);
    let rows: Vec<Vec<String>> = reader
        .records()
        .map(|r| r.unwrap().iter().map(str::to_owned).collect())
        .collect();
    for cell in rows.iter().flatten().filter(|c| c.parse::<i64>().is_err()) {
        assert!(
            !cell.trim_start().starts_with(['=', '+', '-', '@']),
            "{cell:?}"
        );
    }
    let read: Vec<Vec<String>> = rows
        .iter()
        .map(|row| {
            row.iter()
                .map(|c| c.strip_prefix('\'').unwrap_or(c).to_owned())
                .collect()
        })
        .collect();
    assert_eq!(read, sample::expected(false));
}

#[test]
fn csv_holds_any_section_and_refuses_others() {
    let report = sample::hostile();
    let section = |id| {
        let mut out = Vec::new();
        csv::write_table(&report, id, &mut out).map(|()| String::from_utf8(out).unwrap())
    };
    let summary = "\"figure\",\"value\"\r\n\"tokens\",42\r\n\"overdue\",\"none\"\r\n\"unread\",\"unknown\"\r\n\"oldest\",273906\r\n";
    assert_eq!(section("summary").unwrap(), summary);
    assert!(
        section("ages")
            .unwrap()
            .contains("\"under 30 days\",17\r\n")
    );
    let error = section("nope").unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
}

#[test]
fn json_holds_the_values_as_its_schema_says() {
    let document: serde_json::Value =
        serde_json::from_slice(&written(&sample::hostile(), "json")).unwrap();
    schema::check(&document).unwrap();
    let rows = document["sections"][2]["rows"].as_array().unwrap();
    let read: Vec<Vec<String>> = rows
        .iter()
        .map(|row| {
            let cells = sample::columns().into_iter().map(|c| match &row[c.id] {
                serde_json::Value::Null => String::new(),
                serde_json::Value::String(text) => text.replace('\u{1b}', "\\u{1b}"),
                other => other.to_string(),
            });
            cells.collect()
        })
        .collect();
    assert_eq!(read, sample::expected(false));
    assert_eq!(document["sections"][0]["figures"][0]["value"], 42);
    assert_eq!(document["sections"][1]["histogram"]["bars"][1]["count"], 23);

    // The schema says no where it should.
    for (pointer, value) in [
        ("/as_of", serde_json::json!("yesterday")),
        ("/sections/2/rows/0/hosts", serde_json::json!([1])),
        ("/sections/2/columns/0/kind", serde_json::json!("colour")),
        (
            "/between",
            serde_json::json!({ "from": "2026-01-01T00:00:00Z" }),
        ),
        (
            "/sections/0",
            serde_json::json!({ "id": "x", "title": "", "about": "" }),
        ),
        ("/schema", serde_json::json!(2)),
    ] {
        let mut wrong = document.clone();
        *wrong.pointer_mut(pointer).unwrap() = value;
        schema::check(&wrong).unwrap_err();
    }
}

#[test]
fn html_holds_the_values_and_nothing_else() {
    let html = text(&sample::hostile(), "html");
    let tag = Regex::new("<[^>]*>").unwrap();
    let words = |cell: &str| {
        let text = tag.replace_all(cell, "");
        text.replace("&lt;", "<")
            .replace("&gt;", ">")
            .replace("&quot;", "\"")
            .replace("&#39;", "'")
            .replace("&amp;", "&")
    };
    let table = html.split("<tbody>").nth(1).unwrap();
    let read: Vec<Vec<String>> = captures("(?m)^<tr>(.*)</tr>$", table)
        .iter()
        .map(|row| {
            captures("<t[hd][^>]*>(.*?)</t[hd]>", row)
                .iter()
                .map(|c| words(c))
                .collect()
        })
        .collect();
    assert_eq!(read, sample::expected(true));
    for wanted in [
        "<dd><span>42</span></dd>",
        "<html lang=\"en\">",
        "<caption>Tokens: 14 rows</caption>",
        "under 30 days: 17; 30 to 90 days: 23",
    ] {
        assert!(html.contains(wanted), "{wanted}");
    }
    // Nothing is loaded or run, and nothing but the style's hash is allowed.
    let tags: std::collections::BTreeSet<String> =
        captures("<([a-z0-9]+)", &html).into_iter().collect();
    for tag in ["script", "img", "link", "iframe", "object", "form", "base"] {
        assert!(!tags.contains(tag), "{tag}");
    }
    for attribute in [" href=", " src=", " style=", " on"] {
        for found in captures(&format!("<[^>]*{attribute}([^ >]*)"), &html) {
            assert!(
                attribute == " href=" && found.starts_with("\"#"),
                "{attribute}{found}"
            );
        }
    }
    assert!(!html.contains("url(") && !html.contains("@import"));
    let style = html
        .split("<style>")
        .nth(1)
        .unwrap()
        .split("</style>")
        .next()
        .unwrap();
    let hash = {
        use sha2::Digest as _;
        data_encoding::BASE64.encode(&sha2::Sha256::digest(style))
    };
    assert!(html.contains(&format!("default-src 'none'; style-src 'sha256-{hash}'")));
}

#[test]
fn markdown_holds_the_values_and_no_markup() {
    let markdown = text(&sample::hostile(), "markdown");
    let lines: Vec<&str> = markdown.lines().collect();
    let first = lines
        .iter()
        .position(|l| l.starts_with("| Admin "))
        .unwrap()
        + 2;
    let code = Regex::new("^(`+) ?(.*?) ?`+$").unwrap();
    let words = |cell: &str| {
        let pieces = cell
            .split("&#124;")
            .map(|piece| match code.captures(piece) {
                Some(found) => found[2].to_owned(),
                None => piece.to_owned(),
            });
        pieces.collect::<Vec<_>>().join("|")
    };
    let read: Vec<Vec<String>> = lines[first..]
        .iter()
        .take_while(|l| l.starts_with('|'))
        .map(|l| {
            l.trim_matches('|')
                .split('|')
                .map(|c| words(c.trim()))
                .collect()
        })
        .collect();
    assert_eq!(read, sample::expected(true));
    let pieces = Regex::new("`+[^`]*`+").unwrap();
    for line in &lines {
        let outside = pieces.replace_all(line, "").into_owned();
        assert!(!outside.contains('<') && !outside.contains("://"), "{line}");
    }
    assert!(markdown.contains("| Tokens in force | 42 |"));
}

#[test]
fn text_holds_the_values_in_columns() {
    let written = text(&sample::hostile(), "text");
    let table = written.split("exposed").last().unwrap();
    let gap = Regex::new(" {2,}").unwrap();
    let read: Vec<Vec<String>> = written
        .lines()
        .skip_while(|l| !l.starts_with("Admin "))
        .skip(2)
        .take_while(|l| !l.is_empty())
        .map(|l| gap.split(l).map(str::to_owned).collect())
        .collect();
    assert_eq!(read, sample::expected(true), "{table}");
    assert!(!written.chars().any(|c| c.is_control() && c != '\n'));
    assert!(
        written.contains("Tokens in force               42\n"),
        "{written}"
    );
}

#[test]
fn pdf_holds_the_values() {
    let report = sample::hostile();
    let bytes = written(&report, "pdf");
    let words = squeezed(&pdf_words(&bytes));
    for row in sample::expected(true) {
        // The built-in fonts have neither Hebrew nor pictures.
        let escaped = |c: char| match c {
            'א'..='ת' | '😀' => c.escape_unicode().collect::<String>(),
            c => c.to_string(),
        };
        let row: String = row.concat().chars().map(escaped).collect();
        assert!(words.contains(&squeezed(&row)), "{row}\nin\n{words}");
    }
    for wanted in [
        "Tokensinforce42",
        "17under30days",
        "page1of1",
        "Charactersthatthefonts",
    ] {
        assert!(words.contains(wanted), "{wanted} in {words}");
    }
}

#[test]
fn a_long_table_is_cut_in_pdf_and_says_so() {
    let words = pdf_words(&written(
        &sample::report(Box::new(sample::Many(pdf::MOST_ROWS + 25))),
        "pdf",
    ));
    let all = squeezed(&words);
    assert!(all.contains(
        "Thesearethefirst1000of1025rows;25morearenotshown.AllofthemareinthereportasJSON,andinthefilerotation-tokens.csvofapack."
    ));
    assert!(all.contains("admin999") && !all.contains("admin1000"));
    let heads = words.matches("Admin State Hosts").count();
    let pages = captures("page \\d+ of (\\d+)", &words);
    assert!(
        pages.len() > 10 && pages.iter().all(|p| p.parse() == Ok(pages.len())),
        "{pages:?}"
    );
    assert!(
        heads >= pages.len() - 1,
        "{heads} heads on {} pages",
        pages.len()
    );
}

#[test]
fn a_table_that_nobody_could_open_is_cut_where_people_read_and_says_so() {
    let most = fleetotp::report::format::MOST_ROWS;
    let said = format!(
        "These are the first {most} of {} rows; 25 more are not shown. All of them are in the report as JSON, and in the file rotation-tokens.csv of a pack.",
        most + 25
    );
    let report = |rows| sample::report(Box::new(sample::Many(rows)));
    let (last, next) = (format!("admin{}", most - 1), format!("admin{most}"));
    for format in ["html", "markdown"] {
        let written = text(&report(most + 25), format);
        assert!(written.contains(&said), "{format}");
        assert!(
            written.contains(&last) && !written.contains(&next),
            "{format}"
        );
        assert!(
            !text(&report(most), format).contains("not shown"),
            "{format}"
        );
    }
    for format in ["text", "csv", "json"] {
        let written = text(&report(most + 25), format);
        assert!(written.contains(&format!("admin{}", most + 24)), "{format}");
    }
}

#[test]
fn a_wide_table_lies_across_and_loses_nothing() {
    let bytes = written(&sample::wide(40), "pdf");
    assert!(
        String::from_utf8_lossy(&bytes).contains("/MediaBox[0 0 841."),
        "across"
    );
    let words = squeezed(&pdf_words(&bytes));
    assert_eq!(words.matches('ß').count(), 40 * 120);
    assert_eq!(words.matches("another,").count(), 40 * 3);
    assert_eq!(words.matches(".example.org").count(), 40);
}

#[test]
fn the_same_report_gives_the_same_bytes() {
    for format in FORMATS {
        let name = format.name();
        assert!(
            written(&sample::hostile(), name) == written(&sample::hostile(), name),
            "{name}"
        );
    }
}

/// The most memory that this process ever had, in KiB; a test has a process of its own under nextest.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    captures("VmHWM:\\s*(\\d+) kB", &status)[0].parse().unwrap()
}

#[test]
fn rows_are_written_as_they_come() {
    let report = sample::report(Box::new(sample::Many(100_000)));
    let before = peak();
    for name in ["text", "csv", "json", "html", "markdown"] {
        by_name(name)
            .unwrap()
            .write(&report, &mut std::io::sink())
            .unwrap();
        let grown = peak() - before;
        assert!(
            grown < 16 * 1024,
            "{name}: {grown} KiB more for 100000 rows"
        );
    }
}

/// Writes the samples where `FLEETOTP_REPORT_SAMPLES` says, for tests/browser/run and for a look.
#[test]
fn samples_for_a_look() {
    let Some(dir) = std::env::var_os("FLEETOTP_REPORT_SAMPLES") else {
        return;
    };
    let dir = std::path::Path::new(&dir);
    std::fs::create_dir_all(dir).unwrap();
    for format in FORMATS {
        let path = dir.join(format!("sample.{}", format.extension()));
        std::fs::write(path, written(&sample::hostile(), format.name())).unwrap();
        let path = dir.join(format!("wide.{}", format.extension()));
        std::fs::write(path, written(&sample::wide(40), format.name())).unwrap();
    }
}
