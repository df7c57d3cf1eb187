//! The login table: accounts by every way in, tried on all hosts at once and compared as a whole with what is written down.
//!
//! It is text: a line of ways, then a line for each account, first for logins and then for sudo (`sudo`, `sudo-i`). A cell
//! is `in` or `no`, with what the host asked: `:c` for the code, `:p` for the password; `-` is not tried. Ways are tried
//! from left to right, so that a code that was refused without its key is the one that then gets in.

use std::fmt::Write as _;

use super::faults::Site;
use crate::lab::{Code, Host, Key, PASSWORD, Prefs, Totp};

/// Who logs in.
#[derive(Debug, Clone)]
pub(crate) struct Person<'a> {
    pub(crate) login: &'static str,
    pub(crate) key: Key<'a>,
    /// What codes are taken from; six zeros without it.
    pub(crate) totp: Option<Totp>,
}

impl<'a> Person<'a> {
    pub(crate) fn new(login: &'static str, key: Key<'a>) -> Self {
        Self {
            login,
            key,
            totp: None,
        }
    }
}

/// A line of the table: what is tried of whom, and what is to come of it.
struct Row<'t> {
    /// `login`, `sudo` or `sudo-i`.
    kind: &'t str,
    login: &'t str,
    /// Ways and cells.
    cells: Vec<(&'t str, &'t str)>,
}

/// A code, and whether a host has asked for it since.
struct Codes {
    totp: Option<Totp>,
    code: String,
    spent: bool,
}

impl Codes {
    fn new(totp: Option<Totp>) -> Self {
        Self {
            totp,
            code: "000000".to_owned(),
            spent: true,
        }
    }

    /// One that no host has asked for.
    fn fresh(&mut self) -> String {
        if let (true, Some(totp)) = (self.spent, &mut self.totp) {
            self.code = totp.fresh();
            self.spent = false;
        }
        self.code.clone()
    }

    fn wrong(&self) -> String {
        let totp = self.totp.as_ref();
        totp.map_or_else(|| "111111".to_owned(), Totp::wrong)
    }
}

/// Tries a whole table on all hosts, and fails with every cell that is not what it should be. Codes that were given away
/// on any host are given away.
pub(crate) fn assert_table(site: &Site, when: &str, people: &mut [Person<'_>], wanted: &str) {
    let rows = rows(wanted);

    let tried: Vec<(String, Option<Totp>)> = std::thread::scope(|scope| {
        let mut running = Vec::new();
        for host in &site.hosts {
            // Side by side, but each account's ways one after the other: they share its codes.
            for person in &*people {
                let mine: Vec<&Row<'_>> = rows.iter().filter(|r| r.login == person.login).collect();
                assert!(!mine.is_empty(), "no line for {}", person.login);
                running.push(scope.spawn(move || wrong_cells(site, host, person, &mine)));
            }
        }
        let joined = running.into_iter().map(|it| it.join());
        joined.map(|it| it.expect("it does not panic")).collect()
    });
    for (index, (_, used)) in tried.iter().enumerate() {
        let mine = people.len();
        if let (Some(totp), Some(used)) = (&mut people[index % mine].totp, used) {
            totp.heed(used);
        }
    }
    let wrong: String = tried.into_iter().map(|(text, _)| text).collect();
    assert!(
        wrong.is_empty(),
        "{when}, these are not as they should be:\n{wrong}of the table\n{wanted}"
    );
}

fn rows(table: &str) -> Vec<Row<'_>> {
    let mut rows = Vec::new();
    let mut head: Vec<&str> = Vec::new();
    for line in table.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            [] => head.clear(),
            words if head.is_empty() => head = words.to_vec(),
            [login, cells @ ..] => {
                assert_eq!(cells.len() + 1, head.len(), "{line}");
                let kinds: &[&str] = if head[0] == "sudo" {
                    &["sudo", "sudo-i"]
                } else {
                    &["login"]
                };
                rows.extend(kinds.iter().map(|kind| Row {
                    kind,
                    login,
                    cells: head[1..].iter().zip(cells).map(|(w, c)| (*w, *c)).collect(),
                }));
            }
        }
    }
    rows
}

/// Tries one account's lines on one host: what is wrong, one a line, and its codes.
fn wrong_cells(
    site: &Site,
    host: &str,
    person: &Person<'_>,
    rows: &[&Row<'_>],
) -> (String, Option<Totp>) {
    let mut codes = Codes::new(person.totp.clone());
    let mut wrong = String::new();
    for row in rows {
        for (way, wanted) in row.cells.iter().filter(|(_, wanted)| *wanted != "-") {
            let (got, said) = if row.kind == "login" {
                log_in(site, host, person, &mut codes, way)
            } else {
                sudo(site.host(host), row, &mut codes, way)
            };
            codes.spent |= got.contains('c');
            if got != *wanted {
                let (kind, login) = (row.kind, row.login);
                writeln!(
                    wrong,
                    "  {host} {kind} {login} {way}: {got} instead of {wanted} ({said})"
                )
                .expect("a text takes all");
            }
        }
    }
    (wrong, codes.totp)
}

fn log_in(
    site: &Site,
    host: &str,
    person: &Person<'_>,
    codes: &mut Codes,
    way: &str,
) -> (String, String) {
    let code = match way {
        "code" | "code-only" | "key+code" => codes.fresh(),
        "key+wrong" => codes.wrong(),
        _ => codes.code.clone(),
    };
    let typed = Code::Some(&code);
    let (key, code, prefs) = match way {
        "key" => (person.key, Code::No, Prefs::Default),
        "key+code" | "key+replayed" | "key+wrong" => (person.key, typed, Prefs::Default),
        // The key is there, and ssh is told not to use it.
        "code-only" => (person.key, typed, Prefs::CodeOnly),
        "code" => (Key::No, typed, Prefs::Default),
        "password" => (Key::No, Code::Password(PASSWORD), Prefs::Default),
        "nothing" => (Key::No, Code::No, Prefs::Default),
        _ => panic!("no such way: {way}"),
    };
    let result = site.lab.login(host, person.login, key, code, prefs);
    let came_of = match result.accepted {
        true => "in",
        // No answer, or a closed connection, is not a refusal.
        false if result.stderr.contains("Permission denied") => "no",
        false => "??",
    };
    let last = result.stderr.lines().last().unwrap_or_default().to_owned();
    (cell(came_of, &result.questions), last)
}

fn sudo(host: Host<'_>, row: &Row<'_>, codes: &mut Codes, way: &str) -> (String, String) {
    let code = match way {
        "code" | "code+password" => codes.fresh(),
        "wrong+password" => codes.wrong(),
        _ => codes.code.clone(),
    };
    let answers: &[&str] = match way {
        "password" => &[PASSWORD],
        "code" => &[&code],
        "code+password" | "replayed+password" | "wrong+password" => &[&code, PASSWORD],
        "nothing" => &[],
        _ => panic!("no such way: {way}"),
    };
    let option = row.kind.strip_prefix("sudo").unwrap_or_default();
    let (is_root, said) = host.sudo_asking(row.login, option, answers);
    let came_of = if is_root { "in" } else { "no" };
    // It asks without an end of line; what has one is told.
    let parts = said.split_inclusive(": ").filter(|p| p.ends_with(": "));
    let last_lines = parts.filter_map(|part| part.lines().last());
    let questions: Vec<String> = last_lines.map(str::to_owned).collect();
    (cell(came_of, &questions), said.replace('\n', " "))
}

/// What came of a try, with what was asked for; asked again counts once.
fn cell(came_of: &str, questions: &[String]) -> String {
    let asked = questions.iter().filter_map(|question| {
        let is = |text| question.contains(text);
        match (is("erification code"), is("assword")) {
            (true, _) => Some('c'),
            (false, true) => Some('p'),
            (false, false) => None,
        }
    });
    let mut asked: Vec<char> = asked.collect();
    asked.dedup();
    if asked.is_empty() {
        came_of.to_owned()
    } else {
        format!("{came_of}:{}", String::from_iter(asked))
    }
}
