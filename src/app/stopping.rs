//! How the process ends: by a signal, in order and within one deadline, because a successor takes its place, or because
//! another process owns the ledger now. First it reports not ready for a moment, and serves; each answer closes its
//! connection. Then it accepts no connection; then running requests end, or are ended shortly before the deadline; then come
//! the last commits, and the database closes. A second signal ends everything at once: acknowledged changes are durable
//! already. A successor that dies before then has changed nothing.

use std::{
    net::{Shutdown, TcpListener, TcpStream},
    os::fd::OwnedFd,
    pin::pin,
    time::Duration,
};

use anyhow::{Context, Result, bail};
#[cfg(target_os = "linux")]
use socket2::{SockFilter, SockRef};
use tokio::{
    signal::unix::{self, SignalKind, signal},
    time::{Instant, sleep, sleep_until, timeout_at},
};

use super::{
    Running, service_manager,
    succession::offer::{Offer, Successor},
};
use crate::{config, http::state::Stage};

/// How long requests may take to end, and their answers to be sent, once another process has taken the ledger over.
const TAKEN_OVER: Duration = Duration::from_secs(2);
/// The longest time before the deadline in which running requests are ended, settled and answered.
const PARTING: Duration = Duration::from_secs(3);
/// The longest time for the last commits and the database.
const CLOSING: Duration = Duration::from_secs(1);
/// How long connections that have begun may take to be there before the listener closes: a round trip to a client far away.
const HANDSHAKE: Duration = Duration::from_millis(250);
/// The interval of checks whether everything has ended.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// The exit status after a second signal.
const AT_ONCE: i32 = 1;

/// The signals that the process acts on, received from when this is made.
#[derive(Debug)]
pub struct Signals {
    terminate: unix::Signal,
    interrupt: unix::Signal,
    replace: unix::Signal,
}

/// What a signal asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asks {
    /// The end; the signal's name.
    End(&'static str),
    /// A successor: the program is started again.
    Successor,
}

impl Signals {
    /// Begins to receive the signals: from then on they end nothing by themselves.
    ///
    /// # Errors
    ///
    /// The system refuses to register a handler, for example because the process has no more file descriptors.
    pub fn hear() -> std::io::Result<Self> {
        let (terminate, interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        Ok(Self { terminate, interrupt, replace: signal(SignalKind::user_defined2())? })
    }

    async fn next(&mut self) -> Asks {
        tokio::select! {
            _ = self.terminate.recv() => Asks::End("SIGTERM"),
            _ = self.interrupt.recv() => Asks::End("SIGINT (Ctrl-C)"),
            _ = self.replace.recv() => Asks::Successor,
        }
    }

    /// The next signal that ends the process, by its name.
    pub async fn end(&mut self) -> &'static str {
        loop {
            if let Asks::End(name) = self.next().await {
                return name;
            }
        }
    }
}

/// The times at which the stages of the stop end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Course {
    /// Until then `/readyz` reports the stop; and how long no request may have come before idle connections are closed.
    notice: Duration,
    /// Until then running requests may end by themselves.
    max_wait: Duration,
    /// Until then ended requests may settle and answer.
    parting: Duration,
    /// Until then everything else must be done.
    deadline: Duration,
}

impl Course {
    /// The stages of a stop that takes at most `all`, and is said for `notice` if that is not too long.
    fn within(all: Duration, notice: Duration) -> Self {
        let parting = all.saturating_sub(CLOSING.min(all / 8));
        let max_wait = parting.saturating_sub(PARTING.min(all / 4));
        Self { notice: notice.min(all / 4), max_wait, parting, deadline: all }
    }
}

/// Why the process ends.
#[derive(Debug)]
enum Cause {
    /// The server ended by itself.
    Server(Result<i32>),
    /// A signal.
    Asked,
    /// Another process is prepared to take its place.
    Succeeded(Successor),
    /// Another process has taken the ledger.
    TakenOver,
}

impl Running {
    /// Serves until a signal (or the server's own end), then stops in order. Returns the exit status.
    ///
    /// # Errors
    ///
    /// The server's task panicked or ended with an error, or another process has taken the ledger over.
    pub async fn until_stopped(mut self, mut signals: Signals) -> Result<i32> {
        loop {
            let cause = self.cause(&mut signals).await;
            let limits = &self.state.settings.limits;
            let all = match cause {
                Cause::Server(status) => return status,
                Cause::Asked | Cause::Succeeded(_) => Duration::from_secs(limits.stop_seconds),
                // Nothing can be settled here any more: clients are informed, if that is quick, and the new owner settles
                // requests by their checkpoints.
                Cause::TakenOver => TAKEN_OVER,
            };
            let course = Course::within(all, Duration::from_secs(limits.notice_seconds));
            let status = tokio::select! {
                status = self.stop(course, &cause) => status,
                name = signals.end() => Some(self.stop_now(name)),
            };
            match status {
                None => self.go_on().await,
                Some(_) if matches!(cause, Cause::TakenOver) => bail!("another process has taken this ledger over"),
                Some(status) => return Ok(status),
            }
        }
    }

    /// Serves until there is a cause to end.
    async fn cause(&mut self, signals: &mut Signals) -> Cause {
        let standing = self.state.gateway.accounts.ledger().standing().clone();
        let mut successor = pin!(successor(self.offer.as_ref()));
        loop {
            tokio::select! {
                ended = &mut self.serving => {
                    let ended = ended.context("the server's task died").and_then(|ended| ended.context("the server ended"));
                    return Cause::Server(ended.map(|()| 0));
                }
                asks = signals.next() => match asks {
                    Asks::End(name) => {
                        tracing::info!(signal = name, "stopping: no new requests; running ones finish");
                        return Cause::Asked;
                    }
                    Asks::Successor => start_successor(),
                },
                successor = &mut successor => {
                    tracing::info!(process = successor.pid, "another process takes this one's place; running requests finish");
                    return Cause::Succeeded(successor);
                }
                () = standing.fenced() => return Cause::TakenOver,
            }
        }
    }

    fn stop_now(&self, signal: &str) -> i32 {
        let still = self.state.gateway.accounts.running().count();
        tracing::warn!(signal, running = still, "stopping now");
        eprintln!("farebox: {signal} again: stopping now; {still} running requests are settled at the next start");
        AT_ONCE
    }

    /// Stops in order. Returns the exit status, or nothing if the successor is gone and this process goes on.
    async fn stop(&self, course: Course, cause: &Cause) -> Option<i32> {
        let began = Instant::now();
        let successor = if let Cause::Succeeded(successor) = cause { Some(successor) } else { None };
        // Nodes have handed their accounts over by the time that a successor can be missed.
        let is_gone = async {
            match successor.filter(|_| self.state.cluster.is_none()) {
                Some(successor) => successor.is_gone().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = self.wind_down(began, course, successor.is_some()) => {}
            () = is_gone => return None,
        }
        self.close(began, course).await;
        match successor {
            Some(successor) => service_manager::is_followed_by(successor.pid),
            None => {
                if let Some(offer) = &self.offer {
                    offer.withdraw();
                }
            }
        }
        Some(0)
    }

    /// Lets nobody new in, and waits for what runs.
    async fn wind_down(&self, began: Instant, course: Course, has_successor: bool) {
        // Nobody needs to look for another address where a successor serves at the same one.
        self.state.enter(if has_successor { Stage::Yielding } else { Stage::Leaving });
        if !has_successor {
            service_manager::is_stopping();
        }
        // Where others take the accounts, running requests settle there. A node that is alone keeps them until the end.
        if let Some(cluster) = self.state.cluster.as_deref().filter(|cluster| has_successor || cluster.has_others()) {
            cluster.leave();
        }
        sleep_until(began + course.notice).await;
        if !has_successor && !self.is_held && begin_no_more(&self.listener) {
            sleep(HANDSHAKE.min(course.max_wait / 8)).await;
        }
        for server in &self.servers {
            server.pause().await;
        }
        // A paused server would accept no connection, and its clients would wait for nothing.
        sleep(LOOK_EVERY).await;
        if !has_successor && !self.is_held {
            hang_up(&self.listener);
        }
        self.state.enter(Stage::Parting);
        self.quiet_until(began + course.max_wait, course.notice).await;
    }

    /// Serves again after a successor has gone.
    async fn go_on(&self) {
        tracing::error!("the process that was to take this one's place is gone: this one goes on");
        for server in &self.servers {
            server.resume().await;
        }
        self.state.enter(Stage::Serving);
    }

    /// Ends what still runs, and closes everything.
    async fn close(&self, began: Instant, course: Course) {
        self.state.enter(Stage::Stopping);
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
        for server in &self.servers {
            let _ = timeout_at(began + course.parting, server.stop(true)).await;
        }
        self.written_until(began + course.parting).await;
        if let Some(cluster) = self.state.cluster.as_deref() {
            cluster.leave();
            cluster.left((began + course.deadline).saturating_duration_since(Instant::now()).max(CLOSING)).await;
        }
        let traces = self.state.traces.clone();
        let ended = actix_rt::task::spawn_blocking(move || traces.end());
        let _ = timeout_at((began + course.deadline).max(Instant::now() + CLOSING), ended).await;
        let ledger = self.state.gateway.accounts.ledger();
        match timeout_at((began + course.deadline).max(Instant::now() + CLOSING), ledger.close()).await {
            Ok(Ok(())) => tracing::info!(ms = began.elapsed().as_millis(), "stopped"),
            Ok(Err(error)) => tracing::warn!(%error, "the database's log stays beside it"),
            Err(_) => tracing::warn!("the database's log stays beside it: there was no time to bring it in"),
        }
    }

    /// Waits until no request runs, and none has come for a while by a connection that is kept: one that is closed as a
    /// request comes by it fails that request. Each that comes is answered, and closes its connection, so that they are fewer and
    /// fewer.
    async fn quiet_until(&self, deadline: Instant, quiet: Duration) {
        let (mut asked, mut since) = (self.state.asked(), Instant::now());
        while Instant::now() < deadline {
            let newest = self.state.asked();
            if self.open() > 0 || newest != asked {
                (asked, since) = (newest, Instant::now());
            } else if self.state.connections() == 0 || since.elapsed() >= quiet {
                return;
            }
            sleep(LOOK_EVERY).await;
        }
    }

    /// The number of requests that run. After the last one, answers to requests with idempotency keys are still being written,
    /// and detached requests may have lost their client.
    fn open(&self) -> usize {
        let state = &self.state;
        let detached = state.idempotency.running() + state.detached();
        state.gateway.accounts.running().count() + detached + state.handled()
    }

    /// Waits until no request runs.
    async fn idle_until(&self, deadline: Instant) {
        while self.open() > 0 && Instant::now() < deadline {
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

/// The next successor of a process that offers its place.
async fn successor(offer: Option<&Offer>) -> Successor {
    if let Some(offer) = offer {
        match offer.next().await {
            Ok(successor) => return successor,
            Err(error) => tracing::error!(%error, "no process can replace this one while it serves"),
        }
    }
    std::future::pending().await
}

/// Starts the program again, as this process was, to take its place. Where that can't serve, nothing has happened.
fn start_successor() {
    let (program, arguments) = config::again();
    match tokio::process::Command::new(&program).args(arguments).spawn() {
        Ok(mut child) => {
            tracing::info!(process = child.id(), program = %program.display(), "started to take this process's place");
            actix_rt::spawn(async move {
                match child.wait().await {
                    Ok(status) => {
                        tracing::error!(%status, "the process that was started in this one's place has ended");
                    }
                    Err(error) => {
                        tracing::error!(%error, "the process that was started in this one's place is not known");
                    }
                }
            });
        }
        Err(error) => {
            tracing::error!(program = %program.display(), %error, "can't be started in this process's place");
        }
    }
}

/// Lets no new connection begin: those that are on their way are still accepted, where closing the listener would reset them.
/// Who begins one is refused once it tries again. Returns whether the system can do that.
#[cfg(target_os = "linux")]
fn begin_no_more(listener: &TcpListener) -> bool {
    // A classic packet filter: a segment is dropped whose flags (byte 13 of its head) have the bit SYN.
    let filter = [
        SockFilter::new(0x30, 0, 0, 13),
        SockFilter::new(0x45, 0, 1, 0x02),
        SockFilter::new(0x06, 0, 0, 0),
        SockFilter::new(0x06, 0, 0, u32::MAX),
    ];
    SockRef::from(listener).attach_filter(&filter).is_ok()
}

#[cfg(not(target_os = "linux"))]
const fn begin_no_more(_: &TcpListener) -> bool {
    false
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
            for said in [0, 1, 60] {
                let Course { notice, max_wait, parting, deadline } = Course::within(all, Duration::from_secs(said));
                assert!(notice <= max_wait && max_wait <= parting && parting <= deadline && deadline == all, "{all:?}");
            }
        }
        let course = Course::within(Duration::from_secs(30), Duration::from_secs(1));
        assert_eq!((course.notice.as_secs(), course.max_wait.as_secs(), course.parting.as_secs()), (1, 26, 29));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn connections_that_have_begun_are_still_accepted_and_no_others_begin() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let begun: Vec<_> = (0..5).map(|_| TcpStream::connect(address).unwrap()).collect();
        assert!(begin_no_more(&listener));
        let late = TcpStream::connect_timeout(&address, Duration::from_millis(300));
        assert_eq!(late.unwrap_err().kind(), std::io::ErrorKind::TimedOut);
        for connection in &begun {
            assert_eq!(listener.accept().unwrap().1, connection.local_addr().unwrap());
        }
        hang_up(&listener);
        assert_eq!(TcpStream::connect(address).unwrap_err().kind(), std::io::ErrorKind::ConnectionRefused);
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
