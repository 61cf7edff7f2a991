//! How long loads take here, as they did.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

/// The most models that are remembered.
const MOST: usize = 1_000;

/// Where an expected time is from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Basis {
    /// Earlier loads of the model here.
    Measured,
    /// The model's bytes, and the pace of other models' loads here.
    Estimated,
}

/// A time that a load is expected to take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expected {
    /// The time.
    pub time: Duration,
    /// Where it is from.
    pub basis: Basis,
}

/// The times of loads, each a mean in which the latest counts a third.
#[derive(Debug, Default)]
pub(super) struct LoadTimes {
    by_model: BTreeMap<Arc<str>, Duration>,
    /// Bytes of all loads, and their time.
    bytes: u64,
    time: Duration,
}

impl LoadTimes {
    /// Notes a load.
    pub(super) fn note(&mut self, model: &Arc<str>, bytes: u64, took: Duration) {
        self.bytes = self.bytes.saturating_add(bytes);
        self.time = self.time.saturating_add(took);
        if let Some(mean) = self.by_model.get_mut(model) {
            *mean = (*mean * 2 + took) / 3;
        } else if self.by_model.len() < MOST {
            self.by_model.insert(Arc::clone(model), took);
        }
    }

    /// The time that a load of a model is expected to take; `None` while nothing was loaded.
    pub(super) fn expected(&self, model: &str, bytes: u64) -> Option<Expected> {
        if let Some(time) = self.by_model.get(model) {
            return Some(Expected { time: *time, basis: Basis::Measured });
        }
        if self.bytes == 0 {
            return None;
        }
        let nanos = self.time.as_nanos().saturating_mul(u128::from(bytes)) / u128::from(self.bytes);
        let time = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        Some(Expected { time, basis: Basis::Estimated })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_models_own_loads_are_better_than_the_pace_of_others() {
        let mut times = LoadTimes::default();
        let ms = Duration::from_millis;
        assert_eq!(times.expected("a", 10), None);
        times.note(&"a".into(), 1_000, ms(300));
        assert_eq!(times.expected("a", 1_000), Some(Expected { time: ms(300), basis: Basis::Measured }));
        assert_eq!(times.expected("b", 2_000), Some(Expected { time: ms(600), basis: Basis::Estimated }));
        times.note(&"a".into(), 1_000, ms(600));
        assert_eq!(times.expected("a", 1_000).unwrap().time, ms(400));
        for other in 0..2 * MOST {
            times.note(&other.to_string().into(), 1, ms(1));
        }
        assert_eq!(times.by_model.len(), MOST);
    }
}
