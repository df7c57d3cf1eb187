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
    // Day 25: db1 is back. carol lost her phone, and somebody edited the group on web1 by hand.
    lab.travel(3 * DAY);
    lab.host("db1").mend();
    project.fleetotp(&["sync"]).expect_code(0);
    assert!(!accepted(&lab, "db1", dave, &mut d));
    lab.host("web1").sh("gpasswd -d alice fleetotp");
    project
        .fleetotp(&["sync", "--check", "--detailed-exitcode"])
        .expect_code(8);
    project.fleetotp(&["sync"]).expect_code(0);
    lab.host("web1").sh("id -nG alice | grep -qw fleetotp");
    let ran = project
        .fleetotp(&["enroll", "--lost-device", "-a", "carol", "-o", "json"])
        .expect_code(0);
    let mut c2 = ran.sheet("carol", "default").scan().totp();
    assert!(!accepted(&lab, "db1", carol, &mut c));
    project.confirm("carol", &c2.fresh(), &[]).expect_code(0);
    assert!(accepted(&lab, "db1", carol, &mut c2));

    // Day 28: break-glass for bob on web2; wrong codes; a code that was used on web1 is tried on web2 by somebody else.
    lab.travel(3 * DAY);
    let granted = project
        .fleetotp(&[
            "bypass",
            "grant",
            "bob",
            "--hosts",
            "web2",
            "--for",
            "30m",
            "--reason",
            "phone in repair",
            "--ticket",
            "OPS-9",
            "-o",
            "json",
        ])
        .expect_code(0)
        .json();
    let code = granted["codes"][0]["code"]
        .as_str()
        .expect("the code is printed once");
    lab.assert_in(
        "web2",
        "bob",
        Key::With(&bob.key),
        Code::Some(code),
        Prefs::Default,
    );
    lab.assert_refused(
        "web2",
        "bob",
        Key::With(&bob.key),
        Code::Some(code),
        Prefs::Default,
    );
    for _ in 0..2 {
        lab.assert_refused(
            "web1",
            "alice",
            Key::With(&alice.key),
            Code::Some(&a2.wrong()),
            Prefs::Default,
        );
    }
    let seen = a2.fresh();
    for host in ["web1", "web2"] {
        lab.assert_in(
            host,
            "alice",
            Key::With(&alice.key),
            Code::Some(&seen),
            Prefs::Default,
        );
    }
    project.fleetotp(&["sync"]).expect_code(0);
}
