//! One page to draw on: text, rectangles and the logo, measured in points from the top left.

use std::collections::{BTreeMap, BTreeSet};

use printpdf::{
    Color, FontId, Mm, Op, PaintMode, PdfFontHandle, PdfPage, Point, Pt, Rect, Rgb, TextItem,
    XObjectId, XObjectTransform,
};
use zeroize::Zeroize as _;

use super::colour::Colour;
use super::font::{Fonts, Slot, Style};
use super::logo::LOGO_RESOURCE;
use super::rich::Piece;

/// Points per millimetre.
pub(crate) const MM: f32 = 72.0 / 25.4;
/// Width of A4 in points.
pub(crate) const PAGE_WIDTH: f32 = 210.0 * MM;
/// Height of A4 in points.
pub(crate) const PAGE_HEIGHT: f32 = 297.0 * MM;

/// A sheet of paper in millimetres.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Paper {
    pub(crate) width: f32,
    pub(crate) height: f32,
}

/// A4, upright.
pub(crate) const UPRIGHT: Paper = Paper {
    width: 210.0,
    height: 297.0,
};

/// A page being drawn. Wiped when dropped: its operations hold the key.
pub(crate) struct Canvas<'a> {
    fonts: &'a Fonts,
    paper: Paper,
    ops: Vec<Op>,
    used: BTreeMap<Slot, BTreeSet<char>>,
    fill: Option<Colour>,
}

impl<'a> Canvas<'a> {
    pub(crate) const fn new(fonts: &'a Fonts, paper: Paper) -> Self {
        Self {
            fonts,
            paper,
            ops: Vec::new(),
            used: BTreeMap::new(),
            fill: None,
        }
    }

    pub(crate) const fn fonts(&self) -> &'a Fonts {
        self.fonts
    }

    /// Draws a text with its baseline at `y`; returns its width.
    pub(crate) fn text(
        &mut self,
        x: f32,
        y: f32,
        style: Style,
        size: f32,
        colour: Colour,
        text: &str,
    ) -> f32 {
        self.fill(colour);
        let mut pen = x;
        let mut run = String::new();
        let mut run_slot = None;
        let mut run_start = x;
        for c in text.chars() {
            let Some((slot, advance)) = self.fonts.place(style, c) else {
                continue;
            };
            if run_slot != Some(slot) {
                self.show(run_start, y, run_slot, size, &run);
                run.clear();
                run_start = pen;
                run_slot = Some(slot);
            }
            run.push(c);
            pen += advance * size;
        }
        self.show(run_start, y, run_slot, size, &run);
        run.zeroize();
        pen - x
    }

    /// Draws a line of pieces.
    pub(crate) fn line(&mut self, x: f32, y: f32, size: f32, colour: Colour, pieces: &[Piece]) {
        let mut pen = x;
        for piece in pieces {
            pen += self.text(pen, y, piece.style, size, colour, &piece.text);
        }
    }

    fn show(&mut self, x: f32, y: f32, slot: Option<Slot>, size: f32, text: &str) {
        let Some(slot) = slot.filter(|_| !text.is_empty()) else {
            return;
        };
        self.used.entry(slot).or_default().extend(text.chars());
        self.ops.extend([
            Op::StartTextSection,
            Op::SetFont {
                font: PdfFontHandle::External(FontId(slot.resource().to_owned())),
                size: Pt(size),
            },
            Op::SetTextCursor {
                pos: Point {
                    x: Pt(rounded(x)),
                    y: Pt(rounded(self.paper.height * MM - y)),
                },
            },
            Op::ShowText {
                items: vec![TextItem::Text(text.to_owned())],
            },
            Op::EndTextSection,
        ]);
    }

    /// Fills a rectangle whose top left corner is at `x`, `y`.
    pub(crate) fn rectangle(&mut self, x: f32, y: f32, width: f32, height: f32, colour: Colour) {
        self.fill(colour);
        let mut rectangle = Rect::from_xywh(
            Pt(rounded(x)),
            Pt(rounded(self.paper.height * MM - y - height)),
            Pt(rounded(width)),
            Pt(rounded(height)),
        );
        rectangle.mode = Some(PaintMode::Fill);
        self.ops.push(Op::DrawRectangle { rectangle });
    }

    /// Draws the logo into a rectangle whose top left corner is at `x`, `y`.
    pub(crate) fn logo(&mut self, x: f32, y: f32, width: f32, height: f32) {
        self.ops.push(Op::UseXobject {
            id: XObjectId(LOGO_RESOURCE.to_owned()),
            transform: XObjectTransform {
                translate_x: Some(Pt(x)),
                translate_y: Some(Pt(self.paper.height * MM - y - height)),
                scale_x: Some(width),
                scale_y: Some(height),
                no_auto_scale: true,
                ..XObjectTransform::default()
            },
        });
    }

    fn fill(&mut self, colour: Colour) {
        if self.fill == Some(colour) {
            return;
        }
        self.fill = Some(colour);
        let part = |channel: u8| f32::from(channel) / 255.0;
        self.ops.push(Op::SetFillColor {
            col: Color::Rgb(Rgb {
                r: part(colour.red),
                g: part(colour.green),
                b: part(colour.blue),
                icc_profile: None,
            }),
        });
    }

    /// Takes the page and the characters it needs of each font.
    pub(crate) fn finish(mut self) -> (PdfPage, BTreeMap<Slot, BTreeSet<char>>) {
        let page = PdfPage::new(
            Mm(self.paper.width),
            Mm(self.paper.height),
            std::mem::take(&mut self.ops),
        );
        (page, std::mem::take(&mut self.used))
    }
}

impl Drop for Canvas<'_> {
    fn drop(&mut self) {
        wipe(&mut self.ops);
    }
}

/// Overwrites the texts of operations.
pub(crate) fn wipe(ops: &mut [Op]) {
    for op in ops {
        if let Op::ShowText { items } = op {
            for item in items {
                if let TextItem::Text(text) = item {
                    text.zeroize();
                }
            }
        }
    }
}

/// A thousandth of a point is far below what a printer shows, and keeps the file short.
fn rounded(points: f32) -> f32 {
    (points * 1000.0).round() / 1000.0
}
