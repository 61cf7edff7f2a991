//! A request of another format as messages. Features that messages lack were refused before ([`takes`]).

mod conversation;
mod reasoning;

use serde_json::{Value, json};

use crate::{
    fields::Fields,
    format::{
        Upstream,
        feature::{Feature, Takes},
        prepare::person,
    },
    inference::{CacheMark, CacheTtl, Conversation, Failure, Format, OutputFormat, Request, Tool, ToolChoice, Work},
};

/// The longest name of the person behind a request, in characters.
const LONGEST_PERSON: usize = 256;

/// How messages treat the features of requests in other formats.
pub(in crate::format) const fn takes(feature: Feature) -> Takes {
    match feature {
        // No proof, no reasoning: the provider takes back only what it signed.
        Feature::Reasoning | Feature::AuthorName | Feature::Seed => Takes::Left,
        Feature::TextPrompt
        | Feature::ImageId
        | Feature::MadeImage
        | Feature::Audio
        | Feature::FileId
        | Feature::CustomTool
        | Feature::JsonObject
        | Feature::FrequencyPenalty
        | Feature::PresencePenalty
        | Feature::LogitBias
        | Feature::Choices
        | Feature::Prefix
        | Feature::Logprobs => Takes::Refused,
        Feature::LaterInstructions
        | Feature::ImageData
        | Feature::ImageUrl
        | Feature::FileData
        | Feature::FileUrl
        | Feature::SignedReasoning
        | Feature::Refusal
        | Feature::StrictTool
        | Feature::NoTool
        | Feature::AnyTool
        | Feature::NamedTool
        | Feature::SingleCall
        | Feature::ResultMedia
        | Feature::FailedResult
        | Feature::JsonSchema
        | Feature::Effort
        | Feature::ReasoningTokens
        | Feature::Temperature
        | Feature::TopP
        | Feature::TopK
        | Feature::Stop
        | Feature::CacheMark
        | Feature::EndUser => Takes::Mapped,
    }
}

/// Whether a request says how tokens are chosen, which the newest version of the API refuses.
pub(super) fn samples(request: &Request) -> bool {
    request.generation().is_some_and(|generation| {
        let sampling = &generation.sampling;
        sampling.temperature.is_some() || sampling.top_p.is_some() || sampling.top_k.is_some_and(|k| k > 0)
    })
}

/// The body of messages for a request of another format.
///
/// # Errors
///
/// A part with a value that can't be written: arguments of a tool that are no object, a file that is no PDF, no message
/// at all, or what the provider refuses beside reasoning.
pub(super) fn body(request: &Request, upstream: &Upstream<'_>) -> Result<Fields, Failure> {
    let mut body = Fields::default();
    body.set("model", upstream.model);
    let Work::Conversation(conversation) = &request.work else { return Ok(body) };
    let limit = match (conversation.generation.limit, upstream.max_output) {
        (Some(limit), _) => limit.tokens.max(1),
        (None, 0) => {
            let field = match request.source.format {
                Format::OpenAiResponses => "max_output_tokens",
                Format::Gemini => "generationConfig.maxOutputTokens",
                _ => "max_tokens",
            };
            let message = "is needed: how much this model writes at most is not known here".to_owned();
            return Err(Failure::Invalid { field: field.to_owned(), message });
        }
        (None, most) => most,
    };
    body.set("max_tokens", &limit);
    let written = conversation::write(&conversation.messages, request.source.format)?;
    if !written.system.is_empty() {
        body.set("system", &written.system);
    }
    body.set("messages", &written.messages);
    put_tools(&mut body, conversation);
    put_output(&mut body, conversation, reasoning::asked(conversation, request.source.format, upstream.model, limit)?);
    put_sampling(&mut body, conversation, request.source.format)?;
    if let Some(user) = &request.end_user {
        body.set("metadata", &json!({"user_id": person(user, LONGEST_PERSON)}));
    }
    if request.stream {
        body.set("stream", &true);
    }
    Ok(body)
}

fn put_sampling(body: &mut Fields, conversation: &Conversation, client: Format) -> Result<(), Failure> {
    let sampling = &conversation.generation.sampling;
    // Hotter than this the format does not go.
    let temperature = sampling.temperature.map(|heat| heat.min(1.0));
    // Newer models take one of both, and a nucleus of all tokens is none.
    let top_p = sampling.top_p.filter(|top_p| temperature.is_none() || *top_p < 1.0);
    for (name, number) in [("temperature", temperature), ("top_p", top_p)] {
        if let Some(number) = number {
            body.set(name, &number);
        }
    }
    if let Some(k) = sampling.top_k.filter(|k| *k > 0) {
        body.set("top_k", &k);
    }
    if sampling.stop.iter().any(|text| text.trim().is_empty()) {
        let field = Feature::Stop.field(client).to_owned();
        let message = "must not be white space alone for Anthropic's models".to_owned();
        return Err(Failure::Invalid { field, message });
    }
    if !sampling.stop.is_empty() {
        body.set("stop_sequences", &sampling.stop);
    }
    Ok(())
}

/// A mark of a cache; times that the format lacks become the nearest it has.
fn mark(mark: CacheMark) -> Value {
    match mark.ttl {
        Some(CacheTtl::Hour1 | CacheTtl::Hours12) => json!({"type": "ephemeral", "ttl": "1h"}),
        Some(CacheTtl::Minutes5 | CacheTtl::Minutes30) | None => json!({"type": "ephemeral"}),
    }
}

fn put_tools(body: &mut Fields, conversation: &Conversation) {
    if conversation.tools.is_empty() {
        return;
    }
    body.set("tools", &conversation.tools.iter().map(tool).collect::<Vec<_>>());
    let mut choice = match &conversation.tool_choice {
        Some(ToolChoice::None) => json!({"type": "none"}),
        Some(ToolChoice::Auto) => json!({"type": "auto"}),
        Some(ToolChoice::Required) => json!({"type": "any"}),
        Some(ToolChoice::Named(name)) => json!({"type": "tool", "name": name}),
        None if conversation.parallel_tool_calls == Some(false) => json!({"type": "auto"}),
        None => return,
    };
    if conversation.parallel_tool_calls == Some(false) && choice["type"] != "none" {
        choice["disable_parallel_tool_use"] = true.into();
    }
    body.set("tool_choice", &choice);
}

fn tool(tool: &Tool) -> Value {
    let Tool { name, description, parameters, strict, kind: _, cache } = tool;
    let schema = parameters.as_deref().and_then(|json| serde_json::from_str::<Value>(json).ok());
    let mut schema = schema.filter(Value::is_object).unwrap_or_else(|| json!({}));
    if schema.get("type").is_none() {
        schema["type"] = "object".into();
    }
    let mut written = json!({"name": name, "input_schema": schema});
    if let Some(description) = description {
        written["description"] = description.as_str().into();
    }
    if *strict == Some(true) {
        written["strict"] = true.into();
    }
    if let Some(cache) = cache {
        written["cache_control"] = mark(*cache);
    }
    written
}

/// How much the model is to reason, and the form of the answer.
fn put_output(body: &mut Fields, conversation: &Conversation, asked: reasoning::Asked) {
    let mut output = serde_json::Map::new();
    if let Some(thinking) = asked.thinking {
        body.set("thinking", &thinking);
    }
    if let Some(word) = asked.effort {
        output.insert("effort".into(), word.into());
    }
    match &conversation.output {
        OutputFormat::Text | OutputFormat::JsonObject => {}
        OutputFormat::JsonSchema { schema, .. } => {
            let schema: Value = serde_json::from_str(schema).unwrap_or_default();
            output.insert("format".into(), json!({"type": "json_schema", "schema": schema}));
        }
    }
    if !output.is_empty() {
        body.set("output_config", &output);
    }
}

#[cfg(test)]
mod tests;
