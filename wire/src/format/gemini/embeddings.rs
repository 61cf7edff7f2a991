//! Vectors as clients of this format ask for them ("Embeddings", Gemini API reference): `embedContent` for one text,
//! `batchEmbedContents` for several. An answer comes whole. A provider's own answer passes as it came, with its cost.

use serde_json::{Value, json};

use super::{
    request::{MODEL, is_named, take_model},
    spelling::{below, camel, list, members, refuse_twice},
};
use crate::{
    fields::{BadRequest, Fields, text_of},
    format::{
        ClientFormat, End, ErrorShape, FINISHED, OnlyWhole, ProviderCall, Terms, Upstream, WholeWriter,
        openai::{
            fault,
            reading::{Members, all_of, member, note, read_as, read_text},
        },
        own::{self, Own},
        receipt::UsageObject,
        refused::{short, unknown, unpriced},
        vectors,
    },
    inference::{
        Delta, Embedding, EmbeddingInput, Event, Failure, Format, Media, Raw, Request, Source, Unread, VectorEncoding,
        Work,
    },
    usage::Report,
};

const FORMAT: Format = Format::GeminiEmbeddings;
/// The list of a body for several texts.
const REQUESTS: &str = "requests";
/// The most texts of one request.
const MOST: usize = 2_048;
/// Members of a request for one vector.
const READ: [&str; 4] = [MODEL, "content", "taskType", "outputDimensionality"];
const USAGE: &str = "usageMetadata";

/// Vectors, as clients ask for them. Of a body alone the model is the one that it names.
#[derive(Debug)]
pub enum Embeddings {}

impl ClientFormat for Embeddings {
    type Writer = Writer;
    const ERRORS: ErrorShape = ErrorShape::Google;

    fn read(body: &[u8]) -> Result<Request, BadRequest> {
        read(body, None)
    }

    fn writer(request: &Request, _: &str, _: i64) -> Writer {
        Writer { is_one: !is_many(&request.source.body) }
    }
}

fn is_many(body: &Fields) -> bool {
    body.present(REQUESTS).is_some()
}

/// Reads a request for one vector.
///
/// # Errors
///
/// The first field with a wrong value. The error is for the client, and names the field.
pub fn read_embedding(body: &[u8], model: &str) -> Result<Request, BadRequest> {
    match Fields::of_client(body)?.present(REQUESTS) {
        Some(_) => Err(BadRequest::new(REQUESTS, "is a field of batchEmbedContents")),
        None => read(body, Some(model)),
    }
}

/// Reads a request for several vectors.
///
/// # Errors
///
/// As for [`read_embedding`].
pub fn read_embeddings(body: &[u8], model: &str) -> Result<Request, BadRequest> {
    match Fields::of_client(body)?.present(REQUESTS) {
        Some(_) => read(body, Some(model)),
        None => Err(BadRequest::new(REQUESTS, "is required")),
    }
}

fn read(body: &[u8], model: Option<&str>) -> Result<Request, BadRequest> {
    let mut body = Fields::of_client(body)?;
    let Own { max_cost, auto_scale: _, fallbacks } = own::take(&mut body)?;
    refuse_twice(&body)?;
    let model = take_model(&mut body, model)?;
    let mut unread = Vec::new();
    let mut asked = Asked::default();
    if let Some(json) = body.present(REQUESTS) {
        let list = list(json, REQUESTS)?;
        if list.is_empty() || list.len() > MOST {
            return Err(BadRequest::new(REQUESTS, format!("must have 1 to {MOST} requests")));
        }
        for (place, json) in list.into_iter().enumerate() {
            let at = format!("{REQUESTS}[{place}]");
            asked.add(&members(json, &at)?, &at, &model, &mut unread)?;
        }
        for name in body.names().filter(|name| *name != REQUESTS) {
            note(&mut unread, camel(name).into_owned(), body.get(name).unwrap_or("null"));
        }
    } else {
        let all: Members<'_> = body.names().map(|name| (camel(name), body.get(name).unwrap_or("null"))).collect();
        asked.add(&all, "", &model, &mut unread)?;
    }
    let Asked { inputs, said } = asked;
    let (purpose, dimensions) = said.unwrap_or_default();
    let work = Work::Embedding(Embedding { inputs, dimensions, encoding: VectorEncoding::Float, purpose });
    let source = Source::of(FORMAT, body);
    let unread = all_of(unread)?;
    Ok(Request { model, work, stream: false, max_cost, auto_scale: None, fallbacks, end_user: None, unread, source })
}

/// What is asked for so far: the texts, and what their vectors are for and how long they are, which neutral words say once.
#[derive(Default)]
struct Asked {
    inputs: Vec<EmbeddingInput>,
    said: Option<(Option<String>, Option<u32>)>,
}

impl Asked {
    fn add(
        &mut self,
        members: &Members<'_>,
        at: &str,
        model: &str,
        unread: &mut Vec<Unread>,
    ) -> Result<(), BadRequest> {
        let must = |name: &str, must: &str| BadRequest::new(below(at, name), must);
        if member(members, MODEL).is_some_and(|json| !is_named(json, model)) {
            return Err(must(MODEL, "is not the model that the path names"));
        }
        let content = member(members, "content").ok_or_else(|| must("content", "is required"))?;
        self.inputs.push(input(content, &below(at, "content"), unread)?);
        let purpose = match member(members, "taskType") {
            Some(json) => Some(read_text(json).ok_or_else(|| must("taskType", "must be a string"))?),
            None => None,
        };
        let purpose = purpose.filter(|purpose| purpose != "TASK_TYPE_UNSPECIFIED");
        let purpose = purpose.map(|purpose| vectors::purpose_of_googles(&purpose).map_or(purpose, str::to_owned));
        let dimensions = match member(members, "outputDimensionality") {
            Some(json) => {
                let dimensions = read_as(json).filter(|dimensions| (1..=1_000_000).contains(dimensions));
                Some(
                    dimensions
                        .ok_or_else(|| must("outputDimensionality", "must be a whole number from 1 to 1000000"))?,
                )
            }
            None => None,
        };
        let said = (purpose, dimensions);
        match &self.said {
            Some(before) if *before != said => {
                let odd = if before.0 == said.0 { "outputDimensionality" } else { "taskType" };
                note(unread, below(at, odd), member(members, odd).unwrap_or("\"\""));
            }
            Some(_) => {}
            None => self.said = Some(said),
        }
        for (name, value) in members.iter().filter(|(name, value)| *value != "null" && !READ.contains(&&**name)) {
            note(unread, below(at, name), value);
        }
        Ok(())
    }
}

/// The text of a content, or what else it is.
fn input(json: &str, at: &str, unread: &mut Vec<Unread>) -> Result<EmbeddingInput, BadRequest> {
    let own = members(json, at)?;
    let at = below(at, "parts");
    let parts = member(&own, "parts").ok_or_else(|| BadRequest::new(&*at, "is required"))?;
    let mut text = String::new();
    for (place, json) in list(parts, &at)?.into_iter().enumerate() {
        let at = format!("{at}[{place}]");
        for (name, value) in members(json, &at)?.into_iter().filter(|(_, value)| *value != "null") {
            match (&*name, text_of(value)) {
                ("text", Some(words)) => text.push_str(&words),
                _ => note(unread, below(&at, &name), value),
            }
        }
    }
    if text.is_empty() && unread.is_empty() {
        return Err(BadRequest::new(at, "must have a text"));
    }
    if text.is_empty() {
        // What it is instead is unread.
        return Ok(EmbeddingInput::Media(Media::Data { media_type: None, base64: String::new() }));
    }
    Ok(EmbeddingInput::Text(text))
}

/// The terms that a request's price depends on: none beside its texts.
pub(in crate::format) fn terms(request: &Request) -> Result<Terms, BadRequest> {
    let harmless = ["title", "taskType", "outputDimensionality"];
    let odd = request.unread.iter().find(|unread| {
        let last = unread.at.rsplit('.').next().unwrap_or_default();
        !harmless.contains(&last) || !["", "requests[]."].contains(&unread.pattern().trim_end_matches(last))
    });
    match odd {
        None => Ok(Terms::default()),
        Some(unread) if unread.at.contains(".parts[") => Err(unpriced(short(&unread.at), "texts have")),
        Some(unread) => Err(unknown(&unread.at)),
    }
}

/// The first member of a request that providers of other formats have no words for.
pub(in crate::format) fn unsaid(request: &Request) -> Option<&str> {
    request.unread.iter().find(|unread| unread.json != "null").map(|unread| &*unread.at)
}

/// Google's own call: the client's body, with the provider's name of the model where it stands beside a text.
pub(super) fn own_call(mut request: Request, upstream: &Upstream<'_>) -> ProviderCall {
    let body = &mut request.source.body;
    let method = if is_many(body) { "batchEmbedContents" } else { "embedContent" };
    let named: Option<Vec<Box<serde_json::value::RawValue>>> = body.present(REQUESTS).and_then(read_as);
    if let Some(list) = named {
        let one = |json: &str| match Fields::of(json) {
            Ok(mut fields) => {
                fields.set(MODEL, &format!("models/{}", upstream.model));
                fields.to_json()
            }
            Err(_) => json.to_owned(),
        };
        let all: Vec<String> = list.iter().map(|entry| one(entry.get())).collect();
        body.set_json(REQUESTS, format!("[{}]", all.join(",")));
    }
    ProviderCall::forwarded(format!("/models/{}:{method}", upstream.model), request)
}

/// Reads an answer with vectors.
pub(super) fn read_answer(body: &[u8]) -> Vec<Event> {
    let text = String::from_utf8_lossy(body);
    let Ok(mut fields) = Fields::of(text.trim()) else {
        let words = fault::text_words(&text);
        return vec![Event::Failed(Failure::Transport(format!("the provider's answer has no vectors: {words}")))];
    };
    let usage: Option<Value> = fields.present(USAGE).and_then(read_as);
    let input = usage.as_ref().and_then(|usage| crate::format::count(usage.get("promptTokenCount")?));
    let report = input.filter(|input| *input > 0).map(|input| {
        let own = usage.map(|usage| usage.to_string().into());
        Event::Reported(Box::new(Report { input: Some(input), output: Some(0), own, ..Report::default() }))
    });
    if count_of(&fields) == 0 {
        let error = super::refusal::in_answer(&serde_json::from_str(&text).unwrap_or_default());
        return report.into_iter().chain([Event::Failed(Failure::Provider(Box::new(error)))]).collect();
    }
    fields.remove(USAGE);
    let delta = Event::Delta(Delta { raw: Raw::Own(FORMAT, fields), ..Delta::default() });
    [delta].into_iter().chain(report).chain([FINISHED]).collect()
}

/// The number of vectors in a provider's own answer.
pub(in crate::format) fn count_of(fields: &Fields) -> usize {
    let has_values = |vector: &Value| vector["values"].as_array().is_some_and(|values| !values.is_empty());
    let many: Vec<Value> = fields.present("embeddings").and_then(read_as).unwrap_or_default();
    let one: Option<Value> = fields.present("embedding").and_then(read_as);
    many.iter().chain(&one).filter(|vector| has_values(vector)).count()
}

/// Writes one answer.
pub struct Writer {
    /// Whether one vector was asked for, and not a list.
    is_one: bool,
}

impl OnlyWhole for Writer {
    fn shape(&self) -> ErrorShape {
        ErrorShape::Google
    }
}

impl WholeWriter for Writer {
    fn whole(&mut self, deltas: Vec<Delta>, end: &End) -> Vec<u8> {
        let counted = json!({"promptTokenCount": end.usage.input, "cost": end.receipt.cost});
        let usage: UsageObject<'_, Value> = end.receipt.usage_object(counted);
        let gain = json!({USAGE: usage, "farebox": end.receipt.farebox});
        if let Some(raw) = deltas.iter().find_map(|delta| delta.raw.of(FORMAT)) {
            return raw.to_json_with(&[USAGE, "farebox"], &gain, 1_024);
        }
        let mut all = deltas.iter().flat_map(vectors::floats).map(|values| json!({"values": values}));
        let mut fields = Fields::default();
        if self.is_one {
            fields.set("embedding", &all.next());
        } else {
            fields.set("embeddings", &all.collect::<Vec<_>>());
        }
        fields.to_json_with(&[], &gain, 1_024)
    }
}

#[cfg(test)]
mod tests;
