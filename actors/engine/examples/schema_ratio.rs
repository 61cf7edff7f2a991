//! Measures what it costs to hold answers to a schema: the tree of the vocabulary (once for a model), the first mask of a
//! grammar alone, the preparation of a first request with it and of later ones, for which it is kept, and tokens a second beside the same model's without a schema, in
//! alternating rounds.
//!
//!     cargo run --release -p engine --example schema_ratio -- <libonnxruntime.so> <file.gguf> [threads] [rounds]

#[path = "ratio/answered.rs"]
mod answered;
mod ratio;
#[path = "ratio/resident.rs"]
mod resident;

use std::time::{Duration, Instant};

use engine::grammar::measured::Unmasked;
use engine::model::Model;
use engine::prepare::Prepared;
use engine::runtime::Runtime;
use engine::worker::{EngineHandle, Settings};
use serde_json::{Value, json};
use wire::format::openai::read_chat;
use wire::inference::Request;

use answered::speed;
use ratio::{Outcome, PROMPT, Stage, greedy};

const TOKENS: u32 = 128;

fn main() -> Outcome<()> {
    ratio::run("schema_ratio", measure)
}

/// Ordinary schemas, by their names.
fn schemas() -> [(&'static str, Value); 3] {
    let person = json!({"type": "object", "required": ["name", "email", "born", "tags"], "additionalProperties": false, "properties": {
        "name": {"type": "string"}, "email": {"type": "string", "format": "email"}, "born": {"type": "string", "format": "date"},
        "tags": {"type": "array", "items": {"enum": ["new", "old", "paid", "late"]}}}});
    let list = json!({"type": "object", "required": ["people"], "additionalProperties": false, "$defs": {"person": person},
        "properties": {"people": {"type": "array", "minItems": 40, "items": {"$ref": "#/$defs/person"}}}});
    let text = json!({"type": "object", "required": ["story"], "additionalProperties": false,
        "properties": {"story": {"type": "string", "minLength": 2000}}});
    [("an object", person), ("a list of objects", list), ("a long text", text)]
}

fn chat(fields: &Value) -> Outcome<Request> {
    let mut body = json!({"model": "m", "messages": [{"role": "user", "content": PROMPT}]});
    if let (Some(body), Some(fields)) = (body.as_object_mut(), fields.as_object()) {
        body.extend(fields.clone());
    }
    Ok(read_chat(body.to_string().as_bytes())?)
}

fn held(schema: &Value) -> Outcome<Request> {
    chat(&json!({"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": schema}}}))
}

fn measure(stage: &Stage) -> Outcome<()> {
    let runtime = Runtime::load(&stage.library)?;
    let model = Model::load(&runtime, "measured", &stage.folder, stage.threads)?;
    let tokenizer = model.tokenizer();
    let timed = |request: &Request| -> Outcome<(Prepared, Duration)> {
        let began = Instant::now();
        Ok((tokenizer.prepare(request)?, began.elapsed()))
    };
    let free = chat(&json!({}))?;
    timed(&free)?;
    let (before, (_, first)) = (resident::mib()?, timed(&held(&json!({"type": "object"}))?)?);
    println!("the first request: {first:.1?}, {:.1} MiB more", resident::mib()? - before);
    let (_, plain) = timed(&free)?;
    let worker = EngineHandle::spawn(model, Settings::default(), |_| {})?;
    for (name, schema) in schemas() {
        let mut masks = Vec::new();
        for _ in 0..9 {
            let mut grammar = Unmasked::of(&tokenizer, &schema.to_string())?;
            let began = Instant::now();
            grammar.first_mask()?;
            masks.push(began.elapsed());
        }
        masks.sort();
        println!("{name}: the first mask alone takes {:.2?}, at the most {:.2?}", masks[4], masks[8]);
        let (_, cold) = timed(&held(&schema)?)?;
        let mut times = (0..9).map(|_| timed(&held(&schema)?).map(|(_, took)| took)).collect::<Outcome<Vec<_>>>()?;
        times.sort();
        println!("{name}: prepared in {cold:.2?}, and again in {:.2?} (without a schema {plain:.2?})", times[4]);
        let mut prepared = (timed(&free)?.0, timed(&held(&schema)?)?.0);
        (prepared.0.generation, prepared.1.generation) = (greedy(TOKENS), greedy(TOKENS));
        speed(&worker, &prepared.1)?;
        let mut ratios = Vec::new();
        for _ in 0..stage.rounds {
            let (without, with) = (speed(&worker, &prepared.0)?, speed(&worker, &prepared.1)?);
            ratios.push((with.0 / without.0, with, without));
        }
        ratios.sort_by(|a, b| a.0.total_cmp(&b.0));
        let (ratio, with, without) = ratios[ratios.len() / 2];
        println!(
            "{name}: {:.1} tokens/s of {} tokens, {:.1} without a schema: median ratio {ratio:.3}",
            with.0, with.1, without.0
        );
    }
    Ok(())
}
