//! What `doctor` looks at, one function a topic.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::Finding;
use super::Severity::{self, Advice, Problem};
use crate::cli::care::{Cares, FEW};
use crate::cli::globals::Globals;
use crate::cli::setup::{Setup, World};
use crate::error::Error;
use crate::ledger::SheetEncryption;
use crate::ledger::locate;
use crate::playbook::purge;
use crate::vault::VaultError;

/// Everything.
///
/// # Errors
/// When the ledger or the directory of sheets cannot be read.
pub(super) async fn all(
    setup: &Setup,
    globals: &Globals,
    world: &World,
) -> Result<Vec<Finding>, Error> {
    let mut found = Vec::new();
    identity(setup, &mut found);
    files(setup, globals, world, &mut found)?;
    chain(setup, &mut found).await?;
    vault(setup, &mut found).await?;
    sheets(setup, world, &mut found).await?;
    policies(setup, &mut found);
    tokens(setup, world, &mut found).await?;
    Ok(found)
}

fn add(
    found: &mut Vec<Finding>,
    id: &'static str,
    severity: Severity,
    text: impl Into<String>,
    remedy: impl Into<String>,
) {
    found.push(Finding {
        id,
        severity,
        text: text.into(),
        remedy: remedy.into(),
    });
}

/// `1 token`, `3 tokens`.
fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

fn identity(setup: &Setup, found: &mut Vec<Finding>) {
    let recipients = setup.vault.recipients();
    match setup.vault.identity_recipients() {
        Err(error @ VaultError::NeedsIdentity { .. }) => add(
            found,
            "no-identity",
            Advice,
            error.to_string(),
            "right for a machine that only issues and revokes; keep the identity where codes are confirmed and hosts are added",
        ),
        Err(error @ VaultError::IdentityExposed { .. }) => add(
            found,
            "identity-exposed",
            Problem,
            error.to_string(),
            "chmod 600 it. If somebody may have read it: make a new one, `vault recipients add` and `remove`, `vault rekey`, `rotate --exposed`",
        ),
        Err(error) => add(
            found,
            "identity-unusable",
            Problem,
            error.to_string(),
            "restore the identity from its backup",
        ),
        Ok(mine) if !mine.iter().any(|r| recipients.contains(r)) => add(
            found,
            "identity-not-a-recipient",
            Problem,
            "the identity at hand is none of the recipients: it opens nothing that is sealed from now on",
            "add its public key with `vault recipients add`, or use the identity of a recipient",
        ),
        Ok(_) => {}
    }
    if recipients.len() == 1 {
        add(
            found,
            "one-recipient",
            Advice,
            "secrets are sealed to one recipient only: if its identity is lost, every admin needs a new sheet",
            "add a recovery key that is kept elsewhere: `vault recipients add`, then `vault rekey`",
        );
    }
}

/// Returns the permission bits for others than the owner.
fn open_to_others(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|m| m.permissions().mode() & 0o077 != 0)
}

fn files(
    setup: &Setup,
    globals: &Globals,
    world: &World,
    found: &mut Vec<Finding>,
) -> Result<(), Error> {
    let ledger = match &globals.state {
        Some(state) => locate(state, &world.cwd)?,
        None => locate(&setup.project.settings.state, &setup.project.root)?,
    };
    let sheets = setup.project.resolve(&setup.project.settings.sheets.dir);
    for (path, what, mode) in [
        (ledger, "the ledger", "600"),
        (sheets, "the directory of sheets", "700"),
    ] {
        if open_to_others(&path) {
            add(
                found,
                "open-to-others",
                Problem,
                format!(
                    "others than its owner have access to {what}, `{}`",
                    path.display()
                ),
                format!("chmod {mode} it"),
            );
        }
    }
    Ok(())
}

async fn chain(setup: &Setup, found: &mut Vec<Finding>) -> Result<(), Error> {
    let report = setup.ledger.verify_chain().await?;
    for fault in report.faults.iter().take(5) {
        add(
            found,
            "event-log",
            Problem,
            format!("the event log is not what was written: {fault}"),
            "somebody changed the ledger, or it is damaged: keep it as it is, and compare it with a backup",
        );
    }
    Ok(())
}

async fn vault(setup: &Setup, found: &mut Vec<Finding>) -> Result<(), Error> {
    let recipients: BTreeSet<String> = setup.vault.recipients().into_iter().collect();
    let secrets = setup.ledger.ciphertexts().await?;
    let stale = secrets
        .iter()
        .filter(|s| {
            s.sealed_to
                .as_ref()
                .is_none_or(|to| to.iter().cloned().collect::<BTreeSet<_>>() != recipients)
        })
        .count();
    if stale > 0 {
        add(
            found,
            "sealed-to-others",
            Problem,
            format!(
                "{} of {} sealed to other recipients than those in fleetotp.yml",
                stale,
                count(secrets.len(), "live secret")
            ),
            "run `fleetotp vault rekey` where the identity is kept",
        );
    }
    let exposed = setup.ledger.exposed_tokens().await?.len();
    if exposed > 0 {
        add(
            found,
            "exposed",
            Problem,
            format!(
                "a former recipient of the vault could read the keys of {}",
                count(exposed, "token")
            ),
            "run `fleetotp rotate --exposed`; `fleetotp vault exposed` lists them",
        );
    }
    Ok(())
}

async fn sheets(setup: &Setup, world: &World, found: &mut Vec<Finding>) -> Result<(), Error> {
    let dir = setup.project.resolve(&setup.project.settings.sheets.dir);
    let sheets = setup.ledger.sheets().await?;
    let left = purge::left_over(&dir, &sheets, world.clock.now())?;
    if !left.is_empty() {
        add(
            found,
            "sheets-left",
            Problem,
            format!(
                "{} in `{}` that nobody needs any more",
                count(left.len(), "file"),
                dir.display()
            ),
            "run `fleetotp sheets purge`; with --check it lists them",
        );
    }
    let plain = sheets
        .iter()
        .filter(|s| s.state.is_open() && s.encryption == SheetEncryption::Plain)
        .filter(|s| s.path.as_ref().is_some_and(|p| Path::new(p).exists()))
        .filter(|s| {
            !left
                .iter()
                .any(|l| s.path.as_deref().is_some_and(|p| l.path == Path::new(p)))
        })
        .count();
    if plain > 0 {
        add(
            found,
            "plain-sheets",
            Advice,
            format!(
                "{} waiting as plain PDF: whoever can read such a file has the key",
                count(plain, "sheet")
            ),
            "give admins a `recipient`, or use --passphrase; hand these over, and record it with `sheets delivered`",
        );
    }
    Ok(())
}

fn policies(setup: &Setup, found: &mut Vec<Finding>) {
    let enrolment = setup.inventory.enrolment();
    for policy in enrolment.policies.values().filter(|p| p.scratch_codes > 0) {
        add(
            found,
            "scratch-codes",
            Advice,
            format!(
                "policy {} puts {} on sheets and hosts: eight digits that are valid at any time, once on each host, with nothing but the rate limit against guessing",
                policy.name,
                count(usize::from(policy.scratch_codes), "scratch code")
            ),
            "prefer `recovery_codes`, which only the controller takes, and `scratch_codes: 0`",
        );
    }
}

async fn tokens(setup: &Setup, world: &World, found: &mut Vec<Finding>) -> Result<(), Error> {
    let now = world.clock.now();
    let realms = &setup.inventory.enrolment().realms;
    let mut cares = Cares::read(&setup.ledger).await?;
    let (mut due, mut overdue) = (0, 0);
    for token in setup.ledger.tokens().await? {
        if let (Some(current), Some(every)) = (
            &token.current,
            realms.get(&token.realm).and_then(|r| r.policy.rotate_every),
        ) && every.after(current.issued_at) <= now
        {
            due += 1;
        }
        if token
            .pending()
            .is_some_and(|g| g.expires_at.is_some_and(|at| at <= now))
        {
            overdue += 1;
        }
        let who = token.admin.as_ref().map_or("(erased)", |a| a.as_str());
        let live = token.next.as_ref().or(token.current.as_ref());
        let care = cares.take(&token.serial);
        if let Some(codes) = care.recovery_codes.filter(|c| c.left <= FEW) {
            add(
                found,
                "few-recovery-codes",
                Advice,
                format!(
                    "{who} in realm {} has {} of {} recovery codes left",
                    token.realm, codes.left, codes.issued
                ),
                "a new sheet has new ones",
            );
        }
        if let Some(signals) = care
            .signals
            .filter(|s| live.is_none_or(|g| s.last_at >= g.issued_at))
        {
            add(
                found,
                "malfeasance",
                Problem,
                format!(
                    "{} in realm {}: signs of malfeasance, {} in all, the last one `{}` at {}",
                    who, token.realm, signals.count, signals.last, signals.last_at
                ),
                "find out who has the sheet or its codes; `fleetotp enroll --lost-device` replaces everything",
            );
        }
    }
    if due > 0 {
        add(
            found,
            "rotation-due",
            Problem,
            format!(
                "{} older than the policy's `rotate_every`",
                count(due, "key")
            ),
            "run `fleetotp rotate --due`",
        );
    }
    if overdue > 0 {
        add(
            found,
            "sheets-overdue",
            Problem,
            format!("{} not confirmed in time", count(overdue, "sheet")),
            "run `fleetotp sync`, which takes in late news from the hosts and ends what is over; then `enroll --reissue`",
        );
    }
    Ok(())
}
