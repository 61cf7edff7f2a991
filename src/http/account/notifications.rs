//! `/v1/notifications`: what the member who has signed in is told of by mail.

use actix_web::{HttpRequest, HttpResponse};
use billing::{ids::KeyId, key::Scope, notice::Choice};
use serde::Deserialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::history::kind;
use crate::{
    http::{
        auth,
        error::ApiError,
        query::Query,
        respond::{Body, answer, read},
        state::Shared,
        views::alerts::Notifications,
    },
    service::people::notices,
};

/// `GET /v1/notifications`.
pub async fn notifications(state: Shared, request: HttpRequest) -> HttpResponse {
    let work = async {
        let (account, person) = auth::member(&state, &request, Scope::Read).await?;
        Query::of(&request, &[])?;
        Ok(Notifications::from(notices::look(&state.service, account, person).await?))
    };
    answer(&request, work.await)
}

/// What to tell a member of by mail.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = SetNotifications)]
pub struct Set {
    /// The kinds of events; none of them: no letters; null: what the role is told of.
    events: Option<Vec<String>>,
    /// The keys whose events are told, by their ids; null: all.
    #[schema(max_items = 1000)]
    keys: Option<Vec<Uuid>>,
}

impl TryFrom<Set> for Option<Choice> {
    type Error = ApiError;

    fn try_from(Set { events, keys }: Set) -> Result<Self, ApiError> {
        let Some(events) = events else {
            return match keys {
                Some(_) => Err(ApiError::invalid("events", "must be there where keys are")),
                None => Ok(None),
            };
        };
        let kind = |(place, name): (usize, &String)| kind(&format!("events[{place}]"), name);
        let kinds = events.iter().enumerate().map(kind).collect::<Result<_, _>>()?;
        Ok(Some(Choice { kinds, keys: keys.map(|keys| keys.into_iter().map(KeyId).collect()) }))
    }
}

/// `PUT /v1/notifications`.
pub async fn set_notifications(state: Shared, request: HttpRequest, body: Body) -> HttpResponse {
    let work = async {
        let (account, person) = auth::member(&state, &request, Scope::Read).await?;
        let choice = Option::<Choice>::try_from(read::<Set>(&state, body)?)?;
        Ok(Notifications::from(notices::choose(&state.service, account, person, choice.as_ref()).await?))
    };
    answer(&request, work.await)
}
