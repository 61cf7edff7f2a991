//! Embeddings ("Embeddings", OpenAI API reference): texts in, vectors out. An answer comes whole. A provider's own answer
//! passes as it came, with its cost; for any other provider it is written from neutral words.

use serde_json::{Value, json, value::RawValue};

use super::{
    messages::{read_as, read_text},
    provider::fault,
    usage, usage_object,
};
use crate::{
    fields::{BadRequest, Fields},
    format::{
        ClientFormat, End, FINISHED, OnlyWhole, Terms, WholeWriter,
        own::{self, Own},
        refused::unknown,
        vectors::base64,
    },
    inference::{Delta, Embedding, EmbeddingInput, Event, Failure, Format, Raw, Request, Source, VectorEncoding, Work},
};

/// The most inputs of one request, as the API has it.
const MOST_INPUTS: usize = 2_048;
/// The format.
const FORMAT: Format = Format::OpenAiEmbeddings;
/// Fields that cost nothing beside the input.
const KNOWN: [&str; 10] = [
    "model",
    "input",
    "dimensions",
    "encoding_format",
    "user",
    "safety_identifier",
    "metadata",
    "output_dimension",
    "output_dtype",
    "input_type",
];

/// Embeddings, as clients ask for them.
#[derive(Debug)]
pub enum Embeddings {}

impl ClientFormat for Embeddings {
    type Writer = Writer;

    fn read(body: &[u8]) -> Result<Request, BadRequest> {
        read_embedding(body)
    }

    fn writer(request: &Request, id: &str, _: i64) -> Writer {
        let encoding = match &request.work {
            Work::Embedding(embedding) => embedding.encoding,
            _ => VectorEncoding::Float,
        };
        Writer { id: format!("embd-{id}"), model: request.model.clone(), encoding }
    }
}

/// Reads a request of embeddings.
///
/// # Errors
///
/// The first field with a wrong value. The error is for the client, and names the field.
pub fn read_embedding(body: &[u8]) -> Result<Request, BadRequest> {
    let mut body = Fields::of_client(body)?;
    let Own { max_cost, auto_scale: _, fallbacks } = own::take(&mut body)?;
    let model = own::model(&body)?;
    let inputs = inputs(&body)?;
    let encoding = match body.string("encoding_format")?.as_deref() {
        None | Some("float") => VectorEncoding::Float,
        Some("base64") => VectorEncoding::Base64,
        Some(_) => return Err(BadRequest::new("encoding_format", "must be float or base64")),
    };
    let dimensions = body.whole("dimensions", 1, 1_000_000)?;
    let purpose = body.string("input_type")?;
    let end_user = body.string("user").ok().flatten();
    let work = Work::Embedding(Embedding { inputs, dimensions, encoding, purpose });
    let source = Source::of(FORMAT, body);
    Ok(Request {
        model,
        work,
        stream: false,
        max_cost,
        auto_scale: None,
        fallbacks,
        end_user,
        unread: Vec::new(),
        source,
    })
}

/// A text, a list of texts, a list of tokens, or a list of lists of tokens.
fn inputs(body: &Fields) -> Result<Vec<EmbeddingInput>, BadRequest> {
    let bad = || BadRequest::new("input", "must be a text, or a list of texts or of tokens");
    let json = body.present("input").ok_or_else(|| BadRequest::new("input", "is required"))?;
    if let Some(text) = read_text(json) {
        return Ok(vec![text_of(text)?]);
    }
    let list: Vec<&RawValue> = read_as(json).ok_or_else(bad)?;
    if list.is_empty() || list.len() > MOST_INPUTS && !list[0].get().starts_with(|c: char| c.is_ascii_digit()) {
        return Err(BadRequest::new("input", format!("must have 1 to {MOST_INPUTS} entries")));
    }
    if let Some(tokens) = read_as::<Vec<u32>>(json) {
        return Ok(vec![EmbeddingInput::Tokens(tokens)]);
    }
    let input = |entry: &RawValue| match read_text(entry.get()) {
        Some(text) => text_of(text),
        None => read_as(entry.get())
            .filter(|tokens: &Vec<u32>| !tokens.is_empty())
            .map(EmbeddingInput::Tokens)
            .ok_or_else(bad),
    };
    list.into_iter().map(input).collect()
}

fn text_of(text: String) -> Result<EmbeddingInput, BadRequest> {
    if text.is_empty() {
        return Err(BadRequest::new("input", "must not be empty"));
    }
    Ok(EmbeddingInput::Text(text))
}

/// The terms that a request's price depends on: none beside its input.
pub(in crate::format) fn terms(request: &Request) -> Result<Terms, BadRequest> {
    let body = &request.source.body;
    match body.names().find(|name| !KNOWN.contains(name) && body.present(name).is_some()) {
        None => Ok(Terms::default()),
        Some(name) => Err(unknown(name)),
    }
}

/// Reads an answer with vectors.
pub(super) fn read_answer(body: &[u8]) -> Vec<Event> {
    let text = String::from_utf8_lossy(body);
    let failed = |error| vec![Event::Failed(Failure::Provider(Box::new(error)))];
    let Ok(mut fields) = Fields::parse(text.trim().as_bytes()) else {
        let words = fault::text_words(&text);
        return vec![Event::Failed(Failure::Transport(format!("the provider's answer has no vectors: {words}")))];
    };
    let report = usage::report(&fields).map(|mut report| {
        // Nothing is written.
        report.output = Some(0);
        Event::Reported(Box::new(report))
    });
    let has_vectors = fields.present("data").and_then(read_as::<Vec<&RawValue>>).is_some_and(|data| !data.is_empty());
    if !has_vectors {
        let error = fault::in_answer(&serde_json::from_str(&text).unwrap_or_default(), &text);
        return report.into_iter().chain(failed(error)).collect();
    }
    fields.remove("usage");
    let delta = Event::Delta(Delta { raw: Raw::Own(FORMAT, fields), ..Delta::default() });
    [delta].into_iter().chain(report).chain([FINISHED]).collect()
}

/// Writes one answer.
pub struct Writer {
    /// OpenAI's answers have none, and Mistral's client reads no answer without one.
    id: String,
    model: String,
    encoding: VectorEncoding,
}

impl OnlyWhole for Writer {}

impl WholeWriter for Writer {
    fn whole(&mut self, deltas: Vec<Delta>, end: &End) -> Vec<u8> {
        let counted = json!({"prompt_tokens": end.usage.input, "total_tokens": end.usage.input});
        let mut gain = json!({"usage": usage_object(&end.receipt, counted), "farebox": end.receipt.farebox});
        let raw = deltas.iter().find_map(|delta| delta.raw.of(FORMAT));
        if raw.is_none_or(|raw| raw.present("id").is_none()) {
            gain["id"] = (&*self.id).into();
        }
        if let Some(raw) = raw {
            return raw.to_json_with(&["usage", "farebox"], &gain, 1_024);
        }
        let vectors = deltas.iter().filter_map(Delta::vectors).flatten();
        let vectors = vectors.enumerate();
        let entry = |(index, vector): (usize, &Vec<f32>)| {
            let embedding = match self.encoding {
                VectorEncoding::Float => json!(vector),
                VectorEncoding::Base64 => base64(vector).into(),
            };
            json!({"object": "embedding", "index": index, "embedding": embedding})
        };
        let data: Vec<Value> = vectors.map(entry).collect();
        let mut answer = json!({"object": "list", "data": data, "model": self.model});
        if let (Value::Object(answer), Value::Object(gain)) = (&mut answer, gain) {
            answer.extend(gain);
        }
        answer.to_string().into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        format::{Particulars, Receipt},
        inference::{Made, Usage},
    };

    fn read(fields: &str) -> Result<Request, BadRequest> {
        read_embedding(format!(r#"{{"model":"m"{fields}}}"#).as_bytes())
    }

    #[test]
    fn inputs_are_texts_or_tokens() {
        let of = |input: &str| match read(&format!(r#","input":{input}"#)).unwrap().work {
            Work::Embedding(embedding) => embedding.inputs,
            _ => panic!(),
        };
        let text = |text: &str| EmbeddingInput::Text(text.into());
        assert_eq!(of(r#""a""#), [text("a")]);
        assert_eq!(of(r#"["a","b"]"#), [text("a"), text("b")]);
        assert_eq!(of("[1,2]"), [EmbeddingInput::Tokens(vec![1, 2])]);
        assert_eq!(of("[[1],[2,3]]"), [EmbeddingInput::Tokens(vec![1]), EmbeddingInput::Tokens(vec![2, 3])]);
        for (fields, field) in [
            ("", "input"),
            (r#","input":"""#, "input"),
            (r#","input":[]"#, "input"),
            (r#","input":["a",""]"#, "input"),
            (r#","input":[["a"]]"#, "input"),
            (r#","input":{"a":1}"#, "input"),
            (r#","input":"a","encoding_format":"hex""#, "encoding_format"),
            (r#","input":"a","dimensions":0"#, "dimensions"),
        ] {
            assert_eq!(read(fields).unwrap_err().field, field, "{fields}");
        }
        assert_eq!(terms(&read(r#","input":"a","store_vectors":true"#).unwrap()).unwrap_err().field, "store_vectors");
    }

    #[test]
    fn a_providers_own_answer_passes_with_its_cost() {
        let body = br#"{"object" : "list","data":[{"object":"embedding","index":0,"embedding":[0.10]}],"model":"m","usage":{"prompt_tokens":5,"total_tokens":5}}"#;
        let events = read_answer(body);
        let [Event::Delta(delta), Event::Reported(report), Event::Finished { .. }] = &events[..] else {
            panic!("{events:?}")
        };
        assert_eq!((report.input, report.output), (Some(5), Some(0)));
        let receipt = Receipt { cost: "0.01".into(), farebox: Particulars::default(), usage: report.own.clone() };
        let end = End { usage: Usage { input: 5, ..Usage::default() }, receipt, is_cut: false };
        let mut writer = Writer { id: "embd-1".into(), model: "m".into(), encoding: VectorEncoding::Float };
        let written = String::from_utf8(writer.whole(vec![delta.clone()], &end)).unwrap();
        assert!(written.starts_with(
            r#"{"object" : "list","data":[{"object":"embedding","index":0,"embedding":[0.10]}],"model":"m","usage":{"#
        ));
        assert!(written.contains(r#""prompt_tokens":5,"total_tokens":5,"cost":"0.01""#), "{written}");
        assert!(written.contains(r#""id":"embd-1""#), "{written}");
        let own = read_answer(br#"{"id":"own","data":[{"embedding":[0.10]}]}"#);
        let [Event::Delta(delta), ..] = &own[..] else { panic!("{own:?}") };
        let written = String::from_utf8(writer.whole(vec![delta.clone()], &end)).unwrap();
        assert!(written.starts_with(r#"{"id":"own","data""#) && !written.contains("embd-1"), "{written}");
        for broken in ["", "{}", "[]", r#"{"data":[]}"#, r#"{"error":{"message":"no"}}"#, "nonsense"] {
            assert!(matches!(read_answer(broken.as_bytes()).last(), Some(Event::Failed(_))), "{broken}");
        }
    }

    #[test]
    fn another_formats_vectors_are_written_as_the_client_wants_them() {
        let receipt = Receipt { cost: "0.01".into(), farebox: Particulars::default(), usage: None };
        let end = End { usage: Usage { input: 5, ..Usage::default() }, receipt, is_cut: false };
        let deltas = vec![Delta { made: Some(Box::new(Made::Vectors(vec![vec![0.5, -1.0]]))), ..Delta::default() }];
        let of = |encoding| -> Value {
            let mut writer = Writer { id: "embd-1".into(), model: "m".into(), encoding };
            serde_json::from_slice(&writer.whole(deltas.clone(), &end)).unwrap()
        };
        assert_eq!(of(VectorEncoding::Float)["data"][0]["embedding"], json!([0.5, -1.0]));
        assert_eq!(of(VectorEncoding::Base64)["data"][0]["embedding"], "AAAAPwAAgL8=");
        assert_eq!(of(VectorEncoding::Float)["id"], "embd-1");
        assert_eq!(of(VectorEncoding::Float)["usage"], json!({"prompt_tokens": 5, "total_tokens": 5, "cost": "0.01"}));
    }
}
