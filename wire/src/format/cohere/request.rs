//! Reads requests of chats. Farebox's own fields are taken out of the body. Members that have no place in the neutral words
//! are listed as unread.

use super::{messages, tools};
use crate::{
    fields::{BadRequest, Fields},
    format::{
        openai::reading::all_of,
        own::{self, Own},
    },
    inference::{Conversation, Format, Generation, OutputLimit, Request, Sampling, Source, Unread, Work},
};

/// The most texts that end an answer, as the API has it, and the longest.
const MOST_STOPS: usize = 5;
const LONGEST_STOP: usize = 4_096;
/// The most likely tokens that are kept at most.
const LARGEST_K: u32 = 500;
/// The lowest priority. The usual one is the highest.
const LAST: u64 = 999;

/// Reads a request for an answer.
///
/// # Errors
///
/// The first field with a wrong value. The error is for the client, and names the field.
pub fn read_chat(body: &[u8]) -> Result<Request, BadRequest> {
    let mut body = Fields::of_client(body)?;
    let Own { max_cost, auto_scale, fallbacks } = own::take(&mut body)?;
    let model = own::model(&body)?;
    let mut unread = Vec::new();
    let stream = body.boolean("stream")?.unwrap_or(false);
    // Log probabilities name tokens by Cohere's own numbers: only Cohere can tell them.
    body.boolean("logprobs")?;
    read_priority(&body)?;
    let conversation = conversation(&body, &mut unread)?;
    let (work, source) = (Work::Conversation(Box::new(conversation)), Source::of(Format::Cohere, body));
    let unread = all_of(unread)?;
    Ok(Request { model, work, stream, max_cost, auto_scale, fallbacks, end_user: None, unread, source })
}

/// Checks how late a request may be handled.
pub(super) fn read_priority(body: &Fields) -> Result<(), BadRequest> {
    body.whole("priority", 0, LAST).map(drop)
}

fn conversation(body: &Fields, unread: &mut Vec<Unread>) -> Result<Conversation, BadRequest> {
    let messages = messages::read(body, unread)?;
    let generation = Generation { sampling: sampling(body)?, limit: limit(body)?, ..Generation::default() };
    Ok(Conversation { messages, generation, ..tools::read(body, unread)? })
}

fn limit(body: &Fields) -> Result<Option<OutputLimit>, BadRequest> {
    let tokens = body.whole("max_tokens", 1, u32::MAX)?;
    Ok(tokens.map(|tokens| OutputLimit { tokens, largest: tokens, field: "max_tokens" }))
}

fn sampling(body: &Fields) -> Result<Sampling, BadRequest> {
    let stop: Vec<String> = body.read("stop_sequences", "an array of strings")?.unwrap_or_default();
    if stop.len() > MOST_STOPS || stop.iter().any(|text| text.is_empty() || text.len() > LONGEST_STOP) {
        let message = format!("must be at most {MOST_STOPS} texts of 1 to {LONGEST_STOP} bytes");
        return Err(BadRequest::new("stop_sequences", message));
    }
    Ok(Sampling {
        temperature: body.number("temperature", 0.0, 2.0)?,
        top_p: body.number("p", 0.0, 1.0)?,
        top_k: body.whole("k", 0, LARGEST_K)?,
        seed: body.whole("seed", 0, u64::MAX)?,
        frequency_penalty: body.number("frequency_penalty", 0.0, 1.0)?,
        presence_penalty: body.number("presence_penalty", 0.0, 1.0)?,
        stop,
        ..Sampling::default()
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::inference::{OutputFormat, ToolChoice};

    fn with(more: &Value) -> Result<Request, BadRequest> {
        let mut body = json!({"model": "m", "messages": [{"role": "user", "content": "x"}]});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        read_chat(body.to_string().as_bytes())
    }

    #[test]
    fn a_wrong_field_is_refused_by_its_name() {
        for (more, field) in [
            (json!({"model": null}), "model"),
            (json!({"messages": []}), "messages"),
            (json!({"messages": "x"}), "messages"),
            (json!({"messages": [7]}), "messages[0]"),
            (json!({"messages": [{"role": "developer", "content": "x"}]}), "messages[0].role"),
            (json!({"messages": [{"role": "user"}]}), "messages[0].content"),
            (json!({"messages": [{"role": "user", "content": [7]}]}), "messages[0].content[0]"),
            (json!({"messages": [{"role": "tool", "content": "x"}]}), "messages[0].tool_call_id"),
            (json!({"max_tokens": 0}), "max_tokens"),
            (json!({"max_tokens": "9"}), "max_tokens"),
            (json!({"temperature": -1}), "temperature"),
            (json!({"p": 2}), "p"),
            (json!({"k": 501}), "k"),
            (json!({"seed": -1}), "seed"),
            (json!({"frequency_penalty": 1.5}), "frequency_penalty"),
            (json!({"presence_penalty": -0.5}), "presence_penalty"),
            (json!({"stop_sequences": ["a", "b", "c", "d", "e", "f"]}), "stop_sequences"),
            (json!({"stop_sequences": [""]}), "stop_sequences"),
            (json!({"stream": "yes"}), "stream"),
            (json!({"logprobs": 1}), "logprobs"),
            (json!({"strict_tools": 1}), "strict_tools"),
            (json!({"priority": -1}), "priority"),
            (json!({"max_cost": []}), "max_cost"),
            (json!({"farebox_x": 1}), "farebox_x"),
        ] {
            assert_eq!(with(&more).unwrap_err().field, field, "{more}");
        }
    }

    #[test]
    fn what_a_request_says_is_read_and_ours_is_taken_out() {
        let request = with(&json!({"max_cost": 0.5, "stream": true, "temperature": 0.5, "k": 4, "p": 0.9, "seed": 7,
            "stop_sequences": ["a", "b"], "max_tokens": 9, "frequency_penalty": 0.25, "presence_penalty": 0.5, "new": [1],
            "tools": [{"type": "function", "function": {"name": "f", "description": "d", "parameters": {"type": "object"}}}],
            "strict_tools": true, "tool_choice": "REQUIRED", "thinking": {"type": "enabled", "token_budget": 2_000},
            "response_format": {"type": "json_object", "json_schema": {"type": "object"}}, "priority": 5}))
        .unwrap();
        assert_eq!((request.max_cost.as_deref(), request.stream, request.model.as_str()), (Some("0.5"), true, "m"));
        assert!(request.source.body.get("max_cost").is_none() && request.source.body.get("new").is_some());
        let Work::Conversation(conversation) = &request.work else { panic!() };
        let Generation { sampling, limit, .. } = &conversation.generation;
        assert_eq!((limit.map(|limit| limit.tokens), sampling.stop.len(), sampling.top_k), (Some(9), 2, Some(4)));
        assert_eq!((sampling.seed, sampling.top_p, sampling.presence_penalty), (Some(7), Some(0.9), Some(0.5)));
        assert_eq!((conversation.tools.len(), conversation.tools[0].strict), (1, Some(true)));
        assert_eq!(conversation.tool_choice, Some(ToolChoice::Required));
        assert_eq!(conversation.reasoning.max_tokens, Some(2_000));
        let OutputFormat::JsonSchema { schema, .. } = &conversation.output else { panic!() };
        assert_eq!((schema.as_str(), &request.unread), (r#"{"type":"object"}"#, &Vec::new()));
    }
}
