//! `/admin/v1/requests`: requests that run, and any request explained.

use actix_web::{HttpRequest, HttpResponse, web};
use billing::ids::RequestId;

use crate::{
    http::{
        account::requests::running_of,
        auth,
        error::ApiError,
        query::Query,
        respond::answer,
        state::{Shared, State},
        values::id,
        views::{
            history::EndedRequest,
            running::{Explained, RefusedRequest, RunningRequest},
        },
    },
    service::history,
};

/// `GET /admin/v1/requests`: the requests that run at this node, the oldest first.
pub async fn running(state: Shared, request: HttpRequest) -> HttpResponse {
    let work = async {
        auth::operator(&state, &request)?;
        Query::of(&request, &[])?;
        Ok(running_of(&state, None, None))
    };
    answer(&request, work.await)
}

/// `GET /admin/v1/requests/{id}/explain`.
pub async fn explain(state: Shared, request: HttpRequest, path: web::Path<String>) -> HttpResponse {
    let work = async {
        auth::operator(&state, &request)?;
        explained(&state, RequestId(id("id", &path, "must be a request's id")?)).await
    };
    answer(&request, work.await)
}

/// What is known of a request: of one that runs here, that has ended anywhere, or that was refused here.
///
/// # Errors
///
/// Nothing is known of it, or the ledger can't be read just now.
pub(in crate::http) async fn explained(state: &State, id: RequestId) -> Result<Explained, ApiError> {
    let gateway = &state.gateway;
    if let Some(seen) = gateway.accounts.running().seen(id) {
        let waits_for = gateway.waits_for(&seen);
        return Ok(Explained::running(RunningRequest::of(seen, waits_for)));
    }
    if let Some(refused) = gateway.refusals.find(id) {
        return Ok(Explained::refused(RefusedRequest::from(&*refused)));
    }
    let Some((account, ended)) = history::request_of_anyone(&state.service, id).await? else {
        return Err(ApiError::not_found("a request of this id that runs, has ended, or was refused of late"));
    };
    let attempts = history::attempts(&state.service, account, &ended).await?;
    let says = format!(
        "It ran on {} at {} from {} to {}, ended as {}, and was charged ${}.",
        ended.model, ended.provider, ended.started_at, ended.ended_at, ended.ending, ended.cost
    );
    Ok(Explained::ended(id.0, account.0, says, EndedRequest::from(ended).after(attempts)))
}
