//! When an account's owner is told that credits run low. A line is told as the balance falls below it, and again only after the
//! balance has recovered from it: a balance that goes up and down around a line is told once.

use crate::nanos::Nanos;

/// The most lines of one account.
pub const MOST_LINES: usize = 10;
/// The line of an account that has set none and buys nothing by itself.
pub const USUAL_LINE: Nanos = Nanos::new(250_000_000);
/// The highest line: $1 million.
const LARGEST: Nanos = Nanos::dollars(1_000_000);
/// The least by which a balance must be above a line to have recovered from it.
const LEAST_MARGIN: Nanos = Nanos::dollars(1);

/// The balance from which on a line may be told again: a quarter of the line above it, and at least a dollar.
pub fn recovered(line: Nanos) -> Nanos {
    line + Nanos::new(line.get() / 4).max(LEAST_MARGIN)
}

/// Follows a balance past some lines. `told` are the lines that were told and that the balance has not recovered from.
/// Returns the lowest line among those that the balance has just fallen below, if that is news.
pub(crate) fn follow(told: &mut Vec<Nanos>, lines: &[Nanos], before: Nanos, after: Nanos) -> Option<Nanos> {
    told.retain(|line| lines.contains(line) && after < recovered(*line));
    let mut lowest = None;
    for line in lines {
        let is_crossed = before >= *line && after < *line;
        if is_crossed && !told.contains(line) {
            told.push(*line);
            lowest = Some(lowest.map_or(*line, |lowest: Nanos| lowest.min(*line)));
        }
    }
    lowest
}

/// Checks an owner's lines.
///
/// # Errors
///
/// The rule that they break. The caller shows it to the user.
pub fn check(lines: &[Nanos]) -> Result<(), &'static str> {
    if lines.len() > MOST_LINES {
        return Err("must have at most 10 lines");
    }
    if lines.iter().any(|line| *line <= Nanos::ZERO || *line > LARGEST) {
        return Err("must have lines above $0 and at most $1,000,000");
    }
    let is_twice = |place: usize| lines[..place].contains(&lines[place]);
    if (0..lines.len()).any(is_twice) {
        return Err("has a line twice");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn cents(cents: i64) -> Nanos {
        Nanos::new(cents * 10_000_000)
    }

    #[test]
    fn of_several_lines_crossed_at_once_the_lowest_is_told() {
        let lines = [cents(5_000), cents(1_000), cents(100)];
        let mut told = Vec::new();
        assert_eq!(follow(&mut told, &lines, cents(6_000), cents(500)), Some(cents(1_000)));
        assert_eq!(told, [cents(5_000), cents(1_000)]);
        assert_eq!(follow(&mut told, &lines, cents(500), cents(99)), Some(cents(100)));
        // Above the lowest line and its margin, and not above the others' margins.
        assert_eq!(follow(&mut told, &lines, cents(99), cents(1_249)), None);
        assert_eq!(told, [cents(5_000), cents(1_000)]);
        assert_eq!(follow(&mut told, &lines, cents(1_249), cents(99)), Some(cents(100)));
    }

    #[test]
    fn a_line_is_told_again_after_the_margin_alone() {
        let lines = [cents(400)];
        let mut told = Vec::new();
        assert_eq!(follow(&mut told, &lines, cents(400), cents(399)), Some(cents(400)));
        for (before, after) in [(399, 499), (499, 399)] {
            assert_eq!(follow(&mut told, &lines, cents(before), cents(after)), None);
        }
        assert_eq!(follow(&mut told, &lines, cents(399), cents(500)), None);
        assert_eq!(follow(&mut told, &lines, cents(500), cents(0)), Some(cents(400)));
        // A line that is no longer set is forgotten.
        assert_eq!(follow(&mut told, &[], cents(0), cents(0)), None);
        assert_eq!(told, []);
        assert_eq!((recovered(cents(100)), recovered(cents(10_000))), (cents(200), cents(12_500)));
    }

    #[test]
    fn lines_that_can_not_be_are_refused() {
        for wrong in [vec![0], vec![-1], vec![100_000_001], vec![5, 5], (1..=11).collect()] {
            let lines: Vec<_> = wrong.into_iter().map(cents).collect();
            assert!(check(&lines).is_err(), "{lines:?}");
        }
        assert!(check(&[]).is_ok() && check(&[cents(1), cents(100_000_000)]).is_ok());
    }

    proptest! {
        /// Whatever way a balance takes, a line is told once between two recoveries, and whenever the balance first falls below
        /// it after one.
        #[test]
        fn any_way_around_lines_tells_each_once_a_fall(
            lines in proptest::collection::btree_set(1_i64..2_000, 0..5),
            way in proptest::collection::vec(0_i64..3_000, 2..60),
        ) {
            let lines: Vec<_> = lines.into_iter().map(cents).collect();
            let mut told = Vec::new();
            // For each line: whether it is news that the balance falls below it.
            let mut is_news: Vec<_> = lines.iter().map(|_| true).collect();
            for step in way.windows(2) {
                let (before, after) = (cents(step[0]), cents(step[1]));
                let said = follow(&mut told, &lines, before, after);
                let mut expected = None;
                for (place, line) in lines.iter().enumerate() {
                    if after >= recovered(*line) {
                        is_news[place] = true;
                    }
                    if before >= *line && after < *line && is_news[place] {
                        is_news[place] = false;
                        expected = expected.or(Some(*line));
                    }
                    prop_assert_eq!(told.contains(line), !is_news[place]);
                }
                prop_assert_eq!(said, expected);
            }
        }
    }
}
