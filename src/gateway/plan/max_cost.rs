//! `max_cost`: the caller's limit on the cost of one request, read exactly as it was written.

use std::borrow::Cow;

use billing::Nanos;
use wire::inference::Request;

use super::invalid;
use crate::gateway::serve::ServeError;

/// The caller's limit on the cost, if there is one.
pub(super) fn max_cost(request: &Request) -> Result<Option<Nanos>, ServeError> {
    let Some(text) = &request.max_cost else { return Ok(None) };
    match plain(text).parse::<Nanos>() {
        Ok(amount) if amount.is_positive() => Ok(Some(amount)),
        Ok(_) => Err(invalid("max_cost", "must be above $0")),
        Err(error) => Err(invalid("max_cost", error.to_string())),
    }
}

/// The longest number to rewrite: no amount is longer.
const LONGEST_NUMBER: usize = 64;
/// The longest shift of the decimal point to write out. Larger shifts are not meant as amounts.
const LONGEST_SHIFT: u32 = 30;

/// A decimal number without its exponent (Python writes 0.00005 as `5e-05`; this returns `0.00005`). Digits are moved
/// and none is lost. Any other text stays unchanged.
fn plain(text: &str) -> Cow<'_, str> {
    let moved = || {
        if text.len() > LONGEST_NUMBER {
            return None;
        }
        let (number, exponent) = text.split_once(['e', 'E'])?;
        let exponent: i32 = exponent.parse().ok().filter(|shift: &i32| shift.unsigned_abs() <= LONGEST_SHIFT)?;
        let (sign, number) = number.strip_prefix('-').map_or(("", number), |rest| ("-", rest));
        let (whole, decimals) = number.split_once('.').unwrap_or((number, ""));
        let digits = [whole, decimals].concat();
        if whole.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let point = i32::try_from(whole.len()).ok()?.checked_add(exponent)?;
        let Ok(point) = usize::try_from(point) else {
            return Some(format!("{sign}0.{}{digits}", "0".repeat(point.unsigned_abs() as usize)));
        };
        let padded = format!("{digits:0<point$}");
        let (whole, decimals) = padded.split_at(point);
        Some(format!("{sign}0{whole}.{decimals}0"))
    };
    moved().map_or(Cow::Borrowed(text), Cow::Owned)
}

#[cfg(test)]
mod tests {
    use wire::format::openai::read_completion;

    use super::*;

    #[test]
    fn max_cost_is_taken_with_an_exponent_and_exactly() {
        let most = |text: &str| {
            let request = format!(r#"{{"model":"m","prompt":"x","max_cost":{text}}}"#);
            let request = read_completion(request.as_bytes());
            max_cost(&request.map_err(|error| error.field)?).map_err(|error| match error {
                ServeError::Invalid { field, .. } => field.into_owned(),
                other => other.to_string(),
            })
        };
        for (text, nanos) in [
            ("5e-05", 50_000),
            ("5E-5", 50_000),
            ("1.25e-4", 125_000),
            ("1e0", 1_000_000_000),
            ("1.5e+1", 15_000_000_000),
            ("12345678.9e-7", 1_234_567_890),
            ("1e-9", 1),
        ] {
            assert_eq!(most(text), Ok(Some(Nanos::new(nanos))), "{text}");
            assert_eq!(most(&format!("\"{text}\"")), Ok(Some(Nanos::new(nanos))), "{text}");
        }
        for text in [
            "-5e-05",
            "0e5",
            "1e-10",
            "1.23e-8",
            "1e30",
            "1e400",
            "1e99999999999",
            "\"NaN\"",
            "\"inf\"",
            "\"e5\"",
            "\"1e\"",
            &format!("\"{}e1\"", "1".repeat(70_000)),
        ] {
            assert_eq!(most(text).unwrap_err(), "max_cost", "{text}");
        }
    }
}
