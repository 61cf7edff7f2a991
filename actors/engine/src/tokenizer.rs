//! The text side of a model's folder: tokenizer, chat template, context, the tokens that end an answer, and the default
//! sampling. It turns requests into tokens and tokens into bytes. It never runs the model, so any thread may size a
//! request with it.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use serde_json::Value;
use wire::inference::Sampling;

use super::calls::family::Thoughts;
use super::grammar::{Vocabulary, marked};
use super::sampler::SamplerSettings;
use super::template::{self, Template};

/// Why a folder can't be loaded.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {reason}")]
pub struct FolderError {
    /// The file's path.
    pub path: PathBuf,
    /// The reason.
    pub reason: String,
}

/// A model's tokenizer.
#[derive(Debug)]
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    template: Option<Template>,
    /// The bytes that each token writes; empty for special tokens.
    bytes: Vec<Box<[u8]>>,
    names: HashMap<u32, String>,
    ends: Vec<u32>,
    context: usize,
    /// The most bytes of a text that become one token.
    longest: usize,
    defaults: SamplerSettings,
    /// The tokens for grammars, once a request needs them.
    vocabulary: OnceLock<Result<Arc<Vocabulary>, String>>,
}

/// How many times shorter a normalized text may be, in bytes: joined accents and syllables are shorter.
const SHORTENED: usize = 4;

impl Tokenizer {
    /// Reads a folder.
    ///
    /// # Errors
    ///
    /// A file is missing or malformed, or describes a tokenizer or template that is not supported. The error names the
    /// file.
    pub fn load(folder: &Path) -> Result<Self, FolderError> {
        let path = folder.join("tokenizer.json");
        let failed = |reason: String| FolderError { path: path.clone(), reason };
        let text = std::fs::read(&path).map_err(|error| failed(error.to_string()))?;
        let raw: Described = serde_json::from_slice(&text).map_err(|error| failed(error.to_string()))?;
        let tokenizer = parse(&text).map_err(failed)?;
        let spelling = Spelling::of(&raw.decoder).ok_or_else(|| failed("decoder not supported".to_owned()))?;
        let (bytes, names) = token_bytes(&tokenizer, spelling);
        let config = read_json(folder, "config.json")?.unwrap_or_default();
        let generation = read_json(folder, "generation_config.json")?.unwrap_or_default();
        let tokens = read_json(folder, "tokenizer_config.json")?.unwrap_or_default();
        let ends = ends(&generation["eos_token_id"]).or_else(|| ends(&config["eos_token_id"])).unwrap_or_default();
        let context = ["max_position_embeddings", "n_positions", "n_ctx"]
            .iter()
            .find_map(|key| config[*key].as_u64())
            .and_then(|context| usize::try_from(context).ok())
            .ok_or_else(|| FolderError {
                path: folder.join("config.json"),
                reason: "max_position_embeddings is missing".to_owned(),
            })?;
        let template = read_template(folder, &tokens, |source| guarded(&tokenizer, &ends, source))?;
        let texts = bytes.iter().map(|bytes| bytes.len()).chain(names.values().map(String::len));
        let is_kept = spelling == Spelling::Characters && raw.normalizer.is_null();
        let longest = texts.max().unwrap_or(1).max(1) * if is_kept { 1 } else { SHORTENED };
        Ok(Self {
            inner: tokenizer,
            template,
            bytes,
            names,
            ends,
            context,
            longest,
            defaults: defaults(&generation),
            vocabulary: OnceLock::new(),
        })
    }

    /// The number of positions that the model takes.
    pub fn context(&self) -> usize {
        self.context
    }

    /// Whether the model has a chat template.
    pub fn chats(&self) -> bool {
        self.template.is_some()
    }

    /// The chat template, if the model has one.
    pub fn template(&self) -> Option<&Template> {
        self.template.as_ref()
    }

    /// Proves that the imported template, where there is one, renders conversations.
    ///
    /// # Errors
    ///
    /// As for [`Template::prove`].
    pub fn prove(&self) -> Result<(), String> {
        self.template.as_ref().map_or(Ok(()), Template::prove)
    }

    /// The number of tokens.
    pub fn vocabulary(&self) -> usize {
        self.bytes.len()
    }

    /// Whether the vocabulary has this token.
    pub fn has_token(&self, token: u32) -> bool {
        (token as usize) < self.bytes.len()
    }

    /// The most bytes of a text that become one token.
    pub fn longest_token(&self) -> usize {
        self.longest
    }

    /// Whether a token ends an answer.
    pub fn ends(&self, token: u32) -> bool {
        self.ends.contains(&token)
    }

    /// The tokens that end an answer.
    pub(crate) fn end_tokens(&self) -> &[u32] {
        &self.ends
    }

    /// The token with this name or text.
    pub(crate) fn token(&self, text: &str) -> Option<u32> {
        self.inner.token_to_id(text).filter(|token| self.has_token(*token))
    }

    /// The special token of this name. It writes nothing.
    pub(crate) fn special(&self, name: &str) -> Option<u32> {
        self.token(name).filter(|token| self.names.contains_key(token))
    }

    /// Whether the model may write its thoughts apart from its answer.
    pub fn thinks(&self) -> bool {
        self.thoughts().is_some()
    }

    /// The thoughts that the model may write apart from its answer.
    pub(crate) fn thoughts(&self) -> Option<&'static Thoughts> {
        let of_template = self.template.as_ref().and_then(Template::thoughts);
        of_template.or_else(|| Thoughts::ALL.into_iter().find(|thoughts| self.token(thoughts.begin).is_some()))
    }

    /// The tokens for grammars, made at the first call.
    ///
    /// # Errors
    ///
    /// They can't be made. The model writes texts alone.
    pub(crate) fn grammar_tokens(&self) -> Result<Arc<Vocabulary>, String> {
        let made = self.vocabulary.get_or_init(|| {
            let word = |token: u32| match self.names.get(&token) {
                Some(name) => marked(name.as_bytes()),
                // No part of an answer may end it.
                None if self.ends(token) => marked(self.bytes(token)),
                None => self.bytes(token).to_vec(),
            };
            let words: Vec<Vec<u8>> = (0..).map(word).take(self.vocabulary()).collect();
            Vocabulary::new(&words, &self.ends).map(Arc::new)
        });
        made.clone()
    }

    /// The bytes that a token writes; empty for special tokens.
    pub fn bytes(&self, token: u32) -> &[u8] {
        self.bytes.get(token as usize).map_or(&[], |bytes| bytes)
    }

    /// A token in readable form: its text, or a special token's name.
    pub fn name(&self, token: u32) -> String {
        let name = self.names.get(&token).cloned();
        name.unwrap_or_else(|| String::from_utf8_lossy(self.bytes(token)).into_owned())
    }

    /// A request's sampling with the model's defaults filled in.
    pub fn settings(&self, sampling: &Sampling) -> SamplerSettings {
        let defaults = &self.defaults;
        SamplerSettings {
            temperature: sampling.temperature.unwrap_or(defaults.temperature),
            top_p: sampling.top_p.unwrap_or(defaults.top_p),
            top_k: sampling.top_k.map_or(defaults.top_k, |top_k| usize::try_from(top_k).unwrap_or(usize::MAX)),
            frequency_penalty: sampling.frequency_penalty.unwrap_or(0.0),
            presence_penalty: sampling.presence_penalty.unwrap_or(0.0),
            logit_bias: sampling.logit_bias.clone(),
        }
    }

    /// A text as tokens.
    ///
    /// # Errors
    ///
    /// The tokenizer refuses the text. The error is in the words of its library.
    pub fn encode(&self, text: &str, special: Special) -> Result<Vec<u32>, String> {
        let added = match special {
            Special::Added => true,
            Special::InText => false,
        };
        let encoding = self.inner.encode_fast(text, added).map_err(|error| error.to_string())?;
        Ok(encoding.get_ids().to_vec())
    }
}

/// The source of a text's beginning token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Special {
    /// The tokenizer adds it.
    Added,
    /// The text (a rendered template) contains it.
    InText,
}

/// The parts of `tokenizer.json` that are read here besides the tokenizer. The rest, its vocabulary, is skipped.
#[derive(serde::Deserialize)]
struct Described {
    #[serde(default)]
    decoder: Value,
    #[serde(default)]
    normalizer: Value,
}

/// How a vocabulary spells bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Spelling {
    /// Each character is a byte (GPT-2).
    Characters,
    /// Text, with `▁` for a space and `<0x0A>` for a byte (sentencepiece).
    Pieces,
}

impl Spelling {
    fn of(decoder: &Value) -> Option<Self> {
        let part = |decoder: &Value| match decoder["type"].as_str()? {
            "ByteLevel" => Some(Self::Characters),
            "ByteFallback" | "Metaspace" => Some(Self::Pieces),
            _ => None,
        };
        part(decoder).or_else(|| decoder["decoders"].as_array()?.iter().find_map(part))
    }

    fn bytes(self, token: &str) -> Vec<u8> {
        match self {
            Self::Characters => token.chars().flat_map(character_bytes).collect(),
            Self::Pieces => {
                let byte = token.strip_prefix("<0x").and_then(|rest| rest.strip_suffix('>'));
                match byte.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
                    Some(byte) => vec![byte],
                    None => token.replace('\u{2581}', " ").into_bytes(),
                }
            }
        }
    }
}

/// The byte for a character of GPT-2's alphabet: printable Latin-1 stands for itself, the other bytes begin at U+0100.
fn character_bytes(character: char) -> Vec<u8> {
    let code = u32::from(character);
    let own = |code: u32| matches!(code, 33..=126 | 161..=172 | 174..=255);
    let byte = match code {
        code if own(code) => u8::try_from(code).ok(),
        256..=323 => {
            (0..=255).filter(|&byte| !own(byte)).nth(code as usize - 256).and_then(|byte| u8::try_from(byte).ok())
        }
        _ => None,
    };
    byte.map_or_else(|| character.to_string().into_bytes(), |byte| vec![byte])
}

/// The bytes of every token, and the names of special tokens.
fn token_bytes(tokenizer: &tokenizers::Tokenizer, spelling: Spelling) -> (Vec<Box<[u8]>>, HashMap<u32, String>) {
    let vocabulary = tokenizer.get_vocab(true);
    let size = vocabulary.values().max().map_or(0, |&last| last as usize + 1).min(1 << 22);
    let added = tokenizer.get_added_tokens_decoder();
    let mut bytes = vec![Box::default(); size];
    let mut names = HashMap::new();
    for (token, id) in vocabulary {
        let Some(slot) = bytes.get_mut(id as usize) else { continue };
        *slot = match added.get(&id) {
            Some(special) if special.special => {
                names.insert(id, token);
                Box::default()
            }
            Some(text) => text.content.clone().into_bytes().into_boxed_slice(),
            None => spelling.bytes(&token).into_boxed_slice(),
        };
    }
    (bytes, names)
}

/// Reads `tokenizer.json`. Its library panics at some files that no tokenizer wrote; such a file is refused as any other.
pub(crate) fn parse(text: &[u8]) -> Result<tokenizers::Tokenizer, String> {
    // What is no JSON is refused before the library sees it.
    serde_json::from_slice::<serde::de::IgnoredAny>(text).map_err(|error| error.to_string())?;
    let read = std::panic::catch_unwind(|| {
        let mut read = tokenizers::Tokenizer::from_bytes(text)?;
        // A text that is too long is refused, never cut; and it is never longer than it was written.
        read.with_padding(None).with_truncation(None)?;
        Ok(read)
    });
    let read = read.unwrap_or_else(|_| Err("it describes no tokenizer".into()));
    read.map_err(|error: tokenizers::Error| error.to_string())
}

pub(crate) fn read_json(folder: &Path, name: impl AsRef<Path>) -> Result<Option<Value>, FolderError> {
    let path = folder.join(name);
    let failed = |reason: String| FolderError { path: path.clone(), reason };
    match std::fs::read(&path) {
        Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(|error| failed(error.to_string())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed(error.to_string())),
    }
}

/// `eos_token_id`: one number or several.
fn ends(value: &Value) -> Option<Vec<u32>> {
    let id = |value: &Value| value.as_u64().and_then(|id| u32::try_from(id).ok());
    match value {
        Value::Array(ids) => Some(ids.iter().filter_map(id).collect()),
        other => id(other).map(|id| vec![id]),
    }
}

/// `chat_template.jinja`, or the template in `tokenizer_config.json` (a text, or several with one named `default`).
fn read_template(
    folder: &Path,
    tokens: &Value,
    guarded: impl Fn(&str) -> Vec<String>,
) -> Result<Option<Template>, FolderError> {
    let path = folder.join("chat_template.jinja");
    let source = match std::fs::read_to_string(&path) {
        Ok(source) => Some(source),
        Err(_) => match &tokens["chat_template"] {
            Value::String(source) => Some(source.clone()),
            Value::Array(named) => {
                let default = named.iter().find(|entry| entry["name"] == "default");
                default.and_then(|entry| entry["template"].as_str()).map(str::to_owned)
            }
            _ => None,
        },
    };
    let token = |name: &'static str| {
        let text = match &tokens[name] {
            Value::String(text) => Some(text.clone()),
            other => other["content"].as_str().map(str::to_owned),
        };
        text.map(|text| (name, text))
    };
    let named: Vec<_> = ["bos_token", "eos_token", "unk_token", "pad_token"].into_iter().filter_map(token).collect();
    let compile = |source: String| Template::new(&source, template::Tokens { named, special: guarded(&source) });
    source.map(compile).transpose().map_err(|reason| FolderError { path, reason: format!("chat template: {reason}") })
}

/// The tokens whose names users' texts must not contain: special tokens, tokens that end an answer, and the template's
/// turn markers, which some conversions do not mark as special. Tags (`<think>`) stay: templates look for them in
/// answers.
fn guarded(tokenizer: &tokenizers::Tokenizer, ends: &[u32], template: &str) -> Vec<String> {
    let is_tag = |name: &str| {
        let inner = name.strip_prefix('<').and_then(|name| name.strip_suffix('>'));
        inner.is_some_and(|inner| inner.trim_matches('/').chars().all(|c| c.is_alphanumeric() || c == '_'))
    };
    let marks = |name: &str| !is_tag(name) && template.contains(name);
    let added = tokenizer.get_added_tokens_decoder().into_iter();
    let names = added.filter(|(id, token)| token.special || ends.contains(id) || marks(&token.content));
    names.map(|(_, token)| token.content).collect()
}

/// The sampling of `generation_config.json`; greedy where the file turns sampling off.
fn defaults(generation: &Value) -> SamplerSettings {
    #[expect(clippy::cast_possible_truncation, reason = "settings of modest size")]
    let float = |name: &str| generation[name].as_f64().map(|number| number as f32);
    let settings = SamplerSettings::default();
    let greedy = generation["do_sample"] == Value::Bool(false);
    SamplerSettings {
        temperature: if greedy { 0.0 } else { float("temperature").unwrap_or(settings.temperature) },
        top_p: float("top_p").unwrap_or(settings.top_p),
        top_k: generation["top_k"].as_u64().and_then(|top_k| usize::try_from(top_k).ok()).unwrap_or(settings.top_k),
        ..settings
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_alphabet_of_bytes_is_whole() {
        let mut seen: Vec<u8> = (33..324).filter_map(char::from_u32).flat_map(character_bytes).collect();
        assert_eq!(character_bytes('Ġ'), b" ");
        assert_eq!(character_bytes('Ċ'), b"\n");
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), 256);
    }

    #[test]
    fn pieces_spell_spaces_and_bytes() {
        assert_eq!(Spelling::Pieces.bytes("▁the"), b" the");
        assert_eq!(Spelling::Pieces.bytes("<0x0A>"), b"\n");
        assert_eq!(Spelling::of(&json!({ "type": "WordPiece" })), None);
        let sequence = json!({ "type": "Sequence", "decoders": [{ "type": "Replace" }, { "type": "ByteFallback" }] });
        assert_eq!(Spelling::of(&sequence), Some(Spelling::Pieces));
    }

    #[test]
    fn defaults_come_from_the_generation_config() {
        assert!(defaults(&json!({ "do_sample": false, "temperature": 0.7 })).temperature.abs() < f32::EPSILON);
        let settings = defaults(&json!({ "temperature": 0.5, "top_p": 0.9, "top_k": 40 }));
        assert!((settings.temperature - 0.5).abs() < 1e-6 && settings.top_k == 40);
        assert_eq!(ends(&json!([1, 2])), Some(vec![1, 2]));
        assert_eq!(ends(&json!(7)), Some(vec![7]));
        assert_eq!(ends(&json!(null)), None);
    }
}
