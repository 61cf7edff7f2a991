//! The requests that run in this process: whether one does, how each is told to end early, and where its task hears what is
//! set aside for it. It belongs to the process that runs the requests, not to their accounts: an account, in whichever of its
//! lives, says here what a request holds, and shares nothing with the request's task. Knows no account and no rule.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

use billing::{Nanos, ids::RequestId};
use tokio::sync::{Notify, watch};

/// What is set aside for a running request, as it last became durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Amounts {
    /// All that is set aside.
    pub held: Nanos,
    /// The most the request may come to by its key's limits, as far as they reach; none where they are none.
    pub claimed: Option<Nanos>,
}

impl Amounts {
    /// Nothing is set aside yet.
    pub const NOTHING: Self = Self { held: Nanos::ZERO, claimed: None };
}

/// Requests that run in this process, from before they are admitted until their guard is gone.
#[derive(Debug, Clone, Default)]
pub struct Running(Arc<Mutex<HashMap<RequestId, Request>>>);

/// What is known of a running request.
#[derive(Debug)]
struct Request {
    /// How it is told to end early, where it can be.
    end: Option<Weak<Notify>>,
    /// How its guard is told what it holds.
    amounts: watch::Sender<Amounts>,
}

impl Running {
    fn lock(&self) -> MutexGuard<'_, HashMap<RequestId, Request>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a request that is about to be admitted; its guard hears there what it holds.
    pub(crate) fn insert(&self, id: RequestId) -> watch::Receiver<Amounts> {
        let (amounts, heard) = watch::channel(Amounts::NOTHING);
        self.lock().insert(id, Request { end: None, amounts });
        heard
    }

    /// Tells a request what it holds now. One that ended meanwhile no longer listens.
    pub(crate) fn holds(&self, id: RequestId, amounts: Amounts) {
        if let Some(request) = self.lock().get(&id) {
            request.amounts.send_replace(amounts);
        }
    }

    /// Forgets a request that is over.
    pub(crate) fn remove(&self, id: RequestId) {
        self.lock().remove(&id);
    }

    /// Notes that a request which runs ends when this is notified.
    pub fn ends_with(&self, id: RequestId, cancel: &Arc<Notify>) {
        if let Some(request) = self.lock().get_mut(&id) {
            request.end = Some(Arc::downgrade(cancel));
        }
    }

    /// Tells all that can be told to end; how many those are.
    pub fn end_all(&self) -> usize {
        let ends: Vec<_> = self.lock().values().filter_map(|request| request.end.as_ref()?.upgrade()).collect();
        for end in &ends {
            end.notify_one();
        }
        ends.len()
    }

    /// Whether it runs here.
    pub fn contains(&self, id: RequestId) -> bool {
        self.lock().contains_key(&id)
    }

    /// How many run here.
    pub fn count(&self) -> usize {
        self.lock().len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    #[test]
    fn a_request_hears_what_it_holds_until_it_is_over() {
        let (running, id) = (Running::default(), RequestId(Uuid::now_v7()));
        let heard = running.insert(id);
        assert_eq!(*heard.borrow(), Amounts::NOTHING);
        let grown = Amounts { held: Nanos::new(7), claimed: Some(Nanos::new(9)) };
        running.holds(id, grown);
        assert_eq!(*heard.borrow(), grown);
        running.remove(id);
        running.holds(id, Amounts::NOTHING);
        assert_eq!((*heard.borrow(), running.contains(id), running.count()), (grown, false, 0));
    }

    #[tokio::test]
    async fn only_who_can_be_told_to_end_is_told() {
        let running = Running::default();
        let [told, silent, gone] = [(); 3].map(|()| RequestId(Uuid::now_v7()));
        let _heard = [told, silent, gone].map(|id| running.insert(id));
        let cancel = Arc::new(Notify::new());
        running.ends_with(told, &cancel);
        running.ends_with(gone, &Arc::new(Notify::new()));
        assert_eq!(running.end_all(), 1);
        cancel.notified().await;
    }
}
