//! The second page of a sheet, as other people's programs see it.

use fleetotp::clock::SystemEntropy;
use fleetotp::sheet::{Fonts, SheetContent, encrypt_with_passphrase, render};
use fleetotp::token::recovery;
use fleetotp::token::secret::Secret;

use crate::sheet::{
    LIMIT, assert_ink_is_inside, brand, content, font_tables, keep, run, scanned, sheet, text_of,
};

fn with_codes(recovery_codes: usize, scratch: usize) -> SheetContent {
    SheetContent {
        recovery: (0..recovery_codes)
            .map(|_| recovery::generate(&SystemEntropy).unwrap())
            .collect(),
        scratch: (0..scratch)
            .map(|_| recovery::scratch(&SystemEntropy).unwrap())
            .collect(),
        ..content("Zoë Łukasiewicz")
    }
}

fn pages(pdf: &[u8]) -> String {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("sheet.pdf"), pdf).unwrap();
    let checked = run("qpdf", &["--check", "sheet.pdf"], dir.path());
    assert!(checked.status.success(), "{checked:?}");
    let pages = run("qpdf", &["--show-npages", "sheet.pdf"], dir.path());
    String::from_utf8_lossy(&pages.stdout).trim().to_owned()
}

#[test]
fn every_code_is_printed_on_the_second_page_and_only_there() {
    for (language, first, second) in [
        ("en", "Page 1 of 2", "Page 2 of 2"),
        ("fr", "Page 1 sur 2", "Page 2 sur 2"),
    ] {
        let content = with_codes(20, 10);
        let pdf = sheet(&content, language);
        keep(&format!("codes-{language}"), &pdf);
        assert!(pdf.len() <= LIMIT, "{} bytes", pdf.len());
        assert_eq!(pages(&pdf), "2");
        assert_ink_is_inside(&pdf);
        assert_eq!(scanned(&pdf, 150), content.uri.expose());
        let one = text_of(&pdf, &["-f", "1", "-l", "1"]).unwrap();
        let two = text_of(&pdf, &["-f", "2", "-l", "2"]).unwrap();
        assert!(one.contains(first) && two.contains(second), "{one}\n{two}");
        assert!(two.contains(&content.sheet_id) && two.contains("Zoë Łukasiewicz"));
        for code in content.recovery.iter().chain(&content.scratch) {
            assert!(two.contains(code.expose()) && !one.contains(code.expose()));
        }
        assert!(!two.contains("JBSW"), "the key is on the first page only");
    }
}

#[test]
fn a_sheet_says_only_what_it_has() {
    let text = |content: &SheetContent| text_of(&sheet(content, "en"), &[]).unwrap();
    let (recovery, scratch, none) = (
        text(&with_codes(1, 0)),
        text(&with_codes(0, 1)),
        text(&with_codes(0, 0)),
    );
    assert!(recovery.contains("Recovery codes") && !recovery.contains("Scratch codes"));
    assert!(scratch.contains("Scratch codes") && !scratch.contains("Recovery codes"));
    assert!(scratch.contains("They are weak"));
    assert!(recovery.contains("Destroy this page") && recovery.contains("second page"));
    assert!(none.contains("Destroy this sheet") && none.contains("Page 1 of 1"));
    assert_eq!(pages(&sheet(&with_codes(0, 0), "en")), "1");
}

#[test]
fn a_passphrase_protects_the_second_page_too_and_fonts_tell_nothing() {
    let phrase = Secret::from("correct horse battery");
    let mut tables = Vec::new();
    for _ in 0..2 {
        let content = with_codes(5, 2);
        let pdf = sheet(&content, "en");
        let sealed = encrypt_with_passphrase(&pdf, &phrase, &SystemEntropy).unwrap();
        assert!(text_of(&sealed, &[]).is_err());
        let opened = text_of(&sealed, &["-upw", phrase.expose()]).unwrap();
        for code in content.recovery.iter().chain(&content.scratch) {
            assert!(opened.contains(code.expose()));
            assert!(
                !sealed
                    .windows(code.expose().len())
                    .any(|w| w == code.expose().as_bytes())
            );
        }
        tables.push(font_tables(&pdf));
    }
    assert_eq!(tables[0], tables[1], "the same whatever the codes are");
}

#[test]
fn a_project_can_word_the_second_page_and_mistakes_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("en.yml");
    std::fs::write(&file, "recovery: ['Ring {{ contact }}.']\n").unwrap();
    let own = fleetotp::sheet::Texts::load(Some(dir.path()), Some("en"), "en").unwrap();
    let pdf = render(
        &with_codes(1, 0),
        &brand(),
        &own,
        &Fonts::builtin().unwrap(),
    )
    .unwrap();
    let text = text_of(&pdf, &["-f", "2"]).unwrap();
    assert!(text.contains("Ring IT service desk") && !text.contains("a new sheet with new codes"));
    std::fs::write(&file, "recovery: ['{{ code }}']\n").unwrap();
    let error = fleetotp::sheet::Texts::load(Some(dir.path()), Some("en"), "en").unwrap_err();
    assert!(
        error.to_string().contains("unknown placeholder `code`"),
        "{error}"
    );
}
