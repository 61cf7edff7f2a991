//! What an ONNX file says of itself, read before anything runs it: the names of its inputs and outputs, how many weights it
//! has, and which files beside it have the others. Nothing in it is trusted. Names of files are single names, without a
//! way out of the folder, wherever in the graph they stand; counts and depths are limited; and nothing is allocated that
//! is larger than the file. The numbers of the fields are those of `onnx.proto`.

use std::{
    collections::{BTreeMap, HashMap},
    fs::{self, File},
    io::{self, Read as _},
    path::{Component, Path},
};

use super::{
    ImportError,
    wire::{Fields, Malformed, Value, number},
};

/// The most bytes of a model without its weights' files: what a protocol buffer may have.
const LARGEST: u64 = 2 << 30;
/// The most nodes, weights and files of weights of a model. The largest have some ten thousand.
const MOST_NODES: usize = 1 << 20;
const MOST_WEIGHTS: usize = 1 << 18;
const MOST_FILES: usize = 1_000;
/// How deep graphs stand in graphs.
const DEEPEST: usize = 8;
/// Endings of files that are no weights.
const NO_WEIGHTS: [&str; 3] = [".onnx", ".json", ".jinja"];

/// What a model says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Graph {
    /// The names of its inputs, without those that have a value of their own.
    pub(crate) inputs: Vec<String>,
    /// The names of its outputs.
    pub(crate) outputs: Vec<String>,
    /// The number of its weights, quantized ones counted as what they stand for.
    pub(crate) parameters: u64,
    /// The files beside it that have weights, and how long each must be.
    pub(crate) data: BTreeMap<String, u64>,
    /// How many layers of attention could share their caches.
    pub(crate) sharing_layers: usize,
}

impl Graph {
    /// Reads a model's file, and checks the files that it names.
    ///
    /// # Errors
    ///
    /// The file can't be read, contradicts the format, or has what is not supported; or a file that it names would be
    /// outside its folder, is missing or too short. The error names the file.
    pub(crate) fn open(model: &Path) -> Result<Self, ImportError> {
        let failed = |reason: String| ImportError::Refused(format!("{}: {reason}", model.display()));
        let bytes = read(model).map_err(|error| failed(error.to_string()))?;
        let graph = Self::read(&bytes).map_err(failed)?;
        for (name, needed) in &graph.data {
            match fs::metadata(model.with_file_name(name)) {
                Ok(data) if data.is_file() && data.len() >= *needed => {}
                Ok(data) => {
                    let found = data.len();
                    return Err(failed(format!("its weights need {needed} bytes of {name}, which has {found}")));
                }
                Err(error) => return Err(failed(format!("its weights are in {name}, which can't be read: {error}"))),
            }
        }
        Ok(graph)
    }

    /// Reads a model's bytes. The error says what is wrong with them.
    pub(crate) fn read(bytes: &[u8]) -> Result<Self, String> {
        let mut reader = Reader::default();
        let mut graphs = 0;
        for field in Fields::of(bytes) {
            match field? {
                (7, Value::Bytes(graph)) => {
                    graphs += 1;
                    reader.graph(graph, 0)?;
                }
                (20, _) => return Err("it is a model in training".to_owned()),
                (25, Value::Bytes(function)) => reader.function(function)?,
                _ => {}
            }
        }
        if graphs != 1 {
            return Err("it is no ONNX model".to_owned());
        }
        Ok(reader.finish())
    }
}

/// Reads a file whose size is bounded.
pub(super) fn read(path: &Path) -> io::Result<Vec<u8>> {
    let file = File::open(path)?;
    let length = file.metadata()?.len();
    if length > LARGEST {
        return Err(io::Error::other(format!("it has {length} bytes; {LARGEST} are the most")));
    }
    let mut bytes = Vec::new();
    file.take(LARGEST).read_to_end(&mut bytes)?;
    Ok(bytes)
}

impl From<Malformed> for String {
    fn from(_: Malformed) -> Self {
        "it is no ONNX model, or is cut".to_owned()
    }
}

/// A product whose weights are packed: several in one byte, or beside numbers that only scale them.
struct Packed<'a> {
    weights: &'a str,
    /// How many weights they are, if the product says so itself.
    count: Option<u64>,
    /// Weights in each byte.
    each: u64,
    /// Scales and zero points.
    others: [&'a str; 2],
}

#[derive(Default)]
struct Reader<'a> {
    inputs: Vec<&'a str>,
    outputs: Vec<&'a str>,
    /// The number of elements of each weight.
    weights: HashMap<&'a str, u64>,
    /// Elements of tensors in nodes.
    constants: u64,
    tensors: usize,
    nodes: usize,
    packed: Vec<Packed<'a>>,
    data: BTreeMap<String, u64>,
    sharing_layers: usize,
}

impl<'a> Reader<'a> {
    fn graph(&mut self, bytes: &'a [u8], depth: usize) -> Result<(), String> {
        if depth > DEEPEST {
            return Err(format!("it has graphs in graphs, more than {DEEPEST} deep"));
        }
        for field in Fields::of(bytes) {
            match field? {
                (1, Value::Bytes(node)) => self.node(node, depth)?,
                (5, Value::Bytes(tensor)) => {
                    let (name, count) = self.tensor(tensor)?;
                    if self.weights.insert(name, count).is_some() && depth == 0 {
                        return Err(format!("two weights are named {name:?}"));
                    }
                }
                (11, Value::Bytes(info)) if depth == 0 => self.inputs.push(name_of(info)?),
                (12, Value::Bytes(info)) if depth == 0 => self.outputs.push(name_of(info)?),
                (15, Value::Bytes(sparse)) => self.sparse(sparse)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn function(&mut self, bytes: &'a [u8]) -> Result<(), String> {
        for field in Fields::of(bytes) {
            if let (7, Value::Bytes(node)) = field? {
                self.node(node, 0)?;
            }
        }
        Ok(())
    }

    fn node(&mut self, bytes: &'a [u8], depth: usize) -> Result<(), String> {
        self.nodes += 1;
        if self.nodes > MOST_NODES {
            return Err(format!("it has more than {MOST_NODES} nodes"));
        }
        let (mut inputs, mut kind, mut numbers) = ([""; 4], "", Numbers::default());
        let mut place = 0;
        for field in Fields::of(bytes) {
            match field? {
                (1, Value::Bytes(input)) => {
                    if let Some(slot) = inputs.get_mut(place) {
                        *slot = text(input)?;
                    }
                    place += 1;
                }
                (4, Value::Bytes(name)) => kind = text(name)?,
                (5, Value::Bytes(attribute)) => self.attribute(attribute, depth, &mut numbers)?,
                _ => {}
            }
        }
        let [first, weights, third, fourth] = inputs;
        let each = 8 / numbers.bits.unwrap_or(4).clamp(1, 8);
        let product = numbers.k.zip(numbers.n).map(|(k, n)| k.saturating_mul(n));
        match kind {
            "GroupQueryAttention" => self.sharing_layers += 1,
            "MatMulNBits" | "MatMulBnb4" => {
                self.packed.push(Packed { weights, count: product, each, others: [third, fourth] });
            }
            "GatherBlockQuantized" => {
                self.packed.push(Packed { weights: first, count: None, each, others: [third, fourth] });
            }
            // Its weights could not be counted, and a class is a price.
            "QMoE" => return Err(format!("{kind} is not supported")),
            _ => {}
        }
        Ok(())
    }

    fn attribute(&mut self, bytes: &'a [u8], depth: usize, numbers: &mut Numbers) -> Result<(), String> {
        let (mut name, mut integer) = ("", None);
        for field in Fields::of(bytes) {
            match field? {
                (1, Value::Bytes(bytes)) => name = text(bytes)?,
                (3, Value::Number(number)) => integer = Some(number),
                (5 | 10, Value::Bytes(tensor)) => {
                    let (_, count) = self.tensor(tensor)?;
                    self.constants = self.constants.saturating_add(count);
                }
                (6 | 11, Value::Bytes(graph)) => self.graph(graph, depth + 1)?,
                (22 | 23, Value::Bytes(sparse)) => self.sparse(sparse)?,
                _ => {}
            }
        }
        match name {
            "K" => numbers.k = integer,
            "N" => numbers.n = integer,
            "bits" => numbers.bits = integer,
            _ => {}
        }
        Ok(())
    }

    fn sparse(&mut self, bytes: &'a [u8]) -> Result<(), String> {
        for field in Fields::of(bytes) {
            if let (1 | 2, Value::Bytes(tensor)) = field? {
                let (_, count) = self.tensor(tensor)?;
                self.constants = self.constants.saturating_add(count);
            }
        }
        Ok(())
    }

    /// A tensor's name and number of elements; where its elements are in a file, that is noted.
    fn tensor(&mut self, bytes: &'a [u8]) -> Result<(&'a str, u64), String> {
        self.tensors += 1;
        if self.tensors > MOST_WEIGHTS {
            return Err(format!("it has more than {MOST_WEIGHTS} weights"));
        }
        let (mut name, mut count, mut place) = ("", 1_u64, Place::default());
        let mut times = |size: u64| -> Result<(), String> {
            let size = Some(size.cast_signed()).filter(|size| *size >= 0);
            let size = size.ok_or_else(|| "a weight has a size below zero".to_owned())?;
            count = count.saturating_mul(size.unsigned_abs());
            Ok(())
        };
        for field in Fields::of(bytes) {
            match field? {
                (1, Value::Number(size)) => times(size)?,
                (1, Value::Bytes(mut sizes)) => {
                    while !sizes.is_empty() {
                        times(number(&mut sizes)?)?;
                    }
                }
                (8, Value::Bytes(bytes)) => name = text(bytes)?,
                (13, Value::Bytes(entry)) => place.read(entry)?,
                _ => {}
            }
        }
        if let Some((file, needed)) = place.checked(name)? {
            let known = self.data.entry(file.to_owned()).or_default();
            *known = needed.max(*known);
            if self.data.len() > MOST_FILES {
                return Err(format!("its weights are in more than {MOST_FILES} files"));
            }
        }
        Ok((name, count))
    }

    fn finish(mut self) -> Graph {
        for packed in &self.packed {
            // A tensor that several products read is counted once.
            if let Some(count) = self.weights.get_mut(packed.weights) {
                let least = count.saturating_mul(if packed.count.is_some() { 1 } else { packed.each });
                *count = packed.count.unwrap_or(least).max(least);
            }
            for name in packed.others {
                self.weights.remove(name);
            }
        }
        let parameters = self.weights.values().fold(self.constants, |sum, count| sum.saturating_add(*count));
        // Older exporters list weights among the inputs.
        let inputs = self.inputs.iter().filter(|name| !self.weights.contains_key(**name));
        let inputs: Vec<String> = inputs.map(|name| (*name).to_owned()).collect();
        let outputs = self.outputs.iter().map(|name| (*name).to_owned()).collect();
        Graph { inputs, outputs, parameters, data: self.data, sharing_layers: self.sharing_layers }
    }
}

/// The attributes by which a product says what it packs.
#[derive(Default)]
struct Numbers {
    k: Option<u64>,
    n: Option<u64>,
    bits: Option<u64>,
}

/// Where a tensor's elements are, if not in the model's own file.
#[derive(Default)]
struct Place<'a> {
    file: Option<&'a str>,
    offset: Option<&'a str>,
    length: Option<&'a str>,
}

impl<'a> Place<'a> {
    fn read(&mut self, bytes: &'a [u8]) -> Result<(), String> {
        let (mut key, mut value) = (None, None);
        for field in Fields::of(bytes) {
            let (slot, bytes) = match field? {
                (1, Value::Bytes(bytes)) => (&mut key, bytes),
                (2, Value::Bytes(bytes)) => (&mut value, bytes),
                _ => continue,
            };
            // Which of two counts is not said, so there is one.
            if slot.replace(text(bytes)?).is_some() {
                return Err("where a weight is, is said twice".to_owned());
            }
        }
        let slot = match key {
            Some("location") => &mut self.file,
            Some("offset") => &mut self.offset,
            Some("length") => &mut self.length,
            _ => return Ok(()),
        };
        match slot.replace(value.unwrap_or_default()) {
            None => Ok(()),
            Some(_) => Err("where a weight is, is said twice".to_owned()),
        }
    }

    /// The file, and how long it must be, for the weight of this name.
    fn checked(self, name: &str) -> Result<Option<(&'a str, u64)>, String> {
        let Some(file) = self.file else { return Ok(None) };
        let shown: String = file.chars().take(100).collect();
        if !is_beside(file) {
            return Err(format!("the weights {name:?} are in {shown:?}, which is no file of weights in its folder"));
        }
        let read = |text: Option<&str>| text.map_or(Some(0), |text| text.parse::<u64>().ok());
        let end = read(self.offset).zip(read(self.length)).and_then(|(offset, length)| offset.checked_add(length));
        let end = end.ok_or_else(|| format!("the weights {name:?} are at no place of {shown:?}"))?;
        Ok(Some((file, end)))
    }
}

/// Whether a name is that of a file of weights in the same folder, and nothing else.
fn is_beside(name: &str) -> bool {
    let mut parts = Path::new(name).components();
    let is_single = matches!((parts.next(), parts.next()), (Some(Component::Normal(part)), None) if part == name);
    let small = name.to_ascii_lowercase();
    is_single
        && name.len() <= 200
        && !name.starts_with('.')
        && !name.chars().any(|c| c.is_control() || matches!(c, '\\' | ':' | '/'))
        && !NO_WEIGHTS.iter().any(|end| small.ends_with(end))
}

fn name_of(bytes: &[u8]) -> Result<&str, String> {
    let mut name = "";
    for field in Fields::of(bytes) {
        if let (1, Value::Bytes(bytes)) = field? {
            name = text(bytes)?;
        }
    }
    Ok(name)
}

fn text(bytes: &[u8]) -> Result<&str, String> {
    std::str::from_utf8(bytes).map_err(|_| "a name is not UTF-8".to_owned())
}

#[cfg(test)]
mod tests;
