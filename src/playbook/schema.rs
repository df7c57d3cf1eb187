//! Playbooks as users write them.

use std::collections::BTreeSet;

use serde::Deserialize;

use crate::clock::Span;
use crate::playbook::rotate::Which;
use crate::playbook::tasks::{CollectTask, ReportTask};
use crate::text::yaml::{self, Node};
use crate::text::{FileError, SourceFile, suggest};

/// One play.
#[derive(Debug, Clone)]
pub struct Play {
    /// What the play says it does.
    pub name: String,
    /// Host pattern.
    pub hosts: String,
    /// Admin pattern; everyone where absent.
    pub admins: Option<String>,
    /// The tasks in order.
    pub tasks: Vec<Task>,
}

/// One task of a play.
#[derive(Debug, Clone)]
pub struct Task {
    /// What the task says it does; the action where absent.
    pub name: String,
    /// What it does.
    pub action: Action,
    /// Tags by which it is chosen.
    pub tags: BTreeSet<String>,
}

/// What a task does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Reads every host and refuses what could lock somebody out.
    Preflight,
    /// Module, PAM block, sshd addition and groups.
    PamTotp,
    /// Tokens, sheets, state files and, once confirmed, the demand for a code.
    Enroll,
    /// Begins rotations of the tokens that are meant.
    Rotate(Which),
    /// Finishes what revocations have left open.
    Revoke,
    /// Reads hosts' logs on, and says what is odd in them.
    Collect(CollectTask),
    /// Prints the state of all tokens, or computes reports.
    Report(Box<ReportTask>),
}

/// Actions that the contract names and this version does not have yet.
const NOT_BUILT: [&str; 2] = ["verify", "sync"];
/// Play keys that the contract names and this version does not have yet.
const KEYS_NOT_BUILT: [&str; 4] = ["serial", "max_fail_percentage", "any_errors_fatal", "vars"];
const ACTIONS: [&str; 7] = [
    "preflight",
    "pam_totp",
    "enroll",
    "rotate",
    "revoke",
    "collect",
    "report",
];

impl Action {
    /// Returns the word in playbooks.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Preflight => "preflight",
            Self::PamTotp => "pam_totp",
            Self::Enroll => "enroll",
            Self::Rotate(_) => "rotate",
            Self::Revoke => "revoke",
            Self::Collect(_) => "collect",
            Self::Report(_) => "report",
        }
    }

    /// Reads a task's word and what it is given; `None` for a word of no task.
    fn parse(source: &SourceFile, word: &str, value: &Node) -> Result<Option<Self>, FileError> {
        let plain = value.is_null() || value.as_mapping().is_some_and(|m| m.entries.is_empty());
        let action = match word {
            "rotate" => return Ok(Some(Self::Rotate(which(source, value)?))),
            "collect" if plain => Self::Collect(CollectTask::default()),
            "collect" => Self::Collect(yaml::from_node(source, value)?),
            "report" if plain => Self::Report(Box::default()),
            "report" => {
                let task: ReportTask = yaml::from_node(source, value)?;
                task.check()
                    .map_err(|why| source.error(value.position, why))?;
                Self::Report(Box::new(task))
            }
            "preflight" => Self::Preflight,
            "pam_totp" => Self::PamTotp,
            "enroll" => Self::Enroll,
            "revoke" => Self::Revoke,
            _ => return Ok(None),
        };
        let bare = !matches!(action, Self::Collect(_) | Self::Report(_));
        if bare && !plain {
            return Err(source.error(value.position, format!("`{word}` takes no parameters")));
        }
        Ok(Some(action))
    }

    /// Whether it brings hosts to something; collecting and reporting change nothing on them.
    pub const fn converges(&self) -> bool {
        matches!(
            self,
            Self::Preflight | Self::PamTotp | Self::Enroll | Self::Revoke
        )
    }
}

/// Reads a playbook.
///
/// # Errors
/// What is wrong in it, at its position.
pub fn parse(source: &SourceFile) -> Result<Vec<Play>, FileError> {
    let root = yaml::parse(source)?;
    let Some(plays) = root.as_sequence() else {
        return Err(source
            .error(root.position, "a playbook is a list of plays")
            .hinted("begin each play with `- name:`"));
    };
    if plays.is_empty() {
        return Err(source.error_whole("the playbook has no plays"));
    }
    plays.iter().map(|node| play(source, node)).collect()
}

fn play(source: &SourceFile, node: &Node) -> Result<Play, FileError> {
    let Some(mapping) = node.as_mapping() else {
        return Err(source.error(
            node.position,
            "a play is a mapping with `hosts` and `tasks`",
        ));
    };
    for entry in &mapping.entries {
        let (key, position) = (entry.key.scalar.text.as_str(), entry.key.position);
        if KEYS_NOT_BUILT.contains(&key) {
            return Err(source
                .error(position, format!("`{key}` is not built yet"))
                .hinted("leave it out: all hosts are one batch"));
        }
    }
    let raw: RawPlay = yaml::from_node(source, node)?;
    let tasks = mapping
        .get("tasks")
        .and_then(|e| e.value.as_sequence())
        .ok_or_else(|| source.error(node.position, "the play has no list of `tasks`"))?;
    let tasks: Vec<Task> = tasks
        .iter()
        .map(|t| task(source, t))
        .collect::<Result<_, _>>()?;
    let everyone = Action::Rotate(Which::default());
    if raw.admins.is_none() && tasks.iter().any(|t| t.action == everyone) {
        return Err(source
            .error(node.position, "`rotate` does not say whose tokens are meant")
            .hinted("give it `due: true`, `older_than` or `exposed: true`, or the play `admins`; `admins: all` is everyone"));
    }
    Ok(Play {
        name: raw.name.unwrap_or_else(|| raw.hosts.clone()),
        hosts: raw.hosts,
        admins: raw.admins,
        tasks,
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPlay {
    name: Option<String>,
    hosts: String,
    admins: Option<String>,
    #[serde(rename = "tasks")]
    _tasks: serde::de::IgnoredAny,
}

fn task(source: &SourceFile, node: &Node) -> Result<Task, FileError> {
    let Some(mapping) = node.as_mapping() else {
        return Err(source.error(node.position, "a task is a mapping such as `enroll:`"));
    };
    let (mut name, mut action, mut tags) = (None, None, BTreeSet::new());
    for entry in &mapping.entries {
        let (key, position, value) = (
            entry.key.scalar.text.as_str(),
            entry.key.position,
            &entry.value,
        );
        match key {
            "name" => name = value.as_text().map(str::to_owned),
            "tags" => tags = tag_set(source, value)?,
            "when" => return Err(source.error(position, "`when` is not built yet")),
            word if ACTIONS.contains(&word) && action.is_some() => {
                return Err(source.error(position, "a task does one thing: this is the second"));
            }
            word => match Action::parse(source, word, value)? {
                Some(found) => action = Some(found),
                None if NOT_BUILT.contains(&word) => {
                    return Err(
                        source.error(position, format!("the task `{word}` is not built yet"))
                    );
                }
                None if word == "sheets" => {
                    return Err(source
                        .error(position, "there is no task `sheets`")
                        .hinted("`enroll` also renders the sheets"));
                }
                None => {
                    return Err(source
                        .error(position, format!("unknown task or key `{word}`"))
                        .hinted_if(suggest::hint(
                            word,
                            ACTIONS.iter().copied().chain(["name", "tags", "when"]),
                        )));
                }
            },
        }
    }
    let action = action.ok_or_else(|| {
        source
            .error(node.position, "the task says nothing to do")
            .hinted(format!("tasks are {}", ACTIONS.join(", ")))
    })?;
    Ok(Task {
        name: name.unwrap_or_else(|| action.as_str().to_owned()),
        action,
        tags,
    })
}

/// Which tokens `rotate` means; all of the play's admins where it does not say.
fn which(source: &SourceFile, node: &Node) -> Result<Which, FileError> {
    if node.is_null() {
        return Ok(Which::default());
    }
    let raw: RawWhich = yaml::from_node(source, node)?;
    Ok(Which {
        due: raw.due,
        older_than: raw.older_than,
        exposed: raw.exposed,
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
#[derive(Default)]
struct RawWhich {
    due: bool,
    older_than: Option<Span>,
    exposed: bool,
}

/// `tags: a, b` or a list.
fn tag_set(source: &SourceFile, node: &Node) -> Result<BTreeSet<String>, FileError> {
    if let Some(text) = node.as_text() {
        return Ok(text
            .split(',')
            .map(|t| t.trim().to_owned())
            .filter(|t| !t.is_empty())
            .collect());
    }
    let list = node
        .as_sequence()
        .ok_or_else(|| source.error(node.position, "`tags` is a word or a list of words"))?;
    list.iter()
        .map(|n| {
            n.as_text()
                .map(str::to_owned)
                .ok_or_else(|| source.error(n.position, "a tag is a word"))
        })
        .collect()
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
        if !known.contains(tag) {
            let hint = suggest::hint(tag, known.iter().map(String::as_str))
                .map(|h| format!("; {h}"))
                .unwrap_or_default();
            return Err(format!(
                "no task has the tag `{}`{hint}",
                crate::names::printable(tag, 60)
            ));
        }
    }
    for play in plays {
        play.tasks.retain(|t| {
            (tags.is_empty() || tags.iter().any(|tag| t.tags.contains(tag)))
                && !skip.iter().any(|tag| t.tags.contains(tag))
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<Play>, FileError> {
        parse(&SourceFile::new("p.yml", text))
    }

    #[test]
    fn a_playbook_reads() {
        let plays = read("- name: Roll out\n  hosts: all\n  tasks:\n    - preflight:\n    - name: Hosts\n      pam_totp: {}\n      tags: [host]\n    - enroll:\n").unwrap();
        assert_eq!(
            plays[0]
                .tasks
                .iter()
                .map(|t| t.action.clone())
                .collect::<Vec<_>>(),
            [Action::Preflight, Action::PamTotp, Action::Enroll]
        );
        assert_eq!(plays[0].tasks[1].name, "Hosts");
    }

    #[test]
    fn rotate_says_which_tokens_it_means() {
        let plays = read("- hosts: all\n  tasks:\n    - rotate: {due: true, older_than: 90d}\n- hosts: all\n  admins: sre\n  tasks:\n    - rotate:\n").unwrap();
        assert_eq!(
            plays[0].tasks[0].action,
            Action::Rotate(Which {
                due: true,
                older_than: Some(Span::from_days(90)),
                exposed: false,
            })
        );
        assert_eq!(plays[1].tasks[0].action, Action::Rotate(Which::default()));
    }

    #[test]
    fn collect_and_report_take_the_commands_words() {
        let text = "- hosts: all\n  tasks:\n    - collect: {strict: true, unused: 60d}\n    - report:\n    - report: {pack: \"p/{period}\", period: last_month}\n    - report: {kinds: [coverage], out: r, formats: [csv], between: [2026-10-01, 2026-10-31]}\n";
        let plays = read(text).unwrap();
        let tasks = &plays[0].tasks;
        let Action::Collect(collect) = &tasks[0].action else {
            panic!("{tasks:?}");
        };
        assert!(collect.strict && collect.unused == Span::from_days(60) && collect.spike == 5);
        assert_eq!(tasks[1].action, Action::Report(Box::default()));
        let Action::Report(pack) = &tasks[2].action else {
            panic!("{tasks:?}");
        };
        assert!(pack.is_computed() && pack.period.as_deref() == Some("last_month"));
        let Action::Report(files) = &tasks[3].action else {
            panic!("{tasks:?}");
        };
        assert_eq!(files.between.as_ref().map(Vec::len), Some(2));
        for (task, says) in [
            (
                "report: {pack: a, kinds: [coverage]}",
                "p.yml:3:15: `pack` holds all",
            ),
            ("report: {out: a}", "does not say what to compute"),
            (
                "report: {kinds: [coverage], formats: [csv]}",
                "those of files",
            ),
            ("report: {kinds: [covrage]}", "p.yml:3:"),
            (
                "report: {pack: a, as_of: x, period: y}",
                "exclude each other",
            ),
            ("collect: {strikt: true}", "p.yml:3:17: "),
        ] {
            let error = read(&format!("- hosts: all\n  tasks:\n    - {task}\n")).unwrap_err();
            assert!(error.to_string().contains(says), "{task}: {error}");
        }
    }

    #[test]
    fn slips_are_named_at_their_place() {
        for (text, says) in [
            (
                "- hosts: all\n  tasks:\n    - enrol:\n",
                "p.yml:3:7: unknown task or key `enrol`",
            ),
            ("- hosts: all\n  task:\n    - enroll:\n", "p.yml:2:3: "),
            (
                "- hosts: all\n  serial: 2\n  tasks: []\n",
                "p.yml:2:3: `serial` is not built yet",
            ),
            ("- hosts: all\n  tasks:\n    - verify:\n", "not built yet"),
            (
                "- hosts: all\n  tasks:\n    - rotate:\n",
                "p.yml:1:3: `rotate` does not say whose tokens are meant",
            ),
            (
                "- hosts: all\n  tasks:\n    - rotate: {older_than: 90}\n",
                "p.yml:3:28: ",
            ),
            (
                "- hosts: all\n  tasks:\n    - rotate: {dew: true}\n",
                "p.yml:3:16: ",
            ),
            (
                "- hosts: all\n  tasks:\n    - name: x\n",
                "says nothing to do",
            ),
            ("hosts: all\n", "a playbook is a list of plays"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.to_string().contains(says), "{text:?}: {error}");
        }
        assert_eq!(
            read("- hosts: all\n  tasks:\n    - enrol:\n")
                .unwrap_err()
                .hints,
            ["did you mean `enroll`?"]
        );
    }

    #[test]
    fn tags_choose_and_unknown_ones_are_errors() {
        let mut plays = read("- hosts: all\n  tasks:\n    - preflight:\n      tags: a\n    - enroll:\n      tags: b, c\n").unwrap();
        assert!(choose(&mut plays, &["x".into()], &[]).is_err());
        choose(&mut plays, &["b".into()], &[]).unwrap();
        assert_eq!(plays[0].tasks.len(), 1);
    }
}
