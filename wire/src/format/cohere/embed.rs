//! Embeddings, as clients ask for them ("Embed", Cohere API reference, version 2): texts in, vectors out, by the types that the
//! client wants. An answer comes whole. Cohere's own passes as it came, with its cost; of any other provider's vectors the
//! types are written that say the same numbers, floats and floats in base64. The others round, each provider in its own way.

use serde_json::{Map, Value, json, value::RawValue};

use super::request::read_priority;
use crate::{
    fields::{BadRequest, Fields},
    format::{
        ClientFormat, End, ErrorShape, FINISHED, OnlyWhole, WholeWriter, count,
        openai::{
            faults,
            reading::{all_of, member, members, note, note_others, read_as, read_text},
        },
        own::{self, Own},
        vectors,
    },
    inference::{
        Delta, Embedding, EmbeddingInput, Event, Failure, Format, Media, Raw, Request, Source, Unread, VectorEncoding,
        Work,
    },
    usage::Report,
};

/// The format.
const FORMAT: Format = Format::CohereEmbed;
/// The most inputs of one request, as the API has it.
const MOST_INPUTS: usize = 96;
/// The fields that hold inputs: one of them is sent.
const INPUTS: [&str; 3] = ["texts", "images", "inputs"];
/// The types of vectors.
const TYPES: [&str; 6] = ["float", "int8", "uint8", "binary", "ubinary", "base64"];
/// Of these, those that say a model's own numbers.
const EXACT: [&str; 2] = ["float", "base64"];
/// The purposes of vectors.
const PURPOSES: [&str; 5] = ["search_document", "search_query", "classification", "clustering", "image"];
/// The fields that providers of other formats get in their words, or that change no vector.
const NEUTRAL: [&str; 8] =
    ["model", "texts", "images", "inputs", "input_type", "embedding_types", "output_dimension", "priority"];
/// A longer report of usage is not passed on: no real one is as long.
const LONGEST_REPORT: usize = 64 << 10;

/// Embeddings, as clients ask for them.
#[derive(Debug)]
pub enum Embed {}

impl ClientFormat for Embed {
    type Writer = Writer;
    const ERRORS: ErrorShape = ErrorShape::Cohere;

    fn read(body: &[u8]) -> Result<Request, BadRequest> {
        read_embed(body)
    }

    fn writer(request: &Request, id: &str, _: i64) -> Writer {
        let texts = request.source.body.present("texts").and_then(read_as).unwrap_or_default();
        Writer { id: id.to_owned(), texts, types: types(&request.source.body).unwrap_or_default() }
    }
}

/// Reads a request of embeddings.
///
/// # Errors
///
/// The first field with a wrong value. The error is for the client, and names the field.
pub fn read_embed(body: &[u8]) -> Result<Request, BadRequest> {
    let mut body = Fields::of_client(body)?;
    let Own { max_cost, auto_scale: _, fallbacks } = own::take(&mut body)?;
    let model = own::model(&body)?;
    let mut unread = Vec::new();
    let inputs = inputs(&body, &mut unread)?;
    types(&body)?;
    read_priority(&body)?;
    let purpose = body.string("input_type")?.ok_or_else(|| BadRequest::new("input_type", "is required"))?;
    if !PURPOSES.contains(&&*purpose) {
        return Err(BadRequest::new("input_type", format!("must be one of {}", PURPOSES.join(", "))));
    }
    let dimensions = body.whole("output_dimension", 1, 1_000_000)?;
    let work =
        Work::Embedding(Embedding { inputs, dimensions, encoding: VectorEncoding::Float, purpose: Some(purpose) });
    let source = Source::of(FORMAT, body);
    let unread = all_of(unread)?;
    Ok(Request { model, work, stream: false, max_cost, auto_scale: None, fallbacks, end_user: None, unread, source })
}

/// The types that are asked for.
fn types(body: &Fields) -> Result<Vec<String>, BadRequest> {
    let types: Vec<String> =
        body.read("embedding_types", "an array of types")?.unwrap_or_else(|| vec![TYPES[0].to_owned()]);
    let is_known = |name: &String| TYPES.contains(&&**name);
    if types.is_empty() || types.len() > TYPES.len() || !types.iter().all(is_known) {
        return Err(BadRequest::new("embedding_types", format!("must be some of {}", TYPES.join(", "))));
    }
    Ok(types)
}

/// The inputs of the field that holds them.
fn inputs(body: &Fields, unread: &mut Vec<Unread>) -> Result<Vec<EmbeddingInput>, BadRequest> {
    let mut there = INPUTS.into_iter().filter(|name| body.present(name).is_some_and(|list| list.trim() != "[]"));
    let (Some(name), None) = (there.next(), there.next()) else {
        return Err(BadRequest::new(
            "texts",
            "is required, or one of images and inputs in its place, and no two of them",
        ));
    };
    let list: Option<Vec<&RawValue>> = body.present(name).and_then(read_as);
    let list = list.ok_or_else(|| BadRequest::new(name, "must be an array"))?;
    if list.len() > MOST_INPUTS {
        return Err(BadRequest::new(name, format!("must have at most {MOST_INPUTS} entries")));
    }
    let input = |(place, entry): (usize, &RawValue)| {
        let at = format!("{name}[{place}]");
        let text = || read_text(entry.get()).filter(|text| !text.is_empty());
        let must = |what: &str| BadRequest::new(at.as_str(), format!("must be {what}"));
        match name {
            "texts" => text().map(EmbeddingInput::Text).ok_or_else(|| must("a text that is not empty")),
            "images" => text().map(image).ok_or_else(|| must("the address of an image")),
            _ => parts(entry.get(), &at, unread).ok_or_else(|| must("an object with content")),
        }
    };
    list.into_iter().enumerate().map(input).collect()
}

fn image(url: String) -> EmbeddingInput {
    EmbeddingInput::Media(Media::Url(url))
}

/// An input of parts, which become one vector together. Only one text, or one image, has a place in the neutral words.
fn parts(json: &str, at: &str, unread: &mut Vec<Unread>) -> Option<EmbeddingInput> {
    let input = members(json, at).ok()??;
    note_others(&input, &["content"], at, unread);
    let content: Vec<&RawValue> = read_as(member(&input, "content")?)?;
    let (mut texts, mut images) = (Vec::new(), Vec::new());
    for (place, part) in content.iter().enumerate() {
        let at = format!("{at}.content[{place}]");
        let part = members(part.get(), &at).ok()??;
        let kind = member(&part, "type").and_then(read_text)?;
        match &*kind {
            "text" => texts.push(member(&part, "text").and_then(read_text)?),
            "image_url" => {
                let image = member(&part, "image_url")?;
                let object = members(image, &at).ok()?;
                let url = object.as_ref().and_then(|object| member(object, "url").and_then(read_text));
                note_others(object.as_deref().unwrap_or_default(), &["url"], &format!("{at}.image_url"), unread);
                images.push(url.or_else(|| read_text(image))?);
            }
            kind => note(unread, format!("{at}.type"), &Value::from(kind).to_string()),
        }
        if place > 0 {
            note(unread, at, content[place].get());
        } else {
            note_others(&part, &["type", &kind], &at, unread);
        }
    }
    match images.into_iter().next() {
        Some(url) => Some(image(url)),
        None => Some(texts.join("\n")).filter(|text| !text.is_empty()).map(EmbeddingInput::Text),
    }
}

/// Checks what a provider of another format would not be told, or could not answer.
///
/// # Errors
///
/// The client's field, and what is wrong with it.
pub(in crate::format) fn check_abroad(request: &Request) -> Result<(), BadRequest> {
    let body = &request.source.body;
    let is_left = |name: &&str| {
        let is_usual = *name == "truncate" && body.get(name) == Some("\"NONE\"");
        body.present(name).is_some() && !NEUTRAL.contains(name) && !is_usual
    };
    if let Some(name) = body.names().find(is_left) {
        return Err(BadRequest::new(name, "can't be asked of this model"));
    }
    if let Some(unread) = request.unread.first() {
        return Err(BadRequest::new(unread.at.as_str(), "can't be asked of this model"));
    }
    // What an image is for is told of images alone.
    if body.get("input_type") == Some("\"image\"") {
        return Err(BadRequest::new("input_type", "can't be asked of this model"));
    }
    if let Some(name) = types(body)?.into_iter().find(|name| !EXACT.contains(&&**name)) {
        let message = format!("{name} can't be asked of this model: it rounds, and only float and base64 do not");
        return Err(BadRequest::new("embedding_types", message));
    }
    Ok(())
}

/// Reads an answer of Cohere's with vectors, for a client of this format.
pub(super) fn read_answer(body: &[u8]) -> Vec<Event> {
    let text = String::from_utf8_lossy(body);
    let Ok(mut fields) = Fields::of(text.trim()) else {
        let words = faults::text_words(&text);
        return vec![Event::Failed(Failure::Transport(format!("the provider's answer has no vectors: {words}")))];
    };
    let report = report(&fields).map(|report| Event::Reported(Box::new(report)));
    if vectors_in(&fields) == 0 {
        let error = faults::in_answer(&serde_json::from_str(&text).unwrap_or_default(), &text);
        return report.into_iter().chain([Event::Failed(Failure::Provider(Box::new(error)))]).collect();
    }
    fields.remove("meta");
    let delta = Event::Delta(Delta { raw: Raw::Own(FORMAT, fields), ..Delta::default() });
    [delta].into_iter().chain(report).chain([FINISHED]).collect()
}

/// How many vectors an answer has, of each of its types; none where they differ.
pub(in crate::format) fn vectors_in(answer: &Fields) -> usize {
    let types = answer.present("embeddings").and_then(read_as::<Map<String, Value>>).unwrap_or_default();
    // What is null in the place of a vector is none.
    let is_vector = |vector: &&Value| match vector {
        Value::Array(numbers) => !numbers.is_empty() && !numbers.iter().any(Value::is_null),
        Value::String(base64) => !base64.is_empty(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => false,
    };
    let count = |list: &Value| list.as_array().map_or(0, |list| list.iter().filter(is_vector).count());
    let mut counts = types.values().filter(|list| !list.is_null()).map(count);
    let count = counts.next().unwrap_or(0);
    if counts.all(|other| other == count) { count } else { 0 }
}

/// The usage that is billed, and the whole of it in the provider's words.
fn report(answer: &Fields) -> Option<Report> {
    let meta = answer.present("meta").filter(|meta| meta.len() <= LONGEST_REPORT)?;
    let whole: Value = read_as(meta)?;
    let input = whole.pointer("/billed_units/input_tokens").and_then(count).filter(|input| *input > 0)?;
    Some(Report { input: Some(input), output: Some(0), own: Some(meta.into()), ..Report::default() })
}

/// Writes one answer.
pub struct Writer {
    id: String,
    /// The texts of the request, which an answer repeats.
    texts: Vec<String>,
    types: Vec<String>,
}

impl OnlyWhole for Writer {
    fn shape(&self) -> ErrorShape {
        ErrorShape::Cohere
    }
}

impl WholeWriter for Writer {
    fn whole(&mut self, deltas: Vec<Delta>, end: &End) -> Vec<u8> {
        let billed = json!({"input_tokens": end.usage.input});
        let counted = json!({"api_version": {"version": "2"}, "billed_units": billed, "cost": end.receipt.cost});
        let gain = json!({"meta": end.receipt.usage_object(counted), "farebox": end.receipt.farebox});
        if let Some(raw) = deltas.iter().find_map(|delta| delta.raw.of(FORMAT)) {
            return raw.to_json_with(&["meta", "farebox"], &gain, 1_024);
        }
        let vectors: Vec<Vec<f32>> = deltas.iter().flat_map(vectors::floats).collect();
        let of_type = |name: &String| {
            let written = match name.as_str() {
                "base64" => vectors.iter().map(|vector| vectors::base64(vector)).collect::<Vec<_>>().into(),
                _ => json!(vectors),
            };
            (name.clone(), written)
        };
        let embeddings: Map<String, Value> = self.types.iter().map(of_type).collect();
        let mut fields = Fields::default();
        fields.set("id", &self.id);
        fields.set("embeddings", &embeddings);
        fields.set("texts", &self.texts);
        fields.set("response_type", "embeddings_by_type");
        fields.to_json_with(&[], &gain, 1_024)
    }
}

#[cfg(test)]
mod tests;
