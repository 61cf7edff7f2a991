//! `farebox models import|list|check`, and those that call the running server.

mod check;

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use engine::{
    embedding::{self, import::ImportedEncoder},
    gguf,
    import::{self, ImportedModel},
    onnx::Precision,
    runtime::Runtime,
};

use super::pools::{self, PoolsCommand};
use crate::{
    app,
    catalogue::{
        OpenTask,
        folder::{self, Accuracy, Card},
    },
    config::Settings,
};

#[derive(Debug, clap::Subcommand)]
enum ModelsCommand {
    /// Import a model that Farebox can run: a GGUF file, or a folder of Sentence Transformers with an ONNX encoder.
    Import {
        /// The GGUF file, or any part of a model in several files; or the folder.
        file: PathBuf,
        /// Name of the model [default: the file's name].
        #[arg(long)]
        name: Option<String>,
    },
    /// List the imported models.
    List {
        /// Print JSON instead of a table.
        #[arg(long)]
        json: bool,
    },
    /// Measure how the models' fast arithmetic agrees with 32-bit floats.
    Check {
        /// The model [default: all].
        name: Option<String>,
        /// Print JSON instead of a line for each model.
        #[arg(long)]
        json: bool,
    },
    #[command(flatten)]
    Pools(PoolsCommand),
}

/// `farebox models ...`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: ModelsCommand,
}

/// Runs `farebox models ...`.
#[expect(clippy::print_stdout, reason = "the command's output")]
pub(super) fn run(settings: &Settings, args: &Args) -> Result<i32> {
    match &args.command {
        ModelsCommand::Import { file, name } => {
            let stem = file.file_stem().and_then(|stem| stem.to_str()).context("the file has no name")?;
            let id = name.clone().unwrap_or_else(|| gguf::whole_name(stem).to_lowercase());
            let (card, told) =
                if file.is_dir() { import_encoder(settings, file, &id)? } else { import_gguf(settings, file, &id)? };
            println!(
                "imported {} ({} parameters) into {}; a running server serves it from the next request that names it",
                card.id,
                card.parameters,
                settings.runtime.models_dir.display()
            );
            println!("{told}");
        }
        ModelsCommand::Pools(command) => return pools::run(settings, command),
        ModelsCommand::Check { name, json } => return check::run(settings, name.as_deref(), *json),
        ModelsCommand::List { json } => {
            let models = folder::open_models(&settings.runtime.models_dir);
            if *json {
                let list: Vec<_> = models
                    .iter()
                    .map(|model| {
                        serde_json::json!({"id": model.id, "task": model.task, "class": model.class.name(), "parameters": model.parameters,
                            "context": model.context, "folder": model.folder})
                    })
                    .collect();
                println!("{}", serde_json::to_string_pretty(&list)?);
            } else {
                for model in models {
                    println!(
                        "{}  {}  class {}  {} parameters  context {}",
                        model.id,
                        model.task.name(),
                        model.class.name(),
                        model.parameters,
                        model.context
                    );
                }
            }
        }
    }
    Ok(0)
}

/// ONNX Runtime and the number of threads, to try a model with.
fn tried(settings: &Settings) -> Result<(Runtime, usize)> {
    let library = app::library(settings);
    let cores = || std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let threads = settings.runtime.threads.map_or_else(cores, NonZeroUsize::get);
    Ok((Runtime::load(&library)?, threads))
}

/// Imports a file as a model with this name. Returns its card, and in words how its accuracy was checked. Without ONNX
/// Runtime it is not: a file may be imported where nothing runs.
pub(super) fn import_gguf(settings: &Settings, file: &Path, id: &str) -> Result<(Card, String)> {
    let folder = new_folder(id, &settings.runtime.models_dir)?;
    let tried = tried(settings);
    let card_of = |imported: &ImportedModel| Card {
        id: id.to_owned(),
        parameters: imported.parameters,
        context: u32::try_from(imported.context).unwrap_or(u32::MAX),
        task: OpenTask::Generation,
        class: None,
        accuracy: tried.as_ref().ok().map(|_| accuracy_of(imported)),
    };
    // The card is written before the folder appears: a folder without a card is no model, and would block the next
    // import.
    let finish = |draft: &Path, imported: &ImportedModel| folder::write_card(draft, &card_of(imported));
    let with = tried.as_ref().ok().map(|(runtime, threads)| (runtime, *threads));
    let imported = import::import_with(file, &folder, Precision::Packed, with, finish)
        .with_context(|| format!("can't import {}", file.display()))?;
    let told = match (&tried, &imported.agreement) {
        (Err(error), _) => {
            format!("its accuracy was not checked ({error:#}); `farebox models check {id}` does that")
        }
        (Ok(_), None) => "all its products are in 32-bit floats".to_owned(),
        (Ok(_), Some(found)) if imported.precision == Precision::Packed => {
            format!("accuracy level 4 (8-bit activations): {}", check::told(found))
        }
        (Ok(_), Some(found)) => {
            format!("accuracy level 1 (32-bit floats), as 8-bit activations do not suffice: {}", check::told(found))
        }
    };
    Ok((card_of(&imported), told))
}

/// What a card says of an import that was tried.
fn accuracy_of(imported: &ImportedModel) -> Accuracy {
    let is_fast = imported.precision == Precision::Packed && imported.agreement.is_some();
    Accuracy {
        level: if is_fast { 4 } else { 1 },
        same_first: imported.agreement.map_or(1.0, |found| found.same),
        cosine: imported.agreement.map_or(1.0, |found| found.cosine),
        positions: imported.agreement.map_or(0, |found| found.positions),
    }
}

/// Imports a folder with an encoder of texts as a model with this name. Returns its card, and words for people.
fn import_encoder(settings: &Settings, source: &Path, id: &str) -> Result<(Card, String)> {
    let folder = new_folder(id, &settings.runtime.models_dir)?;
    let card_of = |imported: &ImportedEncoder| {
        let context = u32::try_from(imported.context).unwrap_or(u32::MAX);
        let (task, class, accuracy) = (OpenTask::Embedding, None, None);
        Card { id: id.to_owned(), parameters: imported.parameters, context, task, class, accuracy }
    };
    let finish = |draft: &Path, imported: &ImportedEncoder| folder::write_card(draft, &card_of(imported));
    let imported = embedding::import::import_with(source, &folder, finish)
        .with_context(|| format!("can't import {}", source.display()))?;
    Ok((card_of(&imported), "it makes vectors of texts".to_owned()))
}

/// The folder of a new model, by its name.
fn new_folder(id: &str, models: &Path) -> Result<PathBuf> {
    if id.is_empty()
        || id.len() > 128
        || !id.chars().all(|c| c.is_ascii_alphanumeric() || "-._".contains(c))
        || id.starts_with('.')
    {
        bail!("a model's name has letters, digits, dots, hyphens and underscores only, not {id:?}");
    }
    std::fs::create_dir_all(models)?;
    Ok(models.join(id))
}
