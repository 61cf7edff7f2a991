//! Metadata values of a GGUF file, and the bounded cursor that reads them. Arrays hold values of one type; nested
//! arrays are refused, since no known key has one. Everything before the tensors is kept in memory, so its size and its
//! counts are limited whatever the file's length.

use std::io::Read;

use super::GgufError;

/// The most bytes of metadata and directory together. The largest vocabularies with their merges take 20 MB.
const MOST_HEADER: u64 = 256 << 20;
/// The most elements of an array. The largest vocabularies have half a million merges.
const MOST_ELEMENTS: u64 = 1 << 22;

/// A metadata value.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Any of the unsigned integers.
    Unsigned(u64),
    /// Any of the signed integers.
    Signed(i64),
    /// Either float.
    Float(f64),
    /// A bool.
    Bool(bool),
    /// A text.
    Text(String),
    /// An array of texts.
    Texts(Vec<String>),
    /// An array of integers or bools.
    Integers(Vec<i64>),
    /// An array of floats.
    Floats(Vec<f32>),
}

/// Reads little-endian values, and counts the remaining bytes of the file.
pub(super) struct Cursor<R> {
    source: R,
    left: u64,
    position: u64,
}

impl<R: Read> Cursor<R> {
    pub(super) fn new(source: R, length: u64) -> Self {
        Self { source, left: length, position: 0 }
    }

    pub(super) fn position(&self) -> u64 {
        self.position
    }

    /// Refuses `count` items of at least `size` bytes that don't fit into the remaining bytes.
    pub(super) fn check(&self, what: &'static str, count: u64, size: u64) -> Result<usize, GgufError> {
        let needed = count.saturating_mul(size);
        if needed > self.left {
            return Err(GgufError::Truncated { what: what.to_owned(), needed, left: self.left });
        }
        if self.position.saturating_add(needed) > MOST_HEADER {
            let most = MOST_HEADER >> 20;
            return Err(GgufError::Malformed(format!(
                "{what} goes beyond the first {most} MiB, the most there may be"
            )));
        }
        usize::try_from(count).map_err(|_| GgufError::Malformed(format!("{what}: {count} items")))
    }

    fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], GgufError> {
        self.check(what, N as u64, 1)?;
        let mut bytes = [0; N];
        self.source.read_exact(&mut bytes)?;
        self.left -= N as u64;
        self.position += N as u64;
        Ok(bytes)
    }

    pub(super) fn magic(&mut self) -> Result<[u8; 4], GgufError> {
        self.array("the magic")
    }

    pub(super) fn u32(&mut self, what: &'static str) -> Result<u32, GgufError> {
        Ok(u32::from_le_bytes(self.array(what)?))
    }

    pub(super) fn u64(&mut self, what: &'static str) -> Result<u64, GgufError> {
        Ok(u64::from_le_bytes(self.array(what)?))
    }

    pub(super) fn text(&mut self, what: &'static str) -> Result<String, GgufError> {
        let length = self.u64(what)?;
        let mut bytes = vec![0; self.check(what, length, 1)?];
        self.source.read_exact(&mut bytes)?;
        self.left -= length;
        self.position += length;
        String::from_utf8(bytes).map_err(|_| GgufError::Malformed(format!("{what} is not UTF-8")))
    }

    pub(super) fn value(&mut self) -> Result<Value, GgufError> {
        let kind = self.u32("a value's type")?;
        if kind == 9 { self.list() } else { self.scalar(kind) }
    }

    fn scalar(&mut self, kind: u32) -> Result<Value, GgufError> {
        let what = "a metadata value";
        Ok(match kind {
            0 => Value::Unsigned(u8::from_le_bytes(self.array(what)?).into()),
            1 => Value::Signed(i8::from_le_bytes(self.array(what)?).into()),
            2 => Value::Unsigned(u16::from_le_bytes(self.array(what)?).into()),
            3 => Value::Signed(i16::from_le_bytes(self.array(what)?).into()),
            4 => Value::Unsigned(self.u32(what)?.into()),
            5 => Value::Signed(i32::from_le_bytes(self.array(what)?).into()),
            6 => Value::Float(f32::from_le_bytes(self.array(what)?).into()),
            7 => Value::Bool(self.array::<1>(what)? != [0]),
            8 => Value::Text(self.text(what)?),
            10 => Value::Unsigned(self.u64(what)?),
            11 => Value::Signed(i64::from_le_bytes(self.array(what)?)),
            12 => Value::Float(f64::from_le_bytes(self.array(what)?)),
            other => return Err(GgufError::Malformed(format!("metadata value of type {other}"))),
        })
    }

    fn list(&mut self) -> Result<Value, GgufError> {
        let what = "a metadata array";
        let kind = self.u32(what)?;
        let count = self.u64(what)?;
        if count > MOST_ELEMENTS {
            return Err(GgufError::Malformed(format!("an array of {count} elements; {MOST_ELEMENTS} are the most")));
        }
        // A text takes at least the eight bytes of its length. The vectors below are no wider than the file's own
        // eight-byte scalars, and grow while narrower ones are read.
        let smallest = if matches!(kind, 8 | 10 | 11 | 12) { 8 } else { 1 };
        let count = self.check(what, count, smallest)?;
        if kind == 8 {
            return (0..count).map(|_| self.text(what)).collect::<Result<_, _>>().map(Value::Texts);
        }
        let mut integers = Vec::new();
        let mut floats = Vec::new();
        for _ in 0..count {
            match self.scalar(kind)? {
                Value::Unsigned(number) => integers
                    .push(i64::try_from(number).map_err(|_| GgufError::Malformed(format!("array element {number}")))?),
                Value::Signed(number) => integers.push(number),
                Value::Bool(flag) => integers.push(flag.into()),
                #[expect(
                    clippy::cast_possible_truncation,
                    reason = "float arrays are scores and frequencies, f32 in every known file"
                )]
                Value::Float(number) => floats.push(number as f32),
                Value::Text(_) | Value::Texts(_) | Value::Integers(_) | Value::Floats(_) => {
                    return Err(GgufError::Malformed(format!("array of type {kind}")));
                }
            }
        }
        Ok(if matches!(kind, 6 | 12) { Value::Floats(floats) } else { Value::Integers(integers) })
    }
}
