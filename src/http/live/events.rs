//! `GET /v1/events/stream`: the topics of a live socket as server-sent events, for those without sockets. An event's id
//! says what was told of requests and events; a client that comes back with it (`Last-Event-ID`) misses none of them.

use std::{pin::Pin, time::Duration};

use actix_web::{HttpRequest, HttpResponse, http::header::CACHE_CONTROL};
use bytes::Bytes;
use futures::stream;
use serde_json::json;
use tokio::time::{Instant, Sleep, sleep_until};
use wire::sse;

use super::{
    By,
    close::Close,
    feed::Feed,
    origin::{self, Opens},
    sockets::{self, Place},
    topics::Topic,
};
use crate::http::{
    auth::Revocations,
    error::ApiError,
    query::Query,
    respond::refuse,
    state::{Shared, Stage},
};

/// `GET /v1/events/stream`.
pub async fn events(state: Shared, request: HttpRequest) -> HttpResponse {
    // Revocations are watched before the key is checked, so that none is missed in between.
    let revocations = state.keys.revocations();
    match open(&state, &request, revocations).await {
        Ok(stream) => {
            let mut response = HttpResponse::Ok();
            response.insert_header((CACHE_CONTROL, "no-store")).content_type("text/event-stream");
            response.streaming(stream::unfold(stream, |mut stream| async move {
                let text = stream.next().await?;
                Some((Ok::<_, actix_web::Error>(Bytes::from(text)), stream))
            }))
        }
        Err(error) => refuse(&request, &error),
    }
}

async fn open(state: &Shared, request: &HttpRequest, revocations: Revocations) -> Result<Stream, ApiError> {
    let by = By::of(state, origin::key(state, request, Opens::Stream).await?).await?;
    if state.stage() >= Stage::Parting {
        return Err(ApiError::not_ready("stopping"));
    }
    let query = Query::of(request, &["topics"])?;
    let topics = match query.get("topics") {
        Some(names) => names.split(',').map(Topic::named).collect::<Result<Vec<_>, _>>()?,
        None => Topic::ALL.into_iter().filter(|topic| topic.is_for(&by.caller)).collect(),
    };
    let mut feed = Feed::new(state, by.caller);
    feed.subscribe(&topics)?;
    if let Some(last) = request.headers().get("last-event-id") {
        feed.since(last.to_str().unwrap_or_default())?;
    }
    let place = sockets::place(state, by.caller.account_id)?;
    let heartbeat = Duration::from_secs(state.settings.http.heartbeat_seconds);
    let quiet = Box::pin(sleep_until(Instant::now() + heartbeat));
    Ok(Stream { state: state.clone(), by, feed, revocations, heartbeat, quiet, is_over: false, _place: place })
}

/// An open stream.
struct Stream {
    state: Shared,
    by: By,
    feed: Feed,
    revocations: Revocations,
    heartbeat: Duration,
    quiet: Pin<Box<Sleep>>,
    is_over: bool,
    _place: Place,
}

impl Stream {
    /// The next text; none after the last.
    async fn next(&mut self) -> Option<String> {
        if self.is_over {
            return None;
        }
        let closed = tokio::select! {
            news = self.feed.next() => {
                self.quiet.as_mut().reset(Instant::now() + self.heartbeat);
                return Some(format!("id: {}\n{}", news.place, sse::named(news.kind(), &news.frame)));
            }
            () = &mut self.quiet => {
                self.quiet.as_mut().reset(Instant::now() + self.heartbeat);
                return Some(sse::comment("waiting"));
            }
            close = self.by.ended(&self.state, &mut self.revocations) => close,
            () = self.state.reached(Stage::Parting) => Close::Stopping,
        };
        self.is_over = true;
        Some(sse::named("close", &json!({"type": "close", "code": closed.code(), "reason": closed.says()}).to_string()))
    }
}
