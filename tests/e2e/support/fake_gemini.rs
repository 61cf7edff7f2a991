//! A strict stand-in for the Gemini API. It has one model, knows its fields, checks the turns and the proofs of calls as
//! Google does, and reports the usage of the notes' example.

use serde_json::{Value, json};

use super::fake_provider::{Asked, Dialect, FakeProvider, Said, TOOL, WORDS, stranger};

pub(crate) const KEY: &str = "goog-test";
pub(crate) const MODEL: &str = "gemini-3.8-flash";
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
    let base = format!("/v1beta/models/{MODEL}:");
    let method = asked.target.strip_prefix(&base);
    if !matches!(method, Some("generateContent" | "streamGenerateContent?alt=sse")) {
        return Some(refusal(404, "the model or its method is not found"));
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
    turns(&asked.body["contents"]).err().map(|said| refusal(400, said))
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
    let turns = asked.body["contents"].as_array().unwrap();
    let result = parts(turns.last().unwrap()).last().and_then(|part| part.pointer("/functionResponse/response/output"));
    let text = |text: &str| json!({"text": text});
    let said: Vec<Value> = if let Some(result) = result {
        vec![text("It is "), text(result.as_str().unwrap())]
    } else if asked.body.get("tools").is_some() {
        let call = json!({"name": TOOL, "args": {"place": "Paris", "days": 3}});
        vec![json!({"text": "let me see", "thought": true}), json!({"functionCall": call, "thoughtSignature": PROOF})]
    } else if asked.body["generationConfig"]["responseJsonSchema"].is_object() {
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
