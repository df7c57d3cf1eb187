//! Offboarding at size, with hosts that are down.

use serde_json::{Value, json};

use crate::lab::{KeyPair, Lab, Suite};
use crate::support::leavers::{assert_out, others, policies, revoke, session, state_files};
use crate::support::project::{Project, all};

/// Appended to the account files at once: a hundred calls of useradd on each of forty hosts would take minutes.
const HUNDRED: &str = r#"
    for n in $(seq 1 100); do
        echo "u$n:x:$((2000 + n)):$((2000 + n))::/home/u$n:/bin/sh" >>/etc/passwd
        echo "u$n:*:19000:0:99999:7:::" >>/etc/shadow
        echo "u$n:x:$((2000 + n)):" >>/etc/group
    done
    for n in 7 42; do
        mkdir -p /home/u$n/.ssh && printf '%s\n' "$1" >/home/u$n/.ssh/authorized_keys
        chown -R $((2000 + n)):$((2000 + n)) /home/u$n && chmod 700 /home/u$n /home/u$n/.ssh
    done
"#;

/// One admin of a hundred leaves; forty hosts, of which three are down.
#[test]
fn one_of_a_hundred_leaves_forty_hosts_of_which_three_are_down() {
    let names: Vec<String> = (1..=40).map(|n| format!("h{n:02}")).collect();
    let suites = [Suite::Bookworm, Suite::Trixie, Suite::Bullseye];
    let specs: Vec<(&str, Suite)> = names
        .iter()
        .zip(suites.iter().cycle())
        .map(|(name, suite)| (name.as_str(), *suite))
        .collect();
    let lab = Lab::start(&specs);
    let key = lab.key_pair("everybody");
    let on_each = |what: &(dyn Fn(&str) + Sync)| {
        std::thread::scope(|scope| {
            for chunk in names.chunks(10) {
                scope.spawn(move || chunk.iter().for_each(|name| what(name)));
            }
        });
    };
    on_each(&|name| {
        let script = HUNDRED.replace("\"$1\"", &format!("'{}'", key.public));
        lab.host(name).sh(&script);
    });
    let hosts: Vec<_> = names
        .iter()
        .map(|name| (name.as_str(), json!({})))
        .collect();
    let admins: serde_json::Map<String, Value> = (1..=100)
        .map(|n| (format!("a{n}"), json!({"login": format!("u{n}")})))
        .collect();
    let project = Project::new(
        &lab,
        &json!({"all": all(&lab, &hosts), "admins": admins, "policies": policies()}),
    );
    project.change_settings("#connect_timeout: 10s", "connect_timeout: 6s");
    let ran = project.rollout(&["-o", "json"]).expect_code(0);
    let mut leaver = ran.sheet("a42", "default").scan().wide_totp();
    let mut stays = ran.sheet("a7", "default").scan().wide_totp();
    for (admin, totp) in [("a42", &mut leaver), ("a7", &mut stays)] {
        let code = totp.fresh();
        project.confirm(admin, &code, &[]).expect_code(0);
    }
    let before: Vec<String> = names.iter().map(|name| state_files(&lab, name)).collect();
    let mut session = session(
        &lab,
        "h05",
        "root",
        &KeyPair {
            private: lab.root_key().into(),
            public: String::new(),
        },
    );
    let down = ["h03", "h20", "h38"];
    for name in down {
        lab.host(name).cut();
    }

    let ran = revoke(&project, &["a42", "-o", "json"]).expect_code(4);
    let document = ran.json();
    let items = document["revocations"][0]["hosts"]
        .as_array()
        .unwrap()
        .clone();
    let of = |state: &str| -> Vec<&str> {
        let found = items.iter().filter(|i| i["state"] == state);
        found.map(|i| i["host"].as_str().unwrap()).collect()
    };
    assert_eq!(of("proven").len(), 37);
    assert_eq!(of("open"), down);
    for item in items.iter().filter(|i| i["state"] == "open") {
        assert!(
            item["since"].is_string() && item["why"].as_str().unwrap().starts_with("unreachable"),
            "{item:#}"
        );
    }
    let status = project.status("a42", "default");
    assert_eq!(status["state"], "revoking");
    let counts = ["proven", "open", "attested"].map(|k| status["revocation"][k].as_u64().unwrap());
    assert_eq!(counts, [37, 3, 0]);
    project
        .fleetotp(&["status"])
        .expect_code(0)
        .expect_text(&["37 hosts proven, 3 open since", "h03, h20, h38"]);
    // The reports say the same, from the events alone, and know nothing of hosts that are away.
    let json = |args: &[&str]| project.fleetotp(&[&["report"], args, &["-o", "json"]].concat());
    let section = |report: &serde_json::Value, id: &str| {
        let sections = report["sections"].as_array().unwrap();
        sections.iter().find(|s| s["id"] == id).unwrap().clone()
    };
    let hosts_of = |report: &serde_json::Value, id: &str| -> Vec<String> {
        let section = section(report, id);
        let rows = section["rows"].as_array().unwrap().iter();
        rows.map(|r| r["host"].as_str().unwrap().to_owned())
            .collect()
    };
    let report = json(&["revocation", "--strict"]).expect_code(9).json();
    let figures = section(&report, "summary")["figures"].clone();
    let figure = |id: &str| {
        let mut all = figures.as_array().unwrap().iter();
        all.find(|f| f["id"] == id).unwrap()["value"].clone()
    };
    assert_eq!(
        ["proven", "open", "attested"].map(figure),
        [37, 3, 0].map(serde_json::Value::from)
    );
    assert_eq!(hosts_of(&report, "open"), down);
    let report = json(&["coverage", "--strict", "-a", "a42"])
        .expect_code(9)
        .json();
    assert_eq!(hosts_of(&report, "unknown_hosts"), down);
    let accounts = section(&report, "accounts");
    let standing = |wanted: &str| {
        let rows = accounts["rows"].as_array().unwrap().iter();
        rows.filter(|r| r["standing"] == wanted).count()
    };
    assert_eq!([standing("revoked"), standing("unknown")], [37, 3]);
    // The clock of what is open runs on from the same moment.
    let since = status["revocation"]["requested_at"].clone();
    project
        .fleetotp(&["sync"])
        .expect_code(4)
        .expect_text(&["h03: a42: open since"]);
    assert_eq!(
        project.status("a42", "default")["revocation"]["requested_at"],
        since
    );
    on_each(&|name| {
        if !down.contains(&name) {
            assert_out(&lab, name, "u42", &key, &leaver);
        }
    });

    for name in down {
        lab.host(name).mend();
    }
    project
        .fleetotp(&["sync"])
        .expect_code(0)
        .expect_text(&["h03: a42: removed and read back"]);
    assert_eq!(project.status("a42", "default")["state"], "revoked");
    for (name, before) in names.iter().zip(&before) {
        let now = state_files(&lab, name);
        assert!(!now.contains("/u42 "), "{name}");
        assert_eq!(
            others(&now, "u42"),
            others(before, "u42"),
            "the other 99 on {name}"
        );
    }
    for name in down {
        assert_out(&lab, name, "u42", &key, &leaver);
    }
    for name in ["h01", "h02", "h03"] {
        let mut totp = stays.clone();
        lab.assert_member(name, "u7", &key, &mut totp);
    }
    assert!(
        session.try_wait().unwrap().is_none(),
        "nobody else's session ended"
    );
    session.kill().unwrap();
    session.wait().unwrap();
}
