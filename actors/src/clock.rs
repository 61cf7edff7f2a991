//! The process's clock: the system's, or one that tests move forward (`FAREBOX_CLOCK=test`). It never runs backwards.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{SystemTime, UNIX_EPOCH},
};

use billing::Timestamp;

/// A clock, shared by clones.
#[derive(Debug, Clone, Default)]
pub struct Clock {
    offset_ms: Arc<AtomicI64>,
    latest_ms: Arc<AtomicI64>,
}

impl Clock {
    /// The time now, never earlier than what was told before.
    pub fn now(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        let system = i64::try_from(since).unwrap_or(i64::MAX);
        let ms = system.saturating_add(self.offset_ms.load(Ordering::Relaxed));
        Timestamp(self.latest_ms.fetch_max(ms, Ordering::Relaxed).max(ms))
    }

    /// Moves the time forward.
    pub fn advance_ms(&self, ms: u32) {
        self.offset_ms.fetch_add(i64::from(ms), Ordering::Relaxed);
    }

    /// Moves the time forward by seconds.
    pub fn advance_seconds(&self, seconds: u32) {
        self.offset_ms.fetch_add(i64::from(seconds) * 1_000, Ordering::Relaxed);
    }
}
