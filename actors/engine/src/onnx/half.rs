//! A written model's second form: the same weights in half precision, for CUDA, whose attention knows no other. What runs
//! through all layers stays in 32-bit floats. The data file is shared: floats become halves by casts that ONNX Runtime
//! folds as it loads. What the graph of the CPU computes
//! from a mask is an input here, so that no operator is left to the processor and a step can be captured as a CUDA
//! graph: `seqlens_k` (`[batch]`, the number of positions before the last one), `total_length` (a scalar, the cache's
//! positions) and `kept_rows` (the positions of the step whose scores are needed).

use std::collections::HashSet;

use prost::Message;

use super::graph::{Element, read_own};
use super::proto::{Attribute, Dimension, FLOAT, FLOAT16, Graph, Node, Shape, Size, TensorType, Type, ValueInfo};

/// The input with each sequence's last position.
pub(crate) const LAST_POSITIONS: &str = "seqlens_k";
/// The input with the cache's length.
pub(crate) const TOTAL_LENGTH: &str = "total_length";
/// The input that names the rows of scores to compute.
pub(crate) const KEPT_ROWS: &str = "kept_rows";

/// Inputs that this form does not have.
const LEFT_OUT: [&str; 2] = ["attention_mask", "num_logits_to_keep"];
/// The rotation of each position.
const ROTATIONS: &str = "rotary.cosines";
/// The value that has the kept rows of the stream.
const KEPT: &str = "kept";
const LOGITS: &str = "logits";

/// A model in half precision.
pub(crate) struct Halved {
    /// The model's own bytes.
    pub(crate) model: Vec<u8>,
    /// The positions that it has rotations for.
    pub(crate) context: usize,
}

/// The same model in half precision. Its scores are 32-bit floats.
///
/// # Errors
///
/// The bytes are no model, or none that was written by an import of a GGUF file: it says which.
pub(crate) fn in_halves(model: &[u8]) -> Result<Halved, String> {
    let mut model = read_own(model)?;
    let graph = model.graph.take().ok_or("a model without a graph")?;
    let rotations = graph.initializer.iter().find(|tensor| tensor.name == ROTATIONS);
    let context = rotations.and_then(|tensor| usize::try_from(*tensor.dims.first()?).ok());
    let context = context.ok_or_else(|| format!("no {ROTATIONS}"))?;
    model.graph = Some(halved(graph)?);
    Ok(Halved { model: model.encode_to_vec(), context })
}

fn halved(mut graph: Graph) -> Result<Graph, String> {
    let stream = graph.node.iter().find(|node| makes(node, KEPT)).and_then(|node| node.input.first().cloned());
    let stream = stream.ok_or_else(|| format!("no node makes {KEPT}"))?;
    let is_left_out = |name: &str| {
        let is_of = |group: &str| name.strip_prefix(group).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        LEFT_OUT.contains(&name) || [LAST_POSITIONS, TOTAL_LENGTH, KEPT, "lengths"].into_iter().any(is_of)
    };
    graph.input.retain(|input| !is_left_out(&input.name));
    graph.node.retain(|node| !node.output.iter().any(|name| is_left_out(name)));
    graph.initializer.retain(|tensor| !is_left_out(&tensor.name));
    graph.input.extend([
        input(LAST_POSITIONS, Element::Int32, &["batch_size"]),
        input(TOTAL_LENGTH, Element::Int32, &[]),
        input(KEPT_ROWS, Element::Int64, &["kept_length"]),
    ]);
    for value in graph.input.iter_mut().chain(&mut graph.output).filter(|value| value.name != LOGITS) {
        let tensor = value.kind.iter_mut().find_map(|kind| kind.tensor.as_mut());
        if let Some(tensor) = tensor.filter(|tensor| tensor.element == FLOAT) {
            tensor.element = FLOAT16;
        }
    }
    let floats = graph.initializer.iter().filter(|tensor| tensor.data_type == FLOAT);
    let mut values = Values { floats: floats.map(|tensor| tensor.name.clone()).collect(), ..Values::default() };
    values.halves.extend(graph.input.iter().filter(|input| input.name.starts_with("past_")).map(|it| it.name.clone()));
    for mut node in graph.node {
        for output in node.output.iter_mut().filter(|output| *output == LOGITS) {
            *output = format!("{LOGITS}/half");
        }
        // The head's product reads the kept rows, so they come right before it.
        if node.input.iter().any(|name| name == KEPT) && !values.has(KEPT) {
            let axis = Attribute { name: "axis".to_owned(), int: Some(1), kind: 2, float: None };
            values.push(Node { attribute: vec![axis], ..self::node("Gather", &[&stream, KEPT_ROWS], KEPT) });
        }
        values.push(node);
    }
    let logits = format!("{LOGITS}/half");
    values.nodes.push(cast(&logits, LOGITS, FLOAT));
    Ok(Graph { node: values.nodes, ..graph })
}

/// Operators that compute in 32-bit floats: what runs through all layers, and its norms. Sums of many layers are beyond
/// half precision in some models.
const WIDE: [&str; 2] = ["Add", "SimplifiedLayerNormalization"];

/// The nodes written so far, and the values that they made.
#[derive(Default)]
struct Values {
    nodes: Vec<Node>,
    floats: HashSet<String>,
    halves: HashSet<String>,
}

impl Values {
    fn has(&self, name: &str) -> bool {
        self.floats.contains(name) || self.halves.contains(name)
    }

    /// Adds a node in its precision; what it reads in another one is cast, once.
    fn push(&mut self, mut node: Node) {
        let is_wide = WIDE.contains(&node.op_type.as_str());
        for input in &mut node.input {
            let (from, to, element) = if is_wide {
                (&mut self.halves, &mut self.floats, FLOAT)
            } else {
                (&mut self.floats, &mut self.halves, FLOAT16)
            };
            if !from.contains(input) || to.contains(input) {
                continue;
            }
            let name = format!("{input}/{}", if is_wide { "float" } else { "half" });
            if to.insert(name.clone()) {
                self.nodes.push(cast(input, &name, element));
            }
            *input = name;
        }
        let made = if is_wide { &mut self.floats } else { &mut self.halves };
        made.extend(node.output.iter().cloned());
        self.nodes.push(node);
    }
}

fn makes(node: &Node, name: &str) -> bool {
    node.output.iter().any(|output| output == name)
}

fn node(operator: &str, inputs: &[&str], output: &str) -> Node {
    Node {
        input: inputs.iter().map(|&name| name.to_owned()).collect(),
        output: vec![output.to_owned()],
        name: format!("{output}/{operator}"),
        op_type: operator.to_owned(),
        ..Node::default()
    }
}

fn cast(from: &str, to: &str, element: i32) -> Node {
    let attribute = Attribute { name: "to".to_owned(), int: Some(element.into()), kind: 2, float: None };
    Node { attribute: vec![attribute], ..node("Cast", &[from], to) }
}

fn input(name: &str, element: Element, axes: &[&str]) -> ValueInfo {
    let dim = axes.iter().map(|&axis| Dimension { size: Some(Size::Named(axis.to_owned())) }).collect();
    let tensor = TensorType { element: element.number(), shape: Some(Shape { dim }) };
    ValueInfo { name: name.to_owned(), kind: Some(Type { tensor: Some(tensor) }) }
}

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::super::graph::PRODUCER;
    use super::super::proto::Model;
    use super::*;

    fn reads(inputs: &[&str], values: &mut Values, operator: &str, output: &str) -> Vec<String> {
        values.push(node(operator, inputs, output));
        values.nodes.last().map(|node| node.input.clone()).unwrap_or_default()
    }

    #[test]
    fn a_value_is_cast_once_to_each_precision_that_reads_it() {
        let mut values = Values { floats: HashSet::from(["weight".to_owned()]), ..Values::default() };
        assert_eq!(reads(&["ids", "weight"], &mut values, "Gather", "stream"), ["ids", "weight/half"]);
        assert_eq!(reads(&["stream", "weight"], &mut values, "Add", "sum"), ["stream/float", "weight"]);
        assert_eq!(reads(&["sum", "weight"], &mut values, "MatMul", "product"), ["sum/half", "weight/half"]);
        assert_eq!(reads(&["sum", "product"], &mut values, "Add", "next"), ["sum", "product/float"]);
        let casts = values.nodes.iter().filter(|node| node.op_type == "Cast").count();
        assert_eq!((casts, values.nodes.len()), (4, 8), "each was cast once");
    }

    #[test]
    fn a_model_of_others_is_refused() {
        let foreign = Model { producer_name: "pytorch".to_owned(), ..Model::default() };
        assert!(in_halves(&foreign.encode_to_vec()).is_err_and(|reason| reason.contains("not written")));
        let empty = Model { producer_name: PRODUCER.to_owned(), ..Model::default() };
        assert!(in_halves(&empty.encode_to_vec()).is_err_and(|reason| reason.contains("without a graph")));
        assert!(in_halves(b"no model").is_err());
    }
}
