//! Two verdicts on a chain: is what is there what was written (integrity), and up to where is nothing missing
//! (completeness). The second needs what was kept elsewhere: signed heads, a head that was noted, witnesses on hosts.

use std::collections::{BTreeMap, BTreeSet};

use crate::audit::head::{Witness, statement};
use crate::audit::ssh::{Judged, Verifier};
use crate::clock::Timestamp;
use crate::error::Error;
use crate::ledger::{ChainFault, ChainReport, Head, SignedHead};

/// Something that must not be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The chain itself shows it.
    #[error(transparent)]
    Chain(#[from] ChainFault),
    /// A file has a line that no export has.
    #[error("line {line} of `{file}` is none of an export")]
    Line {
        /// The file.
        file: String,
        /// The line.
        line: usize,
    },
    /// The chain is consistent, but not the one that was there.
    #[error("the log was rewritten: event {size} is not the one that {by} names")]
    Rewritten {
        /// Number of the event.
        size: i64,
        /// Who says so.
        by: String,
    },
    /// Something knows of later events.
    #[error("events {from} to {to} are missing at the end: {by} names event {to}")]
    Cut {
        /// First missing number.
        from: i64,
        /// Last missing number that is known of.
        to: i64,
        /// Who says so.
        by: String,
    },
    /// The log does not begin at its beginning, and nothing vouches for where it does.
    #[error(
        "events 1 to {to} are missing at the beginning: no seal, signed head or held head names event {to}"
    )]
    NoBeginning {
        /// Last missing number.
        to: i64,
    },
    /// A head was signed, and the signature is not there.
    #[error("the signature of the head at event {size} is missing")]
    SignatureMissing {
        /// The head's size.
        size: i64,
    },
    /// A signature is not what it should be.
    #[error("the signature of the head at event {size} ({by}) {why}")]
    SignatureWrong {
        /// The head's size.
        size: i64,
        /// Where it was found.
        by: String,
        /// What is wrong.
        why: String,
    },
    /// Signatures cannot be checked.
    #[error("{count} signatures cannot be checked: {why}")]
    KeyGone {
        /// How many.
        count: usize,
        /// Why not.
        why: String,
    },
}

impl Fault {
    /// Returns its id, for scripts.
    pub const fn id(&self) -> &'static str {
        match self {
            Self::Chain(ChainFault::Edited { .. } | ChainFault::OtherEnd { .. })
            | Self::Line { .. } => "edited",
            Self::Chain(ChainFault::Reordered { .. }) => "re-ordered",
            Self::Chain(ChainFault::Repeated { .. }) => "repeated",
            Self::Chain(ChainFault::RemovedAtHead { .. }) | Self::NoBeginning { .. } => {
                "removed-at-head"
            }
            Self::Chain(ChainFault::RemovedInMiddle { .. }) => "removed-in-the-middle",
            Self::Chain(ChainFault::RemovedAtTail { .. }) | Self::Cut { .. } => "removed-at-tail",
            Self::Rewritten { .. } => "rewritten",
            Self::SignatureMissing { .. } => "signature-missing",
            Self::SignatureWrong { .. } => "signature-wrong",
            Self::KeyGone { .. } => "key-gone",
        }
    }
}

/// What a chain is compared with.
#[derive(Debug, Default)]
pub struct Evidence {
    /// Signed heads that were kept with the log.
    pub heads: Vec<SignedHead>,
    /// Heads that somebody noted elsewhere.
    pub held: Vec<Head>,
    /// Lines of hosts' witness files.
    pub witnesses: BTreeMap<String, Vec<Witness>>,
}

impl Evidence {
    /// Returns the sizes whose hashes a check must keep.
    pub fn sizes(&self) -> BTreeSet<i64> {
        let heads = self.heads.iter().map(|h| &h.head);
        let witnessed = self.witnesses.values().flatten().map(|w| &w.head);
        heads
            .chain(&self.held)
            .chain(witnessed)
            .map(|h| h.size)
            .collect()
    }
}

/// Whose signatures are accepted, or why none can be checked.
#[derive(Debug)]
pub enum Trust {
    /// Keys that were given.
    Keys(Verifier),
    /// There is none.
    Gone(String),
}

/// The newest event up to which something kept elsewhere proves the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proven {
    /// Number of the event.
    pub size: i64,
    /// When that head was made, as it says.
    pub at: Option<Timestamp>,
    /// What proves it.
    pub by: BTreeSet<String>,
}

/// Both verdicts.
#[derive(Debug, Default)]
pub struct Verdict {
    /// What must not be.
    pub faults: Vec<Fault>,
    /// The point up to which completeness is proven.
    pub proven: Option<Proven>,
    /// How many heads have a good signature.
    pub signed: usize,
    /// Witnesses of events that are older than what is here.
    pub older: usize,
    /// Witnesses of other projects.
    pub foreign: usize,
}

/// Something that names an event's hash.
struct Claim<'a> {
    head: &'a Head,
    at: Option<Timestamp>,
    signature: Option<&'a str>,
    by: String,
}

/// Judges a chain by what was kept elsewhere.
///
/// # Errors
/// When ssh-keygen cannot be run.
pub fn judge(
    project: &str,
    chain: &ChainReport,
    evidence: &Evidence,
    trust: &Trust,
) -> Result<Verdict, Error> {
    let mut verdict = Verdict {
        faults: chain.faults.iter().cloned().map(Fault::from).collect(),
        ..Verdict::default()
    };
    let claims = claims(project, evidence, &mut verdict);
    let checked = check_signatures(project, &claims, trust, &mut verdict)?;
    let mut vouched =
        chain.archived.contains(&chain.start) || chain.start == Head::genesis(project);
    for (claim, good) in claims.iter().zip(checked) {
        // A head that is kept with the log proves something only by its signature.
        if claim.by == KEPT && good != Some(true) {
            continue;
        }
        let size = claim.head.size;
        if size < chain.start.size {
            verdict.older += usize::from(claim.by != KEPT);
        } else if size > chain.head.size {
            verdict.faults.push(Fault::Cut {
                from: chain.head.size + 1,
                to: size,
                by: claim.by.clone(),
            });
        } else if let Some(hash) = chain.hashes.get(&size) {
            if *hash == claim.head.hash {
                vouched |= size == chain.start.size;
                prove(&mut verdict.proven, claim);
            } else {
                verdict.faults.push(Fault::Rewritten {
                    size,
                    by: claim.by.clone(),
                });
            }
        }
    }
    if !vouched {
        verdict.faults.push(Fault::NoBeginning {
            to: chain.start.size,
        });
    }
    let there: BTreeSet<i64> = evidence
        .heads
        .iter()
        .filter(|h| h.signature.is_some())
        .map(|h| h.head.size)
        .collect();
    for size in chain.signed.keys().filter(|s| **s >= chain.start.size) {
        if !there.contains(size) {
            verdict.faults.push(Fault::SignatureMissing { size: *size });
        }
    }
    Ok(verdict)
}

/// Where a signed head beside the log was found.
const KEPT: &str = "a signed head";

fn claims<'a>(project: &str, evidence: &'a Evidence, verdict: &mut Verdict) -> Vec<Claim<'a>> {
    let mut claims: Vec<Claim<'a>> = evidence
        .heads
        .iter()
        .map(|signed| Claim {
            head: &signed.head,
            at: Some(signed.at),
            signature: signed.signature.as_ref().map(|(_, s)| s.as_str()),
            by: KEPT.to_owned(),
        })
        .collect();
    claims.extend(evidence.held.iter().map(|head| Claim {
        head,
        at: None,
        signature: None,
        by: "the head that was given".to_owned(),
    }));
    for (host, lines) in &evidence.witnesses {
        for witness in lines {
            if witness.project != project {
                verdict.foreign += 1;
                continue;
            }
            claims.push(Claim {
                head: &witness.head,
                at: witness.at,
                signature: witness.signature.as_deref(),
                by: format!("the witness on {host}"),
            });
        }
    }
    claims
}

/// Checks every signature, equal ones once. Returns for each claim whether its signature is good; `None` where it has none
/// or there is no key.
fn check_signatures(
    project: &str,
    claims: &[Claim<'_>],
    trust: &Trust,
    verdict: &mut Verdict,
) -> Result<Vec<Option<bool>>, Error> {
    let mut known: BTreeMap<(String, &str), Judged> = BTreeMap::new();
    let mut results = Vec::with_capacity(claims.len());
    let mut unchecked = BTreeSet::new();
    for claim in claims {
        let (Some(signature), Some(at)) = (claim.signature, claim.at) else {
            results.push(None);
            continue;
        };
        let text = statement(project, claim.head, at);
        let keys = match trust {
            Trust::Keys(keys) => keys,
            Trust::Gone(_) => {
                unchecked.insert((text, signature));
                results.push(None);
                continue;
            }
        };
        let key = (text, signature);
        let judged = match known.get(&key) {
            Some(judged) => judged.clone(),
            None => {
                let judged = keys.judge(&key.0, signature, at)?;
                known.insert(key, judged.clone());
                judged
            }
        };
        let why = match judged {
            Judged::Good => {
                results.push(Some(true));
                continue;
            }
            Judged::OtherKey(key) => format!("was made by another key, {key}"),
            Judged::Wrong => "is not one over this head".to_owned(),
        };
        verdict.faults.push(Fault::SignatureWrong {
            size: claim.head.size,
            by: claim.by.clone(),
            why,
        });
        results.push(Some(false));
    }
    verdict.signed = known.values().filter(|j| **j == Judged::Good).count();
    if let Trust::Gone(why) = trust
        && !unchecked.is_empty()
    {
        verdict.faults.push(Fault::KeyGone {
            count: unchecked.len(),
            why: why.clone(),
        });
    }
    Ok(results)
}

fn prove(proven: &mut Option<Proven>, claim: &Claim<'_>) {
    let size = claim.head.size;
    match proven {
        Some(newest) if newest.size > size => {}
        Some(newest) if newest.size == size => {
            newest.at = newest.at.or(claim.at);
            newest.by.insert(claim.by.clone());
        }
        _ => {
            *proven = Some(Proven {
                size,
                at: claim.at,
                by: BTreeSet::from([claim.by.clone()]),
            });
        }
    }
}
