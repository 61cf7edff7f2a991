//! Refuses unpriced parts of a request by name, and finds the terms that its price depends on.

use super::{Does, find};
use crate::{
    fields::{BadRequest, Fields},
    format::{
        Terms,
        refused::{kept, unknown, unpriced},
    },
    inference::{CacheMark, CacheTtl, Content, Conversation, Part, Request, Unread, Work},
    usage::Tier,
};

/// Members of a message besides those that are read here. All are counted with the prompt.
const OF_MESSAGE: [&str; 15] = [
    "name",
    "id",
    "parsed",
    "tool_call_id",
    "function_call",
    "refusal",
    "reasoning_content",
    "reasoning",
    "reasoning_details",
    "reasoning_signature",
    "thinking_blocks",
    "annotations",
    "prefix",
    "partial",
    "extra_content",
];
/// The same for other places, by pattern. The next constant begins the patterns of tool calls.
const ELSEWHERE: [&str; 12] = [
    "messages[].provider_specific_fields",
    "messages[].content[].annotations",
    "messages[].content[].id",
    "messages[].content[].index",
    "messages[].content[].closed",
    "messages[].content[].image_url.format",
    "tools[].function",
    "tools[].custom",
    "functions[]",
    "tool_choice",
    "function_call",
    "response_format",
];
const OF_CALLS: &str = "messages[].tool_calls";
/// The note on unknown cache times.
const TIMES: &str = "a cache may be kept for 30m or 12h";

/// The terms that a request's price depends on.
///
/// # Errors
///
/// The first part of the request without a known price: a field, a value, or a member of a message. The error is for
/// the client; with the client's own provider key the part would pass.
pub(in crate::format) fn terms(request: &Request) -> Result<Terms, BadRequest> {
    let body = &request.source.body;
    let mut terms = Terms::default();
    for name in body.names().filter(|name| body.present(name).is_some()) {
        match find(request.source.format, name).map(|field| (field.does, field.note)) {
            None => return Err(unknown(name)),
            Some((Does::Refused | Does::Kept, note)) => return Err(unpriced(name, note)),
            Some((Does::Nothing | Does::Prompt | Does::Output | Does::Price, _)) => {}
        }
    }
    let kinds: Option<Vec<String>> = body.read("modalities", "an array of strings")?;
    if kinds.is_some_and(|kinds| kinds.iter().any(|kind| kind != "text")) {
        return Err(unpriced("modalities", "text alone has a price"));
    }
    if let Some(options) = body.object("stream_options", "an object")? {
        let known = ["include_usage", "include_obfuscation", "continuous_usage_stats"];
        known_only(&options, &known, "stream_options")?;
    }
    if let Some(options) = body.object("prompt_cache_options", "an object")? {
        known_only(&options, &["mode", "ttl"], "prompt_cache_options")?;
        if let Some(ttl) = options.string("ttl")? {
            let ttl = CacheTtl::parse(&ttl).ok_or_else(|| unpriced("prompt_cache_options.ttl", TIMES))?;
            terms.keeps_long |= ttl.is_long();
        }
    }
    let tier: Option<String> = body.read("service_tier", "a string")?;
    terms.tier = match tier.as_deref() {
        None | Some("auto" | "default") => None,
        Some(word) => Some(("service_tier", Tier::from_word(word))),
    };
    request.unread.iter().try_for_each(check_unread)?;
    if let Work::Conversation(conversation) = &request.work {
        of_conversation(conversation, &mut terms)?;
    }
    Ok(terms)
}

fn known_only(object: &Fields, known: &[&str], at: &str) -> Result<(), BadRequest> {
    match object.names().find(|name| !known.contains(name)) {
        Some(name) => Err(unknown(&format!("{at}.{name}"))),
        None => Ok(()),
    }
}

/// Refuses a member that has no place in the neutral words, unless the member is known to cost nothing but its tokens.
fn check_unread(unread: &Unread) -> Result<(), BadRequest> {
    let Unread { at, json } = unread;
    let at = &**at;
    let pattern = unread.pattern();
    let of_message = pattern.strip_prefix("messages[].");
    match &*pattern {
        // Refused even as null: the member may come twice, and another reader may take the other value.
        pattern if pattern.ends_with(".file.file_id") => Err(kept(at, "file_data")),
        pattern if pattern.ends_with(".file.file_data") => Err(BadRequest::new(at, "must be a string")),
        _ if json == "null" => Ok(()),
        pattern if pattern.starts_with(OF_CALLS) || ELSEWHERE.contains(&pattern) => Ok(()),
        _ if of_message.is_some_and(|name| OF_MESSAGE.contains(&name)) => Ok(()),
        pattern if pattern.rsplit('.').next() == Some("ttl") => Err(unpriced(at, TIMES)),
        pattern if pattern.ends_with(".image_url.url") => {
            Err(unpriced(at, "an image is at an https address, or in a data: address of an image"))
        }
        "messages[].audio" => Err(unpriced(at, "what was spoken can't be counted here")),
        "messages[].content[].type" => Err(unpriced(at, "text, image_url and file have")),
        "tools[].type" => Err(unpriced(at, "function and custom have")),
        "tools" | "functions" => Err(BadRequest::new(at, "must be an array")),
        _ => Err(unknown(at)),
    }
}

fn of_conversation(conversation: &Conversation, terms: &mut Terms) -> Result<(), BadRequest> {
    let keeps_long = |mark: Option<CacheMark>| mark.and_then(|mark| mark.ttl).is_some_and(CacheTtl::is_long);
    terms.keeps_long |= conversation.tools.iter().any(|tool| keeps_long(tool.cache));
    for (place, message) in conversation.messages.iter().enumerate() {
        terms.keeps_long |= keeps_long(message.cache);
        // In this format a tool's result is a message, and the result's parts are the message's.
        let parts = message.parts.iter().flat_map(|part| match &part.content {
            Content::ToolResult(result) => &result.parts[..],
            _ => std::slice::from_ref(part),
        });
        for (at, Part { content, cache }) in parts.enumerate() {
            terms.keeps_long |= keeps_long(*cache);
            match content {
                Content::Audio(_) => {
                    let field = format!("messages[{place}].content[{at}].type");
                    return Err(unpriced(field, "text, image_url and file have"));
                }
                Content::File(_) => terms.is_uncountable = true,
                Content::Text(_)
                | Content::Refusal(_)
                | Content::Image(_)
                | Content::Reasoning(_)
                | Content::ToolCall(_)
                | Content::ToolResult(_)
                | Content::Unknown { .. } => {}
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::{
        format::openai::Api,
        format::openai::{read_chat, read_completion},
    };

    fn of(api: Api, more: &Value) -> Result<Terms, BadRequest> {
        let mut body = match api {
            Api::Chat => json!({"model": "m", "messages": [{"role": "user", "content": "x"}]}),
            Api::Completions => json!({"model": "m", "prompt": "x"}),
        };
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let read = match api {
            Api::Chat => read_chat,
            Api::Completions => read_completion,
        };
        terms(&read(body.to_string().as_bytes()).unwrap())
    }

    #[expect(clippy::needless_pass_by_value, reason = "it is made where it is asked about")]
    fn part(part: Value) -> Result<Terms, BadRequest> {
        let tool = json!({"role": "tool", "tool_call_id": "a", "content": [{"type": "text", "text": "x"}, part]});
        of(Api::Chat, &json!({"messages": [{"role": "user", "content": "x"}, tool]}))
    }

    #[test]
    fn what_has_no_price_is_refused_by_its_name() {
        for (more, field) in [
            (json!({"web_search_options": {}}), "web_search_options"),
            (json!({"prediction": {"type": "content", "content": "x"}}), "prediction"),
            (json!({"audio": {"voice": "alloy", "format": "wav"}}), "audio"),
            (json!({"modalities": ["text", "audio"]}), "modalities"),
            (json!({"moderation": {"model": "x"}}), "moderation"),
            (json!({"plugins": [{"id": "web"}]}), "plugins"),
            (json!({"a_field_of_tomorrow": 1}), "a_field_of_tomorrow"),
            (json!({"suffix": "of completions"}), "suffix"),
            (json!({"tools": [{"type": "web_search"}]}), "tools[0].type"),
            (json!({"tools": [{"type": "function", "function": {}}, {"googleSearch": {}}]}), "tools[1].type"),
            (json!({"tools": [{"type": "function", "function": {}, "web_search": {}}]}), "tools[0].web_search"),
            (json!({"tools": {"type": "function"}}), "tools"),
            (json!({"stream": true, "stream_options": {"include_usage": true, "x": 1}}), "stream_options.x"),
            (json!({"prompt_cache_options": {"ttl": "24h"}}), "prompt_cache_options.ttl"),
            (json!({"messages": [{"role": "assistant", "audio": {"id": "a"}}]}), "messages[0].audio"),
            (json!({"messages": [{"role": "user", "content": "x", "file_ids": ["f"]}]}), "messages[0].file_ids"),
        ] {
            assert_eq!(of(Api::Chat, &more).unwrap_err().field, field, "{more}");
        }
        for name in ["tools", "messages", "max_completion_tokens", "new"] {
            assert_eq!(of(Api::Completions, &json!({name: 5})).unwrap_err().field, name);
        }
    }

    #[test]
    fn a_part_that_is_not_known_is_refused_wherever_it_stands() {
        for (bad, field) in [
            (json!({"type": "input_audio", "input_audio": {"data": "", "format": "wav"}}), "type"),
            (json!({"type": "video_url", "video_url": {"url": "https://x/y"}}), "type"),
            (json!({"type": "document_url", "document_url": "https://x/y"}), "type"),
            (json!({"type": "file", "file": {"file_id": "file-1"}}), "file.file_id"),
            (json!({"type": "file", "file": {"file_data": "data:", "file_id": "file-1"}}), "file.file_id"),
            (json!({"type": "file", "file": {"file_url": "https://x"}}), "file.file_url"),
            (json!({"type": "file", "file": "file-1"}), "file"),
            (json!({"type": "file", "file_id": "file-1"}), "file_id"),
            (json!({"type": "image_url", "image_url": {"file_id": "file-1"}}), "image_url.file_id"),
            (json!({"type": "image_url", "image_url": {"url": "data:application/pdf;base64,xx"}}), "image_url.url"),
            (json!({"type": "image_url", "image_url": "file-1"}), "image_url.url"),
            (json!({"type": "text", "text": "x", "input_audio": {}}), "input_audio"),
            (
                json!({"type": "text", "text": "x", "prompt_cache_breakpoint": {"ttl": "9h"}}),
                "prompt_cache_breakpoint.ttl",
            ),
        ] {
            assert_eq!(part(bad.clone()).unwrap_err().field, format!("messages[1].content[1].{field}"), "{bad}");
        }
    }

    #[test]
    fn what_has_a_price_passes() {
        for (good, terms) in [
            (json!({"type": "text", "text": "y", "audio": null}), Terms::default()),
            (
                json!({"type": "image_url", "image_url": {"url": "data:image/png;base64,xx", "detail": "low"}}),
                Terms::default(),
            ),
            (json!({"type": "image_url", "image_url": {"url": "HTTPS://x/y.png"}}), Terms::default()),
            (
                json!({"type": "file", "file": {"file_data": "data:application/pdf;base64,xx", "filename": "a.pdf"}}),
                Terms { is_uncountable: true, ..Terms::default() },
            ),
            (
                json!({"type": "text", "text": "y", "prompt_cache_breakpoint": {"mode": "explicit", "ttl": "12h"}}),
                Terms { keeps_long: true, ..Terms::default() },
            ),
        ] {
            assert_eq!(part(good.clone()), Ok(terms), "{good}");
        }
        let tool = json!({"type": "function", "function": {"name": "f", "parameters": {}, "strict": true}});
        let all = json!({"tools": [tool, {"type": "custom", "custom": {"name": "c"}}], "tool_choice": "auto", "n": 2,
            "response_format": {"type": "json_schema", "json_schema": {}}, "reasoning_effort": "low", "verbosity": "low",
            "logit_bias": {"1": 2}, "store": true, "metadata": {"a": "b"}, "modalities": ["text"], "audio": null,
            "web_search_options": null, "max_tokens": 5, "max_completion_tokens": 6, "service_tier": "auto", "user": "u",
            "stream": true, "stream_options": {"include_usage": true, "include_obfuscation": false}});
        assert_eq!(of(Api::Chat, &all), Ok(Terms::default()));
        let call = json!({"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}});
        let said = json!({"role": "assistant", "content": null, "tool_calls": [call], "refusal": null, "audio": null,
            "reasoning_content": "hm", "annotations": []});
        assert_eq!(of(Api::Chat, &json!({"messages": [said]})), Ok(Terms::default()));
        let completion = json!({"suffix": "y", "echo": true, "best_of": 3, "logprobs": 2, "stop": ["x"], "seed": 1});
        assert_eq!(of(Api::Completions, &completion), Ok(Terms::default()));
    }
}
