//! The accounts of a person, and which of them the pages show.

use actix_web::{HttpRequest, HttpResponse, http::StatusCode};
use askama::Template;
use billing::ids::AccountId;
use serde::Deserialize;
use uuid::Uuid;

use super::super::page::{Frame, Signed, failed};
use crate::{
    http::{error::ApiError, pages::to, respond::Body, state::Shared},
    service::people::sessions,
};

struct Row {
    id: Uuid,
    email: String,
    role: &'static str,
    is_shown: bool,
}

#[derive(Template)]
#[template(path = "dashboard/accounts.html")]
struct Accounts {
    frame: Frame,
    rows: Vec<Row>,
}

/// `GET /dashboard/accounts`.
pub(super) async fn accounts(state: Shared, request: HttpRequest) -> HttpResponse {
    let signed = match Signed::of(&state, &request).await {
        Ok(signed) => signed,
        Err(answer) => return answer,
    };
    let shown = signed.open.seat.as_ref().map(|(member, _)| member.account_id);
    match sessions::accounts(&state.service, signed.open.person.id).await {
        Ok(found) => {
            let row = |(member, email): (billing::member::Membership, String)| Row {
                id: member.account_id.0,
                email,
                role: member.role.name(),
                is_shown: Some(member.account_id) == shown,
            };
            let page = Accounts { frame: signed.frame("Accounts"), rows: found.into_iter().map(row).collect() };
            signed.page(&state, &request, StatusCode::OK, &page).await
        }
        Err(error) => failed(&request, &error.into()),
    }
}

/// An account to show.
#[derive(Deserialize)]
struct Wanted {
    account: Uuid,
}

/// `POST /dashboard/accounts`.
pub(super) async fn turn(state: Shared, request: HttpRequest, body: Body) -> HttpResponse {
    let signed = match Signed::of(&state, &request).await {
        Ok(signed) => signed,
        Err(answer) => return answer,
    };
    let work = async {
        let Wanted { account } = signed.form(&request, body)?;
        sessions::turn(&state.service, &signed.open, AccountId(account)).await?;
        Ok::<_, ApiError>(to("/dashboard"))
    };
    work.await.unwrap_or_else(|error| failed(&request, &error))
}
