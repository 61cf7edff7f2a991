//! The tokens of a request's prompt, counted for nothing: by its provider where that counts such requests, by the
//! tokenizer of an open model, and here for all others. Nothing runs, so nothing is held.

use billing::ids::RequestId;
use wire::{format, inference::Request};

use super::{
    Gateway,
    plan::Payer,
    serve::ServeError,
    target::{self, provider},
};
use crate::catalogue::Model;

/// A count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Counted {
    /// The provider's own answer, as JSON.
    Told(Box<str>),
    /// The tokens, as counted here.
    Here(u64),
}

/// Counts the tokens of a request's prompt.
///
/// # Errors
///
/// The model is unknown, the request is invalid for it, or the provider refuses to count.
pub async fn count(
    gateway: &Gateway,
    request: Request,
    own_key: Option<String>,
    id: RequestId,
) -> Result<Counted, ServeError> {
    let (model, _) = gateway.models.find(&request.model).await?;
    match &model {
        Model::Open(model) => {
            let (asked, _) = Box::pin(gateway.tokenizer_cache.prepare(model, request)).await?;
            Ok(Counted::Here(asked.input()))
        }
        Model::Closed(closed) => {
            let handle = provider(gateway, closed)?;
            let here = wire::tokens::count_prompt(&request, &closed.id);
            // A body that may not run may not be sent either.
            let terms = own_key.is_none().then(|| format::terms(&request));
            let Some(call) = handle.format().count(request, &closed.id) else { return Ok(Counted::Here(here)) };
            if let Some(Err(bad)) = terms {
                return Err(ServeError::Invalid { field: bad.field.into(), message: bad.message });
            }
            target::check(gateway, &model, Payer::of(own_key.as_ref()))?;
            let report = handle.count(&closed.id, call, own_key.as_deref()).await?;
            tracing::debug!(request.id = %id, input = report.input, "a provider counted a prompt");
            Ok(report.own.map_or(Counted::Here(report.input.unwrap_or(here)), Counted::Told))
        }
    }
}
