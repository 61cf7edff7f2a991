//! `/admin/v1/pools` and `/admin/v1/models/{id}/...`: open models in memory. What operators do to them moves no money;
//! done twice it is as done once.

use actix_web::{HttpRequest, HttpResponse, web};
use serde::Deserialize;
use utoipa::ToSchema;

use super::acts::carried_out;
use crate::{
    gateway::{
        acts::{self, Done},
        pools::{Act, NotDone},
    },
    http::{
        auth,
        error::ApiError,
        respond::{Body, answer, read},
        state::Shared,
        values::reason,
        views::pools::{ModelActed, Pools},
    },
    service::operators::KnownBy,
};

impl From<NotDone> for ApiError {
    fn from(error: NotDone) -> Self {
        match error {
            NotDone::NoModel(error) => error.into(),
            NotDone::Failed(failure) => failure.into(),
            NotDone::Conflict(why) => Self::conflict(why),
        }
    }
}

/// `GET /admin/v1/pools`: devices, and the models that are in memory or were asked for.
pub async fn pools(state: Shared, request: HttpRequest) -> HttpResponse {
    let work = async {
        auth::operator(&state, &request)?;
        Ok(Pools::from(state.gateway.pools_seen()))
    };
    answer(&request, work.await)
}

/// `POST /admin/v1/models/{id}/load`: loads it, and takes it back into service where it was drained.
pub async fn load(state: Shared, request: HttpRequest, id: web::Path<String>, body: Body) -> HttpResponse {
    operate(&state, &request, &id, Act::Load, body).await
}

/// `POST /admin/v1/models/{id}/unload`: takes it out once what runs has ended; the next request loads it again.
pub async fn unload(state: Shared, request: HttpRequest, id: web::Path<String>, body: Body) -> HttpResponse {
    operate(&state, &request, &id, Act::Unload, body).await
}

/// `POST /admin/v1/models/{id}/reload`: loads one that is in memory anew; what runs is finished on the life that there is.
pub async fn reload(state: Shared, request: HttpRequest, id: web::Path<String>, body: Body) -> HttpResponse {
    operate(&state, &request, &id, Act::Reload, body).await
}

/// `POST /admin/v1/models/{id}/pin`: loads it, and never takes it out for another.
pub async fn pin(state: Shared, request: HttpRequest, id: web::Path<String>, body: Body) -> HttpResponse {
    operate(&state, &request, &id, Act::Pin, body).await
}

/// `POST /admin/v1/models/{id}/unpin`: lets it be taken out again.
pub async fn unpin(state: Shared, request: HttpRequest, id: web::Path<String>, body: Body) -> HttpResponse {
    operate(&state, &request, &id, Act::Unpin, body).await
}

/// `POST /admin/v1/models/{id}/drain`: takes it out of service, once what runs has ended.
pub async fn drain(state: Shared, request: HttpRequest, id: web::Path<String>, body: Body) -> HttpResponse {
    operate(&state, &request, &id, Act::Drain, body).await
}

/// Why something is done to a model.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = WhyModel)]
pub struct Why {
    /// For the history.
    reason: Option<String>,
}

async fn operate(state: &Shared, request: &HttpRequest, id: &str, act: Act, body: Body) -> HttpResponse {
    let work = async {
        auth::operator(state, request)?;
        let Why { reason: why } = read(state, body)?;
        let why = why.map(reason).transpose()?.unwrap_or_else(|| "none given".to_owned());
        match carried_out(state, KnownBy::Token, &acts::Act::Model(act, id.to_owned()), why).await? {
            Done::Model(acted) => Ok(ModelActed::of(id, act, acted)),
            Done::Paused(_) | Done::Resumed | Done::Restarted => {
                Err(ApiError::internal(&"an act on a model did another"))
            }
        }
    };
    answer(request, work.await)
}
