//! `/v1/payments/{id}/receipt`: as JSON, or as a page to print for clients that ask for HTML.

use actix_web::{
    HttpRequest, HttpResponse,
    http::header::{Accept, ContentType, Header},
    web,
};
use askama::Template;
use billing::key::Scope;

use super::payments::payment_id;
use crate::{
    http::{
        arrival::Arrival,
        auth,
        error::ApiError,
        respond::{answer, refuse},
        state::Shared,
        views::receipt::Receipt,
    },
    service::payments,
};

/// `GET /v1/payments/{id}/receipt`.
pub async fn receipt(state: Shared, request: HttpRequest, id: web::Path<String>) -> HttpResponse {
    let work = async {
        let caller = auth::scoped(&state, &request, Scope::Read).await?;
        Ok(Receipt::from(payments::receipt(&state.service, caller.account_id, payment_id(&id)?).await?))
    };
    match work.await {
        Ok(receipt) if wants_html(&request) => page(&request, &receipt),
        receipt => answer(&request, receipt),
    }
}

/// Whether the client prefers a page to JSON. An unreadable header prefers nothing.
fn wants_html(request: &HttpRequest) -> bool {
    let Ok(accept) = Accept::parse(request) else { return false };
    let ranked = accept.ranked();
    let first = ranked.iter().find(|kind| ["text/html", "application/json", "*/*"].contains(&kind.essence_str()));
    first.is_some_and(|kind| kind.essence_str() == "text/html")
}

fn page(request: &HttpRequest, receipt: &Receipt) -> HttpResponse {
    match receipt.render() {
        Ok(html) => HttpResponse::Ok()
            .insert_header(("x-request-id", Arrival::of(request).id.to_string()))
            .insert_header(("content-security-policy", "default-src 'none'; style-src 'unsafe-inline'"))
            .insert_header(("cache-control", "private, no-store"))
            .insert_header(("vary", "accept"))
            .insert_header(ContentType::html())
            .body(html),
        Err(error) => refuse(request, &ApiError::internal(&error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_for_those_who_ask_for_one_first() {
        for (accept, html) in [
            (None, false),
            (Some("*/*"), false),
            (Some("application/json"), false),
            (Some("text/html"), true),
            (Some("text/html,application/xhtml+xml,*/*;q=0.8"), true),
            (Some("application/json, text/html;q=0.5"), false),
            (Some("text/html;q=0.2, application/json;q=0.9"), false),
            (Some(";;;"), false),
        ] {
            let mut request = actix_web::test::TestRequest::default();
            if let Some(accept) = accept {
                request = request.insert_header(("accept", accept));
            }
            assert_eq!(wants_html(&request.to_http_request()), html, "{accept:?}");
        }
    }
}
