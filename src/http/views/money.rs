//! Balances, tiers and grants.

use billing::{account, class::SizeClass, grant, tier};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::{Dollars, Time};

/// An account's balance.
#[derive(Debug, Serialize, ToSchema)]
pub struct Balance {
    /// The spendable credits.
    available: Dollars,
    /// The credits held for running requests.
    held: Dollars,
    /// The debt, which is paid from the next credits.
    debt: Dollars,
    currency: &'static str,
    tier: BalanceTier,
    /// The credits that expire next, and when.
    #[schema(required)]
    next_expiry: Option<Expiry>,
}

/// The tier in force, and its permissions.
#[derive(Debug, Serialize, ToSchema)]
struct BalanceTier {
    /// Dollars bought in the last 28 days.
    purchased: Dollars,
    /// The purchases from which on this tier applies.
    from: Dollars,
    /// The largest class of open models that may run.
    largest_class: &'static str,
    /// The number of permits: how much may run at once.
    units: String,
    /// The permits in use.
    units_used: String,
    /// The size classes that may run.
    unlocked: Vec<&'static str>,
}

/// Credits that expire.
#[derive(Debug, Serialize, ToSchema)]
struct Expiry {
    at: Time,
    amount: Dollars,
}

impl From<&account::Balance> for Balance {
    fn from(balance: &account::Balance) -> Self {
        Self {
            available: balance.available.into(),
            held: balance.held.into(),
            debt: balance.debt.into(),
            currency: "USD",
            tier: BalanceTier {
                purchased: balance.purchased.into(),
                from: balance.tier.purchased.into(),
                largest_class: balance.tier.largest.name(),
                units: balance.tier.units.to_string(),
                units_used: balance.units_used.to_string(),
                unlocked: balance.tier.unlocked().map(SizeClass::name).collect(),
            },
            next_expiry: balance.next_expiry.map(|(at, amount)| Expiry { at: at.into(), amount: amount.into() }),
        }
    }
}

/// A tier: its price and its permissions.
#[derive(Debug, Serialize, ToSchema)]
pub struct Tier {
    /// Dollars bought in 28 days from which on this tier applies.
    from: Dollars,
    largest_class: &'static str,
    units: String,
    unlocked: Vec<&'static str>,
}

impl From<tier::Tier> for Tier {
    fn from(tier: tier::Tier) -> Self {
        Self {
            from: tier.purchased.into(),
            largest_class: tier.largest.name(),
            units: tier.units.to_string(),
            unlocked: tier.unlocked().map(SizeClass::name).collect(),
        }
    }
}

/// A grant of credits.
#[derive(Debug, Serialize, ToSchema)]
pub struct Grant {
    id: Uuid,
    /// The kind of the credits.
    source: &'static str,
    created_at: Time,
    expires_at: Time,
    /// The original amount.
    amount: Dollars,
    available: Dollars,
    held: Dollars,
    spent: Dollars,
    expired: Dollars,
    voided: Dollars,
}

impl From<grant::Grant> for Grant {
    fn from(grant: grant::Grant) -> Self {
        Self {
            id: grant.id.0,
            source: grant.source.name(),
            created_at: grant.created_at.into(),
            expires_at: grant.expires_at.into(),
            amount: grant.funded.into(),
            available: grant.available.into(),
            held: grant.held.into(),
            spent: grant.spent.into(),
            expired: grant.expired.into(),
            voided: grant.voided.into(),
        }
    }
}
