//! One picture of the process, for operators: what `GET /admin/v1/overview` answers, and what the operator's pages and
//! `farebox top` show. All of it is in memory: no account is asked, and no table is read.

use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::{
    Time,
    nodes::NodeList,
    operations::{Actor, Actors, Handled},
    pools::Pools,
};
use crate::{
    gateway::{
        lately,
        providers::{Circuit, ProviderSeen},
    },
    service::operations,
};

/// A sign of life that is older than this many milliseconds is worth a look: one is given each second.
const SILENT_MS: i64 = 2_500;
/// A message that is handled for this many milliseconds is worth a look.
const LONG_MS: u128 = 1_000;
/// For how many milliseconds a full mailbox is worth a look.
const FULL_MS: u128 = 60_000;

/// The whole picture.
#[derive(Debug, Serialize, ToSchema)]
pub struct Overview {
    /// When it was taken.
    pub(in crate::http) at: Time,
    /// Since when the process runs, by the system's clock.
    pub(in crate::http) since: Time,
    pub(in crate::http) version: &'static str,
    /// The node that answers; null where there is one process alone.
    #[schema(required)]
    pub(in crate::http) node: Option<Uuid>,
    /// The worst of all troubles: `ok`, `degraded` or `down`.
    pub(in crate::http) verdict: &'static str,
    /// What an operator should look at, the worst first.
    pub(in crate::http) troubles: Vec<Trouble>,
    /// Requests that run, those that wait to be let in included.
    pub(in crate::http) running_requests: usize,
    /// Captures that wait in a file until the ledger can take them.
    pub(in crate::http) captures_waiting: usize,
    /// Transitions that the tables are behind the log.
    pub(in crate::http) behind: usize,
    /// The supervised actors, and all accounts as one.
    pub(in crate::http) actors: Vec<Actor>,
    /// The work of each kind of actor.
    pub(in crate::http) kinds: Vec<Handled>,
    /// The times of each kind of message, since the process began.
    pub(in crate::http) messages: Vec<MessageTimes>,
    /// Accounts for which more than one message waits, by how many.
    pub(in crate::http) depths: Vec<Depth>,
    /// The threads that run tasks.
    pub(in crate::http) executors: Vec<Executor>,
    /// Devices and open models.
    pub(in crate::http) pools: Pools,
    /// Requests to open models in the last minute.
    pub(in crate::http) open_minute: Minute,
    /// The providers of closed models.
    pub(in crate::http) providers: Vec<Provider>,
    /// The nodes that share the ledger.
    pub(in crate::http) nodes: NodeList,
}

/// What an operator should look at.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::http) struct Trouble {
    /// What it is about: an actor by its kind and name, a thread, a provider, the ledger.
    pub(in crate::http) what: String,
    /// `degraded` or `down`.
    pub(in crate::http) verdict: &'static str,
    pub(in crate::http) why: String,
    /// Since when; null where that is not known.
    #[schema(required)]
    pub(in crate::http) since: Option<Time>,
}

/// A distribution of times, in microseconds: each number is the upper bound of its bucket, at most twice what it was.
#[derive(Debug, Serialize, ToSchema)]
#[expect(clippy::struct_field_names, reason = "as clients read them")]
pub(in crate::http) struct Spread {
    /// Half took at most so long.
    pub(in crate::http) p50_us: u64,
    /// 99 of 100 took at most so long.
    pub(in crate::http) p99_us: u64,
    pub(in crate::http) longest_us: u64,
}

/// The times of one kind of message.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::http) struct MessageTimes {
    /// The kind of actor.
    pub(in crate::http) kind: &'static str,
    /// The message.
    pub(in crate::http) message: &'static str,
    pub(in crate::http) handled: u64,
    /// How long they waited.
    pub(in crate::http) wait: Spread,
    /// How long they took.
    pub(in crate::http) busy: Spread,
}

/// Accounts for which about as many messages wait.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = MailboxDepth)]
pub(in crate::http) struct Depth {
    /// At least so many, and fewer than twice as many.
    pub(in crate::http) messages: usize,
    pub(in crate::http) accounts: i64,
}

/// A thread that runs tasks.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::http) struct Executor {
    pub(in crate::http) name: String,
    /// Thousandths of the time that it is busy, of late.
    pub(in crate::http) busy_permille: u64,
    /// How long what is ready waits for it, in microseconds.
    pub(in crate::http) late_us: u64,
    /// For how many milliseconds it has been blocked; null where it is not.
    #[schema(required)]
    pub(in crate::http) blocked_ms: Option<u64>,
}

/// What became of requests in the last minute. Times are the upper bounds of buckets that double.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
pub(in crate::http) struct Minute {
    pub(in crate::http) completed: u64,
    /// Requests whose client left, or that were cancelled.
    pub(in crate::http) left: u64,
    pub(in crate::http) failed: u64,
    /// To the first piece of a streamed answer: half were not slower.
    #[schema(required)]
    pub(in crate::http) first_p50_ms: Option<u64>,
    #[schema(required)]
    pub(in crate::http) first_p99_ms: Option<u64>,
    /// From admission to the end: half were not slower.
    #[schema(required)]
    pub(in crate::http) whole_p50_ms: Option<u64>,
    #[schema(required)]
    pub(in crate::http) whole_p99_ms: Option<u64>,
}

/// A provider of closed models.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::http) struct Provider {
    pub(in crate::http) name: String,
    /// `paused` by an operator; else as its breaker has it: `closed`, `troubled` (the last calls failed), or `open` (it is left
    /// alone for a while).
    pub(in crate::http) circuit: &'static str,
    /// Why it is paused, or in trouble.
    #[schema(required)]
    pub(in crate::http) why: Option<String>,
    /// The number of our keys there.
    pub(in crate::http) keys: usize,
    /// Calls that run.
    pub(in crate::http) running: usize,
    /// The most calls that may run at a time.
    pub(in crate::http) most: usize,
    /// Its models that are in trouble.
    pub(in crate::http) models: Vec<super::operations::Part>,
    #[serde(flatten)]
    pub(in crate::http) minute: Minute,
}

/// What a picture is made of.
pub struct Parts {
    pub(in crate::http) at: Time,
    pub(in crate::http) since: Time,
    pub(in crate::http) node: Option<Uuid>,
    pub(in crate::http) actors: Actors,
    pub(in crate::http) messages: Vec<operations::MessageTimes>,
    pub(in crate::http) depths: Vec<(usize, i64)>,
    pub(in crate::http) executors: Vec<operations::Executor>,
    pub(in crate::http) captures_waiting: usize,
    pub(in crate::http) behind: usize,
    pub(in crate::http) pools: Pools,
    pub(in crate::http) open_minute: lately::Minute,
    pub(in crate::http) providers: Vec<ProviderSeen>,
    pub(in crate::http) nodes: NodeList,
}

impl From<lately::Minute> for Minute {
    fn from(minute: lately::Minute) -> Self {
        let lately::Minute { completed, left, failed, first_p50_ms, first_p99_ms, whole_p50_ms, whole_p99_ms } = minute;
        Self { completed, left, failed, first_p50_ms, first_p99_ms, whole_p50_ms, whole_p99_ms }
    }
}

impl From<operations::Spread> for Spread {
    fn from(operations::Spread { p50_us, p99_us, longest_us }: operations::Spread) -> Self {
        Self { p50_us, p99_us, longest_us }
    }
}

impl From<operations::MessageTimes> for MessageTimes {
    fn from(times: operations::MessageTimes) -> Self {
        let operations::MessageTimes { kind, name, handled, wait, busy } = times;
        Self { kind, message: name, handled, wait: wait.into(), busy: busy.into() }
    }
}

impl From<operations::Executor> for Executor {
    fn from(executor: operations::Executor) -> Self {
        let operations::Executor { name, busy_permille, late_us, blocked_ms } = executor;
        Self { name, busy_permille, late_us, blocked_ms }
    }
}

impl Provider {
    /// A provider, with what its actor says of it.
    fn of(seen: ProviderSeen, actors: &[Actor]) -> Self {
        let actor = actors.iter().find(|actor| actor.handled.kind == "provider" && actor.name == seen.name);
        let said = actor.map(|actor| actor.reasons.join("; ")).filter(|said| !said.is_empty());
        let circuit = match (&seen.paused, seen.circuit) {
            (Some(_), _) => "paused",
            (None, Circuit::Open) => "open",
            (None, Circuit::Troubled) => "troubled",
            (None, Circuit::Closed) => "closed",
        };
        let ProviderSeen { name, circuit: _, keys, running, most, paused, minute } = seen;
        let models = actor.map(|actor| actor.parts.clone()).unwrap_or_default();
        Self { name, circuit, why: paused.or(said), keys, running, most, models, minute: minute.into() }
    }
}

fn seconds(ms: u128) -> String {
    format!("{}.{} s", ms / 1_000, ms % 1_000 / 100)
}

/// What of an actor is worth a look.
fn of_actor(actor: &Actor) -> Vec<Trouble> {
    let what = || {
        let kind = actor.handled.kind;
        if kind == actor.name { kind.to_owned() } else { format!("{kind} {}", actor.name) }
    };
    let mut found = Vec::new();
    if actor.verdict != "ok" {
        let (verdict, why, since) = (actor.verdict, actor.reasons.join("; "), Some(actor.since));
        found.push(Trouble { what: what(), verdict, why, since });
    }
    let degraded = |why| Trouble { what: what(), verdict: "degraded", why, since: None };
    if let Some(current) = actor.current.as_ref().filter(|current| current.ms > LONG_MS) {
        found.push(degraded(format!("it handles {} for {} already", current.message, seconds(current.ms))));
    } else if let Some(silent) = actor.heartbeat_ms.filter(|ms| actor.verdict == "ok" && *ms > SILENT_MS) {
        found.push(degraded(format!("no sign of life for {}", seconds(silent.unsigned_abs().into()))));
    }
    found
}

/// What of all is worth a look.
fn troubles(overview: &Overview) -> Vec<Trouble> {
    let mut found: Vec<Trouble> = overview.actors.iter().flat_map(of_actor).collect();
    found.extend(overview.kinds.iter().filter_map(|kind| {
        let ago = kind.last_refused_ms.filter(|ms| *ms < FULL_MS)?;
        let (what, verdict, since) = (format!("{} mailboxes", kind.kind), "degraded", None);
        let why = format!("{} messages found a full mailbox in all, the last one {} ago", kind.refused, seconds(ago));
        Some(Trouble { what, verdict, why, since })
    }));
    found.extend(overview.executors.iter().filter_map(|executor| {
        let why = format!("it is blocked for {}: all that lives there waits", seconds(executor.blocked_ms?.into()));
        Some(Trouble { what: format!("thread {}", executor.name), verdict: "down", why, since: None })
    }));
    found.extend(overview.providers.iter().filter(|provider| provider.circuit == "paused").map(|provider| {
        let why = format!("an operator paused it: {}", provider.why.as_deref().unwrap_or_default());
        Trouble { what: format!("provider {}", provider.name), verdict: "degraded", why, since: None }
    }));
    if overview.captures_waiting > 0 {
        let why = format!("{} captures wait in a file until it can take them", overview.captures_waiting);
        found.push(Trouble { what: "ledger".to_owned(), verdict: "degraded", why, since: None });
    }
    // What is down comes first; the order of equals stays.
    found.sort_by_key(|trouble| trouble.verdict != "down");
    found
}

impl From<Parts> for Overview {
    fn from(parts: Parts) -> Self {
        let Actors { actors, kinds, running_requests } = parts.actors;
        let providers = parts.providers.into_iter().map(|seen| Provider::of(seen, &actors)).collect();
        let mut overview = Self {
            at: parts.at,
            since: parts.since,
            version: env!("CARGO_PKG_VERSION"),
            node: parts.node,
            verdict: "ok",
            troubles: Vec::new(),
            running_requests,
            captures_waiting: parts.captures_waiting,
            behind: parts.behind,
            actors,
            kinds,
            messages: parts.messages.into_iter().map(MessageTimes::from).collect(),
            depths: parts.depths.into_iter().map(|(messages, accounts)| Depth { messages, accounts }).collect(),
            executors: parts.executors.into_iter().map(Executor::from).collect(),
            pools: parts.pools,
            open_minute: parts.open_minute.into(),
            providers,
            nodes: parts.nodes,
        };
        overview.troubles = troubles(&overview);
        overview.verdict = overview.troubles.first().map_or("ok", |worst| worst.verdict);
        overview
    }
}
