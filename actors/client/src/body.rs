//! The body of an answer, as it comes: piece by piece or whole, each wait with its limit.

use std::{
    future::poll_fn,
    pin::{Pin, pin},
    task::Poll,
    time::Duration,
};

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use tokio::time::{Instant, Sleep, sleep, sleep_until};

use crate::error::CallError;

/// A limit on each of many waits, one after the other. Its timer is set for one, and then moved only where it goes off
/// early: most waits are short, and cost no timer.
#[derive(Debug)]
pub struct Idle {
    limit: Duration,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Idle {
    /// Waits may last so long each.
    pub const fn new(limit: Duration) -> Self {
        Self { limit, timer: None }
    }

    /// What comes of something, none after the limit.
    async fn within<T>(&mut self, something: impl Future<Output = T>) -> Option<T> {
        let (mut something, end) = (pin!(something), Instant::now().checked_add(self.limit));
        poll_fn(|cx| {
            if let Poll::Ready(there) = something.as_mut().poll(cx) {
                return Poll::Ready(Some(there));
            }
            // A limit beyond all times is none.
            let Some(end) = end else { return Poll::Pending };
            let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(end)));
            while timer.as_mut().poll(cx).is_ready() {
                if timer.deadline() >= end {
                    return Poll::Ready(None);
                }
                timer.as_mut().reset(end);
            }
            Poll::Pending
        })
        .await
    }
}

/// The next piece of a body; none at its end.
///
/// # Errors
///
/// Where the connection broke, or nothing came for so long.
pub async fn next(body: &mut Incoming, idle: &mut Idle) -> Result<Option<Bytes>, CallError> {
    while !body.is_end_stream() {
        match idle.within(body.frame()).await {
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
    let mut idle = Idle::new(idle);
    let Some(first) = next(&mut body, &mut idle).await? else { return Ok(Bytes::new()) };
    let Some(mut piece) = next(&mut body, &mut idle).await? else { return Ok(first) };
    let mut whole = Vec::from(first);
    loop {
        if whole.len() + piece.len() > most {
            return Err(CallError::TooLarge(most));
        }
        whole.extend_from_slice(&piece);
        match next(&mut body, &mut idle).await? {
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

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;

    #[tokio::test]
    async fn each_wait_has_the_whole_limit_and_ends_by_it() {
        let (limit, short) = (Duration::from_millis(50), Duration::from_millis(30));
        let mut idle = Idle::new(limit);
        for _ in 0..4 {
            // What is there as the limit is reached is there, however late both are.
            assert!(idle.within(sleep(short)).await.is_some());
        }
        let began = Instant::now();
        assert!(idle.within(pending::<()>()).await.is_none());
        assert!(began.elapsed() >= limit, "the timer of an earlier wait ended it");
        assert!(idle.within(pending::<()>()).await.is_none(), "and so it is afterwards");
    }

    #[tokio::test]
    async fn a_limit_beyond_all_times_is_none() {
        assert!(Idle::new(Duration::MAX).within(sleep(Duration::from_millis(1))).await.is_some());
    }
}
