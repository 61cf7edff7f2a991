//! `farebox models check`: the form of each model's quantized products, and what it is worth, measured anew beside what the
//! import measured, or in half precision on a card, and the form in which the model calls tools; or, with `--sums`, whether
//! its files are still those of its import. A model whose form does not suffice, or whose files are others, makes the command
//! fail.

use anyhow::{Result, bail};
use engine::{
    accuracy::{self, Agreement, LEAST_COSINE, LEAST_SAME},
    device::Device,
    import::MODEL_FILE,
    tokenizer::Tokenizer,
};

use serde_json::json;

use super::{seal, tried};
use crate::{
    app,
    catalogue::{
        OpenModel, OpenTask,
        folder::{self, Accuracy},
    },
    config::Settings,
};

/// `farebox models check`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The model [default: all].
    name: Option<String>,
    /// Hold the files against the checksums of their import, and measure nothing.
    #[arg(long)]
    sums: bool,
    /// The device whose arithmetic is measured: cpu, or cuda:0 with the card's number.
    #[arg(long, default_value = "cpu", conflicts_with = "sums")]
    device: Device,
    /// Print JSON instead of a line for each model.
    #[arg(long)]
    json: bool,
}

/// Prints what was found of all models, or of one.
pub(super) fn run(settings: &Settings, args: &Args) -> Result<i32> {
    let (name, all) = (args.name.as_deref(), folder::open_models(&settings.runtime.models_dir));
    let chosen: Vec<&OpenModel> = all.iter().filter(|model| name.is_none_or(|name| *model.id == *name)).collect();
    if let (Some(name), []) = (name, &chosen[..]) {
        bail!("there is no model {name} in {}", settings.runtime.models_dir.display());
    }
    if args.sums { hold(&chosen, args.json) } else { measure(settings, chosen, args.device, args.json) }
}

/// Holds files against the checksums of their import.
#[expect(clippy::print_stdout, reason = "the command's output")]
fn hold(chosen: &[&OpenModel], json: bool) -> Result<i32> {
    let mut sound = true;
    let mut list = Vec::new();
    for model in chosen {
        let card = folder::card(&model.folder)?;
        let broken = seal::broken(&model.folder, &card)?;
        let (count, is_sealed) = (card.files.len(), !card.files.is_empty());
        sound &= !is_sealed || broken.is_empty();
        if json {
            let broken = if is_sealed { json!(broken) } else { json!(null) };
            list.push(json!({"id": model.id, "files": count, "broken": broken}));
        } else if !is_sealed {
            println!("{}  was imported before checksums were kept", model.id);
        } else if broken.is_empty() {
            println!("{}  {count} files are those of its import", model.id);
        } else {
            println!("{}  is not what was imported: {}", model.id, broken.join("; "));
        }
    }
    if json {
        println!("{}", serde_json::to_string_pretty(&list)?);
    }
    Ok(i32::from(!sound))
}

/// Measures the fast form of models on a device.
#[expect(clippy::print_stdout, reason = "the command's output")]
fn measure(settings: &Settings, chosen: Vec<&OpenModel>, device: Device, json: bool) -> Result<i32> {
    let (runtime, threads) = tried(settings)?;
    device.probe(&runtime, &app::library(settings)).map_err(anyhow::Error::msg)?;
    let mut sound = true;
    let mut list = Vec::new();
    for model in chosen {
        let card = folder::card(&model.folder).unwrap_or_default();
        // Nothing of a graph is written anew when it is taken over, so there is no other form to compare with.
        if model.needs_cpu {
            if json {
                list.push(json!({"id": model.id, "imported": null, "measured": null, "error": null, "suffices": true}));
            } else {
                let does = if model.task == OpenTask::Embedding { "makes vectors" } else { "writes text" };
                let place = if device == Device::Cpu { "" } else { ", on the processor" };
                println!("{}  {does}, by the arithmetic that it came with{place}", model.id);
            }
            continue;
        }
        let card = card.accuracy;
        let (calls, thinks) = speaks(model);
        let measured = match device {
            Device::Cpu => accuracy::measure(&runtime, &model.folder, MODEL_FILE, threads),
            Device::Cuda(_) => accuracy::measure_half(&runtime, &model.folder, MODEL_FILE, device, threads).map(Some),
        };
        let suffices = measured.as_ref().is_ok_and(|found| found.is_none_or(|found| found.suffices()));
        sound &= suffices;
        if json {
            let (now, error) = match &measured {
                Ok(found) => (
                    found.map(
                        |found| json!({"same_first": found.same, "cosine": found.cosine, "positions": found.positions}),
                    ),
                    None,
                ),
                Err(error) => (None, Some(error.to_string())),
            };
            list.push(json!({"id": model.id, "imported": card, "measured": now, "error": error, "suffices": suffices,
                "calls": calls, "thinks": thinks}));
            continue;
        }
        let thoughts = if thinks { ", and tells its thoughts apart" } else { "" };
        let calls = calls.map(|calls| format!("; calls tools in the form of {calls}{thoughts}")).unwrap_or_default();
        match measured {
            Ok(None) => println!("{}  accuracy level 1 (32-bit floats){}{calls}", model.id, at_import(card.as_ref())),
            Ok(Some(found)) => {
                let (form, otherwise) = match device {
                    Device::Cpu => ("accuracy level 4 (8-bit activations)".to_owned(), "import it again"),
                    Device::Cuda(_) => (format!("half precision on {device}"), "serve it on the processor"),
                };
                let verdict = if suffices { "suffices" } else { "does not suffice" };
                let remedy = if suffices { String::new() } else { format!(": {otherwise}") };
                println!("{}  {form}: {}; {verdict}{remedy}{calls}", model.id, told(&found));
            }
            Err(error) => println!("{}  can't be checked: {error}", model.id),
        }
    }
    if json {
        println!("{}", serde_json::to_string_pretty(&list)?);
    }
    Ok(i32::from(!sound))
}

/// The family of forms in which a model calls tools, where it chats, and whether it tells its thoughts apart.
fn speaks(model: &OpenModel) -> (Option<&'static str>, bool) {
    // What is wrong with its folder is told beside this.
    let Ok(tokenizer) = Tokenizer::load(&model.folder) else { return (None, false) };
    let family = tokenizer.template().map(|template| template.family().name());
    (family, tokenizer.thinks())
}

/// An agreement in words.
pub(super) fn told(found: &Agreement) -> String {
    format!(
        "same first token at {:.1} % of {} positions (least {:.0} %), mean cosine {:.5} (least {LEAST_COSINE})",
        found.same * 100.0,
        found.positions,
        LEAST_SAME * 100.0,
        found.cosine
    )
}

/// Why a model is in floats, where its import found that.
fn at_import(card: Option<&Accuracy>) -> String {
    let found = card.filter(|card| card.positions > 0);
    found.map_or_else(String::new, |card| {
        let (same, cosine) = (card.same_first * 100.0, card.cosine);
        format!("; at import, 8-bit activations had the same first token at {same:.1} %, mean cosine {cosine:.5}")
    })
}
