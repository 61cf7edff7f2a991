//! Circuit breakers (Nygard, "Release It!"): what failed a number of times in a row is not called for a while, then one call
//! is tried. A provider's endpoint has one, and each model there has its own: a model that fails leaves the others alone, and
//! an endpoint that is not reached serves none of them. [`Breakers`] counts what became of calls; which calls pass meanwhile
//! is in [`gates`](super::gates). Pure: times are passed in.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use wire::inference::{Failure, ProviderError};

use super::gates::{Gate, Gates};

/// The failures in a row that open a breaker.
pub const OPENS_AFTER: u32 = 20;
/// More failures in a row than by chance.
pub const TROUBLING: u32 = 3;
/// How long nothing is called behind an open breaker, before the first call is tried and between two that are.
pub const OPEN_FOR: Duration = Duration::from_secs(5);
/// The most models whose failures are remembered. Only models with a price are called, so there are seldom so many.
pub const MOST_MODELS: usize = 1_024;
/// The longest reason that is remembered, in characters.
const LONGEST_REASON: usize = 200;

/// What the end of a call shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The model answered.
    Answered,
    /// The endpoint was reached, and refused the request or its key: nothing is known of the model.
    Refused,
    /// Nothing: the call was never made.
    Nothing,
    /// The model failed: its error, its overload, or no answer of it in time.
    ModelFailed,
    /// The endpoint was not reached, or what stands before it answered in its place.
    Unreached,
}

/// What a failure shows.
pub fn outcome(failure: &Failure) -> Outcome {
    match failure {
        // A load balancer's error is in no provider's form, and says nothing of a model.
        Failure::Provider(error) if error.status >= 500 && error.is_foreign => Outcome::Unreached,
        Failure::Provider(error) if error.status >= 500 || lacks_model(error) => Outcome::ModelFailed,
        Failure::Timeout("connect") | Failure::Unreached(_) => Outcome::Unreached,
        Failure::Timeout(_) | Failure::Transport(_) => Outcome::ModelFailed,
        // A fault between the provider and this gateway's key does not concern callers with their own key.
        Failure::Provider(_) | Failure::Unserved(_) | Failure::TooLarge(_) => Outcome::Refused,
        Failure::Invalid { .. }
        | Failure::ContextLength(_)
        | Failure::NotFinite
        | Failure::Engine(_)
        | Failure::Unavailable(_)
        | Failure::LeftAlone { .. }
        | Failure::Overloaded(_) => Outcome::Nothing,
    }
}

/// Whether a provider says that it has no such model, in words of its own: a request that names a missing file gets a 404,
/// too, and may say what it wants in the file's name.
fn lacks_model(error: &ProviderError) -> bool {
    if error.status != 404 {
        return false;
    }
    let says = error.message.trim_start().to_ascii_lowercase();
    error.code.as_deref() == Some("model_not_found") || says.starts_with("model") || says.starts_with("the model")
}

/// Why a call failed, in words for operators, of which none are a client's.
pub fn reason(failure: &Failure) -> String {
    let words = match failure {
        Failure::Provider(error) => format!("HTTP {}", error.status),
        other => other.to_string(),
    };
    words.chars().take(LONGEST_REASON).collect()
}

/// One breaker.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Breaker {
    /// The failures in a row, at least one.
    failures: u32,
    /// Why the last of them failed.
    why: String,
    failed_at: Instant,
    /// When the failures were so many.
    opened_at: Option<Instant>,
}

impl Breaker {
    fn failed(before: Option<&Self>, why: String, now: Instant) -> Self {
        let failures = before.map_or(0, |before| before.failures).saturating_add(1);
        let opened_at = before.and_then(|before| before.opened_at);
        Self { failures, why, failed_at: now, opened_at: opened_at.or((failures >= OPENS_AFTER).then_some(now)) }
    }
}

/// The breakers of one provider.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Breakers {
    /// `None` while no call failed since the last that did not.
    endpoint: Option<Breaker>,
    /// Of the models of which that is so, none.
    models: BTreeMap<Arc<str>, Breaker>,
}

/// Trouble that operators should know of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// The model; `None` for the endpoint.
    pub model: Option<Arc<str>>,
    /// The failures in a row.
    pub failures: u32,
    /// Why the last of them failed.
    pub why: String,
    /// When it was left alone, and when the next call is tried; `None` while it is called.
    pub left_alone: Option<(Instant, Instant)>,
}

impl Breakers {
    /// Notes how a call ended: `why` is the reason of a failure.
    pub fn note(&mut self, model: &Arc<str>, outcome: Outcome, why: String, now: Instant) {
        match outcome {
            Outcome::Answered => {
                self.endpoint = None;
                self.models.remove(model);
            }
            Outcome::Refused => self.endpoint = None,
            Outcome::Nothing => {}
            Outcome::ModelFailed => {
                self.make_room(model);
                let breaker = Breaker::failed(self.models.get(model), why, now);
                self.models.insert(Arc::clone(model), breaker);
            }
            Outcome::Unreached => self.endpoint = Some(Breaker::failed(self.endpoint.as_ref(), why, now)),
        }
    }

    /// Forgets the model that failed longest ago, where there is no room for another one.
    fn make_room(&mut self, model: &Arc<str>) {
        if self.models.len() >= MOST_MODELS && !self.models.contains_key(model) {
            let oldest = self.models.iter().min_by_key(|(_, breaker)| breaker.failed_at);
            if let Some(oldest) = oldest.map(|(name, _)| Arc::clone(name)) {
                self.models.remove(&oldest);
            }
        }
    }

    /// The gates to publish. What was open before is tried when it would have been.
    pub fn gates(&self, before: &Gates) -> Gates {
        let gate = |breaker: &Breaker, before: Option<Gate>| match (breaker.opened_at, before) {
            (None, _) => Gate::Troubled,
            (Some(_), Some(open @ Gate::Open { .. })) => open,
            (Some(at), _) => Gate::Open { trial_at: at + OPEN_FOR },
        };
        let endpoint = self.endpoint.as_ref().map(|breaker| gate(breaker, before.endpoint()));
        let models = self.models.iter().map(|(name, breaker)| (Arc::clone(name), gate(breaker, before.model(name))));
        Gates::new(endpoint, models.collect())
    }

    /// The troubles, the endpoint's first, with the times at which these gates let a call through.
    pub fn troubles<'a>(&'a self, gates: &'a Gates) -> impl Iterator<Item = Trouble> + 'a {
        let trouble = |model: Option<&Arc<str>>, breaker: &Breaker, gate: Option<Gate>| {
            let left_alone = match (breaker.opened_at, gate) {
                (Some(at), Some(Gate::Open { trial_at })) => Some((at, trial_at)),
                _ => None,
            };
            let Breaker { failures, ref why, .. } = *breaker;
            (failures >= TROUBLING).then(|| Trouble { model: model.cloned(), failures, why: why.clone(), left_alone })
        };
        let endpoint = self.endpoint.iter().filter_map(move |breaker| trouble(None, breaker, gates.endpoint()));
        let models = self.models.iter();
        endpoint.chain(models.filter_map(move |(name, breaker)| trouble(Some(name), breaker, gates.model(name))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(status: u16, code: Option<&str>, message: &str) -> Failure {
        let code = code.map(str::to_owned);
        Failure::Provider(Box::new(ProviderError { status, code, message: message.into(), ..ProviderError::default() }))
    }

    #[test]
    fn a_failure_is_the_models_the_endpoints_or_nobodys() {
        for (failure, shown) in [
            (refused(500, None, "x"), Outcome::ModelFailed),
            (refused(503, None, "overloaded"), Outcome::ModelFailed),
            (refused(529, None, "overloaded"), Outcome::ModelFailed),
            (refused(404, Some("model_not_found"), "x"), Outcome::ModelFailed),
            (refused(404, None, "model: claude-9"), Outcome::ModelFailed),
            (refused(404, None, "The model `gpt-9` does not exist"), Outcome::ModelFailed),
            (refused(404, None, "models/gemini-9 is not found for API version v1beta"), Outcome::ModelFailed),
            (refused(404, None, "No such File object: model: gpt-4o"), Outcome::Refused),
            (refused(400, Some("model_not_found"), "x"), Outcome::Refused),
            (refused(429, None, "slow down"), Outcome::Refused),
            (Failure::Timeout("first byte"), Outcome::ModelFailed),
            (Failure::Timeout("idle"), Outcome::ModelFailed),
            (Failure::Transport("cut".into()), Outcome::ModelFailed),
            (Failure::Timeout("connect"), Outcome::Unreached),
            (Failure::Unreached("refused".into()), Outcome::Unreached),
            (Failure::TooLarge(9), Outcome::Refused),
            (Failure::Overloaded("full".into()), Outcome::Nothing),
        ] {
            assert_eq!(outcome(&failure), shown, "{failure:?}");
        }
        assert_eq!(reason(&refused(503, None, "said of sk-1: hello")), "HTTP 503");
        assert_eq!(reason(&Failure::Transport("é".repeat(900))).chars().count(), LONGEST_REASON);
    }

    #[test]
    fn a_load_balancers_error_is_the_endpoints() {
        let foreign = |status| {
            Failure::Provider(Box::new(ProviderError { status, is_foreign: true, ..ProviderError::default() }))
        };
        for (status, shown) in [
            (500, Outcome::Unreached),
            (502, Outcome::Unreached),
            (503, Outcome::Unreached),
            (504, Outcome::Unreached),
            (404, Outcome::Refused),
            (429, Outcome::Refused),
        ] {
            assert_eq!(outcome(&foreign(status)), shown, "{status}");
        }
    }

    #[test]
    fn models_are_bounded_and_the_one_that_failed_longest_ago_is_forgotten() {
        let (mut breakers, began) = (Breakers::default(), Instant::now());
        let name = |number: usize| Arc::from(number.to_string());
        for number in 0..MOST_MODELS + 10 {
            let at = began + Duration::from_millis(number as u64);
            breakers.note(&name(number), Outcome::ModelFailed, String::new(), at);
        }
        assert_eq!(breakers.models.len(), MOST_MODELS);
        assert!(!breakers.models.contains_key(&name(9)) && breakers.models.contains_key(&name(10)));
        breakers.note(&name(10), Outcome::ModelFailed, String::new(), began + OPEN_FOR);
        assert_eq!((breakers.models.len(), breakers.models[&name(10)].failures), (MOST_MODELS, 2));
    }

    #[test]
    fn trouble_is_told_with_its_reason_and_when_it_is_tried() {
        let (mut breakers, began, model) = (Breakers::default(), Instant::now(), Arc::from("gpt-4o"));
        for _ in 1..TROUBLING {
            breakers.note(&model, Outcome::ModelFailed, "HTTP 500".into(), began);
        }
        let gates = breakers.gates(&Gates::default());
        assert_eq!(breakers.troubles(&gates).count(), 0, "by chance");
        breakers.note(&model, Outcome::ModelFailed, "HTTP 503".into(), began);
        let told = |breakers: &Breakers| breakers.troubles(&breakers.gates(&Gates::default())).collect::<Vec<_>>();
        let trouble =
            Trouble { model: Some(Arc::clone(&model)), failures: TROUBLING, why: "HTTP 503".into(), left_alone: None };
        assert_eq!(told(&breakers), std::slice::from_ref(&trouble));
        for _ in TROUBLING..OPENS_AFTER + 3 {
            breakers.note(&model, Outcome::ModelFailed, "HTTP 503".into(), began);
        }
        let left_alone = Some((began, began + OPEN_FOR));
        assert_eq!(told(&breakers), [Trouble { failures: OPENS_AFTER + 3, left_alone, ..trouble }]);
        breakers.note(&model, Outcome::Refused, String::new(), began);
        assert_eq!(told(&breakers).len(), 1, "a refusal says nothing of the model");
        breakers.note(&model, Outcome::Answered, String::new(), began);
        assert_eq!(breakers, Breakers::default());
    }
}
