//! The fields of a chat completion's request besides its messages: tools, the tool choice, the form of the answer. A
//! value of an unknown shape is noted as unread.

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::{
    messages::{MARKS, member, members, note, read_as, read_mark, read_text},
    request,
};
use crate::{
    fields::{Fields, Pairs},
    inference::{CacheMark, Conversation, OutputFormat, Tool, ToolChoice, ToolKind, Unread},
};

/// A conversation without its messages.
pub(super) fn read(body: &Fields, unread: &mut Vec<Unread>) -> Conversation {
    let named = |name: &str| body.present(name).map(|json| (name.to_owned(), json));
    let mut tools = Vec::new();
    if let Some((at, json)) = named("tools") {
        read_list(json, &at, unread, |json, at, unread| tools.extend(read_tool(json, at, unread)));
    }
    if let Some((at, json)) = named("functions") {
        read_list(json, &at, unread, |json, at, unread| match read_function(json, at, unread) {
            Some(tool) => tools.push(tool),
            None => note(unread, at.to_owned(), json),
        });
    }
    let mut tool_choice = None;
    for (at, json) in ["function_call", "tool_choice"].into_iter().filter_map(named) {
        match read_choice(json) {
            Some(choice) => tool_choice = Some(choice),
            None => note(unread, at, json),
        }
    }
    let parallel_tool_calls = body.boolean("parallel_tool_calls").ok().flatten();
    let output = named("response_format").and_then(|(at, json)| {
        let format = read_format(json);
        if format.is_none() {
            note(unread, at, json);
        }
        format
    });
    Conversation {
        tools,
        tool_choice,
        parallel_tool_calls,
        output: output.unwrap_or_default(),
        reasoning: request::reasoning(body),
        ..Conversation::default()
    }
}

/// Reads each entry of a list with its place.
pub(in crate::format) fn read_list(
    json: &str,
    at: &str,
    unread: &mut Vec<Unread>,
    mut each: impl FnMut(&str, &str, &mut Vec<Unread>),
) {
    let Some(list) = read_as::<Vec<&RawValue>>(json) else { return note(unread, at.to_owned(), json) };
    for (place, entry) in list.into_iter().enumerate() {
        each(entry.get(), &format!("{at}[{place}]"), unread);
    }
}

fn text(object: &Pairs<'_>, name: &str) -> Option<String> {
    object.get(name).and_then(read_text)
}

/// A tool that the client runs. Of a tool that a provider runs, the type is unread.
fn read_tool(json: &str, at: &str, unread: &mut Vec<Unread>) -> Option<Tool> {
    let Ok(Some(members)) = members(json, at) else {
        note(unread, at.to_owned(), json);
        return None;
    };
    let kind: String = member(&members, "type").and_then(read_text).unwrap_or_default();
    let mut tool = match (&*kind, member(&members, &kind)) {
        ("function", Some(function)) => read_function(function, &format!("{at}.function"), unread),
        ("custom", Some(custom)) => read_custom(custom),
        ("function" | "custom", None) => None,
        _ => {
            note(unread, format!("{at}.type"), member(&members, "type").unwrap_or(json));
            None
        }
    };
    for (name, value) in members.iter().filter(|(_, value)| *value != "null") {
        match &**name {
            "type" => {}
            "function" | "custom" if tool.is_some() && *name == kind => {}
            "cache_control" | "prompt_cache_breakpoint" => {
                let mark = read_mark(value, &format!("{at}.{name}"), unread);
                if let Some(tool) = &mut tool {
                    tool.cache = CacheMark::longer(tool.cache, mark);
                }
            }
            "strict" if tool.is_some() => {}
            _ => note(unread, format!("{at}.{name}"), value),
        }
    }
    tool
}

/// A function, and the mark that some clients write within it.
fn read_function(json: &str, at: &str, unread: &mut Vec<Unread>) -> Option<Tool> {
    let pairs = Pairs::of(json)?;
    let marks = MARKS.iter().filter_map(|name| Some((name, pairs.get(name).filter(|json| *json != "null")?)));
    let marks: Vec<_> = marks.map(|(name, json)| read_mark(json, &format!("{at}.{name}"), unread)).collect();
    Some(Tool {
        name: text(&pairs, "name")?,
        description: text(&pairs, "description"),
        parameters: pairs.get("parameters").filter(|json| *json != "null").map(str::to_owned),
        strict: pairs.get("strict").and_then(read_as),
        kind: ToolKind::Function,
        cache: marks.into_iter().fold(None, CacheMark::longer),
    })
}

fn read_custom(json: &str) -> Option<Tool> {
    let pairs = Pairs::of(json)?;
    let parameters = pairs.get("format").filter(|json| *json != "null").map(str::to_owned);
    let (name, description) = (text(&pairs, "name")?, text(&pairs, "description"));
    Some(Tool { name, description, parameters, kind: ToolKind::Custom, ..Tool::default() })
}

/// A choice as a word, or as an object that names a tool.
fn read_choice(json: &str) -> Option<ToolChoice> {
    if let Some(word) = read_as::<Cow<'_, str>>(json) {
        return match &*word {
            "none" => Some(ToolChoice::None),
            "auto" => Some(ToolChoice::Auto),
            "required" | "any" => Some(ToolChoice::Required),
            _ => None,
        };
    }
    let pairs = Pairs::of(json)?;
    let named = ["function", "custom"].into_iter().find_map(|kind| pairs.get(kind)).and_then(Pairs::of);
    let name = text(named.as_ref().unwrap_or(&pairs), "name")?;
    Some(ToolChoice::Named(name))
}

fn read_format(json: &str) -> Option<OutputFormat> {
    let pairs = Pairs::of(json)?;
    match &*text(&pairs, "type")? {
        "text" => Some(OutputFormat::Text),
        "json_object" => Some(OutputFormat::JsonObject),
        "json_schema" => {
            let wanted = Pairs::of(pairs.get("json_schema")?)?;
            Some(OutputFormat::JsonSchema {
                name: text(&wanted, "name"),
                description: text(&wanted, "description"),
                schema: wanted.get("schema")?.to_owned(),
                strict: wanted.get("strict").and_then(read_as),
            })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(fields: &str) -> (Conversation, Vec<String>) {
        let mut unread = Vec::new();
        let conversation = read(&Fields::parse(format!("{{{fields}}}").as_bytes()).unwrap(), &mut unread);
        (conversation, unread.into_iter().map(|unread| unread.at).collect())
    }

    #[test]
    fn tools_and_the_form_of_the_answer_are_read() {
        let (conversation, unread) = of(
            r#""tools":[{"type":"function","function":{"name":"f","description":"d","parameters":{"type" : "object"},"strict":true}},
                {"type":"custom","custom":{"name":"c"},"cache_control":{"type":"ephemeral"}}],
              "tool_choice":{"type":"function","function":{"name":"f"}},"parallel_tool_calls":false,"reasoning_effort":"low",
              "response_format":{"type":"json_schema","json_schema":{"name":"n","schema":{"a" :1},"strict":true}}"#,
        );
        assert_eq!(unread, Vec::<String>::new());
        let [function, custom] = &conversation.tools[..] else { panic!("{conversation:?}") };
        assert_eq!((&*function.name, function.parameters.as_deref()), ("f", Some(r#"{"type" : "object"}"#)));
        assert_eq!((&*custom.name, custom.kind, custom.cache.is_some()), ("c", ToolKind::Custom, true));
        assert_eq!(conversation.tool_choice, Some(ToolChoice::Named("f".into())));
        assert_eq!(
            (conversation.parallel_tool_calls, conversation.reasoning.effort.as_deref()),
            (Some(false), Some("low"))
        );
        let OutputFormat::JsonSchema { schema, .. } = conversation.output else { panic!() };
        assert_eq!(schema, r#"{"a" :1}"#);
    }

    #[test]
    fn tools_of_a_providers_own_and_odd_shapes_are_told() {
        for (fields, told) in [
            (r#""tools":[{"type":"web_search"}]"#, &["tools[0].type"][..]),
            (r#""tools":[{"googleSearch":{}}]"#, &["tools[0].type", "tools[0].googleSearch"]),
            (r#""tools":[{"type":"function","function":{"name":"f"},"web_search":{}}]"#, &["tools[0].web_search"]),
            (r#""tools":{"type":"function"}"#, &["tools"]),
            (r#""tools":[7]"#, &["tools[0]"]),
            (r#""tools":[{"type":"function","function":{}}]"#, &["tools[0].function"]),
            (r#""functions":[{}]"#, &["functions[0]"]),
            (r#""tool_choice":"sometimes""#, &["tool_choice"]),
            (r#""response_format":{"type":"grammar"}"#, &["response_format"]),
        ] {
            assert_eq!(of(fields).1, told, "{fields}");
        }
        let members: Vec<_> = (0..100).map(|place| format!(r#""m{place}":1"#)).collect();
        assert_eq!(of(&format!(r#""tools":[{{{}}}]"#, members.join(","))).1, ["tools[0]"], "too many to be searched");
        assert_eq!(
            of(r#""functions":[{"name":"f"}],"function_call":{"name":"f"}"#).0.tool_choice,
            Some(ToolChoice::Named("f".into()))
        );
    }
}
