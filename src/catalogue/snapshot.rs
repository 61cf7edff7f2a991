//! Snapshots: providers name each dated state of a model (`gpt-4o-mini-2024-07-18`), at the price of the undated name.
//! A snapshot with another price has its own entry in the price book, which is searched first.

/// The years that a snapshot may have. There was none before; the range limits the names that clients can invent.
const YEARS: std::ops::RangeInclusive<u32> = 2022..=2049;

/// The name without its date, where it ends in one.
pub(super) fn undated(name: &str) -> Option<&str> {
    let (rest, date) = name.split_at_checked(name.len().checked_sub("-2024-07-18".len())?)?;
    let mut parts = date.strip_prefix('-')?.split('-');
    let mut number = |digits: usize| {
        let part =
            parts.next().filter(|part| part.len() == digits && part.bytes().all(|byte| byte.is_ascii_digit()))?;
        part.parse::<u32>().ok()
    };
    let (year, month, day) = (number(4)?, number(2)?, number(2)?);
    let is_date = YEARS.contains(&year) && (1..=12).contains(&month) && (1..=31).contains(&day);
    (is_date && !rest.is_empty()).then_some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_at_the_end_is_left_out_and_nothing_else() {
        assert_eq!(undated("gpt-4o-mini-2024-07-18"), Some("gpt-4o-mini"));
        assert_eq!(undated("a-2049-12-31"), Some("a"));
        for name in [
            "gpt-4o-mini",
            "gpt-4o-mini-2024-7-18",
            "gpt-4o-mini-2024-13-18",
            "gpt-4o-mini-2024-00-18",
            "-2024-07-18",
            "2024-07-18",
            "gpt-4o-mini-1999-07-18",
            "gpt-4o-mini-9999-07-18",
            "gpt-4o-mini-2024-07-32",
            "gpt-4o-0125",
            "gpt-4o-mini_2024-07-18",
            "gpt-4o-mini-2024-07-18x",
            "gpt-4o-mini-+024-07-18",
            "\u{e9}-2024-07-1\u{e9}",
            "",
        ] {
            assert_eq!(undated(name), None, "{name}");
        }
    }
}
