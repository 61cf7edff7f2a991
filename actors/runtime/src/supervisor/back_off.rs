//! When an actor that ended is started again: soon after a single end, ever later while its lives are short, soon again
//! after a long life. Pure: the length of each life is passed in.

use std::time::Duration;

/// The wait after the first end.
pub const FIRST: Duration = Duration::from_millis(50);
/// The longest wait.
pub const LONGEST: Duration = Duration::from_secs(30);
/// A life of this length or longer is a good one.
pub const GOOD_LIFE: Duration = Duration::from_mins(1);

/// The memory of an actor's lives.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BackOff {
    short_lives: u32,
}

impl BackOff {
    /// Notes that a life of this length ended, and returns how long to wait before the next.
    pub fn ended(&mut self, lived: Duration) -> Duration {
        if lived >= GOOD_LIFE {
            self.short_lives = 0;
        }
        let wait = FIRST.saturating_mul(2_u32.saturating_pow(self.short_lives)).min(LONGEST);
        self.short_lives = self.short_lives.saturating_add(1);
        wait
    }

    /// Short lives since the last good one.
    pub const fn short_lives(self) -> u32 {
        self.short_lives
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_dies_at_start_is_waited_for_ever_longer_and_not_for_ever() {
        let mut back_off = BackOff::default();
        let waits: Vec<_> = (0..40).map(|_| back_off.ended(Duration::ZERO)).collect();
        assert_eq!(waits[..3], [FIRST, FIRST * 2, FIRST * 4]);
        assert!(waits.windows(2).all(|pair| pair[0] <= pair[1]), "{waits:?}");
        assert_eq!(waits[39], LONGEST);
        // A dozen attempts in the first minute; with the shortest wait alone there would be 1,200.
        let mut passed = Duration::ZERO;
        let tries = waits
            .iter()
            .take_while(|wait| {
                passed += **wait;
                passed < Duration::from_mins(1)
            })
            .count();
        assert!(tries <= 12, "{tries}");
    }

    #[test]
    fn a_good_life_is_forgiven_its_end() {
        let mut back_off = BackOff::default();
        for _ in 0..20 {
            back_off.ended(Duration::from_secs(1));
        }
        assert_eq!(back_off.ended(GOOD_LIFE), FIRST);
        assert_eq!((back_off.short_lives(), back_off.ended(Duration::ZERO)), (1, FIRST * 2));
    }
}
