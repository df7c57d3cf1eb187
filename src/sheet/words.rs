//! Every text of one sheet: placeholders filled in, checked against the fonts.

use minijinja::Value;

use super::error::SheetError;
use super::font::Fonts;
use super::rich::{quote, unquoted};
use super::text::Texts;
use super::{Brand, SheetContent};
use crate::clock::Timestamp;
use crate::inventory::model::Algorithm;
use crate::token::secret::Secret;

/// The texts of one sheet, ready to be set. Holds no secret.
pub(super) struct Words {
    pub(super) organisation: String,
    pub(super) title: String,
    pub(super) subtitle: String,
    pub(super) facts: Vec<Fact>,
    pub(super) qr_caption: String,
    pub(super) key_heading: String,
    pub(super) key_note: String,
    pub(super) key_note_rows: String,
    pub(super) steps_heading: String,
    pub(super) steps: Vec<String>,
    /// Heading and text; only in a rotation.
    pub(super) rotation: Option<(String, String)>,
    pub(super) warning_heading: String,
    pub(super) warning: Vec<String>,
    pub(super) single_use_heading: String,
    pub(super) single_use: String,
    pub(super) contact_heading: String,
    pub(super) contact: String,
    pub(super) footer: String,
    /// One for each page.
    pub(super) pages: Vec<String>,
    /// Only where the sheet has codes.
    pub(super) codes: Option<Codes>,
    pub(super) document_title: String,
}

/// The words of the second page.
pub(super) struct Codes {
    pub(super) title: String,
    pub(super) subtitle: String,
    /// Heading and notes, where there are recovery codes.
    pub(super) recovery: Option<(String, Vec<String>)>,
    /// Heading and notes, where there are scratch codes.
    pub(super) scratch: Option<(String, Vec<String>)>,
}

/// A row of the table beside the code.
pub(super) struct Fact {
    pub(super) label: String,
    /// With markup.
    pub(super) value: String,
    /// A second line in small type.
    pub(super) detail: Option<String>,
}

impl Words {
    pub(super) fn fill(
        content: &SheetContent,
        brand: &Brand,
        texts: &Texts,
        fonts: &Fonts,
    ) -> Result<Self, SheetError> {
        let filler = Filler { texts, fonts };
        let organisation = fonts.check("organisation", &brand.organisation)?;
        let name = fonts.check("name", &content.name)?;
        let login = fonts.check("login", &content.login)?;
        let realm = fonts.check("realm", &content.realm)?;
        let issuer = fonts.check("issuer", &content.issuer)?;
        let account = fonts.check("account label", &content.account)?;
        let serial = fonts.check("serial", &content.serial)?;
        let sheet = fonts.check("sheet id", &content.sheet_id)?;
        let (issued, expires) = (filler.date(content.issued)?, filler.date(content.expires)?);
        let contact = match &brand.contact {
            Some(contact) => fonts.check("contact", contact)?,
            None => filler.one(
                "contact_none",
                &Value::from_pairs([("sheet", quote(&sheet))]),
            )?,
        };
        let (issued_rfc3339, expires_rfc3339) = (rfc3339(content.issued), rfc3339(content.expires));
        let text = |value: &str| Value::from(quote(value));
        let codes = content.recovery.len() + content.scratch.len();
        let pages = if codes > 0 { 2 } else { 1 };
        let values = |page: usize| {
            Value::from_pairs([
                ("name", text(&name)),
                ("login", text(&login)),
                ("realm", text(&realm)),
                ("organisation", text(&organisation)),
                ("issuer", text(&issuer)),
                ("account", text(&account)),
                ("contact", text(&contact)),
                ("sheet", text(&sheet)),
                ("serial", text(&serial)),
                ("generation", Value::from(content.generation)),
                ("rotation", Value::from(content.rotation)),
                ("issued", Value::from(issued.clone())),
                ("expires", Value::from(expires.clone())),
                ("issued_rfc3339", Value::from(issued_rfc3339.clone())),
                ("expires_rfc3339", Value::from(expires_rfc3339.clone())),
                ("digits", Value::from(content.digits)),
                ("period", Value::from(content.period)),
                ("algorithm", Value::from(algorithm_name(content.algorithm))),
                ("key_length", Value::from(content.key.expose().len())),
                ("page", Value::from(page)),
                ("pages", Value::from(pages)),
                ("codes", Value::from(codes)),
            ])
        };
        let numbers = (1..=pages)
            .map(|n| filler.one("page", &values(n)))
            .collect::<Result<_, _>>()?;
        let values = values(1);
        let one = |key| filler.one(key, &values);
        let fact = |label, value: String, detail: Option<String>| -> Result<Fact, SheetError> {
            Ok(Fact {
                label: filler.one(label, &values)?,
                value,
                detail,
            })
        };
        let title = one("title")?;
        Ok(Self {
            facts: vec![
                fact("label_name", format!("**{}**", quote(&name)), None)?,
                fact("label_login", format!("`{}`", quote(&login)), None)?,
                fact("label_realm", quote(&realm), None)?,
                fact("label_account", format!("**{}**", one("account")?), None)?,
                fact("label_settings", one("settings")?, None)?,
                fact("label_sheet", format!("`{}`", quote(&sheet)), None)?,
                fact("label_token", one("token")?, None)?,
                fact("label_issued", issued, Some(issued_rfc3339))?,
                fact(
                    "label_expires",
                    format!("**{expires}**"),
                    Some(expires_rfc3339),
                )?,
            ],
            organisation,
            document_title: format!("{} {sheet}", unquoted(&title)),
            title,
            subtitle: one("subtitle")?,
            qr_caption: one("qr_caption")?,
            key_heading: one("key_heading")?,
            key_note: one("key_note")?,
            key_note_rows: one("key_note_rows")?,
            steps_heading: one("steps_heading")?,
            steps: filler.many("steps", &values)?,
            rotation: if content.rotation {
                Some((one("rotation_heading")?, one("rotation_note")?))
            } else {
                None
            },
            warning_heading: one("warning_heading")?,
            warning: filler.many("warning", &values)?,
            single_use_heading: one("single_use_heading")?,
            single_use: one("single_use")?,
            contact_heading: one("contact_heading")?,
            contact: one("contact")?,
            footer: one("footer")?,
            pages: numbers,
            codes: if codes > 0 {
                Some(Codes {
                    title: one("codes_title")?,
                    subtitle: one("codes_subtitle")?,
                    recovery: filler.notes(
                        "recovery_heading",
                        "recovery",
                        &content.recovery,
                        &values,
                    )?,
                    scratch: filler.notes(
                        "scratch_heading",
                        "scratch",
                        &content.scratch,
                        &values,
                    )?,
                })
            } else {
                None
            },
        })
    }
}

const fn algorithm_name(algorithm: Algorithm) -> &'static str {
    match algorithm {
        Algorithm::Sha1 => "SHA1",
        Algorithm::Sha256 => "SHA256",
        Algorithm::Sha512 => "SHA512",
    }
}

/// To the second: fractions mean nothing to a reader.
fn rfc3339(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

struct Filler<'a> {
    texts: &'a Texts,
    fonts: &'a Fonts,
}

impl Filler<'_> {
    fn one(&self, key: &'static str, values: &Value) -> Result<String, SheetError> {
        self.checked(key, &self.texts.one(key, values)?)
    }

    fn many(&self, key: &'static str, values: &Value) -> Result<Vec<String>, SheetError> {
        let texts = self.texts.many(key, values)?;
        texts.iter().map(|t| self.checked(key, t)).collect()
    }

    /// A heading and its notes, where there are codes of that kind.
    fn notes(
        &self,
        heading: &'static str,
        notes: &'static str,
        codes: &[Secret],
        values: &Value,
    ) -> Result<Option<(String, Vec<String>)>, SheetError> {
        if codes.is_empty() {
            return Ok(None);
        }
        Ok(Some((
            self.one(heading, values)?,
            self.many(notes, values)?,
        )))
    }

    /// Values were checked before they were filled in, so what is missing here is the text's own.
    fn checked(&self, key: &str, text: &str) -> Result<String, SheetError> {
        self.fonts.check(
            &format!("sheet text `{key}`"),
            &unquoted(text).replace('\n', " "),
        )?;
        Ok(text.to_owned())
    }

    /// Writes a time as people of the language do, in UTC.
    fn date(&self, time: Timestamp) -> Result<String, SheetError> {
        let zoned = jiff::tz::Offset::UTC.to_datetime(time);
        let nth = |key, index: i8| -> Result<String, SheetError> {
            let names = self.texts.many(key, &Value::UNDEFINED)?;
            let name = usize::try_from(index)
                .ok()
                .and_then(|n| names.into_iter().nth(n));
            name.ok_or_else(|| SheetError::internal("a calendar name is missing"))
        };
        let values = Value::from_pairs([
            (
                "weekday",
                Value::from(nth("weekdays", zoned.weekday().to_monday_zero_offset())?),
            ),
            ("day", Value::from(zoned.day())),
            ("month", Value::from(nth("months", zoned.month() - 1)?)),
            ("year", Value::from(zoned.year())),
            ("time", Value::from(zoned.strftime("%H:%M").to_string())),
        ]);
        self.one("date", &values)
    }
}
