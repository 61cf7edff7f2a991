//! Where the time of a request went once it was admitted: the later stages of its `server-timing`.

use std::time::{Duration, Instant};

/// The stages. Those of a stream are told with its first piece, and go up to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stages {
    /// A closed model.
    Closed {
        /// The provider's time, and the way to it.
        upstream: Duration,
    },
    /// An open one.
    Open {
        /// Until its model was loaded, where it was not.
        load: Duration,
        /// Behind others.
        queue: Duration,
        /// Since its first engine step.
        compute: Duration,
    },
}

/// The course of an open request, as its pool and engine tell of it.
#[derive(Debug)]
pub(super) struct Course {
    began: Instant,
    loaded_at: Option<Instant>,
    started_at: Option<Instant>,
}

impl Course {
    pub(super) const fn new(began: Instant) -> Self {
        Self { began, loaded_at: None, started_at: None }
    }

    /// The model it waited for is loaded.
    pub(super) const fn loaded(&mut self, now: Instant) {
        self.loaded_at = Some(now);
    }

    /// Its first engine step began.
    pub(super) const fn started(&mut self, now: Instant) {
        self.started_at = Some(now);
    }

    /// All of it until now.
    pub(super) fn elapsed(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.began)
    }

    /// Its stages until now.
    pub(super) fn stages(&self, now: Instant) -> Stages {
        let queued_at = self.loaded_at.unwrap_or(self.began);
        let started_at = self.started_at.unwrap_or(now);
        Stages::Open {
            load: queued_at.saturating_duration_since(self.began),
            queue: started_at.saturating_duration_since(queued_at),
            compute: now.saturating_duration_since(started_at),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_course_is_told_stage_by_stage() {
        let began = Instant::now();
        let at = |ms| began + Duration::from_millis(ms);
        let open = |load, queue, compute| Stages::Open {
            load: Duration::from_millis(load),
            queue: Duration::from_millis(queue),
            compute: Duration::from_millis(compute),
        };
        let mut course = Course::new(began);
        assert_eq!(course.stages(at(7)), open(0, 7, 0));
        course.started(at(10));
        assert_eq!(course.stages(at(30)), open(0, 10, 20));
        let mut course = Course::new(began);
        course.loaded(at(100));
        course.started(at(103));
        assert_eq!(course.stages(at(108)), open(100, 3, 5));
    }
}
