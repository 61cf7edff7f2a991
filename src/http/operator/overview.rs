//! The overview, all actors, and one of them.

use actix_web::{HttpRequest, HttpResponse, web};

use super::{
    acts,
    kit::{Cell, Content, link, number, text, verdict},
    page::visited,
    text::{ms, ms_or, second, share, us},
};
use crate::http::{
    admin::overview::picture,
    error::ApiError,
    state::Shared,
    views::{
        operations::{Actor, Handled},
        overview::{Executor, MessageTimes, Minute, Overview, Trouble},
    },
};

/// `GET /operator`.
pub(super) async fn overview(state: Shared, request: HttpRequest) -> HttpResponse {
    visited(&state, &request, "Overview", async || Ok(whole(&picture(&state)))).await
}

fn whole(now: &Overview) -> Content {
    let lost: u64 = now.kinds.iter().map(|kind| kind.lost).sum();
    let restarts: u64 = now.kinds.iter().map(|kind| kind.panics + kind.failures).sum();
    Content::default()
        .tile("Health", verdict(now.verdict))
        .tile("Running requests", link(now.running_requests.to_string(), "/operator/requests"))
        .tile("Tables behind the log", text(now.behind.to_string()))
        .tile("Restarts", text(restarts.to_string()))
        .tile("Dead letters", text(lost.to_string()))
        .tile("Running since", text(second(now.since)))
        .table(
            ("troubles", "What needs a look"),
            "",
            &["What", "How bad", "Why", "Since"],
            now.troubles.iter().map(trouble).collect(),
        )
        .table(
            ("kinds", "Actors by kind"),
            "",
            &["Kind", "Live", "Waiting", "Handled", "Mean wait", "Mean work", "Panics", "Failures", "Full", "Lost"],
            now.kinds.iter().map(kind).collect(),
        )
        .table(
            ("depths", "Accounts for which more than one message waits"),
            "",
            &["At least so many messages", "Accounts"],
            now.depths.iter().map(|depth| vec![number(depth.messages), number(depth.accounts)]).collect(),
        )
        .table(
            ("executors", "Threads that run tasks"),
            "Late is how long what is ready waits for its thread. Where one is blocked, all that lives there waits.",
            &["Thread", "Busy", "Late", "Blocked for"],
            now.executors.iter().map(executor).collect(),
        )
        .table(("minute", "The last minute"), "", MINUTE, minutes(now))
}

const MINUTE: &[&str] = &[
    "Whose models",
    "Answered",
    "Clients left",
    "Failed",
    "First piece, half",
    "99 of 100",
    "Whole, half",
    "99 of 100",
];

fn minutes(now: &Overview) -> Vec<Vec<Cell>> {
    let ours = std::iter::once(("ours", now.open_minute));
    let theirs = now.providers.iter().map(|provider| (provider.name.as_str(), provider.minute));
    ours.chain(theirs).map(|(name, minute)| [vec![text(name)], of_minute(&minute)].concat()).collect()
}

/// The cells of a minute.
pub(super) fn of_minute(minute: &Minute) -> Vec<Cell> {
    let times = [minute.first_p50_ms, minute.first_p99_ms, minute.whole_p50_ms, minute.whole_p99_ms];
    let counts = [minute.completed, minute.left, minute.failed].map(number);
    counts.into_iter().chain(times.map(|time| number(ms_or(time)))).collect()
}

fn trouble(trouble: &Trouble) -> Vec<Cell> {
    let since = trouble.since.map_or_else(|| "now".to_owned(), second);
    vec![text(&trouble.what), verdict(trouble.verdict), text(&trouble.why), text(since)]
}

fn kind(kind: &Handled) -> Vec<Cell> {
    let counts = [
        kind.live.to_string(),
        kind.mailbox_depth.to_string(),
        kind.handled.to_string(),
        us(kind.mean_wait_us),
        us(kind.mean_busy_us),
        kind.panics.to_string(),
        kind.failures.to_string(),
        kind.refused.to_string(),
        kind.lost.to_string(),
    ];
    std::iter::once(text(kind.kind)).chain(counts.map(number)).collect()
}

fn executor(executor: &Executor) -> Vec<Cell> {
    let blocked = executor.blocked_ms.map(|blocked| Cell { class: "down", ..text(ms(blocked)) });
    vec![
        text(&executor.name),
        number(share(executor.busy_permille)),
        number(us(executor.late_us)),
        blocked.unwrap_or_else(|| text("–")),
    ]
}

/// `GET /operator/actors`.
pub(super) async fn actors(state: Shared, request: HttpRequest) -> HttpResponse {
    visited(&state, &request, "Actors", async || Ok(listed(&picture(&state)))).await
}

fn listed(now: &Overview) -> Content {
    Content::default()
        .table(
            ("actors", "Supervised actors, and all accounts as one"),
            "The supervisor starts each of them, and starts one again that dies.",
            &["Kind", "Name", "Verdict", "Since", "Why", "Waiting", "Handles now", "Last sign of life", "Restarts"],
            now.actors.iter().map(row).collect(),
        )
        .table(
            ("messages", "Messages by kind"),
            "Since the process began. A time is at most twice what it was.",
            &["Kind", "Message", "Handled", "Wait, half", "99 of 100", "Longest", "Work, half", "99 of 100", "Longest"],
            now.messages.iter().map(message).collect(),
        )
}

fn row(actor: &Actor) -> Vec<Cell> {
    let kind = actor.handled.kind;
    vec![
        text(kind),
        link(&actor.name, format!("/operator/actors/{kind}/{}", acts::encoded(&actor.name))),
        verdict(actor.verdict),
        text(second(actor.since)),
        text(actor.reasons.join("; ")),
        number(actor.handled.mailbox_depth),
        text(current(actor)),
        number(heartbeat(actor)),
        number(actor.restarts),
    ]
}

fn current(actor: &Actor) -> String {
    let current = actor.current.as_ref();
    current.map_or_else(|| "–".to_owned(), |now| format!("{} for {}", now.message, short(now.ms)))
}

fn heartbeat(actor: &Actor) -> String {
    let ago = actor.heartbeat_ms.map(|ago| ms(ago.unsigned_abs()));
    ago.unwrap_or_else(|| "–".to_owned())
}

fn short(span: u128) -> String {
    ms(u64::try_from(span).unwrap_or(u64::MAX))
}

fn message(times: &MessageTimes) -> Vec<Cell> {
    let MessageTimes { kind, message, handled, wait, busy } = times;
    let spans = [wait.p50_us, wait.p99_us, wait.longest_us, busy.p50_us, busy.p99_us, busy.longest_us];
    let spans = spans.map(|span| number(us(span)));
    [text(*kind), text(*message), number(handled)].into_iter().chain(spans).collect()
}

/// `GET /operator/actors/{kind}/{name}`.
pub(super) async fn actor(state: Shared, request: HttpRequest, path: web::Path<(String, String)>) -> HttpResponse {
    let (kind, name) = path.into_inner();
    let make = async || {
        let now = picture(&state);
        let is_it = |actor: &&Actor| actor.handled.kind == kind && actor.name == name;
        let found = now.actors.iter().find(is_it).ok_or_else(|| ApiError::not_found("this actor"))?;
        let messages = now.messages.iter().filter(|times| times.kind == kind).map(message).collect();
        Ok(one(found, messages))
    };
    visited(&state, &request, "Actor", make).await
}

fn one(actor: &Actor, messages: Vec<Vec<Cell>>) -> Content {
    let handled = &actor.handled;
    let last_exit = handled.last_exit.as_ref().map(|(name, how)| format!("{name} {how}"));
    let why = if actor.reasons.is_empty() { "all is well".to_owned() } else { actor.reasons.join("; ") };
    let facts = vec![
        ("Kind", text(handled.kind)),
        ("Name", text(&actor.name)),
        ("Verdict", verdict(actor.verdict)),
        ("Since", text(second(actor.since))),
        ("Why", text(why)),
        ("Handles now", text(current(actor))),
        ("Last sign of life", text(heartbeat(actor))),
        (
            "Last message",
            text(handled.last_message_ms.map_or_else(|| "none yet".to_owned(), |ago| short(ago) + " ago")),
        ),
        ("Messages that wait", text(handled.mailbox_depth.to_string())),
        ("Messages handled", text(handled.handled.to_string())),
        ("Mean wait, mean work", text(format!("{}, {}", us(handled.mean_wait_us), us(handled.mean_busy_us)))),
        ("Found a full mailbox", text(handled.refused.to_string())),
        ("Dead letters", text(handled.lost.to_string())),
        ("Restarts", text(actor.restarts.to_string())),
        ("Last that ended unasked", text(last_exit.unwrap_or_else(|| "none".to_owned()))),
    ];
    let restarts = actor
        .last_restarts
        .iter()
        .rev()
        .map(|restart| vec![text(second(restart.at)), text(format!("the life before {}", restart.reason))]);
    let parts = actor.parts.iter().map(|part| {
        let tried = part.tried_at.map_or_else(|| "–".to_owned(), second);
        vec![text(&part.name), verdict(part.verdict), text(&part.why), text(second(part.since)), text(tried)]
    });
    let content = Content::default()
        .links(vec![link("All actors", "/operator/actors")])
        .links(acts::of_actor(handled.kind, &actor.name))
        .facts("facts", "How it fares", facts)
        .table(("restarts", "Last restarts, the newest first"), "", &["When", "Why"], restarts.collect());
    let content = if actor.parts.is_empty() {
        content
    } else {
        let heads = &["Name", "Verdict", "Why", "Since", "Tried again"];
        content.table(("parts", "Parts in trouble"), "", heads, parts.collect())
    };
    content.table(
        ("messages", "Messages of its kind"),
        "Since the process began. A time is at most twice what it was.",
        &["Kind", "Message", "Handled", "Wait, half", "99 of 100", "Longest", "Work, half", "99 of 100", "Longest"],
        messages,
    )
}
