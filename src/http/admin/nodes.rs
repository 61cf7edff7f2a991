//! The nodes that share a ledger: who is there, and who owns what.

use actix_web::{HttpRequest, HttpResponse};

use crate::http::{auth, respond::answer, state::Shared, views::nodes::NodeList};

/// `GET /admin/v1/nodes`: the nodes of this ledger, and its shards.
pub async fn nodes(state: Shared, request: HttpRequest) -> HttpResponse {
    let work = async {
        auth::operator(&state, &request)?;
        Ok(NodeList::of(state.cluster.as_deref(), state.hints.as_ref()))
    };
    answer(&request, work.await)
}
