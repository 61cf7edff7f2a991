//! Reads requests of messages. Farebox's own fields are taken out of the body. Members that have no place in the
//! neutral words are listed as unread.

use super::{messages, tools};
use crate::{
    fields::{BadRequest, Fields},
    format::{
        openai::reading::all_of,
        own::{self, Own},
    },
    inference::{Conversation, Format, Generation, OutputLimit, Request, Sampling, Source, Unread, Work},
};

/// The most texts that end an answer, and the longest.
const MOST_STOPS: usize = 8_191;
const LONGEST_STOP: usize = 4_096;

/// Reads a request for an answer.
///
/// # Errors
///
/// The first field with a wrong value. The error is for the client, and names the field.
pub fn read_messages(body: &[u8]) -> Result<Request, BadRequest> {
    let request = read_to_count(body)?;
    if request.generation().is_none_or(|generation| generation.limit.is_none()) {
        return Err(BadRequest::new("max_tokens", "is required"));
    }
    Ok(request)
}

/// Reads a request whose tokens are to be counted: it needs no output limit.
///
/// # Errors
///
/// As for [`read_messages`].
pub fn read_to_count(body: &[u8]) -> Result<Request, BadRequest> {
    let mut body = Fields::of_client(body)?;
    let Own { max_cost, auto_scale, fallbacks } = own::take(&mut body)?;
    let model = own::model(&body)?;
    let mut unread = Vec::new();
    let stream = body.boolean("stream")?.unwrap_or(false);
    let conversation = conversation(&body, &mut unread)?;
    let end_user = body.object("metadata", "an object")?.and_then(|metadata| metadata.string("user_id").ok().flatten());
    let (work, source) = (Work::Conversation(Box::new(conversation)), Source::of(Format::AnthropicMessages, body));
    let unread = all_of(unread)?;
    Ok(Request { model, work, stream, max_cost, auto_scale, fallbacks, end_user, unread, source })
}

fn conversation(body: &Fields, unread: &mut Vec<Unread>) -> Result<Conversation, BadRequest> {
    let mut all: Vec<_> = messages::system(body, unread)?.into_iter().collect();
    all.extend(messages::read(body, unread)?);
    // A mark beside the messages stands for one on the last part that can have one.
    if let Some(mark) = messages::mark_of(body, unread)
        && let Some(last) = all.last_mut()
    {
        last.cache = last.cache.or(Some(mark));
    }
    let generation = Generation { sampling: sampling(body)?, limit: limit(body)?, ..Generation::default() };
    Ok(Conversation { messages: all, generation, ..tools::read(body, unread) })
}

/// The output limit. Zero fills the cache, and writes nothing.
fn limit(body: &Fields) -> Result<Option<OutputLimit>, BadRequest> {
    let tokens = body.whole("max_tokens", 0, u32::MAX)?;
    Ok(tokens.map(|tokens| OutputLimit { tokens, largest: tokens, field: "max_tokens" }))
}

fn sampling(body: &Fields) -> Result<Sampling, BadRequest> {
    let stop: Vec<String> = body.read("stop_sequences", "an array of strings")?.unwrap_or_default();
    if stop.len() > MOST_STOPS || stop.iter().any(|text| text.is_empty() || text.len() > LONGEST_STOP) {
        let message = format!("must be at most {MOST_STOPS} texts of 1 to {LONGEST_STOP} bytes");
        return Err(BadRequest::new("stop_sequences", message));
    }
    Ok(Sampling {
        temperature: body.number("temperature", 0.0, 1.0)?,
        top_p: body.number("top_p", 0.0, 1.0)?,
        top_k: body.whole("top_k", 0, 1_000_000)?,
        stop,
        ..Sampling::default()
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn with(more: &Value) -> Result<Request, BadRequest> {
        let mut body = json!({"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "x"}]});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        read_messages(body.to_string().as_bytes())
    }

    #[test]
    fn a_wrong_field_is_refused_by_its_name() {
        for (more, field) in [
            (json!({"model": null}), "model"),
            (json!({"max_tokens": null}), "max_tokens"),
            (json!({"max_tokens": -1}), "max_tokens"),
            (json!({"max_tokens": "9"}), "max_tokens"),
            (json!({"messages": []}), "messages"),
            (json!({"messages": null}), "messages"),
            (json!({"messages": [{"role": "tool", "content": "x"}]}), "messages[0].role"),
            (json!({"messages": [{"role": "user"}]}), "messages[0].content"),
            (json!({"messages": [{"role": "user", "content": [7]}]}), "messages[0].content[0]"),
            (json!({"system": 7}), "system"),
            (json!({"temperature": 1.5}), "temperature"),
            (json!({"top_p": 2}), "top_p"),
            (json!({"top_k": -1}), "top_k"),
            (json!({"stop_sequences": "x"}), "stop_sequences"),
            (json!({"stop_sequences": [""]}), "stop_sequences"),
            (json!({"stream": "yes"}), "stream"),
            (json!({"metadata": "u"}), "metadata"),
            (json!({"max_cost": []}), "max_cost"),
            (json!({"farebox_x": 1}), "farebox_x"),
        ] {
            assert_eq!(with(&more).unwrap_err().field, field, "{more}");
        }
        let counted = br#"{"model":"m","messages":[{"role":"user","content":"x"}]}"#;
        assert!(read_to_count(counted).is_ok() && read_messages(counted).is_err());
    }

    #[test]
    fn what_a_request_says_is_read_and_ours_is_taken_out() {
        let request = with(&json!({"max_cost": 0.5, "autoScale": true, "stream": true, "temperature": 0.5, "top_k": 4,
            "stop_sequences": ["a", "b", "c", "d", "e"], "metadata": {"user_id": "u"}, "new": [1],
            "cache_control": {"type": "ephemeral", "ttl": "1h"}}))
        .unwrap();
        assert_eq!((request.max_cost.as_deref(), request.auto_scale, request.stream), (Some("0.5"), Some(true), true));
        assert_eq!(request.end_user.as_deref(), Some("u"));
        assert!(request.source.body.get("max_cost").is_none() && request.source.body.get("new").is_some());
        let generation = request.generation().unwrap();
        assert_eq!((generation.sampling.stop.len(), generation.limit.map(|limit| limit.tokens)), (5, Some(9)));
        let Work::Conversation(conversation) = &request.work else { panic!() };
        assert!(conversation.messages[0].cache.is_some_and(|mark| mark.ttl.is_some()));
        assert_eq!(request.unread, []);
    }
}
