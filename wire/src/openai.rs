//! What OpenAI's chat completions and legacy completions have in common ("API reference", OpenAI): request fields, usage,
//! errors, the body a provider is sent, and the chunks and answers a client reads. Chat's and completions' own shapes
//! differ only where [`Task`] is matched.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json, value::RawValue};

pub use crate::fields::BadRequest;
use crate::{
    fields::Fields,
    inference::{
        Delta, Event, Failure, FinishReason, Message, Prompt, Sampling, Task, TextRequest, TokenLogprob, Usage,
    },
};

/// Roles a message may have.
const ROLES: [&str; 6] = ["system", "developer", "user", "assistant", "tool", "function"];
/// Messages in one request, at most.
const MOST_MESSAGES: usize = 10_000;

/// Reads a request. Fields of Farebox's own are taken out of the body; unknown fields of the provider's stay in it.
pub fn parse_request(task: Task, body: &[u8]) -> Result<TextRequest, BadRequest> {
    let mut body = Fields::parse(body)?;
    let own = |name: &&str| name.starts_with("farebox") || *name == "maxCost" || *name == "auto_scale";
    if let Some(name) = body.names().find(own) {
        return Err(BadRequest::new(name, "is not a field of Farebox's"));
    }
    let model = body.string("model")?.ok_or_else(|| BadRequest::new("model", "is required"))?;
    if model.is_empty() || model.len() > 256 {
        return Err(BadRequest::new("model", "must have 1 to 256 characters"));
    }
    let prompt = match task {
        Task::Chat => messages(&body)?,
        Task::Completion => text_prompt(&body)?,
    };
    let stream = body.boolean("stream")?.unwrap_or(false);
    let include_usage = match body.read::<Fields>("stream_options", "an object")? {
        None => false,
        Some(_) if !stream => return Err(BadRequest::new("stream_options", "is only for streams")),
        Some(options) => options.boolean("include_usage")?.unwrap_or(false),
    };
    let max_tokens = body.whole("max_tokens", 1, u64::from(u32::MAX))?;
    let max_completion = body.whole("max_completion_tokens", 1, u64::from(u32::MAX))?;
    let max_cost = match body.read("max_cost", "an amount of dollars")? {
        None => None,
        Some(Value::String(text)) => Some(text),
        Some(Value::Number(_)) => body.get("max_cost").map(|value| value.get().to_owned()),
        Some(_) => return Err(BadRequest::new("max_cost", "must be an amount of dollars")),
    };
    let auto_scale = body.boolean("autoScale")?;
    body.remove("max_cost");
    body.remove("autoScale");
    Ok(TextRequest {
        task,
        model,
        prompt,
        sampling: sampling(&body)?,
        max_tokens: max_completion.or(max_tokens).and_then(|limit| u32::try_from(limit).ok()),
        n: small(body.whole("n", 1, 16)?).unwrap_or(1),
        logprobs: logprobs(task, &body)?,
        echo: task == Task::Completion && body.boolean("echo")?.unwrap_or(false),
        stream,
        include_usage,
        max_cost,
        auto_scale,
        body,
    })
}

fn small(number: Option<u64>) -> Option<u32> {
    number.and_then(|number| u32::try_from(number).ok())
}

fn messages(body: &Fields) -> Result<Prompt, BadRequest> {
    let list: Vec<Value> =
        body.read("messages", "an array")?.ok_or_else(|| BadRequest::new("messages", "is required"))?;
    if list.is_empty() {
        return Err(BadRequest::new("messages", "must not be empty"));
    }
    if list.len() > MOST_MESSAGES {
        return Err(BadRequest::new("messages", format!("must have at most {MOST_MESSAGES} messages")));
    }
    let messages = list.into_iter().enumerate().map(|(place, value)| message(place, value));
    messages.collect::<Result<_, _>>().map(Prompt::Messages)
}

fn message(place: usize, value: Value) -> Result<Message, BadRequest> {
    let at = |field: &str| format!("messages[{place}]{field}");
    let Value::Object(mut rest) = value else { return Err(BadRequest::new(at(""), "must be an object")) };
    let Some(Value::String(role)) = rest.shift_remove("role") else {
        return Err(BadRequest::new(at(".role"), "must be a string"));
    };
    if !ROLES.contains(&role.as_str()) {
        return Err(BadRequest::new(at(".role"), format!("must be one of {}", ROLES.join(", "))));
    }
    let content = rest.shift_remove("content").unwrap_or(Value::Null);
    match &content {
        Value::String(_) => {}
        Value::Null
            if role == "assistant" && (rest.contains_key("tool_calls") || rest.contains_key("function_call")) => {}
        Value::Array(parts) if parts.iter().all(|part| part.get("type").is_some_and(Value::is_string)) => {}
        Value::Array(_) => return Err(BadRequest::new(at(".content"), "every part must be an object with a type")),
        _ => return Err(BadRequest::new(at(".content"), "must be a string or an array of parts")),
    }
    Ok(Message { role, content, rest })
}

fn text_prompt(body: &Fields) -> Result<Prompt, BadRequest> {
    match body.read("prompt", "a string")? {
        Some(Value::String(text)) => Ok(Prompt::Text(text)),
        Some(Value::Array(list)) => match <[Value; 1]>::try_from(list) {
            Ok([Value::String(text)]) => Ok(Prompt::Text(text)),
            _ => Err(BadRequest::new("prompt", "must be a string, or an array of one string")),
        },
        Some(_) => Err(BadRequest::new("prompt", "must be a string")),
        None => Err(BadRequest::new("prompt", "is required")),
    }
}

fn sampling(body: &Fields) -> Result<Sampling, BadRequest> {
    let stop = match body.read("stop", "a string or an array of strings")? {
        None => Vec::new(),
        Some(Value::String(text)) => vec![text],
        Some(_) => body.read("stop", "a string or an array of strings")?.unwrap_or_default(),
    };
    if stop.len() > 4 || stop.iter().any(|text: &String| text.is_empty() || text.len() > 1_024) {
        return Err(BadRequest::new("stop", "must be at most 4 texts of 1 to 1,024 bytes"));
    }
    Ok(Sampling {
        temperature: body.number("temperature", 0.0, 2.0)?,
        top_p: body.number("top_p", 0.0, 1.0)?,
        top_k: small(body.whole("top_k", 1, 1_000_000)?),
        seed: seed(body)?,
        frequency_penalty: body.number("frequency_penalty", -2.0, 2.0)?,
        presence_penalty: body.number("presence_penalty", -2.0, 2.0)?,
        logit_bias: logit_bias(body)?,
        stop,
    })
}

fn seed(body: &Fields) -> Result<Option<u64>, BadRequest> {
    let must = "a whole number of 64 bits";
    if let Ok(seed) = body.read::<u64>("seed", must) {
        return Ok(seed);
    }
    Ok(body.read::<i64>("seed", must)?.map(i64::cast_unsigned))
}

fn logit_bias(body: &Fields) -> Result<Vec<(u32, f32)>, BadRequest> {
    let must = "a map of at most 1,024 token ids to numbers from -100 to 100";
    let bad = || BadRequest::new("logit_bias", format!("must be {must}"));
    let Some(biases) = body.read::<Fields>("logit_bias", must)? else { return Ok(Vec::new()) };
    let one = |token: &str| {
        let bias = biases.number(token, -100.0, 100.0).ok().flatten().ok_or_else(bad)?;
        Ok((token.parse().map_err(|_| bad())?, bias))
    };
    biases.names().map(one).collect()
}

fn logprobs(task: Task, body: &Fields) -> Result<Option<u32>, BadRequest> {
    match task {
        Task::Completion => Ok(small(body.whole("logprobs", 0, 20)?)),
        Task::Chat => {
            let top = small(body.whole("top_logprobs", 0, 20)?);
            match (body.boolean("logprobs")?.unwrap_or(false), top) {
                (true, top) => Ok(Some(top.unwrap_or(0))),
                (false, Some(_)) => Err(BadRequest::new("top_logprobs", "needs logprobs to be true")),
                (false, None) => Ok(None),
            }
        }
    }
}

/// The body a provider of this format is sent: the client's, with the provider's name of the model, usage always asked
/// for, and the output limit lowered where `limit` says so.
pub fn provider_body(request: &TextRequest, upstream: &str, limit: Option<u32>) -> Vec<u8> {
    let mut body = Cow::Borrowed(&request.body);
    if upstream != request.model {
        body.to_mut().set("model", upstream);
    }
    if request.stream {
        body.to_mut().set("stream_options", &json!({"include_usage": true}));
    }
    if let Some(limit) = limit {
        let most = "max_completion_tokens";
        let field = if body.get(most).is_some() { most } else { "max_tokens" };
        body.to_mut().set(field, &limit);
    }
    body.to_string().into_bytes()
}

/// A provider's usage object, as far as it is read. One that is not of this shape is taken as absent.
#[derive(Deserialize)]
struct ProviderUsage {
    prompt_tokens: u64,
    completion_tokens: Option<u64>,
    prompt_tokens_details: Option<Details>,
    completion_tokens_details: Option<Details>,
}

#[derive(Deserialize)]
struct Details {
    cached_tokens: Option<u64>,
    reasoning_tokens: Option<u64>,
}

fn parse_usage(value: &RawValue) -> Option<Usage> {
    let usage: ProviderUsage = serde_json::from_str(value.get()).ok()?;
    Some(Usage {
        input: usage.prompt_tokens,
        cached_input: usage.prompt_tokens_details.and_then(|details| details.cached_tokens).unwrap_or(0),
        output: usage.completion_tokens.unwrap_or(0),
        reasoning: usage.completion_tokens_details.and_then(|details| details.reasoning_tokens).unwrap_or(0),
    })
}

/// A provider's choice, as far as it is read: a whole one has a message, a chunk's a delta, a completion's a text. What is
/// of another type than is read here is passed on all the same.
#[derive(Deserialize)]
struct Choice<'a> {
    #[serde(borrow, default)]
    index: Option<&'a RawValue>,
    #[serde(borrow, default, alias = "delta")]
    message: Option<&'a RawValue>,
    #[serde(borrow, default)]
    text: Option<&'a RawValue>,
    #[serde(borrow, default)]
    finish_reason: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Content<'a> {
    #[serde(borrow, default)]
    content: Option<&'a RawValue>,
}

fn text_of(value: Option<&RawValue>) -> Option<String> {
    serde_json::from_str(value?.get()).ok()
}

impl Choice<'_> {
    fn text(&self) -> String {
        let content: Option<Content<'_>> = self.message.and_then(|message| serde_json::from_str(message.get()).ok());
        text_of(content.and_then(|content| content.content)).or_else(|| text_of(self.text)).unwrap_or_default()
    }

    fn index(&self) -> u32 {
        self.index.and_then(|index| index.get().parse().ok()).unwrap_or(0)
    }

    fn finish(&self) -> Option<FinishReason> {
        text_of(self.finish_reason).as_deref().map(parse_finish)
    }
}

fn parse_finish(word: &str) -> FinishReason {
    match word {
        "stop" => FinishReason::Stop,
        "length" => FinishReason::Length,
        "tool_calls" => FinishReason::ToolCalls,
        "content_filter" => FinishReason::ContentFilter,
        other => FinishReason::Other(other.to_owned()),
    }
}

/// A reason as this format spells it.
pub fn finish_word(finish: &FinishReason) -> &str {
    match finish {
        FinishReason::Stop => "stop",
        FinishReason::Length => "length",
        FinishReason::ToolCalls => "tool_calls",
        FinishReason::ContentFilter => "content_filter",
        FinishReason::Other(word) => word,
    }
}

/// A provider's whole answer, as events: one delta that carries it as it came, and its usage where it has one.
pub fn parse_answer(bytes: &[u8]) -> Result<Vec<Event>, Failure> {
    let garbage = |what: &str| Failure::Transport(format!("the provider's answer {what}"));
    let mut answer = Fields::parse(bytes).map_err(|_| garbage("is not a JSON object"))?;
    let usage = answer.remove("usage").as_deref().and_then(parse_usage);
    let choices = answer.get("choices").ok_or_else(|| garbage("has no choices"))?;
    let choices: Vec<Choice<'_>> =
        serde_json::from_str(choices.get()).map_err(|_| garbage("has choices of no known shape"))?;
    let text = choices.iter().map(Choice::text).collect();
    let finish = choices.first().and_then(Choice::finish);
    let delta = Delta { text, finish, raw: Some(answer), ..Delta::default() };
    Ok(std::iter::once(Event::Delta(delta)).chain(usage.map(Event::Usage)).collect())
}

/// One event's data of a provider's stream.
#[derive(Debug, Clone, PartialEq)]
pub enum Chunk {
    /// What it says.
    Events(Vec<Event>),
    /// `[DONE]`.
    Done,
}

/// Reads one event's data of a provider's stream.
pub fn parse_chunk(data: &str) -> Result<Chunk, Failure> {
    if data.trim() == "[DONE]" {
        return Ok(Chunk::Done);
    }
    let garbage = || Failure::Transport("a chunk of the provider's is not of a known shape".into());
    let mut chunk = Fields::parse(data.as_bytes()).map_err(|_| garbage())?;
    if let Some(error) = chunk.present("error") {
        let error: Value = serde_json::from_str(error.get()).map_err(|_| garbage())?;
        let message = error.get("message").and_then(Value::as_str).unwrap_or("error in the stream").to_owned();
        let body = Some(json!({"error": error}));
        return Err(Failure::Provider { status: 200, message, retry_after: None, body });
    }
    let usage = chunk.remove("usage").as_deref().and_then(parse_usage);
    let mut events = Vec::new();
    if let Some(choices) = chunk.present("choices") {
        let choices: Vec<Choice<'_>> = serde_json::from_str(choices.get()).map_err(|_| garbage())?;
        if let Some(first) = choices.first() {
            let (choice, text, finish) = (first.index(), first.text(), first.finish());
            events.push(Event::Delta(Delta { choice, text, finish, raw: Some(chunk), ..Delta::default() }));
        }
    }
    events.extend(usage.map(Event::Usage));
    Ok(Chunk::Events(events))
}

/// A provider's error answer.
pub fn parse_error(status: u16, retry_after: Option<u64>, bytes: &[u8]) -> Failure {
    let body: Option<Value> = serde_json::from_slice(bytes).ok();
    let message = body.as_ref().and_then(|body| body.pointer("/error/message")).and_then(Value::as_str);
    let message = message.map_or_else(|| format!("HTTP status {status}"), str::to_owned);
    Failure::Provider { status, message, retry_after, body }
}

/// What names an answer: the same in every chunk of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// `chatcmpl-...` or `cmpl-...`.
    pub id: String,
    /// Seconds since 1970.
    pub created: i64,
    /// The model as the client named it.
    pub model: String,
    /// Chat or completion.
    pub task: Task,
}

/// What a request cost, for its client.
#[derive(Debug, Clone, PartialEq)]
pub struct Receipt {
    /// Dollars.
    pub cost: String,
    /// The `farebox` object.
    pub farebox: Particulars,
}

/// The `farebox` object of an answer. Amounts are dollars.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Particulars {
    /// The request.
    pub request_id: String,
    /// Who ran it.
    pub provider: String,
    /// Exact cost before the fee.
    pub base_cost: String,
    /// Exact fee.
    pub fee: String,
    /// Whether tokens were counted here.
    pub estimated: bool,
    /// What is left.
    pub balance: String,
    /// Open models: milliseconds of compute.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compute_ms: Option<u64>,
    /// Open models: seconds billed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub billed_seconds: Option<u64>,
    /// Which rule of Farebox's ended it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop: Option<String>,
}

/// The usage object of an answer, with its cost.
#[derive(Serialize)]
struct PricedUsage<'a> {
    prompt_tokens: u64,
    completion_tokens: u64,
    total_tokens: u64,
    prompt_tokens_details: CachedTokens,
    completion_tokens_details: ReasoningTokens,
    cost: &'a str,
}

#[derive(Serialize)]
struct CachedTokens {
    cached_tokens: u64,
}

#[derive(Serialize)]
struct ReasoningTokens {
    reasoning_tokens: u64,
}

impl Head {
    fn object(&self, streamed: bool) -> &'static str {
        match (self.task, streamed) {
            (Task::Chat, true) => "chat.completion.chunk",
            (Task::Chat, false) => "chat.completion",
            (Task::Completion, _) => "text_completion",
        }
    }

    fn envelope(&self, streamed: bool, choices: &Value) -> Fields {
        let mut fields = Fields::default();
        fields.set("id", &self.id);
        fields.set("object", self.object(streamed));
        fields.set("created", &self.created);
        fields.set("model", &self.model);
        fields.set("choices", choices);
        fields
    }

    /// A piece of the answer as a chunk; a provider's own as it came. `first` says that the choice begins with it.
    pub fn chunk(&self, delta: &Delta, first: bool) -> String {
        if let Some(raw) = &delta.raw {
            return raw.to_string();
        }
        let finish = delta.finish.as_ref().map(finish_word);
        let choice = match self.task {
            Task::Chat => {
                let mut fields = Map::new();
                if first {
                    fields.insert("role".into(), "assistant".into());
                }
                if first || !delta.text.is_empty() {
                    fields.insert("content".into(), delta.text.clone().into());
                }
                json!({"index": delta.choice, "delta": fields, "logprobs": chat_logprobs(&delta.logprobs), "finish_reason": finish})
            }
            Task::Completion => {
                let logprobs = completion_logprobs(&delta.logprobs);
                json!({"index": delta.choice, "text": delta.text, "logprobs": logprobs, "finish_reason": finish})
            }
        };
        let mut chunk = self.envelope(true, &Value::Array(vec![choice]));
        if let Some(stop) = &delta.farebox_stop {
            chunk.set("farebox", &json!({"stop": stop}));
        }
        chunk.to_string()
    }

    /// The last chunk: usage and cost, with no choices, as with `stream_options.include_usage`.
    pub fn usage_chunk(&self, usage: &Usage, receipt: &Receipt) -> String {
        let mut chunk = self.envelope(true, &Value::Array(Vec::new()));
        put_usage(&mut chunk, usage, receipt);
        chunk.to_string()
    }

    /// A whole answer from its deltas, as JSON; a provider's own as it came, with the cost added.
    pub fn answer(&self, mut deltas: Vec<Delta>, usage: &Usage, receipt: &Receipt) -> String {
        let mut answer = match deltas.iter_mut().find_map(|delta| delta.raw.take()) {
            Some(raw) => raw,
            None => self.envelope(false, &self.choices(&deltas)),
        };
        put_usage(&mut answer, usage, receipt);
        answer.to_string()
    }

    fn choices(&self, deltas: &[Delta]) -> Value {
        let most = deltas.iter().map(|delta| delta.choice).max().unwrap_or(0);
        let choice = |index: u32| {
            let own = || deltas.iter().filter(move |delta| delta.choice == index);
            let text: String = own().map(|delta| delta.text.as_str()).collect();
            let logprobs: Vec<_> = own().flat_map(|delta| delta.logprobs.iter().cloned()).collect();
            let finish = own().find_map(|delta| delta.finish.as_ref()).map(finish_word);
            match self.task {
                Task::Chat => {
                    json!({"index": index, "message": {"role": "assistant", "content": text, "refusal": null},
                    "logprobs": chat_logprobs(&logprobs), "finish_reason": finish})
                }
                Task::Completion => json!({"index": index, "text": text,
                    "logprobs": completion_logprobs(&logprobs), "finish_reason": finish}),
            }
        };
        (0..=most).map(choice).collect()
    }
}

fn put_usage(answer: &mut Fields, usage: &Usage, receipt: &Receipt) {
    let usage = PricedUsage {
        prompt_tokens: usage.input,
        completion_tokens: usage.output,
        total_tokens: usage.input.saturating_add(usage.output),
        prompt_tokens_details: CachedTokens { cached_tokens: usage.cached_input },
        completion_tokens_details: ReasoningTokens { reasoning_tokens: usage.reasoning },
        cost: &receipt.cost,
    };
    answer.set("usage", &usage);
    answer.set("farebox", &receipt.farebox);
}

fn chat_logprobs(logprobs: &[TokenLogprob]) -> Value {
    if logprobs.is_empty() {
        return Value::Null;
    }
    let one = |token: &str, bytes: &[u8], logprob: f32| json!({"token": token, "bytes": bytes, "logprob": logprob});
    let content = logprobs.iter().map(|chosen| {
        let mut value = one(&chosen.token, &chosen.bytes, chosen.logprob);
        value["top_logprobs"] = chosen.top.iter().map(|(token, bytes, logprob)| one(token, bytes, *logprob)).collect();
        value
    });
    json!({"content": content.collect::<Vec<_>>(), "refusal": null})
}

fn completion_logprobs(logprobs: &[TokenLogprob]) -> Value {
    if logprobs.is_empty() {
        return Value::Null;
    }
    let top = |chosen: &TokenLogprob| -> Value {
        chosen
            .top
            .iter()
            .map(|(token, _, logprob)| (token.clone(), Value::from(*logprob)))
            .collect::<Map<_, _>>()
            .into()
    };
    json!({
        "tokens": logprobs.iter().map(|chosen| chosen.token.clone()).collect::<Vec<_>>(),
        "token_logprobs": logprobs.iter().map(|chosen| chosen.logprob).collect::<Vec<_>>(),
        "top_logprobs": logprobs.iter().map(top).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn chat(body: &str) -> Result<TextRequest, BadRequest> {
        parse_request(Task::Chat, body.as_bytes())
    }

    #[test]
    fn a_bad_field_is_named() {
        let with = |fields: &str| format!(r#"{{"model":"m","messages":[{{"role":"user","content":"x"}}]{fields}}}"#);
        for (body, field) in [
            ("[]".to_owned(), "body"),
            ("{".to_owned(), "body"),
            ("[".repeat(100_000), "body"),
            (r#"{"messages":[]}"#.to_owned(), "model"),
            (r#"{"model":"m"}"#.to_owned(), "messages"),
            (r#"{"model":"m","messages":[]}"#.to_owned(), "messages"),
            (r#"{"model":"m","messages":[{"role":"king","content":"x"}]}"#.to_owned(), "messages[0].role"),
            (r#"{"model":"m","messages":[{"role":"user"}]}"#.to_owned(), "messages[0].content"),
            (r#"{"model":"m","messages":[{"role":"user","content":["x"]}]}"#.to_owned(), "messages[0].content"),
            (with(r#","temperature":-0.1"#), "temperature"),
            (with(r#","temperature":"hot""#), "temperature"),
            (with(r#","temperature":1e999"#), "temperature"),
            (with(&format!(r#","messages":{}{}"#, "[".repeat(1_000), "]".repeat(1_000))), "messages"),
            (with(r#","top_p":1.1"#), "top_p"),
            (with(r#","max_tokens":0"#), "max_tokens"),
            (with(r#","max_tokens":1.5"#), "max_tokens"),
            (with(r#","max_completion_tokens":1e30"#), "max_completion_tokens"),
            (with(r#","n":17"#), "n"),
            (with(r#","stop":["a","b","c","d","e"]"#), "stop"),
            (with(r#","top_logprobs":3"#), "top_logprobs"),
            (with(r#","logit_bias":{"x":1}"#), "logit_bias"),
            (with(r#","stream_options":{}"#), "stream_options"),
            (with(r#","max_cost":[]"#), "max_cost"),
            (with(r#","farebox_magic":1"#), "farebox_magic"),
        ] {
            assert_eq!(chat(&body).unwrap_err().field, field, "{}", &body[..body.len().min(200)]);
        }
    }

    #[test]
    fn a_provider_is_sent_what_its_client_wrote_without_our_fields() {
        let request = chat(
            r#"{"model":"openai/x","messages":[{"role":"user","content":"é"}],"stream":true,"max_cost":0.5,"autoScale":true,"new_field":[1]}"#,
        )
        .unwrap();
        assert_eq!(request.max_cost.as_deref(), Some("0.5"));
        assert_eq!(request.auto_scale, Some(true));
        let sent: Value = serde_json::from_slice(&provider_body(&request, "x", Some(9))).unwrap();
        let expected = json!({"model":"x","messages":[{"role":"user","content":"é"}],"stream":true,"new_field":[1],
            "stream_options":{"include_usage":true},"max_tokens":9});
        assert_eq!(sent, expected);
    }

    #[test]
    fn an_answer_keeps_all_the_provider_said_and_gains_its_cost() {
        let body =
            br#"{"id":"chatcmpl-1","x":1,"choices":[{"index":0,"message":{"content":"hi"},"finish_reason":"stop"}],
            "usage":{"prompt_tokens":5,"completion_tokens":2,"prompt_tokens_details":{"cached_tokens":3}}}"#;
        let events = parse_answer(body).unwrap();
        let [Event::Delta(delta), Event::Usage(usage)] = events.as_slice() else { panic!("{events:?}") };
        assert_eq!((usage.input, usage.cached_input, usage.output), (5, 3, 2));
        let head = Head { id: "i".into(), created: 0, model: "m".into(), task: Task::Chat };
        let receipt = Receipt { cost: "0.01".into(), farebox: Particulars::default() };
        let answer: Value = serde_json::from_str(&head.answer(vec![delta.clone()], usage, &receipt)).unwrap();
        assert_eq!(answer["x"], 1);
        assert_eq!(answer["usage"]["cost"], "0.01");
        assert_eq!(answer["usage"]["total_tokens"], 7);
    }

    #[test]
    fn garbage_is_a_transport_failure() {
        assert!(matches!(parse_answer(b"<html>"), Err(Failure::Transport(_))));
        assert!(matches!(parse_answer(b"{}"), Err(Failure::Transport(_))));
        let odd = parse_answer(br#"{"choices":[{"index":"x","message":{"content":[1]},"finish_reason":7}],"usage":1}"#);
        assert!(matches!(odd.unwrap().as_slice(), [Event::Delta(delta)] if delta.text.is_empty()));
        assert!(matches!(parse_chunk("nope"), Err(Failure::Transport(_))));
        assert!(matches!(parse_chunk(r#"{"error":{"message":"x"}}"#), Err(Failure::Provider { .. })));
        assert_eq!(parse_chunk(" [DONE]"), Ok(Chunk::Done));
    }

    proptest! {
        #[test]
        fn no_body_panics(body in ".{0,200}") {
            let _ = chat(&body);
            let _ = parse_answer(body.as_bytes());
            let _ = parse_chunk(&body);
        }
    }
}
