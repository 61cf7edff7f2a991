//! A strict stand-in for Cohere's chat, version 2. It knows its fields, and bills what the notes' example does: less than
//! it processed.

use serde_json::{Value, json};

use super::fake_provider::{Asked, Dialect, FakeProvider, Said, TOOL, WORDS, stranger};

pub(crate) const KEY: &str = "cohere-test";
pub(crate) const MODEL: &str = "command-a-03-2025";

pub(crate) fn start() -> FakeProvider {
    let is_stream = |asked: &Asked| asked.body["stream"] == true;
    FakeProvider::start(Dialect { key_header: "authorization", fault, error, answer, is_stream })
}

fn error(_code: u16) -> Value {
    json!({"id": "x", "message": "scripted"})
}

fn refused(said: &str) -> (u16, Value) {
    (400, json!({"id": "x", "message": said}))
}

fn fault(asked: &Asked) -> Option<(u16, Value)> {
    let body = &asked.body;
    if asked.key != format!("Bearer {KEY}") {
        return Some((401, json!({"id": "x", "message": "invalid api token"})));
    }
    if asked.target != "/v2/chat" || body["model"] != MODEL {
        return Some((404, json!({"id": "x", "message": "model not found"})));
    }
    let known = [
        "model",
        "messages",
        "stream",
        "tools",
        "strict_tools",
        "documents",
        "citation_options",
        "response_format",
        "safety_mode",
        "max_tokens",
        "stop_sequences",
        "temperature",
        "seed",
        "frequency_penalty",
        "presence_penalty",
        "k",
        "p",
        "logprobs",
        "tool_choice",
        "thinking",
        "priority",
    ];
    if let Some(name) = stranger(body, &known) {
        return Some(refused(&format!("invalid request: unknown field: {name}")));
    }
    let is_within =
        |name: &str, least: f64, most: f64| body[name].as_f64().is_none_or(|number| (least..=most).contains(&number));
    if !(is_within("p", 0.01, 0.99) && is_within("k", 0.0, 500.0) && is_within("frequency_penalty", 0.0, 1.0)) {
        return Some(refused("invalid request: a number is out of its range"));
    }
    if body.get("tools").is_some() && body.get("response_format").is_some() {
        return Some(refused("cannot specify both response_format and tools"));
    }
    let choice = &body["tool_choice"];
    if !(choice.is_null() || choice == "REQUIRED" || choice == "NONE") {
        return Some(refused("invalid tool_choice"));
    }
    let tools = body["tools"].as_array().map_or(&[][..], Vec::as_slice);
    if tools.iter().any(|tool| stranger(&tool["function"], &["name", "description", "parameters"]).is_some()) {
        return Some(refused("invalid request: unknown field in a tool"));
    }
    let known: [(&str, &[&str]); 4] = [
        ("system", &["role", "content"]),
        ("user", &["role", "content"]),
        ("assistant", &["role", "content", "tool_calls", "tool_plan", "citations"]),
        ("tool", &["role", "content", "tool_call_id"]),
    ];
    let is_odd = |message: &&Value| {
        let known = known.iter().find(|(role, _)| message["role"] == *role);
        known.is_none_or(|(_, known)| stranger(message, known).is_some())
    };
    body["messages"].as_array().unwrap().iter().find(is_odd).map(|_| refused("invalid request: a message is odd"))
}

fn answer(asked: &Asked, has_usage: bool) -> Said {
    let last = asked.body["messages"].as_array().unwrap().last().unwrap();
    let (mut texts, mut plan, mut calls, mut finish) = (Vec::new(), Vec::new(), Vec::new(), "COMPLETE");
    if last["role"] == "tool" {
        texts.extend(["It is ", last["content"].as_str().unwrap()]);
    } else if asked.body.get("tools").is_some() {
        plan.extend(["let me ", "see"]);
        calls.extend(["{\"place\":", "\"Paris\",\"days\":3}"]);
        finish = "TOOL_CALL";
    } else if asked.body["response_format"]["json_schema"].is_object() {
        texts.extend(["{\"sky\":", "\"blue\"}"]);
    } else {
        texts.extend(WORDS);
    }
    let mut end = json!({"finish_reason": finish});
    if has_usage {
        end["usage"] = json!({"billed_units": {"input_tokens": 120.0, "output_tokens": 60.0},
            "tokens": {"input_tokens": 620.0, "output_tokens": 65.0}, "cached_tokens": 512.0});
    }
    let event = |kind: &str, index: Option<u32>, delta: Value| {
        let mut event = json!({"type": kind, "delta": delta});
        if let Some(index) = index {
            event["index"] = index.into();
        }
        format!("event: {kind}\ndata: {event}\n\n")
    };
    let message = |message: Value| json!({"message": message});
    let mut pieces =
        vec![event("message-start", None, message(json!({"role": "assistant", "content": [], "tool_plan": ""})))];
    pieces.extend(plan.iter().map(|text| event("tool-plan-delta", None, message(json!({"tool_plan": text})))));
    if !texts.is_empty() {
        pieces.push(event("content-start", Some(0), message(json!({"content": {"type": "text", "text": ""}}))));
        pieces.extend(
            texts.iter().map(|text| event("content-delta", Some(0), message(json!({"content": {"text": text}})))),
        );
        pieces.push(event("content-end", Some(0), Value::Null));
    }
    let call = |arguments: &str| json!({"id": "weather_1", "type": "function", "function": {"name": TOOL, "arguments": arguments}});
    if !calls.is_empty() {
        pieces.push(event("tool-call-start", Some(0), message(json!({"tool_calls": call("")}))));
        let more = |text: &&str| {
            event("tool-call-delta", Some(0), message(json!({"tool_calls": {"function": {"arguments": text}}})))
        };
        pieces.extend(calls.iter().map(more));
        pieces.push(event("tool-call-end", Some(0), Value::Null));
    }
    pieces.push(event("message-end", None, end.clone()));
    let mut told = json!({"role": "assistant", "content": [{"type": "text", "text": texts.concat()}]});
    if !calls.is_empty() {
        told = json!({"role": "assistant", "tool_plan": plan.concat(), "tool_calls": [call(&calls.concat())]});
    }
    let mut whole = json!({"id": "c1", "message": told});
    whole.as_object_mut().unwrap().extend(end.as_object().unwrap().clone());
    Said { whole, pieces }
}
