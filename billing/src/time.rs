//! Ledger time: milliseconds of UTC since 1970. It is passed in with every command; no clock is read here. Its text
//! form is RFC 3339. The calendar arithmetic is Howard Hinnant's ("chrono-Compatible Low-Level Date Algorithms").

use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// An hour in milliseconds.
pub const HOUR_MS: i64 = 3_600_000;
/// A day in milliseconds.
pub const DAY_MS: i64 = 86_400_000;
/// Four weeks, the life of a grant and the window of a tier: 28 x 86,400 s exactly.
pub const FOUR_WEEKS_MS: i64 = 28 * DAY_MS;

/// Milliseconds since 1970-01-01T00:00:00Z.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// The last timestamp that RFC 3339 can write, with four digits for the year. Later ones are refused.
    pub const LAST: Self = Self(days_from_civil(10_000, 1, 1) * DAY_MS - 1);
    /// The first timestamp that RFC 3339 can write.
    const FIRST: Self = Self(days_from_civil(0, 1, 1) * DAY_MS);

    /// This timestamp plus `ms` milliseconds, clamped to the range of `i64`.
    #[must_use]
    pub const fn plus_ms(self, ms: i64) -> Self {
        Self(self.0.saturating_add(ms))
    }

    /// Milliseconds from `earlier` to this timestamp; 0 where `earlier` is not earlier.
    pub const fn ms_since(self, earlier: Self) -> i64 {
        let ms = self.0.saturating_sub(earlier.0);
        if ms < 0 { 0 } else { ms }
    }

    /// The start of the UTC hour ([`HOUR_MS`]) or day ([`DAY_MS`]) of this timestamp.
    #[must_use]
    pub const fn floor(self, span_ms: i64) -> Self {
        Self(self.0.saturating_sub(self.0.rem_euclid(span_ms)))
    }

    /// This timestamp if a span starts at it, or else the start of the next span.
    #[must_use]
    pub const fn ceil(self, span_ms: i64) -> Self {
        self.plus_ms(span_ms - 1).floor(span_ms)
    }

    /// Midnight UTC of a day such as `2026-11-24`.
    pub fn from_date(text: &str) -> Option<Self> {
        let bytes = text.as_bytes();
        if bytes.len() != 10 || bytes.get(4) != Some(&b'-') || bytes.get(7) != Some(&b'-') {
            return None;
        }
        let (year, month, day) = (number(text, 0, 4)?, number(text, 5, 2)?, number(text, 8, 2)?);
        if !(1..=12).contains(&month) || day < 1 || day > days_of(year, month) {
            return None;
        }
        Some(Self(days_from_civil(year, month, day) * DAY_MS))
    }
}

impl Timestamp {
    /// The start of this timestamp's UTC day.
    #[must_use]
    pub const fn day_start(self) -> Self {
        self.floor(DAY_MS)
    }

    /// This timestamp's UTC day as RFC 3339 writes it: `2026-11-30`.
    pub fn date(self) -> String {
        let (year, month, day) = civil(self.0.div_euclid(DAY_MS));
        format!("{year:04}-{month:02}-{day:02}")
    }

    /// The start of this timestamp's ISO 8601 week: Monday, 00:00 UTC.
    #[must_use]
    pub const fn week_start(self) -> Self {
        // 1970-01-01 was a Thursday.
        Self(((self.0.div_euclid(DAY_MS) + 3).div_euclid(7) * 7 - 3) * DAY_MS)
    }

    /// This timestamp's UTC calendar month.
    pub const fn month(self) -> Month {
        let (year, month, _) = civil(self.0.div_euclid(DAY_MS));
        Month(year * 12 + month - 1)
    }
}

/// A UTC calendar month, counted from January of the year 0.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Month(pub i64);

impl Month {
    /// The first timestamp of the month.
    pub const fn start(self) -> Timestamp {
        Timestamp(days_from_civil(self.0.div_euclid(12), self.0.rem_euclid(12) + 1, 1) * DAY_MS)
    }

    /// The next month.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// The month as text: `2026-11`.
impl std::fmt::Display for Month {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:04}-{:02}", self.0.div_euclid(12), self.0.rem_euclid(12) + 1)
    }
}

/// Year, month and day of a day counted from 1970-01-01: Howard Hinnant's `civil_from_days` ("chrono-Compatible Low-Level
/// Date Algorithms").
const fn civil(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_index = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_index + 2) / 5 + 1;
    let month = if month_index < 10 { month_index + 3 } else { month_index - 9 };
    let year = year_of_era + era * 400 + if month <= 2 { 1 } else { 0 };
    (year, month, day)
}

/// The reverse of [`civil`], from the same source.
const fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let month_index = if month > 2 { month - 3 } else { month + 9 };
    let day_of_year = (153 * month_index + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// Reads a number of `digits` digits at a position of the text.
fn number(text: &str, at: usize, digits: usize) -> Option<i64> {
    let part = text.get(at..at + digits)?;
    part.bytes().all(|byte| byte.is_ascii_digit()).then(|| part.parse().ok()).flatten()
}

const fn days_of(year: i64, month: i64) -> i64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        _ => 31,
    }
}

/// The text is not a timestamp.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be a date (2026-11-24) or an RFC 3339 time (2026-11-24T09:30:00Z), in the year 9999 or before")]
pub struct TimeError;

impl FromStr for Timestamp {
    type Err = TimeError;

    /// Reads a date (as its first instant in UTC) or a time of RFC 3339. Digits beyond milliseconds are cut off.
    fn from_str(text: &str) -> Result<Self, TimeError> {
        instant(text).filter(|at| (Self::FIRST..=Self::LAST).contains(at)).ok_or(TimeError)
    }
}

fn instant(text: &str) -> Option<Timestamp> {
    let date = Timestamp::from_date(text.get(..10)?)?;
    let time = text.get(10..)?;
    if time.is_empty() {
        return Some(date);
    }
    let colon = |text: &str, at: usize| text.as_bytes().get(at) == Some(&b':');
    if !time.starts_with(['T', 't', ' ']) || !colon(time, 3) || !colon(time, 6) {
        return None;
    }
    let (hour, minute, second) = (number(time, 1, 2)?, number(time, 4, 2)?, number(time, 7, 2)?);
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let mut rest = time.get(9..)?;
    let mut ms = 0;
    if let Some(fraction) = rest.strip_prefix('.') {
        let digits = fraction.bytes().take_while(u8::is_ascii_digit).count();
        if digits == 0 {
            return None;
        }
        ms = number(&format!("{:0<3.3}", fraction.get(..digits)?), 0, 3)?;
        rest = fraction.get(digits..)?;
    }
    let offset_minutes = match rest.chars().next()? {
        'Z' | 'z' if rest.len() == 1 => 0,
        sign @ ('+' | '-') if rest.len() == 6 && colon(rest, 3) => {
            let (hours, minutes) = (number(rest, 1, 2)?, number(rest, 4, 2)?);
            if hours > 23 || minutes > 59 {
                return None;
            }
            (hours * 60 + minutes) * if sign == '+' { 1 } else { -1 }
        }
        _ => return None,
    };
    Some(date.plus_ms(((hour * 60 + minute - offset_minutes) * 60 + second) * 1_000 + ms))
}

/// RFC 3339 with milliseconds, always in UTC (`2026-11-24T09:30:00.000Z`).
impl std::fmt::Display for Timestamp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (days, ms) = (self.0.div_euclid(DAY_MS), self.0.rem_euclid(DAY_MS));
        let (year, month, day) = civil(days);
        let (s, milli) = (ms / 1_000, ms % 1_000);
        write!(f, "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{milli:03}Z", s / 3_600, s / 60 % 60, s % 60)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_print_as_rfc_3339() {
        assert_eq!(Timestamp(0).to_string(), "1970-01-01T00:00:00.000Z");
        assert_eq!(Timestamp(951_782_400_000).to_string(), "2000-02-29T00:00:00.000Z");
        assert_eq!(Timestamp(1_795_512_896_789).to_string(), "2026-11-24T09:34:56.789Z");
        assert_eq!(Timestamp(-1).to_string(), "1969-12-31T23:59:59.999Z");
    }

    #[test]
    fn windows_begin_where_the_calendar_says() {
        let at = Timestamp(1_795_512_896_789);
        assert_eq!(at.day_start().to_string(), "2026-11-24T00:00:00.000Z");
        assert_eq!(at.week_start().to_string(), "2026-11-23T00:00:00.000Z");
        assert_eq!(at.month().to_string(), "2026-11");
        assert_eq!(at.month().start().to_string(), "2026-11-01T00:00:00.000Z");
        assert_eq!(at.month().next().next().start().to_string(), "2027-01-01T00:00:00.000Z");
        assert_eq!(Timestamp(-1).month().to_string(), "1969-12");
        assert_eq!(Timestamp(-1).week_start().to_string(), "1969-12-29T00:00:00.000Z");
    }

    #[test]
    fn every_day_of_four_centuries_is_read_back() {
        for days in -146_097..146_097 {
            let (year, month, day) = civil(days);
            assert_eq!(days_from_civil(year, month, day), days);
        }
    }

    #[test]
    fn instants_are_read_as_they_are_printed() {
        for ms in (-80_000_000_000_000..80_000_000_000_000).step_by(977_777_777_777).chain([0, -1, 951_782_400_000]) {
            let printed = Timestamp(ms).to_string();
            if printed.len() == 24 && !printed.starts_with('-') {
                assert_eq!(printed.parse(), Ok(Timestamp(ms)), "{printed}");
            }
        }
        let noon = Timestamp(1_795_521_600_000);
        for text in [
            "2026-11-24T12:00:00Z",
            "2026-11-24t12:00:00z",
            "2026-11-24 12:00:00.0Z",
            "2026-11-24T14:30:00+02:30",
            "2026-11-24T04:00:00.0009-08:00",
            "2026-11-25T00:00:00+12:00",
        ] {
            assert_eq!(text.parse(), Ok(noon), "{text}");
        }
        assert_eq!("2026-11-24T12:00:00.1Z".parse(), Ok(noon.plus_ms(100)));
        assert_eq!("2026-11-24".parse(), Ok(noon.floor(DAY_MS)));
    }

    #[test]
    fn what_is_no_instant_is_refused() {
        for text in [
            "",
            "2026",
            "2026-1-1",
            "2026-02-29",
            "1900-02-29",
            "2026-13-01",
            "2026-00-01",
            "2026-01-00",
            "2026-04-31",
            "20261124",
            "2026-11-24T",
            "2026-11-24T12",
            "2026-11-24T12:00",
            "2026-11-24T12:00:00",
            "2026-11-24T24:00:00Z",
            "2026-11-24T12:60:00Z",
            "2026-11-24T12:00:61Z",
            "2026-11-24T12:00:00.Z",
            "2026-11-24T12:00:00+2:00",
            "2026-11-24T12:00:00+24:00",
            "2026-11-24T12:00:00Zx",
            "2026-11-24T12:00:00+02:0\u{e9}",
            "+026-11-24",
            "2026-11-2\u{e9}",
            "\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}",
            "1795521600",
            "-2026-11-24",
        ] {
            assert_eq!(text.parse::<Timestamp>(), Err(TimeError), "{text}");
        }
    }

    #[test]
    fn no_offset_leads_out_of_the_years_that_can_be_written() {
        assert_eq!(Timestamp::LAST.to_string(), "9999-12-31T23:59:59.999Z");
        assert_eq!("9999-12-31T23:59:59.999Z".parse(), Ok(Timestamp::LAST));
        assert_eq!("0000-01-01".parse(), Ok(Timestamp::FIRST));
        for text in ["9999-12-31T23:59:59-00:01", "9999-12-31T12:00:00-23:59", "0000-01-01T00:00:00+00:01"] {
            assert_eq!(text.parse::<Timestamp>(), Err(TimeError), "{text}");
        }
    }

    #[test]
    fn spans_start_on_utc_hours_and_days() {
        let at = Timestamp(1_795_512_896_789);
        assert_eq!(at.floor(HOUR_MS).to_string(), "2026-11-24T09:00:00.000Z");
        assert_eq!(at.ceil(DAY_MS).to_string(), "2026-11-25T00:00:00.000Z");
        assert_eq!(at.floor(DAY_MS).ceil(DAY_MS), at.floor(DAY_MS));
        assert_eq!(Timestamp(-1).floor(HOUR_MS), Timestamp(-HOUR_MS));
    }

    #[test]
    fn a_clock_that_steps_back_measures_nothing() {
        assert_eq!(Timestamp(5).ms_since(Timestamp(9)), 0);
        assert_eq!(Timestamp(i64::MAX).plus_ms(1), Timestamp(i64::MAX));
    }
}
