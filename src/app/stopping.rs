//! How the process ends: by a signal, in order and within one deadline, or because another process owns the ledger now.
//! First it reports not ready for a moment; then it accepts no connection; then running requests end, or are ended
//! shortly before the deadline; then come the last commits, and the database closes. A second signal ends everything at
//! once: acknowledged changes are durable already.

use std::{
    net::{Shutdown, TcpListener, TcpStream},
    os::fd::OwnedFd,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    time::{Instant, sleep, sleep_until, timeout_at},
};

use super::Running;

/// How long requests may take to end, and their answers to be sent, once another process has taken the ledger over.
const TAKEN_OVER: Duration = Duration::from_secs(2);
/// The longest that `/readyz` reports the stop before the listener closes.
const NOTICE: Duration = Duration::from_secs(1);
/// The longest time before the deadline in which running requests are ended, settled and answered.
const PARTING: Duration = Duration::from_secs(3);
/// The longest time for the last commits and the database.
const CLOSING: Duration = Duration::from_secs(1);
/// The interval of checks whether everything has ended.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// The exit status after a second signal.
const AT_ONCE: i32 = 1;

/// The signals that end the process, received from when this is made.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Begins to receive the signals: from then on they end nothing by themselves.
    ///
    /// # Errors
    ///
    /// The system refuses to register a handler, for example because the process has no more file descriptors.
    pub fn hear() -> std::io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// The next signal's name.
    pub async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT (Ctrl-C)",
        }
    }
}

/// The times at which the stages of the stop end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Course {
    /// Until then `/readyz` reports the stop.
    notice: Duration,
    /// Until then running requests may end by themselves.
    max_wait: Duration,
    /// Until then ended requests may settle and answer.
    parting: Duration,
    /// Until then everything else must be done.
    deadline: Duration,
}

impl Course {
    /// The stages of a stop that takes at most `all`.
    fn within(all: Duration) -> Self {
        let parting = all.saturating_sub(CLOSING.min(all / 8));
        let max_wait = parting.saturating_sub(PARTING.min(all / 4));
        Self { notice: NOTICE.min(all / 4), max_wait, parting, deadline: all }
    }
}

impl Running {
    /// Serves until a signal (or the server's own end), then stops in order. Returns the exit status.
    ///
    /// # Errors
    ///
    /// The server's task panicked or ended with an error, or another process has taken the ledger over.
    pub async fn until_stopped(mut self, mut signals: Signals) -> Result<i32> {
        let standing = self.state.gateway.accounts.ledger().standing().clone();
        let taken_over = tokio::select! {
            ended = &mut self.serving => return ended.context("the server's task died")?.context("the server ended").map(|()| 0),
            name = signals.next() => {
                tracing::info!(signal = name, "stopping: no new requests; running ones finish");
                false
            }
            () = standing.fenced() => true,
        };
        // After a takeover nothing can be settled here any more: clients are informed, if that is quick, and the new
        // owner settles requests by their checkpoints.
        let all = if taken_over { TAKEN_OVER } else { self.stop_after };
        let stopped = tokio::select! {
            () = self.stop(Course::within(all)) => 0,
            name = signals.next() => {
                let still = self.state.gateway.accounts.running().count();
                tracing::warn!(signal = name, running = still, "stopping now");
                eprintln!("farebox: {name} again: stopping now; {still} running requests are settled at the next start");
                AT_ONCE
            }
        };
        if taken_over {
            bail!("another process has taken this ledger over");
        }
        Ok(stopped)
    }

    async fn stop(&self, course: Course) {
        let began = Instant::now();
        self.state.stop_being_ready();
        let cluster = self.state.cluster.as_deref();
        // Where others take the accounts, running requests settle there. A node that is alone keeps them until the end.
        if let Some(cluster) = cluster.filter(|cluster| cluster.has_others()) {
            cluster.leave();
        }
        sleep_until(began + course.notice).await;
        self.server.pause().await;
        // A paused server would accept no connection, and its clients would wait for nothing.
        sleep(LOOK_EVERY).await;
        hang_up(&self.listener);
        self.idle_until(began + course.max_wait).await;
        if let Some(spool) = self.state.gateway.accounts.spool() {
            spool.hurry();
        }
        let cut = self.state.gateway.end_all();
        if cut > 0 {
            tracing::warn!(requests = cut, "still running near the deadline: ended, and charged as far as they came");
        }
        self.idle_until(began + course.parting).await;
        self.captured_until(began + course.parting).await;
        self.written_until(began + course.parting).await;
        // Connections without a request close at once; the others are cut with the process.
        let _ = timeout_at(began + course.parting, self.server.stop(true)).await;
        self.written_until(began + course.parting).await;
        if let Some(cluster) = cluster {
            cluster.leave();
            cluster.left((began + course.deadline).saturating_duration_since(Instant::now()).max(CLOSING)).await;
        }
        let ledger = self.state.gateway.accounts.ledger();
        match timeout_at((began + course.deadline).max(Instant::now() + CLOSING), ledger.close()).await {
            Ok(Ok(())) => tracing::info!(ms = began.elapsed().as_millis(), "stopped"),
            Ok(Err(error)) => tracing::warn!(%error, "the database's log stays beside it"),
            Err(_) => tracing::warn!("the database's log stays beside it: there was no time to bring it in"),
        }
    }

    /// Waits until no request runs. After the last one, answers to requests with idempotency keys are still being
    /// written, and detached requests may have lost their client.
    async fn idle_until(&self, deadline: Instant) {
        let state = &self.state;
        while state.gateway.accounts.running().count() + state.idempotency.running() + state.detached() > 0
            && Instant::now() < deadline
        {
            sleep(LOOK_EVERY).await;
        }
    }

    /// Waits until no capture waits in the file. While the ledger is away they wait for the next process.
    async fn captured_until(&self, deadline: Instant) {
        let accounts = &self.state.gateway.accounts;
        while accounts.spool().is_some_and(|spool| spool.count() > 0)
            && accounts.ledger().standing().check().is_ok()
            && Instant::now() < deadline
        {
            sleep(LOOK_EVERY).await;
        }
    }

    /// Waits until all decisions of accounts are written.
    async fn written_until(&self, deadline: Instant) {
        while !self.state.service.is_written() && Instant::now() < deadline {
            sleep(LOOK_EVERY).await;
        }
    }
}

/// Closes a listener that other owners still hold: connections are refused from now on.
fn hang_up(listener: &TcpListener) {
    // The library has no `shutdown` for listeners; the system call is the same for all sockets.
    let ended = listener.try_clone().map(|listener| TcpStream::from(OwnedFd::from(listener)));
    if let Err(error) = ended.and_then(|socket| socket.shutdown(Shutdown::Both)) {
        tracing::debug!(%error, "the listener could not be closed early");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_of_the_way_never_pass_the_deadline() {
        for ms in [0, 1, 100, 2_000, 30_000, 3_600_000] {
            let all = Duration::from_millis(ms);
            let Course { notice, max_wait, parting, deadline } = Course::within(all);
            assert!(notice <= max_wait && max_wait <= parting && parting <= deadline && deadline == all, "{all:?}");
        }
        let course = Course::within(Duration::from_secs(30));
        assert_eq!((course.notice.as_secs(), course.max_wait.as_secs(), course.parting.as_secs()), (1, 26, 29));
    }

    #[test]
    fn a_listener_that_hung_up_refuses() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let _held = listener.try_clone().unwrap();
        TcpStream::connect(address).unwrap();
        hang_up(&listener);
        assert_eq!(TcpStream::connect(address).unwrap_err().kind(), std::io::ErrorKind::ConnectionRefused);
    }
}
