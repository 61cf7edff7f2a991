//! How many frames a client may send: so many a second, and more at once. What one frame asks for has limits of its own.

use tokio::time::Instant;

/// The frames of a second, and those that may come at once.
const A_SECOND: u32 = 100;
const AT_ONCE: u32 = 1_000;

/// The frames that may come now.
pub(super) struct Pace {
    left: f64,
    counted_at: Instant,
}

impl Pace {
    pub(super) fn new() -> Self {
        Self { left: AT_ONCE.into(), counted_at: Instant::now() }
    }

    /// Counts a frame. Returns whether it may come.
    pub(super) fn allows(&mut self, now: Instant) -> bool {
        let since = now.saturating_duration_since(self.counted_at).as_secs_f64();
        self.counted_at = now;
        self.left = (self.left + since * f64::from(A_SECOND)).min(AT_ONCE.into()) - 1.0;
        self.left >= 0.0
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn so_many_come_at_once_and_then_so_many_a_second() {
        let (mut pace, now) = (Pace::new(), Instant::now());
        assert!((0..AT_ONCE).all(|_| pace.allows(now)));
        assert!(!pace.allows(now));
        let later = now + Duration::from_secs(2);
        let allowed = (0..AT_ONCE).take_while(|_| pace.allows(later)).count();
        assert!((150..=200).contains(&allowed), "{allowed}");
    }
}
