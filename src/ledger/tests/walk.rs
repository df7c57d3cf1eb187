//! The life of a token as a random walk: commands, logins, time and hosts that are away, in any order. The hosts are
//! models of what the plan and the reaper do there; the ledger is the real one.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::hosts::seen;
use super::picture::AssertIs as _;
use super::*;
use crate::report::picture::Picture;
use crate::token::id::Generation;
use crate::token::state::{GenerationState, TokenHostState, TokenState};

const HOSTS: [&str; 3] = ["web1", "web2", "db1"];
const ENROLMENT: u64 = 72 * 3600;
const OVERLAP: u64 = 7 * 24 * 3600;

#[derive(Debug, Clone)]
enum Step {
    Issue(IssueKind),
    /// A code of the generation that waits is typed in at the controller.
    Confirm,
    /// A login with key and code of the newest entry in the phone, or of the one before.
    Login {
        host: usize,
        older: bool,
    },
    /// These hosts are reached; the others are away.
    Sync([bool; HOSTS.len()]),
    TakeBack,
    Revoke,
    Pass(u32),
}

fn step() -> impl Strategy<Value = Step> {
    use IssueKind::{First, LostDevice, Reissue, Rotation};
    prop_oneof![
        2 => prop_oneof![Just(First), Just(Reissue), Just(LostDevice), Just(Rotation), Just(Rotation)]
            .prop_map(Step::Issue),
        3 => Just(Step::Confirm),
        6 => (0..HOSTS.len(), any::<bool>()).prop_map(|(host, older)| Step::Login { host, older }),
        8 => any::<[bool; HOSTS.len()]>().prop_map(Step::Sync),
        1 => Just(Step::TakeBack),
        1 => Just(Step::Revoke),
        4 => prop_oneof![1_u32..600, Just(80 * 3600), Just(8 * 24 * 3600), Just(8 * 24 * 3600)].prop_map(Step::Pass),
    ]
}

/// What a host has for the admin.
#[derive(Debug, Default, Clone)]
struct Model {
    current: Option<Generation>,
    next: Option<Generation>,
    /// Ends `current` or `next` unless something happens before.
    deadline: BTreeMap<&'static str, (i64, Generation)>,
    /// The host asks for a code.
    enforced: bool,
    /// Generations of which a code was used there.
    used: BTreeSet<Generation>,
}

impl Model {
    /// What the reaper does, with nobody else there.
    fn tick(&mut self, now: i64) {
        if let Some((due, generation)) = self.deadline.get("current").copied()
            && due <= now
        {
            if self.current == Some(generation) {
                self.current = None;
            }
            self.deadline.remove("current");
        }
        if let Some((due, generation)) = self.deadline.get("next").copied()
            && due <= now
        {
            if self.next == Some(generation) {
                if self.used.contains(&generation) {
                    self.current = self.next;
                }
                self.next = None;
            }
            self.deadline.remove("next");
        }
    }

    fn accepts(&self, generation: Generation) -> bool {
        self.current == Some(generation) || self.next == Some(generation)
    }
}

/// Everything that is not the ledger.
struct World {
    f: Fixture,
    hosts: [Model; HOSTS.len()],
    /// Generations in the admin's phone, oldest first.
    phone: Vec<Generation>,
    /// What the events alone tell.
    picture: Picture,
    /// The first generation since a phone was lost or the admin was revoked: what came before may be gone.
    since: Generation,
}

impl World {
    fn now(&self) -> i64 {
        self.f.clock.now().as_second()
    }

    async fn token(&self) -> Option<TokenRecord> {
        let (admin, realm) = ("alice".parse().unwrap(), "prod".parse().unwrap());
        self.f.ledger.token(&admin, &realm).await.unwrap()
    }

    async fn take(&mut self, step: &Step) {
        match step {
            Step::Issue(kind) => self.issue(*kind).await,
            Step::Confirm => {
                let token = self.token().await;
                if let Some(token) = token.filter(|t| t.pending().is_some()) {
                    let number = token.pending().unwrap().number;
                    let over = token.pending().unwrap().expires_at;
                    let over = over.is_some_and(|at| at <= self.f.clock.now());
                    // Only a phone that has the entry shows a code.
                    if self.phone.contains(&number) {
                        assert_eq!(self.f.confirm(&token).await.is_ok(), !over);
                    }
                }
            }
            Step::Login { host, older } => {
                let mut phone = self.phone.iter().rev();
                let entry = if *older { phone.nth(1) } else { phone.next() };
                let host = &mut self.hosts[*host];
                if let Some(generation) = entry.filter(|g| host.accepts(**g)) {
                    host.used.insert(*generation);
                }
            }
            Step::Sync(reached) => self.sync(*reached).await,
            Step::TakeBack => {
                if let Some(token) = self.token().await {
                    let unconfirmed = token
                        .next
                        .as_ref()
                        .is_some_and(|g| g.state == GenerationState::Pending);
                    let done = self
                        .f
                        .ledger
                        .take_back_rotation(&token.serial, "test", &Cause::default())
                        .await;
                    assert_eq!(done.is_ok(), unconfirmed);
                }
            }
            Step::Revoke => {
                if self.token().await.is_some() {
                    let request = RevocationRequest {
                        admin: "alice".parse().unwrap(),
                        realm: "prod".parse().unwrap(),
                        policy: "default".parse().unwrap(),
                        hosts: HOSTS
                            .map(|name| RevocationHost {
                                host: name.parse().unwrap(),
                                login: "alice".parse().unwrap(),
                                connection: None,
                            })
                            .into(),
                        reason: None,
                        ticket: None,
                    };
                    self.f.ledger.request_revocations(&[request]).await.unwrap();
                }
            }
            Step::Pass(seconds) => {
                self.f.clock.advance(Span::from_secs(u64::from(*seconds)));
            }
        }
        let now = self.now();
        for host in &mut self.hosts {
            host.tick(now);
        }
    }

    async fn issue(&mut self, kind: IssueKind) {
        let mut draft = self.f.draft("alice", "prod", kind).await;
        let time = if kind == IssueKind::Rotation {
            OVERLAP
        } else {
            ENROLMENT
        };
        draft.expires_at = Some(Span::from_secs(time).after(self.f.clock.now()));
        let Ok(issued) = self.f.ledger.issue(&[draft]).await else {
            return;
        };
        let token = &issued[0].token;
        if matches!(kind, IssueKind::LostDevice | IssueKind::First) {
            self.phone.clear();
            self.since = token.generations;
        }
        // A sheet that nobody had confirmed is replaced, and nothing older works: a host that is away learns of it later.
        if kind == IssueKind::Reissue && token.state == TokenState::Pending {
            self.since = token.generations;
        }
        self.phone.push(token.generations);
    }

    /// What a run does: read, take in what was used, bring each host to the ledger's wish, read back, settle.
    async fn sync(&mut self, reached: [bool; HOSTS.len()]) {
        for round in 0..2 {
            for (index, name) in HOSTS.iter().enumerate() {
                if reached[index] {
                    if round == 0 {
                        self.take_in(index, name).await;
                    }
                    self.bring(index, name).await;
                }
            }
        }
        let ledger = &self.f.ledger;
        ledger.finish_rotations().await.unwrap();
        ledger
            .end_overdue_rotations(&BTreeSet::new())
            .await
            .unwrap();
        ledger.expire_overdue().await.unwrap();
        if let Some(token) = self.token().await {
            // Told that every host shows the new one, the admin deletes the old entry.
            if token.state == TokenState::Active
                && let Some(current) = &token.current
                && token.next.is_none()
            {
                self.phone.retain(|g| *g >= current.number);
            }
        }
    }

    async fn take_in(&mut self, index: usize, name: &str) {
        let Some(token) = self.token().await else {
            return;
        };
        let host = &self.hosts[index];
        let used = token
            .pending()
            .filter(|g| host.used.contains(&g.number) && host.accepts(g.number));
        if let Some(generation) = used {
            let confirmation = Confirmation {
                serial: token.serial.clone(),
                generation: generation.number,
                how: ConfirmedHow::Login {
                    host: name.parse().unwrap(),
                    step: Some(7),
                },
                vouched: Vouched::default(),
            };
            self.f.ledger.confirm(&confirmation).await.unwrap();
        }
    }

    async fn bring(&mut self, index: usize, name: &str) {
        let Some(token) = self.token().await else {
            return;
        };
        let now = self.now();
        let host = &mut self.hosts[index];
        if matches!(token.state, TokenState::Revoking | TokenState::Revoked) {
            *host = Model {
                enforced: true,
                ..Model::default()
            };
        } else {
            let confirmed_next = token
                .next
                .as_ref()
                .filter(|g| g.state == GenerationState::Active);
            let current = confirmed_next.or(token.current.as_ref());
            let next = token.next.as_ref().filter(|_| confirmed_next.is_none());
            let alive = |g: &&GenerationRecord| {
                g.state == GenerationState::Active
                    || g.expires_at.is_none_or(|at| at.as_second() > now)
            };
            host.current = current.filter(alive).map(|g| g.number).or(host
                .current
                .filter(|g| current.is_some_and(|wanted| wanted.number == *g)));
            host.next = next.filter(alive).map(|g| g.number);
            host.deadline.clear();
            for (slot, generation) in [("current", current), ("next", next)] {
                if let Some(g) = generation.filter(|g| g.state == GenerationState::Pending)
                    && let Some(at) = g.expires_at
                {
                    host.deadline.insert(slot, (at.as_second(), g.number));
                }
            }
            let confirmed = current.is_some_and(|g| g.state == GenerationState::Active);
            host.enforced |= confirmed && host.current.is_some();
        }
        let at = self.f.clock.now();
        let row = TokenHostObservation {
            state: if host.enforced {
                TokenHostState::Enforced
            } else {
                TokenHostState::Staged
            },
            current: host.current,
            next: host.next,
            ..seen(&token, name, at)
        };
        let read = HostObservation::new(name.parse().unwrap(), at, HostOutcome::Read);
        self.f.ledger.observe(&[read], &[row]).await.unwrap();
        if matches!(token.state, TokenState::Revoking | TokenState::Revoked) {
            let reading = ItemReading {
                serial: token.serial.clone(),
                host: name.parse().unwrap(),
                result: ItemResult::Proven(serde_json::json!({"how": "read_back"})),
                repaired: false,
            };
            self.f.ledger.store_readings(&[reading]).await.unwrap();
        }
    }

    /// What no sequence may ever break.
    async fn check(&self) {
        let Some(token) = self.token().await else {
            return;
        };
        let live: Vec<_> = [&token.current, &token.next]
            .into_iter()
            .flatten()
            .collect();
        let context = format!("{token:#?}\n{:#?}\nphone {:?}", self.hosts, self.phone);
        // A second generation only in a rotation, and a rotation only with a second one.
        assert_eq!(
            token.next.is_some(),
            token.state == TokenState::Rotating,
            "{context}"
        );
        match token.state {
            TokenState::Revoking | TokenState::Revoked | TokenState::Expired => {
                assert!(live.is_empty(), "{context}");
            }
            TokenState::Pending => assert_eq!(
                token.current.as_ref().map(|g| g.state),
                Some(GenerationState::Pending),
                "{context}"
            ),
            TokenState::Active | TokenState::Rotating => assert_eq!(
                token.current.as_ref().map(|g| g.state),
                Some(GenerationState::Active),
                "{context}"
            ),
        }
        for generation in &live {
            let sealed = self
                .f
                .ledger
                .sealed_secret(&token.serial, generation.number);
            assert!(
                sealed.await.unwrap().is_some(),
                "a live secret is lost: {context}"
            );
        }
        for number in 1..=token.generations {
            if !live.iter().any(|g| g.number == number) {
                let sealed = self.f.ledger.sealed_secret(&token.serial, number).await;
                assert!(
                    sealed.unwrap().is_none(),
                    "a dead secret is kept: {context}"
                );
            }
        }
        // Revoked means: no host has anything.
        if token.state == TokenState::Revoked {
            for host in &self.hosts {
                assert!(host.current.is_none() && host.next.is_none(), "{context}");
                assert!(host.enforced, "removal must not open a host: {context}");
            }
        }
        // Nobody is left without a working code, unless that is what was asked for: revoked, lost, never confirmed.
        if matches!(token.state, TokenState::Active | TokenState::Rotating) {
            for host in self.hosts.iter().filter(|h| h.enforced) {
                let has_a_code = self.phone.iter().any(|g| host.accepts(*g));
                // A host that was away since then learns of the new key later.
                let behind = host.current.is_none_or(|g| g < self.since);
                assert!(has_a_code || behind, "{context}");
            }
        }
        // A new code that somebody used is not given up.
        let given_up = self.f.ledger.unconfirmed_rotations().await.unwrap();
        if !given_up.is_empty() {
            let used = |h: &Model| h.used.contains(&token.generations);
            assert!(!self.hosts.iter().any(used), "{context}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_sequence_breaks_an_invariant(begun in any::<bool>(), steps in prop::collection::vec(step(), 1..40)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut world = World {
                f: Fixture::new().await,
                hosts: Default::default(),
                phone: Vec::new(),
                picture: Picture::default(),
                since: 1,
            };
            world.issue(IssueKind::First).await;
            if begun {
                for step in [Step::Sync([true; HOSTS.len()]), Step::Confirm, Step::Sync([true; HOSTS.len()]),
                    Step::Issue(IssueKind::Rotation), Step::Sync([true; HOSTS.len()])] {
                    world.take(&step).await;
                }
            }
            for step in &steps {
                world.take(step).await;
                world.check().await;
                world.picture.assert_is(&world.f.ledger, world.f.clock.now()).await;
            }
            // Once all hosts are back, ledger and hosts agree.
            for _ in 0..3 {
                world.take(&Step::Sync([true; HOSTS.len()])).await;
                world.check().await;
                world.picture.assert_is(&world.f.ledger, world.f.clock.now()).await;
            }
            let token = world.token().await.unwrap();
            for host in &world.hosts {
                let wanted = |g: &Option<GenerationRecord>| g.as_ref().map(|g| g.number);
                if token.state == TokenState::Active {
                    prop_assert_eq!(host.current, wanted(&token.current));
                    prop_assert_eq!(host.next, None);
                    prop_assert!(world.phone.iter().any(|g| host.accepts(*g)));
                }
                prop_assert_ne!(token.state, TokenState::Revoking);
            }
            let chain = world.f.ledger.verify_chain().await.unwrap();
            prop_assert!(chain.is_sound(), "{:?}", chain.faults);
            Ok(())
        })?;
    }
}
