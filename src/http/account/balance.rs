//! `/v1/account`, `/v1/balance`, `/v1/grants`: an account's plan and money. Its history is in [`super::history`], its
//! purchases in [`super::payments`].

use actix_web::{HttpRequest, HttpResponse};
use billing::key::Scope;

use crate::{
    http::{
        auth,
        query::Query,
        respond::answer,
        state::Shared,
        views::{Page, account::Account, money},
    },
    service::{accounts, credits},
};

/// `GET /v1/account`.
pub async fn account(state: Shared, request: HttpRequest) -> HttpResponse {
    let work = async {
        let caller = auth::scoped(&state, &request, Scope::Read).await?;
        Ok(Account::from(&accounts::whole(&state.service, caller.account_id).await?))
    };
    answer(&request, work.await)
}

/// `GET /v1/balance`.
pub async fn balance(state: Shared, request: HttpRequest) -> HttpResponse {
    let work = async {
        let caller = auth::caller(&state, &request).await?;
        Ok(money::Balance::from(&credits::look(&state.service, caller.account_id).await?.balance))
    };
    answer(&request, work.await)
}

/// `GET /v1/grants`, newest first.
pub async fn grants(state: Shared, request: HttpRequest) -> HttpResponse {
    let work = async {
        let caller = auth::scoped(&state, &request, Scope::Read).await?;
        let page = Query::of(&request, &["limit", "cursor"])?.page()?;
        Ok(Page::<money::Grant>::from(credits::grants(&state.service, caller.account_id, page).await?))
    };
    answer(&request, work.await)
}
