//! `-i 'web1,web2,'`: hosts on the command line.

use super::{Sink, at};
use crate::inventory::address;
use crate::inventory::data::UNGROUPED;
use crate::text::{FileError, Position, SourceFile};

/// Reads a comma list. Ranges are not expanded, as in Ansible, where they would become names no host has.
pub(super) fn read(source: &str, sink: &mut Sink) -> Result<(), FileError> {
    let file = SourceFile::new("the host list", source);
    let mut column = 1;
    let mut empty = true;
    for item in source.split(',') {
        let name = item.trim();
        let origin = at(
            &file,
            Position {
                line: 1,
                column: column + item.chars().take_while(|c| c.is_whitespace()).count(),
                width: name.chars().count().max(1),
            },
        );
        column += item.chars().count() + 1;
        if name.is_empty() {
            continue;
        }
        empty = false;
        let (host, port) = address::parse(name)
            .filter(|a| !a.host.contains('['))
            .map_or((name, None), |a| (a.host, a.port));
        if host.contains(['[', ']']) {
            return Err(origin
                .error("ranges are not expanded in a host list")
                .hinted("write the hosts out, or use an inventory file"));
        }
        if !sink.data.hosts.contains_key(host) {
            sink.data.add_host(host, UNGROUPED, port, &origin)?;
        }
    }
    if empty {
        return Err(file.error(Position::new(1, 1), "the host list names no host"));
    }
    Ok(())
}
