//! The calls of a streamed answer, told apart. OpenAI numbers them; some servers write no numbers, or the same one for all, and
//! then a call with a name and another id is another call. An id that is new with each piece, without a name, is none.

use serde_json::Value;

use crate::inference::{CallDelta, Delta, Event, Raw};

/// The most calls of one answer. What comes beyond them belongs to the last.
const MOST_CALLS: usize = 1_024;

/// The calls of an answer so far.
#[derive(Debug, Default)]
pub(super) struct Calls(Vec<Known>);

/// A call that began.
#[derive(Debug)]
struct Known {
    choice: u32,
    /// Its number as the server writes it, or its place in its list.
    said: u32,
    id: Option<String>,
    /// Its number in its choice.
    index: u32,
    /// Whether it has no arguments yet.
    is_bare: bool,
}

impl Calls {
    /// Numbers the calls of all pieces.
    pub(super) fn tell_apart_all(&mut self, events: &mut [Event]) {
        for event in events {
            if let Event::Delta(delta) = event {
                self.tell_apart(delta);
            }
        }
    }

    /// Numbers the calls of a piece. The end of a choice with calls says so, and those without arguments get an empty object:
    /// clients read all arguments as JSON.
    fn tell_apart(&mut self, delta: &mut Delta) {
        let choice = delta.choice;
        for call in &mut delta.calls {
            call.id = call.id.take().filter(|id| !id.is_empty());
            call.index = self.index(choice, call);
        }
        number_original(delta);
        let own = self.0.iter_mut().filter(|known| known.choice == choice);
        if let Some(finish) = delta.finish.take() {
            let own: Vec<_> = own.collect();
            delta.finish = Some(finish.with_calls(!own.is_empty()));
            for known in own.into_iter().filter(|known| known.is_bare) {
                known.is_bare = false;
                let (index, arguments) = (known.index, "{}".to_owned());
                match delta.calls.iter_mut().find(|call| call.index == index) {
                    Some(call) => call.arguments = arguments,
                    None => delta.calls.push(CallDelta { index, arguments, ..CallDelta::default() }),
                }
            }
        }
    }

    fn index(&mut self, choice: u32, call: &CallDelta) -> u32 {
        let is_named = call.name.as_ref().is_some_and(|name| !name.is_empty());
        let count = self.0.iter().filter(|known| known.choice == choice).count();
        let find = |is: &dyn Fn(&Known) -> bool| self.0.iter().rposition(|known| known.choice == choice && is(known));
        let has_id = |known: &Known| call.id.is_some() && known.id == call.id;
        let place = find(&|known| has_id(known) && known.said == call.index)
            .or_else(|| find(&|known| has_id(known) && !is_named))
            .or_else(|| find(&|known| known.said == call.index && (call.id.is_none() || !is_named)))
            .or_else(|| find(&|_| count >= MOST_CALLS));
        if let Some(known) = place.and_then(|place| self.0.get_mut(place)) {
            if known.id.is_none() {
                known.id.clone_from(&call.id);
            }
            known.is_bare &= call.arguments.is_empty();
            return known.index;
        }
        let index = u32::try_from(count).unwrap_or(u32::MAX);
        self.0.push(Known { choice, said: call.index, id: call.id.clone(), index, is_bare: call.arguments.is_empty() });
        index
    }
}

/// Writes the numbers of a piece's calls to its original, where it has none or others: clients of its format join pieces by them.
fn number_original(delta: &mut Delta) {
    let Raw::Own(_, fields) = &mut delta.raw else { return };
    if delta.calls.is_empty() {
        return;
    }
    let choices = fields.present("choices").and_then(|json| serde_json::from_str::<Vec<Value>>(json).ok());
    let Some(mut choices) = choices else { return };
    let is_own =
        |choice: &&mut Value| choice.get("index").and_then(Value::as_u64).unwrap_or(0) == u64::from(delta.choice);
    let listed = choices.iter_mut().find(is_own).and_then(|choice| choice.pointer_mut("/delta/tool_calls"));
    let listed = listed.and_then(Value::as_array_mut).into_iter().flatten();
    let called = listed.filter(|call| ["function", "custom"].iter().any(|kind| call[*kind].is_object()));
    let mut is_other = false;
    for (said, call) in called.zip(&delta.calls) {
        if said["index"] != call.index {
            said["index"] = call.index.into();
            is_other = true;
        }
    }
    if is_other {
        fields.set("choices", &choices);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inference::FinishReason;

    /// The numbers of calls that come one by one: what is said, an id and a name.
    fn numbers(pieces: &[(u32, &str, &str)]) -> Vec<u32> {
        let mut calls = Calls::default();
        let text = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        let each = pieces.iter().map(|(index, id, name)| {
            let call = CallDelta { index: *index, id: Some((*id).to_owned()), name: text(name), arguments: "x".into() };
            let mut delta = Delta { calls: vec![call], ..Delta::default() };
            calls.tell_apart(&mut delta);
            delta.calls[0].index
        });
        each.collect()
    }

    #[test]
    fn another_id_is_another_call_and_a_piece_without_one_goes_on() {
        let usual = [(0, "a", "f"), (0, "", ""), (1, "b", "g"), (0, "", ""), (1, "", "")];
        assert_eq!(numbers(&usual), [0, 0, 1, 0, 1]);
        let all_zero = [(0, "a", "f"), (0, "", ""), (0, "b", "f"), (0, "", ""), (0, "c", "g")];
        assert_eq!(numbers(&all_zero), [0, 0, 1, 1, 2]);
        let repeated = [(0, "a", "f"), (0, "a", "f"), (0, "b", "g"), (0, "a", ""), (0, "b", "g")];
        assert_eq!(numbers(&repeated), [0, 0, 1, 0, 1]);
        let unlisted = [(0, "a", "f"), (1, "b", "g"), (0, "b", ""), (0, "c", "h")];
        assert_eq!(numbers(&unlisted), [0, 1, 1, 2]);
        assert_eq!(numbers(&[(0, "a", "f"), (0, "z1", ""), (0, "z2", "")]), [0, 0, 0], "an id for each piece");
        assert_eq!(numbers(&[(0, "", "f"), (1, "", "f"), (0, "", "f")]), [0, 1, 0], "no ids at all");
        assert_eq!(numbers(&[(0, "call", "f"), (1, "call", "g")]), [0, 1], "one id for all");
        let many: Vec<String> = (0..2_000).map(|number| number.to_string()).collect();
        let many: Vec<_> = many.iter().map(|id| (0, &**id, "f")).collect();
        assert_eq!(numbers(&many).last(), Some(&1_023));
    }

    #[test]
    fn the_end_of_a_choice_with_calls_says_so() {
        let mut calls = Calls::default();
        let call = CallDelta { id: Some("a".into()), name: Some("f".into()), ..CallDelta::default() };
        let mut end = |choice, finish: FinishReason| {
            let mut delta = Delta { choice, finish: Some(finish), ..Delta::default() };
            calls.tell_apart(&mut Delta { calls: vec![call.clone()], ..Delta::default() });
            calls.tell_apart(&mut delta);
            delta.finish
        };
        assert_eq!(end(0, FinishReason::Stop), Some(FinishReason::ToolCalls));
        assert_eq!(end(1, FinishReason::Stop), Some(FinishReason::Stop), "of another choice");
        assert_eq!(end(0, FinishReason::Length), Some(FinishReason::Length));
    }

    #[test]
    fn a_call_without_arguments_has_an_empty_object_at_the_end() {
        let mut calls = Calls::default();
        let call = CallDelta { id: Some("a".into()), name: Some("f".into()), ..CallDelta::default() };
        let whole = CallDelta { index: 1, id: Some("b".into()), arguments: r#"{"x":1}"#.into(), ..call.clone() };
        calls.tell_apart(&mut Delta { calls: vec![call.clone(), whole], ..Delta::default() });
        let mut end = Delta { finish: Some(FinishReason::ToolCalls), ..Delta::default() };
        calls.tell_apart(&mut end);
        assert_eq!(end.calls, [CallDelta { index: 0, arguments: "{}".into(), ..CallDelta::default() }]);
        let mut at_once = Delta { calls: vec![call.clone()], finish: Some(FinishReason::Stop), ..Delta::default() };
        Calls::default().tell_apart(&mut at_once);
        assert_eq!(at_once.calls, [CallDelta { arguments: "{}".into(), ..call }]);
    }
}
