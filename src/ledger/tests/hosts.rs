use super::*;
use crate::token::state::TokenHostState;

pub(super) fn seen(token: &TokenRecord, host: &str, at: Timestamp) -> TokenHostObservation {
    TokenHostObservation {
        serial: token.serial.clone(),
        host: host.parse().unwrap(),
        login: "alice".parse().unwrap(),
        state: TokenHostState::Staged,
        reason: None,
        current: Some(1),
        next: None,
        at,
    }
}

fn host(name: &str, at: Timestamp) -> HostObservation {
    HostObservation {
        class: Some("c1".to_owned()),
        connection: Some(serde_json::json!({"port": 22})),
        ..HostObservation::new(name.parse().unwrap(), at, HostOutcome::Read)
    }
}

#[tokio::test]
async fn only_changes_are_told_and_every_reading_is_dated() {
    let mut f = Fixture::new().await;
    let token = f.issue("alice", "prod", IssueKind::First).await;
    let first = f.clock.now();
    f.ledger
        .observe(&[host("web1", first)], &[seen(&token, "web1", first)])
        .await
        .unwrap();
    let events = f.ledger.head().await.unwrap().size;
    assert_eq!(events, 2);
    f.clock.advance(Span::from_secs(60));
    let second = f.clock.now();
    f.ledger
        .observe(&[host("web1", second)], &[seen(&token, "web1", second)])
        .await
        .unwrap();
    // That it was read again is all there is to say, whatever the number of tokens.
    let event = f.ledger.events(events, 10).await.unwrap();
    assert_eq!(event.len(), 1, "{event:?}");
    assert_eq!(event[0].kind, "hosts.read");
    assert!(event[0].body.contains(r#""hosts":["web1"]"#), "{event:?}");
    let events = events + 1;
    let row = f.ledger.token_hosts().await.unwrap().remove(0);
    assert_eq!((row.changed_at, row.observed_at), (first, second));
    let mut now = seen(&token, "web1", second);
    now.state = TokenHostState::Enforced;
    f.ledger.observe_token_hosts(&[now]).await.unwrap();
    let last = f.ledger.events(events, 10).await.unwrap().remove(0);
    assert!(last.body.contains(r#""before":"staged""#), "{}", last.body);
    let row = f.ledger.token_hosts().await.unwrap().remove(0);
    assert_eq!(row.state, TokenHostState::Enforced);
}

#[tokio::test]
async fn an_unreachable_host_keeps_the_date_it_was_last_seen() {
    let mut f = Fixture::new().await;
    let token = f.issue("alice", "prod", IssueKind::First).await;
    let first = f.clock.now();
    f.ledger
        .observe(&[host("web1", first)], &[seen(&token, "web1", first)])
        .await
        .unwrap();
    f.clock.advance(Span::from_days(2));
    let away = HostObservation::new(
        "web1".parse().unwrap(),
        f.clock.now(),
        HostOutcome::Unreachable("no route\u{1b}[2J".to_owned()),
    );
    f.ledger.observe_hosts(&[away]).await.unwrap();
    let record = f.ledger.hosts().await.unwrap().remove(0);
    assert!(!record.reachable);
    assert_eq!(record.last_seen_at, Some(first));
    assert_eq!(record.last_attempt_at, f.clock.now());
    assert_eq!(record.class.as_deref(), Some("c1"), "what was known stays");
    assert_eq!(record.connection, Some(serde_json::json!({"port": 22})));
    assert!(!record.detail.unwrap().contains('\u{1b}'));
    assert_eq!(f.ledger.token_hosts().await.unwrap()[0].observed_at, first);
}

#[tokio::test]
async fn a_token_on_an_unknown_host_is_refused_whole() {
    let mut f = Fixture::new().await;
    let token = f.issue("alice", "prod", IssueKind::First).await;
    let now = f.clock.now();
    let result = f
        .ledger
        .observe(
            &[host("web1", now)],
            &[seen(&token, "web1", now), seen(&token, "web2", now)],
        )
        .await;
    assert!(result.is_err());
    assert!(f.ledger.hosts().await.unwrap().is_empty());
}

#[tokio::test]
async fn forty_hosts_with_ten_admins_each_are_stored_quickly() {
    let mut f = Fixture::new().await;
    let mut tokens = Vec::new();
    for n in 0..10 {
        tokens.push(
            f.issue(&format!("admin{n}"), "prod", IssueKind::First)
                .await,
        );
    }
    let mut elapsed = Vec::new();
    for _ in 0..3 {
        f.clock.advance(Span::from_secs(60));
        let now = f.clock.now();
        let names: Vec<String> = (0..40).map(|n| format!("web{n}")).collect();
        let hosts: Vec<_> = names.iter().map(|n| host(n, now)).collect();
        let seen: Vec<_> = names
            .iter()
            .flat_map(|n| tokens.iter().map(move |t| seen(t, n, now)))
            .collect();
        let start = std::time::Instant::now();
        f.ledger.observe(&hosts, &seen).await.unwrap();
        elapsed.push(start.elapsed());
    }
    eprintln!("first {:?}, unchanged {:?}", elapsed[0], &elapsed[1..]);
    assert_eq!(f.ledger.token_hosts().await.unwrap().len(), 400);
    // Ten times the goal: a busy machine must not fail this, a statement per row and fsync would.
    assert!(elapsed[0].as_millis() < 500, "{elapsed:?}");
}
