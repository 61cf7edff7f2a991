//! Which models a request may run on: the one that it names, then its `models`, each where the one before is not served.
//! An attempt that failed is settled, and has a record of its own. A request is charged once.

use std::fmt::Write as _;

use wire::inference::Failure;

use crate::{gateway::serve::ServeError, http::error::ApiError};

/// The attempts of a request so far.
#[derive(Debug)]
pub(super) struct Route {
    /// Whether the request names an alias.
    is_of_alias: bool,
    /// The models that were tried, with the status that each would have been answered with.
    tried: String,
}

impl Route {
    /// A route of a request that names an alias, or a model.
    pub(super) const fn of(is_of_alias: bool) -> Self {
        Self { is_of_alias, tried: String::new() }
    }

    /// Notes an attempt that failed so.
    pub(super) fn failed(&mut self, model: &str, error: &ApiError) {
        // Writing to a text can't fail.
        let _ = write!(self.tried, "{model} {}, ", error.status().as_u16());
    }

    /// Whether another model may serve a request that failed so: the model or its provider is not there just now. What is
    /// wrong with the request, its key or its account would be wrong for any; but a field that a model in reserve has no
    /// word for says nothing of those after it. A failure that was charged is the end: a request is charged once.
    pub(super) fn may_go_on(&self, error: &ServeError) -> bool {
        match error {
            ServeError::NoModel { .. } | ServeError::Unpriced(_) => true,
            ServeError::Failed(failure) => match failure {
                Failure::Provider(error) => matches!(error.status, 404 | 408 | 429 | 500..),
                Failure::Unserved(_)
                | Failure::Transport(_)
                | Failure::Unreached(_)
                | Failure::Timeout(_)
                | Failure::NotFinite
                | Failure::Engine(_)
                | Failure::LeftAlone { .. }
                | Failure::Unavailable(_)
                | Failure::Overloaded(_)
                | Failure::ContextLength(_) => true,
                Failure::Invalid { .. } | Failure::TooLarge(_) => !self.tried.is_empty(),
            },
            ServeError::Invalid { .. } => !self.tried.is_empty(),
            ServeError::FailedAndCharged(_)
            | ServeError::OutOfScope(_)
            | ServeError::Refused(_)
            | ServeError::InLine { .. }
            | ServeError::Account(_)
            | ServeError::Unsettled(_) => false,
        }
    }

    /// The route to the model that answered, as the header has it: `gpt-5 503, claude-sonnet-5-5`. `None` where that is
    /// the model that the request named.
    pub(super) fn to(&self, model: &str) -> Option<String> {
        let is_plain = self.tried.is_empty() && !self.is_of_alias;
        (!is_plain).then(|| format!("{}{model}", self.tried))
    }
}

#[cfg(test)]
mod tests {
    use wire::inference::ProviderError;

    use super::*;

    #[test]
    fn another_model_is_asked_for_what_is_not_the_requests_fault() {
        let refused = |status| {
            ServeError::Failed(Failure::Provider(Box::new(ProviderError { status, ..ProviderError::default() })))
        };
        for status in [404, 408, 429, 500, 502, 503, 529] {
            assert!(Route::of(false).may_go_on(&refused(status)), "{status}");
        }
        for status in [200, 400, 401, 403, 413, 422] {
            assert!(!Route::of(false).may_go_on(&refused(status)), "{status}");
        }
        assert!(Route::of(false).may_go_on(&ServeError::NoModel { name: "m".into(), nearest: Vec::new() }));
        let invalid = ServeError::Invalid { field: "n".into(), message: String::new() };
        let mut route = Route::of(false);
        assert!(!route.may_go_on(&invalid), "the request's own fault");
        route.failed("a", &ApiError::overloaded("x"));
        assert!(route.may_go_on(&invalid), "the fault of the model in reserve");
        let charged = ServeError::FailedAndCharged(Failure::Overloaded("x".into()));
        assert!(!route.may_go_on(&charged), "a request is charged once");
    }

    #[test]
    fn the_route_names_what_was_tried() {
        let mut route = Route::of(false);
        assert_eq!(route.to("a"), None);
        assert_eq!(Route::of(true).to("a").as_deref(), Some("a"));
        route.failed("a", &ApiError::overloaded("x"));
        assert_eq!(route.to("b").as_deref(), Some("a 503, b"));
    }
}
