//! Receipts of payments: as JSON, or as a page to print for clients that ask for HTML. The page is one file without scripts;
//! what stands in it is escaped by its template.

use actix_web::{
    HttpRequest, HttpResponse,
    http::header::{Accept, ContentType, Header},
    web,
};
use askama::Template;
use billing::{
    grant::Grant,
    ids::AccountId,
    key::Scope,
    payment::{Payment, PaymentStatus, Purpose},
};
use serde::Serialize;

use super::{
    arrival::Arrival,
    auth,
    error::ApiError,
    payments,
    respond::{answer, refuse},
    state::Shared,
};

/// A receipt, as it is written in either form.
#[derive(Debug, Serialize, Template)]
#[template(path = "receipt.html")]
struct Receipt {
    number: String,
    payment_id: String,
    account_id: String,
    email: String,
    paid_at: String,
    description: String,
    amount: String,
    currency: &'static str,
    /// What went back to the card; none where nothing did.
    refunded: Option<String>,
    status: &'static str,
    card: Option<ReceiptCard>,
    credits: ReceiptCredits,
}

#[derive(Debug, Serialize)]
struct ReceiptCard {
    brand: String,
    last4: String,
}

#[derive(Debug, Serialize)]
struct ReceiptCredits {
    grant_id: String,
    amount: String,
    expires_at: String,
}

/// `GET /v1/payments/{id}/receipt`.
pub async fn receipt(state: Shared, request: HttpRequest, id: web::Path<String>) -> HttpResponse {
    let work = async {
        let caller = auth::scoped(&state, &request, Scope::Read).await?;
        let payment = payments::find(&state, caller.account_id, &id).await?;
        write(&state, caller.account_id, &payment).await
    };
    let receipt = match work.await {
        Ok(receipt) => receipt,
        Err(error) => return refuse(&request, &error),
    };
    if wants_html(&request) {
        return page(&request, &receipt);
    }
    answer(&request, serde_json::to_value(receipt).map_err(|error| ApiError::internal(&error)))
}

async fn write(state: &Shared, account: AccountId, payment: &Payment) -> Result<Receipt, ApiError> {
    let unpaid = || ApiError::conflict(format!("There is no receipt: the payment is {}.", payment.status.name()));
    if payment.status != PaymentStatus::Succeeded {
        return Err(unpaid());
    }
    let ledger = state.gateway.accounts.ledger();
    let grant: Grant = ledger.grant_of(account, &payment.grant_key()).await?.ok_or_else(unpaid)?;
    let owner = ledger.account(account).await?.ok_or_else(|| ApiError::not_found("the account"))?;
    let card = payments::card_of(state, account, payment).await?;
    let digits = payment.id.0.simple().to_string().to_uppercase();
    Ok(Receipt {
        number: format!("FB-{}", digits.get(20..).unwrap_or(&digits)),
        payment_id: payment.id.to_string(),
        account_id: account.to_string(),
        email: owner.email,
        paid_at: payment.ended_at.unwrap_or(grant.created_at).to_string(),
        description: description(payment.purpose).to_owned(),
        amount: payment.amount.to_string(),
        currency: "USD",
        refunded: payment.reversed.is_positive().then(|| payment.reversed.to_string()),
        status: match payment.reversed {
            nothing if !nothing.is_positive() => "paid",
            all if all == payment.amount => "refunded",
            _ => "partly refunded",
        },
        card: card.map(|card| ReceiptCard { brand: card.brand, last4: card.last4 }),
        credits: ReceiptCredits {
            grant_id: grant.id.to_string(),
            amount: grant.funded.to_string(),
            expires_at: grant.expires_at.to_string(),
        },
    })
}

/// What was bought.
const fn description(purpose: Purpose) -> &'static str {
    match purpose {
        Purpose::Purchase => "Farebox credits",
        Purpose::AutoReload => "Farebox credits (automatic reload)",
        Purpose::AutoScale => "Farebox credits (automatic scaling)",
        Purpose::Subscription => "Farebox pay-as-you-go plan, four weeks",
    }
}

/// Whether a page is asked for before JSON. What can't be read asks for nothing.
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
    fn what_stands_in_a_page_is_escaped() {
        let receipt = Receipt {
            number: "FB-1".into(),
            payment_id: "1".into(),
            account_id: "2".into(),
            email: "<script>alert(1)</script>@example.com".into(),
            paid_at: "2026-11-24T09:30:00.000Z".into(),
            description: "Farebox credits".into(),
            amount: "10.00".into(),
            currency: "USD",
            refunded: Some("1.00".into()),
            status: "partly refunded",
            card: Some(ReceiptCard { brand: "\"visa\"".into(), last4: "4242".into() }),
            credits: ReceiptCredits { grant_id: "3".into(), amount: "10.00".into(), expires_at: "later".into() },
        };
        let html = receipt.render().unwrap();
        assert!(!html.contains("<script>") && html.contains("&#60;script&#62;"), "{html}");
        assert!(html.contains("&#34;visa&#34;") && html.contains("4242") && html.contains("$10.00"), "{html}");
        assert!(html.contains("-$1.00") && html.contains("partly refunded"), "{html}");
    }

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
