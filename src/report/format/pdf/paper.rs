//! Pages that are filled from top to bottom, and begin anew where one is full.

use std::collections::{BTreeMap, BTreeSet};

use printpdf::PdfPage;
use unicode_normalization::UnicodeNormalization as _;

use crate::names::printable;
use crate::report::model::Tone;
use crate::sheet::Colour;
use crate::sheet::canvas::{Canvas, MM, Paper};
use crate::sheet::font::{Fonts, Slot, Style};
use crate::sheet::rich::{Piece, quote, wrap};
use crate::sheet::script::needs_shaping;

pub(super) const INK: Colour = Colour::new(0x11, 0x18, 0x27);
pub(super) const GREY: Colour = Colour::new(0x4b, 0x55, 0x63);
pub(super) const LINE: Colour = Colour::new(0xc9, 0xd0, 0xd9);
pub(super) const BAND: Colour = Colour::new(0xee, 0xf1, 0xf4);
pub(super) const BAR: Colour = Colour::new(0x1d, 0x4e, 0xd8);

pub(super) const LEFT: f32 = 14.0 * MM;
const TOP: f32 = 14.0 * MM;
/// From the bottom of the paper; below it stands the number of the page.
const BOTTOM: f32 = 17.0 * MM;
/// Height of a line in parts of the size of its type.
pub(super) const LEADING: f32 = 1.32;

/// The colour of a judgement; its sign and its word say the same.
pub(super) const fn tint(tone: Tone) -> Colour {
    match tone {
        Tone::Good => Colour::new(0x16, 0x65, 0x34),
        Tone::Warn => Colour::new(0x92, 0x40, 0x0e),
        Tone::Bad => Colour::new(0xb4, 0x23, 0x18),
        Tone::Unknown => Colour::new(0x6b, 0x21, 0xa8),
        Tone::Plain => INK,
    }
}

/// The room between the margins.
pub(super) fn text_width(paper: Paper) -> f32 {
    paper.width * MM - 2.0 * LEFT
}

/// Brings a text into the form in which it can be set; says whether characters had to be replaced by their numbers.
pub(super) fn settable(fonts: &Fonts, text: &str) -> (String, bool) {
    let mut replaced = false;
    let mut out = String::with_capacity(text.len());
    for c in printable(text, usize::MAX).nfc() {
        if needs_shaping(c) || fonts.place(Style::Text, c).is_none() {
            replaced = true;
            out.extend(c.escape_unicode());
        } else {
            out.push(c);
        }
    }
    (out, replaced)
}

/// Pages being drawn.
pub(super) struct Pages<'a> {
    pub(super) fonts: &'a Fonts,
    paper: Paper,
    full: Vec<Canvas<'a>>,
    pub(super) page: Canvas<'a>,
    /// Where the next thing stands, from the top.
    pub(super) y: f32,
    /// Whether any character was written as its number.
    pub(super) replaced: bool,
}

impl<'a> Pages<'a> {
    pub(super) const fn new(fonts: &'a Fonts, paper: Paper) -> Self {
        Self {
            fonts,
            paper,
            full: Vec::new(),
            page: Canvas::new(fonts, paper),
            y: TOP,
            replaced: false,
        }
    }

    pub(super) fn text_width(&self) -> f32 {
        text_width(self.paper)
    }

    /// What is left of the page.
    pub(super) fn room(&self) -> f32 {
        self.paper.height * MM - BOTTOM - self.y
    }

    pub(super) fn turn(&mut self) {
        let next = Canvas::new(self.fonts, self.paper);
        self.full.push(std::mem::replace(&mut self.page, next));
        self.y = TOP;
    }

    /// Begins a page where this one has not so much room left.
    pub(super) fn need(&mut self, height: f32) {
        if self.room() < height && self.y > TOP {
            self.turn();
        }
    }

    pub(super) fn gap(&mut self, height: f32) {
        self.y += height;
    }

    pub(super) fn width(&self, style: Style, size: f32, text: &str) -> f32 {
        let (text, _) = settable(self.fonts, text);
        self.fonts.width(style, &text, size)
    }

    fn lines(&mut self, style: Style, size: f32, width: f32, text: &str) -> Vec<Vec<Piece>> {
        let (text, replaced) = settable(self.fonts, text);
        self.replaced |= replaced;
        wrap(self.fonts, &quote(&text), style, size, width)
    }

    pub(super) fn paragraph(&mut self, style: Style, size: f32, colour: Colour, text: &str) {
        let lines = self.lines(style, size, self.text_width(), text);
        self.put(LEFT, size, colour, &lines);
    }

    fn put(&mut self, x: f32, size: f32, colour: Colour, lines: &[Vec<Piece>]) {
        for line in lines {
            self.need(size * LEADING);
            self.page.line(x, self.y + size, size, colour, line);
            self.y += size * LEADING;
        }
    }

    /// A heading, never alone at the foot of a page.
    pub(super) fn heading(&mut self, title: &str) {
        self.gap(16.0);
        self.need(80.0);
        let width = self.text_width();
        self.page.rectangle(LEFT, self.y, width, 0.5, LINE);
        self.gap(5.0);
        self.paragraph(Style::Bold, 11.5, INK, title);
        self.gap(1.0);
    }

    /// A name, and its value in a column of its own.
    pub(super) fn pair(&mut self, name: &str, column: f32, size: f32, value: &str, colour: Colour) {
        let names = self.lines(Style::Text, size, column - 8.0, name);
        let style = if colour == INK {
            Style::Text
        } else {
            Style::Bold
        };
        let values = self.lines(style, size, self.text_width() - column, value);
        self.need(size * LEADING * names.len().max(values.len()).min(20) as f32);
        let top = self.y;
        let before = self.full.len();
        self.put(LEFT, size, GREY, &names);
        let below = self.y;
        if self.full.len() == before {
            self.y = top;
        }
        self.put(LEFT + column, size, colour, &values);
        self.y = if self.full.len() == before {
            self.y.max(below)
        } else {
            self.y
        };
    }

    /// One range of a histogram.
    pub(super) fn bar(
        &mut self,
        label: &str,
        column: f32,
        length: f32,
        colour: Colour,
        count: &str,
    ) {
        let size = 8.5;
        let lines = self.lines(Style::Text, size, column - 6.0, label);
        let height = size * LEADING * lines.len() as f32 + 3.0;
        self.need(height);
        let top = self.y;
        let (x, middle) = (LEFT + column, top + 2.0);
        if length > 0.0 {
            self.page.rectangle(x, middle, length, 8.0, colour);
        }
        let (count, _) = settable(self.fonts, count);
        self.page
            .text(x + length + 5.0, top + size, Style::Text, size, INK, &count);
        self.put(LEFT, size, INK, &lines);
        self.y = top + height;
    }

    /// Numbers the pages, and hands them over with the characters that they need.
    pub(super) fn finish(mut self, title: &str) -> (Vec<PdfPage>, BTreeMap<Slot, BTreeSet<char>>) {
        let (title, _) = settable(self.fonts, title);
        let (width, fonts) = (self.text_width(), self.fonts);
        let foot = self.paper.height * MM - 9.0 * MM;
        self.full.push(self.page);
        let count = self.full.len();
        let mut characters: BTreeMap<Slot, BTreeSet<char>> = BTreeMap::new();
        let mut pages = Vec::with_capacity(count);
        for (mut page, number) in self.full.into_iter().zip(1..) {
            let place = format!("page {number} of {count}");
            let right = LEFT + width - fonts.width(Style::Text, &place, 7.5);
            page.text(right, foot, Style::Text, 7.5, GREY, &place);
            let room = width - 80.0;
            if let Some(line) = wrap(fonts, &quote(&title), Style::Text, 7.5, room).first() {
                page.line(LEFT, foot, 7.5, GREY, line);
            }
            let (drawn, used) = page.finish();
            pages.push(drawn);
            for (slot, used) in used {
                characters.entry(slot).or_default().extend(used);
            }
        }
        (pages, characters)
    }
}
