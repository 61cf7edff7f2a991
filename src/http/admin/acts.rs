//! `/admin/v1/providers/{name}/pause` and `resume`, `/admin/v1/actors/restart`, and `/admin/v1/operations`: what operators do to
//! what runs models, and what they did. None of it moves money, and it is kept beside the ledger's log.

use actix_web::{HttpRequest, HttpResponse, web};
use serde::Deserialize;
use utoipa::ToSchema;

use crate::{
    gateway::{
        acts::{Act, Done},
        pools,
    },
    http::{
        auth,
        error::ApiError,
        query::Query,
        respond::{Body, answer, read},
        state::{Shared, State},
        values::reason,
        views::{
            Page,
            acts::{Acted, Operation},
        },
    },
    service::operators::{self, Asked, KnownBy},
};

/// Why something is done.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Reason)]
pub struct Why {
    /// For the history.
    pub(super) reason: String,
}

/// An actor to restart.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = RestartActor)]
pub struct Wanted {
    /// `sweeper`, `webhook`, `projector`, `payment`; `provider` and its name, `pool` and its class, or one of these two words
    /// alone for all; `engine` and its model; or `account` and its id.
    actor: String,
    /// For the history.
    reason: String,
}

/// The act of a name, on what is named.
///
/// # Errors
///
/// There is no such act, or it is not for that.
pub(in crate::http) fn act_of(name: &str, subject: &str) -> Result<Act, ApiError> {
    if subject.is_empty() {
        return Err(ApiError::invalid("subject", "must name a model, a provider or an actor"));
    }
    let of_model = |act| Ok(Act::Model(act, subject.to_owned()));
    match name {
        "load" => of_model(pools::Act::Load),
        "unload" => of_model(pools::Act::Unload),
        "reload" => of_model(pools::Act::Reload),
        "pin" => of_model(pools::Act::Pin),
        "unpin" => of_model(pools::Act::Unpin),
        "drain" => of_model(pools::Act::Drain),
        "pause" => Ok(Act::Pause(subject.to_owned())),
        "resume" => Ok(Act::Resume(subject.to_owned())),
        "restart" => Act::restart(subject).ok_or_else(|| {
            ApiError::invalid(
                "actor",
                "must be a kind of actor, and its name where there are several: \"provider openai\"",
            )
        }),
        _ => Err(ApiError::invalid(
            "act",
            "must be one of load, unload, reload, pin, unpin, drain, pause, resume, restart",
        )),
    }
}

/// What came of an act, in words.
pub(in crate::http) fn says(done: Done) -> &'static str {
    match done {
        Done::Model(_) => "done",
        Done::Paused(0) => "paused",
        Done::Paused(_) => "finishing",
        Done::Resumed => "resumed",
        Done::Restarted => "restarted",
    }
}

/// `POST /admin/v1/providers/{name}/pause`: it is called no more; what runs there goes on.
pub async fn pause(state: Shared, request: HttpRequest, name: web::Path<String>, body: Body) -> HttpResponse {
    carry_out(&state, &request, Act::Pause(name.into_inner()), body).await
}

/// `POST /admin/v1/providers/{name}/resume`: it is called again.
pub async fn resume(state: Shared, request: HttpRequest, name: web::Path<String>, body: Body) -> HttpResponse {
    carry_out(&state, &request, Act::Resume(name.into_inner()), body).await
}

async fn carry_out(state: &Shared, request: &HttpRequest, act: Act, body: Body) -> HttpResponse {
    let work = async {
        auth::operator(state, request)?;
        let Why { reason: why } = read(state, body)?;
        let done = carried_out(state, KnownBy::Token, &act, reason(why)?).await?;
        Ok(Acted::of(&act, done))
    };
    answer(request, work.await)
}

/// Has the gateway do what an operator asks for, and keeps that it was asked.
///
/// # Errors
///
/// It was not done.
pub(in crate::http) async fn carried_out(
    state: &State,
    known_by: KnownBy,
    act: &Act,
    reason: String,
) -> Result<Done, ApiError> {
    let done = state.gateway.carry_out(act, &reason).await;
    let node = state.cluster.as_ref().map(|cluster| cluster.me().0);
    let failed = done.as_ref().err().map(ToString::to_string);
    let asked = Asked { node, known_by, act: act.name(), subject: act.subject(), reason, failed };
    operators::keep(&state.service, asked).await;
    Ok(done?)
}

/// `POST /admin/v1/actors/restart`: a new life takes an actor's place, once it has done what it was asked before.
pub async fn restart(state: Shared, request: HttpRequest, body: Body) -> HttpResponse {
    let work = async {
        auth::operator(&state, &request)?;
        let Wanted { actor, reason: why } = read(&state, body)?;
        let act = act_of("restart", &actor)?;
        let done = carried_out(&state, KnownBy::Token, &act, reason(why)?).await?;
        Ok(Acted::of(&act, done))
    };
    answer(&request, work.await)
}

/// `GET /admin/v1/operations`: what operators did to models, providers and actors, at all nodes.
pub async fn operations(state: Shared, request: HttpRequest) -> HttpResponse {
    let work = async {
        auth::operator(&state, &request)?;
        let page = Query::of(&request, &["limit", "cursor"])?.page()?;
        Ok(Page::<Operation>::from(operators::list(&state.service, page).await?))
    };
    answer(&request, work.await)
}
