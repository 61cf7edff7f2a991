//! Every tensor type through ONNX Runtime: a small llama model of random blocks, written as GGUF here, exported packed
//! and in full precision. The remaining difference between the two is the rounding of activations to 8 bits; in the exact
//! form there is none.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Cursor};

use engine::decoder::Decoder;
use engine::gguf::{Gguf, Kind};
use engine::onnx::{self, Precision, Shape};

const HIDDEN: usize = 256;
const INNER: usize = 512;
const VOCABULARY: usize = 64;

/// Pseudo-random numbers, the same in each run.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u8 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0.to_le_bytes()[6]
    }

    /// Random blocks with weights of the size of trained ones, about a tenth. With larger weights random attention
    /// becomes so sharp that rounded activations sometimes choose another position (one of 48 did, with `Q5K` twice as
    /// large: worst 0.989, mean 0.9997).
    fn blocks(&mut self, kind: Kind, elements: usize) -> Vec<u8> {
        let count = elements / kind.block_elements();
        let mut bytes: Vec<u8> = (0..count * kind.block_bytes()).map(|_| self.next()).collect();
        let (halves, exponent): (&[usize], u8) = match kind {
            Kind::Q4_0 | Kind::Q5_0 | Kind::Q8_0 => (&[1], 0x14),
            Kind::Q4_1 | Kind::Q5_1 => (&[1, 3], 0x14),
            Kind::Q2K => (&[81, 83], 0x18),
            Kind::Q3K => (&[109], 0x14),
            Kind::Q4K | Kind::Q5K => (&[1, 3], 0x04),
            Kind::Q6K => (&[209], 0x04),
            Kind::F16 => (&[1], 0x24),
            Kind::BF16 => (&[1], 0x3c),
            Kind::F32 => (&[3], 0x3c),
        };
        for block in bytes.chunks_exact_mut(kind.block_bytes()) {
            for &at in halves {
                // Signs of plain floats stay random; minimums are negative where the format adds them.
                let sign = match kind {
                    Kind::F32 | Kind::F16 | Kind::BF16 => block[at] & 0x80,
                    Kind::Q4_1 if at == 3 => 0x80 | 0x08,
                    Kind::Q5_1 if at == 3 => 0x80 | 0x10,
                    _ => 0,
                };
                block[at] = sign.wrapping_add(exponent) | (block[at] & 1);
            }
        }
        bytes
    }
}

fn text(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text.as_bytes());
}

/// A GGUF file of a model whose matrices have the type `kind`, and whose values have `other`.
fn file(kind: Kind, other: Kind, tied: bool) -> Vec<u8> {
    let mut numbers = Numbers(u64::from(kind.number()) + 1);
    let mut tensors: BTreeMap<&str, (Kind, Vec<usize>, Vec<u8>)> = BTreeMap::new();
    let matrices = [
        ("token_embd.weight", kind, HIDDEN, VOCABULARY),
        ("output.weight", kind, HIDDEN, VOCABULARY),
        ("blk.0.attn_q.weight", kind, HIDDEN, 256),
        ("blk.0.attn_k.weight", kind, HIDDEN, 128),
        ("blk.0.attn_v.weight", other, HIDDEN, 128),
        ("blk.0.attn_output.weight", kind, 256, HIDDEN),
        ("blk.0.ffn_gate.weight", kind, HIDDEN, INNER),
        ("blk.0.ffn_up.weight", kind, HIDDEN, INNER),
        ("blk.0.ffn_down.weight", other, INNER, HIDDEN),
    ];
    for (name, kind, columns, rows) in matrices {
        if name != "output.weight" || !tied {
            tensors.insert(name, (kind, vec![columns, rows], numbers.blocks(kind, columns * rows)));
        }
    }
    for name in ["blk.0.attn_norm.weight", "blk.0.ffn_norm.weight", "output_norm.weight"] {
        let ones = std::iter::repeat_n(1.0_f32.to_le_bytes(), HIDDEN).flatten().collect();
        tensors.insert(name, (Kind::F32, vec![HIDDEN], ones));
    }
    let sizes = [
        ("llama.block_count", 1_u32),
        ("llama.context_length", 64),
        ("llama.embedding_length", 256),
        ("llama.feed_forward_length", 512),
        ("llama.attention.head_count", 4),
        ("llama.attention.head_count_kv", 2),
    ];
    let mut out = b"GGUF\x03\0\0\0".to_vec();
    out.extend((tensors.len() as u64).to_le_bytes());
    out.extend((sizes.len() as u64 + 2).to_le_bytes());
    text(&mut out, "general.architecture");
    out.extend(8_u32.to_le_bytes());
    text(&mut out, "llama");
    text(&mut out, "llama.attention.layer_norm_rms_epsilon");
    out.extend(6_u32.to_le_bytes());
    out.extend(1e-5_f32.to_le_bytes());
    for (key, size) in sizes {
        text(&mut out, key);
        out.extend(4_u32.to_le_bytes());
        out.extend(size.to_le_bytes());
    }
    let mut data: Vec<u8> = Vec::new();
    for (name, (kind, dimensions, bytes)) in &tensors {
        text(&mut out, name);
        out.extend(u32::try_from(dimensions.len()).unwrap().to_le_bytes());
        for &size in dimensions {
            out.extend((size as u64).to_le_bytes());
        }
        out.extend(kind.number().to_le_bytes());
        out.extend((data.len() as u64).to_le_bytes());
        data.extend(bytes);
        data.resize(data.len().next_multiple_of(32), 0);
    }
    out.resize(out.len().next_multiple_of(32), 0);
    out.extend(data);
    out
}

fn logits(bytes: &[u8], precision: Precision, name: &str) -> Vec<Vec<f32>> {
    let folder = super::scratch(name);
    let mut file = Gguf::read(Cursor::new(bytes)).unwrap();
    let shape = Shape::read(&mut file).unwrap();
    let weights = BufWriter::new(File::create(folder.join("model.onnx_data")).unwrap());
    let model = onnx::export(&mut file, &shape, precision, weights, "model.onnx_data").unwrap();
    std::fs::write(folder.join("model.onnx"), model).unwrap();
    let mut decoder = Decoder::load(&super::runtime(), &folder.join("model.onnx"), 1).unwrap();
    let tokens: Vec<u32> = (0..48).map(|at| at * 7 % 64).collect();
    let rows = decoder.all_logits(&tokens).unwrap();
    std::fs::remove_dir_all(folder).unwrap();
    rows
}

fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

#[test]
fn every_kind_runs_packed_as_it_does_in_full() {
    for (kind, other, tied) in [
        (Kind::F32, Kind::F32, true),
        (Kind::F16, Kind::BF16, false),
        (Kind::Q4_0, Kind::Q4_0, true),
        (Kind::Q4_0, Kind::Q4_1, false),
        (Kind::Q4_1, Kind::Q8_0, true),
        (Kind::Q5_0, Kind::Q5_1, true),
        (Kind::Q5_1, Kind::Q5_0, false),
        (Kind::Q8_0, Kind::Q8_0, false),
        (Kind::Q2K, Kind::Q3K, true),
        (Kind::Q3K, Kind::Q2K, false),
        // As the K mixtures have it: some matrices with more bits.
        (Kind::Q4K, Kind::Q6K, true),
        (Kind::Q5K, Kind::Q6K, false),
        (Kind::Q6K, Kind::Q6K, true),
    ] {
        let bytes = file(kind, other, tied);
        let packed = logits(&bytes, Precision::Packed, &format!("packed-{kind:?}-{other:?}-{tied}"));
        let full = logits(&bytes, Precision::Full, &format!("full-{kind:?}-{other:?}-{tied}"));
        let exact = logits(&bytes, Precision::Exact, &format!("exact-{kind:?}-{other:?}-{tied}"));
        let apart = exact.iter().flatten().zip(full.iter().flatten()).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        let largest = full.iter().flatten().fold(0.0_f32, |most, score| most.max(score.abs()));
        println!("{kind:?}/{other:?} tied {tied}: in floats {apart} apart, of {largest}");
        assert!(apart < largest * 1e-4, "{kind:?}/{other:?}: {apart} apart in floats, of {largest}");
        let cosines: Vec<f64> = packed.iter().zip(&full).map(|(a, b)| cosine(a, b)).collect();
        let worst = cosines.iter().copied().fold(1.0, f64::min);
        let mean = cosines.iter().sum::<f64>() / f64::from(u32::try_from(cosines.len()).unwrap());
        println!("{kind:?}/{other:?} tied {tied}: cosine mean {mean:.6}, worst {worst:.6}");
        assert!(mean > 0.9995 && worst > 0.998, "{kind:?}/{other:?}: mean {mean}, worst {worst}");
    }
}
