//! Measures what is left in memory of models that come and go: loads a model, answers a request, and takes it out, so many
//! times; and prints how the resident memory grows after the first tenth, in which allocators find their size.
//!
//!     cargo run --release -p engine --example load_cycles -- <libonnxruntime.so> <file.gguf> [threads] [cycles]

mod ratio;

use std::sync::mpsc::channel;

use engine::{
    model::Model,
    prepare::Prepared,
    runtime::Runtime,
    tokenizer::Special,
    worker::{EngineHandle, Job, Settings, Share, StopSignal},
};
use tokio::sync::mpsc;
use wire::inference::Event;

use ratio::{Outcome, PROMPT, Stage, greedy};

const TOKENS: u32 = 4;
/// The bytes of a page, as Linux counts resident memory on the machines that are served here.
const PAGE: u64 = 4_096;

fn main() -> Outcome<()> {
    ratio::run("load_cycles", measure)
}

fn measure(stage: &Stage) -> Outcome<()> {
    let runtime = Runtime::load(&stage.library)?;
    let cycles = stage.rounds.max(20);
    let mut base = 0;
    for cycle in 1..=cycles {
        one(&runtime, stage)?;
        let now = resident()?;
        if cycle == cycles / 10 {
            base = now;
        }
        if cycle % (cycles / 10) == 0 {
            println!("after {cycle:>5} cycles: {:>7.1} MiB resident", mib(now));
        }
    }
    let now = resident()?;
    println!(
        "{cycles} cycles: {:.1} MiB after the first tenth, {:.1} MiB at the end: {:+.2} %",
        mib(base),
        mib(now),
        (mib(now) / mib(base) - 1.0) * 100.0
    );
    Ok(())
}

/// One life of the model, to its end.
fn one(runtime: &Runtime, stage: &Stage) -> Outcome<()> {
    let model = Model::load(runtime, "measured", &stage.folder, stage.threads)?;
    let prompt = model.tokenizer().encode(PROMPT, Special::Added)?;
    let (ended, end) = channel();
    let worker = EngineHandle::spawn(model, Settings::default(), move |exit| drop(ended.send(exit.reason)))?;
    let (events, mut receiver) = mpsc::channel(64);
    let asked = Prepared { generation: greedy(TOKENS), prompt, ..Prepared::default() };
    let share = Share { of: 1, weight: 1 };
    worker.submit(Job { asked, share, events, stop: StopSignal::new() }).map_err(|refused| format!("{refused:?}"))?;
    while let Some(event) = receiver.blocking_recv() {
        if let Event::Failed(failure) = event {
            return Err(failure.into());
        }
    }
    drop(worker);
    end.recv()?;
    Ok(())
}

/// Bytes of resident memory.
fn resident() -> Outcome<u64> {
    let text = std::fs::read_to_string("/proc/self/statm")?;
    let pages: u64 = text.split(' ').nth(1).ok_or("no resident memory in /proc")?.parse()?;
    Ok(pages * PAGE)
}

#[expect(clippy::cast_precision_loss, reason = "no machine has so many bytes")]
fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
