//! The state of the process: alive, ready, actors, audit, test clock.

use serde::Serialize;
use utoipa::ToSchema;

use super::Time;
use crate::service::operations;

/// The status of the process.
#[derive(Debug, Serialize, ToSchema)]
pub struct Status {
    /// `ok` or `ready`.
    pub status: &'static str,
}

/// That it was done.
#[cfg(feature = "faults")]
#[derive(Debug, Serialize, ToSchema)]
pub struct Done {
    /// Always true.
    pub done: bool,
}

/// The time of a test clock.
#[derive(Debug, Serialize, ToSchema)]
pub struct Clock {
    /// The current time.
    pub now: Time,
}

/// The result of an audit.
#[derive(Debug, Serialize, ToSchema)]
pub struct Audit {
    /// Whether all invariants hold.
    ok: bool,
    violations: Vec<Violation>,
    /// The number of accounts checked.
    accounts: i64,
    /// The number of journal lines replayed.
    lines: i64,
    /// The number of recorded requests.
    requests: i64,
    /// The number of open holds.
    open_holds: i64,
    /// The number of rows of the log that are not in the tables yet.
    behind: u64,
}

/// A violation of an invariant.
#[derive(Debug, Serialize, ToSchema)]
struct Violation {
    /// The invariant's number.
    invariant: u8,
    /// The violation and its place.
    what: String,
}

impl From<operations::Audit> for Audit {
    fn from(audit: operations::Audit) -> Self {
        let operations::Audit { ok, violations, accounts, lines, requests, open_holds, behind } = audit;
        let violation = |operations::Violation { invariant, what }| Violation { invariant, what };
        let violations = violations.into_iter().map(violation).collect();
        Self { ok, violations, accounts, lines, requests, open_holds, behind }
    }
}

/// All actors.
#[derive(Debug, Serialize, ToSchema)]
#[expect(clippy::struct_field_names, reason = "as clients read them")]
pub struct Actors {
    /// The actors with names, and all accounts as one.
    actors: Vec<Actor>,
    /// The work of each kind of actor.
    kinds: Vec<Handled>,
    /// The number of running requests.
    running_requests: usize,
}

/// An actor with a name, or all accounts as one.
#[derive(Debug, Serialize, ToSchema)]
struct Actor {
    name: String,
    /// `ok`, `degraded` or `down`.
    verdict: &'static str,
    since: Time,
    /// The reasons, in words.
    reasons: Vec<String>,
    /// The actor's parts that are in trouble: a provider's models.
    parts: Vec<Part>,
    restarts: u64,
    last_restarts: Vec<Restart>,
    /// Milliseconds since the last heartbeat; null for an actor without heartbeats.
    #[schema(required)]
    heartbeat_ms: Option<i64>,
    #[serde(flatten)]
    handled: Handled,
}

/// A part of an actor that is in trouble: a provider's model.
#[derive(Debug, Serialize, ToSchema)]
struct Part {
    name: String,
    /// `degraded` or `down`.
    verdict: &'static str,
    /// The trouble in words.
    why: String,
    since: Time,
    /// From when on it is tried again; null where it was not given up.
    #[schema(required)]
    tried_at: Option<Time>,
}

impl From<operations::Part> for Part {
    fn from(part: operations::Part) -> Self {
        let operations::Part { name, verdict, why, since, tried_at } = part;
        Self { name, verdict, why, since: since.into(), tried_at: tried_at.map(Time::from) }
    }
}

/// A restart.
#[derive(Debug, Serialize, ToSchema)]
struct Restart {
    at: Time,
    /// How the life before ended.
    reason: &'static str,
}

/// The work of an actor, or of all actors of a kind.
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
    /// The last actor that ended without being asked to, and the reason.
    #[schema(required, value_type = Option<Vec<String>>)]
    last_exit: Option<(String, &'static str)>,
    /// Milliseconds since the last message was handled.
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
            parts: actor.parts.into_iter().map(Part::from).collect(),
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
