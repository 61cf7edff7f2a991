//! `/v1/responses`: a request may continue responses that are kept here, and its own is kept unless it says `store:
//! false`. Kept responses are read and deleted by their ids. The caller's own key continues what its provider keeps.

use actix_web::{HttpRequest, HttpResponse, http::header::UPGRADE, web};
use billing::{ids::AccountId, key::Scope};
use serde_json::{json, value::RawValue};
use wire::{
    format::openai::{
        Responses,
        responses::kept::{self, Kept},
    },
    inference::Request,
};

use super::{Body, Keeping, own_key, read, run_read, whole};
use crate::{
    http::{
        auth,
        error::ApiError,
        query::Query,
        respond::{answer, refuse},
        state::Shared,
    },
    kept::{Earlier, KeptError, Responses as KeptResponses},
};

/// The most items of a page.
const LARGEST_PAGE: usize = 100;
const USUAL_PAGE: usize = 20;

impl KeptError {
    /// The error where a request names what is not there by this field.
    fn by(self, field: &str) -> ApiError {
        match self {
            Self::NoResponse(_) | Self::NoItem(_) | Self::TooLong(_) => ApiError::invalid(field, self),
            Self::Ledger(error) => unread(&error),
        }
    }
}

impl From<KeptError> for ApiError {
    fn from(error: KeptError) -> Self {
        match error {
            KeptError::NoResponse(_) | KeptError::NoItem(_) => Self::not_found("the response"),
            KeptError::TooLong(_) => Self::invalid("id", error),
            KeptError::Ledger(error) => unread(&error),
        }
    }
}

fn unread(error: &dyn std::error::Error) -> ApiError {
    tracing::error!(%error, "kept responses can't be reached");
    ApiError::not_ready("Kept responses can't be reached just now. Nothing was charged.")
}

/// What the answer to a request is kept with.
#[derive(Clone)]
pub(super) struct Keeper {
    responses: KeptResponses,
    account: AccountId,
    input: Vec<Box<RawValue>>,
    previous: Option<String>,
}

impl Keeper {
    /// Keeps a response. One that can't be kept is sent all the same.
    pub(super) async fn keep(self, response: String) {
        let Ok(response) = RawValue::from_string(response) else { return };
        let kept = Kept { response, input: self.input };
        if let Err(error) = self.responses.keep(self.account, &kept, self.previous.as_deref()).await {
            tracing::warn!(account.id = %self.account, %error, "a response was not kept");
        }
    }
}

/// `POST /v1/responses`.
pub async fn responses(state: Shared, request: HttpRequest, body: Body) -> HttpResponse {
    let work = async {
        let caller = auth::scoped(&state, &request, Scope::Inference).await?;
        let body = whole(&state, &request, body)?;
        if own_key(&request)?.is_some() {
            return run_read::<Responses>(&state, &request, caller, read::<Responses>(&request, &body)?, None).await;
        }
        let (mut asked, keeper) = continued(&state, &request, caller.account_id, &body).await?;
        asked.source.is_kept = keeper.is_some();
        run_read::<Responses>(&state, &request, caller, asked, keeper.map(Keeping)).await
    };
    work.await.unwrap_or_else(|error| refuse(&request, &error))
}

/// Reads a request with all that it continues, and how its answer is kept.
pub(super) async fn continued(
    state: &Shared,
    request: &HttpRequest,
    account: AccountId,
    body: &[u8],
) -> Result<(Request, Option<Keeper>), ApiError> {
    let responses = state.responses.clone();
    let keeper = |previous, input| Keeper { responses: responses.clone(), account, input, previous };
    let Some(named) = kept::named(body)? else {
        let asked = read::<Responses>(request, body)?;
        let keeps = kept::is_wanted(&asked.source.body)?;
        let keeper = keeps.then(|| keeper(None, kept::input(&asked.source.body)));
        return Ok((asked, keeper));
    };
    let most = state.settings.limits.of_body(request.path());
    let earlier = responses.earlier(account, &named, most).await;
    let field = if named.previous.is_some() { kept::PREVIOUS } else { "input" };
    let Earlier { responses: before, items } = earlier.map_err(|error| error.by(field))?;
    let (body, own) = kept::continued(body, &before, &items)?;
    let mut asked = read::<Responses>(request, &body)?;
    asked.source.continues = named.previous.as_deref().map(Box::from);
    let keeper = kept::is_wanted(&asked.source.body)?.then(|| keeper(named.previous, own));
    Ok((asked, keeper))
}

/// `GET /v1/responses`. Agents ask first whether responses come over a WebSocket; told at once that they don't, they use
/// HTTP.
pub async fn responses_upgrade(request: HttpRequest) -> HttpResponse {
    let wants_upgrade = request.headers().contains_key(UPGRADE);
    let error = if wants_upgrade { ApiError::no_upgrade() } else { ApiError::method_not_allowed() };
    refuse(&request, &error)
}

/// `GET /v1/responses/{id}`.
pub async fn response(state: Shared, request: HttpRequest, id: web::Path<String>) -> HttpResponse {
    let work = async {
        let caller = auth::scoped(&state, &request, Scope::Inference).await?;
        let query = Query::of(&request, &["stream", "include", "include[]"])?;
        if query.get("stream").is_some_and(|stream| stream != "false") {
            return Err(ApiError::invalid("stream", "is not known for a response that has ended; read it whole"));
        }
        Ok(state.responses.find(caller.account_id, &id).await?.0.response)
    };
    answer(&request, work.await)
}

/// `DELETE /v1/responses/{id}`.
pub async fn delete_response(state: Shared, request: HttpRequest, id: web::Path<String>) -> HttpResponse {
    let work = async {
        let caller = auth::scoped(&state, &request, Scope::Inference).await?;
        state.responses.forget(caller.account_id, &id).await?;
        Ok(json!({"id": *id, "object": "response", "deleted": true}))
    };
    answer(&request, work.await)
}

/// `POST /v1/responses/{id}/cancel`: a response that has ended can't be.
pub async fn cancel_response(state: Shared, request: HttpRequest, id: web::Path<String>) -> HttpResponse {
    let work = async {
        let caller = auth::scoped(&state, &request, Scope::Inference).await?;
        state.responses.find(caller.account_id, &id).await?;
        Err::<(), _>(ApiError::invalid("id", "names a response that was not made in the background, and has ended"))
    };
    answer(&request, work.await)
}

/// `GET /v1/responses/{id}/input_items`: the items of its request and of those before, newest first.
pub async fn input_items(state: Shared, request: HttpRequest, id: web::Path<String>) -> HttpResponse {
    let work = async {
        let caller = auth::scoped(&state, &request, Scope::Inference).await?;
        let query = Query::of(&request, &["limit", "order", "after", "include", "include[]"])?;
        let limit = match query.get("limit").map(str::parse) {
            None => USUAL_PAGE,
            Some(Ok(limit)) if (1..=LARGEST_PAGE).contains(&limit) => limit,
            Some(_) => {
                return Err(ApiError::invalid("limit", format!("must be a whole number from 1 to {LARGEST_PAGE}")));
            }
        };
        let is_ascending = match query.get("order") {
            None | Some("desc") => false,
            Some("asc") => true,
            Some(_) => return Err(ApiError::invalid("order", "must be asc or desc")),
        };
        let (kept, previous) = state.responses.find(caller.account_id, &id).await?;
        let named = kept::Named { previous, items: Vec::new() };
        let most = state.settings.limits.of_body(request.path());
        let before = state.responses.earlier(caller.account_id, &named, most).await?.responses;
        let earlier = before.iter().flat_map(|kept| kept.items().map(|(_, item)| item));
        let mut items = kept::listed(earlier.chain(kept.input.iter().map(|item| &**item)), &id);
        if !is_ascending {
            items.reverse();
        }
        let after = match query.get("after") {
            None => 0,
            Some(after) => {
                let place = items.iter().position(|item| item["id"] == after);
                place.ok_or_else(|| ApiError::invalid("after", "names no item of this response"))? + 1
            }
        };
        let page: Vec<_> = items.iter().skip(after).take(limit).collect();
        let id_of = |item: Option<&&serde_json::Value>| item.map(|item| item["id"].clone());
        Ok(json!({
            "object": "list",
            "first_id": id_of(page.first()),
            "last_id": id_of(page.last()),
            "has_more": items.len() > after + page.len(),
            "data": page,
        }))
    };
    answer(&request, work.await)
}
