//! The price book's files, read strictly: a misspelt field is an error, and not a free model.

use std::sync::Arc;

use billing::price::Price;
use serde::Deserialize;
use wire::inference::Task;

use super::ClosedModel;

/// The files built into the program.
pub(super) const BUILT_IN: [&str; 2] =
    [include_str!("../../config/prices/openai.toml"), include_str!("../../config/prices/anthropic.toml")];

/// A price book that can't be used.
#[derive(Debug, thiserror::Error)]
pub enum BookError {
    /// The file does not have the format.
    #[error("price book: {0}")]
    Format(#[from] toml::de::Error),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PriceList {
    provider: String,
    model: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    id: String,
    context: u32,
    max_output: u32,
    #[serde(default)]
    task: TaskName,
    price: Option<Price>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "lowercase")]
enum TaskName {
    #[default]
    Chat,
    Completion,
}

/// Reads one file.
pub(super) fn parse(text: &str) -> Result<Vec<ClosedModel>, BookError> {
    let PriceList { provider, model } = toml::from_str(text)?;
    let provider: Arc<str> = provider.into();
    model
        .into_iter()
        .map(|Entry { id, context, max_output, task, price }| {
            let price = price.map(Arc::new);
            let task = match task {
                TaskName::Chat => Task::Chat,
                TaskName::Completion => Task::Completion,
            };
            Ok(ClosedModel { id: id.into(), provider: Arc::clone(&provider), price, context, max_output, task })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_or_absurd_price_is_refused() {
        let book =
            |price: &str| format!("provider = \"p\"\n[[model]]\nid = \"m\"\ncontext = 1\nmax_output = 1\n{price}");
        assert!(parse(&book("price = { input = \"1\", output = \"-2\" }")).is_err());
        assert!(matches!(parse(&book("prise = { input = \"1\", output = \"2\" }")), Err(BookError::Format(_))));
        assert_eq!(parse(&book("")).unwrap()[0].price, None);
    }
}
