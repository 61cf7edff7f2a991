//! Cohere's routes in the document: the fields of their bodies, from the page that lists them, and their answers.

use utoipa::openapi::{
    RefOr,
    schema::{ArrayBuilder, Schema, Type},
};

use super::inference::{anything, body, of_type, open};
use crate::http::views::Dollars;

/// The fields of bodies, from the page for people.
const FIELDS: &str = include_str!("../../../docs/cohere-fields.md");

pub(super) fn chat_body() -> RefOr<Schema> {
    body(FIELDS, Some("chat"), &["model", "messages"])
}

pub(super) fn embed_body() -> RefOr<Schema> {
    body(FIELDS, Some("embed"), &["model", "input_type"])
}

pub(super) fn rerank_body() -> RefOr<Schema> {
    let documents = ArrayBuilder::new().items(of_type(Type::String)).description(Some("1 to 1,000 texts."));
    let limit = "The most tokens of a document that the model reads at once.";
    let object = of_type(Type::Object)
        .property("model", of_type(Type::String))
        .property("query", of_type(Type::String))
        .property("documents", documents)
        .property("top_n", of_type(Type::Integer).description(Some("How many of the best are returned.")))
        .property("max_tokens_per_doc", of_type(Type::Integer).description(Some(limit)))
        .property("priority", of_type(Type::Integer).description(Some("0 to 999: how late it may be handled.")));
    open(object.required("model").required("query").required("documents")).into()
}

/// An answer with its cost, and the events of one.
pub(super) fn answers() -> (RefOr<Schema>, RefOr<Schema>) {
    let usage = of_type(Type::Object).property("cost", Dollars::schema_of());
    let object = of_type(Type::Object)
        .property("id", of_type(Type::String))
        .property("finish_reason", of_type(Type::String))
        .property("message", open(of_type(Type::Object)))
        .property("usage", open(usage))
        .property("farebox", open(of_type(Type::Object)));
    let says = "Server-sent events with types; `message-end` has usage and cost, then `[DONE]`.";
    let events = of_type(Type::String).description(Some(says));
    (open(object.required("id").required("message")).into(), events.into())
}

/// Vectors with their cost.
pub(super) fn embeddings() -> RefOr<Schema> {
    let by_type = "Lists of vectors, by the types that were asked for.";
    let object = of_type(Type::Object)
        .property("id", of_type(Type::String))
        .property("embeddings", open(of_type(Type::Object)).description(Some(by_type)))
        .property("texts", ArrayBuilder::new().items(of_type(Type::String)))
        .property("meta", meta())
        .property("farebox", open(of_type(Type::Object)));
    open(object.required("id").required("embeddings")).into()
}

/// The order of documents with its cost.
pub(super) fn ranking() -> RefOr<Schema> {
    let result = of_type(Type::Object)
        .property("index", of_type(Type::Integer).description(Some("The document's place in the request, from 0.")))
        .property("relevance_score", of_type(Type::Number))
        .required("index")
        .required("relevance_score");
    let object = of_type(Type::Object)
        .property("id", of_type(Type::String))
        .property("results", ArrayBuilder::new().items(result))
        .property("meta", meta())
        .property("farebox", open(of_type(Type::Object)));
    open(object.required("id").required("results")).into()
}

/// What was billed, with the cost.
fn meta() -> RefOr<Schema> {
    open(of_type(Type::Object).property("billed_units", anything()).property("cost", Dollars::schema_of())).into()
}
