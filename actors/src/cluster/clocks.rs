//! Whether this node's clock is right enough to decide about money: by it credits expire, plans are renewed, and holds
//! lapse. The database's clock is compared with it at each reading. Pure.

use std::time::Duration;

use billing::Timestamp;

/// How far two clocks may be apart. Nodes whose clocks are further apart do not work together either
/// ([`link::Options::clocks`]).
pub const MOST_APART: Duration = Duration::from_secs(5);

/// By how many milliseconds the own clock is ahead at least, or behind where that is negative, of one that showed `theirs`
/// between two looks at the own one.
pub fn ahead_ms(before: Timestamp, theirs: Timestamp, after: Timestamp) -> i64 {
    if theirs < before {
        before.0.saturating_sub(theirs.0)
    } else if theirs > after {
        after.0.saturating_sub(theirs.0)
    } else {
        0
    }
}

/// What is wrong with a clock that is so far ahead of the database's; `None` if nothing is.
pub fn fault(ahead_ms: i64) -> Option<String> {
    let apart = Duration::from_millis(ahead_ms.unsigned_abs());
    let (seconds, way) = (apart.as_secs(), if ahead_ms > 0 { "ahead of" } else { "behind" });
    let fault = || format!("this machine's clock is {seconds} s {way} the database's, and credits expire by it");
    (apart > MOST_APART).then(fault)
}

/// Whether a node leaves its accounts to others because of its clock: where theirs are right. Where no clock agrees with the
/// database's, that one may be wrong, and nothing is gained by serving nobody.
pub(super) fn leaves(own_ahead_ms: i64, mut others: impl Iterator<Item = i64>) -> bool {
    fault(own_ahead_ms).is_some() && others.any(|ahead_ms| fault(ahead_ms).is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_is_apart_by_what_no_delay_explains() {
        let at = |ms: i64| Timestamp(10_000 + ms);
        assert_eq!(ahead_ms(at(0), at(20), at(40)), 0);
        assert_eq!(ahead_ms(at(0), at(0), at(0)), 0);
        assert_eq!(ahead_ms(at(7_000), at(20), at(7_040)), 6_980);
        assert_eq!(ahead_ms(at(0), at(7_020), at(40)), -6_980);
        assert_eq!(ahead_ms(at(0), at(7_020), at(7_030)), 0, "the answer may have taken long");
    }

    #[test]
    fn who_is_alone_out_of_time_leaves_and_nobody_does_where_all_are() {
        let hour = 3_600_000;
        assert!(fault(5_000).is_none() && fault(-5_000).is_none());
        assert!(fault(hour).is_some_and(|why| why.contains("3600 s ahead of")));
        assert!(fault(-hour).is_some_and(|why| why.contains("3600 s behind")));
        assert!(leaves(hour, [hour, 3].into_iter()));
        assert!(!leaves(hour, [hour, hour].into_iter()), "the database's clock may be wrong");
        assert!(!leaves(hour, [].into_iter()));
        assert!(!leaves(3, [hour].into_iter()));
    }
}
