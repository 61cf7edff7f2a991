//! Conversations in the document.

use utoipa::openapi::{
    RefOr,
    schema::{ArrayBuilder, Schema, Type},
};

use super::{
    inference::{forgotten, items, of_type, open},
    operation::{Operation, delete, get, post},
    table::{INFERENCE, JSON},
};
use crate::http::error::code::Code;

fn text() -> utoipa::openapi::ObjectBuilder {
    of_type(Type::String)
}

/// A conversation.
fn conversation() -> RefOr<Schema> {
    let object = of_type(Type::Object)
        .property("id", text())
        .property("object", text())
        .property("created_at", of_type(Type::Integer))
        .property("metadata", open(of_type(Type::Object)));
    open(object.required("id").required("created_at").required("metadata")).into()
}

/// An item.
fn item() -> RefOr<Schema> {
    open(of_type(Type::Object).property("id", text()).property("type", text()).required("id").required("type")).into()
}

/// The body of a request, with these members.
fn body(members: &[&str]) -> RefOr<Schema> {
    let metadata = || open(of_type(Type::Object)).description(Some("At most 16 texts of 512 characters."));
    let items = || ArrayBuilder::new().items(open(of_type(Type::Object))).description(Some("At most 20 items."));
    members
        .iter()
        .fold(of_type(Type::Object), |object, member| match *member {
            "items" => object.property("items", items()),
            other => object.property(other, metadata()),
        })
        .into()
}

/// All of their routes.
pub(super) fn all() -> Vec<Operation> {
    const PAGED: &[&str] = &["limit", "order", "after", "include", "include[]"];
    const PLAIN: &[&str] = &["include", "include[]"];
    let lost = |operation: Operation| operation.errors(&[Code::NotFound]);
    vec![
        post("/v1/conversations", INFERENCE, "Begins a conversation, which is kept for 30 days after its last change")
            .body_of(body(&["items", "metadata"]))
            .answers_of(200, JSON, Some(conversation())),
        lost(get("/v1/conversations/{id}", INFERENCE, "A conversation")).answers_of(200, JSON, Some(conversation())),
        lost(post("/v1/conversations/{id}", INFERENCE, "Changes the metadata of a conversation"))
            .body_of(body(&["metadata"]))
            .answers_of(200, JSON, Some(conversation())),
        lost(delete("/v1/conversations/{id}", INFERENCE, "Forgets a conversation; its responses stay")).answers_of(
            200,
            JSON,
            Some(forgotten()),
        ),
        lost(get("/v1/conversations/{id}/items", INFERENCE, "The items of a conversation, newest first").query(PAGED))
            .answers_of(200, JSON, Some(items())),
        lost(post("/v1/conversations/{id}/items", INFERENCE, "Adds items to a conversation").query(PLAIN))
            .body_of(body(&["items"]))
            .answers_of(200, JSON, Some(items())),
        lost(get("/v1/conversations/{id}/items/{item}", INFERENCE, "An item of a conversation").query(PLAIN))
            .answers_of(200, JSON, Some(item())),
        lost(delete("/v1/conversations/{id}/items/{item}", INFERENCE, "Takes an item out of a conversation"))
            .answers_of(200, JSON, Some(conversation())),
    ]
}
