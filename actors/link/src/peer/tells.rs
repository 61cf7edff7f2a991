//! Messages that wait for their way to a node. What waits is sent together, in its order, and the next only once the last
//! has arrived. What may have arrived is not sent again; what was surely not sent is, until it is too old.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use bytes::BytesMut;
use http::StatusCode;
use tokio::{
    sync::{mpsc::Receiver, watch},
    time::{Instant, sleep},
};

use super::{
    Counts,
    connection::{self, State},
    post, read,
};
use crate::{
    Common,
    error::{LinkError, Unknown},
    frame::Tell,
    path,
};

/// A message, and since when it waits.
pub(crate) type Waiting = (Instant, Tell);

/// The most messages that are sent together.
const TOGETHER: usize = 1_024;
/// How long is waited after messages could not be sent.
const REST: Duration = Duration::from_millis(20);

/// Sends what comes in.
pub(crate) async fn pour(
    common: Arc<Common>,
    mut waiting: Receiver<Waiting>,
    mut state: watch::Receiver<State>,
    counts: Arc<Counts>,
) {
    let mut batch: Vec<Waiting> = Vec::new();
    loop {
        if batch.is_empty() && waiting.recv_many(&mut batch, TOGETHER).await == 0 {
            return;
        }
        let now = Instant::now();
        let before = batch.len();
        batch.retain(|(since, _)| now < *since + common.options.tell_age);
        counts.lost.fetch_add((before - batch.len()) as u64, Relaxed);
        let together = fitting(&batch, common.options.body);
        if together == 0 {
            continue;
        }
        let count = together as u64;
        match send(&common, &batch[..together], &mut state).await {
            Ok(()) => counts.told.fetch_add(count, Relaxed),
            Err(LinkError::Unknown(_)) => counts.lost.fetch_add(count, Relaxed),
            Err(LinkError::NotSent(_)) => {
                sleep(REST).await;
                continue;
            }
        };
        batch.drain(..together);
    }
}

/// How many of the first of them may be sent together.
fn fitting(batch: &[Waiting], most: usize) -> usize {
    let mut length = 0;
    batch
        .iter()
        .take_while(|(_, tell)| {
            length += tell.length();
            length <= most
        })
        .count()
}

async fn send(common: &Common, batch: &[Waiting], state: &mut watch::Receiver<State>) -> Result<(), LinkError> {
    let end = Instant::now() + common.options.tell_age;
    let connected = connection::connected(state, end).await?;
    let mut body = BytesMut::new();
    for (_, tell) in batch {
        tell.write(&mut body);
    }
    let response = connected.send(post(path::TELL, body.freeze())?, end).await?;
    let status = response.status();
    read(response, 1 << 16, end).await?;
    match status {
        StatusCode::NO_CONTENT => Ok(()),
        _ => Err(Unknown::Nonsense.into()),
    }
}
