//! A strict stand-in for the Gemini API. It has one model that answers and one that makes vectors, knows its fields, checks the turns and the proofs of calls as
//! Google does, and reports the usage of the notes' example.

use serde_json::{Value, json};

use super::fake_provider::{Asked, Dialect, FakeProvider, Said, TOOL, WORDS, stranger};

pub(crate) const KEY: &str = "goog-test";
pub(crate) const MODEL: &str = "gemini-3.8-flash";
pub(crate) const EMBEDS: &str = "gemini-embedding-001";
pub(crate) const PROOF: &str = "cHJvb2Y=";

pub(crate) fn start() -> FakeProvider {
    let is_stream = |asked: &Asked| asked.target.contains(":streamGenerateContent");
    FakeProvider::start(Dialect { key_header: "x-goog-api-key", fault, error, answer, is_stream })
}

fn status(status: u16) -> &'static str {
    match status {
        400 => "INVALID_ARGUMENT",
        403 => "PERMISSION_DENIED",
        404 => "NOT_FOUND",
        429 => "RESOURCE_EXHAUSTED",
        503 => "UNAVAILABLE",
        _ => "INTERNAL",
    }
}

fn error(code: u16) -> Value {
    let retry = json!({"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "7s"});
    json!([{"error": {"code": code, "message": "scripted", "status": status(code), "details": [retry]}}])
}

fn refusal(code: u16, message: &str) -> (u16, Value) {
    (code, json!({"error": {"code": code, "message": message, "status": status(code)}}))
}

fn fault(asked: &Asked) -> Option<(u16, Value)> {
    if asked.key != KEY {
        let info = json!({"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"});
        let said = "API key not valid. Please pass a valid API key.";
        let error = json!({"code": 400, "message": said, "status": "INVALID_ARGUMENT", "details": [info]});
        return Some((400, json!([{"error": error}])));
    }
    let of = |model: &str| asked.target.strip_prefix(&format!("/v1beta/models/{model}:"));
    match (of(MODEL), of(EMBEDS)) {
        (Some("generateContent" | "streamGenerateContent?alt=sse"), _) => {}
        (Some("countTokens"), _) => return counts(&asked.body).err().map(|said| refusal(400, &said)),
        (_, Some("embedContent")) => return embeds(&asked.body, false).err().map(|said| refusal(400, &said)),
        (_, Some("batchEmbedContents")) => return many(&asked.body).err().map(|said| refusal(400, &said)),
        _ => return Some(refusal(404, "the model or its method is not found")),
    }
    let known = ["contents", "systemInstruction", "tools", "toolConfig", "generationConfig", "safetySettings"];
    let config = [
        "maxOutputTokens",
        "temperature",
        "topP",
        "topK",
        "candidateCount",
        "stopSequences",
        "seed",
        "responseMimeType",
        "responseSchema",
        "responseJsonSchema",
        "thinkingConfig",
        "presencePenalty",
        "frequencyPenalty",
        "responseLogprobs",
        "logprobs",
    ];
    let unknown = stranger(&asked.body, &known).or_else(|| stranger(&asked.body["generationConfig"], &config));
    if let Some(name) = unknown {
        let said = format!("Invalid JSON payload received. Unknown name \"{name}\": Cannot find field.");
        return Some(refusal(400, &said));
    }
    if asked.body["generationConfig"]["temperature"] == 0.125 {
        return Some(refusal(503, "The model is overloaded. Please try again later."));
    }
    turns(&asked.body["contents"]).err().map(|said| refusal(400, said))
}

fn unknown(object: &Value, known: &[&str]) -> Result<(), String> {
    stranger(object, known).map_or(Ok(()), |name| Err(format!("Unknown name \"{name}\": Cannot find field.")))
}

/// Checks a request for a count: the turns, or a whole request, which names its model.
fn counts(body: &Value) -> Result<(), String> {
    unknown(body, &["contents", "generateContentRequest"])?;
    let whole = &body["generateContentRequest"];
    if whole.is_object() && whole["model"] != format!("models/{MODEL}") {
        return Err("model is not the one of the path".to_owned());
    }
    turns(if whole.is_object() { &whole["contents"] } else { &body["contents"] }).map_err(str::to_owned)
}

/// Checks a request for a vector. In a list each names the model.
fn embeds(body: &Value, is_named: bool) -> Result<(), String> {
    unknown(body, &["model", "content", "taskType", "title", "outputDimensionality"])?;
    let has_text = parts(&body["content"]).iter().all(|part| part["text"].is_string());
    match (has_text, body["model"] == format!("models/{EMBEDS}") || !is_named) {
        (true, true) => Ok(()),
        _ => Err("content must have texts, and model must be the one of the path".to_owned()),
    }
}

fn many(body: &Value) -> Result<(), String> {
    unknown(body, &["requests"])?;
    body["requests"].as_array().ok_or("requests is required")?.iter().try_for_each(|one| embeds(one, true))
}

/// Checks the turns.
fn turns(contents: &Value) -> Result<(), &'static str> {
    let turns = contents.as_array().filter(|turns| !turns.is_empty()).ok_or("contents is not specified")?;
    let has = |turn: &Value, name: &str| parts(turn).iter().any(|part| part.get(name).is_some());
    let asked = turns.iter().rposition(|turn| turn["role"] == "user" && !has(turn, "functionResponse")).unwrap_or(0);
    for (place, turn) in turns.iter().enumerate() {
        if !["user", "model"].iter().any(|role| turn["role"] == *role) {
            return Err("Please use a valid role: user, model.");
        }
        let data = ["text", "inlineData", "functionCall", "functionResponse"];
        let is_one = |part: &Value| data.iter().filter(|name| part.get(**name).is_some()).count() == 1;
        if parts(turn).is_empty() || !parts(turn).iter().all(is_one) {
            return Err("required oneof field 'data' must have one initialized field");
        }
        let calls: Vec<&Value> = parts(turn).iter().filter(|part| part.get("functionCall").is_some()).collect();
        if !calls.iter().all(|call| call["functionCall"]["args"].is_object()) {
            return Err("args must be an object");
        }
        let proof = calls.first().map(|call| &call["thoughtSignature"]);
        if place > asked && proof.is_some_and(|proof| proof != PROOF && proof != "skip_thought_signature_validator") {
            return Err("Function call is missing a thought_signature in functionCall parts.");
        }
        if has(turn, "functionResponse") {
            let answered: Vec<&Value> = parts(turn).iter().map(|part| &part["functionResponse"]).collect();
            let before = place.checked_sub(1).map_or(&[][..], |before| parts(&turns[before]));
            let names: Vec<&Value> = before.iter().filter_map(|part| part.pointer("/functionCall/name")).collect();
            if answered.len() != names.len()
                || !answered.iter().zip(&names).all(|(answer, name)| answer["name"] == **name)
            {
                return Err("the number of function response parts must equal the number of function call parts");
            }
            if !answered.iter().all(|answer| answer["response"].is_object()) {
                return Err("response must be an object");
            }
        }
    }
    Ok(())
}

fn parts(turn: &Value) -> &[Value] {
    turn["parts"].as_array().map_or(&[], Vec::as_slice)
}

fn answer(asked: &Asked, has_usage: bool) -> Said {
    let whole = |whole: Value| Said { whole, pieces: Vec::new() };
    let vector = json!({"values": [0.5, -1.0]});
    let usage = if has_usage { json!({"promptTokenCount": 3}) } else { json!({}) };
    match asked.target.rsplit(':').next().unwrap_or_default() {
        "countTokens" => return whole(json!({"totalTokens": 42, "promptTokensDetails": []})),
        "embedContent" => return whole(json!({"embedding": vector, "usageMetadata": usage})),
        "batchEmbedContents" => {
            let vectors = asked.body["requests"].as_array().unwrap().iter().map(|_| vector.clone());
            return whole(json!({"embeddings": vectors.collect::<Vec<_>>(), "usageMetadata": usage}));
        }
        _ => {}
    }
    let turns = asked.body["contents"].as_array().unwrap();
    let result = parts(turns.last().unwrap()).last().and_then(|part| {
        ["output", "result"].into_iter().find_map(|name| part.pointer(&format!("/functionResponse/response/{name}")))
    });
    let text = |text: &str| json!({"text": text});
    let said: Vec<Value> = if let Some(result) = result {
        vec![text("It is "), text(result.as_str().unwrap())]
    } else if asked.body.get("tools").is_some() {
        let call = json!({"name": TOOL, "args": {"place": "Paris", "days": 3}});
        vec![json!({"text": "let me see", "thought": true}), json!({"functionCall": call, "thoughtSignature": PROOF})]
    } else if ["responseJsonSchema", "responseSchema"]
        .iter()
        .any(|name| asked.body["generationConfig"][*name].is_object())
    {
        vec![text("{\"sky\":"), text("\"blue\"}")]
    } else {
        WORDS.into_iter().map(text).collect()
    };
    let usage = json!({"promptTokenCount": 5000, "cachedContentTokenCount": 4096, "toolUsePromptTokenCount": 250,
        "candidatesTokenCount": 300, "thoughtsTokenCount": 700, "totalTokenCount": 6250,
        "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 5000}], "serviceTier": "standard"});
    let frame = |parts: &[Value], finish: Option<&str>, usage: &Value| {
        let mut candidate = json!({"content": {"role": "model", "parts": parts}, "index": 0});
        if let Some(finish) = finish {
            candidate["finishReason"] = finish.into();
        }
        let mut frame = json!({"candidates": [candidate], "modelVersion": MODEL, "responseId": "r1"});
        if has_usage {
            frame["usageMetadata"] = usage.clone();
        }
        frame
    };
    let sent = |frame: Value| format!("data: {frame}\r\n\r\n");
    let running = json!({"promptTokenCount": 5000, "cachedContentTokenCount": 4096, "totalTokenCount": 5000});
    let mut pieces: Vec<String> =
        said.iter().map(|part| sent(frame(std::slice::from_ref(part), None, &running))).collect();
    pieces.push(sent(frame(&[text("")], Some("STOP"), &usage)));
    Said { whole: frame(&said, Some("STOP"), &usage), pieces }
}
