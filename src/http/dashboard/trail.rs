//! The audit log: who changed what of the account, newest first.

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
    service::trail::{self, Seen},
};

struct Row {
    at: Minute,
    who: String,
    act: String,
    subject: String,
    detail: String,
}

#[derive(Template)]
#[template(path = "dashboard/audit_log.html")]
struct AuditLog {
    frame: Frame,
    rows: Vec<Row>,
    next: Option<Uuid>,
}

impl From<Seen> for Row {
    fn from(seen: Seen) -> Self {
        let Seen { at, by_kind, by, by_name, act, subject, detail, .. } = seen;
        let name = by_name.unwrap_or_else(|| by.to_string());
        Self {
            at: minute(at),
            who: if by_kind == "key" { format!("key {name}") } else { name },
            act: act.replace(['.', '_'], " "),
            subject: subject.unwrap_or_default(),
            detail: detail.unwrap_or_default(),
        }
    }
}

/// `GET /dashboard/audit-log`.
pub(super) async fn audit_log(state: Shared, request: HttpRequest) -> HttpResponse {
    let make = async |visitor: &Visitor| {
        let account = visitor.may(Scope::Read)?.account_id;
        let wanted = Query::of_form(&request, &["cursor"])?.page()?;
        let found = trail::list(&state.service, account, wanted).await?;
        let rows = found.rows.into_iter().map(Row::from).collect();
        Ok(AuditLog { frame: visitor.frame("Audit log"), rows, next: found.next })
    };
    visited(&state, &request, make).await
}
