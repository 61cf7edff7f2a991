//! The settings of closed providers: the five that are known, and any other that the operator names. A provider of
//! another name is an endpoint that speaks one of the known formats; it needs its address.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{ConfigError, Secret, keys::BEGIN};

/// The providers whose addresses are known.
pub const KNOWN: [&str; 5] = ["openai", "anthropic", "google", "mistral", "cohere"];
/// Other names of theirs.
const OTHER_NAMES: [(&str, &str); 4] =
    [("gemini", "google"), ("vertex", "google"), ("claude", "anthropic"), ("chatgpt", "openai")];
/// The longest name of a provider.
const LONGEST_NAME: usize = 32;

/// Closed providers, by name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Providers(BTreeMap<String, Provider>);

impl Default for Providers {
    fn default() -> Self {
        Self(KNOWN.into_iter().map(|name| (name.to_owned(), Provider::default())).collect())
    }
}

/// One closed provider.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Provider {
    /// The provider's API key, or `KEY*WEIGHT`. Without one, the provider's models are served only with the caller's own.
    pub api_key: Option<Secret>,
    /// More keys, each `KEY` or `KEY*WEIGHT`. A conversation keeps to one key.
    pub keys: Vec<Secret>,
    /// The address; that of the provider with this name by default.
    pub base_url: Option<String>,
    /// The format that is spoken there; by default that of the provider with this name, or else
    /// [`OpenAiCompatible`](ApiFormat::OpenAiCompatible).
    pub format: Option<ApiFormat>,
    /// The header that carries the key; the format's by default.
    pub key_header: Option<String>,
    /// Whether callers may send a key of their own, with which nothing is charged here. By default they may at a provider that
    /// is known: an endpoint of the operator's may ask for no key, and would be free.
    pub own_keys: Option<bool>,
    /// How often a failed call is made again, where nothing was sent to the client.
    pub retries: u32,
    /// The most simultaneous calls.
    pub calls: usize,
    /// The longest wait for the first byte of an answer.
    pub first_byte_seconds: u64,
    /// The longest wait between two bytes.
    pub idle_seconds: u64,
}

/// As the providers' own SDKs do. A provider may send nothing for minutes, while it makes a long answer that comes whole
/// or while its model reasons; and an aborted call must be paid all the same.
impl Default for Provider {
    fn default() -> Self {
        Self {
            api_key: None,
            keys: Vec::new(),
            base_url: None,
            format: None,
            key_header: None,
            own_keys: None,
            retries: 2,
            calls: 4_096,
            first_byte_seconds: 600,
            idle_seconds: 600,
        }
    }
}

/// A format that providers speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ApiFormat {
    /// As OpenAI: chat completions, completions, responses, embeddings, and service tiers.
    OpenAi,
    /// Chat completions, completions and embeddings alone, as vLLM, Ollama, Groq, Together and others offer them.
    #[serde(rename = "openai-compatible")]
    OpenAiCompatible,
    /// Messages.
    Anthropic,
    /// Gemini's `generateContent`.
    Google,
    /// Mistral's chat.
    Mistral,
    /// Cohere's chat, version 2.
    Cohere,
}

impl Provider {
    /// Whether callers may send keys of their own to the provider with this name.
    pub fn takes_own_keys(&self, name: &str) -> bool {
        self.own_keys.unwrap_or_else(|| KNOWN.contains(&name))
    }
}

impl Providers {
    /// The settings of the provider with this name.
    pub fn named(&self, name: &str) -> Option<&Provider> {
        self.0.get(name)
    }

    /// All providers by name.
    pub fn all(&self) -> impl Iterator<Item = (&str, &Provider)> {
        self.0.iter().map(|(name, provider)| (&**name, provider))
    }

    /// Checks the names, and that every provider that is not known has an address.
    pub(super) fn check_names(&self) -> Result<(), ConfigError> {
        let is_part = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_';
        for (name, provider) in self.all().filter(|(name, _)| !KNOWN.contains(name)) {
            let key = format!("{BEGIN}{name}");
            if name.is_empty() || name.len() > LONGEST_NAME || !name.bytes().all(is_part) {
                let reason = format!(
                    "a name of a provider has 1 to {LONGEST_NAME} small letters, digits, hyphens and underscores"
                );
                return Err(ConfigError::invalid(&key, reason));
            }
            if provider.base_url.is_none() {
                let known = KNOWN.join(", ");
                let reason = nearest(name).map_or_else(
                    || format!("is required: the address of an endpoint that is none of {known}"),
                    |near| format!("is required for a provider of your own; did you mean `{BEGIN}{near}`?"),
                );
                return Err(ConfigError::invalid(&format!("{key}.base_url"), reason));
            }
        }
        Ok(())
    }
}

/// The known provider whose name is most like another.
fn nearest(name: &str) -> Option<&'static str> {
    let other = OTHER_NAMES.into_iter().find(|(other, _)| *other == name).map(|(_, known)| known);
    let alike = || KNOWN.into_iter().find(|known| strsim::levenshtein(known, name) <= 2);
    other.or_else(alike)
}
