//! Careful beginnings: few connections at a door at a time, and one host alone first for each kind of login.
//!
//! sshd drops connections while too many are not authenticated (`MaxStartups`, by default from the tenth on) and shuts
//! addresses out whose logins failed (`PerSourcePenalties`, sshd_config(5)). Many hosts behind one jump host meet one sshd,
//! and many hosts with one directory know one account, which a wrong key or password tried on all of them would lock.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use crate::clock::Entropy;
use crate::fleet::FleetError;
use crate::fleet::own::OwnCodes;
use crate::fleet::way::Configured;
use crate::names::HostName;

/// How many connections that are not authenticated one door may have from here: below sshd's default of ten.
const PLACES: usize = 8;
/// How long the first hosts of a kind may take before more are tried: as many again each time.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often somebody who waits looks whether the run is to end.
const LOOK: Duration = Duration::from_millis(100);

/// What a run knows of the doors it knocks at and of the logins it tries. One for the whole run, over all batches.
#[derive(Debug)]
pub struct Fanout {
    doors: Mutex<HashMap<String, Door>>,
    kinds: Mutex<HashMap<Kind, Arc<Trial>>>,
    entropy: Arc<dyn Entropy>,
    stop: Arc<AtomicBool>,
    patience: Duration,
    /// For hosts that ask the tool's own account for a code.
    own: Option<OwnCodes>,
    /// What ssh's own configuration may say.
    configured: OnceLock<Configured>,
}

/// A way of authenticating that stands or falls on all hosts alike.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Login, what it proves itself with, and the jump host. After a success, a refusal is that host's own.
    Login(Vec<String>),
    /// Login and the hash of what it gives: a password, or the number of a token. Each refusal counts against the account,
    /// so any ends it.
    Secret(String, String),
}

#[derive(Debug, Clone)]
struct Door {
    places: Arc<Semaphore>,
    left: Arc<Mutex<usize>>,
}

/// A place at a door: held until the connection is authenticated.
#[derive(Debug)]
pub(crate) struct Place {
    permit: OwnedSemaphorePermit,
    left: Arc<Mutex<usize>>,
}

impl Place {
    /// The connection was dropped: from now on there is one place less, but one.
    pub(crate) fn dropped(self) {
        let mut left = locked(&self.left);
        if *left > 1 {
            *left -= 1;
            self.permit.forget();
        }
    }
}

#[derive(Debug)]
struct Trial {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Clone)]
enum State {
    /// Nobody knows yet: so many try, and so many may, since then.
    Trying(usize, usize, Instant),
    /// It was accepted somewhere.
    Accepted,
    /// It was refused on that host.
    Refused(HostName, String),
}

/// The right to try a kind of login once. Dropped without a word, nothing was learnt: another host tries.
#[derive(Debug)]
pub(crate) struct Turn {
    trial: Arc<Trial>,
    kind: Kind,
    counted: bool,
}

impl Fanout {
    /// `entropy` is for the pauses before trying again; no new connection is begun once `stop` is set; `own` is for hosts
    /// that ask the tool's own account for a code.
    pub fn new(entropy: Arc<dyn Entropy>, stop: Arc<AtomicBool>, own: Option<OwnCodes>) -> Self {
        Self {
            doors: Mutex::default(),
            kinds: Mutex::default(),
            entropy,
            stop,
            patience: PATIENCE,
            own,
            configured: OnceLock::new(),
        }
    }

    /// Returns what ssh's own configuration may say: looked up once for all hosts.
    pub(crate) fn configured(&self) -> Configured {
        *self.configured.get_or_init(Configured::look)
    }

    /// Returns the tokens of the tool's own account.
    pub(crate) const fn own(&self) -> Option<&OwnCodes> {
        self.own.as_ref()
    }

    /// Waits for a place at a door.
    pub(crate) async fn place(&self, door: &str) -> Result<Place, FleetError> {
        let door = locked(&self.doors)
            .entry(door.to_owned())
            .or_insert_with(|| Door {
                places: Arc::new(Semaphore::new(PLACES)),
                left: Arc::new(Mutex::new(PLACES)),
            })
            .clone();
        let permit = door.places.acquire_owned().await;
        Ok(Place {
            permit: permit.map_err(|_| FleetError::Interrupted)?,
            left: door.left,
        })
    }

    /// Waits until this kind of login may be tried: the first host of a kind goes alone, and it is none of which is in doubt
    /// whether it can be reached, where there are others.
    ///
    /// # Errors
    /// [`FleetError::NotTried`] where another host refused it; [`FleetError::Interrupted`].
    pub(crate) async fn turn(&self, kind: Kind, doubtful: bool) -> Result<Turn, FleetError> {
        let begun = Instant::now();
        let trial = locked(&self.kinds)
            .entry(kind.clone())
            .or_insert_with(|| {
                Arc::new(Trial {
                    state: Mutex::new(State::Trying(0, 1, Instant::now())),
                    changed: Notify::new(),
                })
            })
            .clone();
        loop {
            self.go_on()?;
            let changed = trial.changed.notified();
            match &mut *locked(&trial.state) {
                State::Refused(host, why) => return Err(not_tried(&kind, host, why)),
                State::Accepted => {
                    return Ok(Turn {
                        trial: trial.clone(),
                        kind,
                        counted: false,
                    });
                }
                State::Trying(trying, may, since) => {
                    if *trying == 0 {
                        *since = Instant::now();
                    } else if since.elapsed() >= self.patience && matches!(kind, Kind::Login(_)) {
                        // Hosts that are away must not hold up the others for long. A secret is asked for by hosts that are
                        // there, and they let people wait who give a wrong one.
                        (*may, *since) = (may.saturating_mul(2), Instant::now());
                    }
                    // Long enough for the others of this run to come first.
                    let steps_back = doubtful && begun.elapsed() < LOOK;
                    if *trying < *may && !steps_back {
                        *trying += 1;
                        return Ok(Turn {
                            trial: trial.clone(),
                            kind,
                            counted: true,
                        });
                    }
                }
            }
            // Either way the state is looked at again.
            drop(tokio::time::timeout(LOOK, changed).await);
        }
    }

    /// Pauses before connecting again: `usual`, and up to half of it more, so that hosts do not come back all at once.
    ///
    /// # Errors
    /// [`FleetError::Interrupted`] as soon as the run is to end.
    pub(crate) async fn pause(&self, usual: Duration) -> Result<(), FleetError> {
        let mut byte = [0];
        // Without randomness all come back at once, which is no error.
        drop(self.entropy.fill(&mut byte));
        let [random] = byte;
        let end = Instant::now() + usual + usual.mul_f64(f64::from(random) / 512.0);
        while Instant::now() < end {
            self.go_on()?;
            tokio::time::sleep_until(end.min(Instant::now() + LOOK)).await;
        }
        Ok(())
    }

    /// Nothing new is begun once the run is to end.
    pub(crate) fn go_on(&self) -> Result<(), FleetError> {
        if self.stop.load(Ordering::Relaxed) {
            Err(FleetError::Interrupted)
        } else {
            Ok(())
        }
    }
}

impl Turn {
    /// It was accepted: all others may.
    pub(crate) fn accepted(self) {
        let mut state = locked(&self.trial.state);
        if !matches!(*state, State::Refused(..)) {
            *state = State::Accepted;
        }
    }

    /// It was refused.
    pub(crate) fn refused(self, host: &HostName, why: &str) {
        let mut state = locked(&self.trial.state);
        let own = matches!(self.kind, Kind::Login(_)) && matches!(*state, State::Accepted);
        if !own && !matches!(*state, State::Refused(..)) {
            *state = State::Refused(host.clone(), why.to_owned());
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if self.counted
            && let State::Trying(trying, ..) = &mut *locked(&self.trial.state)
        {
            *trying = trying.saturating_sub(1);
        }
        self.trial.changed.notify_waiters();
    }
}

fn not_tried(kind: &Kind, host: &HostName, why: &str) -> FleetError {
    let what = match kind {
        Kind::Login(_) => "the same login is accepted nowhere so far",
        Kind::Secret(..) => "each refusal of the same secret counts against the account",
    };
    FleetError::NotTried(format!(
        "not tried, because {host} refused: {why}; {what}. Correct it, or leave that host out: --limit 'all:!{host}'"
    ))
}

/// What is behind a lock is whole also when a thread died with it.
fn locked<T>(what: &Mutex<T>) -> MutexGuard<'_, T> {
    what.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemEntropy;

    fn fanout() -> Arc<Fanout> {
        let mut fanout = Fanout::new(Arc::new(SystemEntropy), Arc::default(), None);
        fanout.patience = Duration::from_millis(150);
        Arc::new(fanout)
    }

    fn key() -> Kind {
        Kind::Login(vec!["root".to_owned()])
    }

    fn host(name: &str) -> HostName {
        HostName::new(name).unwrap()
    }

    /// Whether a turn comes at once.
    async fn at_once(fanout: &Fanout, kind: Kind) -> Option<Result<Turn, FleetError>> {
        tokio::time::timeout(Duration::from_millis(20), fanout.turn(kind, false))
            .await
            .ok()
    }

    #[tokio::test]
    async fn a_door_has_eight_places_and_one_less_for_each_drop_but_the_last() {
        let fanout = fanout();
        let mut places = Vec::new();
        for _ in 0..PLACES {
            places.push(fanout.place("bastion").await.unwrap());
        }
        let waits = || tokio::time::timeout(Duration::from_millis(20), fanout.place("bastion"));
        waits().await.unwrap_err();
        // Another door is another door.
        drop(fanout.place("web1").await.unwrap());
        for place in places {
            place.dropped();
        }
        let last = waits().await.unwrap().unwrap();
        waits().await.unwrap_err();
        last.dropped();
        drop(waits().await.unwrap());
    }

    #[tokio::test]
    async fn the_first_goes_alone_and_a_refusal_stops_the_rest() {
        let fanout = fanout();
        let first = fanout.turn(key(), false).await.unwrap();
        assert!(at_once(&fanout, key()).await.is_none());
        let other = Kind::Login(vec!["deploy".to_owned()]);
        at_once(&fanout, other).await.unwrap().unwrap().accepted();
        first.refused(&host("web1"), "Permission denied");
        let error = fanout.turn(key(), false).await.unwrap_err();
        assert!(error.is_unreachable());
        assert!(error.to_string().contains("web1 refused"), "{error}");
    }

    #[tokio::test]
    async fn after_a_success_a_refused_key_is_the_hosts_own_and_a_refused_secret_is_not() {
        let secret = Kind::Secret("deploy".to_owned(), "hash".to_owned());
        for (kind, stops) in [(key(), false), (secret, true)] {
            let fanout = fanout();
            fanout.turn(kind.clone(), false).await.unwrap().accepted();
            let two = (
                fanout.turn(kind.clone(), false).await.unwrap(),
                fanout.turn(kind.clone(), false).await.unwrap(),
            );
            two.0.refused(&host("web2"), "no");
            two.1.accepted();
            assert_eq!(
                fanout.turn(kind.clone(), false).await.is_err(),
                stops,
                "{kind:?}"
            );
        }
    }

    #[tokio::test]
    async fn a_host_in_doubt_lets_others_go_first_and_goes_where_there_are_none() {
        let fanout = fanout();
        let doubtful = tokio::spawn({
            let fanout = fanout.clone();
            async move { fanout.turn(key(), true).await.map(drop) }
        });
        tokio::task::yield_now().await;
        let sound = at_once(&fanout, key()).await.unwrap().unwrap();
        sound.refused(&host("web1"), "no");
        doubtful.await.unwrap().unwrap_err();
        let alone = Kind::Login(vec!["deploy".to_owned()]);
        fanout.turn(alone, true).await.unwrap().accepted();
    }

    #[tokio::test]
    async fn hosts_that_are_away_hold_the_others_up_for_moments_only() {
        let fanout = fanout();
        // Nothing learnt: the next.
        drop(fanout.turn(key(), false).await.unwrap());
        let start = Instant::now();
        let mut away = Vec::new();
        for _ in 0..32 {
            away.push(fanout.turn(key(), false).await.unwrap());
        }
        // 1, 2, 4, 8, 16, 32.
        let took = start.elapsed();
        assert!(
            took >= 5 * fanout.patience && took < 20 * fanout.patience,
            "{took:?}"
        );
        // Whoever waits goes as soon as one is in.
        let waiting = tokio::spawn({
            let fanout = fanout.clone();
            async move { fanout.turn(key(), false).await.map(drop) }
        });
        tokio::task::yield_now().await;
        away.pop().unwrap().accepted();
        waiting.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn nobody_waits_once_the_run_is_to_end() {
        let stop = Arc::new(AtomicBool::new(false));
        let fanout = Fanout::new(Arc::new(SystemEntropy), stop.clone(), None);
        let _first = fanout.turn(key(), false).await.unwrap();
        let (turn, pause) = tokio::join!(
            async {
                tokio::time::sleep(Duration::from_millis(300)).await;
                stop.store(true, Ordering::Relaxed);
                fanout.turn(key(), false).await
            },
            fanout.pause(Duration::from_secs(60))
        );
        assert!(matches!(turn, Err(FleetError::Interrupted)));
        assert!(matches!(pause, Err(FleetError::Interrupted)));
    }
}
