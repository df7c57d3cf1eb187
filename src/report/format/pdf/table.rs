//! A table on paper: columns as wide as their texts ask for, long texts broken, the head on every page.

use std::io;

use super::MOST_ROWS;
use super::paper::{BAND, GREY, INK, LEADING, LEFT, LINE, Pages, settable, tint};
use crate::report::format::words::{NO_ROWS, human, tone};
use crate::report::model::{Kind, Table, Tone};
use crate::sheet::Fonts;
use crate::sheet::font::Style;
use crate::sheet::rich::{Piece, quote, wrap};

const SIZE: f32 = 7.5;
/// Between two columns.
const GUTTER: f32 = 9.0;
/// Above and below the words of a row.
const PAD: f32 = 2.2;
/// A column asks for no more than this; longer texts are broken.
const WIDEST: f32 = 190.0;
/// A word asks for no more than this.
const LONGEST_WORD: f32 = 100.0;
/// A row higher than this may be broken by the end of a page.
const BREAKABLE: f32 = 120.0;

struct Column {
    title: String,
    right: bool,
    /// What its texts ask for.
    natural: f32,
    /// What its longest word asks for, so that none is broken where there is room.
    word: f32,
}

struct Value {
    words: String,
    tone: Tone,
}

/// A table, measured.
pub(super) struct Grid {
    columns: Vec<Column>,
    rows: Vec<Vec<Value>>,
    replaced: bool,
}

impl Grid {
    /// Reads as many rows as are printed.
    pub(super) fn read(table: &Table, fonts: &Fonts) -> io::Result<Self> {
        let columns = table.columns.iter().map(|column| Column {
            title: column.title.to_owned(),
            right: column.kind == Kind::Count,
            natural: fonts.width(Style::Bold, column.title, SIZE) + 0.5,
            word: longest_word(fonts, Style::Bold, column.title),
        });
        let mut grid = Self {
            columns: columns.collect(),
            rows: Vec::new(),
            replaced: false,
        };
        table.rows.first(MOST_ROWS, &mut |row| {
            let mut values = Vec::with_capacity(row.len());
            for (column, cell) in grid.columns.iter_mut().zip(row) {
                let (words, replaced) = settable(fonts, &human(cell));
                grid.replaced |= replaced;
                let tone = tone(cell);
                let width = fonts.width(style(tone), &words, SIZE) + 0.5;
                column.natural = column.natural.max(width.min(WIDEST));
                // A sign stands beside its word.
                let word = match tone {
                    Tone::Plain => longest_word(fonts, style(tone), &words),
                    _ => width.min(LONGEST_WORD),
                };
                column.word = column.word.max(word);
                values.push(Value { words, tone });
            }
            grid.rows.push(values);
            Ok(())
        })?;
        Ok(grid)
    }

    /// The width that the table asks for.
    pub(super) fn natural(&self) -> f32 {
        let gutters = GUTTER * self.columns.len().saturating_sub(1) as f32;
        self.columns.iter().map(|c| c.natural).sum::<f32>() + gutters
    }

    /// The width of each column: its longest word, and of what is left in proportion to what it asks for beyond that.
    fn widths(&self, room: f32) -> Vec<f32> {
        let room = room - GUTTER * self.columns.len().saturating_sub(1) as f32;
        let words: f32 = self.columns.iter().map(|c| c.word).sum();
        // Where not even the words have room, they are broken.
        let floor = |c: &Column| if words <= room { c.word } else { 0.0 };
        let least: f32 = self.columns.iter().map(floor).sum();
        let wished: f32 = self.columns.iter().map(|c| c.natural - floor(c)).sum();
        let part = if wished > 0.0 {
            ((room - least) / wished).min(1.0)
        } else {
            0.0
        };
        let width = |c: &Column| floor(c) + (c.natural - floor(c)) * part;
        self.columns.iter().map(width).collect()
    }

    pub(super) fn draw(&self, pages: &mut Pages<'_>) {
        pages.replaced |= self.replaced;
        if self.rows.is_empty() {
            pages.paragraph(Style::Text, 8.5, GREY, NO_ROWS);
            return;
        }
        let widths = self.widths(pages.text_width());
        let total = widths.iter().sum::<f32>() + GUTTER * widths.len().saturating_sub(1) as f32;
        self.head(pages, &widths, total);
        for row in &self.rows {
            let cells: Vec<Vec<Vec<Piece>>> = row
                .iter()
                .zip(&widths)
                .map(|(v, width)| wrap(pages.fonts, &quote(&v.words), style(v.tone), SIZE, *width))
                .collect();
            let lines = cells.iter().map(Vec::len).max().unwrap_or(1);
            let height = lines as f32 * SIZE * LEADING + 2.0 * PAD;
            if pages.room() < height.min(BREAKABLE) {
                pages.turn();
                self.head(pages, &widths, total);
            }
            pages.gap(PAD);
            for number in 0..lines {
                if pages.room() < SIZE * LEADING {
                    pages.turn();
                    self.head(pages, &widths, total);
                    pages.gap(PAD);
                }
                let mut x = LEFT;
                for (((cell, value), column), width) in
                    cells.iter().zip(row).zip(&self.columns).zip(&widths)
                {
                    if let Some(line) = cell.get(number) {
                        put(pages, x, *width, column.right, tint(value.tone), line);
                    }
                    x += width + GUTTER;
                }
                pages.gap(SIZE * LEADING);
            }
            pages.gap(PAD);
            pages.page.rectangle(LEFT, pages.y, total, 0.4, LINE);
        }
    }

    fn head(&self, pages: &mut Pages<'_>, widths: &[f32], total: f32) {
        let titles: Vec<Vec<Vec<Piece>>> = self
            .columns
            .iter()
            .zip(widths)
            .map(|(c, width)| wrap(pages.fonts, &quote(&c.title), Style::Bold, SIZE, *width))
            .collect();
        let lines = titles.iter().map(Vec::len).max().unwrap_or(1);
        let height = lines as f32 * SIZE * LEADING + 2.0 * PAD;
        pages.need(height + 40.0);
        pages
            .page
            .rectangle(LEFT - 3.0, pages.y, total + 6.0, height, BAND);
        pages.gap(PAD);
        for number in 0..lines {
            let mut x = LEFT;
            for ((title, column), width) in titles.iter().zip(&self.columns).zip(widths) {
                if let Some(line) = title.get(number) {
                    put(pages, x, *width, column.right, INK, line);
                }
                x += width + GUTTER;
            }
            pages.gap(SIZE * LEADING);
        }
        pages.gap(PAD);
    }
}

fn put(
    pages: &mut Pages<'_>,
    x: f32,
    width: f32,
    right: bool,
    colour: crate::sheet::Colour,
    line: &[Piece],
) {
    let fonts = pages.fonts;
    let used: f32 = line
        .iter()
        .map(|p| fonts.width(p.style, &p.text, SIZE))
        .sum();
    let x = if right { x + width - used } else { x };
    pages.page.line(x, pages.y + SIZE, SIZE, colour, line);
}

fn longest_word(fonts: &Fonts, style: Style, text: &str) -> f32 {
    let widths = text.split(' ').map(|w| fonts.width(style, w, SIZE) + 0.5);
    widths.fold(0.0, f32::max).min(LONGEST_WORD)
}

fn style(tone: Tone) -> Style {
    match tone {
        Tone::Plain => Style::Text,
        _ => Style::Bold,
    }
}
