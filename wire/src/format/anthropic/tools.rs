//! The fields of a request besides its messages: tools, the tool choice, the form of the answer, the reasoning. A value
//! of an unknown shape is noted as unread.

use serde_json::value::RawValue;

use crate::{
    fields::{Fields, Pairs},
    format::openai::reading::{member, members, note, read_as, read_mark, read_text},
    inference::{Conversation, OutputFormat, ReasoningWanted, Tool, ToolChoice, ToolKind, Unread},
};

/// Members of a tool that are read.
const OF_TOOL: [&str; 5] = ["type", "name", "description", "input_schema", "strict"];

/// A conversation without its messages.
pub(super) fn read(body: &Fields, unread: &mut Vec<Unread>) -> Conversation {
    let mut conversation = Conversation::default();
    if let Some(json) = body.present("tools") {
        match read_as::<Vec<&RawValue>>(json) {
            Some(list) => {
                let each = list.iter().enumerate();
                let tools = each.filter_map(|(place, json)| read_tool(json.get(), &format!("tools[{place}]"), unread));
                conversation.tools = tools.collect();
            }
            None => note(unread, "tools".to_owned(), json),
        }
    }
    if let Some(json) = body.present("tool_choice") {
        match read_choice(json) {
            Some((choice, parallel)) => {
                (conversation.tool_choice, conversation.parallel_tool_calls) = (Some(choice), parallel);
            }
            None => note(unread, "tool_choice".to_owned(), json),
        }
    }
    if let Some(json) = body.present("output_config") {
        read_output(json, &mut conversation, unread);
    }
    if let Some(json) = body.present("thinking") {
        match read_thinking(json) {
            Ok(tokens) => conversation.reasoning.max_tokens = tokens,
            Err(()) => note(unread, "thinking".to_owned(), json),
        }
    }
    conversation
}

/// A tool that the client runs by its schema. Of any other the type is unread.
fn read_tool(json: &str, at: &str, unread: &mut Vec<Unread>) -> Option<Tool> {
    let Ok(Some(members)) = members(json, at) else {
        note(unread, at.to_owned(), json);
        return None;
    };
    let text = |name: &str| member(&members, name).and_then(read_text);
    let is_own = text("type").is_none_or(|kind| kind == "custom");
    let mut tool = text("name").filter(|_| is_own).map(|name| Tool {
        name,
        description: text("description"),
        parameters: member(&members, "input_schema").map(str::to_owned),
        strict: member(&members, "strict").and_then(read_as),
        kind: ToolKind::Function,
        cache: None,
    });
    if tool.is_none() {
        note(unread, format!("{at}.type"), member(&members, "type").unwrap_or(json));
    }
    for (name, value) in members.iter().filter(|(_, value)| *value != "null") {
        match (&**name, &mut tool) {
            ("cache_control", tool) => {
                let mark = read_mark(value, &format!("{at}.{name}"), unread);
                if let Some(tool) = tool {
                    tool.cache = mark;
                }
            }
            (name, Some(_)) if OF_TOOL.contains(&name) => {}
            ("type", None) => {}
            (name, _) => note(unread, format!("{at}.{name}"), value),
        }
    }
    tool
}

/// A choice, and whether several tools may be called at once.
fn read_choice(json: &str) -> Option<(ToolChoice, Option<bool>)> {
    let pairs = Pairs::of(json)?;
    let text = |name: &str| pairs.get(name).and_then(read_text);
    let choice = match &*text("type")? {
        "auto" => ToolChoice::Auto,
        "any" => ToolChoice::Required,
        "none" => ToolChoice::None,
        "tool" => ToolChoice::Named(text("name")?),
        _ => return None,
    };
    let single: Option<bool> = pairs.get("disable_parallel_tool_use").and_then(read_as);
    Some((choice, single.map(|single| !single)))
}

fn read_output(json: &str, conversation: &mut Conversation, unread: &mut Vec<Unread>) {
    let Some(pairs) = Pairs::of(json) else { return note(unread, "output_config".to_owned(), json) };
    for (name, value) in pairs.each().filter(|(_, value)| *value != "null") {
        let is_read = match &*name {
            "effort" => {
                let effort = read_text(value);
                let is_read = effort.is_some();
                conversation.reasoning = ReasoningWanted { effort, ..conversation.reasoning };
                is_read
            }
            "format" => {
                let format = read_format(value);
                let is_read = format.is_some();
                conversation.output = format.unwrap_or_default();
                is_read
            }
            _ => false,
        };
        if !is_read {
            note(unread, format!("output_config.{name}"), value);
        }
    }
}

fn read_format(json: &str) -> Option<OutputFormat> {
    let pairs = Pairs::of(json)?;
    let is_schema = pairs.get("type").and_then(read_text).as_deref() == Some("json_schema");
    let schema = pairs.get("schema").filter(|_| is_schema)?.to_owned();
    Some(OutputFormat::JsonSchema { name: None, description: None, schema, strict: None })
}

/// The most tokens of reasoning; `None` where the model decides.
fn read_thinking(json: &str) -> Result<Option<u32>, ()> {
    let pairs = Pairs::of(json).ok_or(())?;
    match &*pairs.get("type").and_then(read_text).ok_or(())? {
        "enabled" => pairs.get("budget_tokens").and_then(read_as).map(Some).ok_or(()),
        "disabled" => Ok(Some(0)),
        "adaptive" => Ok(None),
        _ => Err(()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn of(body: &Value) -> (Conversation, Vec<String>) {
        let mut unread = Vec::new();
        let conversation = read(&Fields::parse(body.to_string().as_bytes()).unwrap(), &mut unread);
        (conversation, unread.into_iter().map(|unread| unread.at).collect())
    }

    #[test]
    fn tools_and_the_form_of_the_answer_are_read() {
        let (conversation, unread) = of(&json!({
            "tools": [{"name": "f", "description": "d", "input_schema": {"type": "object"}, "strict": true},
                {"type": "custom", "name": "g", "input_schema": {}, "cache_control": {"type": "ephemeral"}}],
            "tool_choice": {"type": "tool", "name": "f", "disable_parallel_tool_use": true},
            "output_config": {"effort": "low", "format": {"type": "json_schema", "schema": {"a": 1}}},
            "thinking": {"type": "enabled", "budget_tokens": 2000},
        }));
        assert_eq!(unread, Vec::<String>::new());
        let [f, g] = &conversation.tools[..] else { panic!("{conversation:?}") };
        assert_eq!((&*f.name, f.parameters.as_deref(), f.strict), ("f", Some(r#"{"type":"object"}"#), Some(true)));
        assert!(g.cache.is_some());
        assert_eq!(conversation.tool_choice, Some(ToolChoice::Named("f".into())));
        assert_eq!(conversation.parallel_tool_calls, Some(false));
        let reasoning = ReasoningWanted { effort: Some("low".into()), max_tokens: Some(2_000) };
        assert_eq!(conversation.reasoning, reasoning);
        assert!(matches!(conversation.output, OutputFormat::JsonSchema { .. }));
    }

    #[test]
    fn tools_of_the_providers_own_and_odd_shapes_are_told() {
        for (body, told) in [
            (
                json!({"tools": [{"type": "web_search_20260318", "name": "web_search", "max_uses": 8}]}),
                &["tools[0].type", "tools[0].name", "tools[0].max_uses"][..],
            ),
            (json!({"tools": [{"name": "f", "defer_loading": true}]}), &["tools[0].defer_loading"]),
            (json!({"tools": [7]}), &["tools[0]"]),
            (json!({"tools": {}}), &["tools"]),
            (json!({"tool_choice": "auto"}), &["tool_choice"]),
            (json!({"output_config": {"effort": 7, "x": 1}}), &["output_config.effort", "output_config.x"]),
            (json!({"thinking": {"type": "between_tools"}}), &["thinking"]),
        ] {
            assert_eq!(of(&body).1, told, "{body}");
        }
        assert_eq!(of(&json!({"thinking": {"type": "adaptive"}})).0.reasoning, ReasoningWanted::default());
    }
}
