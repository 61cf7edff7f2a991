//! Refuses by name what a request asks for that has no price, and finds what its price depends on.

use serde_json::{Map, Value};

use super::{Does, PARTS, find};
use crate::{
    fields::{BadRequest, Fields},
    inference::{Message, Prompt, TextRequest},
};

/// What a request's price depends on, beside its counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Terms {
    /// A part of the prompt can't be counted here: it may be all that the model reads.
    pub is_uncountable: bool,
    /// The provider is asked to keep what it writes to its cache for longer than usual.
    pub keeps_long: bool,
}

/// Fields of a message beside its role and content. All are counted with the prompt but `audio`, which is refused.
const OF_MESSAGE: [&str; 18] = [
    "name",
    "id",
    "parsed",
    "tool_calls",
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
    "provider_specific_fields",
    "cache_control",
];
/// Marks that any part or tool may have.
const MARKS: [&str; 2] = ["prompt_cache_breakpoint", "cache_control"];
/// How long a cache may be asked to be kept: the usual times and the longer ones.
const USUAL: [&str; 2] = ["30m", "5m"];
const LONG: [&str; 2] = ["12h", "1h"];
/// How much of a name that is not known is said again.
const LONGEST_NAME: usize = 100;

/// What a request's price depends on; an error names what can't be priced.
pub fn terms(request: &TextRequest) -> Result<Terms, BadRequest> {
    let body = &request.body;
    let mut terms = Terms::default();
    for name in body.names().filter(|name| body.present(name).is_some()) {
        match find(request.task, name).map(|field| (field.does, field.note)) {
            None => return Err(unknown(name)),
            Some((Does::Refused, note)) => return Err(unpriced(name, note)),
            Some((Does::Nothing | Does::Prompt | Does::Output | Does::Price, _)) => {}
        }
    }
    let kinds: Option<Vec<String>> = body.read("modalities", "an array of strings")?;
    if kinds.is_some_and(|kinds| kinds.iter().any(|kind| kind != "text")) {
        return Err(unpriced("modalities", "text alone has a price"));
    }
    if let Some(options) = body.object("stream_options", "an object")? {
        let known = ["include_usage", "include_obfuscation", "continuous_usage_stats"];
        known_only(options.names(), &known, "stream_options")?;
    }
    if let Some(options) = body.object("prompt_cache_options", "an object")? {
        known_only(options.names(), &["mode", "ttl"], "prompt_cache_options")?;
        terms.keeps_long |= kept(options.string("ttl")?.as_deref(), "prompt_cache_options.ttl")?;
    }
    tools(body, &mut terms)?;
    if let Prompt::Messages(messages) = &request.prompt {
        for (place, message) in messages.iter().enumerate() {
            of_message(message, &format!("messages[{place}]"), &mut terms)?;
        }
    }
    Ok(terms)
}

fn unknown(name: &str) -> BadRequest {
    let name: String = name.chars().take(LONGEST_NAME).collect();
    BadRequest::new(name, "is not known here, and what it costs neither; with your own provider-key it passes")
}

fn unpriced(field: impl Into<String>, note: &str) -> BadRequest {
    let why = if note.is_empty() { String::new() } else { format!(" ({note})") };
    BadRequest::new(field, format!("has no price here{why}; with your own provider-key it passes"))
}

fn known_only<'a>(names: impl IntoIterator<Item = &'a str>, known: &[&str], at: &str) -> Result<(), BadRequest> {
    match names.into_iter().find(|name| !known.contains(name)) {
        Some(name) => Err(unknown(&format!("{at}.{name}"))),
        None => Ok(()),
    }
}

/// Members of an object that are not null.
fn present(object: &Map<String, Value>) -> impl Iterator<Item = &str> {
    object.iter().filter(|(_, value)| !value.is_null()).map(|(name, _)| name.as_str())
}

/// Whether a time is one of the longer ones.
fn kept(time: Option<&str>, at: &str) -> Result<bool, BadRequest> {
    match time {
        None => Ok(false),
        Some(time) if USUAL.contains(&time) => Ok(false),
        Some(time) if LONG.contains(&time) => Ok(true),
        Some(_) => Err(unpriced(at, "a cache may be kept for 30m or 12h")),
    }
}

/// Marks on a part or a tool of what the provider is to keep.
fn marks(object: &Map<String, Value>, at: &str, terms: &mut Terms) -> Result<(), BadRequest> {
    for mark in MARKS {
        let time = match object.get(mark) {
            None | Some(Value::Null) => continue,
            Some(Value::Object(mark)) => mark.get("ttl").filter(|time| !time.is_null()),
            Some(_) => return Err(BadRequest::new(format!("{at}.{mark}"), "must be an object")),
        };
        let at = format!("{at}.{mark}.ttl");
        let time =
            time.map(|time| time.as_str().ok_or_else(|| BadRequest::new(&*at, "must be a string"))).transpose()?;
        terms.keeps_long |= kept(time, &at)?;
    }
    Ok(())
}

/// Tools that the client runs itself are read with the prompt. Others the provider runs, and takes a fee for.
fn tools(body: &Fields, terms: &mut Terms) -> Result<(), BadRequest> {
    let list: Vec<Value> = body.read("tools", "an array")?.unwrap_or_default();
    for (place, tool) in list.iter().enumerate() {
        let at = format!("tools[{place}]");
        let Value::Object(tool) = tool else { return Err(BadRequest::new(at, "must be an object")) };
        match tool.get("type").and_then(Value::as_str) {
            Some("function" | "custom") => {}
            _ => return Err(unpriced(format!("{at}.type"), "function and custom have")),
        }
        known_only(present(tool), &["type", "function", "custom", "strict", MARKS[0], MARKS[1]], &at)?;
        marks(tool, &at, terms)?;
    }
    Ok(())
}

fn of_message(message: &Message, at: &str, terms: &mut Terms) -> Result<(), BadRequest> {
    for name in present(&message.rest) {
        match name {
            "audio" => return Err(unpriced(format!("{at}.audio"), "what was spoken can't be counted here")),
            name if OF_MESSAGE.contains(&name) => {}
            name => return Err(unknown(&format!("{at}.{name}"))),
        }
    }
    marks(&message.rest, at, terms)?;
    for (place, part) in message.content.as_array().into_iter().flatten().enumerate() {
        of_part(part, &format!("{at}.content[{place}]"), terms)?;
    }
    Ok(())
}

fn of_part(part: &Value, at: &str, terms: &mut Terms) -> Result<(), BadRequest> {
    let Value::Object(part) = part else { return Err(BadRequest::new(at, "must be an object")) };
    let kind = part.get("type").and_then(Value::as_str).unwrap_or_default();
    let known = PARTS.iter().find(|(name, does, _)| *name == kind && *does != Does::Refused);
    if known.is_none() {
        return Err(unpriced(format!("{at}.type"), "text, image_url and file have"));
    }
    let own: &[&str] = match kind {
        "text" => &["type", "text", "annotations", "id", "index", MARKS[0], MARKS[1]],
        "thinking" => &["type", "thinking", "text", "signature", "closed", MARKS[0], MARKS[1]],
        kind => &["type", kind, MARKS[0], MARKS[1]],
    };
    known_only(present(part), own, at)?;
    marks(part, at, terms)?;
    match kind {
        "image_url" => image(&part[kind], &format!("{at}.image_url")),
        "file" => {
            terms.is_uncountable = true;
            file(&part[kind], &format!("{at}.file"))
        }
        _ => Ok(()),
    }
}

/// An image, in itself or by its address. What else may stand in an address is a file of another kind, or one of the
/// gateway's own at the provider.
fn image(image: &Value, at: &str) -> Result<(), BadRequest> {
    let address = match image {
        Value::String(address) => address,
        Value::Object(image) => {
            known_only(present(image), &["url", "detail", "format"], at)?;
            image
                .get("url")
                .and_then(Value::as_str)
                .ok_or_else(|| BadRequest::new(format!("{at}.url"), "must be a string"))?
        }
        _ => return Err(BadRequest::new(at, "must be an object")),
    };
    let begins = |with: &str| address.get(..with.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(with));
    if ["https://", "http://", "data:image/"].into_iter().any(begins) {
        return Ok(());
    }
    Err(unpriced(format!("{at}.url"), "an image is at an https address, or in a data: address of an image"))
}

/// A file in the request itself. One that is named by its id is the gateway's own, uploaded by whomever.
fn file(file: &Value, at: &str) -> Result<(), BadRequest> {
    let Value::Object(file) = file else { return Err(BadRequest::new(at, "must be an object")) };
    // Even as null: it may stand there twice, and be read otherwise elsewhere.
    if file.contains_key("file_id") {
        return Err(BadRequest::new(
            format!("{at}.file_id"),
            "files kept at the provider are not yours to read; send file_data",
        ));
    }
    known_only(present(file), &["file_data", "filename"], at)?;
    match file.get("file_data") {
        Some(Value::String(_)) => Ok(()),
        _ => Err(BadRequest::new(format!("{at}.file_data"), "must be a string")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{format::openai::parse_request, inference::Task};

    fn of(task: Task, more: &Value) -> Result<Terms, BadRequest> {
        let mut body = match task {
            Task::Chat => json!({"model": "m", "messages": [{"role": "user", "content": "x"}]}),
            Task::Completion => json!({"model": "m", "prompt": "x"}),
        };
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        terms(&parse_request(task, body.to_string().as_bytes()).unwrap())
    }

    #[expect(clippy::needless_pass_by_value, reason = "it is made where it is asked about")]
    fn part(part: Value) -> Result<Terms, BadRequest> {
        let tool = json!({"role": "tool", "tool_call_id": "a", "content": [{"type": "text", "text": "x"}, part]});
        of(Task::Chat, &json!({"messages": [{"role": "user", "content": "x"}, tool]}))
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
            assert_eq!(of(Task::Chat, &more).unwrap_err().field, field, "{more}");
        }
        for name in ["tools", "messages", "max_completion_tokens", "new"] {
            assert_eq!(of(Task::Completion, &json!({name: 5})).unwrap_err().field, name);
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
        assert_eq!(of(Task::Chat, &all), Ok(Terms::default()));
        let call = json!({"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}});
        let said = json!({"role": "assistant", "content": null, "tool_calls": [call], "refusal": null, "audio": null,
            "reasoning_content": "hm", "annotations": []});
        assert_eq!(of(Task::Chat, &json!({"messages": [said]})), Ok(Terms::default()));
        let completion = json!({"suffix": "y", "echo": true, "best_of": 3, "logprobs": 2, "stop": ["x"], "seed": 1});
        assert_eq!(of(Task::Completion, &completion), Ok(Terms::default()));
    }
}
