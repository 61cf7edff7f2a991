//! Requests of a live socket that another node serves: those whose model it has, and those that are taken up again there.
//! They run there as they would here, and their frames come back line by line. One that is cancelled is cancelled there,
//! by a request of its own; one whose socket is gone is let go.

use std::{pin::pin, sync::Arc, time::Duration};

use ::http::StatusCode;
use actors::cluster::{Cluster, LinkError, NodeId, Pieces, place::Spot};
use bytes::{Bytes, BytesMut};
use futures::future::join_all;
use serde::Serialize;
use serde_json::json;
use tokio::{sync::Notify, time::timeout};
use uuid::Uuid;

use super::{
    frames::Create,
    ongoing::taken,
    relayed::{CANCEL, CREATE, RESUME},
    request::failure,
};
use crate::http::{
    error::ApiError,
    relay::{count, lost, not_taken, spots_of_body},
    state::Shared,
};

/// How long another node may take to say whether it keeps a request.
const SAYS_WITHIN: Duration = Duration::from_secs(3);
/// A number that no frame has: who asks to go on from there learns whether there is such a request, and gets no frame.
const NO_FRAME: u64 = u64::MAX;

/// A request at another node.
pub(super) struct There {
    cluster: Arc<Cluster>,
    node: NodeId,
    /// What cancels it.
    cancelled: ::http::Request<Bytes>,
    pieces: Pieces,
    read: BytesMut,
}

/// What another node is asked for.
#[derive(Serialize)]
struct Asked<T> {
    /// What names the request between the nodes.
    token: Uuid,
    what: T,
}

/// The other nodes that may keep requests, and whether each ends, and answers no more from some time on: those last.
fn nodes(cluster: &Cluster) -> Vec<(NodeId, bool)> {
    let mut others = cluster.living();
    others.sort_by_key(|(_, leaves)| *leaves);
    others
}

/// Checks that no other node keeps a request of this id, so that one may be begun here. Whoever asks keeps the id already: of two
/// nodes that ask at once each hears of the other, and neither begins.
///
/// # Errors
///
/// One does; or one does not say so in time, and `must_know`.
pub(super) async fn is_free(state: &Shared, key: &str, id: &str, must_know: bool) -> Result<(), ApiError> {
    let Some(cluster) = &state.cluster else { return Ok(()) };
    let asks =
        nodes(cluster).into_iter().map(async |(node, leaves)| (keeps(cluster, node, key, id).await, node, leaves));
    for (keeps, node, leaves) in join_all(asks).await {
        match keeps {
            Ok(true) => return Err(taken()),
            Ok(false) => {}
            Err(why) => {
                tracing::warn!(%node, why, "a node does not say whether it keeps a request");
                if must_know && !leaves {
                    return Err(ApiError::not_ready(
                        "Another node can't be asked just now whether it has a request of this id: send it again in a moment, \
                         or with an idempotency_key.",
                    ));
                }
            }
        }
    }
    Ok(())
}

/// Whether another node keeps a request of this id.
async fn keeps(cluster: &Cluster, node: NodeId, key: &str, id: &str) -> Result<bool, String> {
    let asked = Asked { token: Uuid::new_v4(), what: json!({"id": id, "after": NO_FRAME}) };
    let asked = request(RESUME, key, &asked).map_err(|error| error.to_string())?;
    let answer = timeout(SAYS_WITHIN, cluster.relay(node, asked, None)).await;
    let answer = answer.map_err(|_| "it does not answer in time".to_owned())?;
    match answer.map_err(|error| error.to_string())?.status() {
        StatusCode::OK => Ok(true),
        StatusCode::NOT_FOUND => Ok(false),
        other => Err(format!("it answers {other}")),
    }
}

fn request(path: &str, key: &str, body: &impl Serialize) -> Result<::http::Request<Bytes>, LinkError> {
    let body = serde_json::to_vec(body).map_err(|error| LinkError::unsendable(&error))?;
    let request = ::http::Request::post(path)
        .header("authorization", format!("Bearer {key}"))
        .header("content-type", "application/json")
        .body(body.into());
    request.map_err(|error| LinkError::unsendable(&error))
}

impl There {
    /// Begins a request at the node that serves its model best; none where that is this one.
    ///
    /// # Errors
    ///
    /// It was lost on its way: it may have been begun, and is settled as far as it came.
    pub(super) async fn begin(
        state: &Shared,
        key: &str,
        create: &Create,
        cancel: &Notify,
    ) -> Result<Option<Self>, ApiError> {
        let Some((cluster, spots)) = spots_of_body(state, create.body.get().as_bytes()) else { return Ok(None) };
        for spot in spots {
            let Spot::There(node) = spot else { return Ok(None) };
            match Self::at(&cluster, node, (CREATE, key), create, cancel).await {
                Ok((StatusCode::OK, there)) => return Ok(Some(there)),
                Ok((status, _)) => {
                    return Err(ApiError::internal(&format!("another node answers a request with {status}")));
                }
                // Nothing was begun there.
                Err(LinkError::NotSent(why)) => not_taken(node, &why),
                Err(LinkError::Unknown(why)) => return Err(lost(node, &why.to_string())),
            }
        }
        Ok(None)
    }

    /// Takes a request up again that one of the other nodes keeps; none where no node does.
    pub(super) async fn resume(state: &Shared, key: &str, id: &str, after: u64) -> Option<Self> {
        let cluster = state.cluster.as_ref()?;
        let never = Notify::new();
        for (node, _) in nodes(cluster) {
            let asked = json!({"id": id, "after": after});
            if let Ok((StatusCode::OK, there)) = Self::at(cluster, node, (RESUME, key), &asked, &never).await {
                return Some(there);
            }
        }
        None
    }

    async fn at<T: Serialize>(
        cluster: &Arc<Cluster>,
        node: NodeId,
        (path, key): (&str, &str),
        what: &T,
        cancel: &Notify,
    ) -> Result<(StatusCode, Self), LinkError> {
        let token = Uuid::new_v4();
        let cancelled = request(CANCEL, key, &json!({"token": token}))?;
        let asked = request(path, key, &Asked { token, what })?;
        let mut beginning = pin!(cluster.relay(node, asked, None));
        let answer = loop {
            tokio::select! {
                answer = &mut beginning => break answer?,
                () = cancel.notified() => cancel_at(cluster, node, &cancelled),
            }
        };
        count("answered");
        let (head, pieces) = answer.into_parts();
        Ok((head.status, Self { cluster: Arc::clone(cluster), node, cancelled, pieces, read: BytesMut::new() }))
    }

    /// Has the request end early there.
    pub(super) fn cancel(&self) {
        cancel_at(&self.cluster, self.node, &self.cancelled);
    }

    /// The next frame; none after the last. Dropping the future while it waits loses nothing.
    pub(super) async fn next(&mut self, id: &str) -> Option<String> {
        match self.line().await {
            Ok(line) => line,
            Err(why) => Some(failure(Some(id), &lost(self.node, &why))),
        }
    }

    async fn line(&mut self) -> Result<Option<String>, String> {
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

/// Sends what cancels a request. Where it is not heard, the node is gone, and so is the request.
fn cancel_at(cluster: &Arc<Cluster>, node: NodeId, cancelled: &::http::Request<Bytes>) {
    let (cluster, cancelled) = (Arc::clone(cluster), cancelled.clone());
    actix_rt::spawn(async move { drop(cluster.relay(node, cancelled, None).await) });
}
