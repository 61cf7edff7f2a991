//! After how many seconds a refusing provider wants the next attempt, from its headers (of several names and forms) or
//! from its error. Pure.

use std::time::{Duration, SystemTime};

use http::HeaderMap;
use serde_json::Value;

/// Headers of rate limits: how much of a limit is left, and when it is full again.
const RESETS: [(&str, &str); 10] = [
    ("x-ratelimit-remaining-requests", "x-ratelimit-reset-requests"),
    ("x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens"),
    ("x-ratelimit-remaining-input-images", "x-ratelimit-reset-input-images"),
    ("x-ratelimit-remaining", "x-ratelimit-reset"),
    ("ratelimit-remaining", "ratelimit-reset"),
    ("x-ratelimit-remaining-minute", "x-ratelimit-reset-minute"),
    ("anthropic-ratelimit-requests-remaining", "anthropic-ratelimit-requests-reset"),
    ("anthropic-ratelimit-tokens-remaining", "anthropic-ratelimit-tokens-reset"),
    ("anthropic-ratelimit-input-tokens-remaining", "anthropic-ratelimit-input-tokens-reset"),
    ("anthropic-ratelimit-output-tokens-remaining", "anthropic-ratelimit-output-tokens-reset"),
];
/// Larger numbers are times since 1970: in seconds, and beyond the second bound in milliseconds.
const INSTANT_S: f64 = 1e9;
const INSTANT_MS: f64 = 1e11;

/// The seconds to wait, rounded up; `None` where the provider names no time. Not bounded.
pub(super) fn seconds(headers: &HeaderMap, body: &[u8], now: SystemTime) -> Option<u64> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    let ms = text("retry-after-ms").and_then(number).map(|ms| ms / 1_000.0);
    // A date is relative to the provider's own clock.
    let its_now = text("date").and_then(|date| httpdate::parse_http_date(date).ok()).unwrap_or(now);
    let wait = ms
        .or_else(|| text("retry-after").and_then(|value| span(value, its_now)))
        .or_else(|| {
            let spent = |(left, reset): &(&str, &str)| {
                let is_spent = text(left).and_then(number).is_some_and(|left| left < 1.0);
                if is_spent { text(reset).and_then(|value| span(value, its_now)) } else { None }
            };
            RESETS.iter().filter_map(spent).reduce(f64::max)
        })
        .or_else(|| in_body(body))
        .or_else(|| RESETS.iter().filter_map(|(_, reset)| span(text(reset)?, its_now)).reduce(f64::min))?;
    whole(wait)
}

/// Rounded up.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked, and cut at the ends of the type")]
fn whole(seconds: f64) -> Option<u64> {
    seconds.is_finite().then(|| seconds.max(0.0).ceil() as u64)
}

fn number(text: &str) -> Option<f64> {
    // Rust's parser takes more, such as `inf` and `nan`.
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'-' | b'+'));
    if is_number { text.parse().ok() } else { None }
}

/// Seconds from now: a number, a time since 1970, a span such as `1m2s`, or a date.
fn span(text: &str, now: SystemTime) -> Option<f64> {
    let since = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64();
    if let Some(number) = number(text) {
        return Some(match number {
            ms if ms >= INSTANT_MS => ms / 1_000.0 - since,
            s if s >= INSTANT_S => s - since,
            wait => wait,
        });
    }
    let until = |at: SystemTime| at.duration_since(now).map_or(0.0, |wait| wait.as_secs_f64());
    units(text)
        .or_else(|| httpdate::parse_http_date(text).ok().map(until))
        .or_else(|| Some(rfc3339(text)?.as_secs_f64() - since))
}

/// `1h2m3.5s`, `6m0s`, `850ms`.
fn units(text: &str) -> Option<f64> {
    let (mut total, mut left) = (0.0, text);
    while !left.is_empty() {
        let end = left.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let amount: f64 = left[..end].parse().ok()?;
        let unit_end = left[end..].find(|c: char| !c.is_ascii_alphabetic()).map_or(left.len(), |at| end + at);
        total += amount
            * match &left[end..unit_end] {
                "ms" => 0.001,
                "s" | "sec" | "secs" | "second" | "seconds" => 1.0,
                "m" | "min" | "mins" | "minute" | "minutes" => 60.0,
                "h" => 3_600.0,
                "d" => 86_400.0,
                _ => return None,
            };
        left = &left[unit_end..];
    }
    (!text.is_empty()).then_some(total)
}

/// A time as Anthropic writes it, `2026-11-28T07:00:05Z`, since 1970.
fn rfc3339(text: &str) -> Option<Duration> {
    let (date, time) = text.strip_suffix(['Z', 'z'])?.split_once(['T', 't'])?;
    let mut date = date.splitn(3, '-').map(str::parse::<i64>);
    let (year, month, day) = (date.next()?.ok()?, date.next()?.ok()?, date.next()?.ok()?);
    let mut time = time.splitn(3, ':').map(str::parse::<f64>);
    let (hour, minute, second) = (time.next()?.ok()?, time.next()?.ok()?, time.next()?.ok()?);
    if !(1970..10_000).contains(&year) || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    // Days since 1970 in the calendar that counts years from March, so that the leap day is a year's last.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 719_469;
    let seconds = hour.mul_add(3_600.0, minute.mul_add(60.0, second));
    let of_day = Duration::try_from_secs_f64(seconds).ok()?;
    Some(Duration::from_secs(u64::try_from(days).ok()? * 86_400) + of_day)
}

/// Google's `retryDelay`, or the sentence that others write: `Please try again in 1.5s.`
fn in_body(body: &[u8]) -> Option<f64> {
    let body: Value = serde_json::from_slice(body).ok()?;
    let body = body.as_array().and_then(|list| list.first()).unwrap_or(&body);
    let details = body.pointer("/error/details").and_then(Value::as_array).into_iter().flatten();
    let delay = details.filter_map(|detail| detail.get("retryDelay")?.as_str()).find_map(units);
    delay.or_else(|| {
        let message = body.pointer("/error/message").or_else(|| body.get("message"))?.as_str()?;
        let (_, rest) = message.split_once("try again in ")?;
        let (amount, unit) = rest.split_once(' ').unwrap_or((rest, ""));
        let amount = amount.trim_end_matches(['.', ',']);
        match number(amount) {
            // The unit is a separate word.
            Some(_) => units(&format!("{amount}{}", unit.split([' ', '.', ',']).next()?)),
            None => units(amount),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-28T07:00:00Z
    const NOW: u64 = 1_795_849_200;

    fn of(headers: &[(&'static str, &str)], body: &str) -> Option<u64> {
        let headers = headers.iter().map(|(name, value)| ((*name).parse().unwrap(), value.parse().unwrap())).collect();
        seconds(&headers, body.as_bytes(), SystemTime::UNIX_EPOCH + Duration::from_secs(NOW))
    }

    #[test]
    fn a_wait_is_read_wherever_and_however_it_is_told() {
        for (name, value, wait) in [
            ("retry-after", "20", 20),
            ("retry-after", " 0 ", 0),
            ("retry-after", "0.8", 1),
            ("retry-after", "1.2", 2),
            ("retry-after", "-3", 0),
            ("retry-after", "1m2s", 62),
            ("retry-after", "Sat, 28 Nov 2026 07:00:30 GMT", 30),
            ("retry-after", "Saturday, 28-Nov-26 07:00:30 GMT", 30),
            ("retry-after", "Sat, 28 Nov 2026 06:00:00 GMT", 0),
            ("retry-after-ms", "1500", 2),
            ("retry-after-ms", "20", 1),
            ("x-ratelimit-reset-requests", "1m2s", 62),
            ("x-ratelimit-reset-tokens", "850ms", 1),
            ("x-ratelimit-reset", "1795849215", 15),
            ("x-ratelimit-reset", "1795849215500", 16),
            ("anthropic-ratelimit-tokens-reset", "2026-11-28T07:00:05Z", 5),
            ("anthropic-ratelimit-tokens-reset", "2028-02-29T00:00:00Z", 39_546_000),
        ] {
            assert_eq!(of(&[(name, value)], ""), Some(wait), "{name}: {value}");
        }
        for value in ["", "soon", "nan", "inf", "1x", "2026-13-01T00:00:00Z", "é"] {
            assert_eq!(of(&[("retry-after", value)], ""), None, "{value}");
        }
        assert_eq!(of(&[], ""), None);
    }

    #[test]
    fn the_limit_that_is_spent_counts_and_a_date_is_as_the_provider_reads_its_clock() {
        let reset = [("x-ratelimit-reset-requests", "120ms"), ("x-ratelimit-reset-tokens", "30s")];
        let spent = |name| [&reset[..], &[(name, "0")]].concat();
        assert_eq!(of(&spent("x-ratelimit-remaining-tokens"), ""), Some(30));
        assert_eq!(of(&spent("x-ratelimit-remaining-requests"), ""), Some(1));
        assert_eq!(of(&reset, ""), Some(1), "nothing says which");
        let late = [("date", "Sat, 28 Nov 2026 08:00:00 GMT"), ("retry-after", "Sat, 28 Nov 2026 08:00:07 GMT")];
        assert_eq!(of(&late, ""), Some(7));
        assert_eq!(of(&[("retry-after", "9"), ("x-ratelimit-reset-tokens", "30s")], ""), Some(9));
    }

    #[test]
    fn an_error_tells_it_too() {
        for (body, wait) in [
            (r#"{"error":{"details":[{"@type":"x"},{"retryDelay":"34.07s"}]}}"#, 35),
            (r#"[{"error":{"details":[{"retryDelay":"2s"}]}}]"#, 2),
            (r#"{"error":{"message":"Limit 3. Please try again in 20s. Visit"}}"#, 20),
            (r#"{"error":{"message":"try again in 6m0s"}}"#, 360),
            (r#"{"message":"Please try again in 1.5 seconds."}"#, 2),
        ] {
            assert_eq!(of(&[], body), Some(wait), "{body}");
        }
        for body in
            ["", "[]", r#"{"error":{"message":"try again in a while"}}"#, r#"{"error":{"message":"try again in "}}"#]
        {
            assert_eq!(of(&[], body), None, "{body}");
        }
    }
}
