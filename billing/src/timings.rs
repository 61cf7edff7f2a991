//! The time that a request took, by stage. It says nothing of money; it is kept with the request's record, so that its caller
//! sees where the time went.

use serde::{Deserialize, Serialize};

/// The time of each stage of a request, in milliseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timings {
    /// From the question to its account until its hold was durable: the waiting line, where it had to wait, and the log.
    pub admission_ms: u64,
    /// Open models: the wait for the model's load.
    pub load_ms: u64,
    /// Open models: the wait behind other requests, and that for a load which the request did not live to see.
    pub queue_ms: u64,
    /// Open models: the time since the first engine step. Closed ones: the provider's, network included.
    pub run_ms: u64,
    /// From the hold until the first piece of the answer; `None` where it came whole, or none came.
    pub first_ms: Option<u64>,
}
