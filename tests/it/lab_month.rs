//! Four weeks of a fleet with a moved clock, played through on real hosts: issue, late confirmation, rotation, overdue, lost
//! device, a leaver with a dead host, drift, break-glass, failed logins, a replay. What the reports say is counted again,
//! [figure by figure](figures); what logs tell of logins is held against those that were made.

mod figures;

use std::cell::RefCell;
use std::collections::BTreeMap;

use figures::Story;

use fleetotp::clock::{Clock as _, SystemClock, Timestamp};
use serde_json::{Value, json};

use crate::lab::{Code, Host, Key, KeyPair, Lab, Prefs, Suite, Totp};
use crate::report_cmd::{figure, rows};
use crate::support::project::{Project, Ran, all};

const HOSTS: [(&str, Suite); 3] = [
    ("web1", Suite::Bookworm),
    ("web2", Suite::Trixie),
    ("db1", Suite::Bookworm),
];
const DAY: i64 = 24 * 3600;

fn report(project: &Project<'_>, args: &[&str], code: i32) -> Value {
    let ran = project.fleetotp(&[&["report"], args, &["-o", "json"]].concat());
    ran.expect_code(code).json()
}

/// Asserts figures of a report's summary.
#[track_caller]
fn assert_figures(report: &Value, wanted: &[(&str, i64)]) {
    for (id, number) in wanted {
        assert_eq!(
            figure(report, "summary", id),
            json!(number),
            "{id}: {report:#}"
        );
    }
}

struct Person {
    name: &'static str,
    key: KeyPair,
}

/// Every login that was made, and what came of it: what logs are held against.
struct Doings<'lab> {
    lab: &'lab Lab,
    made: RefCell<Vec<(String, bool)>>,
    /// How many of them were collected.
    collected: RefCell<usize>,
}

impl Doings<'_> {
    fn login(&self, host: &str, login: &str, key: &KeyPair, code: &str) -> bool {
        let code = Code::Some(code);
        let result = self
            .lab
            .login(host, login, Key::With(key), code, Prefs::Default);
        let mut made = self.made.borrow_mut();
        made.push((host.to_owned(), result.accepted));
        result.accepted
    }

    fn accepted(&self, host: &str, who: &Person, totp: &mut Totp) -> bool {
        self.login(host, who.name, &who.key, &totp.fresh())
    }

    /// Collects, and compares what logs tell with what was done since the last time; returns the findings' names.
    fn collected(&self, project: &Project<'_>, strangers: &[(&str, i64)]) -> Vec<Value> {
        let document = project
            .fleetotp(&["audit", "collect", "-o", "json"])
            .expect_code(0)
            .json();
        let made = self.made.borrow();
        let since = &made[*self.collected.borrow()..];
        for (host, _) in HOSTS {
            let here: Vec<_> = since.iter().filter(|(h, _)| h == host).collect();
            let accepted = here.iter().filter(|(_, accepted)| *accepted).count();
            let rows = document["hosts"].as_array().unwrap();
            let row = rows.iter().find(|r| r["host"] == host).unwrap();
            let unknown = strangers.iter().find(|(h, _)| *h == host);
            for (key, number) in [
                ("logins", here.len()),
                ("new", here.len()),
                ("accepted", accepted),
                ("strangers", unknown.map_or(0, |(_, n)| *n as usize)),
            ] {
                assert_eq!(row[key], number, "{key}: {document:#}");
            }
            // And by the host's own log, all of it.
            let log = accepted_by_log(self.lab.host(host));
            let ever = made.iter().filter(|(h, accepted)| h == host && *accepted);
            assert_eq!(log, ever.count(), "{host}");
        }
        *self.collected.borrow_mut() = made.len();
        document["findings"].as_array().unwrap().clone()
    }
}

/// How many logins of the four sshd let in, by its own lines.
fn accepted_by_log(host: Host<'_>) -> usize {
    let count = host.sh(
        "grep -hE 'Accepted [a-z/-]+ for (alice|bob|carol|dave) from' /var/log/auth.log* | wc -l",
    );
    count.trim().parse().unwrap()
}

fn ids(findings: &[Value]) -> Vec<&str> {
    let mut ids: Vec<&str> = findings.iter().map(|f| f["id"].as_str().unwrap()).collect();
    ids.sort_unstable();
    ids
}

fn note_sheets(story: &mut Story<'_>, ran: &Ran) {
    let sheets = ran.sheets().into_iter();
    story.sheets.extend(sheets.map(|s| (s.id, s.admin)));
}

#[test]
#[expect(
    clippy::too_many_lines,
    reason = "one story, told in order: each step stands on the one before"
)]
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
    let doings = Doings {
        lab: &lab,
        made: RefCell::default(),
        collected: RefCell::default(),
    };
    let names = HOSTS.map(|(name, _)| name);
    let mut story = Story::new(&names, &["alice", "bob", "carol", "dave"], 10);
    // Day 0: sheets for all; alice and bob confirm at once.
    let ran = project.rollout(&["-o", "json"]).expect_code(0);
    note_sheets(&mut story, &ran);
    story.check(&project, &lab, &[]);
    let [mut a, mut b, mut c, mut d] =
        ["alice", "bob", "carol", "dave"].map(|n| ran.sheet(n, "default").scan().totp());
    for (person, totp) in [(alice, &mut a), (bob, &mut b), (dave, &mut d)] {
        project
            .confirm(person.name, &totp.fresh(), &[])
            .expect_code(0);
    }
    assert!(doings.accepted("web1", alice, &mut a));
    story.check(&project, &lab, &[]);

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
    note_sheets(&mut story, &ran);
    story.check(&project, &lab, &[]);
    c = ran.sheet("carol", "default").scan().totp();
    project.confirm("carol", &c.fresh(), &[]).expect_code(0);
    assert!(doings.accepted("db1", carol, &mut c));

    // Day 11: those of day 0 are due. alice uses the new code, bob never does.
    lab.travel(7 * DAY);
    let ran = project
        .fleetotp(&["rotate", "--due", "-a", "alice,bob", "-o", "json"])
        .expect_code(0);
    note_sheets(&mut story, &ran);
    let [mut a2, b2] = ["alice", "bob"].map(|n| ran.sheet(n, "default").scan().totp());
    assert!(doings.accepted("web1", alice, &mut a2));
    assert!(doings.accepted("web2", bob, &mut b));
    story.check(&project, &lab, &[]);

    // Day 20: the overlap is over everywhere.
    lab.travel(9 * DAY);
    project.fleetotp(&["sync"]).expect_code(0);
    assert!(doings.accepted("web2", alice, &mut a2));
    assert!(!doings.accepted("web2", alice, &mut a));
    assert!(doings.accepted("web2", bob, &mut b));
    assert!(!doings.accepted("web2", bob, &mut b2.clone()));
    assert_eq!(project.status("bob", "default")["overdue"], true);
    story.check(&project, &lab, &[]);
    let none: [&str; 0] = [];
    assert_eq!(ids(&doings.collected(&project, &[])), none);
    story.collected(&lab);

    // Day 22: dave leaves while db1 is away.
    lab.travel(2 * DAY);
    lab.host("db1").cut();
    project
        .fleetotp(&["revoke", "dave", "--reason", "left", "--ticket", "HR-1"])
        .expect_code(4);
    assert!(!doings.accepted("web1", dave, &mut d));
    story.check(&project, &lab, &["db1"]);
    let dead = report(&project, &["revocation", "--strict"], 9);
    assert_figures(
        &dead,
        &[("revocations", 1), ("open", 1), ("done", 0), ("proven", 2)],
    );
    assert_eq!(rows(&dead, "open")[0]["host"], "db1");
    // The next full second: the last host was read in this one.
    let day = SystemClock.now().as_second() + 1 + 22 * DAY;
    let while_dead = Timestamp::from_second(day).unwrap().to_string();

    // Day 25: db1 is back. carol lost her phone, and somebody edited the group on web1 by hand.
    lab.travel(3 * DAY);
    lab.host("db1").mend();
    project.fleetotp(&["sync"]).expect_code(0);
    assert!(!doings.accepted("db1", dave, &mut d));
    lab.host("web1").sh("gpasswd -d alice fleetotp");
    project
        .fleetotp(&["sync", "--check", "--detailed-exitcode"])
        .expect_code(8);
    project.fleetotp(&["sync"]).expect_code(0);
    lab.host("web1").sh("id -nG alice | grep -qw fleetotp");
    let ran = project
        .fleetotp(&["enroll", "--lost-device", "-a", "carol", "-o", "json"])
        .expect_code(0);
    note_sheets(&mut story, &ran);
    story.check(&project, &lab, &[]);
    let mut c2 = ran.sheet("carol", "default").scan().totp();
    assert!(!doings.accepted("db1", carol, &mut c));
    project.confirm("carol", &c2.fresh(), &[]).expect_code(0);
    assert!(doings.accepted("db1", carol, &mut c2));

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
    assert!(doings.login("web2", "bob", &bob.key, code));
    assert!(!doings.login("web2", "bob", &bob.key, code));
    for _ in 0..5 {
        assert!(!doings.login("web1", "alice", &alice.key, &a2.wrong()));
    }
    let eve = Prefs::KeyOnly;
    lab.login("db1", "eve", Key::With(&alice.key), Code::No, eve);
    // Somebody has put a key of their own into alice's account on web2, and has looked over her shoulder.
    let mallory = lab.key_pair("mallory");
    lab.host("web2").sh(&format!(
        "echo '{}' >>~alice/.ssh/authorized_keys",
        mallory.public
    ));
    let seen = a2.fresh();
    assert!(doings.login("web1", "alice", &alice.key, &seen));
    assert!(doings.login("web2", "alice", &mallory, &seen));
    project.fleetotp(&["sync"]).expect_code(0);

    let found = doings.collected(&project, &[("db1", 1)]);
    story.collected(&lab);
    story.check(&project, &lab, &[]);
    assert_eq!(
        ids(&found),
        ["break-glass-used", "code-on-two-hosts", "failure-spike"],
        "{found:#?}"
    );
    for (id, severity, admin, hosts) in [
        ("break-glass-used", "warning", "bob", json!(["web2"])),
        (
            "code-on-two-hosts",
            "alert",
            "alice",
            json!(["web1", "web2"]),
        ),
        ("failure-spike", "warning", "alice", json!(["web1"])),
    ] {
        let one = found.iter().find(|f| f["id"] == id).unwrap();
        assert_eq!(
            (&one["severity"], &one["admin"], &one["hosts"]),
            (&json!(severity), &json!(admin), &hosts),
            "{one:#}"
        );
        assert!(!one["evidence"].as_array().unwrap().is_empty(), "{one:#}");
    }

    // What the reports say, against what was done above.
    let rotation = report(&project, &["rotation"], 0);
    assert_figures(
        &rotation,
        &[
            // dave's has ended.
            ("tokens", 3),
            ("pending", 0),
            ("active", 3),
            ("rotating", 0),
            ("revoked", 1),
            ("expired", 0),
            // bob's rotation, which nobody confirmed.
            ("overdue", 1),
            ("overlaps", 0),
        ],
    );
    // Four sheets on day 0, one for carol on day 4, two rotations, one for a lost phone.
    assert_eq!(rows(&rotation, "keys").len(), 8);
    let revocation = report(&project, &["revocation", "--strict"], 0);
    assert_figures(
        &revocation,
        &[("revocations", 1), ("open", 0), ("done", 1), ("proven", 3)],
    );
    let took: BTreeMap<&str, i64> = rows(&revocation, "hosts")
        .iter()
        .map(|row| (row["host"].as_str().unwrap(), row["took"].as_i64().unwrap()))
        .collect();
    assert_eq!(took.len(), 3, "{took:?}");
    assert!(took["web1"] < 120 && took["web2"] < 120, "{took:?}");
    assert!((3 * DAY..3 * DAY + 600).contains(&took["db1"]), "{took:?}");
    let coverage = report(&project, &["coverage"], 0);
    // Three admins on three hosts, and a fourth who left.
    assert_figures(
        &coverage,
        &[
            ("enforced", 9),
            ("unknown", 0),
            ("revoked", 3),
            ("pending", 0),
        ],
    );
    for (host, _) in HOSTS {
        let group = lab.host(host).sh("getent group fleetotp");
        assert_eq!(
            group.trim().rsplit(':').next().unwrap().split(',').count(),
            4
        );
    }
    assert_eq!(rows(&coverage, "sheets").len(), 8);
    assert_eq!(rows(&coverage, "codes").len(), 1);
    assert_eq!(rows(&coverage, "codes")[0]["host"], "web2");

    // For a look at a real pack: make browser PACK=…
    if let Some(place) = std::env::var_os("FLEETOTP_MONTH_PACK") {
        project
            .fleetotp(&["report", "pack", "--out", place.to_str().unwrap()])
            .expect_code(0);
    }

    // And what they said of the day on which db1 was dead.
    let then = report(&project, &["revocation", "--as-of", &while_dead], 0);
    assert_figures(&then, &[("open", 1), ("done", 0), ("proven", 2)]);
}
