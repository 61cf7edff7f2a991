//! `/v1/holds`, `/v1/requests`, `/v1/events`: an account's history. Newest first and paged, except for holds, which are
//! bounded.

use actix_web::{HttpRequest, HttpResponse, web};
use billing::{Timestamp, event::EventKind, ids::RequestId, key::Scope};
use uuid::Uuid;

use crate::{
    http::{
        auth::{self, Sight},
        error::ApiError,
        query::{Query, bad_cursor},
        respond::answer,
        state::Shared,
        values::{id, is_instant},
        views::{
            Page,
            history::{EndedRequest, Event, Holds},
        },
    },
    service::{
        history::{self, Position, Range},
        page,
    },
};

/// `GET /v1/holds`: the holds of running requests, oldest first. `open` is their number; the first 1,000 are listed.
pub async fn holds(state: Shared, request: HttpRequest) -> HttpResponse {
    let work = async {
        let Sight { caller, only } = auth::sight(&state, &request).await?;
        Query::of(&request, &[])?;
        Ok(Holds::from(history::holds(&state.service, caller.account_id, only).await?))
    };
    answer(&request, work.await)
}

/// A cursor: the time and the id of a request.
pub(in crate::http) fn position(text: &str) -> Result<Position, ApiError> {
    let (at, id) = text.split_once('-').ok_or_else(bad_cursor)?;
    let ended_at = at.parse().ok().map(Timestamp).filter(|at| is_instant(*at)).ok_or_else(bad_cursor)?;
    Ok(Position { ended_at, id: Uuid::parse_str(id).map_err(|_| bad_cursor())? })
}

pub(in crate::http) fn cursor(Position { ended_at, id }: Position) -> String {
    format!("{}-{}", ended_at.0, id.simple())
}

/// `GET /v1/requests`: ended requests, latest end first.
pub async fn requests(state: Shared, request: HttpRequest) -> HttpResponse {
    let work = async {
        let sight = auth::sight(&state, &request).await?;
        let query = Query::of(&request, &["from", "to", "model", "key_id", "member_id", "session", "limit", "cursor"])?;
        let before = query.get("cursor").map(position).transpose()?;
        // Requests that end in this millisecond are listed too.
        let (from, to) = query.range(state.service.now().plus_ms(1))?;
        let (account, from, only) = (sight.caller.account_id, from.unwrap_or(Timestamp(0)), query.only(&sight)?);
        let page = page::Page { before, limit: query.limit()? };
        let found = history::requests(&state.service, Range { account, from, to, only }, page).await?;
        Ok(Page::<EndedRequest>::of(found, cursor))
    };
    answer(&request, work.await)
}

/// `GET /v1/requests/{id}`.
pub async fn request(state: Shared, request: HttpRequest, path: web::Path<String>) -> HttpResponse {
    let work = async {
        let Sight { caller, only } = auth::sight(&state, &request).await?;
        let id = RequestId(id("id", &path, "must be an id")?);
        let ended = history::request(&state.service, caller.account_id, only, id).await?;
        let attempts = history::attempts(&state.service, caller.account_id, &ended).await?;
        let drawn = match only {
            None => history::drawn(&state.service, caller.account_id, id).await?,
            Some(_) => Vec::new(),
        };
        Ok(EndedRequest::from(ended).after(attempts).paid_from(drawn))
    };
    answer(&request, work.await)
}

/// A kind of event, by its name.
pub(super) fn kind(field: &str, name: &str) -> Result<EventKind, ApiError> {
    EventKind::from_name(name).ok_or_else(|| {
        let known = EventKind::ALL.map(EventKind::name).join(", ");
        ApiError::invalid(field, format!("is no kind of event; there are {known}"))
    })
}

/// `GET /v1/events`: the account's events, newest first.
pub async fn events(state: Shared, request: HttpRequest) -> HttpResponse {
    let work = async {
        let caller = auth::scoped(&state, &request, Scope::Read).await?;
        let query = Query::of(&request, &["kind", "limit", "cursor"])?;
        let kind = query.get("kind").map(|name| kind("kind", name)).transpose()?;
        let found = history::events(&state.service, caller.account_id, kind, query.page()?).await?;
        Ok(Page::<Event>::from(found))
    };
    answer(&request, work.await)
}
