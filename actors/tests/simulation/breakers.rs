//! A provider whose models and whose endpoint fail in spells, called by many at a time: the product's breakers and gates, with
//! answers that come late, in any order or never, and an actor that dies and begins anew behind gates that stay.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use actors::provider::{
    breaker::{Breakers, OPEN_FOR, OPENS_AFTER, Outcome, outcome},
    gates::Gates,
};
use wire::inference::{Failure, ProviderError};

use crate::random::Random;

const MODELS: usize = 4;
/// Stories of a run, and steps of a story.
const STORIES: u64 = 300;
const STEPS: usize = 2_000;
/// The longest that a call takes, in milliseconds.
const LONGEST_CALL: i64 = 400;

/// A fault that the story must notice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mutant {
    /// A model's failures are noted as if there were one model.
    OneBreakerForAll,
    /// A call that is tried shuts no gate behind it.
    TrialNotTaken,
    /// What was answered is not noted.
    AnswersUnheard,
    /// Failures of a model are noted of the endpoint.
    ModelsShutTheEndpoint,
    /// What a load balancer answers is noted of the model.
    BalancersAreModels,
}

/// A call on its way.
struct Call {
    model: usize,
    ends_at: i64,
    /// What it shows, and what the product takes it for; `None` where nobody waits for it any more.
    outcome: Option<(Outcome, Outcome)>,
}

struct Provider {
    random: Random,
    began: Instant,
    now: i64,
    breakers: Breakers,
    gates: Gates,
    calls: Vec<Call>,
    sick: [bool; MODELS],
    is_away: bool,
    mutant: Option<Mutant>,
    /// When each model last let a call through its open breaker.
    tried_at: [Option<i64>; MODELS],
    /// Failures of each since it last answered, as the actor heard of them: what may be open.
    failed: [u32; MODELS],
    unreached: u32,
}

impl Provider {
    fn new(seed: u64, mutant: Option<Mutant>) -> Self {
        Self {
            random: Random::new(seed),
            began: Instant::now(),
            now: 0,
            breakers: Breakers::default(),
            gates: Gates::default(),
            calls: Vec::new(),
            sick: [false; MODELS],
            is_away: false,
            mutant,
            tried_at: [None; MODELS],
            failed: [0; MODELS],
            unreached: 0,
        }
    }

    fn at(&self) -> Instant {
        self.began + Duration::from_millis(self.now.unsigned_abs())
    }

    fn name(&self, model: usize) -> Arc<str> {
        let model = if self.mutant == Some(Mutant::OneBreakerForAll) { 0 } else { model };
        format!("model-{model}").into()
    }

    /// Makes a call, where it passes.
    fn call(&mut self, model: usize) -> Result<(), String> {
        let (name, now) = (self.name(model), self.at());
        let passed = if self.mutant == Some(Mutant::TrialNotTaken) {
            self.gates.try_pass(&name, true, now).map(drop)
        } else {
            self.gates.pass(&name, true, now)
        };
        let is_open = self.failed[model] >= OPENS_AFTER;
        let Ok(()) = passed else {
            if !is_open && self.unreached < OPENS_AFTER {
                return Err(format!("model {model} is shut after {} failures", self.failed[model]));
            }
            return Ok(());
        };
        if is_open {
            let period = i64::try_from(OPEN_FOR.as_millis()).unwrap_or(i64::MAX);
            if self.tried_at[model].is_some_and(|last| self.now - last < period) {
                return Err(format!("model {model} is tried twice in a period"));
            }
            self.tried_at[model] = Some(self.now);
        }
        let luck = self.random.below(100);
        let failure = |failure: Failure| outcome(&failure);
        let outcome = match (self.is_away, self.sick[model], luck) {
            (_, _, 0..3) => None,
            // A load balancer answers for an endpoint that is away.
            (true, _, 3..60) => Some((Outcome::Unreached, self.refused(503, true))),
            (true, ..) => Some((Outcome::Unreached, failure(Failure::Unreached(String::new())))),
            (false, true, 3..60) | (false, false, 3) => Some((Outcome::ModelFailed, self.refused(503, false))),
            (false, _, 4..8) => Some((Outcome::Refused, self.refused(429, false))),
            (false, true, _) => Some((Outcome::ModelFailed, failure(Failure::Timeout("first byte")))),
            (false, false, _) => Some((Outcome::Answered, Outcome::Answered)),
        };
        let ends_at = self.now + self.random.below(LONGEST_CALL);
        self.calls.push(Call { model, ends_at, outcome });
        Ok(())
    }

    /// What the product takes an error answer for.
    fn refused(&self, status: u16, is_foreign: bool) -> Outcome {
        let is_foreign = is_foreign && self.mutant != Some(Mutant::BalancersAreModels);
        outcome(&Failure::Provider(Box::new(ProviderError { status, is_foreign, ..ProviderError::default() })))
    }

    /// Hears of the calls that have ended.
    fn hear(&mut self) {
        let now = self.now;
        let ended: Vec<_> = self.calls.extract_if(.., |call| call.ends_at <= now).collect();
        for Call { model, outcome, .. } in ended {
            let Some((outcome, told)) = outcome else { continue };
            match outcome {
                Outcome::Answered => (self.failed[model], self.unreached) = (0, 0),
                Outcome::Refused => self.unreached = 0,
                Outcome::ModelFailed => self.failed[model] += 1,
                Outcome::Unreached => self.unreached += 1,
                Outcome::Nothing => {}
            }
            if outcome == Outcome::ModelFailed && self.failed[model] == OPENS_AFTER {
                self.tried_at[model] = None;
            }
            let told = match (self.mutant, outcome) {
                (Some(Mutant::AnswersUnheard), Outcome::Answered) => Outcome::Nothing,
                (Some(Mutant::ModelsShutTheEndpoint), Outcome::ModelFailed) => Outcome::Unreached,
                _ => told,
            };
            self.breakers.note(&self.name(model), told, String::new(), self.at());
            self.gates = self.breakers.gates(&self.gates);
        }
    }

    /// Something happens to the provider or to its actor.
    fn turn(&mut self) {
        match self.random.below(400) {
            0..8 => {
                let model = usize::try_from(self.random.below(4)).unwrap_or(0);
                self.sick[model] = !self.sick[model];
            }
            8..11 => self.is_away = !self.is_away,
            11 => {
                // A new life lets all calls through.
                (self.breakers, self.failed, self.unreached) = (Breakers::default(), [0; MODELS], 0);
                self.gates = self.breakers.gates(&self.gates);
            }
            _ => {}
        }
    }

    /// Runs on, with calls to all models.
    fn run(&mut self, steps: usize, is_calm: bool) -> Result<(), String> {
        for _ in 0..steps {
            self.now += self.random.between(1, 60);
            self.hear();
            if !is_calm {
                self.turn();
            }
            let model = usize::try_from(self.random.below(4)).unwrap_or(0);
            self.call(model)?;
        }
        Ok(())
    }

    fn story(&mut self) -> Result<u32, String> {
        let mut opened = 0;
        for _ in 0..4 {
            self.run(STEPS / 4, false)?;
            opened += u32::from(self.failed.iter().any(|failed| *failed >= OPENS_AFTER));
        }
        // All are well again: each open breaker is tried a few times at most.
        (self.sick, self.is_away) = ([false; MODELS], false);
        self.run(1_500, true)?;
        self.calls.clear();
        for model in 0..MODELS {
            let (name, now) = (self.name(model), self.at());
            if self.gates.try_pass(&name, true, now) != Ok(false) {
                return Err(format!("model {model} is well and not called"));
            }
        }
        Ok(opened)
    }
}

#[test]
fn what_fails_is_left_alone_and_nothing_else_and_all_that_recover_are_called_again() {
    let opened: u32 = (0..STORIES)
        .map(|seed| Provider::new(seed, None).story().unwrap_or_else(|why| panic!("seed {seed}: {why}")))
        .sum();
    assert!(opened > 100, "breakers seldom open here: {opened}");
}

#[test]
fn the_faults_of_a_breaker_are_noticed() {
    use Mutant::{AnswersUnheard, BalancersAreModels, ModelsShutTheEndpoint, OneBreakerForAll, TrialNotTaken};
    for mutant in [OneBreakerForAll, TrialNotTaken, AnswersUnheard, ModelsShutTheEndpoint, BalancersAreModels] {
        let noticed = (0..STORIES).any(|seed| Provider::new(seed, Some(mutant)).story().is_err());
        assert!(noticed, "{mutant:?}");
    }
}
