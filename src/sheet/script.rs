//! Scripts that need a shaping engine, which this program does not have.

/// Returns whether a character belongs to a script that runs from right to left or whose letters join or reorder.
///
/// Set glyph by glyph, Arabic comes out unjoined, Hebrew reversed and Devanagari wrong: better refused than printed so.
/// The ranges are whole Unicode blocks.
pub(crate) fn needs_shaping(c: char) -> bool {
    matches!(u32::from(c),
        // Hebrew, Arabic, Syriac, Thaana, N'Ko, Samaritan, Mandaic and their extensions.
        0x0590..=0x08ff
        // The scripts of India, Thai, Lao, Tibetan, Myanmar.
        | 0x0900..=0x109f
        // Philippine scripts, Khmer, Mongolian, and further scripts of South-East Asia.
        | 0x1700..=0x18af
        | 0x1900..=0x1cff
        // Bidirectional controls, joiners.
        | 0x200c..=0x200f
        | 0x202a..=0x202e
        | 0x2066..=0x2069
        // Further Indic scripts, presentation forms of Hebrew and Arabic.
        | 0xa800..=0xabff
        | 0xfb1d..=0xfdff
        | 0xfe70..=0xfefc
        // Right-to-left and Indic scripts beyond the first plane.
        | 0x10800..=0x11fff
        | 0x1e800..=0x1efff)
}
