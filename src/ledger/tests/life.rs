use super::*;
use crate::token::state::{GenerationState, SheetState, Slot, TokenState};

#[tokio::test]
async fn an_issue_stores_token_generation_sheet_and_event_together() {
    let mut f = Fixture::new().await;
    let token = f.issue("alice", "prod", IssueKind::First).await;
    assert_eq!(token.state, TokenState::Pending);
    let generation = token.pending().unwrap();
    assert_eq!((generation.number, generation.slot), (1, Slot::Current));
    assert_eq!(generation.label, "alice@prod");
    let sheet = generation.sheet.as_ref().unwrap();
    assert_eq!(sheet.state, SheetState::Rendering);
    assert_eq!(sheet.expires_at, generation.expires_at);
    assert_eq!(
        f.ledger.tokens().await.unwrap(),
        std::slice::from_ref(&token)
    );
    let sealed = f
        .ledger
        .sealed_secret(&token.serial, 1)
        .await
        .unwrap()
        .unwrap();
    let label = SealLabel {
        project: f.ledger.project_id(),
        serial: &token.serial,
        generation: 1,
    };
    assert_eq!(f.vault.open(&label, &sealed).unwrap(), f.keys[0]);
    let events = f.ledger.events(0, 10).await.unwrap();
    assert_eq!(events.len(), 1);
    assert_eq!(events[0].kind, "token.issued");
    assert!(events[0].body.contains(token.serial.as_str()));
    assert!(events[0].body.contains(&generation.fingerprint));
}

#[tokio::test]
async fn a_batch_is_stored_as_a_whole_or_not_at_all() {
    let mut f = Fixture::new().await;
    let good = f.draft("alice", "prod", IssueKind::First).await;
    let mut bad = f.draft("bob", "prod", IssueKind::First).await;
    bad.names.generation = 2;
    let error = f.ledger.issue(&[good, bad]).await.unwrap_err();
    assert!(matches!(error, LedgerError::Overtaken(..)), "{error}");
    assert!(f.ledger.tokens().await.unwrap().is_empty());
    assert!(f.ledger.events(0, 10).await.unwrap().is_empty());
}

#[tokio::test]
async fn the_same_number_is_not_issued_twice() {
    let mut f = Fixture::new().await;
    let one = f.draft("alice", "prod", IssueKind::First).await;
    let two = f.draft("alice", "prod", IssueKind::First).await;
    f.ledger.issue(&[one]).await.unwrap();
    assert!(matches!(
        f.ledger.issue(&[two]).await,
        Err(LedgerError::Overtaken(..))
    ));
}

#[tokio::test]
async fn a_sheet_goes_from_rendering_to_its_end() {
    let mut f = Fixture::new().await;
    let token = f.issue("alice", "prod", IssueKind::First).await;
    let id = token.pending().unwrap().sheet.as_ref().unwrap().id.clone();
    f.ledger
        .sheet_rendered(&id, "ab12", "sheets/x.pdf")
        .await
        .unwrap();
    let rendering = f.ledger.sheets_in(SheetState::Rendering).await.unwrap();
    assert_eq!(rendering.len(), 1);
    assert_eq!(rendering[0].sha256.as_deref(), Some("ab12"));
    assert_eq!(rendering[0].path.as_deref(), Some("sheets/x.pdf"));
    f.ledger.sheet_issued(&id).await.unwrap();
    assert!(matches!(
        f.ledger.sheet_issued(&id).await,
        Err(LedgerError::Sheet { .. })
    ));
    assert!(f.ledger.sheet_rendered(&id, "cd", "y").await.is_err());
    let confirmed = f.confirm(&token).await.unwrap();
    assert_eq!(confirmed.sheet.unwrap().state, SheetState::Confirmed);
    assert!(matches!(
        f.ledger.sheet_void(&id, "late").await,
        Err(LedgerError::Sheet { .. })
    ));
}

#[tokio::test]
async fn a_confirmation_activates_the_token_once() {
    let mut f = Fixture::new().await;
    let token = f.issue("alice", "prod", IssueKind::First).await;
    let confirmed = f.confirm(&token).await.unwrap().token;
    assert_eq!(confirmed.state, TokenState::Active);
    let generation = confirmed.current.as_ref().unwrap();
    assert_eq!(generation.state, GenerationState::Active);
    assert_eq!(generation.last_step, Some(100));
    assert_eq!(generation.confirmed_how.as_deref(), Some("code"));
    assert!(matches!(
        f.confirm(&token).await,
        Err(LedgerError::Generation { .. })
    ));
    assert!(
        f.ledger
            .sealed_secret(&token.serial, 1)
            .await
            .unwrap()
            .is_some()
    );
}

#[tokio::test]
async fn an_expired_generation_is_not_confirmed_by_a_code_but_by_a_login_in_time() {
    let mut f = Fixture::new().await;
    let token = f.issue("alice", "prod", IssueKind::First).await;
    f.clock.advance(Span::from_secs(72 * 3600));
    assert!(matches!(
        f.confirm(&token).await,
        Err(LedgerError::Expired { .. })
    ));
    let login = Confirmation {
        serial: token.serial.clone(),
        generation: 1,
        how: ConfirmedHow::Login {
            host: "web1".parse().unwrap(),
            step: Some(7),
        },
        vouched: Vouched::default(),
    };
    let confirmed = f.ledger.confirm(&login).await.unwrap().token;
    assert_eq!(
        confirmed.current.unwrap().confirmed_on.unwrap().as_str(),
        "web1"
    );
}

#[tokio::test]
async fn what_nobody_confirmed_expires_and_loses_its_secret() {
    let mut f = Fixture::new().await;
    let token = f.issue("alice", "prod", IssueKind::First).await;
    assert!(f.ledger.expire_overdue().await.unwrap().is_empty());
    f.clock.advance(Span::from_secs(72 * 3600));
    let expired = f.ledger.expire_overdue().await.unwrap();
    assert_eq!(expired.len(), 1);
    assert_eq!(
        expired[0].sheet.as_ref().unwrap().state,
        SheetState::Expired
    );
    assert_eq!(
        f.ledger.sealed_secret(&token.serial, 1).await.unwrap(),
        None
    );
    assert!(f.ledger.expire_overdue().await.unwrap().is_empty());
    let again = f.issue("alice", "prod", IssueKind::First).await;
    assert_eq!(again.serial, token.serial);
    assert_eq!(again.state, TokenState::Pending);
    assert_eq!(again.pending().unwrap().number, 2);
}

#[tokio::test]
async fn a_reissue_replaces_only_what_is_unconfirmed() {
    let mut f = Fixture::new().await;
    let token = f.issue("alice", "prod", IssueKind::First).await;
    let old_sheet = token.pending().unwrap().sheet.clone().unwrap();
    let new = f.draft("alice", "prod", IssueKind::Reissue).await;
    let issued = f.ledger.issue(&[new]).await.unwrap().remove(0);
    assert_eq!(issued.voided.len(), 1);
    assert_eq!(issued.voided[0].id, old_sheet.id);
    assert_eq!(issued.voided[0].state, SheetState::Void);
    assert_eq!(issued.token.pending().unwrap().number, 2);
    assert_eq!(
        f.ledger.sealed_secret(&token.serial, 1).await.unwrap(),
        None
    );
    f.confirm(&issued.token).await.unwrap();
    let new = f.draft("alice", "prod", IssueKind::Reissue).await;
    assert!(matches!(
        f.ledger.issue(&[new]).await,
        Err(LedgerError::Token { .. })
    ));
    let new = f.draft("alice", "prod", IssueKind::First).await;
    assert!(matches!(
        f.ledger.issue(&[new]).await,
        Err(LedgerError::Token { .. })
    ));
}

#[tokio::test]
async fn a_rotation_keeps_both_and_a_lost_device_neither() {
    let mut f = Fixture::new().await;
    let token = f.issue("alice", "prod", IssueKind::First).await;
    f.confirm(&token).await.unwrap();
    let token = f.issue("alice", "prod", IssueKind::Rotation).await;
    assert_eq!(token.state, TokenState::Rotating);
    assert_eq!(token.current.as_ref().unwrap().number, 1);
    assert_eq!(token.next.as_ref().unwrap().number, 2);
    let token = f.issue("alice", "prod", IssueKind::LostDevice).await;
    assert_eq!(token.state, TokenState::Pending);
    assert_eq!(token.current.as_ref().unwrap().number, 3);
    assert_eq!(token.next, None);
    for dead in [1, 2] {
        assert_eq!(
            f.ledger.sealed_secret(&token.serial, dead).await.unwrap(),
            None
        );
    }
}

#[tokio::test]
async fn five_wrong_codes_in_ten_minutes_block_for_fifteen() {
    let mut f = Fixture::new().await;
    let token = f.issue("alice", "prod", IssueKind::First).await;
    let other = f.issue("alice", "lab", IssueKind::First).await;
    let wrong = async || {
        let attempt = f
            .ledger
            .begin_try(&token.serial, 1, TryLimit::DEFAULT)
            .await?;
        f.ledger.fail_try(&attempt, TryOutcome::Wrong).await
    };
    for _ in 0..4 {
        assert_eq!(wrong().await.unwrap(), None);
        f.clock.advance(Span::from_secs(60));
    }
    for _ in 0..3 {
        let attempt = f
            .ledger
            .begin_try(&token.serial, 1, TryLimit::DEFAULT)
            .await
            .unwrap();
        assert_eq!(
            f.ledger
                .fail_try(&attempt, TryOutcome::Malformed)
                .await
                .unwrap(),
            None
        );
    }
    let until = wrong().await.unwrap().unwrap();
    assert_eq!(until, Span::from_secs(900).after(f.clock.now()));
    assert!(matches!(wrong().await, Err(LedgerError::Throttled { until: u }) if u == until));
    assert!(matches!(
        f.confirm(&token).await,
        Err(LedgerError::Throttled { .. })
    ));
    assert_eq!(
        f.ledger
            .throttle(&token.serial, 1, TryLimit::DEFAULT)
            .await
            .unwrap(),
        Some(until)
    );
    f.confirm(&other).await.unwrap();
    f.clock.advance(Span::from_secs(901));
    assert_eq!(
        f.ledger
            .throttle(&token.serial, 1, TryLimit::DEFAULT)
            .await
            .unwrap(),
        None
    );
    // One more wrong code after the block does not block again.
    assert_eq!(wrong().await.unwrap(), None);
    f.confirm(&token).await.unwrap();
}

#[tokio::test]
async fn slow_tries_and_tries_cut_short_are_counted_rightly() {
    let mut f = Fixture::new().await;
    let token = f.issue("alice", "prod", IssueKind::First).await;
    for _ in 0..10 {
        let attempt = f
            .ledger
            .begin_try(&token.serial, 1, TryLimit::DEFAULT)
            .await
            .unwrap();
        assert_eq!(
            f.ledger
                .fail_try(&attempt, TryOutcome::Wrong)
                .await
                .unwrap(),
            None
        );
        f.clock.advance(Span::from_secs(151));
    }
    let other = f.issue("bob", "prod", IssueKind::First).await;
    for _ in 0..5 {
        f.ledger
            .begin_try(&other.serial, 1, TryLimit::DEFAULT)
            .await
            .unwrap();
    }
    // Killed five times after looking at a code: no sixth look.
    assert!(matches!(
        f.ledger
            .begin_try(&other.serial, 1, TryLimit::DEFAULT)
            .await,
        Err(LedgerError::Throttled { .. })
    ));
}

#[tokio::test]
async fn events_name_nobody() {
    let mut f = Fixture::new().await;
    let actor = Actor {
        name: "operator-olga".to_owned(),
        claimed: false,
    };
    f.ledger.begin_run("enroll", &actor).await.unwrap();
    let mut new = f.draft("alice", "prod", IssueKind::First).await;
    new.vouched.verified_by = Some("verifier-vera".to_owned());
    new.vouched.verified_how = Some("passport".to_owned());
    let token = f.ledger.issue(&[new]).await.unwrap().remove(0).token;
    f.ledger
        .observe(
            &[HostObservation::new(
                "web1".parse().unwrap(),
                f.clock.now(),
                HostOutcome::Read,
            )],
            &[super::hosts::seen(&token, "web1", f.clock.now())],
        )
        .await
        .unwrap();
    f.confirm(&token).await.unwrap();
    f.ledger.finish_run(0).await.unwrap();
    let events = f.ledger.events(0, 100).await.unwrap();
    let kinds: Vec<_> = events.iter().map(|e| e.kind.as_str()).collect();
    assert_eq!(
        kinds,
        [
            "run.started",
            "token.issued",
            "host.observed",
            "token.confirmed",
            "run.finished"
        ]
    );
    for event in &events {
        for name in ["alice", "olga", "vera"] {
            assert!(!event.body.contains(name), "{}", event.body);
        }
        assert!(event.body.contains("\"run\":\"R-"), "{}", event.body);
        assert!(event.body.contains("\"actor\":\"P-"), "{}", event.body);
    }
    assert_eq!(
        f.ledger
            .person_name(&token.person)
            .await
            .unwrap()
            .as_deref(),
        Some("alice")
    );
    // Erasing the person leaves the chain and the token as they are.
    f.tamper("UPDATE person SET name = NULL").await;
    assert!(f.ledger.verify_chain().await.unwrap().is_sound());
    assert_eq!(f.ledger.tokens().await.unwrap()[0].admin, None);
}
