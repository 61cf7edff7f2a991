//! `/admin/v1/overview` and `/admin/v1/money`: how the process fares, in one picture, and what all accounts have together.

use actix_web::{HttpRequest, HttpResponse};
use actors::spool::Spool;

use crate::{
    http::{
        auth,
        error::ApiError,
        respond::answer,
        state::{Shared, State},
        views::{
            nodes::NodeList,
            overview::{Overview, Parts},
            pools::Pools,
            treasury::Treasury,
        },
    },
    service::{money, operations},
};

/// `GET /admin/v1/overview`: all that is known in memory of how the process fares.
pub async fn overview(state: Shared, request: HttpRequest) -> HttpResponse {
    let work = async {
        auth::operator(&state, &request)?;
        Ok(picture(&state))
    };
    answer(&request, work.await)
}

/// `GET /admin/v1/money`: what all accounts have together.
pub async fn money(state: Shared, request: HttpRequest) -> HttpResponse {
    let work = async {
        auth::operator(&state, &request)?;
        treasury(&state).await
    };
    answer(&request, work.await)
}

fn captures_waiting(state: &State) -> usize {
    state.gateway.accounts.spool().map_or(0, Spool::count)
}

/// How the process fares now.
pub(in crate::http) fn picture(state: &State) -> Overview {
    let (service, gateway) = (&state.service, &state.gateway);
    Overview::from(Parts {
        at: service.now().into(),
        since: operations::since(service).into(),
        node: state.cluster.as_ref().map(|cluster| cluster.me().0),
        actors: operations::actors(service).into(),
        messages: operations::messages(service),
        depths: operations::depths(service),
        executors: operations::executors(service),
        captures_waiting: captures_waiting(state),
        behind: operations::behind(service),
        pools: Pools::from(gateway.pools_seen()),
        open_minute: gateway.open_minute(),
        providers: gateway.providers_seen(),
        nodes: NodeList::of(state.cluster.as_deref(), state.hints.as_ref()),
    })
}

/// What all accounts have together.
///
/// # Errors
///
/// The ledger can't be read just now.
pub(in crate::http) async fn treasury(state: &State) -> Result<Treasury, ApiError> {
    let service = &state.service;
    let money = money::money(service).await?;
    let waiting = (operations::behind(service), captures_waiting(state));
    Ok(Treasury::of(&money, waiting, operations::last_audit(service)))
}
