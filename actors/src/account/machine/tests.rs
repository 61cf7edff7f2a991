//! What a machine does at its limits, and in which order: each asker is a number, and outputs are noted.

use std::{collections::BTreeSet, time::Duration};

use billing::{
    Nanos, Timestamp,
    account::{Account, Header, Stored},
    automatic::Switch,
    class::{SizeClass, Units},
    command::{Admit, Command, Refusal},
    hold::{HoldRequest, Work},
    ids::{AccountId, RequestId},
    key::Names,
    learned::Learned,
    payment::{Payment, PaymentStatus},
    plan::Plan,
};
use uuid::Uuid;

use super::{super::Enter, *};

enum Numbers {}

impl Askers for Numbers {
    type Reply<T> = u32;
    type Watcher = u32;
    type Counted = u32;

    fn is_waited_for<T>(reply: &u32) -> bool {
        // Odd ones have left.
        reply.is_multiple_of(2)
    }

    fn is_watching(_: &u32) -> bool {
        true
    }
}

/// What was put out.
#[derive(Default)]
struct Noted {
    sent: u64,
    let_in: Vec<u32>,
    refused: Vec<u32>,
    refusals: Vec<Refusal>,
    begun: usize,
    answered: Vec<u32>,
    told: usize,
    alarms: Vec<Duration>,
    handled: Vec<u32>,
    stopped: Option<Stop>,
}

impl Outputs<Numbers> for Noted {
    fn put(&mut self, output: Output<Numbers>) {
        match output {
            Output::Append { ticket, transition } => {
                let is_begun = |payment: &&Payment| payment.status == PaymentStatus::Pending;
                (self.sent, self.begun) = (ticket, self.begun + transition.payments.iter().filter(is_begun).count());
            }
            Output::Depart(Departure::Entered(who, Ok(entered))) if entered.placed.is_some() => self.let_in.push(who),
            Output::Depart(Departure::Entered(who, entered)) => {
                self.refused.push(who);
                self.refusals.extend(entered.ok().and_then(|entered| entered.answer.result.err()));
            }
            Output::Depart(Departure::Answer(who, _)) => self.answered.push(who),
            Output::Depart(Departure::Balance(watchers, _)) => self.told += watchers.len(),
            Output::Depart(_) | Output::Abandoned { .. } => {}
            Output::CallLine { after } => self.alarms.push(after),
            Output::Stop(stop) => self.stopped = Some(stop),
        }
    }

    fn handled(&mut self, counted: u32) {
        self.handled.push(counted);
    }
}

const BEGIN: Timestamp = Timestamp(1_795_478_400_000);
const WAIT: Duration = Duration::from_secs(5);

fn at(seconds: u64) -> Moment {
    Moment { ledger: BEGIN, elapsed: Duration::from_secs(seconds) }
}

fn machine() -> Machine<Numbers> {
    Machine::new(AccountId(Uuid::nil()))
}

fn loaded() -> (Machine<Numbers>, Noted) {
    let (mut machine, mut noted) = (machine(), Noted::default());
    machine.loaded(Ok(Some(account())), |_| Whereabouts::Runs, at(0), &mut noted);
    (machine, noted)
}

fn account() -> Account {
    let stored = Stored {
        header: Header::new(Plan::Free, BEGIN),
        grants: Vec::new(),
        holds: Vec::new(),
        payments: Vec::new(),
        subscription: None,
        automatic: None,
        keys: BTreeMap::new(),
        learned: Learned::default(),
    };
    Account::load(AccountId(Uuid::nil()), stored)
}

/// A request of an open model, of which a free account runs one at a time.
fn enter(who: u32, max_wait: Duration) -> Input<Numbers> {
    let admit = Admit {
        request_id: RequestId(Uuid::from_u128(who.into())),
        key_id: None,
        model: "m".into(),
        provider: "farebox".into(),
        price_version: 1,
        work: Work::Open { class: SizeClass::B7, units: Units(2) },
        hold: HoldRequest { minimum: Nanos::ZERO, expected: Nanos::ZERO, worst_case: Nanos::ZERO },
        output: None,
        auto_scale: None,
        names: Names::default(),
        session: None,
    };
    Input::Enter(Enter { admit, max_wait }, who)
}

#[test]
fn what_comes_before_the_account_is_loaded_is_handled_then_in_order_and_is_bounded() {
    let (mut machine, mut noted) = (machine(), Noted::default());
    let most = u32::try_from(WAITING).unwrap();
    for who in 0..most + 7 {
        machine.handle(Input::Decide(Command::Sweep, who), Some(who), at(0), &mut noted);
    }
    assert!(noted.handled.is_empty());
    machine.loaded(Ok(Some(account())), |_| Whereabouts::Runs, at(1), &mut noted);
    assert!(noted.handled.iter().copied().eq(0..most), "{} handled", noted.handled.len());
}

#[test]
fn an_account_that_is_not_there_answers_what_waited_and_ends() {
    let (mut machine, mut noted) = (machine(), Noted::default());
    machine.handle(Input::Decide(Command::Sweep, 2), None, at(0), &mut noted);
    machine.loaded(Ok(None), |_| Whereabouts::Runs, at(0), &mut noted);
    assert_eq!((noted.answered, noted.stopped), (vec![2], Some(Stop::Done)));
}

#[test]
fn nothing_departs_before_its_commit_and_a_failed_one_ends_the_life() {
    let (mut machine, mut noted) = loaded();
    machine.handle(Input::Watch(1), None, at(0), &mut noted);
    assert_eq!(noted.told, 1);
    machine.handle(enter(2, Duration::ZERO), None, at(0), &mut noted);
    assert!((noted.sent, noted.told, noted.let_in.len()) == (1, 1, 0) && !machine.is_settled());
    machine.committed(Ok(1), &mut noted);
    assert_eq!((noted.told, &noted.let_in[..]), (2, &[2][..]));
    machine.committed(Err("no".to_owned()), &mut noted);
    assert_eq!(noted.stopped, Some(Stop::NotCommitted("no".to_owned())));
}

#[test]
fn who_begins_to_watch_is_told_how_things_are_and_the_others_only_what_changes() {
    let (mut machine, mut noted) = loaded();
    for watcher in 1..=3 {
        machine.handle(Input::Watch(watcher), None, at(0), &mut noted);
    }
    assert_eq!(noted.told, 3, "each once");
    machine.handle(enter(2, Duration::ZERO), None, at(0), &mut noted);
    machine.committed(Ok(1), &mut noted);
    assert_eq!(noted.told, 6);
}

#[test]
fn the_line_is_bounded_and_those_whose_time_is_up_are_refused() {
    let (mut machine, mut noted) = loaded();
    machine.handle(enter(2, Duration::ZERO), None, at(0), &mut noted);
    let last = 2 * u32::try_from(LINE).unwrap() + 2;
    for who in (4..=last).step_by(2) {
        machine.handle(enter(who, WAIT), None, at(0), &mut noted);
    }
    machine.committed(Ok(noted.sent), &mut noted);
    assert!(noted.refused.is_empty() && noted.alarms.iter().all(|after| *after == WAIT));
    // One that does not wait is not let in before those who do, nor does one fit any more.
    machine.handle(enter(last + 2, Duration::ZERO), None, at(0), &mut noted);
    machine.handle(enter(last + 4, WAIT), None, at(0), &mut noted);
    assert_eq!(noted.refused, [last + 2, last + 4]);
    machine.call_line(at(4), &mut noted);
    assert_eq!(noted.refused.len(), 2, "nobody's time is up");
    machine.call_line(at(5), &mut noted);
    assert_eq!(noted.refused.len(), LINE + 2);
    assert_eq!(noted.refused.iter().collect::<BTreeSet<_>>().len(), LINE + 2, "each is told once");
}

#[test]
fn who_has_left_is_not_let_in() {
    let (mut machine, mut noted) = loaded();
    machine.handle(enter(2, Duration::ZERO), None, at(0), &mut noted);
    for who in [3, 5, 6] {
        machine.handle(enter(who, WAIT), None, at(0), &mut noted);
    }
    let account = machine.account().unwrap();
    let record = UsageRecord::abandoned(account.hold(RequestId(Uuid::from_u128(2))).unwrap(), BEGIN);
    machine.handle(Input::Decide(Command::Settle(record), 8), None, at(1), &mut noted);
    machine.committed(Ok(noted.sent), &mut noted);
    assert_eq!((&noted.let_in[..], &noted.answered[..]), (&[2, 6][..], &[8][..]));
}

#[test]
fn an_account_with_nothing_to_do_ends_after_a_while_and_not_before() {
    let (mut machine, mut noted) = loaded();
    machine.handle(Input::Decide(Command::Sweep, 2), None, at(0), &mut noted);
    machine.handle(enter(4, Duration::ZERO), None, at(0), &mut noted);
    machine.committed(Ok(noted.sent), &mut noted);
    for _ in 0..2 * IDLE_TICKS {
        machine.tick(|_| Whereabouts::Runs, at(0), &mut noted);
    }
    assert_eq!(noted.stopped, None, "a request runs");
    let account = machine.account().unwrap();
    let record = UsageRecord::abandoned(account.hold(RequestId(Uuid::from_u128(4))).unwrap(), BEGIN);
    machine.handle(Input::Decide(Command::Settle(record), 6), None, at(1), &mut noted);
    machine.committed(Ok(noted.sent), &mut noted);
    for _ in 0..IDLE_TICKS - 1 {
        machine.tick(|_| Whereabouts::Runs, at(0), &mut noted);
    }
    assert_eq!(noted.stopped, None);
    machine.tick(|_| Whereabouts::Runs, at(0), &mut noted);
    assert_eq!(noted.stopped, Some(Stop::Done));
}

fn id(who: u32) -> RequestId {
    RequestId(Uuid::from_u128(who.into()))
}

/// Decides a command for somebody, and makes it durable.
fn decided(machine: &mut Machine<Numbers>, noted: &mut Noted, command: Command, who: u32) {
    machine.handle(Input::Decide(command, who), None, at(1), noted);
    machine.committed(Ok(noted.sent), noted);
}

#[test]
fn a_request_that_stands_still_lets_another_in_and_goes_on_in_its_turn() {
    let (mut machine, mut noted) = loaded();
    for who in [2, 4] {
        machine.handle(enter(who, WAIT), None, at(0), &mut noted);
    }
    machine.committed(Ok(noted.sent), &mut noted);
    assert_eq!(noted.let_in, [2], "a free account has one permit");
    decided(&mut machine, &mut noted, Command::Park { request_id: id(2) }, 20);
    assert_eq!((&noted.let_in[..], &noted.answered[..]), (&[2, 4][..], &[20][..]), "one waits no longer");
    let alarms = noted.alarms.len();
    decided(&mut machine, &mut noted, Command::Resume { request_id: id(2) }, 22);
    assert_eq!((noted.answered.len(), noted.alarms.len()), (1, alarms), "it waits, without an end");
    machine.handle(enter(6, Duration::ZERO), None, at(2), &mut noted);
    machine.handle(enter(8, WAIT), None, at(2), &mut noted);
    assert_eq!(noted.refused, [6], "nobody overtakes it");
    let record = UsageRecord::abandoned(machine.account().unwrap().hold(id(4)).unwrap(), BEGIN);
    machine.handle(Input::Decide(Command::Settle(record), 40), None, at(3), &mut noted);
    assert_eq!(noted.answered, [20], "it goes on only once it has its permit durably");
    machine.committed(Ok(noted.sent), &mut noted);
    assert_eq!((&noted.answered[1..], noted.let_in.len()), (&[22, 40][..], 2));
    // Asked again, because its answer was lost: it has what it wants, and waits behind nobody.
    decided(&mut machine, &mut noted, Command::Resume { request_id: id(2) }, 24);
    assert_eq!(noted.answered.last(), Some(&24));
    machine.call_line(at(60), &mut noted);
    assert_eq!(noted.refused, [6, 8], "who is not admitted yet waits no longer than it wants to");
}

#[test]
fn a_frozen_account_refuses_who_waits_and_who_comes_however_many_wait_for_permits() {
    let (mut machine, mut noted) = loaded();
    machine.handle(enter(2, Duration::ZERO), None, at(0), &mut noted);
    machine.handle(enter(4, WAIT), None, at(0), &mut noted);
    machine.committed(Ok(noted.sent), &mut noted);
    assert_eq!((&noted.let_in[..], &noted.refused[..]), (&[2][..], &[][..]), "one waits for the permit");
    decided(&mut machine, &mut noted, Command::Freeze, 20);
    assert_eq!(noted.refused, [4], "who waits is told at once");
    // What runs goes on, also one that gave its permit back; who comes behind it is not told of permits.
    decided(&mut machine, &mut noted, Command::Park { request_id: id(2) }, 22);
    decided(&mut machine, &mut noted, Command::Resume { request_id: id(2) }, 24);
    machine.handle(enter(6, WAIT), None, at(1), &mut noted);
    machine.committed(Ok(noted.sent), &mut noted);
    assert_eq!((&noted.answered[..], &noted.refused[..]), (&[20, 22, 24][..], &[4, 6][..]));
    decided(&mut machine, &mut noted, Command::Unfreeze, 26);
    let record = UsageRecord::abandoned(machine.account().unwrap().hold(id(2)).unwrap(), BEGIN);
    decided(&mut machine, &mut noted, Command::Settle(record), 28);
    machine.handle(enter(8, Duration::ZERO), None, at(2), &mut noted);
    machine.committed(Ok(noted.sent), &mut noted);
    assert_eq!(noted.let_in, [2, 8]);
}

#[test]
fn who_comes_behind_others_meets_the_own_limits_and_may_have_credits_bought() {
    let (mut machine, mut noted) = loaded();
    for who in [2, 4] {
        machine.handle(enter(who, WAIT), None, at(0), &mut noted);
    }
    let asks = |who, change: &dyn Fn(&mut Admit)| {
        let Input::Enter(mut enter, reply) = enter(who, Duration::ZERO) else { panic!("no request") };
        change(&mut enter.admit);
        Input::Enter(enter, reply)
    };
    let large = asks(6, &|admit| admit.work = Work::Open { class: SizeClass::B70, units: Units(6) });
    let much = Nanos::dollars(100);
    let too_much = HoldRequest { minimum: much, expected: much, worst_case: much };
    let poor = asks(8, &|admit| admit.hold = too_much);
    for (who, input) in [(6, large), (8, poor), (10, enter(10, Duration::ZERO))] {
        machine.handle(input, None, at(1), &mut noted);
        machine.committed(Ok(noted.sent), &mut noted);
        assert_eq!(noted.refused.last(), Some(&who));
    }
    assert!(matches!(noted.refusals[0], Refusal::ModelLocked { class: SizeClass::B70, .. }), "{:?}", noted.refusals);
    assert!(matches!(noted.refusals[1], Refusal::InsufficientCredits { .. }), "{:?}", noted.refusals);
    assert!(matches!(noted.refusals[2], Refusal::ConcurrencyLimit { next: Some(_), .. }), "{:?}", noted.refusals);
    for who in [12, 14] {
        machine.handle(asks(who, &|admit| admit.auto_scale = Some(Switch::On)), None, at(2), &mut noted);
    }
    machine.committed(Ok(noted.sent), &mut noted);
    assert_eq!((noted.begun, noted.refused.len()), (1, 3), "both wait for one purchase");
    assert_eq!(noted.let_in, [2], "nobody overtakes who waits");
}

#[test]
fn a_request_that_is_let_in_twice_has_one_hold_and_another_one_of_its_name_is_refused() {
    let (mut machine, mut noted) = loaded();
    machine.handle(enter(2, Duration::ZERO), None, at(0), &mut noted);
    // Its answer was lost on its way: it comes again, past others that wait for a permit.
    machine.handle(enter(4, WAIT), None, at(0), &mut noted);
    let sent = noted.sent;
    let Input::Enter(again, _) = enter(2, Duration::ZERO) else { panic!("no request") };
    machine.handle(Input::Enter(again.clone(), 6), None, at(1), &mut noted);
    assert_eq!(noted.sent, sent, "nothing was decided again");
    machine.committed(Ok(sent), &mut noted);
    assert_eq!(noted.let_in, [2, 6]);
    let mut other = again;
    other.admit.model = "n".into();
    machine.handle(Input::Enter(other, 8), None, at(1), &mut noted);
    assert_eq!((noted.let_in.len(), noted.refused.as_slice()), (2, [8].as_slice()));
    assert_eq!(machine.account().unwrap().holds().count(), 1);
    // One that has ended has no second hold: whoever asks for it is late.
    let record = UsageRecord::abandoned(machine.account().unwrap().holds().next().unwrap(), BEGIN);
    machine.handle(Input::Decide(Command::Settle(record), 10), None, at(2), &mut noted);
    machine.handle(enter(2, Duration::ZERO), None, at(2), &mut noted);
    machine.committed(Ok(noted.sent), &mut noted);
    assert_eq!(
        (noted.refused.last(), machine.account().unwrap().holds().count()),
        (Some(&2), 1),
        "the line has gone on"
    );
    assert_eq!(noted.let_in, [2, 6, 4]);
}

#[test]
fn a_request_of_another_node_that_lives_is_given_up_only_long_after_its_time() {
    let (mut machine, mut noted) = loaded();
    machine.handle(enter(2, Duration::ZERO), None, at(0), &mut noted);
    machine.committed(Ok(noted.sent), &mut noted);
    let later = |ms: i64| Moment { ledger: BEGIN.plus_ms(ms), elapsed: Duration::from_secs(1) };
    let deadline = machine.account().unwrap().holds().next().unwrap().deadline.ms_since(BEGIN);
    for (ms, whereabouts, is_held) in [
        (deadline + 1, Whereabouts::Elsewhere, true),
        (deadline + SILENT_MS - 1, Whereabouts::Elsewhere, true),
        (deadline + SILENT_MS, Whereabouts::Runs, true),
        (deadline + SILENT_MS, Whereabouts::Elsewhere, false),
    ] {
        machine.tick(|_| whereabouts, later(ms), &mut noted);
        assert_eq!(machine.account().unwrap().holds().count() == 1, is_held, "{ms} {whereabouts:?}");
    }
}
