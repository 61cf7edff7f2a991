//! A GGUF file opened: its metadata, its tensor directory, and the bytes of one tensor at a time. The directory is checked
//! whole when the file is opened (names unique, sizes whole blocks, every tensor inside the file).

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use super::GgufError;
use super::blocks::{Kind, dequantize};
use super::value::{Cursor, Value};

/// One tensor of the directory.
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor {
    /// Its name.
    pub name: String,
    /// Elements a row (the innermost dimension first, as GGUF has it).
    pub dimensions: Vec<u64>,
    /// How its elements are stored.
    pub kind: Kind,
    /// Where its bytes begin in the file.
    offset: u64,
    /// How many bytes it has.
    bytes: u64,
}

impl Tensor {
    /// How many elements it has.
    pub fn elements(&self) -> u64 {
        self.dimensions.iter().product()
    }

    /// Elements a row.
    pub fn columns(&self) -> usize {
        self.dimensions.first().map_or(0, |&width| usize::try_from(width).unwrap_or(usize::MAX))
    }

    /// How many rows it has.
    pub fn rows(&self) -> usize {
        self.dimensions.get(1..).map_or(0, |rest| usize::try_from(rest.iter().product::<u64>()).unwrap_or(usize::MAX))
    }
}

/// An opened file.
#[derive(Debug)]
pub struct Gguf<R = BufReader<File>> {
    source: R,
    metadata: HashMap<String, Value>,
    tensors: HashMap<String, Tensor>,
}

impl Gguf {
    /// Opens a file.
    pub fn open(path: &Path) -> Result<Self, GgufError> {
        Self::read(BufReader::new(File::open(path)?))
    }
}

impl<R: Read + Seek> Gguf<R> {
    /// Reads metadata and directory from any seekable source.
    pub fn read(mut source: R) -> Result<Self, GgufError> {
        let length = source.seek(SeekFrom::End(0))?;
        source.seek(SeekFrom::Start(0))?;
        let mut cursor = Cursor::new(&mut source, length);
        let magic = cursor.magic()?;
        if &magic != b"GGUF" {
            return Err(GgufError::Magic(magic));
        }
        let version = cursor.u32("the version")?;
        if !(2..=3).contains(&version) {
            return Err(GgufError::Version(version));
        }
        let tensor_count = cursor.u64("the tensor count")?;
        let value_count = cursor.u64("the metadata count")?;
        // A value takes at least 13 bytes, a directory entry at least 24: neither count can ask for more than the file.
        let value_count = cursor.check("the metadata", value_count, 13)?;
        let mut metadata = HashMap::new();
        for _ in 0..value_count {
            let key = cursor.text("a metadata key")?;
            let value = cursor.value()?;
            metadata.insert(key, value);
        }
        let tensor_count = cursor.check("the tensor directory", tensor_count, 24)?;
        let entries = (0..tensor_count).map(|_| entry(&mut cursor)).collect::<Result<Vec<_>, _>>()?;
        let start = data_start(&metadata, cursor.position())?;
        let mut tensors = HashMap::new();
        for mut tensor in entries {
            let end = start.checked_add(tensor.offset).and_then(|offset| offset.checked_add(tensor.bytes));
            match end {
                Some(end) if end <= length => tensor.offset += start,
                Some(_) | None => {
                    let left = length.saturating_sub(start);
                    let needed = tensor.offset.saturating_add(tensor.bytes);
                    return Err(GgufError::Truncated { what: "a tensor", needed, left });
                }
            }
            if let Some(double) = tensors.insert(tensor.name.clone(), tensor) {
                return Err(GgufError::Malformed(format!("two tensors named {}", double.name)));
            }
        }
        Ok(Self { source, metadata, tensors })
    }

    /// A metadata value.
    pub fn value(&self, key: &str) -> Option<&Value> {
        self.metadata.get(key)
    }

    /// A text.
    pub fn text(&self, key: &str) -> Option<&str> {
        match self.value(key)? {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// An array of texts.
    pub fn texts(&self, key: &str) -> Option<&[String]> {
        match self.value(key)? {
            Value::Texts(texts) => Some(texts),
            _ => None,
        }
    }

    /// A whole number that is not negative.
    pub fn number(&self, key: &str) -> Option<u64> {
        match self.value(key)? {
            Value::Unsigned(number) => Some(*number),
            Value::Signed(number) => u64::try_from(*number).ok(),
            _ => None,
        }
    }

    /// A number of any kind, as a float.
    #[expect(clippy::cast_precision_loss, reason = "hyperparameters are small")]
    pub fn float(&self, key: &str) -> Option<f64> {
        match self.value(key)? {
            Value::Float(number) => Some(*number),
            Value::Unsigned(number) => Some(*number as f64),
            Value::Signed(number) => Some(*number as f64),
            _ => None,
        }
    }

    /// A flag.
    pub fn flag(&self, key: &str) -> Option<bool> {
        match self.value(key)? {
            Value::Bool(flag) => Some(*flag),
            _ => None,
        }
    }

    /// A tensor of the directory.
    pub fn tensor(&self, name: &str) -> Option<&Tensor> {
        self.tensors.get(name)
    }

    /// All tensors, in no order.
    pub fn tensors(&self) -> impl Iterator<Item = &Tensor> {
        self.tensors.values()
    }

    /// How many parameters the model has: the elements of its weights (`rope_freqs` is a table, not a weight).
    pub fn parameters(&self) -> u64 {
        self.tensors().filter(|tensor| !tensor.name.starts_with("rope_")).map(Tensor::elements).sum()
    }

    /// The bytes of a tensor, as stored.
    pub fn bytes(&mut self, name: &str) -> Result<Vec<u8>, GgufError> {
        let tensor = self.tensors.get(name).ok_or_else(|| GgufError::Missing(name.to_owned()))?;
        let size = usize::try_from(tensor.bytes).map_err(|_| GgufError::Malformed(format!("{name} is too large")))?;
        let mut bytes = vec![0; size];
        self.source.seek(SeekFrom::Start(tensor.offset))?;
        self.source.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    /// The elements of a tensor as floats.
    pub fn floats(&mut self, name: &str) -> Result<Vec<f32>, GgufError> {
        let bytes = self.bytes(name)?;
        let kind = self.tensors.get(name).ok_or_else(|| GgufError::Missing(name.to_owned()))?.kind;
        Ok(dequantize(kind, &bytes))
    }
}

/// Where tensor data begins: after the directory, aligned.
fn data_start(metadata: &HashMap<String, Value>, position: u64) -> Result<u64, GgufError> {
    let alignment = match metadata.get("general.alignment") {
        None => 32,
        Some(Value::Unsigned(alignment)) if alignment.is_power_of_two() && *alignment <= 1 << 20 => *alignment,
        Some(other) => return Err(GgufError::Malformed(format!("general.alignment is {other:?}"))),
    };
    Ok(position.next_multiple_of(alignment))
}

fn entry<R: Read>(cursor: &mut Cursor<R>) -> Result<Tensor, GgufError> {
    let name = cursor.text("a tensor's name")?;
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
            Ok(Tensor { name, dimensions, kind, offset, bytes })
        }
        Some(_) | None => Err(GgufError::Malformed(format!("tensor {name} of type {kind:?} has shape {dimensions:?}"))),
    }
}

#[cfg(test)]
mod tests {
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
}
