//! MPEG audio, layers 1 to 3 (ISO 11172-3, 13818-3): each frame tells its own length, and all are counted.

use super::{Length, at};

/// Kilobits a second: of version 1 by layer, and of versions 2 and 2.5.
const RATES: [[u64; 14]; 5] = [
    [32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448],
    [32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384],
    [32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320],
    [32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256],
    [8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160],
];
/// Samples a second of version 1.
const SAMPLE_RATES: [u64; 3] = [44_100, 48_000, 32_000];
/// Frames that must follow one another, for bytes to be frames at all.
const ENOUGH: usize = 2;

/// A frame: its bytes, its samples, and how many of them a second has.
#[derive(Debug, Clone, Copy)]
struct Frame {
    bytes: usize,
    samples: u64,
    rate: u64,
}

fn frame(file: &[u8], place: usize) -> Option<Frame> {
    let head = u32::from_be_bytes(at(file, place)?);
    if head >> 21 != 0x7FF {
        return None;
    }
    let bits = |shift: u32, mask: u32| (head >> shift & mask) as usize;
    let (version, layer) = (bits(19, 3), 4 - bits(17, 3));
    let (kilobits, sampling, padding) = (bits(12, 15), bits(10, 3), bits(9, 1) as u64);
    if version == 1 || layer == 4 || sampling == 3 {
        return None;
    }
    let is_first = version == 3;
    let row = match (is_first, layer) {
        (true, layer) => layer - 1,
        (false, 1) => 3,
        (false, _) => 4,
    };
    let kilobits = *RATES[row].get(kilobits.checked_sub(1)?)?;
    let rate = SAMPLE_RATES[sampling] >> [2, 0, 1, 0][version];
    let samples = match (layer, is_first) {
        (1, _) => 384,
        (3, false) => 576,
        _ => 1_152,
    };
    let bytes = match layer {
        1 => (12_000 * kilobits / rate + padding) * 4,
        _ => samples / 8 * 1_000 * kilobits / rate + padding,
    };
    Some(Frame { bytes: usize::try_from(bytes).ok()?, samples, rate })
}

/// Where what stands before the frames ends: tags (ID3, version 2).
fn after_tags(file: &[u8]) -> usize {
    let mut place = 0;
    while file.get(place..place + 3) == Some(b"ID3") {
        let Some(head) = at::<10>(file, place) else { break };
        let bytes = head[6..].iter().fold(0, |bytes, part| bytes << 7 | usize::from(part & 0x7F));
        place += 10 + bytes;
    }
    place
}

pub(super) fn length(file: &[u8]) -> Option<Length> {
    let (mut place, mut samples, mut rate, mut frames) = (after_tags(file), 0_u64, 0, 0);
    while place < file.len() {
        let Some(frame) = frame(file, place).filter(|frame| frame.bytes > 0) else {
            // Whatever stands between frames is no sound. Before them nothing may stand.
            if frames < ENOUGH && samples > 0 || samples == 0 && place > after_tags(file) + 4_096 {
                return None;
            }
            place += 1;
            continue;
        };
        if samples == 0 {
            rate = frame.rate;
        }
        // A decoder resamples what changes its rate: what counts is time.
        samples += if frame.rate == rate { frame.samples } else { frame.samples * rate / frame.rate };
        frames += 1;
        place += frame.bytes;
    }
    Some(Length { units: samples, a_second: rate }).filter(|_| frames >= ENOUGH)
}
