//! Reports of many tokens on many hosts: every row is there, and the memory they take is bounded. `make bench` runs the same
//! with a million, in the release build. Times are printed, not judged.

use std::collections::BTreeMap;
use std::io::BufRead as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use fleetotp::clock::{Clock as _, FixedClock, SystemClock, SystemEntropy};
use fleetotp::ledger::{
    Confirmation, ConfirmedHow, HostObservation, HostOutcome, ItemReading, ItemResult, Ledger,
    NewGeneration, RevocationRequest, TokenHostObservation, Vouched,
};
use fleetotp::names::{AdminName, HostName, Login, PolicyName, RealmName};
use fleetotp::token::id::{Generation, Serial};
use fleetotp::token::state::TokenHostState;
use serde_json::{Value, json};

use crate::scale::{days_ago, first_issue};
use crate::support::bare::Bare;
use crate::support::memory::watched;

/// A fleet: everybody has an account everywhere.
struct Fleet {
    bare: Bare,
    hosts: Vec<HostName>,
    serials: Vec<Serial>,
    /// What a run may take, in KiB.
    most: u64,
}

impl Fleet {
    async fn ledger(&self, days: u64) -> Ledger {
        let clock = Arc::new(FixedClock(days_ago(days)));
        let path = self.bare.path().join("state/ledger.db");
        Ledger::open(&path, clock, Arc::new(SystemEntropy))
            .await
            .unwrap()
    }

    /// Tokens issued 100 days ago and confirmed 99 days ago, and what a run sees of them: all enforced, but on the last
    /// host, which is away, and for the last admin, who has no key there.
    async fn new(hosts: usize, admins: usize, most: u64) -> Self {
        let entries: serde_json::Map<String, Value> = (0..admins)
            .map(|n| (format!("a{n}"), json!({"login": format!("u{n}")})))
            .collect();
        let names: Vec<String> = (0..hosts).map(|n| format!("host{n}.example.com")).collect();
        let all: serde_json::Map<String, Value> = names
            .iter()
            .map(|name| (name.clone(), json!({"ansible_host": "192.0.2.1"})))
            .collect();
        let bare = Bare::new(&json!({
            "all": {"hosts": all, "vars": {"ansible_user": "root"}},
            "admins": entries,
            "realms": {"prod": {"hosts": "all", "policy": "quarterly"}},
            "policies": {"quarterly": {"issuer": "Example Corp", "rotate_every": "90d"}},
        }));
        let serials = (0..admins)
            .map(|_| Serial::random(&SystemEntropy).unwrap())
            .collect();
        let fleet = Self {
            bare,
            hosts: names.iter().map(|n| HostName::new(n).unwrap()).collect(),
            serials,
            most,
        };
        fleet.issue().await;
        fleet.confirm().await;
        fleet.observe().await;
        fleet
    }

    async fn issue(&self) {
        let ledger = self.ledger(100).await;
        let new: Vec<NewGeneration> = self
            .serials
            .iter()
            .enumerate()
            .map(|(n, serial)| first_issue(n, serial.clone(), "prod"))
            .collect();
        ledger.issue(&new).await.unwrap();
        ledger.close().await;
    }

    async fn confirm(&self) {
        let ledger = self.ledger(99).await;
        for serial in &self.serials {
            let confirmation = Confirmation {
                serial: serial.clone(),
                generation: 1,
                how: ConfirmedHow::Login {
                    host: self.hosts[0].clone(),
                    step: None,
                },
                vouched: Vouched::default(),
            };
            ledger.confirm(&confirmation).await.unwrap();
        }
        ledger.close().await;
    }

    async fn observe(&self) {
        let ledger = self.ledger(98).await;
        let at = days_ago(98);
        for (number, host) in self.hosts.iter().enumerate() {
            let seen: Vec<TokenHostObservation> = self
                .serials
                .iter()
                .enumerate()
                .map(|(n, serial)| {
                    let gap = n + 1 == self.serials.len();
                    TokenHostObservation {
                        serial: serial.clone(),
                        host: host.clone(),
                        login: Login::new(&format!("u{n}")).unwrap(),
                        state: if gap {
                            TokenHostState::Gap
                        } else {
                            TokenHostState::Enforced
                        },
                        reason: gap.then(|| "the account has no usable public key".to_owned()),
                        current: Generation::try_from(1).ok(),
                        next: None,
                        at,
                    }
                })
                .collect();
            let read = HostObservation::new(host.clone(), at, HostOutcome::Read);
            ledger.observe(&[read], &seen).await.unwrap();
            if number + 1 == self.hosts.len() {
                let away = HostOutcome::Unreachable("no route to host".to_owned());
                let away = HostObservation::new(host.clone(), SystemClock.now(), away);
                ledger.observe_hosts(&[away]).await.unwrap();
            }
        }
        ledger.close().await;
    }

    /// Everybody is revoked, which is proven on a tenth of the hosts.
    async fn revoke(&self) {
        let ledger = self.ledger(3).await;
        let requests: Vec<RevocationRequest> = (0..self.serials.len())
            .map(|n| RevocationRequest {
                admin: AdminName::new(&format!("a{n}")).unwrap(),
                realm: RealmName::new("prod").unwrap(),
                policy: PolicyName::new("quarterly").unwrap(),
                hosts: Vec::new(),
                reason: Some("the company closes".to_owned()),
                ticket: None,
            })
            .collect();
        ledger.request_revocations(&requests).await.unwrap();
        ledger.close().await;
        let ledger = self.ledger(1).await;
        let mut readings = Vec::new();
        for host in self.proven() {
            readings.extend(self.serials.iter().map(|serial| ItemReading {
                serial: serial.clone(),
                host: host.clone(),
                result: ItemResult::Proven(json!({"files": "none"})),
                repaired: false,
            }));
        }
        ledger.store_readings(&readings).await.unwrap();
        ledger.close().await;
    }

    fn proven(&self) -> &[HostName] {
        &self.hosts[..self.hosts.len() / 10]
    }

    /// Runs a report into a file. Its memory is bounded.
    fn report(&self, args: &[&str], out: &str) {
        let start = Instant::now();
        let args = [&["report"], args, &["--out", out]].concat();
        let (code, [_, err], peak) = watched(self.bare.command(&args));
        println!(
            "{:<44} {:>6} ms {:>5} MiB {:>6} MB written",
            args.join(" "),
            start.elapsed().as_millis(),
            peak / 1024,
            size(&self.bare.path().join(out)) / 1_000_000,
        );
        assert_eq!(code, 0, "{err}");
        assert!(peak < self.most, "{args:?}: {peak} KiB");
    }

    /// The report as JSON: how many rows each table has, counted by lines, and the figures of the summary.
    fn json(&self, report: &str) -> (BTreeMap<String, usize>, BTreeMap<String, Value>) {
        self.report(&[report, "--format", "json"], "report.json");
        let file = std::fs::File::open(self.bare.path().join("report.json")).unwrap();
        let (mut rows, mut summary) = (BTreeMap::new(), BTreeMap::new());
        let mut table = String::new();
        for line in std::io::BufReader::new(file).lines() {
            let line = line.unwrap();
            if line.starts_with("      {") {
                *rows.entry(table.clone()).or_default() += 1;
            } else if let Some(rest) = line.strip_prefix("    {\"id\": \"") {
                table = rest.split('"').next().unwrap().to_owned();
                let whole = line.trim_end_matches(',');
                if table == "summary" {
                    let section: Value = serde_json::from_str(whole).unwrap();
                    for figure in section["figures"].as_array().unwrap() {
                        let id = figure["id"].as_str().unwrap().to_owned();
                        summary.insert(id, figure["value"].clone());
                    }
                }
            }
        }
        (rows, summary)
    }

    async fn check(&self) {
        let (hosts, admins) = (self.hosts.len(), self.serials.len());
        let everything = hosts * admins;
        let (rows, summary) = self.json("rotation");
        assert_eq!((rows["tokens"], rows["keys"]), (admins, admins));
        assert_eq!(summary["due"], admins);
        let (rows, summary) = self.json("coverage");
        let unknown = admins;
        let gaps = hosts - 1;
        assert_eq!(
            (rows["accounts"], rows["open"]),
            (everything, unknown + gaps)
        );
        assert_eq!(summary["enforced"], everything - unknown - gaps);
        for format in ["html", "pdf", "text"] {
            for report in ["rotation", "coverage"] {
                self.report(&[report, "--format", format], &format!("{report}.{format}"));
            }
        }

        let start = Instant::now();
        self.revoke().await;
        println!("revoked in {} ms", start.elapsed().as_millis());
        let (rows, summary) = self.json("revocation");
        let proven = self.proven().len() * admins;
        assert_eq!(
            (rows["hosts"], rows["open"], rows["revocations"]),
            (everything, everything - proven, admins)
        );
        assert_eq!(summary["proven"], proven);
        assert_eq!(summary["open"], everything - proven);
        for format in ["html", "pdf", "text"] {
            self.report(
                &["revocation", "--format", format],
                &format!("revocation.{format}"),
            );
        }
        self.report(&["pack"], "pack");
        // A pack's CSV has what HTML, which people open as a whole, has not.
        for (file, wanted) in [
            ("coverage-accounts.csv", everything),
            ("revocation-hosts.csv", everything),
        ] {
            let path = self.bare.path().join("pack/reports").join(file);
            let lines = std::io::BufReader::new(std::fs::File::open(path).unwrap()).lines();
            assert_eq!(lines.count(), wanted + 1, "{file}");
        }
        let html = std::fs::read_to_string(self.bare.path().join("coverage.html")).unwrap();
        let shown = everything.min(fleetotp::report::format::MOST_ROWS);
        let left = everything - shown;
        assert!(
            html.contains(&format!("These are the first {shown} of {everything} rows; {left} more are not shown. All of them are in the report as JSON, and in the file coverage-accounts.csv of a pack.")),
            "what is left out is not said"
        );
    }
}

fn size(path: &Path) -> u64 {
    if !path.is_dir() {
        return std::fs::metadata(path).map_or(0, |m| m.len());
    }
    let entries = std::fs::read_dir(path).unwrap();
    entries.map(|e| size(&e.unwrap().path())).sum()
}

#[tokio::test]
async fn reports_of_many_rows_hold_all_of_them_in_bounded_memory() {
    let start = Instant::now();
    let fleet = Fleet::new(100, 200, 128 * 1024).await;
    println!("seeded in {} ms", start.elapsed().as_millis());
    fleet.check().await;
}

/// For `make bench`: a thousand admins on a thousand hosts.
#[tokio::test]
#[ignore = "a million rows take minutes; make bench runs it"]
async fn reports_of_a_million_rows() {
    let start = Instant::now();
    let fleet = Fleet::new(1_000, 1_000, 768 * 1024).await;
    println!("seeded in {} ms", start.elapsed().as_millis());
    fleet.check().await;
}
