//! How long the stages of a request take, for `/metrics`. The only labels are providers' names, of which there are few.

use std::time::Duration;

use metrics::{SharedString, histogram};

use super::stages::Stages;

/// The time until the account admits a request, including waits in line or for credits.
pub(super) fn admission(provider: impl Into<SharedString>, took: Duration) {
    histogram!("farebox_admission_seconds", "provider" => provider.into()).record(took);
}

/// From a request's admission to the first piece of its streamed answer.
pub(super) fn first_piece(provider: impl Into<SharedString>, took: Duration) {
    histogram!("farebox_ttft_seconds", "provider" => provider.into()).record(took);
}

/// An ended request: its stages, and the whole time since its admission.
pub(super) fn ended(provider: impl Into<SharedString>, stages: Stages, whole: Duration) {
    match stages {
        Stages::Closed { upstream } => histogram!("farebox_upstream_seconds").record(upstream),
        Stages::Open { load, queue, compute } => {
            histogram!("farebox_load_seconds").record(load);
            histogram!("farebox_queue_seconds").record(queue);
            histogram!("farebox_compute_seconds").record(compute);
        }
    }
    histogram!("farebox_request_seconds", "provider" => provider.into()).record(whole);
}
