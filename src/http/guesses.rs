//! Limits on guesses of the operator's token. Each address may make a few wrong guesses, and all addresses together
//! some more. Further guesses are checked after a delay, and only so many at once. The right token is accepted after
//! that delay, even from an address that others guess from, unless the most guesses are waiting. Memory is bounded.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use hints::{Decision, Hints, Rate, Rates};

use super::addresses::network;

/// The wrong guesses that an address may make at once.
const EACH: u32 = 10;
/// The time until an address may make one more.
const EACH_AGAIN: Duration = Duration::from_secs(3);
/// The wrong guesses that all addresses may make at once.
const ALL: u32 = 200;
/// The time until all addresses may make one more.
const ALL_AGAIN: Duration = Duration::from_millis(200);
/// The delay of further guesses.
const WAIT: Duration = Duration::from_secs(1);
/// The most guesses of one address that wait; further ones are not checked.
const EACH_WAITING: u32 = 32;
/// The most guesses of all addresses that wait.
const ALL_WAITING: u32 = 1_024;
/// The most addresses that are counted; those beyond them count as one.
const ADDRESSES: usize = 4_096;
/// The shortest time between log lines about bursts of guesses.
const TOLD_EVERY: Duration = Duration::from_mins(1);

/// The result of a guess.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The guess is the token.
    Right,
    /// The guess is wrong.
    Wrong,
    /// The guess is one too many, and was wrong or was not checked.
    TooMany,
}

/// Wrong guesses, by address.
pub struct Guesses {
    counts: Mutex<Counts>,
    /// The counts of all nodes together, where nodes count together.
    shared: Option<Rates>,
    /// The delay of a guess beyond the limit.
    wait: Duration,
}

#[derive(Debug)]
struct Counts {
    each: HashMap<Option<IpAddr>, Bucket>,
    all: Bucket,
}

impl Default for Counts {
    fn default() -> Self {
        Self { each: HashMap::new(), all: Bucket::new(ALL, Instant::now()) }
    }
}

/// The guesses that may still be made at once: a bucket that fills with time.
#[derive(Debug)]
struct Bucket {
    left: u32,
    filled_at: Instant,
    waiting: u32,
    told_at: Option<Instant>,
    /// The wrong guesses since the last log line.
    wrong: u64,
}

impl Bucket {
    const fn new(left: u32, now: Instant) -> Self {
        Self { left, filled_at: now, waiting: 0, told_at: None, wrong: 0 }
    }

    fn fill(&mut self, most: u32, again: Duration, now: Instant) {
        let elapsed = now.saturating_duration_since(self.filled_at);
        let more = u32::try_from(elapsed.as_millis() / again.as_millis()).unwrap_or(u32::MAX);
        self.left = self.left.saturating_add(more).min(most);
        self.filled_at = if self.left == most { now } else { self.filled_at + again * more };
    }
}

impl Counts {
    fn of(&mut self, address: Option<IpAddr>, now: Instant) -> &mut Bucket {
        let mut address = address.map(network);
        if !self.each.contains_key(&address) && self.each.len() >= ADDRESSES {
            self.each.retain(|_, bucket| {
                bucket.fill(EACH, EACH_AGAIN, now);
                bucket.left < EACH || bucket.waiting > 0
            });
            if self.each.len() >= ADDRESSES {
                address = None;
            }
        }
        let bucket = self.each.entry(address).or_insert_with(|| Bucket::new(EACH, now));
        bucket.fill(EACH, EACH_AGAIN, now);
        bucket
    }
}

/// A waiting guess, until it is dropped.
struct Waiting<'a> {
    guesses: &'a Guesses,
    address: Option<IpAddr>,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut counts = self.guesses.lock();
        let bucket = counts.of(self.address, Instant::now());
        bucket.waiting = bucket.waiting.saturating_sub(1);
        counts.all.waiting = counts.all.waiting.saturating_sub(1);
    }
}

impl Guesses {
    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// No guesses yet. With hints, those that an address makes at all nodes count together.
    pub fn new(hints: Option<Hints>) -> Self {
        Self { counts: Mutex::default(), shared: hints.map(|hints| Rates::new(Some(hints))), wait: WAIT }
    }

    /// Checks a guess, now or after the delay.
    pub async fn judge(&self, address: Option<IpAddr>, is_right: impl Fn() -> bool) -> Verdict {
        let verdict = self.check(address, is_right).await;
        if verdict != Verdict::Right {
            self.wrong(address);
            self.share(address).await;
        }
        verdict
    }

    async fn check(&self, address: Option<IpAddr>, is_right: impl Fn() -> bool) -> Verdict {
        if self.has_left(address) {
            return if is_right() { Verdict::Right } else { Verdict::Wrong };
        }
        let Some(_waiting) = self.wait(address) else { return Verdict::TooMany };
        tokio::time::sleep(self.wait).await;
        if is_right() { Verdict::Right } else { Verdict::TooMany }
    }

    /// Counts a wrong guess with those at other nodes: who has made the most there may make none here.
    async fn share(&self, address: Option<IpAddr>) {
        let Some(shared) = &self.shared else { return };
        let (Some(counted), Some(rate)) = (address.map(network), Rate::new(EACH, EACH_AGAIN * EACH, EACH)) else {
            return;
        };
        if let Decision::Refused(_) = shared.count(&format!("guesses:{counted}"), rate).await {
            self.lock().of(address, Instant::now()).left = 0;
        }
    }

    fn has_left(&self, address: Option<IpAddr>) -> bool {
        let (mut counts, now) = (self.lock(), Instant::now());
        counts.all.fill(ALL, ALL_AGAIN, now);
        counts.all.left > 0 && counts.of(address, now).left > 0
    }

    fn wait(&self, address: Option<IpAddr>) -> Option<Waiting<'_>> {
        let mut counts = self.lock();
        let all = counts.all.waiting;
        let bucket = counts.of(address, Instant::now());
        if bucket.waiting >= EACH_WAITING || all >= ALL_WAITING {
            return None;
        }
        bucket.waiting += 1;
        counts.all.waiting += 1;
        Some(Waiting { guesses: self, address })
    }

    fn wrong(&self, address: Option<IpAddr>) {
        metrics::counter!("farebox_operator_guesses_total").increment(1);
        let (mut counts, now) = (self.lock(), Instant::now());
        counts.all.left = counts.all.left.saturating_sub(1);
        let bucket = counts.of(address, now);
        bucket.left = bucket.left.saturating_sub(1);
        bucket.wrong += 1;
        let is_news = bucket.told_at.is_none_or(|at| now.saturating_duration_since(at) >= TOLD_EVERY);
        if bucket.left == 0 && is_news {
            let wrong = std::mem::take(&mut bucket.wrong);
            bucket.told_at = Some(now);
            drop(counts);
            tracing::warn!(?address, wrong, "wrong operator's tokens: guesses from this address are slowed down");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u16) -> IpAddr {
        IpAddr::V6(std::net::Ipv6Addr::new(0x2001, 0xdb8, 0, last, 1, 2, 3, last))
    }

    fn quick() -> Guesses {
        Guesses { wait: Duration::from_millis(100), ..Guesses::new(None) }
    }

    #[tokio::test]
    async fn guesses_are_slowed_down_and_the_operator_is_let_in() {
        let guesses = quick();
        for _ in 0..EACH {
            assert_eq!(guesses.judge(Some(address(1)), || false).await, Verdict::Wrong);
        }
        let looks = std::cell::Cell::new(0);
        let many = (0..EACH_WAITING + 20).map(|_| {
            guesses.judge(Some(address(1)), || {
                looks.set(looks.get() + 1);
                false
            })
        });
        let began = Instant::now();
        let verdicts = futures::future::join_all(many).await;
        assert!(verdicts.iter().all(|verdict| *verdict == Verdict::TooMany));
        assert_eq!(looks.get(), EACH_WAITING, "some wait, the others are not looked at");
        assert!(began.elapsed() >= guesses.wait);
        assert_eq!(guesses.judge(Some(address(1)), || true).await, Verdict::Right, "from the same address");
        assert!(guesses.has_left(Some(address(2))), "from another one, at once");
        assert_eq!(guesses.judge(Some(address(2)), || true).await, Verdict::Right);
    }

    #[tokio::test]
    async fn many_addresses_are_bounded_as_one_is() {
        let guesses = quick();
        let verdicts =
            futures::future::join_all((0..600).map(|last| guesses.judge(Some(address(last)), || false))).await;
        let at_once = verdicts.iter().filter(|verdict| **verdict == Verdict::Wrong).count();
        assert!((190..=300).contains(&at_once), "{at_once}");
    }

    #[test]
    fn a_bucket_fills_with_time() {
        let now = Instant::now();
        let mut bucket = Bucket::new(0, now);
        bucket.fill(EACH, EACH_AGAIN, now + EACH_AGAIN * 2 + EACH_AGAIN / 2);
        assert_eq!(bucket.left, 2);
        bucket.fill(EACH, EACH_AGAIN, now + EACH_AGAIN * 3);
        assert_eq!(bucket.left, 3, "the half that was left counts");
        bucket.fill(EACH, EACH_AGAIN, now + EACH_AGAIN * 1_000);
        assert_eq!(bucket.left, EACH);
    }

    #[test]
    fn addresses_beyond_the_most_are_one() {
        let mut counts = Counts::default();
        let now = Instant::now();
        for n in 0..u32::try_from(ADDRESSES).unwrap() + 100 {
            let bucket = counts.of(Some(IpAddr::V4(n.into())), now);
            bucket.left = bucket.left.saturating_sub(1);
        }
        assert!(counts.each.len() <= ADDRESSES + 1);
        assert!(counts.of(Some(IpAddr::V4(u32::MAX.into())), now).left < EACH);
    }
}
