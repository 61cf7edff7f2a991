//! Who pays for what (design, chapter 2.5): one table with a line for each way in which a request ends, and the charge
//! for a closed and an open model. The meters get the calls that a task would make, and nothing else runs.

mod bands;
mod dearest;

use std::{sync::Arc, time::Duration};

use billing::{
    class::{SizeClass, Weighting},
    price::{Parts, Price},
};
use rust_decimal::Decimal;
use wire::{
    format::openai::read_chat,
    inference::{ProviderError, Task, TooLong},
};

use super::{super::plan::Payer, *};
use crate::{
    catalogue::{ClosedModel, Model, OpenModel, OpenTask},
    gateway::{Rules, plan::plan},
};

/// The rules of these requests: debt may arise, and nothing is kept.
const RULES: Rules = Rules {
    overdraft_none: false,
    weighting: Weighting::Weighted,
    drain_seconds: 0,
    unread_bytes: 0,
    answers_bytes: 0,
};

/// The price of a token read, a token written and a second, in nano-dollars. A million tokens written cost $10 and a
/// million read $1, fee included; the second is one of the smallest class.
const READ: i64 = 1_020;
const WRITTEN: i64 = 10_200;
const SECOND: i64 = 72_000;
/// Tokens of the prompt by our count, and of the text.
const PROMPT: i64 = 9;
const TEXT: i64 = 4;
/// The cost of the tokens that the provider reports.
const REPORTED: i64 = 7 * READ + 6 * WRITTEN;
/// The cost of the counted tokens, if the provider reports nothing.
const COUNTED: i64 = PROMPT * READ + TEXT * WRITTEN;
/// The most tokens that the model reads and writes.
const CONTEXT: u32 = 1_000;
const MOST: u32 = 100;
/// The hold if a case names none: more than any case costs.
const HELD: i64 = 100_000_000;

/// An event of a request.
#[derive(Debug, Clone, Copy)]
enum Happens {
    /// A delta of the answer, with `TEXT` tokens in all.
    Text,
    /// The provider reports these tokens read and written.
    Reports(Option<u64>, Option<u64>),
    /// This second of compute has started.
    Second(u64),
    /// The engine ended well, after these milliseconds of compute.
    Finished(u64),
}
use Happens::{Finished, Reports, Second, Text};

const REPORT: Happens = Reports(Some(7), Some(6));

/// One case of the table, for a closed or an open model.
struct Case {
    happens: &'static [Happens],
    failure: Option<Failure>,
    max_cost: Option<&'static str>,
    payer: Payer,
    held: i64,
    claimed: Option<i64>,
    overdraft_none: bool,
    charged: i64,
    estimated: bool,
}

/// A case with these events, without a failure, and with this charge.
fn after(happens: &'static [Happens], charged: i64) -> Case {
    Case {
        happens,
        failure: None,
        max_cost: None,
        payer: Payer::Credits,
        held: HELD,
        claimed: None,
        overdraft_none: false,
        charged,
        estimated: false,
    }
}

impl Case {
    fn failed(self, failure: Failure) -> Self {
        Self { failure: Some(failure), ..self }
    }

    fn estimated(self) -> Self {
        Self { estimated: true, ..self }
    }

    fn held(self, held: i64) -> Self {
        Self { held, ..self }
    }

    /// This case without overdraft: debt may not arise.
    fn overdraft_none(self) -> Self {
        Self { overdraft_none: true, ..self }
    }

    fn claimed(self, claimed: i64) -> Self {
        Self { claimed: Some(claimed), ..self }
    }

    fn max_cost(self, max_cost: &'static str) -> Self {
        Self { max_cost: Some(max_cost), ..self }
    }

    fn own_key(self) -> Self {
        Self { payer: Payer::OwnKey, ..self }
    }
}

fn closed_model() -> Model {
    let price = Arc::new(Price::per_million(Decimal::ONE, Decimal::TEN).unwrap());
    let (id, provider) = ("gpt-4o-mini".into(), "openai".into());
    let (price, task) = (Some(price), Task::Chat);
    let about = Arc::default();
    Model::Closed(Arc::new(ClosedModel { id, provider, price, context: CONTEXT, max_output: MOST, task, about }))
}

fn open_model() -> Model {
    let (id, folder, class) = ("m".into(), "m".into(), SizeClass::B7);
    Model::Open(Arc::new(OpenModel {
        id,
        task: OpenTask::Generation,
        folder,
        class,
        parameters: 1,
        context: CONTEXT,
        needs_cpu: false,
        import: (0, 0),
    }))
}

fn meter(model: &Model, max_cost: Option<&str>, payer: Payer, began: Instant) -> Meter {
    let max_cost = max_cost.map(|most| format!(r#","max_cost":"{most}""#)).unwrap_or_default();
    let body = format!(r#"{{"model":"m","messages":[{{"role":"user","content":"hello world"}}]{max_cost}}}"#);
    let request = read_chat(body.as_bytes()).unwrap();
    Meter::new(plan(model, RULES, &request, payer).unwrap().target, began)
}

fn piece() -> Delta {
    Delta { text: "one two three four".into(), ..Delta::default() }
}

/// Runs a meter through a case's events, a tenth of a second apart. Returns the charge, and the charge if the task had
/// died instead.
fn run(model: &Model, case: &Case) -> (Metered, Metered) {
    let mut now = Instant::now();
    let mut meter = meter(model, case.max_cost, case.payer, now);
    let bounds = Bounds {
        held: Nanos::new(case.held),
        claimed: case.claimed.map(Nanos::new),
        overdraft_none: case.overdraft_none,
    };
    let mut noted = Metered::NOTHING;
    for happens in case.happens {
        now += Duration::from_millis(100);
        let step = match *happens {
            Text => meter.delta(&piece(), bounds.held, now),
            Second(second) => meter.second(second, bounds, now),
            Reports(input, output) => {
                meter.reported(Report { input, output, ..Report::default() });
                None
            }
            Finished(compute_ms) => {
                meter.finished(compute_ms);
                None
            }
        };
        noted = step.map_or(noted, |step| step.metered);
    }
    let mut charged = meter.used(case.failure.as_ref(), bounds);
    Meter::bound(&mut charged, bounds);
    (charged, noted)
}

fn refused() -> Failure {
    Failure::Provider(Box::new(ProviderError { status: 400, ..ProviderError::default() }))
}

fn cut() -> Failure {
    Failure::Transport("cut".into())
}

fn broken() -> Failure {
    Failure::Engine("broken".into())
}

fn too_long() -> Failure {
    let (prompt, context) = (PROMPT as u64, CONTEXT.into());
    Failure::ContextLength(TooLong { field: "messages", prompt, at_least: false, answer: None, context })
}

/// The table: each ending, with the charge for a closed and for an open model, if it can end this way.
#[rustfmt::skip]
fn table() -> Vec<(&'static str, Option<Case>, Option<Case>)> {
    vec![
        ("completed", Some(after(&[Text, REPORT], REPORTED)), Some(after(&[Second(1), Text, Second(2), Finished(1_200)], 2 * SECOND))),
        ("completed within a moment", Some(after(&[Text, REPORT], REPORTED)), Some(after(&[Second(1), Text, Finished(1)], SECOND))),
        ("completed, though the hold was smaller", Some(after(&[Text, REPORT], REPORTED).held(5_000)), Some(after(&[Second(1), Second(2), Text, Finished(1_200)], 2 * SECOND).held(SECOND))),
        ("client left before the first output", Some(after(&[], PROMPT * READ).estimated()), Some(after(&[Second(1), Finished(300)], SECOND))),
        ("client left before anything ran", None, Some(after(&[Finished(0)], 0))),
        ("client left after output, usage drained", Some(after(&[Text, REPORT], REPORTED)), None),
        ("client left after output, usage unknown", Some(after(&[Text], COUNTED).estimated()), Some(after(&[Second(1), Text, Second(2), Finished(1_300)], 2 * SECOND))),
        ("cancelled", Some(after(&[Text], COUNTED).estimated()), Some(after(&[Second(1), Text, Second(2), Second(3), Finished(2_001)], 3 * SECOND))),
        ("provider refused", Some(after(&[], 0).failed(refused())), None),
        ("provider failed before output", Some(after(&[], 0).failed(cut())), None),
        ("provider failed after output", Some(after(&[Text], 0).failed(cut())), None),
        ("provider failed before output, usage known", Some(after(&[Reports(Some(7), None)], 7 * READ).failed(cut())), None),
        ("provider failed after output, usage known", Some(after(&[Text, REPORT], REPORTED).failed(cut())), None),
        ("timed out after output", Some(after(&[Text], 0).failed(Failure::Timeout("idle"))), None),
        ("answer larger than what is read of one", Some(after(&[], PROMPT * READ + 100 * WRITTEN).failed(Failure::TooLarge(9)).estimated()), None),
        ("answer larger than what is read, beyond the hold", Some(after(&[], 50_000).failed(Failure::TooLarge(9)).held(50_000).estimated()), None),
        ("refused for its length", Some(after(&[], 0).failed(too_long())), Some(after(&[], 0).failed(too_long()))),
        ("engine failed before compute", None, Some(after(&[], 0).failed(broken()))),
        ("engine failed before output", None, Some(after(&[Second(1), Second(2)], 0).failed(broken()))),
        ("engine failed after output", None, Some(after(&[Second(1), Text, Second(2)], 2 * SECOND).failed(broken()))),
        ("scores are no numbers, before output", None, Some(after(&[Second(1)], 0).failed(Failure::NotFinite))),
        ("scores are no numbers, after output", None, Some(after(&[Second(1), Text, Second(2)], 0).failed(Failure::NotFinite))),
        ("own key", Some(after(&[Text, REPORT], 0).own_key()), None),
        ("own key, usage missing", Some(after(&[Text], 0).own_key().estimated()), None),
        ("max_cost reached", Some(after(&[Text, REPORT], REPORTED).max_cost("0.0005")), Some(after(&[Second(1), Text, Second(2), Finished(1_900)], 2 * SECOND).max_cost("0.000144"))),
        ("max_cost reached, and a token was long", None, Some(after(&[Second(1), Text, Second(2), Second(3), Finished(2_100)], 2 * SECOND).max_cost("0.000144"))),
        ("key limit reached", Some(after(&[Text, REPORT], REPORTED).claimed(REPORTED)), Some(after(&[Second(1), Text, Second(2), Finished(1_900)], 2 * SECOND).claimed(2 * SECOND))),
        ("key limit reached, and a token was long", None, Some(after(&[Second(1), Text, Second(2), Second(3), Finished(2_100)], 2 * SECOND).claimed(3 * SECOND - 1))),
        ("credits ran out, where debt may not arise", Some(after(&[Text, REPORT], 60_000).held(60_000).overdraft_none()), Some(after(&[Second(1), Text, Second(2), Second(3), Finished(2_100)], 2 * SECOND).held(2 * SECOND).overdraft_none())),
        ("credits ran out, where debt may arise", Some(after(&[Text, REPORT], REPORTED).held(60_000)), Some(after(&[Second(1), Text, Second(2), Second(3), Finished(2_100)], 3 * SECOND).held(2 * SECOND))),
        ("usage missing", Some(after(&[Text], COUNTED).estimated()), None),
        ("usage missing, counted beyond the hold", Some(after(&[Text], 20_000).held(20_000).estimated()), None),
        ("usage half missing", Some(after(&[Text, Reports(Some(7), None)], 7 * READ + TEXT * WRITTEN).estimated()), None),
        ("usage reported before the text", Some(after(&[REPORT, Text], 7 * READ + 6 * WRITTEN)), None),
        ("usage is nonsense", Some(after(&[Text, Reports(Some(1 << 60), Some(1 << 60))], COUNTED).estimated()), None),
        ("usage is nonsense after a good one", Some(after(&[Text, REPORT, Reports(Some(1 << 60), Some(1 << 60))], REPORTED)), None),
        ("failed with usage that is nonsense", Some(after(&[Text, Reports(Some(1 << 60), None)], 0).failed(cut())), None),
    ]
}

#[test]
fn who_pays_for_what_is_as_the_table_says() {
    let mut wrong = Vec::new();
    for (how, closed, open) in table() {
        for (kind, model, case) in [("closed", closed_model(), closed), ("open", open_model(), open)] {
            let Some(case) = case else { continue };
            let (Metered { estimated, cost, .. }, _) = run(&model, &case);
            let charged = cost.charged().unwrap().get();
            if (charged, estimated) != (case.charged, case.estimated) {
                wrong.push(format!("{kind}, {how}: {charged}, {estimated} and not {}", case.charged));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn a_task_that_dies_charges_no_more_than_was_metered_and_what_is_held() {
    let noted = |model: &Model, case: &Case| run(model, case).1.cost.charged().unwrap().get();
    let (closed, open) = (closed_model(), open_model());
    // 18 bytes are about four tokens.
    assert_eq!(noted(&closed, &after(&[Text], 0)), PROMPT * READ + 4 * WRITTEN);
    assert_eq!(noted(&closed, &after(&[Text], 0).held(5_000)), 5_000);
    assert_eq!(noted(&closed, &after(&[Text], 0).own_key()), 0);
    assert_eq!(noted(&closed, &after(&[REPORT], 0)), 0, "a report is noted with the next piece");
    assert_eq!(noted(&open, &after(&[Second(1), Text, Second(2)], 0)), 2 * SECOND);
    assert_eq!(noted(&open, &after(&[Text], 0)), 0);
}

#[test]
fn a_stream_accrues_each_second_and_asks_for_nothing_more_to_be_held() {
    let began = Instant::now();
    let mut meter = meter(&closed_model(), None, Payer::Credits, began);
    let mut accrued = |ms| meter.delta(&piece(), Nanos::new(HELD), began + Duration::from_millis(ms)).unwrap().accrual;
    let slice = Nanos::ZERO;
    assert_eq!(accrued(999), None);
    assert_eq!(accrued(1_000), Some(Accrual { cost: Nanos::new(PROMPT * READ + 9 * WRITTEN), slice }));
    assert_eq!(accrued(1_999), None);
    assert!(accrued(2_000).is_some_and(|accrual| accrual.slice == slice));
}

#[test]
fn an_engine_is_stopped_within_the_last_second_that_is_paid_for() {
    let began = Instant::now();
    let end = began + seconds::LAST_SECOND;
    let unbounded = Bounds { held: Nanos::ZERO, claimed: None, overdraft_none: false };
    let two = Nanos::new(2 * SECOND);
    for (max_cost, bounds, stop) in [
        (Some("0.000144"), unbounded, Stop::MaxCost),
        (None, Bounds { claimed: Some(two), ..unbounded }, Stop::KeyLimit),
        (None, Bounds { held: two, overdraft_none: true, ..unbounded }, Stop::Credits),
    ] {
        let mut meter = meter(&open_model(), max_cost, Payer::Credits, began);
        let slice = |step: Option<Step>| step.unwrap().accrual.unwrap().slice.get();
        assert_eq!(slice(meter.second(1, bounds, began)), 5 * SECOND, "{stop:?}");
        assert_eq!(meter.due_at(), None, "{stop:?}: another second is paid for");
        assert_eq!(slice(meter.second(2, bounds, began)), 0, "{stop:?}: no more is needed");
        assert_eq!((meter.due_at(), meter.due(), meter.due()), (Some(end), Some(stop), None));
    }
    let mut meter = meter(&open_model(), None, Payer::Credits, began);
    meter.second(100, unbounded, began);
    assert_eq!(meter.due_at(), None, "nothing bounds it");
}

#[test]
fn what_is_told_is_what_was_charged_or_what_the_engine_counted() {
    let usage = Usage { input: 5, cached_input: 2, cache_write: 0, output: 3, reasoning: 1 };
    let mut open = meter(&open_model(), None, Payer::Credits, Instant::now());
    open.counted(usage);
    assert_eq!((open.told(&Parts::default()), open.take_own()), (usage, None));
    let mut closed = meter(&closed_model(), None, Payer::Credits, Instant::now());
    let own = Some("{}".into());
    assert!(closed.reported(Report { input: Some(7), output: Some(6), own, ..Report::default() }));
    assert!(!closed.reported(Report { input: Some(7), output: Some(1 << 60), ..Report::default() }));
    assert_eq!(
        closed.told(&"tokens.input=7 tokens.output=6".parse().unwrap()),
        Usage { input: 7, output: 6, ..Usage::default() }
    );
}
