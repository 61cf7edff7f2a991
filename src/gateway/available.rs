//! Whether a model can run here at all, before anyone is asked to pay for it: the catalogue says it, a quote refuses by it,
//! and so does a request, in the same words. What passes (a provider that fails, a full queue) is not this.

use wire::inference::Failure;

use super::{Gateway, serve::ServeError};
use crate::catalogue::Model;

/// Whose key a closed model would be called with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Payer {
    /// The operator's, and the caller pays in credits.
    Credits,
    /// The caller's own at the provider.
    OwnKey,
}

impl Payer {
    /// By whether a caller sent a key of its own.
    pub const fn of<T>(provider_key: Option<&T>) -> Self {
        if provider_key.is_some() { Self::OwnKey } else { Self::Credits }
    }
}

/// Whether a model can run, else why not.
pub fn check(gateway: &Gateway, model: &Model, payer: Payer) -> Result<(), ServeError> {
    match model {
        Model::Closed(model) => {
            let line = gateway.providers.get(&*model.provider);
            let line = line.ok_or_else(|| ServeError::Unpriced(model.id.to_string()))?;
            if payer == Payer::Credits && !line.has_key() {
                let name = &model.provider;
                let message = format!("is needed: there is no API key for {name} here; send your own");
                return Err(ServeError::Invalid { field: "provider-key".into(), message });
            }
        }
        Model::Open(model) => {
            if payer == Payer::OwnKey {
                let message = "is only for closed models".to_owned();
                return Err(ServeError::Invalid { field: "provider-key".into(), message });
            }
            let unable = |why: String| Err(ServeError::Failed(Failure::Unavailable(why)));
            if !gateway.pools.contains_key(&model.class) {
                return unable(format!("{} can't run: there is no pool for class {}", model.id, model.class.name()));
            }
            if !gateway.runtime.is_file() {
                return unable(format!("{} can't run: ONNX Runtime's library is not there", model.id));
            }
        }
    }
    Ok(())
}

/// Why a model that runs for credits does not, in words for the catalogue; none where it does.
pub fn why_not(gateway: &Gateway, model: &Model) -> Option<String> {
    check(gateway, model, Payer::Credits).err().map(|error| match error {
        ServeError::Invalid { field, message } => format!("{field} {message}"),
        ServeError::Failed(Failure::Unavailable(why)) => why,
        other => other.to_string(),
    })
}
