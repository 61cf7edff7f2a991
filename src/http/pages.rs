//! What the pages of the dashboard and of operators have in common: what a page may load, forms that other sites can't send,
//! and where people are led.

use actix_web::{
    FromRequest, Handler, HttpRequest, HttpResponse, Resource, Responder,
    http::{
        Method, StatusCode,
        header::{CACHE_CONTROL, ContentType, LOCATION, RETRY_AFTER},
    },
    web,
};
use askama::Template;
use serde::de::DeserializeOwned;

use super::{
    arrival::Arrival,
    error::{ApiError, Shape},
    once::Once,
    query::Query,
    respond::Body,
    routes::wrong_method,
    session,
};

/// What a page may load and do: our own styles, scripts and answers, and nothing else; it stands in no frame.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; connect-src 'self'; \
                      form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// The same of a page that has a form of somebody else's: with a script, an API that it asks, and frames.
pub(super) fn policy_with(script: &str, api: &str, frames: &str) -> String {
    let scripts = POLICY.replace("script-src 'self'", &format!("script-src 'self' {script}"));
    let asked = scripts.replace("connect-src 'self'", &format!("connect-src 'self' {api}"));
    format!("{asked}; frame-src {frames}")
}

/// A path that takes a form.
pub(super) fn takes_form<F, Args>(path: &str, handler: F) -> Resource
where
    F: Handler<Args>,
    F::Output: Responder + 'static,
    Args: FromRequest + 'static,
{
    web::resource(path).route(web::post().to(handler)).default_service(wrong_method())
}

/// Reads a form that shows a session's token.
///
/// # Errors
///
/// It is not of a page of ours, or does not read.
pub(super) fn form<T: DeserializeOwned>(
    request: &HttpRequest,
    body: Body,
    is_token: impl FnOnce(&str) -> bool,
) -> Result<T, ApiError> {
    let mut fields = fields(body)?;
    let shown = fields.iter().find(|(name, _)| name == "csrf").map(|(_, value)| value.as_str());
    if !session::is_ours(request) || !shown.is_some_and(is_token) {
        return Err(ApiError::forbidden("This form is not from a page of this session: open the page again."));
    }
    Once::bind(request.match_info().as_str(), &mut fields);
    read(fields)
}

/// Reads a form of somebody who has not signed in.
///
/// # Errors
///
/// It is not of a page of ours, or does not read.
pub(super) fn form_of_stranger<T: DeserializeOwned>(request: &HttpRequest, body: Body) -> Result<T, ApiError> {
    // A page of another origin would sign its reader in to somebody else's account.
    if !session::is_ours(request) {
        return Err(ApiError::forbidden("This form is not from our page."));
    }
    read(fields(body)?)
}

/// The fields of a form, in order.
///
/// # Errors
///
/// They did not arrive, or do not read.
pub(super) fn fields(body: Body) -> Result<Vec<(String, String)>, ApiError> {
    let body = body.map_err(|error| ApiError::invalid("body", error))?;
    serde_urlencoded::from_bytes(&body).map_err(|error| ApiError::invalid("form", error))
}

/// A form with the session's token alone.
#[derive(serde::Deserialize)]
pub(super) struct Empty {}

/// Reads fields of a form. What was left empty was not given.
pub(super) fn read<T: DeserializeOwned>(fields: Vec<(String, String)>) -> Result<T, ApiError> {
    let given = fields.into_iter().filter(|(name, value)| name != "csrf" && !value.trim().is_empty());
    let text = serde_urlencoded::to_string(given.collect::<Vec<_>>());
    let text = text.map_err(|error| ApiError::invalid("form", error))?;
    serde_urlencoded::from_str(&text).map_err(|error| ApiError::invalid("form", error))
}

/// Leads who has not signed in to the sign-in of these pages (`/dashboard`, `/operator`), and back.
pub(super) fn to_sign_in(request: &HttpRequest, root: &str) -> HttpResponse {
    let next = if request.method() == Method::GET { request.uri().to_string() } else { String::new() };
    let next = serde_urlencoded::to_string([("next", next)]).unwrap_or_default();
    to(&format!("{root}/sign-in?{next}"))
}

/// A page below this root that a path names, or the root. Others are none: who signs in is led nowhere else.
pub(super) fn ours<'a>(root: &'a str, next: Option<&'a str>) -> &'a str {
    let is_ours = |path: &&str| {
        let rest = path.strip_prefix(root);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', '?']))
            && path.bytes().all(|b| b.is_ascii_graphic())
            && !path.split('?').next().is_some_and(|path| path.split('/').skip(1).any(leads_up))
    };
    next.filter(is_ours).unwrap_or(root)
}

/// Whether browsers take this part of a path out of it, and are then somewhere else.
fn leads_up(part: &str) -> bool {
    part.is_empty() || [".", ".."].contains(&part.to_ascii_lowercase().replace("%2e", ".").as_str())
}

/// What a page says after a form was carried out, by the word `said` in its address.
pub(super) fn said(query: &Query, words: &[(&str, &'static str)]) -> Option<&'static str> {
    let word = query.get("said")?;
    words.iter().find(|said| said.0 == word).map(|said| said.1)
}

/// Leads to another page.
pub(super) fn to(path: &str) -> HttpResponse {
    HttpResponse::SeeOther().insert_header((LOCATION, path)).insert_header((CACHE_CONTROL, "no-store")).finish()
}

/// A page.
pub(super) fn whole(request: &HttpRequest, status: StatusCode, page: &impl Template) -> HttpResponse {
    let id = Arrival::of(request).id.to_string();
    match page.render() {
        Ok(text) => HttpResponse::build(status)
            .insert_header(("x-request-id", id))
            .insert_header(("content-security-policy", POLICY))
            .insert_header(("referrer-policy", "same-origin"))
            .insert_header(("x-content-type-options", "nosniff"))
            .insert_header((CACHE_CONTROL, "no-store"))
            .content_type(ContentType::html())
            .body(text),
        Err(error) => ApiError::internal(&error).response(Shape::Native, &id),
    }
}

/// A page about an error, with how long to wait where that helps.
pub(super) fn after(mut page: HttpResponse, error: &ApiError) -> HttpResponse {
    if let Some(seconds) = error.wait() {
        page.headers_mut().insert(RETRY_AFTER, seconds.into());
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_signs_in_is_led_to_pages_of_ours_alone() {
        for (root, paths) in [
            ("/dashboard", ["/dashboard", "/dashboard/keys", "/dashboard?x=1", "/dashboard/requests?model=a%20b"]),
            ("/operator", ["/operator", "/operator/actors", "/operator?x=1", "/operator/actors/pool/7B"]),
        ] {
            for path in paths {
                assert_eq!(ours(root, Some(path)), path);
            }
        }
        for path in
            ["", "//evil.test", "https://evil.test", "/dashboards", "/v1/keys", "/dashboard\r\nx: y", "/dashboard/ x"]
        {
            assert_eq!(ours("/dashboard", Some(path)), "/dashboard", "{path}");
        }
        for path in ["/dashboard/../v1/keys", "/dashboard/%2E./x", "/dashboard/.", "/dashboard//evil.test"] {
            assert_eq!(ours("/dashboard", Some(path)), "/dashboard", "{path}");
        }
        for path in ["", "//evil.test", "https://evil.test", "/operators", "/dashboard", "/operator\r\nx: y"] {
            assert_eq!(ours("/operator", Some(path)), "/operator", "{path}");
        }
    }
}
