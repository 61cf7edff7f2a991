//! A request of another format as Mistral's. A field that Mistral does not know makes it refuse a request, so the body
//! is written from the fields that it knows. Features that it lacks were refused before ([`takes`]).

use serde_json::{Map, Value, json};

use crate::{
    fields::Fields,
    format::{
        Upstream,
        feature::{Feature, Takes},
        kin,
        made::hash,
        media::inline,
        openai::{address, effort, response_format},
    },
    inference::{
        Content, Conversation, File, Generation, Message, OutputFormat, Part, Reasoning, Request, Tool, ToolChoice,
        Work,
    },
};

/// How Mistral treats the features of requests in other formats.
pub const fn takes(feature: Feature) -> Takes {
    match feature {
        // Its cache works without marks. Its thoughts come without proofs, so proofs are others'. A tool's failure is told
        // in the result's words.
        Feature::AuthorName
        | Feature::SignedReasoning
        | Feature::FailedResult
        | Feature::CacheMark
        | Feature::EndUser => Takes::Left,
        Feature::TextPrompt
        | Feature::ImageId
        | Feature::MadeImage
        | Feature::FileId
        | Feature::CustomTool
        | Feature::LogitBias
        | Feature::Logprobs => Takes::Refused,
        Feature::LaterInstructions
        | Feature::ImageData
        | Feature::ImageUrl
        | Feature::Audio
        | Feature::FileData
        | Feature::FileUrl
        | Feature::Reasoning
        | Feature::Refusal
        | Feature::StrictTool
        | Feature::NoTool
        | Feature::AnyTool
        | Feature::NamedTool
        | Feature::SingleCall
        | Feature::ResultMedia
        | Feature::JsonObject
        | Feature::JsonSchema
        | Feature::Effort
        | Feature::ReasoningTokens
        | Feature::Temperature
        | Feature::TopP
        | Feature::TopK
        | Feature::Seed
        | Feature::FrequencyPenalty
        | Feature::PresencePenalty
        | Feature::Stop
        | Feature::Prefix
        | Feature::Choices => Takes::Mapped,
    }
}

/// The body for a request of another format.
pub(super) fn body(request: &Request, upstream: &Upstream<'_>) -> Fields {
    let mut body = Fields::default();
    body.set("model", upstream.model);
    let Work::Conversation(conversation) = &request.work else { return body };
    let messages: Vec<Value> = conversation.messages.iter().flat_map(messages).collect();
    body.set("messages", &messages);
    put_tools(&mut body, conversation);
    match &conversation.output {
        OutputFormat::Text => {}
        format => body.set("response_format", &response_format(format)),
    }
    if let Some(effort) = effort(conversation) {
        body.set("reasoning_effort", &effort);
    }
    put_generation(&mut body, &conversation.generation);
    if let Ok(Some(key)) = request.source.body.string("prompt_cache_key") {
        body.set("prompt_cache_key", &key);
    }
    if request.stream {
        body.set("stream", &true);
    }
    body
}

fn put_generation(body: &mut Fields, generation: &Generation) {
    let sampling = &generation.sampling;
    if let Some(limit) = generation.limit {
        body.set("max_tokens", &limit.tokens);
    }
    if generation.n > 1 {
        body.set("n", &generation.n);
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
    if let Some(k) = sampling.top_k.filter(|k| *k > 0) {
        body.set("top_k", &k);
    }
    if let Some(seed) = sampling.seed {
        body.set("random_seed", &kin::seed(seed));
    }
    if !sampling.stop.is_empty() {
        body.set("stop", &sampling.stop);
    }
}

fn put_tools(body: &mut Fields, conversation: &Conversation) {
    if conversation.tools.is_empty() {
        return;
    }
    body.set("tools", &conversation.tools.iter().map(tool).collect::<Vec<_>>());
    if let Some(parallel) = conversation.parallel_tool_calls {
        body.set("parallel_tool_calls", &parallel);
    }
    let choice = match &conversation.tool_choice {
        None => return,
        Some(ToolChoice::Auto) => json!("auto"),
        Some(ToolChoice::None) => json!("none"),
        Some(ToolChoice::Required) => json!("any"),
        Some(ToolChoice::Named(name)) => json!({"type": "function", "function": {"name": name}}),
    };
    body.set("tool_choice", &choice);
}

fn tool(tool: &Tool) -> Value {
    let mut written = kin::function(tool);
    if let Some(strict) = tool.strict {
        written["function"]["strict"] = strict.into();
    }
    written
}

/// A message as Mistral's: each result of a tool is a message, before the rest of its message.
fn messages(message: &Message) -> Vec<Value> {
    let mut all = kin::results(message, call_id_of, content);
    all.extend(rest(message));
    all
}

/// A message without its tools' results; `None` where nothing else is in it.
fn rest(message: &Message) -> Option<Value> {
    let calls = kin::calls(message, call_id_of);
    let content = content(&message.parts);
    let is_empty = content == "";
    if is_empty && calls.is_empty() {
        return None;
    }
    let mut fields = Map::new();
    fields.insert("role".into(), kin::role(message).into());
    fields.insert("content".into(), content);
    if !calls.is_empty() {
        fields.insert("tool_calls".into(), calls.into());
    }
    if message.is_prefix {
        fields.insert("prefix".into(), true.into());
    }
    Some(Value::Object(fields))
}

/// Content as one text, or as parts.
fn content(parts: &[Part]) -> Value {
    kin::joined(parts.iter().filter_map(|part| chunk(&part.content)).collect())
}

fn chunk(content: &Content) -> Option<Value> {
    match content {
        Content::Text(text) | Content::Refusal(text) => kin::text(text),
        Content::Reasoning(Reasoning { text, signature: None }) if !text.is_empty() => {
            Some(json!({"type": "thinking", "thinking": [{"type": "text", "text": text}]}))
        }
        Content::Image(image) => Some(kin::image(image)),
        Content::Audio(audio) => {
            let data = inline(&audio.media, "audio/wav")?.base64;
            Some(json!({"type": "input_audio", "input_audio": data}))
        }
        Content::File(File { media: Some(media), name }) => {
            let mut document = json!({"type": "document_url", "document_url": address(media, "application/pdf")});
            if let Some(name) = name {
                document["document_name"] = name.as_str().into();
            }
            Some(document)
        }
        Content::File(File { media: None, .. })
        | Content::Reasoning(_)
        | Content::ToolCall(_)
        | Content::ToolResult(_)
        | Content::Unknown { .. } => None,
    }
}

/// A call's id of the form that Mistral takes: nine letters and digits. Others become one of their own.
fn call_id_of(id: &str) -> String {
    const LENGTH: usize = 9;
    const LETTERS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    if id.len() == LENGTH && id.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return id.to_owned();
    }
    let mut left = hash([id]);
    let letters = std::iter::repeat_with(|| {
        let letter = LETTERS[usize::try_from(left % 62).unwrap_or(0)];
        left /= 62;
        char::from(letter)
    });
    letters.take(LENGTH).collect()
}
