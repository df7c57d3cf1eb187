//! What is decided for a host, told as data: `tests/plan/<distribution>/<case>.yml`.
//!
//! A case names an answer of a host (`stock.answer`: before fleetotp came, `done.answer`: after a first rollout), edits it, says who should have what, and what comes of it: every change,
//! finding and gap, and nothing else. `docs` of the keys are on the types below; `tests/plan/README.md` tells which answers
//! real hosts gave and which were composed.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use fleetotp::clock::{Span, Timestamp};
use fleetotp::host::facts::{Facts, SshVersion};
use fleetotp::host::parse;
use fleetotp::host::program::REAPER_SHA256;
use fleetotp::host::request::{Line, Scope};
use fleetotp::inventory::model::{
    Algorithm, Enforce, Module, OnOverdue, Policy, PolicyScope, RateLimit, Service,
};
use fleetotp::names::{AdminName, Login, PolicyName, RealmName};
use fleetotp::plan::change::{Change, HostPlan};
use fleetotp::plan::decide::host_plan;
use fleetotp::plan::enforce::enforcement;
use fleetotp::plan::finding::Severity;
use fleetotp::plan::oath;
use fleetotp::plan::preflight::{self, Asked};
use fleetotp::plan::remove::removal;
use fleetotp::plan::revoke::{
    Farewell, Leaver, Verdict, ends_due, memberships_due, remains, verdict,
};
use fleetotp::plan::tool_line::{self, Place};
use fleetotp::plan::wish::{Member, NextWish, Parts, TokenWish, Wish};
use fleetotp::token::secret::Secret;
use serde::Deserialize;

/// One case.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    /// What it shows.
    about: String,
    /// The answer's name, `stock` or `done`; `../debian-12/stock` is another distribution's.
    answer: String,
    /// Edits of the answer, in order.
    #[serde(default)]
    change: Vec<Edit>,
    #[serde(default)]
    wish: WishData,
    /// Another tool is to be taken over.
    adopt: Option<AdoptData>,
    expect: Expected,
}

/// What a takeover reads besides.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct AdoptData {
    /// The users file of `pam_oath`.
    users: String,
    /// The texts of PAM services.
    services: BTreeMap<String, String>,
}

/// An edit of an answer.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, untagged)]
enum Edit {
    /// Every occurrence of a text, which has to be there.
    Replace { replace: String, by: String },
    /// A line at the end.
    Add { add: String },
    /// A configuration file's content and mode; no text removes it.
    File {
        file: String,
        text: Option<String>,
        #[serde(default = "usual_mode")]
        mode: String,
    },
    /// What a rollout to the host as it is by now brings, for alice and bob.
    RolledOut { rolled_out: bool },
}

fn usual_mode() -> String {
    "644".to_owned()
}

/// Who should have what.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct WishData {
    parts: Vec<String>,
    protected: Vec<String>,
    can_confirm: bool,
    /// Admins by login; a null has no token.
    members: BTreeMap<String, Option<TokenData>>,
    /// Other logins that are no strangers.
    known: Vec<String>,
    enforce: String,
    on_overdue: String,
    window: u8,
    services: Vec<String>,
    /// The policy says `scope: everyone`.
    everyone: bool,
    /// Logins with an exemption.
    exempt: Vec<String>,
    module: Module,
    /// What could go wrong is to be told.
    preflight: bool,
    /// Who goes, with what the policy asks for besides (`expire_account`, `move_keys`).
    leavers: BTreeMap<String, Vec<String>>,
}

impl Default for WishData {
    fn default() -> Self {
        Self {
            parts: vec!["host".to_owned(), "secrets".to_owned()],
            protected: vec!["root".to_owned()],
            can_confirm: true,
            members: ["alice", "bob"]
                .map(|l| (l.to_owned(), Some(TokenData::default())))
                .into(),
            known: Vec::new(),
            enforce: "on_confirm".to_owned(),
            on_overdue: "keep".to_owned(),
            window: 1,
            services: vec!["sshd".to_owned()],
            everyone: false,
            exempt: Vec::new(),
            module: Module::GoogleAuthenticator,
            preflight: false,
            leavers: BTreeMap::new(),
        }
    }
}

/// A token's generation: by default the first, not confirmed, with the key that `done.answer` has.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct TokenData {
    serial: Option<String>,
    generation: i64,
    confirmed: bool,
    /// The step of the code that was typed at the controller.
    typed: Option<u64>,
    /// The ledger's key is another one than the host's.
    other_key: bool,
    /// The key can be read.
    key: bool,
    /// There is none to read.
    key_lost: bool,
    expires: i64,
    /// The newest generation of the ledger, where it is dead.
    newest: Option<i64>,
    /// The key's fingerprint, where it is neither.
    fingerprint: Option<String>,
    /// In a rotation, the generation that belongs into `next`; its key is that in `rotating.answer`.
    next: Option<NextData>,
}

/// The new generation of a rotation.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct NextData {
    generation: i64,
    key: bool,
    expires: i64,
}

impl Default for NextData {
    fn default() -> Self {
        Self {
            generation: 2,
            key: true,
            expires: 1_796_000_000,
        }
    }
}

impl Default for TokenData {
    fn default() -> Self {
        Self {
            serial: None,
            generation: 1,
            confirmed: false,
            typed: None,
            other_key: false,
            key: true,
            key_lost: false,
            expires: 1_795_763_060,
            newest: None,
            fingerprint: None,
            next: None,
        }
    }
}

/// What comes of it: all of it.
#[derive(Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
struct Expected {
    /// Changes, each by a short name and in order: `write /etc/pam.d/sshd`, `fleetotp-pending +alice`.
    changes: Vec<String>,
    /// Findings that refuse.
    refused: BTreeSet<String>,
    /// Findings that are only worth knowing.
    notes: BTreeSet<String>,
    /// Findings of what may go wrong.
    warnings: BTreeSet<String>,
    /// `login gap`.
    gaps: BTreeSet<String>,
    /// Whom the host would ask for a code.
    enforced: Vec<String>,
    /// `login gap` of enforcement.
    enforcement_gaps: BTreeSet<String>,
    /// Whole text of files after the change.
    text: BTreeMap<String, String>,
    /// Users for whom sshd must stay as it is.
    unchanged: Option<BTreeSet<String>>,
    /// Texts that the changes of a file must hold, and must not (`!text`).
    lines: BTreeMap<String, Vec<String>>,
    /// `user keyword value` that sshd must say afterwards; only those named here are compared.
    wanted: BTreeSet<String>,
    /// What is done next for those who go.
    farewell: Vec<String>,
    /// Whether what was read proves it: `proven`, or what is left.
    verdicts: BTreeMap<String, String>,
    /// What else is left of them.
    remains: BTreeSet<String>,
    /// Why another tool is not taken over: id and text; or for each of its admins the seconds of a step and which steps are used.
    adopt: Vec<String>,
}

/// What is taken over from another tool.
fn adopted(data: &AdoptData, facts: &Facts) -> Vec<String> {
    let services: Vec<(String, String)> = data.services.clone().into_iter().collect();
    let found = match tool_line::on(facts, &services) {
        Err(refusal) => return vec![format!("{}: {}", refusal.id, refusal.text)],
        Ok(found) => found,
    };
    match found.map(|f| f.place) {
        None => vec!["nothing".to_owned()],
        Some(Place::Each(pattern)) => vec![format!("each: {pattern}")],
        Some(Place::Users { path, window }) => {
            let lines: Vec<Secret> = data.users.lines().map(Secret::from).collect();
            match oath::enrolments(&lines, facts.epoch, window) {
                Err(why) => vec![format!("{path}: {why}")],
                Ok(read) => read
                    .iter()
                    .map(|(login, one)| format!("{login} {} s, used {:?}", one.period, one.used))
                    .collect(),
            }
        }
    }
}

/// What is done for those who go, and what the host shows.
fn farewell(
    case: &Case,
    facts: &Facts,
    wish: &Wish,
) -> (Vec<String>, BTreeMap<String, String>, BTreeSet<String>) {
    let leavers: Vec<Leaver> = case
        .wish
        .leavers
        .iter()
        .map(|(login, more)| Leaver {
            login: Login::new(login).expect("a login"),
            expire_account: more.iter().any(|m| m == "expire_account"),
            move_keys: more.iter().any(|m| m == "move_keys"),
        })
        .collect();
    let farewell = Farewell {
        project: &wish.project,
        protected: &wish.protected,
        leavers: &leavers,
        now: wish.now,
    };
    let mut changes = memberships_due(facts, &farewell);
    if changes.is_empty() {
        changes = leavers
            .iter()
            .flat_map(|l| ends_due(facts, &farewell, l))
            .collect();
    }
    let verdicts = leavers.iter().map(|l| {
        let text = match verdict(facts, &farewell, l) {
            Verdict::Proven(_) => "proven".to_owned(),
            Verdict::Open(why) => why,
        };
        (l.login.to_string(), text)
    });
    let left = leavers.iter().flat_map(|l| remains(facts, l));
    (
        changes.iter().map(named).collect(),
        verdicts.collect(),
        left.map(|f| f.id.to_owned()).collect(),
    )
}

fn edited(case: &Case, answer: String) -> String {
    case.change.iter().fold(answer, |text, edit| match edit {
        Edit::Replace { replace, by } => {
            assert!(
                text.contains(replace),
                "{}: no {replace:?} in the answer",
                case.about
            );
            text.replace(replace, by)
        }
        Edit::Add { add } => {
            let end = text.rfind("done\n").expect("an answer ends with done");
            format!("{}{add}\ndone\n", &text[..end])
        }
        Edit::File {
            file,
            text: content,
            mode,
        } => with_file(&text, file, content.as_deref(), mode),
        Edit::RolledOut { rolled_out } => {
            assert!(rolled_out, "{}: leave it out instead", case.about);
            rolled_out_to(&text)
        }
    })
}

/// What a host answers after a rollout: the texts that are planned for it, and the rest as a real host of Debian 12 told it.
fn rolled_out_to(answer: &str) -> String {
    let case: Case = serde_yaml::from_str("about: x\nanswer: done\nexpect: {}").unwrap();
    let facts = parse::facts(answer.as_bytes()).expect("the answer is whole");
    let plan = host_plan(&facts, &wish(&case));
    assert!(!plan.refused(), "{:?}", plan.findings);
    let mut text = answer.to_owned();
    for (_, change) in &plan.changes {
        if let Change::File(file) = change
            && file.scope == Scope::Transaction
        {
            let mode = format!("{:o}", file.mode);
            text = with_file(&text, &file.path, Some(&text_of(&file.lines)), &mode);
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/plan");
    let real = std::fs::read_to_string(root.join("debian-12/done.answer")).unwrap();
    let tags = [
        "group\t",
        "armed\t",
        "state\t",
        "option\t",
        "lines\t",
        "deadline\t",
        "witness\t",
    ];
    let ours = real
        .replace("@REAPER@", &REAPER_SHA256)
        .lines()
        .filter(|l| {
            !l.starts_with('|')
                && (l.contains("/var/lib/") || tags.iter().any(|t| l.starts_with(t)))
        })
        .map(|l| format!("{l}\n"))
        .collect::<String>();
    let old = facts.version < SshVersion(8, 7);
    let mut user = "";
    let mut out = String::new();
    for line in text.lines() {
        user = line.strip_prefix("effective\t").unwrap_or(user);
        let said = match line.split(' ').next() {
            Some("|authenticationmethods") if user == "alice" => {
                "|authenticationmethods publickey keyboard-interactive:pam,publickey"
            }
            Some("|kbdinteractiveauthentication") if user == "alice" => {
                "|kbdinteractiveauthentication yes"
            }
            // The switch is global there, whoever may use it.
            Some("|challengeresponseauthentication") if old => {
                "|challengeresponseauthentication yes"
            }
            _ if line == "done" => &format!("{ours}done"),
            _ => line,
        };
        out.push_str(said);
        out.push('\n');
    }
    out
}

/// Replaces what an answer says about a configuration file.
fn with_file(answer: &str, file: &str, content: Option<&str>, mode: &str) -> String {
    let mut out = String::new();
    let mut inside = false;
    for line in answer.lines() {
        inside = line == format!("file\t{file}") || (inside && line.starts_with('|'));
        let about = line.ends_with(&format!("\t{file}")) && line.starts_with("stat\t")
            || line.ends_with(&format!("  {file}"));
        if line == "done" {
            if let Some(text) = content {
                // As awk prints it: the last line always ends.
                _ = writeln!(out, "file\t{file}");
                out.extend(text.lines().map(|l| format!("|{l}\n")));
                _ = writeln!(out, "{}  {file}", "f".repeat(64));
                _ = writeln!(out, "stat\t{mode}\t0\t0\t7\t{}\t{file}", text.len());
            }
            out.push_str("done\n");
        } else if !inside && !about {
            out.push_str(line);
            out.push('\n');
        }
    }
    out
}

fn facts(case: &Case, dir: &Path) -> Facts {
    let path = dir.join(format!("{}.answer", case.answer));
    let answer = std::fs::read_to_string(&path)
        .unwrap_or_else(|e| panic!("{}: {e}", path.display()))
        .replace("@REAPER@", &REAPER_SHA256);
    parse::facts(edited(case, answer).as_bytes()).expect("the answer is whole")
}

fn wish(case: &Case) -> Wish {
    let data = &case.wish;
    let login = |l: &String| Login::new(l).expect("a login");
    let policy = Policy {
        name: PolicyName::new("default").unwrap(),
        issuer: "Example Corp".to_owned(),
        enrolment_ttl: Span::from_days(3),
        rotate_every: None,
        overlap: Span::from_days(7),
        on_overdue: if data.on_overdue == "expire" {
            OnOverdue::Expire
        } else {
            OnOverdue::Keep
        },
        enforce: if data.enforce == "on_issue" {
            Enforce::OnIssue
        } else {
            Enforce::OnConfirm
        },
        enforce_from: None,
        services: data
            .services
            .iter()
            .map(|s| match s.as_str() {
                "sudo" => Service::Sudo,
                _ => Service::Sshd,
            })
            .collect(),
        scope: if data.everyone {
            PolicyScope::Everyone
        } else {
            PolicyScope::Members
        },
        module: data.module,
        window: data.window,
        rate_limit: RateLimit {
            attempts: 3,
            seconds: 30,
        },
        algorithm: Algorithm::Sha1,
        digits: 6,
        period: Span::from_secs(30),
        on_revoke: Vec::new(),
        recovery_codes: 0,
        scratch_codes: 0,
        confirm_tries: 5,
    };
    let members = data.members.iter().map(|(name, token)| Member {
        admin: AdminName::new(name).unwrap(),
        login: login(name),
        realm: RealmName::new("default").unwrap(),
        policy: policy.clone(),
        token: token.as_ref().map(|t| TokenWish {
            serial: t
                .serial
                .clone()
                .unwrap_or_else(|| format!("T-{}", name.to_uppercase())),
            generation: t.generation,
            fingerprint: match (&t.fingerprint, t.other_key, name.as_str()) {
                (Some(known), _, _) => known.clone(),
                (None, false, "alice") => "2bd806c97f0e".to_owned(),
                (None, false, "bob") => "81b637d8fcd2".to_owned(),
                _ => "0123456789ab".to_owned(),
            },
            scratch: Vec::new(),
            key: t
                .key
                .then(|| Secret::from("JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP")),
            key_lost: t.key_lost,
            confirmed: t.confirmed,
            typed_step: t.typed,
            expires: Timestamp::from_second(t.expires).ok(),
            own_serials: [format!("T-{}", name.to_uppercase())].into(),
            newest: t
                .newest
                .unwrap_or_else(|| t.next.as_ref().map_or(t.generation, |next| next.generation)),
            next: t.next.as_ref().map(|next| NextWish {
                scratch: Vec::new(),
                generation: next.generation,
                fingerprint: "c0ffee000002".to_owned(),
                key: next
                    .key
                    .then(|| Secret::from("JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP")),
                key_lost: false,
                expires: Timestamp::from_second(next.expires).unwrap(),
            }),
        }),
    });
    let has = |part: &str| data.parts.iter().any(|p| p == part);
    Wish {
        project: "F-PLAN".to_owned(),
        protected: data.protected.iter().map(login).collect(),
        module: data.module,
        window: data.window,
        members: members.collect(),
        // The ledger knows who left.
        known: data
            .known
            .iter()
            .chain(data.leavers.keys())
            .map(login)
            .collect(),
        exempt: data.exempt.iter().map(login).collect(),
        parts: Parts {
            host: has("host"),
            secrets: has("secrets"),
        },
        can_confirm: data.can_confirm,
        now: Timestamp::from_second(1_795_500_010).unwrap(),
        revert_after: Duration::from_secs(90),
    }
}

fn named(change: &Change) -> String {
    match change {
        Change::Install { .. } => "install".to_owned(),
        Change::Directory { path, .. } => format!("directory {path}"),
        Change::Group { name } => format!("group {name}"),
        Change::Members {
            group,
            before,
            after,
        } => {
            let all = before.iter().chain(after).collect::<BTreeSet<_>>();
            let signs =
                all.into_iter()
                    .filter_map(|m| match (before.contains(m), after.contains(m)) {
                        (false, true) => Some(format!(" +{m}")),
                        (true, false) => Some(format!(" -{m}")),
                        _ => None,
                    });
            format!("{group}{}", signs.collect::<String>())
        }
        Change::File(file) => format!("write {}", file.path),
        Change::Delete { path, .. } => format!("delete {path}"),
        Change::Move { from, to, .. } => format!("move {from} {to}"),
        Change::Purge { path } => format!("purge {path}"),
        Change::RestoreAccount { login, .. } => format!("restore {login}"),
        Change::ExpireAccount { login } => format!("expire {login}"),
        Change::MoveKeys { login, .. } => format!("keys {login}"),
        Change::Terminate { login, uid } => format!("terminate {login} {uid}"),
    }
}

fn text_of(lines: &[Line]) -> String {
    lines
        .iter()
        .map(|line| match line {
            Line::Text(t) => format!("{t}\n"),
            Line::Unterminated(t) => t.clone(),
            Line::Secret(_) => "(key)\n".to_owned(),
            Line::Keep(from, to) => format!("(lines {from} to {to})\n"),
        })
        .collect()
}

fn outcome(case: &Case, facts: &Facts) -> Expected {
    let wish = wish(case);
    let mut plan: HostPlan = host_plan(facts, &wish);
    if case.wish.preflight {
        let asked = Asked {
            from: wish.now,
            to: wish.now,
        };
        plan.findings
            .extend(preflight::warnings(facts, &wish, asked));
        plan.gaps = preflight::dry(facts, &wish).1;
    }
    let demand = enforcement(facts, &wish);
    let ids = |severity| {
        plan.findings
            .iter()
            .filter(|f| f.severity == severity)
            .map(|f| f.id.to_owned())
            .collect()
    };
    let files: BTreeMap<String, String> = plan
        .changes
        .iter()
        .filter_map(|(_, c)| match c {
            Change::File(file) => Some((file.path.clone(), text_of(&file.lines))),
            _ => None,
        })
        .collect();
    for (_, change) in &plan.changes {
        let is_login_text = matches!(change, Change::File(f) if f.path.starts_with("/etc/pam.d") || f.path.starts_with("/etc/ssh"));
        assert_eq!(
            is_login_text,
            change.scope() == Scope::Transaction,
            "{}: PAM and sshd text, and only that, can be reverted",
            case.about
        );
    }
    let expected = &case.expect;
    let (farewell, verdicts, remains) = farewell(case, facts, &wish);
    Expected {
        farewell,
        verdicts,
        remains,
        adopt: case
            .adopt
            .as_ref()
            .map(|data| adopted(data, facts))
            .unwrap_or_default(),
        changes: plan.changes.iter().map(|(_, c)| named(c)).collect(),
        refused: ids(Severity::Refusal),
        notes: ids(Severity::Note),
        warnings: ids(Severity::Warning),
        gaps: plan
            .gaps
            .iter()
            .map(|g| format!("{} {}", g.login, g.id))
            .collect(),
        enforced: demand.logins.clone(),
        enforcement_gaps: demand
            .gaps
            .iter()
            .map(|g| format!("{} {}", g.login, g.id))
            .collect(),
        text: expected
            .text
            .keys()
            .map(|path| (path.clone(), files.get(path).cloned().unwrap_or_default()))
            .collect(),
        unchanged: expected
            .unchanged
            .as_ref()
            .map(|_| plan.unchanged_users.clone()),
        lines: expected
            .lines
            .iter()
            .map(|(path, wanted)| {
                let text = files.get(path).cloned().unwrap_or_default();
                let holds = |w: &String| match w.strip_prefix('!') {
                    Some(unwanted) => !text.contains(unwanted),
                    None => text.contains(w.as_str()),
                };
                (
                    path.clone(),
                    wanted.iter().filter(|w| holds(w)).cloned().collect(),
                )
            })
            .collect(),
        wanted: plan
            .wanted
            .iter()
            .map(|(u, k, v)| format!("{u} {k} {v}"))
            .filter(|w| expected.wanted.contains(w))
            .collect(),
    }
}

fn cases() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/plan");
    let mut found: Vec<PathBuf> = std::fs::read_dir(&root)
        .expect("tests/plan is there")
        .map(|d| d.unwrap().path())
        .filter(|d| d.is_dir())
        .flat_map(|d| std::fs::read_dir(d).unwrap())
        .map(|f| f.unwrap().path())
        .filter(|p| p.extension().is_some_and(|e| e == "yml"))
        .collect();
    found.sort();
    found
}

#[test]
fn every_case_is_decided_as_it_says() {
    let cases = cases();
    assert!(cases.len() >= 150, "only {} cases were found", cases.len());
    let mut wrong = Vec::new();
    for path in &cases {
        let text = std::fs::read_to_string(path).unwrap();
        let case: Case =
            serde_yaml::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let facts = facts(&case, path.parent().unwrap());
        let is = outcome(&case, &facts);
        if is != case.expect {
            wrong.push(format!(
                "{}: {}\n  expected {:#?}\n  decided {is:#?}",
                path.display(),
                case.about,
                case.expect
            ));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {} cases:\n{}",
        wrong.len(),
        cases.len(),
        wrong.join("\n")
    );
}

/// The host's own text after a change, given back as what is there, needs no further change.
#[test]
fn a_second_plan_changes_no_text() {
    for path in cases() {
        let text = std::fs::read_to_string(&path).unwrap();
        let case: Case = serde_yaml::from_str(&text).unwrap();
        let mut facts = facts(&case, path.parent().unwrap());
        let plan = host_plan(&facts, &wish(&case));
        for (_, change) in &plan.changes {
            if let Change::File(file) = change
                && file.scope == Scope::Transaction
            {
                let fact = facts.files.entry(file.path.clone()).or_default();
                fact.text = Some(text_of(&file.lines));
                fact.mode = file.mode;
            }
        }
        let again = host_plan(&facts, &wish(&case));
        assert!(
            !again.needs_transaction(),
            "{}: {:?}",
            path.display(),
            again.changes
        );
    }
}

/// A copy that was made for the block goes with it, so that the distribution's own text counts again; one that somebody
/// has changed stays.
#[test]
fn a_copy_of_the_distributions_text_goes_with_the_block() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/plan/sles-16");
    for (case, wanted) in [
        ("nothing-to-do", "delete /etc/pam.d/sshd"),
        ("vendor-text-changed", "write /etc/pam.d/sshd"),
    ] {
        let text = std::fs::read_to_string(dir.join(format!("{case}.yml"))).unwrap();
        let case: Case = serde_yaml::from_str(&text).unwrap();
        let removed = removal(&facts(&case, &dir), &wish(&case));
        let changes: Vec<String> = removed.plan.changes.iter().map(|(_, c)| named(c)).collect();
        assert!(changes.iter().any(|c| c == wanted), "{changes:?}");
        let vendor = changes.iter().find(|c| c.contains(" /usr/"));
        assert_eq!(vendor, None, "what a package brought stays as it is");
    }
}

/// A request is an instruction to root: whatever a host answers, nothing but the files that fleetotp has to do with is
/// written, and nothing is written outside a transaction that login depends on.
#[test]
fn an_answer_that_is_cut_or_mixed_up_leads_to_no_change_elsewhere() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/plan");
    let case: Case = serde_yaml::from_str("about: x\nanswer: done\nexpect: {}").unwrap();
    for distribution in ["debian-11", "debian-12", "debian-13"] {
        let answer = std::fs::read_to_string(root.join(distribution).join("done.answer")).unwrap();
        let lines: Vec<&str> = answer.lines().collect();
        for skipped in 1..lines.len() - 1 {
            let mut kept = lines.clone();
            kept.remove(skipped);
            // Also with its neighbours exchanged.
            for swap in [false, true] {
                if swap && skipped + 1 < kept.len() - 1 {
                    kept.swap(skipped, skipped + 1);
                }
                let facts = parse::facts((kept.join("\n") + "\n").as_bytes()).unwrap();
                let wish = wish(&case);
                let plan = host_plan(&facts, &wish);
                for (_, change) in &plan.changes {
                    let path = match change {
                        Change::File(f) => f.path.as_str(),
                        Change::Delete { path, .. } => path,
                        _ => continue,
                    };
                    assert!(
                        [
                            "/etc/pam.d/sshd",
                            "/etc/ssh/sshd_config",
                            "/etc/ssh/sshd_config.d/00-fleetotp.conf"
                        ]
                        .contains(&path)
                            || path.starts_with("/var/lib/google-authenticator/current/")
                            || path.starts_with("/var/lib/fleetotp/"),
                        "{path}"
                    );
                }
                // Nobody is confirmed, so nobody may be asked for a code.
                assert_eq!(enforcement(&facts, &wish).logins, Vec::<String>::new());
            }
        }
    }
}
