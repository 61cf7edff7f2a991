//! The memory that a measurement has in use.

use crate::ratio::Outcome;

/// The bytes of a page, as Linux counts resident memory on the machines that are served here.
const PAGE: u64 = 4_096;

/// Resident memory, in MiB, as Linux tells it.
#[expect(clippy::cast_precision_loss, reason = "no machine has so many bytes")]
pub(crate) fn mib() -> Outcome<f64> {
    let text = std::fs::read_to_string("/proc/self/statm")?;
    let pages: u64 = text.split(' ').nth(1).ok_or("no resident memory in /proc")?.parse()?;
    Ok((pages * PAGE) as f64 / f64::from(1 << 20))
}
