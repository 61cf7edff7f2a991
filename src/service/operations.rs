//! What operators do to the process: look at its actors, audit its books, move its test clock.

use billing::{Timestamp, time::DAY_MS};
use ledger::{
    LedgerError,
    audit::{self, Trust},
};
use runtime::health;

use super::{Service, ServiceError};

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
    Ok(service.ledger().audit_by(Trust { open: Some(&*service.open), archive: None }).await?.into())
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
    /// The actor's work.
    pub handled: Handled,
}

impl From<health::Seen> for Actor {
    fn from(seen: health::Seen) -> Self {
        let health::Seen { name, verdict, since, reasons, parts, restarts, last_restarts, heartbeat_ms, observed } =
            seen;
        let parts = parts.into_iter().map(Part::from).collect();
        let last_restarts = last_restarts.into_iter().map(|restart| (restart.at, restart.reason.words())).collect();
        let (verdict, handled) = (verdict.name(), observed.into());
        Self { name, verdict, since, reasons, parts, restarts, last_restarts, heartbeat_ms, handled }
    }
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
