//! What the events alone tell is what the tables hold.

use std::collections::BTreeMap;

use super::*;
use crate::report::picture::{ItemState, Picture};
use crate::report::source;
use crate::token::state::{Slot, TokenHostState, TokenState};

pub(super) trait AssertIs {
    /// Takes in the new events and compares everything.
    async fn assert_is(&mut self, ledger: &Ledger, now: Timestamp);
}

impl AssertIs for Picture {
    async fn assert_is(&mut self, ledger: &Ledger, now: Timestamp) {
        source::advance(self, ledger, &[], now).await.unwrap();
        let head = ledger.head().await.unwrap();
        assert_eq!(self.log, (head.size, head.hash));
        let tokens = ledger.tokens().await.unwrap();
        assert_eq!(self.tokens.len(), tokens.len());
        for token in &tokens {
            assert_token(self, token);
        }
        assert_sheets(self, ledger).await;
        assert_hosts(self, ledger).await;
        assert_items(self, ledger).await;
        let bypasses: Vec<_> = ledger.bypasses().await.unwrap();
        let told: Vec<_> = self
            .bypasses
            .iter()
            .map(|b| (b.state, b.due_at, b.granted_at, b.ended_at))
            .collect();
        let held: Vec<_> = bypasses
            .iter()
            .map(|b| (b.state, b.due_at, b.granted_at, b.ended_at))
            .collect();
        assert_eq!(told, held);
    }
}

fn assert_token(picture: &Picture, token: &TokenRecord) {
    let told = picture
        .token(picture.token_id(token.serial.as_str()).unwrap())
        .unwrap();
    assert_eq!(*told.person, *token.person.as_str());
    assert_eq!(*told.realm, *token.realm.as_str());
    assert_eq!(told.policy.as_deref(), Some(token.policy.as_str()));
    assert_eq!(
        (told.state, told.changed_at),
        (token.state, token.changed_at)
    );
    for (slot, held) in [(Slot::Current, &token.current), (Slot::Next, &token.next)] {
        let told = told.live(slot);
        assert_eq!(told.is_some(), held.is_some(), "{slot} {token:#?}");
        if let (Some(told), Some(held)) = (told, held) {
            assert_eq!(told.number, held.number);
            assert_eq!(told.state, held.state);
            assert_eq!(told.issued_at, held.issued_at);
            assert_eq!(told.expires_at, held.expires_at);
            assert_eq!(told.confirmed_at, held.confirmed_at);
            assert_eq!(told.confirmed_how.as_deref(), held.confirmed_how.as_deref());
            assert_eq!(*told.fingerprint, *held.fingerprint);
        }
    }
}

async fn assert_sheets(picture: &Picture, ledger: &Ledger) {
    let told: BTreeMap<_, _> = picture
        .tokens
        .iter()
        .flat_map(|t| &t.generations)
        .filter_map(|g| g.sheet.as_ref().map(|s| (g, s)))
        .map(|(g, s)| {
            let times = (g.issued_at, g.expires_at, s.delivered_at, s.ended_at);
            (s.id.to_string(), (s.state, times))
        })
        .collect();
    let held: BTreeMap<_, _> = ledger
        .sheet_entries()
        .await
        .unwrap()
        .into_iter()
        .map(|e| {
            let s = e.sheet;
            let times = (s.issued_at, s.expires_at, e.delivered_at, e.ended_at);
            (s.id.to_string(), (s.state, times))
        })
        .collect();
    assert_eq!(told, held);
}

async fn assert_hosts(picture: &Picture, ledger: &Ledger) {
    let held = ledger.hosts().await.unwrap();
    let expected = picture.hosts.iter().filter(|h| h.retired_at.is_none());
    assert_eq!(expected.count(), held.len());
    for host in held {
        let told = picture.host_named(host.name.as_str()).unwrap();
        let name = &told.name;
        assert_eq!(told.reachable, host.reachable, "{name}");
        assert_eq!(told.detail.as_deref(), host.detail.as_deref(), "{name}");
        assert_eq!(told.last_attempt_at, host.last_attempt_at, "{name}");
        assert_eq!(told.last_seen_at, host.last_seen_at, "{name}");
        let weaknesses = told
            .weaknesses
            .as_ref()
            .map(|w| serde_json::to_value(&**w).unwrap());
        assert_eq!(weaknesses, host.weaknesses, "{name}");
    }
    let held = ledger.token_hosts().await.unwrap();
    let told = picture.hosts.iter().map(|h| h.places.len()).sum::<usize>();
    assert_eq!(told, held.len());
    for row in held {
        let id = picture.token_id(row.serial.as_str()).unwrap();
        let host = picture.host_named(row.host.as_str()).unwrap();
        let place = host.place(id).unwrap();
        let slot = |number: u32| Some(number).filter(|n| *n > 0);
        assert_eq!(place.state, row.state, "{row:?}");
        assert_eq!(
            (slot(place.current), slot(place.next)),
            (row.current, row.next),
            "{row:?}"
        );
        assert_eq!(
            *picture.reason(place),
            *row.reason.clone().unwrap_or_default()
        );
        let token = picture.token(id).unwrap();
        // That a revoked token was read again and is still gone makes no event.
        if !matches!(token.state, TokenState::Revoking | TokenState::Revoked) {
            assert_eq!(place.observed_at(), Some(row.observed_at), "{row:?}");
            assert_eq!(place.changed_at(), Some(row.changed_at), "{row:?}");
        }
    }
}

async fn assert_items(picture: &Picture, ledger: &Ledger) {
    let mut told: Vec<(String, String, &str)> = Vec::new();
    for token in &picture.tokens {
        let Some(revocation) = token.revocation.map(|r| &picture.revocations[r]) else {
            continue;
        };
        for (host, item) in &revocation.items {
            let state = match item.state {
                ItemState::Open => "open",
                ItemState::Proven => "proven",
                ItemState::Attested => "attested",
            };
            let host = picture.host(*host).unwrap().name.to_string();
            told.push((token.serial.to_string(), host, state));
        }
    }
    told.sort();
    let held: Vec<(String, String, &str)> = ledger
        .revocation_items()
        .await
        .unwrap()
        .into_iter()
        .map(|i| {
            let attested = i.proof.as_ref().is_some_and(|p| p["how"] == "attested");
            let state = match i.proof {
                None => "open",
                Some(_) if attested => "attested",
                Some(_) => "proven",
            };
            (i.serial.to_string(), i.host.to_string(), state)
        })
        .collect();
    assert_eq!(told, held);
}

#[tokio::test]
async fn a_whole_life_is_told_by_the_events() {
    let mut f = Fixture::new().await;
    let mut picture = Picture::default();
    let alice = f.issue("alice", "prod", IssueKind::First).await;
    let sheet = alice.pending().unwrap().sheet.clone().unwrap().id;
    f.ledger
        .sheet_rendered(&sheet, "00", "x.pdf")
        .await
        .unwrap();
    f.ledger.sheet_issued(&sheet).await.unwrap();
    f.ledger
        .sheet_delivered(&sheet, "Bob", "in person")
        .await
        .unwrap();
    let at = f.clock.now();
    let read = |name: &str, at| HostObservation {
        weaknesses: Some(serde_json::json!([{"kind": "nullok", "detail": "x"}])),
        ..HostObservation::new(name.parse().unwrap(), at, HostOutcome::Read)
    };
    f.ledger
        .observe(
            &[read("web1", at), read("web2", at)],
            &[
                hosts::seen(&alice, "web1", at),
                hosts::seen(&alice, "web2", at),
            ],
        )
        .await
        .unwrap();
    picture.assert_is(&f.ledger, f.clock.now()).await;
    // Read again by part and with another admin beside, unreachable, failed, retired, and back.
    let carol = f.issue("carol", "prod", IssueKind::First).await;
    f.clock.advance(Span::from_secs(60));
    let at = f.clock.now();
    f.ledger
        .observe(&[read("web1", at)], &[hosts::seen(&carol, "web1", at)])
        .await
        .unwrap();
    picture.assert_is(&f.ledger, f.clock.now()).await;
    f.clock.advance(Span::from_secs(60));
    let at = f.clock.now();
    let away = HostOutcome::Unreachable("no route".to_owned());
    for _ in 0..2 {
        let attempt = HostObservation::new("web2".parse().unwrap(), at, away.clone());
        f.ledger
            .observe(
                &[read("web1", at), attempt],
                &[hosts::seen(&carol, "web1", at)],
            )
            .await
            .unwrap();
        picture.assert_is(&f.ledger, f.clock.now()).await;
        f.clock.advance(Span::from_secs(5));
    }
    f.confirm(&alice).await.unwrap();
    let web2 = "web2".parse().unwrap();
    f.ledger.retire_host(&web2, "scrapped", None).await.unwrap();
    picture.assert_is(&f.ledger, f.clock.now()).await;
    let at = f.clock.now();
    f.ledger.observe_hosts(&[read("web2", at)]).await.unwrap();
    picture.assert_is(&f.ledger, f.clock.now()).await;
    // A revocation with a host that nobody knew, one that is retired under it, and a new enrolment.
    let request = RevocationRequest {
        admin: "alice".parse().unwrap(),
        realm: "prod".parse().unwrap(),
        policy: "default".parse().unwrap(),
        hosts: vec![RevocationHost {
            host: "db1".parse().unwrap(),
            login: "alice".parse().unwrap(),
            connection: None,
        }],
        reason: Some("left".to_owned()),
        ticket: Some("T-1".to_owned()),
    };
    f.ledger
        .request_revocations(std::slice::from_ref(&request))
        .await
        .unwrap();
    picture.assert_is(&f.ledger, f.clock.now()).await;
    let reading = |host: &str, result| ItemReading {
        serial: alice.serial.clone(),
        host: host.parse().unwrap(),
        result,
        repaired: false,
    };
    f.clock.advance(Span::from_secs(600));
    let proof = || ItemResult::Proven(serde_json::json!({"how": "read_back"}));
    f.ledger
        .store_readings(&[
            reading("web1", proof()),
            reading("web2", ItemResult::Open("still there".to_owned())),
        ])
        .await
        .unwrap();
    f.ledger
        .retire_host(&web2, "scrapped", Some("T-2"))
        .await
        .unwrap();
    picture.assert_is(&f.ledger, f.clock.now()).await;
    f.clock.advance(Span::from_secs(600));
    f.ledger
        .store_readings(&[reading("db1", proof())])
        .await
        .unwrap();
    picture.assert_is(&f.ledger, f.clock.now()).await;
    assert_eq!(picture.tokens[0].state, TokenState::Revoked);
    let revocation = &picture.revocations[0];
    assert_eq!(revocation.count(ItemState::Attested), 1);
    assert_eq!(revocation.done_at(), Some(f.clock.now()));
    f.ledger
        .store_readings(&[reading("web1", ItemResult::Open("came back".to_owned()))])
        .await
        .unwrap();
    picture.assert_is(&f.ledger, f.clock.now()).await;
    f.issue("alice", "prod", IssueKind::First).await;
    picture.assert_is(&f.ledger, f.clock.now()).await;
    f.ledger
        .request_revocations(std::slice::from_ref(&request))
        .await
        .unwrap();
    picture.assert_is(&f.ledger, f.clock.now()).await;
    // One-time codes, removal, expiry.
    let grant = NewBypass {
        id: "B-7K2M9QXA".parse().unwrap(),
        places: vec![("web1".parse().unwrap(), carol.serial.clone())],
        login: "carol".parse().unwrap(),
        due: Span::from_secs(600).after(f.clock.now()),
        reason: "phone lost".to_owned(),
        ticket: None,
    };
    f.ledger.grant_bypass(&grant).await.unwrap();
    picture.assert_is(&f.ledger, f.clock.now()).await;
    let web1 = "web1".parse().unwrap();
    let used = crate::token::state::BypassState::Used;
    f.ledger
        .end_bypass(&grant.id, &web1, used, None)
        .await
        .unwrap();
    let removed = RemovedHost {
        host: web1,
        key_only: 1,
    };
    f.ledger
        .record_removal(&[removed], "moved", None)
        .await
        .unwrap();
    f.clock.advance(Span::from_days(4));
    f.ledger.expire_overdue().await.unwrap();
    picture.assert_is(&f.ledger, f.clock.now()).await;
    let gone = picture.host_named("web1").unwrap().places[1].1;
    assert_eq!(gone.state, TokenHostState::Absent);
}
