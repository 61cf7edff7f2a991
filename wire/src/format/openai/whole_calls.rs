//! Calls for clients that read each of them in one piece: Mistral's libraries want a call's name wherever it stands, and OpenAI's
//! providers write it once, before the arguments. Other clients join the pieces, the name among them, so they get them as they
//! come.

use std::collections::BTreeMap;

use crate::inference::{CallDelta, Delta, Raw, Request};

/// What such a client says in `user-agent`: of Python, of TypeScript, and as the generator of both has it.
const CLIENTS: [&str; 2] = ["mistral-client-", "mistralai"];

/// The calls of an answer so far, by their choice and their index.
#[derive(Debug, Default)]
pub(super) struct WholeCalls(BTreeMap<(u32, u32), CallDelta>);

impl WholeCalls {
    /// For the client of a request; `None` where it reads pieces.
    pub(super) fn of(request: &Request) -> Option<Self> {
        let mut headers = request.source.headers.iter();
        let wants_whole =
            headers.any(|(name, value)| **name == *"user-agent" && CLIENTS.iter().any(|client| value.contains(client)));
        wants_whole.then(Self::default)
    }

    /// Keeps the calls of a piece, and gives all of its choice to the one that ends it. Such a piece is written in our words.
    /// Returns whether there is anything left to write.
    pub(super) fn keep(&mut self, delta: &mut Delta) -> bool {
        let choice = delta.choice;
        let is_of_calls = !delta.calls.is_empty();
        for call in std::mem::take(&mut delta.calls) {
            let whole = self.0.entry((choice, call.index)).or_default();
            whole.index = call.index;
            whole.id = whole.id.take().or(call.id);
            whole.name = whole.name.take().or(call.name);
            whole.arguments.push_str(&call.arguments);
        }
        if delta.finish.is_some() {
            let all = std::mem::take(&mut self.0);
            let (own, others) = all.into_iter().partition(|((of, _), _)| *of == choice);
            self.0 = others;
            let own: BTreeMap<_, _> = own;
            delta.calls = own.into_values().collect();
        }
        if is_of_calls || !delta.calls.is_empty() {
            delta.raw = Raw::None;
        }
        !is_of_calls || !delta.is_silent() || !delta.calls.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        format::{AnswerWriter as _, End, Particulars, Receipt, openai::Writer, openai::read_chat},
        inference::{FinishReason, Usage},
        sse,
    };

    fn written(user_agent: &str) -> Vec<serde_json::Value> {
        let mut request =
            read_chat(br#"{"model":"m","stream":true,"messages":[{"role":"user","content":"x"}]}"#).unwrap();
        request.source.headers.push(("user-agent".into(), user_agent.into()));
        let mut writer = Writer::new(&request, "0", 1);
        let call = |name: Option<&str>, arguments: &str| CallDelta {
            index: 0,
            id: name.map(|_| "c1".to_owned()),
            name: name.map(str::to_owned),
            arguments: arguments.to_owned(),
        };
        let of = |call: CallDelta| Delta { calls: vec![call], ..Delta::default() };
        let end = Delta { finish: Some(FinishReason::ToolCalls), ..Delta::default() };
        let pieces = [
            Delta { text: "hm".into(), ..Delta::default() },
            of(call(Some("sky"), "")),
            of(call(None, "{\"at\"")),
            of(call(None, ":1}")),
            end,
        ];
        let events: String = pieces.into_iter().filter_map(|piece| writer.delta(piece)).collect();
        let receipt = Receipt { cost: "0.01".into(), farebox: Particulars::default(), usage: None };
        let events = events + &writer.end(&End { usage: Usage::default(), receipt, is_cut: false });
        let data = events.split("\n\n").filter_map(|event| event.strip_prefix("data: "));
        data.filter(|data| *data != sse::LAST_WORD).map(|data| serde_json::from_str(data).unwrap()).collect()
    }

    #[test]
    fn a_client_that_wants_a_name_in_each_piece_gets_each_call_in_one() {
        let chunks = written("mistral-client-python/3.7.0");
        let calls: Vec<_> = chunks.iter().map(|chunk| &chunk["choices"][0]["delta"]["tool_calls"]).collect();
        assert_eq!((chunks.len(), calls[0].is_null()), (2, true), "{chunks:?}");
        let function = &calls[1][0]["function"];
        assert_eq!((&function["name"], &function["arguments"]), (&"sky".into(), &"{\"at\":1}".into()));
        assert_eq!(chunks[1]["choices"][0]["finish_reason"], "tool_calls");
        assert_eq!(written("OpenAI/Python 3.57.0").len(), 5, "as they come");
    }
}
