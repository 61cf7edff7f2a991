//! A request on its way: the message that brings it to its pool, the events that come back, and the control of its run.
//! Whoever drops the events has ended the run, and frees its place.

use std::{
    pin::Pin,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use ::engine::{
    parking::Parking,
    preparer::Asked,
    worker::{Job, Share, Stop, StopSignal},
};
use actix::Message;
use futures::Stream;
use runtime::health::Posted;
use tokio::{
    sync::mpsc,
    time::{Instant, Sleep},
};
use wire::inference::{Event, Failure};

use super::{ModelFolder, board::Board, placement::JobId};
use crate::admission::Admission;

/// The most events of an engine that wait for the request's task.
const EVENTS: usize = 256;

/// When a request was given to its engine.
pub(super) type Handed = Arc<OnceLock<Instant>>;

/// Run this request.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(super) struct Run {
    pub(super) id: JobId,
    pub(super) model: ModelFolder,
    pub(super) job: Job<Asked>,
    pub(super) handed: Handed,
    pub(super) posted: Posted,
}

/// The place of a request. Its drop frees it.
#[derive(Debug)]
struct Place {
    board: Board,
    id: JobId,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.board.act(|placement, now, effects| placement.ended(self.id, now, effects));
    }
}

/// Asks a running request to stop.
#[derive(Debug, Clone)]
pub struct Control {
    signal: Arc<StopSignal>,
    /// The place of a request that may still wait for its model.
    place: Option<(Board, JobId)>,
}

impl Control {
    /// The control of a request that an engine has already.
    pub const fn of(signal: Arc<StopSignal>) -> Self {
        Self { signal, place: None }
    }

    /// Asks to stop, for this reason. A request that waits for its model ends at once where its client has left.
    pub fn stop(&self, stop: Stop) {
        self.signal.set(stop);
        if stop == Stop::Cancelled
            && let Some((board, id)) = &self.place
        {
            board.act(|placement, now, effects| placement.left(*id, now, effects));
        }
    }
}

impl Control {
    /// Whether the request stands still, because its reader is slow, and who lets it go on.
    pub fn parking(&self) -> &Parking {
        self.signal.parking()
    }
}

/// The events of a run. The last tells how it ended.
#[derive(Debug)]
pub struct Events {
    // Closed before the place is freed: whoever asks for the request later sees that it is gone.
    receiver: mpsc::Receiver<Event>,
    handed: Handed,
    has_started: bool,
    /// How long it may wait in its engine's queue.
    wait: Duration,
    timer: Pin<Box<Sleep>>,
    _place: Place,
}

/// A request of an admitted account, with its events and its control. It requires an [`Admission`].
pub(super) fn run(
    board: &Board,
    admission: &Admission,
    model: ModelFolder,
    asked: Asked,
    wait: Duration,
    posted: Posted,
) -> (Run, Events, Control) {
    static ASKED: AtomicU64 = AtomicU64::new(1);
    let id = JobId(ASKED.fetch_add(1, Ordering::Relaxed));
    let (sender, events) = mpsc::channel(EVENTS);
    let (stop, handed) = (StopSignal::new(), Handed::default());
    let share = Share { of: admission.account_id().0.as_u128(), weight: admission.weight() };
    let job = Job { asked, share, events: sender, stop: Arc::clone(&stop) };
    let events = Events {
        receiver: events,
        handed: Arc::clone(&handed),
        has_started: false,
        wait,
        timer: Box::pin(tokio::time::sleep(wait)),
        _place: Place { board: board.clone(), id },
    };
    let control = Control { signal: stop, place: Some((board.clone(), id)) };
    (Run { id, model, job, handed, posted }, events, control)
}

impl Stream for Events {
    type Item = Event;

    /// The next event; after a wait in the engine's queue that is too long, a failure. A request whose compute has begun is
    /// never failed so: what the engine says is looked at first.
    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        if let Poll::Ready(event) = self.receiver.poll_recv(cx) {
            self.has_started |= event == Some(Event::Started);
            return Poll::Ready(event);
        }
        while !self.has_started && self.timer.as_mut().poll(cx).is_ready() {
            let (now, wait) = (Instant::now(), self.wait);
            // Before it is given to its engine, its pool looks after it.
            let until = self.handed.get().map_or(now + wait, |handed| *handed + wait);
            if until <= now {
                self.has_started = true;
                let late = "the model is busy: the request waited too long behind others".to_owned();
                return Poll::Ready(Some(Event::Failed(Failure::Overloaded(late))));
            }
            self.timer.as_mut().reset(until);
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use futures::StreamExt;
    use runtime::health::Health;

    use super::*;
    use crate::pool::placement::{Placement, Rules};

    const WAIT: Duration = Duration::from_millis(20);

    fn events() -> (mpsc::Sender<Event>, Events) {
        let rules = Rules { queue: 1, wait: WAIT, load: WAIT, turn: WAIT, idle: None };
        let board = Board::new(Placement::new(Vec::new(), rules), &Health::default());
        let (sender, events) = mpsc::channel(8);
        let events = Events {
            receiver: events,
            handed: Handed::default(),
            has_started: false,
            wait: WAIT,
            timer: Box::pin(tokio::time::sleep(WAIT)),
            _place: Place { board, id: JobId(1) },
        };
        (sender, events)
    }

    #[tokio::test]
    async fn a_request_that_its_engine_does_not_begin_is_given_up_and_one_that_began_never() {
        let (_sender, mut waiting) = events();
        let early = tokio::time::timeout(WAIT * 5, waiting.next()).await;
        assert!(early.is_err(), "the wait for its model is not counted: {early:?}");
        let began = Instant::now();
        waiting.handed.set(began).unwrap();
        let failed = waiting.next().await;
        assert!(matches!(failed, Some(Event::Failed(Failure::Overloaded(_)))), "{failed:?}");
        assert!(began.elapsed() >= WAIT);

        let (sender, mut running) = events();
        running.handed.set(Instant::now()).unwrap();
        tokio::time::sleep(WAIT * 2).await;
        sender.try_send(Event::Started).unwrap();
        assert_eq!(running.next().await, Some(Event::Started), "late, and begun");
        let slow = tokio::time::timeout(WAIT * 5, running.next()).await;
        assert!(slow.is_err(), "{slow:?}");
        drop(sender);
        assert_eq!(running.next().await, None);
    }
}
