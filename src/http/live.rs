//! `GET /v1/live`: the live socket (design, chapter 6). A client starts chats and watches tokens, the cost each second,
//! and its balance; many chats share one socket. Each chat runs in a task of its own, as any request does; the socket
//! only watches it. When the socket closes, all watchers are dropped, and each request is settled by the rules for
//! clients that leave.
//!
//! A socket lives no longer than its key. When the process stops, the socket is closed as soon as none of its chats
//! runs. Every close has a reason.

mod elsewhere;
mod incoming;
mod outgoing;
pub(in crate::http) mod relayed;
pub mod sockets;

use std::{collections::HashMap, pin::pin, rc::Rc, sync::Arc, time::Duration};

use actix_web::{HttpRequest, HttpResponse, web};
use actix_ws::{AggregatedMessage, AggregatedMessageStream, CloseCode, CloseReason, Session};
use billing::Timestamp;
use futures::StreamExt;
use serde::Deserialize;
use serde_json::{json, value::RawValue};
use tokio::{
    sync::{Notify, mpsc},
    task::JoinHandle,
    time::{Instant, sleep_until},
};
use traces::Kind;
use wire::{
    fields::{BadRequest, Fields},
    format::{
        ClientFormat, ErrorShape,
        live::{LiveWriter, error_frame},
        openai::Chat,
    },
    inference::Request,
};

use super::{
    auth,
    auth::Revocations,
    error::ApiError,
    inference::{
        fallbacks::{self, Asking, Reached, Try},
        route::Missed,
    },
    respond::refuse,
    state::{Shared, Stage},
    surface::{Answer, written_error},
    views::money,
};
use crate::gateway::serve::{self, Caller, Started};
use actors::account::Live;
use incoming::Frames;
use outgoing::{Outgoing, outgoing};
use sockets::Place;

/// The most chats of one socket that run at once.
const CHATS: usize = 256;
/// The most balance updates that wait for one socket; older ones are outdated.
const BALANCES: usize = 64;
/// The time until a balance is watched again after its account's actor ended.
const REBUILT: Duration = Duration::from_millis(100);
/// The longest time for the close message to a slow reader.
const GOODBYE: Duration = Duration::from_secs(1);

/// A frame from the client.
enum Frame {
    /// `chat.create`
    Create { id: String, body: Box<RawValue> },
    /// `chat.cancel`
    Cancel { id: String },
    /// `ping`
    Ping,
}

/// A frame's JSON. A chat's body stays unparsed.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    r#type: String,
    id: Option<String>,
    body: Option<Box<RawValue>>,
}

impl Frame {
    fn read(text: &str) -> Result<Self, String> {
        let Written { r#type, id, body } = serde_json::from_str(text).map_err(|error| error.to_string())?;
        match (&*r#type, id, body) {
            ("chat.create", Some(id), Some(body)) => Ok(Self::Create { id, body }),
            ("chat.create", ..) => Err("chat.create must have an id and a body".into()),
            ("chat.cancel", Some(id), None) => Ok(Self::Cancel { id }),
            ("chat.cancel", ..) => Err("chat.cancel must have an id alone".into()),
            ("ping", None, None) => Ok(Self::Ping),
            ("ping", ..) => Err("ping must have nothing beside its type".into()),
            (other, ..) => {
                let shown: String = other.chars().take(100).collect();
                Err(format!("{shown} is no type of frame: chat.create, chat.cancel and ping are"))
            }
        }
    }
}

/// The caller and the key of a socket.
#[derive(Clone)]
struct By {
    caller: Caller,
    key: Arc<str>,
    expires_at: Option<Timestamp>,
}

/// A running chat.
struct Running {
    task: JoinHandle<()>,
    cancel: Arc<Notify>,
}

/// Opens a socket.
pub async fn live(state: Shared, request: HttpRequest, body: web::Payload) -> HttpResponse {
    // Revocations are watched before the key is checked, so that none is missed in between.
    let revocations = state.keys.revocations();
    let opened = async {
        let (caller, expires_at) = auth::caller_until(&state, &request).await?;
        if state.stage() >= Stage::Parting {
            return Err(ApiError::not_ready("stopping"));
        }
        let place = state.sockets.open(caller.account_id).ok_or_else(|| {
            let message = format!("This account has {} live sockets open, which is the most.", sockets::MOST);
            ApiError::too_many_sockets(message, sockets::MOST)
        })?;
        Ok((By { caller, key: auth::key(&state, &request)?.as_ref().into(), expires_at }, place))
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

/// An open socket.
struct Socket {
    state: Shared,
    by: By,
    outgoing: Outgoing,
    frames: Frames,
    chats: HashMap<String, Running>,
    /// Notified when a chat has ended.
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
        // A client that leaves with running chats is charged for them so far.
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
        // A client that does not close in time is cut off.
        let _ = tokio::time::timeout(GOODBYE, session.close(reason)).await;
    }

    /// Serves a socket until it must be closed.
    async fn serve(&mut self, mut messages: AggregatedMessageStream, mut revocations: Revocations) -> Parting {
        let (state, by) = (self.state.clone(), self.by.clone());
        let mut stopping = pin!(state.reached(Stage::Parting));
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
                    Some(Live::Balance { balance, .. }) => {
                        let mut frame = json!(money::Balance::from(&balance));
                        frame["type"] = "balance".into();
                        self.outgoing.send(frame.to_string());
                    }
                    None => {
                        // The account's actor was rebuilt, and is watched again in a moment.
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
        // Each socket sends one such message.
        self.state.gateway.accounts.watch(self.by.caller.account_id, watcher);
        balances
    }

    /// Whether no chat runs.
    fn is_idle(&mut self) -> bool {
        self.chats.retain(|_, chat| !chat.task.is_finished());
        self.chats.is_empty()
    }

    /// Handles a message of the client, or the end of messages. Returns how to close the socket, if it must be closed.
    fn message(&mut self, message: Option<Result<AggregatedMessage, actix_ws::ProtocolError>>) -> Option<Parting> {
        self.frames.is_whole();
        match message {
            Some(Ok(AggregatedMessage::Text(text))) => self.handle(&text),
            Some(Ok(AggregatedMessage::Ping(bytes))) => self.outgoing.pong(bytes),
            Some(Ok(AggregatedMessage::Binary(_))) => {
                self.outgoing.send(failure(None, &ApiError::invalid("frame", "must be text")));
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
        match Frame::read(text) {
            Err(error) => self.outgoing.send(failure(None, &ApiError::invalid("frame", error))),
            Ok(Frame::Ping) => self.outgoing.send(json!({"type": "pong"}).to_string()),
            Ok(Frame::Cancel { id }) => match self.chats.get(&id) {
                // The chat ends with a `chat.done` that has its cost.
                Some(chat) => chat.cancel.notify_one(),
                None => self.outgoing.send(failure(Some(&id), &ApiError::invalid("id", "names no running chat"))),
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
                    Some(why) => self.outgoing.send(failure(Some(&id), &ApiError::invalid("id", why))),
                    None => self.create(id, body),
                }
            }
        }
    }

    fn create(&mut self, id: String, body: Box<RawValue>) {
        let cancel = Arc::new(Notify::new());
        let (state, by, outgoing) = (self.state.clone(), self.by.clone(), self.outgoing.clone());
        let chat = chat(state, by, id.clone(), body, outgoing, Arc::clone(&cancel));
        let ended = Ended(Rc::clone(&self.ended));
        let task = actix_rt::spawn(async move {
            let _ended = ended;
            chat.await;
        });
        self.chats.insert(id, Running { task, cancel });
    }
}

/// Reports the end of a chat, also after a panic.
struct Ended(Rc<Notify>);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

/// The next balance, where balances are watched.
async fn next_of(balances: &mut Option<mpsc::Receiver<Live>>) -> Option<Live> {
    match balances {
        Some(balances) => balances.recv().await,
        None => std::future::pending().await,
    }
}

fn failure(id: Option<&str>, error: &ApiError) -> String {
    error_frame(id, &written_error(ErrorShape::Phrase, error, ""))
}

/// Reads a chat's request from its frame. On a socket every answer is streamed.
fn read(body: &RawValue) -> Result<Request, BadRequest> {
    let mut fields = Fields::of_client(body.get().as_bytes())?;
    fields.set("stream", &true);
    Chat::read(fields.to_json().as_bytes())
}

/// Runs one chat, from its start to its last frame.
async fn chat(state: Shared, by: By, id: String, body: Box<RawValue>, outgoing: Outgoing, cancel: Arc<Notify>) {
    let elsewhere = elsewhere::Chat { key: &by.key, id: &id, body: &body, outgoing: &outgoing, cancel: &cancel };
    if elsewhere::chat(&state, elsewhere).await {
        return;
    }
    let (mut answer, running) = match start(&state, &by, &id, &body, &cancel).await {
        Ok(started) => started,
        Err(error) => return outgoing.send(failure(Some(&id), &error)),
    };
    loop {
        tokio::select! {
            frame = answer.next() => match frame {
                Some(frame) => outgoing.send(frame),
                None => return,
            },
            () = cancel.notified() => running.notify_one(),
        }
    }
}

/// The answer of a chat that began, and what ends it.
async fn start(
    state: &Shared,
    by: &By,
    id: &str,
    body: &RawValue,
    cancel: &Notify,
) -> Result<(Answer<LiveWriter>, Arc<Notify>), ApiError> {
    let request = read(body)?;
    // The key is checked again: the socket may have been opened long ago.
    auth::still(state, &by.key).await?;
    if state.stage() >= Stage::Parting {
        return Err(ApiError::not_ready("stopping"));
    }
    let asking = Asking {
        id: state.gateway.accounts.running().new_id(),
        caller: by.caller,
        request,
        provider_key: None,
        max_wait: Duration::ZERO,
        max_age: None,
        is_once: false,
        trace: state.traces.begin("chat.create", Kind::Server, |_| None),
    };
    let attempt = async |tried: Try| attempt(state, id, tried, cancel).await;
    let answered = fallbacks::ask(state, asking, attempt).await.map_err(|error| ApiError::from(*error))?;
    Ok(answered.answer)
}

/// One attempt. Where another model may follow, it begins with the first piece, until which nothing is sent; a chat that
/// is cancelled asks no other.
async fn attempt(
    state: &Shared,
    id: &str,
    Try { job, is_last }: Try,
    cancel: &Notify,
) -> Result<Reached<(Answer<LiveWriter>, Arc<Notify>)>, Missed> {
    let request_id = job.request_id;
    let Started { updates, cancel: running, admission, .. } =
        serve::start(&state.gateway, job).await.map_err(Missed::unheld)?;
    let mut answer = Answer::new(LiveWriter::new(id.to_owned()), updates, request_id);
    if !is_last {
        tokio::select! {
            begun = answer.begun() => drop(begun.map_err(Missed::settled)?),
            () = cancel.notified() => running.notify_one(),
        }
    }
    // The last was not waited for.
    Ok(Reached { answer: (answer, running), waited: (!is_last).then_some(admission) })
}
