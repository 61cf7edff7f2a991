//! `/admin/v1/accounts/{account}/keys`: API keys that an operator creates and revokes.

use actix_web::{HttpRequest, HttpResponse, web};
use billing::key::Scopes;

use crate::{
    http::{
        account::keys::{make, revoke},
        auth,
        respond::{Body, answer},
        state::Shared,
        trail,
    },
    service::{accounts, keys::Opener},
};

/// `POST /admin/v1/accounts/{account}/keys`.
pub async fn create(state: Shared, request: HttpRequest, account: web::Path<String>, body: Body) -> HttpResponse {
    let work = async {
        auth::operator(&state, &request)?;
        let account_id = accounts::named(&state.service, &account).await?;
        let opener = Opener { account_id, scopes: Scopes::ALL, expires_at: None, by: None };
        let made = make(&state, &request, &opener, body).await?;
        trail::about(&request, Some(&format!("account {account_id}")), "");
        Ok(made)
    };
    answer(&request, work.await)
}

/// `DELETE /admin/v1/accounts/{account}/keys/{key}`.
pub async fn delete(state: Shared, request: HttpRequest, path: web::Path<(String, String)>) -> HttpResponse {
    let work = async {
        auth::operator(&state, &request)?;
        let (account, key) = path.into_inner();
        let account_id = accounts::named(&state.service, &account).await?;
        trail::about(&request, Some(&format!("account {account_id}")), "");
        revoke(&state, account_id, &key).await
    };
    answer(&request, work.await)
}
