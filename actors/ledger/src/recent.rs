//! Changes of keys that the log has and the tables may not have yet. A caller is let in, or kept out, by what the log has,
//! however far the tables are behind.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
};

use billing::{Timestamp, entry::Transition, key::ApiKey, resource::Resource};
use tokio::sync::broadcast;

/// The changes of one key.
#[derive(Debug, Clone, Default)]
pub(super) struct Recent {
    /// The number of the append with the last change.
    number: u64,
    /// The key, if it is new.
    pub(super) opened: Option<ApiKey>,
    /// When the key was revoked, if it was.
    pub(super) revoked_at: Option<Timestamp>,
}

/// The most revocations that wait for whoever listens. One who misses some is told so.
const UNTOLD: usize = 1_024;

/// The changes, by the public part of their keys; shared by clones.
#[derive(Debug, Clone)]
pub(super) struct RecentKeys {
    keys: Arc<RwLock<HashMap<String, Recent>>>,
    /// Tells the public part of each key that is revoked, when that is durable, whoever asked for it and whatever was
    /// answered.
    revoked: broadcast::Sender<String>,
    /// The same for those that this process has made durable itself.
    revoked_here: broadcast::Sender<String>,
}

impl Default for RecentKeys {
    fn default() -> Self {
        Self {
            keys: Arc::default(),
            revoked: broadcast::Sender::new(UNTOLD),
            revoked_here: broadcast::Sender::new(UNTOLD),
        }
    }
}

impl RecentKeys {
    /// Notes the changes in a row of the log, which was appended by this number.
    pub(super) fn note(&self, number: u64, transitions: &[Transition]) {
        for resource in transitions.iter().flat_map(|transition| &transition.resources) {
            let (public, change): (_, &dyn Fn(&mut Recent)) = match resource {
                Resource::KeyOpened(key) => (&key.public, &|recent| recent.opened = Some(key.clone())),
                Resource::KeyRevoked { public, at, .. } => (public, &|recent| recent.revoked_at = Some(*at)),
                _ => continue,
            };
            let mut keys = self.keys.write().unwrap_or_else(PoisonError::into_inner);
            let recent = keys.entry(public.clone()).or_default();
            recent.number = number;
            change(recent);
            drop(keys);
            if matches!(resource, Resource::KeyRevoked { .. }) {
                // There may be no receiver.
                let _ = self.revoked.send(public.clone());
                let _ = self.revoked_here.send(public.clone());
            }
        }
    }

    /// Another node has made a revocation durable.
    pub(super) fn revoked_elsewhere(&self, public: String) {
        let _ = self.revoked.send(public);
    }

    /// The revocations that this process makes durable from now on.
    pub(super) fn revocations_here(&self) -> broadcast::Receiver<String> {
        self.revoked_here.subscribe()
    }

    /// The revocations from now on.
    pub(super) fn revocations(&self) -> broadcast::Receiver<String> {
        self.revoked.subscribe()
    }

    /// Forgets the changes in appends up to `projected`, which the tables have.
    pub(super) fn forget(&self, projected: u64) {
        if !self.keys.read().unwrap_or_else(PoisonError::into_inner).is_empty() {
            self.keys.write().unwrap_or_else(PoisonError::into_inner).retain(|_, recent| recent.number > projected);
        }
    }

    /// The changes of a key. What is not here is in the tables: ask for it before they are read.
    pub(super) fn of(&self, public: &str) -> Recent {
        self.keys.read().unwrap_or_else(PoisonError::into_inner).get(public).cloned().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use std::slice;

    use billing::{
        account::Header,
        ids::{AccountId, KeyId},
        key::{KeyLimits, Scopes},
        plan::Plan,
    };
    use uuid::Uuid;

    use super::*;
    use crate::{
        Ledger, catch_up,
        log::{Shard, tail::Tail},
        project::Logged,
        tests::new_ledger,
    };

    const ACCOUNT: AccountId = AccountId(Uuid::from_u128(1));
    const KEY: KeyId = KeyId(Uuid::from_u128(2));

    fn opened(public: &str) -> Resource {
        Resource::KeyOpened(ApiKey {
            id: KEY,
            account_id: ACCOUNT,
            name: "a".into(),
            public: public.into(),
            hash: "h".into(),
            limits: KeyLimits::default(),
            scopes: Scopes::ALL,
            created_at: Timestamp(0),
            expires_at: None,
            revoked_at: None,
        })
    }

    fn revoked(public: &str) -> Resource {
        Resource::KeyRevoked { id: KEY, public: public.into(), at: Timestamp(5) }
    }

    /// Appends a change that is not in the tables.
    async fn append(ledger: &Ledger, tail: &mut Tail, resource: Resource) -> (Logged, u64) {
        let unchanged = Transition::unchanged(ACCOUNT, 0, Timestamp(0), Header::new(Plan::Free, Timestamp(0)));
        let row = tail.next(&[Transition { resources: vec![resource], ..unchanged }], Timestamp(0));
        assert!(ledger.append(slice::from_ref(&row)).await.unwrap().is_empty());
        tail.advance(&row);
        let logged = catch_up::read(&row).unwrap();
        let number = ledger.appended(slice::from_ref(&logged));
        (logged, number)
    }

    #[tokio::test]
    async fn a_key_is_known_from_the_log_before_the_tables_have_it() {
        let (ledger, _folder) = new_ledger().await;
        ledger.create_account(ACCOUNT, "a@b.org", Plan::Free, Timestamp(0)).await.unwrap();
        let mut tail = ledger.tail(Shard::FIRST).unwrap();
        let (first, first_number) = append(&ledger, &mut tail, opened("one")).await;
        let found = ledger.key("one").await.unwrap().unwrap();
        assert_eq!((found.id, found.revoked_at), (KEY, None));
        assert_eq!(ledger.key("two").await.unwrap(), None);
        // The tables have the key, and not yet that it was revoked.
        let (second, second_number) = append(&ledger, &mut tail, revoked("one")).await;
        ledger.project(&[first]).await.unwrap();
        ledger.projected(first_number);
        let found = ledger.key("one").await.unwrap().unwrap();
        assert_eq!(found.revoked_at, Some(Timestamp(5)));
        ledger.project(&[second]).await.unwrap();
        ledger.projected(second_number);
        assert!(ledger.recent.of("one").opened.is_none(), "what the tables have is forgotten");
        assert_eq!(ledger.key("one").await.unwrap().unwrap().revoked_at, Some(Timestamp(5)));
        assert_eq!(ledger.working_keys(ACCOUNT).await.unwrap(), 0);
    }
}
