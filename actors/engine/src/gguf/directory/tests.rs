//! The directory of small files, whole and wrong.

use std::io::Cursor as Bytes;

use proptest::prelude::*;

use super::*;

fn text(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text.as_bytes());
}

/// A whole small file: two keys, one array, one F32 tensor of four elements.
fn sample() -> Vec<u8> {
    let mut out = b"GGUF".to_vec();
    out.extend(3_u32.to_le_bytes());
    out.extend(1_u64.to_le_bytes());
    out.extend(3_u64.to_le_bytes());
    text(&mut out, "general.architecture");
    out.extend(8_u32.to_le_bytes());
    text(&mut out, "llama");
    text(&mut out, "llama.block_count");
    out.extend(4_u32.to_le_bytes());
    out.extend(2_u32.to_le_bytes());
    text(&mut out, "tokens");
    out.extend(9_u32.to_le_bytes());
    out.extend(8_u32.to_le_bytes());
    out.extend(2_u64.to_le_bytes());
    text(&mut out, "a");
    text(&mut out, "b");
    text(&mut out, "weight");
    out.extend(2_u32.to_le_bytes());
    out.extend(2_u64.to_le_bytes());
    out.extend(2_u64.to_le_bytes());
    out.extend(0_u32.to_le_bytes());
    out.extend(0_u64.to_le_bytes());
    out.resize(out.len().next_multiple_of(32), 0);
    for number in [1.0_f32, 2.0, 3.0, 4.0] {
        out.extend(number.to_le_bytes());
    }
    out
}

#[test]
fn a_small_file_is_read_whole() {
    let mut file = Gguf::read(Bytes::new(sample())).unwrap();
    assert_eq!(file.text("general.architecture"), Some("llama"));
    assert_eq!(file.number("llama.block_count"), Some(2));
    assert_eq!(file.texts("tokens").unwrap(), ["a", "b"]);
    assert_eq!(file.parameters(), 4);
    assert_eq!(file.floats("weight").unwrap(), [1.0, 2.0, 3.0, 4.0]);
}

/// The error message for a file changed at a place.
fn refused(change: impl FnOnce(&mut Vec<u8>)) -> String {
    let mut bytes = sample();
    change(&mut bytes);
    Gguf::read(Bytes::new(bytes)).unwrap_err().to_string()
}

/// The place of a text in the sample.
fn place(text: &str) -> usize {
    sample().windows(text.len()).position(|window| window == text.as_bytes()).unwrap()
}

/// A file of these tensors: F32 rows of eight elements at an offset, with room for four rows.
fn tensors(list: &[(&str, u64)]) -> Result<Gguf<Bytes<Vec<u8>>>, GgufError> {
    let mut out = b"GGUF".to_vec();
    out.extend(3_u32.to_le_bytes());
    out.extend((list.len() as u64).to_le_bytes());
    out.extend(0_u64.to_le_bytes());
    for (name, offset) in list {
        text(&mut out, name);
        out.extend(1_u32.to_le_bytes());
        out.extend(8_u64.to_le_bytes());
        out.extend(0_u32.to_le_bytes());
        out.extend(offset.to_le_bytes());
    }
    out.resize(out.len().next_multiple_of(32) + 4 * 32, 0);
    Gguf::read(Bytes::new(out))
}

#[test]
fn what_is_not_a_file_of_this_kind_is_told_in_words() {
    assert!(refused(|bytes| bytes[4..8].copy_from_slice(&3_u32.to_be_bytes())).contains("big-endian"));
    assert!(refused(|bytes| bytes[4] = 1).contains("version 1"));
    let kind = place("weight") + "weight".len() + 4 + 16;
    for (number, name) in [(9, "Q8_1"), (15, "Q8_K"), (16, "IQ2_XXS"), (20, "IQ4_NL"), (77, "77")] {
        let message = refused(|bytes| bytes[kind] = number);
        assert!(message.contains(name) && message.contains("weight"), "{message}");
    }
}

#[test]
fn a_part_of_a_split_model_says_which() {
    let mut out = b"GGUF\x03\0\0\0".to_vec();
    out.extend(0_u64.to_le_bytes());
    out.extend(2_u64.to_le_bytes());
    for (key, value) in [("split.no", 0_u16), ("split.count", 3)] {
        text(&mut out, key);
        out.extend(2_u32.to_le_bytes());
        out.extend(value.to_le_bytes());
    }
    let message = Gguf::read(Bytes::new(out)).unwrap_err().to_string();
    assert!(message.contains("part 1 of 3") && message.contains("NAME-00001-of-00003.gguf"), "{message}");
}

#[test]
fn keys_and_tensors_are_there_once_and_apart() {
    let message = refused(|bytes| {
        // The array's key becomes a second key of six letters, so that `tokens` comes twice.
        let at = place("general.architecture");
        bytes.splice(at - 8..at + 20, [6, 0, 0, 0, 0, 0, 0, 0].into_iter().chain(*b"tokens"));
    });
    assert!(message.contains("tokens is there twice"), "{message}");
    let said = |list: &[(&str, u64)]| tensors(list).unwrap_err().to_string();
    assert!(tensors(&[("a", 0), ("b", 32), ("c", 96)]).is_ok());
    assert!(said(&[("a", 0), ("a", 64)]).contains("two tensors named a"));
    assert!(said(&[("b", 0), ("a", 0)]).contains("a and b overlap"));
    assert!(said(&[("a", 4)]).contains("tensor a begins at 4"));
    let beyond = said(&[("a", 0), ("late", 128)]);
    assert!(beyond.contains("late") && beyond.contains("cut"), "{beyond}");
    assert!(said(&[("", 0)]).contains("no name"));
}

#[test]
fn absurd_counts_and_texts_that_are_none_are_refused() {
    for at in [8, 16] {
        let message = refused(|bytes| bytes[at..at + 8].copy_from_slice(&100_000_u64.to_le_bytes()));
        assert!(message.contains("100000"), "{message}");
    }
    assert!(refused(|bytes| bytes[place("llama") + 1] = 0xff).contains("not UTF-8"));
    assert!(refused(|bytes| bytes[place("weight")] = 0xff).contains("not UTF-8"));
}

#[test]
fn what_was_not_read_is_known_and_weights_are_finite() {
    let mut file = tensors(&[("a", 0), ("b", 32)]).unwrap();
    assert_eq!(file.left_out(), Some("a"));
    file.floats("a").unwrap();
    assert_eq!(file.left_out(), Some("b"));
    for weight in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let mut bytes = sample();
        let end = bytes.len();
        bytes[end - 4..].copy_from_slice(&weight.to_le_bytes());
        let error = Gguf::read(Bytes::new(bytes)).unwrap().floats("weight").unwrap_err();
        assert!(matches!(error, GgufError::NotFinite(name) if name == "weight"));
    }
}

#[test]
fn every_truncation_is_an_error() {
    let whole = sample();
    for length in 0..whole.len() {
        assert!(Gguf::read(Bytes::new(whole[..length].to_vec())).is_err(), "{length}");
    }
}

#[test]
fn claimed_sizes_never_allocate_beyond_the_file() {
    for at in 8..sample().len() - 8 {
        let mut bytes = sample();
        bytes[at..at + 8].copy_from_slice(&u64::MAX.to_le_bytes());
        let _ = Gguf::read(Bytes::new(bytes)).map(|mut file| file.floats("weight").map(|floats| floats.len()));
    }
}

proptest! {
    #[test]
    fn garbage_is_an_error_and_never_a_panic(
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..24),
    ) {
        let mut bytes = sample();
        for (at, byte) in edits {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Ok(mut file) = Gguf::read(Bytes::new(bytes)) {
            let _ = file.floats("weight");
        }
    }
}
