//! `/openapi.json`: the API's description in OpenAPI 3.1, and `/docs`, the same as a page. It is made from the types
//! that handlers read and answer with ([`super::views`]), the table of errors, and [`table`], which describes each
//! route; a test compares it with the table of routes. It is made once, at the first request.

mod coheres;
mod conversations;
mod errors;
mod gemini;
mod inference;
mod media;
mod operation;
mod operators;
mod table;

use std::sync::OnceLock;

use actix_web::{HttpRequest, HttpResponse, http::header::ContentType};
use bytes::Bytes;
use utoipa::openapi::{
    ComponentsBuilder, Info, OpenApi, OpenApiBuilder, PathsBuilder,
    security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme},
    tag::TagBuilder,
};
use uuid::Uuid;

use super::{arrival::Arrival, error::ApiError, respond::refuse};

/// The document's description.
const ABOUT: &str = "Inference for open and closed models, paid from prepaid credits. Amounts are dollars, exact, as texts. \
                     Every answer has an `x-request-id`. Lists are paged by `limit` and `cursor`. A POST may carry an \
                     `Idempotency-Key`: sent again within 24 hours, it is answered as the first time and done once.";

/// The whole document.
fn document() -> OpenApi {
    let operations = table::all();
    let mut components = ComponentsBuilder::new()
        .security_scheme("key", scheme("An API key: `fb_...`."))
        .security_scheme("x-api-key", SecurityScheme::ApiKey(ApiKey::Header(ApiKeyValue::new("x-api-key"))))
        .security_scheme("x-goog-api-key", SecurityScheme::ApiKey(ApiKey::Header(ApiKeyValue::new("x-goog-api-key"))))
        .security_scheme("operator", scheme("The operator's token."))
        .schema(errors::NAME, errors::schema())
        .schema(errors::GOOGLES, errors::googles_schema());
    let mut paths = PathsBuilder::new();
    for operation in operations {
        let (path, item, schemas) = operation.build();
        paths = paths.path(path, item);
        components = components.schemas_from_iter(schemas);
    }
    let tags = table::TAGS.map(|(name, says)| TagBuilder::new().name(name).description(Some(says)).build());
    let mut info = Info::new("Farebox", env!("CARGO_PKG_VERSION"));
    info.description = Some(ABOUT.to_owned());
    OpenApiBuilder::new().info(info).paths(paths).components(Some(components.build())).tags(Some(tags)).build()
}

fn scheme(says: &str) -> SecurityScheme {
    SecurityScheme::Http(HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some(says)).build())
}

/// The document's bytes, made once.
fn bytes() -> Result<Bytes, String> {
    static MADE: OnceLock<Result<Bytes, String>> = OnceLock::new();
    let made = MADE.get_or_init(|| {
        let text = serde_json::to_vec(&document());
        text.map(Bytes::from).map_err(|error| error.to_string())
    });
    made.clone()
}

/// `GET /openapi.json`.
pub(super) async fn openapi(request: HttpRequest) -> HttpResponse {
    match bytes() {
        Ok(bytes) => HttpResponse::Ok()
            .insert_header(("x-request-id", Arrival::of(&request).id.to_string()))
            .insert_header(ContentType::json())
            .body(bytes),
        Err(error) => refuse(&request, &ApiError::internal(&error)),
    }
}

/// `GET /docs`: one page, which loads the document from this server and nothing from elsewhere.
pub(super) async fn docs(request: HttpRequest) -> HttpResponse {
    // The page's script is allowed by a nonce.
    let nonce = Uuid::new_v4().simple().to_string();
    let policy = format!(
        "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; connect-src 'self'; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'none'"
    );
    let page = include_str!("docs.html").replace("{nonce}", &nonce);
    let page = page.replace("{style}", include_str!("docs.css")).replace("{script}", include_str!("docs.js"));
    HttpResponse::Ok()
        .insert_header(("x-request-id", Arrival::of(&request).id.to_string()))
        .insert_header(("content-security-policy", policy))
        .insert_header(("cache-control", "no-store"))
        .insert_header(ContentType::html())
        .body(page)
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use serde_json::Value;

    use super::*;
    use crate::http::error::code::Code;

    /// The methods and paths of the table of routes, as it is written.
    fn written() -> BTreeSet<(String, String)> {
        let routes = include_str!("../routes.rs").split("#[cfg(test)]").next().unwrap_or_default();
        let mut found = BTreeSet::new();
        for service in routes.split(".service(").skip(1) {
            let Some((made, rest)) = service.split_once('"') else { continue };
            let path = rest.split('"').next().unwrap_or_default().replace(":.+}", "}");
            // After the last route there are functions.
            let rest = rest.split("\n}\n").next().unwrap_or_default();
            let by = made.trim().trim_end_matches('(');
            if by.ends_with("post") || by.ends_with("act") {
                found.insert(("post".to_owned(), path.clone()));
            } else if by.ends_with("get") {
                found.insert(("get".to_owned(), path.clone()));
            }
            for method in ["get", "put", "delete"] {
                if rest.contains(&format!("web::{method}()")) {
                    found.insert((method.to_owned(), path.clone()));
                }
            }
        }
        found.retain(|(_, path)| !path.is_empty());
        found
    }

    fn value() -> Value {
        serde_json::to_value(document()).unwrap()
    }

    fn operations(document: &Value) -> impl Iterator<Item = (String, String, &Value)> {
        document["paths"].as_object().unwrap().iter().flat_map(|(path, item)| {
            let methods = item.as_object().unwrap().iter();
            methods.map(|(method, operation)| (method.clone(), path.clone(), operation))
        })
    }

    #[test]
    fn every_route_is_in_the_document_and_nothing_else() {
        let document = value();
        let documented: BTreeSet<_> = operations(&document).map(|(method, path, _)| (method, path)).collect();
        let written = written();
        assert!(written.len() > 60, "the table was not read: {written:?}");
        assert_eq!(documented.difference(&written).collect::<Vec<_>>(), Vec::<&(String, String)>::new());
        assert_eq!(written.difference(&documented).collect::<Vec<_>>(), Vec::<&(String, String)>::new());
        assert_eq!(document["openapi"], "3.1.0");
    }

    #[test]
    fn every_code_is_in_the_document_with_each_of_its_statuses() {
        let document = value();
        let codes = document["components"]["schemas"]["Error"]["properties"]["code"]["enum"].clone();
        assert_eq!(codes.as_array().unwrap().len(), Code::ALL.len());
        let mut told = BTreeMap::<u16, String>::new();
        for (_, _, operation) in operations(&document) {
            for (status, response) in operation["responses"].as_object().unwrap() {
                let text = response["description"].as_str().unwrap();
                told.entry(status.parse().unwrap()).or_default().push_str(text);
            }
        }
        // A documented path has its methods; this one is not among them.
        for code in Code::ALL.into_iter().filter(|code| *code != Code::MethodNotAllowed) {
            for status in code.statuses() {
                let text = told.get(status).map_or("", String::as_str);
                assert!(text.contains(&format!("`{}`", code.name())), "{status} {}", code.name());
            }
        }
    }

    #[test]
    fn every_reference_is_to_something_and_no_two_types_share_a_name() {
        let document = value();
        let text = document.to_string();
        let schemas = document["components"]["schemas"].as_object().unwrap();
        for reference in text.split("#/components/schemas/").skip(1) {
            let name = reference.split('"').next().unwrap();
            assert!(schemas.contains_key(name), "{name}");
        }
        let mut seen = BTreeMap::new();
        for (name, schema) in table::all().into_iter().flat_map(|operation| operation.build().2) {
            let written = serde_json::to_string(&schema).unwrap();
            assert_eq!(seen.entry(name.clone()).or_insert_with(|| written.clone()), &written, "{name}");
        }
        let ids: Vec<_> = operations(&document).map(|(_, _, operation)| operation["operationId"].to_string()).collect();
        assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len());
    }
}
