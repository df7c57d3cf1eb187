//! The codes of a sheet's second page: made with it, shown on it, and kept nowhere in the clear.

use crate::clock::Entropy;
use crate::error::Error;
use crate::inventory::model::Policy;
use crate::token::recovery;
use crate::token::secret::Secret;

/// The codes of one sheet.
#[derive(Debug, Default)]
pub struct SheetCodes {
    /// Recovery codes.
    pub recovery: Vec<Secret>,
    /// Their hashes, for the ledger.
    pub hashes: Vec<String>,
    /// Scratch codes: for the sheet, and for hosts in this run only. The vault does not have them, so a host that gets
    /// the generation later gets none: no one-time secret lies about to be written twice.
    pub scratch: Vec<Secret>,
}

impl SheetCodes {
    /// Makes what the policy asks for. Without a push there are no scratch codes: no host would know them.
    ///
    /// # Errors
    /// When the random source fails.
    pub fn make(policy: &Policy, pushed: bool, entropy: &dyn Entropy) -> Result<Self, Error> {
        let failed = |e: &dyn std::fmt::Display| Error::failed(e.to_string());
        let mut codes = Self::default();
        for _ in 0..policy.recovery_codes {
            let code = recovery::generate(entropy).map_err(|e| failed(&e))?;
            codes
                .hashes
                .push(recovery::hash(&code, entropy).map_err(|e| failed(&e))?);
            codes.recovery.push(code);
        }
        let scratch = if pushed { policy.scratch_codes } else { 0 };
        while codes.scratch.len() < usize::from(scratch) {
            let code = recovery::scratch(entropy).map_err(|e| failed(&e))?;
            if !codes.scratch.contains(&code) {
                codes.scratch.push(code);
            }
        }
        Ok(codes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemEntropy;
    use crate::plan::wish::tests::policy;

    #[test]
    fn a_policy_decides_how_many_and_scratch_codes_need_a_push() {
        let policy = Policy {
            recovery_codes: 3,
            scratch_codes: 2,
            ..policy()
        };
        for (pushed, scratch) in [(true, 2), (false, 0)] {
            let codes = SheetCodes::make(&policy, pushed, &SystemEntropy).unwrap();
            assert_eq!((codes.recovery.len(), codes.scratch.len()), (3, scratch));
            for (code, hash) in codes.recovery.iter().zip(&codes.hashes) {
                let read = recovery::read(code.expose()).unwrap();
                assert!(recovery::fits(&read, hash));
            }
        }
    }
}
