//! Policies: what is written, the defaults, and what is not built yet.

use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::{Deserializer, Error as _};

use super::schema::services;
use super::{Texts, Time, value_at};
use crate::clock::Span;
use crate::inventory::model::{
    Algorithm, Enforce, Module, OnOverdue, OnRevoke, Policy, PolicyScope, RateLimit, Service,
};
use crate::names::{PolicyName, printable};
use crate::text::yaml::{Entry, from_node};
use crate::text::{FileError, SourceFile, suggest};
use crate::token::lint;
use crate::token::params::CodeParams;

/// What is written of a policy.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Raw {
    /// The organisation, as authenticator apps show it; only the policy `default` can be without.
    #[schemars(length(max = 64), regex(pattern = r"^[^:]*[^:\s][^:]*$"))]
    issuer: Option<String>,
    /// How long an unconfirmed sheet stays usable: a whole number and s, m, h or d. `72h` where absent.
    enrolment_ttl: Option<Span>,
    /// When a token is due for rotation, such as `90d`; never where absent.
    rotate_every: Option<Span>,
    /// How long old and new code are both valid in a rotation; `7d` where absent.
    overlap: Option<Span>,
    /// When hosts begin to demand the code; `on_confirm` where absent.
    enforce: Option<RawEnforce>,
    /// No demand before this date, or time in RFC 3339.
    enforce_from: Option<Time>,
    /// PAM services that demand the code; `[sshd]` where absent.
    #[serde(default)]
    #[schemars(schema_with = "services")]
    services: Option<Texts>,
    /// The PAM module that checks codes on the hosts; `google-authenticator` where absent.
    module: Option<Module>,
    /// Steps accepted either way of the current one, 0 to 8; 1 where absent.
    #[schemars(range(max = 8))]
    window: Option<u8>,
    /// Tries per time on each host; `3/30s` where absent.
    rate_limit: Option<RawRateLimit>,
    /// Hash of the code; the module can do `sha1` only.
    algorithm: Option<RawAlgorithm>,
    /// Digits of the code; the module can do 6 only.
    #[schemars(extend("enum" = [6, 8, null]))]
    digits: Option<u8>,
    /// Length of a step, from `15s` to `5m`; `30s` where absent. Many apps ignore others.
    period: Option<Span>,
    /// One-time codes on the sheet's second page, 0 to 20, each good for one new sheet.
    #[schemars(range(max = 20))]
    recovery_codes: Option<u16>,
    /// The module's own codes, 0 to 10, on hosts and on the sheet's second page, each good for one login on each host.
    #[schemars(range(max = 10))]
    scratch_codes: Option<u16>,
    /// Wrong codes at `confirm` within 10 minutes before none are taken for 15, 1 to 100; 5 where absent.
    #[schemars(range(min = 1, max = 100))]
    confirm_tries: Option<u16>,
    /// What becomes of the old code when nobody confirms the new one in time; `keep` where absent.
    on_overdue: Option<RawOnOverdue>,
    /// Not built yet: any value but `deny` is refused.
    on_state_unwritable: Option<RawOnUnwritable>,
    /// What a revocation does to the account besides.
    on_revoke: Option<Vec<OnRevoke>>,
    /// Whom hosts ask for a code; `members` where absent.
    scope: Option<PolicyScope>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum RawEnforce {
    /// After a code was verified.
    OnConfirm,
    /// At once, before anyone has shown that the sheet was read.
    OnIssue,
}

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum RawAlgorithm {
    Sha1,
    Sha256,
    Sha512,
}

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum RawOnOverdue {
    /// It stays valid, and the rotation is reported as overdue.
    Keep,
    /// It ends too, which may lock its admin out.
    Expire,
}

#[derive(Deserialize, PartialEq, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum RawOnUnwritable {
    Deny,
    #[schemars(skip)]
    Allow,
}

struct RawRateLimit(RateLimit);

impl JsonSchema for RawRateLimit {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "RateLimit".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let pattern = "^0*([1-9][0-9]?|100)/0*[1-9][0-9]*[smhd]$";
        schemars::json_schema!({"type": "string", "pattern": pattern})
    }
}

impl<'de> Deserialize<'de> for RawRateLimit {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let wrong = || {
            D::Error::custom(format!(
                "`{}` is no rate limit: write attempts from 1 to 100, a slash and a time up to 1h, such as 3/30s",
                printable(&text, 40)
            ))
        };
        let (attempts, time) = text.split_once('/').ok_or_else(wrong)?;
        let attempts = attempts
            .parse()
            .ok()
            .filter(|n| (1..=100).contains(n) && !attempts.starts_with('+'))
            .ok_or_else(wrong)?;
        let seconds = time
            .parse::<Span>()
            .ok()
            .and_then(|span| u16::try_from(span.as_secs()).ok())
            .filter(|s| (1..=3600).contains(s))
            .ok_or_else(wrong)?;
        Ok(Self(RateLimit { attempts, seconds }))
    }
}

/// The built-in policy of that name.
pub(super) fn built_in(name: PolicyName) -> Policy {
    Policy {
        name,
        issuer: "fleetotp".to_owned(),
        enrolment_ttl: Span::from_secs(72 * 3600),
        rotate_every: None,
        overlap: Span::from_days(7),
        on_overdue: OnOverdue::Keep,
        enforce: Enforce::OnConfirm,
        enforce_from: None,
        services: vec![Service::Sshd],
        scope: PolicyScope::Members,
        module: Module::GoogleAuthenticator,
        window: 1,
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
    }
}

/// Reads one entry of `policies:`.
pub(super) fn read(file: &SourceFile, entry: &Entry) -> Result<Policy, FileError> {
    let text = entry.key.scalar.text.as_str();
    let name = PolicyName::new(text).map_err(|e| file.error(entry.key.position, e.to_string()))?;
    let raw: Raw = from_node(file, &entry.value)?;
    let wrong = |key: &str, message: &str| value_at(file, entry, key).error(message);
    let not_built = |key: &str| {
        Err(value_at(file, entry, key)
            .error(format!("`{key}` other than its default is not built yet"))
            .hinted(format!("remove `{key}`")))
    };
    if raw
        .on_state_unwritable
        .is_some_and(|v| v != RawOnUnwritable::Deny)
    {
        return not_built("on_state_unwritable");
    }
    let mut policy = built_in(name);
    match raw.issuer {
        Some(issuer) => {
            check_issuer(&issuer).map_err(|why| wrong("issuer", why))?;
            policy.issuer = issuer;
        }
        None if text == "default" => {}
        None => {
            return Err(file
                .error(entry.key.position, "the key `issuer` is missing")
                .hinted("it names the organisation, as authenticator apps show it"));
        }
    }
    if let Some(services) = raw.services {
        policy.services = read_services(&services.0, file, entry)?;
    }
    policy.module = raw.module.unwrap_or_default();
    if policy.module == Module::Oath {
        if raw.rate_limit.is_some() {
            return Err(wrong("rate_limit", "pam_oath limits no tries"));
        }
        if raw.scratch_codes.is_some_and(|n| n > 0) {
            return Err(wrong("scratch_codes", "pam_oath knows no scratch codes"));
        }
        if raw.period.is_some_and(|p| p.as_secs() != 30) {
            return Err(wrong("period", "with `module: oath` the period is 30s"));
        }
    }
    policy.enrolment_ttl = raw.enrolment_ttl.unwrap_or(policy.enrolment_ttl);
    policy.rotate_every = raw.rotate_every;
    policy.overlap = raw.overlap.unwrap_or(policy.overlap);
    policy.on_overdue = match raw.on_overdue {
        Some(RawOnOverdue::Expire) => OnOverdue::Expire,
        Some(RawOnOverdue::Keep) | None => OnOverdue::Keep,
    };
    policy.enforce = match raw.enforce {
        Some(RawEnforce::OnIssue) => Enforce::OnIssue,
        Some(RawEnforce::OnConfirm) | None => Enforce::OnConfirm,
    };
    policy.enforce_from = raw.enforce_from.map(|t| t.0);
    policy.scope = raw.scope.unwrap_or(policy.scope);
    policy.window = raw.window.unwrap_or(policy.window);
    policy.rate_limit = raw.rate_limit.map_or(policy.rate_limit, |r| r.0);
    policy.algorithm = match raw.algorithm {
        Some(RawAlgorithm::Sha256) => Algorithm::Sha256,
        Some(RawAlgorithm::Sha512) => Algorithm::Sha512,
        Some(RawAlgorithm::Sha1) | None => Algorithm::Sha1,
    };
    policy.digits = raw.digits.unwrap_or(policy.digits);
    policy.period = raw.period.unwrap_or(policy.period);
    policy.on_revoke = raw.on_revoke.unwrap_or_default();
    if policy.module == Module::Oath {
        if policy.services.contains(&Service::Sudo) {
            return Err(wrong("services", "pam_oath is built for sshd alone"));
        }
        if policy.scope == PolicyScope::Everyone {
            return Err(wrong("scope", "with pam_oath only members can be asked"));
        }
    }
    if policy.window > 8 {
        return Err(wrong(
            "window",
            "the window is a number of steps from 0 to 8",
        ));
    }
    if policy.digits != 6 && policy.digits != 8 {
        return Err(wrong("digits", "a code has 6 or 8 digits"));
    }
    if !(15..=300).contains(&policy.period.as_secs()) {
        return Err(wrong("period", "the period lies between 15s and 5m"));
    }
    policy.recovery_codes = number(raw.recovery_codes.unwrap_or(0), 20).ok_or_else(|| {
        wrong(
            "recovery_codes",
            "a sheet has room for 0 to 20 recovery codes",
        )
    })?;
    policy.scratch_codes = number(raw.scratch_codes.unwrap_or(0), 10)
        .ok_or_else(|| wrong("scratch_codes", "a state file has 0 to 10 scratch codes"))?;
    policy.confirm_tries = raw.confirm_tries.unwrap_or(policy.confirm_tries);
    if !(1..=100).contains(&policy.confirm_tries) {
        return Err(wrong(
            "confirm_tries",
            "1 to 100 wrong codes can be allowed",
        ));
    }
    // What the hosts could not check would refuse every right code.
    lint::supported_by_module(CodeParams::new(
        policy.algorithm,
        policy.digits,
        policy.period,
    ))
    .map_err(|e| wrong(e.key(), &e.to_string()))?;
    // Seconds are enough for whoever tries out what happens at a deadline.
    for (key, time) in [
        ("enrolment_ttl", policy.enrolment_ttl),
        ("overlap", policy.overlap),
    ] {
        if time.as_secs() == 0 {
            return Err(wrong(key, "it would be over before it began"));
        }
    }
    if let Some(every) = policy.rotate_every
        && every <= policy.overlap
    {
        return Err(wrong(
            "rotate_every",
            "a rotation would begin before the last one ends: this must be longer than `overlap`",
        ));
    }
    Ok(policy)
}

/// A number that is not above `most`.
fn number(n: u16, most: u8) -> Option<u8> {
    u8::try_from(n).ok().filter(|n| *n <= most)
}

fn read_services(
    services: &[String],
    file: &SourceFile,
    entry: &Entry,
) -> Result<Vec<Service>, FileError> {
    let at = value_at(file, entry, "services");
    let mut read = Vec::new();
    for service in services {
        let service = match service.as_str() {
            "sshd" => Service::Sshd,
            "sudo" => Service::Sudo,
            other => {
                return Err(at
                    .error(format!("unknown service `{}`", printable(other, 40)))
                    .hinted_if(suggest::hint(other, ["sshd", "sudo"])));
            }
        };
        if !read.contains(&service) {
            read.push(service);
        }
    }
    if read.is_empty() {
        return Err(at.error("a policy needs at least one service"));
    }
    // A confirmation is a login, and so is what a change is proved by.
    if !read.contains(&Service::Sshd) {
        return Err(at
            .error("`sudo` comes besides `sshd`, not in its place")
            .hinted("write `services: [sshd, sudo]`"));
    }
    Ok(read)
}

/// The issuer stands in a URI before a colon, in a QR code, and on paper.
fn check_issuer(issuer: &str) -> Result<(), &'static str> {
    if issuer.trim().is_empty() {
        return Err("the issuer is empty");
    }
    if issuer.chars().count() > 64 {
        return Err("the issuer is longer than 64 characters");
    }
    if issuer.contains(':') {
        return Err(
            "the issuer cannot contain a colon, which separates it from the account in apps",
        );
    }
    if printable(issuer, usize::MAX) != issuer {
        return Err("the issuer contains control characters");
    }
    Ok(())
}
