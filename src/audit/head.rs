//! A head of the chain as it leaves the ledger: the text that is signed, and the line that hosts keep.

use crate::clock::Timestamp;
use crate::ledger::{Head, SignedHead};

/// Namespace of the signatures, so that none for another purpose can be passed off as one.
pub const NAMESPACE: &str = "fleetotp-head";

const BEGIN: &str = "-----BEGIN SSH SIGNATURE-----";
const END: &str = "-----END SSH SIGNATURE-----";
/// How wide OpenSSH writes the signature.
const WIDTH: usize = 70;

/// Returns the text that a signature of a head is made over.
pub fn statement(project: &str, head: &Head, at: Timestamp) -> String {
    format!(
        "fleetotp head v1\nproject {project}\nsize {}\nhash {}\nat {at}\n",
        head.size, head.hash
    )
}

/// A line of a host's witness file: a head of a project's log, as it was at a change of that host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Witness {
    /// The project's id.
    pub project: String,
    /// The head.
    pub head: Head,
    /// When it was signed or left; earlier versions wrote none.
    pub at: Option<Timestamp>,
    /// The armoured signature.
    pub signature: Option<String>,
}

impl Witness {
    /// Returns the witness of a head.
    pub fn of(project: &str, signed: &SignedHead) -> Self {
        Self {
            project: project.to_owned(),
            head: signed.head.clone(),
            at: Some(signed.at),
            signature: signed.signature.as_ref().map(|(_, s)| s.clone()),
        }
    }

    /// Reads a line: project, size, hash, and perhaps time and signature, separated by tabs.
    pub fn parse(line: &str) -> Option<Self> {
        let mut fields = line.split('\t');
        let project = fields.next().filter(|p| !p.is_empty())?.to_owned();
        let size = fields.next()?.parse().ok().filter(|size| *size >= 0)?;
        let hash = fields.next()?.to_owned();
        let at = fields.next().map(str::parse).transpose().ok()?;
        let signature = fields.next().map(armoured);
        Some(Self {
            project,
            head: Head { size, hash },
            at,
            signature,
        })
    }

    /// Returns the fields of its line.
    pub fn fields(&self) -> Vec<String> {
        let mut fields = vec![
            self.project.clone(),
            self.head.size.to_string(),
            self.head.hash.clone(),
        ];
        if let Some(at) = self.at {
            fields.push(at.to_string());
            fields.extend(self.signature.as_deref().map(bare));
        }
        fields
    }
}

/// A signature as one line.
fn bare(armoured: &str) -> String {
    armoured
        .lines()
        .filter(|l| !l.starts_with("-----"))
        .collect()
}

/// A signature as OpenSSH writes it.
fn armoured(bare: &str) -> String {
    let mut lines = vec![BEGIN.to_owned()];
    let characters: Vec<char> = bare.chars().collect();
    lines.extend(characters.chunks(WIDTH).map(|part| part.iter().collect()));
    lines.push(format!("{END}\n"));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_as_it_was_written() {
        let witness = Witness {
            project: "F-ABCDEFGHJKMN".to_owned(),
            head: Head {
                size: 12,
                hash: "ab".repeat(32),
            },
            at: Some("2026-11-24T10:00:00.123Z".parse().unwrap()),
            signature: Some(armoured(&"x".repeat(300))),
        };
        let line = witness.fields().join("\t");
        assert_eq!(line.lines().count(), 1);
        assert_eq!(Witness::parse(&line), Some(witness.clone()));
        let unsigned = Witness {
            signature: None,
            ..witness
        };
        assert_eq!(
            Witness::parse(&unsigned.fields().join("\t")),
            Some(unsigned)
        );
    }

    #[test]
    fn lines_of_earlier_versions_are_read_and_others_are_not() {
        let old = Witness::parse("F-A\t3\tabc").unwrap();
        assert_eq!((old.head.size, old.at, old.signature), (3, None, None));
        for line in [
            "",
            "F-A",
            "F-A\tx\tabc",
            "F-A\t-1\tabc",
            "F-A\t3\tabc\tyesterday",
        ] {
            assert_eq!(Witness::parse(line), None, "{line}");
        }
    }
}
