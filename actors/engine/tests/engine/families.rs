//! Every architecture through ONNX Runtime beside a second implementation: small random files, computed here in 64 bits by
//! the definitions of their architectures. Prompts are longer than the windows, and single tokens follow. Each fact of an
//! architecture (a window, a norm, a cap, a bias, a stretched rotation) is taken away from the second implementation once,
//! which must then disagree: so every fact is seen by the test.

use engine::accuracy::Forced;
use engine::decoder::Decoder;
use engine::half_decoder::HalfDecoder;
use engine::import::MODEL_FILE;
use engine::network::Network;

use super::tiny::{Numbers, Tiny, Value, vocabulary};

const LAYERS: usize = 6;
const HIDDEN: usize = 48;
const INNER: usize = 40;
const HEADS: usize = 4;
const KV_HEADS: usize = 2;
/// Not the stream's width for each head, as in Qwen 3 and Gemma 3.
const HEAD: usize = 32;
const CONTEXT: usize = 128;

/// A model's facts, as its architecture's definition has them.
#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts")]
pub(super) struct Family {
    name: &'static str,
    /// Rotated numbers are neighbours, not halves apart.
    neighbours: bool,
    gelu: bool,
    head_norms: bool,
    output_norms: bool,
    embedding_scale: f64,
    tied: bool,
    fused: bool,
    biases: &'static [&'static str],
    attention_scale: f64,
    attention_cap: Option<f64>,
    logit_cap: Option<f64>,
    rotary: usize,
    windows: [Option<usize>; LAYERS],
    /// The angles of each layer's pairs at the first position.
    angles: [Vec<f64>; LAYERS],
    magnitude: f64,
    keys: Vec<(&'static str, Value)>,
    divisors: Vec<(&'static str, Vec<f32>)>,
}

fn plain(theta: f64, rotary: usize) -> Vec<f64> {
    (0..rotary / 2).map(|pair| theta.powf(-2.0 * index(pair) / index(rotary))).collect()
}

#[expect(clippy::cast_precision_loss, reason = "small numbers")]
fn index(number: usize) -> f64 {
    number as f64
}

impl Family {
    fn new(name: &'static str) -> Self {
        Self {
            name,
            neighbours: name == "llama",
            gelu: name == "gemma3",
            head_norms: matches!(name, "qwen3" | "gemma3"),
            output_norms: name == "gemma3",
            embedding_scale: if name == "gemma3" { index(HIDDEN).sqrt() } else { 1.0 },
            tied: matches!(name, "qwen3" | "gemma3"),
            fused: name == "phi3",
            biases: if name == "qwen2" { &["attn_q", "attn_k", "attn_v"] } else { &[] },
            attention_scale: 1.0 / index(HEAD).sqrt(),
            attention_cap: None,
            logit_cap: None,
            rotary: HEAD,
            windows: [None; LAYERS],
            angles: std::array::from_fn(|_| plain(10_000.0, HEAD)),
            magnitude: 1.0,
            keys: Vec::new(),
            divisors: Vec::new(),
        }
    }

    fn key(mut self, key: &'static str, value: Value) -> Self {
        self.keys.push((key, value));
        self
    }

    fn text(self, key: &'static str, text: &str) -> Self {
        self.key(key, Value::Text(text.to_owned()))
    }

    fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    /// The layers have these angles.
    fn turned(self, angles: &[f64]) -> Self {
        self.with(|family| family.angles = std::array::from_fn(|_| angles.to_vec()))
    }

    /// The file.
    pub(super) fn file(&self) -> Tiny {
        let whole = |number: usize| Value::U32(u32::try_from(number).unwrap());
        let sizes = [
            ("context_length", CONTEXT),
            ("embedding_length", HIDDEN),
            ("block_count", LAYERS),
            ("feed_forward_length", INNER),
            ("attention.head_count", HEADS),
            ("attention.head_count_kv", KV_HEADS),
            ("attention.key_length", HEAD),
            ("attention.value_length", HEAD),
            ("rope.dimension_count", self.rotary),
        ];
        let own = |key: &str| format!("{}.{key}", self.name);
        let mut keys = vec![("general.architecture".to_owned(), Value::Text(self.name.to_owned()))];
        keys.extend(sizes.map(|(key, size)| (own(key), whole(size))));
        keys.push((own("attention.layer_norm_rms_epsilon"), Value::F32(1e-5)));
        keys.extend(self.keys.iter().map(|(key, value)| (own(key), value.clone())));
        keys.extend(vocabulary());
        let mut numbers = Numbers::new(11);
        let mut tensors: Vec<(String, Vec<u64>, Vec<f32>)> = Vec::new();
        let mut add = |name: &str, rows: usize, columns: usize, mean: f64, spread: f64| {
            let dimensions = if rows == 0 { vec![columns as u64] } else { vec![columns as u64, rows as u64] };
            tensors.push((name.to_owned(), dimensions, numbers.many(rows.max(1) * columns, mean, spread)));
        };
        let tokens = super::tiny::tokens().len();
        add("token_embd.weight", tokens, HIDDEN, 0.0, 1.0 / self.embedding_scale);
        add("output_norm.weight", 0, HIDDEN, 1.0, 0.1);
        if !self.tied {
            add("output.weight", tokens, HIDDEN, 0.0, 0.3);
        }
        let (width, kv_width) = (HEADS * HEAD, KV_HEADS * HEAD);
        for layer in 0..LAYERS {
            let mut products = if self.fused {
                vec![("attn_qkv", width + 2 * kv_width, HIDDEN), ("ffn_up", 2 * INNER, HIDDEN)]
            } else {
                let three = [("attn_q", width, HIDDEN), ("attn_k", kv_width, HIDDEN), ("attn_v", kv_width, HIDDEN)];
                three.into_iter().chain([("ffn_gate", INNER, HIDDEN), ("ffn_up", INNER, HIDDEN)]).collect()
            };
            products.extend([("attn_output", HIDDEN, width), ("ffn_down", HIDDEN, INNER)]);
            for (part, rows, columns) in products {
                add(&format!("blk.{layer}.{part}.weight"), rows, columns, 0.0, 1.5 / index(columns).sqrt());
                if self.biases.contains(&part) {
                    add(&format!("blk.{layer}.{part}.bias"), 0, rows, 0.0, 0.3);
                }
            }
            let mut norms = vec![("attn_norm", HIDDEN), ("ffn_norm", HIDDEN)];
            norms.extend(if self.head_norms { &[("attn_q_norm", HEAD), ("attn_k_norm", HEAD)][..] } else { &[] });
            let outgoing = [("post_attention_norm", HIDDEN), ("post_ffw_norm", HIDDEN)];
            norms.extend(if self.output_norms { &outgoing[..] } else { &[] });
            for (part, size) in norms {
                add(&format!("blk.{layer}.{part}.weight"), 0, size, 1.0, 0.2);
            }
        }
        for (name, divisors) in &self.divisors {
            tensors.push(((*name).to_owned(), vec![divisors.len() as u64], divisors.clone()));
        }
        Tiny::of(keys, tensors)
    }

    /// The log probabilities after each token, by the definition.
    fn expected(&self, file: &Tiny, ids: &[u32]) -> Vec<Vec<f64>> {
        let mut run = Run { family: self, file, keys: Default::default(), values: Default::default() };
        ids.iter().enumerate().map(|(at, id)| run.step(at, *id as usize)).collect()
    }
}

/// The second implementation: one token at a time, with all keys and values of the layers so far.
struct Run<'a> {
    family: &'a Family,
    file: &'a Tiny,
    keys: [Vec<Vec<f64>>; LAYERS],
    values: [Vec<Vec<f64>>; LAYERS],
}

impl Run<'_> {
    fn product(&self, layer: usize, part: &str, x: &[f64]) -> Vec<f64> {
        let rows = self.file.weights(&format!("blk.{layer}.{part}.weight")).chunks_exact(x.len());
        let mut out: Vec<f64> = rows.map(|row| row.iter().zip(x).map(|(w, x)| f64::from(*w) * x).sum()).collect();
        if self.family.biases.contains(&part) {
            let bias = self.file.weights(&format!("blk.{layer}.{part}.bias"));
            out.iter_mut().zip(bias).for_each(|(out, bias)| *out += f64::from(*bias));
        }
        out
    }

    fn norm(&self, name: &str, x: &[f64]) -> Vec<f64> {
        let mean = x.iter().map(|x| x * x).sum::<f64>() / index(x.len());
        let scale = 1.0 / (mean + 1e-5).sqrt();
        x.iter().zip(self.file.weights(name)).map(|(x, weight)| x * scale * f64::from(*weight)).collect()
    }

    fn turned(&self, layer: usize, head: &[f64], at: usize) -> Vec<f64> {
        let (family, mut out) = (self.family, head.to_vec());
        for (pair, angle) in family.angles[layer].iter().enumerate() {
            let (sine, cosine) = (angle * index(at)).sin_cos();
            let (one, two) =
                if family.neighbours { (2 * pair, 2 * pair + 1) } else { (pair, pair + family.rotary / 2) };
            let (a, b) = (head[one] * family.magnitude, head[two] * family.magnitude);
            (out[one], out[two]) = (a * cosine - b * sine, a * sine + b * cosine);
        }
        out
    }

    /// The heads of a query or key, normed and turned.
    fn heads(&self, layer: usize, part: &str, all: &[f64], at: usize) -> Vec<Vec<f64>> {
        let norm = format!("blk.{layer}.attn_{part}_norm.weight");
        let normed = |head: &[f64]| if self.family.head_norms { self.norm(&norm, head) } else { head.to_vec() };
        let one = |head: &[f64]| self.turned(layer, &normed(head), at);
        all.chunks_exact(HEAD).map(one).collect()
    }

    fn attended(&mut self, layer: usize, input: &[f64], at: usize) -> Vec<f64> {
        let family = self.family;
        let (query, key, value) = if family.fused {
            let all = self.product(layer, "attn_qkv", input);
            let (query, rest) = all.split_at(HEADS * HEAD);
            let (key, value) = rest.split_at(KV_HEADS * HEAD);
            (query.to_vec(), key.to_vec(), value.to_vec())
        } else {
            let part = |part: &str| self.product(layer, part, input);
            (part("attn_q"), part("attn_k"), part("attn_v"))
        };
        let key = self.heads(layer, "k", &key, at).concat();
        self.keys[layer].push(key);
        self.values[layer].push(value);
        let first = family.windows[layer].map_or(0, |window| (at + 1).saturating_sub(window));
        let (keys, values) = (&self.keys[layer][first..], &self.values[layer][first..]);
        let mut out = Vec::with_capacity(HEADS * HEAD);
        for (head, query) in self.heads(layer, "q", &query, at).iter().enumerate() {
            let lanes = head / (HEADS / KV_HEADS) * HEAD..(head / (HEADS / KV_HEADS) + 1) * HEAD;
            let score = |key: &Vec<f64>| {
                let dot: f64 = query.iter().zip(&key[lanes.clone()]).map(|(a, b)| a * b).sum();
                let score = dot * family.attention_scale;
                family.attention_cap.map_or(score, |cap| cap * (score / cap).tanh()).exp()
            };
            let weights: Vec<f64> = keys.iter().map(score).collect();
            let total: f64 = weights.iter().sum();
            out.extend(lanes.clone().map(|lane| {
                weights.iter().zip(values).map(|(weight, value)| weight * value[lane]).sum::<f64>() / total
            }));
        }
        out
    }

    fn inner(&self, layer: usize, input: &[f64]) -> Vec<f64> {
        let (gate, up) = if self.family.fused {
            let all = self.product(layer, "ffn_up", input);
            (all[..INNER].to_vec(), all[INNER..].to_vec())
        } else {
            (self.product(layer, "ffn_gate", input), self.product(layer, "ffn_up", input))
        };
        let root = (2.0 / std::f64::consts::PI).sqrt();
        let gelu = |x: f64| 0.5 * x * (1.0 + (root * (x + 0.044_715 * x * x * x)).tanh());
        let active = |x: f64| if self.family.gelu { gelu(x) } else { x / (1.0 + (-x).exp()) };
        let both: Vec<f64> = gate.iter().zip(&up).map(|(gate, up)| active(*gate) * up).collect();
        self.product(layer, "ffn_down", &both)
    }

    fn outgoing(&self, layer: usize, part: &str, x: Vec<f64>) -> Vec<f64> {
        if self.family.output_norms { self.norm(&format!("blk.{layer}.{part}.weight"), &x) } else { x }
    }

    fn step(&mut self, at: usize, id: usize) -> Vec<f64> {
        let add = |a: &[f64], b: &[f64]| -> Vec<f64> { a.iter().zip(b).map(|(a, b)| a + b).collect() };
        let embedding = self.file.weights("token_embd.weight");
        let row = &embedding[id * HIDDEN..(id + 1) * HIDDEN];
        let mut x: Vec<f64> = row.iter().map(|x| f64::from(*x) * self.family.embedding_scale).collect();
        for layer in 0..LAYERS {
            let input = self.norm(&format!("blk.{layer}.attn_norm.weight"), &x);
            let attended = self.attended(layer, &input, at);
            let output = self.product(layer, "attn_output", &attended);
            x = add(&x, &self.outgoing(layer, "post_attention_norm", output));
            let input = self.norm(&format!("blk.{layer}.ffn_norm.weight"), &x);
            x = add(&x, &self.outgoing(layer, "post_ffw_norm", self.inner(layer, &input)));
        }
        let x = self.norm("output_norm.weight", &x);
        let head = self.file.weights(if self.family.tied { "token_embd.weight" } else { "output.weight" });
        let scores = head.chunks_exact(HIDDEN).map(|row| row.iter().zip(&x).map(|(w, x)| f64::from(*w) * x).sum());
        let cap = |score: f64| self.family.logit_cap.map_or(score, |cap| cap * (score / cap).tanh());
        log_softmax(&scores.map(cap).collect::<Vec<f64>>())
    }
}

fn log_softmax(scores: &[f64]) -> Vec<f64> {
    let total: f64 = scores.iter().map(|score| score.exp()).sum();
    scores.iter().map(|score| score - total.ln()).collect()
}

/// Yarn by the words of its paper: by how often a pair turns over the original context.
fn yarn(theta: f64, rotary: usize, factor: f64, original: f64) -> Vec<f64> {
    let turns_at = |turns: f64| index(rotary) * (original / (turns * std::f64::consts::TAU)).ln() / (2.0 * theta.ln());
    let (low, high) = (turns_at(32.0).floor().max(0.0), turns_at(1.0).ceil().min(index(rotary) - 1.0));
    let kept = |pair: usize| 1.0 - ((index(pair) - low) / (high - low)).clamp(0.0, 1.0);
    let mixed = |(pair, angle): (usize, f64)| angle * kept(pair) + angle / factor * (1.0 - kept(pair));
    plain(theta, rotary).into_iter().enumerate().map(mixed).collect()
}

/// Llama 3's stretching by the words of its authors: by wave lengths.
fn llama3(theta: f64, rotary: usize, factor: f64, [low, high]: [f64; 2], original: f64) -> Vec<f64> {
    let stretched = |angle: f64| {
        let wave = std::f64::consts::TAU / angle;
        if wave < original / high {
            angle
        } else if wave > original / low {
            angle / factor
        } else {
            let smooth = (original / wave - low) / (high - low);
            (1.0 - smooth) * angle / factor + smooth * angle
        }
    };
    plain(theta, rotary).into_iter().map(stretched).collect()
}

/// The architectures and their variants.
pub(super) fn families() -> Vec<(&'static str, Family)> {
    let every = ["attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"];
    let every: &'static [&'static str] = Vec::leak(every.to_vec());
    let windowed = |family: Family, window: u32| {
        let family = family.key("attention.sliding_window", Value::U32(window));
        family.with(|family| family.windows = [Some(window as usize); LAYERS])
    };
    let ramp: Vec<f32> = (0..16).map(|pair| 1.0 + 0.4 * f32::from(u8::try_from(pair).unwrap())).collect();
    let divided = |angles: &[f64], divisors: &[f32]| -> Vec<f64> {
        angles.iter().zip(divisors).map(|(angle, divisor)| angle / f64::from(*divisor)).collect()
    };
    let global = plain(1_000_000.0, HEAD);
    let gemma = Family::new("gemma3").key("rope.freq_base", Value::F32(1e6));
    let stretch = |kind: &str, factor: f32| {
        let family = Family::new("llama").text("rope.scaling.type", kind);
        family.key("rope.scaling.factor", Value::F32(factor))
    };
    let long: Vec<f32> = ramp[..8].iter().map(|divisor| divisor * 3.0).collect();
    let factors = vec![("rope_factors_long.weight", long.clone()), ("rope_factors_short.weight", ramp[..8].to_vec())];
    let phi = |original: u32, divisors: &[f32]| {
        let angles = divided(&plain(10_000.0, 16), divisors);
        let family = Family::new("phi3").key("rope.scaling.original_context_length", Value::U32(original));
        let family = windowed(family.key("rope.scaling.attn_factor", Value::F32(1.25)), 9).turned(&angles);
        let divisors = factors.clone();
        family.with(|family| (family.magnitude, family.rotary, family.divisors) = (1.25, 16, divisors))
    };
    vec![
        ("llama", Family::new("llama")),
        ("llama with biases", Family::new("llama").with(|family| family.biases = every)),
        ("llama in one product", Family::new("llama").with(|family| family.biases = &["attn_output"])),
        ("mistral", windowed(Family::new("llama"), 7)),
        ("a part of a head", Family::new("llama").turned(&plain(10_000.0, 16)).with(|family| family.rotary = 16)),
        (
            "divisors",
            Family::new("llama")
                .turned(&divided(&plain(10_000.0, HEAD), &ramp))
                .with(|family| family.divisors = vec![("rope_freqs.weight", ramp.clone())]),
        ),
        (
            "linear",
            stretch("linear", 4.0).turned(&plain(10_000.0, HEAD).iter().map(|angle| angle / 4.0).collect::<Vec<_>>()),
        ),
        (
            "yarn",
            stretch("yarn", 4.0)
                .key("rope.scaling.original_context_length", Value::U32(64))
                .turned(&yarn(10_000.0, HEAD, 4.0, 64.0))
                .with(|family| family.magnitude = 1.0 + 0.1 * 4_f64.ln()),
        ),
        (
            "llama3",
            stretch("llama3", 8.0)
                .key("rope.scaling.original_context_length", Value::U32(64))
                .key("rope.scaling.low_freq_factor", Value::F32(1.0))
                .key("rope.scaling.high_freq_factor", Value::F32(4.0))
                .turned(&llama3(10_000.0, HEAD, 8.0, [1.0, 4.0], 64.0)),
        ),
        ("qwen2", Family::new("qwen2")),
        ("qwen3", Family::new("qwen3")),
        (
            "gemma3",
            gemma.clone().key("attention.sliding_window", Value::U32(8)).with(|family| {
                family.windows = std::array::from_fn(|layer| (layer != 5).then_some(8));
                family.angles[5].clone_from(&global);
            }),
        ),
        (
            "gemma3, capped and stretched",
            gemma
                .key("attention.sliding_window", Value::U32(5))
                .key("attention.sliding_window_pattern", Value::Ints(vec![1, 0, 1, 1, 0, 0]))
                .key("rope.freq_base_swa", Value::F32(500.0))
                .key("rope.scaling.factor", Value::F32(8.0))
                .key("attn_logit_softcapping", Value::F32(2.0))
                .key("final_logit_softcapping", Value::F32(3.0))
                .with(|family| {
                    family.windows = [Some(5), None, Some(5), Some(5), None, None];
                    let stretched: Vec<f64> = global.iter().map(|angle| angle / 8.0).collect();
                    family.angles = family.windows.map(|window| match window {
                        Some(_) => plain(500.0, HEAD),
                        None => stretched.clone(),
                    });
                    (family.attention_cap, family.logit_cap) = (Some(2.0), Some(3.0));
                }),
        ),
        ("phi3, long", phi(64, &long)),
        ("phi3, short", phi(128, &ramp[..8]).with(|family| family.biases = &["attn_qkv", "ffn_up"])),
    ]
}

/// The family with one fact less, for each of its facts.
fn without(family: &Family) -> Vec<(&'static str, Family)> {
    let mut all: Vec<(&'static str, Family)> = Vec::new();
    let mut change = |what: &'static str, is_there: bool, change: &dyn Fn(&mut Family)| {
        all.extend(is_there.then(|| (what, family.clone().with(change))));
    };
    change("neighbours", true, &|family| family.neighbours ^= true);
    change("gelu", true, &|family| family.gelu ^= true);
    change("head norms", family.head_norms, &|family| family.head_norms = false);
    change("output norms", family.output_norms, &|family| family.output_norms = false);
    change("embedding scale", family.embedding_scale > 1.0, &|family| family.embedding_scale = 1.0);
    for part in family.biases {
        let left: Vec<&'static str> = family.biases.iter().copied().filter(|other| other != part).collect();
        let left: &'static [&'static str] = Vec::leak(left);
        change("bias", true, &|family| family.biases = left);
    }
    change("scale", true, &|family| family.attention_scale *= 1.3);
    change("attention cap", family.attention_cap.is_some(), &|family| family.attention_cap = None);
    change("logit cap", family.logit_cap.is_some(), &|family| family.logit_cap = None);
    change("magnitude", (family.magnitude - 1.0).abs() > 1e-9, &|family| family.magnitude = 1.0);
    change("window", family.windows[0].is_some(), &|family| family.windows = [None; LAYERS]);
    let longer = |window: Option<usize>| window.map(|window| window + 1);
    change("window's size", family.windows[0].is_some(), &|family| family.windows = family.windows.map(longer));
    let rotary = family.rotary;
    change("angles", family.angles[0] != plain(10_000.0, rotary), &|family| family.angles[0] = plain(10_000.0, rotary));
    change("last angles", true, &|family| family.angles[LAYERS - 1] = plain(20_000.0, rotary));
    all
}

fn ids() -> Vec<u32> {
    (0..48).map(|at| at * 37 % 251).collect()
}

fn apart(found: &[Vec<f64>], expected: &[Vec<f64>]) -> f64 {
    assert_eq!(found.len(), expected.len());
    let pairs = found.iter().zip(expected).flat_map(|(found, expected)| found.iter().zip(expected));
    pairs.map(|(found, expected)| (found - expected).abs()).fold(0.0, f64::max)
}

/// How far a network's scores are from what is expected, in nats: of a prompt at once, and of one in two steps, both longer
/// than the windows, and then token by token.
fn distances<N: Network + Forced>(network: &mut N, expected: &[Vec<f64>]) -> [f64; 2] {
    let rows = |rows: Vec<Vec<f32>>| -> Vec<Vec<f64>> {
        let wide = |row: &Vec<f32>| row.iter().map(|score| f64::from(*score)).collect::<Vec<f64>>();
        rows.iter().map(|row| log_softmax(&wide(row))).collect()
    };
    let whole = apart(&rows(network.all_logits(&ids()).unwrap()), expected);
    let mut sequence = super::Sequence::new(network, 256);
    sequence.read(&ids()[..13]);
    let mut found = vec![sequence.read(&ids()[13..27])];
    found.extend((27..48).map(|at| sequence.read(&ids()[at..=at])));
    [whole, apart(&rows(found), &expected[26..])]
}

#[test]
fn every_architecture_is_computed_as_its_definition_says() {
    for (what, family) in families() {
        let mut file = family.file();
        let expected = family.expected(&file, &ids());
        if what.ends_with("in one product") {
            file = file.joined(LAYERS, &["attn_q", "attn_k", "attn_v"], "attn_qkv");
        }
        let (_root, imported) = super::proof::import_bytes(&file.bytes());
        let (runtime, path) = (super::runtime(), imported.unwrap().join(MODEL_FILE));
        let [whole, stepwise] = distances(&mut Decoder::load(&runtime, &path, 1).unwrap(), &expected);
        println!("{what}: {whole:.6} nats apart at once, {stepwise:.6} step by step");
        assert!(whole < 1e-3 && stepwise < 1e-3, "{what}: {whole} at once, {stepwise} step by step");
        let mut half = HalfDecoder::load(&runtime, &path, super::halves::SETTINGS).unwrap();
        let [whole, stepwise] = distances(&mut half, &expected);
        println!("{what}, in half precision: {whole:.6} nats apart at once, {stepwise:.6} step by step");
        assert!(whole < 0.3 && stepwise < 0.3, "{what}, in half precision: {whole} at once, {stepwise} step by step");
        for (fact, changed) in without(&family) {
            let file = family.file();
            let distance = apart(&changed.expected(&file, &ids()), &expected);
            assert!(distance > 1e-2, "{what}: the {fact} are not seen ({distance})");
        }
    }
}

#[test]
fn damaged_files_are_refused_or_imported_and_never_a_panic() {
    let mut state = 3_u64;
    let mut random = |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(state >> 33).unwrap() % below
    };
    let (mut refused, mut taken) = (0, 0);
    for (_, family) in families() {
        let whole = family.file().bytes();
        // What is not a weight: the keys and the directory.
        let end = whole.windows(17).rposition(|window| window == b"output_norm.weight".split_at(17).0).unwrap() + 60;
        for _ in 0..24 {
            let mut bytes = whole.clone();
            for _ in 0..=random(3) {
                let (at, value) = (random(end), [0, 1, 0x7f, 0x80, 0xff][random(5)]);
                let length = [1, 1, 4, 8][random(4)];
                bytes[at..at + length].fill(value);
            }
            match super::proof::import_bytes(&bytes).1 {
                Ok(_) => taken += 1,
                Err(message) => {
                    assert!(!message.is_empty() && message.len() < 2000, "{message}");
                    refused += 1;
                }
            }
        }
    }
    println!("{refused} refused, {taken} imported");
    assert!(refused > 100 && taken > 5, "{refused} refused, {taken} imported");
}
