//! Which calls to a provider pass: what its actor published last of its [breakers](super::breaker), and what was tried since.
//! Behind an open breaker one call is let through at the end of each period, until one is answered. Pure: times are passed
//! in, and nothing here needs the actor, so that calls go on as last published where it died.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use super::breaker::{OPEN_FOR, Outcome};

/// What is known of an endpoint or a model of which the last call failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gate {
    /// It is called.
    Troubled,
    /// It is not called until then, and then once.
    Open {
        /// When the next call is tried.
        trial_at: Instant,
    },
}

impl Gate {
    /// How long a call must wait; `None` where it may pass.
    fn wait(self, may_try: bool, now: Instant) -> Option<Duration> {
        match self {
            Self::Troubled => None,
            Self::Open { trial_at } if may_try && trial_at <= now => None,
            Self::Open { trial_at } => Some(trial_at.saturating_duration_since(now)),
        }
    }

    /// Notes that a call passes.
    fn pass(&mut self, now: Instant) {
        if let Self::Open { trial_at } = self {
            *trial_at = now + OPEN_FOR;
        }
    }
}

/// The gates of one provider: of its endpoint, and of its models.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Gates {
    endpoint: Option<Gate>,
    models: HashMap<Arc<str>, Gate>,
}

/// How the circuits of a provider stand, all in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Circuit {
    /// All calls pass.
    Closed,
    /// All pass but those to some of its models; or the last calls failed.
    Troubled,
    /// It is left alone, and tried once in a while.
    Open,
}

/// Why a call does not pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shut {
    /// Whether the model is left alone, and not the whole provider.
    pub is_models: bool,
    /// The time until the next call is tried.
    pub wait: Duration,
}

impl Gates {
    /// The gates of an endpoint and of models.
    pub(super) const fn new(endpoint: Option<Gate>, models: HashMap<Arc<str>, Gate>) -> Self {
        Self { endpoint, models }
    }

    pub(super) const fn endpoint(&self) -> Option<Gate> {
        self.endpoint
    }

    pub(super) fn model(&self, model: &str) -> Option<Gate> {
        self.models.get(model).copied()
    }

    /// The same gates, where a call that is tried passes.
    #[cfg(test)]
    pub(super) fn due(&self, now: Instant) -> Self {
        let due = |gate: Gate| if gate == Gate::Troubled { gate } else { Gate::Open { trial_at: now } };
        let models = self.models.iter().map(|(name, gate)| (Arc::clone(name), due(*gate))).collect();
        Self { endpoint: self.endpoint.map(due), models }
    }

    /// How they stand.
    pub fn circuit(&self) -> Circuit {
        match self.endpoint {
            Some(Gate::Open { .. }) => Circuit::Open,
            _ if self.are_well() => Circuit::Closed,
            _ => Circuit::Troubled,
        }
    }

    /// Whether all calls pass, and their success is no news.
    pub fn are_well(&self) -> bool {
        self.endpoint.is_none() && self.models.is_empty()
    }

    /// Whether the end of a call changes anything.
    pub(super) fn is_news(&self, model: &str, outcome: Outcome) -> bool {
        match outcome {
            Outcome::Answered => self.endpoint.is_some() || self.models.contains_key(model),
            Outcome::Refused => self.endpoint.is_some(),
            Outcome::Nothing => false,
            Outcome::ModelFailed | Outcome::Unreached => true,
        }
    }

    /// Whether a call to a model passes a gate that lets only one through at a time. `may_try` says whether the call may be
    /// that one.
    ///
    /// # Errors
    ///
    /// It does not pass.
    pub fn try_pass(&self, model: &str, may_try: bool, now: Instant) -> Result<bool, Shut> {
        let model = self.model(model);
        for (gate, is_models) in [(self.endpoint, false), (model, true)] {
            if let Some(wait) = gate.and_then(|gate| gate.wait(may_try, now)) {
                return Err(Shut { is_models, wait });
            }
        }
        Ok([self.endpoint, model].iter().flatten().any(|gate| matches!(gate, Gate::Open { .. })))
    }

    /// Lets a call through, where it passes: the next one after it waits as long as the first.
    ///
    /// # Errors
    ///
    /// It does not pass.
    pub fn pass(&mut self, model: &str, may_try: bool, now: Instant) -> Result<(), Shut> {
        if self.try_pass(model, may_try, now)? {
            self.endpoint.iter_mut().chain(self.models.get_mut(model)).for_each(|gate| gate.pass(now));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{
        super::breaker::{Breakers, OPENS_AFTER},
        *,
    };

    const MODELS: [&str; 3] = ["a", "b", "c"];

    #[test]
    fn one_call_is_tried_a_period_and_neither_gate_is_passed_alone() {
        let began = Instant::now();
        let open = |ms| Gate::Open { trial_at: began + Duration::from_millis(ms) };
        let mut gates = Gates::new(Some(open(10)), HashMap::from([("a".into(), open(20))]));
        let at = |ms| began + Duration::from_millis(ms);
        let wait = |ms| Duration::from_millis(ms);
        assert_eq!((gates.circuit(), Gates::default().circuit()), (Circuit::Open, Circuit::Closed));
        let of_model = Gates::new(None, HashMap::from([("a".into(), open(20))]));
        assert_eq!(of_model.circuit(), Circuit::Troubled, "the other models answer");
        assert_eq!(gates.pass("a", true, at(0)), Err(Shut { is_models: false, wait: wait(10) }));
        assert_eq!(gates.pass("a", true, at(12)), Err(Shut { is_models: true, wait: wait(8) }));
        assert_eq!(gates.pass("b", false, at(12)), Err(Shut { is_models: false, wait: wait(0) }), "not for a trial");
        assert_eq!(gates.pass("b", true, at(12)), Ok(()), "what did not pass took nothing");
        assert_eq!(
            gates.pass("a", true, at(25)),
            Err(Shut { is_models: false, wait: OPEN_FOR.saturating_sub(wait(13)) })
        );
        assert_eq!(gates.pass("a", true, at(12) + OPEN_FOR), Ok(()));
        assert!(gates.pass("a", true, at(12) + OPEN_FOR).is_err());
    }

    #[derive(Debug, Clone)]
    enum Step {
        Wait(u64),
        Call(usize, Outcome),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        use Outcome::{Answered, ModelFailed, Nothing, Refused, Unreached};
        // Mostly failures, so that breakers open.
        let outcomes = prop_oneof![1 => Just(Answered), 1 => Just(Refused), 1 => Just(Nothing),
            40 => Just(ModelFailed), 25 => Just(Unreached)];
        let step = prop_oneof![
            1 => (0..9_000_u64).prop_map(Step::Wait),
            8 => (0..MODELS.len(), outcomes).prop_map(|(model, outcome)| Step::Call(model, outcome))
        ];
        prop::collection::vec(step, 0..400)
    }

    proptest! {
        /// Against a plain count of each run of failures: what is open lets one call a period through, a model's breaker shuts
        /// no other model, and all else passes.
        #[test]
        fn an_open_breaker_lets_one_call_a_period_through_and_shuts_nothing_else(steps in steps()) {
            let (mut breakers, mut gates, began, mut ms) = (Breakers::default(), Gates::default(), Instant::now(), 0);
            let (mut of_models, mut of_endpoint) = ([0_u32; MODELS.len()], 0_u32);
            // When each last let a call through while it was open: the endpoint's is the last.
            let mut passed_at = [None::<u64>; MODELS.len() + 1];
            let period = u64::try_from(OPEN_FOR.as_millis()).unwrap();
            for step in steps {
                let (place, outcome) = match step {
                    Step::Wait(more) => { ms += more; continue }
                    Step::Call(place, outcome) => (place, outcome),
                };
                let now = began + Duration::from_millis(ms);
                let open = [of_models[place] >= OPENS_AFTER, of_endpoint >= OPENS_AFTER];
                let lasts = [passed_at[place], passed_at[MODELS.len()]];
                let is_due = |open: bool, last: Option<u64>| !open || last.is_none_or(|last| last + period <= ms);
                let passes = is_due(open[0], lasts[0]) && is_due(open[1], lasts[1]);
                let told = gates.pass(MODELS[place], true, now);
                prop_assert_eq!(told.is_ok(), passes, "{:?} at {}", told, ms);
                let Err(shut) = told else {
                    for (is_open, place) in open.into_iter().zip([place, MODELS.len()]) {
                        if is_open { passed_at[place] = Some(ms) }
                    }
                    match outcome {
                        Outcome::Answered => (of_models[place], of_endpoint) = (0, 0),
                        Outcome::Refused => of_endpoint = 0,
                        Outcome::Nothing => {}
                        Outcome::ModelFailed => of_models[place] += 1,
                        Outcome::Unreached => of_endpoint += 1,
                    }
                    // A breaker that has just opened waits a period first, as if a call had been tried.
                    if of_models[place] == OPENS_AFTER && outcome == Outcome::ModelFailed { passed_at[place] = Some(ms) }
                    if of_endpoint == OPENS_AFTER && outcome == Outcome::Unreached { passed_at[MODELS.len()] = Some(ms) }
                    if gates.is_news(MODELS[place], outcome) {
                        breakers.note(&MODELS[place].into(), outcome, String::new(), now);
                        gates = breakers.gates(&gates);
                    }
                    continue;
                };
                prop_assert!(shut.wait <= OPEN_FOR && open[usize::from(!shut.is_models)]);
            }
            let well = of_endpoint == 0 && of_models == [0; MODELS.len()];
            prop_assert_eq!(gates.are_well(), well);
        }
    }
}
