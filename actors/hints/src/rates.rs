//! How often an address may ask: so many requests in a time, evenly, and some at once. The rule is the generic cell rate
//! algorithm (ITU-T I.371): of an address one number is kept, the time at which all that it has asked would have been
//! evenly asked. Redis has it for all nodes, in a script; without Redis each node counts by itself.

use std::{
    collections::HashMap,
    sync::{LazyLock, Mutex, PoisonError},
    time::{Duration, Instant},
};

use redis::Script;

use crate::Hints;

/// A rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// The time between two requests that are even.
    every: Duration,
    /// How many may come at once.
    burst: u32,
}

/// Whether a request may come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// It may, and so many more at once.
    Allowed(u32),
    /// It may not; after so long it may.
    Refused(Duration),
}

impl Rate {
    /// So many requests in a time, of which so many may come at once. None where one of the numbers is 0, or the time is too
    /// short for them or longer than a day.
    pub fn new(requests: u32, time: Duration, burst: u32) -> Option<Self> {
        let every = time.checked_div(requests)?;
        let fits = every >= Duration::from_micros(1) && time <= Duration::from_hours(24) && burst > 0;
        fits.then_some(Self { every, burst })
    }

    fn every_us(self) -> u64 {
        us(self.every)
    }

    fn room_us(self) -> u64 {
        self.every_us().saturating_mul(self.burst.into())
    }

    /// Decides, by what is kept of an address; gives what is kept from then on. All in microseconds of one clock.
    fn decide(self, kept: u64, now: u64) -> (Decision, u64) {
        let next = kept.max(now).saturating_add(self.every_us());
        let earliest = next.saturating_sub(self.room_us());
        if earliest > now {
            return (Decision::Refused(Duration::from_micros(earliest - now)), kept);
        }
        let left = (now.saturating_add(self.room_us()) - next) / self.every_us();
        (Decision::Allowed(u32::try_from(left).unwrap_or(u32::MAX)), next)
    }
}

fn us(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// [`Rate::decide`], by the clock of Redis: whether it may, and what is left or how long to wait. A double holds microseconds
/// of this century exactly.
static DECIDE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "local time = redis.call('TIME')
         local now = time[1] * 1000000 + time[2]
         local every, room = tonumber(ARGV[1]), tonumber(ARGV[2])
         local kept = tonumber(redis.call('GET', KEYS[1]) or 0) or 0
         if kept < now or kept > now + room then kept = now end
         local new = kept + every
         if new - room > now then return {0, new - room - now} end
         redis.call('SET', KEYS[1], string.format('%.0f', new), 'PX', math.ceil((new - now) / 1000))
         return {1, math.floor((now + room - new) / every)}",
    )
});

/// The addresses that a node counts by itself, at most. Those whose time is over make room.
const COUNTED: usize = 100_000;

/// The rates of addresses: by Redis where it answers, by this node alone where it does not, or there is none.
pub struct Rates {
    hints: Option<Hints>,
    began: Instant,
    counted: Mutex<HashMap<String, u64>>,
}

impl Rates {
    /// Rates by these hints; without, by this node alone.
    pub fn new(hints: Option<Hints>) -> Self {
        Self { hints, began: Instant::now(), counted: Mutex::default() }
    }

    /// Counts a request of an address, and says whether it may come.
    pub async fn count(&self, address: &str, rate: Rate) -> Decision {
        if let Some(hints) = &self.hints {
            let name = hints.store.name(format_args!("rate:{address}"));
            let mut script = DECIDE.key(name);
            let answer = hints.store.run(script.arg(rate.every_us()).arg(rate.room_us())).await;
            let decided = match answer {
                Some((1_u8, left)) => Some(Decision::Allowed(u32::try_from(left).unwrap_or(u32::MAX))),
                Some((0, wait)) => Some(Decision::Refused(Duration::from_micros(wait))),
                Some((2.., _)) | None => None::<Decision>,
            };
            if let Some(decision) = decided {
                return decision;
            }
        }
        self.count_here(address, rate, us(self.began.elapsed()))
    }

    fn count_here(&self, address: &str, rate: Rate, now: u64) -> Decision {
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        if counted.len() >= COUNTED && !counted.contains_key(address) {
            counted.retain(|_, kept| *kept > now);
            if counted.len() >= COUNTED {
                // So many addresses at once are more than can be told apart: a new one is let in uncounted.
                return Decision::Allowed(0);
            }
        }
        let kept = counted.get(address).copied().unwrap_or(0);
        let (decision, kept) = rate.decide(kept, now);
        counted.insert(address.to_owned(), kept);
        decision
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_come_at_once_and_then_evenly() {
        let rate = Rate::new(10, Duration::from_secs(1), 3).unwrap();
        let rates = Rates::new(None);
        let count = |now_ms: u64| rates.count_here("a", rate, now_ms * 1_000);
        let ms = Duration::from_millis;
        assert_eq!([count(0), count(0), count(0)], [2, 1, 0].map(Decision::Allowed));
        assert_eq!(count(0), Decision::Refused(ms(100)));
        assert_eq!(count(60), Decision::Refused(ms(40)), "a refusal costs nothing");
        assert_eq!(count(100), Decision::Allowed(0));
        assert_eq!(count(199), Decision::Refused(ms(1)));
        assert_eq!(count(10_000), Decision::Allowed(2));
        assert_eq!(rates.count_here("b", rate, 10_000_000), Decision::Allowed(2), "another address");
    }

    #[test]
    fn rates_that_are_none_are_not_made() {
        let second = Duration::from_secs(1);
        assert!(Rate::new(0, second, 1).is_none() && Rate::new(1, second, 0).is_none());
        assert!(Rate::new(2_000_000, second, 1).is_none() && Rate::new(1, Duration::from_hours(25), 1).is_none());
    }

    #[test]
    fn addresses_are_bounded_and_those_that_are_over_make_room() {
        let rate = Rate::new(1, Duration::from_secs(1), 1).unwrap();
        let rates = Rates::new(None);
        for number in 0..COUNTED {
            rates.count_here(&number.to_string(), rate, 0);
        }
        assert_eq!(rates.count_here("new", rate, 0), Decision::Allowed(0));
        assert_eq!(rates.counted.lock().unwrap().len(), COUNTED);
        rates.count_here("new", rate, 1_000_000);
        assert_eq!(rates.counted.lock().unwrap().len(), 1);
    }
}
