//! The second page: codes for an emergency.

use super::font::Style;
use super::layout::{BLACK, GREY, INK, LEFT, Sheet, WHITE, WIDTH};
use super::words::{Codes, Words};
use super::{Brand, SheetContent};
use crate::token::secret::Secret;

impl Sheet<'_> {
    /// Draws the whole page.
    pub(super) fn draw_codes(
        &mut self,
        content: &SheetContent,
        brand: &Brand,
        words: &Words,
        texts: &Codes,
    ) {
        self.header(brand, words);
        self.title(&texts.title, &texts.subtitle);
        if let Some((heading, notes)) = &texts.recovery {
            self.notice(self.accent, heading, notes);
            self.list(&content.recovery, 2);
        }
        if let Some((heading, notes)) = &texts.scratch {
            self.notice(super::layout::ALARM, heading, notes);
            self.list(&content.scratch, 3);
        }
        self.footer(words, 1);
    }

    /// Sets codes in columns, numbered from top to bottom, each with a box to strike it out.
    fn list(&mut self, codes: &[Secret], columns: usize) {
        let rows = codes.len().div_ceil(columns).max(1);
        let (size, leading) = (13.0 * self.scale, 24.0 * self.scale);
        let pad = 9.0 * self.scale;
        let side = 10.0 * self.scale;
        let top = self.y + 8.0 * self.scale;
        let height = leading * rows as f32 + 2.0 * pad;
        self.canvas
            .rectangle(LEFT, top, WIDTH, height, self.accent.tint());
        let column_width = (WIDTH - 2.0 * pad) / columns as f32;
        for (index, code) in codes.iter().enumerate() {
            let x = LEFT + pad + column_width * (index / rows) as f32;
            let baseline = top + pad + leading * (index % rows) as f32 + leading * 0.68;
            let frame = 0.7;
            self.canvas
                .rectangle(x, baseline - side * 0.9, side, side, INK);
            self.canvas.rectangle(
                x + frame,
                baseline - side * 0.9 + frame,
                side - 2.0 * frame,
                side - 2.0 * frame,
                WHITE,
            );
            let number = format!("{}.", index + 1);
            let number_left = x + side + 6.0 * self.scale;
            self.canvas.text(
                number_left,
                baseline,
                Style::Text,
                8.5 * self.scale,
                GREY,
                &number,
            );
            self.canvas.text(
                number_left + 18.0 * self.scale,
                baseline,
                Style::Mono,
                size,
                BLACK,
                code.expose(),
            );
        }
        self.y = top + height;
    }
}
