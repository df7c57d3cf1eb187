//! Where everything stands on the page.

use std::collections::{BTreeMap, BTreeSet};

use printpdf::PdfPage;
use zeroize::Zeroizing;

use super::canvas::{Canvas, MM, PAGE_HEIGHT, PAGE_WIDTH, UPRIGHT};
use super::colour::Colour;
use super::error::SheetError;
use super::font::{Fonts, Slot, Style};
use super::qr::{Modules, QUIET_MODULES};
use super::rich::{Piece, wrap};
use super::words::{Fact, Words};
use super::{Brand, SheetContent};

pub(super) const LEFT: f32 = 18.0 * MM;
pub(super) const WIDTH: f32 = PAGE_WIDTH - 2.0 * LEFT;
const TOP: f32 = 12.0 * MM;
const BOTTOM: f32 = PAGE_HEIGHT - 17.0 * MM;

/// Side of the code with its quiet zone; larger codes get more room than this.
const CODE_SIDE: f32 = 58.0 * MM;
/// Modules larger than this look coarse and are no easier to scan.
const LARGEST_MODULE: f32 = 1.0 * MM;
/// Half a millimetre: what a phone reads from a worn print.
const SMALLEST_MODULE: f32 = 0.5 * MM;
/// Beyond this the code would leave no room for the table beside it.
const LARGEST_CODE: f32 = 80.0 * MM;

pub(super) const INK: Colour = Colour::new(0x11, 0x18, 0x27);
pub(super) const GREY: Colour = Colour::new(0x4b, 0x55, 0x63);
pub(super) const HAIRLINE: Colour = Colour::new(0xd1, 0xd5, 0xdb);
pub(super) const BLACK: Colour = Colour::new(0, 0, 0);
pub(super) const WHITE: Colour = Colour::new(255, 255, 255);
pub(super) const ALARM: Colour = Colour::new(0xb4, 0x23, 0x18);

/// Sizes of type are tried from large to small until the page holds everything.
const SCALES: [f32; 8] = [1.0, 0.96, 0.92, 0.88, 0.84, 0.8, 0.75, 0.7];

/// Pages, and the characters that they need of each font.
type Pages = (Vec<PdfPage>, BTreeMap<Slot, BTreeSet<char>>);

/// Draws the sheet, each page in the largest type that fits on it.
pub(super) fn compose(
    content: &SheetContent,
    brand: &Brand,
    words: &Words,
    fonts: &Fonts,
) -> Result<Pages, SheetError> {
    let code = Modules::encode(&content.uri, most_modules())?;
    let (first, mut characters) = fit(brand, fonts, |sheet| {
        sheet.draw(content, brand, words, &code);
    })?;
    let mut pages = vec![first];
    if let Some(texts) = &words.codes {
        let (second, more) = fit(brand, fonts, |sheet| {
            sheet.draw_codes(content, brand, words, texts);
        })?;
        pages.push(second);
        for (slot, used) in more {
            characters.entry(slot).or_default().extend(used);
        }
    }
    Ok((pages, characters))
}

/// Draws one page in the largest type that fits.
fn fit<'a>(
    brand: &Brand,
    fonts: &'a Fonts,
    draw: impl Fn(&mut Sheet<'a>),
) -> Result<(PdfPage, BTreeMap<Slot, BTreeSet<char>>), SheetError> {
    for scale in SCALES {
        let mut sheet = Sheet {
            canvas: Canvas::new(fonts, UPRIGHT),
            accent: brand.accent,
            scale,
            y: TOP,
        };
        draw(&mut sheet);
        if sheet.y <= BOTTOM {
            return Ok(sheet.canvas.finish());
        }
    }
    Err(SheetError::DoesNotFit)
}

pub(super) struct Sheet<'a> {
    pub(super) canvas: Canvas<'a>,
    pub(super) accent: Colour,
    pub(super) scale: f32,
    /// How far down the page is filled.
    pub(super) y: f32,
}

/// Lines of one paragraph with their measures.
pub(super) struct Paragraph {
    lines: Vec<Vec<Piece>>,
    pub(super) size: f32,
    leading: f32,
}

impl Paragraph {
    pub(super) fn height(&self) -> f32 {
        self.lines.len() as f32 * self.leading
    }
}

impl Sheet<'_> {
    fn draw(&mut self, content: &SheetContent, brand: &Brand, words: &Words, code: &Modules) {
        self.header(brand, words);
        self.title(&words.title, &words.subtitle);
        if let Some((heading, note)) = &words.rotation {
            self.notice(self.accent, heading, std::slice::from_ref(note));
        }
        self.code_and_facts(words, code);
        self.key(content, words);
        self.steps(words);
        self.notice(ALARM, &words.warning_heading, &words.warning);
        self.closing(words);
        self.footer(words, 0);
    }

    /// Breaks a text into lines; `size` is at full scale.
    pub(super) fn paragraph(&self, text: &str, base: Style, size: f32, width: f32) -> Paragraph {
        let size = size * self.scale;
        Paragraph {
            lines: wrap(self.canvas.fonts(), text, base, size, width),
            size,
            leading: size * 1.34,
        }
    }

    /// Draws a paragraph whose top is at `y`; returns its bottom.
    pub(super) fn put(&mut self, x: f32, y: f32, colour: Colour, paragraph: &Paragraph) -> f32 {
        let mut baseline = y + paragraph.size * 0.98;
        for line in &paragraph.lines {
            self.canvas.line(x, baseline, paragraph.size, colour, line);
            baseline += paragraph.leading;
        }
        y + paragraph.height()
    }

    pub(super) fn header(&mut self, brand: &Brand, words: &Words) {
        let top = self.y;
        let mut name_width = WIDTH;
        let mut bottom = top;
        if let Some(logo) = &brand.logo {
            let (width, height) = logo.size_mm();
            let (width, height) = (width * MM, height * MM);
            self.canvas.logo(LEFT + WIDTH - width, top, width, height);
            name_width -= width + 6.0 * MM;
            bottom = top + height;
        }
        let name = self.paragraph(
            &super::rich::quote(&words.organisation),
            Style::Bold,
            14.0,
            name_width,
        );
        // A single line stands on the rule, level with the foot of the logo.
        let y = (bottom - name.height()).max(top);
        bottom = bottom.max(self.put(LEFT, y, self.accent, &name));
        self.canvas
            .rectangle(LEFT, bottom + 5.0, WIDTH, 1.6, self.accent);
        self.y = bottom + 5.0 + 1.6;
    }

    pub(super) fn title(&mut self, title: &str, subtitle: &str) {
        let title = self.paragraph(title, Style::Bold, 21.0, WIDTH);
        let subtitle = self.paragraph(subtitle, Style::Text, 10.5, WIDTH);
        self.y = self.put(LEFT, self.y + 10.0 * self.scale, INK, &title);
        self.y = self.put(LEFT, self.y, GREY, &subtitle);
    }

    /// Draws a box with a bar on its left, a heading, and one text or a list.
    pub(super) fn notice(&mut self, colour: Colour, heading: &str, texts: &[String]) {
        let (pad, bar) = (8.0 * self.scale, 3.5);
        let x = LEFT + bar + pad;
        let bullet = if texts.len() > 1 {
            10.0 * self.scale
        } else {
            0.0
        };
        let width = WIDTH - bar - 2.0 * pad;
        let heading = self.paragraph(heading, Style::Bold, 10.5, width);
        let texts: Vec<Paragraph> = texts
            .iter()
            .map(|t| self.paragraph(t, Style::Text, 9.0, width - bullet))
            .collect();
        let gap = 2.5 * self.scale;
        let inner: f32 = heading.height() + texts.iter().map(|t| t.height() + gap).sum::<f32>();
        let top = self.y + 10.0 * self.scale;
        let height = inner + 2.0 * pad;
        self.canvas
            .rectangle(LEFT, top, WIDTH, height, colour.tint());
        self.canvas.rectangle(LEFT, top, bar, height, colour);
        let mut y = self.put(x, top + pad, colour, &heading);
        for text in &texts {
            y += gap;
            if bullet > 0.0 {
                self.canvas
                    .text(x, y + text.size * 0.98, Style::Bold, text.size, colour, "•");
            }
            y = self.put(x + bullet, y, INK, text);
        }
        self.y = top + height;
    }

    fn code_and_facts(&mut self, words: &Words, code: &Modules) {
        let top = self.y + 12.0 * self.scale;
        let (module, side) = code_size(code.width);
        self.frame(LEFT, top, side);
        let quiet = QUIET_MODULES as f32 * module;
        for block in code.blocks() {
            self.canvas.rectangle(
                LEFT + quiet + block.column as f32 * module,
                top + quiet + block.row as f32 * module,
                block.width as f32 * module,
                block.height as f32 * module,
                BLACK,
            );
        }
        let caption = self.paragraph(&words.qr_caption, Style::Bold, 9.0, side);
        let mut y = top + side + 3.0 * self.scale;
        for line in &caption.lines {
            let width: f32 = line
                .iter()
                .map(|p| self.canvas.fonts().width(p.style, &p.text, caption.size))
                .sum();
            let x = LEFT + (side - width) / 2.0;
            self.canvas
                .line(x, y + caption.size * 0.98, caption.size, INK, line);
            y += caption.leading;
        }
        let facts_left = LEFT + side + 8.0 * MM;
        let bottom = self.facts(facts_left, top, LEFT + WIDTH - facts_left, &words.facts);
        self.y = y.max(bottom);
    }

    /// Frames the quiet zone from outside, so that the zone itself stays white.
    fn frame(&mut self, x: f32, y: f32, side: f32) {
        let line = 0.6;
        self.canvas
            .rectangle(x - line, y - line, side + 2.0 * line, line, HAIRLINE);
        self.canvas
            .rectangle(x - line, y + side, side + 2.0 * line, line, HAIRLINE);
        self.canvas.rectangle(x - line, y, line, side, HAIRLINE);
        self.canvas.rectangle(x + side, y, line, side, HAIRLINE);
    }

    fn facts(&mut self, x: f32, top: f32, width: f32, facts: &[Fact]) -> f32 {
        let label_width = (0.30 * width).max(24.0 * MM);
        let value_left = x + label_width + 2.0 * MM;
        let value_width = width - label_width - 2.0 * MM;
        let pad = 2.6 * self.scale;
        let mut y = top;
        for (number, fact) in facts.iter().enumerate() {
            if number > 0 {
                self.canvas.rectangle(x, y, width, 0.5, HAIRLINE);
            }
            y += pad;
            let label = self.paragraph(&fact.label, Style::Text, 8.5, label_width);
            let value = self.paragraph(&fact.value, Style::Text, 9.8, value_width);
            // Both baselines agree although the sizes differ.
            let label_bottom = self.put(x, y + (value.size - label.size) * 0.98, GREY, &label);
            let mut bottom = self.put(value_left, y, INK, &value);
            if let Some(detail) = &fact.detail {
                let detail = self.paragraph(detail, Style::Mono, 7.0, value_width);
                bottom = self.put(value_left, bottom, GREY, &detail);
            }
            y = bottom.max(label_bottom) + pad;
        }
        y
    }

    fn key(&mut self, content: &SheetContent, words: &Words) {
        let rows = key_rows(content.key.expose());
        let pad = 9.0 * self.scale;
        let width = WIDTH - 2.0 * pad;
        let heading = self.paragraph(&words.key_heading, Style::Bold, 10.5, width);
        let note = if rows.len() > 1 {
            format!("{} {}", words.key_note_rows, words.key_note)
        } else {
            words.key_note.clone()
        };
        let note = self.paragraph(&note, Style::Text, 8.5, width);
        let (size, leading) = (18.0 * self.scale, 25.0 * self.scale);
        let top = self.y + 10.0 * self.scale;
        let height = heading.height() + leading * rows.len() as f32 + note.height() + 2.0 * pad;
        self.canvas
            .rectangle(LEFT, top, WIDTH, height, self.accent.tint());
        let x = LEFT + pad;
        let mut y = self.put(x, top + pad, self.accent, &heading);
        for row in &rows {
            self.canvas
                .text(x, y + leading * 0.74, Style::Mono, size, BLACK, row);
            y += leading;
        }
        self.put(x, y, GREY, &note);
        self.y = top + height;
    }

    fn steps(&mut self, words: &Words) {
        let heading = self.paragraph(&words.steps_heading, Style::Bold, 12.5, WIDTH);
        self.y = self.put(LEFT, self.y + 11.0 * self.scale, self.accent, &heading);
        let side = 13.5 * self.scale;
        let indent = side + 8.0 * self.scale;
        for (number, step) in words.steps.iter().enumerate() {
            let text = self.paragraph(step, Style::Text, 9.5, WIDTH - indent);
            let top = self.y + 4.0 * self.scale;
            let digit = (number + 1).to_string();
            let digit_width = self.canvas.fonts().width(Style::Bold, &digit, text.size);
            self.canvas.rectangle(LEFT, top, side, side, self.accent);
            let x = LEFT + (side - digit_width) / 2.0;
            self.canvas
                .text(x, top + side * 0.76, Style::Bold, text.size, WHITE, &digit);
            let bottom = self.put(LEFT + indent, top, INK, &text);
            self.y = bottom.max(top + side);
        }
    }

    /// Draws what single use means beside whom to ask.
    fn closing(&mut self, words: &Words) {
        let gap = 8.0 * MM;
        let left_width = (WIDTH - gap) * 0.64;
        let right_width = WIDTH - gap - left_width;
        let right = LEFT + left_width + gap;
        let top = self.y + 10.0 * self.scale;
        let heading = self.paragraph(&words.single_use_heading, Style::Bold, 10.5, left_width);
        let text = self.paragraph(&words.single_use, Style::Text, 9.0, left_width);
        let y = self.put(LEFT, top, self.accent, &heading);
        let left_bottom = self.put(LEFT, y + 2.0 * self.scale, INK, &text);
        let heading = self.paragraph(&words.contact_heading, Style::Bold, 10.5, right_width);
        let text = self.paragraph(&words.contact, Style::Text, 9.0, right_width);
        let y = self.put(right, top, self.accent, &heading);
        let right_bottom = self.put(right, y + 2.0 * self.scale, INK, &text);
        let bottom = left_bottom.max(right_bottom);
        self.canvas
            .rectangle(right - gap / 2.0, top, 0.6, bottom - top, HAIRLINE);
        self.y = bottom;
    }

    pub(super) fn footer(&mut self, words: &Words, page: usize) {
        let page = words.pages.get(page).map_or("", String::as_str);
        let y = PAGE_HEIGHT - 10.0 * MM;
        self.canvas.rectangle(LEFT, y - 10.0, WIDTH, 0.5, HAIRLINE);
        let page_width = self.canvas.fonts().width(Style::Text, page, 7.5);
        self.canvas
            .text(LEFT + WIDTH - page_width, y, Style::Text, 7.5, GREY, page);
        let size = (1..=8)
            .map(|n| 8.0 - 0.5 * n as f32)
            .find(|size| {
                self.canvas.fonts().width(Style::Text, &words.footer, *size)
                    < WIDTH - page_width - 10.0
            })
            .unwrap_or(3.5);
        let footer = super::rich::unquoted(&words.footer);
        self.canvas.text(LEFT, y, Style::Text, size, GREY, &footer);
    }
}

/// Returns the sides of a module and of the whole code with its quiet zone, in points, for a code of so many modules.
fn code_size(width: usize) -> (f32, f32) {
    let modules = (width + 2 * QUIET_MODULES) as f32;
    let module = (CODE_SIDE / modules).clamp(SMALLEST_MODULE, LARGEST_MODULE);
    (module, module * modules)
}

/// Returns how many modules wide a code may be.
fn most_modules() -> usize {
    // Rounded down, so that modules never get smaller than allowed.
    (LARGEST_CODE / SMALLEST_MODULE) as usize - 2 * QUIET_MODULES
}

/// Sets a key in groups of four, eight groups a row; a row never ends inside a group.
fn key_rows(key: &str) -> Vec<Zeroizing<String>> {
    let mut rows: Vec<Zeroizing<String>> = Vec::new();
    for (number, c) in key.chars().enumerate() {
        if number % 32 == 0 {
            // The room for the whole row at once, so that no copy stays behind.
            rows.push(Zeroizing::new(String::with_capacity(40)));
        }
        if let Some(row) = rows.last_mut() {
            if number % 4 == 0 && !row.is_empty() {
                row.push(' ');
            }
            row.push(c);
        }
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_are_at_least_half_a_millimetre_and_the_code_leaves_room_beside_it() {
        for width in (21..=most_modules()).step_by(4) {
            let (module, side) = code_size(width);
            assert!(module >= 0.5 * MM, "{width}");
            assert!(side <= LARGEST_CODE + 0.01, "{width}");
        }
        assert_eq!(QUIET_MODULES, 4);
    }

    #[test]
    fn keys_are_set_in_groups_of_four() {
        let rows = |key: &str| {
            key_rows(key)
                .iter()
                .map(|r| r.to_string())
                .collect::<Vec<_>>()
        };
        assert_eq!(rows("ABCDEFGHIJ"), ["ABCD EFGH IJ"]);
        assert_eq!(rows(&"ABCD".repeat(8)), [["ABCD"; 8].join(" ")]);
        assert_eq!(
            rows(&"ABCD".repeat(9)),
            [["ABCD"; 8].join(" "), "ABCD".to_owned()]
        );
    }
}
