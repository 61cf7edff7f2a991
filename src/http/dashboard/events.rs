//! The account's events, newest first.

use actix_web::{HttpRequest, HttpResponse};
use askama::Template;
use billing::key::Scope;
use uuid::Uuid;

use super::{
    page::{Frame, Visitor, visited},
    text::{Minute, minute},
};
use crate::{
    http::{query::Query, state::Shared},
    service::history,
};

struct Row {
    at: Minute,
    kind: String,
    data: String,
}

#[derive(Template)]
#[template(path = "dashboard/events.html")]
struct Events {
    frame: Frame,
    rows: Vec<Row>,
    next: Option<Uuid>,
    may_send: bool,
}

/// `GET /dashboard/events`.
pub(super) async fn events(state: Shared, request: HttpRequest) -> HttpResponse {
    let make = async |visitor: &Visitor| {
        let account = visitor.may(Scope::Read)?.account_id;
        let wanted = Query::of_form(&request, &["cursor"])?.page()?;
        let found = history::events(&state.service, account, None, wanted).await?;
        let rows = found.rows.into_iter();
        let rows = rows.map(|event| Row { at: minute(event.at), kind: event.kind.replace('_', " "), data: event.data });
        let may_send = visitor.caller.scopes.has(Scope::Billing);
        Ok(Events { frame: visitor.frame("Events"), rows: rows.collect(), next: found.next, may_send })
    };
    visited(&state, &request, make).await
}
