//! Text with emphasis, broken into lines.

use super::font::{Fonts, Style};

/// Characters that Unicode will never assign stand for markup characters inside values, which are not markup.
const QUOTED_STAR: char = '\u{fdd0}';
const QUOTED_TICK: char = '\u{fdd1}';

/// Protects a value, such as a name, from being read as markup.
pub(crate) fn quote(value: &str) -> String {
    value.replace('*', "\u{fdd0}").replace('`', "\u{fdd1}")
}

/// Returns a text with protected values as they are, for checks; markup stays.
pub(crate) fn unquoted(text: &str) -> String {
    text.replace(QUOTED_STAR, "*").replace(QUOTED_TICK, "`")
}

/// A character and how it looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Glyph {
    c: char,
    style: Style,
}

/// A piece of a line in one style.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) style: Style,
    pub(crate) text: String,
}

/// Reads `**bold**` and `` `code` ``; a newline stays and breaks the line; `base` is the style of the rest.
fn parse(text: &str, base: Style) -> Vec<Glyph> {
    let mut glyphs = Vec::new();
    let (mut bold, mut code) = (false, false);
    let mut characters = text.chars().peekable();
    while let Some(c) = characters.next() {
        match c {
            '`' => code = !code,
            '*' if characters.peek() == Some(&'*') => {
                characters.next();
                bold = !bold;
            }
            _ => {
                let c = match c {
                    QUOTED_STAR => '*',
                    QUOTED_TICK => '`',
                    c => c,
                };
                let style = if code {
                    Style::Mono
                } else if bold {
                    Style::Bold
                } else {
                    base
                };
                glyphs.push(Glyph { c, style });
            }
        }
    }
    glyphs
}

/// Sets a text in lines of at most `width` points: at spaces, or inside a word that is wider than a line.
pub(crate) fn wrap(
    fonts: &Fonts,
    text: &str,
    base: Style,
    size: f32,
    width: f32,
) -> Vec<Vec<Piece>> {
    let advance = |g: &Glyph| fonts.advance(g.style, g.c) * size;
    let mut lines = Vec::new();
    for paragraph in parse(text, base).split(|g| g.c == '\n') {
        fill_lines(&mut lines, paragraph, base, width, &advance);
    }
    lines.iter().map(|line| pieces(line)).collect()
}

fn fill_lines(
    lines: &mut Vec<Vec<Glyph>>,
    paragraph: &[Glyph],
    base: Style,
    width: f32,
    advance: &impl Fn(&Glyph) -> f32,
) {
    let mut line: Vec<Glyph> = Vec::new();
    let mut used = 0.0;
    for word in paragraph.split(|g| g.c == ' ') {
        let Some(first) = word.first() else {
            continue;
        };
        let word_width: f32 = word.iter().map(advance).sum();
        if let Some(last) = line.last() {
            // A space inside code is code too, so that a copied command stays whole.
            let style = if last.style == first.style {
                first.style
            } else {
                base
            };
            let space = Glyph { c: ' ', style };
            if used + advance(&space) + word_width <= width {
                used += advance(&space);
                line.push(space);
            } else {
                lines.push(std::mem::take(&mut line));
                used = 0.0;
            }
        }
        for glyph in word {
            let glyph_width = advance(glyph);
            if used > 0.0 && used + glyph_width > width {
                lines.push(std::mem::take(&mut line));
                used = 0.0;
            }
            used += glyph_width;
            line.push(*glyph);
        }
    }
    lines.push(line);
}

fn pieces(line: &[Glyph]) -> Vec<Piece> {
    line.chunk_by(|a, b| a.style == b.style)
        .filter_map(|chunk| {
            Some(Piece {
                style: chunk.first()?.style,
                text: chunk.iter().map(|g| g.c).collect(),
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(lines: &[Vec<Piece>]) -> Vec<String> {
        lines
            .iter()
            .map(|l| l.iter().map(|p| p.text.as_str()).collect())
            .collect()
    }

    #[test]
    fn no_line_is_wider_than_allowed_and_no_character_is_lost() {
        let fonts = Fonts::builtin().unwrap();
        let text = "A **bold move** with `some code` and Donaudampfschifffahrtsgesellschaftskapitänswitwe twice";
        let lines = wrap(&fonts, text, Style::Text, 10.0, 100.0);
        for line in &lines {
            let width: f32 = line
                .iter()
                .map(|p| fonts.width(p.style, &p.text, 10.0))
                .sum();
            assert!(width <= 100.0, "{line:?}");
        }
        let expected = text.replace("**", "").replace(['`', ' '], "");
        assert_eq!(plain(&lines).concat().replace(' ', ""), expected);
    }

    #[test]
    fn values_are_not_markup() {
        let fonts = Fonts::builtin().unwrap();
        let text = format!("for **{}**", quote("a**b`c"));
        let lines = wrap(&fonts, &text, Style::Text, 10.0, 500.0);
        assert_eq!(plain(&lines), ["for a**b`c"]);
        assert_eq!(lines[0][1].style, Style::Bold);
    }

    #[test]
    fn a_command_is_one_piece() {
        let fonts = Fonts::builtin().unwrap();
        let lines = wrap(&fonts, "run `ssh -v host` now", Style::Text, 10.0, 500.0);
        assert_eq!(
            lines[0][1],
            Piece {
                style: Style::Mono,
                text: "ssh -v host".to_owned()
            }
        );
    }
}
