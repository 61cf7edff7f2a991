//! The subscription to the pay-as-you-go plan: subscribing, cancelling, resuming, and its state.

use actors::account::{Look, Picture};
use billing::{
    Nanos, Timestamp,
    account::Balance,
    command::Command,
    ids::{AccountId, PaymentId},
    payment::{Payment, Purpose},
    plan::Plan,
    subscription::{AtEnd, FEE, Status, Subscription},
};

use super::{
    Service, ServiceError,
    acts::{Act, Origin, carry_out},
    cards,
    purchases::{self, Purchase},
};

/// A subscription, as its owner sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscribed {
    /// The status.
    pub status: Status,
    /// The fee of a cycle.
    pub fee: Nanos,
    /// The credits that come with each cycle.
    pub credits: Nanos,
    /// The card to charge.
    pub payment_method: String,
    /// When the subscription began.
    pub started_at: Timestamp,
    /// The end of the paid cycle.
    pub paid_until: Option<Timestamp>,
    /// Whether the subscription renews at the end of the cycle.
    pub renews: bool,
    /// When a declined card is charged again.
    pub retry_at: Option<Timestamp>,
}

impl Subscribed {
    /// An account's subscription, if there ever was one.
    pub(super) fn of(picture: &Picture) -> Option<Self> {
        let Subscription { status, at_end, method, started_at, retry_at, .. } = picture.subscription.clone()?;
        Some(Self {
            renews: status == Status::Active && at_end == AtEnd::Renew,
            status,
            fee: FEE,
            credits: Plan::Payg.credits(),
            payment_method: method,
            started_at,
            paid_until: picture.header.subscribed_until,
            retry_at,
        })
    }
}

/// An account's plan and balance.
#[derive(Debug, Clone)]
pub struct Standing {
    /// The plan.
    pub plan: Plan,
    /// The subscription, if there ever was one.
    pub subscription: Option<Subscribed>,
    /// The account's balance.
    pub balance: Balance,
}

/// An account's plan, subscription and balance.
///
/// # Errors
///
/// There is no such account ([`NotFound`](ServiceError::NotFound)), its mailbox is full
/// ([`Overloaded`](ServiceError::Overloaded)), or the ledger can't be reached ([`NotReady`](ServiceError::NotReady)).
/// The last two pass; try again.
pub async fn standing(service: &Service, account: AccountId) -> Result<Standing, ServiceError> {
    let picture = service.accounts.ask(account, Look).await?;
    let subscription = Subscribed::of(&picture);
    Ok(Standing { plan: picture.header.plan, subscription, balance: picture.balance })
}

/// The result of subscribing.
#[derive(Debug, Clone)]
pub enum SubscribeOutcome {
    /// The account is subscribed.
    Stands(Box<Standing>),
    /// The first payment is pending, and goes on by itself.
    Pending(Box<Purchase>),
}

/// Pays the first cycle, or resumes a cancelled subscription.
///
/// # Errors
///
/// The card is unknown or missing ([`Invalid`](ServiceError::Invalid)), the card was declined
/// ([`Declined`](ServiceError::Declined)), the account refuses ([`Refused`](ServiceError::Refused)), for example
/// because it is subscribed, or it can't be asked just now. A repetition with the same origin charges once.
pub async fn subscribe(
    service: &Service,
    origin: Origin,
    account: AccountId,
    card: Option<&str>,
) -> Result<SubscribeOutcome, ServiceError> {
    if !origin.is_done() {
        let picture = service.accounts.ask(account, Look).await?;
        let is_cancelled = |it: &Subscription| it.status == Status::Active && it.at_end == AtEnd::Cancel;
        if picture.subscription.as_ref().is_some_and(is_cancelled) {
            let act = Act { name: "resume_subscription", subject: String::new(), amount: None, reason: None };
            carry_out(service, origin, account, act, Command::ResumeSubscription).await?;
        } else {
            let bought = pay(service, origin, account, card).await?;
            if bought.is_pending() {
                return Ok(SubscribeOutcome::Pending(Box::new(bought)));
            }
        }
    }
    Ok(SubscribeOutcome::Stands(Box::new(standing(service, account).await?)))
}

/// Pays the first cycle.
async fn pay(
    service: &Service,
    origin: Origin,
    account: AccountId,
    card: Option<&str>,
) -> Result<Purchase, ServiceError> {
    let method = cards::followed_card(service, account, card).await?;
    if card.is_some() {
        cards::choose_again(service, account, &method).await?;
    }
    let id = PaymentId(origin.id.0);
    purchases::buy(service, account, Payment::new(id, Purpose::Subscription, FEE, method, service.now())).await
}

/// Cancels the subscription at the end of its paid cycle. Returns how it stands, and whether it was not cancelled before.
///
/// # Errors
///
/// There is no subscription to cancel ([`Refused`](ServiceError::Refused)), or the account can't be asked just now.
pub async fn cancel(service: &Service, account: AccountId) -> Result<(Standing, bool), ServiceError> {
    let before: Picture = service.accounts.ask(account, Look).await?;
    service.accounts.decide(account, Command::CancelSubscription).await?.result?;
    let after: Picture = service.accounts.ask(account, Look).await?;
    let is_changed = before.subscription != after.subscription;
    let subscription = Subscribed::of(&after);
    Ok((Standing { plan: after.header.plan, subscription, balance: after.balance }, is_changed))
}
