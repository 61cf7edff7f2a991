//! The catalogue: `GET /v1/models` and one model of it.

use actix_web::{HttpRequest, HttpResponse, web};
use billing::class::SizeClass;
use serde_json::{Value, json};
use wire::inference::Task;

use crate::{
    catalogue::Model,
    gateway::{Gateway, target},
    http::{auth, error::ApiError, respond::answer, state::Shared},
};

/// A model in the catalogue: what it does and costs, whether this account may use it, and whether anyone may now.
fn model_json(gateway: &Gateway, model: &Model, largest: SizeClass) -> Value {
    let why = target::why_not(gateway, model);
    let mut json = priced_json(model, largest);
    json["available"] = why.is_none().into();
    json["why"] = why.into();
    json
}

fn priced_json(model: &Model, largest: SizeClass) -> Value {
    match model {
        Model::Closed(model) => json!({
            "id": model.id, "object": "model", "created": 0, "owned_by": model.provider,
            "task": if model.task == Task::Chat { "chat" } else { "completion" },
            "context_length": model.context, "max_output": model.max_output, "price": model.price, "locked": false,
        }),
        Model::Open(model) => json!({
            "id": model.id, "object": "model", "created": 0, "owned_by": "farebox", "task": "chat",
            "class": model.class.name(), "parameters": model.parameters, "context_length": model.context,
            "price_per_second": model.class.per_second(), "locked": model.class > largest,
        }),
    }
}

/// `GET /v1/models`.
pub async fn models(state: Shared, request: HttpRequest) -> HttpResponse {
    let work = async {
        let largest = largest_class(&state, &request).await?;
        let catalogue = state.gateway.models.fresh().await;
        let data: Vec<_> = catalogue.models().map(|model| model_json(&state.gateway, model, largest)).collect();
        Ok(json!({"object": "list", "data": data}))
    };
    answer(&request, work.await)
}

/// `GET /v1/models/{id}`.
pub async fn model(state: Shared, request: HttpRequest, id: web::Path<String>) -> HttpResponse {
    let work = async {
        let largest = largest_class(&state, &request).await?;
        let found = state.gateway.models.fresh().await.find(&id);
        let found = found.map_err(|nearest| ApiError::model_not_found(&id, &nearest))?;
        Ok(model_json(&state.gateway, &found, largest))
    };
    answer(&request, work.await)
}

async fn largest_class(state: &Shared, request: &HttpRequest) -> Result<SizeClass, ApiError> {
    let caller = auth::caller(state, request).await?;
    let picture = state.gateway.accounts.ask(caller.account_id, actors::account::Look).await?;
    Ok(picture.balance.tier.largest)
}
