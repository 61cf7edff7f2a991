//! `/admin/v1/actors`, `audit`, `clock`, `faults`: how the process fares, and what tests have it do.

use actix_web::{HttpRequest, HttpResponse};
use billing::{class::SizeClass, ids::AccountId};
use serde::Deserialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{
    config,
    http::{
        auth,
        error::ApiError,
        respond::{Body, answer, read},
        state::Shared,
        views::operations::{Actors, Audit, Clock, Done},
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
pub async fn audit(state: Shared, request: HttpRequest) -> HttpResponse {
    let work = async {
        auth::operator(&state, &request)?;
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

/// Which actor panics.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Fault {
    /// An account's.
    Account(Uuid),
    /// A provider's.
    Provider(String),
    /// The journal's writer.
    Journal {},
    /// Who charges cards.
    Payment {},
    /// Who calls owners' webhooks.
    Webhook {},
    /// A size class's pool.
    Pool(ClassName),
}

/// A size class, by its name.
#[derive(Deserialize, ToSchema)]
#[serde(transparent)]
#[schema(value_type = String)]
pub struct ClassName(SizeClass);

/// `POST /admin/v1/faults`: makes an actor panic, where `FAREBOX_FAULTS` allows it.
pub async fn fault(state: Shared, request: HttpRequest, body: Body) -> HttpResponse {
    let work = async {
        auth::operator(&state, &request)?;
        if !state.settings.faults {
            return Err(ApiError::forbidden("Faults are off."));
        }
        let money = |fault| operations::panic(&state.service, fault);
        let found = |found, what| if found { Ok(()) } else { Err(ApiError::not_found(what)) };
        match read(&state, body)? {
            Fault::Account(id) => money(operations::Fault::Account(AccountId(id))),
            Fault::Provider(name) => found(state.gateway.panic_provider(&name), "the provider")?,
            Fault::Pool(ClassName(class)) => found(state.gateway.panic_pool(class), "the pool")?,
            Fault::Journal {} => money(operations::Fault::Journal),
            Fault::Payment {} => money(operations::Fault::Payment),
            Fault::Webhook {} => money(operations::Fault::Webhook),
        }
        Ok(Done { done: true })
    };
    answer(&request, work.await)
}
