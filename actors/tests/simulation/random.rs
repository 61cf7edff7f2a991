//! Repeatable random numbers: Steele, Lea and Flood's `SplitMix64` ("Fast Splittable Pseudorandom Number Generators").
//! The same seed gives the same history.

pub(crate) struct Random(u64);

impl Random {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let number = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let number = (number ^ number >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        number ^ number >> 31
    }

    /// From 0 up to `end`, which is excluded.
    pub(crate) fn below(&mut self, end: i64) -> i64 {
        assert!(end > 0, "nothing to choose from");
        i64::try_from(self.next() % end.unsigned_abs()).unwrap_or(0)
    }

    /// From `low` to `high`, both included.
    pub(crate) fn between(&mut self, low: i64, high: i64) -> i64 {
        low + self.below(high - low + 1)
    }

    pub(crate) fn percent(&mut self, percent: i64) -> bool {
        self.below(100) < percent
    }

    pub(crate) fn pick<T: Clone>(&mut self, from: &[T]) -> Option<T> {
        if from.is_empty() {
            return None;
        }
        let place = usize::try_from(self.next() % from.len() as u64).ok()?;
        from.get(place).cloned()
    }
}
