//! What every command that touches hosts does: lock, select, run, store, unlock.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use super::globals::Globals;
use super::journal::Turn;
use super::leavers::Leavers;
use super::own::own_codes;
use super::progress::{Bar, Part};
use super::setup::{Setup, World};
use crate::audit::ssh::Signer;
use crate::error::{Error, Kind};
use crate::exit;
use crate::fleet::control::ControlDir;
use crate::fleet::fanout::Fanout;
use crate::fleet::target::Target;
use crate::inventory::model::{Admin, Host};
use crate::ledger::Lock;
use crate::names::{AdminName, HostName, Login, RealmName};
use crate::plan::tool::Takeover;
use crate::plan::wish::Parts;
use crate::playbook::active::Active;
use crate::playbook::conditions::{Conditions, HostConditions};
use crate::playbook::desk::{Desk, Permissions, Place, Seat};
use crate::playbook::engine::{self, Proofs, Shared};
use crate::playbook::job::{Job, Memory};
use crate::playbook::limits::Limits;
use crate::playbook::outcome::{HostReport, Outcome, Skip, Status};
use crate::playbook::sheets::{Protection, SheetMaker};
use crate::playbook::witness::WitnessMaker;

/// What is to be brought about on which hosts.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// The hosts.
    pub hosts: Vec<HostName>,
    /// Only these admins; everyone where absent.
    pub admins: Option<BTreeSet<AdminName>>,
    /// Which parts.
    pub parts: Parts,
    /// What a play's tasks want of each host, where it is a play: then `parts` is of no account.
    pub conditions: Option<Conditions>,
    /// How much may go wrong before no further host is begun.
    pub limits: Limits,
    /// Look for logins that confirm.
    pub evidence: bool,
    /// Whose tokens are to be gone from hosts.
    pub leavers: Leavers,
    /// Prepare no host that was never prepared.
    pub prepared_only: bool,
    /// Bring no text to a host on which a run's text was rolled back.
    pub keeps_rollbacks: bool,
    /// Another tool's enrolments to take over, by host.
    pub takes_over: BTreeMap<HostName, Arc<Takeover>>,
    /// Which part of the run it is for those who watch.
    pub part: Part,
    /// Which part of the run it is for the journal.
    pub stage: Turn,
    /// How many hosts the batch has, of which limits are shares: also those of which nothing is wanted. Without limits it is 0.
    pub batch: usize,
}

/// A run: holds the lock on the ledger unless it only checks.
#[derive(Debug)]
pub struct Run<'a> {
    pub(super) setup: &'a Setup,
    pub(super) globals: &'a Globals,
    pub(super) world: &'a World,
    id: String,
    lock: Option<Lock>,
    pub(super) desk: Desk,
    proofs: Proofs,
    fanout: Arc<Fanout>,
    /// How many passes over hosts it has made.
    passes: AtomicU32,
    started: Instant,
    witness: Arc<WitnessMaker>,
    active: Arc<Active>,
    stop: Arc<AtomicBool>,
}

impl<'a> Run<'a> {
    /// Takes the lock and opens the desk.
    ///
    /// # Errors
    /// When another run holds the lock (exit code 75), or ledger, vault or sheet settings are not as needed.
    pub async fn begin(
        setup: &'a Setup,
        globals: &'a Globals,
        world: &'a World,
        command: &str,
        permissions: Permissions,
        protection: Protection,
    ) -> Result<Self, Error> {
        let mut permissions = permissions;
        permissions.check = globals.check;
        let (mut id, mut lock, mut signer) = ("check".to_owned(), None, None);
        if !globals.check {
            // Told before the run begins, and holds the lock.
            signer = setup.signer().await?;
            lock = Some(take_lock(setup, world).await?);
            id = setup
                .ledger
                .begin_run(command, &world.actor)
                .await?
                .to_string();
        }
        let begun = (id, lock);
        Self::with_lock(
            setup,
            globals,
            world,
            begun,
            signer,
            permissions,
            protection,
        )
        .await
    }

    /// Opens the desk for a run that was begun: its id, and the lock unless it only checks. Its signer is looked at before
    /// the lock is taken: heads that are to be signed never go out unsigned.
    ///
    /// # Errors
    /// When ledger, vault or sheet settings are not as needed.
    pub async fn with_lock(
        setup: &'a Setup,
        globals: &'a Globals,
        world: &'a World,
        (id, lock): (String, Option<Lock>),
        signer: Option<Signer>,
        permissions: Permissions,
        protection: Protection,
    ) -> Result<Self, Error> {
        let maker = if permissions.issue || permissions.rotate {
            Some(SheetMaker::new(&setup.project, protection, world.in_ci)?)
        } else {
            None
        };
        let desk = Desk::open(
            setup.ledger.clone(),
            setup.vault.clone(),
            maker,
            world.clock.clone(),
            world.entropy.clone(),
            permissions,
        )
        .await?;
        let own = own_codes(setup, world, globals.check).await?;
        let stop = Arc::new(AtomicBool::new(false));
        let active = Arc::new(Active::default());
        tokio::spawn(listen_for_signals(stop.clone(), active.clone()));
        Ok(Self {
            setup,
            globals,
            world,
            id,
            lock,
            desk,
            proofs: Proofs::default(),
            fanout: Arc::new(Fanout::new(world.entropy.clone(), stop.clone(), own)),
            passes: AtomicU32::new(0),
            started: Instant::now(),
            witness: Arc::new(WitnessMaker::new(signer)),
            active,
            stop,
        })
    }

    /// Waits for what somebody has to type, unless a signal ends the wait.
    ///
    /// # Errors
    /// What `read` returns, and the interruption.
    pub async fn wait_for<T: Send + 'static>(
        &self,
        read: impl FnOnce() -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let signal = async {
            while !self.stop.load(Ordering::Relaxed) {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        // The thread that reads cannot be stopped; it ends with the program.
        tokio::select! {
            typed = tokio::task::spawn_blocking(read) => typed.unwrap_or_else(|e| {
                Err(Error::new(Kind::Internal, format!("a thread ended abnormally: {e}")))
            }),
            () = signal => Err(Error::new(Kind::Interrupted, "interrupted")),
        }
    }

    /// Keeps what a run of playbooks is asked for with its record.
    ///
    /// # Errors
    /// When the ledger cannot be written.
    pub async fn keep_request(&self, request: &str) -> Result<(), Error> {
        if !self.globals.check {
            self.setup.ledger.keep_request(request).await?;
        }
        Ok(())
    }

    /// Returns the desk.
    pub const fn desk(&mut self) -> &mut Desk {
        &mut self.desk
    }

    /// Brings hosts to what is wanted.
    ///
    /// # Errors
    /// When the ledger cannot be written, or an inventory variable that is needed cannot be used.
    pub async fn converge(&mut self, wanted: &Wanted) -> Result<Outcome, Error> {
        let (jobs, mut before) = self.jobs(wanted).await?;
        let shared = self.shared(wanted).await?;
        let hosts: Vec<HostName> = jobs.iter().map(|j| j.name.clone()).collect();
        self.journal_waiting(&wanted.stage, &hosts).await?;
        let bar = Bar::new(jobs.len(), &wanted.part, self.started, self.globals);
        let outcome = engine::run(
            jobs,
            usize::from(self.globals.forks),
            shared,
            &mut self.desk,
            &mut self.proofs,
            &bar,
        )
        .await;
        bar.finish();
        before.merge(outcome?);
        if !self.globals.check {
            self.desk.finish_rotations().await?;
            before.notes.append(&mut self.desk.notes);
        }
        Ok(before)
    }

    /// Returns what everything that works on hosts in this run shares.
    ///
    /// # Errors
    /// When the ledger cannot be read or no directory for control sockets can be made.
    pub async fn shared(&self, wanted: &Wanted) -> Result<Arc<Shared>, Error> {
        let settings = &self.setup.project.settings;
        let mut protected: BTreeSet<Login> = settings.protected.iter().cloned().collect();
        protected.extend(Login::new("root").ok());
        Ok(Arc::new(Shared {
            control: ControlDir::new().map_err(|e| Error::failed(e.to_string()).caused_by(e))?,
            fanout: self.fanout.clone(),
            ledger: self.setup.ledger.clone(),
            project: self.setup.ledger.project_id().to_string(),
            run: self.id.clone(),
            pass: self.passes.fetch_add(1, Ordering::Relaxed) + 1,
            stage: wanted.stage.0,
            batch: wanted.batch,
            witness: self.witness.clone(),
            limits: wanted.limits,
            halt: AtomicBool::new(false),
            check: self.globals.check,
            evidence: wanted.evidence,
            prepared_only: wanted.prepared_only,
            keeps_rollbacks: wanted.keeps_rollbacks,
            protected,
            revert_after: settings.revert_after.duration(),
            clock: self.world.clock.clone(),
            entropy: self.world.entropy.clone(),
            active: self.active.clone(),
            stop: self.stop.clone(),
        }))
    }

    /// Brings hosts to what is wanted. Where a host tells of a confirming login, those that were read before it are
    /// brought to what follows from it.
    ///
    /// # Errors
    /// As [`Self::converge`].
    pub async fn converge_and_confirm(&mut self, wanted: &Wanted) -> Result<Outcome, Error> {
        let mut outcome = self.converge(wanted).await?;
        // Each further pass needs a confirmation that the one before did not know of, so this ends.
        loop {
            let confirmed = std::mem::take(&mut self.desk.confirmed);
            if confirmed.is_empty() || outcome.interrupted {
                break;
            }
            let names = self.desk.names_of(&confirmed);
            let hosts = wanted.hosts.iter().filter(|h| {
                self.setup
                    .inventory
                    .admins_on(h)
                    .any(|a| names.contains(&a.name))
            });
            let again = Wanted {
                hosts: hosts.cloned().collect(),
                evidence: false,
                ..wanted.clone()
            };
            outcome.merge(self.converge(&again).await?);
        }
        Ok(outcome)
    }

    /// Returns whether a signal asked the run to end.
    pub fn stopping(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// What came of a run that contacts no host.
    pub fn without_hosts(&mut self) -> Outcome {
        let mut notes = std::mem::take(&mut self.desk.notes);
        notes.push("hosts were not contacted; `fleetotp sync` pushes what is new".to_owned());
        Outcome {
            sheets: std::mem::take(&mut self.desk.sheets),
            notes,
            interrupted: self.stopping(),
            ..Outcome::default()
        }
    }

    /// Issues tokens and writes sheets for what is wanted; contacts no host.
    ///
    /// # Errors
    /// When the ledger, the vault or a sheet cannot be written.
    pub async fn issue(&mut self, wanted: &Wanted) -> Result<Outcome, Error> {
        let (jobs, outcome) = self.jobs(wanted).await?;
        let mut notes = outcome.notes;
        let mut seen = BTreeSet::new();
        for seat in jobs.iter().flat_map(|job| job.seats.iter()) {
            if self.stop.load(Ordering::Relaxed)
                || !seen.insert((&seat.admin.name, &seat.realm.name))
            {
                continue;
            }
            match self.desk.place(seat).await? {
                Place::Gap(id, text) => notes.push(format!(
                    "{} in realm {}: gap ({id}): {text}",
                    seat.admin.name, seat.realm.name
                )),
                Place::Token(_) if self.globals.check => notes.push(format!(
                    "{} in realm {}: would get or keep a token",
                    seat.admin.name, seat.realm.name
                )),
                Place::Token(_) | Place::Nothing => {}
            }
        }
        notes.append(&mut self.desk.notes);
        Ok(Outcome {
            sheets: std::mem::take(&mut self.desk.sheets),
            notes,
            interrupted: self.stop.load(Ordering::Relaxed),
            ..Outcome::default()
        })
    }

    /// Makes the jobs; hosts that cannot be worked on are reported at once.
    async fn jobs(&self, wanted: &Wanted) -> Result<(Vec<Job>, Outcome), Error> {
        let defaults = self.setup.defaults(self.globals, &self.world.cwd);
        let admins: HashMap<&AdminName, Arc<Admin>> = self
            .setup
            .inventory
            .enrolment()
            .admins
            .iter()
            .map(|(n, a)| (n, Arc::new(a.clone())))
            .collect();
        let realms: HashMap<_, _> = self
            .setup
            .inventory
            .enrolment()
            .realms
            .iter()
            .map(|(n, r)| (n, Arc::new(r.clone())))
            .collect();
        let mut exempt = self.setup.inventory.exempt_on(self.world.clock.now())?;
        let (mut jobs, mut outcome, mut unmanaged) = (Vec::new(), Outcome::default(), Vec::new());
        let mut leavers = self.leavers(wanted).await?;
        let mut seats: HashMap<(RealmName, Vec<&AdminName>), Arc<[Seat]>> = HashMap::new();
        for name in &wanted.hosts {
            let Some(host) = self.setup.inventory.host(name.as_str()) else {
                continue;
            };
            let leavers = leavers.remove(name).map(|(l, _)| l).unwrap_or_default();
            let conditions = match &wanted.conditions {
                Some(conditions) => conditions.on(host)?,
                None => HostConditions::always(wanted.parts, true),
            };
            if !conditions.is_wanted() {
                let mut report = HostReport::new(name.clone(), Status::Skipped(Skip::Condition));
                report.left_out = conditions.skipped;
                outcome.hosts.insert(name.clone(), report);
                continue;
            }
            let realm = self
                .setup
                .inventory
                .realm_of(name)
                .and_then(|r| realms.get(&r.name));
            if realm.is_none() && leavers.is_empty() {
                unmanaged.push(name.to_string());
                continue;
            }
            self.setup.inventory.connection(host)?;
            let target = match Target::new(host, &defaults) {
                Ok(target) => target,
                Err(error) => {
                    outcome.hosts.insert(
                        name.clone(),
                        HostReport::new(name.clone(), Status::Failed(error.to_string())),
                    );
                    continue;
                }
            };
            let only_leavers = realm.is_none() || matches!(wanted.leavers, Leavers::Only(_));
            let realm = match realm {
                Some(realm) => realm.clone(),
                None => self.no_realm()?,
            };
            let (chosen, others): (Vec<&Admin>, Vec<&Admin>) = self
                .setup
                .inventory
                .admins_on(name)
                .filter(|_| !only_leavers)
                .partition(|a| {
                    wanted
                        .admins
                        .as_ref()
                        .is_none_or(|only| only.contains(&a.name))
                });
            // Hosts of a realm have mostly the same admins: kept once, however many hosts there are.
            let names: Vec<&AdminName> = chosen.iter().map(|a| &a.name).collect();
            let seats = seats.entry((realm.name.clone(), names)).or_insert_with(|| {
                let admins = chosen.iter().filter_map(|a| admins.get(&a.name));
                let seats = admins.map(|admin| Seat {
                    admin: admin.clone(),
                    realm: realm.clone(),
                    login: admin.login.clone(),
                });
                seats.collect()
            });
            jobs.push(Job {
                name: name.clone(),
                target,
                seats: seats.clone(),
                others: others.into_iter().map(|a| a.login.clone()).collect(),
                exempt: exempt.remove(name).unwrap_or_default(),
                realm,
                memory: Memory::default(),
                conditions,
                leavers,
                only_leavers,
                takes_over: wanted.takes_over.get(name).cloned(),
            });
        }
        // What is left: hosts that no inventory names any more.
        for (name, (leavers, connection)) in leavers {
            let record = connection.unwrap_or_default();
            let target = match Target::from_record(&name, &record, &defaults) {
                Ok(target) => target,
                Err(error) => {
                    outcome.hosts.insert(
                        name.clone(),
                        HostReport::new(name.clone(), Status::Failed(error.to_string())),
                    );
                    continue;
                }
            };
            jobs.push(Job {
                memory: Memory::default(),
                name,
                target,
                seats: Arc::from([]),
                others: Arc::from([]),
                exempt: BTreeSet::new(),
                realm: self.no_realm()?,
                conditions: HostConditions::always(Parts::default(), true),
                leavers,
                only_leavers: true,
                takes_over: None,
            });
        }
        if !unmanaged.is_empty() {
            outcome.notes.push(format!(
                "unmanaged, since no realm covers them: {}",
                unmanaged.join(", ")
            ));
        }
        Ok((jobs, outcome))
    }

    /// Ends the run: records its exit code and gives the lock back.
    ///
    /// # Errors
    /// When the ledger cannot be written.
    pub async fn finish(self, code: u8) -> Result<(), Error> {
        super::bypass::remind(self.setup).await?;
        if let Some(lock) = self.lock {
            let opened = self.setup.vault.take_count();
            if opened > 0 {
                self.setup.ledger.record_opened(opened).await?;
            }
            self.setup.ledger.finish_run(code).await?;
            self.setup.ledger.release(lock).await?;
        }
        Ok(())
    }
}

/// Takes the lock on the ledger, and says so where it was a run's that is gone.
///
/// # Errors
/// When another run holds it.
pub async fn take_lock(setup: &Setup, world: &World) -> Result<Lock, Error> {
    let held = setup.ledger.acquire_lock(&world.actor.name).await?;
    if let Some(holder) = &held.taken_over {
        tracing::warn!("took over the lock of a run that is gone: {holder}");
    }
    Ok(held)
}

/// The first SIGINT or SIGTERM lets hosts that were begun be finished; the second ends the program at once.
#[expect(
    clippy::disallowed_methods,
    reason = "whoever asks twice does not want to wait for destructors; hosts and the next run clean up"
)]
async fn listen_for_signals(stop: Arc<AtomicBool>, active: Arc<Active>) {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut interrupt), Ok(mut terminate)) = (
        signal(SignalKind::interrupt()),
        signal(SignalKind::terminate()),
    ) else {
        return;
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    stop.store(true, Ordering::Relaxed);
    eprintln!("interrupted: finishing the hosts that were begun; once more ends at once");
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    eprintln!("interrupted again: {}", active.left());
    std::process::exit(i32::from(exit::INTERRUPTED));
}

/// Returns the names of hosts.
pub fn names(hosts: &[&Host]) -> Vec<HostName> {
    hosts.iter().map(|h| h.name.clone()).collect()
}

/// Returns the pattern by which admins are named: as arguments or by the flag.
///
/// # Errors
/// When they are named in both ways.
pub fn named(arguments: &[String], globals: &Globals) -> Result<Option<String>, Error> {
    match (arguments.is_empty(), &globals.admins) {
        (true, pattern) => Ok(pattern.clone()),
        (false, None) => Ok(Some(arguments.join(","))),
        (false, Some(_)) => Err(Error::usage(
            "name admins as arguments or with --admins, not both",
        )),
    }
}

/// Returns the admins that a pattern chooses, or everyone.
///
/// # Errors
/// A pattern that matches nobody.
pub fn admins_of(
    setup: &Setup,
    pattern: Option<&str>,
) -> Result<Option<BTreeSet<AdminName>>, Error> {
    match pattern {
        None => Ok(None),
        Some(_) => Ok(Some(
            setup
                .inventory
                .select_admins(pattern)?
                .into_iter()
                .map(|a| a.name.clone())
                .collect(),
        )),
    }
}

/// Returns the admins of a play, narrowed by a flag: those whom both patterns choose, or everyone where there is neither.
///
/// # Errors
/// A pattern that matches nobody.
pub fn admins_within(
    setup: &Setup,
    play: Option<&str>,
    flag: Option<&str>,
) -> Result<Option<BTreeSet<AdminName>>, Error> {
    Ok(match (admins_of(setup, play)?, admins_of(setup, flag)?) {
        (Some(play), Some(flag)) => Some(play.intersection(&flag).cloned().collect()),
        (play, flag) => play.or(flag),
    })
}
