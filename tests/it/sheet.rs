//! Sheets as other people's programs see them: poppler, zbar, qpdf, age and OpenSSH's keys are the referees.

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output};
use std::str::FromStr as _;

use fleetotp::clock::{SystemEntropy, Timestamp};
use fleetotp::error::{Error, Kind};
use fleetotp::inventory::model::Algorithm;
use fleetotp::sheet::qr::Modules;
use fleetotp::sheet::store::{self, Extension};
use fleetotp::sheet::{
    Brand, Colour, Fonts, Logo, Recipient, SheetContent, SheetError, Texts, encrypt_to_recipient,
    encrypt_with_passphrase, passphrase, render,
};
use fleetotp::token::secret::Secret;

const KEY: &str = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXQ";
const KEY_IN_GROUPS: &str = "JBSW Y3DP EHPK 3PXP JBSW Y3DP EHPK 3PXQ";

/// Most bytes of a sheet.
pub(crate) const LIMIT: usize = 60_000;

fn uri(issuer: &str, account: &str, key: &str) -> Secret {
    let escape = |text: &str| -> String {
        text.bytes()
            .map(|b| {
                if b.is_ascii_alphanumeric() || b"-._~@".contains(&b) {
                    char::from(b).to_string()
                } else {
                    format!("%{b:02X}")
                }
            })
            .collect()
    };
    let (issuer, account) = (escape(issuer), escape(account));
    Secret::new(format!(
        "otpauth://totp/{issuer}:{account}?secret={key}&issuer={issuer}"
    ))
}

pub(crate) fn content(name: &str) -> SheetContent {
    SheetContent {
        sheet_id: "S-7K2M9QXA".to_owned(),
        name: name.to_owned(),
        login: "alice".to_owned(),
        realm: "production".to_owned(),
        issuer: "Example Corp".to_owned(),
        account: "alice@production".to_owned(),
        key: Secret::from(KEY),
        uri: uri("Example Corp", "alice@production", KEY),
        serial: "T-4QW8ZB2N".to_owned(),
        generation: 3,
        algorithm: Algorithm::Sha1,
        digits: 6,
        period: 30,
        issued: "2026-11-24T03:39:00Z".parse::<Timestamp>().unwrap(),
        expires: "2026-12-01T09:05:00Z".parse::<Timestamp>().unwrap(),
        rotation: false,
        recovery: Vec::new(),
        scratch: Vec::new(),
    }
}

pub(crate) fn brand() -> Brand {
    Brand {
        organisation: "Example Corp".to_owned(),
        contact: Some("IT service desk, +44 20 7946 0123, servicedesk@example.com".to_owned()),
        accent: Brand::DEFAULT_ACCENT,
        logo: None,
    }
}

pub(crate) fn texts(language: &str) -> Texts {
    Texts::load(None, Some(language), "en").unwrap()
}

pub(crate) fn sheet(content: &SheetContent, language: &str) -> Vec<u8> {
    render(
        content,
        &brand(),
        &texts(language),
        &Fonts::builtin().unwrap(),
    )
    .unwrap()
    .to_vec()
}

/// Runs a referee; a missing one fails the test.
pub(crate) fn run(program: &str, arguments: &[&str], directory: &Path) -> Output {
    Command::new(program)
        .args(arguments)
        .current_dir(directory)
        .output()
        .unwrap_or_else(|e| panic!("{program} is needed by this test: {e}"))
}

/// What `pdftotext` reads, with every run of white space as one space.
pub(crate) fn text_of(pdf: &[u8], arguments: &[&str]) -> Result<String, String> {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("sheet.pdf"), pdf).unwrap();
    let all: Vec<&str> = arguments
        .iter()
        .copied()
        .chain(["sheet.pdf", "-"])
        .collect();
    let output = run("pdftotext", &all, dir.path());
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    let text = String::from_utf8(output.stdout).unwrap();
    Ok(text.split_whitespace().collect::<Vec<_>>().join(" "))
}

/// What a scanner reads from the printed page, at a resolution in dots per inch.
pub(crate) fn scanned(pdf: &[u8], dpi: u32) -> String {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("sheet.pdf"), pdf).unwrap();
    let dpi = dpi.to_string();
    let drawn = run(
        "pdftoppm",
        &["-r", &dpi, "-gray", "-singlefile", "sheet.pdf", "page"],
        dir.path(),
    );
    assert!(drawn.status.success(), "{drawn:?}");
    let read = run(
        "zbarimg",
        &["--quiet", "--raw", "--nodbus", "page.pgm"],
        dir.path(),
    );
    assert!(read.status.success(), "zbarimg found no code");
    String::from_utf8(read.stdout)
        .unwrap()
        .trim_end_matches('\n')
        .to_owned()
}

fn assert_clean(pdf: &[u8]) {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("sheet.pdf"), pdf).unwrap();
    let output = run("qpdf", &["--check", "sheet.pdf"], dir.path());
    assert!(output.status.success(), "{output:?}");
    let pages = run("qpdf", &["--show-npages", "sheet.pdf"], dir.path());
    assert_eq!(String::from_utf8_lossy(&pages.stdout).trim(), "1");
}

/// Keeps a sheet for human eyes where the developer asked for it.
pub(crate) fn keep(name: &str, pdf: &[u8]) {
    if let Some(dir) = std::env::var_os("FLEETOTP_TEST_SHEETS") {
        std::fs::write(Path::new(&dir).join(format!("{name}.pdf")), pdf).unwrap();
    }
}

#[test]
fn the_code_and_the_text_are_right_for_names_in_many_scripts() {
    for (number, name) in [
        "Łukasz Żółć",
        "Đặng Hữu Đức",
        "Γιώργος Παπαδόπουλος",
        "Наталія Їжакевич",
        "Gül Şahin-İnönü",
        "Ñandú d’Œuvre",
    ]
    .into_iter()
    .enumerate()
    {
        let language = if number % 2 == 0 { "en" } else { "fr" };
        let mut content = content(name);
        content.account = format!("{name}@production");
        content.uri = uri("Example Corp", &content.account, KEY);
        let pdf = sheet(&content, language);
        keep(&format!("name-{number}-{language}"), &pdf);
        assert_eq!(scanned(&pdf, 150), content.uri.expose(), "{name}");
        assert!(text_of(&pdf, &[]).unwrap().contains(name), "{name}");
        assert!(pdf.len() <= LIMIT, "{} bytes for {name}", pdf.len());
        assert_clean(&pdf);
    }
}

#[test]
fn every_field_is_printed() {
    for (language, dates) in [
        (
            "en",
            [
                "Tuesday 24 November 2026, 03:39 UTC",
                "Tuesday 1 December 2026, 09:05 UTC",
            ],
        ),
        (
            "fr",
            [
                "mardi 24 novembre 2026, 03:39 UTC",
                "mardi 1er décembre 2026, 09:05 UTC",
            ],
        ),
    ] {
        let pdf = sheet(&content("Alice Martin"), language);
        keep(&format!("plain-{language}"), &pdf);
        let text = text_of(&pdf, &[]).unwrap();
        for field in [
            "Alice Martin",
            "alice",
            "production",
            "Example Corp: alice@production",
            KEY_IN_GROUPS,
            "S-7K2M9QXA",
            "T-4QW8ZB2N",
            "2026-11-24T03:39:00Z",
            "2026-12-01T09:05:00Z",
            "servicedesk@example.com",
            "SHA1",
            "fleetotp confirm",
            "ssh -o PreferredAuthentications=keyboard-interactive,publickey alice@",
        ]
        .into_iter()
        .chain(dates)
        {
            assert!(
                text.contains(field),
                "{field} is not in the {language} sheet: {text}"
            );
        }
        assert!(
            !text.contains("{{") && !text.contains("**") && !text.contains('`'),
            "{text}"
        );
        assert!(pdf.len() <= LIMIT, "{} bytes", pdf.len());
    }
}

/// Scanners forgive much, so the drawing itself is compared with the code, module by module.
#[test]
fn the_code_is_drawn_exactly_and_large_enough() {
    let content = content("Alice Martin");
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("sheet.pdf"), sheet(&content, "en")).unwrap();
    let arguments = ["--qdf", "--object-streams=disable", "sheet.pdf", "-"];
    let drawing = run("qpdf", &arguments, dir.path());
    let drawing = String::from_utf8_lossy(&drawing.stdout).into_owned();
    // The code is all that is filled in black between two changes of colour.
    let black = drawing
        .split(" rg\n")
        .zip(drawing.split(" rg\n").skip(1))
        .find(|(before, after)| before.ends_with("\n0 0 0") && after.matches(" re\n").count() > 50)
        .map(|(_, after)| after)
        .unwrap();
    let rectangles: Vec<[f64; 4]> = black
        .lines()
        .filter_map(|line| line.strip_suffix(" re"))
        .map(|line| {
            let numbers: Vec<f64> = line.split(' ').map(|n| n.parse().unwrap()).collect();
            numbers.try_into().unwrap()
        })
        .collect();
    let module = rectangles
        .iter()
        .map(|r| r[2].min(r[3]))
        .fold(f64::MAX, f64::min);
    assert!(module >= 0.5 * 72.0 / 25.4, "modules of {module} points");
    let left = rectangles.iter().map(|r| r[0]).fold(f64::MAX, f64::min);
    let top = rectangles
        .iter()
        .map(|r| r[1] + r[3])
        .fold(f64::MIN, f64::max);
    let modules = Modules::encode(&content.uri, 177).unwrap();
    let mut drawn = vec![false; modules.width * modules.width];
    let whole = |length: f64| -> usize {
        let count = (length / module).round();
        assert!(
            (length - count * module).abs() < 0.05,
            "{length} is no multiple of {module}"
        );
        count as usize
    };
    for [x, y, width, height] in rectangles {
        let (column, row) = (whole(x - left), whole(top - y - height));
        for row in row..row + whole(height) {
            for column in column..column + whole(width) {
                drawn[row * modules.width + column] = true;
            }
        }
    }
    assert_eq!(drawn, modules.dark);
}

#[test]
fn a_rotation_tells_to_keep_the_old_entry() {
    for (language, words) in [
        ("en", "Keep your old entry"),
        ("fr", "Gardez pour l’instant votre ancienne entrée"),
    ] {
        let mut content = content("Alice Martin");
        assert!(
            !text_of(&sheet(&content, language), &[])
                .unwrap()
                .contains(words)
        );
        content.rotation = true;
        let pdf = sheet(&content, language);
        keep(&format!("rotation-{language}"), &pdf);
        assert!(text_of(&pdf, &[]).unwrap().contains(words));
    }
}

#[test]
fn long_values_wrap_and_stay_on_the_page() {
    let mut content = content(&"Wolfeschlegelsteinhausenbergerdorff ".repeat(4));
    content.login = "a-login_of.thirty-two_characters".to_owned();
    content.realm = "r".repeat(64);
    content.issuer =
        "The Honourable and Ancient Company of Very Long Names and Sons, Limited".to_owned();
    content.account = format!("{}@{}", content.login, content.realm);
    content.key = Secret::new("ABCDEFG7".repeat(13));
    content.uri = uri(&content.issuer, &content.account, content.key.expose());
    content.rotation = true;
    let mut brand = brand();
    brand.organisation = content.issuer.repeat(2);
    for language in ["en", "fr"] {
        let fonts = Fonts::builtin().unwrap();
        let pdf = render(&content, &brand, &texts(language), &fonts).unwrap();
        keep(&format!("long-{language}"), &pdf);
        assert_eq!(scanned(&pdf, 150), content.uri.expose());
        assert!(pdf.len() <= LIMIT, "{} bytes", pdf.len());
        assert_ink_is_inside(&pdf);
        // Nothing is cut off: words may be broken over lines, so the text is compared without its spaces.
        let text = text_of(&pdf, &["-raw"]).unwrap().replace(' ', "");
        for value in [
            &content.name,
            &content.login,
            &content.realm,
            &content.account,
        ] {
            assert!(
                text.contains(&value.replace(' ', "")),
                "{value} is cut in {text}"
            );
        }
    }
}

/// Checks that the margins of the page are white.
pub(crate) fn assert_ink_is_inside(pdf: &[u8]) {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("sheet.pdf"), pdf).unwrap();
    let output = run(
        "pdftoppm",
        &["-r", "72", "-gray", "-singlefile", "sheet.pdf", "page"],
        dir.path(),
    );
    assert!(output.status.success());
    let image = std::fs::read(dir.path().join("page.pgm")).unwrap();
    // `P5`, width, height, 255, then one byte a pixel.
    let header: Vec<&[u8]> = image.splitn(4, |b| b.is_ascii_whitespace()).collect();
    let width: usize = std::str::from_utf8(header[1]).unwrap().parse().unwrap();
    let pixels = &header[3][header[3].iter().position(|b| *b == b'\n').unwrap() + 1..];
    for (number, row) in pixels.chunks(width).enumerate() {
        let (left, right) = (&row[..45], &row[width - 45..]);
        assert!(
            left.iter().chain(right).all(|p| *p == 255),
            "ink in the margin, row {number}"
        );
    }
}

#[test]
fn what_cannot_fit_is_an_error() {
    let fonts = Fonts::builtin().unwrap();
    let mut endless = content("Alice");
    endless.name = "Alice ".repeat(2000);
    let error = render(&endless, &brand(), &texts("en"), &fonts)
        .map(|_| ())
        .unwrap_err();
    assert!(matches!(error, SheetError::DoesNotFit), "{error}");
    let mut dense = content("Alice");
    dense.uri = uri("Example Corp", &"x".repeat(3000), KEY);
    let error = render(&dense, &brand(), &texts("en"), &fonts)
        .map(|_| ())
        .unwrap_err();
    assert!(matches!(error, SheetError::UriTooLong { .. }), "{error}");
}

#[test]
fn a_code_that_holds_another_key_is_refused() {
    let fonts = Fonts::builtin().unwrap();
    let mut wrong = content("Alice");
    wrong.key = Secret::from("ABCDEFGHIJKLMNOP");
    let error = render(&wrong, &brand(), &texts("en"), &fonts)
        .map(|_| ())
        .unwrap_err();
    assert!(error.to_string().contains("differ"), "{error}");
    assert!(!error.to_string().contains("ABCD"), "{error}");
    wrong.key = Secret::from("0189");
    assert!(render(&wrong, &brand(), &texts("en"), &fonts).is_err());
}

#[test]
fn the_same_sheet_has_the_same_bytes() {
    let content = content("Łukasz Żółć");
    let first = sheet(&content, "en");
    drop(sheet(&self::content("Someone Else"), "fr"));
    assert!(first == sheet(&content, "en"), "two renderings differ");
}

#[test]
fn a_name_without_glyphs_is_refused_with_its_characters() {
    let fonts = Fonts::builtin().unwrap();
    let error = render(&content("李小龍"), &brand(), &texts("en"), &fonts)
        .map(|_| ())
        .unwrap_err();
    let error: Error = error.into();
    assert_eq!(error.kind(), Kind::File);
    let report = error.report();
    for part in ["U+674E 李", "U+5C0F 小", "U+9F8D 龍", "name", "sheets.font"] {
        assert!(report.contains(part), "{part} is not in {report}");
    }
    for hostile in ["Eve\u{1b}[2J", "Eve\u{202e}evE", "Eve\nAdmin", "محمد"] {
        let error = render(&content(hostile), &brand(), &texts("en"), &fonts)
            .map(|_| ())
            .unwrap_err();
        assert!(
            !Error::from(error).report().contains(['\u{1b}', '\u{202e}']),
            "{hostile:?}"
        );
    }
}

#[test]
fn a_logo_is_drawn_and_fits_the_limit() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("logo.png");
    std::fs::write(&path, drawn_logo(900, 300)).unwrap();
    let mut brand = brand();
    brand.logo = Some(Logo::load(&path).unwrap());
    brand.accent = Colour::accent("#0b6e4f").unwrap();
    let content = content("Zoë Example");
    let pdf = render(&content, &brand, &texts("en"), &Fonts::builtin().unwrap()).unwrap();
    keep("logo", &pdf);
    assert_clean(&pdf);
    assert!(pdf.len() <= LIMIT);
    assert_eq!(scanned(&pdf, 150), content.uri.expose());
    let images = {
        std::fs::write(dir.path().join("sheet.pdf"), &pdf).unwrap();
        run("pdfimages", &["-list", "sheet.pdf"], dir.path())
    };
    assert!(
        String::from_utf8_lossy(&images.stdout).contains("rgb"),
        "{images:?}"
    );
}

/// Draws rings with a transparent ground.
fn drawn_logo(width: u32, height: u32) -> Vec<u8> {
    let mut pixels = Vec::new();
    for y in 0..height {
        for x in 0..width {
            let (dx, dy) = (f64::from(x % 300) - 150.0, f64::from(y % 300) - 150.0);
            let ring = (dx.hypot(dy) / 30.0) as u32;
            pixels.extend(if ring % 2 == 1 && ring < 5 {
                [11, 110, 79, 255]
            } else {
                [0, 0, 0, 0]
            });
        }
    }
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, width, height);
    encoder.set_color(png::ColorType::Rgba);
    encoder.set_depth(png::BitDepth::Eight);
    let mut writer = encoder.write_header().unwrap();
    writer.write_image_data(&pixels).unwrap();
    writer.finish().unwrap();
    bytes
}

#[test]
fn a_passphrase_opens_the_sheet_and_nothing_else_does() {
    let content = content("Łukasz Żółć");
    let plain = sheet(&content, "en");
    let passphrase = passphrase::generate(&SystemEntropy).unwrap();
    let encrypted = encrypt_with_passphrase(&plain, &passphrase, &SystemEntropy).unwrap();
    keep("passphrase", &encrypted);
    // Poppler is the judge: qpdf also passes files that poppler shows as a blank page.
    let opened = text_of(&encrypted, &["-upw", passphrase.expose()]).unwrap();
    assert_eq!(opened, text_of(&plain, &[]).unwrap());
    assert!(opened.contains(KEY_IN_GROUPS));
    for arguments in [&[][..], &["-upw", ""], &["-upw", "wrong"], &["-opw", ""]] {
        let error = text_of(&encrypted, arguments).unwrap_err();
        assert!(error.contains("Incorrect password"), "{error}");
    }
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("sheet.pdf"), &encrypted).unwrap();
    let password = format!("--password={}", passphrase.expose());
    let checked = run("qpdf", &["--check", &password, "sheet.pdf"], dir.path());
    let said = String::from_utf8_lossy(&checked.stdout);
    assert!(
        checked.status.success() && said.contains("R = 6") && said.contains("AESv3"),
        "{checked:?}"
    );
    assert!(encrypted.len() <= LIMIT);
    // Poppler of Debian 12 needs the second only; other readers look at the first.
    let text = String::from_utf8_lossy(&encrypted);
    let dictionary = &text[text
        .find("/Standard")
        .map_or(0, |at| text[..at].rfind("obj").unwrap())..];
    let dictionary = dictionary.split("endobj").next().unwrap();
    assert!(
        dictionary.contains("/Length 256") && dictionary.contains("/Length 32"),
        "{dictionary}"
    );
}

#[test]
fn an_encrypted_sheet_says_nothing_about_its_key() {
    // Keys that use few and quite different letters: a width table of the used glyphs would tell them apart.
    let skeleton = |key: &str| {
        let mut content = content("Alice Martin");
        content.key = Secret::from(key);
        content.uri = uri("Example Corp", "alice@production", key);
        let passphrase = Secret::from("correct horse battery staple");
        let pdf =
            encrypt_with_passphrase(&sheet(&content, "en"), &passphrase, &SystemEntropy).unwrap();
        assert!(find(&pdf, key.as_bytes()).is_none());
        assert!(find(&pdf, b"Alice").is_none());
        font_tables(&pdf)
    };
    let tables = skeleton("AAAABBBBAAAABBBBAAAABBBBAAAABBBB");
    assert!(!tables.is_empty());
    assert_eq!(tables, skeleton("ZYXW7654ZYXW7654ZYXW7654ZYXW7654"));
}

/// The dictionaries of fonts, which encryption leaves readable.
pub(crate) fn font_tables(pdf: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(pdf);
    let is_table = |t: &&str| {
        t.bytes()
            .all(|b| b.is_ascii_digit() || b"/W[]. \n".contains(&b))
    };
    // What is encrypted can hold the same three bytes by chance.
    text.match_indices("/W[")
        .filter_map(|(at, _)| Some(text[at..].split_once("]]")?.0))
        .filter(is_table)
        .map(str::to_owned)
        .collect()
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|w| w == needle)
}

#[test]
fn metadata_holds_no_secret_and_no_name() {
    let pdf = sheet(&content("Alice Martin"), "en");
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("sheet.pdf"), &pdf).unwrap();
    let output = run("pdfinfo", &["sheet.pdf"], dir.path());
    let info = String::from_utf8(output.stdout).unwrap();
    assert!(
        info.contains("Your two-factor sheet S-7K2M9QXA")
            && info.contains("Producer:        fleetotp"),
        "{info}"
    );
    assert!(
        !info.contains(KEY)
            && !info.contains("JBSW")
            && !info.contains("otpauth")
            && !info.contains("Alice")
    );
    assert!(
        info.contains("A4") && !info.contains("1970") && !info.contains("PDF/X"),
        "{info}"
    );
    let fonts = run("pdffonts", &["sheet.pdf"], dir.path());
    let fonts = String::from_utf8(fonts.stdout).unwrap();
    // Embedded, subset, with a map to Unicode: three times yes for each.
    assert_eq!(fonts.matches("yes yes yes").count(), 3, "{fonts}");
}

#[test]
fn age_and_ssh_keys_open_what_was_encrypted_to_them() {
    let pdf = sheet(&content("Łukasz Żółć"), "en");
    let identity = age::x25519::Identity::generate();
    let recipient = Recipient::from_str(&identity.to_public().to_string()).unwrap();
    let encrypted = encrypt_to_recipient(&pdf, &recipient).unwrap();
    assert!(find(&encrypted, KEY.as_bytes()).is_none());
    assert!(decrypt(&encrypted, &identity) == pdf);

    let dir = tempfile::tempdir().unwrap();
    for (kind, bits) in [("ed25519", "256"), ("rsa", "2048")] {
        let arguments = [
            "-q",
            "-t",
            kind,
            "-b",
            bits,
            "-N",
            "",
            "-C",
            "alice@laptop",
            "-f",
            kind,
        ];
        assert!(run("ssh-keygen", &arguments, dir.path()).status.success());
        let public = std::fs::read_to_string(dir.path().join(format!("{kind}.pub"))).unwrap();
        let recipient = Recipient::from_str(&public).unwrap();
        assert!(recipient.is_ssh_key());
        let encrypted = encrypt_to_recipient(&pdf, &recipient).unwrap();
        let private = std::fs::read(dir.path().join(kind)).unwrap();
        let identity = age::ssh::Identity::from_buffer(&private[..], None).unwrap();
        assert!(decrypt(&encrypted, &identity) == pdf, "{kind}");
    }
    assert!(
        run(
            "ssh-keygen",
            &["-q", "-t", "ecdsa", "-N", "", "-f", "ecdsa"],
            dir.path()
        )
        .status
        .success()
    );
    let public = std::fs::read_to_string(dir.path().join("ecdsa.pub")).unwrap();
    let error = Error::from(Recipient::from_str(&public).unwrap_err());
    assert_eq!(error.kind(), Kind::File);
    assert!(
        error.report().contains("ecdsa-sha2-nistp256") && error.report().contains("ssh-ed25519")
    );
}

fn decrypt(encrypted: &[u8], identity: &dyn age::Identity) -> Vec<u8> {
    let decryptor = age::Decryptor::new_buffered(encrypted).unwrap();
    let mut reader = decryptor.decrypt(std::iter::once(identity)).unwrap();
    let mut plain = Vec::new();
    std::io::Read::read_to_end(&mut reader, &mut plain).unwrap();
    plain
}

#[test]
fn files_are_private() {
    let dir = tempfile::tempdir().unwrap();
    let sheets = dir.path().join("sheets");
    for (id, extension) in [("S-1", Extension::Pdf), ("S-2", Extension::PdfAge)] {
        let staged = store::stage(&sheets, id, extension, b"%PDF").unwrap();
        store::publish(&staged).unwrap();
        let mode = staged.final_path.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
    assert_eq!(
        sheets.metadata().unwrap().permissions().mode() & 0o777,
        0o700
    );
}

#[test]
fn a_project_font_covers_what_the_built_in_one_does_not() {
    // A system font stands in for the project's: it has box drawings, which the built-in subset has not.
    let path = Path::new("/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf");
    assert!(
        path.exists(),
        "this test needs the package fonts-dejavu-core"
    );
    let content = content("Alice ♞☂ Martin");
    let builtin = Fonts::load(None).unwrap();
    assert!(render(&content, &brand(), &texts("en"), &builtin).is_err());
    let fonts = Fonts::load(Some(path)).unwrap();
    let pdf = render(&content, &brand(), &texts("en"), &fonts).unwrap();
    keep("project-font", &pdf);
    assert!(text_of(&pdf, &[]).unwrap().contains("Alice ♞☂ Martin"));
    assert_clean(&pdf);
    assert!(pdf.len() <= LIMIT);
    let missing = Error::from(Fonts::load(Some(Path::new("/nonexistent.ttf"))).unwrap_err());
    assert_eq!(missing.kind(), Kind::File);
}

#[test]
fn low_contrast_is_refused() {
    let error = Error::from(Colour::accent("#ffcc00").unwrap_err());
    assert_eq!(error.kind(), Kind::File);
    assert!(
        error.report().contains("4.5:1")
            && error.report().contains("hint: a darker shade such as `#")
    );
}

mod properties {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

        /// The code is right whatever the label and however long.
        #[test]
        fn any_label_can_be_scanned(account in "[A-Za-z0-9.@+_-]{1,90}", key in "[A-Z2-7]{26,64}") {
            let mut content = content("Alice Martin");
            content.uri = uri("Example Corp", &account, &key);
            content.account = account;
            content.key = Secret::new(key);
            prop_assert_eq!(scanned(&sheet(&content, "en"), 150), content.uri.expose());
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

        /// Whatever the names are, there is a sheet or an error that a person can act on: no panic, no box for a letter.
        #[test]
        fn any_name_gives_a_sheet_or_an_error(name in "\\PC{0,80}", issuer in "[A-Za-z .&*`]{1,40}") {
            let mut content = content(&name);
            content.issuer = issuer;
            content.uri = uri(&content.issuer, &content.account, KEY);
            match render(&content, &brand(), &texts("fr"), &Fonts::builtin().unwrap()) {
                Ok(pdf) => prop_assert!(pdf.len() <= LIMIT),
                Err(error) => {
                    prop_assert_ne!(Error::from(error).kind(), Kind::Internal);
                }
            }
        }
    }
}

#[test]
#[ignore = "a measurement, to be run in release: prints sheets per second of one core"]
fn speed() {
    let (fonts, texts, brand) = (Fonts::builtin().unwrap(), texts("en"), brand());
    let names = ["Łukasz Żółć", "Alice Martin", "Γιώργος Παπαδόπουλος"];
    let start = std::time::Instant::now();
    let count = 600;
    for number in 0..count {
        let mut content = content(names[number % names.len()]);
        let letter = char::from(b'A' + u8::try_from(number % 26).unwrap());
        content.key = Secret::new(KEY.replace('J', &letter.to_string()));
        content.uri = uri("Example Corp", "alice@production", content.key.expose());
        render(&content, &brand, &texts, &fonts).unwrap();
    }
    let rate = f64::from(u32::try_from(count).unwrap()) / start.elapsed().as_secs_f64();
    writeln!(std::io::stderr(), "{rate:.0} sheets per second").unwrap();
}
