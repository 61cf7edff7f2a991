//! How the frames of a request come to its socket: from the request itself, which ends with the socket; or from what is
//! remembered of a request that outlives it.

use std::{cell::Cell, sync::Arc};

use billing::ids::RequestId;
use serde_json::json;
use tokio::sync::Notify;
use wire::format::live::{is_last, numbered};

use super::{
    By,
    elsewhere::{There, is_free},
    frames::{Create, OnDisconnect},
    ongoing::{Entered, Next, Ongoing, forgotten},
    outgoing::Outgoing,
    output,
    request::{self, failure, field},
};
use crate::http::{auth, error::ApiError, state::Shared};

/// Runs a request that ends with its socket.
pub(super) async fn watch(state: Shared, by: By, create: Create, outgoing: Outgoing, cancel: Arc<Notify>) {
    let number = Cell::new(0);
    let send = |frame: &str| {
        number.set(number.get() + 1);
        outgoing.send(numbered(frame, number.get()));
    };
    match Box::pin(request::begin(&state, &by, &create, &cancel)).await {
        Ok(mut frames) => {
            while let Some(frame) = frames.next(&cancel).await {
                send(&frame);
            }
        }
        Err(error) => send(&failure(Some(&create.id), &error)),
    }
}

/// Begins a request that outlives its socket.
///
/// # Errors
///
/// Its id is taken, or there are too many.
pub(super) fn outlive(state: &Shared, by: By, create: Create) -> Result<Arc<Ongoing>, ApiError> {
    let entered = state.ongoings.enter(by.holder, create.id.clone())?;
    let (ongoing, state) = (Arc::clone(entered.ongoing()), state.clone());
    actix_rt::spawn(async move {
        // The process does not stop before it has ended.
        let _detached = state.count_detached();
        run(&state, &by, &create, entered).await;
    });
    Ok(ongoing)
}

/// Runs such a request to its end.
async fn run(state: &Shared, by: &By, create: &Create, entered: Entered) {
    let ongoing = Arc::clone(entered.ongoing());
    let begun = async {
        // Under a key it runs once, whichever nodes hear of it.
        is_free(state, &by.key, &create.id, create.idempotency_key.is_none()).await?;
        request::begin(state, by, create, &ongoing.cancel).await
    };
    match Box::pin(begun).await {
        Ok(mut frames) => {
            while let Some(frame) = frames.next(&ongoing.cancel).await {
                if ongoing.request_id().is_none()
                    && let Some(id) = field(&frame, "request_id").and_then(|id| id.parse().ok())
                {
                    ongoing.is_request(RequestId(id));
                }
                // Who reads the last frame finds the output.
                if create.on_disconnect == OnDisconnect::Detach && is_last(create.surface.name, &frame) {
                    output::keep(state, by, &ongoing, &frame).await;
                }
                ongoing.push(&frame);
            }
        }
        Err(error) => {
            // Nothing ran: the id is free again.
            ongoing.push(&failure(Some(&create.id), &error));
            return;
        }
    }
    entered.end();
}

/// Sends what is remembered of a request, from after a number on, as it comes.
pub(super) async fn follow(ongoing: Arc<Ongoing>, outgoing: Outgoing, id: String, after: u64) {
    let mut number = after + 1;
    loop {
        // What waits here takes no room of the socket's.
        outgoing.has_room().await;
        match ongoing.next(number).await {
            Next::Frame(frame) => outgoing.send(frame.to_string()),
            Next::Forgotten(first) => return outgoing.send(failure(Some(&id), &forgotten(first))),
            Next::Over => return,
        }
        number += 1;
    }
}

/// The first frame of a request that is taken up again.
fn resumed(id: &str, after: u64) -> String {
    json!({"type": "resumed", "id": id, "after": after}).to_string()
}

/// Takes a request up again that is remembered here.
pub(super) async fn resume(
    state: Shared,
    by: By,
    ongoing: Arc<Ongoing>,
    outgoing: Outgoing,
    (id, after): (String, u64),
) {
    // The socket may have been opened long ago, in a role that has changed since.
    let may = auth::still(&state, &by.key, by.rights()).await.and_then(|()| ongoing.check(after));
    if let Err(error) = may {
        return outgoing.send(failure(Some(&id), &error));
    }
    outgoing.send(resumed(&id, after));
    follow(ongoing, outgoing, id, after).await;
}

/// Takes a request up again that another node remembers.
pub(super) async fn resume_elsewhere(
    state: Shared,
    by: By,
    outgoing: Outgoing,
    (id, after): (String, u64),
    cancel: Arc<Notify>,
) {
    let Some(mut there) = There::resume(&state, &by.key, &id, after).await else {
        let what =
            "a request of this id, which runs or ended a short while ago and outlives its socket (on_disconnect),";
        return outgoing.send(failure(Some(&id), &ApiError::not_found(what)));
    };
    let mut is_first = true;
    loop {
        tokio::select! {
            frame = there.next(&id) => {
                let Some(frame) = frame else { return };
                if std::mem::take(&mut is_first) && !is_last("", &frame) {
                    outgoing.send(resumed(&id, after));
                }
                outgoing.send(frame);
                outgoing.has_room().await;
            }
            () = cancel.notified() => there.cancel(),
        }
    }
}
