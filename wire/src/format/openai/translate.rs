//! A request of another format as a chat completion. Features that chat completions lack were refused before
//! ([`takes`]).

use serde_json::{Map, Value, json};

use crate::{
    fields::Fields,
    format::{
        Upstream,
        feature::{Feature, Takes, is_data},
        prepare::person,
    },
    inference::{
        Content, Conversation, Failure, File, Generation, Image, Media, Message, OutputFormat, Part, Request, Role,
        Tool, ToolCall, ToolChoice, ToolKind, Work,
    },
};

/// The longest name of the person behind a request, in characters.
const LONGEST_PERSON: usize = 128;

/// How chat completions treat the features of requests in other formats.
pub(in crate::format) const fn takes(feature: Feature) -> Takes {
    match feature {
        // The cache works without marks. Earlier reasoning stays with its provider.
        Feature::CacheMark | Feature::Reasoning | Feature::SignedReasoning | Feature::FailedResult => Takes::Left,
        Feature::TextPrompt
        | Feature::ImageId
        | Feature::MadeImage
        | Feature::FileUrl
        | Feature::FileId
        | Feature::ResultMedia
        | Feature::Prefix
        | Feature::TopK => Takes::Refused,
        Feature::LaterInstructions
        | Feature::AuthorName
        | Feature::ImageData
        | Feature::ImageUrl
        | Feature::Audio
        | Feature::FileData
        | Feature::Refusal
        | Feature::CustomTool
        | Feature::StrictTool
        | Feature::NoTool
        | Feature::AnyTool
        | Feature::NamedTool
        | Feature::SingleCall
        | Feature::JsonObject
        | Feature::JsonSchema
        | Feature::Effort
        | Feature::ReasoningTokens
        | Feature::Temperature
        | Feature::TopP
        | Feature::Seed
        | Feature::FrequencyPenalty
        | Feature::PresencePenalty
        | Feature::LogitBias
        | Feature::Stop
        | Feature::Choices
        | Feature::Logprobs
        | Feature::EndUser => Takes::Mapped,
    }
}

/// The body of a chat completion for a request of another format.
pub(super) fn body(request: &Request, upstream: &Upstream<'_>) -> Fields {
    let mut body = Fields::default();
    body.set("model", upstream.model);
    let Work::Conversation(conversation) = &request.work else { return body };
    body.set("messages", &messages(&conversation.messages));
    put_tools(&mut body, conversation);
    match &conversation.output {
        OutputFormat::Text => {}
        format => body.set("response_format", &response_format(format)),
    }
    if let Some(effort) = effort(conversation).and_then(|word| effort_of(upstream.model, word)) {
        body.set("reasoning_effort", &effort);
    }
    put_generation(&mut body, &conversation.generation);
    if let Some(user) = &request.end_user {
        body.set("safety_identifier", &person(user, LONGEST_PERSON));
    }
    if request.stream {
        body.set("stream", &true);
        body.set("stream_options", &json!({"include_usage": true}));
    }
    body
}

fn put_generation(body: &mut Fields, generation: &Generation) {
    let sampling = &generation.sampling;
    if let Some(limit) = generation.limit {
        body.set("max_completion_tokens", &limit.tokens);
    }
    if generation.n > 1 {
        body.set("n", &generation.n);
    }
    if let Some(top) = generation.logprobs {
        body.set("logprobs", &true);
        body.set("top_logprobs", &top);
    }
    let numbers = [
        ("temperature", sampling.temperature),
        ("top_p", sampling.top_p),
        ("frequency_penalty", sampling.frequency_penalty),
        ("presence_penalty", sampling.presence_penalty),
    ];
    for (name, number) in numbers {
        if let Some(number) = number {
            body.set(name, &number);
        }
    }
    if let Some(seed) = sampling.seed {
        body.set("seed", &seed);
    }
    if !sampling.logit_bias.is_empty() {
        let biases: Map<_, _> =
            sampling.logit_bias.iter().map(|(token, bias)| (token.to_string(), json!(bias))).collect();
        body.set("logit_bias", &biases);
    }
    if !sampling.stop.is_empty() {
        body.set("stop", &sampling.stop);
    }
}

/// The effort asked for in a word, or by a number of tokens.
pub(in crate::format) fn effort(conversation: &Conversation) -> Option<String> {
    let by_tokens = |tokens: u32| match tokens {
        0 => "none",
        1..4_096 => "low",
        4_096..16_384 => "medium",
        16_384.. => "high",
    };
    let reasoning = &conversation.reasoning;
    reasoning.effort.clone().or_else(|| reasoning.max_tokens.map(|tokens| by_tokens(tokens).to_owned()))
}

/// Beginnings of the names of models that do not reason.
const NEVER: [&str; 4] = ["gpt-3", "gpt-4", "chatgpt-", "gpt-5-chat"];
/// The least that models reason which always do, by the beginnings of their names: the first that fits counts.
const LEAST: [(&str, &str); 6] =
    [("gpt-5-pro", "high"), ("gpt-5-codex", "low"), ("gpt-5-", "minimal"), ("o1", "low"), ("o3", "low"), ("o4", "low")];

/// An effort as a model takes it: where it is to reason nothing, the least that it can. `None` for a model that never
/// reasons.
fn effort_of(model: &str, word: String) -> Option<String> {
    if never_reasons(model) {
        return None;
    }
    let least = LEAST.into_iter().find(|(begin, _)| model.starts_with(begin)).map(|(_, least)| least);
    let least = least.or((model == "gpt-5").then_some("minimal"));
    Some(if word == "none" { least.unwrap_or("none").to_owned() } else { word })
}

fn never_reasons(model: &str) -> bool {
    NEVER.into_iter().any(|begin| model.starts_with(begin))
}

/// Refuses to ask a model to reason that can't.
///
/// # Errors
///
/// The client's field.
pub(super) fn check_reasoning(request: &Request, model: &str) -> Result<(), Failure> {
    let Work::Conversation(conversation) = &request.work else { return Ok(()) };
    let is_asked = effort(conversation).is_some_and(|word| word != "none");
    if !is_asked || !never_reasons(model) {
        return Ok(());
    }
    let is_word = conversation.reasoning.effort.is_some();
    let feature = if is_word { Feature::Effort } else { Feature::ReasoningTokens };
    let field = feature.field(request.source.format).to_owned();
    Err(Failure::Invalid { field, message: "asks a model to reason that can't".to_owned() })
}

pub(in crate::format) fn response_format(format: &OutputFormat) -> Value {
    match format {
        OutputFormat::Text => json!({"type": "text"}),
        OutputFormat::JsonObject => json!({"type": "json_object"}),
        OutputFormat::JsonSchema { name, description, schema, strict } => {
            let mut wanted = Map::new();
            wanted.insert("name".into(), name.as_deref().unwrap_or("answer").into());
            put(&mut wanted, "description", description.as_deref());
            wanted.insert("schema".into(), parsed(schema));
            put(&mut wanted, "strict", *strict);
            json!({"type": "json_schema", "json_schema": wanted})
        }
    }
}

fn put(map: &mut Map<String, Value>, name: &str, value: Option<impl Into<Value>>) {
    if let Some(value) = value {
        map.insert(name.to_owned(), value.into());
    }
}

/// JSON as written by a client that was read as JSON before.
pub(in crate::format) fn parsed(json: &str) -> Value {
    serde_json::from_str(json).unwrap_or_default()
}

fn put_tools(body: &mut Fields, conversation: &Conversation) {
    if !conversation.tools.is_empty() {
        body.set("tools", &conversation.tools.iter().map(tool).collect::<Vec<_>>());
        if let Some(parallel) = conversation.parallel_tool_calls {
            body.set("parallel_tool_calls", &parallel);
        }
    }
    let choice = match &conversation.tool_choice {
        None => return,
        Some(ToolChoice::None) if conversation.tools.is_empty() => return,
        Some(ToolChoice::None) => json!("none"),
        Some(ToolChoice::Auto) => json!("auto"),
        Some(ToolChoice::Required) => json!("required"),
        Some(ToolChoice::Named(name)) => {
            let is_custom = |tool: &&Tool| tool.name == *name && tool.kind == ToolKind::Custom;
            let kind = if conversation.tools.iter().any(|tool| is_custom(&tool)) { "custom" } else { "function" };
            json!({"type": kind, kind: {"name": name}})
        }
    };
    body.set("tool_choice", &choice);
}

fn tool(tool: &Tool) -> Value {
    let Tool { name, description, parameters, strict, kind, cache: _ } = tool;
    let mut object = Map::new();
    object.insert("name".into(), name.as_str().into());
    put(&mut object, "description", description.as_deref());
    match kind {
        ToolKind::Function => {
            put(&mut object, "parameters", parameters.as_deref().map(parsed));
            put(&mut object, "strict", *strict);
            json!({"type": "function", "function": object})
        }
        ToolKind::Custom => {
            put(&mut object, "format", parameters.as_deref().map(parsed));
            json!({"type": "custom", "custom": object})
        }
    }
}

/// Messages as chat completions have them: each result of a tool is a message, before the rest of its message.
fn messages(messages: &[Message]) -> Vec<Value> {
    let mut all = Vec::with_capacity(messages.len());
    for message in messages {
        for part in &message.parts {
            if let Content::ToolResult(result) = &part.content {
                let text: String = result.parts.iter().map(|part| text_of(&part.content)).collect();
                all.push(json!({"role": "tool", "tool_call_id": result.call_id, "content": text}));
            }
        }
        all.extend(rest(message));
    }
    all
}

fn text_of(content: &Content) -> &str {
    match content {
        Content::Text(text) | Content::Refusal(text) => text,
        _ => "",
    }
}

/// A message without its tools' results; `None` where nothing else is in it.
fn rest(message: &Message) -> Option<Value> {
    let mut fields = Map::new();
    let role = if message.role == Role::Tool { Role::User } else { message.role };
    fields.insert("role".into(), role.name().into());
    put(&mut fields, "name", message.name.as_deref());
    let content: Vec<Value> = message.parts.iter().filter_map(part).collect();
    let calls: Vec<Value> = message.parts.iter().filter_map(|part| call(&part.content)).collect();
    let is_text = |part: &Value| part["type"] == "text";
    match (content.is_empty(), calls.is_empty()) {
        (true, true) => return None,
        (true, false) => fields.insert("content".into(), Value::Null),
        // Assistants' messages, and old servers, know one text best.
        (false, _) if content.iter().all(is_text) && content.len() == 1 => {
            fields.insert("content".into(), content[0]["text"].clone())
        }
        (false, _) => fields.insert("content".into(), content.into()),
    };
    if !calls.is_empty() {
        fields.insert("tool_calls".into(), calls.into());
    }
    Some(Value::Object(fields))
}

fn part(part: &Part) -> Option<Value> {
    match &part.content {
        Content::Text(text) => Some(json!({"type": "text", "text": text})),
        Content::Refusal(text) => Some(json!({"type": "refusal", "refusal": text})),
        Content::Image(Image { media, detail }) => {
            let mut image = Map::new();
            image.insert("url".into(), address(media, "image/png").into());
            put(&mut image, "detail", detail.as_deref());
            Some(json!({"type": "image_url", "image_url": image}))
        }
        Content::Audio(audio) => {
            let data = address(&audio.media, "");
            let data = data.split_once(";base64,").map_or(&*data, |(_, data)| data);
            Some(json!({"type": "input_audio", "input_audio": {"data": data, "format": audio.format}}))
        }
        Content::File(File { media: Some(media), name }) => {
            let name = name.as_deref().unwrap_or("document.pdf");
            Some(json!({"type": "file", "file": {"file_data": address(media, "application/pdf"), "filename": name}}))
        }
        Content::File(File { media: None, .. })
        | Content::Reasoning(_)
        | Content::ToolCall(_)
        | Content::ToolResult(_)
        | Content::Unknown { .. } => None,
    }
}

/// Media as an address; bytes as a `data:` address of their type, or of the usual one.
pub(in crate::format) fn address(media: &Media, usual: &str) -> String {
    match media {
        Media::Url(url) => url.clone(),
        Media::Data { base64, .. } if is_data(base64) => base64.clone(),
        Media::Data { media_type, base64 } => {
            format!("data:{};base64,{base64}", media_type.as_deref().unwrap_or(usual))
        }
        Media::Id(id) => id.clone(),
    }
}

fn call(content: &Content) -> Option<Value> {
    let Content::ToolCall(ToolCall { id, name, arguments, kind }) = content else { return None };
    Some(match kind {
        ToolKind::Function => {
            json!({"id": id, "type": "function", "function": {"name": name, "arguments": arguments}})
        }
        ToolKind::Custom => json!({"id": id, "type": "custom", "custom": {"name": name, "input": arguments}}),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::openai::read_chat;

    /// Chat completions are their own translation: each feature is in the body again.
    #[test]
    fn a_chat_translated_to_itself_is_the_same() {
        let source = json!({
            "model": "m",
            "messages": [
                {"role": "system", "content": "be brief"},
                {"role": "user", "name": "ada", "content": [
                    {"type": "text", "text": "look"},
                    {"type": "image_url", "image_url": {"url": "https://x/y.png", "detail": "low"}},
                    {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
                    {"type": "file", "file": {"file_data": "data:application/pdf;base64,AA", "filename": "a.pdf"}}]},
                {"role": "assistant", "content": null, "tool_calls": [
                    {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{\"a\": 1}"}},
                    {"id": "d", "type": "custom", "custom": {"name": "run", "input": "ls"}}]},
                {"role": "tool", "tool_call_id": "c", "content": "1"},
                {"role": "tool", "tool_call_id": "d", "content": "2"},
            ],
            "tools": [
                {"type": "function", "function": {"name": "f", "description": "d", "parameters": {"type": "object"}, "strict": true}},
                {"type": "custom", "custom": {"name": "run"}}],
            "parallel_tool_calls": false,
            "tool_choice": {"type": "custom", "custom": {"name": "run"}},
            "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {"a": 1}, "strict": true}},
            "reasoning_effort": "low",
            "max_completion_tokens": 9,
            "n": 2,
            "logprobs": true,
            "top_logprobs": 3,
            "temperature": 0.5,
            "top_p": 0.25,
            "frequency_penalty": 1.0,
            "presence_penalty": -1.0,
            "seed": 7,
            "logit_bias": {"5": -10.0},
            "stop": ["a", "b"],
            "safety_identifier": "u",
            "stream": true,
            "stream_options": {"include_usage": true},
        });
        let request = read_chat(source.to_string().as_bytes()).unwrap();
        let written = body(&request, &Upstream { model: "m", max_output: 10, tier: None }).to_json();
        assert_eq!(serde_json::from_str::<Value>(&written).unwrap(), source);
    }

    #[test]
    fn no_reasoning_is_the_least_that_a_model_can() {
        let of = |model: &str, thinking: Value| {
            let body = json!({"model": "m", "max_tokens": 9_000, "thinking": thinking, "messages": [{"role": "user", "content": "x"}]});
            let request = crate::format::anthropic::read_messages(body.to_string().as_bytes()).unwrap();
            let told = crate::format::openai::translated(&request, &Upstream { model, max_output: 10, tier: None });
            told.map(|body| body.string("reasoning_effort").unwrap().unwrap_or_default())
        };
        for (model, least) in [
            ("gpt-6-sol", "none"),
            ("gpt-5.1", "none"),
            ("gpt-5", "minimal"),
            ("gpt-5-mini", "minimal"),
            ("gpt-5-codex", "low"),
            ("gpt-5-pro", "high"),
            ("o3", "low"),
            ("gpt-4o", ""),
        ] {
            assert_eq!(of(model, json!({"type": "disabled"})).unwrap(), least, "{model}");
        }
        let budget = json!({"type": "enabled", "budget_tokens": 2_000});
        assert_eq!(of("o3", budget.clone()).unwrap(), "low");
        assert!(matches!(of("gpt-4o", budget), Err(Failure::Invalid { field, .. }) if field == "thinking"));
    }

    #[test]
    fn tokens_of_reasoning_are_an_effort() {
        let of = |max_tokens| {
            let reasoning = crate::inference::ReasoningWanted { effort: None, max_tokens };
            effort(&Conversation { reasoning, ..Conversation::default() })
        };
        let all = [None, Some(0), Some(1_024), Some(8_000), Some(32_000)].map(of);
        assert_eq!(all.map(Option::unwrap_or_default), ["", "none", "low", "medium", "high"]);
    }
}
