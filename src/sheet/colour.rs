//! Colours of the organisation, and whether everyone can read them on white paper.

use super::error::SheetError;

/// The least contrast of text with its background (WCAG 2.2, success criterion 1.4.3).
pub const LEAST_CONTRAST: f32 = 4.5;

/// A colour in sRGB, 8 bits a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Colour {
    /// Red.
    pub red: u8,
    /// Green.
    pub green: u8,
    /// Blue.
    pub blue: u8,
}

impl Colour {
    /// Makes a colour from its channels.
    pub const fn new(red: u8, green: u8, blue: u8) -> Self {
        Self { red, green, blue }
    }

    /// Reads an accent colour, `#rrggbb`, that can be read on white.
    ///
    /// # Errors
    /// [`SheetError::Colour`] for another notation, [`SheetError::Contrast`] below 4.5:1.
    pub fn accent(text: &str) -> Result<Self, SheetError> {
        let colour = Self::parse(text).ok_or_else(|| SheetError::Colour(text.to_owned()))?;
        let contrast = colour.contrast_with_white();
        if contrast < LEAST_CONTRAST {
            return Err(SheetError::Contrast {
                colour: colour.hex(),
                contrast: (contrast * 10.0).floor() / 10.0,
                darker: colour.darkened().hex(),
            });
        }
        Ok(colour)
    }

    fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix('#')?;
        if digits.len() != 6 || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            return None;
        }
        let [_, red, green, blue] = u32::from_str_radix(digits, 16).ok()?.to_be_bytes();
        Some(Self { red, green, blue })
    }

    /// Returns the colour as `#rrggbb`.
    pub fn hex(self) -> String {
        format!("#{:02x}{:02x}{:02x}", self.red, self.green, self.blue)
    }

    /// Returns the contrast ratio with white, from 1 to 21.
    pub fn contrast_with_white(self) -> f32 {
        1.05 / (self.luminance() + 0.05)
    }

    /// Returns the relative luminance as WCAG 2.2 defines it, from 0 to 1.
    fn luminance(self) -> f32 {
        let linear = |channel: u8| {
            let c = f32::from(channel) / 255.0;
            if c <= 0.04045 {
                c / 12.92
            } else {
                ((c + 0.055) / 1.055).powf(2.4)
            }
        };
        0.2126 * linear(self.red) + 0.7152 * linear(self.green) + 0.0722 * linear(self.blue)
    }

    /// Returns the lightest shade of this colour, in steps of 2 %, that passes.
    fn darkened(self) -> Self {
        (0..=50u8)
            .map(|step| self.mixed(Self::new(0, 0, 0), f32::from(step) * 0.02))
            .find(|c| c.contrast_with_white() >= LEAST_CONTRAST)
            .unwrap_or(Self::new(0, 0, 0))
    }

    /// Returns a tint for backgrounds: so little of the colour that black text on it stays readable.
    pub fn tint(self) -> Self {
        self.mixed(Self::new(255, 255, 255), 0.93)
    }

    /// Mixes in a share of another colour.
    fn mixed(self, other: Self, share: f32) -> Self {
        // The value is within 0 and 255, so the cast cannot cut anything.
        let mix =
            |a: u8, b: u8| (f32::from(a) * (1.0 - share) + f32::from(b) * share).round() as u8;
        Self::new(
            mix(self.red, other.red),
            mix(self.green, other.green),
            mix(self.blue, other.blue),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contrast_agrees_with_published_values() {
        assert!((Colour::new(0, 0, 0).contrast_with_white() - 21.0).abs() < 0.01);
        // #767676 is the well-known lightest grey that passes, #777777 the first that fails.
        assert!(Colour::accent("#767676").is_ok());
        assert!(Colour::accent("#777777").is_err());
    }

    #[test]
    fn a_pale_accent_is_refused_and_a_darker_one_offered() {
        let Err(SheetError::Contrast {
            darker, contrast, ..
        }) = Colour::accent("#ffcc00")
        else {
            panic!("yellow was accepted");
        };
        assert!(contrast < 2.0);
        assert!(Colour::accent(&darker).is_ok(), "{darker}");
        for text in ["red", "#12345", "#12345g", "123456", "#1234567"] {
            assert!(
                matches!(Colour::accent(text), Err(SheetError::Colour(_))),
                "{text}"
            );
        }
    }
}
