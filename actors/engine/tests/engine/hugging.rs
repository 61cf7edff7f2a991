//! The small model as an exporter writes it for a hub: an ONNX graph of standard operators, whose layer takes its past as
//! one value and gives past and present joined as another. The messages are written here field by field. The graph can
//! lie in several ways, and its weights can be in a file beside it.

use super::tiny::{HIDDEN, Tiny};

/// What is wrong with the graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lie {
    /// Nothing.
    None,
    /// What is read before does not reach the scores.
    ForgetsPast,
    /// The present is the past.
    NeverGrows,
    /// There are too few scores for the vocabulary.
    FewScores,
    /// The caches are in 16-bit floats.
    HalfCaches,
    /// It wants to be told which of two branches runs.
    Branches,
    /// It has no caches.
    NoCaches,
    /// Its positions are looked up in a table of 64.
    ShortPositions,
    /// A function that nothing calls has the operator that may share caches.
    SeemsToShare,
}

/// A file beside the model that has its weights.
pub(crate) const DATA: &str = "model.onnx_data";

const FLOAT: u64 = 1;
const INT64: u64 = 7;
const HALF: u64 = 10;
/// Numbers of an attribute's types.
const INT: u64 = 2;
const INTS: u64 = 7;

fn varint(mut rest: u64) -> Vec<u8> {
    let mut out = Vec::new();
    while rest > 0x7f {
        out.push(u8::try_from(rest & 0x7f).unwrap() | 0x80);
        rest >>= 7;
    }
    out.push(u8::try_from(rest).unwrap());
    out
}

fn number(tag: u64, value: u64) -> Vec<u8> {
    [varint(tag << 3), varint(value)].concat()
}

pub(crate) fn bytes(tag: u64, content: &[u8]) -> Vec<u8> {
    [varint(tag << 3 | 2), varint(content.len() as u64), content.to_vec()].concat()
}

fn text(tag: u64, content: &str) -> Vec<u8> {
    bytes(tag, content.as_bytes())
}

/// A model and its weights, if they are apart.
pub(crate) struct Hugging<'a> {
    tiny: &'a Tiny,
    lie: Lie,
    graph: Vec<u8>,
    data: Option<Vec<u8>>,
    nodes: usize,
    /// The name under which the weights' file is told.
    location: &'a str,
}

impl<'a> Hugging<'a> {
    /// The model's file.
    pub(crate) fn model(tiny: &'a Tiny, lie: Lie) -> Vec<u8> {
        Self { tiny, lie, graph: Vec::new(), data: None, nodes: 0, location: DATA }.written().0
    }

    /// The model's file, and the weights in one of this name beside it.
    pub(crate) fn apart(tiny: &'a Tiny, location: &'a str) -> (Vec<u8>, Vec<u8>) {
        let data = Some(Vec::new());
        Self { tiny, lie: Lie::None, graph: Vec::new(), data, nodes: 0, location }.written()
    }

    fn node(&mut self, kind: &str, inputs: &[&str], attributes: &[Vec<u8>]) -> String {
        self.nodes += 1;
        let output = format!("n{}", self.nodes);
        self.node_to(kind, inputs, attributes, &output);
        output
    }

    fn node_to(&mut self, kind: &str, inputs: &[&str], attributes: &[Vec<u8>], output: &str) {
        let mut node: Vec<u8> = inputs.iter().flat_map(|input| text(1, input)).collect();
        node.extend(text(2, output));
        node.extend(text(4, kind));
        node.extend(attributes.iter().flat_map(|attribute| bytes(5, attribute)));
        self.graph.extend(bytes(1, &node));
    }

    fn weight(&mut self, name: &str, dims: &[u64], kind: u64, content: &[u8]) {
        let mut tensor: Vec<u8> = dims.iter().flat_map(|size| number(1, *size)).collect();
        tensor.extend(number(2, kind));
        tensor.extend(text(8, name));
        match &mut self.data {
            // A few numbers stay in the model, as exporters leave them there.
            Some(data) if content.len() > 64 => {
                let (offset, length) = (data.len().to_string(), content.len().to_string());
                for (key, value) in [("location", self.location), ("offset", &offset), ("length", &length)] {
                    tensor.extend(bytes(13, &[text(1, key), text(2, value)].concat()));
                }
                tensor.extend(number(14, 1));
                data.extend(content);
            }
            _ => tensor.extend(bytes(9, content)),
        }
        self.graph.extend(bytes(5, &tensor));
    }

    fn floats(&mut self, name: &str, dims: &[u64], values: &[f32]) {
        let content: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.weight(name, dims, FLOAT, &content);
    }

    fn integers(&mut self, name: &str, values: &[i64]) {
        let content: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.weight(name, &[values.len() as u64], INT64, &content);
    }

    /// A weight of the small model, its columns as rows: what is multiplied from the right.
    fn turned(&mut self, name: &str, rows: usize) {
        let values = self.tiny.weights(name);
        let columns = values.len() / rows;
        let turned: Vec<f32> =
            (0..columns).flat_map(|column| (0..rows).map(move |row| values[row * columns + column])).collect();
        self.floats(name, &[columns as u64, rows as u64], &turned);
    }

    fn outlet(&mut self, tag: u64, name: &str, kind: u64, dims: &[&str]) {
        let dim = |size: &&str| match size.parse() {
            Ok(size) => bytes(1, &number(1, size)),
            Err(_) => bytes(1, &text(2, size)),
        };
        let shape: Vec<u8> = dims.iter().flat_map(dim).collect();
        let tensor = bytes(1, &[number(1, kind), bytes(2, &shape)].concat());
        let info = [text(1, name), bytes(2, &tensor)].concat();
        self.graph.extend(bytes(tag, &info));
    }

    fn norm(&mut self, x: &str, name: &str) -> String {
        let values = self.tiny.weights(name).to_vec();
        self.floats(name, &[HIDDEN as u64], &values);
        let squares = self.node("Mul", &[x, x], &[]);
        let mean = self.node("ReduceMean", &[&squares], &[ints("axes", &[-1]), int("keepdims", 1)]);
        let shifted = self.node("Add", &[&mean, "epsilon"], &[]);
        let root = self.node("Sqrt", &[&shifted], &[]);
        let scaled = self.node("Div", &[x, &root], &[]);
        self.node("Mul", &[&scaled, name], &[])
    }

    fn product(&mut self, x: &str, name: &str, rows: usize) -> String {
        self.turned(name, rows);
        self.node("MatMul", &[x, name], &[])
    }

    /// Heads of 16, turned by their positions: pairs of neighbours.
    fn heads(&mut self, x: &str, shape: &str) -> String {
        let apart = self.node("Reshape", &[x, shape], &[]);
        self.node("Transpose", &[&apart], &[ints("perm", &[0, 2, 1, 3])])
    }

    fn rotated(&mut self, x: &str) -> String {
        let straight = self.node("Mul", &[x, "cosines"], &[]);
        let swapped = self.node("MatMul", &[x, "pairs"], &[]);
        let across = self.node("Mul", &[&swapped, "sines"], &[]);
        self.node("Add", &[&straight, &across], &[])
    }

    /// The past and what is new, as the cache's output.
    fn cached(&mut self, part: &str, new: &str) -> String {
        let (past, present) = (format!("past_key_values.0.{part}"), format!("present.0.{part}"));
        match self.lie {
            Lie::NoCaches => return new.to_owned(),
            Lie::HalfCaches => {
                let wide = self.node("Cast", &[&past], &[int("to", FLOAT)]);
                let all = self.node("Concat", &[&wide, new], &[int("axis", 2)]);
                self.node_to("Cast", &[&all], &[int("to", HALF)], &present);
                return all;
            }
            Lie::NeverGrows => self.node_to("Identity", &[&past], &[], &present),
            _ => self.node_to("Concat", &[&past, new], &[int("axis", 2)], &present),
        }
        match self.lie {
            Lie::NeverGrows => self.node("Concat", &[&past, new], &[int("axis", 2)]),
            Lie::ForgetsPast => {
                let nothing = self.node("Mul", &[&past, "nothing"], &[]);
                self.node("Concat", &[&nothing, new], &[int("axis", 2)])
            }
            _ => present,
        }
    }

    fn constants(&mut self) {
        self.floats("epsilon", &[1], &[1e-5]);
        self.floats("nothing", &[1], &[0.0]);
        self.floats("quarter", &[1], &[0.25]);
        self.floats("far", &[1], &[-1e9]);
        let frequencies: Vec<f32> = (0..16_u8).map(|lane| 10_000_f32.powf(-f32::from(lane / 2 * 2) / 16.0)).collect();
        self.floats("frequencies", &[1, 1, 16], &frequencies);
        let mut pairs = vec![0.0; 256];
        for pair in 0..8 {
            (pairs[(2 * pair + 1) * 16 + 2 * pair], pairs[2 * pair * 16 + 2 * pair + 1]) = (-1.0, 1.0);
        }
        self.floats("pairs", &[16, 16], &pairs);
        for (name, values) in [
            ("two_heads", &[0, -1, 2, 16][..]),
            ("one_head", &[0, -1, 1, 16]),
            ("joined", &[0, -1, 32]),
            ("second", &[1]),
            ("last", &[-1]),
            ("middle", &[1, 2]),
            ("first", &[0, 1, 2]),
            ("zero", &[0]),
            ("one", &[1]),
        ] {
            self.integers(name, values);
        }
    }

    /// Which positions each token sees, and the turns of its heads.
    fn positions(&mut self) -> String {
        let numbers = if self.lie == Lie::ShortPositions {
            let table: Vec<f32> = (0..64_u8).map(f32::from).collect();
            self.floats("table", &[64], &table);
            self.node("Gather", &["table", "position_ids"], &[])
        } else {
            self.node("Cast", &["position_ids"], &[int("to", FLOAT)])
        };
        let column = self.node("Unsqueeze", &[&numbers, "last"], &[]);
        let angles = self.node("Mul", &[&column, "frequencies"], &[]);
        let angles = self.node("Unsqueeze", &[&angles, "second"], &[]);
        self.node_to("Cos", &[&angles], &[], "cosines");
        self.node_to("Sin", &[&angles], &[], "sines");
        let shape = self.node("Shape", &["attention_mask"], &[]);
        let total = self.node("Gather", &[&shape, "second"], &[]);
        let [total, zero, one] = [&*total, "zero", "one"].map(|one| self.node("Squeeze", &[one], &[]));
        let places = self.node("Range", &[&zero, &total, &one], &[]);
        let places = self.node("Unsqueeze", &[&places, "first"], &[]);
        let own = self.node("Unsqueeze", &["position_ids", "second"], &[]);
        let own = self.node("Unsqueeze", &[&own, "last"], &[]);
        let before = self.node("LessOrEqual", &[&places, &own], &[]);
        let there = self.node("Cast", &["attention_mask"], &[int("to", 9)]);
        let there = self.node("Unsqueeze", &[&there, "middle"], &[]);
        self.node("And", &[&before, &there], &[])
    }

    fn written(mut self) -> (Vec<u8>, Vec<u8>) {
        self.constants();
        let rows = self.tiny.weights("token_embd.weight").len() / HIDDEN;
        let embedding = self.tiny.weights("token_embd.weight").to_vec();
        self.floats("token_embd.weight", &[rows as u64, HIDDEN as u64], &embedding);
        let seen = self.positions();
        let x = self.node("Gather", &["token_embd.weight", "input_ids"], &[]);
        let input = self.norm(&x, "blk.0.attn_norm.weight");
        let query = self.product(&input, "blk.0.attn_q.weight", 32);
        let query = self.heads(&query, "two_heads");
        let query = self.rotated(&query);
        let key = self.product(&input, "blk.0.attn_k.weight", 16);
        let key = self.heads(&key, "one_head");
        let key = self.rotated(&key);
        let value = self.product(&input, "blk.0.attn_v.weight", 16);
        let value = self.heads(&value, "one_head");
        let (keys, values) = (self.cached("key", &key), self.cached("value", &value));
        let keys = self.node("Transpose", &[&keys], &[ints("perm", &[0, 1, 3, 2])]);
        let weights = self.node("MatMul", &[&query, &keys], &[]);
        let weights = self.node("Mul", &[&weights, "quarter"], &[]);
        let weights = self.node("Where", &[&seen, &weights, "far"], &[]);
        let weights = self.node("Softmax", &[&weights], &[int("axis", u64::MAX)]);
        let attended = self.node("MatMul", &[&weights, &values], &[]);
        let attended = self.node("Transpose", &[&attended], &[ints("perm", &[0, 2, 1, 3])]);
        let attended = self.node("Reshape", &[&attended, "joined"], &[]);
        let attended = self.product(&attended, "blk.0.attn_output.weight", 32);
        let x = self.node("Add", &[&x, &attended], &[]);
        let input = self.norm(&x, "blk.0.ffn_norm.weight");
        let gate = self.product(&input, "blk.0.ffn_gate.weight", 32);
        let open = self.node("Sigmoid", &[&gate], &[]);
        let gate = self.node("Mul", &[&gate, &open], &[]);
        let up = self.product(&input, "blk.0.ffn_up.weight", 32);
        let inner = self.node("Mul", &[&gate, &up], &[]);
        let down = self.product(&inner, "blk.0.ffn_down.weight", 32);
        let x = self.node("Add", &[&x, &down], &[]);
        let out = self.norm(&x, "output_norm.weight");
        let scores = self.product(&out, "output.weight", rows);
        if self.lie == Lie::FewScores {
            self.integers("few", &[7]);
            self.node_to("Slice", &[&scores, "zero", "few", "last"], &[], "logits");
        } else {
            self.node_to("Identity", &[&scores], &[], "logits");
        }
        self.outlets();
        self.finished()
    }

    fn outlets(&mut self) {
        for (name, length) in [("input_ids", "tokens"), ("attention_mask", "total"), ("position_ids", "tokens")] {
            self.outlet(11, name, INT64, &["batch", length]);
        }
        if self.lie == Lie::Branches {
            self.outlet(11, "use_cache_branch", 9, &["1"]);
        }
        self.outlet(12, "logits", FLOAT, &["batch", "tokens", "scores"]);
        let kind = if self.lie == Lie::HalfCaches { HALF } else { FLOAT };
        let parts = if self.lie == Lie::NoCaches { &[][..] } else { &["key", "value"] };
        for part in parts {
            self.outlet(11, &format!("past_key_values.0.{part}"), kind, &["batch", "1", "past", "16"]);
            self.outlet(12, &format!("present.0.{part}"), kind, &["batch", "1", "grown", "16"]);
        }
    }

    fn finished(self) -> (Vec<u8>, Vec<u8>) {
        let graph = [text(2, "main"), self.graph].concat();
        let opset = |domain: &str, version| [text(1, domain), number(2, version)].concat();
        let mut model = [number(1, 8), text(2, "tests"), bytes(7, &graph), bytes(8, &opset("", 17))].concat();
        if self.lie == Lie::SeemsToShare {
            let kind = [text(4, "GroupQueryAttention"), text(7, "com.microsoft")].concat();
            let call = [text(1, "x").repeat(7), text(2, "y").repeat(3), kind].concat();
            let imports = [bytes(9, &opset("", 17)), bytes(9, &opset("com.microsoft", 1))].concat();
            let function = [text(1, "unused"), text(4, "x"), text(5, "y"), bytes(7, &call), imports, text(10, "own")];
            model.extend(bytes(8, &opset("own", 1)));
            model.extend(bytes(25, &function.concat()));
        }
        (model, self.data.unwrap_or_default())
    }
}

fn int(name: &str, value: u64) -> Vec<u8> {
    [text(1, name), number(3, value), number(20, INT)].concat()
}

#[expect(clippy::cast_sign_loss, reason = "a protocol buffer writes them so")]
fn ints(name: &str, values: &[i64]) -> Vec<u8> {
    let values = values.iter().flat_map(|value| number(8, *value as u64));
    text(1, name).into_iter().chain(values).chain(number(20, INTS)).collect()
}
