//! Builds an ONNX model node by node, and streams its weights to a data file beside it. It knows the operators of ONNX
//! and ONNX Runtime by name, and no model architecture. Every value has one name; `node` returns the name of its
//! output.

use std::io::Write;

use prost::Message;

use super::proto::{
    Attribute, Dimension, Entry, FLOAT, FLOAT16, Graph, INT32, INT64, Model, Node, Opset, Shape, Size, Tensor,
    TensorType, Type, UINT8, ValueInfo,
};

/// ONNX Runtime's own operators.
pub(super) const MICROSOFT: &str = "com.microsoft";
/// What says in a model that it was written here.
pub(super) const PRODUCER: &str = "farebox";
/// Weights begin at multiples of this number, so that a mapped file serves them in place.
const ALIGNMENT: usize = 4096;

/// An attribute's value.
#[derive(Clone, Copy)]
pub(super) enum Setting {
    Int(i64),
    Float(f32),
}

/// The attribute of quantized products that says how they are computed.
pub(super) const ACCURACY_LEVEL: &str = "accuracy_level";

/// What quantized products are computed in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Arithmetic {
    /// Their input is rounded to 8 bits.
    Bytes,
    /// 32-bit floats.
    Floats,
}

impl Arithmetic {
    /// The operator's level.
    pub(super) fn level(self) -> i64 {
        match self {
            Self::Bytes => 4,
            Self::Floats => 1,
        }
    }
}

/// A size of an input or output: fixed, or a name where the size varies.
#[derive(Clone, Copy)]
pub(super) enum Axis {
    Fixed(usize),
    Named(&'static str),
}

/// The place of some bytes in the data file.
#[derive(Clone, Copy)]
pub(super) struct Region {
    offset: u64,
    length: u64,
}

/// A model being written. `W` takes the weights.
pub(super) struct Builder<W> {
    weights: W,
    written: u64,
    data_file: String,
    arithmetic: Arithmetic,
    graph: Graph,
    metadata: Vec<Entry>,
}

impl<W: Write> Builder<W> {
    /// Begins a model whose weights go to `weights`, a file that the model calls `data_file`.
    pub(super) fn new(weights: W, data_file: &str, arithmetic: Arithmetic) -> Self {
        let graph = Graph { name: "farebox".to_owned(), ..Graph::default() };
        Self { weights, written: 0, data_file: data_file.to_owned(), arithmetic, graph, metadata: Vec::new() }
    }

    /// What quantized products are computed in.
    pub(super) fn arithmetic(&self) -> Arithmetic {
        self.arithmetic
    }

    /// Adds a note for readers of the model.
    pub(super) fn note(&mut self, key: &str, value: &str) {
        self.metadata.push(Entry { key: key.to_owned(), value: value.to_owned() });
    }

    /// Adds a node with one output, named `name`.
    pub(super) fn node(
        &mut self,
        domain: &str,
        operator: &str,
        name: &str,
        inputs: &[&str],
        settings: &[(&str, Setting)],
    ) -> String {
        self.node_to(domain, operator, inputs, &[name], settings);
        name.to_owned()
    }

    /// Adds a node with the given outputs.
    pub(super) fn node_to(
        &mut self,
        domain: &str,
        operator: &str,
        inputs: &[&str],
        outputs: &[&str],
        settings: &[(&str, Setting)],
    ) {
        let texts = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
        let attribute = settings
            .iter()
            .map(|&(name, setting)| match setting {
                Setting::Int(int) => Attribute { name: name.to_owned(), int: Some(int), kind: 2, float: None },
                Setting::Float(float) => Attribute { name: name.to_owned(), float: Some(float), kind: 1, int: None },
            })
            .collect();
        self.graph.node.push(Node {
            input: texts(inputs),
            output: texts(outputs),
            name: outputs.first().map(|name| format!("{name}/{operator}")).unwrap_or_default(),
            op_type: operator.to_owned(),
            attribute,
            domain: domain.to_owned(),
        });
    }

    /// Adds small whole numbers as a constant.
    pub(super) fn integers(&mut self, name: &str, dims: &[usize], numbers: &[i64]) -> String {
        let raw = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        self.graph.initializer.push(Tensor {
            dims: sizes(dims),
            data_type: INT64,
            name: name.to_owned(),
            raw_data: Some(raw),
            ..Tensor::default()
        });
        name.to_owned()
    }

    /// Adds one number as a constant.
    pub(super) fn number(&mut self, name: &str, number: f32) -> String {
        self.graph.initializer.push(Tensor {
            data_type: FLOAT,
            name: name.to_owned(),
            raw_data: Some(number.to_le_bytes().to_vec()),
            ..Tensor::default()
        });
        name.to_owned()
    }

    /// Writes floats to the data file.
    pub(super) fn floats(&mut self, name: &str, dims: &[usize], floats: &[f32]) -> std::io::Result<String> {
        debug_assert_eq!(dims.iter().product::<usize>(), floats.len(), "{name}");
        let bytes: Vec<u8> = floats.iter().flat_map(|float| float.to_le_bytes()).collect();
        let region = self.region(&bytes)?;
        Ok(self.view(name, FLOAT, dims, region))
    }

    /// Writes bytes to the data file.
    pub(super) fn region(&mut self, bytes: &[u8]) -> std::io::Result<Region> {
        let offset = self.written.next_multiple_of(ALIGNMENT as u64);
        let padding = usize::try_from(offset - self.written).unwrap_or(0);
        self.weights.write_all(&[0; ALIGNMENT][..padding])?;
        self.weights.write_all(bytes)?;
        self.written = offset + bytes.len() as u64;
        Ok(Region { offset, length: bytes.len() as u64 })
    }

    /// Bytes of the data file as a constant of `u8`. One region may serve several constants.
    pub(super) fn bytes(&mut self, name: &str, dims: &[usize], region: Region) -> String {
        debug_assert_eq!(dims.iter().product::<usize>() as u64, region.length, "{name}");
        self.view(name, UINT8, dims, region)
    }

    fn view(&mut self, name: &str, data_type: i32, dims: &[usize], region: Region) -> String {
        let entry = |key: &str, value: String| Entry { key: key.to_owned(), value };
        self.graph.initializer.push(Tensor {
            dims: sizes(dims),
            data_type,
            name: name.to_owned(),
            external_data: vec![
                entry("location", self.data_file.clone()),
                entry("offset", region.offset.to_string()),
                entry("length", region.length.to_string()),
            ],
            data_location: Some(1),
            ..Tensor::default()
        });
        name.to_owned()
    }

    /// Declares an input.
    pub(super) fn input(&mut self, name: &str, element: Element, axes: &[Axis]) {
        self.graph.input.push(info(name, element, axes));
    }

    /// Declares an output.
    pub(super) fn output(&mut self, name: &str, element: Element, axes: &[Axis]) {
        self.graph.output.push(info(name, element, axes));
    }

    /// Ends the data file, and returns the model's own bytes.
    pub(super) fn finish(mut self) -> std::io::Result<Vec<u8>> {
        self.weights.flush()?;
        let opset = |domain: &str, version| Opset { domain: domain.to_owned(), version };
        let model = Model {
            ir_version: 10,
            producer_name: PRODUCER.to_owned(),
            graph: Some(self.graph),
            opset_import: vec![opset("", 21), opset(MICROSOFT, 1)],
            metadata: self.metadata,
        };
        Ok(model.encode_to_vec())
    }
}

/// The element types of inputs, outputs and casts.
#[derive(Clone, Copy)]
pub(super) enum Element {
    Float,
    Half,
    Int32,
    Int64,
}

impl Element {
    pub(super) fn number(self) -> i32 {
        match self {
            Self::Float => FLOAT,
            Self::Half => FLOAT16,
            Self::Int32 => INT32,
            Self::Int64 => INT64,
        }
    }
}

/// A model that adds a number to itself, to see whether a session opens.
pub(crate) fn smallest() -> std::io::Result<Vec<u8>> {
    let mut builder = Builder::new(Vec::new(), "", Arithmetic::Floats);
    builder.input("x", Element::Float, &[Axis::Fixed(1)]);
    builder.output("y", Element::Float, &[Axis::Fixed(1)]);
    builder.node("", "Add", "y", &["x", "x"], &[]);
    builder.finish()
}

/// A model that copies half-precision numbers of any form with four axes.
pub(crate) fn copying() -> std::io::Result<Vec<u8>> {
    let mut builder = Builder::new(Vec::new(), "", Arithmetic::Floats);
    let axes = ["a", "b", "c", "d"].map(Axis::Named);
    builder.input("from", Element::Half, &axes);
    builder.output("to", Element::Half, &axes);
    builder.node("", "Identity", "to", &["from"], &[]);
    builder.finish()
}

/// A model that was written here. Another exporter's has parts that are not known here, and would lose them.
///
/// # Errors
///
/// The bytes are no model, or another exporter's: it says which.
pub(super) fn read_own(model: &[u8]) -> Result<Model, String> {
    let model = Model::decode(model).map_err(|error| error.to_string())?;
    if model.producer_name == PRODUCER { Ok(model) } else { Err("not written by an import of a GGUF file".to_owned()) }
}

/// The same model with its quantized products in 32-bit floats, over the same weights; `None` where they are already, or
/// there are none. The error says why the bytes are no model.
pub(crate) fn in_floats(model: &[u8]) -> Result<Option<Vec<u8>>, String> {
    let mut model = read_own(model)?;
    let nodes = model.graph.iter_mut().flat_map(|graph| &mut graph.node);
    let attributes = nodes.flat_map(|node| &mut node.attribute).filter(|one| one.name == ACCURACY_LEVEL);
    let mut changed = false;
    for attribute in attributes {
        changed |= attribute.int == Some(Arithmetic::Bytes.level());
        attribute.int = Some(Arithmetic::Floats.level());
    }
    Ok(changed.then(|| model.encode_to_vec()))
}

pub(super) fn sizes(dims: &[usize]) -> Vec<i64> {
    dims.iter().map(|&size| i64::try_from(size).unwrap_or(i64::MAX)).collect()
}

fn info(name: &str, element: Element, axes: &[Axis]) -> ValueInfo {
    let dim = axes
        .iter()
        .map(|axis| match *axis {
            Axis::Fixed(size) => Size::Fixed(i64::try_from(size).unwrap_or(i64::MAX)),
            Axis::Named(name) => Size::Named(name.to_owned()),
        })
        .map(|size| Dimension { size: Some(size) })
        .collect();
    let tensor = TensorType { element: element.number(), shape: Some(Shape { dim }) };
    ValueInfo { name: name.to_owned(), kind: Some(Type { tensor: Some(tensor) }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_written_here_is_changed() {
        let of = |arithmetic: Arithmetic| {
            let mut builder = Builder::new(Vec::new(), "data", arithmetic);
            let settings = [(ACCURACY_LEVEL, Setting::Int(arithmetic.level()))];
            builder.node(MICROSOFT, "MatMulNBits", "y", &["x"], &settings);
            builder.finish().unwrap()
        };
        assert_eq!(in_floats(&of(Arithmetic::Bytes)).unwrap(), Some(of(Arithmetic::Floats)));
        assert_eq!(in_floats(&of(Arithmetic::Floats)).unwrap(), None);
        let foreign = Model { producer_name: "pytorch".to_owned(), ..Model::default() };
        assert!(in_floats(&foreign.encode_to_vec()).unwrap_err().contains("not written"));
        assert!(in_floats(b"no model").is_err());
    }
}
