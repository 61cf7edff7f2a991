//! Speech, transcriptions and images, end to end: what comes back is the provider's, what is charged is what it bills, and what
//! has no bound never reaches it.

use std::{fs, path::PathBuf};

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{
    client::{Answer, Customer, answer},
    fake_media::{Asked, FakeMedia, IMAGE, SOUND, TEXT, recording},
    fake_provider::Misdeed,
    python::{python_script, run},
    server::{Options, Server},
    temporary, with,
};

const SPEECH: &str = "/v1/audio/speech";
const TRANSCRIPTIONS: &str = "/v1/audio/transcriptions";
const IMAGES: &str = "/v1/images/generations";

/// An operator's entries: a bound for speech by tokens, and images by the piece.
const PRICES: &str = "provider = 'openai'
[[model]]
id = 'gpt-4o-mini-tts-2025-12-15'
task = 'speech'
max_output = 2000
source = 'a story'
price = { input = '0.60', output = '10.00', per_million = { 'tokens.output.audio' = '12.00' } }
";

struct Stage {
    fake: FakeMedia,
    server: Server,
    customer: Customer,
    folder: PathBuf,
}

impl Drop for Stage {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

impl Stage {
    async fn set() -> Self {
        Self::set_with(Options::default()).await
    }

    async fn set_with(options: Options) -> Self {
        let (fake, folder) = (FakeMedia::start(), temporary("media"));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("prices.toml"), PRICES).unwrap();
        let options = options.calling(fake.url()).set("FAREBOX_PRICES__FOLDER", folder.to_str().unwrap());
        let server = Server::start(options.set("FAREBOX_PROVIDERS__OPENAI__RETRIES", "0")).await;
        let customer = server.admin().customer("payg", "5").await;
        Self { fake, server, customer, folder }
    }

    async fn post(&self, path: &str, body: &Value) -> Answer {
        self.customer.api.post(path, body).await
    }

    /// The newest record, once there are so many and nothing is held.
    async fn record(&self, count: usize) -> Value {
        self.customer.settled(count).await.swap_remove(0)
    }

    async fn is_left(&self, available: &str) {
        let balance = self.customer.api.get("/v1/balance").await.ok();
        assert_eq!((&balance["available"], &balance["held"]), (&json!(available), &json!("0.00")));
        self.server.admin().assert_audit().await;
    }
}

/// What a refusal names.
fn refusal(answer: &Answer) -> (u16, Option<String>) {
    (answer.status, answer.json()["error"]["param"].as_str().map(str::to_owned))
}

fn speech() -> Value {
    json!({"model": "tts-1", "input": "Hello, wörld", "voice": "alloy"})
}

/// 12 x 15 / 1e6 x 1.02
const SPOKEN: &str = "0.0001836";

#[tokio::test]
async fn speech_is_the_providers_bytes_and_costs_its_characters() {
    let stage = Stage::set().await;
    let request = stage.customer.api.request(Method::POST, SPEECH).json(&speech());
    let response = request.send().await.unwrap();
    let header = |name: &str| response.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
    assert_eq!((response.status().as_u16(), header("content-type").as_deref()), (200, Some("audio/mpeg")));
    assert_eq!(header("x-farebox-cost").as_deref(), Some(SPOKEN), "it is known before the sound");
    let id = header("x-request-id").unwrap();
    assert_eq!(response.bytes().await.unwrap(), SOUND.concat());
    let record = stage.customer.api.get(&format!("/v1/requests/{id}")).await.ok();
    assert_eq!((&record["cost"], &record["estimated"]), (&json!(SPOKEN), &json!(false)));
    assert_eq!(stage.fake.asked()[0].fields, speech(), "it passes as it came");
    for (more, field) in [
        (json!({"input": ""}), "input"),
        (json!({"voice": {"id": "voice_1"}}), "voice"),
        (json!({"language": "en"}), "language"),
        (json!({"speed": 5}), "speed"),
        (json!({"max_cost": "0.0001"}), "max_cost"),
        (json!({"model": "gpt-4o-mini-tts-2025-03-20"}), "model"),
        (json!({"model": "whisper-1"}), "model"),
    ] {
        let refused = stage.post(SPEECH, &with(&speech(), &more)).await;
        assert_eq!(refusal(&refused), (400, Some(field.to_owned())), "{more}");
    }
    assert_eq!(stage.fake.asked().len(), 1, "what is refused here never reaches the provider");
    let quoted = stage.post("/v1/quote?route=/v1/audio/speech", &speech()).await.ok();
    assert_eq!((&quoted["cost"]["most"], &quoted["hold"]), (&json!(SPOKEN), &json!(SPOKEN)), "{quoted}");
    let poor = stage.server.admin().customer("free", "0").await;
    stage.server.admin().void_all(&poor).await;
    assert_eq!(poor.api.post(SPEECH, &speech()).await.status, 402);
    stage.is_left("9.9998164").await;
}

#[tokio::test]
async fn speech_that_fails_is_not_paid_and_one_that_is_left_is() {
    let stage = Stage::set().await;
    stage.fake.script(Misdeed::Status(500, None));
    assert_eq!(stage.post(SPEECH, &speech()).await.status, 502);
    stage.fake.script(Misdeed::Garbage);
    assert_eq!(stage.post(SPEECH, &speech()).await.status, 502, "a page is no sound");
    stage.fake.script(Misdeed::Says(r#"{"error":{"message":"no voice today"}}"#));
    let refused = stage.post(SPEECH, &speech()).await;
    assert!(refused.status >= 400 && refused.body.contains("no voice today"), "{} {}", refused.status, refused.body);
    stage.fake.script(Misdeed::CutAt(0));
    assert_eq!(stage.post(SPEECH, &speech()).await.status, 502);
    for bytes in [1, 3_100] {
        stage.fake.script(Misdeed::CutAt(bytes));
        let response = stage.customer.api.request(Method::POST, SPEECH).json(&speech()).send().await.unwrap();
        assert_eq!(response.status(), 200);
        assert!(response.bytes().await.is_err(), "a sound that breaks off is not whole: {bytes}");
    }
    assert_eq!(stage.record(6).await["ending"], "failed");
    stage.is_left("10.00").await;
    stage.fake.script(Misdeed::Slow(150));
    let mut response = stage.customer.api.request(Method::POST, SPEECH).json(&speech()).send().await.unwrap();
    assert_eq!(response.chunk().await.unwrap().unwrap(), SOUND[0], "it streams");
    drop(response);
    let record = stage.record(7).await;
    assert_eq!(
        (&record["ending"], &record["cost"], &record["estimated"]),
        (&json!("client_left"), &json!(SPOKEN), &json!(false))
    );
    stage.is_left("9.9998164").await;
}

#[tokio::test]
async fn speech_under_a_key_is_made_once_and_sounds_the_same() {
    let stage = Stage::set().await;
    let say = async || {
        let request = stage.customer.api.request(Method::POST, SPEECH).header("idempotency-key", "once");
        let response = request.json(&speech()).send().await.unwrap();
        let cost = response.headers()["x-request-id"].clone();
        (cost, response.headers()["content-type"].clone(), response.bytes().await.unwrap())
    };
    let first = say().await;
    assert_eq!(first.2, SOUND.concat());
    assert_eq!(say().await, first);
    assert_eq!(stage.fake.asked().len(), 1);
    stage.is_left("9.9998164").await;
}

#[tokio::test]
async fn speech_by_tokens_is_asked_for_as_events_and_charged_as_they_tell() {
    let stage = Stage::set().await;
    let body = with(&speech(), &json!({"model": "gpt-4o-mini-tts-2025-12-15", "response_format": "wav"}));
    let response = stage.customer.api.request(Method::POST, SPEECH).json(&body).send().await.unwrap();
    assert_eq!((response.status().as_u16(), &response.headers()["content-type"]), (200, &"audio/wav".parse().unwrap()));
    assert!(!response.headers().contains_key("x-farebox-cost"), "nobody knows it yet");
    assert_eq!(response.bytes().await.unwrap(), SOUND.concat());
    // (2 x 0.6 + 20 x 12) / 1e6 x 1.02
    let record = stage.record(1).await;
    assert_eq!((&record["cost"], &record["estimated"]), (&json!("0.000246024"), &json!(false)));
    assert_eq!((&record["input_tokens"], &record["output_tokens"]), (&json!(2), &json!(20)));
    assert_eq!(stage.fake.asked()[0].fields, with(&body, &json!({"stream_format": "sse"})));
    let events = stage.post(SPEECH, &with(&body, &json!({"stream_format": "sse"}))).await;
    assert!(events.body.contains(r#""output_tokens":20,"total_tokens":22,"cost":"0.000246024"}"#), "{}", events.body);
    assert!(events.body.contains("speech.audio.delta") && events.body.ends_with("data: [DONE]\n\n"));
    stage.fake.script(Misdeed::CutAt(400));
    let response = stage.customer.api.request(Method::POST, SPEECH).json(&body).send().await.unwrap();
    assert!(response.bytes().await.is_err());
    assert_eq!(stage.record(3).await["cost"], "0.00");
    stage.is_left("9.999507952").await;
}

/// A form with a recording of so many seconds, the file first.
fn form(boundary: &str, seconds: u32, fields: &[(&str, &str)]) -> Vec<u8> {
    let head = "content-disposition: form-data; name=\"file\"; filename=\"call.wav\"\r\ncontent-type: audio/wav";
    let mut form = format!("--{boundary}\r\n{head}\r\n\r\n").into_bytes();
    form.extend(recording(seconds));
    for (name, value) in fields {
        let part = format!("\r\n--{boundary}\r\ncontent-disposition: form-data; name=\"{name}\"\r\n\r\n{value}");
        form.extend(part.into_bytes());
    }
    form.extend(format!("\r\n--{boundary}--\r\n").into_bytes());
    form
}

fn transcribe(stage: &Stage, path: &str, boundary: &str, form: Vec<u8>) -> reqwest::RequestBuilder {
    let kind = format!("multipart/form-data; boundary={boundary}");
    stage.customer.api.request(Method::POST, path).header("content-type", kind).body(form)
}

async fn heard(stage: &Stage, seconds: u32, fields: &[(&str, &str)]) -> Answer {
    answer(transcribe(stage, TRANSCRIPTIONS, "xYz", form("xYz", seconds, fields))).await
}

const WHISPER: (&str, &str) = ("model", "whisper-1");
const BY_TOKENS: (&str, &str) = ("model", "gpt-4o-mini-transcribe-2025-12-15");
/// 2 x 0.0001 x 1.02
const HEARD: &str = "0.000204";

#[tokio::test]
async fn a_recording_becomes_text_in_every_form_and_costs_its_seconds() {
    let stage = Stage::set().await;
    let told = heard(&stage, 2, &[WHISPER, ("language", "en"), ("temperature", "0.20")]).await;
    let text = told.ok();
    assert_eq!(
        (&text["text"], &text["usage"]),
        (&json!(TEXT), &json!({"type": "duration", "seconds": 2, "cost": HEARD}))
    );
    assert_eq!(told.header("x-farebox-cost"), Some(HEARD));
    let Asked { fields, file, .. } = stage.fake.asked().remove(0);
    assert_eq!(fields, json!({"model": "whisper-1", "language": "en", "temperature": "0.20"}));
    assert_eq!(file, Some(("call.wav".to_owned(), recording(2))), "every byte of it");
    for (form, body) in [
        ("text", format!("{TEXT}\n")),
        ("srt", format!("1\n00:00:00,000 --> 00:00:02,000\n{TEXT}\n\n")),
        ("vtt", format!("WEBVTT\n\n00:00.000 --> 00:02.000\n{TEXT}\n\n")),
    ] {
        let told = heard(&stage, 2, &[WHISPER, ("response_format", form)]).await;
        assert_eq!((told.status, &told.body, told.header("x-farebox-cost")), (200, &body, Some(HEARD)), "{form}");
        assert_eq!(told.header("content-type"), Some("text/plain; charset=utf-8"));
    }
    let words = [
        WHISPER,
        ("response_format", "verbose_json"),
        ("timestamp_granularities[]", "word"),
        ("timestamp_granularities[]", "segment"),
    ];
    let told = heard(&stage, 2, &words).await.ok();
    assert_eq!((&told["duration"], &told["usage"]["cost"]), (&json!(2), &json!(HEARD)));
    assert_eq!(stage.fake.asked()[4].fields["timestamp_granularities[]"], json!(["word", "segment"]));
    stage.fake.script(Misdeed::NoUsage);
    let told = heard(&stage, 2, &[WHISPER]).await.ok();
    assert_eq!(told["usage"], json!({"seconds": 2, "type": "duration", "cost": HEARD}), "it is measured");
    assert_eq!(stage.record(6).await["estimated"], true);
    let streamed = heard(&stage, 2, &[WHISPER, ("stream", "true")]).await;
    assert!(
        streamed.body.starts_with("data: {\"type\":\"transcript.text.done\",\"text\":\"Hello"),
        "{}",
        streamed.body
    );
    let english = transcribe(&stage, "/v1/audio/translations", "b", form("b", 2, &[WHISPER]));
    assert_eq!(answer(english).await.ok()["usage"]["cost"], HEARD);
    assert_eq!(stage.fake.asked()[7].path, "/v1/audio/translations");
    // 8 x 0.000204
    stage.is_left("9.998368").await;
}

#[tokio::test]
async fn a_recording_by_tokens_is_charged_as_its_answer_or_its_last_event_tells() {
    let stage = Stage::set().await;
    let told = heard(&stage, 2, &[BY_TOKENS]).await.ok();
    // (20 x 1.25 + 6 x 5) / 1e6 x 1.02
    assert_eq!((&told["text"], &told["usage"]["cost"]), (&json!(TEXT), &json!("0.0000561")));
    assert_eq!(told["usage"]["input_token_details"]["audio_tokens"], 20);
    let plain = heard(&stage, 2, &[BY_TOKENS, ("response_format", "text")]).await;
    assert_eq!((&*plain.body, plain.header("x-farebox-cost")), (&*format!("{TEXT}\n"), Some("0.0000561")));
    let streamed = heard(&stage, 2, &[BY_TOKENS, ("stream", "true")]).await;
    assert_eq!(streamed.header("content-type"), Some("text/event-stream"));
    assert_eq!(streamed.body.matches("transcript.text.delta").count(), 4);
    assert!(
        streamed.body.contains(r#""text":"Hello from the fake.","usage":{"type":"tokens","input_tokens":20,"#),
        "{}",
        streamed.body
    );
    assert!(streamed.body.contains(r#""cost":"0.0000561""#) && streamed.body.ends_with("data: [DONE]\n\n"));
    stage.fake.script(Misdeed::CutAt(200));
    let cut = heard(&stage, 2, &[BY_TOKENS, ("stream", "true")]).await;
    assert!(cut.body.contains("\"error\"") && !cut.body.contains("[DONE]"), "{}", cut.body);
    assert_eq!(stage.record(4).await["cost"], "0.00");
    let forms = [("response_format", "srt"), ("chunking_strategy", "auto"), ("known_speaker_names[]", "Ada")];
    for field in forms {
        let refused = heard(&stage, 2, &[BY_TOKENS, field]).await;
        assert_eq!(refusal(&refused), (400, Some(field.0.to_owned())));
    }
    assert_eq!(stage.fake.asked().len(), 4);
    stage.is_left("9.9998317").await;
}

#[tokio::test]
async fn a_form_that_is_none_or_has_no_recording_is_refused_by_its_field() {
    // A recording may be longer than other bodies.
    let stage = Stage::set_with(Options::default().set("FAREBOX_LIMITS__BODY_BYTES", "65536")).await;
    let sent = async |kind: &str, body: Vec<u8>| {
        let request = stage.customer.api.request(Method::POST, TRANSCRIPTIONS).header("content-type", kind.to_owned());
        refusal(&answer(request.body(body)).await)
    };
    let kind = "multipart/form-data; boundary=b";
    let whole = form("b", 1, &[WHISPER]);
    assert_eq!(sent("application/json", b"{}".to_vec()).await, (400, Some("body".into())));
    assert_eq!(sent(kind, whole[..whole.len() - 8].to_vec()).await, (400, Some("body".into())));
    assert_eq!(sent(kind, form("b", 1, &[])).await, (400, Some("model".into())));
    assert_eq!(sent(kind, form("b", 1, &[WHISPER, ("max_cost", "0.0001")])).await, (400, Some("max_cost".into())));
    assert_eq!(
        sent(kind, form("b", 1, &[WHISPER, ("a_field_of_tomorrow", "1")])).await,
        (400, Some("a_field_of_tomorrow".into()))
    );
    assert_eq!(sent(kind, form("b", 1, &[("model", "gpt-4o-mini")])).await, (400, Some("model".into())));
    let silence = "--b\r\ncontent-disposition: form-data; name=\"file\"; filename=\"a.mp3\"\r\n\r\nno sound\r\n--b\r\ncontent-disposition: form-data; name=\"model\"\r\n\r\nwhisper-1\r\n--b--";
    assert_eq!(sent(kind, silence.into()).await, (400, Some("file".into())), "its length can't be told");
    assert!(stage.fake.asked().is_empty());
    // One form, with another separator each time.
    for boundary in ["one", "another"] {
        let request = transcribe(&stage, TRANSCRIPTIONS, boundary, form(boundary, 2, &[WHISPER]));
        assert_eq!(answer(request.header("idempotency-key", "same")).await.ok()["text"], TEXT);
    }
    assert_eq!(stage.fake.asked().len(), 1);
    let large = transcribe(&stage, TRANSCRIPTIONS, "b", form("b", 100, &[WHISPER]));
    assert_eq!(answer(large).await.ok()["usage"]["seconds"], 100, "800 kB");
    stage.is_left("9.989596").await;
}

#[tokio::test]
async fn images_are_charged_as_their_answer_tells_and_held_by_size_and_quality() {
    let stage = Stage::set().await;
    let body = json!({"model": "gpt-image-1", "prompt": "a cat", "size": "1024x1024", "quality": "low", "n": 2});
    let drawn = stage.post(IMAGES, &body).await;
    // (9 x 5 + 544 x 40) / 1e6 x 1.02
    let cost = "0.0222411";
    let told = drawn.ok();
    assert_eq!((told["data"].as_array().unwrap().len(), &told["usage"]["cost"]), (2, &json!(cost)));
    assert_eq!((drawn.header("x-farebox-cost"), &told["size"]), (Some(cost), &json!("1024x1024")));
    assert_eq!(stage.fake.asked()[0].fields, body, "it passes as it came");
    let record = stage.record(1).await;
    assert_eq!(
        (&record["cost"], &record["estimated"], &record["output_tokens"]),
        (&json!(cost), &json!(false), &json!(544))
    );
    let one = json!({"model": "gpt-image-1", "prompt": "a cat", "size": "1024x1024", "quality": "low", "stream": true});
    let streamed = stage.post(IMAGES, &with(&one, &json!({"partial_images": 2}))).await;
    assert_eq!(streamed.body.matches("event: image_generation.partial_image\n").count(), 2);
    // (9 x 5 + 472 x 40) / 1e6 x 1.02
    assert!(streamed.body.contains(r#""cost":"0.0193035""#), "{}", streamed.body);
    assert!(
        streamed.body.contains("event: image_generation.completed\ndata: ")
            && streamed.body.ends_with("data: [DONE]\n\n")
    );
    let ours = stage.post(IMAGES, &json!({"model": "gpt-image-2", "prompt": "a cat"})).await.ok();
    assert_eq!(stage.fake.asked()[2].fields["size"], "1024x1024", "a size that has a bound: {ours}");
    for (more, field) in [
        (json!({"prompt": ""}), "prompt"),
        (json!({"size": "2048x2048"}), "size"),
        (json!({"model": "gpt-image-2", "size": "8192x1024"}), "size"),
        (json!({"quality": "hd"}), "quality"),
        (json!({"model": "gpt-image-2.6-flare"}), "model"),
        (json!({"n": 11}), "n"),
        (json!({"complexity": "high"}), "complexity"),
        (json!({"output_format": "svg"}), "output_format"),
        (json!({"max_cost": "0.01"}), "max_cost"),
    ] {
        let refused = stage.post(IMAGES, &with(&body, &more)).await;
        assert_eq!(refusal(&refused), (400, Some(field.to_owned())), "{more}");
    }
    stage.fake.script(Misdeed::NoUsage);
    let counted = stage.post(IMAGES, &body).await.ok();
    assert_eq!(counted["farebox"]["estimated"], true);
    stage.fake.script(Misdeed::CutAt(60));
    let cut = stage.post(IMAGES, &one).await;
    assert!(cut.status == 502 || cut.body.contains("\"error\""), "{} {}", cut.status, cut.body);
    assert_eq!(stage.record(5).await["cost"], "0.00");
    stage.fake.script(Misdeed::Status(500, None));
    assert_eq!(stage.post(IMAGES, &body).await.status, 502);
    assert_eq!(stage.fake.asked().len(), 6);
    stage.server.admin().assert_audit().await;
}

const EDITS: &str = "/v1/images/edits";

/// A form of images and fields.
fn edit(parts: &[(&str, &[u8])]) -> Vec<u8> {
    let mut form = Vec::new();
    for (name, value) in parts {
        let file = if name.starts_with("image") || *name == "mask" { "; filename=\"a.png\"" } else { "" };
        let head = format!("--xYz\r\ncontent-disposition: form-data; name=\"{name}\"{file}\r\n\r\n");
        form.extend([head.as_bytes(), value, b"\r\n"].concat());
    }
    form.extend(b"--xYz--\r\n");
    form
}

#[tokio::test]
async fn images_are_edited_from_a_form_or_an_object_and_cost_what_was_read_and_made() {
    let stage = Stage::set().await;
    let edited = async |parts: &[(&str, &[u8])]| answer(transcribe(&stage, EDITS, "xYz", edit(parts))).await;
    let (model, prompt) = (("model", &b"gpt-image-1"[..]), ("prompt", &b"a hat"[..]));
    let (size, quality) = (("size", &b"1024x1024"[..]), ("quality", &b"low"[..]));
    let image = [IMAGE, b"one"].concat();
    let parts = [("image[]", IMAGE), model, prompt, ("image[]", &image), size, quality, ("mask", IMAGE), ("n", b"2")];
    let told = edited(&parts).await;
    // (9 x 5 + 6,000 x 10 + 544 x 40) / 1e6 x 1.02
    let cost = "0.0834411";
    assert_eq!((told.ok()["data"].as_array().unwrap().len(), told.header("x-farebox-cost")), (2, Some(cost)));
    let asked = stage.fake.asked().remove(0);
    let expected = json!({"model": "gpt-image-1", "prompt": "a hat", "size": "1024x1024", "quality": "low", "n": "2"});
    assert_eq!((&*asked.path, &asked.fields), (EDITS, &expected), "its fields pass as they came");
    let images: Vec<_> = asked.images.iter().map(|(field, bytes)| (&**field, &bytes[..])).collect();
    assert_eq!(images, [("image[]", IMAGE), ("image[]", &image), ("mask", IMAGE)], "every byte of them");
    let streamed =
        edited(&[("image", IMAGE), model, prompt, size, quality, ("stream", b"true"), ("partial_images", b"1")]).await;
    assert!(
        streamed.body.starts_with("event: image_edit.partial_image\n") && streamed.body.ends_with("data: [DONE]\n\n"),
        "{}",
        streamed.body
    );
    // (9 x 5 + 1,000 x 10 + 372 x 40) / 1e6 x 1.02
    assert!(streamed.body.contains("event: image_edit.completed\n") && streamed.body.contains(r#""cost":"0.0254235""#));
    let named = json!({"model": "gpt-image-1", "prompt": "a hat", "size": "1024x1024", "quality": "low",
        "images": [{"image_url": "data:image/png;base64,iVBORw0KGgo="}]});
    let told = stage.post(EDITS, &named).await;
    // (9 x 5 + 1,000 x 10 + 272 x 40) / 1e6 x 1.02
    assert_eq!((told.status, told.header("x-farebox-cost")), (200, Some("0.0213435")));
    let quoted = stage.post("/v1/quote?route=/v1/images/edits", &named).await.ok();
    // ((2 + 2 x 256 + 6,821) x 10 + 272 x 40) / 1e6 x 1.02
    assert_eq!(quoted["cost"]["most"], "0.0859146", "{quoted}");
    for (more, field) in [
        (("image", &b"<html>"[..]), "image"),
        (("mask", &b"GIF89a"[..]), "mask"),
        (("size", &b"2048x2048"[..]), "size"),
        (("n", &b"0"[..]), "n"),
        (("complexity", &b"high"[..]), "complexity"),
        (("max_cost", &b"0.01"[..]), "max_cost"),
    ] {
        let rest = [("image", IMAGE), model, prompt].into_iter().filter(|(name, _)| *name != more.0);
        let parts: Vec<_> = rest.chain([more]).collect();
        assert_eq!(refusal(&edited(&parts).await), (400, Some(field.to_owned())));
    }
    assert_eq!(refusal(&edited(&[model, prompt]).await), (400, Some("image".into())));
    let kept = with(&named, &json!({"images": [{"file_id": "file-1"}]}));
    assert_eq!(refusal(&stage.post(EDITS, &kept).await), (400, Some("images[0].file_id".into())));
    let varied = answer(transcribe(&stage, "/v1/images/variations", "xYz", edit(&[("image", IMAGE)]))).await;
    assert_eq!(refusal(&varied), (400, Some("model".into())));
    assert!(varied.body.contains("retired"), "{}", varied.body);
    assert_eq!(stage.fake.asked().len(), 3, "what is refused here never reaches the provider");
    stage.fake.script(Misdeed::NoUsage);
    let counted = edited(&[("image", IMAGE), model, prompt, size, quality]).await.ok();
    // (2 x 5 + 6,821 x 10 + 272 x 40) / 1e6 x 1.02
    assert_eq!((&counted["farebox"]["estimated"], &counted["usage"]["cost"]), (&json!(true), &json!("0.080682")));
    stage.is_left("9.7891099").await;
}

#[tokio::test]
async fn openais_sdk_speaks_hears_and_draws_as_it_does_anywhere() {
    let stage = Stage::set().await;
    let file = stage.folder.join("call.wav");
    fs::write(&file, recording(2)).unwrap();
    let (url, key) = (stage.server.url().to_owned(), stage.customer.key.clone());
    let script = move || {
        let mut script = python_script("openai_media.py");
        run(script.env("FAREBOX_URL", url).env("FAREBOX_KEY", key).env("RECORDING", file))
    };
    let output = tokio::task::spawn_blocking(script).await.unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "ok");
    let records = stage.customer.api.get("/v1/requests?limit=100").await.ok()["data"].as_array().unwrap().clone();
    assert_eq!(records.len(), stage.fake.asked().len(), "what was asked of the provider is recorded");
    assert!(records.iter().all(|record| record["ending"] == "completed" && record["cost"] != "0.00"), "{records:?}");
    stage.server.admin().assert_audit().await;
}
