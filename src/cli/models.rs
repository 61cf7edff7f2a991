//! `farebox models ...`: one file per command. Those here work on the models folder, where a running server finds what has
//! changed by itself; what calls the running server is in `pools`.

mod check;
mod choice;
mod import;
mod list;
mod own;
mod pull;
mod remove;
mod seal;

use std::{num::NonZeroUsize, path::PathBuf};

use anyhow::{Result, bail};
use billing::class::SizeClass;
use engine::runtime::Runtime;

use super::pools::{self, PoolsCommand};
use crate::{app, config::Settings};

pub(super) use import::import_gguf;

#[derive(Debug, clap::Subcommand)]
enum ModelsCommand {
    /// Download a model from the hub, and import it.
    ///
    /// hf:OWNER/NAME names a repository, hf:OWNER/NAME@REVISION one at a branch, tag or commit. Where it has several models,
    /// such as quantizations, a file, a pattern or the quantization's name is chosen behind a colon:
    ///
    ///   farebox models pull hf:OWNER/NAME-GGUF:Q4_K_M
    ///   farebox models pull 'hf:OWNER/NAME:onnx/model_q4.onnx'
    ///
    /// A download that was cut goes on when the command is called again; all files are held against their checksums. The
    /// hub and a token are the settings hub.address and hub.token, or the variables HF_ENDPOINT and HF_TOKEN.
    #[command(verbatim_doc_comment)]
    #[expect(clippy::doc_markdown, reason = "printed as it stands")]
    Pull(pull::Args),
    /// Import a model: a GGUF file, a folder with an ONNX model as it is on a hub, or a folder of another Farebox.
    #[command(visible_alias = "add")]
    Import(import::Args),
    /// List the imported models: what they do, how large they are, where they came from.
    List {
        /// Print JSON instead of a table.
        #[arg(long)]
        json: bool,
    },
    /// Measure how the models' fast arithmetic agrees with 32-bit floats; or hold their files against their checksums.
    Check(check::Args),
    /// Remove a model. A running server lists it no more, and finishes what it has begun.
    Remove(remove::Args),
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
pub(super) fn run(settings: &Settings, args: &Args) -> Result<i32> {
    match &args.command {
        ModelsCommand::Pull(args) => pull::run(settings, args),
        ModelsCommand::Import(args) => import::run(settings, args),
        ModelsCommand::List { json } => list::run(settings, *json),
        ModelsCommand::Check(args) => check::run(settings, args),
        ModelsCommand::Remove(args) => remove::run(settings, args),
        ModelsCommand::Pools(command) => pools::run(settings, command),
    }
}

/// ONNX Runtime and the number of threads, to try a model with.
fn tried(settings: &Settings) -> Result<(Runtime, usize)> {
    let library = app::library(settings);
    let cores = || std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let threads = settings.runtime.threads.map_or_else(cores, NonZeroUsize::get);
    Ok((Runtime::load(&library)?, threads))
}

/// The folder of a model, by its name.
fn folder_of(settings: &Settings, id: &str) -> Result<PathBuf> {
    let is_sound = (1..=128).contains(&id.len())
        && id.chars().all(|c| c.is_ascii_alphanumeric() || "-._".contains(c))
        && !id.starts_with('.');
    if !is_sound {
        bail!("a model's name has letters, digits, dots, hyphens and underscores only, not {id:?}");
    }
    Ok(settings.runtime.models_dir.join(id))
}

/// A size class by its name, as it is priced.
fn read_class(text: &str) -> Result<SizeClass, String> {
    let found = SizeClass::ALL.into_iter().find(|class| class.name().eq_ignore_ascii_case(text));
    let names: Vec<&str> = SizeClass::ALL.into_iter().map(SizeClass::name).collect();
    found.ok_or_else(|| format!("the classes are {}", names.join(", ")))
}
