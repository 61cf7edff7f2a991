//! Purchases: a payment is begun, and its end is awaited for a while. The function returns when the payment has ended
//! and that is durable. Where that takes longer, or the card's owner must act first, the payment goes on by itself.

use actors::account::{AccountError, Bought, Buy, Look, Picture};
use billing::{
    Nanos,
    account::Balance,
    command::Refusal,
    ids::{AccountId, PaymentId},
    payment::{Payment, PaymentStatus, Purpose},
};

use super::{Service, ServiceError, acts::Origin, cards, payments::NextAction};

/// The current result of a purchase.
#[derive(Debug, Clone)]
pub struct Purchase {
    /// The payment.
    pub payment: Payment,
    /// The account's balance.
    pub balance: Balance,
    /// The pending step of the card's owner.
    pub action: Option<NextAction>,
}

impl Purchase {
    /// Whether the payment is still pending.
    pub fn is_pending(&self) -> bool {
        self.payment.status == PaymentStatus::Pending
    }

    /// The result of a payment. A declined card is an error.
    fn of(payment: Payment, balance: Balance, action: Option<NextAction>) -> Result<Self, ServiceError> {
        if let Some(code) = payment.decline_code {
            return Err(ServiceError::Declined { code, payment: payment.id });
        }
        Ok(Self { payment, balance, action })
    }
}

/// Buys credits with a card. The payment has the request's id, so that a retry after a crash finds it in the ledger.
///
/// # Errors
///
/// The card is unknown or missing ([`Invalid`](ServiceError::Invalid)), the card was declined
/// ([`Declined`](ServiceError::Declined)), the account refuses the purchase ([`Refused`](ServiceError::Refused)), or
/// can't be asked just now. A repetition with the same origin charges once.
pub async fn credits(
    service: &Service,
    origin: Origin,
    account: AccountId,
    amount: Nanos,
    card: Option<&str>,
) -> Result<Purchase, ServiceError> {
    let id = PaymentId(origin.id.0);
    if origin.is_done() || service.ledger().payment(account, id).await?.is_some() {
        return bought_before(service, account, id).await;
    }
    let method = cards::charged_card(service, account, card).await?;
    buy(service, account, Payment::new(id, Purpose::Purchase, amount, method, service.now())).await
}

/// Begins a payment and waits for its end, for a while.
pub(super) async fn buy(service: &Service, account: AccountId, payment: Payment) -> Result<Purchase, ServiceError> {
    let (accounts, id) = (&service.accounts, payment.id);
    match accounts.ask(account, Buy(payment)).await {
        Ok(Bought { payment, answer, action }) => {
            // It was paid meanwhile, by an attempt whose answer was lost.
            if matches!(answer.result, Err(Refusal::AlreadyFunded(_))) {
                return bought_before(service, account, id).await;
            }
            answer.result?;
            Purchase::of(payment, answer.balance, action.map(NextAction::from))
        }
        // No answer came in time, or the account was rebuilt. A payment that was begun goes on.
        Err(error @ AccountError::Unavailable(_)) => {
            let begun = accounts.ledger().payment(account, id).await?;
            let Some(payment) = begun else { return Err(error.into()) };
            let picture: Picture = accounts.ask(account, Look).await?;
            Purchase::of(payment, picture.balance, None)
        }
        Err(error) => Err(error.into()),
    }
}

/// The current result of a payment that an earlier attempt of its request began.
async fn bought_before(service: &Service, account: AccountId, id: PaymentId) -> Result<Purchase, ServiceError> {
    let payment = service.ledger().payment(account, id).await?.ok_or(ServiceError::NotFound("this payment"))?;
    let picture: Picture = service.accounts.ask(account, Look).await?;
    Purchase::of(payment, picture.balance, None)
}
