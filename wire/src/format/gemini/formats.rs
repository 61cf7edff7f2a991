//! `generateContent` as a [`ClientFormat`], and Google as a [`ProviderFormat`].

use serde_json::{Map, Value};

use super::{
    Entries, Events, Writer,
    answer::{self, Answer},
    embeddings, read_generate, refusal, translate, usage,
};
use crate::{
    fields::{BadRequest, Fields},
    format::{
        AnswerReader, ClientFormat, ErrorShape, FINISHED, KeyHeader, ProviderCall, ProviderFormat, Upstream, feature,
        gathered::Gathered,
        incoming::{Incoming, read_all},
        prepare::{check_stops, prepare},
        proof, vectors,
    },
    inference::{Event, Failure, Format, ProviderError, Request, Work},
    usage::Tier,
};

/// `generateContent`, and its streams as server-sent events. Of a body alone the model is the one that it names.
#[derive(Debug)]
pub enum Generate {}

/// `generateContent`, and its streams as one array.
#[derive(Debug)]
pub enum GenerateList {}

impl ClientFormat for Generate {
    type Writer = Writer<Events>;
    const ERRORS: ErrorShape = ErrorShape::Google;

    fn read(body: &[u8]) -> Result<Request, BadRequest> {
        read_generate(body, None, false)
    }

    fn writer(request: &Request, id: &str, _created: i64) -> Self::Writer {
        Writer::new(request, id)
    }
}

impl ClientFormat for GenerateList {
    type Writer = Writer<Entries>;
    const ERRORS: ErrorShape = ErrorShape::Google;

    fn read(body: &[u8]) -> Result<Request, BadRequest> {
        read_generate(body, None, true)
    }

    fn writer(request: &Request, id: &str, _created: i64) -> Self::Writer {
        Writer::new(request, id)
    }
}

/// A provider that speaks it.
#[derive(Debug)]
pub struct Gemini;

/// The most texts that end an answer.
const MOST_STOPS: usize = 5;

/// The method of a call for an answer.
const fn method(is_streamed: bool) -> &'static str {
    if is_streamed { "streamGenerateContent?alt=sse" } else { "generateContent" }
}

impl ProviderFormat for Gemini {
    /// Every model has paths of its own, below this one.
    fn paths(&self) -> &'static [&'static str] {
        &["/models"]
    }

    fn version(&self) -> Option<&'static str> {
        Some("/v1beta")
    }

    fn key_header(&self) -> KeyHeader {
        KeyHeader::Named("x-goog-api-key")
    }

    fn call(&self, mut request: Request, upstream: &Upstream<'_>) -> Result<ProviderCall, Failure> {
        let path = |method: &str| format!("/models/{}:{method}", upstream.model);
        match (request.source.format, &request.work) {
            (Format::Gemini, _) => {
                proof::leave_foreign(&mut request);
                let path = path(method(request.stream));
                return Ok(ProviderCall::forwarded(path, request));
            }
            (Format::GeminiEmbeddings, _) => return Ok(embeddings::own_call(request, upstream)),
            (_, Work::Embedding(_)) => return vectors::google(&request, upstream),
            _ => {}
        }
        feature::check(&request, "Google", translate::takes)?;
        prepare(&mut request, upstream)?;
        check_stops(&request, MOST_STOPS, "Google")?;
        let has_no_place = matches!(request.source.format, Format::AnthropicMessages | Format::Cohere);
        if has_no_place && upstream.model.contains("-image") {
            let message =
                "answers with images, for which this route has no place; ask it as a chat of OpenAI's".to_owned();
            return Err(Failure::Invalid { field: "model".to_owned(), message });
        }
        let body = translate::body(&request, upstream)?;
        let path = path(method(request.stream));
        Ok(ProviderCall::translated(Format::Gemini, request.stream, path.into(), body))
    }

    fn count(&self, request: Request, model: &str) -> Option<ProviderCall> {
        if request.source.format != Format::Gemini {
            return None;
        }
        let mut whole = request.source.body;
        whole.set("model", &format!("models/{model}"));
        let mut body = Fields::default();
        body.set_json("generateContentRequest", whole.to_json());
        let path = format!("/models/{model}:countTokens");
        Some(ProviderCall::translated(Format::Gemini, false, path.into(), body))
    }

    /// A client's own configuration keeps its spelling: a name in two would be refused.
    fn limit(&self, call: &mut ProviderCall, tokens: u32) {
        const NAMES: [(&str, &str); 2] =
            [("generation_config", "max_output_tokens"), ("generationConfig", "maxOutputTokens")];
        let is_snake = call.body.get(NAMES[0].0).is_some();
        let field = NAMES[usize::from(!is_snake)].0;
        let mut config: Map<String, Value> = call.body.read(field, "an object").ok().flatten().unwrap_or_default();
        let member = if config.contains_key(NAMES[0].1) { NAMES[0].1 } else { NAMES[1].1 };
        config.insert(member.into(), tokens.into());
        call.body.set(field, &config);
    }

    /// A request that is served at another tier than it asked for says so here ("Priority inference", Gemini API).
    fn served(&self, header: &dyn Fn(&str) -> Option<String>) -> Option<Tier> {
        Tier::from_word(&header("x-gemini-service-tier")?.trim().to_ascii_lowercase())
    }

    fn reader(&self, format: Format) -> Box<dyn AnswerReader> {
        match format {
            Format::GeminiEmbeddings => Box::new(Gathered::new(embeddings::read_answer)),
            _ => Box::new(Incoming::new(Answer::default())),
        }
    }

    fn own_reader(&self, format: Format) -> Box<dyn AnswerReader> {
        match format {
            Format::Gemini => Box::new(Incoming::new(Answer::own())),
            other => self.reader(other),
        }
    }

    fn read_own_whole(&self, format: Format, body: &[u8]) -> Vec<Event> {
        match format {
            Format::Gemini => answer::whole(read_all(Answer::own(), body)),
            other => self.read_whole(other, body),
        }
    }

    fn read_whole(&self, format: Format, body: &[u8]) -> Vec<Event> {
        if format == Format::GeminiEmbeddings {
            return embeddings::read_answer(body);
        }
        if let Some(report) = usage::counted(body) {
            return vec![Event::Reported(Box::new(report)), FINISHED];
        }
        vectors::answer(body).unwrap_or_else(|| answer::whole(read_all(Answer::default(), body)))
    }

    fn read_refusal(&self, status: u16, body: &[u8]) -> ProviderError {
        refusal::read(status, body)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const UPSTREAM: Upstream<'_> = Upstream { model: "gemini-x", max_output: 900, tier: None };

    fn read(text: &str, stream: bool) -> Request {
        read_generate(text.as_bytes(), Some("google/gemini-x"), stream).unwrap()
    }

    #[test]
    fn a_clients_bytes_query_and_headers_pass() {
        let text = r#"{ "contents" : [ {"parts":[{"text":"h\u00e9"}]} ],"generation_config":{ "temperature":1.50 },
            "new":[1] }"#;
        for (stream, path) in [
            (false, "/models/gemini-x:generateContent?prettyPrint=false"),
            (true, "/models/gemini-x:streamGenerateContent?alt=sse&prettyPrint=false"),
        ] {
            let mut request = read(text, stream);
            request.source.query = Some("prettyPrint=false".into());
            request.source.headers = vec![("x-goog-api-client".into(), "genai".into())];
            let mut call = Gemini.call(request, &UPSTREAM).unwrap();
            assert_eq!((&*call.path, call.body.to_json(), call.is_forwarded), (path, text.to_owned(), true));
            assert_eq!(call.headers[0].0, "x-goog-api-client");
            Gemini.limit(&mut call, 7);
            let config = r#""generation_config":{"temperature":1.5,"maxOutputTokens":7},"#;
            assert!(call.body.to_json().contains(config), "{}", call.body.to_json());
        }
    }

    #[test]
    fn a_limit_is_written_in_the_clients_spelling() {
        let of = |config: Value| {
            let body = json!({"contents": [{"parts": [{"text": "x"}]}]});
            let mut body = body.as_object().unwrap().clone();
            body.extend(config.as_object().unwrap().clone());
            let mut call = Gemini.call(read(&Value::Object(body).to_string(), false), &UPSTREAM).unwrap();
            Gemini.limit(&mut call, 7);
            let sent: Value = serde_json::from_str(&call.body.to_json()).unwrap();
            (sent["generationConfig"].clone(), sent["generation_config"].clone())
        };
        assert_eq!(of(json!({})), (json!({"maxOutputTokens": 7}), Value::Null));
        assert_eq!(
            of(json!({"generationConfig": {"max_output_tokens": 9}})),
            (json!({"max_output_tokens": 7}), Value::Null)
        );
        assert_eq!(
            of(json!({"generation_config": {"maxOutputTokens": 9}})),
            (Value::Null, json!({"maxOutputTokens": 7}))
        );
    }

    #[test]
    fn a_count_is_asked_of_a_whole_request() {
        let text = r#"{"contents":[{"parts":[{"text":"x"}]}],"tools":[]}"#;
        let call = Gemini.count(read(text, false), "gemini-x").unwrap();
        let expected = json!({"generateContentRequest": {"contents": [{"parts": [{"text": "x"}]}], "tools": [], "model": "models/gemini-x"}});
        assert_eq!((&*call.path, call.body.to_json()), ("/models/gemini-x:countTokens", expected.to_string()));
        let events = Gemini.read_whole(Format::Gemini, br#"{"totalTokens":7}"#);
        assert!(matches!(&events[..], [Event::Reported(report), Event::Finished { .. }] if report.input == Some(7)));
    }

    #[test]
    fn google_gets_no_proof_of_others_and_every_other_byte() {
        let own = r#"{"role":"model","parts":[ {"text":"x","thoughtSignature":"cHJvb2Y="} ]}"#;
        let foreign =
            r#"{"role":"model","parts":[{"functionCall":{"name":"f"},"thoughtSignature":"YW50aHJvcGljOnNpZw=="}]}"#;
        let sent = |turns: &str| {
            Gemini.call(read(&format!(r#"{{"contents": [{turns}]}}"#), false), &UPSTREAM).unwrap().body.to_json()
        };
        assert_eq!(sent(own), format!(r#"{{"contents": [{own}]}}"#));
        let replaced = foreign.replace("YW50aHJvcGljOnNpZw==", "skip_thought_signature_validator");
        assert_eq!(sent(&format!("{own}, {foreign}")), format!(r#"{{"contents": [{own},{replaced}]}}"#));
    }
}
