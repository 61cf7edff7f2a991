//! Payments: lists, details, receipts, refunds by operators, and the comparison with the card processor; and events of
//! the processor and decisions of a card's owner.

use actors::{
    accounts::DEADLINE,
    payment::{
        ActionOf, Applied, ApplyEvent, Given, NotRefunded, Refund,
        reconcile::{Reconciled, reconcile as compare},
    },
};
use billing::{
    Nanos, Timestamp,
    card::Card,
    grant::Grant,
    ids::{AccountId, PaymentId, ReversalId},
    payment::{DEFAULT_METHOD, Payment, PaymentStatus},
    reversal::{Reversal, State},
    time::DAY_MS,
};
use cards::{CardError, Processor, sandbox, to_cents, webhook};

use super::{
    Service, ServiceError,
    acts::{Act, Origin},
    page::{Listed, Page},
};
use crate::idempotency::Life;

const MISSING: ServiceError = ServiceError::NotFound("this payment");

/// The step that a card's owner must take before a payment goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NextAction {
    /// The secret with which the owner's browser takes the step.
    pub client_secret: String,
}

impl From<cards::NextAction> for NextAction {
    fn from(action: cards::NextAction) -> Self {
        Self { client_secret: action.client_secret }
    }
}

/// The card that a payment was charged to; `None` where it was never charged.
async fn card_of(service: &Service, account: AccountId, payment: &Payment) -> Result<Option<Card>, ServiceError> {
    let accounts = &service.accounts;
    let (ledger, processor) = (accounts.ledger(), accounts.processor());
    let chosen = match payment.method.as_str() {
        DEFAULT_METHOD => ledger.chosen_card(payment.id).await?,
        named => Some(named.to_owned()),
    };
    let Some(reference) = chosen else { return Ok(None) };
    let saved = ledger.method_by_reference(account, processor.name(), &reference).await?.map(|saved| saved.card);
    Ok(match processor {
        Processor::Sandbox(_) => saved.or_else(|| sandbox::find_card(account, &reference)),
        Processor::Stripe(_) => saved,
    })
}

async fn find(service: &Service, account: AccountId, id: PaymentId) -> Result<Payment, ServiceError> {
    service.ledger().payment(account, id).await?.ok_or(MISSING)
}

/// An account's payments of every status, newest first.
///
/// # Errors
///
/// The ledger can't be read just now ([`NotReady`](ServiceError::NotReady)); try again.
pub async fn list(service: &Service, account: AccountId, page: Page) -> Result<Listed<Payment>, ServiceError> {
    let payments = service.ledger().payments(account, page.before, page.limit).await?;
    Ok(page.list(payments, |payment| payment.id.0))
}

/// A payment with its details.
#[derive(Debug, Clone)]
pub struct Whole {
    /// The payment.
    pub payment: Payment,
    /// The charged card, where it is known.
    pub card: Option<Card>,
    /// The payment's refunds and disputes.
    pub reversals: Vec<Reversal>,
    /// The pending step of the card's owner, if there is one.
    pub action: Option<NextAction>,
}

/// A payment with its refunds, its disputes, and the pending step of its card's owner.
///
/// # Errors
///
/// The account has no such payment ([`NotFound`](ServiceError::NotFound)), or the ledger can't be read.
pub async fn whole(service: &Service, account: AccountId, id: PaymentId) -> Result<Whole, ServiceError> {
    let payment = find(service, account, id).await?;
    let card = card_of(service, account, &payment).await?;
    let reversals = service.ledger().reversals(payment.id).await?;
    let action = if payment.status == PaymentStatus::Pending {
        // An actor that does not answer in time reports no step.
        service.payments.ask(ActionOf(payment.id), DEADLINE).await.unwrap_or_default()
    } else {
        None
    };
    Ok(Whole { payment, card, reversals, action: action.map(NextAction::from) })
}

/// A paid payment, and the credits that it bought.
#[derive(Debug, Clone)]
pub struct Receipt {
    /// The payment.
    pub payment: Payment,
    /// The account.
    pub account_id: AccountId,
    /// The owner's email address.
    pub email: String,
    /// The charged card, where it is known.
    pub card: Option<Card>,
    /// The bought credits.
    pub grant: Grant,
}

/// The receipt of a paid payment.
///
/// # Errors
///
/// The account has no such payment ([`NotFound`](ServiceError::NotFound)), it was not paid
/// ([`Conflict`](ServiceError::Conflict)), or the ledger can't be read.
pub async fn receipt(service: &Service, account: AccountId, id: PaymentId) -> Result<Receipt, ServiceError> {
    let payment = find(service, account, id).await?;
    let unpaid = || ServiceError::Conflict(format!("There is no receipt: the payment is {}.", payment.status.name()));
    if payment.status != PaymentStatus::Succeeded {
        return Err(unpaid());
    }
    let ledger = service.ledger();
    let grant = ledger.grant_of(account, &payment.grant_key()).await?.ok_or_else(unpaid)?;
    let owner = ledger.account(account).await?.ok_or(ServiceError::NotFound("the account"))?;
    let card = card_of(service, account, &payment).await?;
    Ok(Receipt { payment, account_id: account, email: owner.email, card, grant })
}

/// The decision of a card's owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The charge is approved.
    Approve,
    /// The charge is refused.
    Refuse,
}

impl Verdict {
    /// The status of a payment after this decision.
    const fn ends(self) -> PaymentStatus {
        match self {
            Self::Approve => PaymentStatus::Succeeded,
            Self::Refuse => PaymentStatus::Declined,
        }
    }
}

impl From<Verdict> for sandbox::Verdict {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Approve => Self::Approve,
            Verdict::Refuse => Self::Refuse,
        }
    }
}

/// Approves or refuses a charge in the place of a test card's owner, as a bank's page would.
///
/// # Errors
///
/// The account has no such payment ([`NotFound`](ServiceError::NotFound)), it does not wait for its card's owner, or
/// the processor is Stripe (both [`Conflict`](ServiceError::Conflict)), or the payment actor can't apply the verdict
/// just now.
pub async fn authenticate(
    service: &Service,
    origin: Origin,
    account: AccountId,
    id: PaymentId,
    verdict: Verdict,
) -> Result<Payment, ServiceError> {
    let payment = find(service, account, id).await?;
    // This status proves that an earlier attempt of the request was carried out.
    if origin.life != Life::First && payment.status == verdict.ends() {
        return Ok(payment);
    }
    let Processor::Sandbox(sandbox) = service.accounts.processor() else {
        return Err(ServiceError::conflict("This is between the card's owner and the bank, by the client_secret."));
    };
    let event = sandbox.authenticate(payment.id, verdict.into(), service.now());
    let event = event.ok_or_else(|| ServiceError::conflict("This payment does not wait for its card's owner."))?;
    service.payments.ask(ApplyEvent(event), DEADLINE).await??;
    find(service, account, id).await
}

/// A payment and one of its refunds.
#[derive(Debug, Clone)]
pub struct Refunded {
    /// The account.
    pub account_id: AccountId,
    /// The payment.
    pub payment: Payment,
    /// The refund.
    pub refund: Reversal,
}

/// Refunds a payment to its card, and takes back the credits it bought. The refund has the request's id, so that a
/// later attempt gets the same refund. Where the processor has not answered yet, it is asked further; the credits are
/// already taken back.
///
/// # Errors
///
/// There is no such payment ([`NotFound`](ServiceError::NotFound)), it was not paid
/// ([`Conflict`](ServiceError::Conflict)), less than the amount is left ([`Invalid`](ServiceError::Invalid)), the
/// processor refused, or the refund's end is unknown ([`NotReady`](ServiceError::NotReady)). A repetition with the same
/// origin refunds once.
pub async fn refund(
    service: &Service,
    origin: Origin,
    id: PaymentId,
    amount: Option<Nanos>,
    reason: String,
) -> Result<Refunded, ServiceError> {
    let (account_id, payment) = service.ledger().payment_of_anyone(id).await?.ok_or(MISSING)?;
    let (subject, reason) = (payment.id.to_string(), Some(reason));
    let proof = Act { name: "refund_payment", subject, amount, reason }.proof(origin);
    let order = Refund { account_id, payment_id: payment.id, id: ReversalId(origin.id.0), amount, proof };
    let Given { payment, refund } = service.payments.ask(order, DEADLINE).await??;
    if refund.state == State::Failed && origin.is_done() {
        // An earlier attempt of this request asked for the refund, and the processor refused.
        let message = "the refund was not made".to_owned();
        return Err(NotRefunded::from(CardError::Refused { code: "refund_failed".to_owned(), message }).into());
    }
    Ok(Refunded { account_id, payment, refund })
}

/// Checks that an amount is whole cents, which card networks need.
///
/// # Errors
///
/// The amount is not whole cents, or is less than one ([`Invalid`](ServiceError::Invalid)).
pub fn check_cents(field: &str, amount: Nanos) -> Result<Nanos, ServiceError> {
    match to_cents(amount) {
        Some(cents) if cents > 0 => Ok(amount),
        _ => Err(ServiceError::invalid(field, "must be whole cents, at least one")),
    }
}

/// The beginning of a period of so many days; of all time without a number of days.
pub fn since(now: Timestamp, days: Option<u32>) -> Timestamp {
    days.map_or(Timestamp(0), |days| now.plus_ms(-i64::from(days) * DAY_MS))
}

/// The differences between the ledger's payments, refunds and disputes of so many days and the processor's.
///
/// # Errors
///
/// There are too many payments to compare ([`Invalid`](ServiceError::Invalid)), or the ledger or the processor can't be
/// read.
pub async fn reconcile(service: &Service, days: Option<u32>) -> Result<Reconciled, ServiceError> {
    let since = since(service.now(), days);
    Ok(compare(service.ledger(), service.accounts.processor(), since).await?)
}

/// Applies an event of Stripe, where Stripe is the processor. `signature` is the header `field`, over the whole body.
/// The function returns when all changes are durable. A forged, stale or replayed event is refused and changes nothing.
///
/// # Errors
///
/// Stripe is not the processor ([`NotFound`](ServiceError::NotFound)), the signature or the body is wrong
/// ([`Invalid`](ServiceError::Invalid)), the event was applied before ([`Conflict`](ServiceError::Conflict)), or it
/// can't be applied just now ([`NotReady`](ServiceError::NotReady)). Stripe repeats an
/// event that is answered with an error.
pub async fn apply_stripe_event(
    service: &Service,
    field: &str,
    signature: &str,
    body: &[u8],
) -> Result<Applied, ServiceError> {
    let Processor::Stripe(stripe) = service.accounts.processor() else {
        return Err(ServiceError::NotFound("this path"));
    };
    let signed_at = webhook::verify(stripe.webhook_secret(), signature, body, service.now())
        .map_err(|error| ServiceError::invalid(field, error))?;
    let event = webhook::parse(body, signed_at).map_err(|error| ServiceError::invalid("body", error))?;
    Ok(service.payments.ask(ApplyEvent(event), DEADLINE).await??)
}

/// Whether Stripe is the card processor.
pub fn is_stripe(service: &Service) -> bool {
    match service.accounts.processor() {
        Processor::Stripe(_) => true,
        Processor::Sandbox(_) => false,
    }
}
