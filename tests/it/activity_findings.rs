//! What is found in logins, and what is not.

use fleetotp::activity::findings::{ActivityFinding, Known, Limits, Weight, findings};
use fleetotp::clock::{Span, Timestamp};
use fleetotp::ledger::{LogGap, LoginRecord, TokenHostRecord};
use fleetotp::names::{HostName, Login};
use fleetotp::token::id::{Generation, Serial};
use fleetotp::token::state::TokenHostState;

const SERIAL: &str = "T-7K2M9QXA";

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_795_485_300 + seconds).unwrap()
}

fn login(host: &str, seconds: i64, outcome: &str, address: &str) -> LoginRecord {
    LoginRecord {
        host: HostName::new(host).unwrap(),
        at: at(seconds),
        login: Login::new("alice").unwrap(),
        service: "sshd".to_owned(),
        outcome: outcome.to_owned(),
        factors: vec!["key".to_owned(), "code".to_owned()],
        address: Some(address.to_owned()),
        port: Some(4000),
        key: Some("SHA256:a".to_owned()),
        serial: Serial::new(SERIAL).ok(),
        generation: Generation::try_from(1_i64).ok(),
        step: None,
        refused_before: 0,
        line: format!("sshd[{seconds}]: {outcome} on {host}"),
    }
}

fn judge(judged: Vec<LoginRecord>, earlier: &[LoginRecord]) -> Vec<ActivityFinding> {
    let accepted = earlier.iter().chain(&judged).filter(|l| l.is_accepted());
    let enforced = TokenHostRecord {
        serial: Serial::new(SERIAL).unwrap(),
        host: HostName::new("web1").unwrap(),
        login: Login::new("alice").unwrap(),
        state: TokenHostState::Enforced,
        reason: None,
        current: Generation::try_from(1_i64).ok(),
        next: None,
        changed_at: at(0),
        observed_at: at(0),
    };
    let known = Known {
        accepted: accepted.cloned().collect(),
        judged,
        on_hosts: vec![enforced],
        now: at(86_400),
        ..Known::default()
    };
    found(&known)
}

fn found(known: &Known) -> Vec<ActivityFinding> {
    let limits = Limits {
        spike: 3,
        within: Span::from_secs(60),
        unused: Span::from_days(30),
    };
    findings(known, limits)
}

fn ids(found: &[ActivityFinding]) -> Vec<&str> {
    found.iter().map(|f| f.id).collect()
}

#[test]
fn many_refusals_are_a_spike_over_all_hosts_and_few_are_none() {
    let tries = |every: i64| {
        ["web1", "web2", "web1"]
            .iter()
            .zip(1..)
            .map(|(host, n)| login(host, n * every, "wrong-code", "10.0.0.1"))
            .collect::<Vec<_>>()
    };
    let spike = judge(tries(20), &[]);
    assert_eq!(ids(&spike), ["failure-spike"]);
    assert_eq!((spike[0].evidence.len(), spike[0].hosts.len()), (3, 2));
    assert_eq!(ids(&judge(tries(40), &[])), Vec::<&str>::new());
    // A connection that merely ended is nobody's wrong code.
    let ended = tries(20).into_iter().map(|l| LoginRecord {
        outcome: "ended".to_owned(),
        ..l
    });
    assert_eq!(ids(&judge(ended.collect(), &[])), Vec::<&str>::new());
}

#[test]
fn one_code_on_two_hosts_is_found_only_from_another_address_or_key() {
    let first = login("web1", 0, "accepted", "10.0.0.1");
    let pair = |second: LoginRecord| judge(vec![first.clone(), second], &[]);
    let same = login("web2", 5, "accepted", "10.0.0.1");
    assert_eq!(ids(&pair(same.clone())), Vec::<&str>::new());
    let other_key = LoginRecord {
        key: Some("SHA256:b".to_owned()),
        ..same.clone()
    };
    let found = pair(other_key);
    assert_eq!(
        (ids(&found), found[0].severity),
        (vec!["code-on-two-hosts"], Weight::Warning)
    );
    let other_address = login("web2", 5, "accepted", "10.0.0.2");
    assert_eq!(ids(&pair(other_address.clone())), ["code-on-two-hosts"]);
    assert_eq!(
        ids(&pair(login("web2", 65, "accepted", "10.0.0.2"))),
        Vec::<&str>::new()
    );
    // Known steps decide, whatever the times.
    let step = |l: LoginRecord, step| LoginRecord {
        step: Some(step),
        ..l
    };
    let steps = |a, b| {
        judge(
            vec![step(first.clone(), a), step(other_address.clone(), b)],
            &[],
        )
    };
    assert_eq!(ids(&steps(1, 2)), Vec::<&str>::new());
    assert_eq!(steps(1, 1)[0].severity, Weight::Alert);
    // Told once: a later run that judges neither says nothing.
    let earlier = vec![first.clone(), other_address];
    assert_eq!(ids(&judge(Vec::new(), &earlier)), Vec::<&str>::new());
}

#[test]
fn a_new_network_is_found_and_the_first_of_all_is_not() {
    let known = login("web1", 0, "accepted", "10.0.0.1");
    assert_eq!(ids(&judge(vec![known.clone()], &[])), Vec::<&str>::new());
    let earlier = vec![known];
    let from = |address| judge(vec![login("web1", 900, "accepted", address)], &earlier);
    assert_eq!(ids(&from("10.0.0.77")), Vec::<&str>::new());
    assert_eq!(ids(&from("10.0.1.1")), ["new-network"]);
    assert_eq!(ids(&from("2001:db8::1%eth0")), ["new-network"]);
    assert_eq!(ids(&from("::ffff:10.0.0.9")), Vec::<&str>::new());
    assert_eq!(ids(&from("a.name.example")), Vec::<&str>::new());
}

#[test]
fn a_login_without_a_code_is_found_only_where_one_is_demanded() {
    let by_key = |host| LoginRecord {
        factors: vec!["key".to_owned()],
        ..login(host, 10, "accepted", "10.0.0.1")
    };
    let found = judge(vec![by_key("web1")], &[]);
    assert_eq!(
        (ids(&found), found[0].severity),
        (vec!["no-second-factor"], Weight::Alert)
    );
    assert_eq!(ids(&judge(vec![by_key("web2")], &[])), Vec::<&str>::new());
    // Before it was demanded.
    let before = LoginRecord {
        at: at(-10),
        ..by_key("web1")
    };
    assert_eq!(ids(&judge(vec![before], &[])), Vec::<&str>::new());
}

#[test]
fn what_was_lost_is_found() {
    let gap = LogGap {
        host: HostName::new("web1").unwrap(),
        noticed_at: at(100),
        after: Some(at(0)),
        until: Some(at(50)),
    };
    let known = Known {
        gaps: vec![gap],
        ..Known::default()
    };
    let found = found(&known);
    assert_eq!(ids(&found), ["log-gap"]);
    assert_eq!(
        found[0].text,
        format!("web1: the log was lost between {} and {}", at(0), at(50))
    );
}
