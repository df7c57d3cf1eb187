//! Admins, from YAML and from CSV.

use schemars::JsonSchema;
use serde::Deserialize;

use super::{Declared, DeclaredAdmin, Pattern, Texts, everywhere, key_at, twice, value_at};
use crate::inventory::model::Admin;
use crate::inventory::pattern;
use crate::inventory::value::Origin;
use crate::names::{AdminName, Login, printable};
use crate::text::yaml::{Entry, from_node};
use crate::text::{FileError, Position, SourceFile, suggest};

/// The columns of `admins.csv`, in their usual order; only the first must be there.
const COLUMNS: [&str; 8] = [
    "admin",
    "name",
    "email",
    "groups",
    "hosts",
    "login",
    "language",
    "recipient",
];

/// What is written of an admin.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Raw {
    /// The name as printed on the sheet; the key where absent.
    #[schemars(regex(pattern = r"\S"), length(max = 120))]
    name: Option<String>,
    /// Contact address.
    #[schemars(regex(pattern = r"^\S*@\S*$"), length(max = 120))]
    email: Option<String>,
    /// Groups, for `--admins` and the plays' `admins`.
    #[serde(default)]
    groups: Texts,
    /// Pattern of the hosts on which this admin has an account; all where absent.
    #[serde(default = "everywhere")]
    hosts: Pattern,
    /// The account's name; the key where absent.
    #[schemars(with = "Option<Login>")]
    login: Option<String>,
    /// Earlier names and logins.
    #[serde(default)]
    formerly: Texts,
    /// Language of the sheet, such as `en` or `fr`; `sheets.language` of the project file where absent.
    language: Option<String>,
    /// Public key that the sheet is encrypted to: age, ssh-ed25519, or ssh-rsa from 2048 bits. A plain PDF where absent.
    recipient: Option<String>,
}

/// Where the parts of an admin stand.
struct Places {
    name: Origin,
    display_name: Origin,
    email: Origin,
    groups: Origin,
    login: Origin,
    hosts: Origin,
    language: Origin,
    recipient: Origin,
}

impl Declared {
    pub(super) fn add_admin(&mut self, file: &SourceFile, entry: &Entry) -> Result<(), FileError> {
        let raw: Raw = from_node(file, &entry.value)?;
        let at = |key| value_at(file, entry, key);
        let places = Places {
            name: key_at(file, entry),
            display_name: at("name"),
            email: at("email"),
            groups: at("groups"),
            login: at("login"),
            hosts: at("hosts"),
            language: at("language"),
            recipient: at("recipient"),
        };
        self.insert_admin(&entry.key.scalar.text, raw, places)
    }

    fn insert_admin(&mut self, name: &str, raw: Raw, at: Places) -> Result<(), FileError> {
        let key = AdminName::new(name).map_err(|e| at.name.error(e.to_string()))?;
        let login = match &raw.login {
            Some(login) => Login::new(login).map_err(|e| at.login.error(e.to_string()))?,
            None => Login::new(name).map_err(|e| {
                at.name
                    .error(format!("the admin's name is no login: {e}"))
                    .hinted("say which account is theirs: `login: …`")
            })?,
        };
        for group in &raw.groups.0 {
            AdminName::new(group).map_err(|e| at.groups.error(format!("group: {e}")))?;
        }
        let display_name = raw.name.unwrap_or_else(|| name.to_owned());
        check_line(&display_name, "name", &at.display_name)?;
        if let Some(email) = &raw.email {
            check_line(email, "e-mail address", &at.email)?;
            if !email.contains('@') || email.contains(char::is_whitespace) {
                return Err(at.email.error("this is not an e-mail address"));
            }
        }
        if let Some(language) = &raw.language {
            check_language(language, &at.language)?;
        }
        if let Some(recipient) = &raw.recipient {
            check_recipient(recipient, &at.recipient)?;
        }
        let admin = Admin {
            name: key.clone(),
            display_name,
            email: raw.email,
            groups: raw.groups.0.into_iter().collect(),
            hosts: raw.hosts.0,
            login,
            formerly: raw.formerly.0,
            language: raw.language,
            recipient: raw.recipient,
        };
        if let Some(first) = self.admins.get(&key) {
            return Err(twice("admin", name, &at.name, &first.name_at));
        }
        let declared = DeclaredAdmin {
            admin,
            name_at: at.name,
            login_at: at.login,
            hosts_at: at.hosts,
        };
        self.admins.insert(key, declared);
        Ok(())
    }

    /// Reads `admins.csv`: a header that names the columns, one admin a line, lists split by `;`.
    pub(crate) fn read_csv(&mut self, file: &SourceFile) -> Result<(), FileError> {
        let text = file.text();
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut reader = csv::ReaderBuilder::new()
            .trim(csv::Trim::All)
            .from_reader(text.as_bytes());
        let header = reader.headers().map_err(|e| csv_error(file, &e))?.clone();
        let header_at = |name: &str| cell_at(file, 1, name);
        for (index, column) in header.iter().enumerate() {
            if !COLUMNS.contains(&column) {
                return Err(header_at(column)
                    .error(format!("unknown column `{}`", printable(column, 60)))
                    .hinted(
                        suggest::hint(column, COLUMNS)
                            .unwrap_or_else(|| format!("the columns are {}", COLUMNS.join(","))),
                    ));
            }
            if header.iter().take(index).any(|c| c == column) {
                return Err(header_at(column).error(format!("the column `{column}` stands twice")));
            }
        }
        if !header.iter().any(|c| c == "admin") {
            return Err(file
                .error(Position::new(1, 1), "the column `admin` is missing")
                .hinted(format!("the header is {}", COLUMNS.join(","))));
        }
        let mut count = 0;
        for record in reader.records() {
            let record = record.map_err(|e| csv_error(file, &e))?;
            let line = record
                .position()
                .map_or(1, |p| usize::try_from(p.line()).unwrap_or(usize::MAX));
            let cell = |column: &str| {
                let index = header.iter().position(|c| c == column)?;
                record.get(index).filter(|c| !c.is_empty())
            };
            let at = |column: &str| cell_at(file, line, cell(column).unwrap_or_default());
            let owned = |column: &str| cell(column).map(str::to_owned);
            let list = |column: &str| {
                let items = cell(column).unwrap_or_default().split(';').map(str::trim);
                items
                    .filter(|item| !item.is_empty())
                    .map(str::to_owned)
                    .collect::<Vec<String>>()
            };
            let Some(name) = cell("admin") else {
                return Err(at("admin").error("the admin has no name"));
            };
            let hosts = list("hosts");
            let raw = Raw {
                name: owned("name"),
                email: owned("email"),
                groups: Texts(list("groups")),
                hosts: match hosts.as_slice() {
                    [] => everywhere(),
                    [one] => Pattern(one.clone()),
                    _ => Pattern(pattern::join(&hosts)),
                },
                login: owned("login"),
                formerly: Texts::default(),
                language: owned("language"),
                recipient: owned("recipient"),
            };
            let places = Places {
                name: at("admin"),
                display_name: at("name"),
                email: at("email"),
                groups: at("groups"),
                login: at(if cell("login").is_some() {
                    "login"
                } else {
                    "admin"
                }),
                hosts: at(if cell("hosts").is_some() {
                    "hosts"
                } else {
                    "admin"
                }),
                language: at("language"),
                recipient: at("recipient"),
            };
            self.insert_admin(name, raw, places)?;
            count += 1;
        }
        if count == 0 {
            return Err(file.error_whole("the file names no admin"));
        }
        Ok(())
    }
}

/// The place of a cell in its line; the line's beginning where the text is quoted differently.
fn cell_at(file: &SourceFile, line: usize, cell: &str) -> Origin {
    let text = file
        .text()
        .lines()
        .nth(line.saturating_sub(1))
        .unwrap_or_default();
    let column = text
        .find(cell)
        .and_then(|i| text.get(..i))
        .map_or(1, |before| before.chars().count() + 1);
    Origin {
        file: file.clone(),
        position: Position {
            line,
            column,
            width: cell.chars().count().max(1),
        },
    }
}

fn csv_error(file: &SourceFile, error: &csv::Error) -> FileError {
    let line = error
        .position()
        .map_or(1, |p| usize::try_from(p.line()).unwrap_or(usize::MAX));
    let message = match error.kind() {
        csv::ErrorKind::UnequalLengths {
            expected_len, len, ..
        } => format!("the line has {len} cells, the header {expected_len}"),
        csv::ErrorKind::Utf8 { .. } => "not valid UTF-8".to_owned(),
        _ => "this is not CSV".to_owned(),
    };
    file.error(Position::new(line.max(1), 1), message)
}

/// A text that is printed on a sheet or in a report: one line of a sensible length.
fn check_line(text: &str, what: &str, at: &Origin) -> Result<(), FileError> {
    if text.trim().is_empty() {
        return Err(at.error(format!("the {what} is empty")));
    }
    if text.chars().count() > 120 {
        return Err(at.error(format!("the {what} is longer than 120 characters")));
    }
    if printable(text, usize::MAX) != text {
        return Err(at.error(format!("the {what} contains control characters")));
    }
    Ok(())
}

fn check_language(text: &str, at: &Origin) -> Result<(), FileError> {
    let valid = (2..=35).contains(&text.len())
        && text
            .split('-')
            .all(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric()));
    if valid {
        return Ok(());
    }
    Err(at
        .error(format!("`{}` is not a language", printable(text, 40)))
        .hinted("write a code such as `fr` or `pt-BR`"))
}

fn check_recipient(text: &str, at: &Origin) -> Result<(), FileError> {
    let kind = text.split_whitespace().next().unwrap_or_default();
    if kind.starts_with("age1") || kind == "ssh-ed25519" || kind == "ssh-rsa" {
        return Ok(());
    }
    let error = if kind.starts_with("ecdsa-") || kind.starts_with("sk-") {
        format!(
            "a key of type `{}` cannot be a recipient",
            printable(kind, 60)
        )
    } else {
        "this is not a recipient".to_owned()
    };
    Err(at
        .error(error)
        .hinted("a recipient is an age X25519 (age1…), ssh-ed25519 or ssh-rsa public key"))
}
