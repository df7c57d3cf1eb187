//! Recovery codes, signals, deliveries, and who can open what.

use super::*;
use crate::token::id::Serial;
use crate::token::state::{SheetState, TokenState};

impl Fixture {
    /// Issues a generation with recovery codes; their hashes are any texts here.
    async fn issue_with(&mut self, admin: &str, kind: IssueKind, hashes: &[&str]) -> TokenRecord {
        let mut new = self.draft(admin, "prod", kind).await;
        new.recovery = hashes.iter().map(|h| (*h).to_owned()).collect();
        self.ledger.issue(&[new]).await.unwrap().remove(0).token
    }

    async fn redeem(&self, serial: &Serial, number: i64) -> Result<(), LedgerError> {
        let attempt = self
            .ledger
            .begin_recovery_try(serial, TryLimit::DEFAULT)
            .await?;
        self.ledger.redeem(serial, number, &attempt).await
    }

    async fn count(&self, serial: &Serial) -> RecoveryCount {
        self.ledger.recovery_counts().await.unwrap()[serial]
    }

    async fn kinds(&self) -> Vec<String> {
        let events = self.ledger.events(0, 1000).await.unwrap();
        events.into_iter().map(|e| e.kind).collect()
    }
}

#[tokio::test]
async fn a_recovery_code_is_redeemed_once_and_ends_with_the_next_issue() {
    let mut f = Fixture::new().await;
    let token = f
        .issue_with("alice", IssueKind::First, &["a", "b", "c"])
        .await;
    let serial = &token.serial;
    f.confirm(&token).await.unwrap();
    assert_eq!(f.count(serial).await, RecoveryCount { left: 3, issued: 3 });
    f.redeem(serial, 2).await.unwrap();
    assert_eq!(f.count(serial).await, RecoveryCount { left: 2, issued: 3 });
    assert!(matches!(
        f.redeem(serial, 2).await,
        Err(LedgerError::RecoveryUsed(_))
    ));
    assert!(matches!(
        f.redeem(serial, 9).await,
        Err(LedgerError::RecoveryUsed(_))
    ));

    f.issue_with("alice", IssueKind::LostDevice, &["d", "e"])
        .await;
    assert_eq!(f.count(serial).await, RecoveryCount { left: 2, issued: 2 });
    assert!(f.redeem(serial, 1).await.is_err(), "replaced");
    let codes = f.ledger.recovery_codes(serial).await.unwrap();
    let open: Vec<_> = codes.iter().filter(|c| c.is_open()).collect();
    assert_eq!(open.iter().map(|c| c.number).collect::<Vec<_>>(), [5, 4]);
    assert_eq!(
        codes
            .iter()
            .filter(|c| c.used_at.is_some())
            .map(|c| c.number)
            .collect::<Vec<_>>(),
        [2]
    );

    // A sheet without any ends those before, too.
    f.issue_with("alice", IssueKind::Reissue, &[]).await;
    assert!(f.ledger.recovery_counts().await.unwrap().is_empty());
    assert!(f.ledger.verify_chain().await.unwrap().is_sound());
    let redeemed = f.kinds().await;
    assert_eq!(
        redeemed
            .iter()
            .filter(|k| *k == "recovery.redeemed")
            .count(),
        1
    );
}

#[tokio::test]
async fn codes_of_a_sheet_that_expired_unconfirmed_are_worth_nothing() {
    let mut f = Fixture::new().await;
    let token = f.issue_with("alice", IssueKind::First, &["a"]).await;
    f.clock.advance(Span::from_days(4));
    f.ledger.expire_overdue().await.unwrap();
    assert!(matches!(
        f.redeem(&token.serial, 1).await,
        Err(LedgerError::Token {
            state: TokenState::Expired,
            ..
        })
    ));
    let codes = f.ledger.recovery_codes(&token.serial).await.unwrap();
    assert!(codes[0].used_at.is_none() && codes[0].void_at.is_some());
}

#[tokio::test]
async fn a_rotation_has_codes_of_its_own_and_the_old_ones_until_one_of_them_ends() {
    let mut f = Fixture::new().await;
    let token = f.issue_with("alice", IssueKind::First, &["a", "b"]).await;
    let serial = token.serial.clone();
    f.confirm(&token).await.unwrap();
    f.issue_with("alice", IssueKind::Rotation, &["c"]).await;
    assert_eq!(f.count(&serial).await, RecoveryCount { left: 3, issued: 3 });
    // Taken back: the sheet that the admin has goes on to hold.
    f.ledger
        .take_back_rotation(&serial, "asked for", &Cause::default())
        .await
        .unwrap();
    assert_eq!(f.count(&serial).await, RecoveryCount { left: 2, issued: 2 });
    assert!(f.redeem(&serial, 3).await.is_err());
    f.redeem(&serial, 1).await.unwrap();
}

#[tokio::test]
async fn wrong_recovery_codes_are_counted_apart_from_wrong_codes() {
    let mut f = Fixture::new().await;
    let token = f.issue_with("alice", IssueKind::First, &["a"]).await;
    for _ in 0..3 {
        let limit = TryLimit(3);
        let attempt = f
            .ledger
            .begin_recovery_try(&token.serial, limit)
            .await
            .unwrap();
        f.ledger
            .fail_try(&attempt, TryOutcome::Wrong)
            .await
            .unwrap();
    }
    assert!(matches!(
        f.ledger
            .begin_recovery_try(&token.serial, TryLimit(3))
            .await,
        Err(LedgerError::Throttled { .. })
    ));
    let kinds = f.kinds().await;
    assert_eq!(
        kinds[1..],
        [
            "recovery.refused",
            "recovery.refused",
            "recovery.refused",
            "signal.over_limit"
        ]
    );
    f.confirm(&token).await.unwrap();
    let signals = f.ledger.signals().await.unwrap();
    assert_eq!(
        (
            signals[&token.serial].count,
            signals[&token.serial].last.as_str()
        ),
        (1, "over_limit")
    );
}

#[tokio::test]
async fn signals_are_counted_by_token_and_the_newest_is_told() {
    let mut f = Fixture::new().await;
    let alice = f.issue("alice", "prod", IssueKind::First).await;
    f.issue("bob", "prod", IssueKind::First).await;
    for signal in [Signal::SecondConfirm, Signal::ExpiredSheet] {
        f.ledger
            .signal(signal, &alice.serial, Some(1), Some(true))
            .await
            .unwrap();
        f.clock.advance(Span::from_secs(60));
    }
    let signals = f.ledger.signals().await.unwrap();
    assert_eq!(signals.len(), 1);
    let of_alice = &signals[&alice.serial];
    assert_eq!(
        (of_alice.count, of_alice.last.as_str()),
        (2, "expired_sheet")
    );
    assert!(f.ledger.verify_chain().await.unwrap().is_sound());
}

#[tokio::test]
async fn a_sheet_is_delivered_once_and_in_time() {
    let mut f = Fixture::new().await;
    let sheet_of = |t: &TokenRecord| t.pending().unwrap().sheet.clone().unwrap().id;
    let (alice, bob) = (
        f.issue("alice", "prod", IssueKind::First).await,
        f.issue("bob", "prod", IssueKind::First).await,
    );
    let (hers, his) = (sheet_of(&alice), sheet_of(&bob));
    let deliver = |id| f.ledger.sheet_delivered(id, "Alice Martin", "in person");
    assert!(deliver(&hers).await.is_err(), "not finished yet");
    for id in [&hers, &his] {
        f.ledger.sheet_issued(id).await.unwrap();
    }
    deliver(&hers).await.unwrap();
    assert!(deliver(&hers).await.is_err(), "once");
    let entries = f.ledger.sheet_entries().await.unwrap();
    let entry = entries.iter().find(|e| e.sheet.id == hers).unwrap();
    assert_eq!(entry.sheet.state, SheetState::Delivered);
    assert_eq!(entry.delivered_to.as_deref(), Some("Alice Martin"));
    assert_eq!(entry.delivered_how.as_deref(), Some("in person"));
    assert_eq!(entry.admin.as_ref().map(AdminName::as_str), Some("alice"));
    let events = f.ledger.events(0, 100).await.unwrap();
    assert!(events.iter().all(|e| !e.body.contains("Martin")));
    f.clock.advance(Span::from_days(4));
    assert!(matches!(
        f.ledger.sheet_delivered(&his, "Bob", "mail").await,
        Err(LedgerError::Expired { .. })
    ));
}

#[tokio::test]
async fn what_a_leaving_recipient_could_open_is_exposed_until_replaced() {
    let mut f = Fixture::new().await;
    let mine = f.vault.recipients();
    let both = vec![mine[0].clone(), "age1gone".to_owned()];
    let mut of_alice = f.draft("alice", "prod", IssueKind::First).await;
    of_alice.sealed_to.clone_from(&both);
    let alice = f.ledger.issue(&[of_alice]).await.unwrap().remove(0).token;
    let bob = f.issue("bob", "prod", IssueKind::First).await;
    for token in [&alice, &bob] {
        f.confirm(token).await.unwrap();
    }
    let exposed = f.ledger.recipient_removed("age1gone").await.unwrap();
    assert_eq!(exposed, [alice.serial.clone()].into());
    assert_eq!(f.ledger.exposed_tokens().await.unwrap(), exposed);
    // Sealing anew does not take back what could be read before.
    let sealed = f.ledger.ciphertexts().await.unwrap();
    assert_eq!(f.ledger.rekey(&sealed, &mine).await.unwrap(), 2);
    assert_eq!(f.ledger.exposed_tokens().await.unwrap(), exposed);
    // A new generation does, once the old one is dead.
    f.issue("alice", "prod", IssueKind::Rotation).await;
    assert_eq!(f.ledger.exposed_tokens().await.unwrap(), exposed);
    f.issue("alice", "prod", IssueKind::LostDevice).await;
    assert!(f.ledger.exposed_tokens().await.unwrap().is_empty());
}

#[tokio::test]
async fn rekeying_notices_a_recipient_that_was_taken_out_by_hand() {
    let mut f = Fixture::new().await;
    let mine = f.vault.recipients();
    let mut new = f.draft("alice", "prod", IssueKind::First).await;
    new.sealed_to = vec![mine[0].clone(), "age1gone".to_owned()];
    let alice = f.ledger.issue(&[new]).await.unwrap().remove(0).token;
    let sealed = f.ledger.ciphertexts().await.unwrap();
    f.ledger.rekey(&sealed, &mine).await.unwrap();
    let exposed = f.ledger.exposed().await.unwrap();
    assert_eq!(exposed.len(), 1);
    assert_eq!(
        (&exposed[0].serial, exposed[0].recipient.as_str()),
        (&alice.serial, "age1gone")
    );
    let after = f.ledger.ciphertexts().await.unwrap();
    assert_eq!(after[0].sealed_to.as_ref(), Some(&mine));
    // Whoever comes back may read again.
    f.ledger.recipient_added("age1gone").await.unwrap();
    assert!(f.ledger.exposed().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_secret_of_an_unknown_past_counts_as_readable_by_whoever_leaves() {
    let mut f = Fixture::new().await;
    let alice = f.issue("alice", "prod", IssueKind::First).await;
    f.tamper("UPDATE generation SET sealed_to = NULL").await;
    let exposed = f.ledger.recipient_removed("age1gone").await.unwrap();
    assert_eq!(exposed, [alice.serial].into());
}

#[tokio::test]
async fn rekeying_never_revives_a_dead_secret() {
    let mut f = Fixture::new().await;
    f.issue("alice", "prod", IssueKind::First).await;
    let before = f.ledger.ciphertexts().await.unwrap();
    f.issue("alice", "prod", IssueKind::Reissue).await;
    let replaced = f
        .ledger
        .rekey(&before, &f.vault.recipients())
        .await
        .unwrap();
    assert_eq!(replaced, 0);
    assert_eq!(
        f.ledger.sealed_secret(&before[0].serial, 1).await.unwrap(),
        None
    );
}
