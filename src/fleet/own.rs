//! Codes for hosts that ask the tool's own account for one.
//!
//! `DISALLOW_REUSE` lets a host take each code once (pam_google_authenticator), so a step that a host was given is noted in the
//! ledger before it is, whoever dies then; whoever comes again within the step waits for the next. Across hosts the same
//! code may be used.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::clock::Clock;
use crate::fleet::FleetError;
use crate::fleet::askpass::Whose;
use crate::fleet::fanout::{Fanout, Kind, Turn};
use crate::fleet::target::Target;
use crate::ledger::{Ledger, LedgerError};
use crate::names::{HostName, Login};
use crate::token::code::{code_at, step_at};
use crate::token::id::Serial;
use crate::token::params::CodeParams;
use crate::token::secret::Secret;

/// After the beginning of a step: the host's clock may be a little behind.
const MARGIN: Duration = Duration::from_millis(500);

/// The token of the tool's own account in a realm.
#[derive(Debug)]
pub struct OwnToken {
    /// Its serial.
    pub serial: Serial,
    /// Its key.
    pub key: Secret,
    /// Parameters of its codes.
    pub params: CodeParams,
    /// The step of the code by which somebody confirmed it at the controller: hosts take neither that nor an earlier one.
    pub last_step: Option<u64>,
}

/// The tokens of the tool's own account, by host; where a host has none, why.
#[derive(Debug)]
pub struct OwnCodes {
    /// The account.
    pub login: Login,
    /// The token that holds on a host, or why there is none.
    pub tokens: BTreeMap<HostName, Result<Arc<OwnToken>, Arc<str>>>,
    /// Where steps are noted.
    pub ledger: Ledger,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

/// What answers one host's question.
#[derive(Debug)]
pub(crate) struct OwnCode {
    token: Arc<OwnToken>,
    host: HostName,
    whose: Whose,
    ledger: Ledger,
    clock: Arc<dyn Clock>,
    fanout: Arc<Fanout>,
    /// There once a code was given, until it is known what became of it.
    given: Mutex<Option<(Turn, Secret)>>,
}

impl OwnCodes {
    /// Returns what answers for a host, where the connecting login is the one whose token this is; else why nothing does.
    pub(crate) fn on(&self, target: &Target, fanout: &Arc<Fanout>) -> Result<OwnCode, Arc<str>> {
        let login = self.login.as_str();
        if target.user.as_deref().is_some_and(|user| user != login) {
            return Err(format!("own_token in fleetotp.yml is {login}'s").into());
        }
        let nothing = || Err("no realm covers the host".into());
        let token = self.tokens.get(&target.name).cloned();
        Ok(OwnCode {
            token: token.unwrap_or_else(nothing)?,
            host: target.name.clone(),
            whose: target.whose(login),
            ledger: self.ledger.clone(),
            clock: self.clock.clone(),
            fanout: fanout.clone(),
            given: Mutex::new(None),
        })
    }
}

impl OwnCode {
    /// Returns whose question is answered.
    pub(crate) fn whose(&self) -> Whose {
        self.whose.clone()
    }

    /// Returns how much longer a login may take for waiting until a code can be given.
    pub(crate) fn patience(&self) -> Duration {
        Duration::from_secs(u64::from(self.token.params.period)) + 2 * MARGIN
    }

    /// Waits, before connecting, until a code can be given; with `stops`, until the run is to end.
    pub(crate) async fn ready(&self, stops: bool) -> Result<(), FleetError> {
        let (host, serial) = (&self.host, &self.token.serial);
        let last = self.ledger.own_code_step(host, serial).await;
        let last = last.map_err(|e| unnoted(&e))?;
        let last = last.max(self.token.last_step);
        while last.is_some_and(|last| self.step() <= last) {
            if stops {
                self.fanout.go_on()?;
            }
            tokio::time::sleep(self.until_next().min(Duration::from_millis(100))).await;
        }
        Ok(())
    }

    /// Returns the code, once this host may be given one; within a connection always the same, since a host that has a next
    /// secret as well asks for that one first. The first host of a token goes alone.
    ///
    /// # Errors
    /// [`FleetError::NotTried`] where another host has refused a code of it: then this one is to have no answer at all.
    pub(crate) async fn give(&self) -> Result<Secret, FleetError> {
        if let Some((_, code)) = &*self.given() {
            return Ok(code.clone());
        }
        let (host, serial) = (&self.host, &self.token.serial);
        let kind = Kind::Secret("code".to_owned(), serial.to_string());
        let turn = self.fanout.turn(kind, false).await?;
        let now = loop {
            let now = self.clock.now();
            let step = step_at(self.token.params, now);
            if self.token.last_step.is_some_and(|last| step <= last) {
                tokio::time::sleep(self.until_next()).await;
                continue;
            }
            match self.ledger.take_own_code(host, serial, step).await {
                Ok(true) => break now,
                Ok(false) => tokio::time::sleep(self.until_next()).await,
                Err(error) => return Err(unnoted(&error)),
            }
        };
        let code = code_at(&self.token.key, self.token.params, now)
            .map_err(|e| FleetError::Settings(format!("no code can be made: {e}")))?;
        *self.given() = Some((turn, code.clone()));
        Ok(code)
    }

    /// Takes in how a login ended: accepted, refused with ssh's words, or otherwise. Returns whether a code was given.
    pub(crate) fn ended(&self, how: Result<(), Option<&str>>) -> bool {
        let Some((turn, _)) = self.given().take() else {
            return false;
        };
        match how {
            Ok(()) => turn.accepted(),
            Err(Some(why)) => turn.refused(&self.host, why),
            Err(None) => drop(turn),
        }
        true
    }

    fn given(&self) -> std::sync::MutexGuard<'_, Option<(Turn, Secret)>> {
        self.given.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn step(&self) -> u64 {
        step_at(self.token.params, self.clock.now())
    }

    /// How long it is until the next step.
    fn until_next(&self) -> Duration {
        let period = i64::from(self.token.params.period.max(1)) * 1_000;
        let into = self.clock.now().as_millisecond().rem_euclid(period);
        Duration::from_millis(u64::try_from(period - into).unwrap_or(0)) + MARGIN
    }
}

fn unnoted(error: &LedgerError) -> FleetError {
    FleetError::Settings(format!("the step of a code could not be noted: {error}"))
}
