//! What `--list-hosts` and `--list-tasks` print: as Ansible does.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::Write;

use super::super::globals::Globals;
use super::super::inventory;
use super::super::setup::Setup;
use super::chosen::hosts_of;
use super::{Book, PlayArgs, write};
use crate::error::Error;
use crate::exit;
use crate::names::HostName;

/// Prints hosts and tasks as Ansible does. `only` are the hosts of a retry.
pub(super) fn list(
    args: &PlayArgs,
    globals: &Globals,
    setup: &Setup,
    (books, only): (&[Book], Option<&BTreeSet<HostName>>),
    out: &mut (dyn Write + Send),
) -> Result<u8, Error> {
    let mut text = String::new();
    for (book, plays) in books {
        // Writing to a string cannot fail.
        _ = writeln!(text, "\nplaybook: {book}");
        for (number, play) in plays.iter().enumerate() {
            let (number, pattern) = (number + 1, &play.hosts);
            _ = writeln!(
                text,
                "\n  play #{number} ({pattern}): {}\tTAGS: [{}]",
                play.name,
                tags(&play.tags)
            );
            if args.list_hosts {
                let hosts = hosts_of(play, setup, globals, only)?;
                _ = writeln!(text, "    pattern: ['{pattern}']");
                for line in inventory::list_hosts(&hosts).lines() {
                    _ = writeln!(text, "  {line}");
                }
            }
            if args.list_tasks {
                text.push_str("    tasks:\n");
                for task in &play.tasks {
                    _ = writeln!(text, "      {}\tTAGS: [{}]", task.name, tags(&task.tags));
                }
            }
        }
    }
    write(out, &text)?;
    Ok(exit::DONE)
}

fn tags(tags: &BTreeSet<String>) -> String {
    let tags: Vec<&str> = tags.iter().map(String::as_str).collect();
    tags.join(", ")
}
