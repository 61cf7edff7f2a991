//! What operators read: accounts they find, one of them whole, what operators did, credits given and taken back.

use billing::{Nanos, account::Balance as AccountBalance};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::{Dollars, Time, account::Account, keys::Key, money::Balance};
use crate::service::accounts;

/// An account that was made.
#[derive(Debug, Serialize, ToSchema)]
pub struct NewAccount {
    /// Its id.
    pub id: Uuid,
    /// Its owner's address, as it is spelled here.
    pub email: String,
    /// Its plan.
    pub plan: &'static str,
}

/// An account in a list.
#[derive(Debug, Serialize, ToSchema)]
pub struct FoundAccount {
    id: Uuid,
    email: String,
    plan: String,
    created_at: Time,
    available: Dollars,
    debt: Dollars,
    /// Whether an older account has its address, written otherwise.
    twin: bool,
}

impl From<accounts::Found> for FoundAccount {
    fn from(found: accounts::Found) -> Self {
        let accounts::Found { id, email, plan, created_at, available, debt, twin } = found;
        let (available, debt) = (available.into(), debt.into());
        Self { id: id.0, email, plan, created_at: created_at.into(), available, debt, twin }
    }
}

/// What an operator did.
#[derive(Debug, Serialize, ToSchema)]
#[expect(clippy::struct_field_names, reason = "as clients read them")]
pub struct Action {
    /// The request that asked for it.
    id: Uuid,
    at: Time,
    #[schema(required)]
    account_id: Option<Uuid>,
    /// What: `void_grant`.
    action: String,
    /// To what.
    subject: String,
    #[schema(required)]
    amount: Option<Dollars>,
    reason: String,
}

impl From<accounts::Action> for Action {
    fn from(action: accounts::Action) -> Self {
        let accounts::Action { id, at, account_id, action, subject, amount, reason } = action;
        let (account_id, amount) = (account_id.map(|id| id.0), amount.map(Dollars::from));
        Self { id: id.0, at: at.into(), account_id, action, subject, amount, reason }
    }
}

/// An account as an operator reads it.
#[derive(Debug, Serialize, ToSchema)]
pub struct OperatedAccount {
    #[serde(flatten)]
    account: Account,
    payg: bool,
    open_holds: usize,
    keys: Vec<Key>,
    /// Whether an older account has its address, written otherwise.
    twin: bool,
    last_actions: Vec<Action>,
}

impl From<accounts::Operated> for OperatedAccount {
    fn from(operated: accounts::Operated) -> Self {
        let accounts::Operated { whole, keys, twin, last_actions } = operated;
        Self {
            account: Account::from(&whole),
            payg: whole.picture.payg,
            open_holds: whole.picture.holds.len(),
            keys: keys.into_iter().map(Key::from).collect(),
            twin,
            last_actions: last_actions.into_iter().map(Action::from).collect(),
        }
    }
}

/// Credits that were given.
#[derive(Debug, Serialize, ToSchema)]
pub struct GivenGrant {
    id: Uuid,
    source: &'static str,
    amount: Dollars,
    balance: Balance,
}

impl GivenGrant {
    /// This grant, and what the account has then.
    pub fn of(id: Uuid, source: &'static str, amount: Nanos, balance: &AccountBalance) -> Self {
        Self { id, source, amount: amount.into(), balance: balance.into() }
    }
}

/// A grant of which something was taken back.
#[derive(Debug, Serialize, ToSchema)]
pub struct VoidedGrant {
    id: Uuid,
    voided: bool,
    balance: Balance,
}

impl VoidedGrant {
    /// This grant, and what the account has then.
    pub fn of(id: Uuid, balance: &AccountBalance) -> Self {
        Self { id, voided: true, balance: balance.into() }
    }
}
