//! Whether the rest of a stream is read for its usage after nobody watches it any more (design, chapter 2.5): so many of each
//! provider's at a time, and only where the provider's usage can be learnt so. A provider whose last stream ended without any
//! is not expected to tell it in the next.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The drains of all providers.
#[derive(Debug)]
pub(super) struct Drains(HashMap<Arc<str>, Arc<Drain>>);

/// One provider's.
#[derive(Debug)]
pub(super) struct Drain {
    permits: Arc<Semaphore>,
    /// Whether its last stream that came to its end told its usage.
    tells: AtomicBool,
}

impl Drain {
    fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { permits: Arc::new(Semaphore::new(most)), tells: AtomicBool::new(true) })
    }

    /// Notes whether a stream that came to its end told its usage.
    pub(super) fn ended(&self, tells: bool) {
        self.tells.store(tells, Ordering::Relaxed);
    }

    /// A permit to read a stream on; `None` where nothing would be learnt, or too many are read already.
    pub(super) fn begin(&self) -> Option<OwnedSemaphorePermit> {
        let tells = self.tells.load(Ordering::Relaxed);
        tells.then(|| Arc::clone(&self.permits).try_acquire_owned().ok()).flatten()
    }
}

impl Drains {
    /// So many at a time of each of these providers.
    pub(super) fn of<'a>(providers: impl Iterator<Item = &'a str>, most: usize) -> Self {
        Self(providers.map(|provider| (provider.into(), Drain::new(most))).collect())
    }

    /// A provider's; none are read on of one that is not called.
    pub(super) fn get(&self, provider: &str) -> Arc<Drain> {
        self.0.get(provider).map_or_else(|| Drain::new(0), Arc::clone)
    }

    /// Has no stream read on from now on.
    pub(super) fn close(&self) {
        self.0.values().for_each(|drain| drain.permits.close());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_of_each_provider_and_none_that_tells_nothing() {
        let drains = Drains::of(["a", "b"].into_iter(), 2);
        let a = drains.get("a");
        let permits = [a.begin(), a.begin()];
        assert!(permits.iter().all(Option::is_some) && a.begin().is_none());
        assert!(drains.get("b").begin().is_some() && drains.get("farebox").begin().is_none());
        drop(permits);
        a.ended(false);
        assert!(drains.get("a").begin().is_none() && drains.get("b").begin().is_some());
        a.ended(true);
        assert!(drains.get("a").begin().is_some());
        drains.close();
        assert!(drains.get("a").begin().is_none());
    }
}
