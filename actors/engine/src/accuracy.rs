//! How far a model's fast form agrees with 32-bit floats. Quantized products round their input to 8 bits; most models
//! bear that, some do not (those with few very large numbers among many small ones). So each import is tried: built-in
//! texts are read by both forms, and at each position both say what comes next (teacher-forced, so that one difference
//! does not lead to others). It knows folders and tokens, not how a form is chosen.

use std::fs;
use std::path::{Path, PathBuf};

use super::decoder::Decoder;
use super::device::{Device, Fallback};
use super::half_decoder::{self, HalfDecoder};
use super::network::NetworkError;
use super::onnx;
use super::runtime::Runtime;
use super::tokenizer::{FolderError, Special, Tokenizer};

/// The least share of positions at which both forms have the same likeliest token.
pub const LEAST_SAME: f64 = 0.95;
/// The least mean cosine of both forms' scores.
pub const LEAST_COSINE: f64 = 0.998;

/// What is read: prose, facts, code, questions, a list, and a language other than English.
const TEXTS: [&str; 6] = [
    include_str!("accuracy/texts/story.txt"),
    include_str!("accuracy/texts/science.txt"),
    include_str!("accuracy/texts/code.txt"),
    include_str!("accuracy/texts/questions.txt"),
    include_str!("accuracy/texts/recipe.txt"),
    include_str!("accuracy/texts/german.txt"),
];
/// The most tokens read of a text, so that the scores of a large vocabulary fit into memory.
const MOST_TOKENS: usize = 128;

/// Why the forms could not be compared.
#[derive(Debug, thiserror::Error)]
pub enum AccuracyError {
    /// The folder's tokenizer can't be loaded.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// A form can't be loaded or run, or computes scores that are not finite numbers.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// The model's file can't be read, or its other form can't be written beside it.
    #[error("{path}: {reason}")]
    File {
        /// The file.
        path: PathBuf,
        /// The reason.
        reason: String,
    },
    /// The tokenizer refuses a built-in text.
    #[error("a built-in text is no tokens: {0}")]
    Text(String),
}

/// A form of a model that reads what it is given.
pub trait Forced {
    /// The scores after each of `tokens`, read from an empty cache, row by row.
    ///
    /// # Errors
    ///
    /// The step failed.
    fn all_logits(&mut self, tokens: &[u32]) -> Result<Vec<Vec<f32>>, NetworkError>;
}

impl Forced for Decoder {
    fn all_logits(&mut self, tokens: &[u32]) -> Result<Vec<Vec<f32>>, NetworkError> {
        Decoder::all_logits(self, tokens)
    }
}

/// How far two forms of a model agree.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Agreement {
    /// The number of positions compared.
    pub positions: usize,
    /// The share of positions with the same likeliest token.
    pub same: f64,
    /// The mean cosine of the scores.
    pub cosine: f64,
}

impl Agreement {
    /// Whether the fast form may be served.
    pub fn suffices(&self) -> bool {
        self.same >= LEAST_SAME && self.cosine >= LEAST_COSINE
    }

    /// Compares the rows of scores of a form with those of the reference.
    #[expect(clippy::cast_precision_loss, reason = "small counts")]
    fn of(found: &[Vec<f32>], reference: &[Vec<f32>]) -> Self {
        let mut total = Self { positions: reference.len(), same: 0.0, cosine: 0.0 };
        let top = |row: &[f32]| row.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).map(|(at, _)| at);
        for (a, b) in found.iter().zip(reference) {
            let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
            let lengths = (dot(a, a) * dot(b, b)).sqrt();
            // Two rows of zeros are the same.
            total.cosine += if lengths > 0.0 { dot(a, b) / lengths } else { f64::from(u8::from(a == b)) };
            total.same += f64::from(u8::from(top(a) == top(b)));
        }
        let count = reference.len().max(1) as f64;
        Self { same: total.same / count, cosine: total.cosine / count, ..total }
    }

    /// What two agreements come to together.
    #[expect(clippy::cast_precision_loss, reason = "small counts")]
    fn and(self, other: Self) -> Self {
        let positions = self.positions + other.positions;
        let share = other.positions as f64 / positions.max(1) as f64;
        let mixed = |a: f64, b: f64| a * (1.0 - share) + b * share;
        Self { positions, same: mixed(self.same, other.same), cosine: mixed(self.cosine, other.cosine) }
    }
}

/// Compares a folder's model, which is this file of it, with its own form in 32-bit floats, on this many threads; `None`
/// where the model is in floats already.
///
/// # Errors
///
/// A form can't be loaded or run, or the folder can't be written: the form in floats is a file beside the model while
/// this runs.
pub fn measure(
    runtime: &Runtime,
    folder: &Path,
    file: &str,
    threads: usize,
) -> Result<Option<Agreement>, AccuracyError> {
    let path = folder.join(file);
    let Some(in_floats) = in_floats(&path)? else { return Ok(None) };
    let other = Beside::write(folder, file, &in_floats)?;
    compare(folder, || Decoder::load(runtime, &other.0, threads), || Decoder::load(runtime, &path, threads)).map(Some)
}

/// Compares a folder's model in half precision on a device, where every operator must run there, with its form in 32-bit
/// floats on the processor.
///
/// # Errors
///
/// As for [`measure`]; a model that no import of a GGUF file wrote has no such form.
pub fn measure_half(
    runtime: &Runtime,
    folder: &Path,
    file: &str,
    device: Device,
    threads: usize,
) -> Result<Agreement, AccuracyError> {
    let path = folder.join(file);
    let other = in_floats(&path)?.map(|in_floats| Beside::write(folder, file, &in_floats)).transpose()?;
    let reference = other.as_ref().map_or(&path, |beside| &beside.0);
    let fallback = Fallback::Refused;
    compare(
        folder,
        || Decoder::load(runtime, reference, threads),
        || {
            HalfDecoder::load(
                runtime,
                &path,
                half_decoder::Settings { device, threads, fallback, records: false, memory: None },
            )
        },
    )
}

/// A model file's form in floats; `None` where it is in floats already.
fn in_floats(path: &Path) -> Result<Option<Vec<u8>>, AccuracyError> {
    let model = fs::read(path).map_err(|error| failed(path, error.to_string()))?;
    onnx::in_floats(&model).map_err(|reason| failed(path, reason))
}

fn failed(path: &Path, reason: String) -> AccuracyError {
    AccuracyError::File { path: path.to_owned(), reason }
}

/// Compares two forms, loaded one after the other: both of a large model may not fit into memory together.
fn compare<R: Forced, F: Forced>(
    folder: &Path,
    reference: impl FnOnce() -> Result<R, NetworkError>,
    form: impl FnOnce() -> Result<F, NetworkError>,
) -> Result<Agreement, AccuracyError> {
    let texts = tokens(&Tokenizer::load(folder)?)?;
    let mut rows = Vec::with_capacity(texts.len());
    read(reference()?, &texts, |scores| rows.push(scores))?;
    let mut rows = rows.into_iter();
    let mut total = Agreement { positions: 0, same: 0.0, cosine: 0.0 };
    read(form()?, &texts, |scores| {
        total = total.and(Agreement::of(&scores, &rows.next().unwrap_or_default()));
    })?;
    Ok(total)
}

/// A file that is removed in the end.
struct Beside(PathBuf);

impl Beside {
    fn write(folder: &Path, file: &str, bytes: &[u8]) -> Result<Self, AccuracyError> {
        let beside = Self(folder.join(format!(".{file}.{}", std::process::id())));
        fs::write(&beside.0, bytes).map_err(|error| failed(&beside.0, error.to_string()))?;
        Ok(beside)
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// The built-in texts as tokens.
fn tokens(tokenizer: &Tokenizer) -> Result<Vec<Vec<u32>>, AccuracyError> {
    let most = MOST_TOKENS.min(tokenizer.context());
    let read = |text: &&str| {
        let mut tokens = tokenizer.encode(text, Special::Added).map_err(AccuracyError::Text)?;
        tokens.truncate(most);
        Ok(tokens)
    };
    TEXTS.iter().map(read).collect()
}

/// Reads the texts with a model. `seen` takes the scores after each token of each text.
fn read(mut model: impl Forced, texts: &[Vec<u32>], mut seen: impl FnMut(Vec<Vec<f32>>)) -> Result<(), AccuracyError> {
    for text in texts {
        let scores = model.all_logits(text)?;
        if !scores.iter().flatten().all(|score| score.is_finite()) {
            return Err(NetworkError::NotFinite.into());
        }
        seen(scores);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_that_agree_suffice_and_others_do_not() {
        let reference: Vec<Vec<f32>> = (0..40_u8).map(|at| vec![f32::from(at), 1.0, -2.0]).collect();
        let same = Agreement::of(&reference, &reference);
        assert!(same.suffices() && (same.same - 1.0).abs() < 1e-12 && same.positions == 40, "{same:?}");
        let mut other = reference.clone();
        // Two of forty other first tokens are as many as may be; three are too many.
        for (changed, suffices) in [(1, true), (2, true), (3, false)] {
            other[changed + 10] = vec![10.0 + f32::from(u8::try_from(changed).unwrap()), 15.0, -2.0];
            let found = Agreement { cosine: 1.0, ..Agreement::of(&other, &reference) };
            assert_eq!(found.suffices(), suffices, "{changed}: {found:?}");
        }
        let parts = other.chunks(7).zip(reference.chunks(7)).map(|(a, b)| Agreement::of(a, b));
        let (whole, joined) = (Agreement::of(&other, &reference), parts.reduce(Agreement::and).unwrap());
        assert_eq!(joined.positions, 40);
        assert!((joined.same - whole.same).abs() < 1e-9 && (joined.cosine - whole.cosine).abs() < 1e-9, "{joined:?}");
        let turned: Vec<Vec<f32>> = reference.iter().map(|row| vec![row[0], row[1] + 4.0, row[2]]).collect();
        let found = Agreement { same: 1.0, ..Agreement::of(&turned, &reference) };
        assert!(!found.suffices() && found.cosine > 0.5, "{found:?}");
    }
}
