#!/bin/sh
# Makes the fonts in this directory again from Debian's package fonts-dejavu-core (2.37).
# Needs pyftsubset: pip install fonttools==4.68.0
# Usage: ./subset.sh [DIRECTORY OF THE FULL FONTS]
set -eu
from=${1:-/usr/share/fonts/truetype/dejavu}
to=$(dirname "$0")

# Latin with all diacritics (Vietnamese too), phonetic letters used in names, combining marks, Greek with polytonic,
# Cyrillic with supplement, and the punctuation, currency signs and arrows that texts use.
letters='U+0020-007E,U+00A0-024F,U+0259,U+02B9-02BC,U+02C6,U+02C7,U+02C9,U+02D8-02DD,U+0300-0304,U+0306-030C,U+031B'
letters="$letters,U+0323,U+0326-0328,U+0370-03FF,U+0400-052F,U+1E00-1EFF,U+1F00-1FFF"
signs='U+2010-2015,U+2018-201E,U+2020-2022,U+2026,U+202F,U+2030,U+2032,U+2033,U+2039,U+203A,U+2044,U+20AB,U+20AC'
signs="$signs,U+20B4,U+20BA,U+20BD,U+2116,U+2122,U+2190-2193,U+2212,U+2248,U+2260,U+2264,U+2265,U+FB01,U+FB02"
signs="$signs,U+25A0,U+25CF,U+2713"

make() { # FONT CHARACTERS
    pyftsubset "$from/$1.ttf" --unicodes="$2" --output-file="$to/$1.ttf" --no-hinting --layout-features='' \
        --notdef-outline --name-IDs=0,1,2,3,4,5,6,13,14 --drop-tables+=GSUB,GPOS,GDEF,FFTM,kern,MATH,gasp
}
make DejaVuSansCondensed "$letters,$signs"
make DejaVuSansCondensed-Bold "$letters,$signs"
make DejaVuSansMono 'U+0020-007E,U+00A0-00FF'
