//! One rule a story, in the words of a request.

use super::*;

const S: Duration = Duration::from_secs(1);
const B7: SizeClass = SizeClass::B7;

/// A machine of ten bytes, and the time.
struct Told {
    placement: Placement,
    now: Duration,
    jobs: u64,
}

fn told() -> Told {
    let devices = vec![Device { kind: Kind::Cpu, memory: 10, classes: vec![B7] }];
    let rules = Rules { queue: 3, wait: S * 60, load: S * 600, turn: S * 15, idle: None };
    Told { placement: Placement::new(devices, rules), now: S * 1_000, jobs: 0 }
}

fn model(id: &str, bytes: u64) -> Wanted {
    Wanted { id: id.into(), import: (1, 1), class: B7, bytes, needs_cpu: false }
}

impl Told {
    fn act(&mut self, command: impl FnOnce(&mut Placement, Duration, &mut Effects)) -> Vec<Effect> {
        let mut effects = Effects::new();
        command(&mut self.placement, self.now, &mut effects);
        effects.into_iter().map(|(_, effect)| effect).collect()
    }

    fn request(&mut self, model: &Wanted) -> (JobId, Vec<Effect>) {
        self.jobs += 1;
        let job = JobId(self.jobs);
        (job, self.act(|placement, now, effects| placement.request(job, model, now, effects)))
    }

    fn reload(&mut self) -> (Result<Acted, NotActed>, Vec<Effect>) {
        let mut acted = Err(NotActed::Unknown);
        let effects = self.act(|placement, now, effects| acted = placement.reload("a", now, effects));
        (acted, effects)
    }

    fn loaded(&mut self, id: InstanceId) -> Vec<Effect> {
        self.act(|placement, now, effects| placement.loaded(id, now, effects))
    }

    fn ended(&mut self, job: JobId) -> Vec<Effect> {
        self.act(|placement, now, effects| placement.ended(job, now, effects))
    }

    fn freed(&mut self, id: InstanceId) -> Vec<Effect> {
        self.act(|placement, now, effects| placement.freed(id, false, now, effects))
    }

    fn after(&mut self, span: Duration) -> Vec<Effect> {
        self.now += span;
        self.act(Placement::tick)
    }

    /// Loads a model by a request, which ends.
    fn warm(&mut self, model: &Wanted) -> InstanceId {
        let (job, effects) = self.request(model);
        let id = load_of(&effects);
        assert_eq!(self.loaded(id), [Effect::Run { job, instance: id, has_waited: true }]);
        assert_eq!(self.ended(job), []);
        self.now += S;
        id
    }

    fn standing(&self, model: &Wanted) -> Standing {
        self.placement.picture(model, self.now).standing
    }
}

fn load_of(effects: &[Effect]) -> InstanceId {
    match effects {
        [Effect::Load { instance, .. }] => *instance,
        other => panic!("{other:?}"),
    }
}

#[test]
fn of_idle_models_the_one_unused_longest_makes_room_and_its_memory_is_used_once_it_is_free() {
    let mut told = told();
    let (a, b, c) = (model("a", 4), model("b", 4), model("c", 5));
    let (first, second) = (told.warm(&a), told.warm(&b));
    let (job, _) = told.request(&a);
    told.ended(job);
    let (job, effects) = told.request(&c);
    assert_eq!(effects, [Effect::Unload(second)], "a was used later");
    assert_eq!((told.standing(&b), told.standing(&c)), (Standing::Cold, Standing::Loading));
    let id = load_of(&told.freed(second));
    assert_eq!(told.loaded(id), [Effect::Run { job, instance: id, has_waited: true }]);
    assert_eq!(told.request(&a).1, [Effect::Run { job: JobId(5), instance: first, has_waited: false }]);
}

#[test]
fn what_never_fits_is_refused_at_once_and_what_is_busy_or_pinned_stays() {
    let mut told = told();
    let never = End::NeverFits { needs: 11, most: 10 };
    assert_eq!(told.request(&model("big", 11)).1, [Effect::End(JobId(1), never)]);
    let (a, b) = (model("a", 6), model("b", 6));
    let id = told.warm(&a);
    let (running, _) = told.request(&a);
    let (waiting, effects) = told.request(&b);
    assert_eq!(effects, [], "it waits");
    told.now += S * 14;
    assert_eq!(told.act(Placement::tick), []);
    assert_eq!(told.ended(running), [Effect::Unload(id)], "idle now");
    let second = load_of(&told.freed(id));
    assert_eq!(told.loaded(second), [Effect::Run { job: waiting, instance: second, has_waited: true }]);
    told.ended(waiting);
    let pinned = told.act(|placement, now, effects| {
        assert_eq!(placement.pin(&b, now, effects), Ok(Acted::Loaded));
        assert_eq!(placement.pin(&a, now, effects), Err(NotActed::NoRoomBesidePinned));
        assert_eq!(placement.unload("b", now, effects), Err(NotActed::Pinned));
    });
    assert_eq!(pinned, []);
    let (job, effects) = told.request(&a);
    assert_eq!(effects, []);
    assert_eq!(told.after(S * 59), []);
    assert_eq!(told.after(S), [Effect::End(job, End::NoRoom)]);
    told.request(&a);
    let unpinned = told.act(|placement, now, effects| assert!(placement.unpin("b", now, effects)));
    assert_eq!(unpinned, [Effect::Unload(second)]);
}

#[test]
fn a_model_that_waits_long_has_its_turn_and_the_busy_one_begins_nothing_new() {
    let mut told = told();
    let (a, b) = (model("a", 6), model("b", 6));
    let id = told.warm(&a);
    let (running, _) = told.request(&a);
    let (waiting, _) = told.request(&b);
    assert_eq!(told.after(S * 14), []);
    assert_eq!(told.request(&a).1.len(), 1, "not yet");
    assert_eq!(told.after(S), []);
    let (queued, effects) = told.request(&a);
    assert_eq!(effects, [], "it waits behind b");
    told.ended(running);
    let effects = told.ended(JobId(4));
    assert_eq!(effects, [Effect::Unload(id)]);
    let other = load_of(&told.freed(id));
    assert_eq!(told.loaded(other), [Effect::Run { job: waiting, instance: other, has_waited: true }]);
    assert_eq!(told.ended(waiting), [Effect::Unload(other)], "a has its turn");
    let again = load_of(&told.freed(other));
    assert_eq!(told.loaded(again), [Effect::Run { job: queued, instance: again, has_waited: true }]);
}

#[test]
fn who_yields_to_nobody_any_more_goes_on() {
    let mut told = told();
    let (a, b) = (model("a", 6), model("b", 6));
    let id = told.warm(&a);
    told.request(&a);
    let (waiting, _) = told.request(&b);
    told.after(S * 15);
    let (queued, _) = told.request(&a);
    let effects = told.act(|placement, now, effects| placement.left(waiting, now, effects));
    let run = Effect::Run { job: queued, instance: id, has_waited: true };
    assert_eq!(effects, [Effect::End(waiting, End::Left), run]);
}

#[test]
fn a_load_that_fails_answers_all_that_wait_and_is_left_alone_ever_longer() {
    let mut told = told();
    let a = model("a", 6);
    let failure = || Failure::Engine("broken".to_owned());
    for (failures, wait) in [(1, 1), (2, 2), (3, 4)] {
        let (first, effects) = told.request(&a);
        let id = load_of(&effects);
        let (second, _) = told.request(&a);
        let effects = told.act(|placement, now, effects| placement.load_failed(id, failure(), now, effects));
        let end = |job| Effect::End(job, End::Failed(failure()));
        assert_eq!(effects, [end(first), end(second)], "failure {failures}");
        assert_eq!(told.freed(id), []);
        assert_eq!(told.standing(&a), Standing::Failed);
        let (job, effects) = told.request(&a);
        assert_eq!(effects, [Effect::End(job, End::LeftAlone(S * wait))]);
        told.now += S * wait;
    }
    assert_eq!(back_off(0), Duration::ZERO);
    assert_eq!(back_off(40), S * 60);
    // It works again: nothing is remembered of before.
    told.warm(&a);
    let taken_out = told.act(|placement, now, effects| assert!(placement.unload("a", now, effects).is_ok()));
    assert_eq!(taken_out.len(), 1);
}

#[test]
fn an_engine_that_panics_is_replaced_at_once_and_the_second_time_after_a_wait() {
    let mut told = told();
    let a = model("a", 6);
    for is_first in [true, false] {
        let (_, effects) = told.request(&a);
        let id = load_of(&effects);
        told.loaded(id);
        told.act(|placement, now, effects| placement.freed(id, true, now, effects));
        if !is_first {
            let (job, effects) = told.request(&a);
            assert_eq!(effects, [Effect::End(job, End::LeftAlone(S))]);
        }
    }
}

#[test]
fn a_model_that_was_imported_anew_is_another_and_the_old_one_goes_when_it_is_idle() {
    let mut told = told();
    let a = model("a", 4);
    let old = told.warm(&a);
    let (running, _) = told.request(&a);
    let anew = Wanted { import: (2, 2), ..a.clone() };
    let (job, effects) = told.request(&anew);
    let id = load_of(&effects);
    assert_eq!(told.ended(running), [Effect::Unload(old)]);
    told.freed(old);
    let again = Wanted { import: (3, 3), ..a };
    let (_, effects) = told.request(&again);
    assert_eq!(effects[0], Effect::End(job, End::ImportedAnew));
    assert_eq!(told.loaded(id), [Effect::Unload(id)], "nobody waits for it");
}

#[test]
fn operators_acts_fail_no_request() {
    let mut told = told();
    let a = model("a", 4);
    let id = told.warm(&a);
    let (running, _) = told.request(&a);
    let effects = told.act(|placement, now, effects| {
        assert_eq!(placement.unload("a", now, effects), Ok(Acted::Finishing(1)));
        assert_eq!(placement.unload("b", now, effects), Err(NotActed::Unknown));
    });
    assert_eq!(effects, []);
    assert_eq!(told.ended(running), [Effect::Unload(id)]);
    assert_eq!(told.freed(id), []);
    // While it loads, those that wait for it run first.
    let (job, effects) = told.request(&a);
    let id = load_of(&effects);
    told.act(|placement, now, effects| assert_eq!(placement.unload("a", now, effects), Ok(Acted::Finishing(1))));
    assert_eq!(told.loaded(id), [Effect::Run { job, instance: id, has_waited: true }]);
    let drained = told.act(|placement, now, effects| {
        assert_eq!(placement.drain(&a, now, effects), Ok(Acted::Finishing(1)));
    });
    assert_eq!(drained, []);
    let (refused, effects) = told.request(&a);
    assert_eq!(effects, [Effect::End(refused, End::Drained)]);
    assert_eq!((told.standing(&a), told.ended(job)), (Standing::Unavailable, vec![Effect::Unload(id)]));
    told.freed(id);
    let effects = told.act(|placement, now, effects| assert_eq!(placement.load(&a, now, effects), Ok(Acted::Loading)));
    let id = load_of(&effects);
    assert_eq!(told.loaded(id), []);
    assert_eq!(told.standing(&a), Standing::Warm);
}

#[test]
fn a_model_is_loaded_anew_and_what_runs_is_finished() {
    let mut told = told();
    let a = model("a", 4);
    assert_eq!(told.reload(), (Err(NotActed::Unknown), vec![]));
    let first = told.warm(&a);
    let (running, _) = told.request(&a);
    // There is room for both: the other is loaded at once.
    let (acted, effects) = told.reload();
    assert_eq!(acted, Ok(Acted::Finishing(1)));
    let second = load_of(&effects);
    let (waiting, effects) = told.request(&a);
    assert_eq!(effects, []);
    assert_eq!(told.reload(), (Ok(Acted::Loading), vec![]), "it is new");
    assert_eq!(told.loaded(second), [Effect::Run { job: waiting, instance: second, has_waited: true }]);
    assert_eq!(told.ended(running), [Effect::Unload(first)]);
    told.freed(first);
    told.ended(waiting);
    // A pinned one, too, that is idle: its memory is free first.
    told.act(|placement, now, effects| assert_eq!(placement.pin(&a, now, effects), Ok(Acted::Loaded)));
    let b = model("b", 4);
    told.warm(&b);
    let (acted, effects) = told.reload();
    assert_eq!((acted, &effects[0]), (Ok(Acted::Loading), &Effect::Unload(second)));
    assert_eq!(told.standing(&a), Standing::Loading);
    let third = load_of(&told.freed(second));
    assert_eq!((told.loaded(third), told.standing(&a)), (vec![], Standing::Warm));
}

#[test]
fn waiters_are_bounded_in_number_and_one_that_left_frees_its_place() {
    let mut told = told();
    let a = model("a", 4);
    let jobs: Vec<JobId> = (0..3).map(|_| told.request(&a).0).collect();
    let (fourth, effects) = told.request(&a);
    assert_eq!(effects, [Effect::End(fourth, End::Full)]);
    assert_eq!(told.ended(jobs[0]), [Effect::End(jobs[0], End::Left)]);
    assert_eq!(told.request(&a).1, []);
    assert_eq!(told.after(S * 599), []);
    let late = told.after(S);
    assert_eq!(late.len(), 3, "a load is waited for a bounded time too");
    assert!(late.iter().all(|effect| matches!(effect, Effect::End(_, End::LoadingLong))), "{late:?}");
}

#[test]
fn an_idle_model_goes_after_its_time_unless_it_is_pinned() {
    let mut told = told();
    told.placement.rules.idle = Some(S * 30);
    let (a, b) = (model("a", 4), model("b", 4));
    let first = told.warm(&a);
    told.warm(&b);
    told.act(|placement, now, effects| assert!(placement.pin(&b, now, effects).is_ok()));
    assert_eq!(told.after(S * 20), []);
    assert_eq!(told.after(S * 100), [Effect::Unload(first)]);
    assert_eq!(told.after(S * 100), []);
}

#[test]
fn a_pool_that_begins_anew_has_no_engines_and_no_requests() {
    let mut told = told();
    let (a, b) = (model("a", 6), model("b", 6));
    let id = told.warm(&a);
    let (running, _) = told.request(&a);
    let (waiting, _) = told.request(&b);
    let effects = told.act(|placement, now, effects| placement.pool_began(B7, now, effects));
    assert_eq!(effects, []);
    let (job, effects) = told.request(&b);
    assert_eq!(effects, [], "the memory is not free yet");
    assert_eq!(told.ended(running), []);
    assert_eq!(told.ended(waiting), []);
    let again = load_of(&told.freed(id));
    assert_eq!(told.loaded(again), [Effect::Run { job, instance: again, has_waited: true }]);
}

#[test]
fn the_number_of_failures_outlives_the_wait_and_models_are_forgotten() {
    let mut told = told();
    let a = model("a", 6);
    let id = load_of(&told.request(&a).1);
    let failure = Failure::Engine("broken".to_owned());
    told.act(|placement, now, effects| placement.load_failed(id, failure, now, effects));
    told.freed(id);
    told.after(S * 30);
    assert!(told.placement.knows("a"));
    told.after(S * 60);
    assert!(!told.placement.knows("a"));
}

#[test]
fn a_model_for_processors_is_never_placed_on_a_card() {
    let device = |kind| Device { kind, memory: 10, classes: vec![B7] };
    let rules = told().placement.rules;
    let card = Placement::new(vec![device(Kind::Cuda(0))], rules);
    let both = Placement::new(vec![device(Kind::Cuda(0)), device(Kind::Cpu)], rules);
    let (any, plain) = (model("a", 5), Wanted { needs_cpu: true, ..model("b", 5) });
    assert!(card.fits(&any).is_ok() && both.fits(&plain).is_ok());
    assert_eq!(card.fits(&plain), Err(End::NeverFits { needs: 5, most: 0 }));
}
