//! Snapshots: providers name each dated state of a model (`gpt-4o-mini-2024-07-18`, `claude-sonnet-4-5-20250929`), at the
//! price of the undated name.
//! A snapshot with another price has its own entry in the price book, which is searched first.

/// The years that a snapshot may have. There was none before; the range limits the names that clients can invent.
const YEARS: std::ops::RangeInclusive<u32> = 2022..=2049;

/// The name without its date, where it ends in one, and not in two.
pub(super) fn undated(name: &str) -> Option<&str> {
    dateless(name).filter(|rest| dateless(rest).is_none())
}

fn dateless(name: &str) -> Option<&str> {
    without(name, "-2024-07-18", &[1..5, 6..8, 9..11]).or_else(|| without(name, "-20240718", &[1..5, 5..7, 7..9]))
}

/// The name without an end like this one, whose year, month and day are at these places.
fn without<'a>(name: &'a str, like: &str, places: &[std::ops::Range<usize>; 3]) -> Option<&'a str> {
    let (rest, end) = name.split_at_checked(name.len().checked_sub(like.len())?)?;
    let is_like = |(byte, like): (u8, u8)| if like == b'-' { byte == b'-' } else { byte.is_ascii_digit() };
    if rest.is_empty() || !end.bytes().zip(like.bytes()).all(is_like) {
        return None;
    }
    let [year, month, day] = places.clone().map(|place| end.get(place).and_then(|part| part.parse::<u32>().ok()));
    let is_date = YEARS.contains(&year?) && (1..=12).contains(&month?) && (1..=31).contains(&day?);
    is_date.then_some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_at_the_end_is_left_out_and_nothing_else() {
        assert_eq!(undated("gpt-4o-mini-2024-07-18"), Some("gpt-4o-mini"));
        assert_eq!(undated("a-2049-12-31"), Some("a"));
        assert_eq!(undated("claude-sonnet-4-5-20250929"), Some("claude-sonnet-4-5"));
        assert_eq!(undated("a-20491231"), Some("a"));
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
            "claude-sonnet-4-5-20251329",
            "claude-sonnet-4-5-2025092",
            "claude-sonnet-4-5-19990929",
            "claude-sonnet-4-5-2025-929",
            "-20250929",
            "gpt-4o-mini-2024-07-18-2024-07-18",
            "gpt-4o-mini-2024-07-18-20240718",
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
