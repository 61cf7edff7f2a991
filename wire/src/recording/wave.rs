//! WAVE ("Multimedia Programming Interface and Data Specifications 1.0"): samples of one size, so that their bytes tell
//! how many there are.

use super::{Length, at, little, little_short, size};

/// Formats whose samples have one size: whole numbers, floats, A-law, mu-law, and those that say more of the same.
const PLAIN: [u64; 5] = [1, 3, 6, 7, 0xFFFE];

/// All chunks of samples count: decoders go on from one to the next.
pub(super) fn length(file: &[u8]) -> Option<Length> {
    let mut rate_and_frame: Option<(u64, u64)> = None;
    let mut samples: Option<u64> = None;
    let mut place = 12;
    while let (Some(name), Some(told)) = (at::<4>(file, place), little(file, place + 4)) {
        let (begin, rest) = (place + 8, file.len().saturating_sub(place + 8));
        match &name {
            // Decoders read the first alone.
            b"fmt " if rate_and_frame.is_none() => {
                let (kind, channels) = (little_short(file, begin)?, little_short(file, begin + 2)?);
                let (rate, bits) = (little(file, begin + 4)?, little_short(file, begin + 14)?);
                let frame = channels * bits.div_ceil(8);
                rate_and_frame = Some((rate, frame)).filter(|_| PLAIN.contains(&kind) && frame > 0);
            }
            b"data" => {
                let (_, frame) = rate_and_frame?;
                // What is written while it is recorded has no size, or the largest.
                let is_open = told == 0;
                let bytes = if is_open { rest as u64 } else { told.min(rest as u64) };
                samples = Some(samples.unwrap_or(0).saturating_add(bytes / frame));
                if is_open {
                    break;
                }
            }
            _ => {}
        }
        // A chunk has an even number of bytes.
        let Some(next) = size(told).and_then(|size| begin.checked_add(size)?.checked_next_multiple_of(2)) else {
            break;
        };
        place = next;
    }
    let (rate, _) = rate_and_frame?;
    Some(Length { units: samples?, a_second: rate })
}

#[cfg(test)]
mod tests {
    use super::super::milliseconds;

    fn chunk(name: [u8; 4], body: &[u8]) -> Vec<u8> {
        [&name[..], &u32::try_from(body.len()).unwrap_or(u32::MAX).to_le_bytes(), body].concat()
    }

    #[test]
    fn all_chunks_of_samples_count() {
        let format = [&[1, 0, 1, 0][..], &8_000_u32.to_le_bytes(), &16_000_u32.to_le_bytes(), &[2, 0, 16, 0]].concat();
        let head = [&b"RIFF\xFF\xFF\xFF\xFFWAVE"[..], &chunk(*b"fmt ", &format)].concat();
        let second = chunk(*b"data", &[0; 16_000]);
        let of = |rest: &[&[u8]]| milliseconds(&[&head, &rest.concat()[..]].concat());
        assert_eq!(of(&[&second]), Some(1_000));
        assert_eq!(of(&[&second, &second]), Some(2_000));
        assert_eq!(of(&[&second, &chunk(*b"LIST", b"odd"), &[0], &second, &second]), Some(3_000));
        assert_eq!(of(&[&second, b"tail"]), Some(1_000), "what is behind the samples takes nothing away");
        assert_eq!(of(&[&chunk(*b"data", &[0; 160]), b"data\0\0\0\0", &[0; 16_000]]), Some(1_010));
        assert_eq!(of(&[]), None);
    }
}
