//! Requests to open models that another node has. Before anything is decided about such a request (its idempotency key, its
//! account, its hold), it goes whole to the node that serves its model, and the answer comes back as that node made it. One
//! that came from another node is served or refused here, and goes no further.
//!
//! The node that a request goes to is chosen by its first model alone: of an alias the first that it names, and no model in
//! reserve. What is asked of a response goes to the node that makes it in the background, and
//! what is asked of a running request to the node that runs it.

mod incoming;
mod outgoing;

use std::{borrow::Cow, sync::Arc};

use actix_web::{
    Error, HttpMessage as _, HttpResponse, Resource,
    body::{BoxBody, MessageBody},
    dev::{HttpServiceFactory, Payload, ServiceRequest, ServiceResponse},
    http::Method,
    middleware::{Next, from_fn},
    web,
};
use actors::cluster::{
    Cluster, LinkError,
    place::{Spot, spots},
};
use billing::ids::RequestId;
use bytes::Bytes;
use serde::Deserialize;
use wire::inference::Failure;

use super::{error::ApiError, inference, respond::refuse, state::Shared};
use crate::catalogue::{Missing, Model};

pub(super) use incoming::Relayed;
pub use incoming::serve;

/// Which requests may go to other nodes, and where by the name that they have in their path, or in their body as a model.
#[derive(Clone, Copy)]
struct Way {
    may_go: fn(&Cluster) -> bool,
    /// The best first; empty where no other node is asked.
    spots: fn(&Shared, &Cluster, &str) -> Vec<Spot>,
}

/// To a node that has the model.
const TO_MODEL: Way = Way { may_go: Cluster::hears_offers, spots: spots_of };
/// To the node that makes the response, or has made it.
const TO_RESPONSE: Way = Way { may_go: |_| true, spots: spots_of_response };

/// To the node that runs the request, or has run it.
const TO_REQUEST: Way = Way { may_go: |_| true, spots: spots_of_request };

/// A resource whose requests may be served by other nodes.
pub(super) fn relayed(resource: Resource) -> impl HttpServiceFactory {
    resource.wrap(from_fn(|request, next| by(TO_MODEL, request, next)))
}

/// A resource of a response, which the node knows that makes it.
pub(super) fn of_its_node(resource: Resource) -> impl HttpServiceFactory {
    resource.wrap(from_fn(|request, next| by(TO_RESPONSE, request, next)))
}

/// A resource of a request, which the node knows that runs it.
pub(super) fn of_its_request(resource: Resource) -> impl HttpServiceFactory {
    resource.wrap(from_fn(|request, next| by(TO_REQUEST, request, next)))
}

/// What becomes of a request that another node may serve.
///
/// # Errors
///
/// The inner service failed. A refusal here is an answer, not an error.
async fn by(
    way: Way,
    mut request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let passed_on = match relaying(way, &request) {
        Some((state, cluster)) => pass_on(way, &state, &cluster, &mut request).await,
        None => Ok(None),
    };
    let answer = match passed_on {
        Ok(None) => return Ok(next.call(request).await?.map_into_boxed_body()),
        Ok(Some(answer)) => answer,
        Err(error) => refuse(request.request(), &error),
    };
    Ok(request.into_response(answer))
}

/// The other nodes, where a request may go to one: it comes from none of them.
fn relaying(way: Way, request: &ServiceRequest) -> Option<(Shared, Arc<Cluster>)> {
    let state = request.app_data::<Shared>()?;
    let cluster = state.cluster.as_ref()?;
    let may_go = state.takes_work() && (way.may_go)(cluster) && !request.extensions().contains::<Relayed>();
    may_go.then(|| (state.clone(), Arc::clone(cluster)))
}

/// Passes a request on, where another node serves it best. `None` where it is served here: its body is still there then.
///
/// # Errors
///
/// Its body did not arrive, or its node went away with it.
async fn pass_on(
    way: Way,
    state: &Shared,
    cluster: &Cluster,
    request: &mut ServiceRequest,
) -> Result<Option<HttpResponse>, ApiError> {
    let body = if request.method() == Method::POST {
        let body = request.extract::<Bytes>().await;
        let body = inference::whole(state, request.request(), body)?;
        request.set_payload(Payload::from(body.clone()));
        body
    } else {
        Bytes::new()
    };
    let named = request.extract::<web::Path<String>>().await.ok().map(web::Path::into_inner);
    let Some(name) = named.map(Cow::Owned).or_else(|| named_in(&body)) else { return Ok(None) };
    for spot in (way.spots)(state, cluster, &name) {
        let Spot::There(node) = spot else { break };
        let client = request.peer_addr().map(|address| address.ip());
        let relayed = outgoing::request(request.request(), body.clone())?;
        match cluster.relay(node, relayed, client).await {
            Ok(answer) => {
                count("answered");
                return Ok(Some(outgoing::answer(request.request(), node, answer)));
            }
            // Nothing was begun there.
            Err(LinkError::NotSent(why)) => not_taken(node, &why),
            Err(LinkError::Unknown(why)) => return Err(lost(node, &why.to_string())),
        }
    }
    Ok(None)
}

/// Counts what became of a request that was passed on.
pub(super) fn count(outcome: &'static str) {
    metrics::counter!("farebox_relayed_requests_total", "outcome" => outcome).increment(1);
}

/// Notes a request that the node which has its model did not take.
pub(super) fn not_taken(node: impl std::fmt::Display, why: &impl std::fmt::Display) {
    count("not_taken");
    tracing::warn!(%node, %why, "a request was not taken by the node that has its model");
}

/// The error of a request whose node went away with it. Its account settles it as far as it was noted.
pub(super) fn lost(node: impl std::fmt::Display, why: &str) -> ApiError {
    count("lost");
    Failure::Engine(format!("the node that ran the model is gone: {node}: {why}")).into()
}

/// The model that a body names; `None` where it names none, or several: its reader says what is wrong.
fn named_in(body: &[u8]) -> Option<Cow<'_, str>> {
    #[derive(Deserialize)]
    struct Named<'a> {
        #[serde(borrow)]
        model: Cow<'a, str>,
    }
    serde_json::from_slice::<Named>(body).ok().map(|named| named.model)
}

/// The other nodes, and where a request with this body may be served, the best first; `None` where no other node may.
pub(super) fn spots_of_body(state: &Shared, body: &[u8]) -> Option<(Arc<Cluster>, Vec<Spot>)> {
    let cluster = state.cluster.as_ref().filter(|cluster| state.takes_work() && cluster.hears_offers())?;
    Some((Arc::clone(cluster), spots_of(state, cluster, &named_in(body)?)))
}

/// Where a request to a model of this name may be served, the best first. Empty where no other node is asked for it.
fn spots_of(state: &Shared, cluster: &Cluster, name: &str) -> Vec<Spot> {
    let (known, models) = (state.gateway.models.known(), &state.gateway.models);
    let name = models.aliases().model(name);
    let own = match known.find(name) {
        Ok(Model::Open(model)) => Some(state.gateway.offer(&model)),
        Err(Missing::Unknown(_)) => None,
        Ok(Model::Closed(_)) | Err(Missing::Several(_)) => return Vec::new(),
    };
    let others = cluster.offers(|offer| *offer.model == *name);
    spots(own.as_ref(), &others)
}

/// Where a request for a response of this name is served. Our names of responses are those of the requests that made them,
/// and a provider's are no such names.
fn spots_of_response(state: &Shared, cluster: &Cluster, name: &str) -> Vec<Spot> {
    name.strip_prefix("resp_").map_or_else(Vec::new, |id| spots_of_request(state, cluster, id))
}

/// Where the request of this id is known.
fn spots_of_request(_: &Shared, cluster: &Cluster, id: &str) -> Vec<Spot> {
    let node = id.parse().ok().and_then(|id| cluster.node_of(RequestId(id)));
    node.map(Spot::There).into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_names_a_model_once_and_as_text() {
        assert_eq!(named_in(br#"{"stream": true, "model": "a/b", "messages": []}"#).as_deref(), Some("a/b"));
        assert_eq!(named_in(br#"{"model": "a\u0062"}"#).as_deref(), Some("ab"));
        for body in [r#"{"model": null}"#, r#"{"model": 7}"#, "{}", "", "[", r#"{"model": "a", "model": "b"}"#] {
            assert_eq!(named_in(body.as_bytes()), None, "{body}");
        }
    }
}
