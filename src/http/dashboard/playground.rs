//! The playground: a prompt, its answer as it is made, what it cost, and the same call as code.

use actix_web::{HttpRequest, HttpResponse};
use askama::Template;
use billing::key::Scope;

use super::page::{Frame, Visitor, visited};
use crate::http::{inference, query::Query, state::Shared};

#[derive(Template)]
#[template(path = "dashboard/playground.html")]
struct Playground {
    frame: Frame,
    url: String,
    model: String,
    models: Vec<String>,
    may_run: bool,
}

/// `GET /dashboard/playground`.
pub(super) async fn playground(state: Shared, request: HttpRequest) -> HttpResponse {
    let make = async |visitor: &Visitor| {
        let wanted = Query::of_form(&request, &["model"])?.get("model").map(str::to_owned);
        let all = inference::models_of(&state, visitor.caller).await?;
        let usable = all.into_iter().filter(|model| model.task == "chat" && model.available && !model.locked);
        let mut usable: Vec<_> = usable.collect();
        // Those that run here come first.
        usable.sort_by_key(|model| model.class.is_none());
        let models: Vec<String> = usable.into_iter().map(|model| model.id).collect();
        let known = wanted.filter(|wanted| models.contains(wanted)).or_else(|| models.first().cloned());
        let url = {
            let connection = request.connection_info();
            format!("{}://{}", connection.scheme(), connection.host())
        };
        let may_run = visitor.caller.scopes.has(Scope::Inference);
        Ok(Playground { frame: visitor.frame("Playground"), url, model: known.unwrap_or_default(), models, may_run })
    };
    visited(&state, &request, make).await
}
