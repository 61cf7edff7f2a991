//! Usage of Anthropic, Google, Mistral and Cohere, priced here and by the Python package `genai-prices` with its own prices: the same,
//! but for a rule with a name.

#![expect(clippy::cast_precision_loss, reason = "numbers of JSON, which are as small as tokens are")]

use std::{
    collections::BTreeMap,
    io::Write as _,
    process::{Command, Stdio},
    str::FromStr as _,
    sync::Arc,
};

use billing::price::Asked;
use farebox::{
    catalogue::{Catalogue, ClosedModel, Model},
    gateway::meter::report::{Capacity, Known},
};
use rust_decimal::Decimal;
use serde_json::{Value, json};
use wire::{
    format::{ProviderFormat, anthropic::Anthropic, cohere::Cohere, gemini::Gemini, mistral::Mistral},
    inference::{Event, Format},
};

use crate::support::{
    python::{package, scripts},
    temporary,
};

const READER: &str = "genai-prices==0.2.3";
const CASES: u64 = 4_000;
const MODELS: [&str; 4] = ["gemini-3.8-flash", "mistral-medium-3-5", "command-a-03-2025", "claude-opus-5-5"];

/// A number that is the same in every run (`SplitMix64`), from 0 to `most`.
fn number(place: u64, salt: u64, most: u64) -> u64 {
    let mut mixed = place.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ salt.wrapping_mul(0xd6e8_feb8_6659_fd93);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (mixed ^ (mixed >> 31)) % (most + 1)
}

/// A count as some server writes it: whole, or as a float.
fn written(place: u64, count: u64) -> Value {
    if place.is_multiple_of(5) { json!(count as f64) } else { json!(count) }
}

/// A case: the model, the format, and the answer.
fn case(place: u64) -> (&'static str, &'static dyn ProviderFormat, Value) {
    let of = |salt: u64, most: u64| number(place, salt, most);
    let prompt = 1 + of(1, 40_000);
    let (read, output) = (of(2, prompt), 1 + of(3, 2_000));
    match place % 4 {
        0 => {
            let (tools, thoughts) = (of(4, 900) * of(5, 1), of(6, 4_000) * of(7, 1));
            let total = prompt + tools + thoughts + output;
            let mut usage = json!({"promptTokenCount": prompt, "totalTokenCount": total,
                "promptTokensDetails": [{"modality": "TEXT", "tokenCount": prompt}]});
            for (name, count) in [
                ("cachedContentTokenCount", read),
                ("toolUsePromptTokenCount", tools),
                ("thoughtsTokenCount", thoughts),
            ] {
                if count > 0 {
                    usage[name] = count.into();
                }
            }
            if thoughts > 0 || of(8, 9) > 0 {
                usage["candidatesTokenCount"] = output.into();
            }
            let candidate = json!({"content": {"parts": [{"text": "x"}]}, "finishReason": "STOP"});
            (MODELS[0], &Gemini, json!({"candidates": [candidate], "usageMetadata": usage}))
        }
        1 => {
            let usage = json!({"prompt_tokens": prompt, "completion_tokens": output, "total_tokens": prompt + output,
                "prompt_tokens_details": {"cached_tokens": read}});
            let choice = json!({"index": 0, "message": {"content": "x"}, "finish_reason": "stop"});
            (MODELS[1], &Mistral, json!({"choices": [choice], "usage": usage}))
        }
        2 => {
            let billed = json!({"input_tokens": written(place, prompt), "output_tokens": written(place, output)});
            let usage = json!({"billed_units": billed, "tokens": {"input_tokens": prompt + 500, "output_tokens": output + 5}, "cached_tokens": read});
            let message = json!({"role": "assistant", "content": [{"type": "text", "text": "x"}]});
            (MODELS[2], &Cohere, json!({"finish_reason": "COMPLETE", "message": message, "usage": usage}))
        }
        _ => {
            // Writes for an hour have no price of their own there.
            let (written, searches) = (of(4, 9_000) * of(5, 1), of(6, 3) * of(7, 1));
            let mut usage = json!({"input_tokens": prompt, "output_tokens": output, "service_tier": "standard"});
            for (name, count) in [("cache_read_input_tokens", read), ("cache_creation_input_tokens", written)] {
                if count > 0 {
                    usage[name] = count.into();
                }
            }
            if written > 0 && searches > 0 {
                usage["cache_creation"] = json!({"ephemeral_5m_input_tokens": written, "ephemeral_1h_input_tokens": 0});
            }
            let content = json!([{"type": "text", "text": "x"}]);
            let answer = json!({"id": "m", "type": "message", "role": "assistant", "content": content, "model": "m",
                "stop_reason": "end_turn", "stop_sequence": null, "usage": usage});
            (MODELS[3], &Anthropic, answer)
        }
    }
}

/// What is charged for it before the fee.
fn ours(model: &ClosedModel, format: &dyn ProviderFormat, answer: &Value) -> Decimal {
    let (input, output) = (model.context.into(), model.max_output.into());
    let can =
        Capacity { input, output, searches: u64::MAX, fetches: u64::MAX, search_units: 0, milliseconds: 0, images: 0 };
    let mut known = Known::default();
    for event in format.read_whole(Format::OpenAiChat, answer.to_string().as_bytes()) {
        if let Event::Reported(report) = event {
            known.hear(*report, 0, can);
        }
    }
    let used = known.used(0, 0, Asked::default(), can, || 0);
    assert!(!used.estimated, "{answer}");
    model.price.as_ref().unwrap().charge(&used.quantities).cost.base.normalize()
}

/// The other reader's prices.
fn theirs(cases: &[(&'static str, &'static dyn ProviderFormat, Value)]) -> Vec<Option<Decimal>> {
    let path = temporary("other-oracle");
    let mut file = std::io::BufWriter::new(std::fs::File::create(&path).unwrap());
    for (model, _, answer) in cases {
        let provider =
            ["google", "mistral", "cohere", "anthropic"][MODELS.iter().position(|known| known == model).unwrap()];
        let line = json!({"reader": [provider, "default"], "prices": provider, "model": model, "answer": answer});
        writeln!(file, "{line}").unwrap();
    }
    drop(file);
    let mut command = Command::new("python3");
    command.arg(scripts().join("price_usage.py")).env("PYTHONPATH", package(READER));
    let output = command.stdin(Stdio::from(std::fs::File::open(&path).unwrap())).output().unwrap();
    std::fs::remove_file(&path).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let price = |line: &str| Decimal::from_str(line.split(' ').next().unwrap()).ok().map(|price| price.normalize());
    text.lines().map(price).collect()
}

#[test]
fn usage_of_other_providers_is_priced_as_another_reader_does() {
    let catalogue = Catalogue::built_in().unwrap();
    let find = |id: &str| match catalogue.find(id) {
        Ok(Model::Closed(model)) => Arc::clone(&model),
        other => panic!("{id}: {other:?}"),
    };
    let cases: Vec<_> = (0..CASES).map(case).collect();
    let theirs = theirs(&cases);
    assert_eq!(theirs.len(), cases.len());
    let mut counts: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for ((model, format, answer), theirs) in cases.iter().zip(theirs) {
        let ours = ours(&find(model), *format, answer);
        let usage = &answer["usageMetadata"];
        let is_unnamed = usage.is_object() && usage.get("candidatesTokenCount").is_none();
        let why = match theirs {
            Some(theirs) if theirs == ours => "the same",
            _ if is_unnamed => "an output that is not named is what the total has beside its input",
            theirs => panic!("{model} {answer}: ours {ours}, theirs {theirs:?}"),
        };
        *counts.entry((model, why)).or_default() += 1;
    }
    println!("{counts:#?}");
    assert!(MODELS.iter().all(|model| counts[&(*model, "the same")] > 800), "{counts:#?}");
}
