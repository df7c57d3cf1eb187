use serde_json::json;

use super::*;
use crate::names::{HostName, Login};
use crate::token::state::{GenerationState, SheetState, TokenState};

fn request(admin: &str, hosts: &[&str]) -> RevocationRequest {
    RevocationRequest {
        admin: AdminName::new(admin).unwrap(),
        realm: RealmName::new("prod").unwrap(),
        policy: PolicyName::new("default").unwrap(),
        hosts: hosts
            .iter()
            .map(|name| RevocationHost {
                host: HostName::new(name).unwrap(),
                login: Login::new(admin).unwrap(),
                connection: Some(json!({"address": format!("{name}.example.com")})),
            })
            .collect(),
        reason: Some("left".to_owned()),
        ticket: Some("HR-7".to_owned()),
    }
}

fn reading(token: &TokenRecord, host: &str, result: ItemResult) -> ItemReading {
    ItemReading {
        serial: token.serial.clone(),
        host: HostName::new(host).unwrap(),
        result,
        repaired: false,
    }
}

fn proven() -> ItemResult {
    ItemResult::Proven(json!({"how": "read_back", "host_key": "SHA256:x"}))
}

async fn kinds(ledger: &Ledger) -> Vec<String> {
    ledger
        .events(0, 100)
        .await
        .unwrap()
        .into_iter()
        .map(|e| e.kind)
        .collect()
}

#[tokio::test]
async fn a_token_is_revoked_only_when_every_host_is_proven() {
    let mut f = Fixture::new().await;
    f.issue("alice", "prod", IssueKind::First).await;
    let done = f
        .ledger
        .request_revocations(&[request("alice", &["web1", "web2"])])
        .await
        .unwrap()
        .remove(0);
    let token = done.token;
    assert_eq!((token.state, done.before), (TokenState::Revoking, false));
    assert_eq!(done.voided[0].state, SheetState::Void);
    assert!(token.current.is_none(), "no generation lives");
    assert_eq!(
        f.ledger.sealed_secret(&token.serial, 1).await.unwrap(),
        None,
        "the ciphertext is gone"
    );
    let items = f.ledger.revocation_items().await.unwrap();
    assert_eq!(items.len(), 2);
    assert!(
        items
            .iter()
            .all(|i| i.is_open() && i.ticket.as_deref() == Some("HR-7"))
    );
    assert_eq!(
        items[0].connection,
        Some(json!({"address": "web1.example.com"}))
    );

    let readings = [
        reading(&token, "web1", proven()),
        reading(
            &token,
            "web2",
            ItemResult::Open("a process is left".to_owned()),
        ),
    ];
    f.ledger.store_readings(&readings).await.unwrap();
    let items = f.ledger.revocation_items().await.unwrap();
    assert!(!items[0].is_open() && items[1].is_open());
    assert_eq!(items[1].why.as_deref(), Some("a process is left"));
    let state = |tokens: Vec<TokenRecord>| tokens[0].state;
    assert_eq!(
        state(f.ledger.tokens().await.unwrap()),
        TokenState::Revoking
    );

    f.ledger
        .store_readings(&[reading(&token, "web2", proven())])
        .await
        .unwrap();
    assert_eq!(state(f.ledger.tokens().await.unwrap()), TokenState::Revoked);
    // The same once more is no event.
    let before = kinds(&f.ledger).await;
    f.ledger
        .store_readings(&[reading(&token, "web2", proven())])
        .await
        .unwrap();
    let again = f
        .ledger
        .request_revocations(&[request("alice", &["web1"])])
        .await
        .unwrap();
    assert!(again[0].before && again[0].token.state == TokenState::Revoked);
    assert_eq!(kinds(&f.ledger).await, before);
    assert_eq!(
        before,
        [
            "token.issued",
            "token.revoke_requested",
            "revocation.proven",
            "revocation.open",
            "revocation.proven",
            "token.revoked"
        ]
    );

    // What is found open again opens it again.
    let open = ItemResult::Open("the PAM block is gone".to_owned());
    f.ledger
        .store_readings(&[reading(&token, "web1", open)])
        .await
        .unwrap();
    assert_eq!(
        state(f.ledger.tokens().await.unwrap()),
        TokenState::Revoking
    );
    assert!(f.ledger.verify_chain().await.unwrap().faults.is_empty());
}

#[tokio::test]
async fn the_intent_needs_no_lock_and_nothing_else_goes_without() {
    let mut f = Fixture::new().await;
    f.issue("alice", "prod", IssueKind::First).await;
    let lock = f.ledger.acquire_lock("a run").await.unwrap();
    f.tamper("UPDATE run_lock SET lease = 'somebody else'")
        .await;
    let mark = f.ledger.revocation_mark().await.unwrap();
    f.ledger
        .request_revocations(&[request("alice", &["web1"])])
        .await
        .unwrap();
    assert_ne!(f.ledger.revocation_mark().await.unwrap(), mark);
    let token = f.ledger.tokens().await.unwrap().remove(0);
    let error = f
        .ledger
        .store_readings(&[reading(&token, "web1", proven())])
        .await;
    assert!(matches!(error, Err(LedgerError::LockLost)), "{error:?}");
    drop(lock);
}

#[tokio::test]
async fn an_admin_without_a_token_is_counted_by_one_without_a_generation() {
    let f = Fixture::new().await;
    f.ledger
        .request_revocations(&[request("mallory", &["web1"])])
        .await
        .unwrap();
    let token = f.ledger.tokens().await.unwrap().remove(0);
    assert_eq!((token.generations, token.state), (0, TokenState::Revoking));
    f.ledger
        .store_readings(&[reading(&token, "web1", proven())])
        .await
        .unwrap();
    let token = f.ledger.tokens().await.unwrap().remove(0);
    assert_eq!(token.state, TokenState::Revoked);
    // Nowhere at all: nothing to wait for.
    let nowhere = f
        .ledger
        .request_revocations(&[request("nobody", &[])])
        .await
        .unwrap();
    assert_eq!(nowhere[0].token.state, TokenState::Revoked);
}

#[tokio::test]
async fn a_new_enrolment_ends_a_revocation() {
    let mut f = Fixture::new().await;
    f.issue("alice", "prod", IssueKind::First).await;
    let token = f
        .ledger
        .request_revocations(&[request("alice", &["web1"])])
        .await
        .unwrap()
        .remove(0)
        .token;
    let anew = f.issue("alice", "prod", IssueKind::First).await;
    assert_eq!(anew.state, TokenState::Pending);
    assert_eq!(anew.current.unwrap().state, GenerationState::Pending);
    assert!(f.ledger.revocation_items().await.unwrap().is_empty());
    // A reading that comes late changes nothing.
    f.ledger
        .store_readings(&[reading(&token, "web1", proven())])
        .await
        .unwrap();
    assert_eq!(
        f.ledger.tokens().await.unwrap()[0].state,
        TokenState::Pending
    );
    // And the next revocation has to be proven again.
    f.ledger
        .request_revocations(&[request("alice", &["web1"])])
        .await
        .unwrap();
    assert!(f.ledger.revocation_items().await.unwrap()[0].is_open());
}

#[tokio::test]
async fn a_retired_host_is_attested_and_never_proven() {
    let mut f = Fixture::new().await;
    f.issue("alice", "prod", IssueKind::First).await;
    f.ledger
        .request_revocations(&[request("alice", &["web1"])])
        .await
        .unwrap();
    let host = HostName::new("web1").unwrap();
    let closed = f
        .ledger
        .retire_host(&host, "scrapped", Some("OPS-1"))
        .await
        .unwrap();
    assert_eq!(closed, Some(1));
    let items = f.ledger.revocation_items().await.unwrap();
    assert_eq!(items[0].proof.as_ref().unwrap()["how"], "attested");
    assert_eq!(
        f.ledger.tokens().await.unwrap()[0].state,
        TokenState::Revoked
    );
    assert!(f.ledger.hosts().await.unwrap().is_empty());
    let unknown = HostName::new("web9").unwrap();
    assert_eq!(
        f.ledger.retire_host(&unknown, "x", None).await.unwrap(),
        None
    );
}
