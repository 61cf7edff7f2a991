//! The catalogue: `GET /v1/models` and one model of it, and the same in Google's words.

use actix_web::{HttpRequest, HttpResponse, web};
use billing::class::SizeClass;

use super::gemini;
use crate::{
    catalogue,
    gateway::target,
    http::{
        auth,
        error::ApiError,
        formats::is_googles,
        query::Query,
        respond::answer,
        state::Shared,
        views::{
            list::List,
            models::{GoogleModel, GoogleModels, Model},
        },
    },
};

/// The most models of a page in Google's words, and the number without the client's word.
const MOST: usize = 1_000;
/// Parameters of such a list: those of the page, and those that change nothing here.
const PAGE: [&str; 6] = ["pageSize", "pageToken", "alt", "$alt", "prettyPrint", "$prettyPrint"];

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
    if is_googles(&request) {
        return google_models(state, request).await;
    }
    answer(&request, all(&state, &request).await.map(List::<Model>::of))
}

/// `GET /v1beta/models`.
pub async fn google_models(state: Shared, request: HttpRequest) -> HttpResponse {
    let work = async {
        gemini::query(&request)?;
        let query = Query::of(&request, &PAGE)?;
        let number = |name: &str, most: usize| match query.get(name).filter(|text| !text.is_empty()) {
            None => Ok(None),
            Some(text) => text
                .parse()
                .ok()
                .filter(|number| (1..=most).contains(number))
                .map(Some)
                .ok_or_else(|| ApiError::invalid(name, format!("must be a whole number from 1 to {most}"))),
        };
        let (size, behind) = (number("pageSize", MOST)?, number("pageToken", usize::MAX)?);
        let all = all(&state, &request).await?.into_iter().filter_map(GoogleModel::of).collect();
        Ok(GoogleModels::page(all, behind.unwrap_or(0), size.unwrap_or(MOST)))
    };
    answer(&request, work.await)
}

/// `GET /v1/models/{id}`.
pub async fn model(state: Shared, request: HttpRequest, id: web::Path<String>) -> HttpResponse {
    if is_googles(&request) {
        return google_model(state, request, id).await;
    }
    answer(&request, one(&state, &request, &id).await)
}

/// `GET /v1beta/models/{id}`.
pub async fn google_model(state: Shared, request: HttpRequest, id: web::Path<String>) -> HttpResponse {
    let work = async {
        gemini::query(&request)?;
        let model = one(&state, &request, &id).await?;
        GoogleModel::of(model).ok_or_else(|| ApiError::model_not_found(&id, &[]))
    };
    answer(&request, work.await)
}

/// All models, as the caller sees them.
async fn all(state: &Shared, request: &HttpRequest) -> Result<Vec<Model>, ApiError> {
    let largest = largest_class(state, request).await?;
    let catalogue = state.gateway.models.fresh().await;
    // An alias of no model serves nothing, and is not listed.
    let aliases = state.gateway.models.aliases().all();
    let aliases: Vec<_> = aliases.filter_map(|(name, model)| Some((name, catalogue.find(model).ok()?))).collect();
    let aliases = aliases.iter().map(|(name, model)| (*name, model));
    Ok(aliases.chain(catalogue.models()).map(|(name, model)| view(state, name, model, largest)).collect())
}

/// One model, as the caller sees it.
async fn one(state: &Shared, request: &HttpRequest, id: &str) -> Result<Model, ApiError> {
    let largest = largest_class(state, request).await?;
    let models = &state.gateway.models;
    let found = models.fresh().await.find(models.aliases().model(id));
    let found = found.map_err(|nearest| ApiError::model_not_found(id, &nearest))?;
    Ok(view(state, id, &found, largest))
}

async fn largest_class(state: &Shared, request: &HttpRequest) -> Result<SizeClass, ApiError> {
    let caller = auth::caller(state, request).await?;
    let picture = state.gateway.accounts.ask(caller.account_id, actors::account::Look).await?;
    Ok(picture.balance.tier.largest)
}
