//! Converts compute time to billed seconds: each started second counts, and at least one once compute began (design,
//! chapter 2.5).

/// The seconds billed for milliseconds of compute that has started.
pub const fn billed_seconds(compute_ms: u64) -> u64 {
    let seconds = compute_ms.div_ceil(1_000);
    if seconds == 0 { 1 } else { seconds }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_started_second_is_a_whole_one() {
        assert_eq!([0, 1, 999, 1_000, 1_001, 59_999].map(billed_seconds), [1, 1, 1, 1, 2, 60]);
    }
}
