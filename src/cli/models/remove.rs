//! `farebox models remove`: a model leaves the models folder whole, by one renaming, so that nobody sees a half of it. A
//! server that runs lists it no more and takes no further request for it. Requests that it has begun go on: their engine
//! has the files open, and the system keeps these until the engine ends.

use anyhow::{Context, Result, bail};
use serde_json::json;

use super::{own, seal};
use crate::{
    catalogue::{folder, nearest},
    config::Settings,
};

/// `farebox models remove NAME`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The model.
    name: String,
    /// Print JSON instead of a sentence.
    #[arg(long)]
    json: bool,
}

/// Removes a model.
#[expect(clippy::print_stdout, reason = "the command's output")]
pub(super) fn run(settings: &Settings, args: &Args) -> Result<i32> {
    let models = folder::open_models(&settings.runtime.models_dir);
    let Some(model) = models.iter().find(|model| *model.id == *args.name) else {
        let near = nearest::nearest(&args.name, models.iter().map(|model| &*model.id));
        let hint = if near.is_empty() { String::new() } else { format!("; did you mean {}?", near.join(", ")) };
        bail!("there is no model {} in {}{hint}", args.name, settings.runtime.models_dir.display());
    };
    // What a killed process leaves of it, the next import removes.
    let aside = own::draft_of(&model.folder);
    let bytes = seal::bytes(&model.folder);
    std::fs::rename(&model.folder, &aside).with_context(|| format!("can't remove {}", model.folder.display()))?;
    match std::fs::remove_dir_all(&aside) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            let what = format!("{} is no model any more, but {} is left of it", args.name, aside.display());
            return Err(error).context(what);
        }
        Ok(()) | Err(_) => {}
    }
    if args.json {
        println!("{}", json!({"id": args.name, "bytes": bytes, "removed": true}));
    } else {
        println!(
            "removed {} ({bytes} bytes); a running server takes no further request for it, and keeps its memory until \
             its engine is unloaded",
            args.name
        );
    }
    Ok(0)
}
