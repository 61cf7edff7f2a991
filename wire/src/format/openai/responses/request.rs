//! Reads a response's request. Farebox's own fields are taken out of the body. Members that have no place in the neutral
//! words are listed as unread.

use serde_json::Value;

use super::{FORMAT, items};
use crate::{
    fields::{BadRequest, Fields, Pairs},
    format::{
        openai::{
            messages::{Member, all_of, member, members, note, note_others, read_as, read_text},
            request::end_user,
            tools::read_list,
        },
        own::{self, Own},
    },
    inference::{
        Conversation, Generation, OutputFormat, OutputLimit, ReasoningWanted, Request, Sampling, Source, Tool,
        ToolChoice, ToolKind, Unread, Work,
    },
};

/// Tools hold other tools (`namespace`), which hold none.
const DEEPEST: usize = 2;

/// Reads a response's request.
///
/// # Errors
///
/// The first field with a wrong value. The error is for the client, and names the field.
pub fn read_response(body: &[u8]) -> Result<Request, BadRequest> {
    let mut body = Fields::of_client(body)?;
    let Own { max_cost, auto_scale, fallbacks } = own::take(&mut body)?;
    let model = own::model(&body)?;
    let mut unread = Vec::new();
    let stream = body.boolean("stream")?.unwrap_or(false);
    let messages = items::read(&body, &mut unread)?;
    let conversation = Conversation {
        messages,
        tools: tools(&body, &mut unread),
        tool_choice: tool_choice(&body, &mut unread),
        parallel_tool_calls: body.boolean("parallel_tool_calls")?,
        output: output(&body, &mut unread)?,
        reasoning: reasoning(&body)?,
        generation: generation(&body)?,
    };
    let end_user = end_user(&body);
    let work = Work::Conversation(Box::new(conversation));
    Ok(Request {
        model,
        work,
        stream,
        max_cost,
        auto_scale,
        fallbacks,
        end_user,
        unread: all_of(unread)?,
        source: Source::of(FORMAT, body),
    })
}

fn generation(body: &Fields) -> Result<Generation, BadRequest> {
    let limit = body.whole("max_output_tokens", 1, u32::MAX)?;
    let top = body.whole("top_logprobs", 0, 20)?;
    let include: Vec<String> = body.read("include", "an array of strings")?.unwrap_or_default();
    let is_wanted = include.iter().any(|name| name == "message.output_text.logprobs") || top.is_some_and(|top| top > 0);
    Ok(Generation {
        sampling: Sampling {
            temperature: body.number("temperature", 0.0, 2.0)?,
            top_p: body.number("top_p", 0.0, 1.0)?,
            ..Sampling::default()
        },
        limit: limit.map(|tokens| OutputLimit { tokens, largest: tokens, field: "max_output_tokens" }),
        logprobs: is_wanted.then(|| top.unwrap_or(0)),
        ..Generation::default()
    })
}

fn reasoning(body: &Fields) -> Result<ReasoningWanted, BadRequest> {
    let wanted = body.object("reasoning", "an object")?;
    let effort = wanted.map(|wanted| wanted.string("effort")).transpose();
    let effort = effort.map_err(|error| BadRequest::new("reasoning.effort", error.message))?;
    Ok(ReasoningWanted { effort: effort.flatten(), max_tokens: None })
}

/// The form of the answer, `text.format`.
fn output(body: &Fields, unread: &mut Vec<Unread>) -> Result<OutputFormat, BadRequest> {
    let Some(text) = body.object("text", "an object")? else { return Ok(OutputFormat::Text) };
    let Some(json) = text.present("format") else { return Ok(OutputFormat::Text) };
    let read = || {
        let wanted = Pairs::of(json)?;
        let text = |name: &str| wanted.get(name).and_then(read_text);
        match &*text("type")? {
            "text" => Some(OutputFormat::Text),
            "json_object" => Some(OutputFormat::JsonObject),
            "json_schema" => Some(OutputFormat::JsonSchema {
                name: text("name"),
                description: text("description"),
                schema: wanted.get("schema")?.to_owned(),
                strict: wanted.get("strict").and_then(read_as),
            }),
            _ => None,
        }
    };
    Ok(read().unwrap_or_else(|| {
        note(unread, "text.format".to_owned(), json);
        OutputFormat::Text
    }))
}

/// The tools that the client runs. Of a tool that a provider runs, the type is unread.
fn tools(body: &Fields, unread: &mut Vec<Unread>) -> Vec<Tool> {
    let mut tools = Vec::new();
    if let Some(json) = body.present("tools") {
        read_list(json, "tools", unread, |json, at, unread| tools.extend(tool(json, at, unread)));
    }
    tools
}

/// Notes the tools within a tool or an item: they are the provider's to run, or need a place that only this format has.
pub(super) fn note_tools(members: &[Member<'_>], at: &str, unread: &mut Vec<Unread>) {
    if let Some(json) = member(members, "tools") {
        read_list(json, &format!("{at}.tools"), unread, |json, at, unread| {
            // What lies deeper is not looked at: its type is unknown.
            let is_deep = at.matches("tools[").count() > DEEPEST;
            if is_deep {
                note(unread, format!("{at}.type"), json);
            } else {
                drop(tool(json, at, unread));
            }
        });
    }
}

fn tool(json: &str, at: &str, unread: &mut Vec<Unread>) -> Option<Tool> {
    let Ok(Some(members)) = members(json, at) else {
        note(unread, at.to_owned(), json);
        return None;
    };
    let text = |name: &str| member(&members, name).and_then(read_text);
    let (kind, own): (_, &[&str]) = match text("type").as_deref() {
        Some("function") => (ToolKind::Function, &["type", "name", "description", "parameters", "strict"]),
        Some("custom") => (ToolKind::Custom, &["type", "name", "description", "format"]),
        _ => {
            note(unread, format!("{at}.type"), member(&members, "type").unwrap_or(json));
            // Where a shell runs is what it costs.
            if let Some(environment) = member(&members, "environment") {
                note(unread, format!("{at}.environment"), environment);
            }
            note_tools(&members, at, unread);
            return None;
        }
    };
    note_others(&members, own, at, unread);
    let Some(name) = text("name") else {
        note(unread, format!("{at}.name"), json);
        return None;
    };
    let parameters = ["parameters", "format"].into_iter().find_map(|name| member(&members, name)).map(str::to_owned);
    let strict = member(&members, "strict").and_then(read_as);
    Some(Tool { name, description: text("description"), parameters, strict, kind, cache: None })
}

fn tool_choice(body: &Fields, unread: &mut Vec<Unread>) -> Option<ToolChoice> {
    let json = body.present("tool_choice")?;
    let word = read_text(json);
    let named = || {
        let choice = Pairs::of(json)?;
        let kind = choice.get("type").and_then(read_text)?;
        let name = choice.get("name").and_then(read_text).filter(|_| matches!(&*kind, "function" | "custom"))?;
        Some(ToolChoice::Named(name))
    };
    let choice = match word.as_deref() {
        Some("none") => Some(ToolChoice::None),
        Some("auto") => Some(ToolChoice::Auto),
        Some("required") => Some(ToolChoice::Required),
        Some(_) => None,
        None => named(),
    };
    if choice.is_none() {
        note(unread, "tool_choice".to_owned(), json);
    }
    choice
}

/// Whether the client asked for a field of the answer to be included.
pub(super) fn includes(body: &Fields, wanted: &str) -> bool {
    let include: Option<Vec<Value>> = body.read("include", "an array").ok().flatten();
    include.is_some_and(|names| names.iter().any(|name| name == wanted))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(fields: &str) -> Result<Request, BadRequest> {
        read_response(format!(r#"{{"model":"m","input":"x"{fields}}}"#).as_bytes())
    }

    #[test]
    fn a_bad_field_is_named() {
        for (fields, field) in [
            (r#","max_output_tokens":0"#, "max_output_tokens"),
            (r#","temperature":3"#, "temperature"),
            (r#","stream":1"#, "stream"),
            (r#","reasoning":7"#, "reasoning"),
            (r#","reasoning":{"effort":7}"#, "reasoning.effort"),
            (r#","text":[]"#, "text"),
            (r#","include":{}"#, "include"),
            (r#","input":7"#, "input"),
            (r#","input":[7]"#, "input[0]"),
            (r#","input":[{"role":"king","content":"x"}]"#, "input[0].role"),
            (r#","input":[{"role":"user","content":7}]"#, "input[0].content"),
            (r#","instructions":7"#, "instructions"),
            (r#","farebox_magic":1"#, "farebox_magic"),
            (r#","max_cost":[]"#, "max_cost"),
        ] {
            assert_eq!(read(fields).unwrap_err().field, field, "{fields}");
        }
        assert_eq!(read_response(br#"{"model":"m"}"#).unwrap_err().field, "input");
    }

    #[test]
    fn tools_choices_and_forms_are_read_and_the_rest_is_told() {
        let request = read(
            r#","max_cost":"0.5","tools":[{"type":"function","name":"f","parameters":{"type" : "object"},"strict":true},
                {"type":"custom","name":"run","format":{"type":"text"}},{"type":"web_search"},{"type":"namespace","tools":[]}],
              "tool_choice":{"type":"function","name":"f"},"text":{"format":{"type":"json_schema","name":"n","schema":{"a" :1}}},
              "reasoning":{"effort":"low","summary":"auto"},"max_output_tokens":9,"include":["message.output_text.logprobs"]"#,
        )
        .unwrap();
        let Work::Conversation(conversation) = &request.work else { panic!() };
        let names: Vec<_> = conversation.tools.iter().map(|tool| (&*tool.name, tool.kind)).collect();
        assert_eq!(names, [("f", ToolKind::Function), ("run", ToolKind::Custom)]);
        assert_eq!(conversation.tools[0].parameters.as_deref(), Some(r#"{"type" : "object"}"#));
        assert_eq!(conversation.tool_choice, Some(ToolChoice::Named("f".into())));
        assert!(matches!(&conversation.output, OutputFormat::JsonSchema { schema, .. } if schema == r#"{"a" :1}"#));
        assert_eq!(conversation.reasoning.effort.as_deref(), Some("low"));
        assert_eq!((conversation.generation.logprobs, conversation.generation.limit.unwrap().tokens), (Some(0), 9));
        let told: Vec<_> = request.unread.iter().map(|unread| &*unread.at).collect();
        assert_eq!(told, ["tools[2].type", "tools[3].type"]);
        assert_eq!((request.max_cost.as_deref(), request.source.body.get("max_cost")), (Some("0.5"), None));
    }
}
