//! The output of an answer while it is made: its events and its stop signal in one place. It never waits: what a slow
//! reader has no room for is kept back, and the worker parks the answer until it is sent. Every started second is
//! reported as soon as it is seen. No model is known here, and no clock.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::mpsc::Sender;
use tokio::sync::mpsc::error::TrySendError;
use wire::inference::Event;

use super::parking::Parking;

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

/// Asks a running request to stop, from any thread, and lets its task and its engine settle that it stands still.
#[derive(Debug, Default)]
pub struct StopSignal {
    stop: AtomicU8,
    parking: Parking,
}

impl StopSignal {
    /// A signal at [`Stop::Run`].
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Asks to stop. A weaker reason never replaces a stronger one.
    pub fn set(&self, stop: Stop) {
        self.stop.fetch_max(stop as u8, Ordering::Release);
    }

    /// The current reason.
    pub fn get(&self) -> Stop {
        match self.stop.load(Ordering::Acquire) {
            0 => Stop::Run,
            1 => Stop::Credits,
            2 => Stop::KeyLimit,
            3 => Stop::MaxCost,
            _ => Stop::Cancelled,
        }
    }

    /// Whether the request stands still, and who lets it go on.
    pub const fn parking(&self) -> &Parking {
        &self.parking
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

/// How long readers that are slow have for their last events, when an engine ends.
const LAST_EVENTS: Duration = Duration::from_secs(10);
/// How often readers that are slow are looked at while nothing else is to be done.
pub(super) const PAUSE: Duration = Duration::from_millis(2);

/// Sends what is kept back of answers that have ended, because their engine ends. A reader that takes none of it for a
/// while sees the channel closed.
pub(super) fn send_last<T>(mut answers: Vec<T>, sink: impl Fn(&mut T) -> &mut Sink) {
    let patience = Instant::now() + LAST_EVENTS;
    answers.retain_mut(|answer| !sink(answer).flush());
    while !answers.is_empty() && Instant::now() < patience {
        std::thread::sleep(PAUSE);
        answers.retain_mut(|answer| !sink(answer).flush());
    }
}

/// The output of one answer.
#[derive(Debug)]
pub(super) struct Sink {
    events: Sender<Event>,
    stop: Arc<StopSignal>,
    /// Events that the reader had no room for: those of one step at most, because no more steps follow.
    held: VecDeque<Event>,
    /// Seconds reported.
    seconds: u32,
    has_started: bool,
    is_gone: bool,
}

impl Sink {
    /// The sink of one job.
    pub(super) fn new(events: Sender<Event>, stop: Arc<StopSignal>) -> Self {
        Self { events, stop, held: VecDeque::new(), seconds: 0, has_started: false, is_gone: false }
    }

    /// Whether the answer may go on.
    ///
    /// # Errors
    ///
    /// The answer must end now, for the reason in [`Halt`]. No step follows.
    pub(super) fn check(&self) -> Result<(), Halt> {
        if self.is_gone || self.events.is_closed() {
            return Err(Halt::Silent);
        }
        match self.stop.get() {
            Stop::Run => Ok(()),
            Stop::Credits => Err(Halt::Said("credits")),
            Stop::KeyLimit => Err(Halt::Said("key_limit")),
            Stop::MaxCost => Err(Halt::Said("max_cost")),
            Stop::Cancelled => Err(Halt::Silent),
        }
    }

    /// Tells that the first step begins, once, and its first second.
    pub(super) fn start(&mut self) {
        if !self.has_started {
            self.has_started = true;
            self.send(Event::Started);
            self.report(Duration::ZERO);
        }
    }

    /// Whether a step has begun.
    pub(super) const fn has_started(&self) -> bool {
        self.has_started
    }

    /// Sends an event, or keeps it back.
    pub(super) fn send(&mut self, event: Event) {
        self.held.push_back(event);
        self.flush();
    }

    /// Sends what was kept back, as far as there is room. Returns whether all is sent, or nobody reads any more.
    pub(super) fn flush(&mut self) -> bool {
        while let Some(event) = self.held.pop_front().filter(|_| !self.is_gone) {
            match self.events.try_send(event) {
                Ok(()) => {}
                Err(TrySendError::Closed(_)) => self.is_gone = true,
                Err(TrySendError::Full(event)) => {
                    self.held.push_front(event);
                    return false;
                }
            }
        }
        self.held.clear();
        true
    }

    /// Whether the reader has caught up so far that it may be given more: half of its channel is free.
    pub(super) fn has_room(&self) -> bool {
        self.held.is_empty() && self.events.capacity() * 2 >= self.events.max_capacity()
    }

    /// Tells that no step follows while events are kept back.
    pub(super) fn park(&self) {
        self.stop.parking().park();
    }

    /// Whether a parked answer may go on: the reader has room, and the permit was not given back or is there again.
    pub(super) fn may_go_on(&self) -> bool {
        self.has_room() && self.stop.parking().may_go_on()
    }

    /// Whether events are kept back.
    pub(super) fn is_clogged(&self) -> bool {
        !self.held.is_empty()
    }

    /// Reports every second that began within so much compute time. Second n is due as soon as the milliseconds,
    /// rounded up to seconds, give n.
    pub(super) fn report(&mut self, compute: Duration) {
        if !self.has_started {
            return;
        }
        let due = u32::try_from(compute.as_millis().div_ceil(1000)).unwrap_or(u32::MAX).max(1);
        while self.seconds < due {
            self.seconds += 1;
            self.send(Event::Second(self.seconds));
        }
    }

    /// The channel and the signal of a job that never began.
    pub(super) fn into_parts(self) -> (Sender<Event>, Arc<StopSignal>) {
        (self.events, self.stop)
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;

    use super::*;

    fn sink(capacity: usize) -> (Sink, mpsc::Receiver<Event>, Arc<StopSignal>) {
        let (events, receiver) = mpsc::channel(capacity);
        let stop = StopSignal::new();
        (Sink::new(events, Arc::clone(&stop)), receiver, stop)
    }

    fn ready(events: &mut mpsc::Receiver<Event>) -> Vec<Event> {
        std::iter::from_fn(|| events.try_recv().ok()).collect()
    }

    #[test]
    fn the_first_step_tells_its_start_and_its_first_second_once() {
        let (mut sink, mut events, _) = sink(8);
        sink.report(Duration::from_secs(5));
        assert_eq!(ready(&mut events), [], "nothing ran");
        sink.start();
        sink.start();
        assert_eq!(ready(&mut events), [Event::Started, Event::Second(1)]);
    }

    #[test]
    fn seconds_missed_are_caught_up_and_none_is_told_twice() {
        let (mut sink, mut events, _) = sink(16);
        sink.start();
        sink.report(Duration::from_secs(1));
        assert_eq!(ready(&mut events), [Event::Started, Event::Second(1)]);
        sink.report(Duration::from_millis(2_500));
        sink.report(Duration::from_millis(2_700));
        assert_eq!(ready(&mut events), [Event::Second(2), Event::Second(3)]);
    }

    #[test]
    fn what_a_reader_has_no_room_for_is_kept_in_order() {
        let (mut sink, mut events, _) = sink(2);
        sink.start();
        sink.report(Duration::from_secs(4));
        assert!(sink.is_clogged() && !sink.flush() && !sink.has_room());
        assert_eq!(ready(&mut events), [Event::Started, Event::Second(1)]);
        assert!(!sink.flush(), "one more than there is room for");
        assert_eq!(ready(&mut events), [Event::Second(2), Event::Second(3)]);
        assert!(sink.flush() && sink.has_room());
        assert_eq!(ready(&mut events), [Event::Second(4)]);
        sink.send(Event::Second(5));
        sink.send(Event::Second(6));
        sink.send(Event::Second(7));
        drop(events);
        assert!(sink.flush(), "nobody reads");
        assert_eq!(sink.check(), Err(Halt::Silent));
    }

    #[test]
    fn every_reason_to_stop_is_seen_and_the_strongest_wins() {
        let (sink, events, stop) = sink(8);
        assert_eq!(sink.check(), Ok(()));
        stop.set(Stop::MaxCost);
        assert_eq!(sink.check(), Err(Halt::Said("max_cost")));
        stop.set(Stop::Credits);
        assert_eq!(sink.check(), Err(Halt::Said("max_cost")));
        stop.set(Stop::Cancelled);
        assert_eq!(sink.check(), Err(Halt::Silent));
        let (left, receiver, _) = self::sink(8);
        drop((events, receiver));
        assert_eq!(left.check(), Err(Halt::Silent));
    }
}
