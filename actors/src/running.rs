//! The requests that run in this process: whether a request does, how it is asked to end early, and where its task
//! reads the amounts held for it. It belongs to the process that runs the requests, not to their accounts. An account,
//! in any of its lives, publishes a request's hold here, and shares nothing with the request's task. No account and no
//! rule is known here.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

use billing::{Nanos, ids::RequestId};
use tokio::sync::{Notify, watch};

/// The amounts held for a running request, as they last became durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Amounts {
    /// The whole hold.
    pub held: Nanos,
    /// The most that the request may cost by its key's limits, as far as they are known; `None` without limits.
    pub claimed: Option<Nanos>,
}

impl Amounts {
    /// No hold yet.
    pub const NOTHING: Self = Self { held: Nanos::ZERO, claimed: None };
}

/// Requests that run in this process, from before their admission until their guard is dropped.
#[derive(Debug, Clone, Default)]
pub struct Running(Arc<Mutex<HashMap<RequestId, Request>>>);

/// The state of a running request.
#[derive(Debug)]
struct Request {
    /// Asks the request to end early, where that is possible.
    end: Option<Weak<Notify>>,
    /// Publishes the request's hold to its guard.
    amounts: watch::Sender<Amounts>,
}

impl Running {
    fn lock(&self) -> MutexGuard<'_, HashMap<RequestId, Request>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a request that is about to be admitted. Its guard reads the hold from the returned channel.
    pub(crate) fn insert(&self, id: RequestId) -> watch::Receiver<Amounts> {
        let (amounts, heard) = watch::channel(Amounts::NOTHING);
        self.lock().insert(id, Request { end: None, amounts });
        heard
    }

    /// Publishes a request's hold. A request that ended meanwhile is ignored.
    pub(crate) fn holds(&self, id: RequestId, amounts: Amounts) {
        if let Some(request) = self.lock().get(&id) {
            request.amounts.send_replace(amounts);
        }
    }

    /// Removes a request that is over.
    pub(crate) fn remove(&self, id: RequestId) {
        self.lock().remove(&id);
    }

    /// Notes that a running request ends when `cancel` is notified.
    pub fn ends_with(&self, id: RequestId, cancel: &Arc<Notify>) {
        if let Some(request) = self.lock().get_mut(&id) {
            request.end = Some(Arc::downgrade(cancel));
        }
    }

    /// Asks all requests that can to end. Returns their number.
    pub fn end_all(&self) -> usize {
        let ends: Vec<_> = self.lock().values().filter_map(|request| request.end.as_ref()?.upgrade()).collect();
        for end in &ends {
            end.notify_one();
        }
        ends.len()
    }

    /// Whether a request runs here.
    pub fn contains(&self, id: RequestId) -> bool {
        self.lock().contains_key(&id)
    }

    /// The number of requests that run here.
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
