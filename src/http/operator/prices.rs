//! The versions of the price book, and what is in force.

use actix_web::{HttpRequest, HttpResponse};

use super::{
    kit::{Content, number, text},
    page::visited,
    text::at,
};
use crate::{
    catalogue::Model,
    http::{error::ApiError, state::Shared},
    service::prices,
};

/// `GET /operator/prices`.
pub(super) async fn prices(state: Shared, request: HttpRequest) -> HttpResponse {
    visited(&state, &request, "Prices", async || made(&state).await).await
}

async fn made(state: &Shared) -> Result<Content, ApiError> {
    let versions = prices::versions(&state.service).await?;
    let differences = prices::last_differences(&state.service, &versions).await?;
    let rows = versions.iter().rev().map(|version| {
        vec![
            number(version.version),
            text(at(version.at)),
            number(version.characters),
            text(&version.hash[..12.min(version.hash.len())]),
        ]
    });
    let known = state.gateway.models.known();
    let disputed = known.models().filter_map(|(_, model)| match model {
        Model::Closed(model) => {
            let why = model.about.disputed.as_deref()?;
            Some(vec![text(model.provider.to_string()), text(model.id.to_string()), text(why)])
        }
        Model::Open(_) => None,
    });
    let lines = differences.into_iter().map(|(sign, line)| vec![text(sign), text(line)]);
    Ok(Content::default()
        .says(
            "A request is charged by the version that was in force when it was let in. The command farebox prices imports, \
             compares and re-rates.",
        )
        .table(
            ("versions", "Versions, the newest first"),
            "",
            &["Version", "In force since", "Characters", "Hash"],
            rows.collect(),
        )
        .table(
            ("differences", "What the newest version changed"),
            "Lines that were added and taken away, of the book as it is written.",
            &["Change", "Line"],
            lines.collect(),
        )
        .table(
            ("disputed", "Disputed prices"),
            "Entries of which two sources say two things. Their models are refused until an entry of yours rules.",
            &["Provider", "Model", "Why"],
            disputed.collect(),
        ))
}
