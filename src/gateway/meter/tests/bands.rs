//! The context band of a charge is never dearer than the hold's, whatever a provider tells of its turns and of what it used in
//! them. A model's price has one band here, and the charge of a token of input tells in which it was.

use proptest::prelude::*;
use wire::format::anthropic::read_messages;

use super::*;
use crate::gateway::plan::Target;

/// A token of input below the band and within it, and a search, in nano-dollars, fee included.
const BELOW: i64 = 1_020;
const WITHIN: i64 = 5_100;
const SEARCHED: i64 = 10_200_000;

fn price(above: u32) -> Price {
    let band = format!("band = {{ above = {above}, input = \"5\", output = \"5\" }}");
    let price = format!("input = \"1\"\noutput = \"1\"\neach = {{ web_searches = \"0.01\" }}\n{band}");
    toml::from_str(&price).unwrap()
}

fn model(context: u32, above: u32) -> Model {
    let price = Some(Arc::new(price(above)));
    let (id, provider, about) = ("claude-x".into(), "anthropic".into(), Arc::default());
    Model::Closed(Arc::new(ClosedModel { id, provider, price, context, max_output: 9, task: Task::Chat, about }))
}

fn asked(searches: u64) -> wire::inference::Request {
    let tool = format!(r#"{{"type":"web_search_20250305","name":"web_search","max_uses":{searches}}}"#);
    let tools = if searches > 0 { format!(r#","tools":[{tool}]"#) } else { String::new() };
    let body = format!(r#"{{"model":"m","max_tokens":9,"messages":[{{"role":"user","content":"hello"}}]{tools}}}"#);
    read_messages(body.as_bytes()).unwrap()
}

proptest! {
    #[test]
    fn no_band_is_charged_that_is_dearer_than_the_holds(
        (above, context, searches) in (1..3_000_u32, 600..2_000_u32, 0..4_u64),
        input in 0..9_000_u64,
        tells_uses in any::<bool>(),
        turns_told in proptest::option::of((0..9_000_u64, any::<bool>())),
    ) {
        let plan = plan(&model(context, above), RULES, &asked(searches), Payer::Credits).unwrap();
        let Target::Closed(terms) = &plan.target else { unreachable!() };
        let (largest, may_be_dear) = (terms.largest, terms.largest > u64::from(above));
        let mut meter = Meter::new(plan.target, Instant::now());
        let web_searches = if tells_uses { searches } else { 0 };
        let listed_input = turns_told.map_or(0, |(_, is_all)| if is_all { input } else { input / 2 });
        let largest_prompt = turns_told.map(|(largest, _)| largest);
        let told = Report { input: Some(input), output: Some(0), largest_prompt, listed_input, web_searches, ..Report::default() };
        meter.reported(told);
        let used = meter.used(None, Bounds { held: plan.hold.worst_case, claimed: None, overdraft_none: false });
        let tokens = i64::try_from(used.quantities.sum(|key| key.is_tokens(Direction::Input))).unwrap();
        let fees = i64::try_from(web_searches).unwrap() * SEARCHED;
        let of_tokens = used.cost.charged().unwrap().get() - fees;
        prop_assert!([BELOW, WITHIN].contains(&(of_tokens.checked_div(tokens).unwrap_or(BELOW))), "{used:?}");
        prop_assert!(may_be_dear || of_tokens == tokens * BELOW, "a prompt of {largest} at most: {used:?}");
    }
}
