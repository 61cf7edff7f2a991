//! Whether an engine with work makes progress: a pure rule over its signs of life, of which it gives one between any two
//! steps. A long prompt is read in pieces, each of which is a step. On a slow machine steps of some models take longer than
//! the bound; once that was seen three times it is how the model is, and no trouble.

use std::time::Duration;

/// How long an engine with work may give no sign of life.
pub(super) const LONGEST_STEP: Duration = Duration::from_secs(4);
/// So many long steps are the model's way.
const USUAL: usize = 3;

/// What is known of an engine's signs of life.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Watch {
    /// The last number of signs, and when it was first seen while there was work.
    last: Option<(u64, Duration)>,
    /// The longest steps that came to their end, the longest first.
    long: [Duration; USUAL],
}

impl Watch {
    /// Takes a look. Returns for how long there was no progress, where that is too long.
    pub(super) fn look(&mut self, beats: u64, has_work: bool, now: Duration) -> Option<Duration> {
        let before = self.last.take();
        if !has_work {
            return None;
        }
        let since = match before {
            Some((same, since)) if same == beats => since,
            Some((_, since)) => {
                self.note(now.saturating_sub(since));
                now
            }
            None => now,
        };
        self.last = Some((beats, since));
        let stands = now.saturating_sub(since);
        // The shortest of the long ones is what was seen so often.
        let bound = LONGEST_STEP.max(self.long.last().copied().unwrap_or_default() * 2);
        (stands > bound).then_some(stands)
    }

    fn note(&mut self, took: Duration) {
        let place = self.long.iter().position(|long| took > *long).filter(|_| took > LONGEST_STEP);
        if let Some(place) = place {
            self.long[place..].rotate_right(1);
            self.long[place] = took;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn an_engine_that_stands_still_with_work_is_told_within_five_seconds_and_recovers() {
        let mut watch = Watch::default();
        let quarter = Duration::from_millis(250);
        assert_eq!(watch.look(7, true, s(10)), None);
        let mut now = s(10);
        let told = loop {
            now += quarter;
            if let Some(stands) = watch.look(7, true, now) {
                break stands;
            }
        };
        assert!(told < s(5) && told > LONGEST_STEP, "{told:?}");
        assert_eq!(watch.look(8, true, s(20)), None, "it goes on");
        assert_eq!(watch.look(8, true, s(23)), None);
        assert!(watch.look(8, true, s(25)).is_some(), "one that stood still once is no slow one");
    }

    #[test]
    fn without_work_nothing_stands_still_and_every_piece_of_a_prompt_is_progress() {
        let mut watch = Watch::default();
        for second in 0..100 {
            assert_eq!(watch.look(3, false, s(second)), None);
        }
        assert_eq!(watch.look(3, true, s(100)), None, "work that has just come");
        for piece in 0..100 {
            assert_eq!(watch.look(4 + piece, true, s(103 + 3 * piece)), None);
        }
    }

    #[test]
    fn a_model_whose_steps_are_long_is_slow_and_not_stuck() {
        let mut watch = Watch::default();
        for step in 0..4 {
            let told = watch.look(step, true, s(6 * step));
            assert_eq!(told, None);
            assert_eq!(watch.look(step, true, s(6 * step + 5)).is_some(), step < 3, "step {step}");
        }
        assert_eq!(watch.look(3, true, s(6 * 3 + 12)), None);
        assert!(watch.look(3, true, s(6 * 3 + 13)).is_some(), "twice as long as they are");
    }
}
