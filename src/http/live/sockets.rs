//! The count of open live sockets: by account, and those of operators.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use billing::ids::AccountId;
use uuid::Uuid;

use crate::http::{error::ApiError, state::Shared};

/// The most live sockets of an account: as many as its actor has watchers.
pub const MOST: usize = 256;
/// The most live sockets of operators: each has the process looked at once a second.
pub const OPERATORS: usize = 32;

type Counts = HashMap<AccountId, usize>;

/// The counts of all accounts, shared by clones.
#[derive(Debug, Clone, Default)]
pub struct Sockets(Arc<Mutex<Counts>>);

/// The place of one socket, until it is dropped.
#[derive(Debug)]
pub struct Place {
    sockets: Sockets,
    account: AccountId,
}

impl Sockets {
    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for another socket; `None` where the account has the most.
    pub fn open(&self, account: AccountId) -> Option<Place> {
        self.open_one(account, MOST)
    }

    /// A place for another socket of operators; `None` where they have the most.
    pub fn open_of_operators(&self) -> Option<Place> {
        // No account has this id.
        self.open_one(AccountId(Uuid::nil()), OPERATORS)
    }

    fn open_one(&self, account: AccountId, most: usize) -> Option<Place> {
        let mut counts = self.lock();
        let count = counts.entry(account).or_default();
        if *count >= most {
            return None;
        }
        *count += 1;
        drop(counts);
        Some(Place { sockets: self.clone(), account })
    }
}

/// A place for another socket or stream of an account.
///
/// # Errors
///
/// The account has the most.
pub(super) fn place(state: &Shared, account: AccountId) -> Result<Place, ApiError> {
    state.sockets.open(account).ok_or_else(|| {
        let message = format!("This account has {MOST} live sockets open, which is the most.");
        ApiError::too_many_sockets(message, MOST)
    })
}

/// A place for another socket of operators.
///
/// # Errors
///
/// They have the most.
pub(super) fn place_of_operators(state: &Shared) -> Result<Place, ApiError> {
    state.sockets.open_of_operators().ok_or_else(|| {
        let message = format!("Operators have {OPERATORS} live sockets open here, which is the most.");
        ApiError::too_many_sockets(message, OPERATORS)
    })
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.sockets.lock();
        if let Some(count) = counts.get_mut(&self.account) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                counts.remove(&self.account);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_has_so_many_and_no_more() {
        let sockets = Sockets::default();
        let (one, two) = (AccountId(Uuid::from_u128(1)), AccountId(Uuid::from_u128(2)));
        let mut places: Vec<_> = (0..MOST).map(|_| sockets.open(one).unwrap()).collect();
        assert!(sockets.open(one).is_none());
        assert!(sockets.open(two).is_some());
        places.pop();
        assert!(sockets.open(one).is_some(), "a place that was left is free");
        drop(places);
        let operators: Vec<_> = (0..OPERATORS).map(|_| sockets.open_of_operators().unwrap()).collect();
        assert!(sockets.open_of_operators().is_none() && sockets.open(two).is_some());
        drop(operators);
        assert!(sockets.lock().is_empty(), "nothing is remembered of who left");
    }
}
