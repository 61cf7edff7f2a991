//! `/admin/v1/pools` and `/admin/v1/models/{id}/...`: open models in memory. What operators do to them moves no money and
//! does not outlast the process, so it is told in the log alone; done twice it is as done once.

use actix_web::{HttpRequest, HttpResponse, web};

use crate::{
    gateway::pools::{Act, NotDone},
    http::{
        auth,
        error::ApiError,
        respond::answer,
        state::Shared,
        views::pools::{ModelActed, Pools},
    },
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
pub async fn load(state: Shared, request: HttpRequest, id: web::Path<String>) -> HttpResponse {
    operate(&state, &request, &id, Act::Load).await
}

/// `POST /admin/v1/models/{id}/unload`: takes it out once what runs has ended; the next request loads it again.
pub async fn unload(state: Shared, request: HttpRequest, id: web::Path<String>) -> HttpResponse {
    operate(&state, &request, &id, Act::Unload).await
}

/// `POST /admin/v1/models/{id}/pin`: loads it, and never takes it out for another.
pub async fn pin(state: Shared, request: HttpRequest, id: web::Path<String>) -> HttpResponse {
    operate(&state, &request, &id, Act::Pin).await
}

/// `POST /admin/v1/models/{id}/unpin`: lets it be taken out again.
pub async fn unpin(state: Shared, request: HttpRequest, id: web::Path<String>) -> HttpResponse {
    operate(&state, &request, &id, Act::Unpin).await
}

/// `POST /admin/v1/models/{id}/drain`: takes it out of service, once what runs has ended.
pub async fn drain(state: Shared, request: HttpRequest, id: web::Path<String>) -> HttpResponse {
    operate(&state, &request, &id, Act::Drain).await
}

async fn operate(state: &Shared, request: &HttpRequest, id: &str, act: Act) -> HttpResponse {
    let work = async {
        auth::operator(state, request)?;
        let acted = state.gateway.operate(act, id).await?;
        Ok(ModelActed::of(id, act, acted))
    };
    answer(request, work.await)
}
