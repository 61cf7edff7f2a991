//! The output of an answer while it is made: its events, its compute clock and its stop signal in one place. The clock
//! runs from the first engine step, and pauses while a slow reader blocks. Every started second is reported as soon as
//! it is seen. No model is known here.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::mpsc::Sender;
use tokio::sync::mpsc::error::TrySendError;
use wire::inference::{Delta, Event};

/// Whether a running request must end, and why. A later variant outranks an earlier one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stop {
    /// The request may run.
    Run = 0,
    /// The account has no more credits for the request.
    Credits = 1,
    /// The limits of the request's key are reached.
    KeyLimit = 2,
    /// The request has reached its caller's `max_cost`.
    MaxCost = 3,
    /// The request has no reader any more.
    Cancelled = 4,
}

/// Asks a running request to stop, from any thread.
#[derive(Debug, Default)]
pub struct StopSignal(AtomicU8);

impl StopSignal {
    /// A signal at [`Stop::Run`].
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Asks to stop. A weaker reason never replaces a stronger one.
    pub fn set(&self, stop: Stop) {
        self.0.fetch_max(stop as u8, Ordering::Release);
    }

    /// The current reason.
    pub fn get(&self) -> Stop {
        match self.0.load(Ordering::Acquire) {
            0 => Stop::Run,
            1 => Stop::Credits,
            2 => Stop::KeyLimit,
            3 => Stop::MaxCost,
            _ => Stop::Cancelled,
        }
    }
}

/// Why an answer has to end now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Halt {
    /// End without output: there is no reader.
    Silent,
    /// End the answer with this `farebox_stop`.
    Said(&'static str),
}

/// The output of one answer.
#[derive(Debug)]
pub struct Sink {
    events: Sender<Event>,
    stop: Arc<StopSignal>,
    /// Set when the worker shuts down.
    closing: Arc<AtomicBool>,
    tokens: Arc<AtomicU64>,
    begun: Option<Instant>,
    /// Time spent waiting for the reader.
    waited: Duration,
    seconds: u32,
    gone: bool,
    /// Whether the worker ended before the answer did.
    cut: bool,
}

impl Sink {
    /// The sink of one job.
    pub fn new(events: Sender<Event>, stop: Arc<StopSignal>, closing: Arc<AtomicBool>, tokens: Arc<AtomicU64>) -> Self {
        Self { events, stop, closing, tokens, begun: None, waited: Duration::ZERO, seconds: 0, gone: false, cut: false }
    }

    /// Must be called before every engine step: starts the clock at the first step, and reports started seconds.
    ///
    /// # Errors
    ///
    /// The answer must end now, for the reason in [`Halt`]. The caller takes no further step.
    pub fn step(&mut self) -> Result<(), Halt> {
        self.cut |= self.closing.load(Ordering::Acquire);
        if self.gone || self.cut || self.events.is_closed() {
            return Err(Halt::Silent);
        }
        match self.stop.get() {
            Stop::Run => {}
            Stop::Credits => return Err(Halt::Said("credits")),
            Stop::KeyLimit => return Err(Halt::Said("key_limit")),
            Stop::MaxCost => return Err(Halt::Said("max_cost")),
            Stop::Cancelled => return Err(Halt::Silent),
        }
        if self.begun.is_none() {
            self.begun = Some(Instant::now());
            self.send(Event::Started);
        }
        self.report();
        if self.gone { Err(Halt::Silent) } else { Ok(()) }
    }

    /// Counts a token.
    pub fn token(&self) {
        self.tokens.fetch_add(1, Ordering::Relaxed);
    }

    /// Sends a piece of the answer. A missing reader is not reported here, but by the next step.
    pub fn delta(&mut self, delta: Delta) {
        self.send(Event::Delta(delta));
    }

    /// Sends any other event.
    pub(super) fn send(&mut self, event: Event) {
        if self.gone {
            return;
        }
        match self.events.try_send(event) {
            Ok(()) => {}
            Err(TrySendError::Closed(_)) => self.gone = true,
            Err(TrySendError::Full(event)) => {
                let from = Instant::now();
                self.gone = self.events.blocking_send(event).is_err();
                self.waited += from.elapsed();
            }
        }
    }

    /// Whether the answer is incomplete because its worker ended.
    pub(super) const fn was_cut(&self) -> bool {
        self.cut
    }

    /// Milliseconds of compute so far.
    pub fn compute_ms(&self) -> u64 {
        let elapsed = self.begun.map_or(Duration::ZERO, |begun| begun.elapsed().saturating_sub(self.waited));
        u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX)
    }

    /// Stops the clock: reports the last started seconds, and returns the milliseconds that they cover.
    pub(super) fn close(&mut self) -> u64 {
        if self.begun.is_some() { self.report() } else { 0 }
    }

    /// Reports every second up to now. Second n is due as soon as the milliseconds, rounded up to seconds, give n.
    fn report(&mut self) -> u64 {
        let compute_ms = self.compute_ms();
        let due = u32::try_from(compute_ms.div_ceil(1000)).unwrap_or(u32::MAX).max(1);
        while self.seconds < due {
            self.seconds += 1;
            self.send(Event::Second(self.seconds));
        }
        compute_ms
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;

    use super::*;

    fn sink(capacity: usize) -> (Sink, mpsc::Receiver<Event>, Arc<StopSignal>) {
        let (events, receiver) = mpsc::channel(capacity);
        let stop = StopSignal::new();
        (Sink::new(events, Arc::clone(&stop), Arc::default(), Arc::default()), receiver, stop)
    }

    #[test]
    fn the_first_step_starts_the_clock_and_the_first_second() {
        let (mut sink, mut events, _) = sink(8);
        assert_eq!(sink.close(), 0);
        assert!(events.try_recv().is_err(), "nothing ran");
        sink.step().unwrap();
        sink.step().unwrap();
        assert_eq!(events.try_recv(), Ok(Event::Started));
        assert_eq!(events.try_recv(), Ok(Event::Second(1)));
        assert!(events.try_recv().is_err());
    }

    #[test]
    fn seconds_missed_are_caught_up_and_waiting_is_free() {
        let (mut sink, mut events, _) = sink(16);
        sink.begun = Some(Instant::now().checked_sub(Duration::from_millis(7_500)).unwrap());
        sink.waited = Duration::from_secs(5);
        let compute_ms = sink.close();
        assert!((2_500..2_900).contains(&compute_ms), "{compute_ms}");
        let seconds: Vec<Event> = std::iter::from_fn(|| events.try_recv().ok()).collect();
        assert_eq!(seconds, [Event::Second(1), Event::Second(2), Event::Second(3)]);
    }

    #[test]
    fn every_reason_to_stop_is_seen_and_the_strongest_wins() {
        let (mut sink, events, stop) = sink(8);
        stop.set(Stop::MaxCost);
        assert_eq!(sink.step(), Err(Halt::Said("max_cost")));
        stop.set(Stop::Credits);
        assert_eq!(sink.step(), Err(Halt::Said("max_cost")));
        stop.set(Stop::Cancelled);
        assert_eq!(sink.step(), Err(Halt::Silent));
        let (mut left, receiver, _) = self::sink(8);
        drop((events, receiver));
        assert_eq!(left.step(), Err(Halt::Silent));
    }
}
