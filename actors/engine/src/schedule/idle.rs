//! What becomes of the cache while there is nothing to do: after a while its memory is given back.

use std::time::Duration;

use super::{Change, Scheduler, Shape};

/// Caches of ended sequences are kept so long while there is no sequence.
const KEPT: Duration = Duration::from_mins(5);

impl Scheduler {
    /// How long there may be no sequence until [`Self::shrink`] has something to do. `None`: it has not, however long.
    pub fn shrinks_in(&self, now: Duration) -> Option<Duration> {
        let since = self.idle_since.filter(|_| self.shape != Shape::default())?;
        Some((since + KEPT).saturating_sub(now))
    }

    /// Gives the cache's memory back, and what is kept in it, if there was no sequence for a while.
    pub fn shrink(&mut self, now: Duration) -> Option<Change> {
        self.shrinks_in(now).filter(Duration::is_zero)?;
        self.forget();
        Some(Change::Arrange(self.shape))
    }
}
