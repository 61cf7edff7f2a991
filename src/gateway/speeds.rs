//! How fast open models answer here, as their requests did: the time to the first token, and tokens a second after it. Each
//! is a mean in which the latest request counts a fifth.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// The most models that are remembered.
const MOST: usize = 1_000;
/// The least tokens after the first that tell a pace.
const LEAST: u64 = 4;

/// How fast a model answers; `None` while nothing is known.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Pace {
    /// Milliseconds from the engine's queue to the first piece of an answer.
    pub first_ms: Option<f64>,
    /// Tokens a second of one request, after its first.
    pub tokens_per_second: Option<f64>,
}

/// The pace of one model, which its requests change.
#[derive(Debug, Default)]
pub(super) struct Speed(Mutex<Pace>);

/// One request's part in its model's pace.
#[derive(Debug)]
pub(super) struct Course {
    speed: Arc<Speed>,
    /// Compute until the first piece, once it has come.
    first: Option<Duration>,
    output: u64,
}

impl Speed {
    fn pace(&self) -> MutexGuard<'_, Pace> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Course {
    pub(super) const fn of(speed: Arc<Speed>) -> Self {
        Self { speed, first: None, output: 0 }
    }

    /// The first piece has come, after so long in the queue and so much compute.
    pub(super) fn begun(&mut self, queue: Duration, compute: Duration) {
        self.first = Some(compute);
        let mut pace = self.speed.pace();
        pace.first_ms = Some(mean(pace.first_ms, (queue + compute).as_secs_f64() * 1_000.0));
    }

    /// So many tokens were written.
    pub(super) const fn counted(&mut self, output: u64) {
        self.output = output;
    }

    /// The request ended well, after so much compute.
    pub(super) fn finished(&self, compute_ms: u64) {
        let rest = self.first.and_then(|first| Duration::from_millis(compute_ms).checked_sub(first));
        let (Some(rest), Some(tokens)) = (rest.filter(|rest| !rest.is_zero()), self.output.checked_sub(1)) else {
            return;
        };
        if tokens >= LEAST {
            #[expect(clippy::cast_precision_loss, reason = "no answer has so many tokens")]
            let found = tokens as f64 / rest.as_secs_f64();
            let mut pace = self.speed.pace();
            pace.tokens_per_second = Some(mean(pace.tokens_per_second, found));
        }
    }
}

fn mean(before: Option<f64>, found: f64) -> f64 {
    before.map_or(found, |before| before * 0.8 + found * 0.2)
}

/// The paces of all models.
#[derive(Debug, Default)]
pub(super) struct Speeds(Mutex<HashMap<Arc<str>, Arc<Speed>>>);

impl Speeds {
    /// A model's pace, to be changed.
    pub(super) fn of(&self, model: &Arc<str>) -> Arc<Speed> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(speed) = known.get(model) {
            return Arc::clone(speed);
        }
        let speed = Arc::<Speed>::default();
        if known.len() < MOST {
            known.insert(Arc::clone(model), Arc::clone(&speed));
        }
        speed
    }

    /// A model's pace.
    pub(super) fn pace(&self, model: &str) -> Pace {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(model).map(|speed| *speed.pace()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pace_is_learned_of_what_ran_and_of_nothing_else() {
        let (speeds, model) = (Speeds::default(), Arc::<str>::from("m"));
        assert_eq!(speeds.pace("m"), Pace::default());
        let ms = Duration::from_millis;
        let mut course = Course::of(speeds.of(&model));
        course.finished(1_000);
        course.begun(ms(50), ms(100));
        course.counted(1);
        course.finished(900);
        assert_eq!(speeds.pace("m"), Pace { first_ms: Some(150.0), tokens_per_second: None }, "one token has no pace");
        course.counted(41);
        course.finished(900);
        assert_eq!(speeds.pace("m").tokens_per_second, Some(50.0));
        let mut later = Course::of(speeds.of(&model));
        later.begun(ms(0), ms(400));
        later.counted(6);
        later.finished(400);
        assert_eq!(speeds.pace("m"), Pace { first_ms: Some(200.0), tokens_per_second: Some(50.0) });
        for other in 0..2 * MOST {
            speeds.of(&other.to_string().into());
        }
        assert_eq!(speeds.0.lock().unwrap().len(), MOST);
    }
}
