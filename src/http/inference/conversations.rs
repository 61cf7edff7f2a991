//! `/v1/conversations`: lists of items that are kept for their account, from which responses go on. They are OpenAI's routes,
//! and cost nothing.

use actix_web::{HttpRequest, HttpResponse, web};
use billing::{ids::AccountId, key::Scope};
use serde_json::{Value, json};
use wire::{
    fields::Fields,
    format::openai::responses::conversations::{Conversation, items, metadata, only},
};

use super::{
    Body,
    responses::{Page, page},
    whole,
};
use crate::{
    http::{auth, error::ApiError, query::Query, respond::answer, state::Shared},
    kept::KeptError,
};

/// The members of a request to begin one, to change one, and to add to one.
const OF_NEW: [&str; 2] = ["items", "metadata"];
const OF_CHANGE: [&str; 1] = ["metadata"];
const OF_ITEMS: [&str; 1] = ["items"];

/// Whoever asks, and the body's fields.
async fn asked(
    state: &Shared,
    request: &HttpRequest,
    body: Body,
    known: &[&str],
) -> Result<(AccountId, Fields), ApiError> {
    let caller = auth::scoped(state, request, Scope::Inference).await?;
    let body = whole(state, request, body)?;
    // A conversation may begin with nothing.
    let fields = if body.trim_ascii().is_empty() { Fields::default() } else { Fields::of_client(&body)? };
    only(&fields, known)?;
    Ok((caller.account_id, fields))
}

/// `POST /v1/conversations`.
pub async fn begin(state: Shared, request: HttpRequest, body: Body) -> HttpResponse {
    let work = async {
        let (account, body) = asked(&state, &request, body, &OF_NEW).await?;
        let created = state.gateway.clock().now().0 / 1_000;
        let mut conversation = Conversation::new(created, metadata(&body)?.unwrap_or_default());
        conversation.add(items(&body)?.unwrap_or_default(), crate::kept::new_id);
        let id = state.responses.begin(account, &conversation).await?;
        Ok(conversation.object(&id))
    };
    answer(&request, work.await)
}

/// `GET /v1/conversations/{id}`.
pub async fn read(state: Shared, request: HttpRequest, id: web::Path<String>) -> HttpResponse {
    let work = async {
        let caller = auth::scoped(&state, &request, Scope::Inference).await?;
        Ok(state.responses.conversation(caller.account_id, &id).await?.object(&id))
    };
    answer(&request, work.await)
}

/// `POST /v1/conversations/{id}`: its metadata from now on.
pub async fn change(state: Shared, request: HttpRequest, id: web::Path<String>, body: Body) -> HttpResponse {
    let work = async {
        let (account, body) = asked(&state, &request, body, &OF_CHANGE).await?;
        let metadata = metadata(&body)?.ok_or_else(|| ApiError::invalid("metadata", "is required"))?;
        let changed = state.responses.change(account, &id, |conversation| {
            conversation.describe(metadata.clone());
            Ok(conversation.object(&id))
        });
        Ok(changed.await?)
    };
    answer(&request, work.await)
}

/// `DELETE /v1/conversations/{id}`. The responses that were made in it stay.
pub async fn end(state: Shared, request: HttpRequest, id: web::Path<String>) -> HttpResponse {
    let work = async {
        let caller = auth::scoped(&state, &request, Scope::Inference).await?;
        state.responses.end(caller.account_id, &id).await?;
        Ok(json!({"id": *id, "object": "conversation.deleted", "deleted": true}))
    };
    answer(&request, work.await)
}

/// `POST /v1/conversations/{id}/items`.
pub async fn add(state: Shared, request: HttpRequest, id: web::Path<String>, body: Body) -> HttpResponse {
    let work = async {
        Query::of(&request, &["include", "include[]"])?;
        let (account, body) = asked(&state, &request, body, &OF_ITEMS).await?;
        let items = items(&body)?.ok_or_else(|| ApiError::invalid("items", "is required"))?;
        let added = state.responses.add(account, &id, &items).await?;
        Ok(Page { items: &added, after: 0, limit: added.len() }.list())
    };
    answer(&request, work.await)
}

/// `GET /v1/conversations/{id}/items`, newest first.
pub async fn list(state: Shared, request: HttpRequest, id: web::Path<String>) -> HttpResponse {
    let work = async {
        let caller = auth::scoped(&state, &request, Scope::Inference).await?;
        let conversation = state.responses.conversation(caller.account_id, &id).await?;
        page(&request, conversation.listed())
    };
    answer(&request, work.await)
}

/// `GET /v1/conversations/{id}/items/{item}`.
pub async fn item(state: Shared, request: HttpRequest, ids: web::Path<(String, String)>) -> HttpResponse {
    let work = async {
        let caller = auth::scoped(&state, &request, Scope::Inference).await?;
        Query::of(&request, &["include", "include[]"])?;
        let (id, item) = ids.into_inner();
        let found = state.responses.conversation(caller.account_id, &id).await?.find(&item);
        Ok::<Value, ApiError>(found.ok_or(KeptError::NoItem(item))?)
    };
    answer(&request, work.await)
}

/// `DELETE /v1/conversations/{id}/items/{item}`. The answer is the conversation.
pub async fn remove(state: Shared, request: HttpRequest, ids: web::Path<(String, String)>) -> HttpResponse {
    let work = async {
        let caller = auth::scoped(&state, &request, Scope::Inference).await?;
        let (id, item) = ids.into_inner();
        let taken = |conversation: &mut Conversation| {
            let is_there = conversation.remove(&item);
            is_there.then(|| conversation.object(&id)).ok_or_else(|| KeptError::NoItem(item.clone()))
        };
        Ok::<Value, ApiError>(state.responses.change(caller.account_id, &id, taken).await?)
    };
    answer(&request, work.await)
}
