//! The body of an answer, as it comes: piece by piece or whole, each wait with its limit.

use std::{future::poll_fn, pin::pin, task::Poll, time::Duration};

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use tokio::time::sleep;

use crate::error::CallError;

/// The next piece of a body; none at its end.
///
/// # Errors
///
/// Where the connection broke, or nothing came for so long.
pub async fn next(body: &mut Incoming, idle: Duration) -> Result<Option<Bytes>, CallError> {
    while !body.is_end_stream() {
        match within(idle, body.frame()).await {
            Some(Some(Ok(frame))) => {
                // Headers after the body say nothing to us.
                if let Ok(bytes) = frame.into_data() {
                    return Ok(Some(bytes));
                }
            }
            Some(Some(Err(error))) => return Err(CallError::of_body(&error)),
            Some(None) => break,
            None => return Err(CallError::Timeout),
        }
    }
    Ok(None)
}

/// A whole body, which may be so long.
///
/// # Errors
///
/// Where it is longer, the connection broke, or nothing came for so long.
pub async fn collect(mut body: Incoming, most: usize, idle: Duration) -> Result<Bytes, CallError> {
    let Some(first) = next(&mut body, idle).await? else { return Ok(Bytes::new()) };
    let Some(mut piece) = next(&mut body, idle).await? else { return Ok(first) };
    let mut whole = Vec::from(first);
    loop {
        if whole.len() + piece.len() > most {
            return Err(CallError::TooLarge(most));
        }
        whole.extend_from_slice(&piece);
        match next(&mut body, idle).await? {
            Some(next) => piece = next,
            None => return Ok(whole.into()),
        }
    }
}

/// What comes of something, none after so long. What is there at once costs no timer.
pub async fn within<T>(limit: Duration, something: impl Future<Output = T>) -> Option<T> {
    let mut something = pin!(something);
    let mut end = pin!(None);
    poll_fn(|cx| {
        if let Poll::Ready(there) = something.as_mut().poll(cx) {
            return Poll::Ready(Some(there));
        }
        if end.is_none() {
            end.set(Some(sleep(limit)));
        }
        match end.as_mut().as_pin_mut() {
            Some(end) => end.poll(cx).map(|()| None),
            None => Poll::Pending,
        }
    })
    .await
}
