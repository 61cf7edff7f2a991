//! The time of a request after its admission, by stage: the later stages of its `server-timing`.

use std::time::{Duration, Instant};

/// The stages. Those of a stream are sent with its first piece, and end there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stages {
    /// A closed model.
    Closed {
        /// The provider's time, network included.
        upstream: Duration,
    },
    /// An open model.
    Open {
        /// The wait for the model's load, where it was not loaded.
        load: Duration,
        /// The wait behind other requests.
        queue: Duration,
        /// The time since the first engine step.
        compute: Duration,
    },
}

/// The course of an open request, from the events of its pool and engine.
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

    /// Notes that the model is loaded.
    pub(super) const fn loaded(&mut self, now: Instant) {
        self.loaded_at = Some(now);
    }

    /// Notes the first engine step.
    pub(super) const fn started(&mut self, now: Instant) {
        self.started_at = Some(now);
    }

    /// The whole time until now.
    pub(super) fn elapsed(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.began)
    }

    /// The stages until now.
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
