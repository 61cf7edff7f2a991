//! Matroska and `WebM` (RFC 9559): each block tells when it begins. What is written while it is recorded, as browsers do,
//! tells nothing else.

use super::{Length, at, size};

/// Nanoseconds of a unit of time, where the file does not tell.
const USUAL_SCALE: u64 = 1_000_000;
/// The longest that a block lasts (RFC 6716, section 2), in nanoseconds.
const LONGEST_BLOCK: u64 = 120_000_000;

/// Elements.
const SEGMENT: u64 = 0x1853_8067;
const INFO: u64 = 0x1549_A966;
const SCALE: u64 = 0x2A_D7B1;
const DURATION: u64 = 0x4489;
const CLUSTER: u64 = 0x1F43_B675;
const TIME: u64 = 0xE7;
const GROUP: u64 = 0xA0;
const BLOCK: u64 = 0xA1;
const SIMPLE_BLOCK: u64 = 0xA3;

/// A number of variable length: with its marker, its value without it, and how many bytes it has. `None` where it is cut.
fn number(file: &[u8], place: usize) -> Option<(u64, u64, usize)> {
    let first = *file.get(place)?;
    let length = first.leading_zeros() as usize + 1;
    let bytes = file.get(place..place.checked_add(length)?).filter(|_| length <= 8)?;
    let marked = bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte));
    Some((marked, marked & !(1 << (7 * length)), length))
}

fn whole(bytes: &[u8]) -> u64 {
    bytes.iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// A length in units of time, rounded down.
fn float(bytes: &[u8]) -> Option<u64> {
    let value = match bytes.len() {
        4 => f32::from_be_bytes(at(bytes, 0)?).into(),
        _ => f64::from_be_bytes(at(bytes, 0)?),
    };
    // Through text: a float that is no whole number of a size has none.
    if value.is_finite() && value >= 0.0 { format!("{:.0}", value.ceil()).parse().ok() } else { None }
}

pub(super) fn length(file: &[u8]) -> Option<Length> {
    let (mut place, mut scale, mut told, mut cluster, mut last) = (0, USUAL_SCALE, 0, 0_u64, None::<u64>);
    while let Some((id, _, id_length)) = number(file, place) {
        let Some((marked, length, bytes)) = number(file, place + id_length) else { break };
        let begin = place + id_length + bytes;
        // All ones: not known yet.
        let is_open = marked.trailing_ones() as usize == 7 * bytes || length == (1 << (7 * bytes)) - 1;
        if matches!(id, SEGMENT | INFO | CLUSTER | GROUP) {
            place = begin;
            continue;
        }
        if is_open {
            break;
        }
        let end = begin.checked_add(size(length)?)?;
        let content = file.get(begin..end.min(file.len())).unwrap_or_default();
        match id {
            SCALE => scale = whole(content).max(1),
            DURATION => told = float(content).unwrap_or(0),
            TIME => cluster = whole(content),
            BLOCK | SIMPLE_BLOCK => {
                let (_, _, track) = number(content, 0)?;
                let beyond = at(content, track).map(i16::from_be_bytes)?;
                last = Some(last.unwrap_or(0).max(cluster.saturating_add_signed(beyond.into())));
            }
            _ => {}
        }
        place = end;
    }
    let blocks = last?.saturating_mul(scale).saturating_add(LONGEST_BLOCK);
    Some(Length { units: blocks.max(told.saturating_mul(scale)), a_second: 1_000_000_000 })
}
