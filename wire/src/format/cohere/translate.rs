//! A request of another format as Cohere's. Features that it lacks were refused before ([`takes`]).

use serde_json::{Map, Value, json};

use crate::{
    fields::Fields,
    format::{
        Upstream,
        feature::{Feature, Takes},
        kin,
        openai::parsed,
        prepare::check_messages,
    },
    inference::{
        Content, Conversation, Failure, Format, Generation, Message, OutputFormat, Part, Reasoning, ReasoningWanted,
        Request, ToolChoice, Work,
    },
};

/// How Cohere treats the features of requests in other formats.
pub const fn takes(feature: Feature) -> Takes {
    match feature {
        // It makes no proofs, so they are others'. A tool's failure is told in the result's words.
        Feature::AuthorName
        | Feature::SignedReasoning
        | Feature::FailedResult
        | Feature::CacheMark
        | Feature::EndUser => Takes::Left,
        Feature::TextPrompt
        | Feature::ImageId
        | Feature::MadeImage
        | Feature::Audio
        | Feature::FileData
        | Feature::FileUrl
        | Feature::FileId
        | Feature::CustomTool
        | Feature::NamedTool
        | Feature::SingleCall
        | Feature::ResultMedia
        | Feature::LogitBias
        | Feature::Choices
        | Feature::Prefix
        | Feature::Logprobs => Takes::Refused,
        Feature::LaterInstructions
        | Feature::ImageData
        | Feature::ImageUrl
        | Feature::Reasoning
        | Feature::Refusal
        | Feature::StrictTool
        | Feature::NoTool
        | Feature::AnyTool
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
        | Feature::Stop => Takes::Mapped,
    }
}

/// The most likely tokens that it keeps at most, and the bounds of nucleus sampling.
const LARGEST_K: u32 = 500;
const LEAST_P: f32 = 0.01;
const LARGEST_P: f32 = 0.99;

/// The body for a request of another format.
///
/// # Errors
///
/// A value that Cohere does not take, named as the client named it.
pub(super) fn body(request: &Request, upstream: &Upstream<'_>) -> Result<Fields, Failure> {
    let format = request.source.format;
    let mut body = Fields::default();
    body.set("model", upstream.model);
    body.set("stream", &request.stream);
    let Work::Conversation(conversation) = &request.work else { return Ok(body) };
    let messages: Vec<Value> = conversation.messages.iter().flat_map(messages).collect();
    body.set("messages", &messages);
    check_messages(request, &body)?;
    put_tools(&mut body, conversation);
    match &conversation.output {
        OutputFormat::Text => {}
        _ if !conversation.tools.is_empty() => {
            return Err(invalid(format, Feature::JsonSchema, "can't be asked of Cohere's models together with tools"));
        }
        OutputFormat::JsonObject => body.set("response_format", &json!({"type": "json_object"})),
        OutputFormat::JsonSchema { schema, .. } => {
            body.set("response_format", &json!({"type": "json_object", "json_schema": parsed(schema)}));
        }
    }
    let unknown = |word| invalid(format, Feature::Effort, &format!("{word} is not an effort that is known"));
    if let Some(thinking) = thinking(&conversation.reasoning).map_err(unknown)? {
        body.set("thinking", &thinking);
    }
    put_generation(&mut body, format, &conversation.generation)?;
    Ok(body)
}

fn invalid(format: Format, feature: Feature, message: &str) -> Failure {
    Failure::Invalid { field: feature.field(format).to_owned(), message: message.to_owned() }
}

fn put_generation(body: &mut Fields, format: Format, generation: &Generation) -> Result<(), Failure> {
    let sampling = &generation.sampling;
    if let Some(limit) = generation.limit {
        body.set("max_tokens", &limit.tokens);
    }
    let penalties = [
        ("frequency_penalty", sampling.frequency_penalty, Feature::FrequencyPenalty),
        ("presence_penalty", sampling.presence_penalty, Feature::PresencePenalty),
    ];
    for (name, penalty, feature) in penalties {
        let Some(penalty) = penalty else { continue };
        if !(0.0..=1.0).contains(&penalty) {
            return Err(invalid(format, feature, "must be from 0 to 1 for Cohere's models"));
        }
        body.set(name, &penalty);
    }
    if let Some(temperature) = sampling.temperature {
        body.set("temperature", &temperature);
    }
    if let Some(p) = sampling.top_p {
        body.set("p", &p.clamp(LEAST_P, LARGEST_P));
    }
    if let Some(k) = sampling.top_k.filter(|k| *k > 0) {
        body.set("k", &k.min(LARGEST_K));
    }
    if let Some(seed) = sampling.seed {
        body.set("seed", &kin::seed(seed));
    }
    if !sampling.stop.is_empty() {
        body.set("stop_sequences", &sampling.stop);
    }
    Ok(())
}

/// How much is to be thought: as tokens. The error is a word for an effort that is not known.
fn thinking(wanted: &ReasoningWanted) -> Result<Option<Value>, &str> {
    let by_tokens = |tokens: u32| match tokens {
        0 => json!({"type": "disabled"}),
        tokens => json!({"type": "enabled", "token_budget": tokens}),
    };
    if let Some(tokens) = wanted.max_tokens {
        return Ok(Some(by_tokens(tokens)));
    }
    Ok(Some(match wanted.effort.as_deref() {
        None => return Ok(None),
        Some("none") => by_tokens(0),
        Some("minimal" | "low") => by_tokens(1_024),
        Some("medium") => by_tokens(8_192),
        Some("high") => by_tokens(24_576),
        Some("xhigh" | "max") => json!({"type": "enabled"}),
        Some(other) => return Err(other),
    }))
}

fn put_tools(body: &mut Fields, conversation: &Conversation) {
    if conversation.tools.is_empty() {
        return;
    }
    body.set("tools", &conversation.tools.iter().map(kin::function).collect::<Vec<_>>());
    if conversation.tools.iter().any(|tool| tool.strict == Some(true)) {
        body.set("strict_tools", &true);
    }
    match &conversation.tool_choice {
        Some(ToolChoice::None) => body.set("tool_choice", "NONE"),
        Some(ToolChoice::Required) => body.set("tool_choice", "REQUIRED"),
        // The model decides where nothing is said. A named tool was refused.
        Some(ToolChoice::Auto | ToolChoice::Named(_)) | None => {}
    }
}

/// A message as Cohere's: each result of a tool is a message, before the rest of its message.
fn messages(message: &Message) -> Vec<Value> {
    let mut all = kin::results(message, str::to_owned, content);
    all.extend(rest(message));
    all
}

/// A message without its tools' results; `None` where nothing else is in it. What was thought before calls is their plan.
fn rest(message: &Message) -> Option<Value> {
    let calls = kin::calls(message, str::to_owned);
    let (thoughts, parts): (Vec<&Part>, Vec<&Part>) =
        message.parts.iter().partition(|part| matches!(part.content, Content::Reasoning(_)));
    let thoughts: String = thoughts.into_iter().filter_map(|part| thought(&part.content)).collect();
    let mut chunks: Vec<Value> = parts.into_iter().filter_map(|part| chunk(&part.content)).collect();
    let mut fields = Map::new();
    fields.insert("role".into(), kin::role(message).into());
    if !thoughts.is_empty() && !calls.is_empty() {
        fields.insert("tool_plan".into(), thoughts.into());
    } else if !thoughts.is_empty() {
        chunks.insert(0, json!({"type": "thinking", "thinking": thoughts}));
    }
    if chunks.is_empty() && calls.is_empty() {
        return None;
    }
    if !chunks.is_empty() {
        fields.insert("content".into(), kin::joined(chunks));
    }
    if !calls.is_empty() {
        fields.insert("tool_calls".into(), calls.into());
    }
    Some(Value::Object(fields))
}

/// Reasoning without another provider's proof.
fn thought(content: &Content) -> Option<&str> {
    match content {
        Content::Reasoning(Reasoning { text, signature: None }) => Some(text),
        _ => None,
    }
}

fn content(parts: &[Part]) -> Value {
    kin::joined(parts.iter().filter_map(|part| chunk(&part.content)).collect())
}

fn chunk(content: &Content) -> Option<Value> {
    match content {
        Content::Text(text) | Content::Refusal(text) => kin::text(text),
        Content::Image(image) => Some(kin::image(image)),
        Content::Audio(_)
        | Content::File(_)
        | Content::Reasoning(_)
        | Content::ToolCall(_)
        | Content::ToolResult(_)
        | Content::Unknown { .. } => None,
    }
}
