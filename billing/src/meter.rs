//! Compute time to a charge: started seconds at the class's rate, at least one once compute began (design, chapter 2.5).

use crate::{class::SizeClass, nanos::Nanos, price::Cost};

/// Seconds billed for so many milliseconds of compute that did start.
pub const fn billed_seconds(compute_ms: u64) -> u64 {
    let seconds = compute_ms.div_ceil(1_000);
    if seconds == 0 { 1 } else { seconds }
}

/// What so many billed seconds cost. Open models carry no fee.
pub fn open_cost(class: SizeClass, seconds: u64) -> Cost {
    let seconds = i64::try_from(seconds).unwrap_or(i64::MAX);
    let amount = class.per_second().checked_times(seconds).unwrap_or(Nanos::new(i64::MAX));
    Cost { base: amount.to_decimal(), fee: rust_decimal::Decimal::ZERO }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_started_second_is_a_whole_one() {
        assert_eq!([0, 1, 999, 1_000, 1_001, 59_999].map(billed_seconds), [1, 1, 1, 1, 2, 60]);
        assert_eq!(open_cost(SizeClass::B7, 3).charged(), Ok(Nanos::new(216_000)));
    }
}
