//! What OpenAI's chat completions and legacy completions have in common ("API reference", OpenAI): request fields, usage,
//! errors, the body a provider is sent, and the chunks and answers a client reads. Chat's and completions' own shapes
//! differ only where [`Task`] is matched.

use serde_json::{Map, Value, json};

pub use crate::fields::BadRequest;
use crate::{
    fields,
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
    let mut body = fields::object(body)?;
    if let Some(name) =
        body.keys().find(|name| name.starts_with("farebox") || *name == "maxCost" || *name == "auto_scale")
    {
        return Err(BadRequest::new(name.clone(), "is not a field of Farebox's"));
    }
    let model = fields::string(&body, "model")?.ok_or_else(|| BadRequest::new("model", "is required"))?;
    if model.is_empty() || model.len() > 256 {
        return Err(BadRequest::new("model", "must have 1 to 256 characters"));
    }
    let prompt = match task {
        Task::Chat => messages(&body)?,
        Task::Completion => text_prompt(&body)?,
    };
    let stream = fields::boolean(&body, "stream")?.unwrap_or(false);
    let include_usage = match fields::present(&body, "stream_options") {
        None => false,
        Some(_) if !stream => return Err(BadRequest::new("stream_options", "is only for streams")),
        Some(Value::Object(options)) => fields::boolean(options, "include_usage")?.unwrap_or(false),
        Some(_) => return Err(BadRequest::new("stream_options", "must be an object")),
    };
    let max_tokens = fields::whole(&body, "max_tokens", 1, u64::from(u32::MAX))?;
    let max_completion = fields::whole(&body, "max_completion_tokens", 1, u64::from(u32::MAX))?;
    Ok(TextRequest {
        task,
        model,
        prompt,
        sampling: sampling(&body)?,
        max_tokens: max_completion.or(max_tokens).and_then(|limit| u32::try_from(limit).ok()),
        n: small(fields::whole(&body, "n", 1, 16)?).unwrap_or(1),
        logprobs: logprobs(task, &body)?,
        echo: task == Task::Completion && fields::boolean(&body, "echo")?.unwrap_or(false),
        stream,
        include_usage,
        max_cost: max_cost(&mut body)?,
        auto_scale: {
            let wanted = fields::boolean(&body, "autoScale")?;
            body.shift_remove("autoScale");
            wanted
        },
        body,
    })
}

fn small(number: Option<u64>) -> Option<u32> {
    number.and_then(|number| u32::try_from(number).ok())
}

fn messages(body: &Map<String, Value>) -> Result<Prompt, BadRequest> {
    let list = match fields::present(body, "messages") {
        None => return Err(BadRequest::new("messages", "is required")),
        Some(Value::Array(list)) if list.is_empty() => return Err(BadRequest::new("messages", "must not be empty")),
        Some(Value::Array(list)) if list.len() > MOST_MESSAGES => {
            return Err(BadRequest::new("messages", format!("must have at most {MOST_MESSAGES} messages")));
        }
        Some(Value::Array(list)) => list,
        Some(_) => return Err(BadRequest::new("messages", "must be an array")),
    };
    list.iter().enumerate().map(|(place, value)| message(place, value)).collect::<Result<_, _>>().map(Prompt::Messages)
}

fn message(place: usize, value: &Value) -> Result<Message, BadRequest> {
    let at = |field: &str| format!("messages[{place}]{field}");
    let Value::Object(map) = value else { return Err(BadRequest::new(at(""), "must be an object")) };
    let role =
        map.get("role").and_then(Value::as_str).ok_or_else(|| BadRequest::new(at(".role"), "must be a string"))?;
    if !ROLES.contains(&role) {
        return Err(BadRequest::new(at(".role"), format!("must be one of {}", ROLES.join(", "))));
    }
    let content = map.get("content").cloned().unwrap_or(Value::Null);
    let rest: Map<_, _> = map
        .iter()
        .filter(|(name, _)| *name != "role" && *name != "content")
        .map(|(n, v)| (n.clone(), v.clone()))
        .collect();
    match &content {
        Value::String(_) => {}
        Value::Null
            if role == "assistant" && (rest.contains_key("tool_calls") || rest.contains_key("function_call")) => {}
        Value::Array(parts) if parts.iter().all(|part| part.get("type").is_some_and(Value::is_string)) => {}
        Value::Array(_) => return Err(BadRequest::new(at(".content"), "every part must be an object with a type")),
        _ => return Err(BadRequest::new(at(".content"), "must be a string or an array of parts")),
    }
    Ok(Message { role: role.to_owned(), content, rest })
}

fn text_prompt(body: &Map<String, Value>) -> Result<Prompt, BadRequest> {
    match fields::present(body, "prompt") {
        Some(Value::String(text)) => Ok(Prompt::Text(text.clone())),
        Some(Value::Array(list)) => match list.as_slice() {
            [Value::String(text)] => Ok(Prompt::Text(text.clone())),
            _ => Err(BadRequest::new("prompt", "must be a string, or an array of one string")),
        },
        Some(_) => Err(BadRequest::new("prompt", "must be a string")),
        None => Err(BadRequest::new("prompt", "is required")),
    }
}

fn sampling(body: &Map<String, Value>) -> Result<Sampling, BadRequest> {
    let stop = match fields::present(body, "stop") {
        None => Vec::new(),
        Some(Value::String(text)) => vec![text.clone()],
        Some(Value::Array(list)) => list
            .iter()
            .map(|text| text.as_str().map(str::to_owned).ok_or_else(|| BadRequest::new("stop", "must be strings")))
            .collect::<Result<_, _>>()?,
        Some(_) => return Err(BadRequest::new("stop", "must be a string or an array of strings")),
    };
    if stop.len() > 4 || stop.iter().any(|text| text.is_empty() || text.len() > 1_024) {
        return Err(BadRequest::new("stop", "must be at most 4 texts of 1 to 1,024 bytes"));
    }
    Ok(Sampling {
        temperature: fields::number(body, "temperature", 0.0, 2.0)?,
        top_p: fields::number(body, "top_p", 0.0, 1.0)?,
        top_k: small(fields::whole(body, "top_k", 1, 1_000_000)?),
        seed: seed(body)?,
        frequency_penalty: fields::number(body, "frequency_penalty", -2.0, 2.0)?,
        presence_penalty: fields::number(body, "presence_penalty", -2.0, 2.0)?,
        logit_bias: logit_bias(body)?,
        stop,
    })
}

fn seed(body: &Map<String, Value>) -> Result<Option<u64>, BadRequest> {
    fields::present(body, "seed")
        .map(|value| {
            let whole = value.as_u64().or_else(|| value.as_i64().map(i64::cast_unsigned));
            whole.ok_or_else(|| BadRequest::new("seed", "must be a whole number of 64 bits"))
        })
        .transpose()
}

fn logit_bias(body: &Map<String, Value>) -> Result<Vec<(u32, f32)>, BadRequest> {
    let bad = || BadRequest::new("logit_bias", "must map token ids to numbers from -100 to 100, at most 1,024 of them");
    match fields::present(body, "logit_bias") {
        None => Ok(Vec::new()),
        Some(Value::Object(map)) if map.len() <= 1_024 => map
            .keys()
            .map(|token| {
                let bias = fields::number(map, token, -100.0, 100.0).ok().flatten().ok_or_else(bad)?;
                Ok((token.parse().map_err(|_| bad())?, bias))
            })
            .collect(),
        Some(_) => Err(bad()),
    }
}

fn logprobs(task: Task, body: &Map<String, Value>) -> Result<Option<u32>, BadRequest> {
    match task {
        Task::Completion => Ok(small(fields::whole(body, "logprobs", 0, 20)?)),
        Task::Chat => {
            let top = small(fields::whole(body, "top_logprobs", 0, 20)?);
            match (fields::boolean(body, "logprobs")?.unwrap_or(false), top) {
                (true, top) => Ok(Some(top.unwrap_or(0))),
                (false, Some(_)) => Err(BadRequest::new("top_logprobs", "needs logprobs to be true")),
                (false, None) => Ok(None),
            }
        }
    }
}

fn max_cost(body: &mut Map<String, Value>) -> Result<Option<String>, BadRequest> {
    match body.shift_remove("max_cost") {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(Value::Number(number)) => Ok(Some(number.to_string())),
        Some(_) => Err(BadRequest::new("max_cost", "must be an amount of dollars")),
    }
}

/// The body a provider of this format is sent: the client's, with the provider's name of the model, usage always asked
/// for, and the output limit lowered where `limit` says so.
pub fn provider_body(request: &TextRequest, upstream: &str, limit: Option<u32>) -> Vec<u8> {
    let mut body = request.body.clone();
    body.insert("model".into(), upstream.into());
    if request.stream {
        body.insert("stream_options".into(), json!({"include_usage": true}));
    }
    if let Some(limit) = limit {
        let field = if body.contains_key("max_completion_tokens") { "max_completion_tokens" } else { "max_tokens" };
        body.insert(field.into(), limit.into());
    }
    Value::Object(body).to_string().into_bytes()
}

/// A provider's usage object.
fn parse_usage(value: &Value) -> Option<Usage> {
    let count = |pointer: &str| value.pointer(pointer).and_then(Value::as_u64);
    Some(Usage {
        input: count("/prompt_tokens")?,
        cached_input: count("/prompt_tokens_details/cached_tokens").unwrap_or(0),
        output: count("/completion_tokens").unwrap_or(0),
        reasoning: count("/completion_tokens_details/reasoning_tokens").unwrap_or(0),
    })
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
    let mut answer: Map<String, Value> = serde_json::from_slice(bytes).map_err(|_| garbage("is not a JSON object"))?;
    let usage = answer.shift_remove("usage").as_ref().and_then(parse_usage);
    let Some(choices) = answer.get("choices").and_then(Value::as_array) else { return Err(garbage("has no choices")) };
    let text = |choice: &Value| {
        let text = choice.pointer("/message/content").or_else(|| choice.get("text"));
        text.and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    let text: String = choices.iter().map(text).collect();
    let finish = choices.first().and_then(|choice| choice.get("finish_reason")).and_then(Value::as_str);
    let finish = finish.map(parse_finish);
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
    let mut chunk: Map<String, Value> = serde_json::from_str(data)
        .map_err(|_| Failure::Transport("a chunk of the provider's is not a JSON object".into()))?;
    if let Some(error) = chunk.get("error") {
        let message = error.get("message").and_then(Value::as_str).unwrap_or("error in the stream").to_owned();
        return Err(Failure::Provider { status: 200, message, retry_after: None, body: Some(Value::Object(chunk)) });
    }
    let usage = chunk.shift_remove("usage").as_ref().and_then(parse_usage);
    let mut events = Vec::new();
    let choices = chunk.get("choices").and_then(Value::as_array);
    if let Some(first) = choices.and_then(|choices| choices.first()) {
        let text =
            first.pointer("/delta/content").or_else(|| first.get("text")).and_then(Value::as_str).unwrap_or_default();
        let finish = first.get("finish_reason").and_then(Value::as_str).map(parse_finish);
        let choice =
            first.get("index").and_then(Value::as_u64).and_then(|index| u32::try_from(index).ok()).unwrap_or(0);
        let text = text.to_owned();
        events.push(Event::Delta(Delta { choice, text, finish, raw: Some(chunk), ..Delta::default() }));
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
    pub farebox: Map<String, Value>,
}

impl Head {
    fn object(&self, streamed: bool) -> &'static str {
        match (self.task, streamed) {
            (Task::Chat, true) => "chat.completion.chunk",
            (Task::Chat, false) => "chat.completion",
            (Task::Completion, _) => "text_completion",
        }
    }

    fn envelope(&self, streamed: bool, choices: Value) -> Map<String, Value> {
        let mut map = Map::new();
        map.insert("id".into(), self.id.clone().into());
        map.insert("object".into(), self.object(streamed).into());
        map.insert("created".into(), self.created.into());
        map.insert("model".into(), self.model.clone().into());
        map.insert("choices".into(), choices);
        map
    }

    /// A piece of the answer as a chunk; a provider's own as it came. `first` says that the choice begins with it.
    pub fn chunk(&self, delta: &Delta, first: bool) -> String {
        if let Some(raw) = &delta.raw {
            return Value::Object(raw.clone()).to_string();
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
        let mut map = self.envelope(true, Value::Array(vec![choice]));
        if let Some(stop) = &delta.farebox_stop {
            map.insert("farebox".into(), json!({"stop": stop}));
        }
        Value::Object(map).to_string()
    }

    /// The last chunk: usage and cost, with no choices, as with `stream_options.include_usage`.
    pub fn usage_chunk(&self, usage: &Usage, receipt: &Receipt) -> String {
        let mut map = self.envelope(true, Value::Array(Vec::new()));
        put_usage(&mut map, usage, receipt);
        Value::Object(map).to_string()
    }

    /// A whole answer from its deltas; a provider's own as it came, with the cost added.
    pub fn answer(&self, mut deltas: Vec<Delta>, usage: &Usage, receipt: &Receipt) -> Map<String, Value> {
        let mut map = match deltas.iter_mut().find_map(|delta| delta.raw.take()) {
            Some(raw) => raw,
            None => self.envelope(false, self.choices(&deltas)),
        };
        put_usage(&mut map, usage, receipt);
        map
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

fn put_usage(map: &mut Map<String, Value>, usage: &Usage, receipt: &Receipt) {
    let Usage { input, cached_input, output, reasoning } = usage;
    let usage = json!({
        "prompt_tokens": input, "completion_tokens": output, "total_tokens": input.saturating_add(*output),
        "prompt_tokens_details": {"cached_tokens": cached_input},
        "completion_tokens_details": {"reasoning_tokens": reasoning},
        "cost": receipt.cost,
    });
    map.insert("usage".into(), usage);
    map.insert("farebox".into(), Value::Object(receipt.farebox.clone()));
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
            (with(r#","temperature":1e999"#), "body"),
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
        let receipt = Receipt { cost: "0.01".into(), farebox: Map::new() };
        let answer = Value::Object(head.answer(vec![delta.clone()], usage, &receipt));
        assert_eq!(answer["x"], 1);
        assert_eq!(answer["usage"]["cost"], "0.01");
        assert_eq!(answer["usage"]["total_tokens"], 7);
    }

    #[test]
    fn garbage_is_a_transport_failure() {
        assert!(matches!(parse_answer(b"<html>"), Err(Failure::Transport(_))));
        assert!(matches!(parse_answer(b"{}"), Err(Failure::Transport(_))));
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
