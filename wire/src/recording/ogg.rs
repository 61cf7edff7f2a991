//! Ogg (RFC 3533) with Opus, Vorbis, FLAC or Speex: each page tells the place of its last sample.

use super::{Length, at, big, little};

/// The longest that a first page lasts, in seconds: what begins later was cut out of something longer.
const LONGEST_PAGE: u64 = 10;

/// A stream within the file.
#[derive(Debug)]
struct Stream {
    serial: u64,
    rate: u64,
    first: Option<u64>,
    last: u64,
}

/// Samples a second, by the first packet of a stream.
fn rate(packet: &[u8]) -> Option<u64> {
    if packet.starts_with(b"OpusHead") {
        Some(48_000)
    } else if packet.starts_with(b"\x01vorbis") {
        little(packet, 12)
    } else if packet.starts_with(b"\x7FFLAC") {
        // Behind nine bytes of its own, and FLAC's four and four.
        big(packet, 9 + 4 + 4 + 10).map(|packed| packed >> 12)
    } else if packet.starts_with(b"Speex   ") {
        little(packet, 36)
    } else {
        None
    }
}

pub(super) fn length(file: &[u8]) -> Option<Length> {
    let (mut place, mut streams) = (0, Vec::<Stream>::new());
    while let Some(b"OggS") = at::<4>(file, place).as_ref() {
        let (granule, serial) = (u64::from_le_bytes(at(file, place + 6)?), little(file, place + 14)?);
        let segments = usize::from(*file.get(place + 26)?);
        let Some(table) = file.get(place + 27..place + 27 + segments) else { break };
        let begin = place + 27 + segments;
        let end = begin + table.iter().map(|bytes| usize::from(*bytes)).sum::<usize>();
        let packet = file.get(begin..end.min(file.len())).unwrap_or_default();
        match streams.iter_mut().find(|stream| stream.serial == serial) {
            None => streams.extend(rate(packet).map(|rate| Stream { serial, rate, first: None, last: 0 })),
            // Heads are at no place, and a page without an end of a packet has none.
            Some(stream) if granule != 0 && granule != u64::MAX => {
                stream.first.get_or_insert(granule);
                stream.last = stream.last.max(granule);
            }
            Some(_) => {}
        }
        place = end;
    }
    // One after another, as they are played.
    let mut milliseconds = 0_u64;
    for Stream { rate, first, last, .. } in streams {
        let begin = first.unwrap_or(0).saturating_sub(rate.saturating_mul(LONGEST_PAGE));
        let length = Length { units: last - begin.min(last), a_second: rate };
        milliseconds = milliseconds.saturating_add(length.milliseconds().unwrap_or(0));
    }
    Some(Length { units: milliseconds, a_second: 1_000 })
}
