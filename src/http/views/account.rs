//! An account, as its owner sees it: plan, tier, automatic purchases, subscription.

use billing::account::{Automatic, FREE_RATE};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::{
    Dollars, Time,
    money::{Balance, Tier},
};
use crate::service::{
    accounts::{self, NextTier},
    automatic,
    subscription::{self, Subscribed},
};

/// An account.
#[derive(Debug, Serialize, ToSchema)]
pub struct Account {
    id: Uuid,
    email: String,
    created_at: Time,
    /// `free` or `payg`.
    plan: &'static str,
    pay_as_you_go: bool,
    /// Since when it admits no requests, because an operator froze it; null where it does.
    #[schema(required)]
    frozen_at: Option<Time>,
    #[schema(required)]
    subscription: Option<Subscription>,
    #[schema(required)]
    free_credits: Option<FreeCredits>,
    balance: Balance,
    tier: Tier,
    /// Dollars bought in the last 28 days.
    purchased: Dollars,
    next_tiers: Vec<TierAbove>,
    /// When the tier falls, and to which tier.
    #[schema(required)]
    tier_falls: Option<TierFall>,
    /// On the free plan: the limit of requests a second to closed models.
    #[schema(required)]
    closed_rate_limit: Option<RateLimit>,
    concurrency: Concurrency,
    auto_reload: AutoReload,
    auto_scale: AutoScale,
}

/// Credits that come with the free plan.
#[derive(Debug, Serialize, ToSchema)]
struct FreeCredits {
    amount: Dollars,
    refreshed_at: Time,
}

/// A tier above the one in force.
#[derive(Debug, Serialize, ToSchema)]
struct TierAbove {
    #[serde(flatten)]
    tier: Tier,
    /// The amount to buy, in dollars.
    buy: Dollars,
}

impl From<NextTier> for TierAbove {
    fn from(next: NextTier) -> Self {
        Self { tier: next.tier.into(), buy: next.buy.into() }
    }
}

/// A fall to another tier.
#[derive(Debug, Serialize, ToSchema)]
struct TierFall {
    at: Time,
    to: Tier,
}

/// A rate limit of requests.
#[derive(Debug, Serialize, ToSchema)]
struct RateLimit {
    requests_per_second: i64,
    burst: i64,
}

/// The use of permits.
#[derive(Debug, Serialize, ToSchema)]
struct Concurrency {
    units: String,
    used: String,
    waiting: usize,
}

impl From<&accounts::Whole> for Account {
    fn from(whole: &accounts::Whole) -> Self {
        let (picture, balance) = (&whole.picture, &whole.picture.balance);
        let set = automatic::Set { automatic: picture.automatic.clone(), now: whole.now };
        Self {
            id: whole.id.0,
            email: whole.email.clone(),
            created_at: whole.created_at.into(),
            plan: picture.header.plan.name(),
            pay_as_you_go: picture.payg,
            frozen_at: picture.header.frozen_at.map(Time::from),
            subscription: whole.subscription.as_ref().map(Subscription::from),
            free_credits: whole
                .free_credits
                .map(|(amount, at)| FreeCredits { amount: amount.into(), refreshed_at: at.into() }),
            balance: balance.into(),
            tier: balance.tier.into(),
            purchased: balance.purchased.into(),
            next_tiers: whole.next_tiers.iter().copied().map(TierAbove::from).collect(),
            tier_falls: picture.fall.map(|fall| TierFall { at: fall.at.into(), to: fall.to.into() }),
            closed_rate_limit: (!picture.payg)
                .then_some(RateLimit { requests_per_second: FREE_RATE, burst: FREE_RATE }),
            concurrency: Concurrency {
                units: balance.tier.units.to_string(),
                used: balance.units_used.to_string(),
                waiting: picture.waiting,
            },
            auto_reload: AutoReload::from(&set),
            auto_scale: AutoScale::from(&set),
        }
    }
}

/// A subscription to the pay-as-you-go plan.
#[derive(Debug, Serialize, ToSchema)]
pub struct Subscription {
    status: &'static str,
    /// The fee of a cycle.
    fee: Dollars,
    /// The credits that come with each cycle.
    credits: Dollars,
    payment_method: String,
    started_at: Time,
    #[schema(required)]
    paid_until: Option<Time>,
    /// Whether the subscription renews at the end of the cycle.
    renews: bool,
    /// When a declined card is charged again.
    #[schema(required)]
    retry_at: Option<Time>,
}

impl From<&Subscribed> for Subscription {
    fn from(subscribed: &Subscribed) -> Self {
        Self {
            status: subscribed.status.name(),
            fee: subscribed.fee.into(),
            credits: subscribed.credits.into(),
            payment_method: subscribed.payment_method.clone(),
            started_at: subscribed.started_at.into(),
            paid_until: Time::of(subscribed.paid_until),
            renews: subscribed.renews,
            retry_at: Time::of(subscribed.retry_at),
        }
    }
}

/// An account's plan, subscription and balance.
#[derive(Debug, Serialize, ToSchema)]
pub struct Standing {
    plan: &'static str,
    #[schema(required)]
    subscription: Option<Subscription>,
    balance: Balance,
}

impl From<&subscription::Standing> for Standing {
    fn from(standing: &subscription::Standing) -> Self {
        let subscription = standing.subscription.as_ref().map(Subscription::from);
        Self { plan: standing.plan.name(), subscription, balance: (&standing.balance).into() }
    }
}

/// Auto-reload: buys credits when the balance is low.
#[derive(Debug, Serialize, ToSchema)]
pub struct AutoReload {
    enabled: bool,
    /// The balance below which credits are bought.
    threshold: Dollars,
    /// The amount to buy.
    amount: Dollars,
    /// The most to spend in a month.
    monthly_max: Dollars,
    #[schema(required)]
    payment_method: Option<String>,
    spent_this_month: Dollars,
    /// Declined charges in a row.
    failures: u32,
    #[schema(required)]
    retry_at: Option<Time>,
    /// Whether the month's maximum is spent.
    capped: bool,
    /// When a dispute paused auto-reload.
    #[schema(required)]
    paused_at: Option<Time>,
}

/// `autoScale`: buys credits for a tier that lets more requests run at once.
#[derive(Debug, Serialize, ToSchema)]
pub struct AutoScale {
    enabled: bool,
    /// The most to spend on all automatic purchases in a month.
    max_monthly_spend: Dollars,
    spent_this_month: Dollars,
    #[schema(required)]
    paused_at: Option<Time>,
}

impl From<&automatic::Set> for AutoReload {
    fn from(set: &automatic::Set) -> Self {
        let Automatic { settings, state, window } = set.automatic.clone().unwrap_or_default();
        Self {
            enabled: settings.reload.is_on(),
            threshold: settings.threshold.into(),
            amount: settings.amount.into(),
            monthly_max: settings.monthly_max.into(),
            payment_method: settings.method,
            spent_this_month: window.at(set.now).reloads().into(),
            failures: state.failures,
            retry_at: Time::of(state.retry_at),
            capped: state.full_month == Some(set.now.month()),
            paused_at: Time::of(state.paused_at),
        }
    }
}

impl From<&automatic::Set> for AutoScale {
    fn from(set: &automatic::Set) -> Self {
        let Automatic { settings, state, window } = set.automatic.clone().unwrap_or_default();
        Self {
            enabled: settings.scale.is_on(),
            max_monthly_spend: settings.monthly_spend.into(),
            spent_this_month: window.at(set.now).all().into(),
            paused_at: Time::of(state.paused_at),
        }
    }
}
