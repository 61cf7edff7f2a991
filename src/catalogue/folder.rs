//! The models folder: one folder a model in Hugging Face's layout, with a `farebox.json` that has the model's name and
//! number of parameters (which decides its size class).

use std::{fs, io, os::unix::fs::MetadataExt as _, path::Path, time::UNIX_EPOCH};

use billing::class::SizeClass;
use serde::{Deserialize, Serialize};

use super::{
    OpenModel, OpenTask,
    provenance::{FileSum, Source},
};

/// The content of `farebox.json`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Card {
    /// The model's name.
    pub id: String,
    /// The number of parameters.
    pub parameters: u64,
    /// The most tokens that the model reads and writes.
    pub context: u32,
    /// What the model does.
    #[serde(default, skip_serializing_if = "OpenTask::is_generation")]
    pub task: OpenTask,
    /// The size class, where it differs from the parameters' class.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<SizeClass>,
    /// How its quantized products are computed; `None` where that was not checked at its import.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accuracy: Option<Accuracy>,
    /// Whether its graph is another exporter's, whose arithmetic stays as it was chosen.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub as_exported: bool,
    /// Where it came from; `None` of models that were imported before that was kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<Source>,
    /// The files of its folder beside the card, by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<FileSum>,
}

impl Card {
    /// Whether the model has a form for processors only: it makes vectors, or its graph is taken as it was exported.
    pub fn needs_cpu(&self) -> bool {
        self.as_exported || self.task == OpenTask::Embedding
    }
}

/// How a model's quantized products are computed, and how their fast form agreed with 32-bit floats when it was tried.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Accuracy {
    /// ONNX Runtime's `accuracy_level`: 4 rounds activations to 8 bits, 1 computes in 32-bit floats.
    pub level: u8,
    /// The share of positions at which level 4 had the same likeliest token as 32-bit floats.
    pub same_first: f64,
    /// The mean cosine of level 4's scores and those of 32-bit floats.
    pub cosine: f64,
    /// The number of positions; 0 where there was nothing to compare, as all is in floats.
    pub positions: usize,
}

/// The card's file name.
pub const CARD: &str = "farebox.json";

/// Writes a model's card into its folder.
///
/// # Errors
///
/// The file can't be written.
pub fn write_card(folder: &Path, card: &Card) -> io::Result<()> {
    fs::write(folder.join(CARD), serde_json::to_vec_pretty(card)?)
}

/// The models in a folder, by name. Hidden folders, which are drafts of imports, are skipped. A model that can't be
/// read is logged and left out. A missing folder has no models.
pub fn open_models(folder: &Path) -> Vec<OpenModel> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let shown = entries.flatten().filter(|entry| !entry.file_name().as_encoded_bytes().starts_with(b"."));
    let mut models: Vec<_> = shown.filter_map(|entry| open_model(&entry.path())).collect();
    models.sort_by(|a, b| a.id.cmp(&b.id));
    models
}

/// The card of the model in a folder.
///
/// # Errors
///
/// There is no card, or it can't be read.
pub fn card(folder: &Path) -> io::Result<Card> {
    Ok(serde_json::from_slice(&fs::read(folder.join(CARD))?)?)
}

fn open_model(folder: &Path) -> Option<OpenModel> {
    let text = fs::read(folder.join(CARD)).ok()?;
    let data = fs::metadata(folder.join(CARD)).ok()?;
    let written = data.modified().ok()?.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
    let card: Card = match serde_json::from_slice(&text) {
        Ok(card) => card,
        Err(error) => {
            tracing::warn!(folder = %folder.display(), %error, "a model's card can't be read");
            return None;
        }
    };
    let Some(class) = card.class.or_else(|| SizeClass::of_parameters(card.parameters)) else {
        tracing::warn!(folder = %folder.display(), "a model is larger than the largest class");
        return None;
    };
    let needs_cpu = card.needs_cpu();
    let Card { id, parameters, context, task, .. } = card;
    Some(OpenModel {
        id: id.into(),
        task,
        folder: folder.to_owned(),
        class,
        parameters,
        context,
        needs_cpu,
        import: (data.ino(), written),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_of_models_is_read_and_what_is_not_a_model_is_left_out() {
        let root = std::env::temp_dir().join(format!("farebox-models-{}", uuid::Uuid::new_v4()));
        for name in ["good", "bad", "none"] {
            fs::create_dir_all(root.join(name)).unwrap();
        }
        let card = Card { id: "m".into(), parameters: 135_000_000, context: 2_048, ..Card::default() };
        write_card(&root.join("good"), &card).unwrap();
        fs::write(root.join("bad").join(CARD), "{").unwrap();
        let models = open_models(&root);
        assert_eq!(models.len(), 1);
        assert_eq!((&*models[0].id, models[0].class), ("m", SizeClass::B7));
        fs::remove_dir_all(&root).unwrap();
        assert!(open_models(&root).is_empty());
    }
}
