//! What operators do to the process: look at its actors, audit its books, move its test clock.

use std::{sync::PoisonError, time::Instant};

use billing::{Timestamp, time::DAY_MS};
use ledger::{
    LedgerError,
    audit::{self, Trust},
};
use runtime::{
    executors::SeenExecutor,
    health::{self, Kind},
};

use super::{Service, ServiceError, money::LastAudit};

/// Checks that changes can be committed to the ledger that a restart will find.
///
/// # Errors
///
/// The ledger can't be written, or belongs to another process now ([`NotReady`](ServiceError::NotReady)). The error's
/// text is for operators.
pub async fn ready(service: &Service) -> Result<(), ServiceError> {
    match service.ledger().ready().await {
        // The writer's reason, such as a full disk, is reported.
        Err(LedgerError::Writer(why)) => Err(ServiceError::NotReady(format!("Nothing can be committed: {why}."))),
        ready => Ok(ready?),
    }
}

/// A violation of an invariant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The invariant's number in the design.
    pub invariant: u8,
    /// The violation and its place.
    pub what: String,
}

/// The result of an audit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Audit {
    /// Whether all invariants hold.
    pub ok: bool,
    /// The violations.
    pub violations: Vec<Violation>,
    /// The number of accounts checked.
    pub accounts: i64,
    /// The number of journal lines replayed.
    pub lines: i64,
    /// The number of recorded requests.
    pub requests: i64,
    /// The number of open holds.
    pub open_holds: i64,
    /// The number of rows of the log that are not in the tables yet.
    pub behind: u64,
}

impl From<audit::Audit> for Audit {
    fn from(audit: audit::Audit) -> Self {
        let audit::Audit { ok, violations, accounts, lines, requests, open_holds, behind } = audit;
        let violations =
            violations.into_iter().map(|audit::Violation { invariant, what }| Violation { invariant, what });
        Self { ok, violations: violations.collect(), accounts, lines, requests, open_holds, behind }
    }
}

/// Rebuilds every balance from the ledger.
///
/// # Errors
///
/// The ledger can't be read. A violation is no error: it is in the audit.
pub async fn audit(service: &Service) -> Result<Audit, ServiceError> {
    let began = Instant::now();
    let audit = service.ledger().audit_by(Trust { open: Some(&*service.open), archive: None }).await?;
    let (found, took) = (Audit::from(audit), began.elapsed().as_millis());
    let last = LastAudit { at: service.now(), took_ms: u64::try_from(took).unwrap_or(u64::MAX), found: found.clone() };
    *service.last_audit.lock().unwrap_or_else(PoisonError::into_inner) = Some(last);
    Ok(found)
}

/// The last audit that an operator asked this process for.
pub fn last_audit(service: &Service) -> Option<LastAudit> {
    service.last_audit.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

/// The work of an actor, or of all actors of a kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Handled {
    /// The kind of actor.
    pub kind: &'static str,
    /// The number of live actors.
    pub live: i64,
    /// Messages posted and not yet handled.
    pub mailbox_depth: usize,
    /// Messages handled.
    pub handled: u64,
    /// The total time messages waited, in microseconds.
    pub waited_us: u64,
    /// The total time messages took, in microseconds.
    pub busy_us: u64,
    /// The mean time a message waited, in microseconds.
    pub mean_wait_us: u64,
    /// The mean time a message took, in microseconds.
    pub mean_busy_us: u64,
    /// Restarts after a panic.
    pub panics: u64,
    /// Restarts after a failure of a part that the actor uses.
    pub failures: u64,
    /// Messages that found a full mailbox.
    pub refused: u64,
    /// Milliseconds since a message last found one.
    pub last_refused_ms: Option<u128>,
    /// Dead letters: messages that nobody handled, because their actor was gone or died.
    pub lost: u64,
    /// The last actor that ended without being asked to, and the reason.
    pub last_exit: Option<(String, &'static str)>,
    /// Milliseconds since the last message was handled.
    pub last_message_ms: Option<u128>,
}

impl From<health::Observed> for Handled {
    fn from(seen: health::Observed) -> Self {
        Self {
            kind: seen.kind.name(),
            live: seen.live,
            mailbox_depth: seen.mailbox_depth,
            handled: seen.handled,
            waited_us: seen.waited_us,
            busy_us: seen.busy_us,
            mean_wait_us: seen.mean_wait_us,
            mean_busy_us: seen.mean_busy_us,
            panics: seen.panics,
            failures: seen.failures,
            refused: seen.refused,
            last_refused_ms: seen.last_refused_ms,
            lost: seen.lost,
            last_exit: seen.last_exit.map(|(name, reason)| (name, reason.words())),
            last_message_ms: seen.last_message_ms,
        }
    }
}

/// A part of an actor that is in trouble: a provider's model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// The part's name.
    pub name: String,
    /// The health: `degraded` or `down`.
    pub verdict: &'static str,
    /// The trouble in words.
    pub why: String,
    /// When this health began.
    pub since: Timestamp,
    /// From when on it is tried again; `None` where it was not given up.
    pub tried_at: Option<Timestamp>,
}

impl From<health::SeenPart> for Part {
    fn from(part: health::SeenPart) -> Self {
        let health::SeenPart { name, verdict, why, since, tried_at } = part;
        Self { name, verdict: verdict.name(), why, since, tried_at }
    }
}

/// An actor with a name, or all accounts as one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor {
    /// The name: a pool's class, an engine's model, a provider, or the kind where there is one such actor.
    pub name: String,
    /// The health: `ok`, `degraded` or `down`.
    pub verdict: &'static str,
    /// When this health began.
    pub since: Timestamp,
    /// The reasons, in words; empty where all is well.
    pub reasons: Vec<String>,
    /// The actor's parts that are in trouble: a provider's models.
    pub parts: Vec<Part>,
    /// The number of restarts.
    pub restarts: u64,
    /// The last restarts, oldest first: the time, and how the life before ended.
    pub last_restarts: Vec<(Timestamp, &'static str)>,
    /// Milliseconds since the last heartbeat; `None` for an actor without heartbeats.
    pub heartbeat_ms: Option<i64>,
    /// The message that it handles just now, and for how many milliseconds already.
    pub current: Option<(&'static str, u128)>,
    /// The actor's work.
    pub handled: Handled,
}

impl From<health::Seen> for Actor {
    fn from(seen: health::Seen) -> Self {
        let health::Seen { name, verdict, since, reasons, parts, restarts, last_restarts, observed, .. } = seen;
        let (heartbeat_ms, current) = (seen.heartbeat_ms, seen.current);
        let parts = parts.into_iter().map(Part::from).collect();
        let last_restarts = last_restarts.into_iter().map(|restart| (restart.at, restart.reason.words())).collect();
        let (verdict, handled) = (verdict.name(), observed.into());
        Self { name, verdict, since, reasons, parts, restarts, last_restarts, heartbeat_ms, current, handled }
    }
}

/// A distribution of times, in microseconds: each number is at most twice what it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spread {
    /// Half took at most so long.
    pub p50_us: u64,
    /// 99 of 100 took at most so long.
    pub p99_us: u64,
    /// The longest took at most so long.
    pub longest_us: u64,
}

impl From<health::Spread> for Spread {
    fn from(health::Spread { p50_us, p99_us, longest_us }: health::Spread) -> Self {
        Self { p50_us, p99_us, longest_us }
    }
}

/// The times of one kind of message, since the process began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MessageTimes {
    /// The kind of actor.
    pub kind: &'static str,
    /// The message's name.
    pub name: &'static str,
    /// How many were handled.
    pub handled: u64,
    /// How long they waited.
    pub wait: Spread,
    /// How long they took.
    pub busy: Spread,
}

/// A thread that runs tasks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Executor {
    /// Its name.
    pub name: String,
    /// Thousandths of the time that it is busy, of late.
    pub busy_permille: u64,
    /// How long what is ready waits for it, in microseconds.
    pub late_us: u64,
    /// For how many milliseconds it has been blocked; `None` where it is not.
    pub blocked_ms: Option<u64>,
}

/// All actors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actors {
    /// The actors with names, and all accounts as one.
    pub actors: Vec<Actor>,
    /// The work of each kind of actor.
    pub kinds: Vec<Handled>,
    /// The number of running requests.
    pub running_requests: usize,
}

/// The health and work of the actors.
pub fn actors(service: &Service) -> Actors {
    let (health, running) = (service.accounts.health(), service.accounts.running());
    Actors {
        actors: health.seen().into_iter().map(Actor::from).collect(),
        kinds: health.observe().into_iter().map(Handled::from).collect(),
        running_requests: running.count(),
    }
}

/// The times of all kinds of message.
pub fn messages(service: &Service) -> Vec<MessageTimes> {
    let health = service.accounts.health();
    let of_kind = |kind: Kind| {
        health.messages(kind).into_iter().map(move |times| {
            let health::MessageTimes { name, handled, wait, busy } = times;
            MessageTimes { kind: kind.name(), name, handled, wait: wait.into(), busy: busy.into() }
        })
    };
    Kind::ALL.into_iter().flat_map(of_kind).collect()
}

/// Accounts by how many messages wait for them: at least so many, and how many accounts. Those with one or none are not told.
pub fn depths(service: &Service) -> Vec<(usize, i64)> {
    let depths = service.accounts.health().depths(Kind::Account).into_iter().enumerate();
    depths.map(|(place, accounts)| (2 << place, accounts)).filter(|(_, accounts)| *accounts > 0).collect()
}

/// The threads that run tasks.
pub fn executors(service: &Service) -> Vec<Executor> {
    let seen = service.accounts.health().executors().seen().into_iter();
    let executor = |seen: SeenExecutor| {
        let SeenExecutor { name, busy_permille, late_us, blocked_ms } = seen;
        Executor { name, busy_permille, late_us, blocked_ms }
    };
    seen.map(executor).collect()
}

/// Since when this process runs.
pub fn since(service: &Service) -> Timestamp {
    service.accounts.health().since()
}

/// The number of transitions that the tables are behind the log.
pub fn behind(service: &Service) -> usize {
    service.accounts.health().observe_kind(Kind::Projector).mailbox_depth
}

/// The latest time of a test clock: times some weeks later must still have a year of four digits.
const LAST_CLOCK: Timestamp = Timestamp(Timestamp::LAST.0 - 366 * DAY_MS);

/// Moves the test clock forward, and returns its new time.
///
/// # Errors
///
/// The clock would pass the latest time that can be written ([`Invalid`](ServiceError::Invalid)).
pub fn advance_clock(service: &Service, seconds: u32) -> Result<Timestamp, ServiceError> {
    let clock = service.accounts.clock();
    if clock.now().plus_ms(i64::from(seconds) * 1_000) > LAST_CLOCK {
        let rule = format!("would move the clock beyond {LAST_CLOCK}, the latest it can show");
        return Err(ServiceError::invalid("advance_seconds", rule));
    }
    clock.advance_seconds(seconds);
    Ok(clock.now())
}
