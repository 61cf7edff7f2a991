//! The cache of keys that were read from the ledger, and the revocations that open connections hear of.

use std::{
    sync::{PoisonError, RwLock},
    time::{Duration, Instant},
};

use actix_web::http::StatusCode;
use quick_cache::unsync::Cache;
use tokio::sync::broadcast;

use super::{Known, person, still};
use crate::http::state::Shared;

/// The most cached keys, roughly; beyond it the least used are evicted.
const MOST: usize = 100_000;
/// How long a key is cached. Changes made to the ledger by other processes are noticed after this time.
const REMEMBERED_FOR: Duration = Duration::from_mins(1);
/// The most revocations that wait for open sockets. A socket that misses some looks its key up again.
const UNTOLD: usize = 256;

/// A key's public part.
pub(super) type Public = [u8; 12];

/// The cache of keys, by their public part.
#[derive(Debug)]
pub struct Keys {
    seen: RwLock<Seen>,
    revoked: broadcast::Sender<Public>,
}

impl Default for Keys {
    fn default() -> Self {
        Self { seen: RwLock::default(), revoked: broadcast::Sender::new(UNTOLD) }
    }
}

/// Receives the revocations of keys.
#[derive(Debug)]
pub struct Revocations {
    revoked: broadcast::Receiver<Public>,
    /// When a person's session is looked at again.
    due: Instant,
}

impl Revocations {
    /// Resolves when this key is revoked, or this session of a person has ended. Dropping the future while it waits loses
    /// nothing: a stream that tells something more often than a session is looked at has it looked at all the same.
    pub async fn of(&mut self, state: &Shared, key: &str) {
        if state.sessions.of_handle(key).is_some() {
            return person::ended(state, key, &mut self.due).await;
        }
        let own = key.get(3..15).and_then(|public| Public::try_from(public.as_bytes()).ok());
        loop {
            match self.revoked.recv().await {
                Ok(revoked) if Some(revoked) == own => return,
                Ok(_) => {}
                Err(broadcast::error::RecvError::Lagged(_)) => {
                    if still(state, key).await.is_err_and(|error| error.status() == StatusCode::UNAUTHORIZED) {
                        return;
                    }
                }
                // The process ends.
                Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
            }
        }
    }
}

#[derive(Debug)]
struct Seen {
    keys: Cache<Public, (Cached, Instant)>,
    /// The number of evictions because of revocations. A key that was read from the ledger before another eviction is
    /// not cached.
    forgotten: u64,
}

impl Default for Seen {
    fn default() -> Self {
        Self { keys: Cache::new(MOST), forgotten: 0 }
    }
}

/// A cached key.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cached {
    pub(super) hash: blake3::Hash,
    pub(super) known: Known,
}

impl Keys {
    pub(super) fn get(&self, public: &Public) -> Option<Cached> {
        let (known, at) = *self.seen.read().unwrap_or_else(PoisonError::into_inner).keys.get(public)?;
        (at.elapsed() < REMEMBERED_FOR).then_some(known)
    }

    pub(super) fn forgotten(&self) -> u64 {
        self.seen.read().unwrap_or_else(PoisonError::into_inner).forgotten
    }

    /// Caches a key, unless any key was revoked since the ledger was read: it may be this one.
    pub(super) fn insert(&self, public: Public, known: Cached, forgotten: u64) {
        let mut seen = self.seen.write().unwrap_or_else(PoisonError::into_inner);
        if seen.forgotten != forgotten {
            return;
        }
        seen.keys.insert(public, (known, Instant::now()));
    }

    /// Evicts a revoked key.
    pub fn forget(&self, public: &str) {
        if let Ok(public) = Public::try_from(public.as_bytes()) {
            let mut seen = self.seen.write().unwrap_or_else(PoisonError::into_inner);
            seen.forgotten += 1;
            seen.keys.remove(&public);
            drop(seen);
            // There may be no receiver.
            let _ = self.revoked.send(public);
        }
    }

    /// Evicts every key.
    fn forget_all(&self) {
        let mut seen = self.seen.write().unwrap_or_else(PoisonError::into_inner);
        seen.forgotten += 1;
        seen.keys = Cache::new(MOST);
    }

    /// Evicts keys when their revocation is durable, whoever asked for it and whatever was answered. Ends with the ledger.
    pub async fn follow(&self, mut revoked: broadcast::Receiver<String>) {
        loop {
            match revoked.recv().await {
                Ok(public) => self.forget(&public),
                Err(broadcast::error::RecvError::Lagged(_)) => self.forget_all(),
                Err(broadcast::error::RecvError::Closed) => return,
            }
        }
    }

    /// The revocations from now on.
    pub fn revocations(&self) -> Revocations {
        Revocations { revoked: self.revoked.subscribe(), due: Instant::now() + person::LOOKED_AT }
    }
}

#[cfg(test)]
mod tests {
    use billing::{
        ids::{AccountId, KeyId},
        key::Scopes,
    };
    use uuid::Uuid;

    use super::*;
    use crate::gateway::serve::Caller;

    #[test]
    fn a_key_is_remembered_for_a_while_unless_one_was_forgotten_meanwhile() {
        let (keys, public) = (Keys::default(), *b"0123456789ab");
        let caller = Caller { account_id: AccountId(Uuid::nil()), key_id: KeyId(Uuid::nil()), scopes: Scopes::ALL };
        let known = Known { caller, expires_at: None, is_limited: false };
        let known = Cached { hash: blake3::hash(b"x"), known };
        keys.insert(public, known, keys.forgotten());
        assert!(keys.get(&public).is_some());
        let before = keys.forgotten();
        keys.forget("0123456789ab");
        assert!(keys.get(&public).is_none());
        keys.insert(public, known, before);
        assert!(keys.get(&public).is_none(), "it may be the one that was revoked");
        keys.insert(public, known, keys.forgotten());
        let long_ago = Instant::now().checked_sub(REMEMBERED_FOR).unwrap();
        keys.seen.write().unwrap().keys.get_mut(&public).unwrap().1 = long_ago;
        assert!(keys.get(&public).is_none(), "the ledger is asked again");
        for n in 0..2 * MOST {
            let mut other = public;
            other[..8].copy_from_slice(&n.to_le_bytes());
            keys.insert(other, known, keys.forgotten());
        }
        assert!(keys.seen.read().unwrap().keys.len() <= MOST + MOST / 10);
    }
}
