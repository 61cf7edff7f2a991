//! Requests: read from a client, and written for a provider.

use std::borrow::Cow;

use serde_json::{Map, Value};

use crate::{
    fields::{BadRequest, Fields},
    inference::{Message, Prompt, Sampling, Task, TextRequest},
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
    let include_usage = match body.object("stream_options", "an object")? {
        None => false,
        Some(_) if !stream => return Err(BadRequest::new("stream_options", "is only for streams")),
        Some(options) => options.boolean("include_usage")?.unwrap_or(false),
    };
    let echo = task == Task::Completion && body.boolean("echo")?.unwrap_or(false);
    // A prompt that is repeated is an answer of its own: its log probabilities are asked for so.
    let max_tokens = body.whole("max_tokens", u64::from(!echo), u64::from(u32::MAX))?;
    let max_completion = body.whole("max_completion_tokens", 1, u64::from(u32::MAX))?;
    let max_cost = match body.read("max_cost", "an amount of dollars")? {
        None => None,
        Some(Value::String(text)) => Some(text),
        Some(Value::Number(_)) => body.get("max_cost").map(str::to_owned),
        Some(_) => return Err(BadRequest::new("max_cost", "must be an amount of dollars")),
    };
    let auto_scale = body.boolean("autoScale")?;
    let n = small(body.whole("n", 1, 16)?).unwrap_or(1);
    if task == Task::Completion && small(body.whole("best_of", 1, 20)?).is_some_and(|best_of| best_of < n) {
        return Err(BadRequest::new("best_of", "must be at least n"));
    }
    body.remove("max_cost");
    body.remove("autoScale");
    Ok(TextRequest {
        task,
        model,
        prompt,
        sampling: sampling(&body)?,
        max_tokens: max_completion.or(max_tokens).and_then(|limit| u32::try_from(limit).ok()),
        n,
        logprobs: logprobs(task, &body)?,
        echo,
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
        // As an assistant's message is that calls tools, refuses or speaks, and a function's that returned nothing.
        Value::Null if role == "assistant" || role == "function" => {}
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
        top_k: top_k(body)?,
        seed: seed(body)?,
        frequency_penalty: body.number("frequency_penalty", -2.0, 2.0)?,
        presence_penalty: body.number("presence_penalty", -2.0, 2.0)?,
        logit_bias: logit_bias(body)?,
        stop,
    })
}

/// 0 and -1 both say "all tokens".
fn top_k(body: &Fields) -> Result<Option<u32>, BadRequest> {
    match body.present("top_k") {
        Some("-1") => Ok(Some(0)),
        _ => Ok(small(body.whole("top_k", 0, 1_000_000)?)),
    }
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
    let Some(biases) = body.object("logit_bias", must)? else { return Ok(Vec::new()) };
    let one = |token: &str| {
        let bias = biases.number(token, -100.0, 100.0).ok().flatten().ok_or_else(bad)?;
        Ok((token.parse().map_err(|_| bad())?, bias))
    };
    biases.names().map(one).collect()
}

fn logprobs(task: Task, body: &Fields) -> Result<Option<u32>, BadRequest> {
    match task {
        Task::Completion if body.present("logprobs") == Some("false") => Ok(None),
        Task::Completion => Ok(small(body.whole("logprobs", 0, 20)?)),
        Task::Chat => {
            let top = small(body.whole("top_logprobs", 0, 20)?);
            match (body.boolean("logprobs")?.unwrap_or(false), top) {
                (true, top) => Ok(Some(top.unwrap_or(0))),
                (false, Some(1..)) => Err(BadRequest::new("top_logprobs", "needs logprobs to be true")),
                (false, Some(0) | None) => Ok(None),
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
        let mut options: Map<String, Value> =
            body.read("stream_options", "an object").ok().flatten().unwrap_or_default();
        options.insert("include_usage".into(), true.into());
        body.to_mut().set("stream_options", &options);
    }
    for field in limit.map_or(&[][..], |_| limit_fields(request)) {
        body.to_mut().set(field, &limit);
    }
    body.to_json().into_bytes()
}

/// Where a limit is written: where the client has its own, in both where it has both, else by the task. Reasoning models
/// take no `max_tokens`.
fn limit_fields(request: &TextRequest) -> &'static [&'static str] {
    let is_there = |field| request.body.present(field).is_some();
    match (request.task, is_there("max_completion_tokens"), is_there("max_tokens")) {
        (Task::Chat, true, true) => &["max_completion_tokens", "max_tokens"],
        (Task::Chat, _, false) => &["max_completion_tokens"],
        (Task::Chat, false, true) | (Task::Completion, ..) => &["max_tokens"],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn chat(body: &str) -> Result<TextRequest, BadRequest> {
        parse_request(Task::Chat, body.as_bytes())
    }

    fn with(fields: &str) -> String {
        format!(r#"{{"model":"m","messages":[{{"role":"user","content":"x"}}]{fields}}}"#)
    }

    #[test]
    fn a_bad_field_is_named() {
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
            "stream_options":{"include_usage":true},"max_completion_tokens":9});
        assert_eq!(sent, expected);
    }

    #[test]
    fn a_completion_writes_as_many_answers_as_the_best_is_chosen_of() {
        let of = |task, fields: &str| {
            let prompt = r#""prompt":"x","messages":[{"role":"user","content":"x"}]"#;
            parse_request(task, format!(r#"{{"model":"m",{prompt}{fields}}}"#).as_bytes())
        };
        let answers = |task, fields: &str| of(task, fields).unwrap().answers();
        assert_eq!(answers(Task::Completion, ""), 1);
        assert_eq!(answers(Task::Completion, r#","n":3"#), 3);
        assert_eq!(answers(Task::Completion, r#","n":3,"best_of":null"#), 3);
        assert_eq!(answers(Task::Completion, r#","n":3,"best_of":20"#), 20);
        assert_eq!(answers(Task::Chat, r#","n":3,"best_of":20"#), 3, "not a field of chats");
        for bad in [r#","best_of":0"#, r#","best_of":21"#, r#","n":3,"best_of":2"#, r#","best_of":"2""#] {
            assert_eq!(of(Task::Completion, bad).unwrap_err().field, "best_of", "{bad}");
        }
    }

    #[test]
    fn values_that_ask_for_nothing_are_taken() {
        for (fields, top_k) in [
            (r#","top_k":0"#, Some(0)),
            (r#","top_k":-1"#, Some(0)),
            (r#","top_k":40"#, Some(40)),
            (r#","top_k":null,"temperature":null,"top_p":null,"n":1,"frequency_penalty":0,"logit_bias":{}"#, None),
            (r#","logprobs":false,"top_logprobs":0,"stop":[],"stream_options":null,"seed":null"#, None),
        ] {
            let request = chat(&with(fields)).unwrap();
            assert_eq!((request.sampling.top_k, request.logprobs), (top_k, None), "{fields}");
        }
        assert_eq!(chat(&with(r#","top_k":-2"#)).unwrap_err().field, "top_k");
        let completion = |fields: &str| {
            parse_request(Task::Completion, format!(r#"{{"model":"m","prompt":"x"{fields}}}"#).as_bytes())
        };
        assert_eq!(completion(r#","logprobs":false"#).unwrap().logprobs, None);
        assert_eq!(completion(r#","logprobs":0"#).unwrap().logprobs, Some(0));
        assert_eq!(completion(r#","max_tokens":0,"echo":true"#).unwrap().max_tokens, Some(0));
        assert_eq!(completion(r#","max_tokens":0"#).unwrap_err().field, "max_tokens");
    }

    #[test]
    fn an_assistants_message_is_taken_back_as_it_was_answered() {
        for message in [
            r#"{"role":"assistant","content":null,"refusal":"I can't."}"#,
            r#"{"role":"assistant","content":null,"refusal":null,"tool_calls":[{"id":"a","type":"function"}]}"#,
            r#"{"role":"assistant","content":null,"refusal":null,"tool_calls":null,"function_call":null}"#,
            r#"{"role":"assistant","audio":{"id":"audio_1"}}"#,
            r#"{"role":"function","name":"f","content":null}"#,
        ] {
            let body = format!(r#"{{"model":"m","messages":[{{"role":"user","content":"x"}},{message}]}}"#);
            let request = chat(&body).unwrap();
            assert_eq!(String::from_utf8(provider_body(&request, "m", None)).unwrap(), body);
        }
    }

    #[test]
    fn a_limit_of_ours_takes_the_field_that_its_model_takes() {
        let sent = |task, fields: &str| -> Value {
            let prompt = r#""prompt":"x","messages":[{"role":"user","content":"x"}]"#;
            let request = parse_request(task, format!(r#"{{"model":"m",{prompt}{fields}}}"#).as_bytes()).unwrap();
            let sent: Value = serde_json::from_slice(&provider_body(&request, "m", Some(9))).unwrap();
            json!([sent.get("max_completion_tokens"), sent.get("max_tokens")])
        };
        assert_eq!(sent(Task::Chat, ""), json!([9, null]));
        assert_eq!(sent(Task::Chat, r#","max_tokens":50"#), json!([null, 9]));
        assert_eq!(sent(Task::Chat, r#","max_tokens":null"#), json!([9, null]));
        assert_eq!(sent(Task::Chat, r#","max_completion_tokens":50"#), json!([9, null]));
        assert_eq!(sent(Task::Chat, r#","max_completion_tokens":50,"max_tokens":900"#), json!([9, 9]));
        assert_eq!(sent(Task::Completion, ""), json!([null, 9]));
    }

    #[test]
    fn a_stream_keeps_its_other_options() {
        let options = r#","stream":true,"stream_options":{"include_obfuscation":false,"include_usage":false}"#;
        let request = chat(&with(options)).unwrap();
        let sent: Value = serde_json::from_slice(&provider_body(&request, "m", None)).unwrap();
        assert_eq!(sent["stream_options"], json!({"include_obfuscation": false, "include_usage": true}));
    }

    proptest! {
        #[test]
        fn no_body_panics(body in ".{0,200}") {
            let _ = chat(&body);
        }
    }
}
