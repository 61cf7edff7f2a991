//! The history of an account: open holds, ended requests, events.

use billing::{
    hold::{self, Work},
    timings,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;
use uuid::Uuid;

use super::{Dollars, Time};
use crate::{gateway::serve::CANCELLED, service::history};

/// The hold of a running request.
#[derive(Debug, Serialize, ToSchema)]
pub struct Hold {
    request_id: Uuid,
    #[schema(required)]
    key_id: Option<Uuid>,
    model: String,
    provider: String,
    /// The size class, for an open model.
    #[schema(required)]
    class: Option<&'static str>,
    /// The number of permits, for an open model.
    #[schema(required)]
    units: Option<String>,
    amount: Dollars,
    /// The cost so far.
    accrued: Dollars,
    worst_case: Dollars,
    placed_at: Time,
    deadline: Time,
    /// The session that its client names.
    #[schema(required)]
    session: Option<String>,
}

impl From<hold::Hold> for Hold {
    fn from(hold: hold::Hold) -> Self {
        let (class, units) = match hold.work {
            Work::Open { class, units } => (Some(class.name()), Some(units.to_string())),
            Work::Closed => (None, None),
        };
        Self {
            request_id: hold.request_id.0,
            key_id: hold.key_id.map(|id| id.0),
            model: hold.model.to_string(),
            provider: hold.provider.to_string(),
            class,
            units,
            amount: hold.total().into(),
            accrued: hold.accrued.into(),
            worst_case: hold.worst_case.into(),
            placed_at: hold.placed_at.into(),
            deadline: hold.deadline.into(),
            session: hold.session.as_deref().map(str::to_owned),
        }
    }
}

/// Open holds, oldest first.
#[derive(Debug, Serialize, ToSchema)]
pub struct Holds {
    object: &'static str,
    /// The first 1,000 open holds.
    data: Vec<Hold>,
    /// The number of open holds.
    open: usize,
    /// Whether there are more open holds than listed.
    truncated: bool,
}

impl From<history::Holds> for Holds {
    fn from(holds: history::Holds) -> Self {
        let history::Holds { shown, open } = holds;
        let truncated = shown.len() < open;
        Self { object: "list", data: shown.into_iter().map(Hold::from).collect(), open, truncated }
    }
}

/// A part of a request's usage.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::http) struct Quantity {
    /// The quantity, such as `tokens.input.cache_read`.
    #[serde(rename = "quantity")]
    key: String,
    /// The amount.
    amount: u64,
    /// The price of one, in dollars; null where the quantity has no price of its own.
    #[schema(required)]
    rate: Option<String>,
    /// The cost of this quantity before the fee, in dollars.
    #[schema(required)]
    cost: Option<String>,
}

impl From<history::Quantity> for Quantity {
    fn from(part: history::Quantity) -> Self {
        let history::Quantity { key, amount, rate, cost } = part;
        Self { key: key.to_string(), amount, rate: rate.map(|rate| rate.to_string()), cost }
    }
}

/// An attempt of a request that may run on several models.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::http) struct Attempt {
    /// The id under which it has a record of its own; null where nothing was held for it.
    #[schema(required)]
    pub(in crate::http) request_id: Option<Uuid>,
    pub(in crate::http) model: String,
    /// The provider, or `farebox`; null where there is no such model.
    #[schema(required)]
    pub(in crate::http) provider: Option<String>,
    /// How it ended: the last one as the request did, and those before with the code of an error.
    pub(in crate::http) outcome: String,
    /// The HTTP status that it would have been answered with; null for the last one.
    #[schema(required)]
    pub(in crate::http) status: Option<u16>,
    pub(in crate::http) started_at: Time,
    pub(in crate::http) ended_at: Time,
    pub(in crate::http) charged: Dollars,
}

impl From<history::Attempt> for Attempt {
    fn from(attempt: history::Attempt) -> Self {
        let history::Attempt { request_id, model, provider, outcome, status, started_at, ended_at, charged } = attempt;
        Self {
            request_id: request_id.map(|id| id.0),
            model,
            provider,
            outcome,
            status,
            started_at: started_at.into(),
            ended_at: ended_at.into(),
            charged: charged.into(),
        }
    }
}

/// What a request drew from a grant.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::http) struct DrawnGrant {
    grant_id: Uuid,
    /// Where its credits come from, such as `purchase`.
    source: String,
    amount: Dollars,
    expires_at: Time,
}

impl From<history::Drawn> for DrawnGrant {
    fn from(drawn: history::Drawn) -> Self {
        let history::Drawn { grant_id, source, expires_at, amount } = drawn;
        Self { grant_id: grant_id.0, source, amount: amount.into(), expires_at: expires_at.into() }
    }
}

/// The time of each stage of a request, in milliseconds.
#[expect(clippy::struct_field_names, reason = "the unit of each")]
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::http) struct Timings {
    /// From the question to its account until its hold was durable: the waiting line, where it had to wait, and the log.
    admission_ms: u64,
    /// Open models: the wait for the model's load.
    load_ms: u64,
    /// Open models: the wait behind other requests, and that for a load which the request did not live to see.
    queue_ms: u64,
    /// Open models: the time since the first engine step. Closed ones: the provider's, network included.
    run_ms: u64,
    /// From the hold until the first piece of the answer; null where it came whole, or none came.
    #[schema(required)]
    first_ms: Option<u64>,
}

impl From<timings::Timings> for Timings {
    fn from(timings: timings::Timings) -> Self {
        let timings::Timings { admission_ms, load_ms, queue_ms, run_ms, first_ms } = timings;
        Self { admission_ms, load_ms, queue_ms, run_ms, first_ms }
    }
}

/// An ended request.
#[derive(Debug, Serialize, ToSchema)]
pub struct EndedRequest {
    pub(in crate::http) id: Uuid,
    /// The id of the request's API key.
    #[schema(required)]
    pub(in crate::http) key_id: Option<Uuid>,
    /// The session that its client named.
    #[schema(required)]
    pub(in crate::http) session: Option<String>,
    pub(in crate::http) model: String,
    /// The provider, or `farebox`.
    pub(in crate::http) provider: String,
    /// How it ended.
    pub(in crate::http) ending: String,
    pub(in crate::http) input_tokens: i64,
    /// The cached part of the prompt tokens.
    pub(in crate::http) cached_input_tokens: i64,
    /// The part of the prompt tokens written to the provider's cache.
    pub(in crate::http) cache_write_tokens: i64,
    pub(in crate::http) output_tokens: i64,
    /// The part of the output tokens that was reasoning.
    pub(in crate::http) reasoning_tokens: i64,
    /// Whether the tokens were counted here, because the provider did not report them.
    pub(in crate::http) estimated: bool,
    pub(in crate::http) compute_ms: i64,
    pub(in crate::http) billed_seconds: i64,
    /// Exact cost before the fee, in dollars.
    pub(in crate::http) base_cost: String,
    /// Exact fee, in dollars.
    pub(in crate::http) fee: String,
    /// The amount charged.
    pub(in crate::http) cost: Dollars,
    /// The part of the exact cost before the fee that no quantity accounts for, if any.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(in crate::http) unitemised_cost: Option<String>,
    /// The usage in parts that don't overlap.
    pub(in crate::http) quantities: Vec<Quantity>,
    pub(in crate::http) price_version: i64,
    pub(in crate::http) started_at: Time,
    pub(in crate::http) ended_at: Time,
    /// Where its time went; null where that was not recorded.
    #[schema(required)]
    pub(in crate::http) timings: Option<Timings>,
    /// Of a single request, where other models were asked first: each attempt in its order, this one last.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub(in crate::http) attempts: Vec<Attempt>,
    /// Of a single request, for who may read the account: the grants that it drew on, in that order. What it cost beyond
    /// them became a debt.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub(in crate::http) grants: Vec<DrawnGrant>,
}

impl EndedRequest {
    /// The same request with the grants that it drew on.
    #[must_use]
    pub fn paid_from(self, drawn: Vec<history::Drawn>) -> Self {
        Self { grants: drawn.into_iter().map(DrawnGrant::from).collect(), ..self }
    }

    /// The same request with its attempts.
    #[must_use]
    pub fn after(self, attempts: Vec<history::Attempt>) -> Self {
        Self { attempts: attempts.into_iter().map(Attempt::from).collect(), ..self }
    }
}

impl From<history::Ended> for EndedRequest {
    fn from(ended: history::Ended) -> Self {
        let history::Used { input_tokens, cached_input_tokens, cache_write_tokens, .. } = ended.used;
        let history::Used { output_tokens, reasoning_tokens, estimated, compute_ms, billed_seconds, .. } = ended.used;
        Self {
            id: ended.id.0,
            key_id: ended.key_id.map(|id| id.0),
            session: ended.session,
            model: ended.model,
            provider: ended.provider,
            ending: ended.ending,
            input_tokens,
            cached_input_tokens,
            cache_write_tokens,
            output_tokens,
            reasoning_tokens,
            estimated,
            compute_ms,
            billed_seconds,
            base_cost: ended.base_cost,
            fee: ended.fee,
            cost: ended.cost.into(),
            unitemised_cost: ended.unitemised_cost,
            quantities: ended.quantities.into_iter().map(Quantity::from).collect(),
            price_version: ended.price_version,
            started_at: ended.started_at.into(),
            ended_at: ended.ended_at.into(),
            timings: ended.timings.map(Timings::from),
            attempts: Vec::new(),
            grants: Vec::new(),
        }
    }
}

/// An event of the account.
#[derive(Debug, Serialize, ToSchema)]
pub struct Event {
    id: Uuid,
    /// The kind, such as `low_balance`.
    kind: String,
    at: Time,
    /// The event's data.
    data: Value,
}

impl From<history::Event> for Event {
    fn from(event: history::Event) -> Self {
        let history::Event { id, kind, at, data } = event;
        // The data is stored as JSON; anything else is left out.
        let data = serde_json::from_str(&data).unwrap_or_default();
        Self { id, kind, at: at.into(), data }
    }
}

/// The answer of a request that was detached from its live socket.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct RequestOutput {
    object: String,
    request_id: Uuid,
    /// The id that its client chose; null where nothing more is kept.
    #[schema(required)]
    id: Option<String>,
    status: OutputStatus,
    /// The text of the first choice, if it has one.
    #[schema(required)]
    text: Option<String>,
    /// The whole answer as its route gives it, of a request whose answer comes at once.
    #[schema(required)]
    answer: Option<Value>,
    /// All frames that its socket got, or would have got.
    frames: Vec<Value>,
}

/// What became of a request that was detached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum OutputStatus {
    /// It ended as it should.
    Completed,
    /// It was cancelled: the rest of its answer is missing.
    Cancelled,
    /// Its last frame says why it failed.
    Failed,
    /// It ended, and had more frames than are kept.
    TooLarge,
}

impl RequestOutput {
    /// The output of a request with these frames, its last one among them.
    pub fn of(request_id: Uuid, frames: Vec<Value>) -> Self {
        let last = frames.last().cloned().unwrap_or_default();
        let status = match (last["type"].as_str(), last["stop"].as_str()) {
            (Some("error"), _) => OutputStatus::Failed,
            (_, Some(CANCELLED)) => OutputStatus::Cancelled,
            _ => OutputStatus::Completed,
        };
        let of_first = frames.iter().filter(|frame| frame["choice"] == 0);
        let text: String = of_first.filter_map(|frame| frame["delta"].as_str()).collect();
        Self {
            id: last["id"].as_str().map(str::to_owned),
            status,
            text: Some(text).filter(|text| !text.is_empty()),
            answer: last.get("answer").cloned(),
            frames,
            ..Self::too_large(request_id)
        }
    }

    /// The output of a request with more frames than are kept.
    pub fn too_large(request_id: Uuid) -> Self {
        let (object, status) = ("request.output".to_owned(), OutputStatus::TooLarge);
        Self { object, request_id, id: None, status, text: None, answer: None, frames: Vec::new() }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_output_has_the_text_and_all_frames() {
        let frames = [
            json!({"type": "chat.created", "id": "a"}),
            json!({"type": "chat.delta", "choice": 0, "delta": "Good "}),
            json!({"type": "chat.delta", "choice": 1, "delta": "x"}),
            json!({"type": "chat.delta", "choice": 0, "delta": "day"}),
            json!({"type": "chat.done", "id": "a"}),
        ];
        let output = json!(RequestOutput::of(Uuid::nil(), frames.to_vec()));
        let told = (&output["text"], &output["status"], &output["id"], &output["answer"]);
        assert_eq!(told, (&json!("Good day"), &json!("completed"), &json!("a"), &Value::Null));
        assert_eq!(output["frames"], json!(frames));
        let cancelled = vec![json!({"type": "chat.done", "id": "a", "stop": "cancelled"})];
        assert_eq!(RequestOutput::of(Uuid::nil(), cancelled).status, OutputStatus::Cancelled);
        let failed = RequestOutput::of(Uuid::nil(), vec![json!({"type": "error", "id": "a"})]);
        assert_eq!((failed.status, failed.text), (OutputStatus::Failed, None));
    }
}
