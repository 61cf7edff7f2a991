//! Models: prices with the fee, locks, and whether each can run now.

use actix_web::{HttpRequest, HttpResponse};
use askama::Template;
use serde_json::Value;

use super::{
    page::{Frame, Visitor, visited},
    text::count,
};
use crate::http::{inference, query::Query, state::Shared, views::models::Model};

struct Row {
    id: String,
    by: String,
    task: &'static str,
    is_chat: bool,
    context: String,
    input: String,
    output: String,
    second: String,
    state: String,
    locked: bool,
    available: bool,
}

#[derive(Template)]
#[template(path = "dashboard/models.html")]
struct Models {
    frame: Frame,
    q: String,
    all: usize,
    rows: Vec<Row>,
}

/// `GET /dashboard/models`.
pub(super) async fn models(state: Shared, request: HttpRequest) -> HttpResponse {
    let make = async |visitor: &Visitor| {
        let wanted = Query::of(&request, &["q"])?.get("q").unwrap_or_default().trim().to_owned();
        let all = inference::models_of(&state, visitor.caller).await?;
        let (count, small) = (all.len(), wanted.to_lowercase());
        let rows = all.into_iter().filter(|model| model.id.to_lowercase().contains(&small)).map(Row::from).collect();
        Ok(Models { frame: visitor.frame("Models"), q: wanted, all: count, rows })
    };
    visited(&state, &request, make).await
}

impl From<Model> for Row {
    fn from(model: Model) -> Self {
        let price = |quantity: &str| match model.price_with_fee.as_ref().map(|price| &price[quantity]) {
            Some(Value::String(rate)) => format!("${rate}"),
            Some(Value::Number(rate)) => format!("${rate}"),
            _ => String::new(),
        };
        let state = match (&model.why, model.locked, model.state) {
            (_, true, _) => format!("locked: buy more credits to use class {}", model.class.unwrap_or_default()),
            (Some(why), ..) => why.clone(),
            (None, false, Some(state)) => state.to_owned(),
            (None, false, None) => "ready".to_owned(),
        };
        Self {
            input: price("input"),
            output: price("output"),
            second: model.price_per_second.as_ref().map(|rate| format!("${rate}")).unwrap_or_default(),
            is_chat: model.task == "chat",
            context: model.context_length.map(|tokens| count(tokens.into())).unwrap_or_default(),
            by: model.owned_by,
            task: model.task,
            locked: model.locked,
            available: model.available,
            id: model.id,
            state,
        }
    }
}
