//! The llama architecture as an ONNX graph of ONNX Runtime's fused operators, with the inputs and outputs of Hugging
//! Face's exports. GGUF stores query and key rows for interleaved rotation; here they are reordered into halves. One
//! extra input, `num_logits_to_keep`, has a default (0: all positions) and may be left out.

use std::io::{Read, Seek, Write};

use super::graph::{Axis, Builder, Element, MICROSOFT, Setting};
use super::linear::{Input, Linear, Precision, apply, packed_nodes};
use super::shape::{ExportError, Shape, left_out};
use crate::gguf::Gguf;

/// The note that allows past and present to be one buffer.
pub const SHARED_CACHE_NOTE: (&str, &str) = ("farebox.cache", "shared");

/// Writes the model: its weights to `weights` (which the model refers to as `data_file`). Returns the model's own
/// bytes.
///
/// # Errors
///
/// The file has a tensor that the graph does not compute with, a tensor is missing or not finite, or the file or
/// `weights` fails. What was written to `weights` is useless then.
pub fn export<R: Read + Seek, W: Write>(
    file: &mut Gguf<R>,
    shape: &Shape,
    precision: Precision,
    weights: W,
    data_file: &str,
) -> Result<Vec<u8>, ExportError> {
    shape.check_tensors(file)?;
    let mut export = Export { builder: Builder::new(weights, data_file), file, shape, precision };
    export.declare();
    let head = export.head_weights()?;
    let mut stream = export.embed(&head)?;
    export.positions()?;
    for layer in 0..shape.layers {
        stream = export.layer(layer, &stream)?;
    }
    export.logits(&stream, &head)?;
    // The check above knows which tensors should be read; this one, which were.
    if let Some(name) = export.file.left_out() {
        return Err(left_out(name));
    }
    Ok(export.builder.finish()?)
}

/// The weights shared by a tied embedding and head.
struct Head {
    linear: Linear,
    /// The numbers and scales, once they are written.
    written: Option<(super::graph::Region, String)>,
}

struct Export<'a, R, W> {
    builder: Builder<W>,
    file: &'a mut Gguf<R>,
    shape: &'a Shape,
    precision: Precision,
}

impl<R: Read + Seek, W: Write> Export<'_, R, W> {
    fn declare(&mut self) {
        let (batch, tokens, total) =
            (Axis::Named("batch_size"), Axis::Named("sequence_length"), Axis::Named("total_sequence_length"));
        let (heads, size) = (Axis::Fixed(self.shape.kv_heads), Axis::Fixed(self.shape.head_size));
        self.builder.note(SHARED_CACHE_NOTE.0, SHARED_CACHE_NOTE.1);
        self.builder.input("input_ids", Element::Int64, &[batch, tokens]);
        self.builder.input("attention_mask", Element::Int64, &[batch, total]);
        self.builder.input("num_logits_to_keep", Element::Int64, &[Axis::Fixed(1)]);
        self.builder.integers("num_logits_to_keep", &[1], &[0]);
        self.builder.output(
            "logits",
            Element::Float,
            &[batch, Axis::Named("kept_length"), Axis::Fixed(self.shape.vocabulary)],
        );
        for layer in 0..self.shape.layers {
            for part in ["key", "value"] {
                let past = [batch, heads, Axis::Named("past_sequence_length"), size];
                self.builder.input(&format!("past_key_values.{layer}.{part}"), Element::Float, &past);
                let present = [batch, heads, Axis::Named("present_sequence_length"), size];
                self.builder.output(&format!("present.{layer}.{part}"), Element::Float, &present);
            }
        }
    }

    /// The embedding's matrix. Its numbers are written here where the embedding can be gathered in packed form.
    fn head_weights(&mut self) -> Result<Head, ExportError> {
        let (rows, columns) = (self.shape.vocabulary, self.shape.hidden);
        let linear = Linear::read(self.file, "token_embd.weight", rows, columns, self.precision)?;
        let mut written = None;
        if let Linear::Packed(packed) = &linear
            && packed.minimums.is_empty()
        {
            let region = self.builder.region(&packed.numbers)?;
            let dims = [rows, columns / packed.block];
            let scales = self.builder.floats("embed.scales", &dims, &packed.scales)?;
            written = Some((region, scales));
        }
        Ok(Head { linear, written })
    }

    fn embed(&mut self, head: &Head) -> Result<String, ExportError> {
        let (rows, columns) = (self.shape.vocabulary, self.shape.hidden);
        if let (Linear::Packed(packed), Some((region, scales))) = (&head.linear, &head.written) {
            let width = columns * usize::from(packed.bits) / 8;
            let table = self.builder.bytes("embed.table", &[rows, width], *region);
            let settings = [
                ("bits", Setting::Int(packed.bits.into())),
                ("block_size", Setting::Int(i64::try_from(packed.block).unwrap_or(32))),
                ("gather_axis", Setting::Int(0)),
                ("quantize_axis", Setting::Int(1)),
            ];
            let inputs = [&table, "input_ids", scales];
            return Ok(self.builder.node(MICROSOFT, "GatherBlockQuantized", "embed", &inputs, &settings));
        }
        let values = self.file.floats("token_embd.weight")?;
        let table = self.builder.floats("embed.table", &[rows, columns], &values)?;
        Ok(self.builder.node("", "Gather", "embed", &[&table, "input_ids"], &[]))
    }

    /// The attention operator's inputs for lengths and angles.
    fn positions(&mut self) -> Result<(), ExportError> {
        let int32 = [("to", Setting::Int(Element::Int32.number().into()))];
        let builder = &mut self.builder;
        let axis = builder.integers("lengths/axis", &[1], &[1]);
        let one = builder.integers("lengths/one", &[1], &[1]);
        let keep = [("keepdims", Setting::Int(0))];
        let sums = builder.node("", "ReduceSum", "lengths/sums", &["attention_mask", &axis], &keep);
        let last = builder.node("", "Sub", "lengths/last", &[&sums, &one], &[]);
        builder.node("", "Cast", "seqlens_k", &[&last], &int32);
        let shape = builder.node("", "Shape", "lengths/shape", &["attention_mask"], &[]);
        let index = builder.integers("lengths/index", &[], &[1]);
        let width = builder.node("", "Gather", "lengths/width", &[&shape, &index], &[]);
        builder.node("", "Cast", "total_length", &[&width], &int32);
        let (cosines, sines) = self.shape.rotary_tables();
        let dims = [self.shape.context, self.shape.head_size / 2];
        builder.floats("rotary.cosines", &dims, &cosines)?;
        builder.floats("rotary.sines", &dims, &sines)?;
        Ok(())
    }

    fn norm(&mut self, tensor: &str, name: &str, input: &str) -> Result<Input, ExportError> {
        let values = self.file.floats(tensor)?;
        if values.len() != self.shape.hidden {
            return Err(ExportError::Unsupported(format!("{tensor} has {} elements", values.len())));
        }
        let weight = self.builder.floats(&format!("{name}.weight"), &[values.len()], &values)?;
        let settings = [
            ("axis", Setting::Int(-1)),
            ("epsilon", Setting::Float(self.shape.epsilon)),
            ("stash_type", Setting::Int(1)),
        ];
        let inputs = [input, &weight];
        Ok(Input::new(self.builder.node("", "SimplifiedLayerNormalization", name, &inputs, &settings)))
    }

    fn linear(&mut self, tensor: &str, rows: usize, columns: usize) -> Result<Linear, ExportError> {
        Linear::read(self.file, tensor, rows, columns, self.precision)
    }

    fn layer(&mut self, layer: usize, stream: &str) -> Result<String, ExportError> {
        let prefix = format!("layers.{layer}");
        let (hidden, inner) = (self.shape.hidden, self.shape.inner);
        let mut input =
            self.norm(&format!("blk.{layer}.attn_norm.weight"), &format!("{prefix}.attention_norm"), stream)?;
        let attended = self.attention(layer, &prefix, &mut input)?;
        let width = self.shape.heads * self.shape.head_size;
        let output = self.linear(&format!("blk.{layer}.attn_output.weight"), hidden, width)?;
        let output = apply(&mut self.builder, &format!("{prefix}.output"), &mut Input::new(attended), &output)?;
        let stream = self.builder.node("", "Add", &format!("{prefix}.attended"), &[stream, &output], &[]);

        let mut input = self.norm(&format!("blk.{layer}.ffn_norm.weight"), &format!("{prefix}.inner_norm"), &stream)?;
        let gate = self.linear(&format!("blk.{layer}.ffn_gate.weight"), inner, hidden)?;
        let up = self.linear(&format!("blk.{layer}.ffn_up.weight"), inner, hidden)?;
        let names = [format!("{prefix}.gate"), format!("{prefix}.up")];
        self.group(&format!("{prefix}.gate_up"), &mut input, vec![gate, up], &names)?;
        let sigmoid = self.builder.node("", "Sigmoid", &format!("{prefix}.sigmoid"), &[&names[0]], &[]);
        let silu = self.builder.node("", "Mul", &format!("{prefix}.silu"), &[&names[0], &sigmoid], &[]);
        let gated = self.builder.node("", "Mul", &format!("{prefix}.gated"), &[&silu, &names[1]], &[]);
        let down = self.linear(&format!("blk.{layer}.ffn_down.weight"), hidden, inner)?;
        let down = apply(&mut self.builder, &format!("{prefix}.down"), &mut Input::new(gated), &down)?;
        Ok(self.builder.node("", "Add", &prefix, &[&stream, &down], &[]))
    }

    /// The layers of one input: one split product, or each alone where their forms differ.
    fn group(
        &mut self,
        name: &str,
        input: &mut Input,
        layers: Vec<Linear>,
        names: &[String],
    ) -> Result<(), ExportError> {
        let rows: Vec<i64> = layers.iter().map(|layer| i64::try_from(layer.rows()).unwrap_or(i64::MAX)).collect();
        match Linear::stack(layers) {
            Ok(whole) => {
                let whole = apply(&mut self.builder, name, input, &whole)?;
                let sizes = self.builder.integers(&format!("{name}/sizes"), &[rows.len()], &rows);
                let outputs: Vec<&str> = names.iter().map(String::as_str).collect();
                self.builder.node_to("", "Split", &[&whole, &sizes], &outputs, &[("axis", Setting::Int(-1))]);
            }
            Err(layers) => {
                for (layer, name) in layers.iter().zip(names) {
                    apply(&mut self.builder, name, input, layer)?;
                }
            }
        }
        Ok(())
    }

    fn attention(&mut self, layer: usize, prefix: &str, input: &mut Input) -> Result<String, ExportError> {
        let shape = self.shape;
        let (width, kv_width) = (shape.heads * shape.head_size, shape.kv_heads * shape.head_size);
        let query = self.linear(&format!("blk.{layer}.attn_q.weight"), width, shape.hidden)?;
        let key = self.linear(&format!("blk.{layer}.attn_k.weight"), kv_width, shape.hidden)?;
        let value = self.linear(&format!("blk.{layer}.attn_v.weight"), kv_width, shape.hidden)?;
        let query = query.reordered(&halves_order(shape.heads, shape.head_size));
        let key = key.reordered(&halves_order(shape.kv_heads, shape.head_size));
        // The operator takes query, key and value as one product where possible.
        let projected = match Linear::stack(vec![query, key, value]) {
            Ok(whole) => {
                [apply(&mut self.builder, &format!("{prefix}.qkv"), input, &whole)?, String::new(), String::new()]
            }
            Err(layers) => {
                let mut names = [const { String::new() }; 3];
                for ((layer, part), name) in layers.iter().zip(["query", "key", "value"]).zip(&mut names) {
                    *name = apply(&mut self.builder, &format!("{prefix}.{part}"), input, layer)?;
                }
                names
            }
        };
        let int = |number: usize| Setting::Int(i64::try_from(number).unwrap_or(i64::MAX));
        let settings =
            [("num_heads", int(shape.heads)), ("kv_num_heads", int(shape.kv_heads)), ("do_rotary", Setting::Int(1))];
        let (past_key, past_value) = (format!("past_key_values.{layer}.key"), format!("past_key_values.{layer}.value"));
        let inputs = [
            projected[0].as_str(),
            projected[1].as_str(),
            projected[2].as_str(),
            &past_key,
            &past_value,
            "seqlens_k",
            "total_length",
            "rotary.cosines",
            "rotary.sines",
        ];
        let attended = format!("{prefix}.attention");
        let outputs = [attended.as_str(), &format!("present.{layer}.key"), &format!("present.{layer}.value")];
        self.builder.node_to(MICROSOFT, "GroupQueryAttention", &inputs, &outputs, &settings);
        Ok(attended)
    }

    fn logits(&mut self, stream: &str, head: &Head) -> Result<(), ExportError> {
        let normed = self.norm("output_norm.weight", "final_norm", stream)?;
        let from = self.builder.node("", "Neg", "kept/from", &["num_logits_to_keep"], &[]);
        let to = self.builder.integers("kept/to", &[1], &[i64::MAX]);
        let axis = self.builder.integers("kept/axis", &[1], &[1]);
        let kept = self.builder.node("", "Slice", "kept", &[normed.name(), &from, &to, &axis], &[]);
        let mut kept = Input::new(kept);
        match (&head.linear, &head.written) {
            (Linear::Packed(packed), Some((region, scales))) if self.shape.tied => {
                packed_nodes(&mut self.builder, "logits", &mut kept, packed, *region, scales)?;
            }
            (linear, _) if self.shape.tied => {
                apply(&mut self.builder, "logits", &mut kept, linear)?;
            }
            _ => {
                let linear = self.linear("output.weight", self.shape.vocabulary, self.shape.hidden)?;
                apply(&mut self.builder, "logits", &mut kept, &linear)?;
            }
        }
        Ok(())
    }
}

/// From pairs (GGUF: heads x half x 2) to halves (heads x 2 x half).
fn halves_order(heads: usize, head_size: usize) -> Vec<usize> {
    let half = head_size / 2;
    let row = |head: usize, at: usize| head * head_size + at % half * 2 + at / half;
    (0..heads).flat_map(|head| (0..head_size).map(move |at| row(head, at))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_come_from_pairs() {
        assert_eq!(halves_order(2, 4), [0, 2, 1, 3, 4, 6, 5, 7]);
    }
}
