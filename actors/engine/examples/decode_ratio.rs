//! Measures the cost of the engine's own work: tokens a second through a worker (queue, sampling, text, events),
//! compared with a bare loop of ONNX Runtime calls on the same model with as many threads, in alternating rounds.
//!
//!     cargo run --release -p engine --example decode_ratio -- <libonnxruntime.so> <file.gguf> [threads] [rounds]

#[path = "ratio/answered.rs"]
mod answered;
#[path = "ratio/bare.rs"]
mod bare;
mod ratio;

use std::time::Instant;

use engine::model::Model;
use engine::prepare::Prepared;
use engine::runtime::Runtime;
use engine::tokenizer::Special;
use engine::worker::{EngineHandle, Settings};
use ort::memory::Allocator;
use ort::session::{Session, SessionInputValue};
use ort::value::{DynValue, Tensor};

use answered::speed;
use ratio::{Outcome, PROMPT, Stage, greedy};

const TOKENS: usize = 128;

fn main() -> Outcome<()> {
    ratio::run("decode_ratio", measure)
}

fn measure(stage: &Stage) -> Outcome<()> {
    let (threads, rounds) = (stage.threads, stage.rounds);
    let runtime = Runtime::load(&stage.library)?;
    let from = Instant::now();
    let model = Model::load(&runtime, "measured", &stage.folder, threads)?;
    println!("loaded in {:.2} s", from.elapsed().as_secs_f64());
    let prompt = model.tokenizer().encode(PROMPT, Special::Added)?;
    let worker = EngineHandle::spawn(model, Settings::default(), |_| {})?;
    let mut bare = bare::session(stage, &runtime)?;
    let asked = Prepared { generation: greedy(u32::try_from(TOKENS)?), prompt: prompt.clone(), ..Prepared::default() };
    speed(&worker, &asked)?;
    through_session(&mut bare, &prompt)?;
    let (mut ratios, mut speeds) = (Vec::new(), Vec::new());
    for round in 1..=rounds {
        let (ours, theirs) = (speed(&worker, &asked)?.0, through_session(&mut bare, &prompt)?);
        println!(
            "round {round}: engine {ours:.1} tokens/s, bare loop {theirs:.1} tokens/s, ratio {:.3}",
            ours / theirs
        );
        ratios.push(ours / theirs);
        speeds.push((ours, theirs));
    }
    // On a busy machine the fastest rounds are the most reliable: nothing makes a loop faster than it is.
    let fastest = |of: fn(&(f64, f64)) -> f64| speeds.iter().map(of).fold(0.0, f64::max);
    let (ours, theirs) = (fastest(|pair| pair.0), fastest(|pair| pair.1));
    ratios.sort_by(f64::total_cmp);
    let median = ratios[ratios.len() / 2];
    println!("{threads} threads: median ratio {median:.3}; fastest {ours:.1} / {theirs:.1} = {:.3}", ours / theirs);
    Ok(())
}

/// The same with ONNX Runtime alone: each output is the next input, chosen greedily.
fn through_session(session: &mut Session, prompt: &[u32]) -> Outcome<f64> {
    let names: Vec<String> = session.inputs().iter().map(|input| input.name().to_owned()).collect();
    let mut past: Vec<(String, DynValue)> = Vec::new();
    for name in names.iter().filter(|name| name.starts_with("past_key_values.")) {
        past.push((name.clone(), Tensor::<f32>::new(&Allocator::default(), [1_i64, 3, 0, 64])?.into_dyn()));
    }
    let mut tokens: Vec<i64> = prompt.iter().map(|&token| i64::from(token)).collect();
    let mut total = 0;
    let mut first = None;
    for _ in 0..TOKENS {
        total += tokens.len();
        let mut inputs: Vec<(String, SessionInputValue<'_>)> = Vec::new();
        let presents: Vec<String> = past.iter().map(|(name, _)| name.replace("past_key_values", "present")).collect();
        let pasts: Vec<String> = past.iter().map(|(name, _)| name.clone()).collect();
        inputs.extend(past.drain(..).map(|(name, value)| (name, value.into())));
        inputs.push(("input_ids".to_owned(), Tensor::from_array(([1, tokens.len()], tokens))?.into()));
        inputs.push(("attention_mask".to_owned(), Tensor::from_array(([1, total], vec![1_i64; total]))?.into()));
        let mut outputs = session.run(inputs)?;
        for (past_name, present) in pasts.into_iter().zip(presents) {
            past.push((past_name, outputs.remove(present).ok_or("no present")?));
        }
        let (shape, logits) = outputs.get("logits").ok_or("no logits")?.try_extract_tensor::<f32>()?;
        let width = usize::try_from(shape[2])?;
        let mut best = (0, f32::NEG_INFINITY);
        for (at, &score) in logits[logits.len() - width..].iter().enumerate() {
            if score > best.1 && at != 0 && at != 2 {
                best = (at, score);
            }
        }
        tokens = vec![i64::try_from(best.0)?];
        first.get_or_insert_with(Instant::now);
    }
    let elapsed = first.map_or(f64::NAN, |first| first.elapsed().as_secs_f64());
    Ok(f64::from(u32::try_from(TOKENS - 1)?) / elapsed)
}
