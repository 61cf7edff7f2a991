//! What open models can't do: their engines read and write text. A request for more is refused before anything is held,
//! rather than answered and billed as if it had not been asked.

use serde::Deserialize;
use serde_json::Value;
use wire::inference::{Prompt, TextRequest};

use super::quote::BadQuote;

fn unable(field: &'static str, message: impl Into<String>) -> BadQuote {
    BadQuote { field, message: message.into() }
}

/// Refuses what an open model would ignore.
pub(super) fn check_open(request: &TextRequest) -> Result<(), BadQuote> {
    content(request)?;
    tools(request, "tools", "tool_choice")?;
    tools(request, "functions", "function_call")?;
    let kind = value::<Value>(request, "response_format")?;
    if kind.is_some_and(|format| format["type"] != "text") {
        return Err(unable("response_format", "open models write plain text only: type must be text"));
    }
    if value::<Vec<String>>(request, "modalities")?.is_some_and(|kinds| kinds.iter().any(|kind| kind != "text")) {
        return Err(unable("modalities", "open models write text only"));
    }
    if request.body.present("web_search_options").is_some() {
        return Err(unable("web_search_options", "open models search nothing"));
    }
    if value::<String>(request, "suffix")?.is_some_and(|suffix| !suffix.is_empty()) {
        return Err(unable("suffix", "open models continue a prompt and end where they like"));
    }
    if request.answers() > request.n {
        return Err(unable("best_of", "open models return every answer they write: best_of must be n"));
    }
    Ok(())
}

fn value<'a, T: Deserialize<'a>>(request: &'a TextRequest, field: &'static str) -> Result<Option<T>, BadQuote> {
    let value = request.body.present(field).map(serde_json::from_str);
    value.transpose().map_err(|error| unable(field, error.to_string()))
}

/// Parts of messages that are not text.
fn content(request: &TextRequest) -> Result<(), BadQuote> {
    let Prompt::Messages(messages) = &request.prompt else { return Ok(()) };
    for (place, message) in messages.iter().enumerate() {
        let parts = message.content.as_array().map_or(&[][..], Vec::as_slice);
        let other =
            parts.iter().filter_map(|part| part["type"].as_str()).find(|kind| !["text", "refusal"].contains(kind));
        if let Some(kind) = other {
            let kind: String = kind.chars().take(100).collect();
            return Err(unable(
                "messages",
                format!("messages[{place}].content has a part of type {kind}; open models read text only"),
            ));
        }
    }
    Ok(())
}

/// Tools, unless none may be called, and a choice that says one must be.
fn tools(request: &TextRequest, tools: &'static str, choice: &'static str) -> Result<(), BadQuote> {
    let may_call = match value::<Value>(request, choice)? {
        None => true,
        Some(Value::String(word)) if word == "auto" => true,
        Some(Value::String(word)) if word == "none" => false,
        Some(_) => return Err(unable(choice, "open models call no tools: it must be none or auto")),
    };
    if may_call && value::<Vec<Value>>(request, tools)?.is_some_and(|tools| !tools.is_empty()) {
        return Err(unable(
            tools,
            format!("open models call no tools; {choice} may be none to send them all the same"),
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use wire::{inference::Task, openai};

    use super::*;

    fn check(task: Task, fields: &str) -> Result<(), BadQuote> {
        let prompt = r#""prompt":"x","messages":[{"role":"user","content":"x"}]"#;
        check_open(&openai::parse_request(task, format!(r#"{{"model":"m",{prompt}{fields}}}"#).as_bytes()).unwrap())
    }

    #[test]
    fn what_would_be_ignored_is_refused_by_name() {
        let tool = r#"[{"type":"function","function":{"name":"f"}}]"#;
        let content =
            |part: &str| format!(r#","messages":[{{"role":"user","content":[{{"type":"text","text":"x"}},{part}]}}]"#);
        for (fields, field) in [
            (r#","response_format":{"type":"json_object"}"#.to_owned(), "response_format"),
            (r#","response_format":{"type":"json_schema","json_schema":{}}"#.to_owned(), "response_format"),
            (format!(r#","tools":{tool}"#), "tools"),
            (format!(r#","tools":{tool},"tool_choice":"auto""#), "tools"),
            (format!(r#","tools":{tool},"tool_choice":"required""#), "tool_choice"),
            (r#","tool_choice":{"type":"function","function":{"name":"f"}}"#.to_owned(), "tool_choice"),
            (r#","functions":[{"name":"f"}]"#.to_owned(), "functions"),
            (r#","functions":[{"name":"f"}],"function_call":{"name":"f"}"#.to_owned(), "function_call"),
            (r#","modalities":["text","audio"]"#.to_owned(), "modalities"),
            (r#","modalities":"audio""#.to_owned(), "modalities"),
            (r#","web_search_options":{}"#.to_owned(), "web_search_options"),
            (content(r#"{"type":"image_url","image_url":{"url":"https://x/y.png"}}"#), "messages"),
            (content(r#"{"type":"input_audio","input_audio":{"data":"","format":"wav"}}"#), "messages"),
            (content(r#"{"type":"file","file":{}}"#), "messages"),
        ] {
            assert_eq!(check(Task::Chat, &fields).unwrap_err().field, field, "{fields}");
        }
        for (fields, field) in [(r#","suffix":"end""#, "suffix"), (r#","best_of":2"#, "best_of")] {
            assert_eq!(check(Task::Completion, fields).unwrap_err().field, field, "{fields}");
        }
    }

    #[test]
    fn what_asks_for_nothing_more_than_text_runs() {
        let tool = r#"[{"type":"function","function":{"name":"f"}}]"#;
        for fields in [
            String::new(),
            r#","response_format":{"type":"text"},"modalities":["text"],"tools":[],"functions":null"#.to_owned(),
            r#","tool_choice":"auto","function_call":"auto","response_format":null,"suffix":null"#.to_owned(),
            format!(r#","tools":{tool},"tool_choice":"none""#),
            r#","functions":[{"name":"f"}],"function_call":"none""#.to_owned(),
            r#","messages":[{"role":"assistant","content":[{"type":"refusal","refusal":"no"},{"type":"text","text":"x"}]}]"#.to_owned(),
        ] {
            assert_eq!(check(Task::Chat, &fields), Ok(()), "{fields}");
        }
        assert_eq!(check(Task::Completion, r#","n":2,"best_of":2,"suffix":"""#), Ok(()));
    }
}
