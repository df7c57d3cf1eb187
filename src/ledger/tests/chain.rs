use super::*;
use crate::ledger::event::Draft;

/// A ledger with six events.
async fn with_events() -> Fixture {
    let mut f = Fixture::new().await;
    for admin in ["a", "b", "c", "d", "e", "f"] {
        f.issue(admin, "prod", IssueKind::First).await;
    }
    assert!(f.ledger.verify_chain().await.unwrap().is_sound());
    f
}

async fn faults_after(sql: &'static str) -> Vec<ChainFault> {
    let f = with_events().await;
    f.tamper(sql).await;
    f.ledger.verify_chain().await.unwrap().faults
}

fn edited(faults: &[ChainFault]) -> Vec<i64> {
    faults
        .iter()
        .filter_map(|f| match f {
            ChainFault::Edited { seq, .. } => Some(*seq),
            _ => None,
        })
        .collect()
}

#[tokio::test]
async fn an_edited_event_is_found() {
    let faults = faults_after(
        "UPDATE event SET body = replace(body, '\"realm\":\"prod\"', '\"realm\":\"test\"') WHERE seq = 3",
    )
    .await;
    assert_eq!(edited(&faults), [3]);
    let faults =
        faults_after("UPDATE event SET hash = substr(hash, 2) || substr(hash, 1, 1) WHERE seq = 3")
            .await;
    assert_eq!(edited(&faults), [3, 4]);
}

#[tokio::test]
async fn edited_search_columns_are_found() {
    for sql in [
        "UPDATE event SET at = at + 1 WHERE seq = 2",
        "UPDATE event SET kind = 'token.expired' WHERE seq = 2",
        "UPDATE event SET serial = NULL WHERE seq = 2",
        "UPDATE event SET host = 'web1' WHERE seq = 2",
    ] {
        assert_eq!(edited(&faults_after(sql).await), [2], "{sql}");
    }
}

#[tokio::test]
async fn removed_events_are_found_wherever_they_were() {
    assert_eq!(
        faults_after("DELETE FROM event WHERE seq = 1").await,
        [ChainFault::RemovedAtHead { from: 1, to: 1 }]
    );
    assert_eq!(
        faults_after("DELETE FROM event WHERE seq IN (3, 4)").await,
        [ChainFault::RemovedInMiddle { from: 3, to: 4 }]
    );
    assert_eq!(
        faults_after("DELETE FROM event WHERE seq > 4").await,
        [ChainFault::RemovedAtTail { from: 5, to: 6 }]
    );
    assert_eq!(
        faults_after("DELETE FROM event").await,
        [ChainFault::RemovedAtTail { from: 1, to: 6 }]
    );
}

#[tokio::test]
async fn reordered_and_renumbered_events_are_found() {
    let faults = faults_after(
        "UPDATE event SET seq = 99 WHERE seq = 2; UPDATE event SET seq = 2 WHERE seq = 3;
         UPDATE event SET seq = 3 WHERE seq = 99;",
    )
    .await;
    assert_eq!(faults, [ChainFault::Reordered { seq: 2 }]);
    let faults = faults_after(
        "DELETE FROM event WHERE seq = 3; UPDATE event SET seq = seq - 1 WHERE seq > 3",
    )
    .await;
    assert!(
        faults.contains(&ChainFault::RemovedInMiddle { from: 3, to: 3 }),
        "{faults:?}"
    );
}

#[tokio::test]
async fn nothing_is_chained_to_a_log_whose_end_was_cut() {
    let mut f = with_events().await;
    f.tamper("DELETE FROM event WHERE seq > 4").await;
    let new = f.draft("g", "prod", IssueKind::First).await;
    assert!(matches!(
        f.ledger.issue(&[new]).await,
        Err(LedgerError::Damaged(_))
    ));
    assert!(f.ledger.head().await.is_err());
}

#[tokio::test]
async fn another_projects_log_does_not_fit() {
    let f = with_events().await;
    f.tamper("UPDATE meta SET value = 'F-AAAAAAAAAAAA' WHERE key = 'project'")
        .await;
    let path = f.ledger.path().to_owned();
    let other = Ledger::open(&path, f.clock.clone(), Arc::new(SystemEntropy))
        .await
        .unwrap();
    assert_eq!(edited(&other.verify_chain().await.unwrap().faults), [1]);
}

#[tokio::test]
async fn a_transaction_that_is_dropped_leaves_nothing() {
    let f = with_events().await;
    let before = f.ledger.head().await.unwrap();
    let mut tx = f.ledger.begin().await.unwrap();
    tx.event(Draft::new("test")).await.unwrap();
    sqlx::query("DELETE FROM sheet")
        .execute(tx.db())
        .await
        .unwrap();
    drop(tx);
    assert_eq!(f.ledger.head().await.unwrap(), before);
    assert_eq!(f.ledger.sheets().await.unwrap().len(), 6);
    assert!(f.ledger.verify_chain().await.unwrap().is_sound());
}

/// Anyone with a shell can check the chain: `printf %s%s PREVIOUS BODY | sha256sum`.
#[tokio::test]
async fn the_hash_is_what_sha256sum_says() {
    use std::io::Write as _;
    let f = with_events().await;
    let events = f.ledger.events(0, 2).await.unwrap();
    let mut child = std::process::Command::new("sha256sum")
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    write!(stdin, "{}{}", events[0].hash, events[1].body).unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    assert!(
        String::from_utf8(output.stdout)
            .unwrap()
            .starts_with(&events[1].hash)
    );
}

#[tokio::test]
async fn what_was_before_a_time_ends_at_the_first_later_event_also_where_clocks_were_set_back() {
    let f = with_events().await;
    // Event 5 was written by a clock that was set back.
    f.tamper(
        "UPDATE event SET at = 1000 * seq WHERE seq <> 5; UPDATE event SET at = 1500 WHERE seq = 5",
    )
    .await;
    for (nanoseconds, size) in [
        (1_000_000_000, None),
        (1_000_000_001, Some(1)),
        (2_000_000_000, Some(1)),
        (3_000_000_000, Some(2)),
        (4_000_000_001, Some(5)),
        (i128::from(i64::MAX), Some(6)),
    ] {
        let time = Timestamp::from_nanosecond(nanoseconds).unwrap();
        let head = f.ledger.head_before(time).await.unwrap();
        assert_eq!(head.map(|h| h.size), size, "{time}");
    }
}
