//! What is found in logins, and what is not.

use fleetotp::activity::findings::{ActivityFinding, Known, Limits, Weight, findings};
use fleetotp::clock::{Span, Timestamp};
use fleetotp::ledger::{
    BypassRecord, Cause, GenerationRecord, LogGap, LoginRecord, Origin, Spot, TokenHostRecord,
    TokenRecord,
};
use fleetotp::names::{AdminName, HostName, Login, PolicyName, RealmName};
use fleetotp::token::id::{Generation, PersonId, Serial};
use fleetotp::token::params::{Algorithm, CodeParams};
use fleetotp::token::state::{BypassState, GenerationState, Slot, TokenHostState, TokenState};

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
        origin: None,
        key: Some("SHA256:a".to_owned()),
        serial: Serial::new(SERIAL).ok(),
        generation: Generation::try_from(1_i64).ok(),
        step: None,
        refused_before: 0,
        line: format!("sshd[{seconds}]: {outcome} on {host}"),
    }
}

fn enforced(host: &str) -> TokenHostRecord {
    TokenHostRecord {
        serial: Serial::new(SERIAL).unwrap(),
        host: HostName::new(host).unwrap(),
        login: Login::new("alice").unwrap(),
        state: TokenHostState::Enforced,
        reason: None,
        current: Generation::try_from(1_i64).ok(),
        next: None,
        changed_at: at(0),
        observed_at: at(0),
    }
}

/// alice's token, whose only live key is of a generation, with codes of so many seconds.
fn token(state: TokenState, generation: i64, period: u16) -> TokenRecord {
    let number = Generation::try_from(generation).unwrap();
    TokenRecord {
        serial: Serial::new(SERIAL).unwrap(),
        person: PersonId::new("P-7K2M9QXA").unwrap(),
        admin: AdminName::new("alice").ok(),
        realm: RealmName::new("prod").unwrap(),
        state,
        policy: PolicyName::new("strict").unwrap(),
        generations: number,
        created_at: at(0),
        changed_at: at(100),
        current: Some(GenerationRecord {
            number,
            slot: Slot::Current,
            state: GenerationState::Active,
            issuer: "Example Corp".to_owned(),
            label: "alice".to_owned(),
            params: CodeParams {
                algorithm: Algorithm::Sha1,
                digits: 6,
                period,
            },
            fingerprint: String::new(),
            issued_at: at(0),
            expires_at: None,
            confirmed_at: Some(at(0)),
            confirmed_how: None,
            confirmed_on: None,
            last_step: None,
            cause: Cause::default(),
            sheet: None,
        }),
        next: None,
    }
}

fn known(judged: Vec<LoginRecord>, earlier: &[LoginRecord]) -> Known {
    let accepted = earlier.iter().chain(&judged).filter(|l| l.is_accepted());
    Known {
        accepted: accepted.cloned().collect(),
        judged,
        on_hosts: vec![enforced("web1")],
        now: at(86_400),
        ..Known::default()
    }
}

fn judge(judged: Vec<LoginRecord>, earlier: &[LoginRecord]) -> Vec<ActivityFinding> {
    found(&known(judged, earlier))
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
fn where_the_module_logs_nothing_a_login_that_pam_was_asked_about_is_no_alert() {
    let asked = |factors: &[&str]| LoginRecord {
        factors: factors.iter().map(|f| (*f).to_owned()).collect(),
        ..login("web1", 0, "accepted", "10.0.0.1")
    };
    let pam = asked(&["key", "keyboard-interactive/pam"]);
    assert_eq!(ids(&judge(vec![pam.clone()], &[])), ["no-second-factor"]);
    let on_silent = |one: LoginRecord| {
        let mut known = known(vec![one], &[]);
        known.silent.insert(HostName::new("web1").unwrap());
        found(&known)
    };
    assert_eq!(ids(&on_silent(pam)), Vec::<&str>::new());
    assert_eq!(ids(&on_silent(asked(&["key"]))), ["no-second-factor"]);
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

#[test]
fn codes_of_one_step_are_as_long_as_the_tokens_own() {
    let pair = || {
        vec![
            login("web1", 0, "accepted", "10.0.0.1"),
            login("web2", 20, "accepted", "10.0.0.2"),
        ]
    };
    let by = |period| {
        found(&Known {
            tokens: vec![token(TokenState::Active, 1, period)],
            ..known(pair(), &[])
        })
    };
    // 20 seconds apart, from the beginning of a step: within one of 30 or 300 seconds, not of 15.
    assert_eq!(ids(&by(15)), Vec::<&str>::new());
    assert_eq!(ids(&by(30)), ["code-on-two-hosts"]);
    assert_eq!(ids(&by(300)), ["code-on-two-hosts"]);
    // The earlier of the two was collected later.
    let late = Known {
        judged: vec![pair().remove(0)],
        accepted: pair(),
        ..Known::default()
    };
    assert_eq!(ids(&found(&late)), ["code-on-two-hosts"]);
}

fn from(seconds: i64, country: &str, city: &str, degrees: Option<(f64, f64)>) -> LoginRecord {
    LoginRecord {
        origin: Some(Origin {
            country: Some(country.to_owned()),
            city: Some(city.to_owned()),
            spot: degrees.and_then(|(north, east)| Spot::from_degrees(north, east)),
            asn: Some(64_496),
            owner: None,
        }),
        ..login("web1", seconds, "accepted", "192.0.2.1")
    }
}

const PARIS: Option<(f64, f64)> = Some((48.8567, 2.3508));
const NEW_YORK: Option<(f64, f64)> = Some((40.7128, -74.006));
const LILLE: Option<(f64, f64)> = Some((50.6292, 3.0573));

#[test]
fn a_new_country_is_found_and_the_first_of_all_is_not() {
    let nowhere = login("web1", 0, "accepted", "192.0.2.1");
    let paris = from(10, "FR", "Paris", None);
    let first = [nowhere.clone(), paris.clone()];
    assert_eq!(ids(&judge(first.to_vec(), &[])), Vec::<&str>::new());
    let found = judge(vec![from(20, "US", "New York", None)], &first);
    assert_eq!(
        (ids(&found), found[0].severity, found[0].text.as_str()),
        (
            vec!["new-country"],
            Weight::Warning,
            "alice logged in from US (AS64496) for the first time"
        )
    );
    let again = judge(vec![from(30, "FR", "Lille", None), nowhere], &first);
    assert_eq!(ids(&again), Vec::<&str>::new());
    // Refused, so nobody was in.
    let refused = LoginRecord {
        outcome: "wrong-code".to_owned(),
        ..from(20, "US", "New York", None)
    };
    assert_eq!(ids(&judge(vec![refused], &first)), Vec::<&str>::new());
}

#[test]
fn travel_is_impossible_only_where_no_airliner_is_that_fast() {
    let first = from(0, "US", "Paris", PARIS);
    let to = |hours: f64, city, spot| {
        #[expect(clippy::cast_possible_truncation, reason = "a few hours")]
        let seconds = (hours * 3600.0) as i64;
        judge(
            vec![from(seconds, "US", city, spot)],
            std::slice::from_ref(&first),
        )
    };
    // 5 837 km in 6.4 hours are 912 km/h, in 6.6 hours 884.
    let fast = to(6.4, "New York", NEW_YORK);
    assert_eq!(ids(&fast), ["impossible-travel"]);
    assert_eq!(
        fast[0].text,
        "alice logged in from Paris, US and, 384 minutes later, from New York, US: 5837 km apart"
    );
    assert_eq!(fast[0].evidence.len(), 2);
    assert_eq!(ids(&to(6.6, "New York", NEW_YORK)), Vec::<&str>::new());
    assert_eq!(ids(&to(0.0, "New York", NEW_YORK)), ["impossible-travel"]);
    // 204 km at once: a database may be wrong by that. And a place that is not known is nowhere.
    assert_eq!(ids(&to(0.0, "Lille", LILLE)), Vec::<&str>::new());
    assert_eq!(ids(&to(0.0, "New York", None)), Vec::<&str>::new());
    // Two people are not one, one person is not two accounts.
    let mut bob = from(60, "US", "New York", NEW_YORK);
    bob.login = Login::new("bob").unwrap();
    let two = |tokens| {
        found(&Known {
            tokens,
            ..known(vec![bob.clone()], std::slice::from_ref(&first))
        })
    };
    assert_eq!(
        ids(&two(vec![token(TokenState::Active, 1, 30)])),
        ["impossible-travel"]
    );
    assert_eq!(ids(&two(Vec::new())), Vec::<&str>::new());
    // The earlier one was collected later: they are found then, and only then.
    let late = from(60, "US", "New York", NEW_YORK);
    let both = Known {
        judged: vec![first.clone()],
        accepted: vec![first.clone(), late.clone()],
        ..Known::default()
    };
    assert_eq!(ids(&found(&both)), ["impossible-travel"]);
    assert_eq!(ids(&judge(Vec::new(), &[first, late])), Vec::<&str>::new());
}

#[test]
fn a_dead_generation_is_found_only_while_its_token_lives() {
    let one = |token: TokenRecord, seconds: i64, generation: i64, outcome: &str| {
        let login = LoginRecord {
            generation: Generation::try_from(generation).ok(),
            ..login("web1", seconds, outcome, "10.0.0.1")
        };
        let found = found(&Known {
            tokens: vec![token],
            ..known(vec![login], &[])
        });
        found.iter().map(|f| (f.id, f.severity)).collect::<Vec<_>>()
    };
    let live = || token(TokenState::Active, 2, 30);
    assert_eq!(
        one(live(), 200, 1, "accepted"),
        [("dead-generation", Weight::Alert)]
    );
    assert_eq!(one(live(), 200, 2, "accepted"), []);
    assert_eq!(one(live(), 200, 1, "wrong-code"), []);
    // Before it was dead: the rotation's end came after that login.
    assert_eq!(one(live(), 50, 1, "accepted"), []);
    // The key of a token that is ended is dead as well; that is told as what it is.
    for state in [
        TokenState::Revoking,
        TokenState::Revoked,
        TokenState::Expired,
    ] {
        let ended = || token(state, 2, 30);
        assert_eq!(
            one(ended(), 200, 1, "accepted"),
            [("login-after-end", Weight::Alert)]
        );
        assert_eq!(one(ended(), 50, 2, "accepted"), []);
        assert_eq!(one(ended(), 200, 2, "replayed"), []);
    }
}

#[test]
fn a_one_time_code_is_found_where_it_was_the_code() {
    let bypass = BypassRecord {
        id: "B-7K2M9QXA".parse().unwrap(),
        host: HostName::new("web1").unwrap(),
        serial: Serial::new(SERIAL).unwrap(),
        admin: AdminName::new("alice").ok(),
        login: Login::new("alice").unwrap(),
        granted_at: at(0),
        due_at: at(1800),
        reason: "phone at home".to_owned(),
        ticket: Some("OPS-7".to_owned()),
        state: BypassState::Used,
        ended_at: Some(at(900)),
    };
    let one = |login: LoginRecord| {
        found(&Known {
            bypasses: vec![bypass.clone()],
            ..known(vec![login], &[])
        })
    };
    let used = LoginRecord {
        generation: None,
        ..login("web1", 600, "accepted", "10.0.0.1")
    };
    let first = one(used.clone());
    assert_eq!(
        (ids(&first), first[0].text.as_str()),
        (
            vec!["break-glass-used"],
            "alice logged in on web1 with one-time code B-7K2M9QXA (OPS-7, phone at home)"
        )
    );
    // It works once: whoever comes after it within its time has the usual code.
    let after = LoginRecord {
        at: at(700),
        line: "later".to_owned(),
        ..used.clone()
    };
    let both = Known {
        bypasses: vec![bypass.clone()],
        ..known(vec![after], std::slice::from_ref(&used))
    };
    assert_eq!(ids(&found(&both)), Vec::<&str>::new());
    let others = [
        // The one-time code's file refused, so it was the usual code.
        LoginRecord {
            refused_before: 1,
            ..used.clone()
        },
        // By key alone where no code is demanded; on another host; after its end.
        LoginRecord {
            factors: vec!["key".to_owned()],
            at: at(-1),
            ..used.clone()
        },
        login("web2", 600, "accepted", "10.0.0.1"),
        login("web1", 901, "accepted", "10.0.0.1"),
        login("web1", 600, "wrong-code", "10.0.0.1"),
    ];
    for other in others {
        assert_eq!(ids(&one(other)), Vec::<&str>::new());
    }
}

#[test]
fn a_recovery_code_is_found_each_time_one_is_redeemed() {
    let serial = Serial::new(SERIAL).unwrap();
    let found = found(&Known {
        recoveries: vec![(serial.clone(), at(10)), (serial, at(20))],
        tokens: vec![token(TokenState::Active, 1, 30)],
        ..Known::default()
    });
    assert_eq!(ids(&found), ["recovery-code-used", "recovery-code-used"]);
    assert_eq!(
        (found[0].at, found[0].admin.as_deref(), found[0].severity),
        (at(10), Some("alice"), Weight::Warning)
    );
    assert_ne!(found[0].key, found[1].key);
}

#[test]
fn a_token_is_never_used_only_where_every_log_was_read() {
    let host = |name| HostName::new(name).unwrap();
    let base = || Known {
        tokens: vec![token(TokenState::Active, 1, 30)],
        on_hosts: vec![enforced("web1"), enforced("web2")],
        read: [host("web1"), host("web2")].into(),
        now: at(30 * 86_400),
        ..Known::default()
    };
    let never = found(&base());
    assert_eq!(
        (ids(&never), never[0].severity, never[0].hosts.len()),
        (vec!["never-used"], Weight::Notice, 2)
    );
    let others = [
        Known {
            now: at(30 * 86_400 - 1),
            ..base()
        },
        Known {
            read: [host("web1")].into(),
            ..base()
        },
        Known {
            accepted: vec![login("web2", 5, "accepted", "10.0.0.1")],
            ..base()
        },
        Known {
            tokens: vec![token(TokenState::Pending, 1, 30)],
            ..base()
        },
        Known {
            on_hosts: Vec::new(),
            ..base()
        },
    ];
    for other in others {
        assert_eq!(ids(&found(&other)), Vec::<&str>::new());
    }
    // By key alone is no use of the token. Found a day later, it is still the same.
    let by_key = LoginRecord {
        factors: vec!["key".to_owned()],
        ..login("web2", -5, "accepted", "10.0.0.1")
    };
    let later = found(&Known {
        accepted: vec![by_key],
        now: at(31 * 86_400),
        ..base()
    });
    assert_eq!(
        (ids(&later), &later[0].key),
        (vec!["never-used"], &never[0].key)
    );
}

#[test]
fn a_key_names_a_finding_and_no_other() {
    let tries = |count: i64| {
        (1..=count)
            .map(|n| login("web1", n, "wrong-code", "10.0.0.1"))
            .collect::<Vec<_>>()
    };
    let key = |judged: Vec<LoginRecord>| judge(judged, &[])[0].key.clone();
    assert_eq!(key(tries(8)), key(tries(8)));
    // Judged with what came before, the same last try is the same finding; one more is another.
    assert_eq!(key(tries(8)), key(tries(8).split_off(4)));
    assert_ne!(key(tries(8)), key(tries(9)));
}
