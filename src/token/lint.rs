//! Which parameters a backend and authenticator apps really honour.
//!
//! An app that ignores a parameter scans the sheet without complaint and then shows wrong codes for ever, so anything
//! but SHA1, six digits and 30 seconds is either refused (the host cannot check it) or reported (some apps cannot).

use crate::token::params::{Algorithm, CodeParams};

/// The PAM module cannot check codes of this kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unsupported {
    /// The module knows SHA-1 only.
    #[error(
        "pam_google_authenticator checks SHA1 codes only, not {0}: leave `algorithm` out or set it to sha1"
    )]
    Algorithm(Algorithm),
    /// The module takes eight digits for a scratch code.
    #[error(
        "pam_google_authenticator checks codes of 6 digits only, not {0}: leave `digits` out or set it to 6"
    )]
    Digits(u8),
    /// The module's STEP_SIZE goes from 1 to 60.
    #[error(
        "pam_google_authenticator knows steps of 1 to 60 seconds, not {0}: leave `period` out or set it to 30s"
    )]
    Period(u16),
}

impl Unsupported {
    /// Returns the policy's key that is at fault.
    pub const fn key(self) -> &'static str {
        match self {
            Self::Algorithm(_) => "algorithm",
            Self::Digits(_) => "digits",
            Self::Period(_) => "period",
        }
    }
}

/// Refuses what `pam_google_authenticator` cannot check.
///
/// # Errors
/// The first parameter that it cannot honour.
pub const fn supported_by_module(params: CodeParams) -> Result<(), Unsupported> {
    if !matches!(params.algorithm, Algorithm::Sha1) {
        return Err(Unsupported::Algorithm(params.algorithm));
    }
    if params.digits != 6 {
        return Err(Unsupported::Digits(params.digits));
    }
    if params.period < 1 || params.period > 60 {
        return Err(Unsupported::Period(params.period));
    }
    Ok(())
}

/// A parameter that some authenticator apps do not honour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Finding {
    /// The policy's key: `algorithm`, `digits` or `period`.
    pub key: &'static str,
    /// What happens, and in which apps.
    pub text: &'static str,
}

/// Returns what authenticator apps will get wrong with these parameters; empty for SHA1, 6 digits, 30 seconds.
pub fn findings(params: CodeParams) -> Vec<Finding> {
    let default = CodeParams::DEFAULT;
    let mut found = Vec::new();
    if params.algorithm != default.algorithm {
        found.push(Finding {
            key: "algorithm",
            text: "Microsoft Authenticator, Authy, Duo Mobile and older versions of Google Authenticator compute SHA1 \
                   codes whatever the sheet says, and Okta Verify refuses the sheet",
        });
    }
    if params.digits != default.digits {
        found.push(Finding {
            key: "digits",
            text: "Okta Verify knows six digits only, and the open-source Google Authenticator always shows six",
        });
    }
    if params.period != default.period {
        found.push(Finding {
            key: "period",
            text: "Microsoft Authenticator and some versions of Google Authenticator change the code every 30 seconds \
                   whatever the sheet says, and moving to a new phone by Google's export loses the period",
        });
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_fine_everywhere() {
        assert_eq!(supported_by_module(CodeParams::DEFAULT), Ok(()));
        assert_eq!(findings(CodeParams::DEFAULT), []);
    }

    #[test]
    fn what_the_module_cannot_do_is_refused_and_what_apps_ignore_is_found() {
        let with = |algorithm, digits, period| CodeParams {
            algorithm,
            digits,
            period,
        };
        for (params, key) in [
            (with(Algorithm::Sha256, 6, 30), "algorithm"),
            (with(Algorithm::Sha1, 8, 30), "digits"),
            (with(Algorithm::Sha1, 6, 61), "period"),
            (with(Algorithm::Sha1, 6, 0), "period"),
        ] {
            assert_eq!(supported_by_module(params).unwrap_err().key(), key);
            assert_eq!(findings(params).first().map(|f| f.key), Some(key));
        }
        let minute = with(Algorithm::Sha1, 6, 60);
        assert_eq!(supported_by_module(minute), Ok(()));
        assert_eq!(findings(minute).len(), 1);
    }
}
