//! Inference in OpenAI's shape: chat completions, completions, models. A handler reads the body, has the gateway start the
//! request, and writes what comes: a whole answer, or a stream whose last chunk carries usage and cost.

use std::time::Duration;

use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder, http::header::HeaderName, web};
use billing::{account::FREE_RATE, class::SizeClass, key::Scope};
use bytes::Bytes;
use serde_json::{Value, json};
use uuid::Uuid;
use wire::{
    fields::Fields,
    inference::{Delta, Task, TextRequest},
    openai::{self, Head, Particulars, Receipt},
};

use super::{
    arrival::Arrival,
    auth,
    error::{ApiError, Shape},
    events::{Writer, cut},
    respond::{answer, refuse},
    state::Shared,
};
use crate::{
    catalogue::Model,
    gateway::{
        Gateway,
        plan::Payer,
        quote,
        serve::{self, Done, Job, ServeError, Started, Update},
        stages::Stages,
        target,
    },
};

type Body = Result<Bytes, actix_web::Error>;

/// The longest a request may wait in line, in seconds.
const LONGEST_WAIT: u64 = 60;

/// Names of headers of every answer, read once.
static X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
static X_BALANCE: HeaderName = HeaderName::from_static("x-farebox-balance");
static X_COST: HeaderName = HeaderName::from_static("x-farebox-cost");
static SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");

/// Names of headers that a request may have.
static PROVIDER_KEY: HeaderName = HeaderName::from_static("provider-key");
static X_MAX_COST: HeaderName = HeaderName::from_static("x-max-cost");
static PREFER: HeaderName = HeaderName::from_static("prefer");

impl From<ServeError> for ApiError {
    fn from(error: ServeError) -> Self {
        match error {
            ServeError::NoModel { name, nearest } => Self::model_not_found(&name, &nearest),
            ServeError::Unpriced(name) => Self::unpriced(&name),
            ServeError::Invalid { field, message } => Self::invalid(&field, message),
            ServeError::OutOfScope(scope) => Self::out_of_scope(scope),
            ServeError::Refused(refusal) => refusal.into(),
            ServeError::InLine { refusal, place } => Self::from(refusal).waited(place),
            ServeError::Account(error) => error.into(),
            ServeError::Failed(failure) => failure.into(),
            ServeError::Unsettled(error) => {
                tracing::error!(%error, "a request ran and could not be settled");
                Self::not_ready("The answer could not be settled just now; its hold will be.")
            }
        }
    }
}

/// `POST /v1/chat/completions`.
pub async fn chat(state: Shared, request: HttpRequest, body: Body) -> HttpResponse {
    run(Task::Chat, &state, &request, body).await.unwrap_or_else(|error| refuse(&request, &error))
}

/// `POST /v1/completions`.
pub async fn completions(state: Shared, request: HttpRequest, body: Body) -> HttpResponse {
    run(Task::Completion, &state, &request, body).await.unwrap_or_else(|error| refuse(&request, &error))
}

async fn run(task: Task, state: &Shared, request: &HttpRequest, body: Body) -> Result<HttpResponse, ApiError> {
    let arrival = Arrival::of(request);
    let caller = auth::scoped(state, request, Scope::Inference).await?;
    if !state.is_ready() {
        return Err(ApiError::not_ready("stopping"));
    }
    let parsed = parse(task, request, &whole(state, body)?)?;
    let provider_key = header(request, &PROVIDER_KEY)?;
    let head = Head {
        id: answer_id(task, arrival.id.0),
        created: state.gateway.clock().now().0 / 1_000,
        model: parsed.model.clone(),
        task,
    };
    let (streamed, usage_asked) = (parsed.stream, parsed.include_usage);
    let authorised = arrival.at.elapsed();
    let max_wait = max_wait(request)?;
    let job = Job { request_id: arrival.id, caller, request: parsed, provider_key, max_wait };
    let started = serve::start(&state.gateway, job).await?;
    let Started { admission, rate_remaining, place, .. } = started;
    let frame = Frame { arrival, authorised, admission, rate_remaining, place, usage_asked };
    if !streamed {
        return whole_answer(&head, started, &frame).await;
    }
    stream_answer(head, started, &frame, Duration::from_secs(state.settings.http.heartbeat_seconds)).await
}

fn answer_id(task: Task, id: Uuid) -> String {
    let kind = match task {
        Task::Chat => "chatcmpl-",
        Task::Completion => "cmpl-",
    };
    [kind, id.simple().encode_lower(&mut Uuid::encode_buffer())].concat()
}

/// `POST /v1/quote`: the body of a chat completion, or with `prompt` of a completion.
pub async fn quote(state: Shared, request: HttpRequest, body: Body) -> HttpResponse {
    let work = async {
        let caller = auth::scoped(&state, &request, Scope::Inference).await?;
        let body = whole(&state, body)?;
        let fields = Fields::parse(&body)?;
        let is_completion = fields.present("prompt").is_some() && fields.present("messages").is_none();
        let task = if is_completion { Task::Completion } else { Task::Chat };
        let parsed = parse(task, &request, &body)?;
        let payer = Payer::of(header(&request, &PROVIDER_KEY)?.as_ref());
        let quoted = quote::quote(&state.gateway, caller, &parsed, payer).await?;
        let (held, refusal) = match quoted.admission {
            Ok(held) => (Some(held), None),
            Err(refusal) => {
                let error = ApiError::from(refusal);
                (None, Some(error.body(Shape::Native, &Arrival::of(&request).id.to_string())))
            }
        };
        Ok(json!({
            "object": "quote", "model": quoted.model, "currency": "USD",
            "prompt_tokens": quoted.tokens.map(|(input, _)| input),
            "max_output_tokens": quoted.tokens.map(|(_, output)| output),
            "cost": {"least": quoted.least, "expected": quoted.expected, "most": quoted.most},
            "admitted": held.is_some(), "hold": held, "refusal": refusal, "available": quoted.balance.available,
        }))
    };
    answer(&request, work.await)
}

/// A body, where it came whole.
pub fn whole(state: &Shared, body: Body) -> Result<Bytes, ApiError> {
    body.map_err(|error| match error.as_response_error().status_code().as_u16() {
        413 => ApiError::too_large(state.settings.limits.body_bytes),
        _ => ApiError::invalid("body", error),
    })
}

/// A request from its body and the headers that belong to it.
fn parse(task: Task, request: &HttpRequest, body: &[u8]) -> Result<TextRequest, ApiError> {
    let mut parsed = openai::parse_request(task, body)?;
    if let Some(value) = header(request, &X_MAX_COST)? {
        parsed.max_cost = Some(value);
    }
    Ok(parsed)
}

fn header(request: &HttpRequest, name: &'static HeaderName) -> Result<Option<String>, ApiError> {
    let value = request.headers().get(name).map(|value| value.to_str().map(str::to_owned));
    value.transpose().map_err(|_| ApiError::invalid(name.as_str(), "must be text"))
}

/// How long a client lets its request wait in line: `Prefer: wait=SECONDS` (RFC 7240, section 4.3).
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

/// What the headers of an answer say of its way here.
struct Frame {
    arrival: Arrival,
    authorised: Duration,
    admission: Duration,
    rate_remaining: Option<i64>,
    place: Option<usize>,
    /// Whether the client of a stream expects a chunk of usage without choices.
    usage_asked: bool,
}

impl Frame {
    fn head(&self, response: &mut HttpResponseBuilder, request_id: String, balance: String, stages: Option<Stages>) {
        let mut timing = String::with_capacity(96);
        put_duration(&mut timing, "auth", self.authorised);
        put_duration(&mut timing, ", admission", self.admission);
        match stages {
            Some(Stages::Closed { upstream }) => put_duration(&mut timing, ", upstream", upstream),
            Some(Stages::Open { load, queue, compute }) => {
                put_duration(&mut timing, ", queue", queue);
                put_duration(&mut timing, ", load", load);
                put_duration(&mut timing, ", compute", compute);
            }
            None => {}
        }
        response
            .insert_header((X_REQUEST_ID.clone(), request_id))
            .insert_header((X_BALANCE.clone(), balance))
            .insert_header((SERVER_TIMING.clone(), timing));
        if let Some(place) = self.place {
            response.insert_header(("x-farebox-queue-place", place.to_string()));
        }
        if let Some(remaining) = self.rate_remaining {
            response
                .insert_header(("x-ratelimit-limit-requests", FREE_RATE.to_string()))
                .insert_header(("x-ratelimit-remaining-requests", remaining.to_string()))
                .insert_header(("x-ratelimit-reset-requests", "1s"));
        }
    }
}

/// A stage of `server-timing`, in milliseconds with two decimals.
fn put_duration(timing: &mut String, stage: &str, duration: Duration) {
    let hundredths = u64::try_from(duration.as_micros() / 10).unwrap_or(u64::MAX);
    timing.push_str(stage);
    timing.push_str(";dur=");
    put_number(timing, hundredths / 100);
    timing.push('.');
    put_number(timing, hundredths / 10 % 10);
    put_number(timing, hundredths % 10);
}

fn put_number(text: &mut String, number: u64) {
    if number >= 10 {
        put_number(text, number / 10);
    }
    text.push(char::from(b'0' + (number % 10) as u8));
}

pub(super) fn receipt(done: &Done) -> Receipt {
    let record = &done.record;
    let farebox = Particulars {
        request_id: record.request_id.to_string(),
        provider: record.provider.to_string(),
        base_cost: record.cost.base.normalize().to_string(),
        fee: record.cost.fee.normalize().to_string(),
        estimated: record.estimated,
        balance: done.balance.available.to_string(),
        compute_ms: done.is_open().then_some(record.compute_ms),
        billed_seconds: done.is_open().then_some(record.billed_seconds),
        stop: done.stop.clone(),
    };
    Receipt { cost: record.charged.to_string(), farebox, usage: done.reported.clone() }
}

/// An answer that was cut says for each of its choices that it is not whole.
fn say_cut(deltas: &mut Vec<Delta>) {
    let mut open: Vec<u32> = deltas.iter().filter(|delta| delta.raw.is_none()).map(|delta| delta.choice).collect();
    open.sort_unstable();
    open.dedup();
    open.retain(|choice| !deltas.iter().any(|delta| delta.choice == *choice && delta.finish.is_some()));
    deltas.extend(open.into_iter().map(cut));
}

async fn whole_answer(head: &Head, mut started: Started, frame: &Frame) -> Result<HttpResponse, ApiError> {
    let mut deltas = Vec::new();
    loop {
        match started.updates.next().await {
            Some(Update::Delta(delta)) => deltas.push(*delta),
            Some(Update::Begun(_) | Update::Cost { .. }) => {}
            Some(Update::Done(mut done)) => {
                deltas.append(&mut done.whole);
                if done.is_cut() {
                    say_cut(&mut deltas);
                }
                let receipt = receipt(&done);
                let farebox = &receipt.farebox;
                let mut response = HttpResponse::Ok();
                frame.head(&mut response, farebox.request_id.clone(), farebox.balance.clone(), Some(done.stages));
                response.insert_header((X_COST.clone(), receipt.cost.as_str()));
                if done.is_open() {
                    response.insert_header(("x-farebox-billed-seconds", done.record.billed_seconds.to_string()));
                }
                response.content_type("application/json");
                return Ok(response.body(head.answer(&deltas, &done.usage, &receipt)));
            }
            Some(Update::Failed(error)) => return Err((*error).into()),
            None => return Err(ApiError::internal(&"a request's task ended without an answer")),
        }
    }
}

async fn stream_answer(
    head: Head,
    started: Started,
    frame: &Frame,
    heartbeat: Duration,
) -> Result<HttpResponse, ApiError> {
    let request_id = frame.arrival.id.to_string();
    let balance = started.balance.available.to_string();
    let (updates, usage_asked) = (started.updates, frame.usage_asked);
    let writer = Writer { head, updates, request_id: request_id.clone(), usage_asked, heartbeat };
    let put_head = |response: &mut HttpResponseBuilder, stages| frame.head(response, request_id, balance, stages);
    writer.answer(frame.arrival.at, put_head).await
}

/// A model in the catalogue: what it does and costs, whether this account may use it, and whether anyone may now.
fn model_json(gateway: &Gateway, model: &Model, largest: SizeClass) -> Value {
    let why = target::why_not(gateway, model);
    let mut json = priced_json(model, largest);
    json["available"] = why.is_none().into();
    json["why"] = why.into();
    json
}

fn priced_json(model: &Model, largest: SizeClass) -> Value {
    match model {
        Model::Closed(model) => json!({
            "id": model.id, "object": "model", "created": 0, "owned_by": model.provider,
            "task": if model.task == Task::Chat { "chat" } else { "completion" },
            "context_length": model.context, "max_output": model.max_output, "price": model.price.as_deref(), "locked": false,
        }),
        Model::Open(model) => json!({
            "id": model.id, "object": "model", "created": 0, "owned_by": "farebox", "task": "chat",
            "class": model.class.name(), "parameters": model.parameters, "context_length": model.context,
            "price_per_second": model.class.per_second(), "locked": model.class > largest,
        }),
    }
}

/// `GET /v1/models`.
pub async fn models(state: Shared, request: HttpRequest) -> HttpResponse {
    let work = async {
        let largest = largest_class(&state, &request).await?;
        let catalogue = state.gateway.models.fresh().await;
        let data: Vec<_> = catalogue.models().map(|model| model_json(&state.gateway, model, largest)).collect();
        Ok(json!({"object": "list", "data": data}))
    };
    answer(&request, work.await)
}

/// `GET /v1/models/{id}`.
pub async fn model(state: Shared, request: HttpRequest, id: web::Path<String>) -> HttpResponse {
    let work = async {
        let largest = largest_class(&state, &request).await?;
        let found = state.gateway.models.fresh().await.find(&id);
        let found = found.map_err(|nearest| ApiError::model_not_found(&id, &nearest))?;
        Ok(model_json(&state.gateway, &found, largest))
    };
    answer(&request, work.await)
}

async fn largest_class(state: &Shared, request: &HttpRequest) -> Result<SizeClass, ApiError> {
    let caller = auth::caller(state, request).await?;
    let picture = state.gateway.accounts.ask(caller.account_id, actors::account::Look).await?;
    Ok(picture.balance.tier.largest)
}
