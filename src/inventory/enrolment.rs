//! `admins:`, `realms:`, `policies:` and `exemptions:` as declared by the sources, and `admins.csv`.

mod admins;
mod policies;
mod resolve;
mod schema;

pub use schema::schema;

pub(crate) use resolve::{Resolved, resolve};

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::{Deserializer, SeqAccess, Visitor};

use crate::clock::Timestamp;
use crate::inventory::model::{Admin, Policy};
use crate::inventory::pattern;
use crate::inventory::value::Origin;
use crate::names::{AdminName, Login, PolicyName, RealmName};
use crate::text::yaml::{Entry, Mapping, from_node};
use crate::text::{FileError, SourceFile};

/// What was declared so far, with the places that later checks point at.
#[derive(Debug, Default)]
pub(crate) struct Declared {
    admins: IndexMap<AdminName, DeclaredAdmin>,
    realms: IndexMap<RealmName, DeclaredRealm>,
    policies: IndexMap<PolicyName, (Policy, Origin)>,
    exemptions: Vec<DeclaredExemption>,
}

#[derive(Debug)]
struct DeclaredAdmin {
    admin: Admin,
    /// Where the admin stands.
    name_at: Origin,
    /// Where the login stands, or the name that is the login.
    login_at: Origin,
    /// Where the host pattern stands, or the name.
    hosts_at: Origin,
}

#[derive(Debug)]
struct DeclaredRealm {
    hosts: String,
    policy: Option<PolicyName>,
    name_at: Origin,
    hosts_at: Origin,
    policy_at: Origin,
}

#[derive(Debug)]
struct DeclaredExemption {
    login: Login,
    hosts: String,
    owner: String,
    reason: String,
    approved_by: Option<String>,
    expires: Timestamp,
    hosts_at: Origin,
}

/// What is written of a realm.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct RealmKeys {
    /// Pattern of its hosts, or a list of them.
    hosts: Pattern,
    /// The policy that holds there; `default` where absent.
    policy: Option<PolicyName>,
}

/// What is written of an exemption.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Exempt {
    /// Pattern of the hosts on which the account is exempt; all where absent.
    #[serde(default = "everywhere")]
    hosts: Pattern,
    /// Who answers for it.
    owner: String,
    /// Why.
    reason: String,
    /// Who allowed it.
    approved_by: Option<String>,
    /// When it ends: a date, or a time in RFC 3339.
    expires: Time,
}

impl Declared {
    /// How many admins were declared so far.
    pub(crate) fn admin_count(&self) -> usize {
        self.admins.len()
    }

    /// Takes in one of the four top-level keys.
    pub(crate) fn add(&mut self, file: &SourceFile, section: &Entry) -> Result<(), FileError> {
        let name = section.key.scalar.text.as_str();
        if section.value.is_null() {
            return Ok(());
        }
        let Some(mapping) = section.value.as_mapping() else {
            let error = file.error(
                section.value.position,
                format!("`{name}` is a mapping, not {}", section.value.describe()),
            );
            return Err(error.hinted("each name is a key: `alice: {email: alice@example.com}`"));
        };
        for entry in &mapping.entries {
            match name {
                "admins" => self.add_admin(file, entry)?,
                "realms" => self.add_realm(file, entry)?,
                "policies" => self.add_policy(file, entry)?,
                _ => self.add_exemption(file, entry)?,
            }
        }
        Ok(())
    }

    fn add_realm(&mut self, file: &SourceFile, entry: &Entry) -> Result<(), FileError> {
        let name_at = key_at(file, entry);
        let name =
            RealmName::new(&entry.key.scalar.text).map_err(|e| name_at.error(e.to_string()))?;
        let raw: RealmKeys = from_node(file, &entry.value)?;
        let realm = DeclaredRealm {
            hosts: raw.hosts.0,
            policy: raw.policy,
            hosts_at: value_at(file, entry, "hosts"),
            policy_at: value_at(file, entry, "policy"),
            name_at,
        };
        if let Some(first) = self.realms.get(&name) {
            return Err(twice(
                "realm",
                name.as_str(),
                &realm.name_at,
                &first.name_at,
            ));
        }
        self.realms.insert(name, realm);
        Ok(())
    }

    fn add_policy(&mut self, file: &SourceFile, entry: &Entry) -> Result<(), FileError> {
        let at = key_at(file, entry);
        let policy = policies::read(file, entry)?;
        if let Some((_, first)) = self.policies.get(&policy.name) {
            return Err(twice("policy", policy.name.as_str(), &at, first));
        }
        self.policies.insert(policy.name.clone(), (policy, at));
        Ok(())
    }

    fn add_exemption(&mut self, file: &SourceFile, entry: &Entry) -> Result<(), FileError> {
        let at = key_at(file, entry);
        let login = Login::new(&entry.key.scalar.text).map_err(|e| at.error(e.to_string()))?;
        let raw: Exempt = from_node(file, &entry.value)?;
        self.exemptions.push(DeclaredExemption {
            login,
            hosts: raw.hosts.0,
            owner: raw.owner,
            reason: raw.reason,
            approved_by: raw.approved_by,
            expires: raw.expires.0,
            hosts_at: value_at(file, entry, "hosts"),
        });
        Ok(())
    }
}

fn key_at(file: &SourceFile, entry: &Entry) -> Origin {
    Origin {
        file: file.clone(),
        position: entry.key.position,
    }
}

/// The place of a value inside an entry, or of the entry where the value is not written.
fn value_at(file: &SourceFile, entry: &Entry, key: &str) -> Origin {
    let position = entry
        .value
        .as_mapping()
        .and_then(|m: &Mapping| m.get(key))
        .map_or(entry.key.position, |e| e.value.position);
    Origin {
        file: file.clone(),
        position,
    }
}

/// Names a place in one line.
fn place(origin: &Origin) -> String {
    format!(
        "{}:{}:{}",
        crate::names::printable(origin.file.name(), 200),
        origin.position.line,
        origin.position.column
    )
}

fn twice(what: &str, name: &str, at: &Origin, first: &Origin) -> FileError {
    at.error(format!(
        "the {what} `{name}` is declared twice (first at {})",
        place(first)
    ))
}

/// A host pattern: text, or a list of texts, which is the parts of all.
#[derive(Debug)]
struct Pattern(String);

fn everywhere() -> Pattern {
    Pattern("all".to_owned())
}

/// A list, or text alone which is a list of one.
#[derive(Debug, Default)]
struct Texts(Vec<String>);

struct TextsVisitor;

impl<'de> Visitor<'de> for TextsVisitor {
    type Value = Vec<String>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("text or a list of texts")
    }

    fn visit_str<E>(self, text: &str) -> Result<Vec<String>, E> {
        Ok(vec![text.to_owned()])
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Vec<String>, A::Error> {
        let mut texts = Vec::new();
        while let Some(text) = items.next_element()? {
            texts.push(text);
        }
        Ok(texts)
    }
}

impl<'de> Deserialize<'de> for Texts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(TextsVisitor).map(Self)
    }
}

impl<'de> Deserialize<'de> for Pattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let parts = deserializer.deserialize_str(TextsVisitor)?;
        Ok(Self(match parts.as_slice() {
            [one] => one.clone(),
            _ => pattern::join(&parts),
        }))
    }
}

/// A time in RFC 3339, or a date, which is its first moment in UTC.
#[derive(Debug, Clone, Copy)]
struct Time(Timestamp);

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        crate::clock::read_time(&text).map(Self).ok_or_else(|| {
            serde::de::Error::custom(format!(
                "`{}` is no time: write 2026-12-31T18:00:00Z, or 2026-12-31",
                crate::names::printable(&text, 40)
            ))
        })
    }
}
