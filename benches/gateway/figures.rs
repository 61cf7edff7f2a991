//! Figures of many turns.

use std::{fmt, time::Duration};

/// How many a second.
#[expect(clippy::cast_precision_loss, reason = "counts of a benchmark")]
pub(crate) fn rate(count: usize, during: Duration) -> f64 {
    count as f64 / during.as_secs_f64()
}

/// Microseconds of processor time a request.
#[expect(clippy::cast_precision_loss, reason = "counts of a benchmark")]
pub(crate) fn microseconds_each(seconds: f64, requests: usize) -> f64 {
    seconds / requests as f64 * 1e6
}

/// A percentile of sorted values.
pub(crate) fn at_percent(sorted: &[f64], percent: usize) -> f64 {
    sorted[(sorted.len() * percent / 100).min(sorted.len() - 1)]
}

/// The median of some values.
pub(crate) fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    middle(&values)
}

fn middle(sorted: &[f64]) -> f64 {
    f64::midpoint(sorted[(sorted.len() - 1) / 2], sorted[sorted.len() / 2])
}

/// Values of turns, printed as their mean, median and spread.
pub(crate) struct Spread(Vec<f64>);

impl Spread {
    pub(crate) fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        Self(values)
    }

    #[expect(clippy::cast_precision_loss, reason = "counts of a benchmark")]
    fn mean(&self) -> f64 {
        self.0.iter().sum::<f64>() / self.0.len() as f64
    }

    /// The standard deviation.
    #[expect(clippy::cast_precision_loss, reason = "counts of a benchmark")]
    fn deviation(&self) -> f64 {
        let mean = self.mean();
        let squares: f64 = self.0.iter().map(|value| (value - mean).powi(2)).sum();
        (squares / self.0.len() as f64).sqrt()
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (least, most) = (self.0[0], self.0[self.0.len() - 1]);
        write!(
            out,
            "mean {:.3}, median {:.3}, least {least:.3}, most {most:.3}, deviation {:.3}",
            self.mean(),
            middle(&self.0),
            self.deviation()
        )
    }
}
