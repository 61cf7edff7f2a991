//! Keys: a list, a form that makes one, whose text is shown once, and a button that revokes one.

use actix_web::{HttpRequest, HttpResponse, http::StatusCode, web};
use askama::Template;
use billing::{
    Nanos,
    key::{KeyLimits, KeyWindow, Scope},
};
use serde::Deserialize;
use uuid::Uuid;

use super::{
    page::{Frame, Visitor, failed, page, sent},
    text::{Minute, dollars_given, minute},
};
use crate::{
    gateway::serve::Caller,
    http::{
        account,
        error::ApiError,
        once::Once,
        pages::{Empty, to},
        query::Query,
        respond::Body,
        state::Shared,
        trail, values,
    },
    idempotency::Life,
    service::{
        keys::{self, Opener},
        page::Listed,
    },
};

struct Row {
    id: Uuid,
    name: String,
    public: String,
    scopes: String,
    limits: String,
    models: String,
    made: Minute,
    state: String,
    works: bool,
}

/// A key that was just made.
struct Made {
    name: String,
    text: String,
}

#[derive(Template)]
#[template(path = "dashboard/keys.html")]
struct Keys {
    frame: Frame,
    made: Option<Made>,
    message: Option<String>,
    rows: Vec<Row>,
    next: Option<Uuid>,
    may_make: bool,
    once: Uuid,
}

/// `GET /dashboard/keys`.
pub(super) async fn keys(state: Shared, request: HttpRequest) -> HttpResponse {
    match Visitor::of(&state, &request).await {
        Ok(visitor) => shown(&state, &request, &visitor, None, None).await,
        Err(answer) => answer,
    }
}

async fn shown(
    state: &Shared,
    request: &HttpRequest,
    visitor: &Visitor,
    made: Option<Made>,
    wrong: Option<ApiError>,
) -> HttpResponse {
    let listed = async {
        let account = visitor.may(Scope::Read)?.account_id;
        let page = Query::of_form(request, &["cursor"])?.page()?;
        Ok::<_, ApiError>(keys::list(&state.service, account, None, page).await?)
    };
    let Listed { rows: listed, next } = match listed.await {
        Ok(listed) => listed,
        Err(error) => return failed(request, &error),
    };
    let now = state.service.now();
    let rows = listed.into_iter().map(|key| Row {
        id: key.id.0,
        public: key.public,
        scopes: key.scopes.iter().map(Scope::name).collect::<Vec<_>>().join(", "),
        limits: limits(&key.limits, key.used.as_ref()),
        models: if key.limits.models.is_empty() { "all".to_owned() } else { key.limits.models.join(", ") },
        made: minute(key.created_at),
        works: key.revoked_at.is_none() && key.expires_at.is_none_or(|at| at > now),
        state: match (key.revoked_at, key.expires_at) {
            (Some(at), _) => format!("revoked {}", minute(at)),
            (None, Some(at)) if at <= now => format!("expired {}", minute(at)),
            (None, Some(at)) => format!("works until {}", minute(at)),
            (None, None) => "works".to_owned(),
        },
        name: key.name,
    });
    let status = wrong.as_ref().map_or(StatusCode::OK, ApiError::status);
    let message = wrong.map(|error| error.message().to_owned());
    let (frame, may_make) = (visitor.frame("Keys"), visitor.caller.scopes.has(Scope::Keys));
    let keys = Keys {
        frame,
        made,
        message,
        rows: rows.collect(),
        next,
        may_make,
        once: state.onces.make(visitor.caller.account_id),
    };
    page(state, request, visitor, status, &keys).await
}

/// The limits in words.
fn limits(limits: &KeyLimits, used: Option<&[Nanos; 4]>) -> String {
    let each = KeyWindow::ALL.into_iter().filter_map(|window| {
        let (most, used) = (limits.of(window)?, used.map(|used| used[window as usize]));
        let name = if window == KeyWindow::Total { "in all".to_owned() } else { format!("a {}", window.name()) };
        Some(match used {
            Some(used) => format!("${most} {name} (${used} used)"),
            None => format!("${most} {name}"),
        })
    });
    let text = each.collect::<Vec<_>>().join("; ");
    if text.is_empty() { "none".to_owned() } else { text }
}

/// A key to make.
#[derive(Deserialize)]
struct Wanted {
    #[serde(default)]
    name: String,
    /// The form's id: sent twice it makes one key.
    once: Once,
    day: Option<String>,
    month: Option<String>,
    total: Option<String>,
    models: Option<String>,
}

/// `POST /dashboard/keys`: makes a key, and shows its text, once.
pub(super) async fn create(state: Shared, request: HttpRequest, body: Body) -> HttpResponse {
    let make = async |visitor: &Visitor, wanted: Wanted| {
        let origin = state.onces.origin(visitor.caller.account_id, wanted.once, Life::First)?;
        let wanted = new_key(wanted)?;
        account::keys::check_models(&state, &wanted.limits.models).await?;
        let (Caller { account_id, scopes, key_id }, expires_at) = (visitor.caller, visitor.expires_at);
        let opener = Opener { account_id, scopes, expires_at, by: Some(key_id) };
        let name = wanted.name.clone();
        trail::makes(&request, &origin.id, &name);
        let (_, text) = keys::create(&state.service, origin, &opener, wanted, None).await?;
        Ok(shown(&state, &request, visitor, Some(Made { name, text }), None).await)
    };
    let again = async |visitor: &Visitor, error| shown(&state, &request, visitor, None, Some(error)).await;
    sent(&state, &request, body, Scope::Keys, make, again).await
}

fn new_key(wanted: Wanted) -> Result<keys::NewKey, ApiError> {
    let Wanted { name, day, month, total, models, .. } = wanted;
    let limit = |field: &str, text: Option<String>| {
        let amount = dollars_given(field, text.as_deref())?;
        Ok::<_, ApiError>(amount.map(|amount| keys::check_limit(field, amount)).transpose()?)
    };
    let mut amounts = [None; 4];
    for (window, text) in [(KeyWindow::Day, day), (KeyWindow::Month, month), (KeyWindow::Total, total)] {
        amounts[window as usize] = limit(window.name(), text)?;
    }
    let typed = models.unwrap_or_default();
    let models: Vec<String> = typed.split(',').map(str::trim).filter(|name| !name.is_empty()).map(Into::into).collect();
    if models.is_empty() && !typed.is_empty() {
        return Err(ApiError::invalid("models", "names none: leave it empty for all"));
    }
    if let Some(fault) = models.iter().find_map(|model| values::text_fault(model)) {
        return Err(ApiError::invalid("models", format!("a name {fault}")));
    }
    Ok(keys::NewKey { name: name.trim().to_owned(), limits: KeyLimits { amounts, models }, ..keys::NewKey::default() })
}

/// `POST /dashboard/keys/{id}/revoke`.
pub(super) async fn revoke(state: Shared, request: HttpRequest, id: web::Path<String>, body: Body) -> HttpResponse {
    let revoke = async |visitor: &Visitor, Empty {}| {
        account::keys::revoke(&state, visitor.caller.account_id, &id).await?;
        Ok(to("/dashboard/keys"))
    };
    let again = async |visitor: &Visitor, error| shown(&state, &request, visitor, None, Some(error)).await;
    sent(&state, &request, body, Scope::Keys, revoke, again).await
}
