//! Transitions that form 8 is for. The golden body was made of these, so they never change.

use billing::{
    entry::{Transition, UsageRecord},
    timings::Timings,
};

use super::examples::settlement;

/// Requests whose stages were timed: of a stream of an open model, and one that took no time at all.
pub(in crate::log::body) fn timings() -> Vec<Transition> {
    let stream = Timings { admission_ms: 3, load_ms: 1_500, queue_ms: 120, run_ms: 7_999, first_ms: Some(1_702) };
    let timed = |timings| {
        let usage = settlement().usage.map(|usage| UsageRecord { timings: Some(Box::new(timings)), ..usage });
        Transition { usage, ..settlement() }
    };
    vec![timed(stream), timed(Timings::default())]
}
