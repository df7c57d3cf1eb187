//! What the tasks of a play want of one host: told by its variables, or once its facts are read.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use minijinja::value::Serde;
use minijinja::{Error, ErrorKind, Value};
use serde_json::Value as Json;

use crate::host::facts::{DeadlineMechanism, Facts};
use crate::inventory::model::Host;
use crate::plan::wish::Parts;
use crate::playbook::schema::{Action, Play};
use crate::playbook::when::{FACTS, When};
use crate::text::FileError;

/// The tasks of a play that look at hosts, by their place in it.
#[derive(Debug, Clone, Default)]
pub struct Conditions {
    tasks: Vec<(usize, Action, When)>,
    vars: Arc<BTreeMap<String, Json>>,
}

/// What is wanted of one host.
#[derive(Debug, Clone, Default)]
pub struct HostConditions {
    /// Parts that are wanted.
    pub parts: Parts,
    /// What is left of those who go is to be ended.
    pub leavers: bool,
    /// What could go wrong is to be told.
    pub preflight: bool,
    /// Tasks that are not done there, by their place in the play.
    pub skipped: BTreeSet<usize>,
    /// A change is proved on this host, whatever was proved on others of its class.
    pub proves_itself: bool,
    /// The host is to be looked at, whatever else.
    looks: bool,
    /// Tasks of which only facts tell.
    pending: Vec<(usize, Action, When)>,
    variables: Variables,
}

/// A host's variables as conditions see them.
#[derive(Debug, Clone, Default)]
struct Variables {
    play: Arc<BTreeMap<String, Json>>,
    host: Arc<BTreeMap<String, Json>>,
}

impl Conditions {
    /// The conditions of a play's tasks.
    pub fn of(play: &Play) -> Self {
        let tasks = (0..).zip(&play.tasks);
        let tasks = tasks.filter(|(_, task)| task.action.converges());
        Self {
            tasks: tasks
                .map(|(n, task)| (n, task.action.clone(), task.when.clone()))
                .collect(),
            vars: Arc::new(play.vars.clone()),
        }
    }

    /// Returns what is wanted of a host, as far as its variables tell.
    ///
    /// # Errors
    /// A condition that cannot be told.
    pub fn on(&self, host: &Host) -> Result<HostConditions, FileError> {
        let mut wanted = HostConditions::default();
        if self.tasks.iter().any(|(_, _, when)| !when.is_empty()) {
            wanted.variables = Variables::of(&self.vars, host);
        }
        for (number, action, when) in &self.tasks {
            if when.needs_facts() {
                wanted.pending.push((*number, action.clone(), when.clone()));
            } else {
                let holds = when.holds(|name| wanted.variables.get(name))?;
                wanted.take(*number, action, holds);
            }
        }
        Ok(wanted)
    }
}

/// Returns whether a condition holds on a host, by its variables.
///
/// # Errors
/// When that cannot be told.
pub fn holds_on(
    when: &When,
    vars: &BTreeMap<String, Json>,
    host: &Host,
) -> Result<bool, FileError> {
    if when.is_empty() {
        return Ok(true);
    }
    let variables = Variables::of(&Arc::new(vars.clone()), host);
    when.holds(|name| variables.get(name))
}

impl HostConditions {
    /// Everything of these parts, unconditionally.
    pub fn always(parts: Parts, leavers: bool) -> Self {
        Self {
            parts,
            leavers,
            looks: true,
            ..Self::default()
        }
    }

    fn take(&mut self, number: usize, action: &Action, holds: bool) {
        if !holds {
            self.skipped.insert(number);
            return;
        }
        self.looks = true;
        match action {
            Action::PamTotp(task) => {
                self.parts.host = true;
                self.proves_itself |= task.every_host;
            }
            Action::Enroll => self.parts.secrets = true,
            Action::Revoke => self.leavers = true,
            Action::Sync(_) => {
                self.parts = Parts {
                    host: true,
                    secrets: true,
                };
                self.leavers = true;
            }
            Action::Preflight(_) => self.preflight = true,
            Action::Verify(_) | Action::Rotate(_) | Action::Collect(_) | Action::Report(_) => {}
        }
    }

    /// Returns whether nothing is to be done there but telling what could go wrong, as far as is known.
    pub fn only_preflight(&self) -> bool {
        self.preflight && self.parts == Parts::default() && !self.leavers && self.pending.is_empty()
    }

    /// Returns whether there is anything to do on the host, or may be.
    pub fn is_wanted(&self) -> bool {
        self.looks || !self.pending.is_empty()
    }

    /// Tells the rest by the host's facts.
    ///
    /// # Errors
    /// A condition that cannot be told.
    pub fn settle(&mut self, facts: &Facts) -> Result<(), FileError> {
        for (number, action, when) in std::mem::take(&mut self.pending) {
            let variables = &self.variables;
            let known = facts_value(facts);
            let holds = when.holds(|name| match name {
                FACTS => Some(known.clone()),
                _ => variables.get(name),
            })?;
            self.take(number, &action, holds);
        }
        Ok(())
    }
}

impl Variables {
    fn of(play: &Arc<BTreeMap<String, Json>>, host: &Host) -> Self {
        let mut vars: BTreeMap<String, Json> = host
            .vars
            .iter()
            .map(|(k, v)| (k.clone(), v.clone()))
            .collect();
        let name = host.name.as_str();
        let short = name.split('.').next().unwrap_or(name);
        let groups: Vec<&String> = host.groups.iter().collect();
        vars.insert("inventory_hostname".to_owned(), name.into());
        vars.insert("inventory_hostname_short".to_owned(), short.into());
        vars.insert(
            "group_names".to_owned(),
            Json::from(groups.into_iter().cloned().collect::<Vec<_>>()),
        );
        Self {
            play: play.clone(),
            host: Arc::new(vars),
        }
    }

    fn get(&self, name: &str) -> Option<Value> {
        let value = self.play.get(name).or_else(|| self.host.get(name))?;
        Some(match needs_ansible(value) {
            Some(why) => Value::from(Error::new(
                ErrorKind::InvalidOperation,
                format!("`{name}` {why}"),
            )),
            None => Value::from(Serde(value)),
        })
    }
}

/// What only Ansible can tell of a value.
fn needs_ansible(value: &Json) -> Option<&'static str> {
    match value {
        Json::String(text) if text.contains("{{") || text.contains("{%") => {
            Some("is a template that only Ansible renders")
        }
        Json::Array(items) => items.iter().find_map(needs_ansible),
        Json::Object(map) if map.contains_key("__ansible_vault") => {
            Some("is encrypted with ansible-vault")
        }
        Json::Object(map) => map.values().find_map(needs_ansible),
        _ => None,
    }
}

/// What conditions can ask of a host: documented in the guide.
fn facts_value(facts: &Facts) -> Value {
    let openssh = format!("{}.{}", facts.version.0, facts.version.1);
    Value::from_pairs([
        ("distribution", Value::from(facts.os.id.as_str())),
        (
            "distribution_version",
            Value::from(facts.os.version.as_str()),
        ),
        (
            "distribution_like",
            facts.os.like.split_whitespace().map(Value::from).collect(),
        ),
        // As a number, so that conditions compare 9.2 with 10.0; OpenSSH has no minor version above 9.
        (
            "openssh",
            Value::from(openssh.parse::<f64>().unwrap_or(0.0)),
        ),
        (
            "package_manager",
            Value::from(facts.package_manager.as_deref()),
        ),
        ("has_module", Value::from(facts.module.is_some())),
        ("selinux", Value::from(facts.selinux)),
        ("prepared", Value::from(facts.witness.is_some())),
        (
            "deadlines",
            Value::from(match facts.deadlines {
                DeadlineMechanism::Systemd => "systemd",
                DeadlineMechanism::Cron => "cron",
                DeadlineMechanism::None => "none",
            }),
        ),
        ("node", Value::from(facts.node.as_str())),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::facts::{Os, SshVersion};
    use crate::inventory::{Inventory, LoadOptions};
    use crate::playbook::schema::parse;
    use crate::text::SourceFile;

    fn inventory(dir: &tempfile::TempDir) -> Inventory {
        let path = dir.path().join("hosts.yml");
        std::fs::write(
            &path,
            "all:\n  vars: {tier: 1}\n  children:\n    db: {hosts: {db1: {role: db, pass: '{{ vault }}'}}}\n    web: {hosts: {web1.example.com: {}}}\n",
        )
        .unwrap();
        Inventory::load(
            &[path.display().to_string()],
            dir.path(),
            &LoadOptions::default(),
        )
        .unwrap()
    }

    fn on(host: &str, playbook: &str) -> Result<HostConditions, FileError> {
        let dir = tempfile::tempdir().unwrap();
        let inventory = inventory(&dir);
        let plays = parse(&SourceFile::new("p.yml", playbook)).unwrap();
        Conditions::of(&plays[0]).on(inventory.host(host).unwrap())
    }

    const PLAYBOOK: &str = "- hosts: all
  vars: {tier: 2}
  tasks:
    - pam_totp:
      when: \"'db' in group_names\"
    - enroll:
      when: [tier == 2, facts.openssh < 10]
    - revoke:
      when: role is defined and role == 'db'
    - report:
";

    #[test]
    fn each_host_gets_what_its_variables_and_facts_say() {
        let mut db = on("db1", PLAYBOOK).unwrap();
        assert!(db.parts.host && db.leavers && !db.parts.secrets && db.is_wanted());
        let mut facts = Facts {
            version: SshVersion(9, 2),
            os: Os {
                id: "debian".to_owned(),
                ..Os::default()
            },
            ..Facts::default()
        };
        db.settle(&facts).unwrap();
        assert!(db.parts.secrets && db.skipped.is_empty());
        let mut web = on("web1.example.com", PLAYBOOK).unwrap();
        assert!(web.is_wanted() && !web.parts.host);
        facts.version = SshVersion(10, 0);
        web.settle(&facts).unwrap();
        assert_eq!(web.skipped, BTreeSet::from([0, 1, 2]));
        assert!(!web.is_wanted());
    }

    #[test]
    fn what_only_ansible_can_tell_is_an_error() {
        let playbook = "- hosts: all\n  tasks:\n    - enroll:\n      when: pass == 'x'\n";
        let error = on("db1", playbook).unwrap_err().to_string();
        assert!(
            error.contains("p.yml:4:13") && error.contains("only Ansible renders"),
            "{error}"
        );
        let error = on("web1.example.com", playbook).unwrap_err();
        assert!(error.to_string().contains("undefined"), "{error}");
    }
}
