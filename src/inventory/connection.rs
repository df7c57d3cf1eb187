//! How to reach a host: from `ansible_*` variables to a [`Connection`].

use std::path::{Path, PathBuf};
use std::time::Duration;

use indexmap::IndexMap;

use super::LoadOptions;
use super::model::Connection;
use super::python;
use super::sources::REMEDY;
use super::value::{Value, Var};
use crate::names::{Login, printable};
use crate::text::FileError;
use crate::token::secret::Secret;

/// Merged variables of a host.
pub(crate) type Merged<'a> = IndexMap<&'a str, &'a Var>;

/// Variables that Ansible acts on and fleetotp does not: said by `inventory validate`.
pub(crate) const UNUSED: [(&str, &str); 4] = [
    ("ansible_password", "fleetotp logs in by key"),
    ("ansible_ssh_pass", "fleetotp logs in by key"),
    ("ansible_become_flags", "fleetotp calls sudo in its own way"),
    ("ansible_ssh_executable", "fleetotp calls `ssh`"),
];

/// Reads the connection variables. The connection holds what could be read; the error is for when the host is used.
pub(crate) fn resolve(
    vars: &Merged<'_>,
    cwd: &Path,
    options: &LoadOptions<'_>,
) -> (Connection, Option<FileError>) {
    let mut connection = Connection::default();
    let error = Reader { vars, cwd, options }.read(&mut connection).err();
    (connection, error)
}

struct Reader<'a> {
    vars: &'a Merged<'a>,
    cwd: &'a Path,
    options: &'a LoadOptions<'a>,
}

impl<'a> Reader<'a> {
    /// Returns the last of these variables that is set, as Ansible does with aliases; null counts as not set.
    fn get(&self, names: &[&str]) -> Result<Option<&'a Var>, FileError> {
        let Some((name, var)) = names
            .iter()
            .rev()
            .find_map(|n| self.vars.get(n).map(|v| (n, *v)))
        else {
            return Ok(None);
        };
        if let Some(what) = var.value.needs_ansible() {
            return Err(var
                .origin
                .error(format!("`{name}` {what}, which only Ansible can resolve"))
                .hinted(REMEDY));
        }
        Ok((*var.value != Value::Null).then_some(var))
    }

    fn text(&self, names: &[&str]) -> Result<Option<(String, &'a Var)>, FileError> {
        let Some(var) = self.get(names)? else {
            return Ok(None);
        };
        let text = match &*var.value {
            Value::Text(text) | Value::Unsafe(text) => text.clone(),
            Value::Int(i) => i.to_string(),
            _ => return Err(wrong(var, names, "text")),
        };
        Ok((!text.is_empty()).then_some((text, var)))
    }

    fn boolean(&self, names: &[&str]) -> Result<Option<bool>, FileError> {
        let Some(var) = self.get(names)? else {
            return Ok(None);
        };
        let value = match &*var.value {
            Value::Bool(b) => Some(*b),
            Value::Int(0) => Some(false),
            Value::Int(1) => Some(true),
            Value::Text(text) | Value::Unsafe(text) => {
                match text.trim().to_ascii_lowercase().as_str() {
                    "y" | "yes" | "on" | "1" | "true" | "t" => Some(true),
                    "n" | "no" | "off" | "0" | "false" | "f" => Some(false),
                    _ => None,
                }
            }
            _ => None,
        };
        value
            .map(Some)
            .ok_or_else(|| wrong(var, names, "a boolean"))
    }

    fn number(&self, names: &[&str], max: i128) -> Result<Option<u64>, FileError> {
        let Some(var) = self.get(names)? else {
            return Ok(None);
        };
        let value = match &*var.value {
            Value::Int(i) => Some(*i),
            Value::Text(text) | Value::Unsafe(text) => text.trim().parse().ok(),
            _ => None,
        };
        value
            .filter(|i| (1..=max).contains(i))
            .and_then(|i| u64::try_from(i).ok())
            .map(Some)
            .ok_or_else(|| wrong(var, names, &format!("a number from 1 to {max}")))
    }

    fn read(&self, connection: &mut Connection) -> Result<(), FileError> {
        if let Some((kind, var)) = self.text(&["ansible_connection"])? {
            connection.local = match kind.trim_start_matches("ansible.builtin.") {
                "local" => true,
                "ssh" | "smart" => false,
                other => {
                    return Err(var.origin.error(format!(
                        "`ansible_connection: {}` is not supported: only ssh and local",
                        printable(other, 60)
                    )));
                }
            };
        }
        connection.confirm_host = self.argument(&["confirm_host"])?;
        connection.address = self.argument(&["ansible_host", "ansible_ssh_host"])?;
        connection.port = self
            .number(&["ansible_port", "ansible_ssh_port"], 65_535)?
            .and_then(|p| u16::try_from(p).ok());
        if let Some((user, var)) = self.text(&["ansible_user", "ansible_ssh_user"])? {
            Login::new(&user).map_err(|e| var.origin.error(e.to_string()))?;
            connection.user = Some(user);
        }
        connection.private_key_file = self
            .text(&["ansible_private_key_file", "ansible_ssh_private_key_file"])?
            .map(|(path, _)| self.path(&path));
        for name in [
            "ansible_ssh_args",
            "ansible_ssh_common_args",
            "ansible_ssh_extra_args",
        ] {
            if let Some((text, var)) = self.text(&[name])? {
                let words = python::split_words(&text, false)
                    .map_err(|e| var.origin.error(format!("`{name}`: {e}")))?;
                connection.ssh_args.extend(without_multiplexing(words));
            }
        }
        connection.connect_timeout = self
            .number(&["ansible_ssh_timeout"], 86_400)?
            .map(Duration::from_secs);
        connection.host_key_checking =
            self.boolean(&["ansible_host_key_checking", "ansible_ssh_host_key_checking"])?;
        connection.use_sudo = self.boolean(&["ansible_become"])?;
        // What only matters when sudo is used is not wrong while it is not.
        if connection.use_sudo == Some(false) {
            return Ok(());
        }
        if let Some((method, var)) = self.text(&["ansible_become_method"])?
            && method.trim_start_matches("ansible.builtin.") != "sudo"
        {
            return Err(var.origin.error(format!(
                "`ansible_become_method: {}` is not supported: only sudo",
                printable(&method, 60)
            )));
        }
        if let Some((exe, var)) = self.text(&["ansible_become_exe", "ansible_sudo_exe"])?
            && exe != "sudo"
        {
            return Err(var
                .origin
                .error("`ansible_become_exe` is not supported: fleetotp calls `sudo`"));
        }
        if let Some((user, var)) = self.text(&["ansible_become_user", "ansible_sudo_user"])?
            && user != "root"
        {
            connection.become_user = Some(user.clone());
            return Err(var.origin.error(format!(
                "`ansible_become_user: {}` is not supported: changes to PAM need root",
                printable(&user, 60)
            )));
        }
        connection.become_password = self
            .text(&[
                "ansible_become_password",
                "ansible_become_pass",
                "ansible_sudo_pass",
            ])?
            .map(|(text, _)| Secret::new(text));
        Ok(())
    }

    /// A text that becomes an argument of ssh: no option, no white space, no control characters.
    fn argument(&self, names: &[&str]) -> Result<Option<String>, FileError> {
        let Some((text, var)) = self.text(names)? else {
            return Ok(None);
        };
        if text.starts_with('-') || text.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return Err(var.origin.error(format!(
                "`{}` is not an address",
                names.first().copied().unwrap_or_default()
            )));
        }
        Ok(Some(text))
    }

    fn path(&self, text: &str) -> PathBuf {
        match (text.strip_prefix("~/"), self.options.home) {
            (Some(rest), Some(home)) => home.join(rest),
            _ => self.cwd.join(text),
        }
    }
}

fn wrong(var: &Var, names: &[&str], wanted: &str) -> FileError {
    var.origin.error(format!(
        "`{}` needs {wanted}",
        names.first().copied().unwrap_or_default()
    ))
}

/// Drops Ansible's own multiplexing (`-C -o ControlMaster=auto …`): fleetotp keeps one connection in its own way.
fn without_multiplexing(words: Vec<String>) -> Vec<String> {
    let is_control = |option: &str| {
        option
            .trim_start()
            .to_ascii_lowercase()
            .starts_with("control")
    };
    let mut kept = Vec::new();
    let mut words = words.into_iter();
    while let Some(word) = words.next() {
        if word == "-o" {
            match words.next() {
                Some(option) if is_control(&option) => {}
                Some(option) => kept.extend([word, option]),
                None => kept.push(word),
            }
        } else if !word.strip_prefix("-o").is_some_and(is_control) {
            kept.push(word);
        }
    }
    kept
}
