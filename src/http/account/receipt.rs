//! `/v1/payments/{id}/receipt` and `/v1/requests/{id}/receipt`: as JSON that carries its own JWS, as the JWS alone, and a
//! payment's also as a page to print, each for clients that ask for it.

use actix_web::{
    HttpRequest, HttpResponse,
    http::header::{Accept, ContentType, Header},
    web,
};
use askama::Template;
use billing::{ids::RequestId, key::Scope};
use serde::Serialize;

use super::payments::payment_id;
use crate::{
    http::{
        arrival::Arrival,
        auth::{self, Sight},
        error::ApiError,
        respond::{answer, refuse},
        state::Shared,
        values::id,
        views::{receipt::Receipt, request_receipt::RequestReceipt, signed::Signed},
    },
    service::{payments, receipts},
};

/// The media type of a compact JWS (RFC 7515, section 9.2).
const JOSE: &str = "application/jose";

/// How a receipt is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Json,
    Page,
    Jose,
}

const FORMS: [(&str, Form); 4] =
    [("text/html", Form::Page), ("application/json", Form::Json), (JOSE, Form::Jose), ("*/*", Form::Json)];

/// `GET /v1/payments/{id}/receipt`.
pub async fn receipt(state: Shared, request: HttpRequest, id: web::Path<String>) -> HttpResponse {
    let work = async {
        let caller = auth::scoped(&state, &request, Scope::Read).await?;
        let receipt = payments::receipt(&state.service, caller.account_id, payment_id(&id)?).await?;
        sign(&state, Receipt::from(receipt))
    };
    match work.await {
        Ok(receipt) if wanted(&request) == Form::Page => page(&request, &receipt),
        receipt => signed(&request, receipt),
    }
}

/// `GET /v1/requests/{id}/receipt`.
pub async fn request_receipt(state: Shared, request: HttpRequest, path: web::Path<String>) -> HttpResponse {
    let work = async {
        let Sight { caller, only } = auth::sight(&state, &request).await?;
        let id = RequestId(id("id", &path, "must be an id")?);
        let receipt = receipts::of_request(&state.service, caller.account_id, only, id).await?;
        sign(&state, RequestReceipt::from(receipt))
    };
    signed(&request, work.await)
}

fn sign<T: Signed>(state: &Shared, receipt: T) -> Result<T, ApiError> {
    receipt.signed(&state.signer).map_err(|error| ApiError::internal(&error))
}

/// The form that the client prefers. An unreadable header prefers nothing.
fn wanted(request: &HttpRequest) -> Form {
    let Ok(accept) = Accept::parse(request) else { return Form::Json };
    let form = |kind: &str| FORMS.iter().find(|(name, _)| *name == kind).map(|(_, form)| *form);
    accept.ranked().iter().find_map(|kind| form(kind.essence_str())).unwrap_or(Form::Json)
}

fn signed<T: Signed + Serialize>(request: &HttpRequest, receipt: Result<T, ApiError>) -> HttpResponse {
    match receipt {
        Ok(mut receipt) if wanted(request) == Form::Jose => HttpResponse::Ok()
            .insert_header(("x-request-id", Arrival::of(request).id.to_string()))
            .insert_header(("cache-control", "private, no-store"))
            .insert_header(("vary", "accept"))
            .content_type(JOSE)
            .body(std::mem::take(receipt.jws())),
        receipt => answer(request, receipt),
    }
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
    fn a_form_is_for_those_who_ask_for_it_first() {
        for (accept, form) in [
            (None, Form::Json),
            (Some("*/*"), Form::Json),
            (Some("application/json"), Form::Json),
            (Some("text/html"), Form::Page),
            (Some("text/html,application/xhtml+xml,*/*;q=0.8"), Form::Page),
            (Some("application/json, text/html;q=0.5"), Form::Json),
            (Some("text/html;q=0.2, application/json;q=0.9"), Form::Json),
            (Some("application/jose"), Form::Jose),
            (Some("application/jose, */*;q=0.1"), Form::Jose),
            (Some("application/jose;q=0.1, */*"), Form::Json),
            (Some(";;;"), Form::Json),
        ] {
            let mut request = actix_web::test::TestRequest::default();
            if let Some(accept) = accept {
                request = request.insert_header(("accept", accept));
            }
            assert_eq!(wanted(&request.to_http_request()), form, "{accept:?}");
        }
    }
}
