//! The process's clock: the system's, or one that tests move forward (`FAREBOX_CLOCK=test`). It never runs backwards. One
//! that is kept steady goes on as time passes, whatever the system's is set to meanwhile.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use billing::Timestamp;
use rustix::time::{ClockId, clock_gettime};
use tokio::sync::Notify;

/// The system's time, independent of any [`Clock`]. It may run backwards.
pub(crate) fn system() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    Timestamp(i64::try_from(since).unwrap_or(i64::MAX))
}

/// The time since the machine was started, in which it may have slept. Nobody sets it.
pub fn since_boot() -> Duration {
    let time = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or_default())
}

/// A clock, shared by clones.
#[derive(Debug, Clone, Default)]
pub struct Clock {
    offset_ms: Arc<AtomicI64>,
    latest_ms: Arc<AtomicI64>,
    /// Since it is steady: the system's time then, and the time since the machine was started.
    steady: Arc<OnceLock<(Timestamp, Duration)>>,
    /// Notified when the clock is moved forward.
    moved: Arc<Notify>,
}

impl Clock {
    /// A clock that shows `at` now, and goes on from there.
    pub fn from(at: Timestamp) -> Self {
        let clock = Self::default();
        clock.offset_ms.store(at.0.saturating_sub(system().0), Ordering::Relaxed);
        clock
    }

    /// The time now, never earlier than the result of a call before.
    pub fn now(&self) -> Timestamp {
        let ms = self.system().0.saturating_add(self.offset_ms.load(Ordering::Relaxed));
        Timestamp(self.latest_ms.fetch_max(ms, Ordering::Relaxed).max(ms))
    }

    /// From now on it goes on as time passes, and does not follow the system's clock where that is set.
    pub fn keep_steady(&self) {
        self.steady.get_or_init(|| (system(), since_boot()));
    }

    fn system(&self) -> Timestamp {
        let Some((at, began)) = self.steady.get() else { return system() };
        let passed = since_boot().saturating_sub(*began).as_millis();
        at.plus_ms(i64::try_from(passed).unwrap_or(i64::MAX))
    }

    /// Moves the time forward.
    pub fn advance_ms(&self, ms: u32) {
        self.advance(ms.into());
    }

    /// Moves the time forward by seconds.
    pub fn advance_seconds(&self, seconds: u32) {
        self.advance(i64::from(seconds) * 1_000);
    }

    fn advance(&self, ms: i64) {
        self.offset_ms.fetch_add(ms, Ordering::Relaxed);
        self.moved.notify_waiters();
    }

    /// Waits until this clock shows that time, also because it is moved there.
    pub async fn until(&self, at: Timestamp) {
        loop {
            let moved = self.moved.notified();
            tokio::pin!(moved);
            // From here on every move is noticed, also a move before the wait begins.
            moved.as_mut().enable();
            let left = u64::try_from(at.ms_since(self.now())).unwrap_or(0);
            if left == 0 {
                return;
            }
            tokio::select! {
                () = tokio::time::sleep(Duration::from_millis(left)) => {}
                () = moved => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_steady_clock_goes_on_as_time_passes_and_tests_move_it_all_the_same() {
        let clock = Clock::default();
        clock.keep_steady();
        let (began, before) = (since_boot(), clock.now());
        std::thread::sleep(Duration::from_millis(20));
        let (passed, longest) = (clock.now().ms_since(before), since_boot().saturating_sub(began));
        assert!(passed >= 19 && u128::from(passed.unsigned_abs()) <= longest.as_millis() + 1, "{passed} ms");
        clock.advance_seconds(60);
        assert!(clock.now().ms_since(before) >= 60_000);
    }

    #[tokio::test]
    async fn a_clock_that_is_moved_ends_a_wait() {
        let clock = Clock::default();
        let at = clock.now().plus_ms(3_600_000);
        let waiting = tokio::spawn({
            let clock = clock.clone();
            async move { clock.until(at).await }
        });
        for _ in 0..2 {
            clock.advance_seconds(1_800);
            tokio::task::yield_now().await;
        }
        tokio::time::timeout(Duration::from_secs(10), waiting).await.unwrap().unwrap();
        assert!(clock.now() >= at);
    }
}
