//! WAVE ("Multimedia Programming Interface and Data Specifications 1.0"): samples of one size, so that their bytes tell
//! how many there are.

use super::{Length, at, little, little_short, size};

/// Formats whose samples have one size: whole numbers, floats, A-law, mu-law, and those that say more of the same.
const PLAIN: [u64; 5] = [1, 3, 6, 7, 0xFFFE];

pub(super) fn length(file: &[u8]) -> Option<Length> {
    let mut rate_and_frame = None;
    let mut place = 12;
    while let Some(name) = at::<4>(file, place) {
        let told = little(file, place + 4)?;
        let (begin, rest) = (place + 8, file.len().saturating_sub(place + 8));
        match &name {
            b"fmt " => {
                let (kind, channels) = (little_short(file, begin)?, little_short(file, begin + 2)?);
                let (rate, bits) = (little(file, begin + 4)?, little_short(file, begin + 14)?);
                let frame = channels * bits.div_ceil(8);
                rate_and_frame = Some((rate, frame)).filter(|_| PLAIN.contains(&kind) && frame > 0);
            }
            b"data" => {
                let (rate, frame) = rate_and_frame?;
                // What is written while it is recorded has no size, or the largest.
                let bytes = if told == 0 { rest as u64 } else { told.min(rest as u64) };
                return Some(Length { units: bytes / frame, a_second: rate });
            }
            _ => {}
        }
        // A chunk has an even number of bytes.
        place = begin.checked_add(size(told)?)?.checked_next_multiple_of(2)?;
    }
    None
}
