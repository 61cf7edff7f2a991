//! Chats of a live socket whose model another node has: they run there as they would here, and their frames come back line
//! by line. A chat that is cancelled is cancelled there, by a request of its own; one whose socket is gone is let go.

use std::{pin::pin, sync::Arc};

use actors::cluster::{Cluster, LinkError, NodeId, Pieces, place::Spot};
use bytes::BytesMut;
use serde_json::{json, value::RawValue};
use tokio::sync::Notify;
use uuid::Uuid;

use super::{
    failure,
    outgoing::Outgoing,
    relayed::{CANCEL, CREATE},
};
use crate::http::{
    error::ApiError,
    relay::{count, lost, not_taken, spots_of_body},
    state::Shared,
};

/// A chat, and its socket.
#[derive(Clone, Copy)]
pub(super) struct Chat<'a> {
    pub(super) key: &'a str,
    pub(super) id: &'a str,
    pub(super) body: &'a RawValue,
    pub(super) outgoing: &'a Outgoing,
    pub(super) cancel: &'a Notify,
}

/// Runs a chat at the node that serves its model best, to its last frame. Returns whether it ran at another node.
pub(super) async fn chat(state: &Shared, chat: Chat<'_>) -> bool {
    let Some((cluster, spots)) = spots_of_body(state, chat.body.get().as_bytes()) else { return false };
    for spot in spots {
        let Spot::There(node) = spot else { return false };
        match at(&cluster, node, chat).await {
            Ok(()) => return true,
            // Nothing was begun there.
            Err(LinkError::NotSent(why)) => not_taken(node, &why),
            Err(LinkError::Unknown(why)) => {
                chat.outgoing.send(failure(Some(chat.id), &lost(node, &why.to_string())));
                return true;
            }
        }
    }
    false
}

fn request(path: &str, key: &str, body: &serde_json::Value) -> Result<::http::Request<bytes::Bytes>, LinkError> {
    let request = ::http::Request::post(path)
        .header("authorization", format!("Bearer {key}"))
        .header("content-type", "application/json")
        .body(body.to_string().into());
    request.map_err(|error| LinkError::unsendable(&error))
}

/// Runs a chat at a node.
async fn at(cluster: &Arc<Cluster>, node: NodeId, chat: Chat<'_>) -> Result<(), LinkError> {
    let token = Uuid::new_v4();
    let body = json!({"token": token, "id": chat.id, "body": chat.body});
    let cancelled = request(CANCEL, chat.key, &json!({"token": token}))?;
    let cancel = || {
        let (cluster, cancelled) = (Arc::clone(cluster), cancelled.clone());
        // Where it is not heard, the node is gone, and so is the chat.
        actix_rt::spawn(async move { drop(cluster.relay(node, cancelled, None).await) });
    };
    let mut beginning = pin!(cluster.relay(node, request(CREATE, chat.key, &body)?, None));
    let answer = loop {
        tokio::select! {
            answer = &mut beginning => break answer?,
            () = chat.cancel.notified() => {
                cancel();
            }
        }
    };
    count("answered");
    let (head, pieces) = answer.into_parts();
    if head.status != ::http::StatusCode::OK {
        let error = ApiError::internal(&format!("another node answers a chat with {}", head.status));
        chat.outgoing.send(failure(Some(chat.id), &error));
        return Ok(());
    }
    let mut frames = Frames { pieces, read: BytesMut::new() };
    loop {
        let frame = tokio::select! {
            frame = frames.next() => frame,
            () = chat.cancel.notified() => {
                cancel();
                continue;
            }
        };
        match frame {
            Ok(Some(frame)) => chat.outgoing.send(frame),
            Ok(None) => return Ok(()),
            Err(why) => {
                chat.outgoing.send(failure(Some(chat.id), &lost(node, &why)));
                return Ok(());
            }
        }
    }
}

/// Frames, each a line.
struct Frames {
    pieces: Pieces,
    read: BytesMut,
}

impl Frames {
    /// The next frame; none after the last. A wait may be given up and taken up again.
    async fn next(&mut self) -> Result<Option<String>, String> {
        loop {
            if let Some(end) = self.read.iter().position(|byte| *byte == b'\n') {
                let line = self.read.split_to(end + 1);
                return String::from_utf8(line[..end].to_vec()).map(Some).map_err(|error| error.to_string());
            }
            match self.pieces.next().await.map_err(|cut| cut.0)? {
                Some(piece) => self.read.extend_from_slice(&piece),
                None if self.read.is_empty() => return Ok(None),
                None => return Err("a frame is not whole".to_owned()),
            }
        }
    }
}
