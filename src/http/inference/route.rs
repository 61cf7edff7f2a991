//! Which models a request may run on: the one that it names, then its `models`, each where the one before is not served.
//! An attempt that failed is settled, and has a record of its own; the record of the one that ends the request has all that came
//! before it. A request is charged once.

use std::{fmt::Write as _, sync::Arc};

use billing::{
    Nanos, Timestamp,
    attempt::{Attempt, kept_name},
    command::Refusal,
    ids::RequestId,
    key::KeyRefusal,
};
use wire::inference::Failure;

use crate::{gateway::serve::ServeError, http::error::ApiError};

/// An attempt that is made.
#[derive(Debug)]
pub(super) struct Made {
    /// The request's id in it.
    pub(super) id: RequestId,
    pub(super) model: String,
    /// The model's provider, where there is such a model.
    pub(super) provider: Option<Arc<str>>,
    pub(super) at: Timestamp,
}

/// Why an attempt failed.
#[derive(Debug)]
pub(in crate::http) struct Missed {
    pub(in crate::http) error: Box<ServeError>,
    /// Whether it was admitted, and so has a record.
    is_recorded: bool,
}

impl Missed {
    /// Nothing was held for it.
    pub(in crate::http) fn unheld(error: ServeError) -> Self {
        Self { error: Box::new(error), is_recorded: false }
    }

    /// Whether the model or its provider was asked, and let its client wait.
    pub(super) fn was_asked(&self) -> bool {
        let ServeError::Failed(failure) = &*self.error else { return false };
        self.is_recorded
            && match failure {
                Failure::Provider(_)
                | Failure::Unserved(_)
                | Failure::Transport(_)
                | Failure::Unreached(_)
                | Failure::Timeout(_)
                | Failure::NotFinite
                | Failure::Engine(_) => true,
                Failure::LeftAlone { .. }
                | Failure::Unavailable(_)
                | Failure::Overloaded(_)
                | Failure::ContextLength(_)
                | Failure::Invalid { .. }
                | Failure::TooLarge(_) => false,
            }
    }

    /// It was admitted, and is settled.
    pub(in crate::http) const fn settled(error: Box<ServeError>) -> Self {
        Self { error, is_recorded: true }
    }
}

/// The attempts of a request so far.
#[derive(Debug)]
pub(super) struct Route {
    /// Whether the request names an alias.
    is_of_alias: bool,
    /// Those that failed.
    attempts: Vec<Attempt>,
    /// Why the last of them failed that was not passed over.
    error: Option<Box<ServeError>>,
}

impl Route {
    /// A route of a request that names an alias, or a model.
    pub(super) const fn of(is_of_alias: bool) -> Self {
        Self { is_of_alias, attempts: Vec::new(), error: None }
    }

    /// The attempts that failed.
    pub(super) fn attempts(&self) -> Vec<Attempt> {
        self.attempts.clone()
    }

    /// Notes an attempt that failed so, and was not charged.
    pub(super) fn missed(&mut self, made: Made, missed: Missed, now: Timestamp) {
        let Made { id, model, provider, at } = made;
        let error = ApiError::from((*missed.error).clone());
        if !self.is_of_reserve(&missed.error) {
            self.error = Some(missed.error);
        }
        self.attempts.push(Attempt {
            request_id: missed.is_recorded.then_some(id),
            model: kept_name(&model),
            provider,
            status: error.status().as_u16(),
            code: error.code().into(),
            started_at: at,
            ended_at: now,
            charged: Nanos::ZERO,
        });
    }

    /// Why a request failed whose last attempt failed so.
    pub(super) fn last(self, missed: Missed) -> Missed {
        let is_of_reserve = self.is_of_reserve(&missed.error);
        match self.error {
            Some(error) if is_of_reserve => Missed { error, ..missed },
            Some(_) | None => missed,
        }
    }

    /// Whether a failure says nothing of the models before: the key may not use this one, or it is one in reserve that is not
    /// known, has no price, or has no word for a field. Whoever asked for another one waits for that, and comes again.
    fn is_of_reserve(&self, error: &ServeError) -> bool {
        let is_unfit = match error {
            ServeError::NoModel { .. } | ServeError::Unpriced(_) | ServeError::Invalid { .. } => true,
            ServeError::Failed(failure) => matches!(failure, Failure::Invalid { .. } | Failure::TooLarge(_)),
            ServeError::Refused(_)
            | ServeError::FailedAndCharged { .. }
            | ServeError::OutOfScope(_)
            | ServeError::InLine { .. }
            | ServeError::Account(_)
            | ServeError::Unsettled(_) => false,
        };
        is_not_for_key(error) || is_unfit && !self.attempts.is_empty()
    }

    /// Whether another model may serve a request that failed so: the model or its provider is not there just now. What is
    /// wrong with the request, its key or its account would be wrong for any; but a field that a model in reserve has no
    /// word for says nothing of those after it. A failure that was charged is the end: a request is charged once.
    pub(super) fn may_go_on(&self, error: &ServeError) -> bool {
        match error {
            ServeError::NoModel { .. } | ServeError::Unpriced(_) => true,
            // The key may use another.
            error @ ServeError::Refused(_) => is_not_for_key(error),
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
                Failure::Invalid { .. } | Failure::TooLarge(_) => !self.attempts.is_empty(),
            },
            ServeError::Invalid { .. } => !self.attempts.is_empty(),
            ServeError::FailedAndCharged { .. }
            | ServeError::OutOfScope(_)
            | ServeError::InLine { .. }
            | ServeError::Account(_)
            | ServeError::Unsettled(_) => false,
        }
    }

    /// The route to the model that answered, as the header has it: `gpt-5 503, claude-sonnet-5-5`. `None` where that is
    /// the model that the request named.
    pub(super) fn to(&self, model: &str) -> Option<String> {
        let is_plain = self.attempts.is_empty() && !self.is_of_alias;
        let mut route = String::new();
        for attempt in &self.attempts {
            // Writing to a text can't fail.
            let _ = write!(route, "{} {}, ", attempt.model, attempt.status);
        }
        (!is_plain).then(|| route + model)
    }
}

/// Whether the key may not use the model.
const fn is_not_for_key(error: &ServeError) -> bool {
    matches!(error, ServeError::Refused(Refusal::KeyLimit(KeyRefusal::Model { .. })))
}

#[cfg(test)]
mod tests {
    use wire::inference::ProviderError;

    use super::*;
    use crate::catalogue::Missing;

    fn missed(route: &mut Route, model: &str) {
        let made = Made { id: RequestId(uuid::Uuid::nil()), model: model.into(), provider: None, at: Timestamp(1) };
        let failure = ServeError::Failed(Failure::Overloaded("x".into()));
        route.missed(made, Missed::settled(Box::new(failure)), Timestamp(3));
    }

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
        assert!(
            Route::of(false).may_go_on(&ServeError::NoModel { name: "m".into(), why: Missing::Unknown(Vec::new()) })
        );
        let invalid = ServeError::Invalid { field: "n".into(), message: String::new() };
        let mut route = Route::of(false);
        assert!(!route.may_go_on(&invalid), "the request's own fault");
        missed(&mut route, "a");
        assert!(route.may_go_on(&invalid), "the fault of the model in reserve");
        let charged = ServeError::FailedAndCharged { failure: Failure::Overloaded("x".into()), charge: None };
        assert!(!route.may_go_on(&charged), "a request is charged once");
    }

    #[test]
    fn a_model_that_the_key_may_not_use_is_passed_over() {
        let not_allowed =
            || Box::new(ServeError::Refused(Refusal::KeyLimit(KeyRefusal::Model { allowed: Vec::new() })));
        let mut route = Route::of(true);
        assert!(
            route.may_go_on(&not_allowed()) && is_not_for_key(&route.last(Missed::unheld(*not_allowed())).error),
            "none was asked"
        );
        route = Route::of(true);
        missed(&mut route, "a");
        let made = Made { id: RequestId(uuid::Uuid::nil()), model: "b".into(), provider: None, at: Timestamp(1) };
        route.missed(made, Missed::unheld(*not_allowed()), Timestamp(3));
        let last = route.last(Missed::unheld(*not_allowed()));
        assert!(matches!(*last.error, ServeError::Failed(Failure::Overloaded(_))));
        let poor = Refusal::RateLimit { limit: 1, retry_after_ms: 1 };
        assert!(!Route::of(true).may_go_on(&ServeError::Refused(poor)));
    }

    #[test]
    fn a_model_in_reserve_that_does_not_fit_hides_no_failure_of_one_that_was_asked() {
        let unknown = || ServeError::NoModel { name: "b".into(), why: Missing::Unknown(Vec::new()) };
        let invalid = || ServeError::Invalid { field: "n".into(), message: String::new() };
        let unfit = || ServeError::Failed(Failure::Invalid { field: "n".into(), message: String::new() });
        for error in [unknown(), invalid(), unfit(), ServeError::Unpriced("b".into())] {
            let text = format!("{error:?}");
            let mut route = Route::of(false);
            missed(&mut route, "a");
            let last = route.last(Missed::unheld(error));
            assert!(matches!(*last.error, ServeError::Failed(Failure::Overloaded(_))), "{text}");
        }
        let alone = Route::of(false).last(Missed::unheld(unknown()));
        assert!(matches!(*alone.error, ServeError::NoModel { .. }), "the request's own model");
        let mut route = Route::of(false);
        missed(&mut route, "a");
        let failed = Missed::unheld(ServeError::Failed(Failure::Timeout("x")));
        assert!(matches!(*route.last(failed).error, ServeError::Failed(Failure::Timeout(_))), "the later failure");
    }

    #[test]
    fn the_route_names_what_was_tried() {
        let mut route = Route::of(false);
        assert_eq!(route.to("a"), None);
        assert_eq!(Route::of(true).to("a").as_deref(), Some("a"));
        missed(&mut route, "a");
        assert_eq!(route.to("b").as_deref(), Some("a 503, b"));
        let [attempt] = &route.attempts()[..] else { panic!("{route:?}") };
        assert_eq!((&*attempt.model, attempt.status, &*attempt.code), ("a", 503, "overloaded"));
        assert_eq!(
            (attempt.request_id, attempt.ended_at.0, attempt.charged),
            (Some(RequestId(uuid::Uuid::nil())), 3, Nanos::ZERO)
        );
        let made = Made { id: RequestId(uuid::Uuid::nil()), model: "b".into(), provider: None, at: Timestamp(1) };
        route.missed(made, Missed::unheld(ServeError::Unpriced("b".into())), Timestamp(3));
        assert_eq!(route.attempts()[1].request_id, None, "nothing was held for it");
    }
}
