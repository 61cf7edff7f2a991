//! The pay-as-you-go plan: subscribed to, cancelled, resumed, looked at.

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

/// A subscription as its owner reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscribed {
    /// How it stands.
    pub status: Status,
    /// What a cycle costs.
    pub fee: Nanos,
    /// The credits that come with each.
    pub credits: Nanos,
    /// The card that is charged.
    pub payment_method: String,
    /// When it was begun.
    pub started_at: Timestamp,
    /// Until when it is paid.
    pub paid_until: Option<Timestamp>,
    /// Whether another cycle is paid when this one ends.
    pub renews: bool,
    /// When a declined card is tried again.
    pub retry_at: Option<Timestamp>,
}

impl Subscribed {
    /// The subscription of an account, if it ever had one.
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

/// An account's plan, and what it has.
#[derive(Debug, Clone)]
pub struct Standing {
    /// The plan.
    pub plan: Plan,
    /// The subscription, if there ever was one.
    pub subscription: Option<Subscribed>,
    /// What the account has.
    pub balance: Balance,
}

/// How an account's subscription stands.
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

/// What came of subscribing.
#[derive(Debug, Clone)]
pub enum Outcome {
    /// It is subscribed.
    Stands(Box<Standing>),
    /// The first payment goes on by itself.
    Pending(Box<Purchase>),
}

/// Pays the first cycle, or lets a cancelled one go on.
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
) -> Result<Outcome, ServiceError> {
    if !origin.is_done() {
        let picture = service.accounts.ask(account, Look).await?;
        let is_cancelled = |it: &Subscription| it.status == Status::Active && it.at_end == AtEnd::Cancel;
        if picture.subscription.as_ref().is_some_and(is_cancelled) {
            let act = Act { name: "resume_subscription", subject: String::new(), amount: None, reason: None };
            carry_out(service, origin, account, act, Command::ResumeSubscription).await?;
        } else {
            let bought = pay(service, origin, account, card).await?;
            if bought.is_pending() {
                return Ok(Outcome::Pending(Box::new(bought)));
            }
        }
    }
    Ok(Outcome::Stands(Box::new(standing(service, account).await?)))
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

/// Cancels: what is paid stays; nothing more is.
///
/// # Errors
///
/// There is no subscription to cancel ([`Refused`](ServiceError::Refused)), or the account can't be asked just now.
pub async fn cancel(service: &Service, account: AccountId) -> Result<Standing, ServiceError> {
    service.accounts.decide(account, Command::CancelSubscription).await?.result?;
    standing(service, account).await
}
