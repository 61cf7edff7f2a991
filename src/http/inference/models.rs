//! The catalogue: `GET /v1/models` and one model of it.

use actix_web::{HttpRequest, HttpResponse, web};
use billing::class::SizeClass;

use crate::{
    catalogue,
    gateway::target,
    http::{
        auth,
        error::ApiError,
        respond::answer,
        state::Shared,
        views::{list::List, models::Model},
    },
};

fn view(state: &Shared, name: &str, model: &catalogue::Model, largest: SizeClass) -> Model {
    let unpriced = match model {
        catalogue::Model::Closed(model) => model.why_unpriced(),
        catalogue::Model::Open(_) => None,
    };
    let why = unpriced.or_else(|| target::why_not(&state.gateway, model));
    Model::of(name, model, largest, why, state.gateway.clock().now())
}

/// `GET /v1/models`.
pub async fn models(state: Shared, request: HttpRequest) -> HttpResponse {
    let work = async {
        let largest = largest_class(&state, &request).await?;
        let catalogue = state.gateway.models.fresh().await;
        // An alias of no model serves nothing, and is not listed.
        let aliases = state.gateway.models.aliases().all();
        let aliases: Vec<_> = aliases.filter_map(|(name, model)| Some((name, catalogue.find(model).ok()?))).collect();
        let aliases = aliases.iter().map(|(name, model)| (*name, model));
        let all = aliases.chain(catalogue.models()).map(|(name, model)| view(&state, name, model, largest));
        Ok(List::<Model>::of(all))
    };
    answer(&request, work.await)
}

/// `GET /v1/models/{id}`.
pub async fn model(state: Shared, request: HttpRequest, id: web::Path<String>) -> HttpResponse {
    let work = async {
        let largest = largest_class(&state, &request).await?;
        let models = &state.gateway.models;
        let found = models.fresh().await.find(models.aliases().model(&id));
        let found = found.map_err(|nearest| ApiError::model_not_found(&id, &nearest))?;
        Ok(view(&state, &id, &found, largest))
    };
    answer(&request, work.await)
}

async fn largest_class(state: &Shared, request: &HttpRequest) -> Result<SizeClass, ApiError> {
    let caller = auth::caller(state, request).await?;
    let picture = state.gateway.accounts.ask(caller.account_id, actors::account::Look).await?;
    Ok(picture.balance.tier.largest)
}
