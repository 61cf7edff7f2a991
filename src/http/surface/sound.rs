//! A sound, as its bytes come. The head waits for the first of them, so that a failure before any is an HTTP error. The
//! body ends once the request is settled: a sound that breaks off does not end, and no client takes it for a whole one.

use actix_web::{
    HttpResponse, HttpResponseBuilder,
    error::ErrorBadGateway,
    http::header::{CACHE_CONTROL, CONTENT_TYPE},
};
use bytes::Bytes;
use futures::stream;
use wire::inference::Delta;

use super::unread;
use crate::gateway::{
    serve::{Begun, ServeError, Update},
    watch::Watcher,
};

/// The answer, once its first bytes are there. `media_type` is the sound's where its provider names none; `put_head`
/// writes the headers about the request so far.
///
/// # Errors
///
/// The request failed before its first bytes.
pub async fn answer(
    mut updates: Watcher,
    media_type: &'static str,
    put_head: impl FnOnce(&mut HttpResponseBuilder, Option<Begun>),
) -> Result<HttpResponse, Box<ServeError>> {
    let mut known = None;
    let first = loop {
        match updates.next().await.unwrap_or_else(unread) {
            Update::Failed(error) => return Err(error),
            Update::Begun(begun) => known = Some(*begun),
            Update::Cost { .. } => {}
            update @ (Update::Delta(_) | Update::Done(_)) => break update,
        }
    };
    if let (None, Update::Done(done)) = (&known, &first) {
        known = Some(Begun { stages: done.stages, headers: done.headers.clone() });
    }
    let named = known.as_mut().and_then(|begun| {
        let place = begun.headers.iter().position(|(name, _)| **name == *CONTENT_TYPE.as_str())?;
        Some(begun.headers.remove(place).1)
    });
    let mut response = HttpResponse::Ok();
    put_head(&mut response, known);
    response.insert_header((CACHE_CONTROL, "no-store")).content_type(named.as_deref().unwrap_or(media_type));
    let sound = Sound { ahead: Some(first), updates, is_over: false };
    let pieces = stream::unfold(sound, |mut sound| async move { Some((sound.next().await?, sound)) });
    Ok(response.streaming(pieces))
}

/// A sound in progress.
struct Sound {
    /// An update that was read ahead.
    ahead: Option<Update>,
    updates: Watcher,
    is_over: bool,
}

impl Sound {
    /// The next bytes; `None` after the last.
    async fn next(&mut self) -> Option<Result<Bytes, actix_web::Error>> {
        while !self.is_over {
            let update = match self.ahead.take() {
                Some(update) => update,
                None => self.updates.next().await.unwrap_or_else(unread),
            };
            match update {
                Update::Delta(delta) => {
                    if let Some(bytes) = bytes(&delta) {
                        return Some(Ok(bytes));
                    }
                }
                Update::Begun(_) | Update::Cost { .. } => {}
                Update::Done(_) => self.is_over = true,
                Update::Failed(error) => {
                    self.is_over = true;
                    return Some(Err(ErrorBadGateway(error.to_string())));
                }
            }
        }
        None
    }
}

/// The bytes of a piece. Empty ones would end the body.
fn bytes(delta: &Delta) -> Option<Bytes> {
    delta.sound().filter(|bytes| !bytes.is_empty()).cloned()
}
