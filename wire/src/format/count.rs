//! Counts as providers write them.

use serde_json::Value;

/// The largest float that stands for exactly one whole number: 2^53.
const LARGEST_WHOLE: f64 = 9_007_199_254_740_992.0;

/// A count: a whole number that is not negative, in any spelling (`100.0` is 100). `None` for anything else.
pub(in crate::format) fn count(value: &Value) -> Option<u64> {
    let whole = || {
        let float = value.as_f64()?;
        let is_whole = float.fract() == 0.0 && (0.0..LARGEST_WHOLE).contains(&float);
        // Rust writes a whole float without a point.
        float.to_string().parse().ok().filter(|_| is_whole)
    };
    value.as_u64().or_else(whole)
}
