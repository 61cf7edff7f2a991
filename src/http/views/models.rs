//! Models of the catalogue, and quotes of what they would cost.

use billing::class::SizeClass;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;
use wire::inference::Task;

use super::{Dollars, scalar::any_object_or_null};
use crate::{catalogue, gateway::quote};

/// A model: what it does and costs, whether this account may use it, and whether anyone may now.
#[derive(Debug, Serialize, ToSchema)]
pub struct Model {
    id: String,
    object: &'static str,
    created: i64,
    /// The provider; `farebox` of what runs here.
    owned_by: String,
    /// `chat`, `completion`, ...
    task: &'static str,
    /// Open models: the size class.
    #[serde(skip_serializing_if = "Option::is_none")]
    class: Option<&'static str>,
    /// Open models: how many parameters it has.
    #[serde(skip_serializing_if = "Option::is_none")]
    parameters: Option<u64>,
    /// Tokens that it reads and writes, at most.
    context_length: u32,
    /// Closed models: tokens that it writes, at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    max_output: Option<u32>,
    /// Closed models: dollars per million, before the fee; null where it has none and is refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(schema_with = any_object_or_null)]
    price: Option<Value>,
    /// Open models: dollars for a started second.
    #[serde(skip_serializing_if = "Option::is_none")]
    price_per_second: Option<String>,
    /// Whether this account's tier does not have it.
    locked: bool,
    /// Whether it can be run now.
    available: bool,
    /// Why it can't.
    #[schema(required)]
    why: Option<String>,
}

impl Model {
    /// For an account whose tier has classes up to this one; `why` says why it can't be run now.
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

/// A task as the catalogue has it.
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

/// What a request would cost, and whether it would be let in.
#[derive(Debug, Serialize, ToSchema)]
pub struct Quote {
    object: &'static str,
    model: String,
    currency: &'static str,
    /// Tokens of the prompt; null where they are not known.
    #[schema(required)]
    prompt_tokens: Option<u64>,
    /// Tokens of the answer, at most; null where they are not known.
    #[schema(required)]
    max_output_tokens: Option<u64>,
    cost: QuotedCost,
    /// Whether it would be let in now.
    admitted: bool,
    /// What would be set aside.
    #[schema(required)]
    hold: Option<Dollars>,
    /// Why it would not be let in: the error that it would get.
    #[schema(schema_with = any_object_or_null)]
    refusal: Option<Value>,
    /// What can be spent.
    available: Dollars,
}

/// What a request would cost.
#[derive(Debug, Serialize, ToSchema)]
struct QuotedCost {
    least: Dollars,
    expected: Dollars,
    /// Null of an open model without `max_cost`, which runs until it is done.
    #[schema(required)]
    most: Option<Dollars>,
}

impl Quote {
    /// Of what was quoted; `refusal` is the error, where it would be refused.
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
