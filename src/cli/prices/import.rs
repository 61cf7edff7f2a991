//! `farebox prices import`.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context, Result};
use billing::Timestamp;
use runtime::clock::Clock;

use crate::{
    catalogue::{
        About, Book, ClosedModel,
        lists::{
            Reading, genai, litellm,
            merge::{self, Entries, Report},
        },
        write,
    },
    config::Settings,
};

/// The arguments of `farebox prices import`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The list: `litellm` (`model_prices_and_context_window.json`), or `genai` (genai-prices' `data.json`).
    #[arg(value_enum)]
    list: List,
    /// The file.
    file: PathBuf,
    /// The list's version, which entries name.
    #[arg(long, value_name = "VERSION")]
    list_version: Option<String>,
    /// The folder of price files to write to [default: prices.folder].
    #[arg(long, value_name = "FOLDER")]
    into: Option<PathBuf>,
    /// The day of the list [default: today].
    #[arg(long, value_name = "DAY")]
    date: Option<String>,
    /// Leave the program's own price book aside: the folder becomes a whole book.
    #[arg(long)]
    alone: bool,
    /// Only tell what would be written.
    #[arg(long)]
    dry_run: bool,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum List {
    Litellm,
    Genai,
}

/// Reads a list, and writes what it changes.
pub(super) fn run(settings: &Settings, args: &Args) -> Result<i32> {
    let folder = args.into.as_ref().or(settings.prices.folder.as_ref());
    let folder = folder.context("name a folder with --into, or set prices.folder")?;
    let now = match &args.date {
        Some(date) => Timestamp::from_date(date).context("--date must be a day such as 2026-11-28")?,
        None => Clock::default().now(),
    };
    fs::create_dir_all(folder).with_context(|| format!("can't make {}", folder.display()))?;
    let built_in = if args.alone { Book::default() } else { Book::built_in()? };
    let there = if args.alone { Book::of_folder(folder)? } else { Book::with_folder(folder)? };
    let text = fs::read_to_string(&args.file).with_context(|| format!("can't read {}", args.file.display()))?;
    let version = args.list_version.as_deref();
    let reading = match args.list {
        List::Litellm => litellm::read(&text, version)?,
        List::Genai => genai::read(&text, version, now)?,
    };
    let (all, report) = merge::merge(there.entries(), &reading, &now.date());
    tell(&reading, &report, all.len());
    if !args.dry_run {
        write_folder(folder, &changed(all, &built_in))?;
    }
    Ok(0)
}

/// The entries that the program's own book does not have so.
fn changed(all: Entries, built_in: &Book) -> Entries {
    let own = built_in.entries().iter().map(|own| ((Arc::clone(&own.provider), Arc::clone(&own.id)), own));
    let own: BTreeMap<_, _> = own.collect();
    let is_same = |own: &ClosedModel, model: &ClosedModel| {
        // The day on which it was read again is no reason for an entry.
        let about = About { date: own.about.date.clone(), ..About::clone(&model.about) };
        *own == ClosedModel { about: Arc::new(about), ..model.clone() }
    };
    all.into_iter().filter(|(place, model)| !own.get(place).is_some_and(|own| is_same(own, model))).collect()
}

/// Writes each provider's file. Another file of the folder that has entries of the provider goes over it, or under it,
/// by its name, as before.
fn write_folder(folder: &Path, entries: &Entries) -> Result<()> {
    let mut providers: Vec<_> = entries.keys().map(|(provider, _)| Arc::clone(provider)).collect();
    providers.dedup();
    for provider in providers {
        let path = folder.join(format!("{provider}.toml"));
        let head = fs::read_to_string(&path).map(|text| write::head_of(&text)).unwrap_or_default();
        let of_it = entries.iter().filter(|((of, _), _)| *of == provider).map(|(_, model)| model);
        let text = write::file(&head, &provider, of_it);
        // Whole or not at all: a server may read it meanwhile. Files that begin with a dot are not read.
        let draft = folder.join(format!(".{provider}.draft"));
        fs::write(&draft, text).with_context(|| format!("can't write {}", draft.display()))?;
        fs::rename(&draft, &path).with_context(|| format!("can't write {}", path.display()))?;
    }
    Ok(())
}

#[expect(clippy::print_stdout, reason = "the command's output")]
fn tell(reading: &Reading, report: &Report, entries: usize) {
    let Reading { name, models, skipped } = reading;
    let Report { added, agreed, updated, disputed, left_out, contradicted, apart } = report;
    for (title, list) in [("disputed", disputed), ("left out", left_out), ("kept as a person wrote it", contradicted)] {
        for (model, reason) in list {
            println!("{title}: {model}: {reason}");
        }
    }
    for model in apart {
        println!("nothing to compare: {model}");
    }
    println!(
        "{name}: {} models read, {} left aside; {added} are new, {updated} were brought up to date, {agreed} agree with their \
         other source, {} are disputed, of {entries} entries",
        models.len(),
        skipped.len(),
        disputed.len()
    );
}
