//! Reads what a host of another project holds, its keys too, and gives its state files new stamps.

use std::collections::{BTreeMap, BTreeSet};
use std::slice;

use zeroize::Zeroizing;

use crate::fleet::session::Session;
use crate::host::facts::{Facts, Slot};
use crate::host::reply::{fields_of, lines_of};
use crate::host::request::Request;
use crate::names::{HostName, Login};
use crate::plan::adopt::{self, Foreign};
use crate::plan::change::state_path;
use crate::plan::diff::difference;
use crate::plan::finding::Finding;
use crate::plan::state::Stamp;
use crate::plan::tool::{self, Brought, Held, Takeover};
use crate::plan::tool_line::{self, Place};
use crate::plan::{oath, pam, stacks};
use crate::playbook::engine::Shared;
use crate::playbook::errand::{self, Errand, Stop};
use crate::playbook::outcome::{ShownChange, Skip, Status};
use crate::playbook::witness::leave;
use crate::token::secret::Secret;

/// Reads hosts that are to be taken over.
#[derive(Debug, Default)]
pub struct Look {
    /// The inventory's logins by host.
    pub logins: BTreeMap<HostName, BTreeSet<Login>>,
    /// Serials of the ledger's tokens.
    pub known: BTreeSet<String>,
}

/// What a host of another project holds.
#[derive(Debug, Default)]
pub struct Found {
    /// State files that are to change hands, with their keys.
    pub foreign: Vec<(Foreign, Secret)>,
    /// The last witness is another project's.
    pub marked: Option<String>,
    /// What another tool has set up there.
    pub tool: Option<ToolFound>,
    /// Logins that are enrolled here and not in the inventory: theirs are left alone.
    pub others: Vec<String>,
}

impl Errand for Look {
    type Done = Found;

    async fn run(
        &self,
        host: &HostName,
        session: &Session,
        shared: &Shared,
    ) -> Result<Found, Stop> {
        let logins = self.logins.get(host).cloned().unwrap_or_default();
        let facts = errand::read(session, shared, &logins, true).await?.facts;
        errand::not_behind(&facts, shared).await?;
        let found = adopt::foreign(&facts, &shared.project, &self.known, &logins)
            .map_err(|f| Stop::refused(&f))?;
        let paths: Vec<String> = found
            .iter()
            .map(|foreign| state_path(Slot::Current, foreign.login.as_str()))
            .collect();
        let keys: Vec<Secret> = if found.is_empty() {
            Vec::new()
        } else {
            let shown = show(session, shared, Request::show(&paths)).await?.0;
            shown
                .into_iter()
                .filter_map(|f| f.lines.into_iter().next())
                .collect()
        };
        if keys.len() != found.len() {
            return Err(Stop::failed("a state file could not be read; run again"));
        }
        let tool = if tool_line::is_there(&facts) {
            enrolled(host, &facts, &logins, session, shared).await?
        } else {
            None
        };
        let witness = facts.witness.as_deref().and_then(|w| w.split('\t').next());
        let others: BTreeSet<&String> = facts.other_states.iter().map(|(_, login)| login).collect();
        Ok(Found {
            foreign: found.into_iter().zip(keys).collect(),
            tool,
            marked: witness.filter(|p| *p != shared.project).map(str::to_owned),
            others: others.into_iter().cloned().collect(),
        })
    }
}

/// What another tool has set up on a host.
#[derive(Debug, Default)]
pub struct ToolFound {
    /// What becomes of it; its files still lack their stamps.
    pub takeover: Takeover,
    /// The keys, by login.
    pub keys: BTreeMap<Login, Held>,
    /// What is to be known afterwards.
    pub notes: Vec<String>,
}

impl ToolFound {
    fn file(&mut self, file: &ShownFile) {
        self.takeover
            .read
            .push((file.path.clone(), file.sum.clone()));
    }

    fn enrolment(&mut self, login: Login, held: Held, brought: Brought) {
        self.takeover.files.insert(login.clone(), brought);
        self.keys.insert(login, held);
    }
}

/// Reads everybody's enrolment. All must be admins of this host: whoever is not would lose the second factor.
async fn enrolled(
    host: &HostName,
    facts: &Facts,
    logins: &BTreeSet<Login>,
    session: &Session,
    shared: &Shared,
) -> Result<Option<ToolFound>, Stop> {
    let (services, _) = show(session, shared, Request::show_all("/etc/pam.d")).await?;
    let stacks: Vec<(String, String)> = services.into_iter().map(ShownFile::service).collect();
    let line = tool_line::on(facts, &stacks).map_err(|f| Stop::refused(&f))?;
    let Some(line) = line else { return Ok(None) };
    let mut found = ToolFound {
        takeover: Takeover {
            text: facts.text(pam::SERVICE_FILE).unwrap_or_default().to_owned(),
            ..Takeover::default()
        },
        ..ToolFound::default()
    };
    let place = match line.place {
        Place::Each(pattern) => {
            each_file(&mut found, &pattern, facts, logins, session, shared).await?;
            "the old files".to_owned()
        }
        Place::Users { path, window } => {
            let (files, _) = show(session, shared, Request::show(slice::from_ref(&path))).await?;
            let failed = |why: &str| Stop::refused(&adopt::no_key(format!("{path}: {why}")));
            let Some(file) = files.first() else {
                return Err(failed("it is missing, no plain file, or too long"));
            };
            if file.links != 1 || file.uid != 0 {
                return Err(failed("it belongs to somebody else, or has a second name"));
            }
            let read = oath::enrolments(&file.lines, facts.epoch, window);
            let read = read.map_err(|why| failed(&why))?;
            admins_only(read.keys().map(Login::as_str), logins)?;
            found.file(file);
            for (login, one) in read {
                let held = Held {
                    key: one.key,
                    period: one.period,
                };
                found.enrolment(login, held, Brought::Used(one.used));
            }
            path
        }
    };
    for login in found.keys.keys() {
        if let Some(why) = tool::unready(facts, login, shared.clock.now()) {
            return Err(Stop::refused(&Finding::refusal(
                "adopt-unready",
                why,
                "repair it first: key and code together would not let the admin in",
            )));
        }
    }
    let others = stacks::elsewhere(&stacks);
    found.notes.push(if others.is_empty() {
        format!("{host}: sshd reads {place} no more: remove when all is well, there are keys in it")
    } else {
        format!(
            "{host}: {} goes on asking by itself: a code that was used there is good once more at a login, and the other way round",
            stacks::list(&others)
        )
    });
    Ok(Some(found))
}

/// Refuses where somebody is enrolled whom nothing would ask any more.
fn admins_only<'l>(
    mut enrolled: impl Iterator<Item = &'l str>,
    logins: &BTreeSet<Login>,
) -> Result<(), Stop> {
    let Some(login) = enrolled.find(|login| !logins.iter().any(|l| l.as_str() == *login)) else {
        return Ok(());
    };
    Err(Stop::refused(&Finding::refusal(
        "adopt-others",
        format!(
            "{login} is enrolled there, and is no admin of this host: nothing would ask {login} for a code any more"
        ),
        "name everybody in the inventory, or remove the enrolment first",
    )))
}

/// Reads the state files of google-authenticator.
async fn each_file(
    found: &mut ToolFound,
    pattern: &str,
    facts: &Facts,
    logins: &BTreeSet<Login>,
    session: &Session,
    shared: &Shared,
) -> Result<(), Stop> {
    let (_, holders) = show(session, shared, Request::holders(pattern)).await?;
    admins_only(holders.iter().map(|(login, _)| login.as_str()), logins)?;
    let paths: Vec<String> = holders.iter().map(|(_, path)| path.clone()).collect();
    let (files, _) = show(session, shared, Request::show(&paths)).await?;
    for (login, path) in &holders {
        let failed = |why: &str| Stop::refused(&adopt::no_key(format!("{path}: {why}")));
        let (Ok(login), Some(file)) = (Login::new(login), files.iter().find(|f| f.path == *path))
        else {
            return Err(failed("it is no plain file, or too long"));
        };
        let owner = facts.accounts.get(&login).map(|a| a.uid);
        if file.links != 1 || (file.uid != 0 && Some(file.uid) != owner) {
            return Err(failed("it belongs to somebody else, or has a second name"));
        }
        let (held, lines) = tool::state_lines(&file.lines).map_err(failed)?;
        found.file(file);
        found.enrolment(login, held, Brought::File(lines));
    }
    Ok(())
}

/// A file as the host has it.
struct ShownFile {
    path: String,
    sum: String,
    uid: u32,
    links: u32,
    lines: Vec<Secret>,
}

impl ShownFile {
    /// A PAM service's name, and what of its text matters here.
    fn service(self) -> (String, String) {
        let name = self.path.rsplit('/').next().unwrap_or_default().to_owned();
        (name, stacks::excerpt(self.lines.iter().map(Secret::expose)))
    }
}

/// Asks for files, and for who has some.
async fn show(
    session: &Session,
    shared: &Shared,
    request: Request,
) -> Result<(Vec<ShownFile>, Vec<(String, String)>), Stop> {
    let answer = session.exec(request, shared.limit(errand::INSPECT)).await?;
    let answer = Zeroizing::new(answer);
    let (mut files, mut holders): (Vec<ShownFile>, Vec<_>) = (Vec::new(), Vec::new());
    for line in lines_of(&answer)? {
        if let Some(text) = line.strip_prefix(b"|") {
            if let Some(file) = files.last_mut() {
                let text = Zeroizing::new(String::from_utf8_lossy(text).into_owned());
                file.lines.push(Secret::from(text.as_str()));
            }
            continue;
        }
        let text = String::from_utf8_lossy(line);
        match fields_of(&text).as_slice() {
            ["shown", path, sum, uid, links] => files.push(ShownFile {
                path: (*path).to_owned(),
                sum: (*sum).to_owned(),
                uid: uid.parse().unwrap_or(u32::MAX),
                links: links.parse().unwrap_or(0),
                lines: Vec::new(),
            }),
            ["holder", login, path] => holders.push(((*login).to_owned(), (*path).to_owned())),
            _ => {}
        }
    }
    Ok((files, holders))
}

/// Gives state files new stamps, and the host this project's witness.
#[derive(Debug, Default)]
pub struct TakeOver {
    /// Stamps by login and host.
    pub stamps: BTreeMap<HostName, BTreeMap<Login, Stamp>>,
}

impl Errand for TakeOver {
    type Done = Vec<ShownChange>;

    async fn run(
        &self,
        host: &HostName,
        session: &Session,
        shared: &Shared,
    ) -> Result<Self::Done, Stop> {
        let stamps = self.stamps.get(host).cloned().unwrap_or_default();
        let logins = stamps.keys().cloned().collect();
        let mut tries = 3;
        loop {
            let facts = errand::read(session, shared, &logins, false).await?.facts;
            let changes = adopt::changes(&facts, &stamps);
            let shown = changes
                .iter()
                .map(|change| ShownChange {
                    part: None,
                    summary: change.summary(),
                    diff: difference(change),
                })
                .collect();
            if shared.check {
                return Ok(shown);
            }
            if shared.stopping() {
                return Err(Stop::Ended(Status::Skipped(Skip::Interrupted)));
            }
            let mut request = Request::apply();
            adopt::send(&mut request, &changes);
            leave(&mut request, shared.witness().await?);
            match errand::send(session, shared, request).await {
                // A login was faster and has marked its step: what it wrote stays.
                Err(Stop::Changed(_)) if tries > 1 => tries -= 1,
                Err(stop) => return Err(stop),
                Ok(_) => return Ok(shown),
            }
        }
    }
}
