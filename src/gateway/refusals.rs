//! The latest requests that were refused before anything was held for them, by account: so that an owner and an operator can
//! see which limit it was. They are kept in memory, by this process alone; of each account, and of all together, only the
//! latest.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use billing::{
    Timestamp,
    ids::{AccountId, KeyId, RequestId},
};

use super::serve::{Caller, ServeError};

/// The most that are remembered of an account.
const EACH: usize = 100;
/// The most that are remembered of all.
const ALL: usize = 10_000;

/// A refused request.
#[derive(Debug, Clone)]
pub struct Refused {
    /// Its id.
    pub id: RequestId,
    /// Who would have paid.
    pub account_id: AccountId,
    /// The key that was shown.
    pub key_id: KeyId,
    /// The model that was asked for, as it was named.
    pub model: Box<str>,
    /// When.
    pub at: Timestamp,
    /// Why.
    pub why: ServeError,
}

#[derive(Debug, Default)]
struct Remembered {
    /// The oldest of each account first.
    of: HashMap<AccountId, VecDeque<Arc<Refused>>>,
    /// All of them, the oldest first; also some that are forgotten already.
    order: VecDeque<(AccountId, RequestId)>,
}

/// The latest refusals.
#[derive(Debug, Default)]
pub struct Refusals(Mutex<Remembered>);

impl Refusals {
    fn lock(&self) -> MutexGuard<'_, Remembered> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers a refusal.
    pub(super) fn note(&self, id: RequestId, caller: Caller, model: Box<str>, at: Timestamp, why: ServeError) {
        let Caller { account_id, key_id, .. } = caller;
        let refused = Arc::new(Refused { id, account_id, key_id, model, at, why });
        let mut all = self.lock();
        let own = all.of.entry(account_id).or_default();
        if own.len() >= EACH {
            own.pop_front();
        }
        own.push_back(refused);
        all.order.push_back((account_id, id));
        if all.order.len() > ALL {
            all.forget_oldest();
        }
    }

    /// The latest of an account, or of one of its keys, the newest first.
    pub fn of(&self, account: AccountId, by: Option<KeyId>) -> Vec<Arc<Refused>> {
        let all = self.lock();
        let own = all.of.get(&account).into_iter().flatten().rev();
        own.filter(|refused| by.is_none_or(|key| refused.key_id == key)).cloned().collect()
    }

    /// A request, whosoever's it was. Looked for among all: for operators.
    pub fn find(&self, id: RequestId) -> Option<Arc<Refused>> {
        self.lock().of.values().flatten().find(|refused| refused.id == id).cloned()
    }

    /// The number of those that are remembered.
    pub fn count(&self) -> usize {
        self.lock().of.values().map(VecDeque::len).sum()
    }
}

impl Remembered {
    /// Forgets the oldest of all, unless its account had too many and it is forgotten already.
    fn forget_oldest(&mut self) {
        let Some((account, id)) = self.order.pop_front() else { return };
        if let Some(own) = self.of.get_mut(&account) {
            if own.front().is_some_and(|oldest| oldest.id == id) {
                own.pop_front();
            }
            if own.is_empty() {
                self.of.remove(&account);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use billing::key::Scopes;
    use uuid::Uuid;

    use super::*;

    fn note(refusals: &Refusals, account: u128, number: u128) {
        let caller =
            Caller { account_id: AccountId(Uuid::from_u128(account)), key_id: KeyId(Uuid::nil()), scopes: Scopes::ALL };
        let why = ServeError::Unpriced("m".into());
        refusals.note(RequestId(Uuid::from_u128(number)), caller, "m".into(), Timestamp(0), why);
    }

    fn numbers(refusals: &Refusals, account: u128) -> Vec<u128> {
        refusals.of(AccountId(Uuid::from_u128(account)), None).iter().map(|refused| refused.id.0.as_u128()).collect()
    }

    #[test]
    fn the_latest_of_each_account_are_remembered_the_newest_first() {
        let refusals = Refusals::default();
        for number in 0..EACH as u128 + 10 {
            note(&refusals, 1, number);
        }
        note(&refusals, 2, 500);
        let seen = numbers(&refusals, 1);
        assert_eq!((seen.len(), seen[0], seen[EACH - 1]), (EACH, EACH as u128 + 9, 10));
        assert_eq!(numbers(&refusals, 2), [500]);
        assert!(refusals.find(RequestId(Uuid::from_u128(500))).is_some());
        assert!(refusals.find(RequestId(Uuid::from_u128(9))).is_none(), "forgotten");
        let other = KeyId(Uuid::from_u128(7));
        assert!(refusals.of(AccountId(Uuid::from_u128(2)), Some(other)).is_empty());
    }

    #[test]
    fn a_flood_of_one_account_or_of_many_is_bounded_and_leaves_the_newest() {
        let refusals = Refusals::default();
        for number in 0..3 * ALL as u128 {
            note(&refusals, 1, number);
        }
        assert_eq!((refusals.count(), refusals.lock().order.len()), (EACH, ALL));
        for number in 0..2 * ALL as u128 {
            note(&refusals, 10 + number, number);
        }
        assert!(refusals.count() <= ALL && refusals.lock().of.len() <= ALL);
        assert_eq!(numbers(&refusals, 9 + 2 * ALL as u128), [2 * ALL as u128 - 1]);
        assert!(numbers(&refusals, 10).is_empty(), "forgotten");
    }
}
