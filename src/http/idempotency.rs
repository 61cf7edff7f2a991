//! `Idempotency-Key` on every POST: the table of routes makes POST routes with [`post`] or [`act`]. A request without
//! the header goes straight to its handler. A request with it runs in a task of its own, which records the answer while
//! it is sent, and goes on when the client leaves. The rules are in [`crate::idempotency`].

use std::{
    pin::Pin,
    time::{Duration, Instant},
};

use actix_web::{
    FromRequest, Handler, HttpMessage, HttpRequest, HttpResponse, Resource, Responder,
    body::{BoxBody, MessageBody},
    dev::{Payload, ResponseHead},
    guard,
    http::{
        StatusCode,
        header::{CONTENT_TYPE, HeaderName, HeaderValue},
    },
    web,
};
use bytes::Bytes;
use futures::{future::LocalBoxFuture, stream};
use tokio::sync::{mpsc, oneshot};
use wire::{multipart, sse};

use super::{arrival::Arrival, auth, error::ApiError, inference, respond::refuse, routes::wrong_method, state::Shared};
use crate::{
    gateway::{room::Share, watch::FREE},
    idempotency::{
        Asked, Call, Holder, KeptAnswer, Key, MEANINGFUL, Recording, Repeat, Whole, is_kept_header,
        store::{Begun, FinishedRequest, First},
    },
};

/// The header.
const HEADER: HeaderName = HeaderName::from_static("idempotency-key");
/// The header of replayed answers.
pub(super) const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");
/// The most pieces of a stream that wait for a slow reader. Few, because a piece may be as large as an answer.
const PIECES: usize = 2;
/// How long an answer is recorded after its client has left.
const LEFT_FOR: Duration = Duration::from_mins(10);

type Body = Result<Bytes, actix_web::Error>;

/// A path with POST, with or without an `Idempotency-Key`. Other methods are added with `route`.
pub fn post<F, Args>(path: &str, handler: F) -> Resource
where
    F: Handler<Args>,
    F::Output: Responder + 'static,
    Args: FromRequest + 'static,
{
    resource(path, handler, Repeat::Anew)
}

/// A path with POST for an act ([`crate::service::acts`]): the request's id shows whether it was carried out, so that a
/// retry after a crash is answered from the ledger.
pub fn act<F, Args>(path: &str, handler: F) -> Resource
where
    F: Handler<Args>,
    F::Output: Responder + 'static,
    Args: FromRequest + 'static,
{
    resource(path, handler, Repeat::Resumed)
}

fn resource<F, Args>(path: &str, handler: F, repeat: Repeat) -> Resource
where
    F: Handler<Args>,
    F::Output: Responder + 'static,
    Args: FromRequest + 'static,
{
    let plain = handler.clone();
    let keyed = move |state: Shared, request: HttpRequest, body: Body| {
        let handler = handler.clone();
        let handle: Handle = Box::new(|request, body| Box::pin(handled(handler, request, body)));
        async move {
            let answered = once(handle, repeat, &state, &request, body).await;
            answered.unwrap_or_else(|error| refuse(&request, &error))
        }
    };
    let has_key = guard::fn_guard(|context| context.head().headers().contains_key(&HEADER));
    web::resource(path)
        .route(web::post().guard(has_key).to(keyed))
        .route(web::post().to(plain))
        .default_service(wrong_method())
}

/// A route's handler with its request and body still to come.
type Handle = Box<dyn FnOnce(HttpRequest, Bytes) -> LocalBoxFuture<'static, HttpResponse>>;

/// Calls a handler.
async fn handled<F, Args>(handler: F, request: HttpRequest, body: Bytes) -> HttpResponse
where
    F: Handler<Args>,
    F::Output: Responder + 'static,
    Args: FromRequest + 'static,
{
    let mut payload = Payload::from(body);
    match Args::from_request(&request, &mut payload).await {
        Ok(args) => handler.call(args).await.respond_to(&request).map_into_boxed_body(),
        Err(error) => HttpResponse::from_error(error),
    }
}

/// Runs a handler, or replays the earlier answer.
async fn once(
    handle: Handle,
    repeat: Repeat,
    state: &Shared,
    request: &HttpRequest,
    body: Body,
) -> Result<HttpResponse, ApiError> {
    let holder = holder(state, request).await?;
    let key = key(request)?;
    let body = inference::whole(state, request, body)?;
    // A client writes the same form anew each time, with another separator.
    let kind = request.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let same = multipart::without_boundary(kind, &body);
    let call = Call {
        method: request.method().as_str(),
        // As the routes decode it: `%61dmin` is `admin`.
        path: request.match_info().as_str(),
        query: request.query_string(),
        headers: MEANINGFUL.map(|name| request.headers().get(name).map(HeaderValue::as_bytes)),
        body: &same,
    };
    let asked = Asked::new(holder, &key, repeat, call);
    let secret = asked.clone();
    match state.idempotency.begin(asked, Arrival::of(request).id).await? {
        Begun::Replay(answer) => {
            metrics::counter!("farebox_idempotent_requests_total", "outcome" => "replayed").increment(1);
            replay(state, &answer)
        }
        Begun::First(first) => {
            metrics::counter!("farebox_idempotent_requests_total", "outcome" => "run").increment(1);
            Arrival::resumed(request, first.request_id(), first.life());
            request.extensions_mut().insert(secret);
            let (head, answer) = oneshot::channel();
            // The task outlives the connection, so that a retry finds the answer.
            actix_web::rt::spawn(run(handle(request.clone(), body), state.clone(), first, head));
            answer.await.map_err(|_| ApiError::internal(&"a request's handler died"))
        }
    }
}

/// The holder of the request's idempotency keys.
async fn holder(state: &Shared, request: &HttpRequest) -> Result<Holder, ApiError> {
    if request.match_info().as_str().starts_with("/admin/") {
        auth::operator(state, request)?;
        return Ok(Holder::Operator);
    }
    auth::holder(state, request).await
}

fn key(request: &HttpRequest) -> Result<Key, ApiError> {
    let bad = |message: &dyn std::fmt::Display| ApiError::invalid(HEADER.as_str(), message);
    let mut values = request.headers().get_all(HEADER);
    match (values.next(), values.next()) {
        (Some(value), None) => Key::parse(value.as_bytes()).map_err(|error| bad(&error)),
        _ => Err(bad(&"must be sent once")),
    }
}

/// The earlier answer. Until it is sent, it takes its share of the room of unread answers. Where there is no room, the
/// client may ask again.
fn replay(state: &Shared, answer: &KeptAnswer) -> Result<HttpResponse, ApiError> {
    let beyond = answer.body.len().saturating_sub(FREE);
    let share = state.gateway.unread.take(beyond);
    let share = share.ok_or_else(|| ApiError::overloaded("Too many answers wait for their readers; ask again."))?;
    let status = StatusCode::from_u16(answer.status).map_err(|error| ApiError::internal(&error))?;
    let mut response = HttpResponse::build(status);
    for (name, value) in &answer.headers {
        response.append_header((name.as_str(), value.as_str()));
    }
    response.insert_header((REPLAYED, "true"));
    Ok(response.body(Bytes::from_owner(Replayed { body: answer.body.clone(), _share: share })))
}

/// A body and its share of the room.
struct Replayed {
    body: Bytes,
    _share: Share,
}

impl AsRef<[u8]> for Replayed {
    fn as_ref(&self) -> &[u8] {
        &self.body
    }
}

/// Runs the handler, and hands its answer on when it may be sent.
async fn run(
    answer: LocalBoxFuture<'static, HttpResponse>,
    state: Shared,
    first: First,
    head: oneshot::Sender<HttpResponse>,
) {
    let response = answer.await;
    let (response, body) = response.into_parts();
    let (status, headers) = (response.status().as_u16(), kept_headers(response.head()));
    let mut recording = state.idempotency.recording();
    match body.try_into_bytes() {
        Ok(body) => {
            recording.push(&body);
            let finished = FinishedRequest { status, headers, body: recording.end(), whole: Whole::Yes };
            state.idempotency.finish(first, finished).await;
            // A client that left gets the answer when it retries.
            let _ = head.send(response.set_body(BoxBody::new(body)));
        }
        Err(body) => {
            let is_sse = response.headers().get(CONTENT_TYPE).is_some_and(|kind| kind == "text/event-stream");
            let (sender, pieces) = mpsc::channel(PIECES);
            let pieces = stream::unfold(pieces, |mut pieces| async move { Some((pieces.recv().await?, pieces)) });
            let sent = HttpResponse::build(response.status()).streaming(pieces).into_body();
            let _ = head.send(response.set_body(sent));
            let mut carrier = Carrier { body, recording, client: Some(sender), until: None };
            let end = carrier.carry(if is_sse { Format::Events } else { Format::Bytes }).await;
            let Carrier { recording, client, .. } = carrier;
            let finished = FinishedRequest { status, headers, body: recording.end(), whole: end.whole };
            state.idempotency.finish(first, finished).await;
            if let (Some(client), Some(last)) = (client, end.last) {
                let _ = client.send(Ok(last)).await;
            }
        }
    }
}

fn kept_headers(head: &ResponseHead) -> Vec<(String, String)> {
    let ours = head.headers().iter().filter(|(name, _)| is_kept_header(name.as_str()));
    ours.filter_map(|(name, value)| Some((name.to_string(), value.to_str().ok()?.to_owned()))).collect()
}

/// The format of a stream's pieces.
#[derive(Clone, Copy)]
enum Format {
    /// Server-sent events: the answer is whole when it ends with a stream's last event.
    Events,
    /// Other bytes: the answer is whole when it ends.
    Bytes,
}

/// How a stream ended.
struct End {
    whole: Whole,
    /// The last piece, which is not sent yet.
    last: Option<Bytes>,
}

/// Carries a stream from its handler to its client and to the recording.
struct Carrier {
    body: BoxBody,
    recording: Recording,
    /// `None` once the client has left.
    client: Option<mpsc::Sender<Result<Bytes, actix_web::Error>>>,
    /// Until when the stream is recorded without a client.
    until: Option<Instant>,
}

impl Carrier {
    async fn carry(&mut self, format: Format) -> End {
        let broken = End { whole: Whole::No, last: None };
        loop {
            let gone = async {
                match (&self.client, self.until) {
                    (Some(client), _) => client.closed().await,
                    (None, Some(until)) => tokio::time::sleep_until(until.into()).await,
                    (None, None) => {}
                }
            };
            let next = std::future::poll_fn(|context| Pin::new(&mut self.body).poll_next(context));
            let piece = tokio::select! {
                biased;
                piece = next => piece,
                () = gone => {
                    if self.client.is_none() {
                        return broken;
                    }
                    self.client_left();
                    continue;
                }
            };
            match (piece, format) {
                (None, Format::Bytes) => return End { whole: Whole::Yes, last: None },
                (None, Format::Events) => return broken,
                (Some(Err(_)), _) => {
                    let error = actix_web::error::ErrorInternalServerError("the answer broke off");
                    self.send(Err(error)).await;
                    return broken;
                }
                (Some(Ok(piece)), format) => {
                    self.recording.push(&piece);
                    if matches!(format, Format::Events) && sse::is_last(&piece) {
                        return End { whole: Whole::Yes, last: Some(piece) };
                    }
                    self.send(Ok(piece)).await;
                }
            }
            // A stream without a reader and without a recording is not awaited.
            if self.client.is_none() && self.recording.is_over() {
                return broken;
            }
        }
    }

    async fn send(&mut self, piece: Result<Bytes, actix_web::Error>) {
        if let Some(client) = &self.client
            && client.send(piece).await.is_err()
        {
            self.client_left();
        }
    }

    fn client_left(&mut self) {
        self.client = None;
        self.until = Some(Instant::now() + LEFT_FOR);
    }
}
