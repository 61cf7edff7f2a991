//! How a model stands here: `GET /v1/models/{id}/status`.

use actix_web::{HttpRequest, HttpResponse, web};

use super::models::{found, why_not};
use crate::{
    catalogue::Model,
    gateway::pools::Standing,
    http::{respond::answer, state::Shared, views::pools::ModelStatus},
};

/// `GET /v1/models/{id}/status`: whether it is in memory, who waits for it, and how fast it answers.
pub async fn status(state: Shared, request: HttpRequest, id: web::Path<String>) -> HttpResponse {
    let work = async {
        let (_, model) = found(&state, &request, &id).await?;
        let why = why_not(&state, &model);
        Ok(match model {
            Model::Closed(_) => ModelStatus::of_provider(&id, why),
            Model::Open(model) => {
                let status = state.gateway.status(&model);
                // What its pool says of it is nearer than what the list says.
                let why = why.filter(|_| status.seen.model.standing != Standing::Unavailable);
                ModelStatus::of(&id, &status, why)
            }
        })
    };
    answer(&request, work.await)
}
