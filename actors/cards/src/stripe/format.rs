//! Stripe's objects, as far as they matter here, and their meaning ("API reference", Stripe documentation). Pure: this
//! file makes no calls.

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
    charge::{ChargeOutcome, NextAction, from_cents},
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

/// The error in an answer or in an intent.
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

/// The body of an error answer.
#[derive(Debug, Deserialize)]
pub(super) struct ErrorBody {
    pub(super) error: ErrorObject,
}

/// A list, or a page of search results.
#[derive(Debug, Deserialize)]
pub(super) struct List<T> {
    pub(super) data: Vec<T>,
    #[serde(default)]
    pub(super) has_more: bool,
}

/// An object of which only the id is read.
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

/// An object with an unknown status or amount: how it changed a charge's money can't be decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NotUnderstood(pub(super) String);

/// Dollars of a refund or a dispute. An amount without a currency is in dollars, as the charge was.
fn dollars(id: &str, cents: i64, currency: Option<&str>) -> Result<Nanos, NotUnderstood> {
    let is_dollars = currency.is_none_or(|currency| currency == "usd");
    let amount = from_cents(cents).filter(|amount| is_dollars && *amount >= Nanos::ZERO);
    amount.ok_or_else(|| NotUnderstood(format!("{id} is of {cents} in {}", currency.unwrap_or("no currency"))))
}

impl Refund {
    /// The refund's id in the ledger, where the refund was ordered here.
    fn own_id(&self) -> Option<ReversalId> {
        let id = self.metadata.as_ref()?.get("refund_id")?;
        Uuid::parse_str(id).ok().map(ReversalId)
    }

    /// The refund's state.
    pub(super) fn state(&self) -> Result<State, NotUnderstood> {
        match self.status.as_deref() {
            Some("pending" | "requires_action") => Ok(State::Pending),
            Some("succeeded") => Ok(State::Succeeded),
            Some("failed" | "canceled") => Ok(State::Failed),
            other => Err(NotUnderstood(format!("{} is {}", self.id, other.unwrap_or("without a status")))),
        }
    }

    /// What the refund reports of its charge's money.
    pub(super) fn news(&self) -> Result<News, NotUnderstood> {
        Ok(News {
            id: self.own_id(),
            kind: Kind::Refund,
            reference: Some(self.id.clone()),
            amount: dollars(&self.id, self.amount, self.currency.as_deref())?,
            state: self.state()?,
        })
    }

    /// Whether the refund was ordered here under this id.
    pub(super) fn is_own(&self, id: Option<ReversalId>) -> bool {
        id.is_some() && self.own_id() == id
    }
}

impl Dispute {
    /// What the dispute reports of its charge's money; `None` where the dispute took no money (an inquiry, or a
    /// prevented dispute).
    pub(super) fn news(&self) -> Result<Option<News>, NotUnderstood> {
        let state = match self.status.as_str() {
            "warning_needs_response" | "warning_under_review" | "warning_closed" | "prevented" => return Ok(None),
            "needs_response" | "under_review" => State::Open,
            "lost" => State::Lost,
            // Closed because the charge was refunded meanwhile: the refund counts.
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
    /// The whole object where the call asked for its expansion.
    #[serde(default)]
    pub(super) payment_method: Option<Expandable>,
}

/// An id, or the object itself.
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

/// The card of a `PaymentMethod`.
#[derive(Debug, Deserialize)]
pub(super) struct MethodCard {
    pub(super) brand: String,
    pub(super) last4: String,
    pub(super) exp_month: i64,
    pub(super) exp_year: i64,
}

impl ErrorObject {
    /// The most exact code for the reason.
    pub(super) fn reason(&self) -> String {
        let exact = self.decline_code.as_deref().filter(|code| *code != "generic_decline");
        exact.or(self.code.as_deref()).unwrap_or("card_declined").to_owned()
    }
}

/// The state of a charge by its intent's status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Standing {
    /// The charge ended, waits for its owner, or has an unknown status.
    Is(ChargeOutcome),
    /// The charge failed for this reason, and could still be tried again. The intent must be canceled before the charge
    /// is reported as declined.
    Failed(String),
}

impl Intent {
    /// The payment that the intent was made for, where it was made here.
    pub(super) fn payment_id(&self) -> Option<PaymentId> {
        Uuid::parse_str(self.metadata.get("payment_id")?).ok().map(PaymentId)
    }

    /// The intent as a listed charge, where it was made for a payment of this gateway.
    pub(super) fn listed(&self) -> Option<ListedCharge> {
        let paid = match self.standing() {
            Standing::Is(ChargeOutcome::Succeeded { amount, .. }) => Some(amount),
            _ => None,
        };
        let is_open = !matches!(self.status.as_str(), "succeeded" | "canceled");
        Some(ListedCharge { payment_id: self.payment_id()?, reference: self.id.clone(), paid, is_open })
    }

    /// The charge's state.
    pub(super) fn standing(&self) -> Standing {
        let reason = self.last_payment_error.as_ref().map(ErrorObject::reason);
        let waits = || {
            let client_secret = self.client_secret.clone()?;
            Some(Standing::Is(ChargeOutcome::NeedsAuthentication(NextAction {
                reference: self.id.clone(),
                client_secret,
            })))
        };
        match self.status.as_str() {
            "succeeded" => {
                let amount = from_cents(self.amount_received).filter(|_| self.currency == "usd");
                Standing::Is(amount.map_or_else(
                    || unknown(format!("{} was paid in another currency", self.id)),
                    |amount| ChargeOutcome::Succeeded { reference: self.id.clone(), amount },
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
            "canceled" => Standing::Is(ChargeOutcome::Declined { code: reason.unwrap_or_else(|| "canceled".into()) }),
            status => Standing::Is(unknown(format!("{} is {status}", self.id))),
        }
    }
}

pub(super) const fn unknown(why: String) -> ChargeOutcome {
    ChargeOutcome::Unknown { why }
}

impl Method {
    /// The method as a card that can be saved; `None` where it is no card.
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
        let paid = ChargeOutcome::Succeeded { reference: "pi_1".into(), amount: "10.00".parse().unwrap() };
        assert_eq!(standing(&json!({"status": "succeeded", "amount_received": 1_000})), Standing::Is(paid));
        let euros = json!({"status": "succeeded", "amount_received": 1_000, "currency": "eur"});
        assert!(matches!(standing(&euros), Standing::Is(ChargeOutcome::Unknown { .. })));
        assert!(matches!(standing(&json!({"status": "processing"})), Standing::Is(ChargeOutcome::Unknown { .. })));
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
        let waits = Standing::Is(ChargeOutcome::NeedsAuthentication(action));
        assert_eq!(
            failed(json!({"code": "authentication_required", "decline_code": "authentication_required"})),
            waits
        );
        assert_eq!(standing(&json!({"status": "requires_action"})), waits);
        let canceled = json!({"status": "canceled", "last_payment_error": {"code": "authentication_required"}});
        let declined = ChargeOutcome::Declined { code: "authentication_required".into() };
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
