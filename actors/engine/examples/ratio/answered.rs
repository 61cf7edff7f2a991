//! A request to a worker, timed as its client sees it.

use std::time::Instant;

use engine::prepare::Prepared;
use engine::worker::{EngineHandle, Job, Share, StopSignal};
use tokio::sync::mpsc;
use wire::inference::Event;

use crate::ratio::Outcome;

/// Tokens a second after the first one, and how many there were.
pub(crate) fn speed(worker: &EngineHandle, asked: &Prepared) -> Outcome<(f64, u64)> {
    let (events, mut receiver) = mpsc::channel(1024);
    let job = Job { asked: asked.clone(), share: Share { of: 1, weight: 1 }, events, stop: StopSignal::new() };
    worker.submit(job).map_err(|refused| format!("{refused:?}"))?;
    let (mut first, mut written) = (None, 0);
    while let Some(event) = receiver.blocking_recv() {
        match event {
            Event::Delta(_) if first.is_none() => first = Some(Instant::now()),
            Event::Usage(usage) => written = usage.output,
            Event::Failed(failure) => return Err(failure.into()),
            _ => {}
        }
    }
    let elapsed = first.map_or(f64::NAN, |first| first.elapsed().as_secs_f64());
    Ok((f64::from(u32::try_from(written)? - 1) / elapsed, written))
}
