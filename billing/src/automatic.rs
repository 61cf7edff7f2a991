//! What happens by itself as credits or permits run out: auto-reload, autoScale, the monthly maximum of both (design, chapter
//! 2.8), and alerts.

use serde::{Deserialize, Serialize};

use crate::{
    alert,
    nanos::Nanos,
    payment::{Purpose, SMALLEST},
    time::{HOUR_MS, Month, Timestamp},
};

/// The waits before the next attempt after a declined automatic purchase, in milliseconds. A decline after the last
/// wait turns automatic purchases off.
pub const RETRIES_MS: [i64; 3] = [HOUR_MS, 6 * HOUR_MS, 24 * HOUR_MS];

/// The largest monthly maximum or amount: $1 million.
const LARGEST: Nanos = Nanos::dollars(1_000_000);

/// An account's settings for automatic purchases.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AutoSettings {
    /// Whether credits are bought when they run low.
    pub reload: Switch,
    /// Credits are bought when less than this amount is available.
    pub threshold: Nanos,
    /// The amount of one purchase.
    pub amount: Nanos,
    /// The most auto-reload may spend in a month.
    pub monthly_max: Nanos,
    /// Whether permits are bought for requests that do not specify it.
    pub scale: Switch,
    /// The most all automatic purchases together may spend in a month.
    pub monthly_spend: Nanos,
    /// The card, by the processor's id. `None`: the account's default card.
    pub method: Option<String>,
    /// The balances below which the owner is told. `None`: the usual one.
    pub alerts: Option<Vec<Nanos>>,
}

/// A change of the settings. Missing fields stay unchanged. The account applies the change to its current settings, so
/// that two concurrent changes never undo each other.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AutoChange {
    /// Whether credits are bought when they run low.
    pub reload: Option<Switch>,
    /// See [`AutoSettings::threshold`].
    pub threshold: Option<Nanos>,
    /// See [`AutoSettings::amount`].
    pub amount: Option<Nanos>,
    /// See [`AutoSettings::monthly_max`].
    pub monthly_max: Option<Nanos>,
    /// Whether permits are bought for requests that do not specify it.
    pub scale: Option<Switch>,
    /// See [`AutoSettings::monthly_spend`].
    pub monthly_spend: Option<Nanos>,
    /// The card.
    pub method: Option<MethodChange>,
    /// The balances below which the owner is told.
    pub alerts: Option<AlertChange>,
}

/// A change of the balances below which an account's owner is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum AlertChange {
    /// These from now on; none of them: never.
    To(Vec<Nanos>),
    /// The usual one.
    ToUsual,
}

/// A change of the card that automatic purchases are charged to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum MethodChange {
    /// This card from now on.
    To(String),
    /// This card, unless one is set already.
    AtFirst(String),
}

impl AutoChange {
    /// The settings after the change.
    pub fn apply(self, before: &AutoSettings) -> AutoSettings {
        let Self { reload, threshold, amount, monthly_max, scale, monthly_spend, method, alerts } = self;
        AutoSettings {
            reload: reload.unwrap_or(before.reload),
            threshold: threshold.unwrap_or(before.threshold),
            amount: amount.unwrap_or(before.amount),
            monthly_max: monthly_max.unwrap_or(before.monthly_max),
            scale: scale.unwrap_or(before.scale),
            monthly_spend: monthly_spend.unwrap_or(before.monthly_spend),
            method: match (method, &before.method) {
                (Some(MethodChange::To(method)), _) | (Some(MethodChange::AtFirst(method)), None) => Some(method),
                (Some(MethodChange::AtFirst(_)) | None, before) => before.clone(),
            },
            alerts: match alerts {
                Some(AlertChange::To(lines)) => Some(lines),
                Some(AlertChange::ToUsual) => None,
                None => before.alerts.clone(),
            },
        }
    }
}

impl From<AutoSettings> for AutoChange {
    /// A change of every field.
    fn from(settings: AutoSettings) -> Self {
        let AutoSettings { reload, threshold, amount, monthly_max, scale, monthly_spend, method, alerts } = settings;
        Self {
            reload: Some(reload),
            threshold: Some(threshold),
            amount: Some(amount),
            monthly_max: Some(monthly_max),
            scale: Some(scale),
            monthly_spend: Some(monthly_spend),
            method: method.map(MethodChange::To),
            alerts: Some(alerts.map_or(AlertChange::ToUsual, AlertChange::To)),
        }
    }
}

/// On or off.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Switch {
    /// On.
    On,
    /// Off.
    #[default]
    Off,
}

impl Switch {
    /// Whether the switch is on.
    pub const fn is_on(self) -> bool {
        matches!(self, Self::On)
    }

    /// Converts a client's boolean.
    pub const fn from_bool(on: bool) -> Self {
        if on { Self::On } else { Self::Off }
    }
}

impl Default for AutoSettings {
    /// The default amounts of the contract, with everything off.
    fn default() -> Self {
        Self {
            reload: Switch::Off,
            threshold: Nanos::dollars(3),
            amount: Nanos::dollars(10),
            monthly_max: Nanos::dollars(100),
            scale: Switch::Off,
            monthly_spend: Nanos::dollars(100),
            method: None,
            alerts: None,
        }
    }
}

impl AutoSettings {
    /// Checks the settings.
    ///
    /// # Errors
    ///
    /// The first field with an invalid value, and the reason. The caller shows both to the user.
    pub fn check(&self) -> Result<(), (&'static str, &'static str)> {
        let cents = |amount: Nanos| amount.get() % 10_000_000 == 0;
        if self.threshold < Nanos::ZERO || self.threshold > LARGEST {
            return Err(("threshold", "must be from $0 to $1,000,000"));
        }
        if self.amount < SMALLEST || self.amount > LARGEST {
            return Err(("amount", "must be at least $1 and at most $1,000,000"));
        }
        if !cents(self.amount) {
            return Err(("amount", "must be whole cents"));
        }
        if self.monthly_max < self.amount {
            return Err(("monthly_max", "must be at least the amount of one reload"));
        }
        if self.monthly_max > LARGEST {
            return Err(("monthly_max", "must be at most $1,000,000"));
        }
        if self.monthly_spend < Nanos::ZERO || self.monthly_spend > LARGEST {
            return Err(("max_monthly_spend", "must be from $0 to $1,000,000"));
        }
        alert::check(self.alerts.as_deref().unwrap_or_default()).map_err(|rule| ("alerts", rule))
    }
}

/// The spending of automatic purchases in one calendar month. A reservation is settled or returned when its payment
/// ends.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpendWindow {
    /// The month.
    pub month: Month,
    /// Auto-reloads in flight.
    pub reload_reserved: Nanos,
    /// Auto-reloads paid.
    pub reload_settled: Nanos,
    /// `AutoScale` purchases in flight.
    pub scale_reserved: Nanos,
    /// `AutoScale` purchases paid.
    pub scale_settled: Nanos,
    /// The highest maximum of auto-reload at its reservations of this month.
    pub reload_max: Nanos,
    /// The highest maximum of all automatic purchases at their reservations of this month.
    pub spend_max: Nanos,
}

impl SpendWindow {
    /// This window, or an empty one if its month is over.
    #[must_use]
    pub fn at(self, now: Timestamp) -> Self {
        let month = now.month();
        // Ledger time never runs backwards, so `now` is never in an earlier month.
        if self.month >= month { self } else { Self { month, ..Self::default() } }
    }

    /// Auto-reloads, paid and in flight.
    pub fn reloads(&self) -> Nanos {
        self.reload_reserved + self.reload_settled
    }

    /// All automatic purchases, paid and in flight.
    pub fn all(&self) -> Nanos {
        self.reloads() + self.scale_reserved + self.scale_settled
    }

    /// Whether another purchase of this amount fits into the month.
    pub fn has_room(&self, purpose: Purpose, amount: Nanos, settings: &AutoSettings) -> bool {
        let within = self.all() + amount <= settings.monthly_spend;
        match purpose {
            Purpose::AutoReload => within && self.reloads() + amount <= settings.monthly_max,
            Purpose::AutoScale => within,
            Purpose::Purchase | Purpose::Subscription => true,
        }
    }

    pub(crate) fn reserve(&mut self, purpose: Purpose, amount: Nanos, settings: &AutoSettings) {
        match purpose {
            Purpose::AutoReload => {
                self.reload_reserved += amount;
                self.reload_max = self.reload_max.max(settings.monthly_max);
            }
            Purpose::AutoScale => self.scale_reserved += amount,
            Purpose::Purchase | Purpose::Subscription => return,
        }
        self.spend_max = self.spend_max.max(settings.monthly_spend);
    }

    /// Settles the reservation of a payment that was paid.
    pub(crate) fn settle(&mut self, purpose: Purpose, amount: Nanos) {
        self.give_back(purpose, amount);
        match purpose {
            Purpose::AutoReload => self.reload_settled += amount,
            Purpose::AutoScale => self.scale_settled += amount,
            Purpose::Purchase | Purpose::Subscription => {}
        }
    }

    /// Returns the reservation of a payment that was declined.
    pub(crate) fn give_back(&mut self, purpose: Purpose, amount: Nanos) {
        match purpose {
            Purpose::AutoReload => self.reload_reserved -= amount,
            Purpose::AutoScale => self.scale_reserved -= amount,
            Purpose::Purchase | Purpose::Subscription => {}
        }
    }
}

/// The state of automatic purchases: declines, and the time of the next attempt.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AutoState {
    /// The number of automatic purchases ever begun. It makes their ids unique.
    pub begun: u64,
    /// Declines in a row.
    pub failures: u32,
    /// No attempt before this time.
    pub retry_at: Option<Timestamp>,
    /// The last month whose maximum left no room for a reload, which the owner was notified of.
    pub full_month: Option<Month>,
    /// Since when automatic purchases are paused because credits were taken back. They resume when the owner sets them
    /// again.
    pub paused_at: Option<Timestamp>,
    /// The lines of low credits that the owner was told of, and that the balance has not recovered from.
    pub told: Vec<Nanos>,
}

impl AutoState {
    /// The state after the settings have changed, or purchases were turned off: attempts begin anew. What was told, and what
    /// makes ids unique, stays.
    #[must_use]
    pub(crate) fn anew(&mut self) -> Self {
        let told = std::mem::take(&mut self.told);
        Self { begun: self.begun, paused_at: self.paused_at, told, ..Self::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_can_not_be_name_their_field() {
        let field = |change: fn(&mut AutoSettings)| {
            let mut settings = AutoSettings::default();
            change(&mut settings);
            settings.check().err().map(|(field, _)| field)
        };
        assert_eq!(field(|_| {}), None);
        assert_eq!(field(|s| s.threshold = Nanos::new(-1)), Some("threshold"));
        assert_eq!(field(|s| s.amount = Nanos::new(999_999_999)), Some("amount"));
        assert_eq!(field(|s| s.amount = Nanos::new(1_000_000_001)), Some("amount"));
        assert_eq!(field(|s| s.monthly_max = Nanos::dollars(9)), Some("monthly_max"));
        assert_eq!(field(|s| s.monthly_spend = Nanos::new(-1)), Some("max_monthly_spend"));
        assert_eq!(field(|s| s.threshold = Nanos::ZERO), None);
    }

    #[test]
    fn a_change_leaves_what_it_does_not_name() {
        let before = AutoSettings { scale: Switch::On, method: Some("pm_1".into()), ..AutoSettings::default() };
        assert_eq!(AutoChange::default().apply(&before), before);
        let change = AutoChange {
            reload: Some(Switch::On),
            method: Some(MethodChange::AtFirst("pm_2".into())),
            ..AutoChange::default()
        };
        assert_eq!(change.clone().apply(&before), AutoSettings { reload: Switch::On, ..before.clone() });
        assert_eq!(change.apply(&AutoSettings::default()).method.as_deref(), Some("pm_2"));
        let other = AutoChange { method: Some(MethodChange::To("pm_3".into())), ..AutoChange::default() };
        assert_eq!(other.apply(&before).method.as_deref(), Some("pm_3"));
        assert_eq!(AutoChange::from(before.clone()).apply(&AutoSettings::default()), before);
    }

    #[test]
    fn a_month_has_room_up_to_its_maximum_and_a_new_one_is_empty() {
        let settings = AutoSettings::default();
        let now = Timestamp(1_795_512_896_789);
        let mut window = SpendWindow::default().at(now);
        window.reserve(Purpose::AutoReload, Nanos::dollars(90), &settings);
        assert!(window.has_room(Purpose::AutoReload, Nanos::dollars(10), &settings));
        assert!(!window.has_room(Purpose::AutoScale, Nanos::dollars(11), &settings));
        window.settle(Purpose::AutoReload, Nanos::dollars(90));
        assert_eq!((window.reload_reserved, window.all()), (Nanos::ZERO, Nanos::dollars(90)));
        window.reserve(Purpose::AutoScale, Nanos::dollars(10), &settings);
        assert!(!window.has_room(Purpose::AutoReload, Nanos::dollars(1), &settings));
        window.give_back(Purpose::AutoScale, Nanos::dollars(10));
        assert_eq!(window.at(now).all(), Nanos::dollars(90));
        assert_eq!(window.at(now.month().next().start()).all(), Nanos::ZERO);
    }
}
