//! Inference: a handler reads the body in its route's format, has the gateway start the request, and passes its updates
//! to the surface: a whole answer, or a stream whose last chunk has usage and cost.

pub mod background;
pub mod cohere;
mod count;
mod forwarded;
pub mod gemini;
mod media;
mod models;
mod quote;
pub mod responses;
mod route;

use std::{
    sync::Arc,
    time::{Duration, Instant, UNIX_EPOCH},
};

use actix_web::{
    HttpMessage as _, HttpRequest, HttpResponse, HttpResponseBuilder,
    http::header::{AGE, HeaderName, HeaderValue, HttpDate, TryIntoHeaderValue as _},
};
use actors::account::AccountError;
use billing::{ids::RequestId, key::Scope};
use bytes::Bytes;
use uuid::Uuid;
use wire::{
    format::{
        AnswerForm, ClientFormat,
        anthropic::Messages,
        openai::{Chat, Completions, Embeddings},
        rerank::Reranking,
    },
    inference::Request,
};

use super::{
    arrival::Arrival,
    auth,
    error::ApiError,
    respond::refuse,
    state::Shared,
    surface::{
        Answer, Whole,
        head::{AnswerHead, put_cost},
        sound, stream,
    },
};
use crate::{
    catalogue::Model,
    gateway::{
        answers::LONGEST_SECONDS,
        plan::{OURS, Payer},
        race::Intent,
        serve::{self, Begun, Caller, Job, ServeError, Started},
        ways::ways,
    },
    idempotency::Asked,
};
pub use count::count_tokens;
pub use media::{images, speech, transcriptions, translations};
pub use models::{google_model, google_models, model, models};
pub use quote::quote;
use responses::Keeper;
use route::{Made, Missed, Route};

/// A body, or why it did not arrive completely.
type Body = Result<Bytes, actix_web::Error>;

/// The highest age of an earlier answer that its client allows.
fn max_age(request: &HttpRequest) -> Result<Option<Duration>, ApiError> {
    let Some(value) = header(request, &X_CACHE)? else { return Ok(None) };
    let seconds = value.trim().parse().ok().filter(|seconds| (1..=LONGEST_SECONDS).contains(seconds));
    let message =
        format!("must be a whole number of seconds from 1 to {LONGEST_SECONDS}: the age that an answer may have");
    seconds
        .map(|seconds| Some(Duration::from_secs(seconds)))
        .ok_or_else(|| ApiError::invalid(X_CACHE.as_str(), message))
}

/// The longest that a request may wait in line, in seconds.
const LONGEST_WAIT: u64 = 60;

/// The names of headers that a request may have.
static PROVIDER_KEY: HeaderName = HeaderName::from_static("provider-key");
static X_MAX_COST: HeaderName = HeaderName::from_static("x-max-cost");
static PREFER: HeaderName = HeaderName::from_static("prefer");
static X_CACHE: HeaderName = HeaderName::from_static("x-farebox-cache");
/// When the provider ends the model.
static SUNSET: HeaderName = HeaderName::from_static("sunset");
/// The models that were tried, in an answer that the first did not give.
static X_ROUTE: HeaderName = HeaderName::from_static("x-farebox-route");

impl From<ServeError> for ApiError {
    fn from(error: ServeError) -> Self {
        match error {
            ServeError::NoModel { name, nearest } => Self::model_not_found(&name, &nearest),
            ServeError::Unpriced(name) => Self::unpriced(&name),
            ServeError::Invalid { field, message } => Self::invalid(&field, message),
            ServeError::OutOfScope(scope) => Self::out_of_scope(scope),
            ServeError::Refused(refusal) => refusal.into(),
            ServeError::InLine { refusal, place } => Self::from(refusal).waited(place),
            // A hold that was placed without an answer is released.
            ServeError::Account(AccountError::Unavailable(_)) => {
                Self::not_ready("The ledger can't be reached just now. Nothing was charged.")
            }
            ServeError::Account(error) => error.into(),
            ServeError::Failed(failure) | ServeError::FailedAndCharged(failure) => failure.into(),
            ServeError::Unsettled(error) => {
                tracing::error!(%error, "a request ran and could not be settled");
                Self::not_ready("The answer could not be settled just now; its hold will be.")
            }
        }
    }
}

/// `POST /v1/chat/completions`.
pub async fn chat(state: Shared, request: HttpRequest, body: Body) -> HttpResponse {
    run::<Chat>(&state, &request, body).await.unwrap_or_else(|error| refuse(&request, &error))
}

/// `POST /v1/completions`.
pub async fn completions(state: Shared, request: HttpRequest, body: Body) -> HttpResponse {
    run::<Completions>(&state, &request, body).await.unwrap_or_else(|error| refuse(&request, &error))
}

/// `POST /v1/messages`.
pub async fn messages(state: Shared, request: HttpRequest, body: Body) -> HttpResponse {
    run::<Messages>(&state, &request, body).await.unwrap_or_else(|error| refuse(&request, &error))
}

/// `POST /v1/embeddings`.
pub async fn embeddings(state: Shared, request: HttpRequest, body: Body) -> HttpResponse {
    run::<Embeddings>(&state, &request, body).await.unwrap_or_else(|error| refuse(&request, &error))
}

/// `POST /v1/rerank`.
pub async fn rerank(state: Shared, request: HttpRequest, body: Body) -> HttpResponse {
    run::<Reranking>(&state, &request, body).await.unwrap_or_else(|error| refuse(&request, &error))
}

async fn run<F: ClientFormat>(state: &Shared, request: &HttpRequest, body: Body) -> Result<HttpResponse, ApiError> {
    run_by::<F>(state, request, body, |body| read::<F>(request, body)).await
}

/// Runs a request that `read` reads from its body.
async fn run_by<F: ClientFormat>(
    state: &Shared,
    request: &HttpRequest,
    body: Body,
    read: impl Fn(&[u8]) -> Result<Request, ApiError>,
) -> Result<HttpResponse, ApiError> {
    let caller = auth::scoped(state, request, Scope::Inference).await?;
    let asked = read(&whole(state, request, body)?)?;
    run_read::<F>(state, request, caller, asked, None).await
}

/// Runs a request that was read. The attempt that answers has its answer kept.
async fn run_read<F: ClientFormat>(
    state: &Shared,
    request: &HttpRequest,
    caller: Caller,
    mut asked: Request,
    keeper: Option<Arc<Keeper>>,
) -> Result<HttpResponse, ApiError> {
    let mut arrival = Arrival::of(request);
    if !state.is_ready() {
        return Err(ApiError::not_ready("stopping"));
    }
    // Under an `Idempotency-Key` a request has one record, by which a charged one is known.
    let is_keyed = request.extensions().contains::<Asked>();
    let provider_key = own_key(request)?;
    let payer = Payer::of(provider_key.as_ref());
    let ways = ways(&state.gateway, &asked, payer, caller.account_id, Intent::Run).await;
    let is_of_alias = ways.is_some();
    let (of_alias, lane) = ways.map_or_else(Default::default, |ways| (ways.models, ways.lane));
    let mut of_alias = of_alias.into_iter();
    let fallbacks = std::mem::take(&mut asked.fallbacks);
    if let Some(first) = of_alias.next() {
        asked = asked.for_model(first);
    }
    let others = of_alias.chain(fallbacks).filter(|_| !is_keyed).collect();
    let (max_wait, max_age, authorised) = (max_wait(request)?, max_age(request)?, arrival.at.elapsed());
    let others = if provider_key.is_some() { of_same_provider(state, &asked.model, others).await } else { others };
    let (mut models, mut route) = (others.into_iter(), Route::of(is_of_alias));
    loop {
        let next = models.next().map(|name| asked.for_model(name));
        let began = Instant::now();
        let (model, at) = (asked.model.clone(), state.gateway.clock().now());
        let (attempts, provider_key) = (route.attempts(), provider_key.clone());
        let job = Job { request_id: arrival.id, caller, request: asked, attempts, provider_key, max_wait, max_age };
        match (attempt::<F>(state, arrival, authorised, job, keeper.as_ref()).await, next) {
            (Err(missed), Some(next)) if route.may_go_on(&missed.error) => {
                if let (Some(lane), true) = (lane, missed.was_asked()) {
                    state.gateway.race.failed(lane, &model, began.elapsed());
                }
                let made = Made { id: arrival.id, provider: provider_of(state, &model), model, at };
                route.missed(made, missed, state.gateway.clock().now());
                asked = next;
                arrival.id = RequestId(Uuid::now_v7());
            }
            (Err(missed), _) => return Err((*missed.error).into()),
            (Ok((mut response, waited)), _) => {
                // An earlier answer tells nothing of its model's speed.
                if let Some(lane) = lane.filter(|_| !response.headers().contains_key(AGE)) {
                    let took = began.elapsed().saturating_sub(waited);
                    state.gateway.race.answered(lane, &model, took, Instant::now());
                }
                if let Some(value) = route.to(&model).and_then(|route| HeaderValue::from_str(&route).ok()) {
                    response.headers_mut().insert(X_ROUTE.clone(), value);
                }
                put_sunset(state, &model, &mut response);
                return Ok(response);
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

/// Says when the provider ends the model that answers, where that is known (RFC 8594).
fn put_sunset(state: &Shared, model: &str, response: &mut HttpResponse) {
    let models = &state.gateway.models;
    if let Ok(Model::Closed(model)) = models.known().find(models.aliases().model(model))
        && let Some(ends) = model.about.ends
        && let Ok(ms) = u64::try_from(ends.0)
        && let Ok(value) = HttpDate::from(UNIX_EPOCH + Duration::from_millis(ms)).try_into_value()
    {
        response.headers_mut().insert(SUNSET.clone(), value);
    }
}

/// Of the models that may follow another one, those of its provider: the caller's own key is a secret that no other
/// provider gets.
async fn of_same_provider(state: &Shared, first: &str, others: Vec<String>) -> Vec<String> {
    let Ok((Model::Closed(first), _)) = state.gateway.models.find(first).await else { return Vec::new() };
    let mut same = Vec::new();
    for name in others {
        if let Ok((Model::Closed(model), _)) = state.gateway.models.find(&name).await
            && model.provider == first.provider
        {
            same.push(name);
        }
    }
    same
}

/// The writer of a request's answer.
fn writer<F: ClientFormat>(state: &Shared, request: &Request, id: RequestId) -> F::Writer {
    let created = state.gateway.clock().now().0 / 1_000;
    F::writer(request, id.0.simple().encode_lower(&mut Uuid::encode_buffer()), created)
}

/// One attempt to serve a request: its answer, and how long it waited to be admitted. Where it fails, nothing was sent.
async fn attempt<F: ClientFormat>(
    state: &Shared,
    arrival: Arrival,
    authorised: Duration,
    job: Job,
    keeper: Option<&Arc<Keeper>>,
) -> Result<(HttpResponse, Duration), Missed> {
    let writer = writer::<F>(state, &job.request, arrival.id);
    let form = F::form(&job.request);
    let Started { balance, updates, admission, rate_remaining, place, known_cost, cancel: _, reused } =
        Box::pin(serve::start(&state.gateway, job)).await.map_err(Missed::unheld)?;
    let head = AnswerHead { arrival, authorised, admission, rate_remaining, place, reused };
    if let AnswerForm::Sound(media_type) = form {
        let left = balance.available.to_string();
        let response = sound::answer(updates, media_type, |response, begun| {
            head.put(response, left, begun);
            if let Some(cost) = known_cost {
                put_cost(response, &cost.to_string(), None);
            }
        })
        .await;
        return response.map(|response| (response, admission)).map_err(Missed::settled);
    }
    let mut answer = Answer::new(writer, updates, head.arrival.id);
    if let Some(keeper) = keeper.cloned() {
        answer.keep(async move |response| keeper.keep(response).await);
    }
    if form == AnswerForm::Events {
        let heartbeat = Duration::from_secs(state.settings.http.heartbeat_seconds);
        let left = balance.available.to_string();
        let put_head = |response: &mut HttpResponseBuilder, begun| head.put(response, left, begun);
        let answered = stream::answer(answer, head.arrival.at, heartbeat, put_head).await;
        return answered.map(|response| (response, admission)).map_err(Missed::settled);
    }
    let Whole { body, media_type, receipt, mut done } = answer.whole().await.map_err(Missed::settled)?;
    let mut response = HttpResponse::Ok();
    let begun = Begun { stages: done.stages, headers: std::mem::take(&mut done.headers) };
    head.put(&mut response, receipt.farebox.balance, Some(begun));
    put_cost(&mut response, &receipt.cost, receipt.farebox.billed_seconds);
    Ok((response.content_type(media_type).body(body), admission))
}

/// A complete body.
///
/// # Errors
///
/// The body is larger than the limit, or did not arrive completely.
pub fn whole(state: &Shared, request: &HttpRequest, body: Body) -> Result<Bytes, ApiError> {
    body.map_err(|error| match error.as_response_error().status_code().as_u16() {
        413 => ApiError::too_large(state.settings.limits.of_body(request.path())),
        _ => ApiError::invalid("body", error),
    })
}

/// Reads a request from its body and the headers that belong to it.
fn read<F: ClientFormat>(request: &HttpRequest, body: &[u8]) -> Result<Request, ApiError> {
    with_headers(request, F::read(body)?)
}

/// A request that was read from its body, with the headers that belong to it.
fn with_headers(request: &HttpRequest, mut parsed: Request) -> Result<Request, ApiError> {
    if let Some(value) = header(request, &X_MAX_COST)? {
        parsed.max_cost = Some(value);
    }
    forward(request, &mut parsed);
    Ok(parsed)
}

/// Adds the headers and the query that a provider of the same format gets.
fn forward(request: &HttpRequest, parsed: &mut Request) {
    parsed.source.headers = forwarded::of(request.headers(), request.headers().contains_key(&PROVIDER_KEY));
    parsed.source.query = Some(request.query_string()).filter(|query| !query.is_empty()).map(Box::from);
}

/// The caller's own key at the provider, if it sent one.
fn own_key(request: &HttpRequest) -> Result<Option<String>, ApiError> {
    header(request, &PROVIDER_KEY)
}

fn header(request: &HttpRequest, name: &'static HeaderName) -> Result<Option<String>, ApiError> {
    let value = request.headers().get(name).map(|value| value.to_str().map(str::to_owned));
    value.transpose().map_err(|_| ApiError::invalid(name.as_str(), "must be text"))
}

/// The longest that a request may wait in line, by its client: `Prefer: wait=SECONDS` (RFC 7240, section 4.3).
fn max_wait(request: &HttpRequest) -> Result<Duration, ApiError> {
    let Some(prefer) = header(request, &PREFER)? else { return Ok(Duration::ZERO) };
    let wait = prefer.split([',', ';']).filter_map(|preference| preference.trim().split_once('=')).find_map(
        |(name, value)| name.trim().eq_ignore_ascii_case("wait").then(|| value.trim().trim_matches('"').to_owned()),
    );
    // Other preferences may be ignored.
    let Some(wait) = wait else { return Ok(Duration::ZERO) };
    let seconds = wait.parse().ok().filter(|seconds| *seconds <= LONGEST_WAIT);
    let message = format!("wait must be a whole number of seconds from 0 to {LONGEST_WAIT}");
    seconds.map(Duration::from_secs).ok_or_else(|| ApiError::invalid("prefer", message))
}
