//! A strict stand-in for OpenAI's chats, responses and embeddings: it refuses what OpenAI would, calls the tools that it
//! is given, fits schemas, thinks where the model is `gpt-5-mini`, and reports 20 tokens of input and 6 of output.

mod rules;

use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};

use super::{
    fake_provider::{Asked, Dialect, FakeProvider, Said, WORDS, fitting},
    fake_responses,
};

/// The encrypted content of every thought.
const PROOF: &str = "proof-of-the-fake";

/// The number of the next response, which its ids have.
static RESPONSES: AtomicUsize = AtomicUsize::new(1);

pub(crate) fn start() -> FakeProvider {
    let is_stream = |asked: &Asked| asked.body["stream"] == true;
    let error = |status| rules::refusal(status, "scripted", "").1;
    FakeProvider::start(Dialect { key_header: "authorization", fault: rules::fault, error, answer, is_stream })
}

fn answer(asked: &Asked, has_usage: bool) -> Said {
    match &*asked.target {
        "/v1/chat/completions" => chat(&asked.body, has_usage),
        "/v1/responses" => response(&asked.body, has_usage),
        _ => vectors(&asked.body),
    }
}

/// What is to be said: words in pieces, or a call of a tool.
enum Saying {
    Words(Vec<String>),
    Call { name: String, arguments: String },
}

/// Calls the first tool until its result is the last that was said; fits the schema where there is one.
fn saying(result: Option<&Value>, tool: Option<&Value>, parameters: &Value, schema: &Value) -> Saying {
    if let Some(result) = result {
        return Saying::Words(vec!["It is ".into(), result.as_str().unwrap_or_default().into(), ".".into()]);
    }
    if let Some(name) = tool {
        return Saying::Call { name: name.as_str().unwrap().into(), arguments: fitting(parameters).to_string() };
    }
    if schema.is_object() {
        return Saying::Words(fitting(schema).to_string().split_inclusive(':').map(str::to_owned).collect());
    }
    Saying::Words(WORDS.map(str::to_owned).into())
}

/// The pieces of arguments: a half, and the other half.
fn halves(text: &str) -> [&str; 2] {
    text.split_at(text.len() / 2).into()
}

fn chat(body: &Value, has_usage: bool) -> Said {
    let last = body["messages"].as_array().unwrap().last().unwrap();
    let result = (last["role"] == "tool").then_some(&last["content"]);
    let function = &body["tools"][0]["function"];
    let schema = &body["response_format"]["json_schema"]["schema"];
    let said = saying(result, function.get("name"), &function["parameters"], schema);
    let mut deltas = vec![json!({"role": "assistant", "content": ""})];
    let (message, finish) = match &said {
        Saying::Words(words) => {
            deltas.extend(words.iter().map(|word| json!({"content": word})));
            (json!({"role": "assistant", "content": words.concat(), "refusal": null, "annotations": []}), "stop")
        }
        Saying::Call { name, arguments } => {
            let call = |arguments: &str| json!({"id": "call_1", "type": "function", "function": {"name": name, "arguments": arguments}});
            let mut begun = call("");
            begun["index"] = 0.into();
            deltas.push(json!({"tool_calls": [begun]}));
            let more = |part: &str| json!({"tool_calls": [{"index": 0, "function": {"arguments": part}}]});
            deltas.extend(halves(arguments).map(more));
            (json!({"role": "assistant", "content": null, "tool_calls": [call(arguments)]}), "tool_calls")
        }
    };
    let envelope = |kind: &str, choices: Value| {
        json!({"id": "chatcmpl-1", "object": kind, "created": 1, "model": body["model"],
        "service_tier": "default", "system_fingerprint": null, "choices": choices})
    };
    let usage = json!({"prompt_tokens": 20, "completion_tokens": 6, "total_tokens": 26,
        "prompt_tokens_details": {"cached_tokens": 0}, "completion_tokens_details": {"reasoning_tokens": 0}});
    let mut whole = envelope(
        "chat.completion",
        json!([{"index": 0, "message": message, "logprobs": null, "finish_reason": finish}]),
    );
    let chunk = |delta: &Value, finish: Value| {
        envelope("chat.completion.chunk", json!([{"index": 0, "delta": delta, "finish_reason": finish}]))
    };
    let mut chunks: Vec<Value> = deltas.iter().map(|delta| chunk(delta, Value::Null)).collect();
    chunks.push(chunk(&json!({}), finish.into()));
    if has_usage && body["stream_options"]["include_usage"] == true {
        let mut last = envelope("chat.completion.chunk", json!([]));
        last["usage"] = usage.clone();
        chunks.push(last);
    }
    if has_usage {
        whole["usage"] = usage;
    }
    let pieces = chunks.iter().map(Value::to_string).chain(["[DONE]".into()]);
    Said { whole, pieces: pieces.map(|chunk| format!("data: {chunk}\n\n")).collect() }
}

fn response(body: &Value, has_usage: bool) -> Said {
    let number = RESPONSES.fetch_add(1, Ordering::Relaxed);
    let last = body["input"].as_array().and_then(|items| items.last());
    let result = last.filter(|item| item["type"] == "function_call_output").map(|item| &item["output"]);
    let tool = &body["tools"][0];
    let said = saying(result, tool.get("name"), &tool["parameters"], &body["text"]["format"]["schema"]);
    let (item, pieces) = match &said {
        Saying::Words(words) => {
            let part = json!({"type": "output_text", "text": words.concat(), "annotations": [], "logprobs": []});
            let item = json!({"id": format!("msg_{number}"), "type": "message", "status": "completed", "role": "assistant", "content": [part]});
            (item, words.clone())
        }
        Saying::Call { name, arguments } => {
            let item = json!({"id": format!("fc_{number}"), "type": "function_call", "status": "completed", "call_id": "call_1",
                "name": name, "arguments": arguments});
            (item, halves(arguments).map(str::to_owned).into())
        }
    };
    let mut output = Vec::new();
    if body["model"] == "gpt-5-mini" {
        let wants_proof =
            body["include"].as_array().is_some_and(|wanted| wanted.contains(&json!("reasoning.encrypted_content")));
        let mut thought = json!({"id": format!("rs_{number}"), "type": "reasoning", "summary": [{"type": "summary_text", "text": "I think"}]});
        thought["encrypted_content"] = if wants_proof { PROOF.into() } else { Value::Null };
        output.push(thought);
    }
    let usage = json!({"input_tokens": 20, "input_tokens_details": {"cached_tokens": 0}, "output_tokens": 6,
        "output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": 26});
    let whole = |status: &str, output: &[Value], usage: Value| {
        json!({"id": format!("resp_{number}"), "object": "response", "created_at": 1, "status": status, "error": null,
            "incomplete_details": null, "instructions": null, "max_output_tokens": null, "model": body["model"],
            "output": output, "parallel_tool_calls": true, "previous_response_id": null, "reasoning": {"effort": null},
            "store": body["store"] != false, "temperature": 1.0, "text": {"format": {"type": "text"}}, "tool_choice": "auto",
            "tools": [], "top_p": 1.0, "truncation": "disabled", "usage": usage, "metadata": {}})
    };
    let begun = |kind: &str| json!({"type": kind, "response": whole("in_progress", &[], Value::Null)});
    let mut events = vec![begun("response.created"), begun("response.in_progress")];
    for thought in &output {
        events.extend(of_thought(thought));
    }
    events.extend(fake_responses::of_item(&item, &pieces, output.len()));
    output.push(item);
    let whole = whole("completed", &output, if has_usage { usage } else { Value::Null });
    events.push(json!({"type": "response.completed", "response": whole}));
    let numbered = events.into_iter().enumerate().map(|(number, mut event)| {
        event["sequence_number"] = number.into();
        format!("event: {}\ndata: {event}\n\n", event["type"].as_str().unwrap())
    });
    Said { pieces: numbered.collect(), whole }
}

fn of_thought(thought: &Value) -> [Value; 6] {
    let mut begun = thought.clone();
    begun["summary"] = json!([]);
    let (part, empty) = (&thought["summary"][0], json!({"type": "summary_text", "text": ""}));
    let about = |kind: &str, name: &str, value: &Value| {
        json!({"type": format!("response.reasoning_summary_{kind}"), "item_id": thought["id"],
        "output_index": 0, "summary_index": 0, name: value})
    };
    [
        json!({"type": "response.output_item.added", "output_index": 0, "item": begun}),
        about("part.added", "part", &empty),
        about("text.delta", "delta", &part["text"]),
        about("text.done", "text", &part["text"]),
        about("part.done", "part", part),
        json!({"type": "response.output_item.done", "output_index": 0, "item": thought}),
    ]
}

/// Vectors of two numbers: a half, and minus one.
fn vectors(body: &Value) -> Said {
    let count = body["input"].as_array().map_or(1, Vec::len);
    let vector = if body["encoding_format"] == "base64" { json!("AAAAPwAAgL8=") } else { json!([0.5, -1.0]) };
    let data: Vec<_> =
        (0..count).map(|index| json!({"object": "embedding", "index": index, "embedding": vector})).collect();
    let usage = json!({"prompt_tokens": 20, "total_tokens": 20});
    let whole = json!({"object": "list", "data": data, "model": body["model"], "usage": usage});
    Said { whole, pieces: Vec::new() }
}
