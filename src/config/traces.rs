//! Settings of traces: where spans go.

use std::num::NonZeroU32;

use serde::{Deserialize, Serialize};

use super::{Secret, ServerUrl};

/// The export of traces.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Traces {
    /// The address of an OpenTelemetry collector that takes OTLP over HTTP; without one nothing is exported.
    pub endpoint: Option<ServerUrl>,
    /// Headers that open the collector: `name=value`, separated by commas.
    pub headers: Option<Secret>,
    /// Of the traces that begin here, one in so many is kept. One that begins elsewhere is kept where its beginner keeps it.
    pub one_in: NonZeroU32,
    /// The service's name in traces.
    pub service: String,
}

impl Default for Traces {
    fn default() -> Self {
        Self { endpoint: None, headers: None, one_in: NonZeroU32::MIN, service: "farebox".to_owned() }
    }
}

impl Traces {
    /// The headers, by name. `None` where they are not written so.
    pub fn headers(&self) -> Option<Vec<(String, String)>> {
        let Some(headers) = &self.headers else { return Some(Vec::new()) };
        let pair =
            |pair: &str| pair.split_once('=').map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned()));
        headers.expose().split(',').map(pair).collect()
    }

    /// The part of traces that is kept.
    pub fn ratio(&self) -> f64 {
        1.0 / f64::from(self.one_in.get())
    }
}
