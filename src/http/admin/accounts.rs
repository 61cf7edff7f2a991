//! `/admin/v1/accounts` and `/admin/v1/actions`: creating, listing, searching and showing accounts, and operators'
//! actions.

use actix_web::{HttpRequest, HttpResponse, web};
use billing::plan::Plan;
use serde::Deserialize;
use utoipa::ToSchema;

use super::acts::Why;
use crate::{
    http::{
        arrival::Arrival,
        auth,
        error::ApiError,
        query::Query,
        respond::{Body, answer, read},
        state::Shared,
        values::reason,
        views::{
            Page,
            admin::{Action, FoundAccount, FrozenAccount, NewAccount, OperatedAccount},
        },
    },
    service::accounts::{self, Freezing},
};

/// An account to create.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = WantedAccount)]
pub struct Wanted {
    email: String,
    /// `free` or `payg`; `free` by default.
    #[serde(default)]
    #[schema(value_type = String)]
    plan: Plan,
}

/// `POST /admin/v1/accounts`.
pub async fn create(state: Shared, request: HttpRequest, body: Body) -> HttpResponse {
    let work = async {
        auth::operator(&state, &request)?;
        let Wanted { email, plan } = read(&state, body)?;
        let email = accounts::address(&email)?;
        let id = accounts::create(&state.service, Arrival::origin(&request), &email, plan).await?;
        Ok(NewAccount { id: id.0, email, plan: plan.name() })
    };
    answer(&request, work.await)
}

fn plan(name: &str) -> Result<Plan, ApiError> {
    Plan::from_name(name).ok_or_else(|| ApiError::invalid("plan", "must be one of free, payg"))
}

/// `GET /admin/v1/accounts`, newest first. `search` is a part of the email address, `plan` a plan.
pub async fn list(state: Shared, request: HttpRequest) -> HttpResponse {
    let work = async {
        auth::operator(&state, &request)?;
        let query = Query::of(&request, &["search", "plan", "limit", "cursor"])?;
        let plan = query.get("plan").map(plan).transpose()?;
        let found = accounts::search(&state.service, query.get("search"), plan, query.page()?).await?;
        Ok(Page::<FoundAccount>::from(found))
    };
    answer(&request, work.await)
}

/// `GET /admin/v1/accounts/{account}`: the owner's view, with the account's keys and the latest operators' actions.
pub async fn account(state: Shared, request: HttpRequest, account: web::Path<String>) -> HttpResponse {
    let work = async {
        auth::operator(&state, &request)?;
        let id = accounts::named(&state.service, &account).await?;
        Ok(OperatedAccount::from(accounts::operated(&state.service, id).await?))
    };
    answer(&request, work.await)
}

/// `POST /admin/v1/accounts/{account}/freeze`: it admits no more requests; what runs goes on.
pub async fn freeze(state: Shared, request: HttpRequest, account: web::Path<String>, body: Body) -> HttpResponse {
    set_frozen(&state, &request, &account, Freezing::Freeze, body).await
}

/// `POST /admin/v1/accounts/{account}/unfreeze`: it admits requests again.
pub async fn unfreeze(state: Shared, request: HttpRequest, account: web::Path<String>, body: Body) -> HttpResponse {
    set_frozen(&state, &request, &account, Freezing::Unfreeze, body).await
}

async fn set_frozen(
    state: &Shared,
    request: &HttpRequest,
    account: &str,
    freezing: Freezing,
    body: Body,
) -> HttpResponse {
    let work = async {
        auth::operator(state, request)?;
        let Why { reason: why } = read(state, body)?;
        let (why, account) = (reason(why)?, accounts::named(&state.service, account).await?);
        let origin = Arrival::origin(request);
        let balance = accounts::set_frozen(&state.service, origin, account, freezing, why).await?;
        Ok(FrozenAccount::of(account.0, freezing, &balance))
    };
    answer(request, work.await)
}

/// `GET /admin/v1/actions`, and under an account those on it: operators' actions, newest first.
pub async fn actions(state: Shared, request: HttpRequest) -> HttpResponse {
    let work = async {
        let account = auth::operated(&state, &request).await?.map(|caller| caller.account_id);
        if account.is_none() {
            auth::operator(&state, &request)?;
        }
        let page = Query::of(&request, &["limit", "cursor"])?.page()?;
        Ok(Page::<Action>::from(accounts::actions(&state.service, account, page).await?))
    };
    answer(&request, work.await)
}
