//! Proves by runs that a graph is the language model that it says it is: its scores are finite and one for each token, a
//! token after others gives what all of them at once give, and its caches grow by what is read. Where its layers could share
//! the buffers of their caches, that is tried too, and believed only if it gives the same.

use std::path::Path;

use super::{ImportError, language::note};
use crate::{
    decoder::Decoder,
    network::{Network, NetworkError, finite},
    onnx::SHARED_CACHE_NOTE,
    runtime::Runtime,
    schedule::{Change, Row, SequenceId, Shape},
    tokenizer::{Special, Tokenizer},
};

/// What is read: more tokens than most graphs have special cases for.
const TEXT: &str = "The quick brown fox jumps over the lazy dog, and then it rests for a while in the shade.";
const MOST_TOKENS: usize = 24;
const LEAST_TOKENS: usize = 4;
/// Bytes of caches that are filled to try a far position.
const LARGEST_CACHE: usize = 1 << 30;
/// The least cosine of scores that should be the same, rounded otherwise: arithmetic in 8 bits rounds by what it reads at once.
const LEAST_COSINE: f64 = 0.98;
/// The same of scores that must be the same: buffers are shared, or are not.
const SAME_COSINE: f64 = 0.999_99;

/// Proves a model's file, and notes in it that its caches are shared where they can be. Returns whether they are.
pub(super) fn prove(
    tried: (&Runtime, usize),
    model: &Path,
    tokenizer: &Tokenizer,
    sharing_layers: usize,
) -> Result<bool, ImportError> {
    let refused = |reason: String| ImportError::Refused(format!("the model was tried: {reason}"));
    let tokens = tokens(tokenizer).map_err(refused)?;
    let mut decoder = load(tried, model).map_err(|error| refused(error.to_string()))?;
    let moved = scores(&mut decoder, &tokens, tokenizer).map_err(refused)?;
    let layers = decoder.layers();
    let context = tokenizer.context();
    let farthest = context.min(LARGEST_CACHE / decoder.abilities().position_bytes.max(1)).max(1) - 1;
    let reached = decoder.reach(farthest, tokens[0]);
    reached.map_err(|error| {
        refused(format!("it can't read position {farthest} of the {context} that config.json tells: {error}"))
    })?;
    drop(decoder);
    if sharing_layers < layers {
        return Ok(false);
    }
    // Without the note a model is run as it was tried.
    let before = std::fs::metadata(model).map(|data| data.len());
    let written = before.and_then(|before| note(model, SHARED_CACHE_NOTE).map(|()| before));
    let before = written.map_err(|source| ImportError::Write { path: model.to_owned(), source })?;
    if load(tried, model).and_then(|mut decoder| shares(&mut decoder, &tokens, &moved)).is_ok_and(|same| same) {
        return Ok(true);
    }
    let cut = std::fs::OpenOptions::new().write(true).open(model).and_then(|file| file.set_len(before));
    cut.map_err(|source| ImportError::Write { path: model.to_owned(), source })?;
    Ok(false)
}

fn load((runtime, threads): (&Runtime, usize), model: &Path) -> Result<Decoder, NetworkError> {
    Decoder::load(runtime, model, threads)
}

/// Tokens to read.
fn tokens(tokenizer: &Tokenizer) -> Result<Vec<u32>, String> {
    let mut tokens = tokenizer.encode(TEXT, Special::Added)?;
    tokens.truncate(MOST_TOKENS.min(tokenizer.context().saturating_sub(1)));
    if tokens.len() < LEAST_TOKENS {
        return Err(format!("its tokenizer makes {} tokens of a sentence, or its context is too short", tokens.len()));
    }
    Ok(tokens)
}

/// The scores after each token, which are the same read at once and one by one.
fn scores(decoder: &mut Decoder, tokens: &[u32], tokenizer: &Tokenizer) -> Result<Vec<Vec<f32>>, String> {
    let failed = |error: NetworkError| error.to_string();
    let whole = decoder.all_logits(tokens).map_err(failed)?;
    let width = whole.first().map_or(0, Vec::len);
    if whole.len() != tokens.len() || width < tokenizer.vocabulary() {
        let (rows, vocabulary) = (whole.len(), tokenizer.vocabulary());
        let found = format!("{rows} rows of {width} scores for {} tokens", tokens.len());
        return Err(format!("it computes {found}; its tokenizer has {vocabulary} tokens"));
    }
    whole.iter().try_for_each(|row| finite(row)).map_err(failed)?;
    let half = tokens.len() / 2;
    decoder.read(0, 0, &tokens[..half], None).map_err(failed)?;
    let mut total = cosine(decoder.scores(0), &whole[half - 1]);
    for (at, &token) in tokens.iter().enumerate().skip(half) {
        decoder.write(&[Row { id: SequenceId(1), token, past: at }]).map_err(failed)?;
        finite(decoder.scores(0)).map_err(failed)?;
        total += cosine(decoder.scores(0), &whole[at]);
    }
    #[expect(clippy::cast_precision_loss, reason = "a few tokens")]
    let mean = total / (tokens.len() - half + 1) as f64;
    // Not a number is less than nothing.
    if mean >= LEAST_COSINE {
        return Ok(whole);
    }
    Err(format!(
        "a token after others gives other scores than all at once (mean cosine {mean:.4}): its caches are not read"
    ))
}

/// Whether two sequences of different lengths that share buffers give what one alone gives whose cache moves.
fn shares(decoder: &mut Decoder, tokens: &[u32], moved: &[Vec<f32>]) -> Result<bool, NetworkError> {
    let (last, short) = (tokens.len() - 1, tokens.len() / 2);
    // One position more than is read, so that a buffer is never full.
    let positions = tokens.len() + 1;
    decoder.change(Change::Arrange(Shape { places: 2, positions }))?;
    decoder.read(0, 0, &tokens[..last], None)?;
    let mut is_same = alike(decoder.scores(0), &moved[last - 1]);
    decoder.read(1, 0, &tokens[..1], None)?;
    decoder.read(1, 1, &tokens[1..short], None)?;
    is_same &= alike(decoder.scores(0), &moved[short - 1]);
    let row = |id, place: usize| Row { id: SequenceId(id), token: tokens[place], past: place };
    decoder.write(&[row(1, last), row(2, short)])?;
    is_same &= alike(decoder.scores(0), &moved[last]) && alike(decoder.scores(1), &moved[short]);
    Ok(is_same)
}

fn alike(found: &[f32], expected: &[f32]) -> bool {
    let largest = |row: &[f32]| row.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).map(|(at, _)| at);
    found.len() == expected.len() && cosine(found, expected) >= SAME_COSINE && largest(found) == largest(expected)
}

/// The cosine of scores, each without the mean of all: what they have in common says nothing.
fn cosine(a: &[f32], b: &[f32]) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "as many as there are tokens")]
    let mean = |row: &[f32]| row.iter().map(|score| f64::from(*score)).sum::<f64>() / row.len().max(1) as f64;
    let (mean_a, mean_b) = (mean(a), mean(b));
    let dot = |a: &[f32], mean_a: f64, b: &[f32], mean_b: f64| {
        a.iter().zip(b).map(|(a, b)| (f64::from(*a) - mean_a) * (f64::from(*b) - mean_b)).sum::<f64>()
    };
    let lengths = (dot(a, mean_a, a, mean_a) * dot(b, mean_b, b, mean_b)).sqrt();
    // Scores that are all the same are those of no model.
    if lengths > 0.0 { dot(a, mean_a, b, mean_b) / lengths } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_all_scores_share_does_not_make_them_alike() {
        let (a, b) = ([100.0, 101.0, 99.0, 100.5], [100.5, 99.0, 101.0, 100.0]);
        assert!((cosine(&a, &a) - 1.0).abs() < 1e-9 && cosine(&a, &b) < 0.0);
        assert!(cosine(&[1.0; 4], &[1.0; 4]).abs() < 1e-9);
        assert!(alike(&a, &a) && !alike(&a, &b) && !alike(&a, &a[..3]));
        assert!(cosine(&[f32::NAN; 4], &a) < LEAST_COSINE);
    }
}
