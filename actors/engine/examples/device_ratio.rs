//! Measures a device, as ratios in one run: is the half-precision form right there, what do recorded steps (CUDA graphs) gain
//! for one stream, what do many streams gain over one, and how long does it take to change models?
//!
//!     cargo run --release -p engine --example device_ratio -- <libonnxruntime.so> <model's folder> [device] [rounds]
//!
//! The folder is one of an import. The device is `cuda:0` unless named; with `cpu` it runs anywhere, slowly.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use engine::accuracy;
use engine::device::{Device, Fallback};
use engine::half_decoder::{HalfDecoder, Settings};
use engine::import::MODEL_FILE;
use engine::network::Network;
use engine::runtime::Runtime;
use engine::schedule::{Change, Row, SequenceId, Shape};

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// Tokens of each sequence's prompt, and tokens written behind it.
const PROMPT_TOKENS: usize = 256;
const STEPS: usize = 64;
/// Streams at once.
const STREAMS: [usize; 4] = [1, 8, 32, 64];

fn main() -> Outcome<()> {
    engine::telemetry::turn_off()?;
    let arguments: Vec<String> = std::env::args().collect();
    let [_, library, folder, rest @ ..] = &arguments[..] else {
        return Err("usage: device_ratio <libonnxruntime.so> <model's folder> [device] [rounds]".into());
    };
    let device: Device = rest.first().map_or("cuda:0", String::as_str).parse()?;
    let rounds = rest.get(1).map_or(Ok(3), |text| text.parse())?;
    let (library, folder) = (PathBuf::from(library), Path::new(folder));
    let runtime = Runtime::load(&library)?;
    device.probe(&runtime, &library)?;
    let threads = std::thread::available_parallelism()?.get();
    let found = accuracy::measure_half(&runtime, folder, MODEL_FILE, device, threads)?;
    println!(
        "{device}: same first token as 32-bit floats {:.3}, mean cosine {:.5}, over {} positions: {}",
        found.same,
        found.cosine,
        found.positions,
        if found.suffices() { "good enough to serve" } else { "NOT good enough to serve" }
    );
    let bytes = std::fs::read_dir(folder)?.map(|entry| Ok(entry?.metadata()?.len())).sum::<Outcome<u64>>()?;
    let file = folder.join(MODEL_FILE);
    let load = |records| {
        HalfDecoder::load(&runtime, &file, Settings { device, threads, fallback: Fallback::Cpu, records, memory: None })
    };
    for round in 1..=rounds {
        let from = Instant::now();
        let mut plain = load(false)?;
        let loaded = from.elapsed();
        let alone = step(&mut plain, 1)?;
        let from = Instant::now();
        drop(plain);
        let unloaded = from.elapsed();
        let gigabytes = f64::from(u32::try_from(bytes >> 20)?) / 1024.0;
        println!(
            "round {round}: loaded in {:.2} s, given back in {:.3} s: {:.2} s a GiB",
            loaded.as_secs_f64(),
            unloaded.as_secs_f64(),
            (loaded + unloaded).as_secs_f64() / gigabytes
        );
        let mut recorded = load(true)?;
        let mut first = None;
        for streams in STREAMS {
            let each = step(&mut recorded, streams)?;
            let rate = f64::from(u32::try_from(streams)?) / each.as_secs_f64();
            let first = *first.get_or_insert(rate);
            println!(
                "round {round}: {streams} streams: {each:.2?} a step, {rate:.0} tokens/s, {:.2} of one",
                rate / first
            );
            if streams == 1 {
                println!(
                    "round {round}: one stream, recorded steps over others: {:.2}",
                    alone.as_secs_f64() / each.as_secs_f64()
                );
            }
        }
    }
    Ok(())
}

/// The time of a step that writes a token in each of so many sequences.
fn step(decoder: &mut HalfDecoder, streams: usize) -> Outcome<Duration> {
    let positions = (PROMPT_TOKENS + STEPS + 8).next_multiple_of(256);
    decoder.change(Change::Arrange(Shape { places: streams, positions }))?;
    let prompt: Vec<u32> = (0..PROMPT_TOKENS).map(|at| u32::try_from(at * 31 % 200 + 5)).collect::<Result<_, _>>()?;
    for place in 0..streams {
        decoder.read(place, 0, &prompt, None)?;
    }
    let mut from = Instant::now();
    for at in 0..STEPS + 4 {
        // The first steps allocate, and are recorded.
        if at == 4 {
            from = Instant::now();
        }
        let row = Row { id: SequenceId(1), token: u32::try_from(at + 7)?, past: PROMPT_TOKENS + at };
        decoder.write(&vec![row; streams])?;
    }
    Ok(from.elapsed() / u32::try_from(STEPS)?)
}
