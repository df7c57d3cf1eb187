//! The login table: what the temporary member gets in each of its parts, with each thing that it can offer.
//!
//! It stands for an admin of whom a code is demanded, for one who may confirm by a login, and for an account that is none
//! of fleetotp's. Whatever must be refused is tried from the host itself, so that no penalty for it
//! (sshd_config(5), PerSourcePenalties) and no ban by a log reader (jail.conf(5), `ignoreself`) hits anybody else.

use std::time::Duration;

use serde::Serialize;
use serde_json::json;

use crate::clock::{Clock, Timestamp};
use crate::fleet::FleetError;
use crate::fleet::canary::{self, CanaryKey, Offer, Outcome, Route, Try};
use crate::fleet::session::Session;
use crate::host::facts::{Facts, SshVersion};
use crate::host::reply::applied;
use crate::host::request::Request;
use crate::inventory::model::{Module, Policy, PolicyScope};
use crate::ledger::{MAX_DETAIL, VerifiedHost};
use crate::names::{HostName, printable};
use crate::plan::canary::{inside, key_is_enough_for_others};
use crate::plan::sudo;
use crate::playbook::engine::Shared;
use crate::token::code::code_at;
use crate::token::key;
use crate::token::params::CodeParams;
use crate::token::secret::Secret;

/// How many steps either way the temporary member's codes are valid at least: it uses those of two steps.
const WINDOW: u8 = 3;
/// The first version with PerSourcePenalties (sshd_config(5)).
const PENALISES_SINCE: SshVersion = SshVersion(9, 8);
/// How long these may keep out: from 15 s on, and each login that failed adds 5 s.
const PENALTY: Duration = Duration::from_secs(20);
/// Why a wrong code is not tried.
const KEPT_OUT: &str = "sshd keeps the host's own addresses out for a while after failed logins: try again later, or exempt 127.0.0.1 and ::1 (PerSourcePenaltyExemptList)";
/// How long a change of the temporary member's group may take.
const POSE: Duration = Duration::from_secs(20);

/// The temporary member's secrets, and what it stands for.
#[derive(Debug)]
pub struct Proof {
    /// Its key pair.
    pub pair: CanaryKey,
    /// Key of its codes.
    pub key: Secret,
    /// How its codes are computed.
    pub policy: Policy,
    /// The project, as stamped on hosts.
    pub project: String,
    /// How sudo is to be called, once for each of its services; none where it does not ask for codes.
    pub sudo: Vec<&'static str>,
    /// An account that is none of fleetotp's gets in by its key alone, as sshd itself says.
    pub others_by_key: bool,
    /// Addresses at which the host's sshd is reached from inside.
    pub inside: Vec<String>,
    /// Its sshd keeps addresses out for a while from which logins failed.
    pub penalises: bool,
    /// A single one is enough for that.
    pub penalises_at_once: bool,
}

/// Whom the temporary member stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Who {
    /// Somebody of whom a code is demanded.
    Member,
    /// Somebody who may confirm by a login.
    Pending,
    /// Somebody who is no matter of fleetotp's.
    Other,
}

/// What must come of a login.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Expected {
    /// In, and nobody asked for a code.
    In,
    /// In, after a code was asked for.
    InWithCode,
    /// Not in, whatever was asked.
    Refused,
}

/// A line of the table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Row {
    /// Who logs in.
    pub who: Who,
    /// What they offer.
    pub with: &'static str,
    /// What must come of it.
    pub expected: Expected,
    /// What came of it.
    pub got: String,
    /// Whether it is as expected; absent where it could not be tried.
    pub held: Option<bool>,
}

/// The table as far as it was tried.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Table {
    /// Its lines.
    pub rows: Vec<Row>,
    /// The code that a member got in with.
    used: Option<Secret>,
    /// Whom the temporary member stands for now, where that is not a member.
    stands_for: Option<Who>,
}

/// What came of a host's table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Verification {
    /// Every login that could be tried ended as it must, here or on the host that it is like.
    pub held: bool,
    /// Another host with the same sshd, configuration and PAM text, on which the table was tried.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub like: Option<HostName>,
    /// What is not as it must be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fault: Option<String>,
    /// The table's lines.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub logins: Vec<Row>,
}

impl Verification {
    /// What came of a table that was tried.
    pub fn of(table: Table, fault: Option<String>) -> Self {
        Self {
            held: fault.is_none(),
            like: None,
            fault,
            logins: table.rows,
        }
    }

    /// The table was tried on a host of the same class, and held.
    pub const fn like(host: HostName) -> Self {
        Self {
            held: true,
            like: Some(host),
            fault: None,
            logins: Vec::new(),
        }
    }

    /// There was nothing to try.
    pub fn failed(why: &str) -> Self {
        Self {
            held: false,
            like: None,
            fault: Some(why.to_owned()),
            logins: Vec::new(),
        }
    }

    /// Returns it for the event log.
    pub fn record(&self, host: &HostName) -> VerifiedHost {
        let rows = self.logins.iter();
        let rows = rows.map(|r| json!([r.who.as_str(), r.with, r.got]));
        VerifiedHost {
            host: host.clone(),
            held: self.held,
            like: self.like.clone(),
            fault: self.fault.as_deref().map(|f| printable(f, MAX_DETAIL)),
            logins: rows.collect(),
        }
    }
}

const KEY: &str = "key alone";
const RIGHT: &str = "key and right code";
const CONFIRMS: &str = "right code, then key";
const WRONG: &str = "key and wrong code";
const REPLAYED: &str = "key and used code";
const NO_KEY: &str = "no key";

impl Who {
    /// Returns the word for people.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Member => "member",
            Self::Pending => "pending",
            Self::Other => "other",
        }
    }
}

impl Expected {
    /// Returns the word for people.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::In => "in",
            Self::InWithCode => "in with code",
            Self::Refused => "refused",
        }
    }
}

impl Row {
    fn of(who: Who, with: &'static str, expected: Expected, outcome: &Outcome) -> Self {
        let held = match (expected, outcome) {
            (_, Outcome::Unclear(_)) | (Expected::Refused, Outcome::Closed) => None,
            (Expected::In, Outcome::Unasked) | (Expected::InWithCode, Outcome::In(_)) => Some(true),
            (Expected::Refused, Outcome::Refused(_) | Outcome::Barred) => Some(true),
            _ => Some(false),
        };
        Self {
            who,
            with,
            expected,
            got: said(outcome),
            held,
        }
    }

    fn untried(who: Who, with: &'static str, expected: Expected, why: impl Into<String>) -> Self {
        Self {
            who,
            with,
            expected,
            got: why.into(),
            held: None,
        }
    }

    /// Returns what is wrong, where something is.
    fn wrong(&self) -> Option<&'static str> {
        if self.held != Some(false) {
            return None;
        }
        let unasked = self.got == said(&Outcome::Unasked);
        Some(match (self.who, self.with) {
            (Who::Member, RIGHT) if !unasked => "a member with key and right code was refused",
            (Who::Member, NO_KEY) => "a member was let in without a key",
            (Who::Member, REPLAYED) => "a member was let in with a code that had been used",
            (Who::Member, WRONG) if !unasked => "a member with a wrong code was let in",
            (Who::Member, _) => "a member was let in without being asked for a code",
            (Who::Pending, KEY) => {
                "an admin who may confirm by a login did not get in by key alone"
            }
            (Who::Pending, _) => "an admin could not confirm by a login",
            (Who::Other, KEY) if self.expected == Expected::Refused => {
                "an account that is not exempt was let in without being asked for a code"
            }
            (Who::Other, NO_KEY) => "an account that is no member was let in without a key",
            (Who::Other, _) => {
                "an account that is no member was refused with its key: something there lets nobody in by name (pam_access, DenyGroups), or keeps everybody out"
            }
        })
    }
}

fn said(outcome: &Outcome) -> String {
    match outcome {
        Outcome::In(_) => "in with code".to_owned(),
        Outcome::Unasked => "in, not asked for a code".to_owned(),
        Outcome::Refused(_) => "refused".to_owned(),
        Outcome::Barred => "refused, not asked for a code".to_owned(),
        Outcome::Closed => "the host closed the connection".to_owned(),
        Outcome::Unclear(why) => format!("not tried: {why}"),
    }
}

impl Table {
    /// Returns the first thing that is wrong, and otherwise what could not be told although nothing is proved without it.
    pub fn fault(&self) -> Option<String> {
        // Who is let in by nothing is no sign of what codes do.
        let barred = self.wrong_of(Who::Other);
        let wrong = barred.or_else(|| self.rows.iter().find_map(Row::wrong));
        wrong.map(str::to_owned).or_else(|| {
            let needed = |r: &&Row| r.who == Who::Member && matches!(r.with, RIGHT | WRONG);
            let untold = self.rows.iter().filter(needed).find(|r| r.held.is_none());
            untold.map(|r| {
                let why = r.got.trim_start_matches("not tried: ");
                format!("the proof by login could not be made: {why}")
            })
        })
    }

    fn wrong_of(&self, who: Who) -> Option<&'static str> {
        self.rows
            .iter()
            .filter(|r| r.who == who)
            .find_map(Row::wrong)
    }

    fn add(&mut self, who: Who, with: &'static str, expected: Expected, outcome: &Outcome) {
        self.rows.push(Row::of(who, with, expected, outcome));
    }

    /// Tries what must get in, as everybody does. The temporary member is one of fleetotp's members before and after.
    ///
    /// # Errors
    /// When something on this machine fails.
    pub async fn try_what_gets_in(
        &mut self,
        session: &Session,
        id: &str,
        proof: &Proof,
        clock: &dyn Clock,
    ) -> Result<(), FleetError> {
        let logins = Logins { session, proof };
        let code = proof.code(clock.now(), 0);
        let codes: Vec<Secret> = code.into_iter().collect();
        let right = logins
            .direct(Offer::KeyThenCode, &codes, Route::Direct)
            .await?;
        self.add(Who::Member, RIGHT, Expected::InWithCode, &right);
        if matches!(right, Outcome::Unclear(_)) {
            return Ok(());
        }
        // Of another step: one code gets in once, whoever it is that the member stands for.
        let second: Vec<Secret> = proof
            .second_step()
            .and_then(|steps| proof.code(clock.now(), steps))
            .into_iter()
            .collect();
        self.used = codes.into_iter().next();
        match self.pose(session, id, Who::Pending).await {
            Ok(()) if second.is_empty() => {
                let key = logins.direct(Offer::Key, &[], Route::Direct).await?;
                self.add(Who::Pending, KEY, Expected::In, &key);
                let why = "not tried: pam_oath takes no code of an earlier step, and with this window none of a later one";
                let row = Row::untried(Who::Pending, CONFIRMS, Expected::InWithCode, why);
                self.rows.push(row);
            }
            Ok(()) => {
                let (key, confirms) = tokio::join!(
                    logins.direct(Offer::Key, &[], Route::Direct),
                    logins.direct(Offer::CodeThenKey, &second, Route::Direct)
                );
                self.add(Who::Pending, KEY, Expected::In, &key?);
                self.add(Who::Pending, CONFIRMS, Expected::InWithCode, &confirms?);
            }
            Err(why) => {
                let rows = [(KEY, Expected::In), (CONFIRMS, Expected::InWithCode)];
                let rows = rows.map(|(with, e)| Row::untried(Who::Pending, with, e, why.clone()));
                self.rows.extend(rows);
            }
        }
        match self.pose(session, id, Who::Other).await {
            // It is refused, as everybody is: tried with what is refused.
            Ok(()) if proof.everyone() => {}
            Ok(()) if proof.others_by_key => {
                let key = logins.direct(Offer::Key, &[], Route::Direct).await?;
                self.add(Who::Other, KEY, Expected::In, &key);
            }
            Ok(()) => self.rows.push(Row::untried(
                Who::Other,
                KEY,
                Expected::In,
                "not tried: sshd lets nobody in here by key alone",
            )),
            Err(why) => {
                let row = Row::untried(Who::Other, KEY, Expected::In, why);
                self.rows.push(row);
            }
        }
        Ok(())
    }

    /// Tries what must be refused, from the host itself; after what must get in.
    ///
    /// # Errors
    /// When something on this machine fails.
    pub async fn try_what_is_refused(
        &mut self,
        session: &Session,
        id: &str,
        proof: &Proof,
        clock: &dyn Clock,
    ) -> Result<(), FleetError> {
        let logins = Logins { session, proof };
        if self.stands_for == Some(Who::Other) {
            let none = logins.inside(Offer::Code, &[], 0).await?;
            self.add(Who::Other, NO_KEY, Expected::Refused, &none);
            if proof.everyone() {
                let key = logins.inside(Offer::Key, &[], 1).await?;
                self.add(Who::Other, KEY, Expected::Refused, &key);
            }
        }
        if self.stands_for.is_some()
            && let Err(why) = self.pose(session, id, Who::Member).await
        {
            // Without a member nothing is told about codes.
            let row = Row::untried(Who::Member, WRONG, Expected::Refused, why);
            self.rows.push(row);
            return Ok(());
        }
        let mut codes: Vec<Secret> = proof.wrong_code(clock.now()).into_iter().collect();
        codes.extend(self.used.clone());
        let (key, none, wrong) = tokio::join!(
            logins.inside(Offer::Key, &[], 0),
            logins.inside(Offer::Code, &codes, 1),
            logins.inside(Offer::KeyThenCode, &codes, 1),
        );
        let (key, none, mut wrong) = (key?, none?, wrong?);
        let kept_out = proof.penalises_at_once && !proof.inside.is_empty();
        if kept_out && matches!(wrong, Outcome::Unclear(_)) {
            // From here it would shut out whoever else comes from this address.
            wrong = Outcome::Unclear(KEPT_OUT.to_owned());
        } else if matches!(
            wrong,
            Outcome::Unclear(_) | Outcome::Barred | Outcome::Closed
        ) {
            // Forwarding may be off there, or logins from there: then as everybody does.
            wrong = logins
                .direct(Offer::KeyThenCode, &codes, Route::Direct)
                .await?;
        }
        self.add(Who::Member, KEY, Expected::Refused, &key);
        self.add(Who::Member, NO_KEY, Expected::Refused, &none);
        let (wrong, used) = each_code(&wrong);
        self.add(Who::Member, WRONG, Expected::Refused, &wrong);
        self.add(Who::Member, REPLAYED, Expected::Refused, &used);
        Ok(())
    }
}

impl Table {
    /// Has the host make the temporary member of an open change one of somebody's kind.
    async fn pose(&mut self, session: &Session, id: &str, who: Who) -> Result<(), String> {
        let mut request = Request::apply();
        request.line(&["pose", id, who.as_str()]);
        let sent = async {
            let answer = session.exec(request, POSE).await?;
            applied(&answer)?;
            Ok::<(), FleetError>(())
        };
        sent.await.map_err(|error| {
            format!("not tried: the temporary member's group cannot be changed: {error}")
        })?;
        self.stands_for = Some(who).filter(|w| *w != Who::Member);
        Ok(())
    }
}

/// Whether sshd keeps an address out after a single failed login (sshd_config(5)): by default it takes several, `authfail:5`
/// adding up to `min:15`.
fn penalises_at_once(facts: &Facts) -> bool {
    let penalties = facts.effective.values().next();
    let penalties = penalties.map_or("", |e| e.get("persourcepenalties"));
    let seconds = |key: &str| {
        let mut words = penalties.split_whitespace();
        words.find_map(|w| w.strip_prefix(key)?.strip_prefix(':')?.parse::<u64>().ok())
    };
    matches!((seconds("authfail"), seconds("min")), (Some(one), Some(enough)) if one >= enough)
}

/// One login tried a wrong code and then a used one: what came of each.
fn each_code(both: &Outcome) -> (Outcome, Outcome) {
    let untried = || Outcome::Unclear("sshd asks only once".to_owned());
    match both {
        Outcome::In(1) => (Outcome::In(1), untried()),
        Outcome::In(_) => (Outcome::Refused(1), Outcome::In(1)),
        Outcome::Refused(1) => (Outcome::Refused(1), untried()),
        Outcome::Refused(_) => (Outcome::Refused(1), Outcome::Refused(1)),
        Outcome::Barred => {
            let why = "the temporary member was refused before it was asked for a code";
            (Outcome::Unclear(why.to_owned()), untried())
        }
        Outcome::Unasked | Outcome::Closed | Outcome::Unclear(_) => (both.clone(), untried()),
    }
}

struct Logins<'a> {
    session: &'a Session,
    proof: &'a Proof,
}

impl Logins<'_> {
    async fn direct(
        &self,
        offer: Offer,
        codes: &[Secret],
        route: Route<'_>,
    ) -> Result<Outcome, FleetError> {
        let wanted = Try {
            offer,
            codes,
            route,
            penalty: if self.proof.penalises {
                PENALTY
            } else {
                Duration::ZERO
            },
        };
        canary::login(self.session, &self.proof.pair, wanted).await
    }

    /// From the host itself: by the `nth` of its addresses where sshd counts failed logins against each, else by the first.
    /// Where nothing comes of that, a firewall or a log reader may keep that one out, so another is tried.
    async fn inside(
        &self,
        offer: Offer,
        codes: &[Secret],
        nth: usize,
    ) -> Result<Outcome, FleetError> {
        let inside = &self.proof.inside;
        let nth = if self.proof.penalises { nth } else { 0 };
        let Some(address) = inside.get(nth).or(inside.last()) else {
            let why = "the connection forwards nothing to the host itself";
            return Ok(Outcome::Unclear(why.to_owned()));
        };
        let outcome = self.direct(offer, codes, Route::Inside(address)).await?;
        match inside.iter().find(|other| *other != address) {
            // Whom a single failed login keeps out is kept out by both.
            Some(other)
                if matches!(outcome, Outcome::Unclear(_)) && !self.proof.penalises_at_once =>
            {
                self.direct(offer, codes, Route::Inside(other)).await
            }
            _ => Ok(outcome),
        }
    }
}

impl Proof {
    /// Makes the secrets of a temporary member for a host whose members have this policy.
    ///
    /// # Errors
    /// When no key can be made.
    pub(super) async fn make(
        shared: &Shared,
        policy: &Policy,
        facts: &Facts,
    ) -> Result<Self, String> {
        let pair = CanaryKey::generate(&shared.control).await;
        let key = key::generate(shared.entropy.as_ref());
        Ok(Self {
            pair: pair.map_err(|e| e.to_string())?,
            key: key.map_err(|e| e.to_string())?,
            // What is proved is PAM and sshd, not whose clock is right: that is looked at by itself.
            policy: Policy {
                // With pam_oath it stands in PAM's text, and is that of everybody.
                window: match policy.module {
                    Module::GoogleAuthenticator => policy.window.max(WINDOW),
                    Module::Oath => policy.window,
                },
                ..policy.clone()
            },
            project: shared.project.clone(),
            sudo: sudo::calls(facts, policy),
            inside: inside(facts),
            penalises: facts.version >= PENALISES_SINCE,
            penalises_at_once: penalises_at_once(facts),
            others_by_key: key_is_enough_for_others(facts),
        })
    }

    /// Whether a code is demanded of everybody but the exempt.
    fn everyone(&self) -> bool {
        self.policy.scope == PolicyScope::Everyone
    }

    fn params(&self) -> CodeParams {
        let policy = &self.policy;
        CodeParams::new(policy.algorithm, policy.digits, policy.period)
    }

    /// How many steps after now the code of a second login is, where there can be one. pam_oath takes none that is not
    /// newer than the last, and a host's clock may be a step behind.
    const fn second_step(&self) -> Option<i64> {
        match self.policy.module {
            Module::GoogleAuthenticator => Some(-1),
            Module::Oath if self.policy.window > 1 => Some(1),
            Module::Oath => None,
        }
    }

    /// The code of so many steps after now.
    pub(super) fn code(&self, now: Timestamp, steps: i64) -> Option<Secret> {
        let period = i64::try_from(self.policy.period.as_secs()).ok()?;
        let at = Timestamp::from_second(now.as_second() + steps * period).ok()?;
        code_at(&self.key, self.params(), at).ok()
    }

    /// A code that is none of those the host would take now.
    pub(super) fn wrong_code(&self, now: Timestamp) -> Option<Secret> {
        let taken: Vec<Secret> = (-20..=20).filter_map(|n| self.code(now, n)).collect();
        (1_000..1_100)
            .filter_map(|n| self.code(now, n))
            .find(|code| !taken.contains(code))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_row_holds_only_with_what_is_expected() {
        let outcomes = [
            Outcome::In(1),
            Outcome::Unasked,
            Outcome::Refused(1),
            Outcome::Barred,
            Outcome::Closed,
            Outcome::Unclear("x".into()),
        ];
        for (expected, held) in [
            (
                Expected::In,
                [
                    Some(false),
                    Some(true),
                    Some(false),
                    Some(false),
                    Some(false),
                    None,
                ],
            ),
            (
                Expected::InWithCode,
                [
                    Some(true),
                    Some(false),
                    Some(false),
                    Some(false),
                    Some(false),
                    None,
                ],
            ),
            (
                Expected::Refused,
                [Some(false), Some(false), Some(true), Some(true), None, None],
            ),
        ] {
            for (outcome, held) in outcomes.iter().zip(held) {
                let row = Row::of(Who::Member, KEY, expected, outcome);
                assert_eq!(row.held, held, "{expected:?} {outcome:?}");
                assert_eq!(row.wrong().is_some(), held == Some(false));
            }
        }
    }

    #[test]
    fn a_member_that_nothing_lets_in_is_told_from_one_whose_code_is_refused() {
        let mut table = Table::default();
        table.add(
            Who::Member,
            RIGHT,
            Expected::InWithCode,
            &Outcome::Refused(1),
        );
        assert_eq!(
            table.fault().unwrap(),
            "a member with key and right code was refused"
        );
        table.add(Who::Other, KEY, Expected::In, &Outcome::Barred);
        assert!(table.fault().unwrap().contains("pam_access"));
    }

    #[test]
    fn what_nothing_is_proved_without_must_have_been_tried() {
        let mut table = Table::default();
        table.add(Who::Member, RIGHT, Expected::InWithCode, &Outcome::In(1));
        table.add(
            Who::Member,
            REPLAYED,
            Expected::Refused,
            &Outcome::Unclear("x".into()),
        );
        assert_eq!(table.fault(), None, "others may stay untried");
        table.add(
            Who::Member,
            WRONG,
            Expected::Refused,
            &Outcome::Unclear("lost".into()),
        );
        assert_eq!(
            table.fault().unwrap(),
            "the proof by login could not be made: lost"
        );
    }

    #[test]
    fn of_two_codes_the_one_that_let_in_is_told() {
        let sentence = |both: Outcome| {
            let (wrong, used) = each_code(&both);
            let mut table = Table::default();
            table.add(Who::Member, WRONG, Expected::Refused, &wrong);
            table.add(Who::Member, REPLAYED, Expected::Refused, &used);
            table.fault()
        };
        assert_eq!(sentence(Outcome::Refused(2)), None);
        assert_eq!(sentence(Outcome::Refused(1)), None);
        assert!(sentence(Outcome::In(1)).unwrap().contains("wrong code"));
        assert!(sentence(Outcome::In(2)).unwrap().contains("had been used"));
        assert!(
            sentence(Outcome::Unasked)
                .unwrap()
                .contains("without being asked")
        );
        assert!(
            sentence(Outcome::Barred)
                .unwrap()
                .contains("before it was asked")
        );
    }
}
