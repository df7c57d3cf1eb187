//! The JSON Schemas of what users write: they are what the program prints, and they refuse what the program refuses.
//!
//! `FLEETOTP_UPDATE_DOCS=1` writes docs/schema/{playbook,inventory,project}.schema.json instead of comparing them. What is
//! right and what is wrong stands in `tests/schema/*.yml`, each text judged by both the program and the schema, so that a word
//! that only one of them knows is noticed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use boon::{Compiler, SchemaIndex, Schemas};
use fleetotp::inventory::{Inventory, LoadOptions};
use fleetotp::playbook::schema;
use fleetotp::project::Project;
use fleetotp::text::{SourceFile, yaml};
use serde::Deserialize;
use serde_json::Value;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const KINDS: [&str; 3] = ["playbook", "inventory", "project"];

fn printed(kind: &str) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fleetotp"));
    let output = command.args(["schema", kind]).output().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap()
}

/// A schema as the program prints it, in the hands of a validator of somebody else's.
struct Editor {
    schemas: Schemas,
    root: SchemaIndex,
}

impl Editor {
    fn of(kind: &str) -> Self {
        let (mut schemas, mut compiler) = (Schemas::new(), Compiler::new());
        let schema = serde_json::from_str(&printed(kind)).unwrap();
        compiler.add_resource("schema.json", schema).unwrap();
        let root = compiler
            .compile("schema.json", &mut schemas)
            .unwrap_or_else(|e| panic!("{kind}: {e:#}"));
        Self { schemas, root }
    }

    fn judge(&self, text: &str) -> Result<(), String> {
        let value: Value = yaml::from_source(&SourceFile::new("f.yml", text))
            .unwrap_or_else(|e| panic!("{text}: {e}"));
        let judged = self.schemas.validate(&value, self.root);
        judged.map_err(|e| format!("{e:#}"))
    }
}

/// What the program itself says.
fn program(kind: &str, text: &str) -> Result<(), String> {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("f.yml");
    fs::write(&file, text).unwrap();
    match kind {
        "playbook" => schema::parse(&SourceFile::new("f.yml", text))
            .map(drop)
            .map_err(|e| e.to_string()),
        "inventory" => {
            let options = LoadOptions::default();
            let read = Inventory::load(&["f.yml".to_owned()], dir.path(), &options);
            read.map(drop).map_err(|e| e.report())
        }
        _ => Project::load(Some(&file), dir.path())
            .map(drop)
            .map_err(|e| e.report()),
    }
}

#[test]
fn docs_have_the_schemas_that_the_program_prints() {
    for kind in KINDS {
        let path = Path::new(ROOT).join(format!("docs/schema/{kind}.schema.json"));
        let wanted = printed(kind);
        if std::env::var_os("FLEETOTP_UPDATE_DOCS").is_some() {
            fs::write(&path, &wanted).unwrap();
        }
        let found = fs::read_to_string(&path).unwrap_or_default();
        assert!(
            found == wanted,
            "{} is not what the program prints; run: FLEETOTP_UPDATE_DOCS=1 cargo test schemas::docs_have",
            path.display()
        );
    }
}

/// Texts that both take, that both refuse, and where one of them cannot know better, with the reason.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    /// What stands before each text.
    #[serde(default)]
    before: String,
    /// What stands after it.
    #[serde(default)]
    after: String,
    right: Vec<String>,
    wrong: Vec<String>,
    /// The program refuses it and the schema does not: why not.
    only_the_program_refuses: Vec<Excused>,
    /// The schema refuses it and the program does not: why so.
    only_the_schema_refuses: Vec<Excused>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Excused {
    text: String,
    why: String,
}

#[test]
fn program_and_schema_agree_on_what_is_right() {
    let (mut judged, mut wrong) = (0, Vec::new());
    for kind in KINDS {
        let editor = Editor::of(kind);
        let path = Path::new(ROOT).join(format!("tests/schema/{kind}.yml"));
        let table: Table = serde_yaml::from_str(&fs::read_to_string(path).unwrap()).unwrap();
        let plain = |texts: &[String], program, schema| {
            let texts = texts.iter().cloned();
            texts
                .map(|text| (text, program, schema))
                .collect::<Vec<_>>()
        };
        let excused = |texts: &[Excused], program, schema| {
            assert!(texts.iter().all(|t| !t.why.is_empty()));
            let texts = texts.iter().map(|t| t.text.clone());
            texts
                .map(|text| (text, program, schema))
                .collect::<Vec<_>>()
        };
        let cases = [
            plain(&table.right, true, true),
            plain(&table.wrong, false, false),
            excused(&table.only_the_program_refuses, false, true),
            excused(&table.only_the_schema_refuses, true, false),
        ];
        for (text, by_program, by_schema) in cases.concat() {
            let text = format!("{}{text}{}", table.before, table.after);
            let (ours, theirs) = (program(kind, &text), editor.judge(&text));
            if (ours.is_ok(), theirs.is_ok()) != (by_program, by_schema) {
                wrong.push(format!(
                    "{kind}: {text}\nprogram: {ours:?}\nschema: {theirs:?}"
                ));
            }
            judged += 1;
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    assert!(judged > 120, "only {judged} texts");
}

fn named(dir: &str, ending: &str) -> Vec<PathBuf> {
    let found = fs::read_dir(Path::new(ROOT).join(dir)).unwrap();
    let paths = found.map(|entry| entry.unwrap().path());
    paths
        .filter(|p| p.to_string_lossy().ends_with(ending))
        .collect()
}

#[test]
fn every_file_that_is_shipped_is_right() {
    let [playbooks, inventories, projects] = KINDS.map(Editor::of);
    let read = |path: &Path| fs::read_to_string(path).unwrap();
    let mut books = named("playbooks", ".yml");
    books.push(Path::new(ROOT).join("tests/rollout.yml"));
    assert!(books.len() > 5);
    for path in books {
        let judged = playbooks.judge(&read(&path));
        assert_eq!(judged, Ok(()), "{}", path.display());
    }
    let example = read(&Path::new(ROOT).join("examples/inventory.yml"));
    assert_eq!(inventories.judge(&example), Ok(()));
    // What `init` writes, also with everything in it that is only commented out.
    let dir = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_fleetotp"));
    let output = command.args(["init", "p"]).current_dir(&dir).output();
    assert!(output.unwrap().status.success());
    for (editor, kind, file) in [
        (&projects, "project", "fleetotp.yml"),
        (&inventories, "inventory", "inventory.yml"),
    ] {
        let text = read(&dir.path().join("p").join(file));
        assert_eq!(editor.judge(&text), Ok(()), "{file}");
        let all: Vec<String> = text.lines().map(uncommented).collect();
        let all = all.join("\n").replace("hosts: {}", "hosts:");
        assert!(all.len() < text.len(), "{file}: nothing is commented out");
        assert_eq!(program(kind, &all), Ok(()), "{all}");
        assert_eq!(editor.judge(&all), Ok(()), "{all}");
    }
}

/// A line that begins with `#` and no space is a setting.
fn uncommented(line: &str) -> String {
    let text = line.trim_start();
    let setting = text.strip_prefix('#').filter(|t| !t.starts_with(' '));
    setting.map_or_else(
        || line.to_owned(),
        |setting| format!("{}{setting}", &line[..line.len() - text.len()]),
    )
}

#[test]
fn blocks_of_the_documents_are_right() {
    let [playbooks, inventories, _] = KINDS.map(Editor::of);
    let block = regex::Regex::new(r"(?ms)^```yaml\n(.*?)^```").unwrap();
    let mut judged = 0;
    for path in named("docs", ".md") {
        for found in block.captures_iter(&fs::read_to_string(&path).unwrap()) {
            let text = &found[1];
            let editor = match text {
                t if t.starts_with("- name:") || t.starts_with("- hosts:") => &playbooks,
                t if t.contains("all:") || t.contains("admins:") => &inventories,
                _ => continue,
            };
            assert_eq!(editor.judge(text), Ok(()), "{}", path.display());
            judged += 1;
        }
    }
    assert!(judged >= 3, "only {judged} blocks");
}
