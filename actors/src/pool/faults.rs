//! Faults of engines, as tests and developers ask for them: one hangs in a step. Only builds with the feature `faults` have
//! them.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use engine::{
    model::Model,
    network::{Abilities, Network, NetworkError},
    schedule::{Change, Row},
};

/// Until then every engine that writes text hangs in its step.
static HANGING: Mutex<Option<Instant>> = Mutex::new(None);

/// Has every engine that writes text hang in its next step for so long. Nothing ends what hangs but the time, or another call.
pub fn hang(span: Duration) {
    *HANGING.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now() + span);
}

/// Waits while engines hang.
fn wait() {
    let hangs = || HANGING.lock().unwrap_or_else(PoisonError::into_inner).is_some_and(|until| Instant::now() < until);
    while hangs() {
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A model that can be made to hang.
pub(super) fn hanging<N: Network>(model: Model<N>) -> Model<Hanging<N>> {
    model.with_network(Hanging)
}

/// A network that can be made to hang.
#[derive(Debug)]
pub(super) struct Hanging<N>(N);

impl<N: Network> Network for Hanging<N> {
    fn abilities(&self) -> Abilities {
        self.0.abilities()
    }

    fn change(&mut self, change: Change) -> Result<(), NetworkError> {
        self.0.change(change)
    }

    fn read(
        &mut self,
        place: usize,
        past: usize,
        tokens: &[u32],
        rows: Option<&mut Vec<Vec<f32>>>,
    ) -> Result<(), NetworkError> {
        wait();
        self.0.read(place, past, tokens, rows)
    }

    fn write(&mut self, rows: &[Row]) -> Result<(), NetworkError> {
        wait();
        self.0.write(rows)
    }

    fn verify(&mut self, place: usize, past: usize, tokens: &[u32]) -> Result<(), NetworkError> {
        wait();
        self.0.verify(place, past, tokens)
    }

    fn scores(&self, row: usize) -> &[f32] {
        self.0.scores(row)
    }

    fn clear(&mut self, place: usize) -> Result<(), NetworkError> {
        self.0.clear(place)
    }
}
