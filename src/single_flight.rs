//! Single flight: of equal requests in this process one runs, and the others wait for it. A leader ends by publishing what it
//! has for them, or by being dropped: then its followers look again. Knows no request and no answer.

use std::{
    collections::{HashMap, hash_map::Entry},
    hash::Hash,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::watch;

/// What runs under a key.
struct Running<W, T> {
    what: W,
    published: watch::Receiver<Option<T>>,
    /// Cloned by each follower.
    waiting: Arc<()>,
}

/// The leaders by their keys.
type ByKey<K, W, T> = HashMap<K, Running<W, T>>;

/// The requests of a process by their keys, shared by clones. `W` is what tells requests of one key apart, and `T` is what a
/// leader publishes.
pub struct SingleFlight<K, W, T> {
    running: Arc<Mutex<ByKey<K, W, T>>>,
    most: usize,
    most_waiting: usize,
}

impl<K, W, T> Clone for SingleFlight<K, W, T> {
    fn clone(&self) -> Self {
        Self { running: Arc::clone(&self.running), ..*self }
    }
}

/// Whether a request is the first under its key now.
pub enum Joined<K: Eq + Hash, W, T> {
    /// The request is the first.
    Leader(Leader<K, W, T>),
    /// The same request runs.
    Follower(Wait<T>),
    /// Another request runs under this key.
    Reused,
    /// Too many requests run or wait.
    Full,
}

/// The result of a wait.
#[derive(Debug, PartialEq, Eq)]
pub enum Waited<T> {
    /// What the first request published.
    Published(T),
    /// The first request ended without anything to share.
    LookAgain,
    /// The first request still runs.
    TooLong,
}

impl<K: Eq + Hash + Clone, W: PartialEq, T: Clone> SingleFlight<K, W, T> {
    /// With so many leaders at a time, and so many followers of each.
    pub fn new(most: usize, most_waiting: usize) -> Self {
        Self { running: Arc::default(), most, most_waiting }
    }

    /// The number of leaders.
    pub fn count(&self) -> usize {
        lock(&self.running).len()
    }

    /// Takes a key, or finds the request that has it.
    pub fn join(&self, key: &K, what: W) -> Joined<K, W, T> {
        let mut running = lock(&self.running);
        let count = running.len();
        match running.entry(key.clone()) {
            Entry::Occupied(entry) => {
                let Running { what: known, published, waiting } = entry.get();
                if *known != what {
                    Joined::Reused
                } else if Arc::strong_count(waiting) > self.most_waiting {
                    Joined::Full
                } else {
                    Joined::Follower(Wait { published: published.clone(), _waiting: Arc::clone(waiting) })
                }
            }
            Entry::Vacant(_) if count >= self.most => Joined::Full,
            Entry::Vacant(entry) => {
                let (sender, published) = watch::channel(None);
                entry.insert(Running { what, published, waiting: Arc::default() });
                Joined::Leader(Leader { running: Arc::clone(&self.running), key: key.clone(), sender })
            }
        }
    }
}

fn lock<K, W, T>(running: &Mutex<ByKey<K, W, T>>) -> MutexGuard<'_, ByKey<K, W, T>> {
    running.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The first request under a key. Dropping it gives the key up.
pub struct Leader<K: Eq + Hash, W, T> {
    running: Arc<Mutex<ByKey<K, W, T>>>,
    key: K,
    sender: watch::Sender<Option<T>>,
}

impl<K: Eq + Hash, W, T> Leader<K, W, T> {
    /// Gives this to all followers.
    pub fn publish(self, published: T) {
        self.sender.send_replace(Some(published));
    }
}

impl<K: Eq + Hash, W, T> Drop for Leader<K, W, T> {
    fn drop(&mut self) {
        lock(&self.running).remove(&self.key);
    }
}

/// A follower of the first request.
pub struct Wait<T> {
    published: watch::Receiver<Option<T>>,
    _waiting: Arc<()>,
}

impl<T: Clone> Wait<T> {
    /// Waits for the first request, at most for `at_most`.
    pub async fn until_published(mut self, at_most: Duration) -> Waited<T> {
        match tokio::time::timeout(at_most, self.published.wait_for(Option::is_some)).await {
            Err(_) => Waited::TooLong,
            Ok(Err(_)) => Waited::LookAgain,
            Ok(Ok(published)) => published.clone().map_or(Waited::LookAgain, Waited::Published),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Duration = Duration::from_millis(1);
    const LONG: Duration = Duration::from_mins(1);
    const MOST: usize = 40;

    type Flights = SingleFlight<&'static str, char, u32>;

    fn flights() -> Flights {
        SingleFlight::new(MOST, 20)
    }

    fn first(flights: &Flights, key: &'static str, what: char) -> Leader<&'static str, char, u32> {
        match flights.join(&key, what) {
            Joined::Leader(leader) => leader,
            _ => panic!("the key is free"),
        }
    }

    fn duplicate(flights: &Flights, key: &'static str, what: char) -> Wait<u32> {
        match flights.join(&key, what) {
            Joined::Follower(wait) => wait,
            _ => panic!("the same request runs"),
        }
    }

    #[tokio::test]
    async fn duplicates_get_what_the_first_publishes_and_others_are_refused() {
        let flights = flights();
        let leader = first(&flights, "k", 'a');
        let waits: Vec<_> = (0..19).map(|_| duplicate(&flights, "k", 'a')).collect();
        assert!(matches!(flights.join(&"k", 'b'), Joined::Reused));
        let other = first(&flights, "other", 'a');
        assert_eq!(flights.count(), 2);
        assert_eq!(duplicate(&flights, "k", 'a').until_published(SHORT).await, Waited::TooLong);
        leader.publish(7);
        for wait in waits {
            assert_eq!(wait.until_published(LONG).await, Waited::Published(7));
        }
        drop(other);
        assert_eq!(flights.count(), 0);
    }

    #[tokio::test]
    async fn a_first_one_that_dies_lets_those_who_wait_look_again() {
        let flights = flights();
        let leader = first(&flights, "k", 'a');
        let wait = duplicate(&flights, "k", 'a');
        drop(leader);
        assert_eq!(wait.until_published(LONG).await, Waited::LookAgain);
        drop(first(&flights, "k", 'b'));
    }

    #[test]
    fn so_many_run_and_so_many_wait() {
        let flights = SingleFlight::<usize, (), ()>::new(MOST, 20);
        let join = |key: usize| flights.join(&key, ());
        let all: Vec<_> = (0..MOST).map(join).collect();
        assert!(all.iter().all(|joined| matches!(joined, Joined::Leader(_))) && matches!(join(MOST), Joined::Full));
        let waits: Vec<_> = (0..20).map(|_| join(0)).collect();
        assert!(waits.iter().all(|joined| matches!(joined, Joined::Follower(_))) && matches!(join(0), Joined::Full));
        drop((all, waits));
        assert!(matches!(join(MOST), Joined::Leader(_)));
    }
}
