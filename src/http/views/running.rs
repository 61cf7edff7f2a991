//! Requests that run, that were refused, and that an operator wants explained.

use actors::running::SeenRequest;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;
use uuid::Uuid;

use super::{Dollars, Time, history::EndedRequest, scalar};
use crate::{
    gateway::refusals::Refused,
    http::error::{ApiError, Shape},
};

/// A request that runs.
#[derive(Debug, Serialize, ToSchema)]
pub struct RunningRequest {
    pub(in crate::http) id: Uuid,
    pub(in crate::http) account_id: Uuid,
    #[schema(required)]
    pub(in crate::http) key_id: Option<Uuid>,
    pub(in crate::http) model: String,
    /// The provider, or `farebox`.
    pub(in crate::http) provider: String,
    /// `entering`, `waiting` (for its model), `queued`, `computing`, `calling` (its provider), `answering`, `draining` (nobody
    /// reads its answer any more) or `settling`.
    pub(in crate::http) stage: &'static str,
    /// Since when it is at that stage.
    pub(in crate::http) since: Time,
    /// What it waits for, in words.
    pub(in crate::http) waits_for: String,
    /// When its account was asked to let it in.
    pub(in crate::http) asked_at: Time,
    /// What it costs so far, to the second.
    pub(in crate::http) cost: Dollars,
    /// What is held for it.
    pub(in crate::http) held: Dollars,
    /// The most that it may cost by its key's limits; null without limits.
    #[schema(required)]
    pub(in crate::http) claimed: Option<Dollars>,
    /// Whether it can be cancelled just now: one that waits to be let in can't.
    pub(in crate::http) can_be_cancelled: bool,
}

impl RunningRequest {
    /// A request, and what it waits for.
    pub fn of(seen: SeenRequest, waits_for: String) -> Self {
        let SeenRequest { id, about, stage, since, cost, amounts, can_end } = seen;
        Self {
            id: id.0,
            account_id: about.account_id.0,
            key_id: about.key_id.map(|id| id.0),
            model: about.model.to_string(),
            provider: about.provider.to_string(),
            stage: stage.name(),
            since: since.into(),
            waits_for,
            asked_at: about.asked_at.into(),
            cost: cost.into(),
            held: amounts.held.into(),
            claimed: amounts.claimed.map(Dollars::from),
            can_be_cancelled: can_end,
        }
    }
}

/// The requests that run at the node that answers, the oldest first.
#[derive(Debug, Serialize, ToSchema)]
pub struct RunningRequests {
    pub(in crate::http) data: Vec<RunningRequest>,
    /// The number of all of them, of which the oldest are listed.
    pub(in crate::http) running: usize,
}

/// A request that was refused before anything was held for it.
#[derive(Debug, Serialize, ToSchema)]
pub struct RefusedRequest {
    pub(in crate::http) id: Uuid,
    pub(in crate::http) account_id: Uuid,
    pub(in crate::http) key_id: Uuid,
    /// The model, as it was named.
    pub(in crate::http) model: String,
    pub(in crate::http) at: Time,
    pub(in crate::http) status: u16,
    /// The code of the error, such as `model_locked`.
    pub(in crate::http) code: String,
    pub(in crate::http) message: String,
    /// The dollars of credits that would have let it in, by the limit that refused it; null where dollars don't.
    #[schema(required)]
    pub(in crate::http) price: Option<String>,
    /// What it was answered, with the limit's numbers and what would unlock it.
    #[schema(schema_with = scalar::any_object)]
    pub(in crate::http) error: Value,
}

impl From<&Refused> for RefusedRequest {
    fn from(refused: &Refused) -> Self {
        let error = ApiError::from(refused.why.clone());
        let body = error.body(Shape::Native, &refused.id.to_string());
        let price = [&body["unlock"], &body["next_tier"]["dollars"], &body["needed"]];
        let price = match error.status().as_u16() {
            402 | 403 | 429 => price.into_iter().find_map(Value::as_str).map(str::to_owned),
            _ => None,
        };
        Self {
            id: refused.id.0,
            account_id: refused.account_id.0,
            key_id: refused.key_id.0,
            model: refused.model.to_string(),
            at: refused.at.into(),
            status: error.status().as_u16(),
            code: error.code().to_owned(),
            message: error.message().to_owned(),
            price,
            error: body,
        }
    }
}

/// What is known of a request.
#[derive(Debug, Serialize, ToSchema)]
pub struct Explained {
    pub(in crate::http) id: Uuid,
    /// `running`, `ended` or `refused`.
    pub(in crate::http) state: &'static str,
    pub(in crate::http) account_id: Uuid,
    /// The whole in one sentence.
    pub(in crate::http) says: String,
    /// While it runs.
    #[schema(required)]
    pub(in crate::http) running: Option<RunningRequest>,
    /// Its record, once it has ended.
    #[schema(required)]
    pub(in crate::http) ended: Option<EndedRequest>,
    /// Why it was not let in.
    #[schema(required)]
    pub(in crate::http) refused: Option<RefusedRequest>,
}

impl Explained {
    /// One that runs.
    pub fn running(running: RunningRequest) -> Self {
        let says = format!(
            "It runs: {} since {}, and waits for {}. It costs ${} so far, of ${} that are held.",
            running.stage, running.since, running.waits_for, running.cost, running.held
        );
        let (id, account_id) = (running.id, running.account_id);
        Self { id, state: "running", account_id, says, running: Some(running), ended: None, refused: None }
    }

    /// One that has ended: whose it was, what it was charged, and its record.
    pub fn ended(id: Uuid, account_id: Uuid, says: String, ended: EndedRequest) -> Self {
        Self { id, state: "ended", account_id, says, running: None, ended: Some(ended), refused: None }
    }

    /// One that was refused.
    pub fn refused(refused: RefusedRequest) -> Self {
        let says = format!("It was refused at {} ({}): {}", refused.at, refused.code, refused.message);
        let (id, account_id) = (refused.id, refused.account_id);
        Self { id, state: "refused", account_id, says, running: None, ended: None, refused: Some(refused) }
    }
}

/// That a request was asked to end.
#[derive(Debug, Serialize, ToSchema)]
pub struct CancelledRequest {
    pub(in crate::http) id: Uuid,
    /// Always `cancelling`: what it used until then is charged, and its record says what that was.
    pub(in crate::http) status: &'static str,
}
