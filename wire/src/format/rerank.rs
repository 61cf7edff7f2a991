//! Reranking, as Cohere ("Rerank", API reference, version 2), Jina ("Reranker API") and vLLM have it: a query and documents
//! in, the documents' places out, the best first. The request and the results are the same everywhere; Cohere tells its bill
//! in `meta`, others in `usage`, and an answer here has both. Whether documents are repeated differs: here they are where the
//! client asks for them, from its own request, and no provider is asked to send them back.

mod coheres;

use serde_json::{Value, json, value::RawValue};

use super::{
    ClientFormat, End, FINISHED, OnlyWhole, ProviderCall, Terms, Upstream, WholeWriter,
    count::count,
    openai::faults,
    openai::reading::{read_as, read_text},
    own::{self, Own},
    refused::unknown,
};
use crate::{
    fields::{BadRequest, Fields},
    inference::{Delta, Event, Failure, Format, Raw, Request, Rerank, Source, Work},
    usage::Report,
};
pub use coheres::CohereReranking;

/// The most documents of one request, as Cohere advises it.
const MOST_DOCUMENTS: usize = 1_000;
/// A longer report of usage is not passed on: no real one is as long.
const LONGEST_REPORT: usize = 64 << 10;
/// The format.
const FORMAT: Format = Format::Rerank;
/// The field for whether documents are repeated.
const RETURN_DOCUMENTS: &str = "return_documents";
/// Fields that cost nothing beside the query and the documents.
const KNOWN: [&str; 7] = ["model", "query", "documents", "top_n", RETURN_DOCUMENTS, "max_tokens_per_doc", "priority"];

/// Reranking, as clients ask for it.
#[derive(Debug)]
pub enum Reranking {}

impl ClientFormat for Reranking {
    type Writer = Writer;

    fn read(body: &[u8]) -> Result<Request, BadRequest> {
        read_rerank(body)
    }

    fn writer(request: &Request, id: &str, _: i64) -> Writer {
        let documents = match &request.work {
            Work::Rerank(rerank) if rerank.return_documents => rerank.documents.clone(),
            _ => Vec::new(),
        };
        Writer { id: format!("rerank-{id}"), model: request.model.clone(), documents }
    }
}

/// Reads a request to order documents.
///
/// # Errors
///
/// The first field with a wrong value. The error is for the client, and names the field.
pub fn read_rerank(body: &[u8]) -> Result<Request, BadRequest> {
    let mut body = Fields::of_client(body)?;
    let Own { max_cost, auto_scale: _, fallbacks } = own::take(&mut body)?;
    let model = own::model(&body)?;
    let query = body.string("query")?.ok_or_else(|| BadRequest::new("query", "is required"))?;
    if query.trim().is_empty() {
        return Err(BadRequest::new("query", "must not be empty"));
    }
    let documents = documents(&body)?;
    let number = |name: &str| body.whole(name, 1, u32::MAX);
    // Cohere's and vLLM's: how late it may be handled.
    body.whole("priority", 0, 999_u32)?;
    let (top_n, max_tokens_per_document) = (number("top_n")?, number("max_tokens_per_doc")?);
    let return_documents = body.boolean(RETURN_DOCUMENTS)?.unwrap_or(false);
    let work = Work::Rerank(Rerank { query, documents, top_n, max_tokens_per_document, return_documents });
    let source = Source::of(FORMAT, body);
    Ok(Request {
        model,
        work,
        stream: false,
        max_cost,
        auto_scale: None,
        fallbacks,
        end_user: None,
        unread: Vec::new(),
        source,
    })
}

/// Texts, or objects with a text and nothing else: what else a provider would read of one is not known.
fn documents(body: &Fields) -> Result<Vec<String>, BadRequest> {
    let bad = |message: &str| BadRequest::new("documents", message);
    let json = body.present("documents").ok_or_else(|| bad("is required"))?;
    let list: Vec<&RawValue> =
        read_as(json).ok_or_else(|| bad("must be a list of texts, or of objects with a text"))?;
    if list.is_empty() || list.len() > MOST_DOCUMENTS {
        return Err(bad(&format!("must have 1 to {MOST_DOCUMENTS} entries")));
    }
    let document = |(place, entry): (usize, &RawValue)| {
        let at = |message: &str| BadRequest::new(format!("documents[{place}]"), message);
        let text = read_text(entry.get()).or_else(|| {
            let object = Fields::parse(entry.get().as_bytes()).ok()?;
            let is_alone = object.names().all(|name| name == "text");
            object.string("text").ok().flatten().filter(|_| is_alone)
        });
        let text = text.ok_or_else(|| at("must be a text, or an object with `text` alone"))?;
        if text.is_empty() { Err(at("must not be empty")) } else { Ok(text) }
    };
    list.into_iter().enumerate().map(document).collect()
}

/// The terms that a request's price depends on: none beside its query and its documents.
pub(super) fn terms(request: &Request) -> Result<Terms, BadRequest> {
    let body = &request.source.body;
    match body.names().find(|name| !KNOWN.contains(name) && body.present(name).is_some()) {
        None => Ok(Terms::default()),
        Some(name) => Err(unknown(name)),
    }
}

/// Cohere's call. Its version 2 repeats no documents, and knows no word for it.
pub(super) fn cohere(path: &'static str, request: Request, upstream: &Upstream<'_>) -> ProviderCall {
    let mut request = in_texts(request, upstream);
    request.source.body.remove(RETURN_DOCUMENTS);
    ProviderCall::forwarded(path, request)
}

/// The call of a server as Jina's and vLLM's. They repeat documents unless they are told not to.
pub(super) fn compatible(path: &'static str, request: Request, upstream: &Upstream<'_>) -> ProviderCall {
    let mut request = in_texts(request, upstream);
    request.source.body.set(RETURN_DOCUMENTS, &false);
    ProviderCall::forwarded(path, request)
}

/// A request with the provider's name of the model, and with texts for documents.
fn in_texts(mut request: Request, upstream: &Upstream<'_>) -> Request {
    let body = &mut request.source.body;
    if upstream.model != request.model {
        body.set("model", upstream.model);
    }
    if let Work::Rerank(rerank) = &request.work {
        let is_texts = body.present("documents").and_then(read_as::<Vec<&RawValue>>);
        let is_texts = is_texts.is_some_and(|list| list.iter().all(|entry| entry.get().starts_with('"')));
        if !is_texts {
            body.set("documents", &rerank.documents);
        }
    }
    request
}

/// Reads an answer with the order of documents.
pub(super) fn read_answer(body: &[u8]) -> Vec<Event> {
    let text = String::from_utf8_lossy(body);
    let Ok(fields) = Fields::parse(text.trim().as_bytes()) else {
        let words = faults::text_words(&text);
        return vec![Event::Failed(Failure::Transport(format!("the provider's answer has no results: {words}")))];
    };
    let report = report(&fields).map(|report| Event::Reported(Box::new(report)));
    if fields.present("results").and_then(results).is_none() {
        let error = faults::in_answer(&serde_json::from_str(&text).unwrap_or_default(), &text);
        return report.into_iter().chain([Event::Failed(Failure::Provider(Box::new(error)))]).collect();
    }
    let delta = Event::Delta(Delta { raw: Raw::Own(FORMAT, fields), ..Delta::default() });
    [delta].into_iter().chain(report).chain([FINISHED]).collect()
}

/// The results of an answer; `None` where one of them has no place or no score, or there are none.
fn results(json: &str) -> Option<Vec<Value>> {
    let results: Vec<Value> = read_as(json)?;
    let is_ranked =
        |result: &Value| place(result).is_some() && result.get("relevance_score").is_some_and(Value::is_number);
    (!results.is_empty() && results.iter().all(is_ranked)).then_some(results)
}

/// The results that the provider told.
fn told(deltas: &[Delta]) -> Vec<Value> {
    deltas.iter().find_map(|delta| results(delta.raw.of(FORMAT)?.present("results")?)).unwrap_or_default()
}

/// The place of a result's document in the request, from 0.
fn place(result: &Value) -> Option<usize> {
    result.get("index").and_then(count).and_then(|place| usize::try_from(place).ok())
}

/// The usage that is billed: Cohere's units or tokens in `meta.billed_units`, or the tokens of `usage`. Cohere's
/// `meta.tokens` are what was processed, which is more.
fn report(answer: &Fields) -> Option<Report> {
    let object = |name: &str| answer.present(name).filter(|object| object.len() <= LONGEST_REPORT);
    let read = |name: &str| object(name).and_then(read_as::<Value>).filter(Value::is_object);
    let (meta, usage) = (read("meta"), read("usage"));
    let number = |object: Option<&Value>, names: &[&str]| {
        names.iter().filter_map(|name| object?.get(name)).filter_map(count).find(|number| *number > 0)
    };
    let billed = meta.as_ref().and_then(|meta| meta.get("billed_units"));
    let search_units = number(billed, &["search_units"]);
    let tokens = ["total_tokens", "prompt_tokens", "input_tokens"];
    let input = number(billed, &["input_tokens", "total_tokens"]).or_else(|| number(usage.as_ref(), &tokens));
    if search_units.is_none() && input.is_none() {
        return None;
    }
    let own =
        [("meta", meta), ("usage", usage)].into_iter().filter_map(|(name, object)| Some((name.to_owned(), object?)));
    let own = Value::Object(own.collect()).to_string().into_boxed_str();
    Some(Report { input, output: Some(0), search_units, own: Some(own), ..Report::default() })
}

/// Writes one answer.
pub struct Writer {
    id: String,
    model: String,
    /// The documents of the request, where they are to be repeated.
    documents: Vec<String>,
}

impl OnlyWhole for Writer {}

impl WholeWriter for Writer {
    fn whole(&mut self, deltas: Vec<Delta>, end: &End) -> Vec<u8> {
        let result = |mut result: Value| {
            let text = place(&result).and_then(|place| self.documents.get(place));
            if let Value::Object(members) = &mut result {
                members.shift_remove("document");
                members.extend(text.map(|text| ("document".to_owned(), json!({"text": text}))));
            }
            result
        };
        let results: Vec<Value> = told(&deltas).into_iter().map(result).collect();
        let (usage, meta) = bill(end);
        let answer = json!({"id": self.id, "model": self.model, "results": results, "usage": usage, "meta": meta,
            "farebox": end.receipt.farebox});
        answer.to_string().into_bytes()
    }
}

/// What was billed, as Jina's clients read it and as Cohere's do: the provider's own words where it has them.
fn bill(end: &End) -> (Value, Value) {
    let own = end.receipt.usage.as_deref().and_then(read_as::<Value>).unwrap_or_default();
    let (tokens, units) = (end.usage.input, end.receipt.farebox.search_units);
    let own = |name: &str| own.get(name).filter(|object| object.is_object()).cloned();
    let mut usage = own("usage").unwrap_or_else(|| json!({}));
    if tokens > 0 && usage.get("total_tokens").is_none() {
        usage["total_tokens"] = tokens.into();
    }
    if let Some(units) = units {
        usage["search_units"] = units.into();
    }
    usage["cost"] = end.receipt.cost.as_str().into();
    let mut meta = own("meta").unwrap_or_else(|| json!({}));
    if !meta["billed_units"].is_object() {
        meta["billed_units"] = match units {
            Some(units) => json!({"search_units": units}),
            None => json!({"input_tokens": tokens}),
        };
    }
    (usage, meta)
}

#[cfg(test)]
mod tests;
