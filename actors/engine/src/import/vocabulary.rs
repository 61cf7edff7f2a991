//! A file's checked vocabulary: its tokens, which of them are special, which end an answer, and which a raw prompt
//! begins and ends with. Ending tokens are found by the metadata's ids and by the usual names of such tokens. Their
//! type in the file is ignored, because many conversions mark them as ordinary.

use std::collections::HashSet;
use std::io::{Read, Seek};

use super::ImportError;
use super::pre_tokenizer::BEGINNING;
use crate::gguf::{Gguf, Value};

/// Keys of ids that end an answer.
const END_KEYS: [&str; 3] =
    ["tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id", "tokenizer.ggml.eom_token_id"];
/// Names of tokens that end an answer.
pub(super) const END_NAMES: [&str; 16] = [
    "<|im_end|>",
    "<|eot_id|>",
    "<|eom_id|>",
    "<|end|>",
    "<|return|>",
    "<|call|>",
    "<|endoftext|>",
    "<|end_of_text|>",
    "<|end_of_turn|>",
    "<end_of_turn>",
    "<end_of_utterance>",
    "<\u{ff5c}end\u{2581}of\u{2581}sentence\u{ff5c}>",
    "<EOT>",
    "_<EOT>",
    "[EOT]",
    "[EOS]",
];
/// How a vocabulary's tokens become text, and text tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Model {
    /// Byte-level BPE: `gpt2`.
    Bytes,
    /// Sentencepiece's BPE: `llama`.
    Pieces,
}

/// The type of a token in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Text, made by merging.
    Plain,
    /// Matched as a whole; not text.
    Special,
    /// Matched as a whole; text.
    Whole,
    /// One byte of a character that is no piece.
    Byte,
}

/// The vocabulary.
#[derive(Debug)]
pub(super) struct Vocabulary<'a> {
    /// What it is made for.
    pub(super) model: Model,
    /// The tokens, by id.
    pub(super) tokens: &'a [String],
    /// The types, by id.
    pub(super) kinds: Vec<Kind>,
    /// Ids that end an answer, in order.
    pub(super) ends: Vec<usize>,
    /// The token before a raw prompt.
    pub(super) before: Option<usize>,
    /// The token after a raw prompt.
    pub(super) behind: Option<usize>,
}

fn refused(message: String) -> ImportError {
    ImportError::Tokenizer(message)
}

impl<'a> Vocabulary<'a> {
    /// Reads the vocabulary, and checks it against an embedding with this number of rows.
    pub(super) fn read<R: Read + Seek>(file: &'a Gguf<R>, rows: usize) -> Result<Self, ImportError> {
        let model = match file.text("tokenizer.ggml.model") {
            Some("gpt2") => Model::Bytes,
            Some("llama") => Model::Pieces,
            Some(other) => {
                let known = "gpt2 (byte-level BPE) and llama (sentencepiece) are";
                return Err(refused(format!("model {other}; {known}")));
            }
            None => return Err(refused("tokenizer.ggml.model is missing".to_owned())),
        };
        let key = "tokenizer.ggml.tokens";
        let tokens = file.texts(key).ok_or_else(|| refused(format!("{key} is missing")))?;
        if tokens.len() != rows {
            let count = tokens.len();
            return Err(refused(format!("{count} tokens ({key}) for an embedding of {rows} rows")));
        }
        let mut seen = HashSet::with_capacity(tokens.len());
        if let Some(twice) = tokens.iter().find(|token| !seen.insert(token.as_str())) {
            return Err(refused(format!("the token {twice:?} is there twice ({key})")));
        }
        let mut ends = Vec::new();
        for key in END_KEYS {
            ends.extend(id(file, key, tokens.len())?);
        }
        ends.extend(tokens.iter().enumerate().filter(|(_, name)| END_NAMES.contains(&name.as_str())).map(|(id, _)| id));
        ends.sort_unstable();
        ends.dedup();
        let mut kinds = kinds(file, tokens, model)?;
        for &end in &ends {
            kinds[end] = Kind::Special;
        }
        let pre = file.text("tokenizer.ggml.pre").unwrap_or("default");
        let begins =
            flag(file, "tokenizer.ggml.add_bos_token")?.unwrap_or(model == Model::Pieces || BEGINNING.contains(&pre));
        let closes = flag(file, "tokenizer.ggml.add_eos_token")?.unwrap_or(false);
        let named = |wanted: bool, key: &str, what: &str| match (wanted, id(file, key, tokens.len())?) {
            (false, _) => Ok(None),
            (true, Some(id)) => Ok(Some(id)),
            (true, None) => Err(refused(format!("prompts {what} with a token that {key} does not name"))),
        };
        let before = named(begins, "tokenizer.ggml.bos_token_id", "begin")?;
        let behind = named(closes, "tokenizer.ggml.eos_token_id", "end")?;
        for key in ["tokenizer.ggml.bos_token_id", "tokenizer.ggml.unknown_token_id", "tokenizer.ggml.padding_token_id"]
        {
            id(file, key, tokens.len())?;
        }
        Ok(Self { model, tokens, kinds, ends, before, behind })
    }
}

/// A token's id, where the file names it. It must be in the vocabulary.
fn id<R: Read + Seek>(file: &Gguf<R>, key: &str, tokens: usize) -> Result<Option<usize>, ImportError> {
    if file.value(key).is_none() {
        return Ok(None);
    }
    let id = file.number(key).and_then(|id| usize::try_from(id).ok());
    match id.filter(|id| *id < tokens) {
        Some(id) => Ok(Some(id)),
        None => Err(refused(format!("{key} is no token of the {tokens} there are"))),
    }
}

/// A flag, where the file has it.
pub(super) fn flag<R: Read + Seek>(file: &Gguf<R>, key: &str) -> Result<Option<bool>, ImportError> {
    match file.value(key) {
        None => Ok(None),
        Some(Value::Bool(flag)) => Ok(Some(*flag)),
        Some(_) => Err(refused(format!("{key} must be true or false"))),
    }
}

/// The type of each token; all are text where the file has no types.
fn kinds<R: Read + Seek>(file: &Gguf<R>, tokens: &[String], model: Model) -> Result<Vec<Kind>, ImportError> {
    let key = "tokenizer.ggml.token_type";
    let types = match file.value(key) {
        None => return Ok(vec![Kind::Plain; tokens.len()]),
        Some(Value::Integers(types)) if types.len() == tokens.len() => types,
        Some(Value::Integers(types)) => {
            return Err(refused(format!("{} types ({key}) for {} tokens", types.len(), tokens.len())));
        }
        Some(_) => return Err(refused(format!("{key} must be a list of numbers"))),
    };
    let kind = |(token, kind): (&String, &i64)| match (kind, token.is_empty()) {
        (_, true) | (1 | 5, false) => Ok(Kind::Plain),
        (2 | 3, false) => Ok(Kind::Special),
        (4, false) => Ok(Kind::Whole),
        (6, false) if model == Model::Pieces && is_byte(token) => Ok(Kind::Byte),
        (other, false) => Err(refused(format!("the token {token:?} has type {other} ({key})"))),
    };
    tokens.iter().zip(types).map(kind).collect()
}

/// Whether a token is spelled `<0x0A>`.
fn is_byte(token: &str) -> bool {
    let digits = token.strip_prefix("<0x").and_then(|rest| rest.strip_suffix('>'));
    digits.is_some_and(|digits| digits.len() == 2 && digits.bytes().all(|digit| digit.is_ascii_hexdigit()))
}
