//! The documents say what the program does: links lead somewhere, commands exist, examples are read, nothing is missing.
//!
//! `FLEETOTP_UPDATE_DOCS=1` writes what is generated (docs/reference.md) instead of comparing it.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::{Arg, ArgAction, CommandFactory as _};
use fleetotp::cli::app::Cli;
use regex::Regex;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

fn read(path: impl AsRef<Path>) -> String {
    let path = Path::new(ROOT).join(path);
    fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// Every file below `dir` whose name ends so, relative to the project.
fn files(dir: &str, ending: &str) -> Vec<PathBuf> {
    let (mut found, mut left) = (Vec::new(), vec![Path::new(ROOT).join(dir)]);
    while let Some(dir) = left.pop() {
        for entry in fs::read_dir(&dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display())) {
            let path = entry.unwrap().path();
            if path.is_dir() {
                left.push(path);
            } else if path.to_string_lossy().ends_with(ending) {
                found.push(path.strip_prefix(ROOT).unwrap().to_owned());
            }
        }
    }
    found.sort();
    found
}

fn documents() -> Vec<PathBuf> {
    let mut all = files("docs", ".md");
    all.extend(["README.md", "CHANGELOG.md"].map(PathBuf::from));
    all
}

fn regex(text: &str) -> Regex {
    Regex::new(text).unwrap()
}

/// The command line as clap has it, with everything that its parts inherit.
fn program() -> clap::Command {
    let mut program = Cli::command();
    program.build();
    program
}

// ---------------------------------------------------------------- reference

#[test]
fn the_reference_is_what_the_program_says() {
    let wanted = reference();
    if std::env::var_os("FLEETOTP_UPDATE_DOCS").is_some() {
        fs::write(Path::new(ROOT).join("docs/reference.md"), &wanted).unwrap();
    }
    assert_eq!(
        read("docs/reference.md"),
        wanted,
        "run: FLEETOTP_UPDATE_DOCS=1 cargo test docs::the_reference"
    );
}

fn reference() -> String {
    let program = program();
    let mut text = String::from(
        "# Reference\n\n\
         <!-- Made from the program's own definitions by tests/it/docs.rs; edits here are lost. -->\n\n\
         Results go to standard output, progress and messages to standard error. Every flag can be set by its environment\n\
         variable; a flag wins over it. [Exit codes](exit-codes.md), [inventory](inventory.md) and [findings](findings.md) have\n\
         pages of their own. The same as manual pages: `fleetotp man DIR`; for a shell: `fleetotp completions SHELL`.\n",
    );
    text.push_str("\n## Flags of every command\n");
    arguments(&mut text, &program, true);
    for command in program.get_subcommands().filter(|c| c.get_name() != "help") {
        section(
            &mut text,
            command,
            &format!("fleetotp {}", command.get_name()),
        );
    }
    text
}

fn section(text: &mut String, command: &clap::Command, name: &str) {
    _ = writeln!(text, "\n## {name}\n");
    _ = writeln!(text, "{}.", sentence(command.get_about()));
    let usage = command.clone().render_usage().to_string();
    _ = writeln!(text, "\n    {}", usage.trim_start_matches("Usage: "));
    arguments(text, command, false);
    for below in command.get_subcommands().filter(|c| c.get_name() != "help") {
        section(text, below, &format!("{name} {}", below.get_name()));
    }
}

fn sentence(text: Option<&clap::builder::StyledStr>) -> String {
    text.map_or_else(String::new, |t| {
        t.to_string().trim_end_matches('.').replace('|', "\\|")
    })
}

/// Tables of a command's own arguments, or of those that every command has.
fn arguments(text: &mut String, command: &clap::Command, global: bool) {
    let shown: Vec<&Arg> = command
        .get_arguments()
        .filter(|a| !a.is_hide_set() && a.is_global_set() == global)
        .filter(|a| !matches!(a.get_id().as_str(), "help" | "version"))
        .collect();
    if shown.is_empty() {
        return;
    }
    text.push_str("\n| argument | meaning | environment |\n|---|---|---|\n");
    for arg in shown {
        let variable = arg
            .get_env()
            .map_or_else(String::new, |v| format!("`{}`", v.to_string_lossy()));
        _ = writeln!(
            text,
            "| `{}` | {} | {variable} |",
            form(arg).replace('|', "\\|"),
            meaning(arg)
        );
    }
}

/// `-l, --limit PATTERN`, or `PLAYBOOK…`.
fn form(arg: &Arg) -> String {
    let takes_value = matches!(arg.get_action(), ArgAction::Set | ArgAction::Append);
    let value = arg
        .get_value_names()
        .filter(|_| takes_value)
        .map_or_else(String::new, |names| names.join(" "));
    if arg.is_positional() {
        let many = if arg.get_num_args().is_some_and(|n| n.max_values() > 1) {
            "…"
        } else {
            ""
        };
        return format!("{value}{many}");
    }
    let flags: Vec<String> = arg
        .get_short()
        .map(|s| format!("-{s}"))
        .into_iter()
        .chain(arg.get_long().map(|l| format!("--{l}")))
        .collect();
    format!("{} {value}", flags.join(", "))
        .trim_end()
        .to_owned()
}

fn meaning(arg: &Arg) -> String {
    let mut text = sentence(arg.get_help());
    let values: Vec<String> = arg
        .get_possible_values()
        .iter()
        .map(|v| match v.get_help() {
            Some(help) => format!("`{}` ({})", v.get_name(), decapitalise(&help.to_string())),
            None => format!("`{}`", v.get_name()),
        })
        .collect();
    if !values.is_empty() && matches!(arg.get_action(), ArgAction::Set | ArgAction::Append) {
        _ = write!(text, ": {}", values.join(", "));
    }
    let defaults: Vec<_> = arg
        .get_default_values()
        .iter()
        .map(|v| format!("`{}`", v.to_string_lossy()))
        .collect();
    if !defaults.is_empty() && !matches!(arg.get_action(), ArgAction::SetTrue | ArgAction::Count) {
        _ = write!(text, "; default {}", defaults.join(", "));
    }
    text
}

fn decapitalise(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| {
        first.to_lowercase().chain(letters).collect()
    })
}

// ---------------------------------------------------------------- findings

#[test]
fn every_finding_and_gap_is_explained() {
    let made = [
        // Finding::refusal("id", …), gap("id", …), note(report, "id", …), Place::Gap("id", …)
        regex(
            r#"(?:\b(?:refusal|refuse|warning|note|gap|finding)|Place::Gap)\(\s*(?:&?\w+,\s*)?"([a-z]+(?:-[a-z]+)*)""#,
        ),
        // Gap { id: "id" }
        regex(r#"\bid: "([a-z]+(?:-[a-z]+)*)""#),
        // Those that the program itself goes by.
        regex(
            r#"pub const (?:KEYS_UNKNOWN|NEEDS_KEY|KEY_LOST|UNKNOWN_MEMBERS|ACCOUNTS_UNREAD): &str = "([a-z-]+)""#,
        ),
    ];
    let mut in_code = BTreeSet::new();
    for path in files("src/plan", ".rs")
        .into_iter()
        .chain(files("src/playbook", ".rs"))
    {
        let text = read(&path);
        let text = text.split("#[cfg(test)]\nmod tests").next().unwrap();
        for regex in &made {
            in_code.extend(regex.captures_iter(text).map(|c| c[1].to_owned()));
        }
    }
    // add(found, "id", …)
    in_code.extend(
        regex(r#"\badd\(\s*found,\s*"([a-z-]+)""#)
            .captures_iter(&read("src/cli/doctor/checks.rs"))
            .map(|c| c[1].to_owned()),
    );
    // known.about("id", …), known.finding("id", …)
    in_code.extend(
        regex(r#"\.(?:about|finding)\(\s*"([a-z-]+)""#)
            .captures_iter(
                &[
                    "src/activity/findings.rs",
                    "src/activity/findings/origins.rs",
                ]
                .map(read)
                .concat(),
            )
            .map(|c| c[1].to_owned()),
    );
    // fail word "…", why=word; a failed command is called by what it was for.
    in_code.extend(
        regex(r#"\bfail ([a-z-]+) "|\bwhy=([a-z-]+)"#)
            .captures_iter(&read("src/host/sh/program.sh"))
            .map(|c| c.get(1).or_else(|| c.get(2)).unwrap().as_str().to_owned()),
    );
    in_code.extend(
        regex(r#"line\(&\["run", "([a-z-]+)""#)
            .captures_iter(&read("src/plan/change.rs"))
            .map(|c| c[1].to_owned()),
    );
    let in_docs: BTreeSet<String> = regex(r"(?m)^\| `([a-z-]+)` \|")
        .captures_iter(&read("docs/findings.md"))
        .map(|c| c[1].to_owned())
        .collect();
    let row = regex(r"(?m)^\| `[a-z-]+` \|[^|]*\w[^|]*\|[^|]*\w");
    let explained = row.find_iter(&read("docs/findings.md")).count();
    assert_eq!(
        explained,
        in_docs.len(),
        "a finding without a sentence or a remedy"
    );
    assert!(in_code.len() > 30, "the sources are not read: {in_code:?}");
    assert_eq!(
        in_code.difference(&in_docs).collect::<Vec<_>>(),
        Vec::<&String>::new(),
        "not in docs/findings.md"
    );
    assert_eq!(
        in_docs.difference(&in_code).collect::<Vec<_>>(),
        Vec::<&String>::new(),
        "in docs/findings.md, but the program never says it"
    );
}

// ---------------------------------------------------------------- links, commands, examples

/// Anchors of a document's headings, as forges make them.
fn anchors(text: &str) -> BTreeSet<String> {
    text.lines()
        .filter_map(|l| l.strip_prefix('#'))
        .map(|l| {
            l.trim_start_matches('#')
                .trim()
                .to_lowercase()
                .chars()
                .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'))
                .map(|c| if c == ' ' { '-' } else { c })
                .collect()
        })
        .collect()
}

#[test]
fn links_lead_somewhere() {
    let link = regex(r"\]\(([^)\s]+)\)");
    let mut checked = 0;
    for path in documents() {
        let text = read(&path);
        for found in link.captures_iter(&text) {
            let target = &found[1];
            if target.starts_with("https://") {
                continue;
            }
            let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
            let there = match file {
                "" => path.clone(),
                file => path.parent().unwrap().join(file),
            };
            let shown = path.display();
            assert!(
                Path::new(ROOT).join(&there).exists(),
                "{shown}: there is no {target}"
            );
            if !anchor.is_empty() {
                assert!(
                    anchors(&read(&there)).contains(anchor),
                    "{shown}: {file} has no heading for #{anchor}"
                );
            }
            checked += 1;
        }
    }
    assert!(checked > 15, "only {checked} links were found");
}

/// Names of documents in code spans, such as `docs/design/lab.md`.
#[test]
fn files_that_are_named_exist() {
    let name = regex(r"`((?:docs|tests|examples|playbooks|templates|src)/[A-Za-z0-9_./-]+)`");
    for path in documents() {
        for found in name.captures_iter(&read(&path)) {
            // Capital letters stand for a name of the reader's own.
            if found[1].contains("LANGUAGE") {
                continue;
            }
            let there = Path::new(ROOT).join(&found[1]);
            assert!(
                there.exists(),
                "{}: there is no {}",
                path.display(),
                &found[1]
            );
        }
    }
}

#[test]
fn commands_that_are_named_exist() {
    let program = program();
    let lines = regex(r"(?m)^(?:    )?\$ (fleetotp [^\n]*)$|`(fleetotp [^`\n]*)`");
    let mut checked = 0;
    let texts = documents().into_iter().chain([
        PathBuf::from("examples/demo.sh"),
        PathBuf::from("templates/project/fleetotp.yml"),
        PathBuf::from("templates/sheet/en.yml"),
        PathBuf::from("templates/sheet/fr.yml"),
    ]);
    for path in texts {
        for found in lines.captures_iter(&read(&path)) {
            let line = found.get(1).or_else(|| found.get(2)).unwrap().as_str();
            check_command(&program, line)
                .unwrap_or_else(|e| panic!("{}: {line}: {e}", path.display()));
            checked += 1;
        }
    }
    assert!(checked > 20, "only {checked} commands were found");
}

/// Walks down the subcommands and looks every flag up; values and what follows a comment or a pipe do not matter.
fn check_command(program: &clap::Command, line: &str) -> Result<(), String> {
    let mut command = program;
    let words = line.split(" #").next().unwrap_or(line);
    let words = words.split(['|', '<', '>', ';']).next().unwrap_or(words);
    for (index, word) in words.split_whitespace().skip(1).enumerate() {
        if let Some(flag) = word.strip_prefix("--") {
            let name = flag.split('=').next().unwrap_or(flag);
            let known = command.get_arguments().any(|a| a.get_long() == Some(name));
            if !known {
                return Err(format!("there is no flag --{name}"));
            }
        } else if let Some(letters) = word.strip_prefix('-') {
            for letter in letters.chars() {
                if !command
                    .get_arguments()
                    .any(|a| a.get_short() == Some(letter))
                {
                    return Err(format!("there is no flag -{letter}"));
                }
            }
        } else if let Some(below) = command.find_subcommand(word) {
            command = below;
        } else if index == 0 {
            return Err(format!("there is no command `{word}`"));
        }
    }
    Ok(())
}

#[test]
fn playbooks_and_examples_are_read() {
    use fleetotp::playbook::schema;
    use fleetotp::text::SourceFile;
    for path in files("playbooks", ".yml") {
        let source = SourceFile::new(path.display().to_string(), read(&path));
        let plays = schema::parse(&source).unwrap_or_else(|e| panic!("{e}"));
        assert!(!plays.is_empty());
    }
    validate(&["examples/inventory.yml"]);
    validate(&["examples/inventory.yml", "examples/admins.csv"]);
    let dir = tempfile::tempdir().unwrap();
    let block = regex(r"(?ms)^```(yaml|ini|csv)\n(.*?)^```");
    let mut checked = 0;
    for path in documents() {
        for (index, found) in block.captures_iter(&read(&path)).enumerate() {
            let (kind, text) = (&found[1], &found[2]);
            if text.starts_with("- name:") {
                schema::parse(&SourceFile::new(path.display().to_string(), text))
                    .unwrap_or_else(|e| panic!("{e}"));
            } else if kind != "yaml" || text.contains("all:") || text.contains("admins:") {
                let ending = if kind == "yaml" { "yml" } else { kind };
                let file = dir.path().join(format!("{index}.{ending}"));
                fs::write(&file, text).unwrap();
                validate(&[file.to_str().unwrap()]);
            }
            checked += 1;
        }
    }
    assert!(checked >= 2, "only {checked} blocks were found");
}

fn validate(sources: &[&str]) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fleetotp"));
    command.current_dir(ROOT).args(["inventory", "validate"]);
    for source in sources {
        command.args(["-i", source]);
    }
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{sources:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}
