//! What every translation does to a request first, in neutral words: ids for calls and results without them, results behind
//! their calls, and no more output asked for than the model writes. It knows no provider's words.

use std::{borrow::Cow, collections::HashMap};

use serde_json::Value;

use super::{Upstream, feature::Feature, made::hash, pairing::pair};
use crate::{
    fields::Fields,
    inference::{Content, Failure, Format, Message, Part, Request, Role, Tool, Work},
};

/// Prepares a request for a provider of another format.
///
/// # Errors
///
/// A result that names no call, where no call waits for one.
pub(super) fn prepare(request: &mut Request, upstream: &Upstream<'_>) -> Result<(), Failure> {
    pair(request)?;
    if let Work::Conversation(conversation) = &mut request.work {
        // Providers refuse a limit above what the model writes. Of a model without a price that may not be known.
        if let Some(limit) = conversation.generation.limit.as_mut().filter(|_| upstream.max_output > 0) {
            limit.tokens = limit.tokens.min(upstream.max_output);
        }
        put_results_behind_calls(&mut conversation.messages);
    }
    Ok(())
}

/// Clients of some formats ask for strict calls of all tools at once, whatever the schemas. Providers that want strict schemas to
/// say so themselves refuse others, so of those the wish is left out.
pub(super) fn loosen(request: &mut Request) {
    let asks_for_all = matches!(request.source.format, Format::Gemini | Format::Cohere);
    if let (true, Work::Conversation(conversation)) = (asks_for_all, &mut request.work) {
        for tool in conversation.tools.iter_mut().filter(|tool| !is_closed_tool(tool)) {
            tool.strict = None;
        }
    }
}

fn is_closed_tool(tool: &Tool) -> bool {
    let schema = tool.parameters.as_deref().and_then(|json| serde_json::from_str::<Value>(json).ok());
    schema.is_some_and(|schema| schema.is_object() && is_closed(&schema))
}

/// Whether each object of a schema has no more members than it names, and requires all of them.
fn is_closed(schema: &Value) -> bool {
    match schema {
        Value::Array(list) => list.iter().all(is_closed),
        Value::Object(members) => {
            let is_object = members.get("type").is_some_and(|kind| match kind {
                Value::Array(kinds) => kinds.iter().any(|kind| kind == "object"),
                kind => kind == "object",
            });
            let properties = members.get("properties").and_then(Value::as_object);
            let required: Vec<&str> = members
                .get("required")
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
                .collect();
            let is_all = properties.is_none_or(|properties| properties.keys().all(|name| required.contains(&&**name)));
            let is_shut = members.get("additionalProperties") == Some(&Value::Bool(false)) && is_all;
            let named = properties.into_iter().flat_map(|properties| properties.values());
            let others = members.iter().filter(|(name, _)| *name != "properties").map(|(_, value)| value);
            (is_shut || !(is_object || properties.is_some())) && named.chain(others).all(is_closed)
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => true,
    }
}

/// Puts each result behind the message with its call, where something stands between them: providers want the results of a message's
/// calls before anything else is said.
fn put_results_behind_calls(messages: &mut Vec<Message>) {
    let Some(places) = places(messages) else { return };
    let mut behind: Vec<Vec<Message>> = Vec::new();
    behind.resize_with(messages.len(), Vec::new);
    let mut places = places.into_iter();
    let mut rests = Vec::with_capacity(messages.len());
    for message in std::mem::take(messages) {
        let Message { role, name, parts, cache, is_prefix } = message;
        let is_empty = parts.is_empty();
        let mut rest: Vec<Part> = Vec::with_capacity(parts.len());
        let mut last_moved = None;
        for part in parts {
            let place = match &part.content {
                Content::ToolResult(_) => places.next().flatten(),
                _ => None,
            };
            match place {
                Some(place) => {
                    last_moved = Some(place);
                    let result = Message { role, name: None, parts: vec![part], cache: None, is_prefix: false };
                    behind[place].push(result);
                }
                None => rest.push(part),
            }
        }
        match last_moved.and_then(|place: usize| behind[place].last_mut()) {
            // The mark of a message is at its end.
            Some(moved) if rest.is_empty() => moved.cache = cache,
            Some(_) | None => {}
        }
        let rest = (is_empty || !rest.is_empty()).then_some(Message { role, name, parts: rest, cache, is_prefix });
        rests.push(rest);
    }
    for (rest, results) in rests.into_iter().zip(behind) {
        messages.extend(rest);
        messages.extend(results);
    }
}

/// Of each result the place of the message with its call, if there is one; `None` where all results follow their calls.
fn places(messages: &[Message]) -> Option<Vec<Option<usize>>> {
    let (mut calls, mut places) = (HashMap::new(), Vec::new());
    // The last message in which something else is said.
    let (mut said, mut is_apart) = (0, false);
    for (at, message) in messages.iter().enumerate() {
        for part in &message.parts {
            match &part.content {
                Content::ToolResult(result) => {
                    let place = result.call_id.as_deref().and_then(|id| calls.get(id)).copied();
                    is_apart |= place.is_some_and(|place| said > place);
                    places.push(place);
                }
                Content::ToolCall(call) if message.role == Role::Assistant => {
                    calls.extend(call.id.as_deref().map(|id| (id, at)));
                    said = at;
                }
                Content::Text(_)
                | Content::Refusal(_)
                | Content::Image(_)
                | Content::Audio(_)
                | Content::File(_)
                | Content::Reasoning(_)
                | Content::ToolCall(_)
                | Content::Unknown { .. } => said = at,
            }
        }
    }
    is_apart.then_some(places)
}

/// The name of a person as a provider takes it, which has room for so many characters: a longer one is hashed, and the same stays
/// the same.
pub(super) fn person(name: &str, most: usize) -> Cow<'_, str> {
    if name.chars().count() <= most {
        return Cow::Borrowed(name);
    }
    let parts = ["a", "b", "c", "d"].map(|salt| format!("{:016x}", hash([salt, name])));
    Cow::Owned(parts.concat())
}

/// Refuses a request of which nothing is left to be asked.
///
/// # Errors
///
/// The client's field of the messages.
pub(super) fn check_messages(request: &Request, body: &Fields) -> Result<(), Failure> {
    if body.get("messages") == Some("[]") { Err(nothing(request.source.format)) } else { Ok(()) }
}

/// Nothing is asked.
pub(super) fn nothing(client: Format) -> Failure {
    let field = Feature::LaterInstructions.field(client).to_owned();
    Failure::Invalid { field, message: "must have a message that is not empty".to_owned() }
}

/// Refuses more texts that end an answer than a provider takes.
///
/// # Errors
///
/// The client's field.
pub(super) fn check_stops(request: &Request, most: usize, provider: &str) -> Result<(), Failure> {
    let count = request.generation().map_or(0, |generation| generation.sampling.stop.len());
    if count <= most {
        return Ok(());
    }
    let field = Feature::Stop.field(request.source.format).to_owned();
    Err(Failure::Invalid { field, message: format!("must have at most {most} texts for {provider}'s models") })
}

#[cfg(test)]
mod tests;
