//! Requests with idempotency keys that run in this process, so that a duplicate waits for the first instead of asking the
//! database again and again. A flight ends by landing with an answer, or by being dropped: then who waits looks again.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use ledger::idempotency::Slot;
use tokio::sync::watch;

use super::{Answer, Asked};

/// Requests with keys that run at once, at most.
pub const MOST: usize = 4_096;
/// Duplicates of one request that wait, at most.
pub const MOST_WAITING: usize = 1_024;
/// How long a duplicate waits for the first.
pub const LONGEST_WAIT: Duration = Duration::from_mins(1);

/// What those who wait are told: nothing yet, or the answer.
type Landed = watch::Receiver<Option<Arc<Answer>>>;

struct Running {
    fingerprint: [u8; 32],
    landed: Landed,
    /// Cloned by each that waits.
    waiting: Arc<()>,
}

/// The flights of a process, shared by clones.
#[derive(Clone, Default)]
pub struct Flights(Arc<Mutex<HashMap<Slot, Running>>>);

/// Whether a request is the first under its key now.
pub enum Boarding {
    /// It is.
    First(Flight),
    /// The same request runs.
    Duplicate(Wait),
    /// Another request runs under this key.
    Reused,
    /// Too many run or wait.
    Full,
}

/// What came of waiting.
#[derive(Debug, PartialEq, Eq)]
pub enum Waited {
    /// The first one's answer.
    Answer(Arc<Answer>),
    /// It ended without one that could be shared.
    LookAgain,
    /// It still runs.
    TooLong,
}

impl Flights {
    fn lock(&self) -> MutexGuard<'_, HashMap<Slot, Running>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many run.
    pub fn count(&self) -> usize {
        self.lock().len()
    }

    /// Takes a key, or finds who has it.
    pub fn board(&self, asked: &Asked) -> Boarding {
        let mut running = self.lock();
        let count = running.len();
        match running.entry(asked.slot) {
            Entry::Occupied(entry) => {
                let Running { fingerprint, landed, waiting } = entry.get();
                if *fingerprint != asked.fingerprint {
                    Boarding::Reused
                } else if Arc::strong_count(waiting) > MOST_WAITING {
                    Boarding::Full
                } else {
                    Boarding::Duplicate(Wait { landed: landed.clone(), _waiting: Arc::clone(waiting) })
                }
            }
            Entry::Vacant(_) if count >= MOST => Boarding::Full,
            Entry::Vacant(entry) => {
                let (sender, landed) = watch::channel(None);
                entry.insert(Running { fingerprint: asked.fingerprint, landed, waiting: Arc::default() });
                Boarding::First(Flight { flights: self.clone(), slot: asked.slot, sender })
            }
        }
    }
}

/// The place of the first one, given up when it is dropped.
pub struct Flight {
    flights: Flights,
    slot: Slot,
    sender: watch::Sender<Option<Arc<Answer>>>,
}

impl Flight {
    /// Gives everyone who waits this answer.
    pub fn land(self, answer: Arc<Answer>) {
        self.sender.send_replace(Some(answer));
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.flights.lock().remove(&self.slot);
    }
}

/// The place of one that waits.
pub struct Wait {
    landed: Landed,
    _waiting: Arc<()>,
}

impl Wait {
    /// Waits for the first, at most so long.
    pub async fn until_landed(mut self, at_most: Duration) -> Waited {
        match tokio::time::timeout(at_most, self.landed.wait_for(Option::is_some)).await {
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

    fn first(flights: &Flights, asked: &Asked) -> Flight {
        match flights.board(asked) {
            Boarding::First(flight) => flight,
            _ => panic!("the key is free"),
        }
    }

    fn duplicate(flights: &Flights, asked: &Asked) -> Wait {
        match flights.board(asked) {
            Boarding::Duplicate(wait) => wait,
            _ => panic!("the same request runs"),
        }
    }

    #[tokio::test]
    async fn duplicates_get_the_firsts_answer_and_others_are_refused() {
        let flights = Flights::default();
        let flight = first(&flights, &asked("k", "a"));
        let waits: Vec<_> = (0..20).map(|_| duplicate(&flights, &asked("k", "a"))).collect();
        assert!(matches!(flights.board(&asked("k", "b")), Boarding::Reused));
        let other = first(&flights, &asked("other", "a"));
        assert_eq!(flights.count(), 2);
        assert_eq!(duplicate(&flights, &asked("k", "a")).until_landed(SHORT).await, Waited::TooLong);
        let answer = Arc::new(Answer { status: 200, headers: Vec::new(), body: Bytes::from_static(b"x") });
        flight.land(Arc::clone(&answer));
        for wait in waits {
            assert_eq!(wait.until_landed(LONG).await, Waited::Answer(Arc::clone(&answer)));
        }
        drop(other);
        assert_eq!(flights.count(), 0);
    }

    #[tokio::test]
    async fn a_first_one_that_dies_lets_those_who_wait_look_again() {
        let flights = Flights::default();
        let flight = first(&flights, &asked("k", "a"));
        let wait = duplicate(&flights, &asked("k", "a"));
        drop(flight);
        assert_eq!(wait.until_landed(LONG).await, Waited::LookAgain);
        drop(first(&flights, &asked("k", "b")));
    }

    #[test]
    fn so_many_run_and_so_many_wait() {
        let flights = Flights::default();
        let all: Vec<_> = (0..MOST).map(|n| first(&flights, &asked(&n.to_string(), "a"))).collect();
        assert!(matches!(flights.board(&asked("one more", "a")), Boarding::Full));
        let waits: Vec<_> = (0..MOST_WAITING).map(|_| duplicate(&flights, &asked("0", "a"))).collect();
        assert!(matches!(flights.board(&asked("0", "a")), Boarding::Full));
        drop((all, waits));
        drop(first(&flights, &asked("one more", "a")));
    }
}
