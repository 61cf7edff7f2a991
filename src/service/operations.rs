//! What operators do to the process: look at its actors, audit its books, move its test clock, make an actor panic.

use actors::{account, delivery, payment};
use billing::{Timestamp, ids::AccountId, time::DAY_MS};
use ledger::{LedgerError, audit};
use runtime::{health, mailbox};

use super::{Service, ServiceError};

/// Whether what changes can be committed to what a restart will find.
///
/// # Errors
///
/// The ledger can't be written, or belongs to another process now ([`NotReady`](ServiceError::NotReady)). The error's
/// text is for operators.
pub async fn ready(service: &Service) -> Result<(), ServiceError> {
    match service.ledger().ready().await {
        // A full disk is said to be one.
        Err(LedgerError::Writer(why)) => Err(ServiceError::NotReady(format!("Nothing can be committed: {why}."))),
        ready => Ok(ready?),
    }
}

/// A violation of an invariant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The invariant's number in the design.
    pub invariant: u8,
    /// What is wrong, and where.
    pub what: String,
}

/// What an audit found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Audit {
    /// Whether everything holds.
    pub ok: bool,
    /// What does not.
    pub violations: Vec<Violation>,
    /// Accounts looked at.
    pub accounts: i64,
    /// Journal lines replayed.
    pub lines: i64,
    /// Requests recorded.
    pub requests: i64,
    /// Requests running now.
    pub open_holds: i64,
}

impl From<audit::Audit> for Audit {
    fn from(audit: audit::Audit) -> Self {
        let audit::Audit { ok, violations, accounts, lines, requests, open_holds } = audit;
        let violations =
            violations.into_iter().map(|audit::Violation { invariant, what }| Violation { invariant, what });
        Self { ok, violations: violations.collect(), accounts, lines, requests, open_holds }
    }
}

/// Rebuilds every balance from the ledger.
///
/// # Errors
///
/// The ledger can't be read. A violation is no error: it is in the audit.
pub async fn audit(service: &Service) -> Result<Audit, ServiceError> {
    Ok(service.ledger().audit().await?.into())
}

/// What an actor, or all of a kind, handled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Handled {
    /// Which kind.
    pub kind: &'static str,
    /// How many live.
    pub live: i64,
    /// Messages posted and not yet handled.
    pub mailbox_depth: usize,
    /// Messages handled.
    pub handled: u64,
    /// Microseconds that messages waited, together.
    pub waited_us: u64,
    /// Microseconds that they took, together.
    pub busy_us: u64,
    /// Mean microseconds a message waited.
    pub mean_wait_us: u64,
    /// Mean microseconds a message took.
    pub mean_busy_us: u64,
    /// Restarts after a panic.
    pub panics: u64,
    /// Restarts after a failure below.
    pub failures: u64,
    /// Who ended last without being asked to, and how.
    pub last_exit: Option<(String, &'static str)>,
    /// Milliseconds since one of them last handled something.
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

/// An actor that has a name, or all accounts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor {
    /// Its name: a pool's class, an engine's model, a provider, or its kind where there is one.
    pub name: String,
    /// How it fares: `ok`, `degraded` or `down`.
    pub verdict: &'static str,
    /// Since when.
    pub since: Timestamp,
    /// Why, in words; nothing where all is well.
    pub reasons: Vec<String>,
    /// Restarts in all.
    pub restarts: u64,
    /// The last of them, oldest first: when the new life began, and how the one before ended.
    pub last_restarts: Vec<(Timestamp, &'static str)>,
    /// Milliseconds since its last sign of life; none where it gives none.
    pub heartbeat_ms: Option<i64>,
    /// What it handled.
    pub handled: Handled,
}

impl From<health::Seen> for Actor {
    fn from(seen: health::Seen) -> Self {
        let health::Seen { name, verdict, since, reasons, restarts, last_restarts, heartbeat_ms, observed } = seen;
        let last_restarts = last_restarts.into_iter().map(|restart| (restart.at, restart.reason.words())).collect();
        let (verdict, handled) = (verdict.name(), observed.into());
        Self { name, verdict, since, reasons, restarts, last_restarts, heartbeat_ms, handled }
    }
}

/// All actors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actors {
    /// Those that have names, and all accounts as one.
    pub actors: Vec<Actor>,
    /// What each kind handled.
    pub kinds: Vec<Handled>,
    /// Requests that run.
    pub running_requests: usize,
}

/// How the actors fare.
pub fn actors(service: &Service) -> Actors {
    let (health, running) = (service.accounts.health(), service.accounts.running());
    Actors {
        actors: health.seen().into_iter().map(Actor::from).collect(),
        kinds: health.observe().into_iter().map(Handled::from).collect(),
        running_requests: running.count(),
    }
}

/// The latest a test clock shows: what follows from it in weeks must be written with a year of four digits too.
const LAST_CLOCK: Timestamp = Timestamp(Timestamp::LAST.0 - 366 * DAY_MS);

/// Moves the test clock forward; the time it shows then.
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

/// An actor of money that is to panic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// An account's.
    Account(AccountId),
    /// The journal's writer.
    Journal,
    /// Who charges cards.
    Payment,
    /// Who calls owners' webhooks.
    Webhook,
}

/// Makes an actor panic. One message a call of the operator's.
pub fn panic(service: &Service, fault: Fault) {
    match fault {
        Fault::Account(id) => service.accounts.tell(id, account::Panic),
        Fault::Journal => service.journal.panic(),
        Fault::Payment => mailbox::tell(&service.payments.address(), payment::Panic),
        Fault::Webhook => mailbox::tell(&service.webhooks.actor.address(), delivery::Panic),
    }
}
