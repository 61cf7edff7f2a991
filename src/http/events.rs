//! An answer as server-sent events. The head waits for the first piece, so that what fails before any output is an HTTP
//! error; but for no longer than a heartbeat, since proxies cut what is silent: then the head goes out, and what fails
//! after it is an event, in the form that SDKs read. A silence midway is filled with comments. What names the answer is
//! the same in all its chunks.

use std::time::Duration;

use actix_web::{HttpResponse, HttpResponseBuilder, http::header::CACHE_CONTROL};
use bytes::Bytes;
use futures::stream;
use tokio::time::{Instant, timeout_at};
use wire::{
    format::openai::{Head, Names},
    inference::{Delta, Failure, FinishReason},
    sse,
};

use super::{
    error::{ApiError, Shape},
    inference::receipt,
};
use crate::gateway::{
    serve::{ServeError, Update},
    stages::Stages,
    watch::Watcher,
};

/// Why a stream was cut that was not read.
const UNREAD: &str = "the answer was not read in time, and is charged as far as it was made";

/// Writes updates as server-sent events.
pub(super) struct Writer {
    pub(super) head: Head,
    pub(super) updates: Watcher,
    /// For errors.
    pub(super) request_id: String,
    /// Whether the client expects a chunk of usage without choices.
    pub(super) usage_asked: bool,
    /// How long the stream may be silent.
    pub(super) heartbeat: Duration,
}

/// A stream on its way: what was written decides what comes next.
struct Stream {
    writer: Writer,
    names: Names,
    /// Choices whose first chunk was written.
    begun: Vec<u32>,
    /// Choices whose reason to end was written.
    finished: Vec<u32>,
    /// An update that was read before the head went out.
    waiting: Option<Update>,
    /// When the silence has lasted too long.
    quiet_until: Instant,
    /// Whether its last word was written.
    ended: bool,
}

impl Writer {
    /// The answer, once its first piece is there or it has been silent for a heartbeat since `arrived`. `put_head` writes
    /// the headers that say how it went until then.
    pub(super) async fn answer(
        mut self,
        arrived: std::time::Instant,
        put_head: impl FnOnce(&mut HttpResponseBuilder, Option<Stages>),
    ) -> Result<HttpResponse, ApiError> {
        let mut stages = None;
        let head_until = Instant::from_std(arrived) + self.heartbeat;
        let first = timeout_at(head_until, first_piece(&mut self.updates, &mut stages)).await;
        let waiting = first.ok().transpose()?;
        let mut response = HttpResponse::Ok();
        put_head(&mut response, stages);
        response.insert_header((CACHE_CONTROL, "no-store")).content_type("text/event-stream");
        let names = Names::new(&self.head);
        // Without a first piece the silence has lasted long enough.
        let quiet_until = if waiting.is_some() { Instant::now() + self.heartbeat } else { Instant::now() };
        let stream =
            Stream { writer: self, names, begun: Vec::new(), finished: Vec::new(), waiting, quiet_until, ended: false };
        let frames = stream::unfold(stream, |mut stream| async move {
            let bytes = stream.next().await?;
            Some((Ok::<_, actix_web::Error>(bytes), stream))
        });
        Ok(response.streaming(frames))
    }
}

/// The first update that is written as an event.
async fn first_piece(updates: &mut Watcher, stages: &mut Option<Stages>) -> Result<Update, ApiError> {
    loop {
        match updates.next().await {
            Some(Update::Failed(error)) => return Err((*error).into()),
            None => return Err(ApiError::internal(&"a request's task ended without an answer")),
            Some(Update::Begun(begun)) => *stages = Some(*begun),
            Some(Update::Cost { .. }) => {}
            Some(Update::Done(done)) => {
                *stages = stages.or(Some(done.stages));
                return Ok(Update::Done(done));
            }
            Some(update) => return Ok(update),
        }
    }
}

/// What a choice of an answer that was cut ends with.
pub(super) fn cut(choice: u32) -> Delta {
    Delta { choice, finish: Some(FinishReason::Length), ..Delta::default() }
}

impl Stream {
    /// The next bytes; none after the last word.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if self.ended {
                return None;
            }
            let update = match self.waiting.take() {
                Some(update) => update,
                None => match timeout_at(self.quiet_until, self.writer.updates.next()).await {
                    Ok(Some(update)) => update,
                    // What ends without its end is not to look whole.
                    Ok(None) => Update::Failed(Box::new(ServeError::Failed(Failure::Overloaded(UNREAD.into())))),
                    Err(_) => return Some(self.written(sse::comment("waiting"))),
                },
            };
            // Empty bytes would end the body.
            if let Some(text) = self.write(update) {
                return Some(self.written(text));
            }
        }
    }

    fn written(&mut self, text: String) -> Bytes {
        self.quiet_until = Instant::now() + self.writer.heartbeat;
        Bytes::from(text)
    }

    fn write(&mut self, update: Update) -> Option<String> {
        self.ended = matches!(update, Update::Done(_) | Update::Failed(_));
        match update {
            Update::Delta(delta) => Some(self.delta(*delta)),
            // Told in the head.
            Update::Begun(_) => None,
            // The cost itself comes in the usage chunk.
            Update::Cost { cost, .. } => Some(sse::comment(&format!("cost {cost}"))),
            Update::Done(done) => {
                let ends = if done.is_cut() { self.ends() } else { String::new() };
                let (head, receipt) = (&self.writer.head, receipt(&done));
                let last = if self.writer.usage_asked {
                    head.usage_chunk(&done.usage, &receipt)
                } else {
                    head.closing_chunk(&done.usage, &receipt)
                };
                Some(ends + &sse::encode(&self.names.give(last)) + &sse::encode(sse::LAST_WORD))
            }
            Update::Failed(error) => {
                let body = ApiError::from(*error).body(Shape::Object, &self.writer.request_id);
                Some(sse::encode(&body.to_string()))
            }
        }
    }

    /// An answer that was cut says for each choice that it is not whole.
    fn ends(&mut self) -> String {
        let open: Vec<u32> = self.begun.iter().filter(|choice| !self.finished.contains(choice)).copied().collect();
        let end = |choice| sse::encode(&self.names.give(self.writer.head.chunk(&cut(choice), false)));
        open.into_iter().map(end).collect()
    }

    fn delta(&mut self, mut delta: Delta) -> String {
        if delta.finish.is_some() {
            self.finished.push(delta.choice);
        }
        let first = !self.begun.contains(&delta.choice);
        if first {
            self.begun.push(delta.choice);
        }
        if let Some(raw) = &mut delta.raw {
            self.names.unite(raw);
        }
        sse::encode(&self.writer.head.chunk(&delta, first))
    }
}
