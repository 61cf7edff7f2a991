//! The rotation of queries and keys: a frequency for each pair of numbers, and a factor for all. How a file stretches its
//! context (linear, yarn, llama3, longrope, or a tensor of divisors) is computed into these; what contradicts itself is
//! refused by its key. The formulas are those of llama.cpp, whose format the files have.

use std::f64::consts::TAU;
use std::io::{Read, Seek};

use serde_json::{Value as Json, json};

use super::keys::{Keys, missing, unsupported};
use super::shape::ExportError;
use crate::gguf::{Gguf, Value};

/// Divisors of the frequencies, as Llama 3.1 and later have them.
const DIVISORS: &str = "rope_freqs.weight";
/// Divisors for a model's whole context, as Phi 3 has them.
const LONG: &str = "rope_factors_long.weight";
/// Divisors for the context before its stretching.
const SHORT: &str = "rope_factors_short.weight";

/// A rotation.
#[derive(Debug, Clone, PartialEq)]
pub struct Rope {
    /// The base of the frequencies.
    pub theta: f64,
    /// The angle by which each pair turns at each position.
    frequencies: Vec<f64>,
    /// The factor of all rotated numbers.
    magnitude: f64,
    /// The stretching, as Hugging Face's `rope_scaling` tells it; null without one.
    pub(crate) scaling: Json,
}

impl Rope {
    /// A rotation of `rotary` numbers that is not stretched.
    pub(super) fn plain(theta: f64, rotary: usize) -> Self {
        Self { theta, frequencies: frequencies(theta, rotary), magnitude: 1.0, scaling: Json::Null }
    }

    /// Cosines and sines of every position, each `context` x half of the rotated numbers.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        reason = "positions are small; tables are f32"
    )]
    pub(super) fn tables(&self, context: usize) -> (Vec<f32>, Vec<f32>) {
        let angles = (0..context).flat_map(|at| self.frequencies.iter().map(move |frequency| at as f64 * frequency));
        let turned = |angle: f64| ((angle.cos() * self.magnitude) as f32, (angle.sin() * self.magnitude) as f32);
        angles.map(turned).unzip()
    }
}

#[expect(clippy::cast_precision_loss, reason = "small numbers")]
fn frequencies(theta: f64, rotary: usize) -> Vec<f64> {
    (0..rotary / 2).map(|index| theta.powf(-2.0 * index as f64 / rotary as f64)).collect()
}

/// The names of the tensors that [`read`] computes with, of those in the file.
pub(super) fn tensors<R: Read + Seek>(file: &Gguf<R>) -> impl Iterator<Item = String> {
    [DIVISORS, LONG, SHORT].into_iter().filter(|name| file.tensor(name).is_some()).map(str::to_owned)
}

/// What a file says of its stretching.
struct Asked {
    kind: String,
    factor: Option<f64>,
    /// The context before the stretching.
    original: f64,
    /// The factor of all rotated numbers, where the file names it.
    magnitude: f64,
    beta_fast: f64,
    beta_slow: f64,
}

impl Asked {
    fn read<R: Read + Seek>(keys: &Keys<'_, R>, context: usize) -> Result<Self, ExportError> {
        // Files name it `rope.scaling.factor`, older files `rope.scale_linear`. A factor of 0 means none.
        const FACTOR: &str = "rope.scaling.factor";
        const OLD: &str = "rope.scale_linear";
        let (factor, old) = (keys.float(FACTOR)?, keys.float(OLD)?);
        if let (Some(factor), Some(old)) = (factor, old)
            && (factor - old).abs() > 1e-6
        {
            let (new_key, old_key) = (keys.name(FACTOR), keys.name(OLD));
            return Err(unsupported(format!("{new_key} is {factor} and {old_key} is {old}")));
        }
        let kind = match keys.value("rope.scaling.type") {
            None => "linear",
            Some(Value::Text(kind)) => kind.as_str(),
            Some(_) => return Err(missing(&keys.name("rope.scaling.type"))),
        };
        // How much of yarn is mixed in: all where the type is yarn, else nothing.
        let mixed = if kind == "yarn" { 1.0 } else { 0.0 };
        if let Some(other) = keys.float("rope.scaling.yarn_ext_factor")?.filter(|share| (share - mixed).abs() > 1e-6) {
            let key = keys.name("rope.scaling.yarn_ext_factor");
            return Err(unsupported(format!("{key} is {other} with rope scaling {kind}")));
        }
        #[expect(clippy::cast_precision_loss, reason = "contexts are small")]
        let original = keys.number("rope.scaling.original_context_length")?.unwrap_or(context) as f64;
        Ok(Self {
            kind: kind.to_owned(),
            factor: factor.or(old).filter(|factor| *factor > 0.0),
            original: original.max(1.0),
            magnitude: keys.positive("rope.scaling.attn_factor")?.unwrap_or(1.0),
            beta_fast: keys.positive("rope.scaling.yarn_beta_fast")?.unwrap_or(32.0),
            beta_slow: keys.positive("rope.scaling.yarn_beta_slow")?.unwrap_or(1.0),
        })
    }

    /// The factor of a stretching that makes no sense without one.
    fn needed<R: Read + Seek>(&self, keys: &Keys<'_, R>) -> Result<f64, ExportError> {
        self.factor.ok_or_else(|| missing(&keys.name("rope.scaling.factor")))
    }
}

/// Reads a file's rotation of `rotary` numbers over `context` positions.
pub(super) fn read<R: Read + Seek>(
    file: &mut Gguf<R>,
    architecture: super::Architecture,
    rotary: usize,
    context: usize,
) -> Result<Rope, ExportError> {
    let keys = Keys { file, architecture };
    let theta = keys.positive("rope.freq_base")?.unwrap_or(10_000.0);
    let asked = Asked::read(&keys, context)?;
    let mut rope = Rope { magnitude: asked.magnitude, ..Rope::plain(theta, rotary) };
    #[expect(clippy::cast_precision_loss, reason = "contexts are small")]
    let is_long = context as f64 > asked.original;
    match (asked.kind.as_str(), asked.factor) {
        ("linear", Some(factor)) => {
            rope.frequencies.iter_mut().for_each(|frequency| *frequency /= factor);
            if (factor - 1.0).abs() > 1e-9 {
                rope.scaling = json!({ "rope_type": "linear", "factor": factor });
            }
        }
        ("none" | "longrope", Some(factor)) if (factor - 1.0).abs() > 1e-6 => {
            let (kind, factor_key) = (&asked.kind, keys.name("rope.scaling.factor"));
            return Err(unsupported(format!(
                "{factor_key} is {factor} and {} is {kind}",
                keys.name("rope.scaling.type")
            )));
        }
        ("linear" | "none", _) => {}
        ("longrope", _) => {
            if file.tensor(LONG).is_none() || file.tensor(SHORT).is_none() {
                return Err(missing(LONG));
            }
        }
        ("yarn", _) => {
            let factor = asked.needed(&keys)?;
            rope.magnitude *= if factor > 1.0 { 1.0 + 0.1 * factor.ln() } else { 1.0 };
            yarn(&mut rope.frequencies, theta, rotary, factor, &asked);
            rope.scaling = json!({ "rope_type": "yarn", "factor": factor, "beta_fast": asked.beta_fast,
                "beta_slow": asked.beta_slow, "original_max_position_embeddings": asked.original });
        }
        ("llama3", _) => {
            let factor = asked.needed(&keys)?;
            let [low, high] = ["rope.scaling.low_freq_factor", "rope.scaling.high_freq_factor"]
                .map(|key| keys.positive(key).and_then(|found| found.ok_or_else(|| missing(&keys.name(key)))));
            let (low, high) = (low?, high?);
            if high <= low {
                let key = keys.name("rope.scaling.high_freq_factor");
                return Err(unsupported(format!("{key} is {high}, not above the low one, {low}")));
            }
            llama3(&mut rope.frequencies, factor, low, high, asked.original);
            rope.scaling = json!({ "rope_type": "llama3", "factor": factor, "low_freq_factor": low,
                "high_freq_factor": high, "original_max_position_embeddings": asked.original });
            // The tensor is what these parameters come to: both together would stretch twice.
            if file.tensor(DIVISORS).is_some() {
                return Err(unsupported(format!("{DIVISORS} beside rope scaling llama3")));
            }
        }
        (other, _) => {
            return Err(unsupported(format!("rope scaling {other} ({})", keys.name("rope.scaling.type"))));
        }
    }
    divide(file, &mut rope, rotary, is_long)?;
    if rope.frequencies.iter().chain([&rope.magnitude]).all(|number| number.is_finite()) {
        Ok(rope)
    } else {
        Err(unsupported(format!("the rotation of {}.rope is no finite number", architecture.name())))
    }
}

/// Divides the frequencies as the file's tensors say. Of a long and a short list the whole context decides, so that all
/// positions of all requests are turned alike.
fn divide<R: Read + Seek>(
    file: &mut Gguf<R>,
    rope: &mut Rope,
    rotary: usize,
    is_long: bool,
) -> Result<(), ExportError> {
    let mut lists = Vec::new();
    for name in [DIVISORS, LONG, SHORT] {
        if file.tensor(name).is_none() {
            continue;
        }
        let divisors = file.floats(name)?;
        if divisors.len() != rotary / 2 || divisors.iter().any(|divisor| *divisor <= 0.0) {
            let count = divisors.len();
            let wanted = rotary / 2;
            return Err(unsupported(format!("{name} has {count} divisors; {wanted}, all above 0, are needed")));
        }
        lists.push((name, divisors));
    }
    let chosen = match &lists[..] {
        [] => return Ok(()),
        [(DIVISORS, divisors)] => divisors,
        [(LONG, long), (SHORT, short)] => {
            rope.scaling = json!({ "rope_type": "longrope", "long_factor": long, "short_factor": short,
                "attention_factor": rope.magnitude });
            if is_long { long } else { short }
        }
        [(name, _), ..] => return Err(unsupported(format!("{name} without, or beside, other divisors"))),
    };
    for (frequency, divisor) in rope.frequencies.iter_mut().zip(chosen) {
        *frequency /= f64::from(*divisor);
    }
    Ok(())
}

/// Yarn: pairs that turn often keep their frequency, those that turn seldom are stretched, with a ramp between.
#[expect(clippy::cast_precision_loss, reason = "small numbers")]
fn yarn(frequencies: &mut [f64], theta: f64, rotary: usize, factor: f64, asked: &Asked) {
    // The pair that turns so many times over the original context.
    let pair = |turns: f64| rotary as f64 * (asked.original / (turns * TAU)).ln() / (2.0 * theta.ln());
    let low = pair(asked.beta_fast).floor().max(0.0);
    let high = pair(asked.beta_slow).ceil().min(rotary as f64 - 1.0);
    for (index, frequency) in frequencies.iter_mut().enumerate() {
        let kept = 1.0 - ((index as f64 - low) / (high - low).max(0.001)).clamp(0.0, 1.0);
        *frequency = *frequency / factor * (1.0 - kept) + *frequency * kept;
    }
}

/// Llama 3: long waves are stretched by the factor, short ones are kept, those between are mixed.
fn llama3(frequencies: &mut [f64], factor: f64, low: f64, high: f64, original: f64) {
    for frequency in frequencies {
        let turns = original * *frequency / TAU;
        let kept = ((turns - low) / (high - low)).clamp(0.0, 1.0);
        *frequency = *frequency / factor * (1.0 - kept) + *frequency * kept;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_turns_by_its_frequencies() {
        let (cosines, sines) = Rope { magnitude: 2.0, ..Rope::plain(100.0, 4) }.tables(3);
        let angle = 2.0 * 0.1_f64;
        assert_eq!(cosines.len(), 6);
        assert!((f64::from(cosines[5]) - 2.0 * angle.cos()).abs() < 1e-6);
        assert!((f64::from(sines[4]) - 2.0 * 2.0_f64.sin()).abs() < 1e-6);
    }

    #[test]
    fn long_waves_are_stretched_and_short_ones_kept() {
        let plain = Rope::plain(500_000.0, 128).frequencies;
        let mut stretched = plain.clone();
        llama3(&mut stretched, 8.0, 1.0, 4.0, 8192.0);
        assert!((stretched[0] - plain[0]).abs() < 1e-12);
        assert!((stretched[63] - plain[63] / 8.0).abs() < 1e-12);
        // One in between, by the formula in its usual words: wave lengths.
        let wave = TAU / plain[31];
        let smooth = (8192.0 / wave - 1.0) / 3.0;
        assert!((0.0..1.0).contains(&smooth), "{smooth}");
        assert!((stretched[31] - ((1.0 - smooth) * plain[31] / 8.0 + smooth * plain[31])).abs() < 1e-12);
    }
}
