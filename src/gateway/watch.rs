//! Watching a request: what its task tells, in order. The task of a streamed answer runs by itself; that of an answer told
//! whole runs while its watcher waits, which spares a task, and goes on by itself when the watcher leaves: the money of a
//! request never depends on who watches.

use std::{
    future::poll_fn,
    pin::Pin,
    task::Poll,
    time::{Duration, Instant},
};

use tokio::sync::mpsc::{self, error::TrySendError};

use super::serve::Update;

/// Pieces of an answer that wait for a slow reader, at most: as many as the longest answers of small models have. Then
/// whoever writes them waits too.
const UPDATES: usize = 8_192;
/// How long one request waits for its reader in all: an engine that waits serves nobody else.
const PATIENCE: Duration = Duration::from_secs(30);

/// Where a request's task tells what it has.
pub(super) fn channel() -> (Teller, Watcher) {
    let (sender, updates) = mpsc::channel(UPDATES);
    (Teller { sender, patience: PATIENCE }, Watcher { updates, task: None })
}

/// The task's end of it.
#[derive(Debug)]
pub(super) struct Teller {
    sender: mpsc::Sender<Update>,
    /// What is left of it.
    patience: Duration,
}

impl Teller {
    /// Tells something. Whether anyone is there for it: a reader that was waited for too long is not.
    pub(super) async fn tell(&mut self, update: Update) -> bool {
        match self.sender.try_send(update) {
            Ok(()) => true,
            Err(TrySendError::Closed(_)) => false,
            Err(TrySendError::Full(update)) => {
                let began = Instant::now();
                let told = tokio::time::timeout(self.patience, self.sender.send(update)).await;
                self.patience = self.patience.saturating_sub(began.elapsed());
                matches!(told, Ok(Ok(())))
            }
        }
    }

    /// Whether nobody watches any more.
    pub(super) fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    /// Comes when nobody watches any more.
    pub(super) async fn closed(&self) {
        self.sender.closed().await;
    }

    /// The same, apart from this.
    pub(super) fn closed_apart(&self) -> impl Future<Output = ()> + use<> {
        let sender = self.sender.clone();
        async move { sender.closed().await }
    }
}

/// Whoever watches a request.
pub struct Watcher {
    updates: mpsc::Receiver<Update>,
    /// The request's task, until it has ended, where it runs here.
    task: Option<Pin<Box<dyn Future<Output = ()>>>>,
}

impl std::fmt::Debug for Watcher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watcher").field("updates", &self.updates).finish_non_exhaustive()
    }
}

impl Watcher {
    /// Has the request's task run while this waits.
    pub(super) fn run(mut self, task: Pin<Box<dyn Future<Output = ()>>>) -> Self {
        self.task = Some(task);
        self
    }

    /// What comes next; none after the last. Dropped while it waits, nothing is lost.
    pub async fn next(&mut self) -> Option<Update> {
        poll_fn(|cx| {
            if let Some(task) = &mut self.task {
                if task.as_mut().poll(cx).is_pending() {
                    // Whatever it tells, it told just now: there is no need to be woken for it again.
                    return self.updates.try_recv().map_or(Poll::Pending, |update| Poll::Ready(Some(update)));
                }
                self.task = None;
            }
            self.updates.poll_recv(cx)
        })
        .await
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        let Some(task) = self.task.take() else { return };
        // The task is told that nobody watches any more. One that panicked is over: its guard gives back what it held.
        self.updates.close();
        if !std::thread::panicking() {
            actix_rt::spawn(task);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, rc::Rc};

    use billing::Nanos;

    use super::*;

    const COST: Update = Update::Cost { cost: Nanos::ZERO, billed_seconds: 1 };

    #[actix_rt::test]
    async fn a_task_runs_while_it_is_watched_and_goes_on_when_it_is_not() {
        let ended = Rc::new(Cell::new(false));
        let (mut teller, watcher) = channel();
        let seen = Rc::clone(&ended);
        let mut watcher = watcher.run(Box::pin(async move {
            assert!(teller.tell(COST).await);
            teller.closed().await;
            seen.set(true);
        }));
        assert!(matches!(watcher.next().await, Some(Update::Cost { .. })));
        assert!(!ended.get());
        drop(watcher);
        while !ended.get() {
            tokio::task::yield_now().await;
        }
    }

    #[actix_rt::test]
    async fn a_reader_that_does_not_read_is_waited_for_so_long_in_all() {
        let (mut teller, mut watcher) = channel();
        for _ in 0..UPDATES {
            assert!(teller.tell(COST).await);
        }
        teller.patience = Duration::from_millis(20);
        assert!(!teller.tell(COST).await, "nobody read");
        assert!(watcher.next().await.is_some());
        assert!(teller.tell(COST).await, "it reads again");
        let began = Instant::now();
        assert!(!teller.tell(COST).await);
        assert!(!teller.tell(COST).await);
        assert!(began.elapsed() < PATIENCE / 2, "its time is not given anew");
        drop(watcher);
        assert!(!teller.tell(COST).await);
    }

    #[actix_rt::test]
    async fn what_a_task_told_last_is_read_after_it_has_ended() {
        let (mut teller, watcher) = channel();
        let mut watcher = watcher.run(Box::pin(async move { assert!(teller.tell(COST).await) }));
        assert!(watcher.next().await.is_some());
        assert!(watcher.next().await.is_none());
    }
}
