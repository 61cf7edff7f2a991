//! Inference in the document: the fields of its bodies, from the page that lists them, and its answers.

use utoipa::ToSchema;
use utoipa::openapi::{
    Ref, RefOr,
    schema::{AdditionalProperties, ArrayBuilder, ObjectBuilder, Schema, Type},
};

use crate::http::views::Dollars;

/// The fields of bodies, from the page for people.
const FIELDS: &str = include_str!("../../../docs/request-fields.md");
/// The same of messages.
const OF_MESSAGES: &str = include_str!("../../../docs/message-fields.md");

/// Headers that a request may have.
pub(super) const REQUEST: &[(&str, &str)] = &[
    ("x-max-cost", "Dollars: a request that may cost more is refused."),
    ("provider-key", "A key of your own at the model's provider: then nothing is charged."),
    ("prefer", "`wait=SECONDS`, 0 to 60: how long it may wait in line."),
    (
        "x-farebox-cache",
        "Seconds, 1 to 86400: an answer of this age to the same request will do, where it is deterministic.",
    ),
];

/// Headers that an answer has.
pub(super) const ANSWER: &[(&str, &str)] = &[
    (
        "x-farebox-cost",
        "What is charged, in dollars. A stream has it in its last chunk; a sound that costs by its characters has it here.",
    ),
    ("x-farebox-balance", "What can be spent."),
    ("x-farebox-billed-seconds", "Of open models: the seconds that were billed."),
    ("x-farebox-queue-place", "The place it had in line."),
    ("x-ratelimit-limit-requests", "On the free plan: requests a second."),
    ("x-ratelimit-remaining-requests", "How many are left."),
    ("x-ratelimit-reset-requests", "Until there are more."),
    ("server-timing", "How long each stage took."),
    ("sunset", "When the provider ends the model (RFC 8594), where that is known."),
    (
        "x-farebox-cache",
        "Where an earlier answer was allowed: `hit`, `miss`, or `bypass` where the request is not deterministic.",
    ),
    ("age", "The age of an earlier answer, in seconds."),
    ("x-farebox-route", "The models that were tried, where the first did not answer."),
];

pub(super) fn of_type(kind: Type) -> ObjectBuilder {
    ObjectBuilder::new().schema_type(kind)
}

/// A field that is passed on unchanged.
pub(super) fn anything() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(utoipa::openapi::schema::SchemaType::AnyValue)
}

pub(super) fn open(object: ObjectBuilder) -> ObjectBuilder {
    object.additional_properties(Some(AdditionalProperties::FreeForm(true)))
}

/// The rows of the table of fields: name, routes, cost, note.
fn fields(page: &'static str) -> impl Iterator<Item = [&'static str; 4]> {
    rows(page, "| field | routes |").filter_map(|row| {
        let mut cells = cells(row);
        let name = cells.next()?.trim_matches('`');
        Some([name, cells.next()?, cells.next()?, cells.next().unwrap_or_default()])
    })
}

/// The rows of a table of a page, by how the table begins.
fn rows(page: &'static str, begin: &str) -> impl Iterator<Item = &'static str> {
    page.split("\n\n").find(|part| part.starts_with(begin)).unwrap_or_default().lines().skip(2)
}

/// The body of a route of a page: `chat`, `completions`, `messages`, or all.
pub(super) fn body(page: &'static str, route: Option<&str>, needed: &[&str]) -> RefOr<Schema> {
    let mut object = of_type(Type::Object);
    let is_there = |routes: &str| route.is_none_or(|route| routes == "both" || routes == route);
    for [name, _, cost, note] in fields(page).filter(|[_, routes, ..]| is_there(routes)) {
        object = object.property(name, field(name, cost, note));
    }
    for name in needed {
        object = object.required(*name);
    }
    open(object).into()
}

/// The cells of a row.
fn cells(row: &'static str) -> impl Iterator<Item = &'static str> {
    row.trim_matches('|').split(" | ").map(|cell| cell.trim().trim_matches('|').trim())
}

fn field(name: &str, cost: &str, note: &str) -> ObjectBuilder {
    let field = match name {
        "model" => of_type(Type::String),
        _ => anything(),
    };
    let says = [cost, note].into_iter().filter(|text| !text.is_empty()).collect::<Vec<_>>().join("; ");
    field.description(Some(format!("Cost: {says}.")))
}

pub(super) fn responses_body() -> RefOr<Schema> {
    let mut object = of_type(Type::Object);
    for row in rows(FIELDS, "| field | cost |") {
        let mut cells = cells(row);
        let (Some(name), Some(cost)) = (cells.next(), cells.next()) else { continue };
        let name = name.trim_matches('`');
        object = object.property(name, field(name, cost, cells.next().unwrap_or_default()));
    }
    open(object.required("model").required("input")).into()
}

/// A response that was forgotten.
pub(super) fn forgotten() -> RefOr<Schema> {
    let object = of_type(Type::Object)
        .property("id", of_type(Type::String))
        .property("object", of_type(Type::String))
        .property("deleted", of_type(Type::Boolean));
    open(object.required("id").required("deleted")).into()
}

/// A page of items.
pub(super) fn items() -> RefOr<Schema> {
    let object = of_type(Type::Object)
        .property("object", of_type(Type::String))
        .property("data", ArrayBuilder::new().items(open(of_type(Type::Object))))
        .property("has_more", of_type(Type::Boolean));
    open(object.required("data").required("has_more")).into()
}

pub(super) fn embeddings_body() -> RefOr<Schema> {
    let object = of_type(Type::Object)
        .property("model", of_type(Type::String))
        .property("input", anything().description(Some("A text, or a list of texts or of tokens.")))
        .property("dimensions", of_type(Type::Integer))
        .property("encoding_format", of_type(Type::String).description(Some("`float` or `base64`.")));
    open(object.required("model").required("input")).into()
}

/// Vectors with their cost.
pub(super) fn embeddings() -> RefOr<Schema> {
    let usage = of_type(Type::Object).property("cost", Dollars::schema_of());
    let object = of_type(Type::Object)
        .property("id", of_type(Type::String))
        .property("object", of_type(Type::String))
        .property("data", ArrayBuilder::new().items(open(of_type(Type::Object))))
        .property("model", of_type(Type::String))
        .property("usage", open(usage))
        .property("farebox", open(of_type(Type::Object)));
    open(object.required("data")).into()
}

pub(super) fn rerank_body() -> RefOr<Schema> {
    let documents = "1 to 1,000 texts, or objects with a `text`.";
    let limit = "The most tokens of a document that the model reads at once.";
    let object = of_type(Type::Object)
        .property("model", of_type(Type::String))
        .property("query", of_type(Type::String))
        .property("documents", ArrayBuilder::new().items(anything()).description(Some(documents)))
        .property(
            "top_n",
            of_type(Type::Integer).description(Some("How many of the best are returned; all without it.")),
        )
        .property(
            "return_documents",
            of_type(Type::Boolean).description(Some("Whether results repeat their documents.")),
        )
        .property("max_tokens_per_doc", of_type(Type::Integer).description(Some(limit)));
    open(object.required("model").required("query").required("documents")).into()
}

/// The order of documents with its cost.
pub(super) fn ranking() -> RefOr<Schema> {
    let usage = of_type(Type::Object).property("cost", Dollars::schema_of());
    let document = of_type(Type::Object).property("text", of_type(Type::String));
    let result = of_type(Type::Object)
        .property("index", of_type(Type::Integer).description(Some("The document's place in the request, from 0.")))
        .property("relevance_score", of_type(Type::Number))
        .property("document", document)
        .required("index")
        .required("relevance_score");
    let object = of_type(Type::Object)
        .property("id", of_type(Type::String))
        .property("model", of_type(Type::String))
        .property("results", ArrayBuilder::new().items(result))
        .property("usage", open(usage))
        .property(
            "meta",
            open(of_type(Type::Object)).description(Some("`billed_units`, as Cohere's clients read them.")),
        )
        .property("farebox", open(of_type(Type::Object)));
    open(object.required("results")).into()
}

/// A response with its cost, and the events of one.
pub(super) fn responses() -> (RefOr<Schema>, RefOr<Schema>) {
    let usage = of_type(Type::Object).property("cost", Dollars::schema_of());
    let object = of_type(Type::Object)
        .property("id", of_type(Type::String))
        .property("object", of_type(Type::String))
        .property("created_at", of_type(Type::Number))
        .property("status", of_type(Type::String))
        .property("model", of_type(Type::String))
        .property("output", ArrayBuilder::new().items(open(of_type(Type::Object))))
        .property("usage", open(usage))
        .property("farebox", open(of_type(Type::Object)));
    let says = "Server-sent events with types. The last has the response, with usage and cost.";
    (open(object.required("output")).into(), of_type(Type::String).description(Some(says)).into())
}

/// An answer of chats and completions, and the events of one.
pub(super) fn answers() -> (RefOr<Schema>, RefOr<Schema>) {
    (answer(), stream())
}

pub(super) fn chat_body() -> RefOr<Schema> {
    body(FIELDS, Some("chat"), &["model", "messages"])
}

pub(super) fn completion_body() -> RefOr<Schema> {
    body(FIELDS, Some("completions"), &["model", "prompt"])
}

pub(super) fn quote_body() -> RefOr<Schema> {
    body(FIELDS, None, &["model"])
}

pub(super) fn messages_body() -> RefOr<Schema> {
    body(OF_MESSAGES, None, &["model", "messages", "max_tokens"])
}

pub(super) fn count_body() -> RefOr<Schema> {
    body(OF_MESSAGES, None, &["model", "messages"])
}

/// An answer in Anthropic's form, with its cost.
pub(super) fn message() -> RefOr<Schema> {
    let usage = of_type(Type::Object).property("cost", Dollars::schema_of());
    let object = of_type(Type::Object)
        .property("id", of_type(Type::String))
        .property("type", of_type(Type::String))
        .property("role", of_type(Type::String))
        .property("model", of_type(Type::String))
        .property("content", ArrayBuilder::new().items(open(of_type(Type::Object))))
        .property("stop_reason", anything())
        .property("usage", open(usage))
        .property("farebox", open(of_type(Type::Object)));
    open(object.required("content")).into()
}

/// The events of a stream of messages.
pub(super) fn events() -> RefOr<Schema> {
    let says = "Server-sent events with names; `message_delta` has usage and cost, then `message_stop`.";
    of_type(Type::String).description(Some(says)).into()
}

/// A count of tokens.
pub(super) fn counted() -> RefOr<Schema> {
    open(of_type(Type::Object).property("input_tokens", of_type(Type::Integer)).required("input_tokens")).into()
}

/// An answer in `OpenAI`'s form, with its cost.
fn answer() -> RefOr<Schema> {
    let usage = of_type(Type::Object).property("cost", Dollars::schema_of());
    let object = of_type(Type::Object)
        .property("id", of_type(Type::String))
        .property("object", of_type(Type::String))
        .property("created", of_type(Type::Integer))
        .property("model", of_type(Type::String))
        .property("choices", ArrayBuilder::new().items(open(of_type(Type::Object))))
        .property("usage", open(usage))
        .property("farebox", open(of_type(Type::Object)));
    open(object.required("choices")).into()
}

/// The events of a stream.
fn stream() -> RefOr<Schema> {
    let says = "Server-sent events: chunks, the last with usage and cost, then `[DONE]`.";
    of_type(Type::String).description(Some(says)).into()
}

impl Dollars {
    pub(super) fn schema_of() -> RefOr<Schema> {
        Ref::from_schema_name(Self::name()).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fields_are_read_from_their_page() {
        let names: Vec<_> = fields(FIELDS).map(|[name, ..]| name).collect();
        assert!(names.len() > 40 && names.contains(&"max_tokens") && !names.contains(&"part"), "{names:?}");
        let chat = serde_json::to_value(chat_body()).unwrap();
        assert!(chat["properties"]["tools"].is_object() && chat["properties"]["prompt"].is_null(), "{chat}");
        assert_eq!(
            chat["properties"]["prompt_cache_options"]["description"].as_str().unwrap().matches("ttl").count(),
            1
        );
    }
}
