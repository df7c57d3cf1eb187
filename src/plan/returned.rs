//! What a revocation did to the account of somebody who is enrolled again: its end is taken back, its keys are not.
//!
//! Whoever is enrolled anew was let in by somebody today; the keys that were read before may be anybody's by now. So the
//! account gets back the end that it had, on a host that demands a code of it, and the files stay where they are.

use crate::host::facts::Facts;
use crate::names::printable;
use crate::plan::account::barred;
use crate::plan::change::{Change, GROUP_ENFORCED, HostPlan, LIB, Part};
use crate::plan::finding::{Finding, Gap};
use crate::plan::wish::{Member, Wish};
use crate::plan::{pam, sshd};

/// The end that a revocation gives an account, in days since 1970 (`expire_account` in the program).
const ENDED: i64 = 1;

/// Plans it for somebody whose secret is on the host, or comes there with this plan.
pub(super) fn returned(facts: &Facts, wish: &Wish, member: &Member, plan: &mut HostPlan) {
    let login = &member.login;
    let aside = facts.set_aside.get(login);
    for (name, place) in aside.map(|a| a.keys.as_slice()).unwrap_or_default() {
        plan.findings.push(Finding::note(
            "revoked-keys-aside",
            format!(
                "{} of {login} was moved to {LIB}/revoked/{login}/{} by a revocation and stays there",
                printable(place, 120),
                printable(name, 20)
            ),
            "give the account a key of today, and delete the old file",
        ));
    }
    let Some(account) = facts.accounts.get(login) else {
        return;
    };
    // Of others it is the demand for a code that has to wait.
    if !facts.members(GROUP_ENFORCED).contains(login.as_str()) {
        return;
    }
    let Some(why) = barred(account, wish.now) else {
        return;
    };
    let ended_here = account.shadow.as_ref().and_then(|s| s.expire) == Some(ENDED)
        && aside.is_some_and(|a| a.expired);
    if ended_here && block_in_place(facts) && !plan.needs_transaction() {
        plan.changes.push((
            Part::Secrets,
            Change::RestoreAccount {
                login: login.to_string(),
                daemon: facts.daemon(),
                demanded: sshd::wanted(facts.version, sshd::METHODS_ENFORCED),
            },
        ));
        return;
    }
    let remedy = if ended_here {
        "a revocation ended it; the next run takes that back once PAM and sshd demand a code"
    } else {
        "if the account is to be used again, run `chage -l` and `chage -E` for it there"
    };
    plan.gaps.push(Gap {
        login: login.to_string(),
        id: "account-barred",
        text: format!("{login} {why}: {remedy}"),
    });
}

/// Whether our block stands as it must.
fn block_in_place(facts: &Facts) -> bool {
    facts
        .text(pam::SERVICE_FILE)
        .is_some_and(|text| pam::module_in(text).is_some())
}
