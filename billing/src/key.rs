//! Limits of one API key: dollars per UTC day, ISO week, calendar month or in total, and a list of models. Running
//! requests count too, and the account's own decisions do the counting, so that parallel requests can't exceed a limit
//! together.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{
    ids::{AccountId, KeyId},
    nanos::Nanos,
    time::{DAY_MS, Timestamp},
};

/// The most unrevoked keys of one account.
pub const MOST_KEYS: u64 = 1_000;

/// The time span of a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KeyWindow {
    /// A UTC day.
    Day,
    /// A week, beginning on Monday.
    Week,
    /// A calendar month.
    Month,
    /// All time.
    Total,
}

impl KeyWindow {
    /// Every window, shortest first.
    pub const ALL: [Self; 4] = [Self::Day, Self::Week, Self::Month, Self::Total];

    /// The window's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Day => "day",
            Self::Week => "week",
            Self::Month => "month",
            Self::Total => "total",
        }
    }

    /// The start of the window that contains a timestamp.
    pub const fn start(self, at: Timestamp) -> Timestamp {
        match self {
            Self::Day => at.day_start(),
            Self::Week => at.week_start(),
            Self::Month => at.month().start(),
            Self::Total => Timestamp(0),
        }
    }

    /// The start of the next window; `None` for all time.
    pub const fn end(self, at: Timestamp) -> Option<Timestamp> {
        match self {
            Self::Day => Some(at.day_start().plus_ms(DAY_MS)),
            Self::Week => Some(at.week_start().plus_ms(7 * DAY_MS)),
            Self::Month => Some(at.month().next().start()),
            Self::Total => None,
        }
    }
}

/// A key's limits. By default nothing is limited.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct KeyLimits {
    /// Dollars for each window, in the order of [`KeyWindow::ALL`].
    pub amounts: [Option<Nanos>; 4],
    /// The models that the key may use, by the names of [`Self::allows`]. Empty: all models.
    pub models: Vec<String>,
}

/// By what names a request's model may stand in the list of a key, beside its own.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Names {
    /// The provider that has the model, also where an earlier answer of it is given again; `farebox` for an open model.
    pub provider: Arc<str>,
    /// The alias that the request named, if it named one.
    pub alias: Option<Arc<str>>,
}

impl KeyLimits {
    /// Whether nothing is limited.
    pub fn is_unlimited(&self) -> bool {
        self.models.is_empty() && self.amounts.iter().all(Option::is_none)
    }

    /// Whether the key may use a model. Its list has a model's own name, which is that of any provider's model of the name;
    /// a name behind its provider's and a slash, which is that provider's alone; or an alias, which is what it stands for
    /// where a request names it, and no model that is named otherwise.
    pub fn allows(&self, model: &str, names: &Names) -> bool {
        let Names { provider, alias } = names;
        let is_qualified =
            |listed: &str| listed.strip_prefix(&**provider).and_then(|rest| rest.strip_prefix('/')) == Some(model);
        let is_meant = |listed: &str| listed == model || alias.as_deref() == Some(listed) || is_qualified(listed);
        self.models.is_empty() || self.models.iter().any(|listed| is_meant(listed))
    }

    /// The limit of a window.
    pub const fn of(&self, window: KeyWindow) -> Option<Nanos> {
        self.amounts[window as usize]
    }
}

/// A permission of a key, beyond reading the key's own usage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Scope {
    /// Run models.
    Inference,
    /// Read everything of the account: other keys' requests, payments, cards, events, settings.
    Read,
    /// Buy credits, and change cards, the plan, automatic purchases and webhooks.
    Billing,
    /// Open and revoke keys.
    Keys,
}

impl Scope {
    /// Every scope.
    pub const ALL: [Self; 4] = [Self::Inference, Self::Read, Self::Billing, Self::Keys];

    /// The scope's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Inference => "inference",
            Self::Read => "read",
            Self::Billing => "billing",
            Self::Keys => "keys",
        }
    }

    /// Finds a scope by its name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.name() == name)
    }
}

/// A set of scopes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Scopes(u8);

impl Scopes {
    /// All scopes.
    pub const ALL: Self = Self(0b1111);

    /// The scopes of a key created without any: all of them, or inference alone if the key has limits. With more scopes
    /// a limited key could remove its own limits.
    pub fn usual(limits: &KeyLimits) -> Self {
        if limits.is_unlimited() { Self::ALL } else { Self::default().with(Scope::Inference) }
    }

    /// This set with one scope added.
    #[must_use]
    pub const fn with(self, scope: Scope) -> Self {
        Self(self.0 | 1 << scope as u8)
    }

    /// Whether the set contains a scope.
    pub const fn has(self, scope: Scope) -> bool {
        self.0 & 1 << scope as u8 != 0
    }

    /// The intersection of two sets.
    #[must_use]
    pub const fn within(self, others: Self) -> Self {
        Self(self.0 & others.0)
    }

    /// Each scope of the set.
    pub fn iter(self) -> impl Iterator<Item = Scope> {
        Scope::ALL.into_iter().filter(move |scope| self.has(*scope))
    }

    /// The scopes' names, separated by spaces.
    pub fn names(self) -> String {
        self.iter().map(Scope::name).collect::<Vec<_>>().join(" ")
    }

    /// Reads scopes from names separated by spaces.
    ///
    /// # Errors
    ///
    /// The first word that names no scope. The caller can show it to the user.
    pub fn from_names(text: &str) -> Result<Self, &str> {
        text.split_whitespace()
            .try_fold(Self::default(), |scopes, name| Ok(scopes.with(Scope::from_name(name).ok_or(name)?)))
    }
}

/// An API key. Its text is `fb_<12 public>_<40 secret>`; only its hash is kept.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ApiKey {
    /// The key's id.
    pub id: KeyId,
    /// The account.
    pub account_id: AccountId,
    /// The owner's name for the key.
    pub name: String,
    /// The public part of its text.
    pub public: String,
    /// BLAKE3 of its whole text, in hexadecimal.
    pub hash: String,
    /// The limits of the key.
    pub limits: KeyLimits,
    /// The scopes of the key.
    pub scopes: Scopes,
    /// When the key was created.
    pub created_at: Timestamp,
    /// When the key expires.
    pub expires_at: Option<Timestamp>,
    /// When the key was revoked.
    pub revoked_at: Option<Timestamp>,
}

/// The limit that refuses a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum KeyRefusal {
    /// The key may not use this model.
    Model {
        /// The models that the key may use.
        allowed: Vec<String>,
    },
    /// The dollars of a window are used up.
    Amount {
        /// The window.
        window: KeyWindow,
        /// The limit.
        limit: Nanos,
        /// Dollars spent in the window, and held by running requests.
        used: Nanos,
        /// When the next window begins; `None` for all time.
        resets_at: Option<Timestamp>,
    },
}

/// The part of a limit that the owner is told of where a key has no lines of its own, in percent.
pub const USUAL_PERCENTS: [u8; 1] = [80];
/// The most lines of one key.
pub const MOST_PERCENTS: usize = 5;

/// Checks the lines of a key, in percent of its limits.
///
/// # Errors
///
/// The rule that they break. The caller shows it to the user.
pub fn check_percents(percents: &[u8]) -> Result<(), &'static str> {
    if percents.len() > MOST_PERCENTS {
        return Err("must have at most 5 lines");
    }
    if percents.iter().any(|percent| !(1..=100).contains(percent)) {
        return Err("must have lines from 1 to 100 percent");
    }
    if (0..percents.len()).any(|place| percents[..place].contains(&percents[place])) {
        return Err("has a line twice");
    }
    Ok(())
}

/// A line that the spending of a key has just reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reached {
    pub(crate) window: KeyWindow,
    pub(crate) limit: Nanos,
    pub(crate) spent: Nanos,
    /// The start of the window.
    pub(crate) start: Timestamp,
    pub(crate) percent: u8,
}

impl Reached {
    /// The subject of its event: the same whenever it is reached in this window. The usual line's has no percentage, as it was
    /// the only one once.
    pub(crate) fn subject(&self, id: KeyId) -> String {
        let Self { window, limit, start, percent, .. } = self;
        let of_window = format!("{id} {} {} {}", window.name(), start.0, limit.get());
        if USUAL_PERCENTS.contains(percent) { of_window } else { format!("{of_window} {percent}") }
    }
}

/// A limited key and its usage.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeyState {
    limits: KeyLimits,
    starts: [Timestamp; 4],
    spent: [Nanos; 4],
    /// The sum of the claims of running requests.
    held: Nanos,
    /// All charges beyond the claims of their requests, ever: a provider counted more than was expected.
    beyond: Nanos,
    /// The owner's lines, in percent of each limit; `None`: the usual ones.
    alerts: Option<Vec<u8>>,
    /// The highest line of each window that was told, with the window's start.
    told: [Option<(Timestamp, u8)>; 4],
}

impl KeyState {
    /// A key with the given spending in each window of `now`.
    pub fn new(limits: KeyLimits, spent: [Nanos; 4], now: Timestamp) -> Self {
        let starts = KeyWindow::ALL.map(|window| window.start(now));
        Self { limits, starts, spent, held: Nanos::ZERO, beyond: Nanos::ZERO, alerts: None, told: [None; 4] }
    }

    /// This key with an amount charged beyond its limits before.
    #[must_use]
    pub const fn with_beyond(mut self, beyond: Nanos) -> Self {
        self.beyond = beyond;
        self
    }

    /// This key with lines of its own.
    #[must_use]
    pub fn with_alerts(mut self, alerts: Option<Vec<u8>>) -> Self {
        self.alerts = alerts;
        self
    }

    /// The lines at which the owner is told, in percent of each limit.
    pub fn alerts(&self) -> &[u8] {
        self.alerts.as_deref().unwrap_or(&USUAL_PERCENTS)
    }

    pub(crate) fn set_alerts(&mut self, alerts: Vec<u8>) {
        self.alerts = Some(alerts);
    }

    /// The sum of the claims of running requests.
    pub const fn held(&self) -> Nanos {
        self.held
    }

    /// All charges beyond the key's limits, ever.
    pub const fn beyond(&self) -> Nanos {
        self.beyond
    }

    /// The key's limits.
    pub const fn limits(&self) -> &KeyLimits {
        &self.limits
    }

    fn roll(&mut self, now: Timestamp) {
        for (place, window) in KeyWindow::ALL.into_iter().enumerate() {
            let start = window.start(now);
            if start > self.starts[place] {
                self.starts[place] = start;
                self.spent[place] = Nanos::ZERO;
            }
        }
    }

    /// The amount spent in a window, including the claims of running requests.
    pub fn used(&self, window: KeyWindow, now: Timestamp) -> Nanos {
        let place = window as usize;
        let spent = if window.start(now) > self.starts[place] { Nanos::ZERO } else { self.spent[place] };
        spent + self.held
    }

    /// The most that another request may hold; `None` where dollars are not limited. Refused where the room is less
    /// than `minimum`.
    pub(crate) fn room(
        &self,
        model: &str,
        names: &Names,
        minimum: Nanos,
        now: Timestamp,
    ) -> Result<Option<Nanos>, KeyRefusal> {
        if !self.limits.allows(model, names) {
            return Err(KeyRefusal::Model { allowed: self.limits.models.clone() });
        }
        let mut room = None;
        for (window, limit, left) in self.lefts(now) {
            if left < minimum || !left.is_positive() {
                let used = self.used(window, now);
                return Err(KeyRefusal::Amount { window, limit, used, resets_at: window.end(now) });
            }
            room = Some(room.map_or(left, |room: Nanos| room.min(left)));
        }
        Ok(room)
    }

    /// The rest of each limit.
    fn lefts(&self, now: Timestamp) -> impl Iterator<Item = (KeyWindow, Nanos, Nanos)> {
        KeyWindow::ALL.into_iter().filter_map(move |window| {
            let (limit, used) = (self.limits.of(window)?, self.used(window, now));
            Some((window, limit, if limit > used { limit - used } else { Nanos::ZERO }))
        })
    }

    /// The most by which the claims of running requests may grow; `None` where dollars are not limited.
    pub(crate) fn left(&self, now: Timestamp) -> Option<Nanos> {
        self.lefts(now).map(|(_, _, left)| left).min()
    }

    pub(crate) fn hold(&mut self, amount: Nanos) {
        self.held += amount;
    }

    pub(crate) fn release(&mut self, amount: Nanos) {
        assert!(self.held >= amount, "a key gives back more than it held");
        self.held -= amount;
    }

    /// Counts a charge in the windows of its timestamp, and the part above the request's claim as beyond the limits.
    pub(crate) fn spend(&mut self, charged: Nanos, claim: Nanos, at: Timestamp) {
        self.roll(at);
        if charged > claim {
            self.beyond += charged - claim;
        }
        for (place, window) in KeyWindow::ALL.into_iter().enumerate() {
            if window.start(at) == self.starts[place] {
                self.spent[place] += charged;
            }
        }
    }

    /// The highest line of each window that its spending has just reached. Each is returned once a window: spending never
    /// falls within one.
    pub(crate) fn newly_reached(&mut self) -> Vec<Reached> {
        let mut reached = Vec::new();
        for (place, window) in KeyWindow::ALL.into_iter().enumerate() {
            let Some(limit) = self.limits.amounts[place] else { continue };
            let (start, spent) = (self.starts[place], self.spent[place]);
            let is_reached =
                |percent: &u8| i128::from(spent.get()) * 100 >= i128::from(limit.get()) * i128::from(*percent);
            let Some(percent) = self.alerts().iter().copied().filter(is_reached).max() else { continue };
            let is_told = self.told[place].is_some_and(|(of, told)| of == start && told >= percent);
            if !is_told {
                self.told[place] = Some((start, percent));
                reached.push(Reached { window, limit, spent, start, percent });
            }
        }
        reached
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_795_512_896_789);

    fn daily(dollars: i64) -> KeyState {
        let limits = KeyLimits { amounts: [Some(Nanos::dollars(dollars)), None, None, None], models: Vec::new() };
        KeyState::new(limits, [Nanos::ZERO; 4], NOW)
    }

    fn room(key: &KeyState, model: &str, minimum: Nanos, now: Timestamp) -> Result<Option<Nanos>, KeyRefusal> {
        key.room(model, &Names::default(), minimum, now)
    }

    #[test]
    fn what_runs_counts_and_a_new_day_begins_at_nothing() {
        let mut key = daily(1);
        key.hold(Nanos::new(600_000_000));
        assert_eq!(room(&key, "m", Nanos::new(1), NOW), Ok(Some(Nanos::new(400_000_000))));
        assert!(room(&key, "m", Nanos::new(400_000_001), NOW).is_err());
        key.release(Nanos::new(600_000_000));
        key.spend(Nanos::dollars(1), Nanos::dollars(1), NOW);
        let Err(KeyRefusal::Amount { window, resets_at, .. }) = room(&key, "m", Nanos::new(1), NOW) else { panic!() };
        assert_eq!((window, resets_at), (KeyWindow::Day, Some(NOW.day_start().plus_ms(DAY_MS))));
        assert_eq!(room(&key, "m", Nanos::new(1), NOW.plus_ms(DAY_MS)), Ok(Some(Nanos::dollars(1))));
    }

    #[test]
    fn a_charge_of_yesterday_does_not_count_today() {
        let mut key = daily(1);
        key.spend(Nanos::new(5), Nanos::new(5), NOW.plus_ms(DAY_MS));
        key.spend(Nanos::dollars(1), Nanos::dollars(1), NOW);
        assert_eq!(key.used(KeyWindow::Day, NOW.plus_ms(DAY_MS)), Nanos::new(5));
        assert_eq!(key.used(KeyWindow::Total, NOW.plus_ms(DAY_MS)), Nanos::new(1_000_000_005));
    }

    #[test]
    fn a_limit_is_told_of_once_a_window() {
        let mut key = daily(1);
        key.spend(Nanos::new(799_999_999), Nanos::new(799_999_999), NOW);
        assert!(key.newly_reached().is_empty());
        key.spend(Nanos::new(1), Nanos::new(1), NOW);
        assert_eq!(key.newly_reached().len(), 1);
        assert!(key.newly_reached().is_empty());
        key.spend(Nanos::dollars(1), Nanos::dollars(1), NOW.plus_ms(DAY_MS));
        assert_eq!(key.newly_reached().len(), 1);
    }

    #[test]
    fn of_a_keys_lines_the_highest_reached_is_told_once_a_window() {
        let percents = |key: &mut KeyState| key.newly_reached().iter().map(|it| it.percent).collect::<Vec<_>>();
        let mut key = daily(1).with_alerts(Some(vec![50, 80, 100]));
        let cents = |cents: i64| Nanos::new(cents * 10_000_000);
        key.spend(cents(49), cents(49), NOW);
        assert_eq!(percents(&mut key), [0_u8; 0]);
        key.spend(cents(1), cents(1), NOW);
        assert_eq!((percents(&mut key), percents(&mut key)), (vec![50], vec![]));
        key.spend(cents(50), cents(50), NOW);
        assert_eq!(percents(&mut key), [100], "the line between was passed with it");
        // Lower lines are no news, nor are the same after the account was loaded again: their events exist.
        key.set_alerts(vec![10, 90]);
        assert_eq!(percents(&mut key), [0_u8; 0]);
        key.spend(cents(10), cents(10), NOW.plus_ms(DAY_MS));
        let reached = key.newly_reached();
        assert_eq!(reached[0].percent, 10);
        assert!(reached[0].subject(KeyId(uuid::Uuid::nil())).ends_with(" 1000000000 10"));
        key.set_alerts(Vec::new());
        key.spend(cents(90), cents(90), NOW.plus_ms(DAY_MS));
        assert_eq!(percents(&mut key), [0_u8; 0], "no lines, no news");
        for wrong in [vec![0], vec![101], vec![50, 50], vec![1, 2, 3, 4, 5, 6]] {
            assert!(check_percents(&wrong).is_err(), "{wrong:?}");
        }
        assert_eq!(check_percents(&[1, 100]), Ok(()));
    }

    #[test]
    fn scopes_are_read_as_they_are_written_and_a_limited_key_has_few() {
        let some = Scopes::default().with(Scope::Keys).with(Scope::Inference);
        assert_eq!(some.names(), "inference keys");
        assert_eq!(Scopes::from_names(&some.names()), Ok(some));
        assert_eq!(Scopes::from_names("inference root"), Err("root"));
        assert!(Scope::ALL.into_iter().all(|scope| Scopes::ALL.has(scope)));
        assert_eq!(Scopes::usual(&KeyLimits::default()), Scopes::ALL);
        assert_eq!(Scopes::usual(daily(1).limits()).names(), "inference");
        assert_eq!(Scopes::ALL.within(some), some);
    }

    #[test]
    fn other_models_are_refused() {
        let limits = KeyLimits { models: vec!["a".into()], ..KeyLimits::default() };
        let key = KeyState::new(limits, [Nanos::ZERO; 4], NOW);
        assert_eq!(room(&key, "a", Nanos::ZERO, NOW), Ok(None));
        assert_eq!(room(&key, "b", Nanos::ZERO, NOW), Err(KeyRefusal::Model { allowed: vec!["a".into()] }));
    }

    #[test]
    fn a_name_in_a_list_means_what_its_owner_means() {
        let allows = |listed: &str, model: &str, provider: &str, alias: Option<&str>| {
            let limits = KeyLimits { models: vec![listed.to_owned()], ..KeyLimits::default() };
            limits.allows(model, &Names { provider: provider.into(), alias: alias.map(Arc::from) })
        };
        assert!(
            allows("gpt-4o", "gpt-4o", "openai", None) && allows("gpt-4o", "gpt-4o", "azure", None),
            "any provider's"
        );
        assert!(allows("azure/gpt-4o", "gpt-4o", "azure", None) && !allows("azure/gpt-4o", "gpt-4o", "openai", None));
        assert!(
            !allows("azure/gpt-4o", "gpt-4o-mini", "azure", None) && !allows("gpt-4o", "gpt-4o-mini", "openai", None)
        );
        assert!(allows("org/llama", "org/llama", "farebox", None), "an open model's own name has a slash");
        assert!(allows("fast", "gpt-4o", "openai", Some("fast")));
        assert!(!allows("fast", "gpt-4o", "openai", None), "an alias is for those who name it");
        assert!(
            !allows("fast", "gpt-4o", "openai", Some("slow")) && allows("gpt-4o", "gpt-4o", "openai", Some("slow"))
        );
        assert!(!allows("/gpt-4o", "gpt-4o", "openai", None) && !allows("openai", "gpt-4o", "openai", None));
        assert!(KeyLimits::default().allows("gpt-4o", &Names::default()));
    }
}
