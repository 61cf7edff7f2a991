//! A small llama model as a GGUF file, written here: one layer, width 32, two heads of 16 over one key head, 256 tokens
//! of one byte and three special ones. Every part can be changed, so that a file can be wrong in any way. The same
//! arithmetic in 64 bits gives the expected scores.

/// A metadata value.
#[derive(Debug, Clone)]
pub(crate) enum Value {
    U32(u32),
    F32(f32),
    Flag(bool),
    Text(String),
    Texts(Vec<String>),
    Ints(Vec<i32>),
    Floats(Vec<f32>),
}

/// The file's parts.
#[derive(Debug, Clone)]
pub(crate) struct Tiny {
    keys: Vec<(String, Value)>,
    tensors: Vec<(String, Vec<u64>, Vec<f32>)>,
    /// Matrices are written as `Q8_0`.
    quantized: bool,
}

pub(crate) const HIDDEN: usize = 32;
const HEAD: usize = 16;
/// The id of `<|endoftext|>`; `<|im_start|>` and `<|im_end|>` follow.
pub(crate) const END: u32 = 256;

/// Tokens of one byte in GPT-2's alphabet, then the special ones.
pub(crate) fn tokens() -> Vec<String> {
    let own = |byte: u32| matches!(byte, 33..=126 | 161..=172 | 174..=255);
    let mut next = 256;
    let spelled = (0..256).map(|byte| {
        let code = if own(byte) {
            byte
        } else {
            next += 1;
            next - 1
        };
        char::from_u32(code).unwrap().to_string()
    });
    let special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"].map(str::to_owned);
    spelled.chain(special).collect()
}

/// The keys of the tokenizer.
pub(crate) fn vocabulary() -> Vec<(String, Value)> {
    let text = |text: &str| Value::Text(text.to_owned());
    let keys = [
        ("tokenizer.ggml.model", text("gpt2")),
        ("tokenizer.ggml.pre", text("gpt-2")),
        ("tokenizer.ggml.tokens", Value::Texts(tokens())),
        ("tokenizer.ggml.token_type", Value::Ints([vec![1; 256], vec![3; 3]].concat())),
        ("tokenizer.ggml.merges", Value::Texts(Vec::new())),
        ("tokenizer.ggml.bos_token_id", Value::U32(END)),
        ("tokenizer.ggml.eos_token_id", Value::U32(END)),
        ("tokenizer.chat_template", text("{% for m in messages %}{{ m.content }}{% endfor %}")),
    ];
    keys.map(|(key, value)| (key.to_owned(), value)).into()
}

/// Pseudo-random numbers with a normal distribution, the same in each run.
pub(crate) struct Numbers(u64);

impl Numbers {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> f64 {
        let mut sum = 0.0;
        for _ in 0..12 {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            sum += f64::from(u32::try_from(self.0 >> 32).unwrap()) / f64::from(u32::MAX);
        }
        sum - 6.0
    }

    #[expect(clippy::cast_possible_truncation, reason = "weights are f32")]
    pub(crate) fn many(&mut self, count: usize, mean: f64, spread: f64) -> Vec<f32> {
        (0..count).map(|_| (mean + spread * self.next()) as f32).collect()
    }
}

impl Tiny {
    /// A file of these keys and tensors.
    pub(crate) fn of(keys: Vec<(String, Value)>, tensors: Vec<(String, Vec<u64>, Vec<f32>)>) -> Self {
        Self { keys, tensors, quantized: false }
    }

    pub(crate) fn new() -> Self {
        let text = |text: &str| Value::Text(text.to_owned());
        let keys = [
            ("general.architecture", text("llama")),
            ("llama.context_length", Value::U32(128)),
            ("llama.embedding_length", Value::U32(32)),
            ("llama.block_count", Value::U32(1)),
            ("llama.feed_forward_length", Value::U32(32)),
            ("llama.attention.head_count", Value::U32(2)),
            ("llama.attention.head_count_kv", Value::U32(1)),
            ("llama.attention.layer_norm_rms_epsilon", Value::F32(1e-5)),
            ("llama.rope.dimension_count", Value::U32(16)),
            ("llama.rope.freq_base", Value::F32(10_000.0)),
        ];
        let mut numbers = Numbers(7);
        let mut tensors = Vec::new();
        let (width, rows) = (HIDDEN as u64, tokens().len() as u64);
        for (name, dimensions, mean, spread) in [
            ("token_embd.weight", vec![width, rows], 0.0, 1.0),
            ("output_norm.weight", vec![width], 1.0, 0.1),
            ("output.weight", vec![width, rows], 0.0, 0.4),
            ("blk.0.attn_norm.weight", vec![width], 1.0, 0.1),
            ("blk.0.attn_q.weight", vec![width, 32], 0.0, 0.3),
            ("blk.0.attn_k.weight", vec![width, 16], 0.0, 0.3),
            ("blk.0.attn_v.weight", vec![width, 16], 0.0, 0.3),
            ("blk.0.attn_output.weight", vec![32, width], 0.0, 0.3),
            ("blk.0.ffn_norm.weight", vec![width], 1.0, 0.1),
            ("blk.0.ffn_gate.weight", vec![width, 32], 0.0, 0.2),
            ("blk.0.ffn_up.weight", vec![width, 32], 0.0, 0.2),
            ("blk.0.ffn_down.weight", vec![32, width], 0.0, 0.2),
        ] {
            let count = usize::try_from(dimensions.iter().product::<u64>()).unwrap();
            tensors.push((name.to_owned(), dimensions, numbers.many(count, mean, spread)));
        }
        Self {
            keys: keys.map(|(key, value)| (key.to_owned(), value)).into_iter().chain(vocabulary()).collect(),
            tensors,
            quantized: false,
        }
    }

    /// Sets a key, and replaces the key of that name.
    pub(crate) fn key(mut self, key: &str, value: Value) -> Self {
        self.keys.retain(|(name, _)| name != key);
        self.keys.push((key.to_owned(), value));
        self
    }

    pub(crate) fn text(self, key: &str, text: &str) -> Self {
        self.key(key, Value::Text(text.to_owned()))
    }

    pub(crate) fn template(self, text: &str) -> Self {
        self.text("tokenizer.chat_template", text)
    }

    pub(crate) fn without(mut self, key: &str) -> Self {
        self.keys.retain(|(name, _)| name != key);
        self
    }

    /// Adds a tensor.
    pub(crate) fn tensor(mut self, name: &str, dimensions: &[u64], values: Vec<f32>) -> Self {
        self.tensors.push((name.to_owned(), dimensions.to_vec(), values));
        self
    }

    /// The model in several files: the first has the keys, each has some tensors.
    pub(crate) fn split(&self, count: usize) -> Vec<Self> {
        let of = |number: usize| {
            let all = [("split.no", number), ("split.count", count), ("split.tensors.count", self.tensors.len())];
            let keys = if number == 0 { self.keys.clone() } else { Vec::new() };
            let tensors = self.tensors.iter().skip(number).step_by(count).cloned().collect();
            let part = Self { keys, tensors, ..self.clone() };
            all.iter().fold(part, |part, (key, value)| part.key(key, Value::U32(u32::try_from(*value).unwrap())))
        };
        (0..count).map(of).collect()
    }

    /// The model with its matrices as `Q8_0`, their numbers rounded to it here.
    pub(crate) fn quantized(mut self) -> Self {
        for (_, _, values) in self.tensors.iter_mut().filter(|(_, dimensions, _)| dimensions.len() == 2) {
            for block in values.chunks_mut(32) {
                let scale = scale(block);
                for value in block {
                    *value = (*value / scale).round() * scale;
                }
            }
        }
        self.quantized = true;
        self
    }

    /// Changes a tensor's numbers.
    pub(crate) fn change(mut self, name: &str, change: impl FnOnce(&mut Vec<f32>)) -> Self {
        let tensor = self.tensors.iter_mut().find(|(other, ..)| other == name).unwrap();
        change(&mut tensor.2);
        self
    }

    /// Another number of tokens: the embedding and the head have so many rows.
    pub(crate) fn resized(mut self, rows: usize) -> Self {
        for (name, dimensions, values) in &mut self.tensors {
            if name == "token_embd.weight" || name == "output.weight" {
                dimensions[1] = rows as u64;
                *values = values.iter().copied().cycle().take(rows * HIDDEN).collect();
            }
        }
        self
    }

    pub(crate) fn renamed(mut self, name: &str, new: &str) -> Self {
        new.clone_into(&mut self.tensors.iter_mut().find(|(other, ..)| other == name).unwrap().0);
        self
    }

    /// Joins tensors of each layer, row after row, to one.
    pub(crate) fn joined(mut self, layers: usize, parts: &[&str], whole: &str) -> Self {
        for layer in 0..layers {
            let mut values = Vec::new();
            let mut dimensions = vec![0, 0];
            for part in parts {
                let name = format!("blk.{layer}.{part}.weight");
                let at = self.tensors.iter().position(|(other, ..)| *other == name).unwrap();
                let (_, size, numbers) = self.tensors.remove(at);
                dimensions = vec![size[0], dimensions[1] + size[1]];
                values.extend(numbers);
            }
            self.tensors.push((format!("blk.{layer}.{whole}.weight"), dimensions, values));
        }
        self
    }

    pub(crate) fn weights(&self, name: &str) -> &[f32] {
        &self.tensors.iter().find(|(other, ..)| other == name).unwrap().2
    }

    /// The file.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let text = |out: &mut Vec<u8>, text: &str| {
            out.extend((text.len() as u64).to_le_bytes());
            out.extend(text.as_bytes());
        };
        let mut out = b"GGUF\x03\0\0\0".to_vec();
        out.extend((self.tensors.len() as u64).to_le_bytes());
        out.extend((self.keys.len() as u64).to_le_bytes());
        for (key, value) in &self.keys {
            text(&mut out, key);
            match value {
                Value::U32(number) => out.extend([4_u32.to_le_bytes(), number.to_le_bytes()].concat()),
                Value::F32(number) => out.extend([6_u32.to_le_bytes(), number.to_le_bytes()].concat()),
                Value::Flag(flag) => out.extend([&7_u32.to_le_bytes()[..], &[u8::from(*flag)]].concat()),
                Value::Text(value) => {
                    out.extend(8_u32.to_le_bytes());
                    text(&mut out, value);
                }
                Value::Texts(list) => {
                    out.extend([9_u32.to_le_bytes(), 8_u32.to_le_bytes()].concat());
                    out.extend((list.len() as u64).to_le_bytes());
                    for value in list {
                        text(&mut out, value);
                    }
                }
                Value::Ints(list) => {
                    out.extend([9_u32.to_le_bytes(), 5_u32.to_le_bytes()].concat());
                    out.extend((list.len() as u64).to_le_bytes());
                    for number in list {
                        out.extend(number.to_le_bytes());
                    }
                }
                Value::Floats(list) => {
                    out.extend([9_u32.to_le_bytes(), 6_u32.to_le_bytes()].concat());
                    out.extend((list.len() as u64).to_le_bytes());
                    for number in list {
                        out.extend(number.to_le_bytes());
                    }
                }
            }
        }
        let mut data: Vec<u8> = Vec::new();
        for (name, dimensions, values) in &self.tensors {
            text(&mut out, name);
            out.extend(u32::try_from(dimensions.len()).unwrap().to_le_bytes());
            for size in dimensions {
                out.extend(size.to_le_bytes());
            }
            let is_quantized = self.quantized && dimensions.len() == 2;
            out.extend(if is_quantized { 8_u32 } else { 0 }.to_le_bytes());
            out.extend((data.len() as u64).to_le_bytes());
            if is_quantized {
                data.extend(values.chunks(32).flat_map(packed));
            } else {
                data.extend(values.iter().flat_map(|value| value.to_le_bytes()));
            }
            data.resize(data.len().next_multiple_of(32), 0);
        }
        out.resize(out.len().next_multiple_of(32), 0);
        out.extend(data);
        out
    }

    /// The log probabilities after each token, by the definition, with positions divided.
    #[expect(clippy::cast_precision_loss, reason = "small numbers")]
    pub(crate) fn expected(&self, ids: &[u32], divisor: f64) -> Vec<Vec<f64>> {
        let times = |name: &str, x: &[f64]| -> Vec<f64> {
            let rows = self.weights(name).chunks_exact(x.len());
            rows.map(|row| row.iter().zip(x).map(|(weight, x)| f64::from(*weight) * x).sum()).collect()
        };
        let norm = |name: &str, x: &[f64]| -> Vec<f64> {
            let mean = x.iter().map(|x| x * x).sum::<f64>() / x.len() as f64;
            let scale = 1.0 / (mean + 1e-5).sqrt();
            x.iter().zip(self.weights(name)).map(|(x, weight)| x * scale * f64::from(*weight)).collect()
        };
        let turned = |x: &[f64], at: usize| -> Vec<f64> {
            let mut out = x.to_vec();
            for pair in 0..HEAD / 2 {
                let angle = at as f64 * 10_000_f64.powf(-2.0 * pair as f64 / HEAD as f64) / divisor;
                let (sine, cosine) = angle.sin_cos();
                let (a, b) = (x[2 * pair], x[2 * pair + 1]);
                (out[2 * pair], out[2 * pair + 1]) = (a * cosine - b * sine, a * sine + b * cosine);
            }
            out
        };
        let add = |a: &[f64], b: &[f64]| -> Vec<f64> { a.iter().zip(b).map(|(a, b)| a + b).collect() };
        let (mut keys, mut values): (Vec<Vec<f64>>, Vec<Vec<f64>>) = (Vec::new(), Vec::new());
        let embedding = self.weights("token_embd.weight");
        ids.iter()
            .enumerate()
            .map(|(at, &id)| {
                let start = id as usize * HIDDEN;
                let mut x: Vec<f64> = embedding[start..start + HIDDEN].iter().map(|x| f64::from(*x)).collect();
                let input = norm("blk.0.attn_norm.weight", &x);
                let query = times("blk.0.attn_q.weight", &input);
                keys.push(turned(&times("blk.0.attn_k.weight", &input), at));
                values.push(times("blk.0.attn_v.weight", &input));
                let attended: Vec<f64> = query
                    .chunks_exact(HEAD)
                    .flat_map(|head| {
                        let head = turned(head, at);
                        let dot = |key: &Vec<f64>| head.iter().zip(key).map(|(a, b)| a * b).sum::<f64>() / 4.0;
                        let weights: Vec<f64> = keys.iter().map(|key| dot(key).exp()).collect();
                        let total: f64 = weights.iter().sum();
                        (0..HEAD)
                            .map(|lane| {
                                weights.iter().zip(&values).map(|(w, value)| w * value[lane]).sum::<f64>() / total
                            })
                            .collect::<Vec<_>>()
                    })
                    .collect();
                x = add(&x, &times("blk.0.attn_output.weight", &attended));
                let input = norm("blk.0.ffn_norm.weight", &x);
                let gate = times("blk.0.ffn_gate.weight", &input);
                let up = times("blk.0.ffn_up.weight", &input);
                let inner: Vec<f64> =
                    gate.iter().zip(&up).map(|(gate, up)| gate / (1.0 + (-gate).exp()) * up).collect();
                x = add(&x, &times("blk.0.ffn_down.weight", &inner));
                let scores = times("output.weight", &norm("output_norm.weight", &x));
                let total: f64 = scores.iter().map(|score| score.exp()).sum();
                scores.iter().map(|score| score - total.ln()).collect()
            })
            .collect()
    }
}

/// The power of two by which a block of `Q8_0` scales its numbers.
fn scale(block: &[f32]) -> f32 {
    let largest = block.iter().fold(f32::MIN_POSITIVE, |most, value| most.max(value.abs()));
    (largest / 127.0).log2().ceil().clamp(-14.0, 15.0).exp2()
}

/// A block of `Q8_0`.
#[expect(clippy::cast_possible_truncation, reason = "whole numbers of 8 bits")]
fn packed(block: &[f32]) -> Vec<u8> {
    let scale = scale(block);
    let half = (u16::try_from(scale.log2() as i32 + 15).unwrap() << 10).to_le_bytes();
    half.into_iter().chain(block.iter().map(|value| ((value / scale).round() as i8).cast_unsigned())).collect()
}
