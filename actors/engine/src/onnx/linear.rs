//! One linear layer of a GGUF file as nodes: an exactly repacked `MatMulNBits` for a quantized tensor, a plain `MatMul`
//! otherwise or for full precision. Layers with the same input are stacked where their forms agree, which saves an
//! operator's overhead for each.

use std::io::{Read, Seek, Write};

use super::graph::{ACCURACY_LEVEL, Arithmetic, Builder, MICROSOFT, Setting};
use super::shape::ExportError;
use crate::gguf::{Gguf, GgufError, Packed, dequantize, repack};

/// How weights are multiplied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Precision {
    /// Quantized as in the file, activations in 8 bits: fast.
    Packed,
    /// Quantized as in the file, all arithmetic in 32-bit floats: for models that don't bear 8 bits.
    Exact,
    /// All in 32-bit floats: the reference for accuracy.
    Full,
}

/// A layer's weights.
pub(super) enum Linear {
    Packed(Packed),
    /// Rows by columns.
    Plain {
        rows: usize,
        columns: usize,
        values: Vec<f32>,
    },
}

impl Linear {
    /// Reads a matrix and checks its shape.
    pub(super) fn read<R: Read + Seek>(
        file: &mut Gguf<R>,
        name: &str,
        rows: usize,
        columns: usize,
        precision: Precision,
    ) -> Result<Self, ExportError> {
        let tensor = file.tensor(name).ok_or_else(|| GgufError::Missing(name.to_owned()))?;
        if tensor.rows() != rows
            || tensor.columns() != columns
            || tensor.dimensions.iter().skip(2).any(|&more| more != 1)
        {
            let dimensions = &tensor.dimensions;
            return Err(GgufError::Malformed(format!("{name} is {dimensions:?}, not [{columns}, {rows}]")).into());
        }
        let kind = tensor.kind;
        let bytes = file.bytes(name)?;
        let packed = match precision {
            Precision::Packed | Precision::Exact => repack(kind, rows, columns, &bytes),
            Precision::Full => None,
        };
        let read = match packed {
            Some(packed) => Self::Packed(packed),
            None => Self::Plain { rows, columns, values: dequantize(kind, &bytes) },
        };
        if read.is_finite() { Ok(read) } else { Err(GgufError::NotFinite(name.to_owned()).into()) }
    }

    /// Whether every weight is a finite number. Of packed weights the scales and minimums decide.
    fn is_finite(&self) -> bool {
        let finite = |numbers: &[f32]| numbers.iter().all(|number| number.is_finite());
        match self {
            Self::Packed(packed) => finite(&packed.scales) && finite(&packed.minimums) && finite(&packed.offsets()),
            Self::Plain { values, .. } => finite(values),
        }
    }

    pub(super) fn rows(&self) -> usize {
        match self {
            Self::Packed(packed) => packed.rows,
            Self::Plain { rows, .. } => *rows,
        }
    }

    /// Reorders rows: row `i` becomes the earlier row `order[i]`.
    #[must_use]
    pub(super) fn reordered(self, order: &[usize]) -> Self {
        match self {
            Self::Packed(packed) => Self::Packed(packed.reordered(order)),
            Self::Plain { columns, values, .. } => {
                let values = order.iter().flat_map(|row| values[row * columns..(row + 1) * columns].to_vec()).collect();
                Self::Plain { rows: order.len(), columns, values }
            }
        }
    }

    /// Stacks the layers of a group; returns them unchanged where their forms differ.
    pub(super) fn stack(group: Vec<Self>) -> Result<Self, Vec<Self>> {
        let form = |layer: &Self| match layer {
            Self::Packed(packed) => {
                Some((packed.columns, packed.bits, packed.block, packed.centre, packed.minimums.is_empty()))
            }
            Self::Plain { .. } => None,
        };
        if group.is_empty() || group.windows(2).any(|pair| form(&pair[0]) != form(&pair[1])) {
            return Err(group);
        }
        let mut layers = group.into_iter();
        let Some(mut whole) = layers.next() else { return Err(Vec::new()) };
        for layer in layers {
            match (&mut whole, layer) {
                (Self::Packed(whole), Self::Packed(layer)) => {
                    whole.stack(layer).map_err(|layer| vec![Self::Packed(layer)])?;
                }
                (Self::Plain { rows, values, .. }, Self::Plain { rows: more, values: further, .. }) => {
                    *rows += more;
                    values.extend(further);
                }
                (_, layer) => return Err(vec![layer]),
            }
        }
        Ok(whole)
    }
}

/// The block sums of an input, computed once for all its layers.
pub(super) struct Input {
    name: String,
    sums: Vec<(usize, String)>,
}

impl Input {
    pub(super) fn new(name: String) -> Self {
        Self { name, sums: Vec::new() }
    }

    fn sums<W: Write>(&mut self, builder: &mut Builder<W>, columns: usize, block: usize) -> String {
        if let Some((_, name)) = self.sums.iter().find(|(size, _)| *size == block) {
            return name.clone();
        }
        let prefix = format!("{}/sums{block}", self.name);
        let (blocks, width) = (columns / block, i64::try_from(block).unwrap_or(i64::MAX));
        let target = [0, 0, i64::try_from(blocks).unwrap_or(i64::MAX), width];
        let target = builder.integers(&format!("{prefix}/shape"), &[4], &target);
        let blocked = builder.node("", "Reshape", &format!("{prefix}/blocks"), &[&self.name, &target], &[]);
        let axis = builder.integers(&format!("{prefix}/axis"), &[1], &[3]);
        let keep = [("keepdims", Setting::Int(0))];
        let sums = builder.node("", "ReduceSum", &prefix, &[&blocked, &axis], &keep);
        self.sums.push((block, sums.clone()));
        sums
    }
}

/// Writes a layer's weights and adds its nodes. Returns the output's name.
pub(super) fn apply<W: Write>(
    builder: &mut Builder<W>,
    name: &str,
    input: &mut Input,
    layer: &Linear,
) -> Result<String, ExportError> {
    match layer {
        Linear::Plain { rows, columns, values } => {
            let turned: Vec<f32> =
                (0..*columns).flat_map(|column| (0..*rows).map(move |row| values[row * columns + column])).collect();
            let weight = builder.floats(&format!("{name}.weight"), &[*columns, *rows], &turned)?;
            Ok(builder.node("", "MatMul", name, &[&input.name, &weight], &[]))
        }
        // In floats, numbers of 8 bits have no fast kernel and their halves have one.
        Linear::Packed(packed) if packed.bits == 8 && builder.arithmetic() == Arithmetic::Floats => {
            let [high, low] = packed.halves();
            let high = write_packed(builder, &format!("{name}/high"), input, &high)?;
            let low = write_packed(builder, &format!("{name}/low"), input, &low)?;
            Ok(builder.node("", "Add", name, &[&high, &low], &[]))
        }
        Linear::Packed(packed) => write_packed(builder, name, input, packed),
    }
}

/// Writes a packed layer's numbers and scales, and adds its nodes.
fn write_packed<W: Write>(
    builder: &mut Builder<W>,
    name: &str,
    input: &mut Input,
    packed: &Packed,
) -> Result<String, ExportError> {
    let region = builder.region(&packed.numbers)?;
    let blocks = packed.columns / packed.block;
    let scales = builder.floats(&format!("{name}.scales"), &[packed.rows, blocks], &packed.scales)?;
    packed_nodes(builder, name, input, packed, region, &scales)
}

/// The nodes of a packed layer whose numbers and scales are in the data file already.
pub(super) fn packed_nodes<W: Write>(
    builder: &mut Builder<W>,
    name: &str,
    input: &mut Input,
    packed: &Packed,
    region: super::graph::Region,
    scales: &str,
) -> Result<String, ExportError> {
    let int = |number: usize| Setting::Int(i64::try_from(number).unwrap_or(i64::MAX));
    let (rows, columns, block) = (packed.rows, packed.columns, packed.block);
    let blocks = columns / block;
    let dims = [rows, blocks, block * usize::from(packed.bits) / 8];
    let weight = builder.bytes(&format!("{name}.quants"), &dims, region);
    let settings = [
        ("K", int(columns)),
        ("N", int(rows)),
        ("bits", Setting::Int(packed.bits.into())),
        ("block_size", int(block)),
        (ACCURACY_LEVEL, Setting::Int(builder.arithmetic().level())),
    ];
    if packed.minimums.is_empty() {
        return Ok(builder.node(MICROSOFT, "MatMulNBits", name, &[&input.name, &weight, scales], &settings));
    }
    let scaled = format!("{name}/scaled");
    builder.node(MICROSOFT, "MatMulNBits", &scaled, &[&input.name, &weight, scales], &settings);
    let sums = input.sums(builder, columns, block);
    let offsets = packed.offsets();
    let turned: Vec<f32> =
        (0..blocks).flat_map(|at| offsets.iter().skip(at).step_by(blocks).copied().collect::<Vec<_>>()).collect();
    let offsets = builder.floats(&format!("{name}.offsets"), &[blocks, rows], &turned)?;
    let added = builder.node("", "MatMul", &format!("{name}/offset"), &[&sums, &offsets], &[]);
    Ok(builder.node("", "Add", name, &[&scaled, &added], &[]))
}
