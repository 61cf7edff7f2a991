//! Where letters are stopped, by their link alone: nobody has to sign in. Programs look at links in mail, so that looking changes
//! nothing; a program that unsubscribes sends a form here (RFC 8058).

use actix_web::{HttpRequest, HttpResponse, http::StatusCode};
use askama::Template;

use super::{
    super::page::{Frame, failed},
    said,
};
use crate::{
    http::{error::ApiError, pages::whole, query::Query, state::Shared},
    service::people::notices,
};

#[derive(Template)]
#[template(path = "dashboard/unsubscribe.html")]
struct Unsubscribe {
    frame: Frame,
    account: String,
    token: String,
}

const TITLE: &str = "No more letters";

fn token(request: &HttpRequest) -> Result<String, ApiError> {
    let query = Query::of_form(request, &["token"])?;
    query.get("token").map(str::to_owned).ok_or_else(|| ApiError::not_found("this link"))
}

/// `GET /dashboard/unsubscribe`.
pub(super) async fn page(state: Shared, request: HttpRequest) -> HttpResponse {
    let look = async {
        let token = token(&request)?;
        let account = notices::unsubscribes(&state.service, &token).await?;
        Ok::<_, ApiError>(Unsubscribe { frame: Frame::of_stranger(TITLE), account, token })
    };
    match look.await {
        Ok(page) => whole(&request, StatusCode::OK, &page),
        Err(error) => failed(&request, &error),
    }
}

/// `POST /dashboard/unsubscribe`. The link says all: its token is what no other site has, and its form is not read.
pub(super) async fn unsubscribe(state: Shared, request: HttpRequest) -> HttpResponse {
    let stop = async {
        let token = token(&request)?;
        Ok::<_, ApiError>(notices::unsubscribe(&state.service, &token).await?)
    };
    match stop.await {
        Ok(account) => {
            let says = format!(
                "You get no more letters about the events of {account}. Sign in to choose what you are told of."
            );
            said(&request, TITLE, says)
        }
        Err(error) => failed(&request, &error),
    }
}
