use std::collections::BTreeSet;

use super::hosts::seen;
use super::*;
use crate::token::state::{GenerationState, SheetState, Slot, TokenState};

/// A token in a rotation, from generation 1 to 2.
async fn rotating(f: &mut Fixture) -> TokenRecord {
    let mut first = f.draft("alice", "prod", IssueKind::First).await;
    first.recovery = vec!["a".to_owned(), "b".to_owned()];
    let token = f.ledger.issue(&[first]).await.unwrap().remove(0).token;
    f.confirm(&token).await.unwrap();
    let mut second = f.draft("alice", "prod", IssueKind::Rotation).await;
    second.recovery = vec!["c".to_owned()];
    second.cause = Cause::new(Some("new telephone"), Some("OPS-7"));
    f.ledger.issue(&[second]).await.unwrap().remove(0).token
}

/// What was read of the token on a host now.
async fn read(
    f: &Fixture,
    token: &TokenRecord,
    host: &str,
    current: Option<u32>,
    next: Option<u32>,
) {
    let at = f.clock.now();
    let row = TokenHostObservation {
        current,
        next,
        ..seen(token, host, at)
    };
    let host = HostObservation::new(host.parse().unwrap(), at, HostOutcome::Read);
    f.ledger.observe(&[host], &[row]).await.unwrap();
}

async fn last_event(f: &Fixture) -> Event {
    let head = f.ledger.head().await.unwrap().size;
    f.ledger.events(head - 1, 1).await.unwrap().remove(0)
}

#[tokio::test]
async fn a_rotation_is_over_when_every_host_shows_the_new_generation() {
    let mut f = Fixture::new().await;
    let token = rotating(&mut f).await;
    for host in ["web1", "web2"] {
        read(&f, &token, host, Some(1), Some(2)).await;
    }
    read(&f, &token, "db1", None, None).await;
    assert!(f.ledger.finish_rotations().await.unwrap().is_empty());
    let confirmed = f.confirm(&token).await.unwrap().token;
    assert_eq!(confirmed.state, TokenState::Rotating);
    read(&f, &token, "web1", Some(2), None).await;
    assert!(
        f.ledger.finish_rotations().await.unwrap().is_empty(),
        "web2 still takes the old code"
    );
    read(&f, &token, "web2", Some(2), None).await;
    let end = f.ledger.finish_rotations().await.unwrap().remove(0);
    assert_eq!((end.token.state, end.ended), (TokenState::Active, 1));
    let current = end.token.current.unwrap();
    assert_eq!(
        (current.number, current.slot, current.state),
        (2, Slot::Current, GenerationState::Active)
    );
    assert_eq!(end.token.next, None);
    assert_eq!(
        f.ledger.sealed_secret(&token.serial, 1).await.unwrap(),
        None
    );
    assert!(
        f.ledger
            .sealed_secret(&token.serial, 2)
            .await
            .unwrap()
            .is_some()
    );
    let event = last_event(&f).await;
    assert_eq!(event.kind, "rotation.finished");
    assert!(event.body.contains(r#""supersedes":1"#), "{}", event.body);
    assert!(f.ledger.finish_rotations().await.unwrap().is_empty());
    // And it can be rotated again.
    let again = f.issue("alice", "prod", IssueKind::Rotation).await;
    assert_eq!(again.next.unwrap().number, 3);
}

#[tokio::test]
async fn a_retired_host_holds_no_rotation_back() {
    let mut f = Fixture::new().await;
    let token = rotating(&mut f).await;
    read(&f, &token, "web1", Some(2), None).await;
    read(&f, &token, "web2", Some(1), Some(2)).await;
    f.confirm(&token).await.unwrap();
    assert!(f.ledger.finish_rotations().await.unwrap().is_empty());
    f.tamper("UPDATE host SET retired_at = 1 WHERE name = 'web2'")
        .await;
    assert_eq!(f.ledger.finish_rotations().await.unwrap().len(), 1);
}

#[tokio::test]
async fn why_a_rotation_was_asked_for_lasts_as_long_as_it_does() {
    let mut f = Fixture::new().await;
    let asked = Cause::new(Some("new telephone"), Some("OPS-7"));
    let token = rotating(&mut f).await;
    assert_eq!(token.next.unwrap().cause, asked);
    // A new sheet is still the same rotation; the next one is another.
    let token = f.issue("alice", "prod", IssueKind::Reissue).await;
    assert_eq!(token.next.as_ref().unwrap().cause, asked);
    let body = last_event(&f).await.body;
    assert!(body.contains(r#""reason":"new telephone""#), "{body}");
    assert!(body.contains(r#""ticket":"OPS-7""#), "{body}");
    let abort = Cause::new(Some("not\nnow"), None);
    f.ledger
        .take_back_rotation(&token.serial, "asked for", &abort)
        .await
        .unwrap();
    let body = last_event(&f).await.body;
    assert!(body.contains(r#""why":"asked for""#), "{body}");
    assert!(body.contains(r#""reason":"not"#), "{body}");
    assert!(!body.contains("OPS-7"), "{body}");
    let token = f.issue("alice", "prod", IssueKind::Rotation).await;
    assert_eq!(token.next.unwrap().cause, Cause::default());
}

#[tokio::test]
async fn a_rotation_is_taken_back_unless_its_code_was_used() {
    let mut f = Fixture::new().await;
    let token = rotating(&mut f).await;
    let end = f
        .ledger
        .take_back_rotation(&token.serial, "a host failed", &Cause::default())
        .await
        .unwrap();
    assert_eq!((end.token.state, end.ended), (TokenState::Active, 2));
    assert_eq!(end.token.current.unwrap().number, 1);
    assert_eq!(end.token.next, None);
    assert_eq!(end.sheet.unwrap().state, SheetState::Void);
    assert_eq!(
        f.ledger.sealed_secret(&token.serial, 2).await.unwrap(),
        None
    );
    assert_eq!(last_event(&f).await.kind, "rotation.taken_back");
    // The recovery codes on the sheet that the admin has are still good, and no others.
    let codes = f.ledger.recovery_codes(&token.serial).await.unwrap();
    let open: Vec<_> = codes.iter().filter(|c| c.is_open()).collect();
    assert_eq!(open.len(), 2, "{codes:?}");
    assert!(open.iter().all(|c| c.generation == 1), "{codes:?}");
    assert!(
        f.ledger
            .take_back_rotation(&token.serial, "again", &Cause::default())
            .await
            .is_err()
    );
    // The number is not given twice.
    let token = f.issue("alice", "prod", IssueKind::Rotation).await;
    assert_eq!(token.next.as_ref().unwrap().number, 3);
    f.confirm(&token).await.unwrap();
    let error = f
        .ledger
        .take_back_rotation(&token.serial, "late", &Cause::default())
        .await
        .unwrap_err();
    assert!(error.to_string().contains("was used"), "{error}");
}

#[tokio::test]
async fn an_overdue_rotation_ends_once_every_host_was_read_after_it() {
    for expires in [false, true] {
        let mut f = Fixture::new().await;
        let token = rotating(&mut f).await;
        let expire: BTreeSet<RealmName> = expires
            .then(|| RealmName::new("prod").unwrap())
            .into_iter()
            .collect();
        read(&f, &token, "web1", Some(1), Some(2)).await;
        read(&f, &token, "web2", Some(1), None).await;
        assert!(
            f.ledger
                .end_overdue_rotations(&expire)
                .await
                .unwrap()
                .is_empty()
        );
        f.clock.advance(Span::from_secs(72 * 3600));
        read(&f, &token, "web1", Some(1), None).await;
        assert!(
            f.ledger
                .end_overdue_rotations(&expire)
                .await
                .unwrap()
                .is_empty(),
            "a run that was killed may have brought it to web2"
        );
        read(&f, &token, "web2", Some(1), Some(2)).await;
        assert!(
            f.ledger
                .end_overdue_rotations(&expire)
                .await
                .unwrap()
                .is_empty(),
            "web2 has not ended it yet"
        );
        read(&f, &token, "web2", Some(1), None).await;
        let end = f
            .ledger
            .end_overdue_rotations(&expire)
            .await
            .unwrap()
            .remove(0);
        assert_eq!(end.sheet.unwrap().state, SheetState::Expired);
        assert_eq!(end.ended, 2);
        let event = last_event(&f).await;
        assert_eq!(event.kind, "rotation.overdue");
        let overdue = f.ledger.unconfirmed_rotations().await.unwrap();
        if expires {
            assert_eq!(end.token.state, TokenState::Expired);
            assert_eq!((end.token.current, end.token.next), (None, None));
            assert!(overdue.is_empty(), "it is no rotation any more");
        } else {
            assert_eq!(end.token.state, TokenState::Active);
            assert_eq!(end.token.current.unwrap().number, 1);
            assert!(overdue.contains(&token.serial));
            f.issue("alice", "prod", IssueKind::Rotation).await;
            assert!(f.ledger.unconfirmed_rotations().await.unwrap().is_empty());
        }
    }
}

#[tokio::test]
async fn a_host_that_took_the_new_generation_over_keeps_an_overdue_rotation_open() {
    let mut f = Fixture::new().await;
    let token = rotating(&mut f).await;
    f.clock.advance(Span::from_secs(72 * 3600));
    read(&f, &token, "web1", Some(2), None).await;
    let none = BTreeSet::new();
    assert!(
        f.ledger
            .end_overdue_rotations(&none)
            .await
            .unwrap()
            .is_empty()
    );
}
