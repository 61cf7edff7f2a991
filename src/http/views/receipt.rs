//! A receipt, as JSON and as a page to print. The page is one file without scripts. Its template escapes all values.

use askama::Template;
use billing::payment::Purpose;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::{Dollars, Time, payments::ChargedCard, signed::Signed};
use crate::{service::payments, signing};

/// A receipt.
#[derive(Debug, Serialize, ToSchema, Template)]
#[template(path = "receipt.html")]
pub struct Receipt {
    number: String,
    payment_id: Uuid,
    account_id: Uuid,
    email: String,
    paid_at: Time,
    description: &'static str,
    amount: Dollars,
    currency: &'static str,
    /// The amount refunded to the card; null where there is none.
    #[schema(required)]
    refunded: Option<Dollars>,
    /// `paid`, `refunded` or `partly refunded`.
    status: &'static str,
    #[schema(required)]
    card: Option<ChargedCard>,
    credits: ReceiptCredits,
    /// The receipt signed, as a compact JWS whose payload is all of the above; its keys are at `/.well-known/jwks.json`.
    #[serde(skip_serializing_if = "String::is_empty")]
    #[schema(required)]
    jws: String,
}

impl Signed for Receipt {
    const TYP: &'static str = signing::PAYMENT_RECEIPT;

    fn jws(&mut self) -> &mut String {
        &mut self.jws
    }
}

/// The bought credits.
#[derive(Debug, Serialize, ToSchema)]
struct ReceiptCredits {
    grant_id: Uuid,
    amount: Dollars,
    expires_at: Time,
}

impl From<payments::Receipt> for Receipt {
    fn from(receipt: payments::Receipt) -> Self {
        let payments::Receipt { payment, account_id, email, card, grant } = receipt;
        let digits = payment.id.0.simple().to_string().to_uppercase();
        Self {
            number: format!("FB-{}", digits.get(20..).unwrap_or(&digits)),
            payment_id: payment.id.0,
            account_id: account_id.0,
            email,
            paid_at: payment.ended_at.unwrap_or(grant.created_at).into(),
            description: description(payment.purpose),
            amount: payment.amount.into(),
            currency: "USD",
            refunded: payment.reversed.is_positive().then(|| payment.reversed.into()),
            status: match payment.reversed {
                nothing if !nothing.is_positive() => "paid",
                all if all == payment.amount => "refunded",
                _ => "partly refunded",
            },
            card: card.map(ChargedCard::from),
            credits: ReceiptCredits {
                grant_id: grant.id.0,
                amount: grant.funded.into(),
                expires_at: grant.expires_at.into(),
            },
            jws: String::new(),
        }
    }
}

/// The words for a purchase on a receipt.
const fn description(purpose: Purpose) -> &'static str {
    match purpose {
        Purpose::Purchase => "Farebox credits",
        Purpose::AutoReload => "Farebox credits (automatic reload)",
        Purpose::AutoScale => "Farebox credits (automatic scaling)",
        Purpose::Subscription => "Farebox pay-as-you-go plan, four weeks",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use billing::{Nanos, Timestamp};

    #[test]
    fn what_stands_in_a_page_is_escaped() {
        let at = Timestamp(1_795_521_600_000);
        let receipt = Receipt {
            number: "FB-1".into(),
            payment_id: Uuid::from_u128(1),
            account_id: Uuid::from_u128(2),
            email: "<script>alert(1)</script>@example.com".into(),
            paid_at: at.into(),
            description: "Farebox credits",
            amount: Nanos::dollars(10).into(),
            currency: "USD",
            refunded: Some(Nanos::dollars(1).into()),
            status: "partly refunded",
            card: Some(ChargedCard { brand: "\"visa\"".into(), last4: "4242".into() }),
            credits: ReceiptCredits {
                grant_id: Uuid::from_u128(3),
                amount: Nanos::dollars(10).into(),
                expires_at: at.into(),
            },
            jws: "e30.e30.e30".into(),
        };
        let html = receipt.render().unwrap();
        assert!(!html.contains("<script>") && html.contains("&#60;script&#62;"), "{html}");
        assert!(html.contains("&#34;visa&#34;") && html.contains("4242") && html.contains("$10.00"), "{html}");
        assert!(html.contains("e30.e30.e30"), "{html}");
        assert!(html.contains("-$1.00") && html.contains("partly refunded"), "{html}");
    }
}
