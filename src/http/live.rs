//! `GET /v1/live`: the live socket (design, chapter 6). A client starts chats and watches tokens, cost each second and its
//! balance; many chats share one socket. Chats run as any request does, each by its own task; this only watches them. When
//! the socket goes, every watcher is dropped, and each request is settled by the rules for clients that leave.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use actix_web::{HttpRequest, HttpResponse, web};
use actix_ws::{AggregatedMessage, CloseCode, CloseReason, Session};
use billing::ids::RequestId;
use farebox_actors::account::{Live, Subscribe};
use futures::StreamExt;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio::{
    sync::{Notify, mpsc},
    task::JoinHandle,
};
use uuid::Uuid;
use wire::{inference::Task, openai};

use super::{Shared, account::balance_json, auth, error::ApiError, error::Shape, refuse};
use crate::gateway::serve::{self, Caller, Done, Job, Update};

/// Chats of one socket that run at once, at most.
const CHATS: usize = 256;
/// Balance updates that wait for one socket, at most; an older one is worth nothing.
const BALANCES: usize = 64;
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

/// Frames on their way to a reader, counted in bytes.
#[derive(Clone)]
struct Outgoing {
    frames: mpsc::UnboundedSender<String>,
    waiting: Arc<AtomicUsize>,
    limit: usize,
    overflow: Arc<Notify>,
}

impl Outgoing {
    /// Queues a frame. Past the limit the socket is closed, so the queue is bounded by it.
    fn send(&self, frame: &Value) {
        let text = frame.to_string();
        let waiting = self.waiting.fetch_add(text.len(), Ordering::Relaxed) + text.len();
        if waiting > self.limit {
            self.overflow.notify_one();
        } else {
            // The writer is gone only when the socket is.
            let _ = self.frames.send(text);
        }
    }
}

/// Who opened a socket, and by which key.
#[derive(Clone)]
struct By {
    caller: Caller,
    key: Arc<str>,
}

/// A chat that runs.
struct Chat {
    task: JoinHandle<()>,
    cancel: Arc<Notify>,
}

/// Opens the socket.
pub async fn live(state: Shared, request: HttpRequest, body: web::Payload) -> HttpResponse {
    let opened = async { Ok((auth::caller(&state, &request).await?, auth::key(&request)?.into())) };
    let by: By = match opened.await {
        Ok((caller, key)) => By { caller, key },
        Err(error) => return refuse(&request, &error),
    };
    match actix_ws::handle(&request, body) {
        Ok((response, session, messages)) => {
            let messages = messages.max_frame_size(state.settings.limits.body_bytes);
            let messages = messages.aggregate_continuations().max_continuation_size(state.settings.limits.body_bytes);
            actix_rt::spawn(run(state, by, session, messages));
            response
        }
        Err(_) => refuse(&request, &ApiError::invalid("upgrade", "this path speaks WebSocket only")),
    }
}

async fn run(state: Shared, by: By, session: Session, mut messages: actix_ws::AggregatedMessageStream) {
    let (frames, queue) = mpsc::unbounded_channel();
    let limit = state.settings.limits.live_buffer_bytes;
    let outgoing = Outgoing { frames, waiting: Arc::default(), limit, overflow: Arc::default() };
    let overflow = Arc::clone(&outgoing.overflow);
    let writer = actix_rt::spawn(write(session.clone(), queue, Arc::clone(&outgoing.waiting)));
    let (watcher, mut balances) = mpsc::channel(BALANCES);
    // One a socket.
    state.gateway.directory.tell(by.caller.account_id, Subscribe(watcher));
    let mut chats: HashMap<String, Chat> = HashMap::new();
    let reason = loop {
        tokio::select! {
            message = messages.next() => match message {
                Some(Ok(AggregatedMessage::Text(text))) => {
                    handle(&state, &by, &text, &mut chats, &outgoing);
                }
                Some(Ok(AggregatedMessage::Ping(bytes))) => {
                    if session.clone().pong(&bytes).await.is_err() {
                        break None;
                    }
                }
                Some(Ok(AggregatedMessage::Binary(_))) => {
                    outgoing.send(&failure(None, &ApiError::invalid("frame", "must be text")));
                }
                Some(Ok(AggregatedMessage::Pong(_))) => {}
                Some(Ok(AggregatedMessage::Close(reason))) => break reason.or(Some(CloseCode::Normal.into())),
                Some(Err(_)) | None => break None,
            },
            balance = balances.recv() => match balance {
                Some(Live::Balance(balance)) => {
                    let mut frame = balance_json(&balance);
                    frame["type"] = "balance".into();
                    outgoing.send(&frame);
                }
                None => {
                    // The account's actor was rebuilt: watch its new life.
                    let (watcher, receiver) = mpsc::channel(BALANCES);
                    balances = receiver;
                    actix_rt::time::sleep(Duration::from_millis(100)).await;
                    state.gateway.directory.tell(by.caller.account_id, Subscribe(watcher));
                }
            },
            () = overflow.notified() => {
                let description = Some(format!("slow reader: more than {limit} bytes wait"));
                break Some(CloseReason { code: CloseCode::Policy, description });
            }
        }
    };
    for (_, chat) in chats {
        chat.task.abort();
    }
    writer.abort();
    // What does not take its leave in time is cut.
    let _ = tokio::time::timeout(GOODBYE, session.close(reason)).await;
}

async fn write(mut session: Session, mut queue: mpsc::UnboundedReceiver<String>, waiting: Arc<AtomicUsize>) {
    while let Some(frame) = queue.recv().await {
        let bytes = frame.len();
        if session.text(frame).await.is_err() {
            return;
        }
        waiting.fetch_sub(bytes, Ordering::Relaxed);
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

fn handle(state: &Shared, by: &By, text: &str, chats: &mut HashMap<String, Chat>, outgoing: &Outgoing) {
    chats.retain(|_, chat| !chat.task.is_finished());
    match serde_json::from_str(text) {
        Err(error) => outgoing.send(&failure(None, &ApiError::invalid("frame", error))),
        Ok(Frame::Ping {}) => outgoing.send(&json!({"type": "pong"})),
        Ok(Frame::Cancel { id }) => match chats.get(&id) {
            // It ends with a `chat.done` that says what it cost.
            Some(chat) => chat.cancel.notify_one(),
            None => outgoing.send(&failure(Some(&id), &ApiError::invalid("id", "names no running chat"))),
        },
        Ok(Frame::Create { id, body }) => {
            let refused = if id.is_empty() || id.len() > 128 {
                Some("must have 1 to 128 characters")
            } else if chats.contains_key(&id) {
                Some("names a running chat")
            } else if chats.len() >= CHATS {
                Some("is one chat too many for this socket")
            } else {
                None
            };
            if let Some(why) = refused {
                outgoing.send(&failure(Some(&id), &ApiError::invalid("id", why)));
                return;
            }
            let cancel = Arc::new(Notify::new());
            let task = actix_rt::spawn(chat(
                state.clone(),
                by.clone(),
                id.clone(),
                body,
                outgoing.clone(),
                Arc::clone(&cancel),
            ));
            chats.insert(id, Chat { task, cancel });
        }
    }
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
    let patience = Duration::ZERO;
    let job = Job { request_id, caller, request: parsed, provider_key: None, patience };
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
                let Done { usage, record, stop, .. } = *done;
                // Closed models have no seconds: their one cost comes with the end.
                outgoing.send(&json!({
                    "type": "chat.done", "id": id, "request_id": request_id.to_string(),
                    "usage": {"prompt_tokens": usage.input, "completion_tokens": usage.output},
                    "cost": record.charged, "billed_seconds": record.billed_seconds,
                    "finish_reason": finish.as_ref().map(openai::finish_word), "stop": stop,
                }));
            }
            Update::Failed(error) => refused((*error).into()),
        }
    }
}
