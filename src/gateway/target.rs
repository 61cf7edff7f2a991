//! A plan's target: whether it can run at all, the preparation of a request for it, and the run of an admitted request.
//! Whether a target can run is known before a hold is placed: the catalogue shows it, and quotes and requests are
//! refused by it, in the same words. Passing trouble (a failing provider, a full queue) is not checked here.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
};

use actors::{
    admission::Admission,
    pool::{Control, ModelFolder},
    provider::ProviderHandle,
};
use billing::ids::AccountId;
use engine::{preparer::Asked, worker::StopSignal};
use futures::{
    StreamExt,
    stream::{self, BoxStream},
};
use traces::Span;
use wire::{
    format::{self, ProviderCall, Upstream},
    inference::{Event, Failure, Request},
};

use super::{
    Gateway,
    plan::{Limit, Media, Payer, Plan, Target, UsageTerms},
    serve::ServeError,
    session,
    speeds::Course,
    task::Runner,
};
use crate::catalogue::{ClosedModel, Model};

/// Checks that a model can run; the error is the reason.
///
/// # Errors
///
/// The model has no price or provider here, the payer's key is missing or not allowed, no device has the memory for it,
/// an operator took it or its provider out of service, or ONNX Runtime is missing.
pub fn check(gateway: &Gateway, model: &Model, payer: Payer) -> Result<(), ServeError> {
    match model {
        Model::Closed(model) => {
            let handle = provider(gateway, model)?;
            if handle.paused().is_some() {
                let why = format!("{} is out of service here just now: an operator paused it", model.provider);
                return Err(ServeError::Failed(Failure::Unavailable(why)));
            }
            if payer == Payer::OwnKey && !handle.takes_own_keys() {
                let message = format!("is not taken for models of {}: leave it out", model.provider);
                return Err(ServeError::Invalid { field: "provider-key".into(), message });
            }
            if payer == Payer::Credits && !handle.has_key() {
                let name = &model.provider;
                let message = format!("is needed: there is no API key for {name} here; send your own");
                return Err(ServeError::Invalid { field: "provider-key".into(), message });
            }
            if payer == Payer::Credits {
                Media::check(model)?;
            }
        }
        Model::Open(model) => {
            if payer == Payer::OwnKey {
                let message = "is only for closed models".to_owned();
                return Err(ServeError::Invalid { field: "provider-key".into(), message });
            }
            gateway.pools.check(&gateway.sizes.wanted(model)).map_err(ServeError::Failed)?;
            if !gateway.runtime.is_file() {
                let why = format!("{} can't run: ONNX Runtime's library is not there", model.id);
                return Err(ServeError::Failed(Failure::Unavailable(why)));
            }
        }
    }
    Ok(())
}

/// Why a model does not run for credits, in words for the catalogue; `None` where it does.
pub fn why_not(gateway: &Gateway, model: &Model) -> Option<String> {
    check(gateway, model, Payer::Credits).err().map(|error| match error {
        ServeError::Invalid { field, message } => format!("{field} {message}"),
        ServeError::Failed(Failure::Unavailable(why)) => why,
        other => other.to_string(),
    })
}

pub(super) fn provider<'a>(gateway: &'a Gateway, model: &ClosedModel) -> Result<&'a ProviderHandle, ServeError> {
    gateway.providers.get(&*model.provider).ok_or_else(|| {
        let why = format!("{} can't run: {} is not called from here", model.id, model.provider);
        ServeError::Failed(Failure::Unavailable(why))
    })
}

/// A request that is ready to run once it is admitted.
pub(super) enum Ready<'a> {
    /// For a provider.
    Provider {
        handle: &'a ProviderHandle,
        model: Arc<str>,
        /// The request as the provider's format writes it.
        call: Box<ProviderCall>,
        /// Whether the provider answers in the client's format.
        speaks_as_client: bool,
        /// The session of the request, where its client names one.
        session: Option<Box<str>>,
        /// The caller's own key at the provider.
        own_key: Option<String>,
    },
    /// For a pool.
    Pool { gateway: &'a Gateway, model: Box<ModelFolder>, asked: Asked },
}

/// Prepares a request for its target. A request that can't run is refused here, before anything is held.
pub(super) async fn ready<'a>(
    gateway: &'a Gateway,
    plan: &Plan,
    request: Request,
    own_key: Option<String>,
) -> Result<Ready<'a>, ServeError> {
    match &plan.target {
        Target::Closed(terms) => {
            let (asked, session) = (request.source.format, session::named(&request).map(Box::from));
            let (handle, call) = call(gateway, terms, request)?;
            let (speaks_as_client, model) = (call.format == asked, Arc::clone(&terms.model.id));
            Ok(Ready::Provider { handle, model, call: Box::new(call), speaks_as_client, session, own_key })
        }
        Target::Open(terms) => {
            let (asked, preparer) = Box::pin(gateway.tokenizer_cache.prepare(&terms.model, request)).await?;
            let model = Box::new(gateway.sizes.folder(&terms.model, preparer));
            Ok(Ready::Pool { gateway, model, asked })
        }
    }
}

/// The call of a request to a closed model, as its provider's format writes it.
pub(super) fn call<'a>(
    gateway: &'a Gateway,
    terms: &UsageTerms,
    mut request: Request,
) -> Result<(&'a ProviderHandle, ProviderCall), ServeError> {
    let tier = match terms.payer {
        Payer::Credits => {
            format::bound(&mut request);
            Some(terms.tier())
        }
        Payer::OwnKey => None,
    };
    let handle = provider(gateway, &terms.model)?;
    let upstream = Upstream { model: &terms.model.id, max_output: terms.model.max_output, tier };
    Ok((handle, handle.format().call(request, &upstream)?))
}

/// The number of an account's session. What is chosen by it stays the same for the session.
pub(super) fn affinity(account: AccountId, session: Option<&str>) -> u64 {
    let mut hasher = DefaultHasher::new();
    (account, session).hash(&mut hasher);
    hasher.finish()
}

/// Names the span of a call to its provider, in place of its client's.
fn name_span(call: &mut ProviderCall, span: &Span) {
    if span.is_kept() {
        call.headers.retain(|(name, _)| !traces::is_of_context(name));
        call.headers.extend(span.headers().into_iter().map(|(name, value)| (name.into(), value.into())));
    }
}

impl Ready<'_> {
    /// Runs an admitted request. The run continues while its events are read, and is cut where they are dropped. The
    /// last event tells how the run ended; where it can't begin, that is the only event. `limit` is sent to a provider.
    /// A provider is told the span of its call.
    pub(super) fn run(
        self,
        admission: &Admission,
        limit: Option<Limit>,
        span: &Span,
    ) -> (BoxStream<'static, Event>, Runner) {
        match self {
            Ready::Provider { handle, model, mut call, speaks_as_client, session, own_key } => {
                if let Some(limit) = limit {
                    handle.format().limit(&mut call, limit.tokens);
                }
                name_span(&mut call, span);
                let (clamped, is_streamed) = (limit.map(|limit| limit.why), call.is_streamed);
                // A provider's cache belongs to a key: an account's session keeps to one.
                let affinity = affinity(admission.account_id(), session.as_deref());
                let events = handle.call(admission, &model, *call, own_key.as_deref(), affinity);
                (events, Runner::Provider { clamped, is_streamed, speaks_as_client })
            }
            Ready::Pool { gateway, model, asked } => {
                let pace = Course::of(gateway.speeds.of(&model.id));
                match gateway.pools.run(admission, *model, asked) {
                    Ok((events, control)) => (events.boxed(), Runner::Engine { control, pace }),
                    Err(failure) => {
                        let control = Control::of(StopSignal::new());
                        (stream::iter([Event::Failed(failure)]).boxed(), Runner::Engine { control, pace })
                    }
                }
            }
        }
    }
}
