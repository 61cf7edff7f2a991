//! A strict stand-in for `OpenAI`'s routes of speech, transcriptions and images: it refuses what `OpenAI` would, reports usage
//! by simple rules, and misbehaves once for each misdeed that it was scripted.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    time::Duration,
};

use actix_web::{HttpRequest, HttpResponse, http::StatusCode, web};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use futures::{StreamExt as _, stream};
use serde_json::{Value, json};

use super::{
    background::serve,
    fake_provider::{Misdeed, stranger},
};

/// The sound of every answer, in pieces.
pub(crate) const SOUND: [&[u8]; 4] = [b"ID3\x04", &[0xFF; 3_000], &[0x00; 2_000], b"\xFF\xFBend"];

/// A request, as it came.
#[derive(Debug, Clone, Default)]
pub(crate) struct Asked {
    pub(crate) path: String,
    /// The fields: of a form all texts, those of one name as a list.
    pub(crate) fields: Value,
    /// The recording of a form: its name, and its bytes.
    pub(crate) file: Option<(String, Vec<u8>)>,
    /// The images of a form: their fields, and their bytes.
    pub(crate) images: Vec<(String, Vec<u8>)>,
}

#[derive(Default)]
struct Shared {
    script: Mutex<VecDeque<Misdeed>>,
    asked: Mutex<Vec<Asked>>,
}

/// The server, gone with the test's process.
pub(crate) struct FakeMedia {
    shared: Arc<Shared>,
    url: String,
}

impl FakeMedia {
    pub(crate) fn start() -> Self {
        let shared = Arc::<Shared>::default();
        let state = web::Data::from(Arc::clone(&shared));
        let address = serve(move |routes| {
            routes
                .app_data(state.clone())
                .app_data(web::PayloadConfig::new(64 << 20))
                .default_service(web::post().to(answer));
        });
        Self { shared, url: format!("http://{address}/v1") }
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    pub(crate) fn script(&self, misdeed: Misdeed) {
        self.shared.script.lock().unwrap().push_back(misdeed);
    }

    /// The requests that it accepted.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.shared.asked.lock().unwrap().clone()
    }
}

/// An answer: its media type and its pieces.
struct Said {
    kind: &'static str,
    pieces: Vec<Vec<u8>>,
}

impl Said {
    fn json(value: &Value) -> Self {
        Self { kind: "application/json", pieces: vec![value.to_string().into_bytes()] }
    }

    fn text(text: &str) -> Self {
        Self { kind: "text/plain; charset=utf-8", pieces: vec![text.as_bytes().to_vec()] }
    }

    fn events(events: &[Value]) -> Self {
        let event =
            |event: &Value| format!("event: {}\ndata: {event}\n\n", event["type"].as_str().unwrap()).into_bytes();
        Self { kind: "text/event-stream", pieces: events.iter().map(event).collect() }
    }
}

fn refuse(status: u16, message: &str) -> HttpResponse {
    let error =
        json!({"error": {"message": message, "type": "invalid_request_error", "param": null, "code": "scripted"}});
    HttpResponse::build(StatusCode::from_u16(status).unwrap()).json(error)
}

async fn answer(state: web::Data<Shared>, request: HttpRequest, body: web::Bytes) -> HttpResponse {
    let header = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !header("authorization").starts_with("Bearer sk-") {
        return refuse(401, "Incorrect API key provided");
    }
    let asked = match read(request.path(), header("content-type"), &body) {
        Ok(asked) => asked,
        Err(message) => return refuse(400, &message),
    };
    let misdeed = state.script.lock().unwrap().pop_front();
    let with_usage = !matches!(misdeed, Some(Misdeed::NoUsage));
    let said = match &*asked.path {
        "/v1/audio/speech" => speak(&asked.fields),
        "/v1/audio/transcriptions" | "/v1/audio/translations" => transcribe(&asked, with_usage),
        "/v1/images/generations" | "/v1/images/edits" => draw(&asked, with_usage),
        _ => return refuse(404, "no such path"),
    };
    let Said { kind, pieces } = match said {
        Ok(said) => said,
        Err(message) => return refuse(400, &message),
    };
    state.asked.lock().unwrap().push(asked);
    let wait = Duration::from_millis(if let Some(Misdeed::Slow(ms)) = misdeed { ms } else { 0 });
    let mut pieces: Vec<Result<web::Bytes, actix_web::Error>> =
        pieces.into_iter().map(|piece| Ok(piece.into())).collect();
    match misdeed {
        Some(Misdeed::Status(status, _)) => return refuse(status, "scripted"),
        Some(Misdeed::Says(body)) => return HttpResponse::Ok().content_type("application/json").body(body),
        Some(Misdeed::Garbage) => return HttpResponse::Ok().content_type("text/html").body("<html>Busy</html>"),
        Some(Misdeed::CutAt(bytes)) => {
            let all: Vec<u8> = pieces.iter().flatten().flatten().copied().collect();
            let begun = web::Bytes::copy_from_slice(&all[..bytes.min(all.len())]);
            pieces = vec![Ok(begun), Err(actix_web::error::ErrorInternalServerError("cut"))];
        }
        Some(Misdeed::NoUsage | Misdeed::Slow(_)) | None => {}
    }
    let slowly = stream::iter(pieces).then(move |piece| async move {
        actix_web::rt::time::sleep(wait).await;
        piece
    });
    HttpResponse::Ok().content_type(kind).streaming(slowly)
}

/// Reads a body: an object, or a form.
fn read(path: &str, kind: &str, body: &[u8]) -> Result<Asked, String> {
    let path = path.to_owned();
    let Some((_, boundary)) = kind.split_once("multipart/form-data; boundary=") else {
        if kind != "application/json" {
            return Err("content-type must be application/json".into());
        }
        let fields = serde_json::from_slice(body).map_err(|error| error.to_string())?;
        return Ok(Asked { path, fields, ..Asked::default() });
    };
    let mut asked = Asked { path, fields: json!({}), ..Asked::default() };
    let separator = format!("--{boundary}").into_bytes();
    let is_end = |place: &usize| body[*place..].starts_with(&separator);
    let places: Vec<usize> = (0..body.len()).filter(is_end).collect();
    if !body.ends_with(format!("--{boundary}--\r\n").as_bytes()) {
        return Err("the form breaks off".into());
    }
    for pair in places.windows(2) {
        let part = &body[pair[0] + separator.len() + 2..pair[1] - 2];
        let head_end = part.windows(4).position(|four| four == b"\r\n\r\n").ok_or("a part has no head")?;
        let head = String::from_utf8(part[..head_end].to_vec()).map_err(|error| error.to_string())?;
        let named = |name: &str| {
            let (_, rest) = head.split_once(&format!("; {name}=\""))?;
            Some(rest.split('"').next()?.to_owned())
        };
        let (name, value) = (named("name").ok_or("a part has no name")?, part[head_end + 4..].to_vec());
        if name == "file" {
            asked.file = Some((named("filename").ok_or("file has no name")?, value));
            continue;
        }
        if named("filename").is_some() {
            asked.images.push((name, value));
            continue;
        }
        let value = json!(String::from_utf8(value).map_err(|error| error.to_string())?);
        let known = asked.fields.as_object_mut().unwrap();
        match known.get_mut(&name) {
            Some(Value::Array(list)) => list.push(value),
            Some(_) => return Err(format!("{name} comes twice")),
            None if name.ends_with("[]") => drop(known.insert(name, json!([value]))),
            None => drop(known.insert(name, value)),
        }
    }
    Ok(asked)
}

fn known(fields: &Value, names: &[&str]) -> Result<(), String> {
    match stranger(fields, names) {
        None => Ok(()),
        Some(name) => Err(format!("Unknown parameter: '{name}'.")),
    }
}

fn one_of(fields: &Value, name: &str, values: &[&str]) -> Result<(), String> {
    match &fields[name] {
        Value::Null => Ok(()),
        Value::String(value) if values.contains(&value.as_str()) => Ok(()),
        other => Err(format!("Invalid value for '{name}': {other}")),
    }
}

fn speak(fields: &Value) -> Result<Said, String> {
    known(fields, &["model", "input", "voice", "instructions", "response_format", "speed", "stream_format"])?;
    one_of(fields, "model", &["tts-1", "tts-1-hd", "gpt-4o-mini-tts-2025-12-15"])?;
    one_of(fields, "voice", &["alloy", "coral"])?;
    one_of(fields, "response_format", &["mp3", "opus", "aac", "flac", "wav", "pcm"])?;
    let input = fields["input"].as_str().unwrap_or_default();
    let by_tokens = fields["model"].as_str().is_some_and(|model| model.starts_with("gpt"));
    if input.is_empty() || input.chars().count() > 4_096 || fields["voice"].is_null() {
        return Err("input or voice is wrong".into());
    }
    if fields["stream_format"] != "sse" {
        let kind = if fields["response_format"] == "wav" { "audio/wav" } else { "audio/mpeg" };
        return Ok(Said { kind, pieces: SOUND.iter().map(|piece| piece.to_vec()).collect() });
    }
    if !by_tokens {
        return Err("stream_format sse is not supported for this model".into());
    }
    let piece = |bytes: &&[u8]| json!({"type": "speech.audio.delta", "audio": STANDARD.encode(bytes)});
    let words = input.split_whitespace().count();
    let usage = json!({"input_tokens": words, "output_tokens": words * 10, "total_tokens": words * 11});
    let mut events: Vec<Value> = SOUND.iter().map(piece).collect();
    events.push(json!({"type": "speech.audio.done", "usage": usage}));
    Ok(Said::events(&events))
}

/// The text of every recording.
pub(crate) const TEXT: &str = "Hello from the fake.";

fn transcribe(asked: &Asked, with_usage: bool) -> Result<Said, String> {
    let fields = &asked.fields;
    let mut names = vec!["model", "prompt", "response_format", "temperature"];
    if asked.path.ends_with("transcriptions") {
        names.extend(["language", "stream", "timestamp_granularities[]", "include[]", "chunking_strategy"]);
    }
    known(fields, &names)?;
    let (name, file) = asked.file.as_ref().ok_or("file is required")?;
    if !name.contains('.') || !file.starts_with(b"RIFF") {
        return Err("Unrecognized file format.".into());
    }
    let by_tokens = match fields["model"].as_str() {
        Some("whisper-1") => false,
        Some("gpt-4o-mini-transcribe-2025-12-15") => true,
        _ => return Err("no such model".into()),
    };
    let form = fields["response_format"].as_str().unwrap_or("json");
    let forms: &[&str] = if by_tokens { &["json"] } else { &["json", "text", "srt", "verbose_json", "vtt"] };
    if !forms.contains(&form) {
        return Err(format!("response_format '{form}' is not compatible with this model"));
    }
    // 8,000 samples of a byte each a second, behind a head of 44 bytes.
    let seconds = (file.len() - 44).div_ceil(8_000);
    let usage = match (with_usage, by_tokens) {
        (false, _) => Value::Null,
        (true, false) => json!({"type": "duration", "seconds": seconds}),
        (true, true) => {
            json!({"type": "tokens", "input_tokens": seconds * 10, "output_tokens": 6, "total_tokens": seconds * 10 + 6,
            "input_token_details": {"text_tokens": 0, "audio_tokens": seconds * 10}})
        }
    };
    if fields["stream"] == "true" && by_tokens {
        let words = TEXT.split_inclusive(' ').map(|word| json!({"type": "transcript.text.delta", "delta": word}));
        let done = json!({"type": "transcript.text.done", "text": TEXT, "usage": usage});
        return Ok(Said::events(&words.chain([done]).collect::<Vec<_>>()));
    }
    Ok(match form {
        "text" => Said::text(&format!("{TEXT}\n")),
        "srt" => Said::text(&format!("1\n00:00:00,000 --> 00:00:02,000\n{TEXT}\n\n")),
        "vtt" => Said::text(&format!("WEBVTT\n\n00:00.000 --> 00:02.000\n{TEXT}\n\n")),
        "verbose_json" => Said::json(&json!({"task": "transcribe", "language": "english", "duration": seconds,
            "text": TEXT, "segments": [], "usage": usage})),
        _ => Said::json(&json!({"text": TEXT, "usage": usage})),
    })
}

/// The tokens of an image.
fn tokens(fields: &Value) -> u64 {
    let place = match fields["size"].as_str() {
        Some("1024x1024") => 0,
        Some("1536x1024") => 2,
        _ => 1,
    };
    match fields["quality"].as_str() {
        Some("low") => [272, 408, 400][place],
        Some("medium") => [1_056, 1_584, 1_568][place],
        _ => [4_160, 6_240, 6_208][place],
    }
}

/// What an image begins with.
pub(crate) const IMAGE: &[u8] = b"\x89PNG\r\n\x1a\n";

/// How many images an edit reads.
fn images(asked: &Asked) -> Result<u64, String> {
    let (images, mask): (Vec<_>, Vec<_>) = asked.images.iter().partition(|(field, _)| field.starts_with("image"));
    let is_one = |(field, bytes): &&(String, Vec<u8>)| {
        ["image", "image[]", "mask"].contains(&&**field) && bytes.starts_with(IMAGE)
    };
    if !asked.images.iter().all(|image| is_one(&image)) || mask.len() > 1 {
        return Err("an image is none, or has an unknown field".into());
    }
    let named: Vec<&Value> = asked.fields["images"].as_array().into_iter().flatten().collect();
    if named.iter().any(|image| image["image_url"].as_str().is_none_or(|url| !url.starts_with("data:image/"))) {
        return Err("an image has no address".into());
    }
    match images.len() + named.len() {
        1..=16 => Ok((images.len() + named.len() + mask.len()) as u64),
        _ => Err("Missing required parameter: 'image'.".into()),
    }
}

/// A number, which a form has as a text.
fn number(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value.as_str()?.parse().ok())
}

fn draw(asked: &Asked, with_usage: bool) -> Result<Said, String> {
    let is_edit = asked.path.ends_with("edits");
    let fields = &asked.fields;
    let mut names = vec![
        "model",
        "prompt",
        "n",
        "size",
        "quality",
        "stream",
        "partial_images",
        "output_format",
        "background",
        "user",
    ];
    if is_edit {
        names.extend(["input_fidelity", "images"]);
    }
    known(fields, &names)?;
    let read = if is_edit { images(asked)? } else { 0 };
    one_of(fields, "model", &["gpt-image-1", "gpt-image-2"])?;
    one_of(fields, "size", &["auto", "1024x1024", "1024x1536", "1536x1024"])?;
    one_of(fields, "quality", &["auto", "low", "medium", "high"])?;
    if fields["model"] == "gpt-image-2" && fields["size"] != "1024x1024" {
        return Err("the story asks for a bound of every image".into());
    }
    let prompt = fields["prompt"].as_str().filter(|prompt| !prompt.is_empty()).ok_or("prompt is required")?;
    let (n, partials) = (number(&fields["n"]).unwrap_or(1), number(&fields["partial_images"]).unwrap_or(0));
    let (text, images) = (prompt.split_whitespace().count() as u64 + 7, read * 1_000 * n);
    let (input, output) = (text + images, tokens(fields) * n + partials * 100);
    let usage = json!({"input_tokens": input, "input_tokens_details": {"text_tokens": text, "image_tokens": images},
        "output_tokens": output, "total_tokens": input + output});
    let usage = if with_usage { usage } else { Value::Null };
    let image = STANDARD.encode([0x89, b'P', b'N', b'G']);
    let kind = if is_edit { "image_edit" } else { "image_generation" };
    if fields["stream"] == true || fields["stream"] == "true" {
        let partial = |index| {
            json!({"type": format!("{kind}.partial_image"), "b64_json": image, "partial_image_index": index,
                "created_at": 1, "size": "1024x1024", "quality": "low", "background": "opaque", "output_format": "png"})
        };
        let done = json!({"type": format!("{kind}.completed"), "b64_json": image, "created_at": 1, "size": "1024x1024",
            "quality": "low", "background": "opaque", "output_format": "png", "usage": usage});
        return Ok(Said::events(&(0..partials).map(partial).chain([done]).collect::<Vec<_>>()));
    }
    let data: Vec<_> = (0..n).map(|_| json!({"b64_json": image})).collect();
    Ok(Said::json(&json!({"created": 1, "data": data, "size": "1024x1024", "quality": "low", "background": "opaque",
        "output_format": "png", "usage": usage})))
}

/// A recording of so many seconds: a telephone's silence.
pub(crate) fn recording(seconds: u32) -> Vec<u8> {
    let data = seconds * 8_000;
    let mut file = b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0\x07\0\x01\0\x40\x1f\0\0\x40\x1f\0\0\x01\0\x08\0data".to_vec();
    file.extend_from_slice(&data.to_le_bytes());
    file.extend(std::iter::repeat_n(0xFF, data as usize));
    file
}
