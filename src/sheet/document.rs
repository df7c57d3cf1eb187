//! From a drawn page to the bytes of a PDF.

use std::collections::{BTreeMap, BTreeSet};

use lopdf::{Dictionary, Object, StringFormat};
use printpdf::{
    DictItem, ExternalStream, ExternalXObject, FontId, Mm, Op, PdfDocument, PdfFont, PdfFontHandle,
    PdfPage, PdfSaveOptions, TextItem, XObject, XObjectId,
};
use sha2::{Digest as _, Sha256};
use zeroize::{Zeroize as _, Zeroizing};

use super::canvas::wipe;
use super::error::SheetError;
use super::font::{Fonts, Slot};
use super::logo::{LOGO_RESOURCE, Logo};
use crate::clock::Timestamp;

/// What readers show about a document; all of it stays readable in an encrypted file's surroundings, so no secret.
pub(crate) struct Metadata<'a> {
    pub(crate) title: &'a str,
    pub(crate) language: &'a str,
    /// What the document is, in words; its identifier in the file is made of it.
    pub(crate) id: &'a str,
    pub(crate) issued: Timestamp,
}

/// Makes the file. The same page gives the same bytes, whenever and wherever it is made.
pub(crate) fn write(
    mut pages: Vec<PdfPage>,
    characters: &BTreeMap<Slot, BTreeSet<char>>,
    fonts: &Fonts,
    logo: Option<&Logo>,
    metadata: &Metadata<'_>,
) -> Result<Zeroizing<Vec<u8>>, SheetError> {
    let mut source = PdfDocument::new("");
    let mut subsets = Vec::new();
    for (slot, characters) in characters {
        let subset = fonts.subset(*slot, characters)?;
        let font = PdfFont::new(subset.parsed.clone());
        source
            .resources
            .fonts
            .map
            .insert(FontId(slot.resource().to_owned()), font);
        subsets.push(subset);
    }
    if let Some(logo) = logo {
        let image = XObject::External(image(logo));
        source
            .resources
            .xobjects
            .map
            .insert(XObjectId(LOGO_RESOURCE.to_owned()), image);
    }
    let count = u32::try_from(pages.len()).map_err(SheetError::internal)?;
    pages.push(specimen(characters));
    source.with_pages(pages);
    let mut warnings = Vec::new();
    let mut document = source.to_lopdf_document(&PdfSaveOptions::default(), &mut warnings);
    for page in &mut source.pages {
        wipe(&mut page.ops);
    }
    if let Some(warning) = warnings.first() {
        return Err(SheetError::internal(&warning.msg));
    }
    document.delete_pages(&[count + 1]);
    document.prune_objects();
    document.renumber_objects();
    describe(&mut document, metadata).map_err(SheetError::internal)?;
    for object in document.objects.values_mut() {
        if let Object::Stream(stream) = object
            && let Some(subset) = subsets
                .iter()
                .find(|s| s.parsed.original_bytes == stream.content)
        {
            stream.set_content(subset.deflated.clone());
            stream.dict.set("Filter", "FlateDecode");
        }
    }
    document.compress();
    let mut bytes = Zeroizing::new(Vec::with_capacity(64 * 1024));
    let saved = document.save_to(&mut *bytes);
    for object in document.objects.values_mut() {
        if let Object::Stream(stream) = object {
            stream.content.zeroize();
        }
    }
    saved.map_err(SheetError::internal)?;
    Ok(bytes)
}

/// A last page with every character of every font, which is removed before the file is written.
///
/// A font's width table lists the glyphs that the pages use, and encryption leaves it readable. Thanks to this page it
/// lists the whole subset, which does not depend on the key.
fn specimen(characters: &BTreeMap<Slot, BTreeSet<char>>) -> PdfPage {
    let mut ops = vec![Op::StartTextSection];
    for (slot, characters) in characters {
        ops.push(Op::SetFont {
            font: PdfFontHandle::External(FontId(slot.resource().to_owned())),
            size: printpdf::Pt(1.0),
        });
        ops.push(Op::ShowText {
            items: vec![TextItem::Text(characters.iter().collect())],
        });
    }
    ops.push(Op::EndTextSection);
    PdfPage::new(Mm(210.0), Mm(297.0), ops)
}

fn image(logo: &Logo) -> ExternalXObject {
    let name = |text: &str| DictItem::Name(text.as_bytes().to_vec());
    // Neither can exceed a few hundred.
    let (width, height) = (logo.width as i64, logo.height as i64);
    let dict = [
        ("Type", name("XObject")),
        ("Subtype", name("Image")),
        ("Width", DictItem::Int(width)),
        ("Height", DictItem::Int(height)),
        ("BitsPerComponent", DictItem::Int(8)),
        ("ColorSpace", name("DeviceRGB")),
        ("Filter", name("FlateDecode")),
    ];
    ExternalXObject {
        stream: ExternalStream {
            dict: dict.into_iter().map(|(k, v)| (k.to_owned(), v)).collect(),
            content: logo.deflated.clone(),
            compress: false,
        },
        width: None,
        height: None,
        dpi: None,
    }
}

/// Replaces what printpdf says about the document: its own is empty, dated 1970 and partly random.
fn describe(document: &mut lopdf::Document, metadata: &Metadata<'_>) -> lopdf::Result<()> {
    document.version = "1.7".to_owned();
    let date = metadata.issued.strftime("D:%Y%m%d%H%M%SZ").to_string();
    let mut info = Dictionary::new();
    info.set("Title", utf16(metadata.title));
    info.set(
        "Producer",
        utf16(concat!("fleetotp ", env!("CARGO_PKG_VERSION"))),
    );
    info.set("CreationDate", literal(date.as_bytes()));
    let info = document.add_object(info);
    if let Ok(old) = document.trailer.get(b"Info").and_then(Object::as_reference) {
        document.objects.remove(&old);
    }
    document.trailer.set("Info", info);
    let id = Sha256::digest(format!("fleetotp {}", metadata.id));
    let id = Object::String(
        id.iter().take(16).copied().collect(),
        StringFormat::Hexadecimal,
    );
    document.trailer.set("ID", vec![id.clone(), id]);
    let mut preferences = Dictionary::new();
    preferences.set("DisplayDocTitle", true);
    let catalog = document.catalog_mut()?;
    catalog.set("Lang", literal(metadata.language.as_bytes()));
    catalog.set("ViewerPreferences", preferences);
    document.renumber_objects();
    Ok(())
}

fn literal(bytes: &[u8]) -> Object {
    Object::String(bytes.to_vec(), StringFormat::Literal)
}

/// A text string with a byte order mark, which every reader understands (ISO 32000-1, 7.9.2.2).
fn utf16(text: &str) -> Object {
    let bytes = std::iter::once(0xfeff)
        .chain(text.encode_utf16())
        .flat_map(u16::to_be_bytes)
        .collect();
    Object::String(bytes, StringFormat::Hexadecimal)
}
