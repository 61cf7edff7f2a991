//! The requests that run in this process: whether a request does, how it is asked to end early, and where its task
//! reads the amounts held for it. It belongs to the process that runs the requests, not to their accounts. An account,
//! in any of its lives, publishes a request's hold here, and shares nothing with the request's task. A request's task
//! publishes how far it is. No account and no rule is known here.

mod progress;

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, Weak},
};

use billing::{
    Nanos, Timestamp,
    ids::{AccountId, IdMap, KeyId, RequestId},
};
use runtime::node::NodeId;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use uuid::Uuid;

use progress::Progress;
pub use progress::{About, SeenRequest, Stage};

/// The amounts held for a running request, as they last became durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
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

/// Where a request's guard reads the amounts held for it, and notes how far the request is. Nobody waits for them to change,
/// so that this is no channel.
#[derive(Debug, Clone)]
pub(crate) struct Held(Arc<Mutex<Progress>>);

impl Held {
    fn lock(&self) -> MutexGuard<'_, Progress> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The amounts as they were published last.
    pub(crate) fn now(&self) -> Amounts {
        self.lock().amounts
    }

    fn publish(&self, amounts: Amounts) {
        self.lock().amounts = amounts;
    }

    /// Notes that the request is at a stage.
    pub(crate) fn is_at(&self, stage: Stage, now: Timestamp) {
        self.lock().is_at(stage, now);
    }

    /// Notes what the request costs so far.
    pub(crate) fn costs(&self, cost: Nanos) {
        self.lock().cost = cost;
    }
}

/// Requests that run in this process, from before their admission until their guard is dropped.
#[derive(Debug, Clone, Default)]
pub struct Running {
    requests: Arc<Mutex<IdMap<RequestId, Request>>>,
    /// Requests that have ended, and whose captures wait for the ledger.
    unsettled: Arc<Mutex<HashSet<RequestId>>>,
    /// The marks of other nodes that live; `None` if there is one node.
    others: Arc<RwLock<Option<HashSet<u16>>>>,
    /// This process as one of several nodes.
    node: Arc<OnceLock<NodeId>>,
}

/// Where a request is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whereabouts {
    /// It runs here, or has ended here and waits to be settled.
    Runs,
    /// It may run at another node that lives, or have ended there: that node says so, or its hold's time is over.
    Elsewhere,
    /// It does not run here. What ends it may be on its way.
    Unknown,
    /// It ran at a node that is no more.
    Gone,
}

/// The mark that a node's requests have in their ids: two random bytes of both are alike. They are not the last ones, by
/// which accounts are divided: an account may have the id of the request that opened it.
const fn mark(id: Uuid) -> u16 {
    let bytes = id.as_bytes();
    u16::from_be_bytes([bytes[9], bytes[10]])
}

/// The bits of an id that are its mark.
const MARK: u128 = 0xffff << 40;

/// The state of a running request.
#[derive(Debug)]
struct Request {
    /// Asks the request to end early, where that is possible.
    end: Option<Weak<Notify>>,
    /// Publishes the request's hold to its guard.
    held: Held,
    /// What was asked.
    about: About,
}

impl Request {
    fn seen(&self, id: RequestId) -> SeenRequest {
        let can_end = self.end.as_ref().is_some_and(|end| end.strong_count() > 0);
        let Progress { amounts, stage, since, cost } = *self.held.lock();
        SeenRequest { id, about: self.about.clone(), stage, since, cost, amounts, can_end }
    }
}

impl Running {
    fn lock(&self) -> MutexGuard<'_, IdMap<RequestId, Request>> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes which other nodes live.
    pub fn others(&self, nodes: impl Iterator<Item = NodeId>) {
        let marks = nodes.map(|node| mark(node.0)).collect();
        *self.others.write().unwrap_or_else(PoisonError::into_inner) = Some(marks);
    }

    /// Where a request is, as far as that is known here.
    pub fn whereabouts(&self, id: RequestId) -> Whereabouts {
        let others = self.others.read().unwrap_or_else(PoisonError::into_inner);
        match (others.as_ref(), self.node.get()) {
            _ if self.contains(id) || self.is_unsettled(id) => Whereabouts::Runs,
            (Some(others), _) if others.contains(&mark(id.0)) => Whereabouts::Elsewhere,
            (Some(_), Some(node)) if mark(node.0) != mark(id.0) => Whereabouts::Gone,
            _ => Whereabouts::Unknown,
        }
    }

    /// This process is one of several nodes from now on.
    pub fn is_node(&self, node: NodeId) {
        // A process is one node.
        let _ = self.node.set(node);
    }

    /// A new request's id. Where there are several nodes, it tells which one runs the request.
    pub fn new_id(&self) -> RequestId {
        let id = Uuid::now_v7();
        let marked = self.node.get().map(|node| (id.as_u128() & !MARK) | (node.0.as_u128() & MARK));
        RequestId(marked.map_or(id, Uuid::from_u128))
    }

    /// Whether a request has the mark of a node: that one runs it, or has run it.
    pub fn is_of(id: RequestId, node: NodeId) -> bool {
        mark(id.0) == mark(node.0)
    }

    /// Notes a request that is about to be admitted. Its guard reads the hold where this returns.
    pub(crate) fn insert(&self, id: RequestId, about: About) -> Held {
        let held = Held(Arc::new(Mutex::new(Progress::began(about.asked_at))));
        self.lock().insert(id, Request { end: None, held: held.clone(), about });
        held
    }

    /// A request that runs here, as it is seen now.
    pub fn seen(&self, id: RequestId) -> Option<SeenRequest> {
        self.lock().get(&id).map(|request| request.seen(id))
    }

    /// The oldest requests that run here, of an account or of one of its keys where they are given: at most so many, and the
    /// number of all such.
    pub fn oldest(&self, of: Option<AccountId>, by: Option<KeyId>, most: usize) -> (Vec<SeenRequest>, usize) {
        let running = self.lock();
        let is_wanted = |about: &About| {
            of.is_none_or(|account| about.account_id == account) && by.is_none_or(|key| about.key_id == Some(key))
        };
        let wanted = running.iter().filter(|(_, request)| is_wanted(&request.about));
        let mut found: Vec<_> = wanted.map(|(id, request)| (request.about.asked_at, id.0, request)).collect();
        let all = found.len();
        let order =
            |one: &(Timestamp, Uuid, &Request), two: &(Timestamp, Uuid, &Request)| (one.0, one.1).cmp(&(two.0, two.1));
        if most < all {
            found.select_nth_unstable_by(most, order);
            found.truncate(most);
        }
        found.sort_unstable_by(order);
        (found.into_iter().map(|(_, id, request)| request.seen(RequestId(id))).collect(), all)
    }

    /// Asks a running request to end, as if its client had left. Returns whether it can be asked: one that its account was
    /// not asked to let in yet, or that waits for that, can't.
    pub fn end(&self, id: RequestId) -> bool {
        let end = self.lock().get(&id).and_then(|request| request.end.as_ref()?.upgrade());
        end.map(|end| end.notify_one()).is_some()
    }

    /// Publishes a request's hold. A request that ended meanwhile is ignored.
    pub(crate) fn holds(&self, id: RequestId, amounts: Amounts) {
        if let Some(request) = self.lock().get(&id) {
            request.held.publish(amounts);
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

    /// A request's capture waits for the ledger: nobody else is to settle it meanwhile.
    pub(crate) fn waits(&self, id: RequestId) {
        self.unsettled.lock().unwrap_or_else(PoisonError::into_inner).insert(id);
    }

    /// A request's capture waits no more.
    pub(crate) fn is_settled(&self, id: RequestId) {
        self.unsettled.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
    }

    fn is_unsettled(&self, id: RequestId) -> bool {
        self.unsettled.lock().unwrap_or_else(PoisonError::into_inner).contains(&id)
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

    fn about(account: AccountId) -> About {
        let (key_id, asked_at) = (Some(KeyId(account.0)), Timestamp(7));
        About { account_id: account, key_id, model: "m".into(), provider: "p".into(), asked_at }
    }

    fn some() -> About {
        about(AccountId(Uuid::nil()))
    }

    #[test]
    fn who_asks_sees_the_oldest_of_an_account_and_how_far_each_is() {
        let running = Running::default();
        let [ada, bob] = [1, 2].map(|number| AccountId(Uuid::from_u128(number)));
        let id = |number: u128| RequestId(Uuid::from_u128(number));
        let held: Vec<_> =
            (1..=9).map(|number| running.insert(id(number), about(if number % 3 == 0 { bob } else { ada }))).collect();
        held[2].is_at(Stage::Computing, Timestamp(20));
        held[2].is_at(Stage::Computing, Timestamp(30));
        held[2].costs(Nanos::new(5));
        let ids = |seen: Vec<SeenRequest>| seen.into_iter().map(|seen| seen.id).collect::<Vec<_>>();
        let (seen, all) = running.oldest(Some(ada), None, 3);
        assert_eq!((ids(seen), all), (vec![id(1), id(2), id(4)], 6));
        let (seen, all) = running.oldest(None, Some(KeyId(bob.0)), 9);
        assert_eq!((ids(seen), all), (vec![id(3), id(6), id(9)], 3));
        let seen = running.seen(id(3)).unwrap();
        assert_eq!((seen.stage, seen.since, seen.cost), (Stage::Computing, Timestamp(20), Nanos::new(5)));
        assert!(running.seen(id(10)).is_none() && !running.end(id(3)) && !seen.can_end);
    }

    #[test]
    fn a_request_hears_what_it_holds_until_it_is_over() {
        let (running, id) = (Running::default(), RequestId(Uuid::now_v7()));
        let held = running.insert(id, some());
        assert_eq!(held.now(), Amounts::NOTHING);
        let grown = Amounts { held: Nanos::new(7), claimed: Some(Nanos::new(9)) };
        running.holds(id, grown);
        assert_eq!(held.now(), grown);
        running.remove(id);
        running.holds(id, Amounts::NOTHING);
        assert_eq!((held.now(), running.contains(id), running.count()), (grown, false, 0));
    }

    #[test]
    fn a_request_of_another_node_may_run_as_long_as_that_node_lives() {
        let [here, there] = [(); 2].map(|()| Running::default());
        let [one, two] = [(); 2].map(|()| NodeId(Uuid::new_v4()));
        here.is_node(one);
        there.is_node(two);
        let id = there.new_id();
        assert_eq!((here.whereabouts(id), id.0.get_version_num()), (Whereabouts::Unknown, 7), "no node was seen yet");
        here.others([two].into_iter());
        assert_eq!(here.whereabouts(id), Whereabouts::Elsewhere);
        assert!(Running::is_of(id, two) && !Running::is_of(id, one));
        assert_eq!(here.whereabouts(here.new_id()), Whereabouts::Unknown);
        here.others([].into_iter());
        assert_eq!(here.whereabouts(id), Whereabouts::Gone);
        let _held = here.insert(id, some());
        assert_eq!(here.whereabouts(id), Whereabouts::Runs);
        let low = |id: RequestId| id.0.as_bytes()[14..].to_vec();
        assert!((0..20).any(|_| low(there.new_id()) != low(id)), "ids are divided as accounts are");
    }

    #[test]
    fn a_request_whose_capture_waits_is_settled_by_nobody_else_and_runs_no_more() {
        let (running, id) = (Running::default(), RequestId(Uuid::now_v7()));
        running.is_node(NodeId(Uuid::new_v4()));
        running.others(std::iter::empty());
        assert_eq!(running.whereabouts(id), Whereabouts::Gone);
        running.waits(id);
        assert_eq!((running.whereabouts(id), running.count()), (Whereabouts::Runs, 0));
        running.is_settled(id);
        assert_eq!(running.whereabouts(id), Whereabouts::Gone);
    }

    #[tokio::test]
    async fn only_who_can_be_told_to_end_is_told() {
        let running = Running::default();
        let [told, silent, gone] = [(); 3].map(|()| RequestId(Uuid::now_v7()));
        let _held = [told, silent, gone].map(|id| running.insert(id, some()));
        let cancel = Arc::new(Notify::new());
        running.ends_with(told, &cancel);
        running.ends_with(gone, &Arc::new(Notify::new()));
        assert_eq!(running.end_all(), 1);
        cancel.notified().await;
        assert!(running.end(told) && !running.end(silent) && !running.end(gone));
        cancel.notified().await;
    }
}
