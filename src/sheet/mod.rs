//! Enrolment sheets: one page that carries one pending generation of a token to its admin, and a second one where there
//! are codes for an emergency.
//!
//! [`render`] is pure: content, brand, texts and fonts in, the bytes of a PDF out. [`encrypt`] protects the bytes,
//! [`store`] writes them once and crash-safe.

pub(crate) mod canvas;
mod codes_page;
pub mod colour;
pub(crate) mod document;
pub mod encrypt;
mod error;
mod face;
pub(crate) mod font;
mod layout;
mod logo;
pub mod passphrase;
pub mod qr;
pub(crate) mod rich;
pub(crate) mod script;
pub mod store;
mod text;
mod text_file;
mod words;

use zeroize::Zeroizing;

pub use self::colour::Colour;
pub use self::encrypt::{Recipient, encrypt_to_recipient, encrypt_with_passphrase};
pub use self::error::SheetError;
pub use self::font::Fonts;
pub use self::logo::Logo;
pub use self::text::Texts;
use crate::clock::Timestamp;
use crate::inventory::model::Algorithm;
use crate::token::secret::Secret;

/// What one sheet says.
#[derive(Debug, Clone)]
pub struct SheetContent {
    /// The sheet's identifier, such as `S-7K2M9QXA`.
    pub sheet_id: String,
    /// The admin's name as printed; any script that the fonts cover.
    pub name: String,
    /// The admin's account on the hosts.
    pub login: String,
    /// The realm that the token is valid in.
    pub realm: String,
    /// The issuer as authenticator apps show it.
    pub issuer: String,
    /// The account label as authenticator apps show it.
    pub account: String,
    /// The key in base32, for typing.
    pub key: Secret,
    /// The `otpauth://` URI, for scanning.
    pub uri: Secret,
    /// The token's serial.
    pub serial: String,
    /// The token's generation.
    pub generation: u32,
    /// Hash of the code.
    pub algorithm: Algorithm,
    /// Digits of the code.
    pub digits: u8,
    /// Length of a step in seconds.
    pub period: u64,
    /// When the sheet was made.
    pub issued: Timestamp,
    /// When the key stops working unless it was confirmed.
    pub expires: Timestamp,
    /// Whether the admin has an older key that stays valid for now.
    pub rotation: bool,
    /// Recovery codes, for the second page.
    pub recovery: Vec<Secret>,
    /// Scratch codes, for the second page.
    pub scratch: Vec<Secret>,
}

/// What an organisation's sheets have in common.
#[derive(Debug, Clone)]
pub struct Brand {
    /// The organisation, as printed in the heading.
    pub organisation: String,
    /// Whom to ask.
    pub contact: Option<String>,
    /// Colour of the headings; made by [`Colour::accent`], which checks the contrast.
    pub accent: Colour,
    /// The logo.
    pub logo: Option<Logo>,
}

impl Brand {
    /// The accent colour where the project sets none: a dark blue.
    pub const DEFAULT_ACCENT: Colour = Colour::new(0x1f, 0x4e, 0x79);
}

/// Draws a sheet and returns the bytes of the PDF, which hold the key in the clear.
///
/// The same arguments give the same bytes.
///
/// # Errors
/// A [`SheetError`] that says what of the content, the brand or the texts is in the way.
pub fn render(
    content: &SheetContent,
    brand: &Brand,
    texts: &Texts,
    fonts: &Fonts,
) -> Result<Zeroizing<Vec<u8>>, SheetError> {
    check_secrets(content)?;
    let words = words::Words::fill(content, brand, texts, fonts)?;
    let (pages, mut characters) = layout::compose(content, brand, &words, fonts)?;
    // Beyond what this page uses, the fonts hold ASCII and every letter of the texts: so the subsets are the same for
    // most sheets and depend on names, never on the key.
    for (slot, used) in &mut characters {
        if *slot != font::Slot::Project {
            let extra = (' '..='~').chain(texts.characters().iter().copied());
            used.extend(extra.filter(|c| fonts.has(*slot, *c)));
        }
    }
    document::write(
        pages,
        &characters,
        fonts,
        brand.logo.as_ref(),
        &document::Metadata {
            title: &words.document_title,
            language: texts.language(),
            id: &format!("sheet {}", content.sheet_id),
            issued: content.issued,
        },
    )
}

/// Refuses a key that would be printed wrong, or a code that holds another one: a sheet cannot be corrected later.
fn check_secrets(content: &SheetContent) -> Result<(), SheetError> {
    let key = content.key.expose();
    if key.is_empty() || !key.bytes().all(|b| matches!(b, b'A'..=b'Z' | b'2'..=b'7')) {
        return Err(SheetError::internal(
            "the key is not base32 without padding",
        ));
    }
    let same = content
        .uri
        .expose()
        .split(['?', '&'])
        .any(|part| part.strip_prefix("secret=") == Some(key));
    if same {
        Ok(())
    } else {
        Err(SheetError::internal(
            "the URI of the code and the printed key differ",
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fonts_and_texts_can_be_shared_between_threads() {
        fn shared<T: Send + Sync>() {}
        shared::<Fonts>();
        shared::<Texts>();
        shared::<Brand>();
    }
}
