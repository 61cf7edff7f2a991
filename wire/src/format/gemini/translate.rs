//! A request of another format as a `GenerateContentRequest`. Features that Gemini lacks were refused before
//! ([`takes`]).

use serde::Serialize;
use serde_json::{Value, json};

use super::{contents, reasoning};
use crate::{
    fields::Fields,
    format::{
        Upstream,
        feature::{Feature, Takes},
        openai::parsed,
    },
    inference::{Conversation, Failure, OutputFormat, Request, Sampling, Tool, ToolChoice, Work},
};

/// How Gemini treats the features of requests in other formats.
pub const fn takes(feature: Feature) -> Takes {
    match feature {
        // Its cache works without marks. It reads no names, and no thoughts without their proof.
        Feature::AuthorName | Feature::Reasoning | Feature::CacheMark | Feature::EndUser => Takes::Left,
        Feature::TextPrompt
        | Feature::ImageUrl
        | Feature::ImageId
        | Feature::FileUrl
        | Feature::FileId
        | Feature::CustomTool
        | Feature::SingleCall
        | Feature::Prefix
        | Feature::LogitBias => Takes::Refused,
        Feature::LaterInstructions
        | Feature::ImageData
        | Feature::MadeImage
        | Feature::Audio
        | Feature::FileData
        | Feature::SignedReasoning
        | Feature::Refusal
        | Feature::StrictTool
        | Feature::NoTool
        | Feature::AnyTool
        | Feature::NamedTool
        | Feature::ResultMedia
        | Feature::FailedResult
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
        | Feature::Choices
        | Feature::Logprobs => Takes::Mapped,
    }
}

/// Models whose calls need no proof, and that write no JSON beside tools.
const OLDER: [&str; 2] = ["gemini-1", "gemini-2"];

/// `generationConfig`.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Config<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    max_output_tokens: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_p: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_k: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seed: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    presence_penalty: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    frequency_penalty: Option<f32>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    stop_sequences: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    candidate_count: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_logprobs: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    logprobs: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_mime_type: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_json_schema: Option<Value>,
    #[serde(rename = "thinkingConfig", skip_serializing_if = "Option::is_none")]
    thinking: Option<Value>,
}

/// The body for a request of another format.
///
/// # Errors
///
/// A part of the conversation that can't be expressed, named as the client named it.
pub(super) fn body(request: &Request, upstream: &Upstream<'_>) -> Result<Fields, Failure> {
    let mut body = Fields::default();
    let Work::Conversation(conversation) = &request.work else { return Ok(body) };
    let is_older = OLDER.iter().any(|older| upstream.model.starts_with(older));
    let written = contents::of(request.source.format, &conversation.messages, !is_older)?;
    body.set("contents", &written.turns);
    if !written.instructions.is_empty() {
        body.set("systemInstruction", &json!({"parts": written.instructions}));
    }
    put_tools(&mut body, conversation);
    let thinking = reasoning::thinking(&conversation.reasoning, upstream.model, request.source.format)?;
    if is_older && conversation.output != OutputFormat::Text && !conversation.tools.is_empty() {
        let field = Feature::JsonSchema.field(request.source.format).to_owned();
        return Err(Failure::Invalid { field, message: "can't be asked of this model together with tools".to_owned() });
    }
    let config = config(conversation, thinking);
    if serde_json::to_value(&config).is_ok_and(|config| config != json!({})) {
        body.set("generationConfig", &config);
    }
    Ok(body)
}

fn config(conversation: &Conversation, thinking: Option<Value>) -> Config<'_> {
    let generation = &conversation.generation;
    let sampling = &generation.sampling;
    let (response_mime_type, response_json_schema) = match &conversation.output {
        OutputFormat::Text => (None, None),
        OutputFormat::JsonObject => (Some("application/json"), None),
        OutputFormat::JsonSchema { schema, .. } => (Some("application/json"), Some(parsed(schema))),
    };
    Config {
        max_output_tokens: generation.limit.map(|limit| limit.tokens),
        temperature: sampling.temperature,
        top_p: sampling.top_p,
        top_k: sampling.top_k.filter(|k| *k > 0),
        seed: seed(sampling),
        presence_penalty: sampling.presence_penalty,
        frequency_penalty: sampling.frequency_penalty,
        stop_sequences: &sampling.stop,
        candidate_count: (generation.n > 1).then_some(generation.n),
        response_logprobs: generation.logprobs.map(|_| true),
        logprobs: generation.logprobs.filter(|top| *top > 0),
        response_mime_type,
        response_json_schema,
        thinking,
    }
}

/// The seed in Google's 31 bits. The same seed stays the same.
fn seed(sampling: &Sampling) -> Option<u32> {
    let seed = sampling.seed?;
    Some(u32::try_from(seed & 0x7fff_ffff).unwrap_or(0))
}

fn put_tools(body: &mut Fields, conversation: &Conversation) {
    if conversation.tools.is_empty() {
        return;
    }
    let declarations: Vec<Value> = conversation.tools.iter().map(declaration).collect();
    body.set("tools", &json!([{"functionDeclarations": declarations}]));
    let is_strict = conversation.tools.iter().any(|tool| tool.strict == Some(true));
    let choice = match &conversation.tool_choice {
        // Calls that fit their schema, or text.
        None | Some(ToolChoice::Auto) if is_strict => json!({"mode": "VALIDATED"}),
        None => return,
        Some(ToolChoice::Auto) => json!({"mode": "AUTO"}),
        Some(ToolChoice::None) => json!({"mode": "NONE"}),
        Some(ToolChoice::Required) => json!({"mode": "ANY"}),
        Some(ToolChoice::Named(name)) => json!({"mode": "ANY", "allowedFunctionNames": [name]}),
    };
    body.set("toolConfig", &json!({"functionCallingConfig": choice}));
}

fn declaration(tool: &Tool) -> Value {
    let mut declaration = json!({"name": tool.name});
    if let Some(description) = &tool.description {
        declaration["description"] = description.as_str().into();
    }
    if let Some(parameters) = &tool.parameters {
        declaration["parametersJsonSchema"] = parsed(parameters);
    }
    declaration
}
