//! Stripe's objects, as far as they matter here, and what they mean ("API reference", Stripe documentation). Pure: no
//! exchange happens in this file.

use std::collections::HashMap;

use billing::{
    Nanos,
    card::Card,
    ids::{PaymentId, ReversalId},
    reversal::{Kind, News, State},
};
use serde::Deserialize;
use uuid::Uuid;

use crate::{
    charge::{NextAction, Outcome, from_cents},
    finding::ListedCharge,
};

/// A `PaymentIntent`.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Intent {
    pub(super) id: String,
    pub(super) status: String,
    #[serde(default)]
    pub(super) amount_received: i64,
    pub(super) currency: String,
    pub(super) client_secret: Option<String>,
    #[serde(default)]
    pub(super) metadata: HashMap<String, String>,
    pub(super) last_payment_error: Option<ErrorObject>,
}

/// What is wrong, in an answer or in an intent.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct ErrorObject {
    #[serde(rename = "type", default)]
    pub(super) kind: String,
    pub(super) code: Option<String>,
    pub(super) decline_code: Option<String>,
    #[serde(default)]
    pub(super) message: String,
    pub(super) payment_intent: Option<Box<Intent>>,
}

/// The body of an answer that is not a success.
#[derive(Debug, Deserialize)]
pub(super) struct ErrorBody {
    pub(super) error: ErrorObject,
}

/// A list, or a page of what was searched.
#[derive(Debug, Deserialize)]
pub(super) struct List<T> {
    pub(super) data: Vec<T>,
    #[serde(default)]
    pub(super) has_more: bool,
}

/// Something of which only the name matters.
#[derive(Debug, Deserialize)]
pub(super) struct Named {
    pub(super) id: String,
}

/// A refund.
#[derive(Debug, Deserialize)]
pub(super) struct Refund {
    pub(super) id: String,
    pub(super) amount: i64,
    pub(super) currency: Option<String>,
    pub(super) status: Option<String>,
    pub(super) payment_intent: Option<String>,
    #[serde(default)]
    pub(super) metadata: Option<HashMap<String, String>>,
}

/// A dispute.
#[derive(Debug, Deserialize)]
pub(super) struct Dispute {
    pub(super) id: String,
    pub(super) amount: i64,
    pub(super) currency: Option<String>,
    pub(super) status: String,
    pub(super) payment_intent: Option<String>,
}

/// Something whose status or amount is not one that is known: what it did to whose money can't be said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NotUnderstood(pub(super) String);

/// Dollars of a refund or a dispute; what is not said to be otherwise is dollars, as the charge was.
fn dollars(id: &str, cents: i64, currency: Option<&str>) -> Result<Nanos, NotUnderstood> {
    let is_dollars = currency.is_none_or(|currency| currency == "usd");
    let amount = from_cents(cents).filter(|amount| is_dollars && *amount >= Nanos::ZERO);
    amount.ok_or_else(|| NotUnderstood(format!("{id} is of {cents} in {}", currency.unwrap_or("no currency"))))
}

impl Refund {
    /// Its id here, where it was asked for here.
    fn own_id(&self) -> Option<ReversalId> {
        let id = self.metadata.as_ref()?.get("refund_id")?;
        Uuid::parse_str(id).ok().map(ReversalId)
    }

    /// Where it stands.
    pub(super) fn state(&self) -> Result<State, NotUnderstood> {
        match self.status.as_deref() {
            Some("pending" | "requires_action") => Ok(State::Pending),
            Some("succeeded") => Ok(State::Succeeded),
            Some("failed" | "canceled") => Ok(State::Failed),
            other => Err(NotUnderstood(format!("{} is {}", self.id, other.unwrap_or("without a status")))),
        }
    }

    /// What it says of its charge's money.
    pub(super) fn news(&self) -> Result<News, NotUnderstood> {
        Ok(News {
            id: self.own_id(),
            kind: Kind::Refund,
            reference: Some(self.id.clone()),
            amount: dollars(&self.id, self.amount, self.currency.as_deref())?,
            state: self.state()?,
        })
    }

    /// Whether it is the one asked for here under that id.
    pub(super) fn is_own(&self, id: Option<ReversalId>) -> bool {
        id.is_some() && self.own_id() == id
    }
}

impl Dispute {
    /// What it says of its charge's money; none where it took none: an inquiry, or one that was prevented.
    pub(super) fn news(&self) -> Result<Option<News>, NotUnderstood> {
        let state = match self.status.as_str() {
            "warning_needs_response" | "warning_under_review" | "warning_closed" | "prevented" => return Ok(None),
            "needs_response" | "under_review" => State::Open,
            "lost" => State::Lost,
            // Closed because the charge was refunded meanwhile: the refund is what stands.
            "won" | "charge_refunded" => State::Won,
            status => return Err(NotUnderstood(format!("{} is {status}", self.id))),
        };
        let amount = dollars(&self.id, self.amount, self.currency.as_deref())?;
        Ok(Some(News { id: None, kind: Kind::Dispute, reference: Some(self.id.clone()), amount, state }))
    }
}

/// A `SetupIntent`.
#[derive(Debug, Deserialize)]
pub(super) struct SetupIntent {
    pub(super) id: String,
    pub(super) status: String,
    pub(super) client_secret: Option<String>,
    pub(super) customer: Option<String>,
    /// Expanded where it was asked for so.
    #[serde(default)]
    pub(super) payment_method: Option<Expandable>,
}

/// A reference, or the object itself.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum Expandable {
    Object(Method),
    Reference(#[expect(dead_code, reason = "told apart from the object")] String),
}

/// A `PaymentMethod`.
#[derive(Debug, Deserialize)]
pub(super) struct Method {
    pub(super) id: String,
    pub(super) card: Option<MethodCard>,
}

/// Its card.
#[derive(Debug, Deserialize)]
pub(super) struct MethodCard {
    pub(super) brand: String,
    pub(super) last4: String,
    pub(super) exp_month: i64,
    pub(super) exp_year: i64,
}

impl ErrorObject {
    /// The most exact word for why.
    pub(super) fn reason(&self) -> String {
        let exact = self.decline_code.as_deref().filter(|code| *code != "generic_decline");
        exact.or(self.code.as_deref()).unwrap_or("card_declined").to_owned()
    }
}

/// What an intent's status says of its charge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Standing {
    /// It ended, waits for its owner, or is not known.
    Is(Outcome),
    /// It failed for this reason, and could still be tried again: it must be canceled before it is told declined.
    Failed(String),
}

impl Intent {
    /// The payment it was made for, where it was made here.
    pub(super) fn payment_id(&self) -> Option<PaymentId> {
        Uuid::parse_str(self.metadata.get("payment_id")?).ok().map(PaymentId)
    }

    /// What it lists of a charge for a payment of ours.
    pub(super) fn listed(&self) -> Option<ListedCharge> {
        let paid = match self.standing() {
            Standing::Is(Outcome::Succeeded { amount, .. }) => Some(amount),
            _ => None,
        };
        let is_open = !matches!(self.status.as_str(), "succeeded" | "canceled");
        Some(ListedCharge { payment_id: self.payment_id()?, reference: self.id.clone(), paid, is_open })
    }

    /// Where it stands.
    pub(super) fn standing(&self) -> Standing {
        let reason = self.last_payment_error.as_ref().map(ErrorObject::reason);
        let waits = || {
            let client_secret = self.client_secret.clone()?;
            Some(Standing::Is(Outcome::NeedsAuthentication(NextAction { reference: self.id.clone(), client_secret })))
        };
        match self.status.as_str() {
            "succeeded" => {
                let amount = from_cents(self.amount_received).filter(|_| self.currency == "usd");
                Standing::Is(amount.map_or_else(
                    || unknown(format!("{} was paid in another currency", self.id)),
                    |amount| Outcome::Succeeded { reference: self.id.clone(), amount },
                ))
            }
            "requires_action" => {
                waits().unwrap_or_else(|| Standing::Is(unknown(format!("{} has no client secret", self.id))))
            }
            "requires_payment_method" => match reason {
                Some(reason) if reason == "authentication_required" => waits().unwrap_or(Standing::Failed(reason)),
                Some(reason) => Standing::Failed(reason),
                None => Standing::Failed("card_declined".into()),
            },
            "canceled" => Standing::Is(Outcome::Declined { code: reason.unwrap_or_else(|| "canceled".into()) }),
            status => Standing::Is(unknown(format!("{} is {status}", self.id))),
        }
    }
}

pub(super) const fn unknown(why: String) -> Outcome {
    Outcome::Unknown { why }
}

impl Method {
    /// A card that can be saved; none where it is none.
    pub(super) fn into_card(self, customer: String) -> Option<Card> {
        let MethodCard { brand, last4, exp_month, exp_year } = self.card?;
        let plain = |text: &str| text.len() <= 40 && text.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ');
        let sound = plain(&brand) && plain(&last4) && (1..=12).contains(&exp_month) && exp_year > 0;
        sound.then_some(Card { customer, reference: self.id, brand, last4, exp_month, exp_year })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn standing(more: &Value) -> Standing {
        let mut intent = json!({"id": "pi_1", "currency": "usd", "client_secret": "pi_1_secret_2", "amount": 1_000});
        intent.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        serde_json::from_value::<Intent>(intent).unwrap().standing()
    }

    #[test]
    fn only_a_received_amount_of_dollars_is_paid() {
        let paid = Outcome::Succeeded { reference: "pi_1".into(), amount: "10.00".parse().unwrap() };
        assert_eq!(standing(&json!({"status": "succeeded", "amount_received": 1_000})), Standing::Is(paid));
        let euros = json!({"status": "succeeded", "amount_received": 1_000, "currency": "eur"});
        assert!(matches!(standing(&euros), Standing::Is(Outcome::Unknown { .. })));
        assert!(matches!(standing(&json!({"status": "processing"})), Standing::Is(Outcome::Unknown { .. })));
    }

    #[test]
    fn a_decline_is_told_from_a_wait_for_the_owner() {
        let failed =
            |error: Value| standing(&json!({"status": "requires_payment_method", "last_payment_error": error}));
        let broke = json!({"code": "card_declined", "decline_code": "insufficient_funds"});
        assert_eq!(failed(broke), Standing::Failed("insufficient_funds".into()));
        let plain = json!({"code": "card_declined", "decline_code": "generic_decline"});
        assert_eq!(failed(plain), Standing::Failed("card_declined".into()));
        let action = NextAction { reference: "pi_1".into(), client_secret: "pi_1_secret_2".into() };
        let waits = Standing::Is(Outcome::NeedsAuthentication(action));
        assert_eq!(
            failed(json!({"code": "authentication_required", "decline_code": "authentication_required"})),
            waits
        );
        assert_eq!(standing(&json!({"status": "requires_action"})), waits);
        let canceled = json!({"status": "canceled", "last_payment_error": {"code": "authentication_required"}});
        let declined = Outcome::Declined { code: "authentication_required".into() };
        assert_eq!(standing(&canceled), Standing::Is(declined));
    }

    #[test]
    fn what_is_no_card_is_not_saved() {
        let method = |card: Value| serde_json::from_value::<Method>(json!({"id": "pm_1", "card": card})).unwrap();
        let good = json!({"brand": "visa", "last4": "4242", "exp_month": 12, "exp_year": 2034});
        assert_eq!(method(good).into_card("cus_1".into()).unwrap().last4, "4242");
        let bad = json!({"brand": "visa", "last4": "4242", "exp_month": 13, "exp_year": 2034});
        assert_eq!(method(bad).into_card("cus_1".into()), None);
        assert_eq!(method(Value::Null).into_card("cus_1".into()), None);
    }
}
