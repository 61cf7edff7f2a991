//! One entry of litellm's `model_list`: its provider and its model, as Farebox names them.

use super::{
    draft::{Address, Draft, Key, Provider},
    tree::{Left, Part},
};
use crate::config::Secret;

/// How a provider of litellm's is reached.
struct Kind {
    /// Its name there.
    name: &'static str,
    /// The known provider, where it is one.
    known: Option<&'static str>,
    /// The format that is spoken at an address of one's own.
    format: Option<&'static str>,
    /// The address, where a configuration needs none.
    address: Option<&'static str>,
    /// What follows an address that the configuration gives.
    rest: &'static str,
    /// The variable of its key, where the configuration names none.
    variable: Option<&'static str>,
    key_header: Option<&'static str>,
}

const fn known(name: &'static str, known: &'static str, format: Option<&'static str>, variable: &'static str) -> Kind {
    Kind { name, known: Some(known), format, address: None, rest: "", variable: Some(variable), key_header: None }
}

const fn at(name: &'static str, address: &'static str, variable: &'static str) -> Kind {
    let (address, variable) = (Some(address), Some(variable));
    Kind { name, known: None, format: None, address, rest: "", variable, key_header: None }
}

const fn anywhere(name: &'static str) -> Kind {
    Kind { name, known: None, format: None, address: None, rest: "", variable: None, key_header: None }
}

const KINDS: [Kind; 26] = [
    known("openai", "openai", None, "OPENAI_API_KEY"),
    known("text-completion-openai", "openai", None, "OPENAI_API_KEY"),
    known("anthropic", "anthropic", Some("anthropic"), "ANTHROPIC_API_KEY"),
    known("gemini", "google", Some("google"), "GEMINI_API_KEY"),
    known("mistral", "mistral", Some("mistral"), "MISTRAL_API_KEY"),
    known("cohere", "cohere", Some("cohere"), "COHERE_API_KEY"),
    known("cohere_chat", "cohere", Some("cohere"), "COHERE_API_KEY"),
    Kind {
        name: "azure",
        known: None,
        format: Some("openai"),
        address: None,
        rest: "/openai/v1",
        variable: Some("AZURE_API_KEY"),
        key_header: Some("api-key"),
    },
    at("groq", "https://api.groq.com/openai/v1", "GROQ_API_KEY"),
    at("together_ai", "https://api.together.xyz/v1", "TOGETHERAI_API_KEY"),
    at("openrouter", "https://openrouter.ai/api/v1", "OPENROUTER_API_KEY"),
    at("deepseek", "https://api.deepseek.com/v1", "DEEPSEEK_API_KEY"),
    at("fireworks_ai", "https://api.fireworks.ai/inference/v1", "FIREWORKS_AI_API_KEY"),
    at("xai", "https://api.x.ai/v1", "XAI_API_KEY"),
    at("perplexity", "https://api.perplexity.ai", "PERPLEXITYAI_API_KEY"),
    at("cerebras", "https://api.cerebras.ai/v1", "CEREBRAS_API_KEY"),
    at("nvidia_nim", "https://integrate.api.nvidia.com/v1", "NVIDIA_NIM_API_KEY"),
    at("deepinfra", "https://api.deepinfra.com/v1/openai", "DEEPINFRA_API_KEY"),
    Kind { address: Some("http://localhost:11434/v1"), rest: "/v1", ..anywhere("ollama") },
    Kind { address: Some("http://localhost:11434/v1"), rest: "/v1", ..anywhere("ollama_chat") },
    anywhere("hosted_vllm"),
    anywhere("lm_studio"),
    anywhere("openai_like"),
    anywhere("custom_openai"),
    anywhere("litellm_proxy"),
    anywhere("llamafile"),
];

/// The provider of a name without one, by how it begins.
const BARE: [(&str, &str); 9] = [
    ("claude-", "anthropic"),
    ("command-", "cohere"),
    ("gpt-", "openai"),
    ("chatgpt-", "openai"),
    ("o1", "openai"),
    ("o3", "openai"),
    ("o4", "openai"),
    ("text-embedding-", "openai"),
    ("codex-", "openai"),
];

/// A model at a provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    /// The provider's name here.
    pub(super) provider: String,
    /// The model's name there.
    pub(super) model: String,
}

impl Target {
    /// The name by which it is asked for.
    pub(super) fn name(&self) -> String {
        format!("{}/{}", self.provider, self.model)
    }
}

/// A deployment of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Deployment {
    pub(super) target: Target,
    /// Its share of the group's requests.
    pub(super) weight: u32,
    /// Its rank, where deployments are asked one after another.
    pub(super) order: Option<u64>,
}

/// Reads a deployment's parameters. Its provider is put into the draft; `None` where it stands for all models there. The error
/// is why it has no counterpart.
pub(super) fn read(params: &mut Part, draft: &mut Draft, left: &mut Vec<Left>) -> Result<Option<Deployment>, Left> {
    let path = format!("{}.model", params.path);
    let missing = |why: &str| Left::new(&path, why);
    let model = params.take_text("model").ok_or_else(|| missing("there is no model"))?;
    let named = params.take_text("custom_llm_provider");
    let (kind, model) = kind_of(named.as_deref(), &model).ok_or_else(|| {
        missing(&format!("{model}: Farebox does not speak with this provider; see docs/endpoints.md for those it does"))
    })?;
    if let Some(bad) = model.chars().find(|c| ">| =".contains(*c) || c.is_control()) {
        return Err(missing(&format!("{model}: {bad:?} can't stand in the name of a model")));
    }
    let weight = params.take_number("weight").and_then(|weight| u32::try_from(weight).ok()).unwrap_or(1).max(1);
    let order = params.take_number("order");
    let (address, host) = address(kind, params)?;
    if kind.name == "azure"
        && let Some(version) = params.take_text("api_version")
    {
        let why = format!("{version}: its addresses below /openai/v1 have no version");
        left.push(Left::new(&format!("{}.api_version", params.path), why));
    }
    let keys = vec![(key(kind, params), weight)];
    let is_known = address == Address::Known;
    let provider = Provider {
        name: String::new(),
        format: if is_known { None } else { kind.format },
        key_header: if is_known { None } else { kind.key_header },
        address,
        keys,
    };
    let wanted = match (kind.known, host) {
        (Some(known), _) if is_known => known.to_owned(),
        // Several servers speak as OpenAI does: each is named as its host.
        (Some(_), Some(host)) => host,
        (_, _) => kind.name.to_owned(),
    };
    let provider = draft.provider(&wanted, provider);
    if model.contains('*') {
        let is_all = model == "*" && is_known;
        let why = format!("{provider}/{model}: each model that has a price is served by its own name");
        return if is_all { Ok(None) } else { Err(missing(&why)) };
    }
    Ok(Some(Deployment { target: Target { provider, model }, weight, order }))
}

fn kind_of(named: Option<&str>, model: &str) -> Option<(&'static Kind, String)> {
    let find = |name: &str| KINDS.iter().find(|kind| kind.name == name);
    if let Some(named) = named {
        let own = model.strip_prefix(named).and_then(|rest| rest.strip_prefix('/')).unwrap_or(model);
        return Some((find(named)?, own.to_owned()));
    }
    if let Some((name, rest)) = model.split_once('/') {
        return Some((find(name)?, rest.to_owned()));
    }
    let (_, name) = BARE.iter().find(|(begin, _)| model.starts_with(begin))?;
    Some((find(name)?, model.to_owned()))
}

/// The address, and the name of its host.
fn address(kind: &Kind, params: &mut Part) -> Result<(Address, Option<String>), Left> {
    let field = if params.has("base_url") && !params.has("api_base") { "base_url" } else { "api_base" };
    let path = format!("{}.{field}", params.path);
    let Some(written) = params.take_text(field).filter(|text| !text.is_empty()) else {
        return match (kind.known, kind.address) {
            (Some(_), _) => Ok((Address::Known, None)),
            (None, Some(address)) => Ok((Address::Text(address.to_owned()), None)),
            (None, None) => Err(Left::new(&path, format!("is needed: {} has no address of its own", kind.name))),
        };
    };
    if let Some(variable) = written.strip_prefix("os.environ/") {
        return match variable_name(variable) {
            Some(variable) => Ok((Address::Variable(variable, kind.rest), None)),
            None => Err(Left::new(&path, format!("{variable:?} is no name of a variable"))),
        };
    }
    let Some(host) = host(&written) else {
        return Err(Left::new(&path, format!("{written:?} is no address of HTTP")));
    };
    if written.contains(['?', '#', '@']) {
        return Err(Left::new(&path, format!("{written:?} must have no query, no fragment and no name")));
    }
    let plain = written.trim_end_matches('/');
    let address = if kind.rest.is_empty() || plain.ends_with(kind.rest) {
        plain.to_owned()
    } else {
        format!("{}{}", plain.trim_end_matches("/openai"), kind.rest)
    };
    Ok((Address::Text(address), Some(host)))
}

/// The host of an address, with its port.
fn host(address: &str) -> Option<String> {
    let rest = address.strip_prefix("https://").or_else(|| address.strip_prefix("http://"))?;
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    (!host.is_empty() && !host.contains(char::is_whitespace)).then(|| host.to_owned())
}

fn key(kind: &Kind, params: &mut Part) -> Key {
    let written = params.take_text("api_key").filter(|key| !key.is_empty());
    let variable = written.as_deref().and_then(|key| key.strip_prefix("os.environ/")).and_then(variable_name);
    match (variable, written, kind.variable) {
        (Some(variable), _, _) => Key::Variable(variable),
        (None, Some(key), _) => Key::Text(Secret::from(key)),
        (None, None, Some(variable)) => Key::Variable(variable.to_owned()),
        // A server that asks for no key takes any text.
        (None, None, None) => Key::Text(Secret::from("none".to_owned())),
    }
}

/// A name that a shell takes for a variable's.
fn variable_name(name: &str) -> Option<String> {
    let is_letter = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let is_name = name.chars().all(is_letter) && !name.is_empty() && !name.starts_with(|c: char| c.is_ascii_digit());
    is_name.then(|| name.to_owned())
}
