//! `/v1/requests/running`, `/v1/requests/refused` and `/v1/requests/{id}/cancel`: requests that run, at the node that answers,
//! and those that it refused of late. A key that may not read everything sees and ends its own.

use actix_web::{HttpRequest, HttpResponse, web};
use billing::{
    ids::{AccountId, KeyId, RequestId},
    key::Scope,
};

use crate::http::{
    auth::{self, Sight},
    error::ApiError,
    query::Query,
    respond::{Body, answer, read_nothing},
    state::{Shared, State},
    values::id,
    views::{
        List,
        running::{CancelledRequest, RefusedRequest, RunningRequest, RunningRequests},
    },
};

/// The most running requests that are listed.
const MOST: usize = 100;

/// `GET /v1/requests/running`.
pub async fn running(state: Shared, request: HttpRequest) -> HttpResponse {
    let work = async {
        let Sight { caller, only } = auth::sight(&state, &request).await?;
        Query::of(&request, &[])?;
        Ok(running_of(&state, Some(caller.account_id), only))
    };
    answer(&request, work.await)
}

/// `GET /v1/requests/refused`: the latest, the newest first.
pub async fn refused(state: Shared, request: HttpRequest) -> HttpResponse {
    let work = async {
        let Sight { caller, only } = auth::sight(&state, &request).await?;
        Query::of(&request, &[])?;
        Ok(List::<RefusedRequest>::of(refused_of(&state, caller.account_id, only)))
    };
    answer(&request, work.await)
}

/// `POST /v1/requests/{id}/cancel`: ends a running request as if its client had left. What it used is charged.
pub async fn cancel(state: Shared, request: HttpRequest, path: web::Path<String>, body: Body) -> HttpResponse {
    let work = async {
        auth::scoped(&state, &request, Scope::Inference).await?;
        read_nothing(&state, body)?;
        let Sight { caller, only } = auth::sight(&state, &request).await?;
        let id = RequestId(id("id", &path, "must be a request's id")?);
        end(&state, caller.account_id, only, id)
    };
    answer(&request, work.await)
}

/// The oldest requests that run here, of an account or of one of its keys.
pub(in crate::http) fn running_of(state: &State, of: Option<AccountId>, by: Option<KeyId>) -> RunningRequests {
    let gateway = &state.gateway;
    let (seen, running) = gateway.accounts.running().oldest(of, by, MOST);
    let view = |seen| {
        let waits_for = gateway.waits_for(&seen);
        RunningRequest::of(seen, waits_for)
    };
    RunningRequests { data: seen.into_iter().map(view).collect(), running }
}

/// The latest requests of an account, or of one of its keys, that were refused here: the newest first.
pub(in crate::http) fn refused_of(state: &State, of: AccountId, by: Option<KeyId>) -> Vec<RefusedRequest> {
    state.gateway.refusals.of(of, by).iter().map(|refused| RefusedRequest::from(&**refused)).collect()
}

/// Asks a running request of an account to end.
///
/// # Errors
///
/// It does not run here, is another's, or still waits to be let in.
pub(in crate::http) fn end(
    state: &State,
    of: AccountId,
    by: Option<KeyId>,
    id: RequestId,
) -> Result<CancelledRequest, ApiError> {
    let running = state.gateway.accounts.running();
    let is_its = |key_id: Option<KeyId>| by.is_none_or(|key| key_id == Some(key));
    let seen = running.seen(id).filter(|seen| seen.about.account_id == of && is_its(seen.about.key_id));
    if seen.is_none() {
        return Err(ApiError::not_found("a running request of this id"));
    }
    if !running.end(id) {
        return Err(ApiError::conflict("It waits to be let in, and ends where its client leaves."));
    }
    Ok(CancelledRequest { id: id.0, status: "cancelling" })
}
