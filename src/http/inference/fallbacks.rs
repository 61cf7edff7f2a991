//! The models of a request are asked one after another, by each transport alike: those that an alias stands for, then the
//! request's own `models`, each where the one before is not served and nothing was sent to the client. How one attempt is
//! made and what it answers with is the transport's.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use billing::ids::RequestId;
use traces::Span;
use wire::inference::Request;

use super::route::{Made, Missed, Route};
use crate::{
    catalogue::Model,
    gateway::{
        plan::{OURS, Payer},
        race::Intent,
        serve::{Caller, Job, ServeError},
        ways::ways,
    },
    http::state::Shared,
};

/// A request, and all that its attempts have in common.
pub(in crate::http) struct Asking {
    /// The id of the first attempt.
    pub(in crate::http) id: RequestId,
    pub(in crate::http) caller: Caller,
    pub(in crate::http) request: Request,
    /// The caller's own key at the provider.
    pub(in crate::http) provider_key: Option<String>,
    /// The longest wait in line, and the highest age of an earlier answer.
    pub(in crate::http) max_wait: Duration,
    pub(in crate::http) max_age: Option<Duration>,
    /// Whether the request runs at most once: under an `Idempotency-Key` it has one record, by which a charged one is known.
    pub(in crate::http) is_once: bool,
    /// The span of the request.
    pub(in crate::http) trace: Span,
}

/// One attempt.
pub(in crate::http) struct Try {
    pub(in crate::http) job: Job,
    /// Whether no other model follows: its failure is the request's.
    pub(in crate::http) is_last: bool,
}

/// What an attempt has, once it is known that no other is made.
pub(in crate::http) struct Reached<T> {
    pub(in crate::http) answer: T,
    /// How long it waited to be admitted; `None` for an earlier answer, which tells nothing of its model's speed.
    pub(in crate::http) waited: Option<Duration>,
}

/// The answer of a request.
pub(in crate::http) struct Answered<T> {
    pub(in crate::http) answer: T,
    /// The model that answers.
    pub(in crate::http) model: String,
    /// The models that were tried, where the request's own did not answer.
    pub(in crate::http) route: Option<String>,
}

/// Makes attempts until one is the last.
///
/// # Errors
///
/// That of the last attempt; of the last before it where the key may not use the last one's model.
pub(in crate::http) async fn ask<T>(
    state: &Shared,
    asking: Asking,
    attempt: impl AsyncFn(Try) -> Result<Reached<T>, Missed>,
) -> Result<Answered<T>, Box<ServeError>> {
    let Asking { mut id, caller, request: mut asked, provider_key, max_wait, max_age, is_once, trace } = asking;
    let payer = Payer::of(provider_key.as_ref());
    let ways = ways(&state.gateway, &asked, payer, caller.account_id, Intent::Run).await;
    let alias: Option<Arc<str>> = ways.is_some().then(|| (&*asked.model).into());
    let (of_alias, lane) = ways.map_or_else(Default::default, |ways| (ways.models, ways.lane));
    let mut of_alias = of_alias.into_iter();
    let fallbacks = std::mem::take(&mut asked.fallbacks);
    if let Some(first) = of_alias.next() {
        asked = asked.for_model(first);
    }
    // The alias that the client named stands for its own models alone.
    let own = fallbacks.into_iter().map(|name| (name, None));
    let others = of_alias.map(|name| (name, alias.clone())).chain(own).filter(|_| !is_once).collect();
    let others = if provider_key.is_some() { of_same_provider(state, &asked.model, others).await } else { others };
    let (mut models, mut route) = (others.into_iter(), Route::of(alias.is_some()));
    let mut alias = alias;
    loop {
        let next = models.next().map(|(name, alias)| (asked.for_model(name), alias));
        let began = Instant::now();
        let (model, at) = (asked.model.clone(), state.gateway.clock().now());
        let (attempts, provider_key) = (route.attempts(), provider_key.clone());
        let trace = trace.clone();
        let job =
            Job { request_id: id, caller, request: asked, alias, attempts, provider_key, max_wait, max_age, trace };
        match (attempt(Try { job, is_last: next.is_none() }).await, next) {
            (Err(missed), Some(next)) if route.may_go_on(&missed.error) => {
                if let (Some(lane), true) = (lane, missed.was_asked()) {
                    state.gateway.race.failed(lane, &model, began.elapsed());
                }
                let made = Made { id, provider: provider_of(state, &model), model, at };
                route.missed(made, missed, state.gateway.clock().now());
                (asked, alias) = next;
                id = state.gateway.accounts.running().new_id();
            }
            (Err(missed), _) => return Err(route.last(missed).error),
            (Ok(Reached { answer, waited }), _) => {
                if let (Some(lane), Some(waited)) = (lane, waited) {
                    let took = began.elapsed().saturating_sub(waited);
                    state.gateway.race.answered(lane, &model, took, Instant::now());
                }
                return Ok(Answered { answer, route: route.to(&model), model });
            }
        }
    }
}

/// A model's provider, where there is such a model.
fn provider_of(state: &Shared, model: &str) -> Option<Arc<str>> {
    let models = &state.gateway.models;
    match models.known().find(models.aliases().model(model)).ok()? {
        Model::Closed(closed) => Some(Arc::clone(&closed.provider)),
        Model::Open(_) => Some(OURS.into()),
    }
}

/// A model's name, and the alias that stands for it.
type Named = (String, Option<Arc<str>>);

/// Of the models that may follow another one, those of its provider: the caller's own key is a secret that no other
/// provider gets.
async fn of_same_provider(state: &Shared, first: &str, others: Vec<Named>) -> Vec<Named> {
    let Ok((Model::Closed(first), _)) = state.gateway.models.find(first).await else { return Vec::new() };
    let mut same = Vec::new();
    for named in others {
        if let Ok((Model::Closed(model), _)) = state.gateway.models.find(&named.0).await
            && model.provider == first.provider
        {
            same.push(named);
        }
    }
    same
}
