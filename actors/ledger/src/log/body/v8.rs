//! Form 8: the older forms, and in the record of a request the time of its stages. A body without any is written in an older
//! form.

use billing::{entry, timings};

/// Whether only this form can hold all of a transition.
pub(super) fn is_needed(transition: &entry::Transition) -> bool {
    transition.usage.as_ref().is_some_and(|usage| usage.timings.is_some())
}

#[expect(clippy::struct_field_names, reason = "the unit of each")]
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub(super) struct Timings {
    #[prost(uint64, tag = "1")]
    admission_ms: u64,
    #[prost(uint64, tag = "2")]
    load_ms: u64,
    #[prost(uint64, tag = "3")]
    queue_ms: u64,
    #[prost(uint64, tag = "4")]
    run_ms: u64,
    #[prost(uint64, optional, tag = "5")]
    first_ms: Option<u64>,
}

impl Timings {
    pub(super) const fn write(timings: timings::Timings) -> Self {
        let timings::Timings { admission_ms, load_ms, queue_ms, run_ms, first_ms } = timings;
        Self { admission_ms, load_ms, queue_ms, run_ms, first_ms }
    }

    pub(super) const fn read(self) -> timings::Timings {
        let Self { admission_ms, load_ms, queue_ms, run_ms, first_ms } = self;
        timings::Timings { admission_ms, load_ms, queue_ms, run_ms, first_ms }
    }
}
