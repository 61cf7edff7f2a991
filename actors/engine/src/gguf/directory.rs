//! An opened GGUF file: its metadata, its tensor directory, and the bytes of one tensor at a time. The whole directory
//! is checked when the file is opened: keys and names are unique, sizes are whole blocks, and every tensor is inside
//! the file, aligned, and overlaps no other. It remembers which tensors were read, so that an importer can find the
//! tensors that it left out.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use super::blocks::{Kind, dequantize};
use super::value::{Cursor, Value};
use super::{GgufError, parts};

/// The most metadata keys; models have fewer than a hundred.
const MOST_KEYS: u64 = 4_096;
/// The most tensors; the largest models have a few thousand.
const MOST_TENSORS: u64 = 65_536;
/// The most bytes of a name.
const LONGEST_NAME: usize = 512;

/// One tensor of the directory.
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor {
    /// The tensor's name.
    pub name: String,
    /// The sizes, innermost dimension (elements of a row) first, as in GGUF.
    pub dimensions: Vec<u64>,
    /// The storage of the elements.
    pub kind: Kind,
    /// The index of the source that has the tensor.
    source: usize,
    /// Where the tensor's bytes begin in its source.
    offset: u64,
    /// The number of bytes.
    bytes: u64,
}

impl Tensor {
    /// The number of elements.
    pub fn elements(&self) -> u64 {
        self.dimensions.iter().product()
    }

    /// The number of elements in a row.
    pub fn columns(&self) -> usize {
        self.dimensions.first().map_or(0, |&width| usize::try_from(width).unwrap_or(usize::MAX))
    }

    /// The number of rows.
    pub fn rows(&self) -> usize {
        self.dimensions.get(1..).map_or(0, |rest| usize::try_from(rest.iter().product::<u64>()).unwrap_or(usize::MAX))
    }
}

/// An opened file.
#[derive(Debug)]
pub struct Gguf<R = BufReader<File>> {
    /// The file, or the parts of a model in several files.
    sources: Vec<R>,
    metadata: HashMap<String, Value>,
    tensors: HashMap<String, Tensor>,
    /// Names of tensors whose bytes were read.
    taken: HashSet<String>,
}

impl Gguf {
    /// Opens a file, or all files of a model of which this is a part.
    ///
    /// # Errors
    ///
    /// A file can't be opened, or [`Self::read`] refuses it, or the parts don't make a whole.
    pub fn open(path: &Path) -> Result<Self, GgufError> {
        let file = Self::read_part(BufReader::new(File::open(path)?))?;
        match file.place() {
            (1, 1) => Ok(file),
            place => parts::join(path, place),
        }
    }
}

impl<R: Read + Seek> Gguf<R> {
    /// Reads metadata and directory from any seekable source.
    ///
    /// # Errors
    ///
    /// The source can't be read, is not a GGUF file of version 2 or 3, is one part of several, or contradicts the
    /// format. The error names the first problem found.
    pub fn read(source: R) -> Result<Self, GgufError> {
        let file = Self::read_part(source)?;
        match file.place() {
            (1, 1) => Ok(file),
            (part, count) => Err(GgufError::Part { name: "what was given".to_owned(), part, count }),
        }
    }

    /// Reads a file that may be one part of several.
    pub(super) fn read_part(mut source: R) -> Result<Self, GgufError> {
        let length = source.seek(SeekFrom::End(0))?;
        source.seek(SeekFrom::Start(0))?;
        let mut cursor = Cursor::new(&mut source, length);
        let magic = cursor.magic()?;
        if &magic != b"GGUF" {
            return Err(GgufError::Magic(magic));
        }
        let version = cursor.u32("the version")?;
        if !(2..=3).contains(&version) {
            let turned = (1..=3).contains(&version.swap_bytes());
            return Err(if turned { GgufError::BigEndian } else { GgufError::Version(version) });
        }
        let tensor_count = cursor.u64("the tensor count")?;
        let value_count = cursor.u64("the metadata count")?;
        if value_count > MOST_KEYS || tensor_count > MOST_TENSORS {
            let most = format!("at most {MOST_KEYS} keys and {MOST_TENSORS} tensors are read");
            return Err(GgufError::Malformed(format!("{value_count} keys and {tensor_count} tensors; {most}")));
        }
        // A value takes at least 13 bytes and a directory entry at least 24, so a count larger than the file is refused
        // here.
        let value_count = cursor.check("the metadata", value_count, 13)?;
        let mut metadata = HashMap::new();
        for _ in 0..value_count {
            let key = name(cursor.text("a metadata key")?)?;
            let value = cursor.value()?;
            if metadata.insert(key.clone(), value).is_some() {
                return Err(GgufError::Malformed(format!("the key {key} is there twice")));
            }
        }
        let tensor_count = cursor.check("the tensor directory", tensor_count, 24)?;
        let entries = (0..tensor_count).map(|_| entry(&mut cursor)).collect::<Result<Vec<_>, _>>()?;
        let alignment = alignment(&metadata)?;
        let start = cursor.position().next_multiple_of(alignment);
        let tensors = placed(entries, start, alignment, length)?;
        Ok(Self { sources: vec![source], metadata, tensors, taken: HashSet::new() })
    }

    /// Which part of a model the file is, from 1, and of how many. A file that says nothing is the whole.
    pub(super) fn place(&self) -> (u64, u64) {
        let count = self.number("split.count").unwrap_or(1).max(1);
        if count == 1 { (1, 1) } else { (self.number("split.no").unwrap_or(0).saturating_add(1), count) }
    }

    /// Takes a later part's tensors. The part must not contradict the metadata of the first.
    pub(super) fn append(&mut self, part: Self, number: u64) -> Result<(), GgufError> {
        for (key, value) in &part.metadata {
            if key != "split.no" && self.metadata.get(key) != Some(value) {
                return Err(GgufError::Malformed(format!("part {number} says {key} otherwise than the first part")));
            }
        }
        let first = self.sources.len();
        self.sources.extend(part.sources);
        for (name, tensor) in part.tensors {
            let tensor = Tensor { source: first + tensor.source, ..tensor };
            if self.tensors.insert(name.clone(), tensor).is_some() {
                return Err(GgufError::Malformed(format!("two tensors named {name}, one of them in part {number}")));
            }
        }
        if self.tensors.len() as u64 > MOST_TENSORS {
            return Err(GgufError::Malformed(format!("more than {MOST_TENSORS} tensors in all parts")));
        }
        Ok(())
    }

    /// A metadata value.
    pub fn value(&self, key: &str) -> Option<&Value> {
        self.metadata.get(key)
    }

    /// A metadata value that is a text.
    pub fn text(&self, key: &str) -> Option<&str> {
        match self.value(key)? {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// A metadata value that is an array of texts. An empty array of any type counts.
    pub fn texts(&self, key: &str) -> Option<&[String]> {
        match self.value(key)? {
            Value::Texts(texts) => Some(texts),
            Value::Integers(none) if none.is_empty() => Some(&[]),
            _ => None,
        }
    }

    /// A metadata value that is a whole number and not negative.
    pub fn number(&self, key: &str) -> Option<u64> {
        match self.value(key)? {
            Value::Unsigned(number) => Some(*number),
            Value::Signed(number) => u64::try_from(*number).ok(),
            _ => None,
        }
    }

    /// A metadata value that is a number of any type, as a float.
    #[expect(clippy::cast_precision_loss, reason = "hyperparameters are small")]
    pub fn float(&self, key: &str) -> Option<f64> {
        match self.value(key)? {
            Value::Float(number) => Some(*number),
            Value::Unsigned(number) => Some(*number as f64),
            Value::Signed(number) => Some(*number as f64),
            _ => None,
        }
    }

    /// A metadata value that is a flag.
    pub fn flag(&self, key: &str) -> Option<bool> {
        match self.value(key)? {
            Value::Bool(flag) => Some(*flag),
            _ => None,
        }
    }

    /// The keys, in no order.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.metadata.keys().map(String::as_str)
    }

    /// The first tensor, by name, whose bytes were not read.
    pub fn left_out(&self) -> Option<&str> {
        self.tensors.keys().map(String::as_str).filter(|name| !self.taken.contains(*name)).min()
    }

    /// A tensor of the directory.
    pub fn tensor(&self, name: &str) -> Option<&Tensor> {
        self.tensors.get(name)
    }

    /// All tensors, in no order.
    pub fn tensors(&self) -> impl Iterator<Item = &Tensor> {
        self.tensors.values()
    }

    /// The number of parameters: the elements of the weights (`rope_freqs` is a table, not a weight).
    pub fn parameters(&self) -> u64 {
        self.tensors().filter(|tensor| !tensor.name.starts_with("rope_")).map(Tensor::elements).sum()
    }

    /// The bytes of a tensor, as stored.
    ///
    /// # Errors
    ///
    /// There is no such tensor ([`Missing`](GgufError::Missing)), or the file can't be read.
    pub fn bytes(&mut self, name: &str) -> Result<Vec<u8>, GgufError> {
        let tensor = self.tensors.get(name).ok_or_else(|| GgufError::Missing(name.to_owned()))?;
        let size = usize::try_from(tensor.bytes).map_err(|_| GgufError::Malformed(format!("{name} is too large")))?;
        let mut bytes = vec![0; size];
        let source = self.sources.get_mut(tensor.source).ok_or_else(|| GgufError::Missing(name.to_owned()))?;
        source.seek(SeekFrom::Start(tensor.offset))?;
        source.read_exact(&mut bytes)?;
        self.taken.insert(name.to_owned());
        Ok(bytes)
    }

    /// The elements of a tensor as floats, all of them finite.
    ///
    /// # Errors
    ///
    /// As for [`Self::bytes`], or an element is not a finite number ([`NotFinite`](GgufError::NotFinite)).
    pub fn floats(&mut self, name: &str) -> Result<Vec<f32>, GgufError> {
        let bytes = self.bytes(name)?;
        let kind = self.tensors.get(name).ok_or_else(|| GgufError::Missing(name.to_owned()))?.kind;
        let floats = dequantize(kind, &bytes);
        if floats.iter().all(|weight| weight.is_finite()) {
            Ok(floats)
        } else {
            Err(GgufError::NotFinite(name.to_owned()))
        }
    }
}

/// Checks that a text is a valid name.
fn name(name: String) -> Result<String, GgufError> {
    if name.is_empty() || name.len() > LONGEST_NAME || name.chars().any(char::is_control) {
        let shown: String = name.chars().take(64).collect();
        return Err(GgufError::Malformed(format!("{shown:?} is no name")));
    }
    Ok(name)
}

/// The alignment of tensors' offsets.
fn alignment(metadata: &HashMap<String, Value>) -> Result<u64, GgufError> {
    match metadata.get("general.alignment") {
        None => Ok(32),
        Some(Value::Unsigned(alignment)) if alignment.is_power_of_two() && *alignment <= 1 << 20 => Ok(*alignment),
        Some(other) => Err(GgufError::Malformed(format!("general.alignment is {other:?}"))),
    }
}

/// The tensors by name, each with its place in the file, which overlaps no other.
fn placed(
    mut entries: Vec<Tensor>,
    start: u64,
    alignment: u64,
    length: u64,
) -> Result<HashMap<String, Tensor>, GgufError> {
    entries.sort_by_key(|tensor| tensor.offset);
    let mut tensors = HashMap::with_capacity(entries.len());
    let mut before: Option<(u64, String)> = None;
    for mut tensor in entries {
        let (name, offset) = (&tensor.name, tensor.offset);
        if offset % alignment != 0 {
            let where_to = format!("tensor {name} begins at {offset}, which is no multiple of {alignment}");
            return Err(GgufError::Malformed(where_to));
        }
        let end = start.checked_add(offset).and_then(|offset| offset.checked_add(tensor.bytes));
        let Some(end) = end.filter(|end| *end <= length) else {
            let (what, left) = (format!("tensor {name}"), length.saturating_sub(start));
            return Err(GgufError::Truncated { what, needed: offset.saturating_add(tensor.bytes), left });
        };
        tensor.offset += start;
        if let Some((_, other)) = before.filter(|(end, _)| *end > tensor.offset) {
            let (one, two) = (other.as_str().min(name), other.as_str().max(name));
            return Err(GgufError::Malformed(if one == two {
                format!("two tensors named {one}")
            } else {
                format!("the tensors {one} and {two} overlap")
            }));
        }
        before = Some((end, name.clone()));
        if let Some(double) = tensors.insert(tensor.name.clone(), tensor) {
            return Err(GgufError::Malformed(format!("two tensors named {}", double.name)));
        }
    }
    Ok(tensors)
}

fn entry<R: Read>(cursor: &mut Cursor<R>) -> Result<Tensor, GgufError> {
    let name = name(cursor.text("a tensor's name")?)?;
    let rank = cursor.u32("a tensor's rank")?;
    if !(1..=4).contains(&rank) {
        return Err(GgufError::Malformed(format!("tensor {name} has {rank} dimensions")));
    }
    let dimensions = (0..rank).map(|_| cursor.u64("a tensor's dimension")).collect::<Result<Vec<_>, _>>()?;
    let number = cursor.u32("a tensor's type")?;
    let offset = cursor.u64("a tensor's offset")?;
    let Some(kind) = Kind::from_number(number) else {
        return Err(GgufError::Kind { name, kind: number });
    };
    let elements = dimensions.iter().try_fold(1_u64, |product, &size| product.checked_mul(size));
    let columns = dimensions.first().copied().unwrap_or(0);
    match elements {
        Some(elements) if elements > 0 && columns % kind.block_elements() as u64 == 0 => {
            let blocks = elements / kind.block_elements() as u64;
            let bytes = blocks.checked_mul(kind.block_bytes() as u64);
            let bytes = bytes.ok_or_else(|| GgufError::Malformed(format!("tensor {name} has {elements} elements")))?;
            Ok(Tensor { name, dimensions, kind, source: 0, offset, bytes })
        }
        Some(_) | None => Err(GgufError::Malformed(format!("tensor {name} of type {kind:?} has shape {dimensions:?}"))),
    }
}

#[cfg(test)]
mod tests;
