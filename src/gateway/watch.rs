//! Watching a request: the updates of its task, in order. The task of a streamed answer runs by itself. The task of a
//! whole answer runs while its watcher waits, which saves a spawned task, and continues by itself when the watcher
//! leaves: the money of a request never depends on its watcher.
//!
//! The bytes that wait for a slow reader are bounded, for each stream and in total. Each stream may always have
//! [`FREE`] waiting, and beyond that as much as there is room for, up to [`MOST`]. Then the writer waits too, so that
//! no more is read of a provider; in total no longer than [`MAX_WAIT`].

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    future::poll_fn,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use tokio::sync::Notify;
use wire::inference::Delta;

use super::{
    room::{Room, Share},
    serve::{Done, Update},
};

/// Bytes of an answer that may always wait for its reader.
pub const FREE: usize = 16 << 10;
/// The most bytes of an answer that wait for its reader; a single larger piece may exceed it.
const MOST: usize = 1 << 20;
/// How long one request waits for its reader in total: a waiting engine serves no other request.
const MAX_WAIT: Duration = Duration::from_secs(30);
/// More bytes than a failure takes.
const FAILURE: usize = 1 << 10;

/// The channel of a request's updates. Bytes beyond [`FREE`] take a share of the room.
pub(super) fn channel(room: &Arc<Room>) -> (Teller, Watcher) {
    let line = Rc::new(Line {
        waiting: RefCell::default(),
        weight: Cell::new(0),
        share: RefCell::new(room.share()),
        is_watched: Cell::new(true),
        is_told: Cell::new(true),
        read_at: Cell::new(Instant::now()),
        reader: Cell::new(None),
        moved: Notify::new(),
    });
    (Teller { line: Rc::clone(&line), wait_left: MAX_WAIT }, Watcher { line })
}

/// Roughly an update's size in memory, in bytes.
fn weigh(update: &Update) -> usize {
    let beside = match update {
        Update::Begun(begun) => begun.headers.iter().map(|(name, value)| name.len() + value.len()).sum(),
        Update::Delta(delta) => delta.weight(),
        Update::Cost { .. } => 0,
        Update::Done(done) => size_of::<Done>() + done.whole.iter().map(Delta::weight).sum::<usize>(),
        Update::Failed(_) => FAILURE,
    };
    size_of::<Update>() + beside
}

/// The state between a task and its watcher. Both are on one thread.
struct Line {
    waiting: RefCell<VecDeque<Update>>,
    /// The bytes that wait.
    weight: Cell<usize>,
    /// The share of the room for bytes beyond [`FREE`].
    share: RefCell<Share>,
    is_watched: Cell<bool>,
    is_told: Cell<bool>,
    /// When the reader last read.
    read_at: Cell<Instant>,
    /// The reader that waits for an update.
    reader: Cell<Option<Waker>>,
    /// Notified when the reader read something, and when it left.
    moved: Notify,
}

impl Line {
    /// Queues an update. Returns the update where there is no room.
    fn push(&self, update: Update) -> Result<(), Update> {
        let mut waiting = self.waiting.borrow_mut();
        let Some(update) = joined(waiting.back_mut(), update) else {
            // A joined piece weighs little more than its text.
            self.weigh_anew(&waiting);
            return Ok(());
        };
        let weight = self.weight.get() + weigh(&update);
        let mut share = self.share.borrow_mut();
        let beyond = weight.saturating_sub(FREE).saturating_sub(share.bytes());
        let has_room = waiting.is_empty() || beyond == 0 || (weight <= MOST && share.grow(beyond));
        if !has_room {
            return Err(update);
        }
        waiting.push_back(update);
        self.weight.set(weight);
        self.wake();
        Ok(())
    }

    fn weigh_anew(&self, waiting: &VecDeque<Update>) {
        self.weight.set(waiting.iter().map(weigh).sum());
    }

    fn pop(&self) -> Option<Update> {
        let mut waiting = self.waiting.borrow_mut();
        let update = waiting.pop_front()?;
        let weight = if waiting.is_empty() { 0 } else { self.weight.get().saturating_sub(weigh(&update)) };
        self.weight.set(weight);
        let mut share = self.share.borrow_mut();
        let needed = weight.saturating_sub(FREE);
        let spare = share.bytes().saturating_sub(needed);
        share.shrink(spare);
        self.read_at.set(Instant::now());
        self.moved.notify_waiters();
        Some(update)
    }

    fn poll(&self, cx: &Context<'_>) -> Poll<Option<Update>> {
        if let Some(update) = self.pop() {
            return Poll::Ready(Some(update));
        }
        if !self.is_told.get() {
            return Poll::Ready(None);
        }
        self.reader.set(Some(cx.waker().clone()));
        Poll::Pending
    }

    fn wake(&self) {
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }

    /// Notes that the watcher has left.
    fn leave(&self) {
        self.is_watched.set(false);
        self.moved.notify_waiters();
    }

    fn forget(&self) {
        self.waiting.borrow_mut().clear();
        self.weight.set(0);
        let mut share = self.share.borrow_mut();
        let all = share.bytes();
        share.shrink(all);
    }

    async fn unwatched(&self) {
        loop {
            let moved = self.moved.notified();
            if !self.is_watched.get() {
                return;
            }
            moved.await;
        }
    }
}

/// Joins an update to the last waiting one, where nothing is lost: of two costs the later counts, and two texts of an
/// open model become one. Otherwise returns the update.
fn joined(last: Option<&mut Update>, update: Update) -> Option<Update> {
    match (last, update) {
        (Some(last @ Update::Cost { .. }), update @ Update::Cost { .. }) => {
            *last = update;
            None
        }
        (Some(Update::Delta(last)), Update::Delta(delta))
            if last.choice == delta.choice && last.is_plain() && delta.is_plain() && last.text.len() < FREE =>
        {
            last.text.push_str(&delta.text);
            None
        }
        (_, update) => Some(update),
    }
}

/// The task's end of the channel.
pub(super) struct Teller {
    line: Rc<Line>,
    /// The remaining time to wait for the reader.
    wait_left: Duration,
}

impl Teller {
    /// Sends an update. Returns whether a reader is there; a reader that took too long counts as gone.
    pub(super) async fn tell(&mut self, mut update: Update) -> bool {
        loop {
            let moved = self.line.moved.notified();
            if !self.line.is_watched.get() {
                return false;
            }
            match self.line.push(update) {
                Ok(()) => return true,
                Err(full) => update = full,
            }
            let began = Instant::now();
            let waited = tokio::time::timeout(self.wait_left, moved).await;
            self.wait_left = self.wait_left.saturating_sub(began.elapsed());
            if waited.is_err() {
                self.give_up();
                return false;
            }
        }
    }

    /// The reader took too long. For a reader that read nothing in all that time nothing is kept.
    fn give_up(&self) {
        if self.line.read_at.get().elapsed() >= MAX_WAIT {
            self.line.forget();
        }
        self.line.leave();
    }

    /// Whether the watcher has left.
    pub(super) fn is_closed(&self) -> bool {
        !self.line.is_watched.get()
    }

    /// Completes when the watcher has left. It borrows nothing, so that the task can wait for it while it sends.
    pub(super) fn closed(&self) -> impl Future<Output = ()> + use<> {
        let line = Rc::clone(&self.line);
        async move { line.unwatched().await }
    }
}

impl Drop for Teller {
    fn drop(&mut self) {
        self.line.is_told.set(false);
        self.line.wake();
    }
}

impl std::fmt::Debug for Teller {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Teller").field("wait_left", &self.wait_left).finish_non_exhaustive()
    }
}

/// The watcher of a request.
pub struct Watcher {
    line: Rc<Line>,
}

impl std::fmt::Debug for Watcher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watcher").field("weight", &self.line.weight).finish_non_exhaustive()
    }
}

impl Watcher {
    /// The watcher of a request that has ended, and was watched by another.
    pub fn of_none() -> Self {
        channel(&Room::new(0)).1
    }

    /// The next update; `None` after the last. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<Update> {
        poll_fn(|cx| self.line.poll(cx)).await
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        // Informs the task that the watcher has left.
        self.line.forget();
        self.line.leave();
    }
}

#[cfg(test)]
mod tests {
    use billing::Nanos;
    use wire::{
        fields::Fields,
        inference::{Format, Raw},
    };

    use super::*;

    const COST: Update = Update::Cost { cost: Nanos::ZERO, billed_seconds: 1 };

    fn room() -> Arc<Room> {
        Room::new(1 << 30)
    }

    /// A provider's piece of this many bytes.
    fn piece(bytes: usize) -> Update {
        let raw = Fields::parse(format!("{{\"x\":\"{}\"}}", "x".repeat(bytes)).as_bytes()).unwrap();
        Update::Delta(Box::new(Delta { raw: Raw::Own(Format::OpenAiChat, raw), ..Delta::default() }))
    }

    fn text(text: &str) -> Update {
        Update::Delta(Box::new(Delta { text: text.into(), ..Delta::default() }))
    }

    #[actix_rt::test]
    async fn a_reader_that_does_not_read_is_waited_for_so_long_in_all() {
        let (mut teller, mut watcher) = channel(&room());
        teller.wait_left = Duration::from_millis(50);
        assert!(teller.tell(piece(MOST / 2)).await && teller.tell(piece(MOST / 4)).await);
        let reading = actix_rt::spawn(async move {
            let first = watcher.next().await;
            (first.is_some(), watcher)
        });
        assert!(teller.tell(piece(MOST / 2)).await, "it reads meanwhile");
        let (has_read, watcher) = reading.await.unwrap();
        assert!(has_read && teller.wait_left < Duration::from_millis(50), "that was waiting");
        assert!(teller.tell(piece(MOST / 8)).await);
        let began = Instant::now();
        assert!(!teller.tell(piece(MOST / 2)).await, "nobody read");
        assert!(!teller.tell(COST).await && teller.is_closed(), "it is gone");
        assert!(began.elapsed() < MAX_WAIT / 2, "its time is not given anew");
        drop(watcher);
    }

    #[actix_rt::test]
    async fn what_waits_is_bounded_in_bytes_of_a_stream_and_of_all() {
        let room = Room::new(MOST * 3 / 2);
        let mut streams: Vec<_> = (0..3).map(|_| channel(&room)).collect();
        let mut waiting = 0;
        for (teller, _) in &mut streams {
            teller.wait_left = Duration::ZERO;
            while teller.tell(piece(1_000)).await {}
            waiting += teller.line.weight.get();
        }
        let weights: Vec<_> = streams.iter().map(|(teller, _)| teller.line.weight.get()).collect();
        assert!(weights[0] > MOST / 2 && weights[0] <= MOST, "{weights:?}");
        assert!(weights[1] < MOST && weights[2] < 2 * FREE && weights[2] > FREE / 2, "{weights:?}");
        assert!(waiting <= MOST * 3 / 2 + 3 * FREE, "{weights:?}");
        let mut kept = 0;
        while streams[0].1.line.pop().is_some() {
            kept += 1;
        }
        assert!(kept > 100, "it had read just now, and reads what was kept for it");
        drop(streams);
        assert_eq!(room.taken(), 0, "all is given back");
    }

    #[actix_rt::test]
    async fn nothing_is_kept_for_a_reader_that_read_nothing_for_so_long() {
        let room = room();
        let (mut teller, mut watcher) = channel(&room);
        teller.wait_left = Duration::ZERO;
        while teller.tell(piece(10_000)).await {
            assert!(room.taken() <= MOST);
            teller.line.read_at.set(Instant::now().checked_sub(MAX_WAIT).unwrap());
        }
        assert_eq!(room.taken(), 0);
        drop(teller);
        assert!(watcher.next().await.is_none());
    }

    #[actix_rt::test]
    async fn a_piece_larger_than_all_room_is_told_alone() {
        let room = Room::new(0);
        let (mut teller, mut watcher) = channel(&room);
        teller.wait_left = Duration::ZERO;
        assert!(teller.tell(piece(3 * MOST)).await);
        assert!(watcher.next().await.is_some());
        assert!(teller.tell(piece(3 * MOST)).await);
        assert!(!teller.tell(piece(1)).await);
    }

    #[actix_rt::test]
    async fn texts_and_costs_that_wait_become_one() {
        let (mut teller, mut watcher) = channel(&room());
        for update in [text("a"), text("b"), COST, COST, text("c"), piece(1), text("d")] {
            assert!(teller.tell(update).await);
        }
        drop(teller);
        let mut seen = String::new();
        while let Some(update) = watcher.next().await {
            seen += &match update {
                Update::Delta(delta) if delta.raw.is_some() => "raw ".to_owned(),
                Update::Delta(delta) => delta.text + " ",
                _ => "cost ".to_owned(),
            };
        }
        assert_eq!(seen, "ab cost c raw d ");
    }

    #[actix_rt::test]
    async fn what_a_task_told_last_is_read_after_it_has_ended() {
        let (mut teller, mut watcher) = channel(&room());
        actix_rt::spawn(async move { assert!(teller.tell(COST).await) });
        assert!(watcher.next().await.is_some());
        assert!(watcher.next().await.is_none());
    }
}
