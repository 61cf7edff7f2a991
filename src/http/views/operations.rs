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
    pub(in crate::http) ok: bool,
    pub(in crate::http) violations: Vec<Violation>,
    /// The number of accounts checked.
    pub(in crate::http) accounts: i64,
    /// The number of journal lines replayed.
    pub(in crate::http) lines: i64,
    /// The number of recorded requests.
    pub(in crate::http) requests: i64,
    /// The number of open holds.
    pub(in crate::http) open_holds: i64,
    /// The number of rows of the log that are not in the tables yet.
    pub(in crate::http) behind: u64,
}

/// A violation of an invariant.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::http) struct Violation {
    /// The invariant's number.
    pub(in crate::http) invariant: u8,
    /// The violation and its place.
    pub(in crate::http) what: String,
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
    pub(in crate::http) actors: Vec<Actor>,
    /// The work of each kind of actor.
    pub(in crate::http) kinds: Vec<Handled>,
    /// The number of running requests.
    pub(in crate::http) running_requests: usize,
}

/// An actor with a name, or all accounts as one.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::http) struct Actor {
    pub(in crate::http) name: String,
    /// `ok`, `degraded` or `down`.
    pub(in crate::http) verdict: &'static str,
    pub(in crate::http) since: Time,
    /// The reasons, in words.
    pub(in crate::http) reasons: Vec<String>,
    /// The actor's parts that are in trouble: a provider's models.
    pub(in crate::http) parts: Vec<Part>,
    pub(in crate::http) restarts: u64,
    pub(in crate::http) last_restarts: Vec<Restart>,
    /// Milliseconds since the last heartbeat; null for an actor without heartbeats.
    #[schema(required)]
    pub(in crate::http) heartbeat_ms: Option<i64>,
    /// The message that it handles just now, and for how long already; null where it handles none.
    #[schema(required)]
    pub(in crate::http) current: Option<Current>,
    #[serde(flatten)]
    pub(in crate::http) handled: Handled,
}

/// The message that an actor handles just now.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::http) struct Current {
    pub(in crate::http) message: &'static str,
    /// For how many milliseconds already.
    #[schema(value_type = u64)]
    pub(in crate::http) ms: u128,
}

/// A part of an actor that is in trouble: a provider's model.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(in crate::http) struct Part {
    pub(in crate::http) name: String,
    /// `degraded` or `down`.
    pub(in crate::http) verdict: &'static str,
    /// The trouble in words.
    pub(in crate::http) why: String,
    pub(in crate::http) since: Time,
    /// From when on it is tried again; null where it was not given up.
    #[schema(required)]
    pub(in crate::http) tried_at: Option<Time>,
}

impl From<operations::Part> for Part {
    fn from(part: operations::Part) -> Self {
        let operations::Part { name, verdict, why, since, tried_at } = part;
        Self { name, verdict, why, since: since.into(), tried_at: tried_at.map(Time::from) }
    }
}

/// A restart.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::http) struct Restart {
    pub(in crate::http) at: Time,
    /// How the life before ended.
    pub(in crate::http) reason: &'static str,
}

/// The work of an actor, or of all actors of a kind.
#[derive(Debug, Serialize, ToSchema)]
#[expect(clippy::struct_field_names, reason = "as clients read them")]
pub(in crate::http) struct Handled {
    pub(in crate::http) kind: &'static str,
    pub(in crate::http) live: i64,
    pub(in crate::http) mailbox_depth: usize,
    pub(in crate::http) handled: u64,
    pub(in crate::http) waited_us: u64,
    pub(in crate::http) busy_us: u64,
    pub(in crate::http) mean_wait_us: u64,
    pub(in crate::http) mean_busy_us: u64,
    pub(in crate::http) panics: u64,
    pub(in crate::http) failures: u64,
    /// Messages that found a full mailbox.
    pub(in crate::http) refused: u64,
    /// Milliseconds since a message last found one.
    #[schema(required, value_type = Option<u64>)]
    pub(in crate::http) last_refused_ms: Option<u128>,
    /// Dead letters: messages that nobody handled, because their actor was gone or died.
    pub(in crate::http) lost: u64,
    /// The last actor that ended without being asked to, and the reason.
    #[schema(required, value_type = Option<Vec<String>>)]
    pub(in crate::http) last_exit: Option<(String, &'static str)>,
    /// Milliseconds since the last message was handled.
    #[schema(required, value_type = Option<u64>)]
    pub(in crate::http) last_message_ms: Option<u128>,
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
            refused: seen.refused,
            last_refused_ms: seen.last_refused_ms,
            lost: seen.lost,
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
            current: actor.current.map(|(message, ms)| Current { message, ms }),
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
