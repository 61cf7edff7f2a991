//! FLAC (RFC 9639): its head tells how many samples there are. A file that was written as it was recorded does not tell.

use super::{Length, at};

/// Where the rate and the number of samples stand in the first block, which is the stream's description.
const PLACE: usize = 4 + 4 + 10;

pub(super) fn length(file: &[u8]) -> Option<Length> {
    let is_description = file.get(4)?.trailing_zeros() >= 7;
    let packed = u64::from_be_bytes(at(file, PLACE)?);
    // 20 bits of rate, 3 of channels, 5 of the size of samples, 36 of their number.
    let (rate, samples) = (packed >> 44, packed & 0xF_FFFF_FFFF);
    Some(Length { units: samples, a_second: rate }).filter(|_| is_description)
}
