//! The fields of a request for messages (Anthropic's format) to an open model, as [`fields`](super::fields) has those
//! of chats.

use super::{
    Unable,
    fields::{
        Field,
        Of::Chat,
        Takes::{Checked, Harmless, Only, Used},
        field, unread,
    },
};
use wire::inference::{Request, ToolChoice, Work};

/// The most texts that may end an answer: each is looked for after every token.
const MOST_STOPS: usize = 16;

/// All known fields.
pub(super) const FIELDS: &[Field] = &[
    field("model", Chat, Used),
    field("messages", Chat, Checked(|_| Ok(()), "texts; see below")),
    field("system", Chat, Used),
    field("max_tokens", Chat, Checked(limit, "at least 1")),
    field("temperature", Chat, Used),
    field("top_p", Chat, Used),
    field("top_k", Chat, Used),
    field("stop_sequences", Chat, Checked(stops, "at most 16")),
    field("stream", Chat, Used),
    field("max_cost", Chat, Used),
    field("autoScale", Chat, Used),
    field("metadata", Chat, Harmless),
    field("cache_control", Chat, Harmless),
    field("context_management", Chat, Harmless),
    field("betas", Chat, Harmless),
    field("anthropic_version", Chat, Harmless),
    field("anthropic_beta", Chat, Harmless),
    field(
        "tools",
        Chat,
        Checked(tools, "those with an `input_schema`, or any with `tool_choice` of type `none`; see below"),
    ),
    field("tool_choice", Chat, Checked(|request| unread(request, "tool_choice"), "`none`, `auto`, `any`, `tool`")),
    field("thinking", Chat, Only(&["{\"type\":\"disabled\"}"])),
    field("output_config", Chat, Checked(output, "`format` with a JSON schema")),
    field("service_tier", Chat, Only(&["\"auto\"", "\"standard_only\""])),
    field("speed", Chat, Only(&["\"standard\""])),
    field("inference_geo", Chat, Only(&["\"global\""])),
    field("mcp_servers", Chat, Only(&["[]"])),
    field("fallbacks", Chat, Only(&["[]"])),
    field("container", Chat, Only(&[])),
];

fn limit(request: &Request) -> Result<(), Unable> {
    let limit = request.generation().and_then(|generation| generation.limit);
    match limit.map(|limit| limit.tokens) {
        Some(0) => Err(Unable::new("max_tokens", "must be at least 1: open models keep no cache to be filled")),
        Some(_) | None => Ok(()),
    }
}

fn stops(request: &Request) -> Result<(), Unable> {
    let count = request.generation().map_or(0, |generation| generation.sampling.stop.len());
    if count > MOST_STOPS {
        return Err(Unable::new("stop_sequences", format!("must be at most {MOST_STOPS} texts for open models")));
    }
    Ok(())
}

/// Refuses what the output's settings have beside its form.
fn output(request: &Request) -> Result<(), Unable> {
    unread(request, "output_config")?;
    match &request.work {
        Work::Conversation(conversation) if conversation.reasoning.effort.is_some() => {
            Err(Unable::new("output_config.effort", "is not honoured by open models: leave it out"))
        }
        _ => Ok(()),
    }
}

/// Refuses tools that a provider runs, unless none may be called.
fn tools(request: &Request) -> Result<(), Unable> {
    match &request.work {
        Work::Conversation(conversation) if conversation.tool_choice == Some(ToolChoice::None) => Ok(()),
        _ => unread(request, "tools"),
    }
}
