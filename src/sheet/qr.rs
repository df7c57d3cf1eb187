//! QR codes as modules and as the few rectangles that draw them.

use qrcode::{Color, EcLevel, QrCode};

use super::error::SheetError;
use crate::token::secret::Secret;

/// Width of the white margin on every side, in modules (ISO/IEC 18004 section 6.3.8).
pub const QUIET_MODULES: usize = 4;

/// A QR code as a square of dark and light modules, without its quiet zone.
#[derive(Clone)]
pub struct Modules {
    /// Modules per side.
    pub width: usize,
    /// `true` for dark, row by row from the top left.
    pub dark: Vec<bool>,
}

/// Dark modules that form a rectangle; positions count from the top left module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Block {
    /// Column of the left edge.
    pub column: usize,
    /// Row of the top edge.
    pub row: usize,
    /// Columns covered.
    pub width: usize,
    /// Rows covered.
    pub height: usize,
}

impl Modules {
    /// Encodes `text` at error correction level Q, or M where Q would need more than `max_width` modules per side.
    ///
    /// Level Q survives the fold of a letter; M is the least that a sheet may have.
    ///
    /// # Errors
    /// [`SheetError::UriTooLong`] when even level M does not fit.
    pub fn encode(text: &Secret, max_width: usize) -> Result<Self, SheetError> {
        for level in [EcLevel::Q, EcLevel::M] {
            let Ok(code) = QrCode::with_error_correction_level(text.expose(), level) else {
                continue;
            };
            if code.width() <= max_width {
                return Ok(Self {
                    width: code.width(),
                    dark: code
                        .to_colors()
                        .into_iter()
                        .map(|c| c == Color::Dark)
                        .collect(),
                });
            }
        }
        Err(SheetError::UriTooLong {
            bytes: text.expose().len(),
        })
    }

    /// Returns whether a module is dark; outside the code all is light.
    pub fn is_dark(&self, column: usize, row: usize) -> bool {
        column < self.width
            && row < self.width
            && self.dark.get(row * self.width + column) == Some(&true)
    }

    /// Covers the dark modules with rectangles that do not overlap: each grows right first, then down.
    ///
    /// A renderer would leave hairlines between single modules; fewer rectangles also make the file smaller.
    pub fn blocks(&self) -> Vec<Block> {
        let mut left = self.clone();
        let mut blocks = Vec::new();
        for row in 0..self.width {
            for column in 0..self.width {
                if !left.is_dark(column, row) {
                    continue;
                }
                let width = (column..self.width)
                    .take_while(|c| left.is_dark(*c, row))
                    .count();
                let height = (row..self.width)
                    .take_while(|r| (column..column + width).all(|c| left.is_dark(c, *r)))
                    .count();
                let block = Block {
                    column,
                    row,
                    width,
                    height,
                };
                left.clear(block);
                blocks.push(block);
            }
        }
        blocks
    }

    fn clear(&mut self, block: Block) {
        for row in block.row..block.row + block.height {
            let start = row * self.width + block.column;
            if let Some(modules) = self.dark.get_mut(start..start + block.width) {
                modules.fill(false);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Modules {
        Modules::encode(
            &Secret::from("otpauth://totp/A:b?secret=JBSWY3DPEHPK3PXP&issuer=A"),
            177,
        )
        .unwrap()
    }

    #[test]
    fn blocks_cover_exactly_the_dark_modules() {
        let modules = example();
        let mut seen = vec![0; modules.dark.len()];
        for b in modules.blocks() {
            for row in b.row..b.row + b.height {
                for column in b.column..b.column + b.width {
                    seen[row * modules.width + column] += 1;
                }
            }
        }
        let expected: Vec<i32> = modules.dark.iter().map(|d| i32::from(*d)).collect();
        assert_eq!(seen, expected);
        assert!(modules.blocks().len() * 2 < modules.dark.iter().filter(|d| **d).count());
    }

    #[test]
    fn level_m_is_the_way_out_when_q_is_too_wide_and_then_an_error() {
        let text = Secret::new("x".repeat(200));
        let q = Modules::encode(&text, 177).unwrap().width;
        let m = Modules::encode(&text, q - 1).unwrap().width;
        assert!(m < q);
        assert!(matches!(
            Modules::encode(&text, m - 1),
            Err(SheetError::UriTooLong { bytes: 200 })
        ));
    }
}
