//! Measures what is left in memory of models that come and go: loads a model, answers a request, and takes it out, so many
//! times; and prints how the resident memory grows after the first tenth, in which allocators find their size.
//!
//!     cargo run --release -p engine --example load_cycles -- <libonnxruntime.so> <file.gguf> [threads] [cycles]

mod ratio;
#[path = "ratio/resident.rs"]
mod resident;

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

fn main() -> Outcome<()> {
    ratio::run("load_cycles", measure)
}

fn measure(stage: &Stage) -> Outcome<()> {
    let runtime = Runtime::load(&stage.library)?;
    let cycles = stage.rounds.max(20);
    let mut base = 0.0;
    for cycle in 1..=cycles {
        one(&runtime, stage)?;
        let now = resident::mib()?;
        if cycle == cycles / 10 {
            base = now;
        }
        if cycle % (cycles / 10) == 0 {
            println!("after {cycle:>5} cycles: {now:>7.1} MiB resident");
        }
    }
    let now = resident::mib()?;
    println!(
        "{cycles} cycles: {base:.1} MiB after the first tenth, {now:.1} MiB at the end: {:+.2} %",
        (now / base - 1.0) * 100.0
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
