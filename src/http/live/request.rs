//! One request of a live socket, from its beginning to its last frame: it is planned, admitted, metered and settled as on
//! its route, and what its client reads are frames. Where another node has its model it runs there, and its frames come
//! from there. Nothing of sockets is known here.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use billing::ids::RequestId;
use bytes::Bytes;
use futures::{FutureExt as _, future::LocalBoxFuture};
use serde_json::{Value, json};
use tokio::sync::Notify;
use traces::Kind;
use uuid::Uuid;
use wire::{
    format::{
        AnswerForm, ErrorShape,
        live::{LiveWriter, error_frame, is_last},
        openai::responses::kept,
    },
    inference::Request,
};

use super::{
    By,
    elsewhere::There,
    frames::Create,
    once::{Begun, Record},
    surfaces::Surface,
};
use crate::{
    gateway::serve::{self, ServeError, Started},
    http::{
        auth,
        error::ApiError,
        inference::{
            fallbacks::{self, Asking, Reached, Try},
            responses::{Keeper, continued},
            route::Missed,
        },
        state::{Shared, Stage},
        surface::{Answer, written_error},
    },
};

/// The error of a request, or of a socket, as a frame.
pub(super) fn failure(id: Option<&str>, error: &ApiError) -> String {
    error_frame(id, &written_error(ErrorShape::Phrase, error, ""))
}

/// Where the frames come from.
enum Source {
    /// A stream of a request that runs here.
    Stream(Box<Answer<LiveWriter>>),
    /// An answer that comes at once, of a request that runs here.
    Whole(LocalBoxFuture<'static, Result<String, Box<ServeError>>>),
    /// Frames that are there already.
    Lines(VecDeque<String>),
    /// A request that runs at another node.
    There(Box<There>),
}

/// The frames of a request, in their order. Dropped, the request's client has left.
pub(super) struct Frames {
    id: String,
    surface: &'static Surface,
    source: Source,
    /// The first frame, until it is given.
    first: Option<String>,
    /// What ends the request early.
    running: Option<Arc<Notify>>,
    /// The record under the request's `Idempotency-Key`.
    record: Option<Box<Record>>,
    is_over: bool,
}

impl Frames {
    /// Frames that are there already, the last among them.
    pub(super) fn of_lines(create: &Create, lines: VecDeque<String>) -> Self {
        Self::of(create, Source::Lines(lines))
    }

    fn of(create: &Create, source: Source) -> Self {
        let (id, surface) = (create.id.clone(), create.surface);
        Self { id, surface, source, first: None, running: None, record: None, is_over: false }
    }

    /// The next frame; none after the last. `cancel` ends the request early: its last frame still comes. Dropping the
    /// future while it waits loses nothing.
    pub(super) async fn next(&mut self, cancel: &Notify) -> Option<String> {
        if self.is_over {
            return None;
        }
        let frame = match self.first.take() {
            Some(first) => first,
            None => loop {
                tokio::select! {
                    frame = self.source.next(&self.id) => break frame?,
                    () = cancel.notified() => self.cancel(),
                }
            },
        };
        self.is_over = is_last(self.surface.name, &frame);
        if let Some(record) = &mut self.record {
            record.push(&frame);
        }
        if self.is_over
            && let Some(record) = self.record.take()
        {
            // It is durable before its last frame is sent. Whoever leaves meanwhile finds it when it asks again.
            record.finish(&frame).await;
        }
        Some(frame)
    }

    fn cancel(&self) {
        match (&self.source, &self.running) {
            (Source::There(there), _) => there.cancel(),
            (_, Some(running)) => running.notify_one(),
            (_, None) => {}
        }
    }
}

impl Source {
    async fn next(&mut self, id: &str) -> Option<String> {
        match self {
            Self::Stream(answer) => answer.next().await,
            Self::Whole(whole) => {
                let whole = whole.await;
                *self = Self::Lines(VecDeque::new());
                Some(whole.unwrap_or_else(|error| failure(Some(id), &ApiError::from(*error))))
            }
            Self::Lines(lines) => lines.pop_front(),
            Self::There(there) => there.next(id).await,
        }
    }
}

/// Begins a request where it runs best. `cancel` ends it, also while it waits for its admission at another node.
///
/// # Errors
///
/// Nothing runs: the request is wrong, or was refused.
pub(super) async fn begin(state: &Shared, by: &By, create: &Create, cancel: &Notify) -> Result<Frames, ApiError> {
    match There::begin(state, &by.key, create, cancel).await? {
        Some(there) => Ok(Frames::of(create, Source::There(Box::new(there)))),
        None => begin_here(state, by, create, cancel).await,
    }
}

/// Begins a request at this node, once under its `Idempotency-Key`.
pub(super) async fn begin_here(state: &Shared, by: &By, create: &Create, cancel: &Notify) -> Result<Frames, ApiError> {
    // The key is checked again: the socket may have been opened long ago, and what may be done by it is of now.
    auth::still(state, &by.key, by.rights()).await?;
    let Some(key) = &create.idempotency_key else {
        let id = state.gateway.accounts.running().new_id();
        return run(state, by, create, id, cancel).await;
    };
    match Record::begin(state, by, create, key).await? {
        Begun::Replay(lines) => Ok(Frames::of_lines(create, lines)),
        Begun::First(record) => match run(state, by, create, record.request_id(), cancel).await {
            Ok(frames) => Ok(Frames { record: Some(record), ..frames }),
            Err(error) => {
                record.refuse(&failure(Some(&create.id), &error), &error).await;
                Err(error)
            }
        },
    }
}

/// What was read of a body, and how its answer is kept.
async fn read(state: &Shared, by: &By, create: &Create) -> Result<(Request, Option<Arc<Keeper>>), ApiError> {
    let surface = create.surface;
    let body = surface.body(&create.body)?;
    let read = |body: &[u8]| Ok(surface.read(body)?);
    if !surface.keeps() || create.provider_key.is_some() {
        return Ok((read(&body)?, None));
    }
    let most = state.settings.limits.of_body(surface.route);
    let (mut asked, keeper) = continued(state, by.caller.account_id, most, &body, read).await?;
    asked.source.is_kept = keeper.is_some();
    if kept::take_background(&mut asked)?.is_some() {
        return Err(ApiError::invalid("background", "is for the route; on a socket say on_disconnect: detach"));
    }
    Ok((asked, keeper.map(Arc::new)))
}

async fn run(state: &Shared, by: &By, create: &Create, id: RequestId, cancel: &Notify) -> Result<Frames, ApiError> {
    let (request, keeper) = read(state, by, create).await?;
    if state.stage() >= Stage::Parting {
        return Err(ApiError::not_ready("stopping"));
    }
    let trace = state.traces.begin(format!("{}.create", create.surface.name), Kind::Server, |_| None);
    trace.note("farebox.request.id", id.to_string());
    let asking = Asking {
        id,
        caller: by.caller,
        request,
        provider_key: create.provider_key.clone(),
        max_wait: Duration::ZERO,
        max_age: None,
        is_once: create.idempotency_key.is_some(),
        trace,
    };
    let attempt = async |tried: Try| attempt(state, create, tried, cancel, keeper.as_ref()).await;
    let answered = Box::pin(fallbacks::ask(state, asking, attempt)).await.map_err(|error| ApiError::from(*error))?;
    let (source, running, request_id) = answered.answer;
    let created = json!({
        "type": format!("{}.created", create.surface.name), "id": create.id, "request_id": request_id.to_string(),
        "model": answered.model, "on_disconnect": create.on_disconnect,
    });
    Ok(Frames { first: Some(created.to_string()), running: Some(running), ..Frames::of(create, source) })
}

type Ran = (Source, Arc<Notify>, RequestId);

/// One attempt. Where another model may follow, it begins with the first piece, until which nothing is sent; a request
/// that is cancelled asks no other.
async fn attempt(
    state: &Shared,
    create: &Create,
    Try { job, is_last }: Try,
    cancel: &Notify,
    keeper: Option<&Arc<Keeper>>,
) -> Result<Reached<Ran>, Missed> {
    let (surface, request_id) = (create.surface, job.request_id);
    let created = state.gateway.clock().now().0 / 1_000;
    let name = request_id.0.simple().encode_lower(&mut Uuid::encode_buffer()).to_owned();
    let (form, inner) = (surface.form(&job.request), surface.writer(&job.request, &name, created));
    let Started { updates, cancel: running, admission, .. } =
        serve::start(&state.gateway, job).await.map_err(Missed::unheld)?;
    let writer = LiveWriter::new(surface.name, create.id.clone(), inner, surface.carries);
    let mut answer = Answer::new(writer, updates, request_id);
    if let Some(keeper) = keeper.cloned() {
        let of_name = Arc::clone(&keeper);
        answer.unless(async move |name| of_name.is_taken(name).await);
        answer.keep(async move |response| keeper.keep(response).await);
    }
    let source = match form {
        AnswerForm::Whole => {
            let mut whole = async move {
                let whole = answer.whole().await?;
                Ok::<_, Box<ServeError>>(String::from_utf8_lossy(&whole.body).into_owned())
            }
            .boxed_local();
            if is_last {
                Source::Whole(whole)
            } else {
                let line = loop {
                    tokio::select! {
                        line = &mut whole => break line.map_err(Missed::settled)?,
                        () = cancel.notified() => running.notify_one(),
                    }
                };
                Source::Lines(VecDeque::from([line]))
            }
        }
        AnswerForm::Events | AnswerForm::Sound(_) => {
            if !is_last {
                tokio::select! {
                    begun = answer.begun() => drop(begun.map_err(Missed::settled)?),
                    () = cancel.notified() => running.notify_one(),
                }
            }
            Source::Stream(Box::new(answer))
        }
    };
    // The last was not waited for.
    Ok(Reached { answer: (source, running, request_id), waited: (!is_last).then_some(admission) })
}

/// A frame as bytes of a line.
pub(super) fn line(frame: String) -> Bytes {
    Bytes::from(frame + "\n")
}

/// The value of a frame's field, as text.
pub(super) fn field(frame: &str, name: &str) -> Option<String> {
    let frame: Value = serde_json::from_str(frame).ok()?;
    frame[name].as_str().map(str::to_owned)
}
