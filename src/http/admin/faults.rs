//! `/admin/v1/faults`: what tests and developers have actors do. Only builds with the feature `faults` have it.

use std::time::Duration;

use actix_web::{HttpRequest, HttpResponse};
use billing::{class::SizeClass, ids::AccountId};
use serde::Deserialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{
    http::{
        auth,
        error::ApiError,
        respond::{Body, answer, read},
        state::Shared,
        views::operations::Done,
    },
    service::faults,
};

/// Which actor dies of a panic.
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
    /// An actor stands still, and its thread with it: a provider's, or without one that which charges cards.
    Freeze(Frozen),
    /// Engines that write text: they hang in their next step for so many milliseconds, at most ten minutes.
    Hang(u32),
}

/// Which actor stands still, and for how long.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Frozen {
    provider: Option<String>,
    /// For so many milliseconds, at most a minute.
    ms: u32,
}

/// A size class, by its name.
#[derive(Deserialize, ToSchema)]
#[serde(transparent)]
#[schema(value_type = String)]
pub struct ClassName(SizeClass);

/// `POST /admin/v1/faults`: has an actor die of a panic or stand still, or engines hang, where `FAREBOX_FAULTS` allows it.
pub async fn fault(state: Shared, request: HttpRequest, body: Body) -> HttpResponse {
    let work = async {
        auth::operator(&state, &request)?;
        if !state.settings.faults {
            return Err(ApiError::forbidden("Faults are off."));
        }
        let money = |fault| faults::panic(&state.service, fault);
        let found = |found, what| if found { Ok(()) } else { Err(ApiError::not_found(what)) };
        match read(&state, body)? {
            Fault::Account(id) => money(faults::Fault::Account(AccountId(id))),
            Fault::Provider(name) => found(state.gateway.panic_provider(&name), "the provider")?,
            Fault::Pool(ClassName(class)) => found(state.gateway.panic_pool(class), "the pool")?,
            Fault::Freeze(frozen) => found(freeze(&state, frozen), "the provider")?,
            Fault::Hang(ms) => state.gateway.hang_engines(Duration::from_millis(ms.min(600_000).into())),
            Fault::Journal {} => money(faults::Fault::Journal),
            Fault::Payment {} => money(faults::Fault::Payment),
            Fault::Webhook {} => money(faults::Fault::Webhook),
        }
        Ok(Done { done: true })
    };
    answer(&request, work.await)
}

/// Has an actor stand still; whether there is such a one.
fn freeze(state: &Shared, Frozen { provider, ms }: Frozen) -> bool {
    let span = Duration::from_millis(ms.min(60_000).into());
    if let Some(name) = provider {
        return state.gateway.freeze_provider(&name, span);
    }
    faults::freeze_payments(&state.service, span);
    true
}
