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
use crate::inventory::model::Policy;
use crate::plan::change::{CANARY, state_path};
use crate::playbook::apply::canary_file;
use crate::playbook::prove::{Proof, ProofError, right_code, wrong_code};

/// How long the host may take over it.
const PATIENCE: Duration = Duration::from_secs(60);

/// Has each of sudo's services ask for a right code and a wrong one. Nothing where the change does not concern sudo.
///
/// # Errors
/// When any of it is not as expected.
pub(super) async fn prove(
    session: &Session,
    proof: &Proof,
    policy: &Policy,
    clock: &dyn Clock,
) -> Result<(), ProofError> {
    if proof.sudo.is_empty() {
        return Ok(());
    }
    let none = || ProofError::Unclear("no code could be computed".to_owned());
    let mut request = Request::apply();
    for call in &proof.sudo {
        // Its login has used the code of this step: a new file has not.
        let lines = canary_file(&proof.key, policy, &proof.project);
        request.file(
            &state_path(Slot::Current, CANARY),
            0o600,
            "any",
            Scope::Live,
            &lines,
        );
        request.line(&["flush"]);
        for right in [true, false] {
            let make = if right { right_code } else { wrong_code };
            let code = make(&proof.key, policy, clock.now()).ok_or_else(none)?;
            request.line(&["sudo", call, code.expose()]);
        }
    }
    let answer = session
        .exec(request, PATIENCE)
        .await
        .map_err(|e| ProofError::Unclear(e.to_string()))?;
    let all = sudo_reply::led(&answer).map_err(|e| ProofError::Unclear(e.to_string()))?;
    judge(&all, proof.sudo.len())
}

fn judge(all: &[Led], calls: usize) -> Result<(), ProofError> {
    if all.len() != 2 * calls {
        return Err(ProofError::Unclear("the host did not try sudo".to_owned()));
    }
    for pair in all.chunks_exact(2) {
        match pair {
            [Led::On, Led::Nowhere] => {}
            [Led::Unasked, _] | [_, Led::Unasked] => return Err(ProofError::SudoDoesNotAsk),
            [Led::Through, _] => return Err(ProofError::SudoByCodeAlone),
            [Led::Nowhere, _] => return Err(ProofError::SudoRefused),
            [_, Led::On | Led::Through] => return Err(ProofError::SudoTakesWrongCode),
            [Led::Unclear(said), _] | [_, Led::Unclear(said)] => {
                return Err(ProofError::Unclear(format!("sudo said `{said}`")));
            }
            _ => return Err(ProofError::Unclear("sudo".to_owned())),
        }
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
            assert!(said.to_string().contains(why), "{said}");
        }
        assert!(judge(&[Led::On], 1).is_err());
    }
}
