//! `farebox models check`: the form of each model's quantized products, and what it is worth, measured anew beside what the
//! import measured; and the form in which the model calls tools. A model whose form does not suffice makes the command fail.

use anyhow::{Result, bail};
use engine::{
    accuracy::{self, Agreement, LEAST_COSINE, LEAST_SAME},
    import::MODEL_FILE,
    tokenizer::Tokenizer,
};

use serde_json::json;

use super::tried;
use crate::{
    catalogue::{
        OpenModel, OpenTask,
        folder::{self, Accuracy},
    },
    config::Settings,
};

/// Prints what was found of all models, or of one.
#[expect(clippy::print_stdout, reason = "the command's output")]
pub(super) fn run(settings: &Settings, name: Option<&str>, json: bool) -> Result<i32> {
    let all = folder::open_models(&settings.runtime.models_dir);
    let chosen: Vec<&OpenModel> = all.iter().filter(|model| name.is_none_or(|name| *model.id == *name)).collect();
    if let (Some(name), []) = (name, &chosen[..]) {
        bail!("there is no model {name} in {}", settings.runtime.models_dir.display());
    }
    let (runtime, threads) = tried(settings)?;
    let mut sound = true;
    let mut list = Vec::new();
    for model in chosen {
        // Nothing of an encoder is written anew when it is taken over, so there is no other form to compare with.
        if model.task == OpenTask::Embedding {
            if json {
                list.push(json!({"id": model.id, "imported": null, "measured": null, "error": null, "suffices": true}));
            } else {
                println!("{}  makes vectors, by the weights that it came with", model.id);
            }
            continue;
        }
        let card = folder::accuracy(&model.folder);
        let (calls, thinks) = speaks(model);
        let measured = accuracy::measure(&runtime, &model.folder, MODEL_FILE, threads);
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
        if let Some(calls) = calls {
            let thoughts = if thinks { ", and tells its thoughts apart" } else { "" };
            println!("{}  calls tools in the form of {calls}{thoughts}", model.id);
        }
        match measured {
            Ok(None) => println!("{}  accuracy level 1 (32-bit floats){}", model.id, at_import(card.as_ref())),
            Ok(Some(found)) => {
                let verdict = if suffices { "suffices" } else { "does not suffice: import it again" };
                println!("{}  accuracy level 4 (8-bit activations): {}; {verdict}", model.id, told(&found));
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
