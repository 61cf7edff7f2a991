//! Measures what running many streams at once is worth: tokens a second of 4 and of 8 streams in all, compared with
//! one stream, and with a bare batched loop of ONNX Runtime calls over 8 sequences; and how much longer the time
//! between tokens of 4 streams gets while a long prompt joins them. All cases alternate in rounds of one run.
//!
//!     cargo run --release -p engine --example batch_ratio -- <libonnxruntime.so> <file.gguf> [threads] [rounds]

#[path = "ratio/bare.rs"]
mod bare;
mod ratio;

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use engine::model::Model;
use engine::prepare::Prepared;
use engine::runtime::Runtime;
use engine::tokenizer::{Special, Tokenizer};
use engine::worker::{EngineHandle, Job, Settings, Share, StopSignal};
use ort::memory::{AllocationDevice, Allocator, AllocatorType, MemoryInfo, MemoryType};
use ort::session::Session;
use ort::value::Tensor;
use tokio::sync::mpsc;
use wire::inference::Event;

use ratio::{Outcome, PROMPT, Stage, greedy};

const TOKENS: u32 = 128;
/// Tokens of the long prompt.
const LONG: usize = 1_500;
/// The shape of the model's cache: layers, heads, size of a head.
const CACHE: (usize, i64, i64) = (30, 3, 64);

fn main() -> Outcome<()> {
    ratio::run("batch_ratio", measure)
}

/// A worker, and the number of streams so far: each has an account of its own, so that no prompt was read before.
struct Engine {
    worker: EngineHandle,
    tokenizer: Arc<Tokenizer>,
    streams: u128,
}

/// When each piece of a stream came.
type Times = Vec<Instant>;

fn measure(stage: &Stage) -> Outcome<()> {
    let (threads, rounds) = (stage.threads, stage.rounds);
    let runtime = Runtime::load(&stage.library)?;
    let model = Model::load(&runtime, "measured", &stage.folder, threads)?;
    let tokenizer = model.tokenizer();
    let worker = EngineHandle::spawn(model, Settings::default(), |_| {})?;
    let mut engine = Engine { worker, tokenizer, streams: 0 };
    let mut bare = bare::session(stage, &runtime)?;
    engine.together(8, 16)?;
    let mut found: Vec<[f64; 6]> = Vec::new();
    for round in 1..=rounds {
        let [one, four, eight] = [1, 4, 8].map(|count| engine.together(count, TOKENS).map(|streams| speed(&streams)));
        let (one, four, eight) = (one?, four?, eight?);
        let prompt = engine.tokenizer.encode(PROMPT, Special::Added)?;
        let loop_of_8 = bare_loop(&mut bare, &prompt, 8)?;
        let spread = spread(&engine.together(8, TOKENS)?);
        let joined = engine.joined()?;
        println!(
            "round {round}: 1 stream {one:.1} tokens/s, 4 in all {four:.1}, 8 in all {eight:.1}, bare loop of 8 \
             {loop_of_8:.1}; p99 between tokens at 8 {spread:.2}x the median; a long prompt joins 4: {joined:.2}x"
        );
        found.push([four / one, eight / one, eight / loop_of_8, loop_of_8 / one, spread, joined]);
    }
    let median = |at: usize| {
        let mut all: Vec<f64> = found.iter().map(|ratios| ratios[at]).collect();
        all.sort_by(f64::total_cmp);
        all[all.len() / 2]
    };
    println!("{threads} threads, medians of {rounds} rounds:");
    println!("  4 streams in all, of one          {:.2}", median(0));
    println!("  8 streams in all, of one          {:.2}", median(1));
    println!("  8 streams, of the bare loop of 8  {:.3}", median(2));
    println!("  the bare loop of 8, of one stream {:.2}", median(3));
    println!("  p99 between tokens at 8, of its median            {:.2}", median(4));
    println!("  p99 between tokens of 4 while {LONG} tokens join   {:.2} of before", median(5));
    Ok(())
}

impl Engine {
    fn stream(&mut self, prompt: Vec<u32>, tokens: u32) -> Outcome<JoinHandle<Times>> {
        self.streams += 1;
        let (events, mut receiver) = mpsc::channel(256);
        let asked = Prepared { generation: greedy(tokens), prompt, ..Prepared::default() };
        let job = Job { asked, share: Share { of: self.streams, weight: 1 }, events, stop: StopSignal::new() };
        self.worker.submit(job).map_err(|refused| format!("{refused:?}"))?;
        Ok(std::thread::spawn(move || {
            let pieces = std::iter::from_fn(|| receiver.blocking_recv());
            pieces.filter(|event| matches!(event, Event::Delta(_))).map(|_| Instant::now()).collect()
        }))
    }

    /// So many streams at once.
    fn together(&mut self, count: usize, tokens: u32) -> Outcome<Vec<Times>> {
        let prompt = self.tokenizer.encode(PROMPT, Special::Added)?;
        let streams = (0..count).map(|_| self.stream(prompt.clone(), tokens)).collect::<Outcome<Vec<_>>>()?;
        streams.into_iter().map(|stream| stream.join().map_err(|_| "a reader panicked".into())).collect()
    }

    /// The p99 between tokens of 4 streams while a long prompt is read, of that before.
    fn joined(&mut self) -> Outcome<f64> {
        let prompt = self.tokenizer.encode(PROMPT, Special::Added)?;
        let streams = (0..4).map(|_| self.stream(prompt.clone(), 400)).collect::<Outcome<Vec<_>>>()?;
        let before = self.worker.observe().tokens;
        while self.worker.observe().tokens < before + 4 * 80 {
            std::thread::sleep(Duration::from_millis(5));
        }
        let text = "The quick brown fox jumps over the lazy dog and the river runs. ".repeat(LONG / 8);
        let mut long = self.tokenizer.encode(&text, Special::Added)?;
        long.truncate(LONG);
        let from = Instant::now();
        let first = self.stream(long, 1)?.join().map_err(|_| "a reader panicked")?;
        let to = first.first().copied().ok_or("no first token")?;
        let mut parts: [Vec<f64>; 2] = Default::default();
        for stream in streams {
            let times = stream.join().map_err(|_| "a reader panicked")?;
            for pair in times.windows(2).skip(1) {
                if pair[1] < from {
                    parts[0].push((pair[1] - pair[0]).as_secs_f64());
                } else if pair[1] < to {
                    parts[1].push((pair[1] - pair[0]).as_secs_f64());
                }
            }
        }
        let [before, during] = parts.map(|gaps| quantile(gaps, 0.99));
        Ok(during / before)
    }
}

/// Tokens a second of all streams, while all of them write.
fn speed(streams: &[Times]) -> f64 {
    let from = streams.iter().filter_map(|times| times.first()).max();
    let to = streams.iter().filter_map(|times| times.last()).min();
    let (Some(from), Some(to)) = (from, to) else { return f64::NAN };
    let count = streams.iter().flatten().filter(|time| *time > from && *time <= to).count();
    f64::from(u32::try_from(count).unwrap_or(u32::MAX)) / (*to - *from).as_secs_f64()
}

/// The p99 between tokens, of the median.
fn spread(streams: &[Times]) -> f64 {
    let from = streams.iter().filter_map(|times| times.first()).max();
    let gaps = |times: &Times| -> Vec<f64> {
        let later = times.windows(2).filter(|pair| Some(&pair[0]) >= from);
        later.map(|pair| (pair[1] - pair[0]).as_secs_f64()).collect()
    };
    let all: Vec<f64> = streams.iter().flat_map(gaps).collect();
    quantile(all.clone(), 0.99) / quantile(all, 0.5)
}

fn quantile(mut all: Vec<f64>, share: f64) -> f64 {
    all.sort_by(f64::total_cmp);
    #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a place")]
    let at = ((all.len() as f64 - 1.0).max(0.0) * share) as usize;
    all.get(at).copied().unwrap_or(f64::NAN)
}

/// ONNX Runtime alone: one buffer is past and present of all sequences, and each token is the likeliest. Tokens a second.
fn bare_loop(session: &mut Session, prompt: &[u32], count: usize) -> Outcome<f64> {
    let (layers, heads, size) = CACHE;
    let batch = i64::try_from(count)?;
    let mut binding = session.create_binding()?;
    let mut buffers = Vec::new();
    for layer in 0..layers {
        for part in ["key", "value"] {
            let mut buffer = Tensor::<f32>::new(&Allocator::default(), [batch, heads, 256, size])?;
            buffer.try_extract_tensor_mut::<f32>()?.1.fill(0.0);
            binding.bind_input(format!("past_key_values.{layer}.{part}"), &buffer)?;
            binding.bind_output(format!("present.{layer}.{part}"), &mut buffer)?;
            buffers.push(buffer);
        }
    }
    binding.bind_input("num_logits_to_keep", &Tensor::from_array(([1_usize], vec![1_i64]))?)?;
    let place = MemoryInfo::new(AllocationDevice::CPU, 0, AllocatorType::Device, MemoryType::CPUOutput)?;
    let mut tokens: Vec<i64> = prompt.iter().map(|&token| i64::from(token)).collect::<Vec<_>>().repeat(count);
    let mut total = 0;
    let mut first = None;
    for _ in 0..TOKENS {
        let each = tokens.len() / count;
        total += each;
        binding.bind_input("input_ids", &Tensor::from_array(([count, each], tokens.clone()))?)?;
        binding.bind_input("attention_mask", &Tensor::from_array(([count, total], vec![1_i64; count * total]))?)?;
        if first.is_none() || each > 1 {
            binding.bind_output_to_device("logits", &place)?;
        }
        let outputs = session.run_binding(&binding)?;
        let (shape, logits) = outputs.get("logits").ok_or("no logits")?.try_extract_tensor::<f32>()?;
        let width = usize::try_from(shape[2])?;
        let best = |row: &[f32]| {
            let all = row.iter().enumerate().filter(|(at, _)| *at != 0 && *at != 2);
            all.max_by(|one, other| one.1.total_cmp(other.1)).map_or(0, |(at, _)| at)
        };
        tokens = logits.chunks_exact(width).map(|row| i64::try_from(best(row)).unwrap_or(0)).collect();
        first.get_or_insert_with(Instant::now);
    }
    let elapsed = first.map_or(f64::NAN, |first| first.elapsed().as_secs_f64());
    Ok(f64::from(u32::try_from(count)? * (TOKENS - 1)) / elapsed)
}
