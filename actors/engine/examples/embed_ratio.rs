//! Measures the cost of the engine's own work on vectors: batches of 32 texts through a worker (queue, padding, pooling,
//! events), compared with a bare loop of ONNX Runtime calls on the same tokens with as many threads, in alternating rounds.
//! Both make the vectors' means and lengths.
//!
//!     cargo run --release -p engine --example embed_ratio -- <libonnxruntime.so> <model's folder> [threads] [rounds]
//!
//! The folder is a model of texts in Hugging Face's form.

use std::path::{Path, PathBuf};
use std::time::Instant;

use engine::embedding::encoder::Encoder;
use engine::embedding::tokenizer::{PreparedTexts, TextTokenizer};
use engine::embedding::worker::EncoderHandle;
use engine::import::MODEL_FILE;
use engine::runtime::Runtime;
use engine::worker::{Job, Share, StopSignal};
use ort::session::{Session, SessionInputValue};
use ort::value::Tensor;
use tokio::sync::mpsc;
use wire::format::openai::read_embedding;
use wire::inference::{Event, Made};

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

const TEXTS: usize = 32;
/// Batches of a round.
const BATCHES: usize = 12;

fn main() -> Outcome<()> {
    engine::telemetry::turn_off()?;
    let arguments: Vec<String> = std::env::args().collect();
    let [_, library, folder, rest @ ..] = &arguments[..] else {
        return Err("usage: embed_ratio <libonnxruntime.so> <model's folder> [threads] [rounds]".into());
    };
    let number = |at: usize, default: usize| rest.get(at).map_or(Ok(default), |text| text.parse());
    let (threads, rounds) = (number(0, 2)?, number(1, 7)?);
    let (library, folder) = (PathBuf::from(library), Path::new(folder));
    let runtime = Runtime::load(&library)?;
    let tokenizer = TextTokenizer::load(folder)?;
    let file = folder.join(MODEL_FILE);
    let encoder = Encoder::load(&runtime, &file, threads, tokenizer.form())?;
    let worker = EncoderHandle::spawn("measured", encoder, 4, |_| {})?;
    let mut bare = Session::builder(runtime.environment())?
        .with_intra_threads(threads)
        .map_err(|error| error.to_string())?
        .with_inter_threads(1)
        .map_err(|error| error.to_string())?
        .commit_from_file(&file)?;
    let texts: Vec<String> = (0..TEXTS)
        .map(|at| {
            format!(
                "In the year {at} the bridge over the river was built of stone, and {}",
                "people came and ".repeat(4)
            )
        })
        .collect();
    let body = serde_json::json!({"model": "m", "input": texts}).to_string();
    let asked = tokenizer.prepare(&read_embedding(body.as_bytes()).map_err(|error| format!("{error:?}"))?);
    let asked = asked.map_err(|failure| failure.to_string())?;
    let (one, other) = (through_worker(&worker, &asked)?.1, through_session(&mut bare, &asked)?.1);
    let apart = one.iter().flatten().zip(other.iter().flatten()).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    println!("{TEXTS} texts of {} tokens; vectors at most {apart} apart", asked.texts[0].len());
    let mut ratios = Vec::new();
    for round in 1..=rounds {
        let (ours, theirs) = (through_worker(&worker, &asked)?.0, through_session(&mut bare, &asked)?.0);
        println!("round {round}: engine {ours:.1} texts/s, bare loop {theirs:.1} texts/s, ratio {:.3}", ours / theirs);
        ratios.push(ours / theirs);
    }
    ratios.sort_by(f64::total_cmp);
    println!("{threads} threads: median ratio {:.3}", ratios[ratios.len() / 2]);
    Ok(())
}

/// Texts a second since `from`.
fn speed(from: Instant) -> Outcome<f64> {
    Ok(f64::from(u32::try_from(TEXTS * BATCHES)?) / from.elapsed().as_secs_f64())
}

/// Texts a second through a worker, and the last vectors.
fn through_worker(worker: &EncoderHandle, asked: &PreparedTexts) -> Outcome<(f64, Vec<Vec<f32>>)> {
    let (from, mut last) = (Instant::now(), Vec::new());
    for _ in 0..BATCHES {
        let (events, mut receiver) = mpsc::channel(64);
        let job = Job { asked: asked.clone(), share: Share { of: 1, weight: 1 }, events, stop: StopSignal::new() };
        worker.submit(job).map_err(|_| "refused")?;
        while let Some(event) = receiver.blocking_recv() {
            match event {
                Event::Delta(delta) => {
                    if let Some(Made::Vectors(vectors)) = delta.made.map(|made| *made) {
                        last = vectors;
                    }
                }
                Event::Failed(failure) => return Err(failure.into()),
                _ => {}
            }
        }
    }
    Ok((speed(from)?, last))
}

/// The same with ONNX Runtime alone.
fn through_session(session: &mut Session, asked: &PreparedTexts) -> Outcome<(f64, Vec<Vec<f32>>)> {
    let longest = asked.texts.iter().map(Vec::len).max().unwrap_or(0);
    let has_types = session.inputs().iter().any(|input| input.name() == "token_type_ids");
    let output = session.outputs()[0].name().to_owned();
    let (from, mut last) = (Instant::now(), Vec::new());
    for _ in 0..BATCHES {
        let (mut ids, mut mask) = (Vec::new(), Vec::new());
        for text in &asked.texts {
            let rest = longest - text.len();
            ids.extend(text.iter().map(|&id| i64::from(id)).chain(std::iter::repeat_n(0, rest)));
            mask.extend(std::iter::repeat_n(1_i64, text.len()).chain(std::iter::repeat_n(0, rest)));
        }
        let shape = [asked.texts.len(), longest];
        let mut inputs: Vec<(&str, SessionInputValue<'_>)> = vec![
            ("input_ids", Tensor::from_array((shape, ids))?.into()),
            ("attention_mask", Tensor::from_array((shape, mask))?.into()),
        ];
        if has_types {
            inputs.push(("token_type_ids", Tensor::from_array((shape, vec![0_i64; shape[0] * shape[1]]))?.into()));
        }
        let outputs = session.run(inputs)?;
        let (form, states) = outputs.get(&output).ok_or("no states")?.try_extract_tensor::<f32>()?;
        let width = usize::try_from(form[2])?;
        last.clear();
        for (text, states) in asked.texts.iter().zip(states.chunks_exact(longest * width)) {
            let mut vector = vec![0.0_f32; width];
            for state in states[..text.len() * width].chunks_exact(width) {
                vector.iter_mut().zip(state).for_each(|(sum, number)| *sum += number);
            }
            let length = vector.iter().map(|number| number * number).sum::<f32>().sqrt();
            for number in &mut vector {
                *number /= length;
            }
            last.push(vector);
        }
    }
    Ok((speed(from)?, last))
}
