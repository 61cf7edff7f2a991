//! Answers written for a client: whole or in chunks, with their cost.

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::{Api, address, details::Details};
use crate::{
    fields::Fields,
    format::{Particulars, Receipt, receipt::UsageObject},
    inference::{CallDelta, Delta, FinishReason, Media, TokenLogprob, Usage},
};

/// A reason as this format spells it.
pub fn finish_word(finish: &FinishReason) -> &str {
    match finish {
        FinishReason::Stop | FinishReason::StopText(_) => "stop",
        FinishReason::Length => "length",
        FinishReason::ToolCalls => "tool_calls",
        FinishReason::ContentFilter => "content_filter",
        FinishReason::Other(word) => word,
    }
}

/// The names of an answer, the same in every chunk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// `chatcmpl-...` or `cmpl-...`.
    pub id: String,
    /// When the answer was made, in seconds since 1970.
    pub created: i64,
    /// The model as the client named it.
    pub model: String,
    /// Chat completions or legacy completions.
    pub api: Api,
}

/// An answer, or a chunk of one, in this format.
#[derive(Serialize)]
struct Envelope<'a> {
    id: &'a str,
    object: &'static str,
    created: i64,
    model: &'a str,
    choices: &'a [Value],
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<UsageObject<'a, PricedUsage<'a>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    farebox: Option<Note<'a>>,
}

/// What Farebox adds to the format.
#[derive(Serialize)]
#[serde(untagged)]
enum Note<'a> {
    /// In a chunk: the rule of Farebox that ended the answer.
    Stop { stop: &'a str },
    /// At the end.
    Whole(&'a Particulars),
}

/// The fields added to an answer that a provider wrote.
#[derive(Serialize)]
struct Gain<'a> {
    usage: UsageObject<'a, PricedUsage<'a>>,
    farebox: &'a Particulars,
}

/// More bytes than an answer's usage and particulars take.
const ROOM: usize = 768;

/// The usage object of an answer whose tokens were counted here.
#[derive(Serialize)]
struct PricedUsage<'a> {
    prompt_tokens: u64,
    completion_tokens: u64,
    total_tokens: u64,
    prompt_tokens_details: CachedTokens,
    completion_tokens_details: ReasoningTokens,
    cost: &'a str,
}

#[derive(Serialize)]
struct CachedTokens {
    cached_tokens: u64,
}

#[derive(Serialize)]
struct ReasoningTokens {
    reasoning_tokens: u64,
}

impl Head {
    fn object(&self, streamed: bool) -> &'static str {
        match (self.api, streamed) {
            (Api::Chat, true) => "chat.completion.chunk",
            (Api::Chat, false) => "chat.completion",
            (Api::Completions, _) => "text_completion",
        }
    }

    fn envelope<'a>(&'a self, streamed: bool, choices: &'a [Value]) -> Envelope<'a> {
        let object = self.object(streamed);
        Envelope {
            id: &self.id,
            object,
            created: self.created,
            model: &self.model,
            choices,
            usage: None,
            farebox: None,
        }
    }

    /// A piece of the answer as a chunk. `first` marks the first chunk of a choice.
    pub fn chunk(&self, delta: &Delta, first: bool, detail: Option<Value>) -> String {
        let finish = delta.finish.as_ref().map(finish_word);
        let choice = match self.api {
            Api::Chat => {
                let mut fields = Map::new();
                if first {
                    fields.insert("role".into(), "assistant".into());
                }
                if first || !delta.text.is_empty() {
                    fields.insert("content".into(), delta.text.clone().into());
                }
                for (name, text) in [("reasoning_content", &delta.reasoning), ("refusal", &delta.refusal)] {
                    if !text.is_empty() {
                        fields.insert(name.into(), text.clone().into());
                    }
                }
                if !delta.images().is_empty() {
                    fields.insert("images".into(), images(delta.images()));
                }
                if let Some(detail) = detail {
                    fields.insert("reasoning_details".into(), json!([detail]));
                }
                if !delta.calls.is_empty() {
                    fields.insert("tool_calls".into(), delta.calls.iter().map(call_chunk).collect());
                }
                json!({"index": delta.choice, "delta": fields, "logprobs": chat_logprobs(&delta.logprobs), "finish_reason": finish})
            }
            Api::Completions => {
                let logprobs = completion_logprobs(&delta.logprobs);
                json!({"index": delta.choice, "text": delta.text, "logprobs": logprobs, "finish_reason": finish})
            }
        };
        let farebox = delta.farebox_stop.as_deref().map(|stop| Note::Stop { stop });
        text(&Envelope { farebox, ..self.envelope(true, &[choice]) })
    }

    /// The last chunk for a client that asked for `stream_options.include_usage`: usage and cost, with no choices.
    pub fn usage_chunk(&self, usage: &Usage, receipt: &Receipt) -> String {
        text(&self.envelope(true, &[]).ended(usage, receipt))
    }

    /// The last chunk for a client that did not ask for usage, and so may read `choices[0]` of every chunk: the chunk that
    /// ends the answer, with usage and cost.
    pub fn ended_chunk(&self, chunk: &str, usage: &Usage, receipt: &Receipt) -> String {
        let Ok(fields) = Fields::parse(chunk.as_bytes()) else { return self.closing_chunk(usage, receipt) };
        let gain = Gain { usage: priced(usage, receipt), farebox: &receipt.farebox };
        String::from_utf8_lossy(&fields.to_json_with(&["usage", "farebox"], &gain, ROOM)).into_owned()
    }

    /// The same of an answer that no chunk ended: an empty choice.
    pub fn closing_chunk(&self, usage: &Usage, receipt: &Receipt) -> String {
        let choice = match self.api {
            Api::Chat => json!({"index": 0, "delta": {}, "logprobs": null, "finish_reason": null}),
            Api::Completions => json!({"index": 0, "text": "", "logprobs": null, "finish_reason": null}),
        };
        text(&self.envelope(true, &[choice]).ended(usage, receipt))
    }

    /// A whole answer from its deltas, as JSON. A provider's own answer keeps its bytes, with the cost added.
    pub fn answer(&self, deltas: &[Delta], usage: &Usage, receipt: &Receipt) -> Vec<u8> {
        if let Some(raw) = deltas.iter().find_map(|delta| delta.raw.of(self.api.format())) {
            let gain = Gain { usage: priced(usage, receipt), farebox: &receipt.farebox };
            return raw.to_json_with(&["usage", "farebox"], &gain, ROOM);
        }
        text(&self.envelope(false, &self.choices(deltas)).ended(usage, receipt)).into_bytes()
    }

    fn choices(&self, deltas: &[Delta]) -> Vec<Value> {
        let most = deltas.iter().map(|delta| delta.choice).max().unwrap_or(0);
        let choice = |index: u32| {
            let own = || deltas.iter().filter(move |delta| delta.choice == index);
            let text: String = own().map(|delta| delta.text.as_str()).collect();
            let logprobs: Vec<_> = own().flat_map(|delta| delta.logprobs.iter().cloned()).collect();
            let finish = own().find_map(|delta| delta.finish.as_ref()).map(finish_word);
            match self.api {
                Api::Chat => {
                    json!({"index": index, "message": message(text, own()),
                    "logprobs": chat_logprobs(&logprobs), "finish_reason": finish})
                }
                Api::Completions => json!({"index": index, "text": text,
                    "logprobs": completion_logprobs(&logprobs), "finish_reason": finish}),
            }
        };
        (0..=most).map(choice).collect()
    }
}

/// The message of a choice, from its text and its deltas.
fn message<'d>(text: String, deltas: impl Iterator<Item = &'d Delta>) -> Value {
    let (mut reasoning, mut refusal, mut calls) = (String::new(), String::new(), Vec::<CallDelta>::new());
    let (mut thoughts, mut details, mut made) = (Details::default(), Vec::new(), Vec::<Media>::new());
    for delta in deltas {
        details.extend(thoughts.add(delta));
        reasoning.push_str(&delta.reasoning);
        refusal.push_str(&delta.refusal);
        made.extend_from_slice(delta.images());
        for piece in &delta.calls {
            match calls.iter_mut().find(|call| call.index == piece.index) {
                Some(call) => call.arguments.push_str(&piece.arguments),
                None => calls.push(piece.clone()),
            }
        }
    }
    let is_silent = text.is_empty() && !(calls.is_empty() && refusal.is_empty() && made.is_empty());
    let content = if is_silent { Value::Null } else { text.into() };
    let refusal = if refusal.is_empty() { Value::Null } else { refusal.into() };
    let mut message = json!({"role": "assistant", "content": content, "refusal": refusal});
    if !reasoning.is_empty() {
        message["reasoning_content"] = reasoning.into();
    }
    if !details.is_empty() {
        message["reasoning_details"] = details.into();
    }
    if !made.is_empty() {
        message["images"] = images(&made);
    }
    if !calls.is_empty() {
        let whole = |call: &CallDelta| {
            let arguments = if call.arguments.is_empty() { "{}" } else { &call.arguments };
            json!({"id": call.id, "type": "function", "function": {"name": call.name, "arguments": arguments}})
        };
        message["tool_calls"] = calls.iter().map(whole).collect();
    }
    message
}

/// Images that the model made, as OpenRouter's API has them beside a message's text.
fn images(images: &[Media]) -> Value {
    let one = |image: &Media| json!({"type": "image_url", "image_url": {"url": address(image, "image/png")}});
    images.iter().map(one).collect()
}

/// A piece of a tool call. Only the first piece has the tool's name.
fn call_chunk(call: &CallDelta) -> Value {
    let mut chunk = json!({"index": call.index});
    if let Some(id) = &call.id {
        chunk["id"] = id.as_str().into();
        chunk["type"] = "function".into();
    }
    chunk["function"] = match &call.name {
        Some(name) => json!({"name": name, "arguments": call.arguments}),
        None => json!({"arguments": call.arguments}),
    };
    chunk
}

impl<'a> Envelope<'a> {
    fn ended(self, usage: &Usage, receipt: &'a Receipt) -> Self {
        Self { usage: Some(priced(usage, receipt)), farebox: Some(Note::Whole(&receipt.farebox)), ..self }
    }
}

/// A usage object with its cost, as JSON: the provider's own, or the one that was counted here.
pub(super) fn usage_object(receipt: &Receipt, counted: Value) -> Value {
    let own = receipt.usage.as_deref().and_then(|own| serde_json::from_str(own).ok());
    let mut usage = own.filter(Value::is_object).unwrap_or(counted);
    if let Value::Object(usage) = &mut usage {
        usage.shift_remove("cost");
        usage.insert("cost".into(), receipt.cost.as_str().into());
    }
    usage
}

/// The usage object of an answer with this usage and receipt.
fn priced<'a>(usage: &Usage, receipt: &'a Receipt) -> UsageObject<'a, PricedUsage<'a>> {
    receipt.usage_object(PricedUsage {
        prompt_tokens: usage.input,
        completion_tokens: usage.output,
        total_tokens: usage.input.saturating_add(usage.output),
        prompt_tokens_details: CachedTokens { cached_tokens: usage.cached_input },
        completion_tokens_details: ReasoningTokens { reasoning_tokens: usage.reasoning },
        cost: &receipt.cost,
    })
}

/// An answer or a chunk as JSON. Every envelope can be written.
fn text(envelope: &Envelope<'_>) -> String {
    let mut json = Vec::with_capacity(ROOM);
    let written = serde_json::to_writer(&mut json, envelope);
    written.ok().and_then(|()| String::from_utf8(json).ok()).unwrap_or_default()
}

/// A token as text. A token whose bytes are no whole characters is spelled in bytes, so that two such tokens stay
/// different.
fn spelled(token: &str, bytes: &[u8], mark: &str) -> String {
    if bytes.is_empty() {
        return token.to_owned();
    }
    std::str::from_utf8(bytes).map_or_else(
        |_| {
            let spell = |byte: &u8| match byte {
                b' '..=b'~' => char::from(*byte).to_string(),
                other => format!("\\x{other:02x}"),
            };
            std::iter::once(mark.to_owned()).chain(bytes.iter().map(spell)).collect()
        },
        str::to_owned,
    )
}

fn chat_logprobs(logprobs: &[TokenLogprob]) -> Value {
    if logprobs.is_empty() {
        return Value::Null;
    }
    json!({"content": tokens(logprobs), "refusal": null})
}

/// The log probabilities of tokens, as chats and responses have them.
pub(super) fn tokens(logprobs: &[TokenLogprob]) -> Vec<Value> {
    let one = |token: &str, bytes: &[u8], logprob: Option<f32>| {
        let written = if bytes.is_empty() { token.as_bytes() } else { bytes };
        json!({"token": spelled(token, bytes, ""), "bytes": written, "logprob": logprob})
    };
    let each = logprobs.iter().map(|chosen| {
        let mut value = one(&chosen.token, &chosen.bytes, chosen.logprob);
        let top = chosen.top.iter().map(|(token, bytes, logprob)| one(token, bytes, Some(*logprob)));
        value["top_logprobs"] = top.collect();
        value
    });
    each.collect()
}

/// The prefix of a spelled token of a completion.
const BYTES: &str = "bytes:";

fn completion_logprobs(logprobs: &[TokenLogprob]) -> Value {
    if logprobs.is_empty() {
        return Value::Null;
    }
    json!({
        "tokens": logprobs.iter().map(|chosen| spelled(&chosen.token, &chosen.bytes, BYTES)).collect::<Vec<_>>(),
        "token_logprobs": logprobs.iter().map(|chosen| chosen.logprob).collect::<Vec<_>>(),
        "top_logprobs": logprobs.iter().map(top_map).collect::<Vec<_>>(),
        "text_offset": logprobs.iter().map(|chosen| chosen.offset).collect::<Vec<_>>(),
    })
}

/// The likeliest tokens of a place, and the chosen token even where it is not among them.
fn top_map(chosen: &TokenLogprob) -> Value {
    let Some(logprob) = chosen.logprob else { return Value::Null };
    let own = (&chosen.token, &chosen.bytes, logprob);
    let all = chosen.top.iter().map(|(token, bytes, logprob)| (token, bytes, *logprob)).chain([own]);
    let mut map = Map::new();
    let mut seen = Vec::new();
    for (token, bytes, logprob) in all {
        if seen.contains(&(token, bytes)) {
            continue;
        }
        seen.push((token, bytes));
        let mut key = spelled(token, bytes, BYTES);
        // A special token and a text token may have the same name.
        while map.contains_key(&key) {
            key.insert_str(0, BYTES);
        }
        map.insert(key, logprob.into());
    }
    Value::Object(map)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        format::openai::read_answer,
        inference::{Event, Format},
    };

    #[test]
    fn an_answer_keeps_all_the_provider_said_and_gains_its_cost() {
        let body =
            br#"{"id":"chatcmpl-1","x":1,"choices":[{"index":0,"message":{"content":"hi"},"finish_reason":"stop"}],
            "usage":{"prompt_tokens":5,"completion_tokens":2,"prompt_tokens_details":{"cached_tokens":3}}}"#;
        let events = read_answer(Format::OpenAiChat, body);
        let [Event::Delta(delta), Event::Reported(report), _] = events.as_slice() else { panic!("{events:?}") };
        assert_eq!((report.input, report.cached_input, report.output), (Some(5), 3, Some(2)));
        let head = Head { id: "i".into(), created: 0, model: "m".into(), api: Api::Chat };
        let mut receipt = Receipt { cost: "0.01".into(), farebox: Particulars::default(), usage: report.own.clone() };
        let counted = Usage { input: 4, output: 3, ..Usage::default() };
        let answer = |receipt: &Receipt| -> Value {
            serde_json::from_slice(&head.answer(std::slice::from_ref(delta), &counted, receipt)).unwrap()
        };
        let whole = answer(&receipt);
        let own = json!({"prompt_tokens": 5, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 3}, "cost": "0.01"});
        assert_eq!((&whole["x"], &whole["usage"]), (&json!(1), &own));
        let last: Value = serde_json::from_str(&head.usage_chunk(&counted, &receipt)).unwrap();
        assert_eq!(last["usage"], own);
        receipt.usage = None;
        let counted = answer(&receipt);
        assert_eq!((&counted["usage"]["total_tokens"], &counted["usage"]["cost"]), (&json!(7), &json!("0.01")));
        receipt.usage = Some(r#"{"cost":0.5}"#.into());
        assert_eq!(answer(&receipt)["usage"], json!({"cost": "0.01"}), "what it costs here");
    }

    fn logprob(token: &str, bytes: &[u8], logprob: Option<f32>, top: &[(&str, &[u8], f32)]) -> TokenLogprob {
        let top = top.iter().map(|(token, bytes, logprob)| ((*token).to_owned(), bytes.to_vec(), *logprob));
        TokenLogprob { token: token.to_owned(), bytes: bytes.to_vec(), logprob, offset: 3, top: top.collect() }
    }

    #[test]
    fn a_completions_tokens_keep_apart_and_the_chosen_one_is_among_them() {
        let parts: [(&str, &[u8], f32); 3] =
            [("\u{fffd}", b"\xf0\x9f", -0.5), ("\u{fffd}", b"\xf0\x9e", -1.0), ("a", b"a", -2.0)];
        let first = logprob("Once", b"Once", None, &[]);
        let chosen = logprob("\u{fffd}", b" \xf0", Some(-4.0), &parts);
        let special = logprob("<|end|>", b"", Some(-0.5), &[("<|end|>", b"", -0.5), ("<|end|>", b"<|end|>", -3.0)]);
        let found = completion_logprobs(&[first, chosen, special]);
        assert_eq!(found["tokens"], json!(["Once", "bytes: \\xf0", "<|end|>"]));
        assert_eq!(found["token_logprobs"], json!([null, -4.0, -0.5]));
        assert_eq!(found["text_offset"], json!([3, 3, 3]));
        let expected = json!([
            null,
            {"bytes:\\xf0\\x9f": -0.5, "bytes:\\xf0\\x9e": -1.0, "a": -2.0, "bytes: \\xf0": -4.0},
            {"<|end|>": -0.5, "bytes:<|end|>": -3.0},
        ]);
        assert_eq!(found["top_logprobs"], expected);
        let none = completion_logprobs(&[logprob("a", b"a", Some(-1.0), &[])]);
        assert_eq!(none["top_logprobs"], json!([{"a": -1.0}]), "0 of them is the chosen one alone");
    }

    #[test]
    fn a_chats_tokens_have_their_bytes() {
        let found = chat_logprobs(&[
            logprob("\u{fffd}", b"\xf0\x9f", Some(-1.0), &[("<|im_end|>", b"", -0.5)]),
            logprob("hi", b"hi", Some(-1.0), &[]),
        ]);
        assert_eq!(found["content"][0]["token"], "\\xf0\\x9f");
        assert_eq!(found["content"][0]["bytes"], json!([0xf0, 0x9f]));
        assert_eq!(found["content"][0]["top_logprobs"][0]["bytes"], json!(b"<|im_end|>"));
        assert_eq!((&found["content"][1]["token"], &found["content"][1]["top_logprobs"]), (&json!("hi"), &json!([])));
    }

    #[test]
    fn the_last_chunk_has_a_choice_unless_usage_was_asked_for() {
        let receipt = Receipt { cost: "0.01".into(), farebox: Particulars::default(), usage: None };
        let usage = Usage::default();
        let of = |api| Head { id: "i".into(), created: 0, model: "m".into(), api };
        let read = |chunk: String| serde_json::from_str::<Value>(&chunk).unwrap();
        for (task, said) in [(Api::Chat, json!({"delta": {}})), (Api::Completions, json!({"text": ""}))] {
            let closing = read(of(task).closing_chunk(&usage, &receipt));
            let mut choice = json!({"index": 0, "logprobs": null, "finish_reason": null});
            choice.as_object_mut().unwrap().extend(said.as_object().unwrap().clone());
            assert_eq!(closing["choices"], json!([choice]));
            assert_eq!((&closing["usage"]["cost"], closing["farebox"].is_object()), (&json!("0.01"), true));
            assert_eq!(read(of(task).usage_chunk(&usage, &receipt))["choices"], json!([]));
        }
    }
}
