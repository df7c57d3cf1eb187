//! What is worth knowing of a host before anything is changed on it: an overview, and what could go wrong.
//!
//! Facts: sshd_config(5) for `MaxStartups`, `PerSourcePenalties`, `LoginGraceTime`; pam_nologin(8); authselect(8), pam-auth-update(8)
//! and pam-config(8) for who owns PAM's shared stacks; the SELinux policy labels `/var/lib/google-authenticator` `var_auth_t`, which
//! sshd may write to.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::alike::Alike;
use crate::clock::Timestamp;
use crate::host::facts::Facts;
use crate::names::printable;
use crate::plan::account::unable;
use crate::plan::change::STATE_ROOT;
use crate::plan::decide::host_plan;
use crate::plan::finding::{Finding, Gap};
use crate::plan::ways::{has_another_way, methods};
use crate::plan::wish::{Parts, Wish};

/// How many connections a run makes at a time to a jump host or an address.
const AT_A_TIME: u64 = 8;
/// Below this the disk is told as nearly full, in KiB.
const LOW_KIB: u64 = 16 * 1024;
/// Whoever has less time than this to log in may not find the phone, in seconds.
const SHORT_GRACE: u64 = 30;
/// The type that sshd may write to.
const LABEL: &str = "var_auth_t";

/// What is seen of a host at a glance.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Overview {
    /// Distribution and version, as os-release(5) has them.
    pub distribution: String,
    /// OpenSSH's version.
    pub openssh: String,
    /// How far the host's clock is from the controller's, in seconds; positive where it is ahead.
    pub clock_offset: i64,
    /// The least that is free where state and backups are kept, in KiB.
    pub free_kib: Option<u64>,
    /// Who owns PAM's shared stacks, where that is known.
    pub pam_owner: Option<String>,
    /// `enforcing`, `permissive` or `none`.
    pub selinux: &'static str,
    /// What sshd asks of users: a sentence, and whom it holds for.
    pub logins: Alike<BTreeMap<String, Vec<String>>>,
}

/// When a host was asked, and when its answer was here.
#[derive(Debug, Clone, Copy)]
pub struct Asked {
    /// When the request went out.
    pub from: Timestamp,
    /// When the answer was complete.
    pub to: Timestamp,
}

impl Asked {
    /// Returns how far a clock is off that said `epoch` in between; 0 where it may be right.
    fn offset(self, epoch: i64) -> i64 {
        let (from, to) = (self.from.as_second(), self.to.as_second());
        if epoch < from {
            epoch - from
        } else {
            (epoch - to).max(0)
        }
    }
}

/// Returns the overview.
pub fn overview(facts: &Facts, asked: Asked) -> Overview {
    let mut logins: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (user, effective) in &facts.effective {
        logins
            .entry(methods(user, effective))
            .or_default()
            .push(user.clone());
    }
    Overview {
        distribution: format!("{} {}", facts.os.id, facts.os.version)
            .trim()
            .to_owned(),
        openssh: facts.version_text.clone(),
        clock_offset: asked.offset(facts.epoch),
        free_kib: facts.free_kib.values().min().copied(),
        pam_owner: facts.pam_owner.clone(),
        selinux: match (facts.selinux, facts.selinux_enforcing) {
            (false, _) => "none",
            (true, true) => "enforcing",
            (true, false) => "permissive",
        },
        logins: logins.into(),
    }
}

impl Overview {
    /// Returns it as lines for people.
    pub fn lines(&self) -> Vec<String> {
        let mut first = format!("{}, OpenSSH {}", self.distribution, self.openssh);
        let mut add = |text: String| {
            first.push_str(", ");
            first.push_str(&text);
        };
        match self.clock_offset {
            0 => add("clock right".to_owned()),
            off => add(format!("clock {off:+} s")),
        }
        if let Some(kib) = self.free_kib {
            add(format!("{} MiB free", kib / 1024));
        }
        if let Some(owner) = &self.pam_owner {
            add(format!("PAM by {owner}"));
        }
        if self.selinux != "none" {
            add(format!("SELinux {}", self.selinux));
        }
        let classes = self
            .logins
            .iter()
            .map(|(methods, users)| format!("{}: {methods}", users.join(", ")));
        let lines = std::iter::once(first).chain(classes);
        lines.map(|l| printable(&l, 400)).collect()
    }
}

/// Returns what could go wrong on a host, whatever is to be brought there.
pub fn warnings(facts: &Facts, wish: &Wish, asked: Asked) -> Vec<Finding> {
    let mut found = Vec::new();
    clock(facts, wish, asked, &mut found);
    system(facts, &mut found);
    limits(facts, &mut found);
    accounts(facts, wish, &mut found);
    found
}

/// Returns what a plan would find if everything were to be brought to the host, besides [`warnings`], and which admins could
/// not log in with key and code.
pub fn dry(facts: &Facts, wish: &Wish) -> (Vec<Finding>, Vec<Gap>) {
    let parts = Parts {
        host: true,
        secrets: false,
    };
    let wish = Wish {
        parts,
        ..wish.clone()
    };
    let unable = wish.members.iter().filter_map(|m| unable(facts, &wish, m));
    (host_plan(facts, &wish).findings, unable.collect())
}

fn clock(facts: &Facts, wish: &Wish, asked: Asked, found: &mut Vec<Finding>) {
    let offset = asked.offset(facts.epoch).abs();
    let periods = wish.members.iter().map(|m| m.policy.period.as_secs());
    let step = i64::try_from(periods.min().unwrap_or(30)).unwrap_or(30);
    let remedy = "let the host keep its time: chrony, ntpd or systemd-timesyncd";
    if offset > step {
        found.push(Finding::refusal(
            "clock-off",
            format!("the host's clock is {offset} s off, more than a step: no code would be right"),
            remedy,
        ));
    } else if offset > step / 3 {
        found.push(Finding::warning(
            "clock-drift",
            format!("the host's clock is {offset} s off; from {step} s on no code would be right"),
            remedy,
        ));
    }
}

fn system(facts: &Facts, found: &mut Vec<Finding>) {
    for (mount, kib) in &facts.free_kib {
        // Less than what is refused needs no warning besides.
        if (1024..LOW_KIB).contains(kib) {
            found.push(Finding::warning(
                "disk-low",
                format!("{mount} has only {} MiB left", kib / 1024),
                "free some space: with a full disk the module refuses every login",
            ));
        }
    }
    if let Some(path) = &facts.nologin {
        found.push(Finding::warning(
            "nologin",
            format!("{path} is there: PAM lets nobody but root in, and no change could be proved"),
            "wait until the host has booted, or remove it",
        ));
    }
    if facts.selinux && !facts.selinux_enforcing {
        found.push(Finding::note(
            "selinux-permissive",
            "SELinux only logs what it would deny: what works now may not work once it enforces",
            "look for denials of sshd: ausearch -m avc -c sshd",
        ));
    }
    if let Some(label) = facts.state_label.as_deref().filter(|l| !l.contains(LABEL)) {
        found.push(Finding::warning(
            "selinux-label",
            format!(
                "{STATE_ROOT} is labelled {}, not {LABEL}: sshd may not write its state",
                printable(label, 80)
            ),
            "restorecon -Rv /var/lib/google-authenticator",
        ));
    }
}

/// What sshd does with many connections, failed logins and slow people.
fn limits(facts: &Facts, found: &mut Vec<Finding>) {
    let Some(effective) = facts.effective.values().find(|e| e.error.is_none()) else {
        return;
    };
    let startups = effective.get("maxstartups");
    let begin = startups.split(':').next().and_then(|n| n.parse().ok());
    if begin.is_some_and(|n: u64| n <= AT_A_TIME) {
        found.push(Finding::warning(
            "max-startups",
            format!(
                "MaxStartups {startups}: connections are dropped while that many are not logged in; a run makes up to \
                 {AT_A_TIME} at a time to a jump host"
            ),
            "MaxStartups 10:30:100, sshd's default, or more",
        ));
    }
    let per_source = effective.get("persourcemaxstartups").parse::<u64>().ok();
    if let Some(few) = per_source.filter(|n| *n < AT_A_TIME) {
        found.push(Finding::warning(
            "max-startups",
            format!(
                "PerSourceMaxStartups {few}: one address may have no more logins going on than that"
            ),
            "allow 8 or more, or none",
        ));
    }
    let penalties = effective.get("persourcepenalties");
    if !penalties.is_empty() && penalties != "no" {
        found.push(Finding::note(
            "source-penalties",
            format!(
                "sshd shuts an address out for a while after failed logins ({}): mistyped codes of everybody behind one \
                 address add up",
                printable(penalties, 120)
            ),
            "name such addresses in PerSourcePenaltyExemptList",
        ));
    }
    let grace = effective.get("logingracetime").parse::<u64>().ok();
    if let Some(short) = grace.filter(|s| (1..SHORT_GRACE).contains(s)) {
        found.push(Finding::warning(
            "login-grace-short",
            format!("LoginGraceTime is {short} s: whoever has to find a phone first is cut off"),
            "LoginGraceTime 120, sshd's default",
        ));
    }
}

fn accounts(facts: &Facts, wish: &Wish, found: &mut Vec<Finding>) {
    for member in &wish.members {
        let login = member.login.as_str();
        let shell = facts.accounts.get(&member.login).map(|a| a.shell.as_str());
        if let Some(shell) = shell.filter(|s| s.ends_with("nologin") || s.ends_with("/false")) {
            found.push(Finding::warning(
                "no-login-shell",
                format!(
                    "the shell of {login} is {}: a code would open nothing",
                    printable(shell, 80)
                ),
                "give the account a shell, or leave the admin out here",
            ));
        }
        let forced = facts.effective.get(login).map(|e| e.get("forcecommand"));
        if let Some(command) = forced.filter(|c| !c.is_empty() && *c != "none") {
            found.push(Finding::warning(
                "force-command",
                format!(
                    "sshd runs `{}` for {login} whatever is asked for; it may be another second factor",
                    printable(command, 80)
                ),
                "see ForceCommand in sshd's configuration",
            ));
        }
    }
    if !facts.effective.is_empty() && !has_another_way(facts, wish) {
        found.push(Finding::warning(
            "no-break-glass",
            "nobody gets in but enrolled admins and the account that fleetotp itself uses",
            "name an account with a key kept offline under `protected`, or be sure of the console",
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_is_off_only_outside_the_time_of_asking() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let asked = Asked {
            from: at(100),
            to: at(140),
        };
        for (epoch, offset) in [(90, -10), (100, 0), (140, 0), (171, 31)] {
            assert_eq!(asked.offset(epoch), offset);
        }
    }
}
