//! How the process fares: alive, ready, its actors, its books, its clock.

use serde::Serialize;
use utoipa::ToSchema;

use super::Time;
use crate::service::operations;

/// That the process lives, or is ready.
#[derive(Debug, Serialize, ToSchema)]
pub struct Status {
    /// `ok` or `ready`.
    pub status: &'static str,
}

/// That it was done.
#[cfg(feature = "faults")]
#[derive(Debug, Serialize, ToSchema)]
pub struct Done {
    /// That it was.
    pub done: bool,
}

/// What a test clock shows.
#[derive(Debug, Serialize, ToSchema)]
pub struct Clock {
    /// Now.
    pub now: Time,
}

/// What an audit found.
#[derive(Debug, Serialize, ToSchema)]
pub struct Audit {
    /// Whether everything holds.
    ok: bool,
    violations: Vec<Violation>,
    /// Accounts looked at.
    accounts: i64,
    /// Journal lines replayed.
    lines: i64,
    /// Requests recorded.
    requests: i64,
    /// Requests running now.
    open_holds: i64,
}

/// Something that does not hold.
#[derive(Debug, Serialize, ToSchema)]
struct Violation {
    /// The invariant's number.
    invariant: u8,
    /// What is wrong, and where.
    what: String,
}

impl From<operations::Audit> for Audit {
    fn from(audit: operations::Audit) -> Self {
        let operations::Audit { ok, violations, accounts, lines, requests, open_holds } = audit;
        let violation = |operations::Violation { invariant, what }| Violation { invariant, what };
        let violations = violations.into_iter().map(violation).collect();
        Self { ok, violations, accounts, lines, requests, open_holds }
    }
}

/// All actors.
#[derive(Debug, Serialize, ToSchema)]
#[expect(clippy::struct_field_names, reason = "as clients read them")]
pub struct Actors {
    /// Those that have names, and all accounts as one.
    actors: Vec<Actor>,
    /// What each kind handled.
    kinds: Vec<Handled>,
    /// Requests that run.
    running_requests: usize,
}

/// An actor that has a name, or all accounts.
#[derive(Debug, Serialize, ToSchema)]
struct Actor {
    name: String,
    /// `ok`, `degraded` or `down`.
    verdict: &'static str,
    since: Time,
    /// Why, in words.
    reasons: Vec<String>,
    restarts: u64,
    last_restarts: Vec<Restart>,
    /// Milliseconds since its last sign of life; none where it gives none.
    #[schema(required)]
    heartbeat_ms: Option<i64>,
    #[serde(flatten)]
    handled: Handled,
}

/// A life that began after another ended.
#[derive(Debug, Serialize, ToSchema)]
struct Restart {
    at: Time,
    /// How the one before ended.
    reason: &'static str,
}

/// What an actor, or all of a kind, handled.
#[derive(Debug, Serialize, ToSchema)]
#[expect(clippy::struct_field_names, reason = "as clients read them")]
struct Handled {
    kind: &'static str,
    live: i64,
    mailbox_depth: usize,
    handled: u64,
    waited_us: u64,
    busy_us: u64,
    mean_wait_us: u64,
    mean_busy_us: u64,
    panics: u64,
    failures: u64,
    /// Who ended last without being asked to, and how.
    #[schema(required, value_type = Option<Vec<String>>)]
    last_exit: Option<(String, &'static str)>,
    /// Milliseconds since one of them last handled something.
    #[schema(required, value_type = Option<u64>)]
    last_message_ms: Option<u128>,
}

impl From<operations::Handled> for Handled {
    fn from(seen: operations::Handled) -> Self {
        Self {
            kind: seen.kind,
            live: seen.live,
            mailbox_depth: seen.mailbox_depth,
            handled: seen.handled,
            waited_us: seen.waited_us,
            busy_us: seen.busy_us,
            mean_wait_us: seen.mean_wait_us,
            mean_busy_us: seen.mean_busy_us,
            panics: seen.panics,
            failures: seen.failures,
            last_exit: seen.last_exit,
            last_message_ms: seen.last_message_ms,
        }
    }
}

impl From<operations::Actor> for Actor {
    fn from(actor: operations::Actor) -> Self {
        let restart = |(at, reason)| Restart { at: Time::from(at), reason };
        Self {
            name: actor.name,
            verdict: actor.verdict,
            since: actor.since.into(),
            reasons: actor.reasons,
            restarts: actor.restarts,
            last_restarts: actor.last_restarts.into_iter().map(restart).collect(),
            heartbeat_ms: actor.heartbeat_ms,
            handled: actor.handled.into(),
        }
    }
}

impl From<operations::Actors> for Actors {
    fn from(all: operations::Actors) -> Self {
        let operations::Actors { actors, kinds, running_requests } = all;
        let (actors, kinds) = (actors.into_iter().map(Actor::from).collect(), kinds.into_iter().map(Handled::from));
        Self { actors, kinds: kinds.collect(), running_requests }
    }
}
