//! Models of the catalogue, and quotes.

use billing::class::SizeClass;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;
use wire::inference::Task;

use super::{Dollars, scalar::any_object_or_null};
use crate::{catalogue, gateway::quote};

/// A model: its capabilities and prices, whether this account may use it, and whether it can run now.
#[derive(Debug, Serialize, ToSchema)]
pub struct Model {
    id: String,
    object: &'static str,
    created: i64,
    /// The provider; `farebox` for models that run here.
    owned_by: String,
    /// `chat`, `completion`, ...
    task: &'static str,
    /// Open models: the size class.
    #[serde(skip_serializing_if = "Option::is_none")]
    class: Option<&'static str>,
    /// Open models: the number of parameters.
    #[serde(skip_serializing_if = "Option::is_none")]
    parameters: Option<u64>,
    /// The most tokens of prompt and answer together.
    context_length: u32,
    /// Closed models: the most tokens of an answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    max_output: Option<u32>,
    /// Closed models: dollars per million tokens, before the fee; null where the model has no price and is refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(schema_with = any_object_or_null)]
    price: Option<Value>,
    /// Open models: dollars for each started second.
    #[serde(skip_serializing_if = "Option::is_none")]
    price_per_second: Option<String>,
    /// Whether the account's tier excludes the model.
    locked: bool,
    /// Whether the model can run now.
    available: bool,
    /// Why the model can't run.
    #[schema(required)]
    why: Option<String>,
}

impl Model {
    /// The model as an account sees it whose tier has classes up to this one. `why` is the reason why it can't run now.
    pub fn of(model: &catalogue::Model, largest: SizeClass, why: Option<String>) -> Self {
        let available = why.is_none();
        match model {
            catalogue::Model::Closed(model) => Self {
                id: model.id.to_string(),
                object: "model",
                created: 0,
                owned_by: model.provider.to_string(),
                task: task_name(model.task),
                class: None,
                parameters: None,
                context_length: model.context,
                max_output: Some(model.max_output),
                price: Some(serde_json::to_value(model.price.as_deref()).unwrap_or_default()),
                price_per_second: None,
                locked: false,
                available,
                why,
            },
            catalogue::Model::Open(model) => Self {
                id: model.id.to_string(),
                object: "model",
                created: 0,
                owned_by: "farebox".to_owned(),
                task: task_name(Task::Chat),
                class: Some(model.class.name()),
                parameters: Some(model.parameters),
                context_length: model.context,
                max_output: None,
                price: None,
                price_per_second: Some(model.class.per_second().to_string()),
                locked: model.class > largest,
                available,
                why,
            },
        }
    }
}

/// A task, as the catalogue names it.
const fn task_name(task: Task) -> &'static str {
    match task {
        Task::Chat => "chat",
        Task::Completion => "completion",
        Task::Embedding => "embedding",
        Task::Rerank => "rerank",
        Task::Image => "image",
        Task::Speech => "speech",
        Task::Transcription => "transcription",
        Task::Decision => "decision",
        Task::Native => "native",
    }
}

/// The cost of a request before it runs, and whether it would be admitted.
#[derive(Debug, Serialize, ToSchema)]
pub struct Quote {
    object: &'static str,
    model: String,
    currency: &'static str,
    /// The tokens of the prompt; null where they are not known.
    #[schema(required)]
    prompt_tokens: Option<u64>,
    /// The most tokens of the answer; null where they are not known.
    #[schema(required)]
    max_output_tokens: Option<u64>,
    cost: QuotedCost,
    /// Whether the request would be admitted now.
    admitted: bool,
    /// The amount that would be held.
    #[schema(required)]
    hold: Option<Dollars>,
    /// Why the request would not be admitted: the error that it would get.
    #[schema(schema_with = any_object_or_null)]
    refusal: Option<Value>,
    /// The spendable credits.
    available: Dollars,
}

/// The cost of a request before it runs.
#[derive(Debug, Serialize, ToSchema)]
struct QuotedCost {
    least: Dollars,
    expected: Dollars,
    /// The most it can cost; null for an open model without `max_cost`, which runs until it is done.
    #[schema(required)]
    most: Option<Dollars>,
}

impl Quote {
    /// The view of a quote. `refusal` is the error, where the request would be refused.
    pub fn of(quoted: &quote::Quote, refusal: Option<Value>) -> Self {
        let hold = quoted.admission.as_ref().ok();
        Self {
            object: "quote",
            model: quoted.model.clone(),
            currency: "USD",
            prompt_tokens: quoted.tokens.map(|(input, _)| input),
            max_output_tokens: quoted.tokens.map(|(_, output)| output),
            cost: QuotedCost {
                least: quoted.least.into(),
                expected: quoted.expected.into(),
                most: quoted.most.map(Dollars::from),
            },
            admitted: hold.is_some(),
            hold: hold.copied().map(Dollars::from),
            refusal,
            available: quoted.balance.available.into(),
        }
    }
}
