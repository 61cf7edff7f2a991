//! The permit of a running request: while its reader is so slow that its engine stands still, the permit is given back, and
//! the engine goes on once it is taken again. A provider's call has none.

use std::{convert::Infallible, pin::Pin};

use actors::{admission::Admission, pool::Control};
use billing::command::Refusal;
use engine::worker::Stop;

type Taking = Pin<Box<dyn Future<Output = Result<(), Refusal>>>>;

/// What the task waits for, as far as it matters to the permit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Waits {
    /// The run's next event.
    ForEvents,
    /// Its reader: the engine stands still soon.
    ForReader,
}

/// The permit of one request.
#[derive(Default)]
pub(super) struct Permit {
    /// The engine's control; `None` where no engine runs the request.
    control: Option<Control>,
    /// The question for the permit that was given back.
    taking: Option<Taking>,
}

impl Permit {
    /// The permit of a request that an engine runs, or none.
    pub(super) fn of(control: Option<&Control>) -> Self {
        Self { control: control.cloned(), taking: None }
    }

    /// Gives the permit back and takes it again, for as long as this is polled: it never completes. Dropping it loses
    /// nothing.
    pub(super) async fn look_after(&mut self, admission: &Admission, waits: Waits) -> Infallible {
        let Some(control) = &self.control else { return std::future::pending().await };
        loop {
            tokio::select! {
                biased;
                () = control.parking().parked(), if waits == Waits::ForReader => {
                    if control.parking().give_back() {
                        admission.park();
                    }
                }
                () = control.parking().wanted(), if self.taking.is_none() => {
                    self.taking = Some(Box::pin(admission.resume()));
                }
                taken = taken(&mut self.taking) => {
                    self.taking = None;
                    match taken {
                        Ok(()) => control.parking().go_on(),
                        Err(error) => {
                            tracing::error!(request.id = %admission.request_id(), %error, "a request lost its hold");
                            control.stop(Stop::Cancelled);
                        }
                    }
                }
            }
        }
    }
}

/// Completes when the permit is taken; never where it is not asked for.
async fn taken(taking: &mut Option<Taking>) -> Result<(), Refusal> {
    match taking {
        Some(taking) => taking.await,
        None => std::future::pending().await,
    }
}
