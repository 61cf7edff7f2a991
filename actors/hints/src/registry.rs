//! Who watches which account's balance here, and the newest one that was heard. It knows nothing of Redis.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use billing::ids::AccountId;
use bytes::Bytes;
use runtime::node::NodeId;
use tokio::sync::{Notify, watch};

use crate::voices::{Heard, Voices};

/// The place of a balance among those of its account: the epoch of the owner that told it, and a number that rises there.
/// One with a lower number than another is older, whichever is heard first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Number {
    /// The epoch.
    pub epoch: i64,
    /// The number within the epoch.
    pub place: u64,
}

/// What a watch hears.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    /// A newer balance than all before.
    Balance(Number, Bytes),
    /// Nothing is heard any more.
    Blind,
    /// All is heard from now on. What was told before may have been missed: who wants the balance asks for it now.
    Sighted,
}

#[derive(Debug, Clone, Default)]
struct Seen {
    newest: Option<(Number, Bytes)>,
    is_sighted: bool,
    /// Counts changes of sight: a moment of blindness is one, too.
    changes: u64,
}

#[derive(Debug, Default)]
struct Accounts {
    watched: HashMap<AccountId, watch::Sender<Seen>>,
    /// Accounts that are watched newly, or no more.
    changed: Vec<AccountId>,
}

/// The watches of this node.
#[derive(Debug)]
pub(crate) struct Registry {
    most: usize,
    accounts: Mutex<Accounts>,
    /// Notified when accounts have changed.
    pub(crate) changed: Notify,
    pub(crate) voices: Voices,
}

/// A watch of one account's balance. It begins blind.
#[derive(Debug)]
pub struct Watch {
    registry: Arc<Registry>,
    account: AccountId,
    seen: Option<watch::Receiver<Seen>>,
    /// How the node is heard that tells the balance.
    voice: watch::Receiver<Heard>,
    /// Since which changes of sight, and of the node's voice, it was told that it is sighted.
    sight: Option<(u64, u64)>,
    told: Option<Number>,
}

impl Watch {
    /// What is heard next; none once nothing can be heard any more. A wait may be given up and taken up again.
    pub async fn next(&mut self) -> Option<Told> {
        let seen = self.seen.as_mut()?;
        loop {
            let (now, voice) = (seen.borrow_and_update().clone(), *self.voice.borrow_and_update());
            let sight = voice.filter(|_| now.is_sighted).map(|gaps| (now.changes, gaps));
            if sight != self.sight {
                // Who was blind for a moment has missed something, and hears of that first.
                let was_sighted = self.sight.take().is_some();
                if was_sighted {
                    return Some(Told::Blind);
                }
                self.sight = sight;
                return Some(Told::Sighted);
            }
            if let Some((number, balance)) = now.newest.filter(|(number, _)| Some(*number) > self.told) {
                self.told = Some(number);
                return Some(Told::Balance(number, balance));
            }
            tokio::select! {
                changed = seen.changed() => changed.ok()?,
                changed = self.voice.changed() => changed.ok()?,
            }
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        drop(self.seen.take());
        self.registry.left(self.account);
    }
}

impl Registry {
    pub(crate) fn new(most: usize) -> Self {
        Self { most, accounts: Mutex::default(), changed: Notify::new(), voices: Voices::default() }
    }

    fn with<T>(&self, act: impl FnOnce(&mut Accounts) -> T) -> T {
        act(&mut self.accounts.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Watches an account whose balance this node tells.
    pub(crate) fn watch(self: &Arc<Self>, account: AccountId, from: NodeId) -> Option<Watch> {
        let seen = self.with(|accounts| {
            if let Some(watched) = accounts.watched.get(&account) {
                return Some(watched.subscribe());
            }
            if accounts.watched.len() >= self.most {
                return None;
            }
            let (sender, seen) = watch::channel(Seen::default());
            accounts.watched.insert(account, sender);
            accounts.changed.push(account);
            Some(seen)
        })?;
        self.changed.notify_one();
        let (registry, voice) = (Arc::clone(self), self.voices.of(from));
        Some(Watch { registry, account, seen: Some(seen), voice, sight: None, told: None })
    }

    fn left(&self, account: AccountId) {
        let is_last = self.with(|accounts| {
            let is_last = accounts.watched.get(&account).is_some_and(|watched| watched.receiver_count() == 0);
            if is_last {
                accounts.watched.remove(&account);
                accounts.changed.push(account);
            }
            is_last
        });
        if is_last {
            self.changed.notify_one();
        }
    }

    pub(crate) fn count(&self) -> usize {
        self.with(|accounts| accounts.watched.len())
    }

    /// The accounts that have changed, each with whether it is watched now.
    pub(crate) fn take_changed(&self) -> Vec<(AccountId, bool)> {
        self.with(|accounts| {
            let mut changed = std::mem::take(&mut accounts.changed);
            changed.sort_unstable();
            changed.dedup();
            changed.into_iter().map(|account| (account, accounts.watched.contains_key(&account))).collect()
        })
    }

    /// All accounts that are watched; none has changed then.
    pub(crate) fn take_all(&self) -> Vec<AccountId> {
        self.with(|accounts| {
            accounts.changed.clear();
            accounts.watched.keys().copied().collect()
        })
    }

    /// Balances of these accounts are heard from now on.
    pub(crate) fn sighted(&self, of: &[AccountId]) {
        self.with(|accounts| {
            for watched in of.iter().filter_map(|account| accounts.watched.get(account)) {
                watched.send_if_modified(|seen| see(seen, true));
            }
        });
    }

    /// Nothing is heard any more.
    pub(crate) fn blind(&self) {
        self.with(|accounts| {
            for watched in accounts.watched.values() {
                watched.send_if_modified(|seen| see(seen, false));
            }
        });
    }

    /// A balance was heard.
    pub(crate) fn heard(&self, account: AccountId, number: Number, balance: Bytes) {
        self.with(|accounts| {
            if let Some(watched) = accounts.watched.get(&account) {
                watched.send_if_modified(|seen| {
                    let is_newer = seen.newest.as_ref().is_none_or(|(newest, _)| number > *newest);
                    if is_newer {
                        seen.newest = Some((number, balance));
                    }
                    is_newer
                });
            }
        });
    }
}

fn see(seen: &mut Seen, is_sighted: bool) -> bool {
    let changes = seen.is_sighted != is_sighted;
    seen.is_sighted = is_sighted;
    seen.changes += u64::from(changes);
    changes
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;
    use uuid::Uuid;

    use super::*;

    const ONE: AccountId = AccountId(Uuid::from_u128(1));
    const OWNER: NodeId = NodeId(Uuid::from_u128(9));

    fn number(epoch: i64, place: u64) -> Number {
        Number { epoch, place }
    }

    fn next(watch: &mut Watch) -> Option<Told> {
        watch.next().now_or_never().flatten()
    }

    #[test]
    fn an_older_balance_never_comes_after_a_newer_one() {
        let registry = Arc::new(Registry::new(10));
        let mut watch = registry.watch(ONE, OWNER).unwrap();
        let heard = |epoch, place, text: &'static str| registry.heard(ONE, number(epoch, place), text.into());
        heard(1, 5, "a");
        assert_eq!(next(&mut watch), Some(Told::Balance(number(1, 5), "a".into())));
        heard(1, 4, "old");
        heard(0, 9, "older");
        heard(1, 5, "the same");
        assert_eq!(next(&mut watch), None);
        heard(2, 1, "of the next owner");
        heard(1, 6, "late");
        assert_eq!(next(&mut watch), Some(Told::Balance(number(2, 1), "of the next owner".into())));
        heard(2, 2, "b");
        heard(2, 3, "c");
        assert_eq!(next(&mut watch), Some(Told::Balance(number(2, 3), "c".into())), "the newest alone");
        assert_eq!(next(&mut watch), None);
    }

    #[test]
    fn who_was_blind_for_a_moment_hears_of_it() {
        let registry = Arc::new(Registry::new(10));
        let mut watch = registry.watch(ONE, OWNER).unwrap();
        let speaks = |untold| registry.voices.spoke(OWNER, untold, std::time::Instant::now());
        assert_eq!(next(&mut watch), None, "it begins blind");
        registry.sighted(&[ONE]);
        assert_eq!(next(&mut watch), None, "the owner says nothing yet");
        speaks(0);
        assert_eq!(next(&mut watch), Some(Told::Sighted));
        registry.blind();
        registry.sighted(&[ONE]);
        assert_eq!(next(&mut watch), Some(Told::Blind));
        assert_eq!(next(&mut watch), Some(Told::Sighted));
        assert_eq!(next(&mut watch), None);
        speaks(1);
        assert_eq!(next(&mut watch), Some(Told::Blind), "the owner could not tell something");
        assert_eq!(next(&mut watch), Some(Told::Sighted));
        for _ in 0..3 {
            registry.blind();
            registry.sighted(&[ONE]);
        }
        registry.blind();
        assert_eq!(next(&mut watch), Some(Told::Blind));
        assert_eq!(next(&mut watch), None);
    }

    #[test]
    fn accounts_are_watched_once_and_forgotten_with_the_last() {
        let registry = Arc::new(Registry::new(1));
        let (one, two) = (registry.watch(ONE, OWNER).unwrap(), registry.watch(ONE, OWNER).unwrap());
        assert!(registry.watch(AccountId(Uuid::from_u128(2)), OWNER).is_none(), "the limit");
        assert_eq!(registry.take_changed(), [(ONE, true)]);
        drop(one);
        assert_eq!((registry.count(), registry.take_changed()), (1, vec![]));
        drop(two);
        assert_eq!((registry.count(), registry.take_changed()), (0, vec![(ONE, false)]));
        let again = registry.watch(ONE, OWNER).unwrap();
        assert_eq!(registry.take_all(), [ONE]);
        assert_eq!(registry.take_changed(), []);
        drop(again);
    }
}
