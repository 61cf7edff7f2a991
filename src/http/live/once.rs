//! A request of a live socket that is sent twice under one `idempotency_key` runs once, by the rules of
//! [`crate::idempotency`]: what is kept is its frames, each a line.

use std::collections::VecDeque;

use billing::ids::RequestId;
use serde_json::Value;

use super::{By, frames::Create};
use crate::{
    http::{error::ApiError, state::Shared},
    idempotency::{
        Asked, Call, KeptAnswer, Key, Recording, Repeat, Whole,
        store::{self, FinishedRequest, First},
    },
};

/// How a request with a key goes on.
pub(super) enum Begun {
    /// It runs, and is recorded.
    First(Box<Record>),
    /// It ran: these were its frames.
    Replay(VecDeque<String>),
}

/// The record of a request that runs.
pub(super) struct Record {
    state: Shared,
    first: First,
    recording: Recording,
}

impl Record {
    /// Takes the key for a request, or finds its earlier frames.
    ///
    /// # Errors
    ///
    /// The key is none, or was used for another request; or as the store says.
    pub(super) async fn begin(state: &Shared, by: &By, create: &Create, key: &str) -> Result<Begun, ApiError> {
        let key = Key::parse(key.as_bytes()).map_err(|error| ApiError::invalid("idempotency_key", error))?;
        let kind = format!("/v1/live#{}.create", create.surface.name);
        let own_key = create.provider_key.as_ref().map(String::as_bytes);
        let call = Call {
            method: "GET",
            path: &kind,
            query: "",
            headers: [None, own_key, None],
            body: create.body.get().as_bytes(),
        };
        let asked = Asked::new(by.holder, &key, Repeat::Anew, call);
        let id = state.gateway.accounts.running().new_id();
        Ok(match state.idempotency.begin(asked, id).await? {
            store::Begun::First(first) => {
                let recording = state.idempotency.recording();
                Begun::First(Box::new(Self { state: state.clone(), first, recording }))
            }
            store::Begun::Replay(answer) => Begun::Replay(again(&answer, &create.id)),
        })
    }

    /// The request's id: that of its earlier life, where it had one.
    pub(super) const fn request_id(&self) -> RequestId {
        self.first.request_id()
    }

    /// Notes a frame.
    pub(super) fn push(&mut self, frame: &str) {
        self.recording.push(frame.as_bytes());
        self.recording.push(b"\n");
    }

    /// Keeps the frames of a request whose last one this is.
    pub(super) async fn finish(self, last: &str) {
        let status = status_of(last);
        self.end(status).await;
    }

    /// Keeps the error of a request that did not run.
    pub(super) async fn refuse(mut self, frame: &str, error: &ApiError) {
        self.push(frame);
        let status = error.status().as_u16();
        self.end(status).await;
    }

    async fn end(self, status: u16) {
        let Self { state, first, recording } = self;
        let finished = FinishedRequest { status, headers: Vec::new(), body: recording.end(), whole: Whole::Yes };
        state.idempotency.finish(first, finished).await;
    }
}

/// The status of a last frame: an error has its own.
fn status_of(frame: &str) -> u16 {
    let frame: Value = serde_json::from_str(frame).unwrap_or_default();
    let is_error = frame["type"] == "error";
    let status = frame["status"].as_u64().and_then(|status| u16::try_from(status).ok());
    if is_error { status.unwrap_or(500) } else { 200 }
}

/// The frames of an earlier request, for one with another id.
fn again(answer: &KeptAnswer, id: &str) -> VecDeque<String> {
    let text = String::from_utf8_lossy(&answer.body);
    let renamed = |line: &str| {
        let mut frame: Value = serde_json::from_str(line).ok()?;
        frame["id"] = id.into();
        Some(frame.to_string())
    };
    text.lines().filter_map(renamed).collect()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn frames_are_given_again_under_the_id_of_who_asks() {
        let body =
            Bytes::from_static(b"{\"type\":\"chat.delta\",\"id\":\"a\"}\n{\"type\":\"chat.done\",\"id\":\"a\"}\n");
        let answer = KeptAnswer { status: 200, headers: Vec::new(), body };
        let lines = again(&answer, "b");
        assert_eq!(lines, [r#"{"type":"chat.delta","id":"b"}"#, r#"{"type":"chat.done","id":"b"}"#]);
        assert_eq!((status_of(&lines[1]), status_of(r#"{"type":"error","status":402}"#)), (200, 402));
    }
}
