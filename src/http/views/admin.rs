//! Operators' views: found accounts, one account with details, operators' actions, credits given and taken back.

use billing::{Nanos, account::Balance as AccountBalance};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::{Dollars, Time, account::Account, keys::Key, money::Balance};
use crate::service::accounts::{self, Freezing};

/// A created account.
#[derive(Debug, Serialize, ToSchema)]
pub struct NewAccount {
    /// The account's id.
    pub id: Uuid,
    /// The owner's email address, in its canonical spelling.
    pub email: String,
    /// The account's plan.
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
    /// Whether an older account has the same address in another spelling.
    twin: bool,
    /// Since when it admits no requests; null where it does.
    #[schema(required)]
    frozen_at: Option<Time>,
}

impl From<accounts::Found> for FoundAccount {
    fn from(found: accounts::Found) -> Self {
        let accounts::Found { id, email, plan, created_at, available, debt, twin, frozen_at } = found;
        let (available, debt, frozen_at) = (available.into(), debt.into(), frozen_at.map(Time::from));
        Self { id: id.0, email, plan, created_at: created_at.into(), available, debt, twin, frozen_at }
    }
}

/// An action of an operator.
#[derive(Debug, Serialize, ToSchema)]
#[expect(clippy::struct_field_names, reason = "as clients read them")]
pub struct Action {
    /// The id of the request that carried it out.
    id: Uuid,
    at: Time,
    #[schema(required)]
    account_id: Option<Uuid>,
    /// The action's name, such as `void_grant`.
    action: String,
    /// The object that was changed.
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

/// An account, as an operator sees it.
#[derive(Debug, Serialize, ToSchema)]
pub struct OperatedAccount {
    #[serde(flatten)]
    account: Account,
    payg: bool,
    open_holds: usize,
    /// The newest keys.
    keys: Vec<Key>,
    /// The `cursor` of the page of `/admin/v1/accounts/{account}/keys` that goes on behind these keys; null where they are all.
    #[schema(required)]
    keys_cursor: Option<Uuid>,
    /// Whether an older account has the same address in another spelling.
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
            keys_cursor: keys.next,
            keys: keys.rows.into_iter().map(Key::from).collect(),
            twin,
            last_actions: last_actions.into_iter().map(Action::from).collect(),
        }
    }
}

/// An account that was frozen or unfrozen.
#[derive(Debug, Serialize, ToSchema)]
pub struct FrozenAccount {
    id: Uuid,
    /// Whether it admits no requests now.
    frozen: bool,
    balance: Balance,
}

impl FrozenAccount {
    /// What was done to this account, and its balance after that.
    pub fn of(id: Uuid, freezing: Freezing, balance: &AccountBalance) -> Self {
        Self { id, frozen: freezing == Freezing::Freeze, balance: balance.into() }
    }
}

/// Given credits.
#[derive(Debug, Serialize, ToSchema)]
pub struct GivenGrant {
    id: Uuid,
    source: &'static str,
    amount: Dollars,
    balance: Balance,
}

impl GivenGrant {
    /// The view of this grant, and of the balance after it.
    pub fn of(id: Uuid, source: &'static str, amount: Nanos, balance: &AccountBalance) -> Self {
        Self { id, source, amount: amount.into(), balance: balance.into() }
    }
}

/// A grant from which credits were taken back.
#[derive(Debug, Serialize, ToSchema)]
pub struct VoidedGrant {
    id: Uuid,
    voided: bool,
    balance: Balance,
}

impl VoidedGrant {
    /// The view of this grant, and of the balance after it.
    pub fn of(id: Uuid, balance: &AccountBalance) -> Self {
        Self { id, voided: true, balance: balance.into() }
    }
}
