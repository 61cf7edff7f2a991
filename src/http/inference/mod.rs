//! Inference: a handler reads the body in its route's format, has the gateway start the request, and passes its updates
//! to the surface: a whole answer, or a stream whose last chunk has usage and cost.

pub mod background;
pub mod cohere;
pub mod conversations;
mod count;
pub mod fallbacks;
mod forwarded;
pub mod gemini;
mod media;
mod models;
mod quote;
pub mod responses;
pub mod route;
mod status;

use std::{
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};

use actix_web::{
    HttpMessage as _, HttpRequest, HttpResponse, HttpResponseBuilder,
    http::header::{HeaderName, HeaderValue, HttpDate, TryIntoHeaderValue as _},
};
use actors::account::AccountError;
use billing::{ids::RequestId, key::Scope};
use bytes::Bytes;
use futures::FutureExt as _;
use tokio::time::timeout_at;
use uuid::Uuid;
use wire::{
    format::{
        AnswerForm, ClientFormat, WholeWriter,
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
        Answer, Starting, Whole,
        head::{AnswerHead, put_cost, put_request_id},
        sound, stream,
    },
    traced,
};
use crate::{
    catalogue::Model,
    gateway::{
        answers::{LONGEST_SECONDS, Reused},
        serve::{self, Begun, Caller, Job, ServeError, Started},
    },
    idempotency::Asked,
};
pub use count::count_tokens;
use fallbacks::{Answered, Asking, Reached, Try};
pub use media::{image_edits, image_variations, images, speech, transcriptions, translations};
pub use models::{google_model, google_models, model, models, models_of};
pub use quote::quote;
use responses::Keeper;
use route::Missed;
pub use status::status as model_status;

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
            ServeError::NoModel { name, why } => Self::no_model(&name, &why),
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
            ServeError::Failed(failure) => failure.into(),
            ServeError::FailedAndCharged { failure, charge } => {
                let error = Self::from(failure);
                match charge {
                    Some(done) => error.with("cost", done.record.charged.to_string()),
                    None => error,
                }
            }
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
    asked: Request,
    keeper: Option<Arc<Keeper>>,
) -> Result<HttpResponse, ApiError> {
    let arrival = Arrival::of(request);
    if !state.takes_work() {
        return Err(ApiError::not_ready("stopping"));
    }
    let asking = Asking {
        id: arrival.id,
        caller,
        request: asked,
        provider_key: own_key(request)?,
        max_wait: max_wait(request)?,
        max_age: max_age(request)?,
        is_once: is_once(request),
        trace: traced::span(request),
    };
    let authorised = arrival.at.elapsed();
    let attempt = async |Try { job, .. }: Try| {
        let arrival = Arrival { id: job.request_id, ..arrival };
        let (writer, form) = (boxed_writer::<F>(state, &job.request, arrival.id), F::form(&job.request));
        attempt(state, arrival, authorised, job, (writer, form), keeper.as_ref()).await
    };
    let Answered { answer: mut response, model, route } =
        fallbacks::ask(state, asking, attempt).await.map_err(|error| ApiError::from(*error))?;
    if let Some(value) = route.and_then(|route| HeaderValue::from_str(&route).ok()) {
        response.headers_mut().insert(X_ROUTE.clone(), value);
    }
    put_sunset(state, &model, &mut response);
    Ok(response)
}

/// Whether a request runs at most once: under an `Idempotency-Key` it has one record, by which a charged one is known.
fn is_once(request: &HttpRequest) -> bool {
    request.extensions().contains::<Asked>()
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

/// The writer of a request's answer.
fn writer<F: ClientFormat>(state: &Shared, request: &Request, id: RequestId) -> F::Writer {
    let created = state.gateway.clock().now().0 / 1_000;
    F::writer(request, id.0.simple().encode_lower(&mut Uuid::encode_buffer()), created)
}

/// The same where all formats are handled as one.
fn boxed_writer<F: ClientFormat>(state: &Shared, request: &Request, id: RequestId) -> Box<dyn WholeWriter> {
    Box::new(writer::<F>(state, request, id))
}

/// Starts a request. One that allows an earlier answer may wait for an equal one: where its stream would be silent for longer
/// than a heartbeat, the error is the start, which goes on within the stream.
async fn start(
    state: &Shared,
    job: Job,
    arrival: Arrival,
    heartbeat: Option<Duration>,
) -> Result<Result<Started, ServeError>, Starting> {
    let Some(heartbeat) = heartbeat.filter(|_| job.max_age.is_some()) else {
        return Ok(Box::pin(serve::start(&state.gateway, job)).await);
    };
    let gateway = Arc::clone(&state.gateway);
    let mut starting = Box::pin(async move { serve::start(&gateway, job).await });
    let begun = timeout_at((arrival.at + heartbeat).into(), &mut starting).await;
    begun.map_err(|_| starting.map(|started| started.map(|started| started.updates).map_err(Box::new)).boxed_local())
}

/// One attempt to serve a request. Where it fails, nothing was sent.
async fn attempt(
    state: &Shared,
    arrival: Arrival,
    authorised: Duration,
    job: Job,
    (writer, form): (Box<dyn WholeWriter>, AnswerForm),
    keeper: Option<&Arc<Keeper>>,
) -> Result<Reached<HttpResponse>, Missed> {
    let heartbeat = Duration::from_secs(state.settings.http.heartbeat_seconds);
    let started = match start(state, job, arrival, (form == AnswerForm::Events).then_some(heartbeat)).await {
        Ok(started) => started.map_err(Missed::unheld)?,
        Err(starting) => {
            let answer = Answer::of_start(writer, starting, arrival.id);
            let answered =
                stream::answer(answer, arrival.at, heartbeat, |head, _| put_request_id(head, arrival.id)).await;
            return answered.map(|answer| Reached { answer, waited: None }).map_err(Missed::settled);
        }
    };
    let Started { balance, updates, admission, rate_remaining, place, known_cost, cancel: _, reused } = started;
    let head = AnswerHead { arrival, authorised, admission, rate_remaining, place, reused };
    let waited = (!matches!(reused, Some(Reused::Hit(_)))).then_some(admission);
    if let AnswerForm::Sound(media_type) = form {
        let left = balance.available.to_string();
        let response = sound::answer(updates, media_type, |response, begun| {
            head.put(response, left, begun);
            if let Some(cost) = known_cost {
                put_cost(response, &cost.to_string(), None);
            }
        })
        .await;
        return response.map(|answer| Reached { answer, waited }).map_err(Missed::settled);
    }
    let mut answer = Answer::new(writer, updates, head.arrival.id);
    if let Some(keeper) = keeper.cloned() {
        let of_name = Arc::clone(&keeper);
        answer.unless(async move |name| of_name.is_taken(name).await);
        answer.keep(async move |response| keeper.keep(response).await);
    }
    if form == AnswerForm::Events {
        let left = balance.available.to_string();
        let put_head = |response: &mut HttpResponseBuilder, begun| head.put(response, left, begun);
        let answered = stream::answer(answer, head.arrival.at, heartbeat, put_head).await;
        return answered.map(|answer| Reached { answer, waited }).map_err(Missed::settled);
    }
    let Whole { body, media_type, receipt, mut done } = answer.whole().await.map_err(Missed::settled)?;
    let mut response = HttpResponse::Ok();
    let begun = Begun { stages: done.stages, headers: std::mem::take(&mut done.headers) };
    head.put(&mut response, receipt.farebox.balance, Some(begun));
    put_cost(&mut response, &receipt.cost, receipt.farebox.billed_seconds);
    Ok(Reached { answer: response.content_type(media_type).body(body), waited })
}

/// A complete body.
///
/// # Errors
///
/// The body is larger than the limit, or did not arrive completely.
pub fn whole(state: &Shared, request: &HttpRequest, body: Body) -> Result<Bytes, ApiError> {
    body.map_err(|error| match error.as_response_error().status_code().as_u16() {
        413 => ApiError::too_large(state.settings.limits.of_body(request.match_info().as_str())),
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
    let key = header(request, &PROVIDER_KEY)?;
    if key.as_ref().is_some_and(|key| key.trim().is_empty()) {
        return Err(ApiError::invalid(PROVIDER_KEY.as_str(), "is empty: send a key, or leave it out"));
    }
    Ok(key)
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
