//! Models of the catalogue, and quotes.

mod google;

use billing::{Timestamp, class::SizeClass, price::Price};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;
use wire::inference::Task;

use super::{Dollars, pools::state_name, scalar::any_object_or_null};
use crate::{
    catalogue::{self, About, Change, write::day_text},
    gateway::{pools::Standing, quote},
};

pub use google::{GoogleModel, GoogleModels};

/// A model: its capabilities and prices, whether this account may use it, and whether it can run now.
#[derive(Debug, Serialize, ToSchema)]
pub struct Model {
    pub(in crate::http) id: String,
    /// The same, for clients of Anthropic's format.
    display_name: String,
    object: &'static str,
    created: i64,
    /// The provider; `farebox` for models that run here.
    pub(in crate::http) owned_by: String,
    /// `chat`, `completion`, ...
    pub(in crate::http) task: &'static str,
    /// Open models: the size class.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::http) class: Option<&'static str>,
    /// Open models: the number of parameters.
    #[serde(skip_serializing_if = "Option::is_none")]
    parameters: Option<u64>,
    /// The most tokens of prompt and answer together; null where that is not known, or not counted in tokens.
    #[schema(required)]
    pub(in crate::http) context_length: Option<u32>,
    /// Closed models: the most tokens of an answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    max_output: Option<u32>,
    /// Closed models: dollars per million tokens, before the fee; null where the model has no price and is refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(schema_with = any_object_or_null)]
    price: Option<Value>,
    /// Closed models: the same with the fee, as it is paid.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(schema_with = any_object_or_null)]
    pub(in crate::http) price_with_fee: Option<Value>,
    /// Closed models: the next price that is announced.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_price: Option<NextPrice>,
    /// Closed models: there where the provider advises against the model, or ends it.
    #[serde(skip_serializing_if = "Option::is_none")]
    deprecation: Option<Deprecation>,
    /// Open models: dollars for each started second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::http) price_per_second: Option<String>,
    /// Open models: `cold`, `loading`, `warm`, `failed` or `unavailable`, as `/v1/models/{id}/status` tells in full.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::http) state: Option<&'static str>,
    /// Whether the account's tier excludes the model.
    pub(in crate::http) locked: bool,
    /// Whether the model can run now.
    pub(in crate::http) available: bool,
    /// Why the model can't run.
    #[schema(required)]
    pub(in crate::http) why: Option<String>,
}

/// A price that is announced.
#[derive(Debug, Serialize, ToSchema)]
struct NextPrice {
    /// From when on it is in force.
    valid_from: String,
    /// Dollars per million tokens, before the fee.
    #[schema(schema_with = any_object_or_null)]
    price: Value,
    /// The same with the fee, as it will be paid.
    #[schema(schema_with = any_object_or_null)]
    price_with_fee: Value,
}

/// The provider's advice against a model.
#[derive(Debug, Serialize, ToSchema)]
struct Deprecation {
    /// The day on which it ends; null where none is known.
    #[schema(required)]
    ends: Option<String>,
}

impl Deprecation {
    fn of(about: &About) -> Option<Self> {
        let is_told = about.deprecated || about.ends.is_some();
        is_told.then(|| Self { ends: about.ends.map(day_text) })
    }
}

impl NextPrice {
    fn of(change: &Change) -> Self {
        Self {
            valid_from: change.valid_from.to_string(),
            price: shown(&change.price),
            price_with_fee: shown(&change.price.with_fee()),
        }
    }
}

fn shown(price: &Price) -> Value {
    serde_json::to_value(price).unwrap_or_default()
}

impl Model {
    /// The model by one of its names, as an account sees it whose tier has classes up to this one; an open model as it
    /// stands. `why` is the reason why it can't run now.
    pub fn of(
        name: &str,
        model: &catalogue::Model,
        (largest, standing): (SizeClass, Option<Standing>),
        why: Option<String>,
        now: Timestamp,
    ) -> Self {
        let state = standing.map(state_name);
        let available = why.is_none();
        match model {
            catalogue::Model::Closed(model) => Self {
                id: name.to_owned(),
                display_name: name.to_owned(),
                object: "model",
                created: 0,
                owned_by: model.provider.to_string(),
                task: task_name(model.task),
                class: None,
                parameters: None,
                context_length: Some(model.context).filter(|context| *context > 0),
                max_output: Some(model.max_output).filter(|most| *most > 0),
                price: Some(model.price.as_deref().map_or(Value::Null, shown)),
                price_with_fee: Some(model.price.as_deref().map_or(Value::Null, |price| shown(&price.with_fee()))),
                next_price: model.about.next(now).filter(|_| model.about.disputed.is_none()).map(NextPrice::of),
                deprecation: Deprecation::of(&model.about),
                price_per_second: None,
                state,
                locked: false,
                available,
                why,
            },
            catalogue::Model::Open(model) => Self {
                id: name.to_owned(),
                display_name: name.to_owned(),
                object: "model",
                created: 0,
                owned_by: "farebox".to_owned(),
                task: task_name(model.task.listed()),
                class: Some(model.class.name()),
                parameters: Some(model.parameters),
                context_length: Some(model.context),
                max_output: None,
                price: None,
                price_with_fee: None,
                next_price: None,
                deprecation: None,
                price_per_second: Some(model.class.per_second().to_string()),
                state,
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
