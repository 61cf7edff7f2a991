//! `/admin/v1/actors`, `audit`, `clock`: how the process fares, and where its test clock stands.

use actix_web::{HttpRequest, HttpResponse};
use serde::Deserialize;
use utoipa::ToSchema;

use crate::{
    config,
    http::{
        auth,
        error::ApiError,
        respond::{Body, answer, read, read_nothing},
        state::Shared,
        views::operations::{Actors, Audit, Clock},
    },
    service::operations,
};

/// `GET /admin/v1/actors`: each that has a name, all accounts as one, and what each kind handled.
pub async fn actors(state: Shared, request: HttpRequest) -> HttpResponse {
    let work = async {
        auth::operator(&state, &request)?;
        Ok(Actors::from(operations::actors(&state.service)))
    };
    answer(&request, work.await)
}

/// `POST /admin/v1/audit`.
pub async fn audit(state: Shared, request: HttpRequest, body: Body) -> HttpResponse {
    let work = async {
        auth::operator(&state, &request)?;
        read_nothing(&state, body)?;
        Ok(Audit::from(operations::audit(&state.service).await?))
    };
    answer(&request, work.await)
}

/// How far the test clock is to go.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = AdvanceClock)]
pub struct Advance {
    advance_seconds: u32,
}

/// `POST /admin/v1/clock`: moves the test clock forward.
pub async fn clock(state: Shared, request: HttpRequest, body: Body) -> HttpResponse {
    let work = async {
        auth::operator(&state, &request)?;
        if state.settings.clock == config::Clock::System {
            return Err(ApiError::forbidden("The clock only moves by itself; FAREBOX_CLOCK=test lets it be moved."));
        }
        let Advance { advance_seconds } = read(&state, body)?;
        Ok(Clock { now: operations::advance_clock(&state.service, advance_seconds)?.into() })
    };
    answer(&request, work.await)
}
