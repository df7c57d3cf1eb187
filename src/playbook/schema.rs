//! Playbooks as users write them.

pub mod tags;
pub mod words;

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;

use crate::inventory::pattern::join;
use crate::names::printable;
use crate::playbook::limits::{Limits, percentage};
use crate::playbook::rotate::Which;
use crate::playbook::serial::{Order, Serial};
use crate::playbook::tasks::{
    CollectTask, PamTotpTask, PreflightTask, ReportTask, SyncTask, VerifyTask,
};
use crate::playbook::when::When;
use crate::text::yaml::{self, Node};
use crate::text::{FileError, SourceFile, schema, suggest};

/// One play.
#[derive(Debug, Clone, JsonSchema)]
#[schemars(transform = words::play)]
pub struct Play {
    /// What the play says it does.
    #[schemars(schema_with = "schema::words")]
    pub name: String,
    /// Host pattern, or a list of them.
    #[schemars(schema_with = "schema::pattern")]
    pub hosts: String,
    /// Admin pattern, or a list of them; everyone where absent.
    #[schemars(schema_with = "schema::pattern")]
    pub admins: Option<String>,
    /// In which batches hosts are worked on: a number of hosts, a percentage of all hosts of the play, or a list of them, of
    /// which the last repeats.
    #[schemars(schema_with = "words::serial")]
    pub serial: Serial,
    /// In which order.
    pub order: Order,
    /// How much may go wrong before no further batch begins.
    #[schemars(flatten)]
    pub limits: Limits,
    /// Variables for `when`; they win over those of the inventory.
    #[schemars(schema_with = "words::variables")]
    pub vars: BTreeMap<String, serde_json::Value>,
    /// Tags that all its tasks have.
    #[schemars(schema_with = "words::tags")]
    pub tags: BTreeSet<String>,
    /// The tasks in order.
    pub tasks: Vec<Task>,
}

/// One task of a play.
#[derive(Debug, Clone, JsonSchema)]
#[schemars(transform = words::task)]
pub struct Task {
    /// What the task says it does; the action where absent.
    #[schemars(schema_with = "schema::words")]
    pub name: String,
    /// What it does.
    #[schemars(skip)]
    pub action: Action,
    /// Tags by which it is chosen, with those of its play.
    #[schemars(schema_with = "words::tags")]
    pub tags: BTreeSet<String>,
    /// On which hosts it is done: an expression over their variables and facts, or a list of them that all have to hold.
    #[schemars(schema_with = "words::when")]
    pub when: When,
}

/// What a task does.
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema)]
#[schemars(rename_all = "snake_case")]
pub enum Action {
    /// Reads every host, says what could go wrong, and refuses what could lock somebody out.
    Preflight(PreflightTask),
    /// Module, PAM block, sshd addition and groups.
    PamTotp(PamTotpTask),
    /// Tokens, sheets, state files and, once confirmed, the demand for a code.
    Enroll,
    /// Tries the login table by a temporary member.
    Verify(VerifyTask),
    /// Begins rotations of the tokens that are meant.
    Rotate(Which),
    /// Finishes what revocations have left open.
    Revoke,
    /// What `fleetotp sync` does: everything that is to be, and confirmations by login.
    Sync(SyncTask),
    /// Reads hosts' logs on, and says what is odd in them.
    Collect(CollectTask),
    /// Prints the state of all tokens, or computes reports.
    Report(Box<ReportTask>),
}

/// What a play can say.
const KEYS: [&str; 11] = [
    "name",
    "hosts",
    "admins",
    "serial",
    "order",
    "max_fail_percentage",
    "max_unreachable",
    "any_errors_fatal",
    "vars",
    "tags",
    "tasks",
];
const ACTIONS: [&str; 9] = [
    "preflight",
    "pam_totp",
    "enroll",
    "verify",
    "rotate",
    "revoke",
    "sync",
    "collect",
    "report",
];

impl Action {
    /// Returns the word in playbooks.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Preflight(_) => "preflight",
            Self::PamTotp(_) => "pam_totp",
            Self::Enroll => "enroll",
            Self::Verify(_) => "verify",
            Self::Rotate(_) => "rotate",
            Self::Revoke => "revoke",
            Self::Sync(_) => "sync",
            Self::Collect(_) => "collect",
            Self::Report(_) => "report",
        }
    }

    /// Reads a task's word and what it is given; `None` for a word of no task.
    fn parse(source: &SourceFile, word: &str, value: &Node) -> Result<Option<Self>, FileError> {
        let plain = value.is_null() || value.as_mapping().is_some_and(|m| m.entries.is_empty());
        let action = match word {
            "rotate" => Self::Rotate(yaml::from_node(source, value)?),
            "verify" if plain => Self::Verify(VerifyTask::default()),
            "verify" => Self::Verify(yaml::from_node(source, value)?),
            "sync" if plain => Self::Sync(SyncTask::default()),
            "sync" => Self::Sync(yaml::from_node(source, value)?),
            "collect" if plain => Self::Collect(CollectTask::default()),
            "collect" => Self::Collect(yaml::from_node(source, value)?),
            "report" if plain => Self::Report(Box::default()),
            "report" => {
                let task: ReportTask = yaml::from_node(source, value)?;
                task.check()
                    .map_err(|why| source.error(value.position, why))?;
                Self::Report(Box::new(task))
            }
            "preflight" if plain => Self::Preflight(PreflightTask::default()),
            "preflight" => Self::Preflight(yaml::from_node(source, value)?),
            "pam_totp" if plain => Self::PamTotp(PamTotpTask::default()),
            "pam_totp" => Self::PamTotp(yaml::from_node(source, value)?),
            "enroll" => Self::Enroll,
            "revoke" => Self::Revoke,
            _ => return Ok(None),
        };
        let bare = matches!(action, Self::Enroll | Self::Revoke);
        if bare && !plain {
            return Err(source.error(value.position, format!("`{word}` takes no parameters")));
        }
        Ok(Some(action))
    }

    /// Whether it brings hosts to something; collecting and reporting change nothing on them.
    pub const fn converges(&self) -> bool {
        matches!(
            self,
            Self::Preflight(_) | Self::PamTotp(_) | Self::Enroll | Self::Revoke | Self::Sync(_)
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
    let mut play = Play {
        name: String::new(),
        hosts: String::new(),
        admins: None,
        serial: Serial::default(),
        order: Order::default(),
        limits: Limits::default(),
        vars: BTreeMap::new(),
        tags: BTreeSet::new(),
        tasks: Vec::new(),
    };
    let (mut hosts, mut name, mut tasks) = (None, None, None);
    for entry in &mapping.entries {
        let (key, value) = (entry.key.scalar.text.as_str(), &entry.value);
        match key {
            word if !KEYS.contains(&word) => {
                return Err(source
                    .error(
                        entry.key.position,
                        format!("a play has no `{}`", printable(word, 40)),
                    )
                    .hinted_if(suggest::hint(word, KEYS)));
            }
            "name" => name = Some(text(source, key, value)?),
            "hosts" => hosts = Some(pattern(source, key, value)?),
            "admins" => play.admins = Some(pattern(source, key, value)?),
            "serial" => play.serial = Serial::read(source, value)?,
            "order" => play.order = Order::read(source, value)?,
            "max_fail_percentage" => {
                play.limits.failed = Some(percentage(source, key, value)?);
            }
            "max_unreachable" => {
                play.limits.unreachable = Some(percentage(source, key, value)?);
            }
            "any_errors_fatal" => play.limits.any_errors_fatal = yaml::from_node(source, value)?,
            "vars" => play.vars = variables(source, value)?,
            "tags" => play.tags = tags::read(source, value)?,
            "tasks" => tasks = Some(value),
            _ => {}
        }
    }
    play.hosts = hosts.ok_or_else(|| source.error(node.position, "the play has no `hosts`"))?;
    play.name = name.unwrap_or_else(|| play.hosts.clone());
    let tasks = tasks
        .and_then(Node::as_sequence)
        .ok_or_else(|| source.error(node.position, "the play has no list of `tasks`"))?;
    for node in tasks {
        let mut task = task(source, node)?;
        task.tags.extend(play.tags.iter().cloned());
        play.tasks.push(task);
    }
    let everyone = Action::Rotate(Which::default());
    if play.admins.is_none() && play.tasks.iter().any(|t| t.action == everyone) {
        return Err(source
            .error(node.position, "`rotate` does not say whose tokens are meant")
            .hinted("give it `due: true`, `older_than` or `exposed: true`, or the play `admins`; `admins: all` is everyone"));
    }
    Ok(play)
}

fn text(source: &SourceFile, key: &str, node: &Node) -> Result<String, FileError> {
    let text = node.as_text().filter(|t| !t.trim().is_empty());
    text.map(str::to_owned).ok_or_else(|| {
        source.error(
            node.position,
            format!("`{key}` is a text, not {}", node.describe()),
        )
    })
}

/// A pattern, or a list of them as Ansible takes it.
fn pattern(source: &SourceFile, key: &str, node: &Node) -> Result<String, FileError> {
    match node.as_sequence() {
        Some([]) => Err(source.error(node.position, format!("`{key}` is an empty list"))),
        Some(list) => {
            let parts = list.iter().map(|n| text(source, key, n));
            Ok(join(&parts.collect::<Result<Vec<_>, _>>()?))
        }
        None => text(source, key, node),
    }
}

fn variables(
    source: &SourceFile,
    node: &Node,
) -> Result<BTreeMap<String, serde_json::Value>, FileError> {
    let Some(mapping) = node.as_mapping() else {
        return Err(source.error(
            node.position,
            format!("`vars` is a mapping, not {}", node.describe()),
        ));
    };
    let connects = |name: &str| name.starts_with("ansible_") || name == "confirm_host";
    let mut entries = mapping.entries.iter();
    if let Some(entry) = entries.find(|e| connects(&e.key.scalar.text)) {
        return Err(source
            .error(
                entry.key.position,
                "variables of a play are for `when`; how to connect stands in the inventory",
            )
            .hinted("put it into the inventory or group_vars"));
    }
    yaml::from_node(source, node)
}

fn task(source: &SourceFile, node: &Node) -> Result<Task, FileError> {
    let Some(mapping) = node.as_mapping() else {
        return Err(source.error(node.position, "a task is a mapping such as `enroll:`"));
    };
    let (mut name, mut action, mut tags) = (None, None, BTreeSet::new());
    let mut when = When::default();
    for entry in &mapping.entries {
        let (key, position, value) = (
            entry.key.scalar.text.as_str(),
            entry.key.position,
            &entry.value,
        );
        match key {
            "name" => name = Some(text(source, key, value)?),
            "tags" => tags = tags::read(source, value)?,
            "when" => when = When::read(source, value)?,
            word if ACTIONS.contains(&word) && action.is_some() => {
                return Err(source.error(position, "a task does one thing: this is the second"));
            }
            word if ACTIONS.contains(&word) => action = Action::parse(source, word, value)?,
            "sheets" => {
                return Err(source
                    .error(position, "there is no task `sheets`")
                    .hinted("`enroll` also renders the sheets"));
            }
            word => {
                return Err(source
                    .error(
                        position,
                        format!("unknown task or key `{}`", printable(word, 40)),
                    )
                    .hinted_if(suggest::hint(
                        word,
                        ACTIONS.iter().copied().chain(["name", "tags", "when"]),
                    )));
            }
        }
    }
    let action = action.ok_or_else(|| {
        source
            .error(node.position, "the task says nothing to do")
            .hinted(format!("tasks are {}", ACTIONS.join(", ")))
    })?;
    let placed = mapping
        .get("when")
        .map_or(node.position, |e| e.key.position);
    if matches!(action, Action::Report(_)) && !when.is_empty() {
        return Err(source.error(
            placed,
            "`report` is done once, not host by host: `when` has no host to ask",
        ));
    }
    let later = matches!(
        action,
        Action::Rotate(_) | Action::Verify(_) | Action::Collect(_)
    );
    if later && when.needs_facts() {
        return Err(source.error(
            placed,
            format!(
                "facts are known to tasks that look at hosts first, not to `{}`",
                action.as_str()
            ),
        ));
    }
    Ok(Task {
        name: name.unwrap_or_else(|| action.as_str().to_owned()),
        action,
        tags,
        when,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Span;

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
            [
                Action::Preflight(PreflightTask::default()),
                Action::PamTotp(PamTotpTask::default()),
                Action::Enroll
            ]
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
                "- hosts: all\n  serial: two\n  tasks: []\n",
                "p.yml:2:11: `serial` is a number",
            ),
            (
                "- hosts: all\n  tasks:\n    - verify: {every: true}\n",
                "p.yml:3:16: ",
            ),
            (
                "- hosts: all\n  tasks:\n    - sync: {new: false}\n",
                "p.yml:3:14: ",
            ),
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
}
