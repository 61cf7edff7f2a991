//! The same model for runs of several tokens of one sequence, each computed to the bit as in a run of its own. All
//! operators but attention compute a row as they compute it alone; attention takes other kernels for several tokens than
//! for one. So here each layer's attention is a chain, one token after the other: a token's past is the present of the
//! one before. All of them are outputs, so that one buffer can be the past and each present, and nothing is copied.

use prost::Message;

use super::graph::{read_own, sizes};
use super::proto::{FLOAT, Graph, INT32, INT64, Node, Tensor, UINT8};

/// A weight in a model's data file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Weight {
    /// Its name in the model.
    pub(crate) name: String,
    /// What it consists of.
    pub(crate) element: WeightElement,
    /// Its dimensions.
    pub(crate) dims: Vec<i64>,
    /// Where its bytes are in the data file.
    pub(crate) bytes: std::ops::Range<usize>,
}

/// What a weight consists of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WeightElement {
    /// 32-bit floats.
    Float,
    /// Bytes.
    Byte,
}

/// A model for several tokens at a time.
#[derive(Debug)]
pub(crate) struct Unrolled {
    /// The model's own bytes.
    pub(crate) model: Vec<u8>,
    /// The weights that it has in common with the model that it was made of.
    pub(crate) weights: Vec<Weight>,
    /// The data file's name.
    pub(crate) data_file: String,
}

/// The output with what was present after token `at` of a chain, which has the name of the model's own after the last.
pub(crate) fn present(name: &str, at: usize, tokens: usize) -> String {
    if at + 1 == tokens { name.to_owned() } else { format!("{name}/{at}") }
}

/// Makes of a model one for runs of so many tokens. `None` where it was not written here, or is of another form.
pub(crate) fn unrolled(model: &[u8], tokens: usize) -> Option<Unrolled> {
    let mut model = read_own(model).ok()?;
    if tokens < 2 {
        return None;
    }
    let graph = model.graph.as_mut()?;
    let (data_file, weights) = weights(graph)?;
    let nodes = std::mem::take(&mut graph.node);
    // The first attention and what comes before it; lengths are known there.
    let mut chains = 0;
    for node in nodes {
        if node.op_type == ATTENTION {
            if chains == 0 {
                lengths(graph, &node, tokens);
            }
            chains += 1;
            chain(graph, &node, tokens)?;
        } else {
            graph.node.push(node);
        }
    }
    (chains > 0).then(|| Unrolled { model: model.encode_to_vec(), weights, data_file })
}

const ATTENTION: &str = "GroupQueryAttention";
/// The attention's inputs: queries, keys and values, the past, the two lengths, and the two tables of the rotation.
const INPUTS: usize = 9;
const PAST: usize = 3;
const LENGTHS: [usize; 2] = [5, 6];

/// The weights in the data file, and its name; `None` where they are not of a known form.
fn weights(graph: &Graph) -> Option<(String, Vec<Weight>)> {
    let mut file = None;
    let mut weights = Vec::new();
    for tensor in graph.initializer.iter().filter(|tensor| tensor.data_location == Some(1)) {
        let entry = |key: &str| tensor.external_data.iter().find(|entry| entry.key == key).map(|entry| &entry.value);
        let number = |key: &str| entry(key).and_then(|text| text.parse::<usize>().ok());
        let (offset, length) = (number("offset")?, number("length")?);
        let (element, size) = match tensor.data_type {
            FLOAT => (WeightElement::Float, size_of::<f32>()),
            UINT8 => (WeightElement::Byte, 1),
            _ => return None,
        };
        let product = |all: usize, dim: &i64| all.checked_mul(usize::try_from(*dim).ok()?);
        if tensor.dims.iter().try_fold(size, product) != Some(length)
            || file.get_or_insert(entry("location")?) != &entry("location")?
        {
            return None;
        }
        let bytes = offset..offset.checked_add(length)?;
        weights.push(Weight { name: tensor.name.clone(), element, dims: tensor.dims.clone(), bytes });
    }
    Some((file?.clone(), weights))
}

/// Adds both lengths as they are at each token: the whole less the tokens that come after it.
fn lengths(graph: &mut Graph, attention: &Node, tokens: usize) {
    let ones = vec![1_i64; tokens].iter().flat_map(|one| one.to_le_bytes()).collect();
    graph.initializer.push(constant(EACH, INT64, &[tokens], ones));
    for at in 0..tokens - 1 {
        let after = i32::try_from(tokens - 1 - at).unwrap_or(i32::MAX);
        let name = format!("unrolled/after{at}");
        graph.initializer.push(constant(&name, INT32, &[], after.to_le_bytes().to_vec()));
        for length in LENGTHS.map(|at| attention.input.get(at).cloned().unwrap_or_default()) {
            let to = present(&length, at, tokens);
            graph.node.push(node("Sub", &[&length, &name], &[&to]));
        }
    }
}

/// One token of each part of a split.
const EACH: &str = "unrolled/each";

/// Adds one layer's attention, token by token. `None` where it has inputs that are not known here.
fn chain(graph: &mut Graph, attention: &Node, tokens: usize) -> Option<()> {
    let [output, presents @ ..] = &attention.output[..] else { return None };
    if attention.input.len() != INPUTS || presents.len() != 2 {
        return None;
    }
    let part = |name: &str, at: usize| if name.is_empty() { String::new() } else { format!("{name}/token{at}") };
    for whole in attention.input[..PAST].iter().filter(|name| !name.is_empty()) {
        let parts: Vec<String> = (0..tokens).map(|at| part(whole, at)).collect();
        let mut split = node("Split", &[whole, EACH], &[]);
        split.output = parts;
        split.attribute = vec![axis()];
        graph.node.push(split);
    }
    let mut past = attention.input[PAST..PAST + 2].to_vec();
    for at in 0..tokens {
        let mut one = attention.clone();
        one.name = format!("{}/{at}", attention.name);
        for input in &mut one.input[..PAST] {
            *input = part(input, at);
        }
        one.input[PAST..PAST + 2].clone_from_slice(&past);
        for length in LENGTHS {
            one.input[length] = present(&one.input[length], at, tokens);
        }
        past = presents.iter().map(|name| present(name, at, tokens)).collect();
        one.output = std::iter::once(part(output, at)).chain(past.iter().cloned()).collect();
        graph.node.push(one);
    }
    for (name, at) in presents.iter().flat_map(|name| (0..tokens - 1).map(move |at| (name, at))) {
        let mut info = graph.output.iter().find(|info| info.name == *name)?.clone();
        info.name = present(name, at, tokens);
        graph.output.push(info);
    }
    let parts: Vec<String> = (0..tokens).map(|at| part(output, at)).collect();
    let mut joined = node("Concat", &[], &[output]);
    joined.input = parts;
    joined.attribute = vec![axis()];
    graph.node.push(joined);
    Some(())
}

fn node(operator: &str, inputs: &[&str], outputs: &[&str]) -> Node {
    let texts = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
    Node { input: texts(inputs), output: texts(outputs), op_type: operator.to_owned(), ..Node::default() }
}

/// The axis of tokens.
fn axis() -> super::proto::Attribute {
    super::proto::Attribute { name: "axis".to_owned(), int: Some(1), kind: 2, float: None }
}

fn constant(name: &str, data_type: i32, dims: &[usize], raw: Vec<u8>) -> Tensor {
    Tensor { dims: sizes(dims), data_type, name: name.to_owned(), raw_data: Some(raw), ..Tensor::default() }
}

#[cfg(test)]
mod tests {
    use super::super::graph::{Arithmetic, Axis, Builder, Element, MICROSOFT};
    use super::super::proto::Model;
    use super::*;

    /// A model with one attention, of separate or stacked queries, keys and values.
    fn model(inputs: &[&str]) -> Vec<u8> {
        let mut builder = Builder::new(Vec::new(), "data", Arithmetic::Bytes);
        builder.floats("weight", &[2, 3], &[0.0; 6]).unwrap();
        for name in ["present.0.key", "present.0.value"] {
            builder.output(name, Element::Float, &[Axis::Fixed(1)]);
        }
        builder.node_to(MICROSOFT, ATTENTION, inputs, &["attended", "present.0.key", "present.0.value"], &[]);
        builder.node("", "Neg", "logits", &["attended"], &[]);
        builder.finish().unwrap()
    }

    const STACKED: [&str; 9] = ["qkv", "", "", "past.key", "past.value", "lengths", "total", "cosines", "sines"];

    #[test]
    fn each_token_begins_behind_the_present_of_the_one_before() {
        let unrolled = unrolled(&model(&STACKED), 3).unwrap();
        assert_eq!(unrolled.data_file, "data");
        let weight = &unrolled.weights[0];
        assert_eq!((weight.name.as_str(), &weight.dims[..], weight.bytes.clone()), ("weight", &[2, 3][..], 0..24));
        let graph = Model::decode(&unrolled.model[..]).unwrap().graph.unwrap();
        let attention: Vec<&Node> = graph.node.iter().filter(|node| node.op_type == ATTENTION).collect();
        assert_eq!(attention.len(), 3);
        assert_eq!(attention[0].input[3..7], ["past.key", "past.value", "lengths/0", "total/0"]);
        assert_eq!(attention[1].input[3..7], ["present.0.key/0", "present.0.value/0", "lengths/1", "total/1"]);
        assert_eq!(attention[2].input[3..7], ["present.0.key/1", "present.0.value/1", "lengths", "total"]);
        assert_eq!(attention[2].output, ["attended/token2", "present.0.key", "present.0.value"]);
        assert_eq!(attention[1].input[..3], ["qkv/token1", "", ""]);
        assert_eq!(graph.output.len(), 6);
        // Every value is made before it is used, and once.
        let mut made: Vec<&str> =
            ["qkv", "past.key", "past.value", "lengths", "total", "cosines", "sines", ""].to_vec();
        made.extend(graph.initializer.iter().map(|tensor| tensor.name.as_str()));
        for node in &graph.node {
            assert!(node.input.iter().all(|name| made.contains(&name.as_str())), "{node:?}");
            assert!(node.output.iter().all(|name| !made.contains(&name.as_str())), "{node:?}");
            made.extend(node.output.iter().map(String::as_str));
        }
        assert!(graph.output.iter().all(|info| made.contains(&info.name.as_str())));
    }

    #[test]
    fn other_models_are_left_alone() {
        let separate = ["q", "k", "v", "past.key", "past.value", "lengths", "total", "cosines", "sines"];
        assert!(unrolled(&model(&separate), 2).is_some());
        assert!(unrolled(&model(&STACKED), 1).is_none());
        let biased = [&STACKED[..], &["", "bias"]].concat();
        assert!(unrolled(&model(&biased), 2).is_none());
        let foreign = Model { producer_name: "pytorch".to_owned(), ..Model::decode(&model(&STACKED)[..]).unwrap() };
        assert!(unrolled(&foreign.encode_to_vec(), 2).is_none());
        assert!(unrolled(b"no model", 2).is_none());
        let none = Builder::new(Vec::new(), "data", Arithmetic::Bytes).finish().unwrap();
        assert!(unrolled(&none, 2).is_none());
    }
}
