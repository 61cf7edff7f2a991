//! The fields of a chat besides its messages: tools, the tool choice, the form of the answer, the reasoning. A value of an
//! unknown shape is noted as unread.

use crate::{
    fields::{BadRequest, Fields, Pairs},
    format::openai::reading::{member, members, note, note_others, read_as, read_list, read_text},
    inference::{Conversation, OutputFormat, ReasoningWanted, Tool, ToolChoice, ToolKind, Unread},
};

/// A conversation without its messages.
pub(super) fn read(body: &Fields, unread: &mut Vec<Unread>) -> Result<Conversation, BadRequest> {
    let strict = body.boolean("strict_tools")?;
    let mut tools = Vec::new();
    if let Some(json) = body.present("tools") {
        read_list(json, "tools", unread, |json, at, unread| {
            tools.extend(read_tool(json, at, unread).map(|tool| Tool { strict, ..tool }));
        });
    }
    // What can't be read is unread, and stands for nothing.
    let mut of = |name: &str, is_read: bool| {
        if let Some(json) = body.present(name).filter(|_| !is_read) {
            note(unread, name.to_owned(), json);
        }
    };
    let tool_choice = body.present("tool_choice").and_then(read_choice);
    of("tool_choice", tool_choice.is_some());
    let output = body.present("response_format").and_then(read_format);
    of("response_format", output.is_some());
    let thinking = body.present("thinking").and_then(read_thinking);
    of("thinking", thinking.is_some());
    let output = output.unwrap_or_default();
    Ok(Conversation { tools, tool_choice, output, reasoning: thinking.unwrap_or_default(), ..Conversation::default() })
}

/// A function that the client runs. Of any other tool the type is unread.
fn read_tool(json: &str, at: &str, unread: &mut Vec<Unread>) -> Option<Tool> {
    let Ok(Some(tool)) = members(json, at) else {
        note(unread, at.to_owned(), json);
        return None;
    };
    let is_function = member(&tool, "type").and_then(read_text).as_deref() == Some("function");
    let at_function = format!("{at}.function");
    let function = member(&tool, "function").filter(|_| is_function);
    let function = function.and_then(|function| members(function, &at_function).ok().flatten());
    let text = |name: &str| function.as_deref().and_then(|function| member(function, name)).and_then(read_text);
    let Some((function, name)) = function.as_deref().zip(text("name")) else {
        note(unread, format!("{at}.type"), member(&tool, "type").unwrap_or(json));
        return None;
    };
    note_others(&tool, &["type", "function"], at, unread);
    note_others(function, &["name", "description", "parameters"], &at_function, unread);
    let parameters = member(function, "parameters").map(str::to_owned);
    Some(Tool { name, description: text("description"), parameters, kind: ToolKind::Function, ..Tool::default() })
}

fn read_choice(json: &str) -> Option<ToolChoice> {
    match &*read_text(json)? {
        "NONE" => Some(ToolChoice::None),
        "REQUIRED" => Some(ToolChoice::Required),
        _ => None,
    }
}

/// The form of the answer. The schema stands under the name of version 2, or of version 1.
fn read_format(json: &str) -> Option<OutputFormat> {
    let pairs = Pairs::of(json)?;
    let schema = ["json_schema", "schema"].into_iter().find_map(|name| pairs.get(name).filter(|json| *json != "null"));
    let is_alone = pairs.each().all(|(name, _)| ["type", "json_schema", "schema"].contains(&&*name));
    match (&*pairs.get("type").and_then(read_text)?, schema) {
        ("text", None) if is_alone => Some(OutputFormat::Text),
        ("json_object", None) if is_alone => Some(OutputFormat::JsonObject),
        ("json_object", Some(schema)) if is_alone => {
            Some(OutputFormat::JsonSchema { name: None, description: None, schema: schema.to_owned(), strict: None })
        }
        _ => None,
    }
}

/// The most tokens of reasoning; without a budget the model decides, as it does where nothing is said.
fn read_thinking(json: &str) -> Option<ReasoningWanted> {
    let pairs = Pairs::of(json)?;
    let is_alone = pairs.each().all(|(name, _)| ["type", "token_budget"].contains(&&*name));
    let budget = pairs.get("token_budget").filter(|json| *json != "null");
    let max_tokens = match (&*pairs.get("type").and_then(read_text)?, budget) {
        ("disabled", None) if is_alone => Some(0),
        ("enabled", None) if is_alone => None,
        ("enabled", Some(budget)) if is_alone => Some(read_as(budget)?),
        _ => return None,
    };
    Some(ReasoningWanted { effort: None, max_tokens })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[expect(clippy::needless_pass_by_value, reason = "it is made where it is asked about")]
    fn of(fields: Value) -> (Conversation, Vec<String>) {
        let mut unread = Vec::new();
        let conversation = read(&Fields::parse(fields.to_string().as_bytes()).unwrap(), &mut unread).unwrap();
        (conversation, unread.into_iter().map(|unread| unread.at).collect())
    }

    #[test]
    fn what_is_asked_is_read() {
        let thinking = |value: Value| of(json!({"thinking": value})).0.reasoning.max_tokens;
        assert_eq!(thinking(json!({"type": "disabled"})), Some(0));
        assert_eq!(thinking(json!({"type": "enabled", "token_budget": 9})), Some(9));
        assert_eq!(thinking(json!({"type": "enabled", "token_budget": null})), None);
        let schema = json!({"type": "object"});
        for name in ["json_schema", "schema"] {
            let (conversation, _) = of(json!({"response_format": {"type": "json_object", name: schema}}));
            assert!(matches!(conversation.output, OutputFormat::JsonSchema { .. }), "{name}");
        }
        assert_eq!(of(json!({"response_format": {"type": "json_object"}})).0.output, OutputFormat::JsonObject);
        let tool = json!({"type": "function", "function": {"name": "f", "parameters": {"a": 1}}});
        let (conversation, unread) = of(json!({"tools": [tool], "tool_choice": "NONE", "response_format": null}));
        let [tool] = &conversation.tools[..] else { panic!("{conversation:?}") };
        assert_eq!((&*tool.name, tool.parameters.as_deref(), tool.strict), ("f", Some(r#"{"a":1}"#), None));
        assert_eq!((conversation.tool_choice, unread), (Some(ToolChoice::None), Vec::new()));
    }

    #[test]
    fn what_is_of_no_known_shape_is_unread() {
        for (fields, expected) in [
            (json!({"tools": {}}), "tools"),
            (json!({"tools": [7]}), "tools[0]"),
            (json!({"tools": [{"type": "web"}]}), "tools[0].type"),
            (json!({"tools": [{"type": "function", "function": {"name": 7}}]}), "tools[0].type"),
            (json!({"tools": [{"type": "function", "function": {"name": "f", "new": 1}}]}), "tools[0].function.new"),
            (json!({"tools": [{"type": "function", "function": {"name": "f"}, "new": 1}]}), "tools[0].new"),
            (json!({"tool_choice": "auto"}), "tool_choice"),
            (json!({"response_format": {"type": "text", "json_schema": {}}}), "response_format"),
            (json!({"response_format": {"type": "json_object", "new": {}}}), "response_format"),
            (json!({"thinking": {"type": "disabled", "token_budget": 5}}), "thinking"),
            (json!({"thinking": {"type": "enabled", "token_budget": "x"}}), "thinking"),
        ] {
            assert_eq!(of(fields.clone()).1, [expected], "{fields}");
        }
    }
}
