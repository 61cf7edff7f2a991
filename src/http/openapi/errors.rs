//! Errors in the document: one schema for all, and for each status of a route its codes.

use utoipa::openapi::{
    Header, Ref, RefOr, Response, ResponseBuilder,
    content::ContentBuilder,
    header::HeaderBuilder,
    schema::{ArrayBuilder, ObjectBuilder, OneOfBuilder, Schema, Type},
};

use crate::http::error::code::Code;

/// The name of the schema.
pub(super) const NAME: &str = "Error";

/// The name of the schema in Google's words.
pub(super) const GOOGLES: &str = "GoogleError";

/// A header that holds a text.
pub(super) fn header(says: &str) -> Header {
    let text = ObjectBuilder::new().schema_type(Type::String).build();
    HeaderBuilder::new().schema(Some(text)).description(Some(says)).build()
}

/// The body of an error.
pub(super) fn schema() -> RefOr<Schema> {
    let text = || ObjectBuilder::new().schema_type(Type::String);
    let codes = Code::ALL.map(Code::name);
    let says: Vec<String> = Code::ALL.map(|code| format!("`{}`: {}", code.name(), code.says())).to_vec();
    let object = ObjectBuilder::new()
        .property("message", text())
        .property("type", text())
        .required("message")
        .description(Some("On OpenAI's paths: what its SDKs read."));
    let error = OneOfBuilder::new().item(text().description(Some("The status's phrase."))).item(object);
    ObjectBuilder::new()
        .property("status", ObjectBuilder::new().schema_type(Type::Integer))
        .property("error", error)
        .property("message", text().description(Some("For people.")))
        .property("code", text().enum_values(Some(codes)).description(Some(says.join("; "))))
        .property("request_id", text())
        .property("retry_after", ObjectBuilder::new().schema_type(Type::Integer))
        .required("status")
        .required("error")
        .required("message")
        .required("code")
        .required("request_id")
        .description(Some("An error. Further fields help its reader to act."))
        .into()
}

/// The body of an error on Google's paths. A 402 has the other form, unless the client shows that it reads this one.
pub(super) fn googles_schema() -> RefOr<Schema> {
    let text = || ObjectBuilder::new().schema_type(Type::String);
    let status = ObjectBuilder::new()
        .property("code", ObjectBuilder::new().schema_type(Type::Integer))
        .property("message", text().description(Some("For people.")))
        .property("status", text().description(Some("A word of `google.rpc.Code`.")))
        .property("details", ArrayBuilder::new().items(ObjectBuilder::new()))
        .required("code")
        .required("message")
        .required("status")
        .required("details")
        .description(Some("`reason` of the first of the details is the code, in capitals."));
    ObjectBuilder::new()
        .property("error", status)
        .property("request_id", text())
        .property("retry_after", ObjectBuilder::new().schema_type(Type::Integer))
        .required("error")
        .required("request_id")
        .description(Some("An error, as Google's SDKs read it. Further fields help its reader to act."))
        .into()
}

/// The errors of a status, in Google's words or in ours.
pub(super) fn response(status: u16, codes: &[Code], is_googles: bool) -> Response {
    let says: Vec<String> = codes.iter().map(|code| format!("`{}`: {}", code.name(), code.says())).collect();
    let schema: RefOr<Schema> = match (is_googles, status) {
        (true, 402) => {
            let both = OneOfBuilder::new().item(Ref::from_schema_name(NAME)).item(Ref::from_schema_name(GOOGLES));
            both.into()
        }
        (true, _) => Ref::from_schema_name(GOOGLES).into(),
        (false, _) => Ref::from_schema_name(NAME).into(),
    };
    let content = ContentBuilder::new().schema(Some(schema)).build();
    let mut response = ResponseBuilder::new()
        .description(says.join("; "))
        .header("x-request-id", header("The request's id."))
        .header("x-should-retry", header("`false` where asking again is in vain."))
        .content("application/json", content);
    if status == 401 {
        response = response.header("www-authenticate", header("`Bearer`."));
    }
    if status == 429 || status >= 500 || status == 409 {
        response = response.header("retry-after", header("In how many seconds to ask again."));
    }
    response.build()
}
