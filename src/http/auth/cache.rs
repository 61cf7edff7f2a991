//! The cache of keys that were read from the ledger, and the revocations that open connections hear of.

use std::{
    sync::{PoisonError, RwLock},
    time::{Duration, Instant},
};

use quick_cache::unsync::Cache;
use tokio::sync::broadcast;

use super::{Known, Rights, over};
use crate::http::state::Shared;

/// The most cached keys, roughly; beyond it the least used are evicted.
const MOST: usize = 100_000;
/// How long a key is cached. Changes made to the ledger by other processes are noticed after this time, and by what goes on after
/// its request within a minute.
const REMEMBERED_FOR: Duration = Duration::from_secs(50);
/// How soon it is noticed, by what goes on after its request, that a session has ended or a role has changed; of keys, what is
/// cached of them is looked at so often.
const LOOKED_AT: Duration = Duration::from_secs(10);
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

/// Why something goes on no longer by the key or the session that it was opened by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Over {
    /// The key was revoked, or the session has ended.
    Ended,
    /// It may do something else than it could.
    Changed,
}

/// Receives the revocations of keys.
#[derive(Debug)]
pub struct Revocations {
    revoked: broadcast::Receiver<Public>,
    /// When the key or the session is looked at again.
    due: Instant,
}

impl Revocations {
    /// Resolves when this key is revoked, or this session of a person has ended, or either may do something else than it could.
    /// It is looked at from time to time, as a revocation may not have been heard of here. Dropping the future while it waits
    /// loses nothing: a stream that tells something more often than that has it looked at all the same.
    pub async fn of(&mut self, state: &Shared, key: &str, rights: Rights) -> Over {
        let own = key.get(3..15).and_then(|public| Public::try_from(public.as_bytes()).ok());
        loop {
            tokio::select! {
                revoked = self.revoked.recv() => match revoked {
                    Ok(revoked) if Some(revoked) == own => return Over::Ended,
                    Ok(_) => continue,
                    Err(broadcast::error::RecvError::Lagged(_)) => self.due = Instant::now(),
                    // The process ends.
                    Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
                },
                () = tokio::time::sleep_until(self.due.into()) => {}
            }
            if let Some(over) = over(state, key, rights).await {
                return over;
            }
            self.due = Instant::now() + LOOKED_AT;
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
        Revocations { revoked: self.revoked.subscribe(), due: Instant::now() + LOOKED_AT }
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
