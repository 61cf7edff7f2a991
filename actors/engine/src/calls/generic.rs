//! Tools for a model whose template has no words for them: what they are is told in a text before the conversation, and
//! calls and results in the conversation are written as texts, in the form that the model is asked for.

use serde_json::{Value, json};
use wire::inference::{Content, Message, Part, Role, Tool};

/// The messages without calls and results, and with the tools before them.
pub(crate) fn told(messages: &[Message], tools: &[Tool]) -> Vec<Message> {
    let mut told: Vec<Message> = Vec::new();
    for message in messages {
        let message = plain(message);
        // Results of several calls are one turn: templates want turns that alternate.
        match told.last_mut() {
            Some(last) if last.role == Role::User && message.role == Role::User => {
                last.parts.push(Part::text("\n"));
                last.parts.extend(message.parts);
            }
            _ => told.push(message),
        }
    }
    if tools.is_empty() {
        return told;
    }
    let text = instructions(tools);
    match told.first_mut().filter(|first| matches!(first.role, Role::System | Role::Developer)) {
        Some(first) => first.parts.insert(0, Part::text(format!("{text}\n\n"))),
        None => told.insert(0, Message::text_of(Role::System, text)),
    }
    told
}

/// What the model is told of its tools.
fn instructions(tools: &[Tool]) -> String {
    let lines: Vec<String> = tools.iter().map(|tool| described(tool).to_string()).collect();
    format!(
        "You have these tools, each described by a line of JSON:\n{}\n\nTo call one, write its name and its arguments, which \
         must fit its parameters, in this form:\n<tool_call>\n{{\"name\": \"the tool's name\", \"arguments\": {{}}}}\n</tool_call>\n\
         What it returns is given to you between <tool_response> and </tool_response>. Call a tool only where you need it, \
         and answer in words otherwise.",
        lines.join("\n")
    )
}

fn described(tool: &Tool) -> Value {
    let mut described = serde_json::Map::new();
    described.insert("name".to_owned(), tool.name.as_str().into());
    if let Some(description) = &tool.description {
        described.insert("description".to_owned(), description.as_str().into());
    }
    let parameters = tool.parameters.as_deref().and_then(|schema| serde_json::from_str(schema).ok());
    described.insert("parameters".to_owned(), parameters.unwrap_or_else(|| json!({"type": "object"})));
    Value::Object(described)
}

/// A message whose calls and results are texts.
fn plain(message: &Message) -> Message {
    let is_result = |part: &Part| matches!(part.content, Content::ToolResult(_));
    let gives_results = message.role == Role::Tool || message.parts.iter().any(is_result);
    let parts = message.parts.iter().map(|part| match &part.content {
        Content::ToolCall(call) => {
            let arguments = if call.arguments.trim().is_empty() { "{}" } else { call.arguments.trim() };
            let name = Value::from(call.name.as_str());
            Part::text(format!("\n<tool_call>\n{{\"name\": {name}, \"arguments\": {arguments}}}\n</tool_call>"))
        }
        Content::ToolResult(result) => {
            let text = Message { parts: result.parts.clone(), ..message.clone() }.text();
            Part::text(format!("<tool_response>\n{text}\n</tool_response>"))
        }
        _ => part.clone(),
    });
    let role = if gives_results { Role::User } else { message.role };
    Message { role, parts: parts.collect(), name: message.name.clone(), ..*message }
}

#[cfg(test)]
mod tests {
    use wire::format::openai::read_chat;
    use wire::inference::Work;

    use super::*;

    #[test]
    fn calls_and_results_become_texts_in_turns() {
        let body = json!({"model": "m", "tools": [{"type": "function", "function": {"name": "f", "description": "d"}}], "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "hi"},
            {"role": "assistant", "content": "One moment.", "tool_calls": [
                {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{\"a\": 1}"}},
                {"id": "2", "type": "function", "function": {"name": "f", "arguments": ""}}]},
            {"role": "tool", "tool_call_id": "1", "content": "one"},
            {"role": "tool", "tool_call_id": "2", "content": "two"}]});
        let Work::Conversation(conversation) = read_chat(body.to_string().as_bytes()).unwrap().work else { panic!() };
        let told = told(&conversation.messages, &conversation.tools);
        let roles: Vec<Role> = told.iter().map(|message| message.role).collect();
        assert_eq!(roles, [Role::System, Role::User, Role::Assistant, Role::User]);
        assert!(told[0].text().contains(r#"{"name":"f","description":"d","parameters":{"type":"object"}}"#));
        assert!(told[0].text().ends_with("Be brief."));
        assert_eq!(
            told[2].text(),
            "One moment.\n<tool_call>\n{\"name\": \"f\", \"arguments\": {\"a\": 1}}\n</tool_call>\n<tool_call>\n{\"name\": \"f\", \"arguments\": {}}\n</tool_call>"
        );
        assert_eq!(told[3].text(), "<tool_response>\none\n</tool_response>\n<tool_response>\ntwo\n</tool_response>");
        assert_eq!(super::told(&conversation.messages[1..2], &[])[0].text(), "hi");
    }
}
