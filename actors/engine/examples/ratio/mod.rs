//! What measurements of the engine share: a model imported for one run, and a prompt whose answers have no end of their own.

use std::path::{Path, PathBuf};

use engine::import::{self, ImportError};
use wire::inference::{Generation, OutputLimit, Sampling};

pub(crate) type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

pub(crate) const PROMPT: &str = "The history of the city begins with a bridge over the river, built by";

/// A measurement's means.
pub(crate) struct Stage {
    pub(crate) library: PathBuf,
    /// The model's folder.
    pub(crate) folder: PathBuf,
    pub(crate) threads: usize,
    pub(crate) rounds: usize,
}

/// Reads the arguments of an example with this name, imports the model, measures, and removes the import.
pub(crate) fn run(name: &str, measure: impl FnOnce(&Stage) -> Outcome<()>) -> Outcome<()> {
    engine::telemetry::turn_off()?;
    let arguments: Vec<String> = std::env::args().collect();
    let [_, library, gguf, rest @ ..] = &arguments[..] else {
        return Err(format!("usage: {name} <libonnxruntime.so> <file.gguf> [threads] [rounds]").into());
    };
    let number = |at: usize, default: usize| rest.get(at).map_or(Ok(default), |text| text.parse());
    let (threads, rounds) = (number(0, 2)?, number(1, 5)?);
    let folder = std::env::temp_dir().join(format!("farebox-{name}-{}", std::process::id()));
    match import::import(Path::new(gguf), &folder) {
        Ok(_) | Err(ImportError::Exists(_)) => {}
        Err(error) => return Err(error.into()),
    }
    let stage = Stage { library: library.into(), folder, threads, rounds };
    let measured = measure(&stage);
    std::fs::remove_dir_all(&stage.folder)?;
    measured
}

/// So many tokens, each the likeliest, with no stop before them: all loops make the same number of tokens.
pub(crate) fn greedy(tokens: u32) -> Generation {
    let sampling =
        Sampling { temperature: Some(0.0), logit_bias: vec![(0, -100.0), (2, -100.0)], ..Sampling::default() };
    let limit = OutputLimit { tokens, largest: tokens, field: "max_tokens" };
    Generation { sampling, limit: Some(limit), ..Generation::default() }
}
