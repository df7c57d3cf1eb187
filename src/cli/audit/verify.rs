//! `fleetotp audit verify`: two verdicts, on the ledger or on exports alone.

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Value, json};

use crate::audit::export::Export;
use crate::audit::ssh::Verifier;
use crate::audit::verdict::{Evidence, Fault, Trust, Verdict, judge};
use crate::cli::globals::{Globals, Output};
use crate::cli::play::write;
use crate::cli::run::{Run, names};
use crate::cli::setup::{Setup, World, signing_key};
use crate::cli::show;
use crate::error::Error;
use crate::exit;
use crate::ledger::{ChainCheck, ChainReport, Head, Ledger};
use crate::playbook::desk::Permissions;
use crate::playbook::outcome::{HostReport, Outcome};
use crate::playbook::sheets::Protection;
use crate::playbook::witness::ReadWitnesses;
use crate::project::Project;

/// Arguments of `audit verify`.
#[derive(Debug, Clone, Args)]
pub struct VerifyArgs {
    /// An export instead of the ledger; several that follow one another are one log
    #[arg(long, env = "FLEETOTP_EXPORT", value_name = "FILE")]
    export: Vec<PathBuf>,
    /// An archive of events that are no longer in the ledger; verified with it as one log
    #[arg(
        long,
        env = "FLEETOTP_ARCHIVE",
        value_name = "FILE",
        conflicts_with = "export"
    )]
    archive: Vec<PathBuf>,
    /// Who may have signed: a public key, or an allowed_signers file of OpenSSH; else the project's signing key
    #[arg(long, env = "FLEETOTP_SIGNER", value_name = "FILE")]
    signer: Option<PathBuf>,
    /// A head that was kept elsewhere, as `audit export` says it; may be given several times
    #[arg(long, env = "FLEETOTP_HEAD", value_name = "SIZE:HASH", value_parser = head)]
    head: Vec<Head>,
    /// Read the witnesses on every host, and compare them
    #[arg(long, env = "FLEETOTP_WITNESSES")]
    witnesses: bool,
}

fn head(text: &str) -> Result<Head, String> {
    let parts = text.split_once(':').and_then(|(size, hash)| {
        let size = size.parse().ok().filter(|size| *size >= 0)?;
        let hash = hash.to_ascii_lowercase();
        (hash.len() == 64 && hash.bytes().all(|b| b.is_ascii_hexdigit()))
            .then_some(Head { size, hash })
    });
    parts.ok_or_else(|| "write a number, a colon and 64 hexadecimal digits".to_owned())
}

/// Runs the command.
///
/// # Errors
/// When a file, the ledger or the inventory cannot be used; what is wrong with the log is a result.
pub(super) async fn run(
    args: &VerifyArgs,
    globals: &Globals,
    world: &World,
    out: &mut (dyn Write + Send),
) -> Result<u8, Error> {
    let mut exports = read(args, world)?;
    let mut evidence = Evidence {
        held: args.head.clone(),
        ..Evidence::default()
    };
    let mut outcome = Outcome::default();
    let live = args.export.is_empty();
    // An export is verified without the project: whoever checks it may have nothing else.
    let setup = if live || args.witnesses {
        Some(Setup::open(globals, world).await?)
    } else {
        None
    };
    if let Some(setup) = setup.as_ref().filter(|_| args.witnesses) {
        (outcome, evidence.witnesses) = read_witnesses(setup, globals, world).await?;
    }
    for (_, export) in &mut exports {
        evidence.heads.append(&mut export.heads);
    }
    let ledger = setup.as_ref().map(|s| &s.ledger);
    let verified = ledger.filter(|_| live);
    if let Some(ledger) = verified {
        evidence.heads.extend(ledger.signed_heads().await?);
    }
    let project = project_of(&exports, ledger)?;
    let chain = check(&exports, verified, &evidence).await?;
    let trust = trust(args, setup.as_ref(), globals, world)?;
    let mut verdict = judge(&project, &chain, &evidence, &trust)?;
    for (name, export) in &exports {
        let lines = export.strange.iter().map(|line| Fault::Line {
            file: name.clone(),
            line: *line,
        });
        verdict.faults.extend(lines);
    }
    // Whoever names a key expects signatures.
    if args.signer.is_some() && verdict.signed == 0 && verdict.faults.is_empty() {
        verdict.faults.push(Fault::SignatureMissing {
            size: chain.head.size,
        });
    }
    show::tell(&outcome);
    let hosts = outcome.code();
    let code = match (hosts, verdict.faults.is_empty()) {
        (exit::DONE, false) => exit::FINDINGS,
        _ => hosts,
    };
    let text = match globals.output {
        Output::Text => text(&project, &chain, &verdict, &evidence, args, &outcome),
        Output::Json => format!(
            "{:#}\n",
            document(&project, &chain, &verdict, &evidence, &outcome, code)
        ),
    };
    write(out, &text)?;
    Ok(code)
}

fn read(args: &VerifyArgs, world: &World) -> Result<Vec<(String, Export)>, Error> {
    let mut exports = Vec::new();
    for path in args.export.iter().chain(&args.archive) {
        let name = path.display().to_string();
        let text = std::fs::read(world.cwd.join(path))
            .map_err(|e| Error::failed(format!("cannot read `{name}`")).caused_by(e))?;
        // What is no text is no event; it shows as such.
        let text = String::from_utf8_lossy(&text);
        let export = Export::parse(&name, &text)?;
        exports.push((name, export));
    }
    exports.sort_by_key(|(_, export)| export.start.size);
    Ok(exports)
}

type Witnesses = std::collections::BTreeMap<String, Vec<crate::audit::head::Witness>>;

/// Reads hosts as a check does: a ledger that was tampered with must not be written.
async fn read_witnesses(
    setup: &Setup,
    globals: &Globals,
    world: &World,
) -> Result<(Outcome, Witnesses), Error> {
    let mut globals = globals.clone();
    globals.check = true;
    let hosts = names(&setup.inventory.select("all", globals.limit.as_deref())?);
    let none = Permissions::default();
    let run = Run::begin(
        setup,
        &globals,
        world,
        "audit verify",
        none,
        Protection::None,
    )
    .await?;
    let (outcome, read) = run.outcome_of(run.errand(ReadWitnesses, &hosts).await?);
    let read = read
        .into_iter()
        .map(|(host, lines)| (host.to_string(), lines));
    Ok((outcome, read.collect()))
}

/// All parts must be of one project.
fn project_of(exports: &[(String, Export)], ledger: Option<&Ledger>) -> Result<String, Error> {
    let mut names = exports
        .iter()
        .map(|(file, e)| (file.as_str(), e.project.as_str()));
    let first = match ledger {
        Some(ledger) => ledger.project_id().as_str(),
        None => names.next().map_or("", |(_, project)| project),
    };
    match names.find(|(_, project)| *project != first) {
        Some((file, project)) => Err(Error::failed(format!(
            "`{file}` is of project {project}, not of {first}"
        ))),
        None => Ok(first.to_owned()),
    }
}

/// Checks all parts as one chain.
async fn check(
    exports: &[(String, Export)],
    ledger: Option<&Ledger>,
    evidence: &Evidence,
) -> Result<ChainReport, Error> {
    let start = match (exports.first(), ledger) {
        (Some((_, first)), _) => first.start.clone(),
        (None, Some(ledger)) => ledger.chain_start().await?,
        (None, None) => return Err(Error::usage("there is nothing to verify")),
    };
    let mut sizes = evidence.sizes();
    sizes.insert(start.size);
    let mut chain = ChainCheck::new(start, sizes);
    let mut noted = None;
    for (_, export) in exports {
        export.check(&mut chain);
        // The first line says how many there are, and no hash.
        noted = Some(Head {
            size: export.to,
            hash: chain.head().hash.clone(),
        });
    }
    if let Some(ledger) = ledger {
        noted = ledger.check_events(&mut chain).await?;
    }
    Ok(chain.finish(noted.as_ref()))
}

fn trust(
    args: &VerifyArgs,
    setup: Option<&Setup>,
    globals: &Globals,
    world: &World,
) -> Result<Trust, Error> {
    if let Some(path) = &args.signer {
        return Verifier::open(&world.cwd.join(path)).map(Trust::Keys);
    }
    let key = match setup {
        Some(setup) => setup.signing_key(),
        None => signing_key(&Project::load(globals.config.as_deref(), &world.cwd)?),
    };
    Ok(match key {
        None => Trust::Gone("no key is known: give it by --signer".to_owned()),
        Some(path) => match Verifier::of_key(Path::new(&path)) {
            Ok(keys) => Trust::Keys(keys),
            Err(error) => Trust::Gone(error.to_string()),
        },
    })
}

fn witnesses_of(evidence: &Evidence) -> (usize, usize) {
    let lines = evidence.witnesses.values().map(Vec::len).sum();
    (lines, evidence.witnesses.len())
}

fn document(
    project: &str,
    chain: &ChainReport,
    verdict: &Verdict,
    evidence: &Evidence,
    outcome: &Outcome,
    code: u8,
) -> Value {
    let (lines, read) = witnesses_of(evidence);
    let hosts: Vec<&HostReport> = outcome.hosts.values().collect();
    json!({
        "project": project,
        "from": chain.start.size + 1,
        "to": chain.head.size,
        "hash": chain.head.hash,
        "sound": verdict.faults.is_empty(),
        "faults": verdict.faults.iter().map(|fault| json!({
            "id": fault.id(), "text": fault.to_string(),
        })).collect::<Vec<_>>(),
        "proven": verdict.proven.as_ref().map(|p| json!({
            "size": p.size, "at": p.at, "by": p.by,
        })),
        "signed_heads": verdict.signed,
        "witnesses": {
            "lines": lines, "hosts": read, "older": verdict.older, "of_others": verdict.foreign,
        },
        "hosts": hosts,
        "exit_code": code,
    })
}

fn text(
    project: &str,
    chain: &ChainReport,
    verdict: &Verdict,
    evidence: &Evidence,
    args: &VerifyArgs,
    outcome: &Outcome,
) -> String {
    let mut lines = vec![format!(
        "project {project}, events {} to {}; head {}:{}",
        chain.start.size + 1,
        chain.head.size,
        chain.head.size,
        chain.head.hash
    )];
    lines.push(if verdict.faults.is_empty() {
        "integrity: what is there is what was written".to_owned()
    } else {
        "integrity: FAILED".to_owned()
    });
    lines.extend(verdict.faults.iter().map(|f| format!("  {}: {f}", f.id())));
    lines.push(match &verdict.proven {
        Some(proven) => {
            let by: Vec<&str> = proven.by.iter().map(String::as_str).collect();
            let at = proven.at.map_or_else(String::new, |at| format!(" ({at})"));
            let rest = if proven.size < chain.head.size {
                format!(
                    "; nothing kept elsewhere names the {} after it",
                    chain.head.size - proven.size
                )
            } else {
                String::new()
            };
            format!(
                "completeness: proven up to event {}{at} by {}{rest}",
                proven.size,
                shortened(&by)
            )
        }
        None => "completeness: not proven; nothing kept elsewhere was compared".to_owned(),
    });
    lines.push(match verdict.signed {
        0 => "signatures: none that is good".to_owned(),
        n => format!("signatures: {n} good"),
    });
    if args.witnesses {
        let (count, hosts) = witnesses_of(evidence);
        let older =
            (verdict.older > 0).then(|| format!(", {} older than what is here", verdict.older));
        let foreign =
            (verdict.foreign > 0).then(|| format!(", {} of other projects", verdict.foreign));
        lines.push(format!(
            "witnesses: {count} on {hosts} hosts{}{}",
            older.unwrap_or_default(),
            foreign.unwrap_or_default()
        ));
        for report in outcome.hosts.values() {
            if !evidence.witnesses.contains_key(report.host.as_str()) {
                lines.push(format!("  not read: {}", report.host));
            }
        }
    }
    lines.join("\n") + "\n"
}

fn shortened(by: &[&str]) -> String {
    match by {
        [first, second, third, rest @ ..] if !rest.is_empty() => {
            format!("{first}, {second}, {third} and {} more", rest.len())
        }
        all => all.join(", "),
    }
}
