//! Ids of calls and of their results, where a client wrote none: functions of before there were tools have names alone, and
//! providers of other formats tell calls apart by ids. An id is made of a call's place in the conversation, so it is the
//! same in every turn, and no other call's.

use std::collections::{HashMap, HashSet, VecDeque};

use super::feature::message_field;
use crate::inference::{Content, Failure, Message, Request, ToolResult, Work};

/// The calls so far, and those whose results have not come. Each call is looked at once for each of its lists: a conversation
/// has as many as its body has room for.
#[derive(Default)]
struct Calls {
    /// All calls; `None` once the result has come.
    ids: Vec<Option<String>>,
    by_id: HashMap<String, VecDeque<usize>>,
    by_name: HashMap<String, Latest>,
    of_all: Latest,
}

/// Calls by the messages that they stand in, the latest message last.
#[derive(Default)]
struct Latest(Vec<(usize, VecDeque<usize>)>);

impl Latest {
    fn add(&mut self, message: usize, call: usize) {
        match self.0.last_mut() {
            Some((place, calls)) if *place == message => calls.push_back(call),
            Some(_) | None => self.0.push((message, VecDeque::from([call]))),
        }
    }

    /// The first call of the latest message that has one without a result.
    fn first(&mut self, ids: &[Option<String>]) -> Option<usize> {
        while let Some((_, calls)) = self.0.last_mut() {
            if let Some(call) = first(calls, ids) {
                return Some(call);
            }
            self.0.pop();
        }
        None
    }
}

/// The first call without a result. Those before it are forgotten.
fn first(calls: &mut VecDeque<usize>, ids: &[Option<String>]) -> Option<usize> {
    while let Some(call) = calls.front() {
        if ids[*call].is_some() {
            return Some(*call);
        }
        calls.pop_front();
    }
    None
}

impl Calls {
    fn add(&mut self, message: usize, name: &str, id: &str) {
        let call = self.ids.len();
        self.ids.push(Some(id.to_owned()));
        self.by_id.entry(id.to_owned()).or_default().push_back(call);
        self.by_name.entry(name.to_owned()).or_default().add(message, call);
        self.of_all.add(message, call);
    }

    /// The id of the call that a result answers, which waits no longer.
    fn answered(&mut self, result: &ToolResult) -> Option<String> {
        let ids = &self.ids;
        let call = match (&result.call_id, &result.name) {
            (Some(id), _) => first(self.by_id.get_mut(id)?, ids),
            (None, Some(name)) => self.by_name.get_mut(name)?.first(ids),
            (None, None) => self.of_all.first(ids),
        };
        self.ids[call?].take()
    }
}

/// Gives each call without an id one, and each result without one the id of the latest call of its name that has no result
/// yet. Of several in one message the first is answered first.
///
/// # Errors
///
/// A result that names no call, where no call waits for one.
pub(super) fn pair(request: &mut Request) -> Result<(), Failure> {
    let format = request.source.format;
    let Work::Conversation(conversation) = &mut request.work else { return Ok(()) };
    let messages = &mut conversation.messages;
    if !messages.iter().flat_map(|message| &message.parts).any(|part| lacks_id(&part.content)) {
        return Ok(());
    }
    let given = given(messages);
    let mut calls = Calls::default();
    for (place, message) in messages.iter_mut().enumerate() {
        for part in &mut message.parts {
            match &mut part.content {
                Content::ToolCall(call) => {
                    let id = call.id.get_or_insert_with(|| made(calls.ids.len() + 1, &given));
                    calls.add(place, &call.name, id);
                }
                Content::ToolResult(result) => match calls.answered(result) {
                    Some(id) => result.call_id = Some(id),
                    None if result.call_id.is_some() => {}
                    None => {
                        let field = message_field(format, place).into_owned();
                        let message = "answers a call that is not in the conversation".to_owned();
                        return Err(Failure::Invalid { field, message });
                    }
                },
                Content::Text(_)
                | Content::Refusal(_)
                | Content::Image(_)
                | Content::Audio(_)
                | Content::File(_)
                | Content::Reasoning(_)
                | Content::Unknown { .. } => {}
            }
        }
    }
    Ok(())
}

const fn lacks_id(content: &Content) -> bool {
    match content {
        Content::ToolCall(call) => call.id.is_none(),
        Content::ToolResult(result) => result.call_id.is_none(),
        _ => false,
    }
}

/// The ids that the client wrote.
fn given(messages: &[Message]) -> HashSet<String> {
    let id = |content: &Content| match content {
        Content::ToolCall(call) => call.id.clone(),
        _ => None,
    };
    messages.iter().flat_map(|message| &message.parts).filter_map(|part| id(&part.content)).collect()
}

/// An id that no client wrote, for the call of this number.
fn made(number: usize, given: &HashSet<String>) -> String {
    let mut id = format!("call_{number:04}");
    while given.contains(&id) {
        id.push('_');
    }
    id
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::Calls;
    use crate::{
        format::{
            ProviderFormat, Upstream, anthropic::Anthropic, anthropic::read_messages, cohere::Cohere, gemini::Gemini,
            mistral::Mistral, openai,
        },
        inference::{Failure, Request, ToolResult},
    };

    proptest! {
        /// The rule as it is told: the latest message with a call that waits, and of those its first.
        #[test]
        fn a_result_answers_the_first_call_of_the_latest_message(
            steps in proptest::collection::vec((0..4_u8, 0..3_u8, proptest::option::of(0..6_u8), any::<bool>()), 0..60)
        ) {
            let (mut calls, mut open) = (Calls::default(), Vec::<(usize, String, String)>::new());
            for (place, (kind, name, id, is_named)) in steps.into_iter().enumerate() {
                let (message, name) = (place / 3, format!("f{name}"));
                if kind < 2 {
                    let id = id.map_or_else(|| format!("own{place}"), |id| id.to_string());
                    calls.add(message, &name, &id);
                    open.push((message, name, id));
                    continue;
                }
                let call_id = id.map(|id| id.to_string());
                let name = is_named.then_some(name);
                let waits = |call: &&(usize, String, String)| match &call_id {
                    Some(id) => call.2 == *id,
                    None => name.as_ref().is_none_or(|name| *name == call.1),
                };
                let latest = open.iter().rfind(waits).map(|call| call.0);
                let at = open.iter().position(|call| {
                    waits(&call) && (call_id.is_some() || Some(call.0) == latest)
                });
                let expected = at.map(|at| open.remove(at).2);
                let result = ToolResult { call_id, name, ..ToolResult::default() };
                prop_assert_eq!(calls.answered(&result), expected);
            }
        }
    }

    const TARGETS: [&dyn ProviderFormat; 4] = [&Anthropic, &Gemini, &Mistral, &Cohere];

    fn sent(format: &dyn ProviderFormat, request: Request) -> Result<Value, Failure> {
        let upstream = Upstream { model: "m", max_output: 900, tier: None };
        format.call(request, &upstream).map(|call| serde_json::from_str(&call.body.to_json()).unwrap())
    }

    fn chat(messages: &Value) -> Request {
        openai::read_chat(json!({"model": "m", "messages": messages}).to_string().as_bytes()).unwrap()
    }

    /// The values of the members with one of these names, in order.
    fn all(value: &Value, names: &[&str]) -> Vec<String> {
        match value {
            Value::Array(list) => list.iter().flat_map(|value| all(value, names)).collect(),
            Value::Object(members) => members
                .iter()
                .flat_map(|(name, value)| match value.as_str().filter(|_| names.contains(&&**name)) {
                    Some(text) => vec![text.to_owned()],
                    None => all(value, names),
                })
                .collect(),
            _ => Vec::new(),
        }
    }

    #[test]
    fn calls_of_one_function_have_ids_of_their_own_and_each_result_has_its_calls() {
        let call = |arguments: &str| json!({"role": "assistant", "content": null, "function_call": {"name": "f", "arguments": arguments}});
        let result = |text: &str| json!({"role": "function", "name": "f", "content": text});
        let hi = json!({"role": "user", "content": "hi"});
        let turn = json!([hi, call("{}"), result("1"), call("{}"), result("2")]);
        for format in TARGETS {
            let ids = all(&sent(format, chat(&turn)).unwrap(), &["id", "tool_call_id", "tool_use_id"]);
            let [one, same, two, again] = &ids[..] else { panic!("{ids:?}") };
            assert!(one == same && two == again && one != two, "{ids:?}");
            let mut longer = turn.clone();
            longer.as_array_mut().unwrap().extend([call("{}"), result("3")]);
            let later = all(&sent(format, chat(&longer)).unwrap(), &["id", "tool_call_id", "tool_use_id"]);
            assert_eq!(later[..4], ids, "a later turn begins as the earlier one did");
        }
        // A call that was given up has no result.
        let given_up = json!([hi, call("{}"), call("{}"), result("2")]);
        let ids = all(&sent(&Anthropic, chat(&given_up)).unwrap(), &["id", "tool_use_id"]);
        assert!(ids[1] == ids[2] && ids[0] != ids[1], "{ids:?}");
    }

    #[test]
    fn ids_of_clients_stay_and_calls_of_one_message_are_answered_in_their_order() {
        let call = |id: Value| json!({"id": id, "type": "function", "function": {"name": "f", "arguments": "{}"}});
        let result = |id: Value| json!({"role": "tool", "tool_call_id": id, "content": "x"});
        let calls = json!({"role": "assistant", "tool_calls": [call(json!("call_0002")), call(Value::Null), call(Value::Null)]});
        let messages = json!([{"role": "user", "content": "hi"}, calls, result(json!("call_0002")), result(Value::Null), result(Value::Null)]);
        let ids = all(&sent(&Anthropic, chat(&messages)).unwrap(), &["id", "tool_use_id"]);
        assert_eq!(ids[..3], ids[3..]);
        assert_eq!(ids[0], "call_0002");
        assert!(ids[1] != ids[0] && ids[1] != ids[2], "{ids:?}");
    }

    #[test]
    fn a_result_without_a_call_is_refused_by_its_place() {
        let lone = json!([{"role": "user", "content": "hi"}, {"role": "function", "name": "f", "content": "x"}]);
        for format in TARGETS {
            let Err(Failure::Invalid { field, .. }) = sent(format, chat(&lone)) else { panic!() };
            assert_eq!(field, "messages[1]");
        }
    }

    #[test]
    fn a_message_without_ids_has_them_as_a_chat() {
        let body = json!({"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "x"},
            {"role": "assistant", "content": [{"type": "tool_use", "name": "f", "input": {}}]},
            {"role": "user", "content": [{"type": "tool_result", "content": "1"}]}]});
        let told = sent(&openai::OpenAi, read_messages(body.to_string().as_bytes()).unwrap()).unwrap();
        let ids = all(&told, &["id", "tool_call_id"]);
        assert_eq!(ids, ["call_0001", "call_0001"]);
    }
}
