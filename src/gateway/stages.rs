//! The time of a request after its admission, by stage: the later stages of its `server-timing`.

use std::time::{Duration, Instant};

use billing::timings::Timings;

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

/// The course of a request, that of an open one from the events of its pool and engine.
#[derive(Debug)]
pub(super) struct Course {
    /// How long the account's answer took.
    admission: Duration,
    began: Instant,
    loaded_at: Option<Instant>,
    started_at: Option<Instant>,
    first_piece_at: Option<Instant>,
}

impl Course {
    /// The course of a run that began behind such an admission.
    pub(super) const fn new(admission: Duration, began: Instant) -> Self {
        Self { admission, began, loaded_at: None, started_at: None, first_piece_at: None }
    }

    /// Notes that the model is loaded.
    pub(super) const fn loaded(&mut self, now: Instant) {
        self.loaded_at = Some(now);
    }

    /// Notes the first engine step.
    pub(super) const fn started(&mut self, now: Instant) {
        self.started_at = Some(now);
    }

    /// Notes the first piece of a stream.
    pub(super) const fn answered(&mut self, now: Instant) {
        self.first_piece_at = Some(now);
    }

    /// The time since the first piece of a stream.
    pub(super) fn writing(&self, now: Instant) -> Option<Duration> {
        self.first_piece_at.map(|first| now.saturating_duration_since(first))
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

    /// The stages of a run that has ended, as its record keeps them. `computed` is an engine's own time, which is longer than what
    /// was seen from here where its first step was told late.
    pub(super) fn timings(&self, stages: Stages, computed: Duration) -> Timings {
        let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let (load, queue, run) = match stages {
            Stages::Closed { upstream } => (Duration::ZERO, Duration::ZERO, upstream),
            Stages::Open { load, queue, compute } => {
                let late = computed.saturating_sub(compute).min(queue);
                (load, queue.saturating_sub(late), compute + late)
            }
        };
        Timings {
            admission_ms: ms(self.admission),
            load_ms: ms(load),
            queue_ms: ms(queue),
            run_ms: ms(run),
            first_ms: self.first_piece_at.map(|first| ms(self.elapsed(first))),
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
        let admission = Duration::from_millis(2);
        let mut course = Course::new(admission, began);
        assert_eq!(course.stages(at(7)), open(0, 7, 0));
        course.started(at(10));
        assert_eq!(course.stages(at(30)), open(0, 10, 20));
        let mut course = Course::new(admission, began);
        course.loaded(at(100));
        course.started(at(103));
        assert_eq!(course.stages(at(108)), open(100, 3, 5));
        let kept = Timings { admission_ms: 2, load_ms: 100, queue_ms: 3, run_ms: 5, first_ms: None };
        assert_eq!(course.timings(course.stages(at(108)), Duration::ZERO), kept);
        course.answered(at(106));
        assert_eq!(course.timings(course.stages(at(108)), Duration::ZERO), Timings { first_ms: Some(106), ..kept });
        let told_late = Timings { queue_ms: 1, run_ms: 7, first_ms: Some(106), ..kept };
        assert_eq!(course.timings(course.stages(at(108)), Duration::from_millis(7)), told_late);
        assert_eq!(course.writing(at(108)), Some(Duration::from_millis(2)));
        let closed = Stages::Closed { upstream: Duration::from_micros(7_900) };
        let kept = Timings { load_ms: 0, queue_ms: 0, run_ms: 7, first_ms: Some(106), ..kept };
        assert_eq!(course.timings(closed, Duration::ZERO), kept);
    }
}
