//! `GET /v1/live`: the live socket (design, chapter 6; `docs/live.md` is its protocol). A client asks for answers in any
//! format, watches their pieces and their cost each second, and what its account tells; many requests share one socket.
//! Each request runs in a task of its own, as any request does; the socket only watches it. When the socket closes, a
//! request ends and is settled by the rules for clients that leave, unless it is to outlive its socket ([`ongoing`]).
//!
//! Whoever shows the operator's token has another socket at the same path: it tells operators' topics, and runs no model.
//!
//! A socket lives no longer than its key. When the process stops, the socket is closed as soon as none of its requests
//! runs. Every close has a reason ([`close`]).

mod close;
mod elsewhere;
mod events;
mod feed;
mod frames;
mod incoming;
mod line;
mod once;
pub mod ongoing;
mod origin;
mod outgoing;
mod output;
mod pace;
mod pictures;
pub(in crate::http) mod relayed;
mod request;
pub mod sockets;
mod surfaces;
mod topics;
mod watched;

use std::{collections::HashMap, pin::pin, rc::Rc, sync::Arc, time::Duration};

use actix_web::{HttpRequest, HttpResponse, web};
use actix_ws::{AggregatedMessage, AggregatedMessageStream, CloseReason, Session};
use billing::{Timestamp, key::Scope};
use futures::StreamExt;
use serde_json::json;
use tokio::{
    sync::Notify,
    task::JoinHandle,
    time::{Instant, sleep_until},
};

use super::{
    auth,
    auth::{Opened, Revocations},
    edge,
    error::ApiError,
    respond::refuse,
    state::{Shared, Stage},
};
use crate::{gateway::serve::Caller, idempotency::Holder};
use close::Close;
pub use events::events;
use feed::Feed;
use frames::{Create, Frame, Unread};
use incoming::Frames;
pub use line::line;
use outgoing::{Outgoing, outgoing};
pub use output::output;
use pace::Pace;
use pictures::Pictures;
use request::failure;
use sockets::Place;
use topics::Topic;

/// The most requests of one socket that run at once.
const REQUESTS: usize = 256;
/// The longest time for the close message to a slow reader.
const GOODBYE: Duration = Duration::from_secs(1);
/// The pings in a row that may stay unanswered.
const UNANSWERED: u32 = 3;

/// Whose socket it is.
#[derive(Clone)]
struct By {
    caller: Caller,
    /// Who reads what is kept of the caller's requests.
    holder: Holder,
    key: Arc<str>,
    expires_at: Option<Timestamp>,
}

impl By {
    /// Who has this key.
    async fn of(state: &Shared, key: String) -> Result<Self, ApiError> {
        let Opened { caller, holder, expires_at } = auth::opened(state, &key).await?;
        Ok(Self { caller, holder, key: key.into(), expires_at })
    }

    /// Completes when the key ends, and says how.
    async fn ended(&self, state: &Shared, revocations: &mut Revocations) -> Close {
        let expired = async {
            match self.expires_at {
                Some(at) => state.gateway.clock().until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = revocations.of(state, &self.key) => Close::KeyRevoked,
            () = expired => Close::KeyExpired,
        }
    }
}

/// Whose socket it is.
#[derive(Clone)]
enum Who {
    Account(By),
    /// An operator's; a session's until then.
    Operator(Option<Timestamp>),
}

impl Who {
    /// Completes when the key or the session ends, and says how.
    async fn ended(&self, state: &Shared, revocations: &mut Revocations) -> Close {
        match self {
            Self::Account(by) => by.ended(state, revocations).await,
            Self::Operator(Some(until)) => {
                state.gateway.clock().until(*until).await;
                Close::SessionOver
            }
            Self::Operator(None) => std::future::pending().await,
        }
    }

    /// A place for its socket.
    fn place(&self, state: &Shared) -> Result<Place, ApiError> {
        match self {
            Self::Account(by) => sockets::place(state, by.caller.account_id),
            Self::Operator(_) => sockets::place_of_operators(state),
        }
    }

    /// What it can subscribe to. An account's balance is told unasked.
    fn feed(&self, state: &Shared) -> Feeds {
        match self {
            Self::Account(by) => {
                let mut feed = Box::new(Feed::new(state, by.caller));
                let _ = feed.subscribe(&[Topic::Balance]);
                Feeds::Account(feed)
            }
            Self::Operator(_) => Feeds::Operator(Box::new(Pictures::new(state))),
        }
    }
}

/// The topics of a socket.
enum Feeds {
    Account(Box<Feed>),
    Operator(Box<Pictures>),
}

impl Feeds {
    fn subscribe(&mut self, topics: &[Topic]) -> Result<(), ApiError> {
        match self {
            Self::Account(feed) => feed.subscribe(topics),
            Self::Operator(pictures) => pictures.subscribe(topics),
        }
    }

    fn unsubscribe(&mut self, topics: &[Topic]) {
        match self {
            Self::Account(feed) => feed.unsubscribe(topics),
            Self::Operator(pictures) => pictures.unsubscribe(topics),
        }
    }

    /// The next frame. Dropping the future while it waits loses nothing.
    async fn next(&mut self, outgoing: &Outgoing) -> String {
        match self {
            Self::Account(feed) => feed.next().await.frame,
            Self::Operator(pictures) => pictures.next(outgoing).await,
        }
    }
}

/// A request that the socket watches.
struct Running {
    task: JoinHandle<()>,
    cancel: Arc<Notify>,
}

/// `GET /v1/live`: opens an account's socket, or an operator's for who shows the operator's token.
pub async fn live(state: Shared, request: HttpRequest, body: web::Payload) -> HttpResponse {
    // Revocations are watched before the key is checked, so that none is missed in between.
    let revocations = state.keys.revocations();
    let who = async {
        if auth::shows_token(&request)? {
            edge::operator(&state, &request).await?;
            return Ok(Who::Operator(None));
        }
        Ok(Who::Account(By::of(&state, origin::key(&state, &request).await?).await?))
    };
    match who.await {
        Ok(who) => open(state, request, body, who, revocations).await,
        Err(error) => refuse(&request, &error),
    }
}

/// Opens an operator's socket for a page of ours, until its session is over.
pub(in crate::http) async fn of_operator(
    state: Shared,
    request: HttpRequest,
    body: web::Payload,
    until: Timestamp,
) -> HttpResponse {
    if let Err(error) = origin::is_ours(&request) {
        return refuse(&request, &error);
    }
    let revocations = state.keys.revocations();
    open(state, request, body, Who::Operator(Some(until)), revocations).await
}

/// Opens a socket.
async fn open(
    state: Shared,
    request: HttpRequest,
    body: web::Payload,
    who: Who,
    revocations: Revocations,
) -> HttpResponse {
    let place = if state.stage() < Stage::Parting { who.place(&state) } else { Err(ApiError::not_ready("stopping")) };
    let place = match place {
        Ok(place) => place,
        Err(error) => return refuse(&request, &error),
    };
    let limits = &state.settings.limits;
    let frames = Frames::new(&state.bodies);
    let payload = frames.within(body.into_inner(), Duration::from_secs(limits.body_seconds));
    let payload = payload_of(&request, payload).await;
    match payload.and_then(|payload| actix_ws::handle(&request, payload)) {
        Ok((response, session, messages)) => {
            let messages = messages.max_frame_size(limits.body_bytes);
            // Boxed, as a task that is handed on has room for each of its hands.
            let messages = Box::new(messages.aggregate_continuations().max_continuation_size(limits.body_bytes));
            let (outgoing, queue) = outgoing(limits.live_buffer_bytes, &state.gateway.unread);
            let writer = actix_rt::spawn(queue.write(session.clone()));
            let feed = who.feed(&state);
            let socket = Box::new(Socket {
                state,
                who,
                outgoing,
                frames,
                pace: Pace::new(),
                requests: HashMap::new(),
                ended: Rc::default(),
                _place: place,
            });
            actix_rt::spawn(socket.run(session, messages, (feed, revocations), writer));
            response
        }
        Err(_) => refuse(&request, &ApiError::invalid("upgrade", "this path speaks WebSocket only")),
    }
}

async fn payload_of(request: &HttpRequest, payload: actix_web::dev::Payload) -> Result<web::Payload, actix_web::Error> {
    use actix_web::FromRequest as _;
    let mut payload = payload;
    web::Payload::from_request(request, &mut payload).await
}

/// An open socket.
struct Socket {
    state: Shared,
    who: Who,
    outgoing: Outgoing,
    frames: Frames,
    pace: Pace,
    requests: HashMap<String, Running>,
    /// Notified when a request has ended.
    ended: Rc<Notify>,
    _place: Place,
}

/// How to close a socket.
enum Parting {
    /// Waiting frames are dropped.
    AtOnce(Option<CloseReason>),
    /// Waiting frames are sent first.
    AfterAll(CloseReason),
}

impl Parting {
    fn because(close: Close) -> Self {
        Self::AtOnce(Some(close.reason()))
    }
}

impl Socket {
    async fn run(
        mut self: Box<Self>,
        session: Session,
        messages: Box<AggregatedMessageStream>,
        (feed, revocations): (Feeds, Revocations),
        writer: JoinHandle<()>,
    ) {
        let parting = self.serve(messages, feed, revocations).await;
        // A client that leaves with running requests is charged for them so far; those that outlive it go on.
        for (_, running) in self.requests.drain() {
            running.task.abort();
        }
        let reason = match parting {
            Parting::AtOnce(reason) => {
                writer.abort();
                reason
            }
            Parting::AfterAll(reason) => {
                drop(self);
                let abort = writer.abort_handle();
                if tokio::time::timeout(GOODBYE, writer).await.is_err() {
                    abort.abort();
                }
                Some(reason)
            }
        };
        // A client that does not close in time is cut off.
        let _ = tokio::time::timeout(GOODBYE, session.close(reason)).await;
    }

    /// Serves a socket until it must be closed.
    async fn serve(
        &mut self,
        mut messages: Box<AggregatedMessageStream>,
        mut feed: Feeds,
        mut revocations: Revocations,
    ) -> Parting {
        let (state, who, outgoing) = (self.state.clone(), self.who.clone(), self.outgoing.clone());
        let mut stopping = pin!(state.reached(Stage::Parting));
        let mut is_stopping = false;
        let mut key_ended = pin!(who.ended(&state, &mut revocations));
        let heartbeat = Duration::from_secs(state.settings.http.heartbeat_seconds);
        let mut quiet = pin!(sleep_until(Instant::now() + heartbeat));
        let mut unanswered = 0;
        loop {
            if is_stopping && self.is_idle() {
                return Parting::AfterAll(Close::Stopping.reason());
            }
            let ended = Rc::clone(&self.ended);
            tokio::select! {
                close = &mut key_ended => return Parting::because(close),
                () = self.outgoing.overflowed() => {
                    let limit = state.settings.limits.live_buffer_bytes;
                    let words = format!("{}: {limit} bytes", Close::SlowReader.says());
                    return Parting::AtOnce(Some(Close::SlowReader.because(&words)));
                }
                () = &mut stopping, if !is_stopping => is_stopping = true,
                () = ended.notified() => {}
                message = messages.next() => {
                    unanswered = 0;
                    if let Some(parting) = self.message(message, &mut feed) {
                        return parting;
                    }
                }
                news = feed.next(&outgoing) => self.outgoing.send(news),
                () = &mut quiet => {
                    if unanswered == UNANSWERED {
                        return Parting::because(Close::Unanswered);
                    }
                    unanswered += 1;
                    self.outgoing.ping();
                    quiet.as_mut().reset(Instant::now() + heartbeat);
                }
            }
        }
    }

    /// Whether no request runs.
    fn is_idle(&mut self) -> bool {
        self.requests.retain(|_, running| !running.task.is_finished());
        self.requests.is_empty()
    }

    /// Handles a message of the client, or the end of messages. Returns how to close the socket, if it must be closed.
    fn message(
        &mut self,
        message: Option<Result<AggregatedMessage, actix_ws::ProtocolError>>,
        feed: &mut Feeds,
    ) -> Option<Parting> {
        self.frames.is_whole();
        if matches!(message, Some(Ok(_))) && !self.pace.allows(Instant::now()) {
            return Some(Parting::because(Close::Flood));
        }
        match message {
            Some(Ok(AggregatedMessage::Text(text))) => self.handle(&text, feed),
            Some(Ok(AggregatedMessage::Ping(bytes))) => self.outgoing.pong(bytes),
            Some(Ok(AggregatedMessage::Binary(_))) => {
                self.outgoing.send(failure(None, &ApiError::invalid("frame", "must be text")));
            }
            Some(Ok(AggregatedMessage::Pong(_))) => {}
            Some(Ok(AggregatedMessage::Close(reason))) => {
                return Some(Parting::AtOnce(reason.or_else(|| Some(Close::Normal.reason()))));
            }
            Some(Err(error)) => {
                let limit = self.state.settings.limits.body_bytes;
                return Some(Parting::AtOnce(self.frames.close_reason(&error, limit)));
            }
            None => return Some(Parting::AtOnce(None)),
        }
        None
    }

    fn handle(&mut self, text: &str, feed: &mut Feeds) {
        self.requests.retain(|_, running| !running.task.is_finished());
        match Frame::read(text) {
            Err(Unread { id, error }) => self.outgoing.send(failure(id.as_deref(), &error)),
            Ok(Frame::Ping) => self.outgoing.send(json!({"type": "pong"}).to_string()),
            Ok(Frame::Cancel { id }) => match (self.requests.get(&id), &self.who) {
                // The request ends with its last frame, which has its cost.
                (Some(running), _) => running.cancel.notify_one(),
                (None, Who::Operator(_)) => self.outgoing.send(failure(Some(&id), &no_models())),
                (None, Who::Account(_)) => {
                    let error = ApiError::invalid("id", "names no running request");
                    self.outgoing.send(failure(Some(&id), &error));
                }
            },
            Ok(Frame::Subscribe(topics)) => match feed.subscribe(&topics) {
                Ok(()) => self.outgoing.send(told("subscribed", &topics)),
                Err(error) => self.outgoing.send(failure(None, &error)),
            },
            Ok(Frame::Unsubscribe(topics)) => {
                feed.unsubscribe(&topics);
                self.outgoing.send(told("unsubscribed", &topics));
            }
            Ok(Frame::Create(create)) => match self.may_run(&create.id) {
                Ok(by) => self.create(by, *create),
                Err(error) => self.outgoing.send(failure(Some(&create.id), &error)),
            },
            Ok(Frame::Resume { id, after }) => match self.may_run(&id) {
                Ok(by) => self.resume(by, id, after),
                Err(error) => self.outgoing.send(failure(Some(&id), &error)),
            },
        }
    }

    /// For whom a request of this id begins or is taken up again on this socket, or why not.
    fn may_run(&self, id: &str) -> Result<By, ApiError> {
        let Who::Account(by) = &self.who else { return Err(no_models()) };
        if !by.caller.scopes.has(Scope::Inference) {
            return Err(ApiError::out_of_scope(Scope::Inference));
        }
        if self.requests.contains_key(id) {
            return Err(ApiError::invalid("id", "names a running request"));
        }
        if self.requests.len() >= REQUESTS {
            return Err(ApiError::invalid("id", "is one request too many for this socket"));
        }
        Ok(by.clone())
    }

    fn create(&mut self, by: By, create: Create) {
        let cancel = Arc::new(Notify::new());
        let (state, outgoing) = (self.state.clone(), self.outgoing.clone());
        let id = create.id.clone();
        match create.on_disconnect {
            frames::OnDisconnect::Cancel => {
                let watching = watched::watch(state, by, create, outgoing, Arc::clone(&cancel));
                self.watch(id, cancel, watching);
            }
            frames::OnDisconnect::Finish | frames::OnDisconnect::Detach => match watched::outlive(&state, by, create) {
                Ok(ongoing) => {
                    let cancel = Arc::clone(&ongoing.cancel);
                    self.watch(id.clone(), cancel, watched::follow(ongoing, outgoing, id, 0));
                }
                Err(error) => self.outgoing.send(failure(Some(&id), &error)),
            },
        }
    }

    fn resume(&mut self, by: By, id: String, after: u64) {
        let (state, outgoing) = (self.state.clone(), self.outgoing.clone());
        if let Some(ongoing) = self.state.ongoings.find(by.holder, &id) {
            let cancel = Arc::clone(&ongoing.cancel);
            return self.watch(id.clone(), cancel, watched::resume(state, by, ongoing, outgoing, (id, after)));
        }
        let cancel = Arc::<Notify>::default();
        let watching = watched::resume_elsewhere(state, by, outgoing, (id.clone(), after), Arc::clone(&cancel));
        self.watch(id, cancel, watching);
    }

    fn watch(&mut self, id: String, cancel: Arc<Notify>, watching: impl Future<Output = ()> + 'static) {
        let ended = Ended(Rc::clone(&self.ended));
        let task = actix_rt::spawn(async move {
            let _ended = ended;
            watching.await;
        });
        self.requests.insert(id, Running { task, cancel });
    }
}

/// Why an operator's socket runs nothing.
fn no_models() -> ApiError {
    ApiError::forbidden("This socket is an operator's, and runs no models: open one with an account's key.")
}

/// Says which topics are, or are not, subscribed to any more.
fn told(kind: &str, topics: &[Topic]) -> String {
    let names: Vec<_> = topics.iter().map(|topic| topic.name()).collect();
    json!({"type": kind, "topics": names}).to_string()
}

/// Reports the end of a request, also after a panic.
struct Ended(Rc<Notify>);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}
