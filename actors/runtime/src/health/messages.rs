//! How long messages wait and take, by the kind of message: counts in buckets whose bounds double. There are few kinds of
//! message, so that a place is found by looking through them, without a lock; what comes beyond the last place is not told
//! apart.

use std::sync::{
    OnceLock,
    atomic::{AtomicU64, Ordering},
};

/// The most kinds of message of a kind of actor.
const MOST: usize = 32;
/// Buckets of a spread: the last one begins at 34 s.
const BUCKETS: usize = 26;

/// Counts of times: bucket `n` has those below 2^n microseconds that the one before has not.
#[derive(Debug)]
struct Times([AtomicU64; BUCKETS]);

impl Times {
    fn new() -> Self {
        Self(std::array::from_fn(|_| AtomicU64::new(0)))
    }

    fn note(&self, count: u64, us: u64) {
        let place = usize::try_from(u64::BITS - us.leading_zeros()).unwrap_or(BUCKETS);
        self.0[place.min(BUCKETS - 1)].fetch_add(count, Ordering::Relaxed);
    }

    fn spread(&self) -> Spread {
        let counts: Vec<u64> = self.0.iter().map(|count| count.load(Ordering::Relaxed)).collect();
        Spread::of(&counts)
    }
}

/// A distribution of times, in microseconds. Each number is the upper bound of its bucket: at most twice what it was.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Spread {
    /// Half of all took at most so long.
    pub p50_us: u64,
    /// 99 of 100 took at most so long.
    pub p99_us: u64,
    /// The longest took at most so long.
    pub longest_us: u64,
}

impl Spread {
    /// The spread of counts in buckets whose bounds double: bucket `n` has those below 2^n microseconds.
    pub fn of(counts: &[u64]) -> Self {
        let all: u64 = counts.iter().sum();
        let bound = |place: usize| (1_u64 << place.min(63)) - 1;
        let at = |percent: u64| {
            let (wanted, mut passed) = ((all * percent).div_ceil(100), 0);
            let place = counts.iter().position(|count| {
                passed += count;
                passed >= wanted
            });
            place.map_or(0, bound)
        };
        if all == 0 {
            return Self::default();
        }
        Self {
            p50_us: at(50),
            p99_us: at(99),
            longest_us: counts.iter().rposition(|count| *count > 0).map_or(0, bound),
        }
    }
}

/// The times of one kind of message, since the process began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MessageTimes {
    /// The message's name.
    pub name: &'static str,
    /// How many were handled.
    pub handled: u64,
    /// How long they waited.
    pub wait: Spread,
    /// How long they took. What is handled together counts with the time of all of it.
    pub busy: Spread,
}

#[derive(Debug)]
struct Place {
    name: &'static str,
    wait: Times,
    busy: Times,
}

/// The kinds of message of one kind of actor.
#[derive(Debug, Default)]
pub(crate) struct Messages([OnceLock<Place>; MOST]);

impl Messages {
    fn place(&self, name: &'static str) -> Option<&Place> {
        let new = || Place { name, wait: Times::new(), busy: Times::new() };
        self.0.iter().map(|place| place.get_or_init(new)).find(|place| place.name == name)
    }

    /// Notes so many messages that waited so long each, and took so long together.
    pub(super) fn note(&self, name: &'static str, count: u64, waited_us: u64, took_us: u64) {
        if let Some(place) = self.place(name) {
            place.wait.note(count, waited_us);
            place.busy.note(count, took_us);
        }
    }

    /// All that were seen, in the order in which they came first.
    pub(super) fn seen(&self) -> Vec<MessageTimes> {
        let seen = |place: &Place| {
            let handled = place.wait.0.iter().map(|count| count.load(Ordering::Relaxed)).sum();
            MessageTimes { name: place.name, handled, wait: place.wait.spread(), busy: place.busy.spread() }
        };
        self.0.iter().map_while(OnceLock::get).map(seen).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_bounds_what_was_noted() {
        let times = Times::new();
        assert_eq!(times.spread(), Spread::default());
        times.note(98, 3);
        times.note(1, 1_000);
        times.note(1, u64::MAX);
        let spread = times.spread();
        assert_eq!((spread.p50_us, spread.p99_us, spread.longest_us), (3, 1_023, (1 << 25) - 1));
        times.note(1_000_000, 0);
        assert_eq!((times.spread().p50_us, times.spread().p99_us), (0, 0));
    }

    #[test]
    fn kinds_of_message_are_told_apart_until_there_are_too_many() {
        let messages = Messages::default();
        let names: Vec<&'static str> = (0..MOST + 3).map(|number| &*number.to_string().leak()).collect();
        for (number, name) in names.iter().enumerate() {
            messages.note(name, 1 + number as u64, 5, 9);
            messages.note(name, 1, 5, 9);
        }
        let seen = messages.seen();
        assert_eq!(seen.len(), MOST);
        assert_eq!((seen[4].name, seen[4].handled, seen[4].busy.p50_us), ("4", 6, 15));
    }
}
