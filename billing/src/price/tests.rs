//! Compares prices with the formula from before they were lists of rates, and tests properties of all prices.

use proptest::{prelude::*, sample::select};

use super::*;
use crate::class::SizeClass;

fn decimal(text: &str) -> Decimal {
    text.parse().unwrap()
}

/// Prices of a million tokens: uncached, cache read, cache write, longer cache write, output.
type Short = (Decimal, Option<Decimal>, Option<Decimal>, Option<Decimal>, Decimal);

/// A price in the short form, also read from text.
fn short(base: &Short, band: Option<(u64, &Short)>) -> Price {
    let fields = |(input, read, write, long, output): &Short| {
        let named = [("cached_input", read), ("cache_write", write), ("cache_write_long", long)];
        let named = named.into_iter().filter_map(|(name, price)| Some(format!("\"{name}\":\"{}\"", (*price)?)));
        let all = named.chain([format!("\"input\":\"{input}\""), format!("\"output\":\"{output}\"")]);
        all.collect::<Vec<_>>().join(",")
    };
    let band = band.map(|(above, band)| format!(",\"band\":{{\"above\":{above},{}}}", fields(band)));
    written(&format!("{{{}{}}}", fields(base), band.unwrap_or_default())).unwrap()
}

fn written(json: &str) -> Result<Price, String> {
    serde_json::from_str(json).map_err(|error| error.to_string())
}

/// The former cost of the short form: cache parts beyond the input are dropped, and a band applies to the whole
/// request.
fn before(base: &Short, band: Option<(u64, &Short)>, [input, read, write, long, output]: [u64; 5]) -> Cost {
    let read = read.min(input);
    let long = long.min(input - read);
    let write = write.min(input - read - long);
    let rates = band.filter(|(above, _)| input > *above).map_or(base, |(_, rates)| rates);
    let usual = rates.2.unwrap_or(rates.0);
    let parts = [
        (input - read - write - long, rates.0),
        (read, rates.1.unwrap_or(rates.0)),
        (write, usual),
        (long, rates.3.unwrap_or(usual)),
        (output, rates.4),
    ];
    let sum: Decimal = parts.into_iter().map(|(count, price)| Decimal::from(count) * price).sum();
    let base = sum * Decimal::new(1, 6);
    Cost { base, fee: base * Decimal::new(2, 2) }
}

/// The same tokens as quantities.
fn quantities([input, read, write, long, output]: [u64; 5], kept: Cache) -> Quantities {
    let read = read.min(input);
    let long = long.min(input - read);
    let write = write.min(input - read - long);
    let keys = [Key::INPUT, Key::CACHE_READ, Key::CACHE_WRITE, Key::INPUT.cached(kept), Key::OUTPUT];
    keys.into_iter().zip([input - read - write - long, read, write, long, output]).collect()
}

fn price_of_a_million() -> impl Strategy<Value = Decimal> {
    (0_i64..100_000_000, 0_u32..9)
        .prop_map(|(digits, scale)| Decimal::new(digits, scale).min(Decimal::new(1_000_000, 0)))
}

fn five() -> impl Strategy<Value = Short> {
    let some = || proptest::option::of(price_of_a_million());
    (price_of_a_million(), some(), some(), some(), price_of_a_million())
}

fn tokens() -> impl Strategy<Value = [u64; 5]> {
    proptest::array::uniform5(prop_oneof![Just(0_u64), 0_u64..1_000, 0_u64..2_000_000])
}

/// Random prices with all kinds of keys at different rates. A band is never cheaper.
fn price() -> impl Strategy<Value = Price> {
    let keys: Vec<Key> = [
        "tokens.input.cache_read",
        "tokens.input.cache_write",
        "tokens.input.cache_write_1h",
        "tokens.input.audio",
        "tokens.input.audio.cache_read",
        "tokens.input.image",
        "tokens.output.reasoning",
        "tokens.output.audio",
        "tokens.input.flex",
        "tokens.output.flex",
        "web_searches",
        "images.output.high",
    ]
    .iter()
    .map(|text| text.parse().unwrap())
    .collect();
    let rates = proptest::collection::vec(0_u32..5_000, keys.len() + 2);
    (rates, any::<u16>(), proptest::option::of((1_u32..500, 1_u32..3))).prop_map(move |(rates, some, band)| {
        let own = keys.iter().enumerate().filter(|(bit, _)| some & (1 << bit) != 0).map(|(_, key)| *key);
        let keys: Vec<Key> = [Key::INPUT, Key::OUTPUT].into_iter().chain(own).collect();
        let base: Vec<_> = keys.into_iter().zip(rates).collect();
        let dearest = base.iter().map(|(_, rate)| *rate).max().unwrap_or(0);
        let banded = band.into_iter().flat_map(|(above, times)| {
            let in_band = base.iter().filter(|(key, _)| key.kind == Kind::Tokens);
            in_band.map(move |(key, rate)| (key.in_band(Band(above)), rate.max(&dearest) * times))
        });
        let all = base.iter().copied().chain(banded);
        Price::new(all.map(|(key, rate)| (key, Rate::ten_millionths(rate))).collect(), Terms::Provider).unwrap()
    })
}

/// Random quantities for such prices.
fn used() -> impl Strategy<Value = Quantities> {
    let keys = [
        "tokens.input",
        "tokens.input.cache_read",
        "tokens.input.cache_write",
        "tokens.input.cache_write_12h",
        "tokens.input.audio",
        "tokens.input.image.cache_read",
        "tokens.output",
        "tokens.output.reasoning",
        "tokens.output.audio",
    ];
    let one = (select(keys.to_vec()), 0_u64..700).prop_map(|(key, amount)| (key.parse().unwrap(), amount));
    proptest::collection::vec(one, 0..8).prop_map(|all| all.into_iter().collect())
}

#[test]
fn what_caches_save_is_what_their_reads_would_have_cost_more() {
    let price = written(r#"{"input":"3","cached_input":"0.3","cache_write":"3.75","output":"15"}"#).unwrap();
    let read = Key::INPUT.cached(Cache::Read);
    let used = [(Key::INPUT, 1_000_000), (read, 1_000_000), (Key::INPUT.cached(Cache::Write), 9), (Key::OUTPUT, 5)];
    // 2.70 dollars, and the fee that is not paid either.
    assert_eq!(price.saved_by_caches(used).to_string(), "2.754");
    assert_eq!(price.saved_by_caches([(Key::INPUT, 1_000_000)]), Nanos::ZERO);
    let dearer = written(r#"{"input":"1","cached_input":"2","output":"1"}"#).unwrap();
    assert_eq!(dearer.saved_by_caches([(read, 1_000_000)]), Nanos::ZERO);
    assert_eq!(Price::nothing().saved_by_caches([(read, u64::MAX)]), Nanos::ZERO);
}

proptest! {
    #[test]
    fn the_short_form_costs_exactly_what_it_did(
        base in five(), above in proptest::option::of((0_u64..1_500_000, five())), tokens in tokens(),
        kept in select(vec![Cache::Write1h, Cache::Write12h]),
    ) {
        // A band above zero once applied to every prompt. It now applies to prompts of more than one token.
        let band = above.as_ref().map(|(above, band)| ((*above).max(1), band));
        let price = short(&base, band);
        prop_assert_eq!(price.cost(&quantities(tokens, kept)), Ok(before(&base, band, tokens)));
    }

    #[test]
    fn parts_are_the_whole(price in price(), used in used(), taken_off in 0_i64..1_000_000) {
        let cost = price.cost(&used).unwrap();
        let parts = price.parts(&used, cost.base);
        prop_assert!(parts.full() == cost.base && !parts.is_limited());
        prop_assert_eq!(parts.to_string().parse::<Parts>(), Ok(parts.clone()));
        // A lower and a higher charge: every charge is partitioned, and no part is negative.
        for base in [cost.base, (cost.base - Decimal::new(taken_off, 9)).max(Decimal::ZERO), cost.base + Decimal::ONE] {
            let parts = price.parts(&used, base);
            let (costs, rest) = parts.costs(base);
            prop_assert_eq!(costs.iter().sum::<Decimal>() + rest, base);
            prop_assert!(rest >= Decimal::ZERO && costs.iter().all(|cost| *cost >= Decimal::ZERO));
            prop_assert_eq!(parts.is_limited(), base < cost.base);
            prop_assert_eq!(parts.to_string().parse::<Parts>(), Ok(parts));
        }
        prop_assert_eq!(parts.tokens(Direction::Input), used.sum(|key| key.is_tokens(Direction::Input)));
    }

    #[test]
    fn more_of_anything_never_costs_less(price in price(), used in used(), more in used()) {
        let [less, more] = [used, used.and(&more)].map(|used| price.cost(&used).unwrap());
        prop_assert!(less.total() <= more.total(), "{less:?} {more:?}");
    }

    #[test]
    fn no_use_costs_more_than_the_dearest_that_is_permitted(
        price in price(), used in used(), spare in 0_u64..500, keep in select(vec![Keep::Usual, Keep::Long]),
    ) {
        let permitted = Permitted {
            keep,
            input: &[Modality::Image, Modality::Audio],
            output: &[Modality::Reasoning, Modality::Audio],
            ..Permitted::TEXT
        };
        let is_permitted = |key: Key| keep == Keep::Long || key.cache != Cache::Write12h;
        let used: Quantities = used.iter().filter(|(key, _)| is_permitted(*key)).collect();
        let [input, output] = [Direction::Input, Direction::Output].map(|way| used.sum(|key| key.is_tokens(way)));
        let prompt = input + spare;
        let most = price.most_input(prompt, prompt, &permitted).unwrap().total()
            + price.most_output(prompt, &permitted).unwrap().times(output);
        prop_assert!(price.cost(&used).unwrap().total() <= most, "{used:?} of {price:?}");
    }
}

fn gpt_6_sol() -> Price {
    let million = |texts: [&str; 5]| {
        let [input, read, write, long, output] = texts.map(decimal);
        (input, Some(read), Some(write), Some(long), output)
    };
    short(&million(["2", "0.2", "2.5", "5", "10"]), Some((272_000, &million(["4", "0.4", "5", "10", "15"]))))
}

fn gpt_4o_mini() -> Price {
    short(&(decimal("0.15"), Some(decimal("0.075")), None, None, decimal("0.60")), None)
}

fn all(quantities: &[(&str, u64)]) -> Quantities {
    quantities.iter().map(|(key, amount)| (key.parse().unwrap(), *amount)).collect()
}

#[test]
fn the_vectors_of_the_notes_cost_what_they_say() {
    let base = |price: &Price, used: &[(&str, u64)]| price.cost(&all(used)).unwrap().base.normalize().to_string();
    let sol = gpt_6_sol();
    let used = [("tokens.input", 1_000), ("tokens.input.cache_read", 8_000), ("tokens.output", 900)];
    let with = |more: &[(&'static str, u64)]| [&used[..], more].concat();
    assert_eq!(base(&sol, &with(&[("tokens.input.cache_write", 3_000)])), "0.0201");
    let kept = with(&[("tokens.input.cache_write", 1_000), ("tokens.input.cache_write_12h", 2_000)]);
    assert_eq!(base(&sol, &kept), "0.0251");
    let opus = written(
        r#"{"per_million": {"tokens.input": "4", "tokens.input.cache_read": "0.2", "tokens.input.cache_write": "5",
        "tokens.input.cache_write_1h": "8", "tokens.output": "20"}, "each": {"web_searches": "0.01"}}"#,
    );
    let used = [
        ("tokens.input", 500),
        ("tokens.input.cache_read", 20_000),
        ("tokens.input.cache_write", 1_000),
        ("tokens.input.cache_write_1h", 2_000),
        ("tokens.output", 800),
        ("web_searches", 2),
    ];
    assert_eq!(base(&opus.unwrap(), &used), "0.063");
    let flash = written(r#"{"input": "0.75", "cached_input": "0.075", "output": "3.75"}"#).unwrap();
    let used = [
        ("tokens.input", 1_154),
        ("tokens.input.cache_read", 4_096),
        ("tokens.output", 300),
        ("tokens.output.reasoning", 700),
    ];
    assert_eq!(base(&flash, &used), "0.0049227");
    let ocr = written(r#"{"each": {"pages.input": "0.004"}}"#).unwrap();
    assert_eq!(base(&ocr, &[("pages.input", 12)]), "0.048");
}

#[test]
fn usage_is_priced_exactly_with_the_fee_on_top_and_rounded_once() {
    let cost =
        gpt_4o_mini().cost(&all(&[("tokens.input", 600), ("tokens.input.cache_read", 400), ("tokens.output", 50)]));
    let cost = cost.unwrap();
    assert_eq!((cost.base, cost.fee), (decimal("0.00015"), decimal("0.000003")));
    assert_eq!(cost.charged(), Ok(Nanos::new(153_000)));
    let one = gpt_4o_mini().cost(&all(&[("tokens.input.cache_read", 1)])).unwrap();
    assert_eq!((one.total(), one.charged()), (decimal("0.0000000765"), Ok(Nanos::new(76))));
}

#[test]
fn a_long_prompt_moves_its_whole_request_into_the_band() {
    let (price, text) = (gpt_6_sol(), Permitted::TEXT);
    let cost = |used: &[(&str, u64)]| price.cost(&all(used)).unwrap().base;
    assert_eq!(cost(&[("tokens.input", 272_000), ("tokens.output", 10)]), decimal("0.5441"));
    // One token at $4, the others at $0.40, and ten at $15 a million.
    let long = [("tokens.input", 1), ("tokens.input.cache_read", 272_000), ("tokens.output", 10)];
    assert_eq!(cost(&long), decimal("0.108954"));
    assert_eq!(price.most_output(272_001, &text).unwrap().times(10), decimal("0.000153"));
    let parts = price.parts(&all(&long), cost(&long));
    let turns = |largest| price.cost(&all(&long).with_largest_prompt(largest)).unwrap().base;
    assert_eq!((turns(272_001), turns(u64::MAX)), (cost(&long), cost(&long)));
    assert!(turns(272_000) < cost(&long), "two short prompts are no long one");
    assert_eq!(
        parts.to_string(),
        "tokens.input.above_272000=1@0.000004 tokens.input.cache_read.above_272000=272000@0.0000004 \
         tokens.output.above_272000=10@0.000015"
    );
}

#[test]
fn what_has_no_rate_of_its_own_is_stood_in_for_by_the_nearest() {
    let price = written(
        r#"{"each": {"tokens.input": "1", "tokens.input.cache_write": "2", "tokens.input.audio": "3", "tokens.output": "4",
        "tokens.input.above_100": "5", "tokens.input.cache_read.above_200": "6", "tokens.input.above_200": "7",
        "images.output": "8", "images.output.high": "9", "tokens.input.flex": "10"}}"#,
    );
    let price = price.unwrap();
    for (key, rate) in [
        ("tokens.input.cache_read", Some("1")),
        ("tokens.input.cache_write_12h", Some("2")),
        ("tokens.input.audio.cache_read", Some("3")),
        ("tokens.input.audio.above_100", Some("3")),
        ("tokens.input.image", Some("1")),
        ("tokens.input.image.cache_write", Some("2")),
        ("tokens.output.reasoning", Some("4")),
        ("tokens.output.above_200", Some("4")),
        ("tokens.input.cache_write.above_100", Some("5")),
        ("tokens.input.cache_read.above_200", Some("6")),
        ("tokens.input.cache_write.above_200", Some("7")),
        ("images.output.low", Some("8")),
        ("images.output.high", Some("9")),
        ("tokens.input.cache_read.flex", Some("10")),
        ("tokens.output.flex", None),
        ("tokens.input.priority", None),
        ("images.input", None),
        ("web_searches", None),
    ] {
        let found = price.rate(key.parse().unwrap()).map(|rate| rate.to_string());
        assert_eq!(found.as_deref(), rate, "{key}");
    }
    assert!(!price.has_tier(ServiceTier::Flex) && price.has_tier(ServiceTier::Standard));
    let most =
        |tiers| price.most_input(10, 10, &Permitted { tiers, ..Permitted::TEXT }).map(|cost| cost.base.to_string());
    assert_eq!(most(&[ServiceTier::Standard]).as_deref(), Ok("20"));
    assert_eq!(most(&[ServiceTier::Standard, ServiceTier::Flex]).as_deref(), Ok("100"));
    let priority = Key::INPUT.in_tier(ServiceTier::Priority);
    assert_eq!(most(&[ServiceTier::Standard, ServiceTier::Priority]), Err(Unpriced(priority)));
}

#[test]
fn what_can_not_be_priced_is_refused_before_it_runs_and_never_free_after() {
    let price = gpt_4o_mini();
    let searches: Key = "web_searches".parse().unwrap();
    let uses = all(&[("web_searches", 5)]);
    assert_eq!(price.most_input(1, 1, &Permitted { uses, ..Permitted::TEXT }), Err(Unpriced(searches)));
    assert_eq!(price.cost(&uses), Err(Unpriced(searches)));
    assert_eq!(price.charge(&uses).unpriced, Some(searches), "nothing says what it costs");
    let priority = all(&[("tokens.input.cache_read.priority", 1_000_000)]);
    let Charge { cost, unpriced } = price.charge(&priority);
    assert_eq!((cost.base, unpriced.is_some()), (decimal("0.075"), true), "as in the usual tier");
    let pages =
        written(r#"{"input": "1", "output": "2", "each": {"pages.input": "3", "images.output": "4"}}"#).unwrap();
    assert_eq!(pages.charge(&all(&[("pages.output", 2)])).cost.base, decimal("6"), "as the dearest of its kind");
    assert_eq!(Price::nothing().cost(&uses), Ok(Cost::default()), "it is paid elsewhere");
}

#[test]
fn prices_that_are_none_are_refused() {
    for bad in [
        r"{}",
        r#"{"input": "1"}"#,
        r#"{"output": "1"}"#,
        r#"{"cached_input": "1", "per_million": {"tokens.input": "1"}}"#,
        r#"{"input": "1", "output": "-2"}"#,
        r#"{"input": "1000000.01", "output": "2"}"#,
        r#"{"input": "1", "output": "2", "each": {"web_searches": "1000.01"}}"#,
        r#"{"input": "1", "output": "2", "per_million": {"tokens.input": "1"}}"#,
        r#"{"input": "1", "output": "2", "each": {"tokens.input.text": "1"}}"#,
        r#"{"input": "1", "output": "2", "prise": "3"}"#,
        r#"{"input": "1", "output": "2", "band": {"above": 5, "input": "3"}}"#,
    ] {
        assert!(written(bad).is_err(), "{bad}");
    }
    let both = written(r#"{"input": "1", "output": "2", "each": {"web_searches": "0.01"}}"#).unwrap();
    assert_eq!(
        both.rates().map(|(key, rate)| format!("{key} {rate}")).collect::<Vec<_>>(),
        ["tokens.input 0.000001", "tokens.output 0.000002", "web_searches 0.01"]
    );
}

#[test]
fn a_price_is_shown_as_it_is_written_with_its_rates() {
    let shown = serde_json::to_value(gpt_6_sol()).unwrap();
    let band = serde_json::json!({"above": 272_000, "input": "4", "cached_input": "0.4", "cache_write": "5",
        "cache_write_long": "10", "output": "15"});
    assert_eq!((&shown["input"], &shown["cache_write_long"], &shown["band"]), (&"2".into(), &"5".into(), &band));
    assert_eq!(shown["rates"]["tokens.input.cache_read.above_272000"], "0.0000004");
    let shown = serde_json::to_value(&*SizeClass::B7.price()).unwrap();
    assert_eq!(shown, serde_json::json!({"rates": {"compute_seconds": "0.000072"}}));
}

#[test]
fn parts_that_are_none_are_refused() {
    assert_eq!("".parse(), Ok(Parts::default()));
    for bad in [
        " ",
        "tokens.input",
        "tokens.input=",
        "tokens.input=-1",
        "tokens.input=1@",
        "tokens.input=1@-2",
        "tokens.output=1 tokens.input=1",
        "tokens.input=1 tokens.input=1",
        "tokens.input=1  tokens.output=1",
        "limited tokens.input=1",
        "tokens.input=1 limited limited",
    ] {
        assert!(bad.parse::<Parts>().is_err(), "{bad:?}");
    }
    assert!("limited".parse::<Parts>().is_ok_and(|parts| parts.is_limited()));
}

#[test]
fn a_service_tier_may_be_written_short() {
    let band = "\"band\":{\"above\":5,\"input\":\"2\",\"output\":\"3\"}";
    let short = format!(
        "{{\"input\":\"1\",\"output\":\"2\",\"batch\":{{\"input\":\"0.5\",\"cached_input\":\"0.1\",{band}}},\
         \"flex\":{{\"output\":\"1\"}}}}"
    );
    let by_keys = "{\"input\":\"1\",\"output\":\"2\",\"per_million\":{\"tokens.input.batch\":\"0.5\",\
                   \"tokens.input.cache_read.batch\":\"0.1\",\"tokens.input.batch.above_5\":\"2\",\
                   \"tokens.output.batch.above_5\":\"3\",\"tokens.output.flex\":\"1\"}}";
    assert_eq!(written(&short), written(by_keys));
    assert!(written(&short).unwrap().has_tier(ServiceTier::Standard));
    let twice = short.replace("\"flex\"", "\"per_million\":{\"tokens.input.batch\":\"1\"},\"flex\"");
    assert!(written(&twice).unwrap_err().contains("twice"));
    for bad in ["{\"batch\":{\"input\":\"1\"}}", "{\"input\":\"1\",\"output\":\"2\",\"batch\":{\"imput\":\"1\"}}"] {
        assert!(written(bad).is_err(), "{bad}");
    }
}

#[test]
fn a_price_with_its_fee_costs_what_is_charged_and_no_fee_more() {
    let price =
        written("{\"input\":\"1\",\"output\":\"2\",\"band\":{\"above\":5,\"input\":\"2\",\"output\":\"3\"}}").unwrap();
    for used in [Quantities::plain(3, 4), Quantities::plain(6, 4)] {
        let (before, with) = (price.cost(&used).unwrap(), price.with_fee().cost(&used).unwrap());
        assert_eq!((with.base, with.fee), (before.total(), Decimal::ZERO));
    }
    let own = SizeClass::B7.price();
    assert_eq!(own.with_fee(), *own);
}
