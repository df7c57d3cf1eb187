//! From a new key to a sheet's file, in the order that survives being killed at any instant.

use std::collections::BTreeMap;
use std::path::PathBuf;

use zeroize::Zeroizing;

use crate::clock::Entropy;
use crate::error::Error;
use crate::inventory::model::Admin;
use crate::ledger::{Ledger, SheetEncryption, SheetRecord};
use crate::project::Project;
use crate::sheet::colour::Colour;
use crate::sheet::store::{self, Extension};
use crate::sheet::{
    Brand, Fonts, Logo, Recipient, SheetContent, Texts, encrypt_to_recipient,
    encrypt_with_passphrase, passphrase, render,
};
use crate::token::id::SheetId;
use crate::token::secret::Secret;

/// How sheets are protected that have no recipient.
#[derive(Debug, Clone, Default)]
pub enum Protection {
    /// Plain, said on standard error; refused in CI unless the project allows it.
    #[default]
    None,
    /// A passphrase of its own for every sheet, shown once.
    Generated,
    /// This passphrase for every sheet of the run.
    Given(Secret),
}

/// Makes sheets for one project.
#[derive(Debug)]
pub struct SheetMaker {
    dir: PathBuf,
    templates: Option<PathBuf>,
    default_language: String,
    brand_name: Option<String>,
    contact: Option<String>,
    accent: Colour,
    logo: Option<Logo>,
    fonts: Fonts,
    texts: BTreeMap<String, Texts>,
    protection: Protection,
    plain_refused: bool,
}

/// A sheet in memory: complete, and nothing of it on the disk yet.
pub struct Drawn {
    bytes: Zeroizing<Vec<u8>>,
    extension: Extension,
    /// How it is protected.
    pub encryption: SheetEncryption,
    /// A passphrase made for it.
    pub passphrase: Option<Secret>,
}

impl std::fmt::Debug for Drawn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Drawn({} bytes)", self.bytes.len())
    }
}

impl SheetMaker {
    /// Reads fonts, logo and colours once. `in_ci` says that this runs in a CI job.
    ///
    /// # Errors
    /// What is wrong with the project's sheet settings.
    pub fn new(project: &Project, protection: Protection, in_ci: bool) -> Result<Self, Error> {
        let settings = &project.settings.sheets;
        let accent = settings
            .accent
            .as_deref()
            .map_or(Ok(Brand::DEFAULT_ACCENT), Colour::accent)?;
        let logo = settings
            .logo
            .as_ref()
            .map(|p| Logo::load(&project.resolve(p)))
            .transpose()?;
        Ok(Self {
            dir: project.resolve(&settings.dir),
            templates: settings.templates.as_ref().map(|p| project.resolve(p)),
            default_language: settings.language.clone(),
            brand_name: settings.organisation.clone(),
            contact: settings.contact.clone(),
            accent,
            logo,
            fonts: Fonts::load(
                settings
                    .font
                    .as_ref()
                    .map(|p| project.resolve(p))
                    .as_deref(),
            )?,
            texts: BTreeMap::new(),
            protection,
            plain_refused: in_ci && !settings.plaintext,
        })
    }

    /// Draws a sheet in memory, so that whatever is wrong with it is known before anything is issued.
    ///
    /// # Errors
    /// A name that the fonts do not cover, texts that are wrong, a recipient that is none, a plain sheet in CI.
    pub fn draw(
        &mut self,
        admin: &Admin,
        content: &SheetContent,
        entropy: &dyn Entropy,
    ) -> Result<Drawn, Error> {
        let language = admin
            .language
            .clone()
            .unwrap_or_else(|| self.default_language.clone());
        if !self.texts.contains_key(&language) {
            let texts = Texts::load(
                self.templates.as_deref(),
                admin.language.as_deref(),
                &self.default_language,
            )?;
            self.texts.insert(language.clone(), texts);
        }
        let texts = self
            .texts
            .get(&language)
            .ok_or_else(|| Error::new(crate::error::Kind::Internal, "sheet texts went missing"))?;
        let brand = Brand {
            organisation: self
                .brand_name
                .clone()
                .unwrap_or_else(|| content.issuer.clone()),
            contact: self.contact.clone(),
            accent: self.accent,
            logo: self.logo.clone(),
        };
        let pdf = render(content, &brand, texts, &self.fonts)?;
        if let Some(recipient) = &admin.recipient {
            let recipient: Recipient = recipient.parse().map_err(Error::from)?;
            let bytes = Zeroizing::new(encrypt_to_recipient(&pdf, &recipient)?);
            return Ok(Drawn {
                bytes,
                extension: Extension::PdfAge,
                encryption: SheetEncryption::Recipient,
                passphrase: None,
            });
        }
        let (phrase, shown) = match &self.protection {
            Protection::None if self.plain_refused => {
                return Err(Error::failed(format!("the sheet of {} would be a plain PDF in a CI job", admin.name))
                    .hinted("give the admin a `recipient`, use --passphrase, or set `sheets.plaintext: true` in fleetotp.yml"));
            }
            Protection::None => {
                return Ok(Drawn {
                    bytes: pdf,
                    extension: Extension::Pdf,
                    encryption: SheetEncryption::Plain,
                    passphrase: None,
                });
            }
            Protection::Generated => {
                let phrase =
                    passphrase::generate(entropy).map_err(|e| Error::failed(e.to_string()))?;
                (phrase.clone(), Some(phrase))
            }
            Protection::Given(phrase) => (phrase.clone(), None),
        };
        let bytes = Zeroizing::new(encrypt_with_passphrase(&pdf, &phrase, entropy)?);
        Ok(Drawn {
            bytes,
            extension: Extension::Pdf,
            encryption: SheetEncryption::Passphrase,
            passphrase: shown,
        })
    }

    /// Writes a drawn sheet: private temporary file, its hash into the ledger, rename, `issued`.
    ///
    /// # Errors
    /// When the file or the ledger cannot be written.
    pub async fn publish(
        &self,
        ledger: &Ledger,
        sheet: &SheetId,
        drawn: &Drawn,
    ) -> Result<PathBuf, Error> {
        let staged = store::stage(&self.dir, sheet.as_str(), drawn.extension, &drawn.bytes)?;
        ledger
            .sheet_rendered(
                sheet,
                &staged.sha256,
                &staged.final_path.display().to_string(),
            )
            .await?;
        store::publish(&staged)?;
        ledger.sheet_issued(sheet).await?;
        Ok(staged.final_path)
    }

    /// Finishes or gives up what an earlier run left in the state `rendering`, and removes stale temporary files.
    ///
    /// A sheet whose file stands with the recorded hash is issued. Any other can no longer be finished, since a sheet
    /// is rendered once: it stays in that state, and the next issue replaces its generation.
    ///
    /// # Errors
    /// When the ledger cannot be written.
    pub async fn settle(&self, ledger: &Ledger, left: &[SheetRecord]) -> Result<(), Error> {
        for sheet in left {
            if let (Some(path), Some(sha256)) = (&sheet.path, &sheet.sha256)
                && store::verify(std::path::Path::new(path), sha256)
            {
                ledger.sheet_issued(&sheet.id).await?;
            }
        }
        if self.dir.is_dir() {
            store::sweep_temps(&self.dir)?;
        }
        Ok(())
    }
}

/// Removes the files of sheets whose time is over: a run that was killed between the ledger and the file has left
/// them. Says what could not be removed.
pub fn sweep_ended(sheets: &[SheetRecord]) -> Vec<String> {
    sheets
        .iter()
        .filter(|s| !s.state.is_open())
        .filter(|s| match (&s.path, &s.sha256) {
            (Some(path), Some(sha256)) => {
                let path = std::path::Path::new(path);
                store::verify(path, sha256) || store::removal_was_cut_short(path)
            }
            _ => false,
        })
        .filter_map(destroy)
        .collect()
}

/// Overwrites and removes the file of a sheet whose time is over; says what could not be removed.
pub fn destroy(sheet: &SheetRecord) -> Option<String> {
    let path = sheet.path.as_deref()?;
    match store::remove(std::path::Path::new(path)) {
        Ok(_) => None,
        Err(error) => Some(format!(
            "sheet {} could not be removed: {error}; delete {path} by hand",
            sheet.id
        )),
    }
}
