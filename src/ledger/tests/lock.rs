use super::*;

#[tokio::test]
async fn the_lock_is_held_until_it_is_given_back() {
    let f = Fixture::new().await;
    let lock = f.ledger.acquire_lock("alice").await.unwrap();
    let path = f.ledger.path().to_owned();
    let other = Ledger::open(&path, f.clock.clone(), Arc::new(SystemEntropy))
        .await
        .unwrap();
    let error = other.acquire_lock("bob").await.unwrap_err();
    match &error {
        LedgerError::Locked(holder) => {
            assert_eq!(holder.who, "alice");
            assert_eq!(holder.pid, std::process::id());
        }
        other => panic!("{other}"),
    }
    assert_eq!(crate::error::Error::from(error).kind().code(), 75);
    // However long ago its last heartbeat was: the process is there.
    f.clock.advance(Span::from_days(1));
    assert!(other.acquire_lock("bob").await.is_err());
    f.ledger.release(lock).await.unwrap();
    let lock = other.acquire_lock("bob").await.unwrap();
    assert_eq!(lock.taken_over, None);
}

#[tokio::test]
async fn a_lock_of_another_machine_is_taken_over_once_its_lease_ran_out() {
    let f = Fixture::new().await;
    let lock = f.ledger.acquire_lock("alice").await.unwrap();
    f.tamper("UPDATE run_lock SET machine = 'm', boot = 'b', pid_namespace = 'n', host = 'far'")
        .await;
    let path = f.ledger.path().to_owned();
    let other = Ledger::open(&path, f.clock.clone(), Arc::new(SystemEntropy))
        .await
        .unwrap();
    assert!(matches!(
        other.acquire_lock("bob").await,
        Err(LedgerError::Locked(_))
    ));
    f.clock.advance(Span::from_secs(120));
    let taken = other.acquire_lock("bob").await.unwrap();
    assert_eq!(taken.taken_over.as_ref().unwrap().host, "far");
    let events = f.ledger.events(0, 10).await.unwrap();
    assert_eq!(events[0].kind, "lock.taken_over");
    assert!(!events[0].body.contains("alice"));
    // The first holder wakes up again: it must not write any more, nor take the lock away.
    let error = f.ledger.expire_overdue().await.unwrap_err();
    assert!(matches!(error, LedgerError::LockLost), "{error}");
    assert_eq!(crate::error::Error::from(error).kind().code(), 75);
    f.ledger.release(lock).await.unwrap();
    other.expire_overdue().await.unwrap();
}

#[tokio::test]
async fn a_reused_process_id_does_not_keep_the_lock() {
    let f = Fixture::new().await;
    let lock = f.ledger.acquire_lock("alice").await.unwrap();
    f.tamper("UPDATE run_lock SET pid_start = pid_start - 1")
        .await;
    drop(lock);
    let path = f.ledger.path().to_owned();
    let other = Ledger::open(&path, f.clock.clone(), Arc::new(SystemEntropy))
        .await
        .unwrap();
    assert!(
        other
            .acquire_lock("bob")
            .await
            .unwrap()
            .taken_over
            .is_some()
    );
}
