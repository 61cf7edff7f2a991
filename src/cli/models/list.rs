//! `farebox models list`: what each imported model does, how large it is, in which form it is computed and how that was
//! found to be good enough, and where it came from.

use anyhow::Result;
use serde_json::{Value, json};

use super::seal;
use crate::{
    catalogue::{
        OpenModel,
        folder::{self, Card},
        provenance::Source,
    },
    cli::table::{Form, print_list},
    config::Settings,
};

/// Prints the models.
pub(super) fn run(settings: &Settings, json: bool) -> Result<i32> {
    let models = folder::open_models(&settings.runtime.models_dir);
    let rows: Vec<Value> = models.iter().map(row).collect();
    let columns = [
        ("MODEL", "id"),
        ("TASK", "task"),
        ("CLASS", "class"),
        ("PARAMETERS", "parameters"),
        ("BYTES", "bytes"),
        ("CONTEXT", "context"),
        ("FORM", "form"),
        ("ACCURACY", "checked"),
        ("SOURCE", "from"),
    ];
    print_list(&rows, &columns, Form::of_list(json))?;
    Ok(0)
}

fn row(model: &OpenModel) -> Value {
    // A card that was read a moment ago may be gone with its model.
    let card = folder::card(&model.folder).unwrap_or_default();
    json!({
        "id": model.id,
        "task": model.task,
        "class": model.class.name(),
        "parameters": model.parameters,
        "bytes": seal::bytes(&model.folder),
        "context": model.context,
        "folder": model.folder,
        "form": form(&card),
        "checked": checked(&card),
        "accuracy": card.accuracy,
        "from": card.source.as_ref().map(Source::shown),
        "source": card.source,
    })
}

/// The form of a model's products, on the device that runs it.
fn form(card: &Card) -> &'static str {
    match &card.accuracy {
        _ if card.needs_cpu() => "cpu, as exported",
        Some(found) if found.level == 4 => "cpu, 8-bit activations",
        Some(_) => "cpu, 32-bit floats",
        None => "cpu, not tried",
    }
}

/// What the import found of the fast form; nothing where there is no other to compare with.
fn checked(card: &Card) -> Option<String> {
    let found = card.accuracy.as_ref()?;
    Some(match found.positions {
        0 => "exact".to_owned(),
        _ => format!("same {:.1} %, cosine {:.4}", found.same_first * 100.0, found.cosine),
    })
}
