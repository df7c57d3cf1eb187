//! A histogram as SVG inside HTML: a line of words and a bar for each range, readable at the width of a phone.

use std::io::{self, Write};

use super::html::{escape, tone_class};
use super::text::scaled;
use super::words::sign;
use crate::report::model::Histogram;

/// Width of the drawing, which is scaled to the page.
const WIDTH: u64 = 380;
/// Height of a range: a line of words and a bar.
const STEP: u64 = 36;

pub(super) fn write(
    out: &mut dyn Write,
    id: &str,
    title: &str,
    histogram: &Histogram,
) -> io::Result<()> {
    let (unit, title) = (escape(histogram.unit), escape(title));
    let most = histogram.bars.iter().map(|b| b.count).max().unwrap_or(0);
    let height = STEP * histogram.bars.len() as u64;
    write!(
        out,
        "<figure>\n<svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-labelledby=\"svg-{id} desc-{id}\">\n\
         <title id=\"svg-{id}\">{title}</title>\n<desc id=\"desc-{id}\">"
    )?;
    for (number, bar) in histogram.bars.iter().enumerate() {
        let comma = if number == 0 { "" } else { "; " };
        write!(out, "{comma}{}: {}", escape(&bar.label), bar.count)?;
    }
    writeln!(out, "</desc>")?;
    for (bar, top) in histogram.bars.iter().zip((0..).step_by(STEP as usize)) {
        let (text, rail) = (top + 13, top + 19);
        let length = scaled(bar.count, most, WIDTH);
        let (label, class) = (escape(&bar.label), tone_class(bar.tone));
        let count = sign(bar.tone, &bar.count.to_string());
        writeln!(
            out,
            "<text x=\"0\" y=\"{text}\">{label}</text><text x=\"{WIDTH}\" y=\"{text}\" text-anchor=\"end\">{count}</text>\
             <rect class=\"rail\" y=\"{rail}\" width=\"{WIDTH}\" height=\"9\"/>\
             <rect class=\"{class}\" y=\"{rail}\" width=\"{length}\" height=\"9\"/>"
        )?;
    }
    writeln!(out, "</svg>\n<figcaption>{unit}</figcaption>\n</figure>")
}
