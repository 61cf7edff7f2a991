//! Products of one input, with their biases where a file has them: written as one product where their forms agree, which
//! saves an operator's overhead for each, or each alone.

use std::io::{Read, Seek, Write};

use super::graph::{Builder, Setting};
use super::linear::{Input, Linear, Precision, apply};
use super::shape::ExportError;
use crate::gguf::{Gguf, GgufError};

/// A product's weights, and what is added to it.
pub(super) struct Projection {
    weights: Linear,
    bias: Option<Vec<f32>>,
}

impl Projection {
    /// Reads `NAME.weight`, and `NAME.bias` where the file has it.
    pub(super) fn read<R: Read + Seek>(
        file: &mut Gguf<R>,
        name: &str,
        rows: usize,
        columns: usize,
        precision: Precision,
    ) -> Result<Self, ExportError> {
        let weights = Linear::read(file, &format!("{name}.weight"), rows, columns, precision)?;
        let name = format!("{name}.bias");
        let bias = file.tensor(&name).is_some().then(|| file.floats(&name)).transpose()?;
        if let Some(bias) = bias.as_ref().filter(|bias| bias.len() != rows) {
            return Err(GgufError::Malformed(format!("{name} has {} numbers, not {rows}", bias.len())).into());
        }
        Ok(Self { weights, bias })
    }

    /// Reorders rows: row `i` becomes the earlier row `order[i]`.
    #[must_use]
    pub(super) fn reordered(self, order: &[usize]) -> Self {
        let bias = self.bias.map(|bias| order.iter().map(|&row| bias[row]).collect());
        Self { weights: self.weights.reordered(order), bias }
    }

    fn rows(&self) -> usize {
        self.weights.rows()
    }

    /// Writes the product. Returns the output's name.
    pub(super) fn apply<W: Write>(
        &self,
        builder: &mut Builder<W>,
        name: &str,
        input: &mut Input,
    ) -> Result<String, ExportError> {
        let Some(bias) = &self.bias else { return apply(builder, name, input, &self.weights) };
        let product = apply(builder, &format!("{name}/product"), input, &self.weights)?;
        let bias = builder.floats(&format!("{name}.bias"), &[bias.len()], bias)?;
        Ok(builder.node("", "Add", name, &[&product, &bias], &[]))
    }

    /// The products as one; unchanged where their forms differ.
    pub(super) fn stack(group: Vec<Self>) -> Result<Self, Vec<Self>> {
        let rows: Vec<usize> = group.iter().map(Self::rows).collect();
        let (weights, biases): (Vec<Linear>, Vec<Option<Vec<f32>>>) =
            group.into_iter().map(|one| (one.weights, one.bias)).unzip();
        match Linear::stack(weights) {
            Ok(weights) => {
                let is_biased = biases.iter().any(Option::is_some);
                let filled = biases.into_iter().zip(rows).flat_map(|(bias, rows)| bias.unwrap_or(vec![0.0; rows]));
                Ok(Self { weights, bias: is_biased.then(|| filled.collect()) })
            }
            Err(weights) => {
                Err(weights.into_iter().zip(biases).map(|(weights, bias)| Self { weights, bias }).collect())
            }
        }
    }
}

/// Writes products of one input to these names.
pub(super) fn apply_all<W: Write>(
    builder: &mut Builder<W>,
    name: &str,
    input: &mut Input,
    group: Vec<Projection>,
    names: &[String],
) -> Result<(), ExportError> {
    let rows: Vec<usize> = group.iter().map(Projection::rows).collect();
    match Projection::stack(group) {
        Ok(whole) => {
            let whole = whole.apply(builder, name, input)?;
            split(builder, &whole, &rows, names);
        }
        Err(group) => {
            for (one, name) in group.iter().zip(names) {
                one.apply(builder, name, input)?;
            }
        }
    }
    Ok(())
}

/// Splits a product's numbers into parts of these sizes.
pub(super) fn split<W: Write>(builder: &mut Builder<W>, whole: &str, sizes: &[usize], names: &[String]) {
    let numbers: Vec<i64> = sizes.iter().map(|&size| i64::try_from(size).unwrap_or(i64::MAX)).collect();
    let sizes = builder.integers(&format!("{whole}/sizes"), &[sizes.len()], &numbers);
    let outputs: Vec<&str> = names.iter().map(String::as_str).collect();
    builder.node_to("", "Split", &[whole, &sizes], &outputs, &[("axis", Setting::Int(-1))]);
}
