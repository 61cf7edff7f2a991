//! Requests with idempotency keys that run in this process, so that a duplicate waits for the first request and does
//! not ask the database again and again. A leader ends by publishing an answer, or by being dropped: then its followers
//! look again.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use ledger::idempotency::Slot;
use tokio::sync::watch;

use super::{Asked, KeptAnswer};

/// The most simultaneous requests with keys.
pub const MOST: usize = 4_096;
/// The most waiting duplicates of one request.
pub const MOST_WAITING: usize = 1_024;
/// How long a duplicate waits for the first request.
pub const LONGEST_WAIT: Duration = Duration::from_mins(1);

/// The channel to the followers: nothing yet, or the answer.
type Published = watch::Receiver<Option<Arc<KeptAnswer>>>;

struct Running {
    fingerprint: [u8; 32],
    published: Published,
    /// Cloned by each follower.
    waiting: Arc<()>,
}

/// The requests with keys that run in a process, shared by clones.
#[derive(Clone, Default)]
pub struct SingleFlight(Arc<Mutex<HashMap<Slot, Running>>>);

/// Whether a request is the first under its key now.
pub enum Joined {
    /// The request is the first.
    Leader(Leader),
    /// The same request runs.
    Follower(Wait),
    /// Another request runs under this key.
    Reused,
    /// Too many requests run or wait.
    Full,
}

/// The result of a wait.
#[derive(Debug, PartialEq, Eq)]
pub enum Waited {
    /// The answer of the first request.
    Answer(Arc<KeptAnswer>),
    /// The first request ended without an answer that can be shared.
    LookAgain,
    /// The first request still runs.
    TooLong,
}

impl SingleFlight {
    fn lock(&self) -> MutexGuard<'_, HashMap<Slot, Running>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The number of running requests.
    pub fn count(&self) -> usize {
        self.lock().len()
    }

    /// Takes a key, or finds the request that has it.
    pub fn join(&self, asked: &Asked) -> Joined {
        let mut running = self.lock();
        let count = running.len();
        match running.entry(asked.slot) {
            Entry::Occupied(entry) => {
                let Running { fingerprint, published, waiting } = entry.get();
                if *fingerprint != asked.fingerprint {
                    Joined::Reused
                } else if Arc::strong_count(waiting) > MOST_WAITING {
                    Joined::Full
                } else {
                    Joined::Follower(Wait { published: published.clone(), _waiting: Arc::clone(waiting) })
                }
            }
            Entry::Vacant(_) if count >= MOST => Joined::Full,
            Entry::Vacant(entry) => {
                let (sender, published) = watch::channel(None);
                entry.insert(Running { fingerprint: asked.fingerprint, published, waiting: Arc::default() });
                Joined::Leader(Leader { single_flight: self.clone(), slot: asked.slot, sender })
            }
        }
    }
}

/// The first request under a key. Dropping it gives the key up.
pub struct Leader {
    single_flight: SingleFlight,
    slot: Slot,
    sender: watch::Sender<Option<Arc<KeptAnswer>>>,
}

impl Leader {
    /// Gives the answer to all followers.
    pub fn publish(self, answer: Arc<KeptAnswer>) {
        self.sender.send_replace(Some(answer));
    }
}

impl Drop for Leader {
    fn drop(&mut self) {
        self.single_flight.lock().remove(&self.slot);
    }
}

/// A follower of the first request.
pub struct Wait {
    published: Published,
    _waiting: Arc<()>,
}

impl Wait {
    /// Waits for the first request, at most for `at_most`.
    pub async fn until_published(mut self, at_most: Duration) -> Waited {
        match tokio::time::timeout(at_most, self.published.wait_for(Option::is_some)).await {
            Err(_) => Waited::TooLong,
            Ok(Err(_)) => Waited::LookAgain,
            Ok(Ok(answer)) => answer.clone().map_or(Waited::LookAgain, Waited::Answer),
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::super::{Call, Holder, Key, Repeat};
    use super::*;

    const SHORT: Duration = Duration::from_millis(1);
    const LONG: Duration = Duration::from_mins(1);

    fn asked(key: &str, body: &str) -> Asked {
        let call = Call { method: "POST", path: "/", query: "", headers: [None; 3], body: body.as_bytes() };
        Asked::new(Holder::Operator, &Key::parse(key.as_bytes()).unwrap(), Repeat::Anew, call)
    }

    fn first(single_flight: &SingleFlight, asked: &Asked) -> Leader {
        match single_flight.join(asked) {
            Joined::Leader(leader) => leader,
            _ => panic!("the key is free"),
        }
    }

    fn duplicate(single_flight: &SingleFlight, asked: &Asked) -> Wait {
        match single_flight.join(asked) {
            Joined::Follower(wait) => wait,
            _ => panic!("the same request runs"),
        }
    }

    #[tokio::test]
    async fn duplicates_get_the_firsts_answer_and_others_are_refused() {
        let single_flight = SingleFlight::default();
        let leader = first(&single_flight, &asked("k", "a"));
        let waits: Vec<_> = (0..20).map(|_| duplicate(&single_flight, &asked("k", "a"))).collect();
        assert!(matches!(single_flight.join(&asked("k", "b")), Joined::Reused));
        let other = first(&single_flight, &asked("other", "a"));
        assert_eq!(single_flight.count(), 2);
        assert_eq!(duplicate(&single_flight, &asked("k", "a")).until_published(SHORT).await, Waited::TooLong);
        let answer = Arc::new(KeptAnswer { status: 200, headers: Vec::new(), body: Bytes::from_static(b"x") });
        leader.publish(Arc::clone(&answer));
        for wait in waits {
            assert_eq!(wait.until_published(LONG).await, Waited::Answer(Arc::clone(&answer)));
        }
        drop(other);
        assert_eq!(single_flight.count(), 0);
    }

    #[tokio::test]
    async fn a_first_one_that_dies_lets_those_who_wait_look_again() {
        let single_flight = SingleFlight::default();
        let leader = first(&single_flight, &asked("k", "a"));
        let wait = duplicate(&single_flight, &asked("k", "a"));
        drop(leader);
        assert_eq!(wait.until_published(LONG).await, Waited::LookAgain);
        drop(first(&single_flight, &asked("k", "b")));
    }

    #[test]
    fn so_many_run_and_so_many_wait() {
        let single_flight = SingleFlight::default();
        let all: Vec<_> = (0..MOST).map(|n| first(&single_flight, &asked(&n.to_string(), "a"))).collect();
        assert!(matches!(single_flight.join(&asked("one more", "a")), Joined::Full));
        let waits: Vec<_> = (0..MOST_WAITING).map(|_| duplicate(&single_flight, &asked("0", "a"))).collect();
        assert!(matches!(single_flight.join(&asked("0", "a")), Joined::Full));
        drop((all, waits));
        drop(first(&single_flight, &asked("one more", "a")));
    }
}
