//! `farebox models import`: a model of any form that can be run becomes a folder of the models folder, whole or not at all,
//! with a card that says what it is, where it came from and which files it has.

use std::path::Path;

use anyhow::{Context, Result, bail};
use billing::class::SizeClass;
use engine::{
    embedding::{self, import::ImportedEncoder},
    gguf,
    import::{
        self, ImportedModel,
        language::{self, ImportedLanguage},
    },
    onnx::Precision,
    preparer::Kind,
};
use serde_json::json;

use super::{check, folder_of, own, read_class, seal, tried};
use crate::{
    catalogue::{
        OpenTask,
        folder::{Accuracy, Card},
        provenance::Source,
    },
    config::Settings,
};

/// `farebox models import FILE`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The GGUF file, or any part of a model in several files; or the folder.
    file: std::path::PathBuf,
    /// Name of the model [default: the file's name].
    #[arg(long)]
    name: Option<String>,
    /// Size class by which it is priced [default: by its number of parameters].
    #[arg(long, value_parser = read_class)]
    class: Option<SizeClass>,
    /// Print JSON instead of sentences.
    #[arg(long)]
    json: bool,
}

/// What an import is told of a new model.
pub(super) struct New {
    /// Its name.
    pub(super) id: String,
    /// Its class, where it is not that of its parameters.
    pub(super) class: Option<SizeClass>,
    /// Where it came from.
    pub(super) source: Source,
}

/// Imports a model, and says what came of it.
#[expect(clippy::print_stdout, reason = "the command's output")]
pub(super) fn run(settings: &Settings, args: &Args) -> Result<i32> {
    let Args { file, name, class, json } = args;
    let path = std::path::absolute(file)?;
    let stem = if path.is_dir() { path.file_name() } else { path.file_stem() };
    let stem = stem.and_then(|stem| stem.to_str()).context("the file has no name")?;
    let id = name.clone().unwrap_or_else(|| gguf::whole_name(stem).to_lowercase());
    let (card, told) = import(settings, file, New { id, class: *class, source: local(file)? })?;
    if *json {
        println!("{}", serde_json::to_string_pretty(&answer(&card, &told))?);
    } else {
        say(settings, &card, &told);
    }
    Ok(0)
}

/// Says for people what was imported.
#[expect(clippy::print_stdout, reason = "the command's output")]
pub(super) fn say(settings: &Settings, card: &Card, told: &str) {
    println!(
        "imported {} ({} parameters) into {}; a running server serves it from the next request that names it",
        card.id,
        card.parameters,
        settings.runtime.models_dir.display()
    );
    println!("{told}");
}

/// The same for programs.
pub(super) fn answer(card: &Card, told: &str) -> serde_json::Value {
    let Card { id, parameters, context, task, class, accuracy, source, .. } = card;
    let class = class.or_else(|| SizeClass::of_parameters(*parameters)).map(SizeClass::name);
    json!({"id": id, "task": task, "class": class, "parameters": parameters, "context": context, "accuracy": accuracy,
        "source": source, "told": told})
}

/// Imports what is at a path. Returns the card of the model, and words for people.
pub(super) fn import(settings: &Settings, path: &Path, new: New) -> Result<(Card, String)> {
    if own::is_own(path) {
        let card = own::take(path, &new_folder(settings, &new.id)?, new)?;
        return Ok((card, "its files are those that its card names".to_owned()));
    }
    let is_graph = path.is_dir() || path.extension().is_some_and(|end| end.eq_ignore_ascii_case("onnx"));
    if !is_graph {
        return import_new_gguf(settings, path, new);
    }
    let kind = language::kind(path).with_context(|| format!("can't import {}", path.display()))?;
    match kind {
        Kind::Generation => import_language(settings, path, &new),
        Kind::Embedding => import_encoder(settings, path, &new),
    }
}

/// Imports a GGUF file of this machine as a model with this name.
pub(in crate::cli) fn import_gguf(settings: &Settings, file: &Path, id: &str) -> Result<(Card, String)> {
    import_new_gguf(settings, file, New { id: id.to_owned(), class: None, source: local(file)? })
}

/// A file or folder of this machine as a source.
fn local(path: &Path) -> Result<Source> {
    let shown = || format!("can't read {}", path.display());
    let name = std::path::absolute(path).with_context(shown)?;
    let from = name.file_name().unwrap_or(name.as_os_str()).to_string_lossy().into_owned();
    let is_file = std::fs::metadata(path).with_context(shown)?.is_file();
    let files = if is_file { vec![seal::sum_of(path, from.clone()).with_context(shown)?] } else { Vec::new() };
    Ok(Source { from, commit: None, files })
}

/// Imports a GGUF file. Returns its card, and in words how its accuracy was checked. Without ONNX Runtime it is not: a file
/// may be imported where nothing runs.
fn import_new_gguf(settings: &Settings, file: &Path, new: New) -> Result<(Card, String)> {
    let New { id, class, source } = new;
    let folder = new_folder(settings, &id)?;
    let tried = tried(settings);
    let card_of = |imported: &ImportedModel| Card {
        id: id.clone(),
        parameters: imported.parameters,
        context: u32::try_from(imported.context).unwrap_or(u32::MAX),
        class,
        accuracy: tried.as_ref().ok().map(|_| accuracy_of(imported)),
        source: Some(source.clone()),
        ..Card::default()
    };
    // The card is written before the folder appears: a folder without a card is no model, and would block the next
    // import.
    let finish = |draft: &Path, imported: &ImportedModel| seal::seal(draft, &card_of(imported));
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

/// Imports a folder with a language model as ONNX. Returns its card, and words for people. Without ONNX Runtime it is
/// refused: only a run shows that the graph is what it says.
fn import_language(settings: &Settings, source: &Path, new: &New) -> Result<(Card, String)> {
    let folder = new_folder(settings, &new.id)?;
    let shown = || format!("can't import {}", source.display());
    let (runtime, threads) = tried(settings).context("a graph is tried before it is taken over").with_context(shown)?;
    let card_of = |imported: &ImportedLanguage| Card {
        id: new.id.clone(),
        parameters: imported.parameters,
        context: u32::try_from(imported.context).unwrap_or(u32::MAX),
        class: new.class,
        as_exported: true,
        source: Some(new.source.clone()),
        ..Card::default()
    };
    let finish = |draft: &Path, imported: &ImportedLanguage| seal::seal(draft, &card_of(imported));
    let imported = language::import_with(source, &folder, (&runtime, threads), finish).with_context(shown)?;
    let together = if imported.is_shared {
        "its sequences run together (their caches are shared, as a run has shown)"
    } else {
        "it runs one sequence at a time (its caches can't be shared)"
    };
    let told = match imported.left_out.as_slice() {
        [] => together.to_owned(),
        left_out => format!("{together}; requests do not get these defaults of its own: {}", left_out.join(", ")),
    };
    Ok((card_of(&imported), told))
}

/// Imports a folder with an encoder of texts. Returns its card, and words for people.
fn import_encoder(settings: &Settings, source: &Path, new: &New) -> Result<(Card, String)> {
    let folder = new_folder(settings, &new.id)?;
    let card_of = |imported: &ImportedEncoder| Card {
        id: new.id.clone(),
        parameters: imported.parameters,
        context: u32::try_from(imported.context).unwrap_or(u32::MAX),
        task: OpenTask::Embedding,
        class: new.class,
        as_exported: true,
        source: Some(new.source.clone()),
        ..Card::default()
    };
    let finish = |draft: &Path, imported: &ImportedEncoder| seal::seal(draft, &card_of(imported));
    let imported = embedding::import::import_with(source, &folder, finish)
        .with_context(|| format!("can't import {}", source.display()))?;
    Ok((card_of(&imported), "it makes vectors of texts".to_owned()))
}

/// The folder of a new model, by its name. Its parent is there.
fn new_folder(settings: &Settings, id: &str) -> Result<std::path::PathBuf> {
    let folder = folder_of(settings, id)?;
    if folder.exists() {
        bail!(
            "{} is already there: remove it (`farebox models remove {id}`), or choose another --name",
            folder.display()
        );
    }
    std::fs::create_dir_all(&settings.runtime.models_dir)?;
    Ok(folder)
}
