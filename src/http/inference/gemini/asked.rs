//! The query of Google's routes ("System parameters", Google Cloud documentation). How the answer is written is ours to
//! say; a key is not read from an address; and what would take parts out of an answer is refused, because its usage is
//! among them. Anything else passes.

use actix_web::{HttpRequest, web};
use wire::{format::gemini, inference::Request};

use crate::http::error::ApiError;

/// Credentials, which stand in a header: addresses are written to logs.
const SECRETS: [&str; 3] = ["key", "access_token", "oauth_token"];
/// What changes the form of an answer.
const FORMS: [&str; 4] = ["fields", "callback", "uploadType", "upload_protocol"];

/// How a streamed answer is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::http::inference) enum Alt {
    Events,
    Json,
}

/// How a streamed answer is written, and the parameters that a provider gets.
///
/// # Errors
///
/// A parameter that is not served here, by its name.
pub(in crate::http::inference) fn query(request: &HttpRequest) -> Result<(Alt, Option<Box<str>>), ApiError> {
    parse(request.query_string())
}

fn parse(text: &str) -> Result<(Alt, Option<Box<str>>), ApiError> {
    let (mut alt, mut passed) = (Alt::Json, Vec::new());
    for pair in text.split('&').filter(|pair| !pair.is_empty()) {
        let decoded = web::Query::<Vec<(String, String)>>::from_query(pair);
        let decoded = decoded.map_err(|error| ApiError::invalid("query", error))?.into_inner();
        let Some((name, value)) = decoded.first() else { continue };
        // Some clients write a parameter of the system with a sign before it.
        match name.strip_prefix('$').unwrap_or(name) {
            "alt" => {
                alt = match value.split(';').next().unwrap_or_default() {
                    "sse" => Alt::Events,
                    "json" => Alt::Json,
                    _ => return Err(ApiError::invalid("alt", "must be sse or json")),
                };
            }
            secret if SECRETS.contains(&secret) => {
                let message = "may not stand in an address, which is written to logs; send it as x-goog-api-key";
                return Err(ApiError::invalid(secret, message));
            }
            form if FORMS.contains(&form) => return Err(ApiError::invalid(form, "is not served here")),
            _ => passed.push(pair),
        }
    }
    Ok((alt, Some(passed.join("&")).filter(|passed| !passed.is_empty()).map(String::into_boxed_str)))
}

/// Reads a body as the route would that `route` names; `None` where it is none of Google's.
pub(in crate::http::inference) fn at_route(route: &str, body: &[u8]) -> Option<Result<Request, ApiError>> {
    let of = |begin: &str| route.strip_prefix(begin)?.rsplit_once(':');
    let (model, method) = of("/v1beta/models/").or_else(|| of("/v1/models/"))?;
    let read = match method {
        "generateContent" => gemini::read_generate(body, Some(model), false),
        "streamGenerateContent" => gemini::read_generate(body, Some(model), true),
        "embedContent" => gemini::read_embedding(body, model),
        "batchEmbedContents" => gemini::read_embeddings(body, model),
        _ => return None,
    };
    Some(read.map_err(ApiError::from))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_ours_stays_here_and_secrets_are_refused() {
        let of = |query: &str| parse(query).map(|(alt, passed)| (alt, passed.map(String::from)));
        for (query, alt, passed) in [
            ("", Alt::Json, None),
            ("alt=sse", Alt::Events, None),
            ("%61lt=sse&prettyPrint=false&quotaUser=a%26b", Alt::Events, Some("prettyPrint=false&quotaUser=a%26b")),
            ("$alt=json;enum-encoding=int", Alt::Json, None),
        ] {
            assert_eq!(of(query).unwrap(), (alt, passed.map(str::to_owned)), "{query}");
        }
        for (query, field) in [
            ("alt=sse&key=fb_x", "key"),
            ("%6bey=fb_x", "key"),
            ("$key=fb_x", "key"),
            ("access_token=x", "access_token"),
            ("fields=candidates", "fields"),
            ("$fields=candidates", "fields"),
            ("alt=media", "alt"),
        ] {
            let error = of(query).unwrap_err();
            assert!(error.message().starts_with(&format!("{field}: ")), "{query}: {}", error.message());
            assert!(!error.message().contains("fb_x"), "{}", error.message());
        }
    }

    #[test]
    fn a_route_names_the_model_and_what_is_asked() {
        let body = br#"{"contents":[{"parts":[{"text":"x"}]}]}"#;
        let read = at_route("/v1/models/openai/gpt-4o:streamGenerateContent", body).unwrap().unwrap();
        assert_eq!((&*read.model, read.stream), ("openai/gpt-4o", true));
        assert!(at_route("/v1beta/models/m:embedContent", body).unwrap().is_err());
        assert!(at_route("/v1beta/models/m:predict", body).is_none() && at_route("/v1/messages", body).is_none());
    }
}
