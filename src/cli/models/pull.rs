//! `farebox models pull`: a model from the hub, downloaded and imported. What was downloaded stays beside the models, hidden,
//! until it is imported; so a pull that was cut goes on with it.

use std::{
    cell::Cell,
    io::{self, IsTerminal as _, Write as _},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use billing::class::SizeClass;
use engine::gguf;
use hub::{Hub, Patience, Progress, Reference, RemoteFile, Repository, Workspace};
use serde_json::json;

use super::{
    choice::{self, Choice, Kind, shown},
    folder_of,
    import::{New, answer, say},
    read_class,
};
use crate::{
    catalogue::{
        folder::{self, Card},
        provenance::{FileSum, Source},
    },
    config::{Secret, Settings},
};

/// The folder of what is being pulled, in the models folder.
const FOLDER: &str = ".pull";
/// How often progress is told.
const TELL: Duration = Duration::from_secs(1);
/// The most files of one model.
const MOST_FILES: usize = 1_200;

/// `farebox models pull hf:OWNER/NAME`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The model: hf:OWNER/NAME[@REVISION][:FILE, pattern or quantization].
    model: String,
    /// Name of the model here [default: the file's name, or the repository's].
    #[arg(long)]
    name: Option<String>,
    /// Size class by which it is priced [default: by its number of parameters].
    #[arg(long, value_parser = read_class)]
    class: Option<SizeClass>,
    /// Print JSON instead of sentences, and progress as JSON too.
    #[arg(long)]
    json: bool,
}

/// Pulls a model.
#[expect(clippy::print_stdout, reason = "the command's output")]
pub(super) fn run(settings: &Settings, args: &Args) -> Result<i32> {
    let named: Reference = args.model.parse()?;
    let token = settings.hub.token.as_ref().map(Secret::expose);
    let hub = Hub::new(settings.hub.address(), token, Patience::default())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let news = News { json: args.json, told: Cell::new(None) };
    let tell = |progress: Progress| news.tell(&progress);
    let repository = runtime.block_on(hub.repository(&named, &tell))?;
    let chosen = choice::choose(&repository.files, named.choice.as_deref())
        .map_err(|told| anyhow::anyhow!("{}: {told}", named.repository))?;
    let id = args.name.clone().unwrap_or_else(|| name_of(&named, &chosen));
    let place = Workspace::open(&settings.runtime.models_dir.join(FOLDER), &repository, &tell)?;
    // Another process may have pulled it while this one waited.
    if let Some(card) = here_already(settings, &id, &named, &repository, &chosen)? {
        place.remove()?;
        if args.json {
            println!("{}", serde_json::to_string_pretty(&answer(&card, "is here already"))?);
        } else {
            println!("{} is here already, from {} at {}", card.id, named.repository, repository.commit);
        }
        return Ok(0);
    }
    let files = runtime.block_on(fetch(settings, &hub, &repository, &chosen, &place, &tell))?;
    let source = Source {
        from: format!("{}{}", Reference::SCHEME, named.repository),
        commit: Some(repository.commit.clone()),
        files: files.iter().map(|file| sum_of(file)).collect(),
    };
    news.say("importing ...");
    let first = chosen.files.first().context("a model without a file")?;
    let (card, told) =
        super::import::import(settings, &place.file(&first.path), New { id, class: args.class, source })?;
    place.remove()?;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&answer(&card, &told))?);
    } else {
        say(settings, &card, &told);
    }
    Ok(0)
}

/// Downloads a model's files, once there is room for them and for what is made of them. Returns them.
async fn fetch<'a>(
    settings: &Settings,
    hub: &Hub,
    repository: &'a Repository,
    chosen: &Choice<'a>,
    place: &Workspace,
    tell: &dyn Fn(Progress),
) -> Result<Vec<&'a RemoteFile>> {
    let mut files = chosen.files.clone();
    files.extend(choice::beside(&repository.files, chosen));
    check_size(settings, &files, place)?;
    hub.download(repository, &files, place, tell).await?;
    if chosen.kind == Kind::Onnx {
        // A graph says itself where its weights are.
        let graph = chosen.files.first().context("a model without a file")?;
        let named = engine::import::data_files(&place.file(&graph.path))?;
        let weights = named.iter().map(|name| beside(repository, graph, name)).collect::<Result<Vec<_>>>()?;
        files.extend(&weights);
        check_size(settings, &files, place)?;
        hub.download(repository, &weights, place, tell).await?;
    }
    Ok(files)
}

/// A file in the folder of another.
fn beside<'a>(repository: &'a Repository, file: &RemoteFile, name: &str) -> Result<&'a RemoteFile> {
    let path = file.path.rsplit_once('/').map_or_else(|| name.to_owned(), |(folder, _)| format!("{folder}/{name}"));
    let found = repository.files.iter().find(|file| file.path == path);
    found.with_context(|| format!("the weights of {} are in {path}, which {} does not have", file.path, repository.id))
}

/// Refuses what is more than one pull may download, or has no room.
fn check_size(settings: &Settings, files: &[&RemoteFile], place: &Workspace) -> Result<()> {
    let total = files.iter().map(|file| file.bytes).fold(0, u64::saturating_add);
    let most = settings.hub.most_gib.saturating_mul(1 << 30);
    if total > most || files.len() > MOST_FILES {
        bail!(
            "{} files of {} are more than one pull may download: {MOST_FILES} files, and {} GiB (hub.most_gib)",
            files.len(),
            shown(total),
            settings.hub.most_gib
        );
    }
    // What is imported is about as large as what is downloaded, and both are there at the end of it.
    let needed = place.missing(files).saturating_add(total);
    let what = format!("{} to download, and as much to import it", shown(total));
    Ok(hub::check_room(&settings.runtime.models_dir, needed, &what)?)
}

/// The name of a model that is given none: a GGUF file's own, and the repository's for a graph, whose name says nothing.
fn name_of(named: &Reference, chosen: &Choice<'_>) -> String {
    let file = chosen.name.rsplit('/').next().unwrap_or_default();
    let stem = file.get(..file.len().saturating_sub(5)).unwrap_or_default();
    match chosen.kind {
        Kind::Gguf => gguf::whole_name(stem).to_lowercase(),
        Kind::Onnx => {
            let form = stem.strip_prefix("model").unwrap_or_default().trim_start_matches(['_', '-', '.']);
            let name = named.name().to_lowercase();
            if form.is_empty() { name } else { format!("{name}-{}", form.to_lowercase()) }
        }
    }
}

/// The card of a model of this name, if it is the same one. One that is another is in the way.
fn here_already(
    settings: &Settings,
    id: &str,
    named: &Reference,
    repository: &Repository,
    chosen: &Choice<'_>,
) -> Result<Option<Card>> {
    let folder = folder_of(settings, id)?;
    if !folder.exists() {
        return Ok(None);
    }
    let card = folder::card(&folder).unwrap_or_default();
    let is_same = card.source.as_ref().is_some_and(|source| {
        source.from.strip_prefix(Reference::SCHEME) == Some(&*named.repository)
            && source.commit.as_deref() == Some(&*repository.commit)
            && chosen.files.iter().all(|file| source.files.contains(&sum_of(file)))
    });
    if is_same {
        return Ok(Some(card));
    }
    bail!(
        "{} is already there, and is another: remove it (`farebox models remove {id}`), or choose another --name",
        folder.display()
    )
}

fn sum_of(file: &RemoteFile) -> FileSum {
    FileSum { name: file.path.clone(), bytes: file.bytes, sum: file.sum.to_string() }
}

/// What is told to those who wait: for people or for programs, on the error stream.
struct News {
    json: bool,
    told: Cell<Option<Instant>>,
}

impl News {
    fn tell(&self, progress: &Progress) {
        match progress {
            Progress::Came { file, bytes, of } => {
                if self.told.get().is_some_and(|told| told.elapsed() < TELL) {
                    return;
                }
                self.told.set(Some(Instant::now()));
                if self.json {
                    self.write(&json!({"file": file, "bytes": bytes, "of": of}).to_string(), false);
                } else {
                    self.write(&format!("{file}: {} of {}", shown(*bytes), shown(*of)), true);
                }
            }
            Progress::Whole { file, was_here: true } => self.say(&format!("{file} was downloaded before")),
            Progress::Whole { file, was_here: false } => self.say(&format!("{file} is whole")),
            Progress::Again { reason, wait } => {
                self.say(&format!("{reason}; trying again in {:.0} seconds", wait.as_secs_f32().ceil()));
            }
            Progress::Waits => self.say("waiting for another farebox that pulls the same"),
        }
    }

    fn say(&self, text: &str) {
        if self.json {
            self.write(&json!({"said": text}).to_string(), false);
        } else {
            self.write(text, false);
        }
    }

    /// At a terminal progress stays on one line; in a log it is a line each second.
    fn write(&self, text: &str, is_replaced: bool) {
        let mut stderr = io::stderr().lock();
        let rewrites = stderr.is_terminal() && !self.json;
        // A message that can't be written does no harm.
        let _ = match (rewrites, is_replaced) {
            (true, true) => write!(stderr, "\r\x1b[K{text}"),
            (true, false) => writeln!(stderr, "\r\x1b[K{text}"),
            (false, _) => writeln!(stderr, "{text}"),
        };
        let _ = stderr.flush();
    }
}
