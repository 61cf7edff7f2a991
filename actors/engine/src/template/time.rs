//! `strftime_now`: the time (UTC) in Python's format. An unknown directive is an error, so that a template which needs
//! it is not imported.

use std::time::{SystemTime, UNIX_EPOCH};

use minijinja::{Error, ErrorKind};

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const DAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

/// The function for templates.
#[expect(clippy::needless_pass_by_value, reason = "the signature minijinja takes")]
pub(super) fn now(format: String) -> Result<String, Error> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    strftime(&format, since.as_secs(), since.subsec_micros())
        .map_err(|directive| Error::new(ErrorKind::InvalidOperation, format!("strftime_now: {directive} is not known")))
}

/// A time (seconds since 1970) in a format. The error is the unknown directive.
fn strftime(format: &str, seconds: u64, micros: u32) -> Result<String, String> {
    let (days, of_day) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (of_day / 3_600, of_day / 60 % 60, of_day % 60);
    let of_year = days - first_day(year) + 1;
    let weekday = (days + 4) % 7;
    let name = |names: &[&'static str], at: u64| usize::try_from(at).ok().and_then(|at| names.get(at)).copied();
    let (month_name, day_name) =
        (name(&MONTHS, month - 1).unwrap_or_default(), name(&DAYS, weekday).unwrap_or_default());
    let half = if hour % 12 == 0 { 12 } else { hour % 12 };
    let mut out = String::with_capacity(format.len() + 16);
    let mut rest = format.chars();
    while let Some(character) = rest.next() {
        if character != '%' {
            out.push(character);
            continue;
        }
        let mut directive = rest.next();
        // As on Linux: without padding.
        let bare = directive == Some('-');
        if bare {
            directive = rest.next();
        }
        let padded = |number: u64, width: usize| if bare { number.to_string() } else { format!("{number:0width$}") };
        let Some(directive) = directive else { return Err("% at the end".to_owned()) };
        let written = match directive {
            'Y' => year.to_string(),
            'y' => padded(year % 100, 2),
            'm' => padded(month, 2),
            'd' => padded(day, 2),
            'e' => {
                if bare {
                    day.to_string()
                } else {
                    format!("{day:>2}")
                }
            }
            'H' => padded(hour, 2),
            'I' => padded(half, 2),
            'M' => padded(minute, 2),
            'S' => padded(second, 2),
            'f' => format!("{micros:06}"),
            'j' => padded(of_year, 3),
            'p' => (if hour < 12 { "AM" } else { "PM" }).to_owned(),
            'B' => month_name.to_owned(),
            'b' | 'h' => month_name.get(..3).unwrap_or_default().to_owned(),
            'A' => day_name.to_owned(),
            'a' => day_name.get(..3).unwrap_or_default().to_owned(),
            'w' => weekday.to_string(),
            'u' => (if weekday == 0 { 7 } else { weekday }).to_string(),
            'F' => format!("{year}-{month:02}-{day:02}"),
            'T' | 'X' => format!("{hour:02}:{minute:02}:{second:02}"),
            'R' => format!("{hour:02}:{minute:02}"),
            'D' | 'x' => format!("{month:02}/{day:02}/{:02}", year % 100),
            // A time without a zone has no zone name.
            'z' | 'Z' => String::new(),
            's' => seconds.to_string(),
            '%' => "%".to_owned(),
            'n' => "\n".to_owned(),
            't' => "\t".to_owned(),
            other => return Err(format!("%{other}")),
        };
        out.push_str(&written);
    }
    Ok(out)
}

/// Year, month and day of a day since 1970 (Howard Hinnant's `civil_from_days`).
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let era = days / 146_097;
    let of_era = days % 146_097;
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

/// The first day of a year, since 1970.
fn first_day(year: u64) -> u64 {
    let before = year - 1;
    before * 365 + before / 4 - before / 100 + before / 400 - 719_162
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_right() {
        assert_eq!(civil(0), (1970, 1, 1));
        assert_eq!(civil(19_782), (2024, 2, 29));
        assert_eq!(civil(20_781), (2026, 11, 24));
        assert_eq!((first_day(1970), first_day(1971), first_day(2025)), (0, 365, 20_089));
    }

    #[test]
    fn directives_are_pythons() {
        // Thursday, 29 February 2024, 15:04:05 UTC.
        let at = |format: &str| strftime(format, 19_782 * 86_400 + 54_245, 7);
        assert_eq!(at("%A %d %B %Y, %I:%M:%S %p").unwrap(), "Thursday 29 February 2024, 03:04:05 PM");
        assert_eq!(at("%a %-d %b %y %-m %H:%M %j %% %f").unwrap(), "Thu 29 Feb 24 2 15:04 060 % 000007");
        assert_eq!(at("%F %T %D %Z").unwrap(), "2024-02-29 15:04:05 02/29/24 ");
        assert_eq!(at("%Q").unwrap_err(), "%Q");
        assert!(at("%").is_err());
    }
}
