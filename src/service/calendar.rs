//! An account's calendar: when its credits expire, and when its plan renews or ends. It is read by an address with a token, which is
//! made here and shown once; whoever has it reads the calendar and nothing else.

use actors::account::Look;
use billing::{
    Nanos, Timestamp,
    ids::{AccountId, GrantId},
    plan::Plan,
    subscription::{AtEnd, FEE},
};

use super::{
    Service, ServiceError, credits,
    page::{LARGEST, Page},
    people::{new_token, token_hash},
};

/// The pages of grants that are looked through, newest first: the credits of most last four weeks.
const PAGES: usize = 10;

/// Something that happens at a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// When it happens.
    pub at: Timestamp,
    /// What it is.
    pub what: What,
}

/// What happens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// Credits expire.
    Expires {
        /// The grant that they are of.
        grant: GrantId,
        /// How many there are now.
        amount: Nanos,
        /// Where they are from: `purchase`.
        source: &'static str,
    },
    /// The plan is renewed.
    Renews {
        /// What it costs.
        fee: Nanos,
    },
    /// The plan ends.
    Ends,
}

/// A calendar.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Calendar {
    /// The account.
    pub account: AccountId,
    /// When the account last changed, and so the latest that anything here did.
    pub changed_at: Timestamp,
    /// What happens, the soonest first.
    pub entries: Vec<Entry>,
}

/// Makes an address of an account's calendar. One that it had is good no more.
///
/// # Errors
///
/// The ledger can't be written just now.
pub async fn share(service: &Service, account: AccountId) -> Result<String, ServiceError> {
    let token = new_token();
    service.ledger().set_calendar(account, &token_hash(&token), service.now()).await?;
    Ok(service.people.at(&format!("/v1/calendar.ics?token={token}")))
}

/// Takes the address of an account's calendar back. Returns whether it had one.
///
/// # Errors
///
/// The ledger can't be written just now.
pub async fn withdraw(service: &Service, account: AccountId) -> Result<bool, ServiceError> {
    Ok(service.ledger().end_calendar(account).await?)
}

/// Since when an account's calendar has its address; none where it has none.
///
/// # Errors
///
/// The ledger can't be read just now.
pub async fn shared_since(service: &Service, account: AccountId) -> Result<Option<Timestamp>, ServiceError> {
    Ok(service.ledger().calendar_since(account).await?)
}

/// The calendar whose address has this token.
///
/// # Errors
///
/// There is none ([`NotFound`](ServiceError::NotFound)), or the account can't be asked just now.
pub async fn read(service: &Service, token: &str) -> Result<Calendar, ServiceError> {
    let found = service.ledger().calendar_of(&token_hash(token)).await?;
    let account =
        found.ok_or(ServiceError::NotFound("this calendar: its address was taken back, or never was one, and"))?;
    let picture = service.accounts.ask(account, Look).await?;
    let mut entries = expiries(service, account).await?;
    if let Some(at) = picture.header.subscribed_until.filter(|at| *at > service.now()) {
        let renews = picture.header.plan == Plan::Payg
            && picture.subscription.is_some_and(|subscription| subscription.at_end == AtEnd::Renew);
        entries.push(Entry { at, what: if renews { What::Renews { fee: FEE } } else { What::Ends } });
    }
    entries.sort_by_key(|entry| entry.at);
    Ok(Calendar { account, changed_at: picture.header.clock, entries })
}

async fn expiries(service: &Service, account: AccountId) -> Result<Vec<Entry>, ServiceError> {
    let (now, mut page, mut entries) = (service.now(), Page { before: None, limit: LARGEST }, Vec::new());
    for _ in 0..PAGES {
        let found = credits::grants(service, account, page).await?;
        let lasting = found.rows.iter().filter(|grant| grant.expires_at > now);
        entries.extend(lasting.filter(|grant| (grant.available + grant.held).is_positive()).map(|grant| Entry {
            at: grant.expires_at,
            what: What::Expires { grant: grant.id, amount: grant.available + grant.held, source: grant.source.name() },
        }));
        match found.next {
            Some(next) => page.before = Some(next),
            None => break,
        }
    }
    Ok(entries)
}
