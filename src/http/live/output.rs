//! `GET /v1/requests/{id}/output`: the answer of a request that was detached from its socket, whole, once it has ended.

use std::sync::Arc;

use actix_web::{HttpRequest, HttpResponse, web};
use billing::ids::{AccountId, KeyId, RequestId};
use wire::format::live::numbered;

use super::{By, ongoing::Ongoing};
use crate::{
    http::{auth, error::ApiError, respond::answer, state::Shared, values::id, views::history::RequestOutput},
    idempotency::Holder,
};

/// Whose outputs a holder reads: the account's, and the key's own where it has limits.
const fn owner(holder: &Holder) -> Option<(AccountId, Option<KeyId>)> {
    match holder {
        Holder::Operator => None,
        Holder::Account(account) => Some((*account, None)),
        Holder::LimitedKey(account, key) => Some((*account, Some(*key))),
    }
}

/// `GET /v1/requests/{id}/output`.
pub async fn output(state: Shared, request: HttpRequest, path: web::Path<String>) -> HttpResponse {
    let work = async {
        let holder = auth::holder(&state, &request).await?;
        let id = RequestId(id("id", &path, "must be an id")?);
        let (account, only) = owner(&holder).ok_or_else(|| ApiError::not_found("this request"))?;
        if let Some(output) = state.responses.output::<RequestOutput>(account, only, id).await? {
            return Ok(output);
        }
        // Its frames may be remembered at another node: the one that has its socket.
        let seen = state.gateway.accounts.running().seen(id);
        let runs_here = seen.is_some_and(|seen| {
            seen.about.account_id == account && only.is_none_or(|key| seen.about.key_id == Some(key))
        });
        // The output of a limited key's request will be that key's alone.
        let is_anothers = state.ongoings.runs_for_another(holder, id);
        if (runs_here && !is_anothers) || state.ongoings.runs(holder, id) {
            let message = "The request still runs. Resume it on a live socket, or ask again when it has ended.";
            return Err(ApiError::conflict(message).after(1));
        }
        Err(ApiError::not_found("an output of this request, which is kept for a day where the request was detached,"))
    };
    answer(&request, work.await)
}

/// Keeps the output of a request whose last frame this is. A request whose output can't be kept ends all the same, and
/// the log says so.
pub(super) async fn keep(state: &Shared, by: &By, ongoing: &Arc<Ongoing>, last: &str) {
    let (Some((account, only)), Some(id)) = (owner(&by.holder), ongoing.request_id()) else { return };
    let whole = ongoing.all().map(|frames| {
        let last = numbered(last, frames.len() as u64 + 1);
        let frames = frames.iter().map(|frame| &**frame).chain([&*last]);
        RequestOutput::of(id.0, frames.filter_map(|frame| serde_json::from_str(frame).ok()).collect())
    });
    let keep = async |output: RequestOutput| {
        let text = serde_json::to_string(&output).unwrap_or_default();
        let kept = state.responses.keep_output(account, only, id, &text).await;
        kept.inspect_err(
            |error| tracing::warn!(account.id = %account, request.id = %id, %error, "an output was not kept"),
        )
    };
    let is_kept = match whole {
        Some(whole) => keep(whole).await,
        None => Ok(false),
    };
    if matches!(is_kept, Ok(false)) {
        let _ = keep(RequestOutput::too_large(id.0)).await;
    }
}
