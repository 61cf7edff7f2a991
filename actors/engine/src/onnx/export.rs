//! A model as an ONNX graph of ONNX Runtime's fused operators, with the inputs and outputs of Hugging Face's exports: one
//! graph for all architectures, by the facts of [`Architecture`](super::Architecture). Files of llama have query and key
//! rows for interleaved rotation; here they are reordered into halves. One extra input, `num_logits_to_keep`, has a
//! default (0: all positions) and may be left out.

use std::io::{Read, Seek, Write};

use super::architecture::{Activation, Pairs};
use super::graph::{Arithmetic, Axis, Builder, Element, MICROSOFT, Setting};
use super::linear::{Input, Linear, Precision, apply, packed_nodes};
use super::projection::{Projection, apply_all, split};
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
    let arithmetic = match precision {
        Precision::Packed => Arithmetic::Bytes,
        Precision::Exact | Precision::Full => Arithmetic::Floats,
    };
    let mut export = Export { builder: Builder::new(weights, data_file, arithmetic), file, shape, precision };
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
        return Err(left_out(shape.architecture, name));
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
        let gathered = self.gather(head)?;
        if !self.shape.architecture.scales_embedding() {
            return Ok(gathered);
        }
        #[expect(clippy::cast_precision_loss, reason = "a small number")]
        let scale = self.builder.number("embed/scale", (self.shape.hidden as f32).sqrt());
        Ok(self.builder.node("", "Mul", "embed/scaled", &[&gathered, &scale], &[]))
    }

    fn gather(&mut self, head: &Head) -> Result<String, ExportError> {
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
        let dims = [self.shape.context, self.shape.rotary / 2];
        let ropes = [("rotary", Some(&self.shape.rope)), ("rotary.window", self.shape.window_rope.as_ref())];
        for (name, rope) in ropes {
            let Some(rope) = rope else { continue };
            let (cosines, sines) = rope.tables(self.shape.context);
            builder.floats(&format!("{name}.cosines"), &dims, &cosines)?;
            builder.floats(&format!("{name}.sines"), &dims, &sines)?;
        }
        Ok(())
    }

    /// A norm of numbers of this width.
    fn norm(&mut self, tensor: &str, name: &str, input: &str, width: usize) -> Result<String, ExportError> {
        let values = self.file.floats(tensor)?;
        if values.len() != width {
            return Err(ExportError::Unsupported(format!("{tensor} has {} elements, not {width}", values.len())));
        }
        let weight = self.builder.floats(&format!("{name}.weight"), &[width], &values)?;
        let settings = [
            ("axis", Setting::Int(-1)),
            ("epsilon", Setting::Float(self.shape.epsilon)),
            ("stash_type", Setting::Int(1)),
        ];
        Ok(self.builder.node("", "SimplifiedLayerNormalization", name, &[input, &weight], &settings))
    }

    fn projection(&mut self, tensor: &str, rows: usize, columns: usize) -> Result<Projection, ExportError> {
        Projection::read(self.file, tensor, rows, columns, self.precision)
    }

    fn layer(&mut self, layer: usize, stream: &str) -> Result<String, ExportError> {
        let prefix = format!("layers.{layer}");
        let hidden = self.shape.hidden;
        let normed = format!("{prefix}.attention_norm");
        let input = self.norm(&format!("blk.{layer}.attn_norm.weight"), &normed, stream, hidden)?;
        let attended = self.attention(layer, &prefix, &mut Input::new(input))?;
        let width = self.shape.heads * self.shape.head_size;
        let output = self.projection(&format!("blk.{layer}.attn_output"), hidden, width)?;
        let output = output.apply(&mut self.builder, &format!("{prefix}.output"), &mut Input::new(attended))?;
        let output = self.outgoing(layer, "post_attention_norm", &format!("{prefix}.output_norm"), output)?;
        let stream = self.builder.node("", "Add", &format!("{prefix}.attended"), &[stream, &output], &[]);

        let normed = format!("{prefix}.inner_norm");
        let input = self.norm(&format!("blk.{layer}.ffn_norm.weight"), &normed, &stream, hidden)?;
        let down = self.inner(layer, &prefix, &mut Input::new(input))?;
        let down = self.outgoing(layer, "post_ffw_norm", &format!("{prefix}.down_norm"), down)?;
        Ok(self.builder.node("", "Add", &prefix, &[&stream, &down], &[]))
    }

    /// What a block adds, normed where the architecture does that.
    fn outgoing(&mut self, layer: usize, tensor: &str, name: &str, output: String) -> Result<String, ExportError> {
        if !self.shape.architecture.norms_outputs() {
            return Ok(output);
        }
        self.norm(&format!("blk.{layer}.{tensor}.weight"), name, &output, self.shape.hidden)
    }

    fn inner(&mut self, layer: usize, prefix: &str, input: &mut Input) -> Result<String, ExportError> {
        let (hidden, inner) = (self.shape.hidden, self.shape.inner);
        let names = [format!("{prefix}.gate"), format!("{prefix}.up")];
        let whole = format!("{prefix}.gate_up");
        if self.shape.fuses_gate(self.file, layer) {
            let both = self.projection(&format!("blk.{layer}.ffn_up"), inner * 2, hidden)?;
            let both = both.apply(&mut self.builder, &whole, input)?;
            split(&mut self.builder, &both, &[inner, inner], &names);
        } else {
            let gate = self.projection(&format!("blk.{layer}.ffn_gate"), inner, hidden)?;
            let up = self.projection(&format!("blk.{layer}.ffn_up"), inner, hidden)?;
            apply_all(&mut self.builder, &whole, input, vec![gate, up], &names)?;
        }
        let active = format!("{prefix}.active");
        let active = match self.shape.architecture.activation() {
            Activation::Silu => {
                let sigmoid = self.builder.node("", "Sigmoid", &format!("{prefix}.sigmoid"), &[&names[0]], &[]);
                self.builder.node("", "Mul", &active, &[&names[0], &sigmoid], &[])
            }
            Activation::GeluTanh => self.builder.node(MICROSOFT, "FastGelu", &active, &[&names[0]], &[]),
        };
        let gated = self.builder.node("", "Mul", &format!("{prefix}.gated"), &[&active, &names[1]], &[]);
        let down = self.projection(&format!("blk.{layer}.ffn_down"), hidden, inner)?;
        down.apply(&mut self.builder, &format!("{prefix}.down"), &mut Input::new(gated))
    }

    /// Query, key and value of a layer: one name where they are one product, else three. Halves of a head rotate.
    fn projected(&mut self, layer: usize, prefix: &str, input: &mut Input) -> Result<[String; 3], ExportError> {
        let shape = self.shape;
        let (width, kv_width) = (shape.heads * shape.head_size, shape.kv_heads * shape.head_size);
        let sizes = [width, kv_width, kv_width];
        let order = |heads: usize| halves_order(heads, shape.head_size, shape.rotary);
        let is_turned = shape.architecture.pairs() == Pairs::Neighbours;
        let whole = format!("{prefix}.qkv");
        let names = ["query", "key", "value"].map(|part| format!("{prefix}.{part}"));
        let fused = format!("blk.{layer}.attn_qkv");
        let is_fused = self.file.tensor(&format!("{fused}.weight")).is_some();
        let group = if is_fused {
            let both = self.projection(&fused, width + 2 * kv_width, shape.hidden)?;
            vec![if is_turned { both.reordered(&fused_order(shape)) } else { both }]
        } else {
            let mut group = Vec::with_capacity(3);
            for ((part, rows), heads) in
                ["attn_q", "attn_k", "attn_v"].into_iter().zip(sizes).zip([shape.heads, shape.kv_heads, 0])
            {
                let read = self.projection(&format!("blk.{layer}.{part}"), rows, shape.hidden)?;
                group.push(if is_turned && heads > 0 { read.reordered(&order(heads)) } else { read });
            }
            group
        };
        match Projection::stack(group) {
            Ok(one) => {
                let one = one.apply(&mut self.builder, &whole, input)?;
                if !shape.architecture.norms_queries() {
                    return Ok([one, String::new(), String::new()]);
                }
                split(&mut self.builder, &one, &sizes, &names);
            }
            Err(group) => {
                for (one, name) in group.iter().zip(&names) {
                    one.apply(&mut self.builder, name, input)?;
                }
            }
        }
        Ok(names)
    }

    /// A norm of each head.
    fn head_norm(&mut self, tensor: &str, name: &str, heads: usize) -> Result<String, ExportError> {
        let size = self.shape.head_size;
        let numbers =
            |sizes: &[usize]| sizes.iter().map(|&size| i64::try_from(size).unwrap_or(i64::MAX)).collect::<Vec<_>>();
        let apart = self.builder.integers(&format!("{name}/apart"), &[4], &numbers(&[0, 0, heads, size]));
        let joined = self.builder.integers(&format!("{name}/joined"), &[3], &numbers(&[0, 0, heads * size]));
        let each = self.builder.node("", "Reshape", &format!("{name}/heads"), &[name, &apart], &[]);
        let normed = self.norm(tensor, &format!("{name}/norm"), &each, size)?;
        Ok(self.builder.node("", "Reshape", &format!("{name}/normed"), &[&normed, &joined], &[]))
    }

    fn attention(&mut self, layer: usize, prefix: &str, input: &mut Input) -> Result<String, ExportError> {
        let shape = self.shape;
        let mut projected = self.projected(layer, prefix, input)?;
        if shape.architecture.norms_queries() {
            for (name, (part, heads)) in projected.iter_mut().zip([("q", shape.heads), ("k", shape.kv_heads)]) {
                *name = self.head_norm(&format!("blk.{layer}.attn_{part}_norm.weight"), name, heads)?;
            }
        }
        let int = |number: usize| Setting::Int(i64::try_from(number).unwrap_or(i64::MAX));
        let mut settings = vec![
            ("num_heads", int(shape.heads)),
            ("kv_num_heads", int(shape.kv_heads)),
            ("do_rotary", Setting::Int(1)),
            ("scale", Setting::Float(shape.attention_scale)),
        ];
        if shape.attention_cap > 0.0 {
            settings.push(("softcap", Setting::Float(shape.attention_cap)));
        }
        let window = shape.windows.get(layer).copied().flatten();
        settings
            .extend(window.filter(|window| *window < shape.context).map(|window| ("local_window_size", int(window))));
        let rotary = if window.is_some() && shape.window_rope.is_some() { "rotary.window" } else { "rotary" };
        let (past_key, past_value) = (format!("past_key_values.{layer}.key"), format!("past_key_values.{layer}.value"));
        let inputs = [
            projected[0].as_str(),
            projected[1].as_str(),
            projected[2].as_str(),
            &past_key,
            &past_value,
            "seqlens_k",
            "total_length",
            &format!("{rotary}.cosines"),
            &format!("{rotary}.sines"),
        ];
        let attended = format!("{prefix}.attention");
        let outputs = [attended.as_str(), &format!("present.{layer}.key"), &format!("present.{layer}.value")];
        self.builder.node_to(MICROSOFT, "GroupQueryAttention", &inputs, &outputs, &settings);
        Ok(attended)
    }

    fn logits(&mut self, stream: &str, head: &Head) -> Result<(), ExportError> {
        let normed = self.norm("output_norm.weight", "final_norm", stream, self.shape.hidden)?;
        let from = self.builder.node("", "Neg", "kept/from", &["num_logits_to_keep"], &[]);
        let to = self.builder.integers("kept/to", &[1], &[i64::MAX]);
        let axis = self.builder.integers("kept/axis", &[1], &[1]);
        let kept = self.builder.node("", "Slice", "kept", &[&normed, &from, &to, &axis], &[]);
        let mut kept = Input::new(kept);
        let cap = self.shape.logit_cap;
        let name = if cap > 0.0 { "logits/free" } else { "logits" };
        match (&head.linear, &head.written) {
            (Linear::Packed(packed), Some((region, scales)))
                if self.shape.tied && (packed.bits == 4 || self.builder.arithmetic() == Arithmetic::Bytes) =>
            {
                packed_nodes(&mut self.builder, name, &mut kept, packed, *region, scales)?;
            }
            (linear, _) if self.shape.tied => {
                apply(&mut self.builder, name, &mut kept, linear)?;
            }
            _ => {
                let (rows, columns) = (self.shape.vocabulary, self.shape.hidden);
                let linear = Linear::read(self.file, "output.weight", rows, columns, self.precision)?;
                apply(&mut self.builder, name, &mut kept, &linear)?;
            }
        }
        if cap > 0.0 {
            let cap = self.builder.number("logits/cap", cap);
            let shares = self.builder.node("", "Div", "logits/shares", &[name, &cap], &[]);
            let bounded = self.builder.node("", "Tanh", "logits/bounded", &[&shares], &[]);
            self.builder.node("", "Mul", "logits", &[&bounded, &cap], &[]);
        }
        Ok(())
    }
}

/// Rows from pairs of neighbours (heads x half x 2) to halves (heads x 2 x half). What is not rotated stays behind.
fn halves_order(heads: usize, head_size: usize, rotary: usize) -> Vec<usize> {
    let half = rotary / 2;
    let place = |at: usize| if at < rotary { at % half * 2 + at / half } else { at };
    (0..heads).flat_map(|head| (0..head_size).map(move |at| head * head_size + place(at))).collect()
}

/// The same of query, key and value in one tensor; the value's rows stay.
fn fused_order(shape: &Shape) -> Vec<usize> {
    let turned = halves_order(shape.heads + shape.kv_heads, shape.head_size, shape.rotary);
    let value = turned.len()..turned.len() + shape.kv_heads * shape.head_size;
    turned.into_iter().chain(value).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_come_from_pairs() {
        assert_eq!(halves_order(2, 4, 4), [0, 2, 1, 3, 4, 6, 5, 7]);
        assert_eq!(halves_order(1, 6, 4), [0, 2, 1, 3, 4, 5]);
    }
}
