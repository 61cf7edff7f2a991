//! `farebox models import|list`.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use engine::{
    gguf,
    import::{self, ImportedModel},
    onnx::Precision,
};

use crate::{
    catalogue::folder::{self, Card},
    config::Settings,
};

#[derive(Debug, clap::Subcommand)]
enum ModelsCommand {
    /// Import a GGUF file as a model that Farebox can run.
    Import {
        /// The GGUF file, or any part of a model in several files.
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
            let card = import_gguf(file, &id, &settings.runtime.models_dir)?;
            println!(
                "imported {} ({} parameters) into {}; a running server serves it from the next request that names it",
                card.id,
                card.parameters,
                settings.runtime.models_dir.display()
            );
        }
        ModelsCommand::List { json } => {
            let models = folder::open_models(&settings.runtime.models_dir);
            if *json {
                let list: Vec<_> = models
                    .iter()
                    .map(|model| {
                        serde_json::json!({"id": model.id, "class": model.class.name(), "parameters": model.parameters,
                            "context": model.context, "folder": model.folder})
                    })
                    .collect();
                println!("{}", serde_json::to_string_pretty(&list)?);
            } else {
                for model in models {
                    println!(
                        "{}  class {}  {} parameters  context {}",
                        model.id,
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

/// Imports a file as a model with this name.
pub(super) fn import_gguf(file: &Path, id: &str, models: &Path) -> Result<Card> {
    if id.is_empty()
        || id.len() > 128
        || !id.chars().all(|c| c.is_ascii_alphanumeric() || "-._".contains(c))
        || id.starts_with('.')
    {
        bail!("a model's name has letters, digits, dots, hyphens and underscores only, not {id:?}");
    }
    std::fs::create_dir_all(models)?;
    let folder = models.join(id);
    let card_of = |imported: &ImportedModel| {
        let context = u32::try_from(imported.context).unwrap_or(u32::MAX);
        Card { id: id.to_owned(), parameters: imported.parameters, context, class: None }
    };
    // The card is written before the folder appears: a folder without a card is no model, and would block the next
    // import.
    let finish = |draft: &Path, imported: &ImportedModel| folder::write_card(draft, &card_of(imported));
    let imported = import::import_with(file, &folder, Precision::Packed, finish)
        .with_context(|| format!("can't import {}", file.display()))?;
    Ok(card_of(&imported))
}
