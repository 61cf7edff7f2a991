//! Times, spans and sizes as the operator's pages show them.

use billing::Timestamp;

use crate::http::views::Time;

/// A time to the second, in UTC.
pub(super) fn second(at: Time) -> String {
    let text = at.to_string();
    match (text.get(..10), text.get(11..19)) {
        (Some(day), Some(second)) => format!("{day} {second}"),
        _ => text,
    }
}

/// The same of a time of the ledger's.
pub(super) fn at(at: Timestamp) -> String {
    second(at.into())
}

/// A span of microseconds, in the unit that suits it.
pub(super) fn us(us: u64) -> String {
    match us {
        0..1_000 => format!("{us} µs"),
        1_000..1_000_000 => format!("{}.{} ms", us / 1_000, us % 1_000 / 100),
        _ => ms(us / 1_000),
    }
}

/// A span of milliseconds, in the unit that suits it.
pub(super) fn ms(ms: u64) -> String {
    match ms {
        0..1_000 => format!("{ms} ms"),
        1_000..60_000 => format!("{}.{} s", ms / 1_000, ms % 1_000 / 100),
        60_000..3_600_000 => format!("{} min {} s", ms / 60_000, ms % 60_000 / 1_000),
        _ => format!("{} h {} min", ms / 3_600_000, ms % 3_600_000 / 60_000),
    }
}

/// The same, or a dash.
pub(super) fn ms_or(span: Option<u64>) -> String {
    span.map_or_else(|| "–".to_owned(), ms)
}

/// So many thousandths.
pub(super) fn share(permille: u64) -> String {
    format!("{}.{} %", permille / 10, permille % 10)
}

/// Bytes in GiB.
pub(super) fn gib(bytes: u64) -> String {
    let tenths = bytes / ((1 << 30) / 10);
    format!("{}.{} GiB", tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_and_sizes_have_the_unit_that_suits_them() {
        assert_eq!([7, 1_250, 2_000_000].map(us), ["7 µs", "1.2 ms", "2.0 s"]);
        assert_eq!([999, 1_000, 61_000, 3_660_000].map(ms), ["999 ms", "1.0 s", "1 min 1 s", "1 h 1 min"]);
        assert_eq!((share(1_000), share(7), ms_or(None)), ("100.0 %".into(), "0.7 %".into(), "–".into()));
        assert_eq!([0, 1 << 30, 16 << 30].map(gib), ["0.0 GiB", "1.0 GiB", "16.0 GiB"]);
        assert_eq!(at("2026-11-30T01:02:03.004Z".parse().unwrap()), "2026-11-30 01:02:03");
    }
}
