//! `fleetotp adopt HOSTS`: takes hosts of another project over, with the codes that people have.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::sync::Arc;

use clap::Args;

use super::globals::Globals;
use super::ledger::taken;
use super::run::{Run, Wanted, names};
use super::setup::{Setup, World};
use super::show;
use crate::clock::Timestamp;
use crate::error::Error;
use crate::inventory::model::{Module, Realm};
use crate::ledger::{TakenGeneration, TakenHow, TakenToken, TokenRecord};
use crate::names::{AdminName, HostName, Login, RealmName};
use crate::plan::adopt::{self, Foreign};
use crate::plan::state::Stamp;
use crate::plan::tool::Takeover;
use crate::plan::wish::Parts;
use crate::playbook::adopt::{Found, Look, TakeOver, ToolFound};
use crate::playbook::desk::Permissions;
use crate::playbook::outcome::{HostReport, Outcome, Status};
use crate::playbook::sheets::{Protection, destroy};
use crate::token::id::{Generation, Serial};
use crate::token::key;
use crate::token::secret::Secret;
use crate::token::state::{GenerationState, Slot};
use crate::vault::SealLabel;

/// Arguments of `adopt`.
#[derive(Debug, Clone, Args)]
pub struct AdoptArgs {
    /// Hosts: a pattern
    #[arg(value_name = "HOSTS")]
    hosts: String,

    /// Why; it goes into the event log
    #[arg(long, env = "FLEETOTP_REASON", value_name = "TEXT")]
    reason: String,
}

/// Runs the command.
///
/// # Errors
/// Patterns that match nothing, and whatever keeps the whole run from going on.
pub async fn run(
    args: &AdoptArgs,
    globals: &Globals,
    world: &World,
    out: &mut (dyn Write + Send),
) -> Result<u8, Error> {
    let setup = Setup::open(globals, world).await?;
    let hosts = names(
        &setup
            .inventory
            .select(&args.hosts, globals.limit.as_deref())?,
    );
    let none = Permissions::default();
    let mut run = Run::begin(&setup, globals, world, "adopt", none, Protection::None).await?;
    let logins: BTreeMap<HostName, BTreeSet<Login>> = hosts
        .iter()
        .map(|host| {
            let admins = setup.inventory.admins_on(host);
            (host.clone(), admins.map(|a| a.login.clone()).collect())
        })
        .collect();
    let known = setup.ledger.tokens().await?;
    let known = known.iter().map(|t| t.serial.to_string()).collect();
    let mut outcome = Outcome::default();
    let mut adopter = Adopter {
        setup: &setup,
        globals,
        reason: &args.reason,
        notes: Vec::new(),
        keys: Vec::new(),
    };
    let mut stamps = BTreeMap::new();
    let mut tools: BTreeMap<HostName, Arc<Takeover>> = BTreeMap::new();
    for (host, result) in run.errand(Look { logins, known }, &hosts).await? {
        let status = match result {
            Ok(mut found) => match adopter.host(&host, &found).await? {
                Ok(mine) => {
                    if !mine.is_empty() || found.marked.is_some() {
                        stamps.insert(host.clone(), mine);
                    }
                    match found.tool.take() {
                        None => Status::Ok,
                        Some(tool) => match adopter.tool(&host, tool).await? {
                            Ok(tool) => {
                                tools.insert(host.clone(), Arc::new(tool));
                                Status::Ok
                            }
                            Err(why) => Status::Failed(why),
                        },
                    }
                }
                Err(why) => Status::Failed(why),
            },
            Err(status) => status,
        };
        outcome
            .hosts
            .insert(host.clone(), HostReport::new(host, status));
    }
    outcome.interrupted = run.stopping();
    outcome.notes = adopter.notes;
    let keys = adopter.keys;
    let chosen: Vec<HostName> = stamps.keys().cloned().collect();
    for (host, result) in run.errand(TakeOver { stamps }, &chosen).await? {
        if let Some(report) = outcome.hosts.get_mut(&host) {
            match result {
                Ok(changes) => report.changes = changes.into(),
                Err(status) => report.status = status,
            }
        }
    }
    if !tools.is_empty() && !outcome.interrupted {
        run.desk().reload().await?;
        for (serial, generation, key) in keys {
            run.desk().know(serial, generation, key);
        }
        // As a rollout does: in a change that the host reverts by itself, proved by logins.
        let wanted = Wanted {
            hosts: tools.keys().cloned().collect(),
            parts: Parts {
                host: true,
                secrets: true,
            },
            takes_over: tools,
            ..Wanted::default()
        };
        outcome.merge(run.converge(&wanted).await?);
    }
    show::print(&outcome, globals, out)?;
    let code = outcome.code();
    run.finish(code).await?;
    Ok(code)
}

struct Adopter<'a> {
    setup: &'a Setup,
    globals: &'a Globals,
    reason: &'a str,
    notes: Vec<String>,
    /// Keys that were sealed in this run.
    keys: Vec<(Serial, Generation, Secret)>,
}

impl Adopter<'_> {
    /// Takes in what a host holds; returns its new stamps, or why it is left as it is.
    async fn host(
        &mut self,
        host: &HostName,
        found: &Found,
    ) -> Result<Result<BTreeMap<Login, Stamp>, String>, Error> {
        let mut stamps = BTreeMap::new();
        let Some(realm) = self.setup.inventory.realm_of(host).map(|r| r.name.clone()) else {
            return Ok(Err("no realm of the inventory covers it".to_owned()));
        };
        for (foreign, key) in &found.foreign {
            let admin = self
                .setup
                .inventory
                .admins_on(host)
                .find(|a| a.login == foreign.login)
                .map(|a| a.name.clone());
            let Some(admin) = admin else { continue };
            match self.token((&admin, &realm), foreign, key).await? {
                Ok((serial, generation)) => {
                    let stamp = Stamp {
                        project: self.setup.ledger.project_id().to_string(),
                        serial,
                        generation: i64::from(generation),
                        ..foreign.stamp.clone()
                    };
                    stamps.insert(foreign.login.clone(), stamp);
                }
                Err(why) => return Ok(Err(why)),
            }
        }
        if let Some(project) = &found.marked {
            self.notes.push(format!("{host} was project {project}'s"));
        }
        if !found.others.is_empty() {
            self.notes.push(format!(
                "{host}: enrolled there, and not in the inventory: {}; left as they are",
                found.others.join(", ")
            ));
        }
        Ok(Ok(stamps))
    }

    /// Takes in what another tool has set up; returns what is to be brought, or why the host is left as it is.
    async fn tool(
        &mut self,
        host: &HostName,
        found: ToolFound,
    ) -> Result<Result<Takeover, String>, Error> {
        let Some(Realm { name, policy, .. }) = self.setup.inventory.realm_of(host) else {
            return Ok(Err("no realm of the inventory covers it".to_owned()));
        };
        let realm = name.clone();
        // Before anything is taken in.
        if policy.module != Module::GoogleAuthenticator {
            return Ok(Err(adopt::other_module().sentence()));
        }
        let wanted = policy.period.as_secs();
        let mut held = found.keys.iter();
        if let Some((login, other)) = held.find(|(_, h)| u64::from(h.period) != wanted) {
            return Ok(Err(
                adopt::other_steps(login, other.period, wanted).sentence()
            ));
        }
        for (login, held) in &found.keys {
            let key = &held.key;
            let admin = self
                .setup
                .inventory
                .admins_on(host)
                .find(|a| a.login == *login)
                .map(|a| a.name.clone());
            let Some(admin) = admin else { continue };
            let foreign = Foreign {
                login: login.clone(),
                stamp: Stamp {
                    project: String::new(),
                    serial: String::new(),
                    generation: 0,
                    uid: 0,
                    expires: 0,
                },
                fingerprint: key.fingerprint(),
                confirmed: true,
            };
            let token = self.setup.ledger.token(&admin, &realm).await?;
            let known = token.as_ref().and_then(|t| t.current.as_ref());
            if let (Some(token), Some(same)) = (
                &token,
                known.filter(|g| g.fingerprint == foreign.fingerprint),
            ) {
                self.keys
                    .push((token.serial.clone(), same.number, key.clone()));
                continue;
            }
            if let (Some(token), Some(current)) = (&token, known)
                && (current.state == GenerationState::Active || self.is_anywhere(token).await?)
            {
                return Ok(Err(adopt::other_key(&admin, &realm).sentence()));
            }
            self.import((&admin, &realm), token.as_ref(), &foreign, key)
                .await?;
        }
        let notes = found.notes.into_iter();
        self.notes.extend(notes.filter(|_| !self.globals.check));
        Ok(Ok(found.takeover))
    }

    /// Says which token and generation a foreign key becomes.
    async fn token(
        &mut self,
        id: (&AdminName, &RealmName),
        foreign: &Foreign,
        key: &Secret,
    ) -> Result<Result<(String, Generation), String>, Error> {
        if key::decode(key).is_err() || key.fingerprint() != foreign.fingerprint {
            return Ok(Err(adopt::no_key(format!(
                "the state file of {} changed meanwhile, or holds no key",
                foreign.login
            ))
            .sentence()));
        }
        let token = self.setup.ledger.token(id.0, id.1).await?;
        let Some(token) = token else {
            return Ok(Ok(self.import(id, None, foreign, key).await?));
        };
        let serial = token.serial.to_string();
        match &token.current {
            Some(g) if g.fingerprint == foreign.fingerprint => Ok(Ok((serial, g.number))),
            Some(g) if g.state == GenerationState::Active => {
                self.notes.push(format!(
                    "{} has a confirmed code of this project: it replaces the other one at the next sync",
                    id.0
                ));
                Ok(Ok((serial, 0)))
            }
            Some(_) if self.is_anywhere(&token).await? => {
                Ok(Err(adopt::unconfirmed(id.0).sentence()))
            }
            _ => Ok(Ok(self.import(id, Some(&token), foreign, key).await?)),
        }
    }

    async fn is_anywhere(&self, token: &TokenRecord) -> Result<bool, Error> {
        let rows = self.setup.ledger.token_hosts().await?;
        Ok(rows
            .iter()
            .any(|r| r.serial == token.serial && (r.current.is_some() || r.next.is_some())))
    }

    /// Takes a key into vault and ledger, before any stamp says so.
    async fn import(
        &mut self,
        id: (&AdminName, &RealmName),
        token: Option<&TokenRecord>,
        foreign: &Foreign,
        key: &Secret,
    ) -> Result<(String, Generation), Error> {
        if self.globals.check {
            let serial = token.map_or_else(|| "(new)".to_owned(), |t| t.serial.to_string());
            return Ok((serial, token.map_or(1, |t| t.generations + 1)));
        }
        let names = self.setup.ledger.reserve(id.0, id.1).await?;
        let (serial, number): (Serial, Generation) = (names.serial, names.generation);
        let label = SealLabel {
            project: self.setup.ledger.project_id(),
            serial: &serial,
            generation: number,
        };
        let sealed = self.setup.vault.seal(&label, key)?;
        let expires = foreign.stamp.expires;
        let generation = TakenGeneration {
            number,
            slot: Slot::Current,
            fingerprint: foreign.fingerprint.clone(),
            confirmed: foreign.confirmed,
            expires_at: (!foreign.confirmed && expires > 0)
                .then(|| Timestamp::from_second(expires).ok())
                .flatten(),
            sealed: Some((sealed, self.setup.vault.recipients())),
        };
        let token = taken(self.setup, id, &serial, vec![generation], TakenHow::Adopted)?;
        let token = TakenToken {
            reason: Some(self.reason.to_owned()),
            ..token
        };
        for sheet in self.setup.ledger.take_in(&token).await? {
            self.notes.extend(destroy(&sheet));
        }
        self.keys.push((serial.clone(), number, key.clone()));
        self.notes.push(format!(
            "{} in realm {}: the code in use is taken in as token {serial} generation {number}",
            id.0, id.1
        ));
        Ok((serial.to_string(), number))
    }
}
