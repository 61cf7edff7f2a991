//! What became of a provider's requests in the last minute: how many ended how, and how long they took. Pages and `farebox
//! top` show it; `/metrics` counts from the start of the process. Times are passed in.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use billing::entry::Ending;

/// A part of the minute.
const PART: Duration = Duration::from_secs(10);
/// The parts of the minute, and the one that goes on.
const PARTS: usize = 7;
/// Buckets of times: bucket `n` has those below 2^n milliseconds.
const BUCKETS: usize = 24;

/// Counts of times.
#[derive(Debug, Clone, Copy, Default)]
struct Times([u32; BUCKETS]);

impl Times {
    fn note(&mut self, took: Duration) {
        let ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        let place = usize::try_from(u64::BITS - ms.leading_zeros()).unwrap_or(BUCKETS);
        self.0[place.min(BUCKETS - 1)] += 1;
    }

    fn add(&mut self, other: &Self) {
        for (sum, more) in self.0.iter_mut().zip(other.0) {
            *sum = sum.saturating_add(more);
        }
    }

    /// The time that so many of 100 did not pass, in milliseconds: the upper bound of its bucket.
    fn at(&self, percent: u64) -> Option<u64> {
        let all: u64 = self.0.iter().copied().map(u64::from).sum();
        let (wanted, mut passed) = ((all * percent).div_ceil(100), 0);
        let place = self.0.iter().position(|count| {
            passed += u64::from(*count);
            passed >= wanted
        });
        place.filter(|_| all > 0).map(|place| (1 << place) - 1)
    }
}

#[derive(Debug, Clone, Copy, Default)]
struct Part {
    /// The number of the part since the beginning.
    number: u64,
    completed: u64,
    left: u64,
    failed: u64,
    first: Times,
    whole: Times,
}

/// The last minute.
#[derive(Debug)]
pub(super) struct Lately {
    began: Instant,
    parts: Mutex<[Part; PARTS]>,
}

/// What became of requests in the last minute. Times are the upper bounds of buckets that double, in milliseconds; `None` where
/// there was none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Minute {
    /// Requests that were answered whole.
    pub completed: u64,
    /// Requests whose client left, or that were cancelled.
    pub left: u64,
    /// Requests that failed.
    pub failed: u64,
    /// To the first piece of a streamed answer: half were not slower.
    pub first_p50_ms: Option<u64>,
    /// 99 of 100 were not slower.
    pub first_p99_ms: Option<u64>,
    /// From admission to the end: half were not slower.
    pub whole_p50_ms: Option<u64>,
    /// 99 of 100 were not slower.
    pub whole_p99_ms: Option<u64>,
}

impl Lately {
    /// Nothing yet.
    pub(super) fn new(began: Instant) -> Self {
        Self { began, parts: Mutex::default() }
    }

    fn number(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.began).as_secs() / PART.as_secs()
    }

    fn with(&self, now: Instant, note: impl FnOnce(&mut Part)) {
        let number = self.number(now);
        let mut parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        let part = &mut parts[usize::try_from(number % PARTS as u64).unwrap_or_default()];
        if part.number != number {
            *part = Part { number, ..Part::default() };
        }
        note(part);
    }

    /// Notes the first piece of a streamed answer, after so long.
    pub(super) fn first_piece(&self, took: Duration, now: Instant) {
        self.with(now, |part| part.first.note(took));
    }

    /// Notes the whole time of a request.
    pub(super) fn whole(&self, took: Duration, now: Instant) {
        self.with(now, |part| part.whole.note(took));
    }

    /// Notes how a request ended.
    pub(super) fn ended(&self, ending: Ending, now: Instant) {
        self.with(now, |part| match ending {
            Ending::Completed => part.completed += 1,
            Ending::ClientLeft => part.left += 1,
            Ending::Failed | Ending::Recovered | Ending::WrittenOff => part.failed += 1,
        });
    }

    /// The last minute, as it is now.
    pub(super) fn minute(&self, now: Instant) -> Minute {
        let number = self.number(now);
        let parts = *self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        let mut sum = Part::default();
        for part in parts.iter().filter(|part| part.number + PARTS as u64 > number) {
            sum.completed += part.completed;
            sum.left += part.left;
            sum.failed += part.failed;
            sum.first.add(&part.first);
            sum.whole.add(&part.whole);
        }
        let Part { completed, left, failed, first, whole, .. } = sum;
        Minute {
            completed,
            left,
            failed,
            first_p50_ms: first.at(50),
            first_p99_ms: first.at(99),
            whole_p50_ms: whole.at(50),
            whole_p99_ms: whole.at(99),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_older_than_a_minute_is_forgotten_part_by_part() {
        let began = Instant::now();
        let (lately, at) = (Lately::new(began), |seconds| began + Duration::from_secs(seconds));
        assert_eq!(lately.minute(began), Minute::default());
        lately.ended(Ending::Completed, at(1));
        lately.whole(Duration::from_millis(5), at(1));
        lately.ended(Ending::Failed, at(35));
        lately.whole(Duration::from_millis(900), at(35));
        lately.first_piece(Duration::ZERO, at(35));
        let minute = lately.minute(at(60));
        assert_eq!((minute.completed, minute.failed, minute.left), (1, 1, 0));
        assert_eq!((minute.whole_p50_ms, minute.whole_p99_ms, minute.first_p50_ms), (Some(7), Some(1_023), Some(0)));
        assert_eq!(lately.minute(at(75)).completed, 0);
        assert_eq!(lately.minute(at(75)).failed, 1);
        // The place of an old part is taken by a new one.
        lately.ended(Ending::ClientLeft, at(105));
        let minute = lately.minute(at(105));
        assert_eq!((minute.failed, minute.left), (0, 1));
        assert_eq!(lately.minute(at(1_000)), Minute::default());
    }
}
