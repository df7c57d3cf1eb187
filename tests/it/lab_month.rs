//! Four weeks of a fleet with a moved clock, played through on real hosts: issue, late confirmation, rotation, overdue, lost
//! device, a leaver with a dead host, drift, break-glass, failed logins, a replay.

use serde_json::json;

use crate::lab::{Code, Key, KeyPair, Lab, Prefs, Suite, Totp};
use crate::support::project::{Project, all};

const HOSTS: [(&str, Suite); 3] = [
    ("web1", Suite::Bookworm),
    ("web2", Suite::Trixie),
    ("db1", Suite::Bookworm),
];
const DAY: i64 = 24 * 3600;

struct Person {
    name: &'static str,
    key: KeyPair,
}

fn accepted(lab: &Lab, host: &str, who: &Person, totp: &mut Totp) -> bool {
    let code = totp.fresh();
    lab.login(
        host,
        who.name,
        Key::With(&who.key),
        Code::Some(&code),
        Prefs::Default,
    )
    .accepted
}

#[test]
fn four_weeks_are_played_through() {
    let lab = Lab::start_movable(&HOSTS);
    let people = ["alice", "bob", "carol", "dave"].map(|name| Person {
        name,
        key: lab.key_pair(name),
    });
    for (host, _) in HOSTS {
        for person in &people {
            lab.host(host).add_user(person.name, &person.key);
        }
    }
    let [alice, bob, carol, dave] = &people;
    let hosts = HOSTS.map(|(name, _)| (name, json!({})));
    let project = Project::new(
        &lab,
        &json!({
            "all": all(&lab, &hosts),
            "admins": {"alice": {}, "bob": {}, "carol": {}, "dave": {}},
            "policies": {"default": {
                "issuer": "Example Corp", "rate_limit": "30/30s", "enrolment_ttl": "72h", "overlap": "7d",
                "rotate_every": "10d", "recovery_codes": 2,
            }},
        }),
    );
    // Day 0: sheets for all; alice and bob confirm at once.
    let ran = project.rollout(&["-o", "json"]).expect_code(0);
    let [mut a, mut b, mut c, mut d] =
        ["alice", "bob", "carol", "dave"].map(|n| ran.sheet(n, "default").scan().totp());
    for (person, totp) in [(alice, &mut a), (bob, &mut b), (dave, &mut d)] {
        project
            .confirm(person.name, &totp.fresh(), &[])
            .expect_code(0);
    }
    assert!(accepted(&lab, "web1", alice, &mut a));

    // Day 4: carol's sheet ended on day 3, on the hosts as well.
    lab.travel(4 * DAY);
    for (host, _) in HOSTS {
        lab.host(host)
            .sh("[ ! -e /var/lib/google-authenticator/current/carol ]");
    }
    project.confirm("carol", &c.fresh(), &[]).expect_code(1);
    project.fleetotp(&["sync"]).expect_code(0);
    let ran = project
        .fleetotp(&["enroll", "--reissue", "-a", "carol", "-o", "json"])
        .expect_code(0);
    c = ran.sheet("carol", "default").scan().totp();
    project.confirm("carol", &c.fresh(), &[]).expect_code(0);
    assert!(accepted(&lab, "db1", carol, &mut c));

    // Day 11: those of day 0 are due. alice uses the new code, bob never does.
    lab.travel(7 * DAY);
    let ran = project
        .fleetotp(&["rotate", "--due", "-a", "alice,bob", "-o", "json"])
        .expect_code(0);
    let [mut a2, b2] = ["alice", "bob"].map(|n| ran.sheet(n, "default").scan().totp());
    assert!(accepted(&lab, "web1", alice, &mut a2));
    assert!(accepted(&lab, "web2", bob, &mut b));

    // Day 20: the overlap is over everywhere.
    lab.travel(9 * DAY);
    project.fleetotp(&["sync"]).expect_code(0);
    assert!(accepted(&lab, "web2", alice, &mut a2));
    assert!(!accepted(&lab, "web2", alice, &mut a));
    assert!(accepted(&lab, "web2", bob, &mut b));
    assert!(!accepted(&lab, "web2", bob, &mut b2.clone()));
    assert_eq!(project.status("bob", "default")["overdue"], true);

    // Day 22: dave leaves while db1 is away.
    lab.travel(2 * DAY);
    lab.host("db1").cut();
    project
        .fleetotp(&["revoke", "dave", "--reason", "left", "--ticket", "HR-1"])
        .expect_code(4);
    assert!(!accepted(&lab, "web1", dave, &mut d));
    // Day 25: db1 is back.
    lab.travel(3 * DAY);
    lab.host("db1").mend();
    project.fleetotp(&["sync"]).expect_code(0);
    assert!(!accepted(&lab, "db1", dave, &mut d));
    // Day 28.
    lab.travel(3 * DAY);
    assert!(accepted(&lab, "db1", alice, &mut a2));
}
