//! Members of earlier answers that clients of other providers give back though they say nothing, and that OpenAI refuses
//! by name: Mistral's client writes `prefix: false` in each message of the model, and an `index` in each call. They are
//! left out. A message without any stays as it came, byte for byte.

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::super::messages::{members, read_as};
use crate::inference::{Request, Unread};

pub(super) fn leave_out(request: &mut Request) {
    if !request.unread.iter().any(says_nothing) {
        return;
    }
    let body = &mut request.source.body;
    let Some(messages) = body.get("messages").and_then(|json| in_list(json, |message| in_object(message, of_message)))
    else {
        return;
    };
    body.set_json("messages", messages);
}

fn says_nothing(unread: &Unread) -> bool {
    match &*unread.pattern() {
        "messages[].prefix" => unread.json == "false",
        "messages[].tool_calls[].index" => true,
        _ => false,
    }
}

/// A member of a message as it is sent, if it is.
fn of_message<'a>(name: &str, value: &'a str) -> Option<Cow<'a, str>> {
    match name {
        "prefix" if value == "false" => None,
        "tool_calls" => Some(in_list(value, |call| in_object(call, of_call)).map_or(value.into(), Cow::Owned)),
        _ => Some(value.into()),
    }
}

fn of_call<'a>(name: &str, value: &'a str) -> Option<Cow<'a, str>> {
    (name != "index").then(|| value.into())
}

/// A list whose elements were changed; `None` where the text is no list.
fn in_list<'a>(json: &'a str, change: impl Fn(&'a str) -> Cow<'a, str>) -> Option<String> {
    let list: Vec<&RawValue> = read_as(json)?;
    let changed: Vec<_> = list.into_iter().map(|element| change(element.get())).collect();
    Some(format!("[{}]", changed.join(",")))
}

/// An object whose members were changed; the text itself where none was.
fn in_object<'a>(json: &'a str, change: impl Fn(&str, &'a str) -> Option<Cow<'a, str>>) -> Cow<'a, str> {
    let Ok(Some(members)) = members(json, "messages") else { return json.into() };
    let changed = members.iter().filter_map(|(name, value)| Some((name, change(name, value)?)));
    let changed: Vec<_> = changed.collect();
    let is_same = changed.len() == members.len()
        && changed.iter().zip(&members).all(|((_, changed), (_, value))| changed == value);
    if is_same {
        return json.into();
    }
    let written = changed.into_iter().map(|(name, value)| format!("{}:{value}", serde_json::Value::from(&**name)));
    format!("{{{}}}", written.collect::<Vec<_>>().join(",")).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::openai::read_chat;

    fn sent(messages: &str) -> String {
        let mut request = read_chat(format!(r#"{{"model":"m","messages":{messages}}}"#).as_bytes()).unwrap();
        leave_out(&mut request);
        request.source.body.get("messages").unwrap().to_owned()
    }

    #[test]
    fn what_says_nothing_is_left_out_and_all_else_stays() {
        let given = r#"[ {"role": "user", "content":"h\u00e9"}, {"role":"assistant","content":"x","tool_calls":[
            {"function":{"name":"f","arguments":"{\"index\": 1}"},"id":"c","type":"function","index":0}],"prefix":false},
            {"role":"tool","tool_call_id":"c","content":"rain"}]"#;
        let expected = r#"[{"role": "user", "content":"h\u00e9"},{"role":"assistant","content":"x","tool_calls":[{"function":{"name":"f","arguments":"{\"index\": 1}"},"id":"c","type":"function"}]},{"role":"tool","tool_call_id":"c","content":"rain"}]"#;
        assert_eq!(sent(given), expected);
    }

    #[test]
    fn what_says_something_or_is_elsewhere_stays_byte_for_byte() {
        for messages in [
            r#"[ {"role":"assistant", "content":"x","prefix":true} ]"#,
            r#"[ {"role":"assistant", "content":"x","tool_calls":[ {"id":"c","type":"function","function":{"name":"f","arguments":"{}"}} ]} ]"#,
            r#"[ {"role":"user", "content":[{"type":"text","text":"x","index": 0}]} ]"#,
        ] {
            assert_eq!(sent(messages), messages);
        }
    }
}
