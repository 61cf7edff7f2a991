//! The tools of a request, and whether they are to be called. A tool of Google's own is unread.

use super::{
    schema::json_schema,
    spelling::{below, field, list, members},
};
use crate::{
    fields::{BadRequest, Fields},
    format::openai::reading::{Members, member, note, read_as, read_text},
    inference::{Conversation, Tool, ToolChoice, ToolKind, Unread},
};

/// Members of a declaration that are read.
const OF_DECLARATION: [&str; 4] = ["name", "description", "parameters", "parametersJsonSchema"];

/// Reads `tools` and `toolConfig` into a conversation.
///
/// # Errors
///
/// A member with a wrong value.
pub(super) fn read(body: &Fields, to: &mut Conversation, unread: &mut Vec<Unread>) -> Result<(), BadRequest> {
    if let Some(json) = field(body, "tools") {
        for (place, json) in list(json, "tools")?.into_iter().enumerate() {
            read_tool(json, &format!("tools[{place}]"), &mut to.tools, unread)?;
        }
    }
    let Some(json) = field(body, "toolConfig") else { return Ok(()) };
    for (name, value) in members(json, "toolConfig")?.into_iter().filter(|(_, value)| *value != "null") {
        match &*name {
            "functionCallingConfig" => read_choice(value, to, unread)?,
            name => note(unread, below("toolConfig", name), value),
        }
    }
    Ok(())
}

fn read_tool(json: &str, at: &str, tools: &mut Vec<Tool>, unread: &mut Vec<Unread>) -> Result<(), BadRequest> {
    for (name, value) in members(json, at)?.into_iter().filter(|(_, value)| *value != "null") {
        let at = below(at, &name);
        if name != "functionDeclarations" {
            note(unread, at, value);
            continue;
        }
        for (place, json) in list(value, &at)?.into_iter().enumerate() {
            tools.push(declaration(json, &format!("{at}[{place}]"), unread)?);
        }
    }
    Ok(())
}

fn declaration(json: &str, at: &str, unread: &mut Vec<Unread>) -> Result<Tool, BadRequest> {
    let members = members(json, at)?;
    let name = member(&members, "name").and_then(read_text);
    let name = name.ok_or_else(|| BadRequest::new(below(at, "name"), "is required"))?;
    let parameters = match (member(&members, "parametersJsonSchema"), member(&members, "parameters")) {
        (Some(_), Some(_)) => {
            return Err(BadRequest::new(below(at, "parameters"), "can't stand beside parametersJsonSchema"));
        }
        (Some(json), None) if json.trim_start().starts_with('{') => Some(json.to_owned()),
        (None, Some(json)) => json_schema(json),
        (Some(_) | None, None) => None,
    };
    let is_given = |name| member(&members, name).is_some();
    if parameters.is_none() && (is_given("parameters") || is_given("parametersJsonSchema")) {
        return Err(BadRequest::new(below(at, "parameters"), "must be a schema"));
    }
    for (name, value) in members.iter().filter(|(name, value)| *value != "null" && !OF_DECLARATION.contains(&&**name)) {
        note(unread, below(at, name), value);
    }
    let description = member(&members, "description").and_then(read_text);
    Ok(Tool { name, description, parameters, strict: None, kind: ToolKind::Function, cache: None })
}

fn read_choice(json: &str, to: &mut Conversation, unread: &mut Vec<Unread>) -> Result<(), BadRequest> {
    const AT: &str = "toolConfig.functionCallingConfig";
    let members: Members<'_> = members(json, AT)?;
    let names: Vec<String> = match member(&members, "allowedFunctionNames") {
        Some(json) => read_as(json)
            .ok_or_else(|| BadRequest::new(below(AT, "allowedFunctionNames"), "must be an array of strings"))?,
        None => Vec::new(),
    };
    // Of several tools that may be called others have no words, unless they are all.
    let is_all = names.is_empty() || to.tools.iter().all(|tool| names.contains(&tool.name));
    let mode = match member(&members, "mode") {
        Some(json) => Some(read_text(json).ok_or_else(|| BadRequest::new(below(AT, "mode"), "must be a string"))?),
        None => None,
    };
    let choice = match (mode.as_deref(), &names[..]) {
        (None | Some("MODE_UNSPECIFIED" | "AUTO"), []) => mode.is_some().then_some(ToolChoice::Auto),
        (Some("NONE"), _) => Some(ToolChoice::None),
        (Some("ANY"), [name]) => Some(ToolChoice::Named(name.clone())),
        (Some("ANY"), _) if is_all => Some(ToolChoice::Required),
        (Some("VALIDATED"), _) if is_all => {
            to.tools.iter_mut().for_each(|tool| tool.strict = Some(true));
            Some(ToolChoice::Auto)
        }
        _ => {
            let odd = if names.is_empty() { "mode" } else { "allowedFunctionNames" };
            note(unread, below(AT, odd), json);
            None
        }
    };
    to.tool_choice = choice;
    for (name, value) in members.iter().filter(|(_, value)| *value != "null") {
        if !["mode", "allowedFunctionNames"].contains(&&**name) {
            note(unread, below(AT, name), value);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn of(body: &Value) -> Result<(Conversation, Vec<String>), BadRequest> {
        let (mut to, mut unread) = (Conversation::default(), Vec::new());
        read(&Fields::parse(body.to_string().as_bytes()).unwrap(), &mut to, &mut unread)?;
        Ok((to, unread.into_iter().map(|unread| unread.at).collect()))
    }

    fn tools() -> Value {
        json!([{"functionDeclarations": [{"name": "f", "description": "d", "parameters": {"type": "OBJECT"}}]},
            {"function_declarations": {"name": "g", "parameters_json_schema": {"type": "object"}}}])
    }

    #[test]
    fn functions_are_read_with_their_schemas() {
        let (read, unread) = of(&json!({"tools": tools()})).unwrap();
        let [f, g] = &read.tools[..] else { panic!("{read:?}") };
        assert_eq!((&*f.name, f.description.as_deref()), ("f", Some("d")));
        assert_eq!(
            (f.parameters.as_deref(), g.parameters.as_deref()),
            (Some(r#"{"type":"object"}"#), Some(r#"{"type":"object"}"#))
        );
        assert_eq!((read.tool_choice, unread), (None, vec![]));
    }

    #[test]
    fn the_choice_is_read_as_far_as_others_have_words_for_it() {
        for (config, choice, told) in [
            (json!({"mode": "AUTO"}), Some(ToolChoice::Auto), None),
            (json!({"mode": "NONE"}), Some(ToolChoice::None), None),
            (json!({"mode": "ANY"}), Some(ToolChoice::Required), None),
            (json!({"mode": "ANY", "allowed_function_names": ["g"]}), Some(ToolChoice::Named("g".into())), None),
            (json!({"mode": "ANY", "allowedFunctionNames": ["f", "g"]}), Some(ToolChoice::Required), None),
            (json!({"mode": "VALIDATED"}), Some(ToolChoice::Auto), None),
            (json!({"mode": "ANY", "allowedFunctionNames": ["g", "h"]}), None, Some("allowedFunctionNames")),
            (json!({"mode": "SOME"}), None, Some("mode")),
        ] {
            let (read, unread) =
                of(&json!({"tools": tools(), "tool_config": {"functionCallingConfig": config}})).unwrap();
            assert_eq!(read.tool_choice, choice, "{config}");
            let told = told.map(|told| format!("toolConfig.functionCallingConfig.{told}"));
            assert_eq!(unread, told.into_iter().collect::<Vec<_>>(), "{config}");
            let is_strict = read.tools.iter().all(|tool| tool.strict == Some(true));
            assert_eq!(is_strict, config["mode"] == "VALIDATED", "{config}");
        }
    }

    #[test]
    fn tools_of_googles_own_are_told_and_wrong_ones_refused() {
        let (read, unread) =
            of(&json!({"tools": [{"googleSearch": {}}, {"url_context": {}}], "toolConfig": {"retrievalConfig": {}}}))
                .unwrap();
        assert_eq!(
            (read.tools.len(), unread),
            (
                0,
                vec!["tools[0].googleSearch".into(), "tools[1].urlContext".into(), "toolConfig.retrievalConfig".into()]
            )
        );
        let one = |declaration: Value| json!({"tools": [{"functionDeclarations": [declaration]}]});
        let at = "tools[0].functionDeclarations[0]";
        for (body, field) in [
            (json!({"tools": "x"}), "tools".to_owned()),
            (one(json!({})), format!("{at}.name")),
            (one(json!({"name": "f", "parameters": []})), format!("{at}.parameters")),
            (one(json!({"name": "f", "parameters": {}, "parametersJsonSchema": {}})), format!("{at}.parameters")),
            (
                json!({"toolConfig": {"functionCallingConfig": {"allowedFunctionNames": "f"}}}),
                "toolConfig.functionCallingConfig.allowedFunctionNames".to_owned(),
            ),
            (
                json!({"toolConfig": {"functionCallingConfig": {"mode": 1}}}),
                "toolConfig.functionCallingConfig.mode".to_owned(),
            ),
        ] {
            assert_eq!(of(&body).unwrap_err().field, field, "{body}");
        }
        let (_, unread) =
            of(&one(json!({"name": "f", "response": {"type": "STRING"}, "behavior": "BLOCKING"}))).unwrap();
        assert_eq!(unread, [format!("{at}.response"), format!("{at}.behavior")]);
    }
}
