//! The catalogue as Cohere's clients read it ("List Models", Cohere API reference).

use serde::Serialize;
use wire::inference::Task;

use crate::catalogue;

/// The part of the catalogue that is asked for.
#[derive(Debug, Default)]
pub struct Wanted {
    /// The most models of the page; all where none is said.
    pub size: Option<usize>,
    /// The name after which the page begins.
    pub after: Option<String>,
    /// The only endpoint whose models are wanted.
    pub endpoint: Option<String>,
    /// Whether only models are wanted that an endpoint takes where none is named. There are none here.
    pub is_default: bool,
}

/// A page of models.
#[derive(Debug, Serialize)]
pub struct CohereModels {
    models: Vec<CohereModel>,
    /// The name after which the next page begins.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_page_token: Option<String>,
}

/// A model.
#[derive(Debug, Serialize)]
pub struct CohereModel {
    name: String,
    is_deprecated: bool,
    /// The routes of Cohere's API that take it.
    endpoints: Vec<&'static str>,
    finetuned: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    context_length: Option<u32>,
    default_endpoints: [&'static str; 0],
}

impl CohereModel {
    /// The model by one of its names.
    pub fn of(name: &str, model: &catalogue::Model) -> Self {
        let (task, context, is_deprecated) = match model {
            catalogue::Model::Closed(model) => {
                (model.task, model.context, model.about.deprecated || model.about.ends.is_some())
            }
            catalogue::Model::Open(model) => (model.task.listed(), model.context, false),
        };
        Self {
            name: name.to_owned(),
            is_deprecated,
            endpoints: endpoint(task).into_iter().collect(),
            finetuned: false,
            context_length: Some(context).filter(|context| *context > 0),
            default_endpoints: [],
        }
    }
}

/// The endpoint of a task, as Cohere names it.
const fn endpoint(task: Task) -> Option<&'static str> {
    match task {
        Task::Chat => Some("chat"),
        Task::Embedding => Some("embed"),
        Task::Rerank => Some("rerank"),
        Task::Completion | Task::Image | Task::Speech | Task::Transcription | Task::Decision | Task::Native => None,
    }
}

impl CohereModels {
    /// The page that is asked for, of all models by their names; `None` where it is to begin after a name that no model has.
    pub fn page<'m>(all: impl Iterator<Item = (&'m str, &'m catalogue::Model)>, wanted: &Wanted) -> Option<Self> {
        let is_wanted = |model: &CohereModel| {
            let is_there = |endpoint: &String| model.endpoints.contains(&endpoint.as_str());
            !wanted.is_default && wanted.endpoint.as_ref().is_none_or(is_there)
        };
        let all = all.map(|(name, model)| CohereModel::of(name, model)).filter(is_wanted);
        let mut models: Vec<CohereModel> = all.collect();
        if let Some(after) = &wanted.after {
            let place = models.iter().position(|model| model.name == *after)?;
            models.drain(..=place);
        }
        let size = wanted.size.unwrap_or(usize::MAX);
        let has_more = models.len() > size;
        models.truncate(size);
        let next_page_token = models.last().filter(|_| has_more).map(|model| model.name.clone());
        Some(Self { models, next_page_token })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::Catalogue;

    #[test]
    fn pages_follow_each_other_and_hold_every_model_once() {
        let catalogue = Catalogue::built_in().unwrap();
        let all = CohereModels::page(catalogue.models(), &Wanted::default()).unwrap();
        assert!(all.models.len() > 400 && all.next_page_token.is_none());
        let (mut wanted, mut names) = (Wanted { size: Some(150), ..Wanted::default() }, Vec::new());
        loop {
            let page = CohereModels::page(catalogue.models(), &wanted).unwrap();
            assert!(page.models.len() <= 150);
            names.extend(page.models.into_iter().map(|model| model.name));
            wanted.after = page.next_page_token;
            if wanted.after.is_none() {
                break;
            }
        }
        assert_eq!(names, all.models.into_iter().map(|model| model.name).collect::<Vec<_>>());
        let of = |endpoint: &str| {
            let wanted = Wanted { endpoint: Some(endpoint.into()), ..Wanted::default() };
            CohereModels::page(catalogue.models(), &wanted).unwrap().models
        };
        let has = |endpoint, name: &str| of(endpoint).iter().any(|model| model.name == name);
        assert!(has("embed", "embed-v4.0") && has("rerank", "rerank-v3.5") && !has("embed", "rerank-v3.5"));
        let gone = Wanted { after: Some("no-such-model".into()), ..Wanted::default() };
        assert!(CohereModels::page(catalogue.models(), &gone).is_none());
        let defaults = Wanted { is_default: true, ..Wanted::default() };
        assert!(CohereModels::page(catalogue.models(), &defaults).unwrap().models.is_empty());
    }
}
