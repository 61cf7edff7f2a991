//! What an account's money did: open holds and ended requests. Newest first and paged, but for holds, which are bounded.

use actix_web::{HttpRequest, HttpResponse, web};
use actors::account::{Look, Picture};
use billing::{
    Timestamp,
    hold::{Hold, Work},
    ids::RequestId,
};
use ledger::{history::Position, usage::Wanted};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{
    auth::{self, Sight},
    error::ApiError,
    query::{Query, bad_cursor, list},
    respond::answer,
    state::Shared,
};

/// Holds that are listed, at most.
const MOST_HOLDS: usize = 1_000;

fn hold_json(hold: &Hold) -> Value {
    let (class, units) = match hold.work {
        Work::Open { class, units } => (Some(class.name()), Some(units.to_string())),
        Work::Closed => (None, None),
    };
    json!({
        "request_id": hold.request_id, "key_id": hold.key_id, "model": hold.model, "provider": hold.provider, "class": class,
        "units": units, "amount": hold.total(), "accrued": hold.accrued, "worst_case": hold.worst_case,
        "placed_at": hold.placed_at.to_string(), "deadline": hold.deadline.to_string(),
    })
}

/// `GET /v1/holds`: what running requests have set aside, oldest first. `open` says how many there are, of which the first
/// 1,000 are listed.
pub async fn holds(state: Shared, request: HttpRequest) -> HttpResponse {
    let work = async {
        let Sight { caller, only } = auth::sight(&state, &request).await?;
        Query::of(&request, &[])?;
        let Picture { mut holds, .. } = state.gateway.accounts.ask(caller.account_id, Look).await?;
        holds.retain(|hold| only.is_none_or(|only| hold.key_id == Some(only)));
        let data: Vec<Value> = holds.iter().take(MOST_HOLDS).map(hold_json).collect();
        let truncated = data.len() < holds.len();
        Ok(json!({"object": "list", "data": data, "open": holds.len(), "truncated": truncated}))
    };
    answer(&request, work.await)
}

/// Whether a cursor's time is one that a list may have given.
pub(super) fn is_instant(at: Timestamp) -> bool {
    (Timestamp(0)..=Timestamp::LAST).contains(&at)
}

fn position(text: &str) -> Result<Position, ApiError> {
    let (at, id) = text.split_once('-').ok_or_else(bad_cursor)?;
    let ended_at = at.parse().ok().map(Timestamp).filter(|at| is_instant(*at)).ok_or_else(bad_cursor)?;
    Ok(Position { ended_at, id: Uuid::parse_str(id).map_err(|_| bad_cursor())? })
}

/// `GET /v1/requests`: ended requests, those that ended last first.
pub async fn requests(state: Shared, request: HttpRequest) -> HttpResponse {
    let work = async {
        let sight = auth::sight(&state, &request).await?;
        let query = Query::of(&request, &["from", "to", "model", "key_id", "limit", "cursor"])?;
        let before = query.get("cursor").map(position).transpose()?;
        // What ends in this millisecond is listed too.
        let (from, to) = query.range(state.gateway.clock().now().plus_ms(1))?;
        let from = from.unwrap_or(Timestamp(0));
        let wanted = Wanted { account: sight.caller.account_id, from, to, only: query.only(&sight)? };
        let page = state.gateway.accounts.ledger().requests(&wanted, before, query.limit()?).await?;
        let data = page.rows.iter().map(|row| serde_json::to_value(row).map_err(|error| ApiError::internal(&error)));
        let next = page.next.map(|Position { ended_at, id }| format!("{}-{}", ended_at.0, id.simple()));
        Ok(list(data.collect::<Result<_, _>>()?, next))
    };
    answer(&request, work.await)
}

/// `GET /v1/requests/{id}`.
pub async fn request(state: Shared, request: HttpRequest, id: web::Path<String>) -> HttpResponse {
    let work = async {
        let Sight { caller, only } = auth::sight(&state, &request).await?;
        let id = Uuid::parse_str(&id).map_err(|_| ApiError::invalid("id", "must be an id"))?;
        let row = state.gateway.accounts.ledger().request(caller.account_id, RequestId(id)).await?;
        let row = row.filter(|row| only.is_none_or(|only| row.key_id == Some(only.0)));
        let row = row.ok_or_else(|| ApiError::not_found("this request"))?;
        serde_json::to_value(row).map_err(|error| ApiError::internal(&error))
    };
    answer(&request, work.await)
}
