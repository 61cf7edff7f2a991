//! `/v1/audit-log`: who changed what of the account.

use actix_web::{HttpRequest, HttpResponse};
use billing::key::Scope;

use crate::{
    http::{
        auth,
        query::Query,
        respond::answer,
        state::Shared,
        views::{Page, trail::Change},
    },
    service::trail,
};

/// `GET /v1/audit-log`: the changes by keys and members, newest first.
pub async fn list(state: Shared, request: HttpRequest) -> HttpResponse {
    let work = async {
        let caller = auth::scoped(&state, &request, Scope::Read).await?;
        let page = Query::of(&request, &["limit", "cursor"])?.page()?;
        Ok(Page::<Change>::from(trail::list(&state.service, caller.account_id, page).await?))
    };
    answer(&request, work.await)
}
