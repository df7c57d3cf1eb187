//! Which tasks a run does: tags as Ansible has them, and the task to start at.

use std::collections::BTreeSet;

use super::{Play, Task};
use crate::inventory::glob::Glob;
use crate::names::printable;
use crate::text::yaml::Node;
use crate::text::{FileError, SourceFile, suggest};

/// A task with it is done whatever `--tags` says, unless it is skipped by name.
const ALWAYS: &str = "always";
/// A task with it is done only where one of its tags is asked for by name.
const NEVER: &str = "never";
/// Words that mean tasks by whether they have tags.
const SPECIAL: [&str; 5] = [ALWAYS, NEVER, "all", "tagged", "untagged"];

/// Reads `tags`: a word, words between commas, or a list.
///
/// # Errors
/// What is none, at its position.
pub(super) fn read(source: &SourceFile, node: &Node) -> Result<BTreeSet<String>, FileError> {
    let words = |node: &Node| {
        let text = node
            .as_text()
            .ok_or_else(|| source.error(node.position, "a tag is a word"))?;
        let words = text.split(',').map(str::trim).filter(|t| !t.is_empty());
        Ok(words.map(str::to_owned).collect::<Vec<_>>())
    };
    let Some(list) = node.as_sequence() else {
        return words(node).map(BTreeSet::from_iter);
    };
    let all: Vec<Vec<String>> = list.iter().map(words).collect::<Result<_, FileError>>()?;
    Ok(all.into_iter().flatten().collect())
}

/// Keeps the tasks that `--tags` and `--skip-tags` choose.
///
/// # Errors
/// A tag that no task has, with the one probably meant.
pub fn choose(plays: &mut [Play], tags: &[String], skip: &[String]) -> Result<(), String> {
    let known: BTreeSet<String> = plays
        .iter()
        .flat_map(|p| p.tasks.iter().flat_map(|t| t.tags.iter().cloned()))
        .collect();
    for tag in tags.iter().chain(skip) {
        if !known.contains(tag) && !SPECIAL.contains(&tag.as_str()) {
            let hint = suggest::hint(tag, known.iter().map(String::as_str))
                .map(|h| format!("; {h}"))
                .unwrap_or_default();
            return Err(format!(
                "no task has the tag `{}`{hint}",
                printable(tag, 60)
            ));
        }
    }
    for play in plays {
        play.tasks.retain(|t| is_chosen(t, tags, skip));
    }
    Ok(())
}

/// Ansible's rules (ansible-core, `playbook/taggable.py`).
fn is_chosen(task: &Task, tags: &[String], skip: &[String]) -> bool {
    let has = |tag: &str| task.tags.contains(tag);
    let tagged = !task.tags.is_empty();
    let asked = |words: &[String], word: &str| words.iter().any(|w| w == word);
    let names = |words: &[String]| words.iter().any(|w| has(w));
    let run = if has(ALWAYS) || names(tags) {
        true
    } else if tags.is_empty() || asked(tags, "all") {
        !has(NEVER)
    } else {
        (asked(tags, "tagged") && tagged && !has(NEVER)) || (asked(tags, "untagged") && !tagged)
    };
    let skipped = if asked(skip, "all") {
        !has(ALWAYS) || asked(skip, ALWAYS)
    } else {
        names(skip) || (asked(skip, "tagged") && tagged) || (asked(skip, "untagged") && !tagged)
    };
    run && !skipped
}

/// Drops the tasks before the first one of that name, which may be a pattern.
///
/// # Errors
/// When no task has the name, with the one probably meant.
pub fn start_at(plays: &mut Vec<Play>, name: &str) -> Result<(), String> {
    let pattern = Glob::new(name);
    let is_it = |task: &Task| task.name == name || pattern.matches(&task.name);
    let Some(first) = plays.iter().position(|p| p.tasks.iter().any(is_it)) else {
        let names = plays
            .iter()
            .flat_map(|p| p.tasks.iter().map(|t| t.name.as_str()));
        let hint = suggest::hint(name, names)
            .map(|h| format!("; {h}"))
            .unwrap_or_default();
        return Err(format!(
            "no task has the name `{}`{hint}",
            printable(name, 80)
        ));
    };
    plays.drain(..first);
    if let Some(play) = plays.first_mut() {
        let before = play.tasks.iter().position(is_it).unwrap_or(0);
        play.tasks.drain(..before);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::playbook::schema::parse;

    const PLAYBOOK: &str = "
- hosts: all
  tasks:
    - {preflight: , name: first}
    - {pam_totp: , name: host, tags: [host, pam]}
    - {enroll: , name: people, tags: 'people, host'}
    - {report: , name: end, tags: always}
    - {revoke: , name: seldom, tags: [never, leavers]}
- hosts: all
  tags: second
  tasks:
    - {preflight: , name: again}
";

    fn plays() -> Vec<Play> {
        parse(&SourceFile::new("p.yml", PLAYBOOK)).unwrap()
    }

    fn chosen(tags: &[&str], skip: &[&str]) -> Vec<String> {
        let owned = |words: &[&str]| words.iter().map(ToString::to_string).collect::<Vec<_>>();
        let mut plays = plays();
        choose(&mut plays, &owned(tags), &owned(skip)).unwrap();
        let tasks = plays.iter().flat_map(|p| &p.tasks);
        tasks.map(|t| t.name.clone()).collect()
    }

    #[test]
    fn tags_choose_as_in_ansible() {
        assert_eq!(
            chosen(&[], &[]),
            ["first", "host", "people", "end", "again"]
        );
        assert_eq!(chosen(&["host"], &[]), ["host", "people", "end"]);
        assert_eq!(chosen(&["pam"], &[]), ["host", "end"]);
        assert_eq!(chosen(&["second"], &[]), ["end", "again"]);
        assert_eq!(chosen(&["tagged"], &[]), ["host", "people", "end", "again"]);
        assert_eq!(chosen(&["untagged"], &[]), ["first", "end"]);
        assert_eq!(chosen(&["leavers"], &[]), ["end", "seldom"]);
        assert_eq!(chosen(&["never"], &[]), ["end", "seldom"]);
        assert_eq!(
            chosen(&["all"], &[]),
            ["first", "host", "people", "end", "again"]
        );
        assert_eq!(chosen(&[], &["host"]), ["first", "end", "again"]);
        assert_eq!(
            chosen(&[], &["always"]),
            ["first", "host", "people", "again"]
        );
        assert_eq!(chosen(&[], &["tagged"]), ["first"]);
        assert_eq!(chosen(&[], &["all"]), ["end"]);
        assert_eq!(chosen(&["host"], &["pam"]), ["people", "end"]);
    }

    #[test]
    fn unknown_tags_and_tasks_are_errors() {
        let error = choose(&mut plays(), &["hots".into()], &[]).unwrap_err();
        assert_eq!(error, "no task has the tag `hots`; did you mean `host`?");
        let error = start_at(&mut plays(), "peopel").unwrap_err();
        assert_eq!(
            error,
            "no task has the name `peopel`; did you mean `people`?"
        );
    }

    #[test]
    fn a_run_starts_at_a_task() {
        let from = |name: &str| {
            let mut plays = plays();
            start_at(&mut plays, name).unwrap();
            let tasks = plays.iter().flat_map(|p| &p.tasks);
            tasks.map(|t| t.name.clone()).collect::<Vec<_>>()
        };
        assert_eq!(from("people"), ["people", "end", "seldom", "again"]);
        assert_eq!(from("ag*"), ["again"]);
    }
}
