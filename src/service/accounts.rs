//! Accounts: creating, finding and showing them; and operators' actions on them. Email addresses are stored in their
//! canonical spelling, so that one address has one account.

use actors::account::{AccountError, Look, Open, Picture};
use billing::{
    Nanos, Timestamp,
    account::Balance,
    command::Command,
    ids::{AccountId, RequestId},
    plan::Plan,
    tier::{TIERS, Tier},
    time::FOUR_WEEKS_MS,
};
use ledger::accounts::{AccountRow, ActionRow, Search};
use uuid::Uuid;

use super::{
    Service, ServiceError,
    acts::{Act, Origin, carry_out},
    keys::{self, Key},
    page::{LARGEST, Listed, Page},
    subscription::Subscribed,
};
use crate::email;

/// The number of latest operators' actions shown with an account.
const LAST_ACTIONS: u64 = 5;

/// Whether an account is frozen or unfrozen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Freezing {
    /// It admits no requests from now on.
    Freeze,
    /// It admits requests again.
    Unfreeze,
}

/// The canonical spelling of an email address.
///
/// # Errors
///
/// The text is not an e-mail address ([`Invalid`](ServiceError::Invalid)).
pub fn address(text: &str) -> Result<String, ServiceError> {
    email::canonical(text).map_err(|fault| ServiceError::invalid("email", fault))
}

/// Creates an account with its plan's first credits. The address must be in its canonical spelling.
///
/// # Errors
///
/// The address belongs to another account ([`Conflict`](ServiceError::Conflict)), or the ledger can't be reached
/// ([`NotReady`](ServiceError::NotReady)). After the latter, a repetition with the same id is safe.
pub async fn open(service: &Service, id: AccountId, email: &str, plan: Plan) -> Result<(), ServiceError> {
    let accounts = &service.accounts;
    let is_taken = async || {
        let found = accounts.ledger().account_by_email(email).await?;
        Ok::<_, ServiceError>(found.is_some_and(|found| found.id != id))
    };
    let taken = || ServiceError::conflict("that email address is taken already");
    if is_taken().await? {
        return Err(taken());
    }
    match accounts.ask(id, Open { email: email.to_owned(), plan }).await {
        Ok(answer) => answer.result.map(drop).map_err(ServiceError::from),
        // The account was not written, or its state is unknown.
        Err(error @ AccountError::Unavailable(_)) => match accounts.ledger().account(id).await? {
            Some(_) => Ok(()),
            None if is_taken().await? => Err(taken()),
            None => Err(error.into()),
        },
        Err(error) => Err(error.into()),
    }
}

/// Creates an account for a request, under the request's id. The account's row, plan and first credits are one
/// transaction, so the row proves that the request was carried out.
///
/// # Errors
///
/// As for [`open`].
pub async fn create(service: &Service, origin: Origin, email: &str, plan: Plan) -> Result<AccountId, ServiceError> {
    let id = AccountId(origin.id.0);
    if !origin.is_done() {
        open(service, id, email, plan).await?;
    }
    Ok(id)
}

/// Has an account admit no more requests, or admit them again. What runs goes on. Returns the balance afterwards.
///
/// # Errors
///
/// It is so already ([`Refused`](ServiceError::Refused)), there is no such account ([`NotFound`](ServiceError::NotFound)), or
/// it can't be asked just now ([`NotReady`](ServiceError::NotReady)). A repetition with the same origin changes nothing more.
pub async fn set_frozen(
    service: &Service,
    origin: Origin,
    account: AccountId,
    freezing: Freezing,
    reason: String,
) -> Result<Balance, ServiceError> {
    let (name, command) = match freezing {
        Freezing::Freeze => ("freeze", Command::Freeze),
        Freezing::Unfreeze => ("unfreeze", Command::Unfreeze),
    };
    let act = Act { name, subject: account.to_string(), amount: None, reason: Some(reason) };
    carry_out(service, origin, account, act, command).await
}

/// Whether an account admits no requests.
///
/// # Errors
///
/// There is no such account ([`NotFound`](ServiceError::NotFound)), or it can't be asked just now
/// ([`NotReady`](ServiceError::NotReady)).
pub async fn is_frozen(service: &Service, account: AccountId) -> Result<bool, ServiceError> {
    let Picture { header, .. } = service.accounts.ask(account, Look).await?;
    Ok(header.frozen_at.is_some())
}

/// The account with this email address, in its canonical spelling.
///
/// # Errors
///
/// The ledger can't be read just now ([`NotReady`](ServiceError::NotReady)); try again.
pub async fn by_address(service: &Service, email: &str) -> Result<Option<AccountId>, ServiceError> {
    Ok(service.ledger().account_by_email(email).await?.map(|found| found.id))
}

/// The account with this id or email address.
///
/// # Errors
///
/// The text is neither an id nor an address ([`Invalid`](ServiceError::Invalid)), there is no such account
/// ([`NotFound`](ServiceError::NotFound)), or the ledger can't be read.
pub async fn named(service: &Service, text: &str) -> Result<AccountId, ServiceError> {
    let ledger = service.ledger();
    let found = if text.contains('@') {
        let address = email::canonical(text).map_err(|fault| ServiceError::invalid("account", fault))?;
        ledger.account_by_email(&address).await?
    } else {
        let rule = "must be an account's id, or its owner's address";
        let id = Uuid::parse_str(text).map_err(|_| ServiceError::invalid("account", rule))?;
        ledger.account(AccountId(id)).await?
    };
    found.map(|found| found.id).ok_or(ServiceError::NotFound("the account"))
}

/// An account in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The account's id.
    pub id: AccountId,
    /// The owner's email address.
    pub email: String,
    /// The plan's name, such as `free`.
    pub plan: String,
    /// When the account was created.
    pub created_at: Timestamp,
    /// The spendable credits when the account was last written.
    pub available: Nanos,
    /// The account's debt.
    pub debt: Nanos,
    /// Whether an older account has the same address in another spelling.
    pub twin: bool,
    /// Since when it admits no requests; `None` where it does.
    pub frozen_at: Option<Timestamp>,
}

impl From<AccountRow> for Found {
    fn from(row: AccountRow) -> Self {
        let AccountRow { id, email, plan, created_at, available, debt, twin, frozen_at } = row;
        Self { id: AccountId(id), email, plan, created_at, available, debt, twin, frozen_at }
    }
}

/// Accounts, newest first, that have this text in their address and this plan.
///
/// # Errors
///
/// The ledger can't be read just now ([`NotReady`](ServiceError::NotReady)); try again.
pub async fn search(
    service: &Service,
    text: Option<&str>,
    plan: Option<Plan>,
    page: Page,
) -> Result<Listed<Found>, ServiceError> {
    let search = Search { text: text.map(|text| text.trim().to_lowercase()), plan };
    let rows = service.ledger().accounts(&search, page.before, page.limit, service.now()).await?;
    Ok(page.list(rows, |row| row.id).map(Found::from))
}

/// An action of an operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Action {
    /// The id of the request that carried it out.
    pub id: RequestId,
    /// When it was carried out.
    pub at: Timestamp,
    /// The account that was changed.
    pub account_id: Option<AccountId>,
    /// The action's name, such as `void_grant`.
    pub action: String,
    /// The object that was changed.
    pub subject: String,
    /// The amount, if the action has one.
    pub amount: Option<Nanos>,
    /// The operator's reason.
    pub reason: String,
}

impl From<ActionRow> for Action {
    fn from(row: ActionRow) -> Self {
        let ActionRow { id, at, account_id, action, subject, amount, reason } = row;
        Self { id: RequestId(id), at, account_id: account_id.map(AccountId), action, subject, amount, reason }
    }
}

/// Operators' actions on one account or on all, newest first.
///
/// # Errors
///
/// The ledger can't be read just now ([`NotReady`](ServiceError::NotReady)); try again.
pub async fn actions(
    service: &Service,
    account: Option<AccountId>,
    page: Page,
) -> Result<Listed<Action>, ServiceError> {
    let rows = service.ledger().actions(account, page.before, page.limit).await?;
    Ok(page.list(rows, |row| row.id).map(Action::from))
}

/// A tier above the one in force, and the purchase that reaches it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NextTier {
    /// The tier.
    pub tier: Tier,
    /// The amount to buy.
    pub buy: Nanos,
}

/// An account, as its owner sees it.
#[derive(Debug, Clone)]
pub struct Whole {
    /// The account's id.
    pub id: AccountId,
    /// The owner's email address.
    pub email: String,
    /// When the account was created.
    pub created_at: Timestamp,
    /// The account's current state.
    pub picture: Picture,
    /// The subscription, if there ever was one.
    pub subscription: Option<Subscribed>,
    /// On the free plan: the credits of a cycle, and when the next cycle begins.
    pub free_credits: Option<(Nanos, Timestamp)>,
    /// The tiers above the account's.
    pub next_tiers: Vec<NextTier>,
    /// The time of this answer.
    pub now: Timestamp,
}

/// An account, as its owner and the operator see it.
///
/// # Errors
///
/// There is no such account ([`NotFound`](ServiceError::NotFound)), its mailbox is full
/// ([`Overloaded`](ServiceError::Overloaded)), or the ledger can't be reached ([`NotReady`](ServiceError::NotReady)).
/// The last two pass; try again.
pub async fn whole(service: &Service, account: AccountId) -> Result<Whole, ServiceError> {
    let picture: Picture = service.accounts.ask(account, Look).await?;
    let stored = service.ledger().account(account).await?;
    let stored = stored.ok_or(ServiceError::NotFound("the account"))?;
    let now = service.now();
    let cycles = now.ms_since(stored.created_at) / FOUR_WEEKS_MS + 1;
    let refreshed_at = stored.created_at.plus_ms(cycles * FOUR_WEEKS_MS);
    let is_free = picture.header.plan == Plan::Free;
    let balance = &picture.balance;
    let above = TIERS.into_iter().filter(|tier| tier.purchased > balance.tier.purchased);
    Ok(Whole {
        id: stored.id,
        email: stored.email,
        created_at: stored.created_at,
        subscription: Subscribed::of(&picture),
        free_credits: is_free.then(|| (Plan::Free.credits(), refreshed_at)),
        next_tiers: above.map(|tier| NextTier { tier, buy: tier.to_buy(balance.purchased) }).collect(),
        picture,
        now,
    })
}

/// An account, as an operator sees it.
#[derive(Debug, Clone)]
pub struct Operated {
    /// The owner's view.
    pub whole: Whole,
    /// The account's newest keys.
    pub keys: Listed<Key>,
    /// Whether an older account has the same address in another spelling.
    pub twin: bool,
    /// The latest operators' actions on the account.
    pub last_actions: Vec<Action>,
}

/// An account with its newest keys and the latest operators' actions.
///
/// # Errors
///
/// As for [`whole`].
pub async fn operated(service: &Service, account: AccountId) -> Result<Operated, ServiceError> {
    let whole = whole(service, account).await?;
    let ledger = service.ledger();
    let keys = keys::of(service, account, &whole.picture, Page { before: None, limit: LARGEST }).await?;
    let twin = ledger.twins().await?.iter().any(|(twin, _)| *twin == account);
    let last_actions = ledger.actions(Some(account), None, LAST_ACTIONS).await?;
    Ok(Operated { whole, keys, twin, last_actions: last_actions.into_iter().map(Action::from).collect() })
}
