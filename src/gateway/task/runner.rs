//! The runner of a request, as far as its task must know it: a provider's call is read to its end or dropped; an engine
//! is asked to stop, and reports its own usage.

use std::time::Instant;

use actors::pool::Control;
use engine::worker::Stop;
use wire::inference::{Failure, FinishReason};

use crate::gateway::{
    serve::CANCELLED,
    speeds,
    stages::{Course, Stages},
};

/// The runner of a request.
#[derive(Debug)]
pub(in crate::gateway) enum Runner {
    /// A provider.
    Provider {
        /// Why the output limit sent to the provider is lower than the client's, if it is.
        clamped: Option<&'static str>,
        /// Whether the answer is streamed, or sent whole.
        is_streamed: bool,
        /// Whether the provider answers in the client's format.
        speaks_as_client: bool,
    },
    /// An engine here.
    Engine {
        /// Asks the engine to stop.
        control: Control,
        /// What the request tells of its model's pace.
        pace: speeds::Course,
    },
}

impl Runner {
    pub(super) const fn is_engine(&self) -> bool {
        matches!(self, Self::Engine { .. })
    }

    /// Whether the answer's pieces are kept until it is whole. An engine's pieces are sent as they come, streamed or
    /// not.
    pub(super) const fn keeps_whole(&self) -> bool {
        matches!(self, Self::Provider { is_streamed: false, .. })
    }

    /// Whether the client can read the provider's own usage object.
    pub(in crate::gateway) const fn speaks_as_client(&self) -> bool {
        matches!(self, Self::Provider { speaks_as_client: true, .. })
    }

    /// The control of an engine's run.
    pub(super) const fn control(&self) -> Option<&Control> {
        match self {
            Self::Provider { .. } => None,
            Self::Engine { control, .. } => Some(control),
        }
    }

    /// Cancels the run. An engine ends within a token, and reports its usage.
    pub(super) fn cancel(&self) {
        self.stop(Stop::Cancelled);
    }

    /// Ends the run. A provider already has its limit.
    pub(super) fn stop(&self, stop: Stop) {
        match self {
            Self::Provider { .. } => {}
            Self::Engine { control, .. } => control.stop(stop),
        }
    }

    /// The first piece of the answer has come, after these stages.
    pub(super) fn begun(&mut self, stages: Stages) {
        if let (Self::Engine { pace, .. }, Stages::Open { queue, compute, .. }) = (self, stages) {
            pace.begun(queue, compute);
        }
    }

    /// An engine has written so many tokens.
    pub(super) const fn counted(&mut self, output: u64) {
        if let Self::Engine { pace, .. } = self {
            pace.counted(output);
        }
    }

    /// An engine has ended well, after so much compute.
    pub(super) fn finished(&self, compute_ms: u64) {
        if let Self::Engine { pace, .. } = self {
            pace.finished(compute_ms);
        }
    }

    /// The failure of a run that ended without a last event.
    pub(super) fn gone(&self) -> Failure {
        match self {
            Self::Provider { .. } => Failure::Transport("the call was cut short".into()),
            Self::Engine { .. } => Failure::Engine("the engine is gone".into()),
        }
    }

    /// The time of each stage.
    pub(super) fn stages(&self, course: &Course, now: Instant) -> Stages {
        match self {
            Self::Provider { .. } => Stages::Closed { upstream: course.elapsed(now) },
            Self::Engine { .. } => course.stages(now),
        }
    }

    /// The rule that ended an answer, where no engine has reported one.
    /// A provider's answer is read to its end behind a cancellation, for its usage: `is_cut` says that the client has not got all of
    /// it.
    pub(super) fn ended_by(
        &self,
        finish: Option<&FinishReason>,
        is_cancelled: bool,
        is_cut: bool,
    ) -> Option<&'static str> {
        match self {
            Self::Provider { clamped, .. } => {
                let clamped = clamped.filter(|_| finish == Some(&FinishReason::Length));
                if is_cut { Some(CANCELLED) } else { clamped }
            }
            Self::Engine { .. } => is_cancelled.then_some(CANCELLED),
        }
    }
}

#[cfg(test)]
mod tests {
    use engine::worker::StopSignal;

    use super::*;

    #[test]
    fn a_lowered_limit_is_the_reason_of_an_answer_that_reached_it_and_of_no_other() {
        let provider = Runner::Provider { clamped: Some("credits"), is_streamed: true, speaks_as_client: true };
        assert_eq!(provider.ended_by(Some(&FinishReason::Length), false, false), Some("credits"));
        assert_eq!(provider.ended_by(Some(&FinishReason::Stop), false, false), None);
        assert_eq!(provider.ended_by(None, true, true), Some(CANCELLED));
        let late = provider.ended_by(Some(&FinishReason::Stop), true, true);
        assert_eq!(late, Some(CANCELLED), "its client got no more of it");
        assert_eq!(provider.ended_by(Some(&FinishReason::Stop), true, false), None, "it was whole already");
        let provider = Runner::Provider { clamped: None, is_streamed: true, speaks_as_client: true };
        assert_eq!(provider.ended_by(Some(&FinishReason::Length), false, false), None);
    }

    #[test]
    fn an_engine_is_told_to_stop_by_the_strongest_reason() {
        let (stop, speed) = (StopSignal::new(), speeds::Speeds::default().of(&"m".into()));
        let engine = Runner::Engine { control: Control::of(stop.clone()), pace: speeds::Course::of(speed) };
        engine.stop(Stop::Credits);
        engine.cancel();
        engine.stop(Stop::MaxCost);
        assert_eq!(stop.get(), Stop::Cancelled);
        assert_eq!((engine.ended_by(None, true, true), engine.ended_by(None, false, false)), (Some(CANCELLED), None));
    }
}
