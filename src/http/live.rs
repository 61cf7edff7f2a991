//! `GET /v1/live`: the live socket (design, chapter 6). A client starts chats and watches tokens, cost each second and its
//! balance; many chats share one socket. Chats run as any request does, each by its own task; this only watches them. When
//! the socket goes, every watcher is dropped, and each request is settled by the rules for clients that leave.
//!
//! A socket lives no longer than its key. When the process stops it is closed as soon as none of its chats runs. Whoever
//! closes a socket says why.

mod incoming;
mod outgoing;
pub mod sockets;

use std::{collections::HashMap, pin::pin, rc::Rc, sync::Arc, time::Duration};

use actix_web::{HttpRequest, HttpResponse, web};
use actix_ws::{AggregatedMessage, AggregatedMessageStream, CloseCode, CloseReason, Session};
use billing::{Timestamp, ids::RequestId};
use futures::StreamExt;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio::{
    sync::{Notify, mpsc},
    task::JoinHandle,
    time::{Instant, sleep_until},
};
use uuid::Uuid;
use wire::{inference::Task, openai};

use super::{auth, auth::Revocations, error::ApiError, error::Shape, respond::refuse, state::Shared, views::money};
use crate::gateway::serve::{self, Caller, Done, Job, Update};
use actors::account::{Live, Subscribe};
use incoming::Frames;
use outgoing::{Outgoing, outgoing};
use sockets::Place;

/// Chats of one socket that run at once, at most.
const CHATS: usize = 256;
/// Balance updates that wait for one socket, at most; an older one is worth nothing.
const BALANCES: usize = 64;
/// How long until a balance is watched again whose account's actor is gone.
const REBUILT: Duration = Duration::from_millis(100);
/// How long a slow reader may take to be told that it is closed.
const GOODBYE: Duration = Duration::from_secs(1);

/// A frame of the client's.
#[derive(Deserialize)]
#[serde(tag = "type", deny_unknown_fields)]
enum Frame {
    #[serde(rename = "chat.create")]
    Create { id: String, body: Map<String, Value> },
    #[serde(rename = "chat.cancel")]
    Cancel { id: String },
    #[serde(rename = "ping")]
    Ping {},
}

/// Who opened a socket, and by which key.
#[derive(Clone)]
struct By {
    caller: Caller,
    key: Arc<str>,
    expires_at: Option<Timestamp>,
}

/// A chat that runs.
struct Chat {
    task: JoinHandle<()>,
    cancel: Arc<Notify>,
}

/// Opens the socket.
pub async fn live(state: Shared, request: HttpRequest, body: web::Payload) -> HttpResponse {
    // Watched before the key is checked, so that it can't be revoked unseen in between.
    let revocations = state.keys.revocations();
    let opened = async {
        let (caller, expires_at) = auth::caller_until(&state, &request).await?;
        if !state.is_ready() {
            return Err(ApiError::not_ready("stopping"));
        }
        let place = state.sockets.open(caller.account_id).ok_or_else(|| {
            let message = format!("This account has {} live sockets open, which is the most.", sockets::MOST);
            ApiError::too_many_sockets(message, sockets::MOST)
        })?;
        Ok((By { caller, key: auth::key(&request)?.into(), expires_at }, place))
    };
    let (by, place) = match opened.await {
        Ok(opened) => opened,
        Err(error) => return refuse(&request, &error),
    };
    let limits = &state.settings.limits;
    let frames = Frames::new(&state.bodies);
    let payload = frames.within(body.into_inner(), Duration::from_secs(limits.body_seconds));
    let payload = payload_of(&request, payload).await;
    match payload.and_then(|payload| actix_ws::handle(&request, payload)) {
        Ok((response, session, messages)) => {
            let messages = messages.max_frame_size(limits.body_bytes);
            let messages = messages.aggregate_continuations().max_continuation_size(limits.body_bytes);
            let (outgoing, queue) = outgoing(limits.live_buffer_bytes, &state.gateway.unread);
            let writer = actix_rt::spawn(queue.write(session.clone()));
            let socket =
                Socket { state, by, outgoing, frames, chats: HashMap::new(), ended: Rc::default(), _place: place };
            actix_rt::spawn(socket.run(session, messages, revocations, writer));
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

/// A socket that is open.
struct Socket {
    state: Shared,
    by: By,
    outgoing: Outgoing,
    frames: Frames,
    chats: HashMap<String, Chat>,
    /// Told when a chat has ended.
    ended: Rc<Notify>,
    _place: Place,
}

/// How a socket is closed.
enum Parting {
    /// What waits for the reader is of no use any more.
    AtOnce(Option<CloseReason>),
    /// The reader is told what waits for it first.
    AfterAll(CloseReason),
}

fn because(code: CloseCode, description: &str) -> CloseReason {
    CloseReason { code, description: Some(description.to_owned()) }
}

impl Socket {
    async fn run(
        mut self,
        session: Session,
        messages: AggregatedMessageStream,
        revocations: Revocations,
        writer: JoinHandle<()>,
    ) {
        let parting = self.serve(messages, revocations).await;
        // Who leaves with chats running is charged for them as far as they came.
        for (_, chat) in self.chats.drain() {
            chat.task.abort();
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
        // What does not take its leave in time is cut.
        let _ = tokio::time::timeout(GOODBYE, session.close(reason)).await;
    }

    /// Serves a socket until it is to be closed.
    async fn serve(&mut self, mut messages: AggregatedMessageStream, mut revocations: Revocations) -> Parting {
        let (state, by) = (self.state.clone(), self.by.clone());
        let mut stopping = pin!(state.stopping());
        let mut is_stopping = false;
        let mut revoked = pin!(revocations.of(&state, &by.key));
        let mut expired = pin!(async {
            match by.expires_at {
                Some(at) => state.gateway.clock().until(at).await,
                None => std::future::pending().await,
            }
        });
        let heartbeat = Duration::from_secs(state.settings.http.heartbeat_seconds);
        let mut quiet = pin!(sleep_until(Instant::now() + heartbeat));
        let mut balances = Some(self.subscribe());
        let mut again = pin!(sleep_until(Instant::now()));
        loop {
            if is_stopping && self.is_idle() {
                return Parting::AfterAll(because(CloseCode::Away, "the server stops"));
            }
            let ended = Rc::clone(&self.ended);
            tokio::select! {
                () = &mut revoked => return Parting::AtOnce(Some(because(CloseCode::Policy, "the key was revoked"))),
                () = &mut expired => return Parting::AtOnce(Some(because(CloseCode::Policy, "the key has expired"))),
                () = self.outgoing.overflowed() => {
                    let limit = state.settings.limits.live_buffer_bytes;
                    let reason = format!("slow reader: up to {limit} bytes may wait");
                    return Parting::AtOnce(Some(because(CloseCode::Policy, &reason)));
                }
                () = &mut stopping, if !is_stopping => is_stopping = true,
                () = ended.notified() => {}
                message = messages.next() => {
                    if let Some(parting) = self.message(message) {
                        return parting;
                    }
                }
                balance = next_of(&mut balances) => match balance {
                    Some(Live::Balance(balance)) => {
                        let mut frame = json!(money::Balance::from(&balance));
                        frame["type"] = "balance".into();
                        self.outgoing.send(&frame);
                    }
                    None => {
                        // The account's actor was rebuilt: its new life is watched in a moment.
                        balances = None;
                        again.as_mut().reset(Instant::now() + REBUILT);
                    }
                },
                () = &mut again, if balances.is_none() => balances = Some(self.subscribe()),
                () = &mut quiet => {
                    self.outgoing.ping();
                    quiet.as_mut().reset(Instant::now() + heartbeat);
                }
            }
        }
    }

    fn subscribe(&self) -> mpsc::Receiver<Live> {
        let (watcher, balances) = mpsc::channel(BALANCES);
        // One a socket.
        self.state.gateway.accounts.tell(self.by.caller.account_id, Subscribe(watcher));
        balances
    }

    /// Whether no chat runs.
    fn is_idle(&mut self) -> bool {
        self.chats.retain(|_, chat| !chat.task.is_finished());
        self.chats.is_empty()
    }

    /// A message of the client's, or the end of them; how the socket is closed, if it is.
    fn message(&mut self, message: Option<Result<AggregatedMessage, actix_ws::ProtocolError>>) -> Option<Parting> {
        self.frames.is_whole();
        match message {
            Some(Ok(AggregatedMessage::Text(text))) => self.handle(&text),
            Some(Ok(AggregatedMessage::Ping(bytes))) => self.outgoing.pong(bytes),
            Some(Ok(AggregatedMessage::Binary(_))) => {
                self.outgoing.send(&failure(None, &ApiError::invalid("frame", "must be text")));
            }
            Some(Ok(AggregatedMessage::Pong(_))) => {}
            Some(Ok(AggregatedMessage::Close(reason))) => {
                return Some(Parting::AtOnce(reason.or(Some(CloseCode::Normal.into()))));
            }
            Some(Err(error)) => {
                let limit = self.state.settings.limits.body_bytes;
                return Some(Parting::AtOnce(self.frames.close_reason(&error, limit)));
            }
            None => return Some(Parting::AtOnce(None)),
        }
        None
    }

    fn handle(&mut self, text: &str) {
        self.chats.retain(|_, chat| !chat.task.is_finished());
        match serde_json::from_str(text) {
            Err(error) => self.outgoing.send(&failure(None, &ApiError::invalid("frame", error))),
            Ok(Frame::Ping {}) => self.outgoing.send(&json!({"type": "pong"})),
            Ok(Frame::Cancel { id }) => match self.chats.get(&id) {
                // It ends with a `chat.done` that says what it cost.
                Some(chat) => chat.cancel.notify_one(),
                None => self.outgoing.send(&failure(Some(&id), &ApiError::invalid("id", "names no running chat"))),
            },
            Ok(Frame::Create { id, body }) => {
                let refused = if id.is_empty() || id.len() > 128 {
                    Some("must have 1 to 128 characters")
                } else if self.chats.contains_key(&id) {
                    Some("names a running chat")
                } else if self.chats.len() >= CHATS {
                    Some("is one chat too many for this socket")
                } else {
                    None
                };
                match refused {
                    Some(why) => self.outgoing.send(&failure(Some(&id), &ApiError::invalid("id", why))),
                    None => self.create(id, body),
                }
            }
        }
    }

    fn create(&mut self, id: String, body: Map<String, Value>) {
        let cancel = Arc::new(Notify::new());
        let (state, by, outgoing) = (self.state.clone(), self.by.clone(), self.outgoing.clone());
        let chat = chat(state, by, id.clone(), body, outgoing, Arc::clone(&cancel));
        let ended = Ended(Rc::clone(&self.ended));
        let task = actix_rt::spawn(async move {
            let _ended = ended;
            chat.await;
        });
        self.chats.insert(id, Chat { task, cancel });
    }
}

/// Tells that a chat has ended, however it did.
struct Ended(Rc<Notify>);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

/// The next balance, where they are watched.
async fn next_of(balances: &mut Option<mpsc::Receiver<Live>>) -> Option<Live> {
    match balances {
        Some(balances) => balances.recv().await,
        None => std::future::pending().await,
    }
}

fn failure(id: Option<&str>, error: &ApiError) -> Value {
    let mut frame = error.body(Shape::Native, "");
    if let Value::Object(map) = &mut frame {
        map.shift_remove("request_id");
        map.insert("type".into(), "error".into());
        if let Some(id) = id {
            map.insert("id".into(), id.into());
        }
    }
    frame
}

/// One chat, from its start to its last frame.
async fn chat(
    state: Shared,
    by: By,
    id: String,
    mut body: Map<String, Value>,
    outgoing: Outgoing,
    cancel: Arc<Notify>,
) {
    body.insert("stream".into(), true.into());
    let refused = |error: ApiError| outgoing.send(&failure(Some(&id), &error));
    let parsed = match openai::parse_request(Task::Chat, Value::Object(body).to_string().as_bytes()) {
        Ok(parsed) => parsed,
        Err(bad) => return refused(bad.into()),
    };
    // The socket may have been opened long ago.
    if let Err(error) = auth::still(&state, &by.key).await {
        return refused(error);
    }
    if !state.is_ready() {
        return refused(ApiError::not_ready("stopping"));
    }
    let caller = by.caller;
    let request_id = RequestId(Uuid::now_v7());
    let max_wait = Duration::ZERO;
    let job = Job { request_id, caller, request: parsed, provider_key: None, max_wait };
    let mut started = match serve::start(&state.gateway, job).await {
        Ok(started) => started,
        Err(error) => return refused(error.into()),
    };
    let mut finish = None;
    loop {
        let update = tokio::select! {
            update = started.updates.next() => update,
            () = cancel.notified() => {
                started.cancel.notify_one();
                continue;
            }
        };
        let Some(update) = update else { return };
        match update {
            Update::Begun(_) => {}
            Update::Delta(delta) => {
                finish = delta.finish.clone().or(finish);
                outgoing.send(&json!({"type": "chat.delta", "id": id, "choice": delta.choice, "delta": delta.text}));
            }
            Update::Cost { cost, billed_seconds } => {
                outgoing.send(&json!({"type": "chat.cost", "id": id, "cost": cost, "billed_seconds": billed_seconds}));
            }
            Update::Done(done) => {
                let Done { usage, reported, record, stop, .. } = *done;
                let reported = reported.and_then(|own| serde_json::from_str::<Value>(&own).ok());
                let counted = || json!({"prompt_tokens": usage.input, "completion_tokens": usage.output});
                // Closed models have no seconds: their one cost comes with the end.
                outgoing.send(&json!({
                    "type": "chat.done", "id": id, "request_id": request_id.to_string(),
                    "usage": reported.unwrap_or_else(counted),
                    "cost": record.charged, "billed_seconds": record.billed_seconds,
                    "finish_reason": finish.as_ref().map(openai::finish_word), "stop": stop,
                }));
            }
            Update::Failed(error) => refused((*error).into()),
        }
    }
}
