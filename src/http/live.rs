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

use std::{collections::HashMap, io, pin::pin, rc::Rc, sync::Arc, time::Duration};

use actix_http::ws::CloseReason;
use actix_web::{HttpRequest, HttpResponse, rt::net::TcpStream, web};
use billing::{Timestamp, key::Scope};
use futures::future::LocalBoxFuture;
use serde_json::json;
use tokio::{
    io::AsyncWriteExt as _,
    sync::Notify,
    task::JoinHandle,
    time::{Instant, sleep_until, timeout},
};
use traces::Span;
use uuid::Uuid;

use super::{
    auth,
    auth::{Opened, Over, Revocations, Rights},
    connection::GOODBYE,
    edge,
    error::ApiError,
    query::Query,
    respond::refuse,
    state::{Shared, Stage},
    traced,
    upgrade::{self, Upgraded},
    values,
};
use crate::{gateway::serve::Caller, idempotency::Holder};
use close::Close;
pub use events::events;
use feed::Feed;
use frames::{Create, Frame, Unread};
use incoming::{Fault, Incoming, Message};
pub use line::line;
use origin::Opens;
use outgoing::{Outgoing, Writer, outgoing};
pub use output::output;
use pace::Pace;
use pictures::Pictures;
use request::failure;
use sockets::Place;
use topics::Topic;

/// The most requests of one socket that run at once.
const REQUESTS: usize = 256;
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
    /// Whether it is a person's session instead of a key.
    is_session: bool,
    /// The session that showed the key, where it was one.
    session: Option<Uuid>,
}

impl By {
    /// Who has this key, which a session may have shown.
    async fn of(state: &Shared, (key, session): (String, Option<Uuid>)) -> Result<Self, ApiError> {
        let Opened { rights: Rights { caller, holder }, expires_at, is_session } = auth::opened(state, &key).await?;
        Ok(Self { caller, holder, key: key.into(), expires_at, is_session, session })
    }

    /// What it may do, as it was opened: whoever may do something else by now opens another.
    const fn rights(&self) -> Rights {
        Rights { caller: self.caller, holder: self.holder }
    }

    /// Completes when the key or the session ends, or may do something else, and says how.
    async fn ended(&self, state: &Shared, revocations: &mut Revocations) -> Close {
        let expired = async {
            match self.expires_at {
                Some(at) => state.gateway.clock().until(at).await,
                None => std::future::pending().await,
            }
        };
        let ended = tokio::select! {
            over = revocations.of(state, &self.key, self.rights()) => match over {
                Over::Ended => Close::KeyRevoked,
                Over::Changed => return Close::RightsChanged,
            },
            () = expired => Close::KeyExpired,
            () = over(state, self.session) => return Close::SessionOver,
        };
        if self.is_session { Close::SessionOver } else { ended }
    }
}

/// Completes when somebody signs out of this session.
async fn over(state: &Shared, session: Option<Uuid>) {
    match session {
        Some(session) => state.ended.over(session).await,
        None => std::future::pending().await,
    }
}

/// Whose socket it is.
#[derive(Clone)]
enum Who {
    Account(By),
    /// An operator's; by the token, or by a session, which lasts until then.
    Operator(Option<(Uuid, Timestamp)>),
}

impl Who {
    /// Completes when the key or the session ends, and says how.
    async fn ended(&self, state: &Shared, revocations: &mut Revocations) -> Close {
        match self {
            Self::Account(by) => by.ended(state, revocations).await,
            Self::Operator(Some((session, until))) => {
                tokio::select! {
                    () = state.gateway.clock().until(*until) => {}
                    () = state.ended.over(*session) => {}
                }
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
            Query::of(&request, &[])?;
            return Ok(Who::Operator(None));
        }
        let by = By::of(&state, origin::key(&state, &request, Opens::Socket).await?).await?;
        let query = Query::of(&request, &["account"])?;
        let wanted =
            query.get("account").map(|text| values::id("account", text, "must be an account's id")).transpose()?;
        if wanted.is_some_and(|wanted| wanted != by.caller.account_id.0) {
            return Err(ApiError::forbidden("This key or session is another account's by now: open the page again."));
        }
        Ok(Who::Account(by))
    };
    match who.await {
        Ok(who) => open(state, &request, body, who, revocations),
        Err(error) => refuse(&request, &error),
    }
}

/// Opens an operator's socket for a page of ours, until its session is over: at this time, or before.
pub(in crate::http) fn of_operator(
    state: Shared,
    request: &HttpRequest,
    body: web::Payload,
    session: (Uuid, Timestamp),
) -> HttpResponse {
    if let Err(error) = origin::is_ours(request) {
        return refuse(request, &error);
    }
    let revocations = state.keys.revocations();
    open(state, request, body, Who::Operator(Some(session)), revocations)
}

/// Opens a socket.
fn open(state: Shared, request: &HttpRequest, body: web::Payload, who: Who, revocations: Revocations) -> HttpResponse {
    let place = if state.stage() < Stage::Parting { who.place(&state) } else { Err(ApiError::not_ready("stopping")) };
    let place = match place {
        Ok(place) => place,
        Err(error) => return refuse(request, &error),
    };
    let span = traced::span(request);
    let opened = move |upgraded: Upgraded| -> LocalBoxFuture<'static, ()> {
        let Upgraded { stream, early } = upgraded;
        let limits = &state.settings.limits;
        let incoming = Incoming::new(&state.bodies, limits.body_bytes, Duration::from_secs(limits.body_seconds), early);
        let (outgoing, writer) = outgoing(limits.live_buffer_bytes, &state.gateway.unread);
        let feed = who.feed(&state);
        let socket = Socket {
            state,
            who,
            outgoing,
            pace: Pace::new(),
            requests: HashMap::new(),
            ended: Rc::default(),
            _place: place,
            _span: span,
        };
        Box::pin(run(socket, stream, (incoming, writer), (feed, revocations)))
    };
    upgrade::websocket(request, body.into_inner(), opened).unwrap_or_else(|error| refuse(request, &error))
}

/// An open socket.
struct Socket {
    state: Shared,
    who: Who,
    outgoing: Outgoing,
    pace: Pace,
    requests: HashMap<String, Running>,
    /// Notified when a request has ended.
    ended: Rc<Notify>,
    _place: Place,
    /// The span of the request that opened it.
    _span: Span,
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

/// Serves a socket to its end.
async fn run(
    mut socket: Socket,
    mut stream: TcpStream,
    (mut incoming, mut writer): (Incoming, Writer),
    (mut feed, mut revocations): (Feeds, Revocations),
) {
    let parting = socket.serve(&stream, &mut incoming, &mut writer, &mut feed, &mut revocations).await;
    // A client that leaves with running requests is charged for them so far; those that outlive it go on.
    for (_, running) in socket.requests.drain() {
        running.task.abort();
    }
    drop((socket, incoming, feed, revocations));
    let reason = match parting {
        Parting::AtOnce(reason) => {
            writer.forget();
            reason
        }
        Parting::AfterAll(reason) => Some(reason),
    };
    // A client that does not read in time is cut off.
    if !matches!(timeout(GOODBYE, writer.end(&stream, reason)).await, Ok(Ok(()))) || stream.shutdown().await.is_err() {
        return;
    }
    // What still comes is read, or the system would tell the client that it was cut off instead of why.
    let _ = timeout(GOODBYE, async { while stream.readable().await.is_ok() && passes_over(&stream) {} }).await;
}

/// Passes over bytes that are there. Returns whether there may come more.
fn passes_over(stream: &TcpStream) -> bool {
    match stream.try_read(&mut [0; 4 << 10]) {
        Ok(count) => count > 0,
        Err(error) => error.kind() == io::ErrorKind::WouldBlock,
    }
}

impl Socket {
    /// Serves a socket until it must be closed.
    async fn serve(
        &mut self,
        stream: &TcpStream,
        incoming: &mut Incoming,
        writer: &mut Writer,
        feed: &mut Feeds,
        revocations: &mut Revocations,
    ) -> Parting {
        let (state, who, outgoing) = (self.state.clone(), self.who.clone(), self.outgoing.clone());
        let mut stopping = pin!(state.reached(Stage::Parting));
        let mut is_stopping = false;
        let mut key_ended = pin!(who.ended(&state, revocations));
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
                message = incoming.next(stream) => {
                    unanswered = 0;
                    if let Some(parting) = self.message(message, feed) {
                        return parting;
                    }
                }
                _ = writer.write(stream) => return Parting::AtOnce(None),
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
    fn message(&mut self, message: Result<Option<Message>, Fault>, feed: &mut Feeds) -> Option<Parting> {
        if matches!(message, Ok(Some(_))) && !self.pace.allows(Instant::now()) {
            return Some(Parting::because(Close::Flood));
        }
        match message {
            Ok(Some(Message::Text(text))) => self.handle(&text, feed),
            Ok(Some(Message::Ping(bytes))) => self.outgoing.pong(bytes),
            Ok(Some(Message::Binary)) => {
                self.outgoing.send(failure(None, &ApiError::invalid("frame", "must be text")));
            }
            Ok(Some(Message::Pong)) => {}
            Ok(Some(Message::Close(reason))) => {
                return Some(Parting::AtOnce(reason.or_else(|| Some(Close::Normal.reason()))));
            }
            Ok(None) => return Some(Parting::AtOnce(None)),
            Err(fault) => return Some(Parting::AtOnce(fault.reason())),
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
