//! The organisation's logo: a PNG, made small enough for a sheet.

use std::io::Cursor;
use std::path::Path;

use super::colour::{Colour, LEAST_CONTRAST};
use super::error::SheetError;

/// Name of the image in the PDF's resources.
pub(super) const LOGO_RESOURCE: &str = "Logo";

/// The logo is printed at most so wide, in millimetres.
pub(super) const MAX_WIDTH_MM: f32 = 45.0;
/// The logo is printed at most so high, in millimetres.
pub(super) const MAX_HEIGHT_MM: f32 = 14.0;

/// Pixels beyond these add nothing at 300 dots per inch: larger logos are scaled down.
const MAX_WIDTH: usize = 532;
const MAX_HEIGHT: usize = 166;
/// Pixels of a file before scaling; more is taken for a mistake or a bomb.
const MAX_FILE_PIXELS: u64 = 4_000_000;
/// What a logo may add to every sheet, in bytes: the fonts and texts leave so much of 60 KB.
const MAX_BYTES: usize = 24_000;

/// A logo, ready for every sheet of a run.
#[derive(Clone)]
pub struct Logo {
    pub(super) width: usize,
    pub(super) height: usize,
    /// RGB, 8 bits a channel, after deflate.
    pub(super) deflated: Vec<u8>,
}

impl std::fmt::Debug for Logo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "Logo({} x {}, {} bytes)",
            self.width,
            self.height,
            self.deflated.len()
        )
    }
}

/// An image in RGB on white.
struct Image {
    width: usize,
    height: usize,
    pixels: Vec<[u8; 3]>,
}

impl Logo {
    /// Reads a logo from a PNG file.
    ///
    /// # Errors
    /// [`SheetError::Logo`] when the file cannot be read, is no PNG, is too large or would hardly be seen on white.
    pub fn load(path: &Path) -> Result<Self, SheetError> {
        let named = |why: String| SheetError::Logo {
            why: format!("`{}` {why}", path.display()),
        };
        let bytes = std::fs::read(path).map_err(|e| named(format!("cannot be read: {e}")))?;
        Self::from_png(&bytes).map_err(named)
    }

    /// Decodes a PNG; transparent parts become white, as the paper is.
    fn from_png(bytes: &[u8]) -> Result<Self, String> {
        let image = decode(bytes)?.scaled_down();
        image.check_visible()?;
        let raw: Vec<u8> = image.pixels.iter().flatten().copied().collect();
        let mut stream = lopdf::Stream::new(lopdf::Dictionary::new(), raw);
        stream
            .compress()
            .map_err(|e| format!("cannot be compressed: {e}"))?;
        if stream.dict.get(b"Filter").is_err() || stream.content.len() > MAX_BYTES {
            return Err(format!(
                "would add {} KB to every sheet, and {} KB are the most; use a version with fewer colours or details",
                stream.content.len().div_ceil(1000),
                MAX_BYTES / 1000
            ));
        }
        Ok(Self {
            width: image.width,
            height: image.height,
            deflated: stream.content,
        })
    }

    /// Returns the printed width and height in millimetres.
    pub(super) fn size_mm(&self) -> (f32, f32) {
        let aspect = self.width as f32 / self.height.max(1) as f32;
        if aspect > MAX_WIDTH_MM / MAX_HEIGHT_MM {
            (MAX_WIDTH_MM, MAX_WIDTH_MM / aspect)
        } else {
            (MAX_HEIGHT_MM * aspect, MAX_HEIGHT_MM)
        }
    }
}

fn decode(bytes: &[u8]) -> Result<Image, String> {
    let no_png = |e: png::DecodingError| format!("is not a readable PNG: {e}");
    let limits = png::Limits { bytes: 64 << 20 };
    let mut decoder = png::Decoder::new_with_limits(Cursor::new(bytes), limits);
    decoder.set_transformations(png::Transformations::normalize_to_color8());
    let mut reader = decoder.read_info().map_err(no_png)?;
    let (width, height) = reader.info().size();
    if u64::from(width) * u64::from(height) > MAX_FILE_PIXELS {
        return Err(format!(
            "is too large: {width} x {height} pixels; 532 x 166 are enough"
        ));
    }
    let size = reader
        .output_buffer_size()
        .ok_or_else(|| "is too large".to_owned())?;
    let mut buffer = vec![0; size];
    let frame = reader.next_frame(&mut buffer).map_err(no_png)?;
    buffer.truncate(frame.buffer_size());
    let on_white = |value: u8, alpha: u8| {
        let (value, alpha) = (u32::from(value), u32::from(alpha));
        // At most 255, so nothing is cut.
        ((value * alpha + 255 * (255 - alpha)) / 255) as u8
    };
    let samples = frame.color_type.samples();
    let pixels = buffer
        .chunks_exact(samples)
        .map(|p| match *p {
            [grey] => [grey; 3],
            [grey, alpha] => [on_white(grey, alpha); 3],
            [red, green, blue] => [red, green, blue],
            [red, green, blue, alpha] => [
                on_white(red, alpha),
                on_white(green, alpha),
                on_white(blue, alpha),
            ],
            _ => [255; 3],
        })
        .collect();
    Ok(Image {
        width: width as usize,
        height: height as usize,
        pixels,
    })
}

impl Image {
    /// Averages whole blocks of pixels, so that the image is at most as large as the print needs.
    fn scaled_down(self) -> Self {
        let factor = self
            .width
            .div_ceil(MAX_WIDTH)
            .max(self.height.div_ceil(MAX_HEIGHT))
            .max(1);
        if factor == 1 {
            return self;
        }
        let (width, height) = ((self.width / factor).max(1), (self.height / factor).max(1));
        let pixel = |x: usize, y: usize| {
            self.pixels
                .get(y * self.width + x)
                .copied()
                .unwrap_or([255; 3])
        };
        let mut pixels = Vec::with_capacity(width * height);
        for y in 0..height {
            for x in 0..width {
                let mut sum = [0usize; 3];
                for (dx, dy) in (0..factor).flat_map(|dx| (0..factor).map(move |dy| (dx, dy))) {
                    for (s, v) in sum.iter_mut().zip(pixel(x * factor + dx, y * factor + dy)) {
                        *s += usize::from(v);
                    }
                }
                // An average of bytes is a byte.
                pixels.push(sum.map(|s| (s / (factor * factor)) as u8));
            }
        }
        Self {
            width,
            height,
            pixels,
        }
    }

    /// Refuses what is made for dark backgrounds: at least one pixel in a hundred must stand out from white.
    fn check_visible(&self) -> Result<(), String> {
        let dark = self
            .pixels
            .iter()
            .filter(|[r, g, b]| Colour::new(*r, *g, *b).contrast_with_white() >= LEAST_CONTRAST)
            .count();
        if dark * 100 < self.pixels.len().max(1) {
            return Err(format!(
                "would hardly be seen on white paper: nearly nothing in it has a contrast of {LEAST_CONTRAST}:1; \
                 use the version for light backgrounds"
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Encodes an image of one colour with a border, in RGBA.
    pub(crate) fn png_of(width: u32, height: u32, colour: [u8; 4]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut encoder = png::Encoder::new(&mut bytes, width, height);
        encoder.set_color(png::ColorType::Rgba);
        encoder.set_depth(png::BitDepth::Eight);
        let mut writer = encoder.write_header().unwrap();
        writer
            .write_image_data(&colour.repeat((width * height) as usize))
            .unwrap();
        writer.finish().unwrap();
        bytes
    }

    #[test]
    fn a_large_logo_is_scaled_down() {
        let logo = Logo::from_png(&png_of(1600, 400, [10, 40, 90, 255])).unwrap();
        assert!(
            logo.width <= MAX_WIDTH && logo.height <= MAX_HEIGHT,
            "{logo:?}"
        );
        let (width, height) = logo.size_mm();
        assert!((width - MAX_WIDTH_MM).abs() < 0.01 && (height - MAX_WIDTH_MM / 4.0).abs() < 0.2);
    }

    #[test]
    fn what_cannot_be_printed_is_refused() {
        for (bytes, expected) in [
            (png_of(100, 40, [255, 255, 255, 255]), "hardly be seen"),
            (png_of(100, 40, [0, 0, 0, 0]), "hardly be seen"),
            (png_of(100, 40, [255, 220, 0, 255]), "hardly be seen"),
            (png_of(4000, 1001, [0, 0, 0, 255]), "too large"),
            (b"GIF89a".to_vec(), "not a readable PNG"),
        ] {
            let why = Logo::from_png(&bytes).unwrap_err();
            assert!(why.contains(expected), "{why}");
        }
    }
}
