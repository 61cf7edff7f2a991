//! A request for text, neutral of format.

use serde_json::{Map, Value};

use crate::fields::Fields;

/// What kind of work a request is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Task {
    /// A conversation, rendered with the model's chat template.
    Chat,
    /// A raw prompt to continue.
    Completion,
}

/// What the model is asked to continue.
#[derive(Debug, Clone, PartialEq)]
pub enum Prompt {
    /// Messages of a conversation, oldest first.
    Messages(Vec<Message>),
    /// A raw text.
    Text(String),
}

/// One message of a conversation. `content` keeps the JSON it came with (a string or an array of parts), so that a
/// provider sees exactly what its client wrote; [`Message::text`] is what a text model reads.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    /// `system`, `developer`, `user`, `assistant` or `tool`.
    pub role: String,
    /// A string, an array of parts, or null.
    pub content: Value,
    /// Everything else the message carried (`name`, `tool_calls`, `tool_call_id`, ...).
    pub rest: Map<String, Value>,
}

impl Message {
    /// The message's text: the string itself, or the text parts joined. What an assistant refused with is what it said.
    pub fn text(&self) -> String {
        let said = |part: &Value| {
            let said = part.get("text").and_then(Value::as_str).or_else(|| part.get("refusal").and_then(Value::as_str));
            said.map(str::to_owned)
        };
        match &self.content {
            Value::String(text) => text.clone(),
            Value::Array(parts) => parts.iter().filter_map(said).collect(),
            _ => self.rest.get("refusal").and_then(Value::as_str).unwrap_or_default().to_owned(),
        }
    }
}

/// How tokens are chosen. `None` means the model's own default (its `generation_config.json`, or the provider's).
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Sampling {
    /// 0 to 2; 0 is greedy.
    pub temperature: Option<f32>,
    /// 0 to 1, nucleus sampling.
    pub top_p: Option<f32>,
    /// Keep only the k most likely tokens; 0 keeps all.
    pub top_k: Option<u32>,
    /// Same seed, same request, same model: same tokens.
    pub seed: Option<u64>,
    /// -2 to 2.
    pub frequency_penalty: Option<f32>,
    /// -2 to 2.
    pub presence_penalty: Option<f32>,
    /// Additive bias by token id, -100 to 100.
    pub logit_bias: Vec<(u32, f32)>,
    /// Texts that end the answer; they are not part of it. At most 4.
    pub stop: Vec<String>,
}

/// A request for text, neutral of format.
#[derive(Debug, Clone, PartialEq)]
pub struct TextRequest {
    /// Chat or completion.
    pub task: Task,
    /// The model as the client named it.
    pub model: String,
    /// What to continue.
    pub prompt: Prompt,
    /// How tokens are chosen.
    pub sampling: Sampling,
    /// The caller's output limit in tokens, per choice (`max_tokens`, `max_completion_tokens`).
    pub max_tokens: Option<u32>,
    /// How many choices are wanted, at least 1.
    pub n: u32,
    /// `Some(k)`: log probabilities of the chosen tokens, with the k likeliest alternatives (0 to 20).
    pub logprobs: Option<u32>,
    /// Completions only: repeat the prompt before the answer.
    pub echo: bool,
    /// Whether the client wants a stream.
    pub stream: bool,
    /// Whether the client asked for a usage chunk (`stream_options.include_usage`).
    pub include_usage: bool,
    /// `max_cost`, dollars, as written.
    pub max_cost: Option<String>,
    /// `autoScale`.
    pub auto_scale: Option<bool>,
    /// The whole body as it came, without Farebox's own fields: what a provider of the same format is sent.
    pub body: Fields,
}

impl TextRequest {
    /// How many answers are generated, and paid for: with `best_of`, which completions have, more than are returned.
    pub fn answers(&self) -> u32 {
        let best_of = match self.task {
            Task::Chat => None,
            Task::Completion => self.body.read("best_of", "a whole number").ok().flatten(),
        };
        best_of.unwrap_or(1).max(self.n)
    }
}
