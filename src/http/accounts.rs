//! Accounts as operators find them: listed and searched, one of them whole, and what operators did. The lists of one account
//! (grants, payments, requests, ...) are its owner's own, under the operator's path.

use actix_web::{HttpRequest, HttpResponse, web};
use actors::account::Look;
use billing::{ids::AccountId, plan::Plan};
use ledger::accounts::Search;
use serde_json::Value;
use uuid::Uuid;

use super::{
    auth,
    error::ApiError,
    keys::keys_json,
    plan,
    query::{Query, list_by_id},
    respond::answer,
    state::Shared,
};
use crate::email;

/// An account by its id or its owner's address, which must be there.
pub(super) async fn named(state: &Shared, text: &str) -> Result<AccountId, ApiError> {
    let ledger = state.gateway.accounts.ledger();
    let found = if text.contains('@') {
        let address = email::canonical(text).map_err(|fault| ApiError::invalid("account", fault))?;
        ledger.account_by_email(&address).await?
    } else {
        let rule = "must be an account's id, or its owner's address";
        let id = Uuid::parse_str(text).map_err(|_| ApiError::invalid("account", rule))?;
        ledger.account(AccountId(id)).await?
    };
    found.map(|found| found.id).ok_or_else(|| ApiError::not_found("the account"))
}

fn rows(rows: &[impl serde::Serialize]) -> Result<Vec<Value>, ApiError> {
    rows.iter().map(|row| serde_json::to_value(row).map_err(|error| ApiError::internal(&error))).collect()
}

/// `GET /admin/v1/accounts`, newest first: `search` is in their addresses, `plan` is theirs.
pub async fn list(state: Shared, request: HttpRequest) -> HttpResponse {
    let work = async {
        auth::operator(&state, &request)?;
        let query = Query::of(&request, &["search", "plan", "limit", "cursor"])?;
        let plan = |name: &str| {
            let known = "must be one of free, payg";
            Plan::from_name(name).ok_or_else(|| ApiError::invalid("plan", known))
        };
        let search = Search {
            text: query.get("search").map(|text| text.trim().to_lowercase()),
            plan: query.get("plan").map(plan).transpose()?,
        };
        let (before, limit) = (query.cursor_id()?, query.limit()?);
        let (ledger, now) = (state.gateway.accounts.ledger(), state.gateway.clock().now());
        Ok(list_by_id(rows(&ledger.accounts(&search, before, limit, now).await?)?, limit))
    };
    answer(&request, work.await)
}

/// `GET /admin/v1/accounts/{account}`: what its owner sees of it, with its keys and how much runs.
pub async fn account(state: Shared, request: HttpRequest, account: web::Path<String>) -> HttpResponse {
    let work = async {
        auth::operator(&state, &request)?;
        let id = named(&state, &account).await?;
        let ledger = state.gateway.accounts.ledger();
        let picture = state.gateway.accounts.ask(id, Look).await?;
        let mut body = plan::account_json(&state, id).await?;
        body["payg"] = picture.payg.into();
        body["open_holds"] = picture.holds.len().into();
        body["keys"] = keys_json(&state, id, &picture).await?.into();
        body["twin"] = ledger.twins().await?.iter().any(|(twin, _)| *twin == id).into();
        body["last_actions"] = rows(&ledger.actions(Some(id), None, LAST_ACTIONS).await?)?.into();
        Ok(body)
    };
    answer(&request, work.await)
}

/// Actions that are shown with an account.
const LAST_ACTIONS: u64 = 5;

/// `GET /admin/v1/accounts/{account}/actions`, and `GET /admin/v1/actions` of all: what operators did and why, newest first.
pub async fn actions(state: Shared, request: HttpRequest) -> HttpResponse {
    let work = async {
        let account = auth::operated(&state, &request).await?.map(|caller| caller.account_id);
        if account.is_none() {
            auth::operator(&state, &request)?;
        }
        let query = Query::of(&request, &["limit", "cursor"])?;
        let (before, limit) = (query.cursor_id()?, query.limit()?);
        let found = state.gateway.accounts.ledger().actions(account, before, limit).await?;
        Ok(list_by_id(rows(&found)?, limit))
    };
    answer(&request, work.await)
}
