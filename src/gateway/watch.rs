//! Watching a request: what its task tells, in order. The task of a streamed answer runs by itself; that of an answer told
//! whole runs while its watcher waits, which spares a task, and goes on by itself when the watcher leaves: the money of a
//! request never depends on who watches.

use std::{future::poll_fn, pin::Pin, task::Poll};

use tokio::sync::mpsc;

use super::serve::Update;

/// Pieces of an answer that wait for a slow reader, at most; then whoever writes them waits too.
const UPDATES: usize = 256;

/// Where a request's task tells what it has; closed once nobody watches.
pub(super) fn channel() -> (mpsc::Sender<Update>, Watcher) {
    let (sender, updates) = mpsc::channel(UPDATES);
    (sender, Watcher { updates, task: None })
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
        let (sender, watcher) = channel();
        let seen = Rc::clone(&ended);
        let mut watcher = watcher.run(Box::pin(async move {
            assert!(sender.send(COST).await.is_ok());
            sender.closed().await;
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
    async fn what_a_task_told_last_is_read_after_it_has_ended() {
        let (sender, watcher) = channel();
        let mut watcher = watcher.run(Box::pin(async move { assert!(sender.send(COST).await.is_ok()) }));
        assert!(watcher.next().await.is_some());
        assert!(watcher.next().await.is_none());
    }
}
