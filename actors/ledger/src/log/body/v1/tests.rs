//! What no program writes is refused by the field's name.

use prost::Message as _;

use super::{
    super::{decode, encode, tests::examples},
    *,
};

/// A change of a number that is stored.
type Renumber = fn(&mut Transition, u32);

/// A change of what is stored.
type Change = fn(&mut Transition);

/// The refusal of a transition that is changed after it was stored.
fn refusal(example: &entry::Transition, change: impl FnOnce(&mut Transition)) -> String {
    let mut stored = Transition::write(example);
    change(&mut stored);
    body(&Content { transitions: vec![stored], ..Content::default() })
}

fn body(content: &Content) -> String {
    decode(&[vec![FIRST], content.encode_to_vec()].concat()).unwrap_err().to_string()
}

/// An example that has all the fields that a change needs.
fn example(has: impl Fn(&entry::Transition) -> bool) -> entry::Transition {
    examples::everything().into_iter().find(has).unwrap()
}

#[test]
fn unknown_numbers_are_refused_by_the_fields_name() {
    let changes: [(&str, Renumber); 14] = [
        ("line.kind", |it, number| it.lines[0].kind = number),
        ("header.plan", |it, number| it.header.as_mut().unwrap().plan = number),
        ("grant.source", |it, number| it.grants[0].source = number),
        ("hold.open.class", |it, number| it.hold.as_mut().unwrap().open.as_mut().unwrap().class = number),
        ("usage.ending", |it, number| it.usage.as_mut().unwrap().ending = number),
        ("payment.purpose", |it, number| it.payments[0].purpose = number),
        ("payment.status", |it, number| it.payments[0].status = number),
        ("reversal.kind", |it, number| it.reversals[0].kind = number),
        ("reversal.state", |it, number| it.reversals[0].state = number),
        ("subscription.status", |it, number| it.subscription.as_mut().unwrap().status = number),
        ("subscription.at_end", |it, number| it.subscription.as_mut().unwrap().at_end = number),
        ("automatic.settings.reload", |it, number| settings(it).reload = number),
        ("automatic.settings.scale", |it, number| settings(it).scale = number),
        ("event.kind", |it, number| it.events[0].kind = number),
    ];
    let whole = entry::Transition {
        lines: example(|it| !it.lines.is_empty()).lines,
        grants: example(|it| !it.grants.is_empty()).grants,
        hold: example(|it| it.hold.as_ref().is_some_and(|hold| hold.work != billing::hold::Work::Closed)).hold,
        usage: example(|it| it.usage.is_some()).usage,
        events: example(|it| !it.events.is_empty()).events,
        ..example(|it| it.automatic.is_some())
    };
    for (field, change) in changes {
        for number in [0, 200, u32::MAX] {
            let refusal = refusal(&whole, |stored| change(stored, number));
            assert_eq!(refusal, format!("is malformed: {field} has the unknown number {number}"));
        }
    }
    let genesis = Genesis { log_id: vec![7; 16], began: 3, schema: 13 };
    let refusal = body(&Content { genesis: Some(genesis), ..Content::default() });
    assert_eq!(refusal, "is malformed: genesis.began has the unknown number 3");
}

fn settings(stored: &mut Transition) -> &mut automatic::Settings {
    stored.automatic.as_mut().unwrap().settings.as_mut().unwrap()
}

#[test]
fn what_is_missing_or_out_of_range_is_refused_by_the_fields_name() {
    let changes: [(&str, Change); 9] = [
        ("transition.ids", |it| it.ids.clear()),
        ("transition.ids", |it| it.ids.push(0)),
        ("transition.header", |it| it.header = None),
        ("transition.ended", |it| it.ended = 99),
        ("grant.id", |it| it.grants[0].id = 0),
        ("grant.notices", |it| it.grants[0].notices = 256),
        ("grant.key, beside grant.key_id", |it| it.grants[0].key = "both".into()),
        ("usage.base", |it| it.usage.as_mut().unwrap().base.as_mut().unwrap().decimals = 29),
        ("usage.parts: \"tokens\" is no list of quantities", |it| it.usage.as_mut().unwrap().parts = "tokens".into()),
    ];
    for (field, change) in changes {
        assert_eq!(refusal(&examples::settlement(), change), format!("is malformed: {field}"));
    }
    let genesis = |log_id| Some(Genesis { log_id, began: 1, schema: 13 });
    let short = Content { genesis: genesis(vec![7; 15]), ..Content::default() };
    assert_eq!(body(&short), "is malformed: genesis.log_id");
    let both =
        Content { transitions: vec![Transition::default()], genesis: genesis(vec![7; 16]), ..Content::default() };
    assert_eq!(body(&both), "is malformed: contents of several kinds");
}

#[test]
fn what_belongs_to_a_later_form_is_refused_in_an_earlier_one() {
    assert_eq!(refusal(&examples::after_attempts(), |_| {}), "is malformed: usage.attempts");
    let mut body = encode(&[examples::settlement()]);
    body[0] = 2;
    assert_eq!(decode(&body).unwrap_err().to_string(), "is malformed: form 2 without what it is for");
    let mut body = encode(&[examples::after_attempts()]);
    assert!(decode(&body).is_ok());
    body[0] = FIRST;
    assert_eq!(decode(&body).unwrap_err().to_string(), "is malformed: usage.attempts");
}
