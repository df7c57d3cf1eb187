//! `fleetotp vault`: who can open the secrets, and what somebody could open who is no longer to.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde_json::json;

use super::globals::{Globals, Output};
use super::hold::Hold;
use super::play::write;
use super::setup::{Setup, World};
use crate::error::Error;
use crate::exit;
use crate::ledger::Ciphertext;
use crate::names::printable;
use crate::playbook::unseal::unseal;
use crate::project::FILE_NAME;
use crate::text::SourceFile;
use crate::text::list_edit::{ListEdit, edit_list};
use crate::vault::{Recipient, SealLabel};

/// The vault: who can open the secrets.
#[derive(Debug, Clone, Subcommand)]
pub enum VaultCommand {
    /// Whom secrets are sealed to
    #[command(subcommand)]
    Recipients(RecipientsCommand),
    /// Seal every live secret anew, to the recipients that stand in fleetotp.yml now; needs the identity
    Rekey(RekeyArgs),
    /// Show the tokens whose key a former recipient could read; `rotate --exposed` replaces them
    Exposed(ExposedArgs),
}

/// What to do with the recipients.
#[derive(Debug, Clone, Subcommand)]
pub enum RecipientsCommand {
    /// Show them, and how many live secrets each can open
    List(ListArgs),
    /// Add one to fleetotp.yml
    Add(RecipientArgs),
    /// Take one out of fleetotp.yml, and note which secrets it could open
    Remove(RecipientArgs),
}

/// Arguments of `vault recipients list`.
#[derive(Debug, Clone, Args)]
pub struct ListArgs {}

/// Arguments of `vault rekey`.
#[derive(Debug, Clone, Args)]
pub struct RekeyArgs {}

/// Arguments of `vault exposed`.
#[derive(Debug, Clone, Args)]
pub struct ExposedArgs {
    /// End with 9 where there is any
    #[arg(long, env = "FLEETOTP_STRICT")]
    strict: bool,
}

/// Arguments of `vault recipients add|remove`.
#[derive(Debug, Clone, Args)]
pub struct RecipientArgs {
    /// The age public key, `age1…`
    #[arg(value_name = "RECIPIENT")]
    recipient: String,
}

/// Runs the command.
///
/// # Errors
/// When the ledger, the project file or the identity cannot be used.
pub async fn run(
    command: &VaultCommand,
    globals: &Globals,
    world: &World,
    out: &mut (dyn Write + Send),
) -> Result<u8, Error> {
    let setup = Setup::open(globals, world).await?;
    match command {
        VaultCommand::Recipients(RecipientsCommand::List(_)) => list(globals, &setup, out).await,
        VaultCommand::Exposed(args) => exposed(args, globals, &setup, out).await,
        VaultCommand::Recipients(RecipientsCommand::Add(args)) => {
            let recipient = Recipient::parse(&args.recipient)
                .map_err(|e| Error::usage(e.to_string()))?
                .to_string();
            let hold = hold(globals, world, &setup, "vault recipients add").await?;
            let result = add(&recipient, globals, world, &setup).await;
            end(hold, result).await
        }
        VaultCommand::Recipients(RecipientsCommand::Remove(args)) => {
            let hold = hold(globals, world, &setup, "vault recipients remove").await?;
            let result = remove(args.recipient.trim(), globals, world, &setup).await;
            end(hold, result).await
        }
        VaultCommand::Rekey(_) => {
            let hold = hold(globals, world, &setup, "vault rekey").await?;
            let result = rekey(globals, &setup, out).await;
            end(hold, result).await
        }
    }
}

/// Takes the lock, unless nothing is to be changed.
async fn hold(
    globals: &Globals,
    world: &World,
    setup: &Setup,
    command: &str,
) -> Result<Option<Hold>, Error> {
    if globals.check {
        return Ok(None);
    }
    Hold::begin(&setup.ledger, world, command).await.map(Some)
}

async fn end(hold: Option<Hold>, result: Result<u8, Error>) -> Result<u8, Error> {
    match hold {
        Some(hold) => hold.end(result).await,
        None => result,
    }
}

/// Whether a secret can be opened by a recipient, as far as that is recorded.
fn opens(secret: &Ciphertext, recipient: &str) -> bool {
    secret
        .sealed_to
        .as_ref()
        .is_some_and(|list| list.iter().any(|r| r == recipient))
}

async fn list(globals: &Globals, setup: &Setup, out: &mut (dyn Write + Send)) -> Result<u8, Error> {
    let secrets = setup.ledger.ciphertexts().await?;
    let current = setup.vault.recipients();
    let former: BTreeSet<String> = secrets
        .iter()
        .flat_map(|s| s.sealed_to.iter().flatten())
        .filter(|r| !current.contains(r))
        .cloned()
        .collect();
    let rows: Vec<(String, bool, usize)> = current
        .iter()
        .map(|r| (r, true))
        .chain(former.iter().map(|r| (r, false)))
        .map(|(r, is_current)| {
            (
                r.clone(),
                is_current,
                secrets.iter().filter(|s| opens(s, r)).count(),
            )
        })
        .collect();
    let text = match globals.output {
        Output::Json => format!(
            "{:#}\n",
            json!({
                "secrets": secrets.len(),
                "recipients": rows.iter().map(|(r, current, opens)| json!({
                    "recipient": r, "current": current, "opens": opens,
                })).collect::<Vec<_>>(),
            })
        ),
        Output::Text => {
            let mut lines = vec![["RECIPIENT", "IN THE PROJECT FILE", "OPENS"].map(str::to_owned)];
            lines.extend(rows.iter().map(|(r, current, opens)| {
                [
                    r.clone(),
                    if *current { "yes" } else { "no" }.to_owned(),
                    format!("{opens}/{}", secrets.len()),
                ]
            }));
            super::inventory::table(&lines)
        }
    };
    write(out, &text)?;
    if rows
        .iter()
        .any(|(_, current, opens)| *current != (*opens == secrets.len()) && !secrets.is_empty())
        || !former.is_empty()
    {
        eprintln!(
            "note: `fleetotp vault rekey` seals every live secret to exactly those in the project file"
        );
    }
    Ok(exit::DONE)
}

async fn add(
    recipient: &str,
    globals: &Globals,
    world: &World,
    setup: &Setup,
) -> Result<u8, Error> {
    if setup.vault.recipients().iter().any(|r| r == recipient) {
        eprintln!("{recipient} is a recipient already");
        return Ok(exit::DONE);
    }
    let (path, text) = edited(ListEdit::Add(recipient), globals, world)?;
    if globals.check {
        eprintln!("would add {recipient} to {}", path.display());
        return Ok(exit::DONE);
    }
    replace(&path, &text)?;
    setup.ledger.recipient_added(recipient).await?;
    eprintln!(
        "added {recipient}: what is issued from now on is sealed to it; `fleetotp vault rekey` does so with what there is"
    );
    Ok(exit::DONE)
}

async fn remove(
    recipient: &str,
    globals: &Globals,
    world: &World,
    setup: &Setup,
) -> Result<u8, Error> {
    let current = setup.vault.recipients();
    if !current.iter().any(|r| r == recipient) {
        return Err(Error::failed(format!(
            "`{}` is no recipient of this project",
            printable(recipient, 80)
        ))
        .hinted("`fleetotp vault recipients list` shows them"));
    }
    if current.len() == 1 {
        return Err(Error::failed(
            "this is the only recipient, so no secret could be kept without it",
        )
        .hinted("add another one first: `fleetotp vault recipients add`"));
    }
    let (path, text) = edited(ListEdit::Remove(recipient), globals, world)?;
    if globals.check {
        eprintln!("would take {recipient} out of {}", path.display());
        return Ok(exit::DONE);
    }
    // The file first: what is issued in between must not be sealed to it. `rekey` notes what a crash here leaves out.
    replace(&path, &text)?;
    let tokens = setup.ledger.recipient_removed(recipient).await?;
    eprintln!("removed {recipient} from {}", path.display());
    if !tokens.is_empty() {
        eprintln!(
            "note: it could open the keys of {} tokens (`fleetotp vault exposed`). Now:\n  \
             1. `fleetotp vault rekey`: seals them anew, so that it opens nothing of the ledger as it is from now on;\n  \
             2. `fleetotp rotate --exposed`: replaces these keys; whoever read an earlier ledger has them until then.",
            tokens.len()
        );
    }
    Ok(exit::DONE)
}

/// Returns the project file and its text with the recipients changed.
fn edited(
    edit: ListEdit<'_>,
    globals: &Globals,
    world: &World,
) -> Result<(PathBuf, String), Error> {
    let name = globals.config.as_deref().unwrap_or(Path::new(FILE_NAME));
    let path = world.cwd.join(name);
    let text = std::fs::read_to_string(&path).map_err(|e| {
        Error::failed(format!("cannot read the project file `{}`", name.display())).caused_by(e)
    })?;
    let source = SourceFile::new(name.display().to_string(), text);
    let by_hand = || {
        let what = match edit {
            ListEdit::Add(r) => format!("add `- {r}` to `recipients:` below `vault:`"),
            ListEdit::Remove(r) => format!("take `{r}` out of `recipients:` below `vault:`"),
        };
        Error::failed(format!(
            "`{}` is written in a way that cannot be changed here without risk; nothing was changed",
            name.display()
        ))
        .hinted(format!("{what} by hand, then run `fleetotp vault rekey`, which notes who could open what"))
    };
    match edit_list(&source, &["vault", "recipients"], edit)? {
        Some(text) => Ok((path, text)),
        None => Err(by_hand()),
    }
}

/// Replaces a file by a rename, with the mode it has; a link stays one.
fn replace(path: &Path, text: &str) -> Result<(), Error> {
    let write = || -> std::io::Result<()> {
        let path = path.canonicalize()?;
        let dir = path.parent().unwrap_or(Path::new("."));
        let mut file = tempfile::NamedTempFile::new_in(dir)?;
        file.write_all(text.as_bytes())?;
        file.as_file()
            .set_permissions(std::fs::metadata(&path)?.permissions())?;
        file.as_file().sync_all()?;
        file.persist(&path).map_err(|e| e.error)?;
        Ok(())
    };
    write().map_err(|e| Error::failed(format!("cannot write `{}`", path.display())).caused_by(e))
}

async fn rekey(
    globals: &Globals,
    setup: &Setup,
    out: &mut (dyn Write + Send),
) -> Result<u8, Error> {
    let recipients = setup.vault.recipients();
    let wanted: BTreeSet<&String> = recipients.iter().collect();
    let all = setup.ledger.ciphertexts().await?;
    let stale: Vec<&Ciphertext> = all
        .iter()
        .filter(|s| {
            s.sealed_to
                .as_ref()
                .is_none_or(|list| list.iter().collect::<BTreeSet<_>>() != wanted)
        })
        .collect();
    let mut replaced = 0;
    if !globals.check && !stale.is_empty() {
        let mut fresh = Vec::with_capacity(stale.len());
        for secret in &stale {
            let label = SealLabel {
                project: setup.ledger.project_id(),
                serial: &secret.serial,
                generation: secret.generation,
            };
            let key = unseal(&setup.vault, &setup.ledger, &label, &secret.sealed, false).await?;
            fresh.push(Ciphertext {
                sealed: setup.vault.seal(&label, &key)?,
                sealed_to: Some(recipients.clone()),
                ..(*secret).clone()
            });
        }
        setup.ledger.record_opened(setup.vault.take_count()).await?;
        replaced = setup.ledger.rekey(&fresh, &recipients).await?;
    }
    let shown = if globals.check { stale.len() } else { replaced };
    let text = match globals.output {
        Output::Json => format!(
            "{:#}\n",
            json!({
                "check": globals.check,
                "secrets": all.len(),
                "resealed": shown,
                "recipients": recipients,
            })
        ),
        Output::Text if globals.check => {
            format!("would seal {shown} of {} secrets anew\n", all.len())
        }
        Output::Text => format!("sealed {shown} of {} secrets anew\n", all.len()),
    };
    write(out, &text)?;
    Ok(exit::DONE)
}

async fn exposed(
    args: &ExposedArgs,
    globals: &Globals,
    setup: &Setup,
    out: &mut (dyn Write + Send),
) -> Result<u8, Error> {
    let found = setup.ledger.exposed().await?;
    let name = |e: &crate::ledger::Exposed| {
        e.admin
            .as_ref()
            .map_or_else(|| "(erased)".to_owned(), ToString::to_string)
    };
    let text = match globals.output {
        Output::Json => format!(
            "{:#}\n",
            json!({"exposed": found.iter().map(|e| json!({
                "admin": e.admin.as_ref().map(ToString::to_string),
                "realm": e.realm.as_str(),
                "serial": e.serial.as_str(),
                "generation": e.generation,
                "recipient": e.recipient,
                "since": e.since,
            })).collect::<Vec<_>>()})
        ),
        Output::Text if found.is_empty() => {
            "no live key could be read by a former recipient\n".to_owned()
        }
        Output::Text => {
            let mut lines = vec![
                [
                    "ADMIN",
                    "REALM",
                    "TOKEN",
                    "GENERATION",
                    "SINCE",
                    "RECIPIENT",
                ]
                .map(str::to_owned),
            ];
            lines.extend(found.iter().map(|e| {
                [
                    name(e),
                    e.realm.to_string(),
                    e.serial.to_string(),
                    e.generation.to_string(),
                    e.since.strftime("%Y-%m-%d %H:%MZ").to_string(),
                    e.recipient.clone(),
                ]
            }));
            super::inventory::table(&lines)
        }
    };
    write(out, &text)?;
    Ok(if args.strict && !found.is_empty() {
        exit::FINDINGS
    } else {
        exit::DONE
    })
}
