//! Usage in many shapes, priced here and by another reader of it: the Python package `genai-prices`, which knows the
//! providers' formats and prices. Where it has an opinion ours is the same; each difference has a rule with a name, and
//! where it can be said what it would have thought of a usage that says the same in its words, it is asked that too.

#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    clippy::float_cmp,
    reason = "numbers of JSON, which are as small as tokens are"
)]

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{BufWriter, Write as _},
    process::{Command, Stdio},
    str::FromStr as _,
    sync::Arc,
};

use billing::price::{Asked, Price};
use farebox::{
    catalogue::{Catalogue, ClosedModel, Model},
    gateway::meter::report::{Capacity, Known},
};
use rust_decimal::Decimal;
use serde_json::{Value, json};
use wire::{
    format::openai,
    inference::{Event, Format, Task},
};

use crate::support::{
    python::{package, run, scripts},
    temporary,
};

const READER: &str = "genai-prices==0.2.3";
const CASES: usize = 10_000;

/// Numbers that are the same in every run (`SplitMix64`).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// From 0 to `most`.
    fn up_to(&mut self, most: u64) -> u64 {
        self.next() % (most + 1)
    }

    fn one_in(&mut self, many: u64) -> bool {
        self.up_to(many - 1) == 0
    }

    fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[usize::try_from(self.up_to(of.len() as u64 - 1)).unwrap()]
    }
}

/// An answer, and who reads it there.
struct Case {
    model: ClosedModel,
    price: Arc<Price>,
    reader: [&'static str; 2],
    answer: Value,
}

fn models() -> Vec<ClosedModel> {
    let catalogue = Catalogue::built_in().unwrap();
    // Those whose prices are by hand: of others either list may know a quantity that the other does not.
    let is_by_hand = |model: &ClosedModel| model.about.source.contains("by hand") && model.task == Task::Chat;
    let closed = catalogue.models().filter_map(|(_, model)| match model {
        Model::Closed(model) if *model.provider == *"openai" && is_by_hand(model) => Some(ClosedModel::clone(model)),
        Model::Closed(_) | Model::Open(_) => None,
    });
    closed.collect()
}

/// What a server may write in a number's place.
fn odd(numbers: &mut Numbers) -> Value {
    let odd =
        [json!(null), json!(-3), json!("12"), json!(0.5), json!(true), json!([]), json!({}), json!(1e30), json!(0)];
    numbers.pick(&odd).clone()
}

/// A case of one of the shapes that are found in the wild.
fn case(numbers: &mut Numbers, models: &[ClosedModel]) -> Case {
    let model = numbers.pick(models).clone();
    let long = if numbers.one_in(3) { u64::from(model.context) - 1 } else { 3_000 };
    let prompt = 1 + numbers.up_to(long.min(u64::from(model.context) - 1));
    let read = if numbers.one_in(3) { 0 } else { numbers.up_to(prompt) };
    let written = if numbers.one_in(2) { 0 } else { numbers.up_to(prompt - read) };
    let output = 1 + numbers.up_to(u64::from(model.max_output).min(2_000) - 1);
    let thoughts = if numbers.one_in(2) { 0 } else { numbers.up_to(output) };
    let audio = if numbers.one_in(8) { numbers.up_to(prompt - read) } else { 0 };
    let base = json!({"prompt_tokens": prompt, "completion_tokens": output, "total_tokens": prompt + output});
    let with = |more: Value| {
        let mut usage = base.clone();
        usage.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        usage
    };
    let details = json!({"prompt_tokens_details": {"cached_tokens": read, "cache_write_tokens": written, "audio_tokens": audio},
        "completion_tokens_details": {"reasoning_tokens": thoughts, "accepted_prediction_tokens": 0}});
    let at = |usage: Value| json!({"usage": usage});
    let (openai, deepseek, moonshot) = (["openai", "chat"], ["deepseek", "chat"], ["moonshotai", "chat"]);
    let (reader, mut answer) = match numbers.up_to(19) {
        0..=6 => (openai, at(with(details))),
        7 => (openai, at(base.clone())),
        8 => {
            let beside = json!({"total_tokens": prompt + output + thoughts, "completion_tokens_details": {"reasoning_tokens": thoughts}});
            (*numbers.pick(&[["x-ai", "chat"], openai]), at(with(beside)))
        }
        9 => {
            let cache = json!({"prompt_cache_hit_tokens": read, "prompt_cache_miss_tokens": prompt - read});
            let both = json!({"prompt_cache_hit_tokens": read, "prompt_tokens_details": {"cached_tokens": read}});
            (deepseek, at(with(numbers.pick(&[cache, both]).clone())))
        }
        10 => {
            let both = json!({"cached_tokens": read, "prompt_tokens_details": {"cached_tokens": read, "cache_write_tokens": written}});
            (moonshot, at(with(numbers.pick(&[json!({"cached_tokens": read}), both]).clone())))
        }
        11 => {
            let queue = json!({"id": "req_1", "usage": with(json!({"queue_time": 0.01, "total_time": 0.5}))});
            let both = json!({"usage": base, "x_groq": queue});
            (openai, numbers.pick(&[json!({"x_groq": queue}), both]).clone())
        }
        12 | 13 => {
            let long = numbers.up_to(written);
            let usage = json!({"input_tokens": prompt - read - written, "cache_read_input_tokens": read,
                "cache_creation_input_tokens": written, "output_tokens": output,
                "cache_creation": {"ephemeral_5m_input_tokens": written - long, "ephemeral_1h_input_tokens": long}});
            (["anthropic", "default"], at(usage))
        }
        14 => (["databricks", "chat"], at(with(json!({"cache_read_input_tokens": read})))),
        15 | 16 => {
            let usage = json!({"input_tokens": prompt, "output_tokens": output, "total_tokens": prompt + output,
                "input_tokens_details": {"cached_tokens": read, "cache_write_tokens": written},
                "output_tokens_details": {"reasoning_tokens": thoughts}});
            (["openai", "responses"], at(usage))
        }
        17 => {
            let more = json!({"total_tokens": numbers.up_to(2 * prompt + output), "num_sources_used": 3,
                "prompt_tokens_details": {"cached_tokens": numbers.up_to(2 * prompt)}});
            (openai, at(with(more)))
        }
        18 => (openai, json!({"choices": [{"index": 0, "message": {"content": "x"}, "usage": with(details)}]})),
        _ => (openai, at(json!({"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}))),
    };
    if numbers.one_in(3) {
        let names = [
            "/usage/prompt_tokens",
            "/usage/completion_tokens",
            "/usage/total_tokens",
            "/usage/prompt_tokens_details",
            "/usage/prompt_tokens_details/cached_tokens",
            "/usage/completion_tokens_details/reasoning_tokens",
            "/usage/prompt_tokens_details/cache_write_tokens",
        ];
        let name: &&str = numbers.pick(&names);
        if let Some(place) = answer.pointer_mut(name) {
            let whole = place.as_u64().map(|whole| whole as f64);
            *place = whole.filter(|_| numbers.one_in(2)).map_or_else(|| odd(numbers), Value::from);
        }
    }
    if answer.get("choices").is_none() {
        answer["choices"] = json!([{"index": 0, "message": {"role": "assistant", "content": "x"}}]);
    }
    let price = model.price.clone().unwrap();
    Case { model, price, reader, answer }
}

/// What is charged for it before the fee, where all of it is reported and believed.
fn ours(case: &Case) -> Option<Decimal> {
    let events = openai::read_answer(Format::OpenAiChat, case.answer.to_string().as_bytes());
    let (input, output) = (case.model.context.into(), case.model.max_output.into());
    let can =
        Capacity { input, output, searches: u64::MAX, fetches: u64::MAX, search_units: 0, milliseconds: 0, images: 0 };
    let mut known = Known::default();
    for event in events {
        if let Event::Reported(report) = event {
            known.hear(*report, 0, can);
        }
    }
    let used = known.used(0, 0, Asked::default(), can, || 0);
    (!used.estimated).then(|| case.price.charge(&used.quantities).cost.base.normalize())
}

/// Why we differ from the other reader, and what it would have to read to agree.
fn rule(case: &Case) -> Option<(&'static str, Option<Value>)> {
    if let Some(within) = case.answer.pointer("/x_groq/usage") {
        return Some(("of what is said twice the larger counts", Some(json!({"usage": within}))));
    }
    let usage = &case.answer["usage"];
    let number = |path: &str| usage.pointer(path).and_then(Value::as_f64).unwrap_or(0.0);
    let whole = |path: &str| number(path) as u64;
    let put = |changes: &[(&str, Value)]| {
        let mut answer = case.answer.clone();
        for (path, value) in changes {
            let (parent, name) = path.rsplit_once('/').unwrap();
            answer["usage"].pointer_mut(parent).unwrap()[name] = value.clone();
        }
        Some(answer)
    };
    let numbers = ["/prompt_tokens", "/completion_tokens"].map(number);
    let (sum, total, thoughts) =
        (numbers[0] + numbers[1], number("/total_tokens"), number("/completion_tokens_details/reasoning_tokens"));
    let named = ["/prompt_cache_hit_tokens", "/cached_tokens"].map(whole).into_iter().max().unwrap_or(0);
    let is_none = |number: f64| number.fract() != 0.0 || number >= 9e15;
    let parts = ["/prompt_tokens_details/cached_tokens", "/prompt_tokens_details/cache_write_tokens"];
    if let Some(part) = parts.into_iter().find(|part| is_none(number(part))) {
        return Some(("a part of a token is none", put(&[(part, json!(if part == parts[0] { named } else { 0 }))])));
    }
    if numbers.into_iter().any(is_none) {
        return Some(("what is not a count is counted here", None));
    }
    if sum == 0.0 && number("/input_tokens") == 0.0 {
        return Some(("all zeros are absent", None));
    }
    if case.reader[0] == "x-ai" && (thoughts > 0.0 || is_none(thoughts)) && total != sum + thoughts {
        let within = put(&[("/completion_tokens_details/reasoning_tokens", json!(0))]);
        return Some(("reasoning is beside the output only where the total says so", within));
    }
    if case.reader[0] != "x-ai" && thoughts > 0.0 && total == sum + thoughts {
        let output = json!((numbers[1] + thoughts) as u64);
        return Some((
            "reasoning is beside the output where the total says so",
            put(&[("/completion_tokens", output)]),
        ));
    }
    if named > whole(parts[0]) {
        let details = json!({"cached_tokens": named, "cache_write_tokens": whole(parts[1])});
        return Some(("a cache is read under other names too", put(&[("/prompt_tokens_details", details)])));
    }
    let kept = whole("/cache_creation/ephemeral_1h_input_tokens");
    (kept > 0).then_some(("a write that is kept for longer has its own price", None))
}

/// The other reader's prices of cases, and of what each was rewritten to.
fn theirs(cases: &[Case]) -> Vec<[Option<Decimal>; 2]> {
    let folder = temporary("oracle");
    fs::create_dir_all(&folder).unwrap();
    let path = folder.join("cases.jsonl");
    let mut file = BufWriter::new(File::create(&path).unwrap());
    for case in cases {
        let rewritten = rule(case).and_then(|(_, rewritten)| rewritten);
        let line =
            json!({"reader": case.reader, "model": &*case.model.id, "answer": case.answer, "rewritten": rewritten});
        writeln!(file, "{line}").unwrap();
    }
    drop(file);
    let mut command = Command::new("python3");
    command.arg(scripts().join("price_usage.py")).env("PYTHONPATH", package(READER));
    let output = run(command.stdin(Stdio::from(File::open(&path).unwrap())));
    fs::remove_dir_all(&folder).unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let price = |word: &str| (word != "-").then(|| Decimal::from_str(word).unwrap().normalize());
    let line = |line: &str| {
        let mut words = line.split(' ').map(price);
        [words.next().unwrap(), words.next().unwrap()]
    };
    text.lines().map(line).collect()
}

#[test]
fn usage_is_priced_as_another_reader_does_and_each_difference_has_a_rule() {
    let (models, mut numbers) = (models(), Numbers(2_026));
    let cases: Vec<_> = (0..CASES).map(|_| case(&mut numbers, &models)).collect();
    let theirs = theirs(&cases);
    assert_eq!(theirs.len(), CASES);
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for (case, [theirs, rewritten]) in cases.iter().zip(theirs) {
        let ours = ours(case);
        let why = match (ours, theirs) {
            (_, None) => "no opinion",
            (Some(ours), Some(theirs)) if ours == theirs => "the same",
            (ours, Some(theirs)) => {
                let said =
                    || format!("{:?} {} {}: ours {ours:?}, theirs {theirs}", case.reader, case.model.id, case.answer);
                let (name, _) = rule(case).unwrap_or_else(|| panic!("no rule: {}", said()));
                if let (Some(ours), Some(rewritten)) = (ours, rewritten) {
                    assert_eq!(ours, rewritten, "{name}: {}", said());
                }
                name
            }
        };
        *counts.entry(why).or_default() += 1;
    }
    println!("{counts:#?}");
    assert!(counts["the same"] > CASES / 2, "{counts:#?}");
    for rule in [
        "a part of a token is none",
        "what is not a count is counted here",
        "all zeros are absent",
        "of what is said twice the larger counts",
        "reasoning is beside the output only where the total says so",
        "reasoning is beside the output where the total says so",
        "a cache is read under other names too",
        "a write that is kept for longer has its own price",
    ] {
        assert!(counts.contains_key(rule), "a rule that nothing needs: {rule}: {counts:#?}");
    }
}
