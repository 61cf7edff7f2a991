//! Texts that are looked for in what is written so far: there, begun, or not there.

/// Whether a text is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// All of it, in so many bytes.
    Whole(usize),
    /// Its beginning.
    Part,
    None,
}

/// Whether bytes begin with a text, in which space may be left out or doubled.
pub(super) fn loose(text: &str, bytes: &[u8]) -> Found {
    let mut left = text.as_bytes();
    for (at, byte) in bytes.iter().enumerate().filter(|(_, byte)| !byte.is_ascii_whitespace()) {
        left = left.trim_ascii_start();
        match left.split_first() {
            Some((first, rest)) if first == byte => left = rest,
            Some(_) => return Found::None,
            None => return Found::Whole(at),
        }
        if left.trim_ascii_start().is_empty() {
            return Found::Whole(at + 1);
        }
    }
    Found::Part
}

/// Where a text begins in bytes.
pub(super) fn find(bytes: &[u8], text: &[u8]) -> Option<usize> {
    bytes.windows(text.len()).position(|window| window == text)
}

/// The length of what can't be the beginning of `text`, nor space before it.
pub(super) fn safe(bytes: &[u8], text: &[u8]) -> usize {
    let longest = (text.len() - 1).min(bytes.len());
    let begun = (1..=longest).rev().find(|length| bytes.ends_with(&text[..*length])).unwrap_or(0);
    bytes[..bytes.len() - begun].trim_ascii_end().len()
}
