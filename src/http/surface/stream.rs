//! An answer as server-sent events, or as its format streams otherwise. The head waits for the first piece, so that a failure before any output is an HTTP
//! error. It waits for one heartbeat at most, because proxies cut silent connections; after that, a failure is an
//! event, in the form that SDKs read. Later silence is filled with keep-alives.

use std::{pin::Pin, time::Duration};

use actix_web::{HttpResponse, HttpResponseBuilder, http::header::CACHE_CONTROL};
use bytes::Bytes;
use futures::stream;
use tokio::time::{Instant, Sleep, sleep_until, timeout_at};
use wire::format::AnswerWriter;

use super::Answer;
use crate::gateway::serve::{Begun, ServeError};

/// A stream in progress.
struct Stream<W> {
    answer: Answer<W>,
    /// The longest silence.
    heartbeat: Duration,
    /// When the silence has lasted too long.
    quiet_until: Instant,
    /// Goes off then, or before: it is not set anew for each text.
    alarm: Pin<Box<Sleep>>,
}

/// The answer, once its first piece is there or a heartbeat has passed since `arrived`. `put_head` writes the headers
/// about the request so far.
///
/// # Errors
///
/// The request failed before its first piece and within the heartbeat. A later failure is an event of the stream.
pub async fn answer<W: AnswerWriter>(
    mut answer: Answer<W>,
    arrived: std::time::Instant,
    heartbeat: Duration,
    put_head: impl FnOnce(&mut HttpResponseBuilder, Option<Begun>),
) -> Result<HttpResponse, Box<ServeError>> {
    let begun = timeout_at(Instant::from_std(arrived) + heartbeat, answer.begun()).await;
    // Without a first piece the silence has lasted long enough.
    let quiet_until = if begun.is_ok() { Instant::now() + heartbeat } else { Instant::now() };
    let begun = begun.ok().transpose()?.flatten();
    let mut response = HttpResponse::Ok();
    put_head(&mut response, begun);
    response.insert_header((CACHE_CONTROL, "no-store")).content_type(answer.stream_type());
    let stream = Stream { answer, heartbeat, quiet_until, alarm: Box::pin(sleep_until(quiet_until)) };
    let texts = stream::unfold(stream, |mut stream| async move {
        let bytes = stream.next().await?;
        Some((Ok::<_, actix_web::Error>(bytes), stream))
    });
    Ok(response.streaming(texts))
}

impl<W: AnswerWriter> Stream<W> {
    /// The next bytes; `None` after the end.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            let text = tokio::select! {
                biased;
                text = self.answer.next() => Some(text?),
                () = self.alarm.as_mut() => {
                    if self.alarm.deadline() < self.quiet_until {
                        self.alarm.as_mut().reset(self.quiet_until);
                        continue;
                    }
                    self.answer.silence()
                }
            };
            self.quiet_until = Instant::now() + self.heartbeat;
            // Empty bytes would end the body.
            if let Some(text) = text.filter(|text| !text.is_empty()) {
                return Some(Bytes::from(text));
            }
        }
    }
}
