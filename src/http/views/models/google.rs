//! Models as Google's clients read them ("Models", Gemini API reference): those that can be asked in its format.

use serde::Serialize;
use utoipa::ToSchema;

use super::Model;

/// What stands before a model's name.
const COLLECTION: &str = "models/";
/// What can be asked of a model that answers, and of one that makes vectors.
const ANSWERS: &[&str] = &["generateContent", "streamGenerateContent", "countTokens"];
const VECTORS: &[&str] = &["embedContent", "batchEmbedContents"];

/// A model, in Google's words.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct GoogleModel {
    /// `models/` and the model's name.
    name: String,
    version: &'static str,
    display_name: String,
    /// The provider, and why the model can't run where it can't.
    description: String,
    /// The most tokens of a prompt, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    input_token_limit: Option<u32>,
    /// The most tokens of an answer, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    output_token_limit: Option<u32>,
    supported_generation_methods: &'static [&'static str],
}

/// A page of models.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct GoogleModels {
    models: Vec<GoogleModel>,
    /// The next page's `pageToken`; absent after the last page.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_page_token: Option<String>,
}

impl GoogleModel {
    /// A model in Google's words; `None` where it can't be asked in them.
    pub fn of(model: Model) -> Option<Self> {
        let methods = match model.task {
            "chat" => ANSWERS,
            "embedding" => VECTORS,
            _ => return None,
        };
        let whose = format!("Of {}.", model.owned_by);
        Some(Self {
            name: [COLLECTION, &model.id].concat(),
            version: "1",
            display_name: model.display_name,
            description: model.why.map(|why| format!("{whose} It can't run now: {why}")).unwrap_or(whose),
            input_token_limit: model.context_length,
            output_token_limit: model.max_output.filter(|_| model.task == "chat"),
            supported_generation_methods: methods,
        })
    }
}

impl GoogleModels {
    /// The page behind the first so many models, of at most so many.
    pub fn page(all: Vec<GoogleModel>, behind: usize, most: usize) -> Self {
        let end = behind.saturating_add(most);
        let next_page_token = (all.len() > end).then(|| end.to_string());
        Self { models: all.into_iter().skip(behind).take(most).collect(), next_page_token }
    }
}
