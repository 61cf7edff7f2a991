//! Sentencepiece's BPE (`llama`) as a `tokenizers` model: pieces are merged by their scores, the highest first; a space is
//! written as a low line of its own; characters that are no pieces become their bytes. A file has scores and no merges,
//! so the merges are made: every way to join two pieces to a third, in the order of the third's score.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::io::{Read, Seek};

use serde_json::{Map, Value, json};

use super::ImportError;
use super::tokenizer::{Merging, Parts};
use super::vocabulary::{Kind, Vocabulary, flag};
use crate::gguf::{Gguf, Value as Metadata};

/// A space in a piece.
const SPACE: &str = "\u{2581}";
/// The most bytes of a piece: every place where it may be parted is looked at. Trained ones have at most a hundred.
const LONGEST_PIECE: usize = 256;

/// The parts of `tokenizer.json`.
pub(super) fn parts<R: Read + Seek>(
    file: &Gguf<R>,
    known: &Vocabulary<'_>,
    vocabulary: &Map<String, Value>,
) -> Result<Parts, ImportError> {
    let refused = |message: String| Err(ImportError::Tokenizer(message));
    let key = "tokenizer.ggml.scores";
    let scores = match file.value(key) {
        Some(Metadata::Floats(scores)) if scores.len() == known.tokens.len() => scores,
        Some(Metadata::Floats(scores)) => {
            return refused(format!("{} scores ({key}) for {} tokens", scores.len(), known.tokens.len()));
        }
        Some(_) => return refused(format!("{key} must be a list of floats")),
        None => return refused(format!("{key} is missing")),
    };
    if let Some(at) = scores.iter().position(|score| score.is_nan()) {
        return refused(format!("the score of the token {:?} is no number ({key})", known.tokens[at]));
    }
    let pieces = known.tokens.iter().zip(&known.kinds).filter(|(_, kind)| is_piece(**kind));
    if let Some((long, _)) = pieces.into_iter().find(|(token, _)| token.len() > LONGEST_PIECE) {
        let (bytes, begin) = (long.len(), long.chars().take(32).collect::<String>());
        return refused(format!("the piece {begin:?}... has {bytes} bytes; {LONGEST_PIECE} are the most"));
    }
    for byte in 0..=255_u8 {
        let name = format!("<0x{byte:02X}>");
        let id = vocabulary.get(&name).and_then(Value::as_u64).and_then(|id| usize::try_from(id).ok());
        if id.and_then(|id| known.kinds.get(id)) != Some(&Kind::Byte) {
            return refused(format!("the vocabulary has no token {name} for a byte that is no piece"));
        }
    }
    let is_prefixed = flag(file, "tokenizer.ggml.add_space_prefix")?.unwrap_or(true);
    let escaped = json!({ "type": "Replace", "pattern": { "String": " " }, "content": SPACE });
    let prefix = json!({ "type": "Prepend", "prepend": SPACE });
    let normalizers = if is_prefixed { vec![prefix, escaped] } else { vec![escaped] };
    let decoders = [
        json!({ "type": "Replace", "pattern": { "String": SPACE }, "content": " " }),
        json!({ "type": "ByteFallback" }),
        json!({ "type": "Fuse" }),
    ];
    Ok(Parts {
        normalizer: json!({ "type": "Sequence", "normalizers": normalizers }),
        pre_tokenizer: Value::Null,
        decoder: json!({ "type": "Sequence", "decoders": decoders }),
        model: Merging { falls_back_to_bytes: true, ignores_merges: false }.model(vocabulary, &merges(known, scores)),
    })
}

/// Whether a token takes part in merges.
fn is_piece(kind: Kind) -> bool {
    matches!(kind, Kind::Plain | Kind::Whole)
}

/// All merges, in the order in which they are preferred.
fn merges(known: &Vocabulary<'_>, scores: &[f32]) -> Vec<[String; 2]> {
    let ids = (0..known.tokens.len()).filter(|id| is_piece(known.kinds[*id]));
    let pieces: HashMap<&str, usize> = ids.map(|id| (known.tokens[id].as_str(), id)).collect();
    let mut found: Vec<(f32, usize, &str, &str)> = Vec::new();
    for (&piece, &id) in &pieces {
        for (at, _) in piece.char_indices().skip(1) {
            let (left, right) = piece.split_at(at);
            if pieces.contains_key(left) && pieces.contains_key(right) {
                found.push((scores[id], id, left, right));
            }
        }
    }
    found.sort_unstable_by(|a, b| {
        let by_score = b.0.partial_cmp(&a.0).unwrap_or(Ordering::Equal);
        by_score.then_with(|| (a.1, a.2.len()).cmp(&(b.1, b.2.len())))
    });
    found.into_iter().map(|(_, _, left, right)| [left.to_owned(), right.to_owned()]).collect()
}
