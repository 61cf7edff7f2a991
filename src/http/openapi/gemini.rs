//! Google's routes in the document. Its SDKs ask the same under `/v1`.

use utoipa::openapi::{
    RefOr,
    schema::{ArrayBuilder, Schema, Type},
};

use super::{
    inference::{anything, body, of_type, open},
    operation::{Operation, Takes, get, post},
    table::{INFERENCE, counts, run, whole},
};
use crate::http::{
    error::code::Code,
    views::{
        Dollars,
        models::{GoogleModel, GoogleModels},
    },
};

/// The fields of bodies, from the page for people.
const FIELDS: &str = include_str!("../../../docs/gemini-fields.md");

/// Parameters of a query that are read.
const QUERY: &[&str] = &["alt"];

/// Google's routes.
pub(super) fn all() -> Vec<Operation> {
    let says = [
        "A conversation in Google's format, answered whole",
        "A conversation in Google's format, answered as a stream: events with `alt=sse`, else one array",
        "The vector of a text",
        "Vectors of texts",
        "The tokens of a prompt in Google's format, for nothing",
    ];
    let of = |[generate, stream, one, many, count]: [&'static str; 5]| {
        [
            whole(post(generate, INFERENCE, says[0]).query(QUERY).body_of(generate_body()), answer()),
            run(post(stream, INFERENCE, says[1]).query(QUERY).body_of(generate_body()), (list(), events())),
            whole(post(one, INFERENCE, says[2]).query(QUERY).body_of(one_body()), vectors("embedding")),
            whole(post(many, INFERENCE, says[3]).query(QUERY).body_of(many_body()), vectors("embeddings")),
            counts(post(count, INFERENCE, says[4]).query(QUERY).body_of(count_body()), counted()),
        ]
    };
    let named = of([
        "/v1beta/models/{model}:generateContent",
        "/v1beta/models/{model}:streamGenerateContent",
        "/v1beta/models/{model}:embedContent",
        "/v1beta/models/{model}:batchEmbedContents",
        "/v1beta/models/{model}:countTokens",
    ]);
    let also = of([
        "/v1/models/{model}:generateContent",
        "/v1/models/{model}:streamGenerateContent",
        "/v1/models/{model}:embedContent",
        "/v1/models/{model}:batchEmbedContents",
        "/v1/models/{model}:countTokens",
    ]);
    let models = [
        get("/v1beta/models", Takes::Key, "All models, as Google's clients read them")
            .query(&["pageSize", "pageToken"])
            .errors(&[Code::InvalidRequest])
            .answers::<GoogleModels>(),
        get("/v1beta/models/{id}", Takes::Key, "A model, as Google's clients read it")
            .errors(&[Code::ModelNotFound])
            .answers::<GoogleModel>(),
    ];
    named.into_iter().chain(also).chain(models).collect()
}

fn generate_body() -> RefOr<Schema> {
    body(FIELDS, None, &["contents"])
}

fn count_body() -> RefOr<Schema> {
    body(FIELDS, None, &[])
}

fn one_body() -> RefOr<Schema> {
    let object = of_type(Type::Object)
        .property("content", open(of_type(Type::Object)))
        .property("taskType", of_type(Type::String))
        .property("outputDimensionality", of_type(Type::Integer));
    open(object.required("content")).into()
}

fn many_body() -> RefOr<Schema> {
    let object = of_type(Type::Object).property("requests", ArrayBuilder::new().items(one_body()));
    open(object.required("requests")).into()
}

/// An answer in Google's form, with its cost.
fn answer() -> RefOr<Schema> {
    let object = of_type(Type::Object)
        .property("candidates", ArrayBuilder::new().items(open(of_type(Type::Object))))
        .property("promptFeedback", anything())
        .property("modelVersion", of_type(Type::String))
        .property("responseId", of_type(Type::String))
        .property("usageMetadata", usage())
        .property("farebox", open(of_type(Type::Object)));
    open(object).into()
}

fn usage() -> RefOr<Schema> {
    open(of_type(Type::Object).property("cost", Dollars::schema_of())).into()
}

/// A stream that was not asked for as events.
fn list() -> RefOr<Schema> {
    ArrayBuilder::new().items(answer()).into()
}

/// The events of a stream.
fn events() -> RefOr<Schema> {
    let says = "Server-sent events: answers with further parts each, the last with usage and cost.";
    of_type(Type::String).description(Some(says)).into()
}

/// Vectors under this name, with their cost.
fn vectors(name: &str) -> RefOr<Schema> {
    let object = of_type(Type::Object)
        .property(name, anything())
        .property("usageMetadata", usage())
        .property("farebox", open(of_type(Type::Object)));
    open(object.required(name)).into()
}

/// A count of tokens.
fn counted() -> RefOr<Schema> {
    open(of_type(Type::Object).property("totalTokens", of_type(Type::Integer)).required("totalTokens")).into()
}
