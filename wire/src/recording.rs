//! How long a recording lasts: read from its container, and nothing is decoded. Where frames are there to be counted, they
//! are; a number in a head is believed only where nothing better is. It may be wrong in a file that was made to be: the
//! provider that decodes the file has the last word.

mod flac;
mod matroska;
mod mp3;
mod mp4;
mod ogg;
mod wave;

/// The longest that any recording is taken to last: more is no number of milliseconds.
const LONGEST: u128 = 1_000 * 86_400 * 365;

/// How long a recording lasts, in milliseconds, rounded up. `None` where its container is not known, is broken, or does
/// not tell.
pub fn milliseconds(file: &[u8]) -> Option<u64> {
    let begins = |text: &[u8]| file.starts_with(text);
    let length = if begins(b"RIFF") || begins(b"RF64") {
        wave::length(file)
    } else if begins(b"fLaC") {
        flac::length(file)
    } else if begins(b"OggS") {
        ogg::length(file)
    } else if begins(&[0x1A, 0x45, 0xDF, 0xA3]) {
        matroska::length(file)
    } else if file.get(4..8) == Some(b"ftyp") {
        mp4::length(file)
    } else {
        mp3::length(file)
    }?;
    length.milliseconds()
}

/// A length: so many units, of which a second has so many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Length {
    units: u64,
    a_second: u64,
}

impl Length {
    fn milliseconds(self) -> Option<u64> {
        if self.a_second == 0 || self.units == 0 {
            return None;
        }
        let milliseconds = (u128::from(self.units) * 1_000).div_ceil(u128::from(self.a_second));
        u64::try_from(milliseconds).ok().filter(|_| milliseconds <= LONGEST)
    }
}

/// Some bytes at a place, where they are there.
fn at<const N: usize>(bytes: &[u8], place: usize) -> Option<[u8; N]> {
    bytes.get(place..place.checked_add(N)?)?.try_into().ok()
}

fn big(bytes: &[u8], place: usize) -> Option<u64> {
    at(bytes, place).map(u32::from_be_bytes).map(u64::from)
}

fn little(bytes: &[u8], place: usize) -> Option<u64> {
    at(bytes, place).map(u32::from_le_bytes).map(u64::from)
}

fn little_short(bytes: &[u8], place: usize) -> Option<u64> {
    at(bytes, place).map(u16::from_le_bytes).map(u64::from)
}

fn size(number: u64) -> Option<usize> {
    usize::try_from(number).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Two seconds of a tone, written by `ffmpeg`: the file, and what it lasts with what its encoder adds.
    const FILES: [(&str, &[u8], u64, u64); 11] = [
        ("pcm.wav", include_bytes!("../../tests/fixtures/recordings/pcm.wav"), 2_000, 2_000),
        ("alaw.wav", include_bytes!("../../tests/fixtures/recordings/alaw.wav"), 2_000, 2_000),
        ("tone.flac", include_bytes!("../../tests/fixtures/recordings/tone.flac"), 2_000, 2_000),
        ("tone.mp3", include_bytes!("../../tests/fixtures/recordings/tone.mp3"), 2_000, 2_200),
        ("variable.mp3", include_bytes!("../../tests/fixtures/recordings/variable.mp3"), 2_000, 2_300),
        ("opus.ogg", include_bytes!("../../tests/fixtures/recordings/opus.ogg"), 2_000, 2_020),
        ("vorbis.ogg", include_bytes!("../../tests/fixtures/recordings/vorbis.ogg"), 1_990, 2_020),
        ("tone.m4a", include_bytes!("../../tests/fixtures/recordings/tone.m4a"), 2_000, 2_200),
        ("fragments.mp4", include_bytes!("../../tests/fixtures/recordings/fragments.mp4"), 2_000, 2_200),
        ("tone.webm", include_bytes!("../../tests/fixtures/recordings/tone.webm"), 2_000, 2_150),
        ("live.webm", include_bytes!("../../tests/fixtures/recordings/live.webm"), 2_000, 2_150),
    ];

    #[test]
    fn two_seconds_last_two_seconds_in_every_container() {
        for (name, file, least, most) in FILES {
            let milliseconds = milliseconds(file).unwrap_or_default();
            assert!((least..=most).contains(&milliseconds), "{name}: {milliseconds}");
        }
    }

    #[test]
    fn what_is_no_recording_has_no_length() {
        for file in [&b""[..], b"RIFF", b"ID3", b"hello world, this is a text", b"fLaC", b"OggS", &[0xFF; 4_000]] {
            assert_eq!(milliseconds(file), None, "{file:?}");
        }
    }

    #[test]
    fn a_part_of_a_recording_lasts_no_longer_than_the_whole() {
        for (name, file, _, most) in FILES {
            for end in (0..file.len()).step_by(97) {
                let milliseconds = milliseconds(&file[..end]);
                assert!(milliseconds.is_none_or(|part| part <= most), "{name} cut at {end}: {milliseconds:?}");
            }
        }
    }

    proptest! {
        #[test]
        fn no_file_panics(kind in 0..FILES.len(), changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..40)) {
            let mut file = FILES[kind].1.to_vec();
            for (place, byte) in changes {
                let place = place.index(file.len().min(600));
                file[place] = byte;
            }
            let _ = milliseconds(&file);
        }

        #[test]
        fn no_bytes_panic(kind in 0..7_usize, bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let begin: &[u8] = [&b"RIFF"[..], b"fLaC", b"OggS", &[0x1A, 0x45, 0xDF, 0xA3], b"\0\0\0\x08ftyp", b"ID3", b""][kind];
            let _ = milliseconds(&[begin, &bytes].concat());
        }
    }
}
