//! A strict stand-in for Cohere's chat, embeddings and reranking, version 2. It knows their fields, and bills what the notes'
//! example does: less than it processed. Documents have the score of how many of the query's words they have.

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
    // A customer's own key begins as ours does.
    if !asked.key.starts_with(&format!("Bearer {KEY}")) {
        return Some((401, json!({"id": "x", "message": "invalid api token"})));
    }
    if asked.target == "/v2/rerank" {
        return rerank_fault(body);
    }
    if asked.target == "/v2/embed" {
        return embed_fault(body);
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

/// What is wrong with a request of vectors.
fn embed_fault(body: &Value) -> Option<(u16, Value)> {
    if !body["model"].as_str().is_some_and(|model| model.starts_with("embed-")) {
        return Some((404, json!({"id": "x", "message": "model not found"})));
    }
    let known = [
        "model",
        "texts",
        "images",
        "inputs",
        "input_type",
        "embedding_types",
        "output_dimension",
        "max_tokens",
        "truncate",
        "priority",
    ];
    if let Some(name) = stranger(body, &known) {
        return Some(refused(&format!("invalid request: unknown field: {name}")));
    }
    if !body["input_type"].is_string() {
        return Some(refused("invalid request: valid input_type must be provided with the provided model"));
    }
    let inputs = ["texts", "images", "inputs"].into_iter().filter_map(|name| body[name].as_array());
    let inputs: Vec<_> = inputs.filter(|list| !list.is_empty()).collect();
    (inputs.len() != 1 || inputs[0].len() > 96).then(|| refused("invalid request: a field is wrong"))
}

/// Vectors of two numbers, by their types; a word is a token.
fn vectors(body: &Value, has_usage: bool) -> Said {
    let inputs = ["texts", "images", "inputs"].into_iter().find_map(|name| body[name].as_array()).unwrap();
    let types = body["embedding_types"].as_array().cloned().unwrap_or_else(|| vec![json!("float")]);
    let vector = |kind: &Value| match kind.as_str().unwrap() {
        "float" => json!([0.5, -1.0]),
        "base64" => json!("AAAAPwAAgL8="),
        "int8" => json!([64, -128]),
        _ => json!([1]),
    };
    let of_type = |kind: &Value| (kind.as_str().unwrap().to_owned(), json!(vec![vector(kind); inputs.len()]));
    let embeddings: serde_json::Map<String, Value> = types.iter().map(of_type).collect();
    let words =
        inputs.iter().map(|text| text.as_str().map_or(1, |text| text.split_whitespace().count())).sum::<usize>();
    let mut meta = json!({"api_version": {"version": "2"}});
    if has_usage {
        meta["billed_units"] = json!({"input_tokens": f64::from(u32::try_from(words).unwrap())});
    }
    let whole = json!({"id": "e1", "embeddings": embeddings, "texts": body["texts"], "meta": meta,
        "response_type": "embeddings_by_type"});
    Said { whole, pieces: Vec::new() }
}

/// What is wrong with a request to order documents.
fn rerank_fault(body: &Value) -> Option<(u16, Value)> {
    if !body["model"].as_str().is_some_and(|model| model.starts_with("rerank-") || model == "my-rerank") {
        return Some((404, json!({"id": "x", "message": "model not found"})));
    }
    let known = ["model", "query", "documents", "top_n", "max_tokens_per_doc", "priority"];
    if let Some(name) = stranger(body, &known) {
        return Some(refused(&format!("invalid request: unknown field: {name}")));
    }
    let is_text = |value: &Value| value.as_str().is_some_and(|text| !text.is_empty());
    let documents = body["documents"].as_array().filter(|list| !list.is_empty() && list.iter().all(is_text));
    let is_count = |name: &str| body.get(name).is_none_or(|number| number.as_u64().is_some_and(|number| number > 0));
    let is_sound = is_text(&body["query"]) && is_count("top_n") && is_count("max_tokens_per_doc");
    (!is_sound || documents.is_none_or(|list| list.len() > 10_000))
        .then(|| refused("invalid request: a field is wrong"))
}

/// The results of a request to order documents, the best first.
pub(crate) fn ranked(body: &Value) -> Vec<Value> {
    let words = |text: &Value| text.as_str().unwrap().split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let query = words(&body["query"]);
    let found = |document: &Value| {
        let document = words(document);
        query.iter().filter(|word| document.contains(word)).count()
    };
    let documents = body["documents"].as_array().unwrap();
    let mut places: Vec<_> = documents.iter().map(found).enumerate().collect();
    places.sort_by_key(|(_, found)| std::cmp::Reverse(*found));
    let most = body["top_n"].as_u64().map_or(places.len(), |most| usize::try_from(most).unwrap());
    let result = |(index, found): (usize, usize)| {
        let score = f64::from(u32::try_from(found).unwrap()) / f64::from(u32::try_from(query.len()).unwrap());
        json!({"index": index, "relevance_score": score})
    };
    places.into_iter().take(most).map(result).collect()
}

/// Bills units of search, and tokens from version 5 on: a word each, with those of the query for each document.
fn ranking(body: &Value, has_usage: bool) -> Said {
    let documents = body["documents"].as_array().unwrap();
    let units = u32::try_from(documents.len().div_ceil(100)).unwrap();
    let mut meta = json!({"api_version": {"version": "2"}, "tokens": {"input_tokens": 99_999.0}});
    if has_usage && body["model"].as_str().unwrap().starts_with("rerank-v5") {
        meta["billed_units"] = json!({"input_tokens": f64::from(words_of_pairs(body))});
    } else if has_usage {
        meta["billed_units"] = json!({"search_units": f64::from(units)});
    }
    Said { whole: json!({"id": "r1", "results": ranked(body), "meta": meta}), pieces: Vec::new() }
}

/// The words of each document and, with each, of the query.
pub(crate) fn words_of_pairs(body: &Value) -> u32 {
    let words = |text: &Value| text.as_str().unwrap().split_whitespace().count();
    let documents = body["documents"].as_array().unwrap();
    let sum = documents.iter().map(words).sum::<usize>() + documents.len() * words(&body["query"]);
    u32::try_from(sum).unwrap()
}

/// What a tool returned: a text, or a document with one.
fn result(message: &Value) -> &str {
    let document = &message["content"][0]["document"]["data"]["sky"];
    message["content"].as_str().or_else(|| document.as_str()).unwrap()
}

fn answer(asked: &Asked, has_usage: bool) -> Said {
    if asked.target == "/v2/rerank" {
        return ranking(&asked.body, has_usage);
    }
    if asked.target == "/v2/embed" {
        return vectors(&asked.body, has_usage);
    }
    let last = asked.body["messages"].as_array().unwrap().last().unwrap();
    let (mut texts, mut plan, mut calls, mut finish) = (Vec::new(), Vec::new(), Vec::new(), "COMPLETE");
    if last["role"] == "tool" {
        texts.extend(["It is ", result(last)]);
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
    if asked.body["documents"].is_array() {
        let citation = json!({"start": 0, "end": 5, "text": "Hello", "sources": [{"type": "document", "id": "d"}]});
        pieces.push(event("citation-start", Some(0), message(json!({"citations": citation}))));
        pieces.push(event("citation-end", Some(0), Value::Null));
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
    pieces.push("data: [DONE]\n\n".to_owned());
    let mut told = json!({"role": "assistant", "content": [{"type": "text", "text": texts.concat()}]});
    if !calls.is_empty() {
        told = json!({"role": "assistant", "tool_plan": plan.concat(), "tool_calls": [call(&calls.concat())]});
    }
    if asked.body["documents"].is_array() {
        told["citations"] =
            json!([{"start": 0, "end": 5, "text": "Hello", "sources": [{"type": "document", "id": "d"}]}]);
    }
    let mut whole = json!({"id": "c1", "message": told});
    whole.as_object_mut().unwrap().extend(end.as_object().unwrap().clone());
    Said { whole, pieces }
}
