//! What sudo asks of a member, proved by the temporary one: the right code leads to the lines that were there before and
//! no further, a wrong one nowhere.
//!
//! The temporary member has no password and may do nothing by sudo, so nothing of this can make it root. That the lines
//! after the code let in whom they let in before is not tried: they are the same lines. The tool's own account is: the
//! connection that confirms a change becomes root as it did before.

use std::time::Duration;

use crate::clock::Clock;
use crate::fleet::session::Session;
use crate::host::facts::Slot;
use crate::host::request::{Request, Scope};
use crate::host::sudo_reply::{self, Led};
use crate::plan::change::{CANARY, state_path};
use crate::playbook::apply::canary_file;
use crate::playbook::logins::Proof;

/// How long the host may take over it.
const PATIENCE: Duration = Duration::from_secs(60);

/// Has each of sudo's services ask for a right code and a wrong one. Nothing where the change does not concern sudo.
///
/// # Errors
/// When any of it is not as expected.
pub(super) async fn prove(
    session: &Session,
    proof: &Proof,
    clock: &dyn Clock,
) -> Result<(), String> {
    if proof.sudo.is_empty() {
        return Ok(());
    }
    let mut request = Request::apply();
    for call in &proof.sudo {
        // Its login has used the code of this step: a new file has not.
        let lines = canary_file(&proof.key, &proof.policy, &proof.project);
        request.file(
            &state_path(Slot::Current, CANARY),
            0o600,
            "any",
            Scope::Live,
            &lines,
        );
        request.line(&["flush"]);
        let now = clock.now();
        for code in [proof.code(now, 0), proof.wrong_code(now)] {
            let code = code.ok_or("no code could be computed")?;
            request.line(&["sudo", call, code.expose()]);
        }
    }
    let answer = session.exec(request, PATIENCE).await;
    let answer = answer.map_err(|e| format!("what sudo asks could not be tried: {e}"))?;
    let all = sudo_reply::led(&answer);
    let all = all.map_err(|e| format!("what sudo asks could not be tried: {e}"))?;
    judge(&all, proof.sudo.len())
}

fn judge(all: &[Led], calls: usize) -> Result<(), String> {
    if all.len() != 2 * calls {
        return Err("the host did not try sudo".to_owned());
    }
    for pair in all.chunks_exact(2) {
        let wrong = match pair {
            [Led::On, Led::Nowhere] => continue,
            [Led::Unasked, _] | [_, Led::Unasked] => "sudo did not ask a member for a code",
            [Led::Through, _] => "sudo let a member pass by a code alone",
            [Led::Nowhere, _] => "a member with a right code was refused by sudo",
            [_, Led::On | Led::Through] => "sudo took a wrong code from a member",
            [Led::Unclear(said), _] | [_, Led::Unclear(said)] => {
                return Err(format!("what sudo asks cannot be told, it said `{said}`"));
            }
            _ => "what sudo asks cannot be told",
        };
        return Err(wrong.to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_end_of_both_is_a_proof() {
        let unclear = || Led::Unclear("x".to_owned());
        assert!(judge(&[Led::On, Led::Nowhere], 1).is_ok());
        for (right, wrong, why) in [
            (Led::Unasked, Led::Unasked, "sudo did not ask"),
            (Led::Through, Led::Nowhere, "by a code alone"),
            (Led::Nowhere, Led::Nowhere, "was refused by sudo"),
            (Led::On, Led::On, "took a wrong code"),
            (Led::On, Led::Through, "took a wrong code"),
            (unclear(), Led::Nowhere, "`x`"),
            (Led::On, unclear(), "`x`"),
        ] {
            let said = judge(&[Led::On, Led::Nowhere, right, wrong], 2).unwrap_err();
            assert!(said.contains(why), "{said}");
        }
        assert!(judge(&[Led::On], 1).is_err());
    }
}
