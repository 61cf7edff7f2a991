//! How much a model is to reason, as Claude takes it: in a word, or for older models in tokens. What the provider refuses
//! beside reasoning is refused here, by the client's field ("Extended thinking", Anthropic API documentation).

use serde_json::{Value, json};

use super::super::formats::LEAST_THOUGHT;
use crate::{
    format::feature::Feature,
    inference::{Conversation, Failure, Format, ReasoningWanted, ToolChoice},
};

/// How models reason, by the beginnings of their names; all others take a word.
const NEVER: [&str; 7] =
    ["claude-2", "claude-v1", "claude-instant", "claude-3-5-", "claude-3-haiku", "claude-3-opus", "claude-3-sonnet"];
const BY_TOKENS: [&str; 9] = [
    "claude-3-7",
    "claude-haiku-4",
    "claude-sonnet-4-0",
    "claude-sonnet-4-2",
    "claude-sonnet-4-5",
    "claude-opus-4-0",
    "claude-opus-4-1",
    "claude-opus-4-2",
    "claude-opus-4-5",
];
/// Words that models without `xhigh` know in its place.
const WITHOUT_XHIGH: [&str; 2] = ["claude-opus-4-6", "claude-sonnet-4-6"];
/// The words, each with a number of tokens.
const WORDS: [(&str, u32); 6] = [
    ("minimal", LEAST_THOUGHT),
    ("low", LEAST_THOUGHT),
    ("medium", 8_192),
    ("high", 24_576),
    ("xhigh", 24_576),
    ("max", 24_576),
];
/// The least of nucleus sampling beside reasoning.
const LEAST_TOP_P: f32 = 0.95;

/// `thinking`, and the word of `output_config.effort`.
#[derive(Debug, Default)]
pub(super) struct Asked {
    pub(super) thinking: Option<Value>,
    pub(super) effort: Option<&'static str>,
}

/// How much is to be reasoned, of an answer with this limit of tokens.
///
/// # Errors
///
/// A word that is not known, a model that does not reason, a limit below what reasoning takes at least, or a field that
/// the provider refuses beside reasoning.
pub(super) fn asked(conversation: &Conversation, client: Format, model: &str, limit: u32) -> Result<Asked, Failure> {
    let ReasoningWanted { effort, max_tokens } = &conversation.reasoning;
    let (feature, is_wanted) = match (effort.as_deref(), max_tokens) {
        (None, None) => return Ok(Asked::default()),
        (Some(word), _) => (Feature::Effort, word != "none"),
        (None, Some(tokens)) => (Feature::ReasoningTokens, *tokens > 0),
    };
    let refused = |message: String| Failure::Invalid { field: feature.field(client).to_owned(), message };
    let begins = |names: &[&str]| names.iter().any(|name| model.starts_with(name));
    if begins(&NEVER) {
        return if is_wanted { Err(refused("asks a model to reason that can't".into())) } else { Ok(Asked::default()) };
    }
    if !is_wanted {
        return Ok(Asked { thinking: Some(json!({"type": "disabled"})), effort: None });
    }
    check_beside(conversation, client)?;
    let known = effort.as_deref().map(|word| {
        let known = WORDS.into_iter().find(|(name, _)| *name == word);
        known.ok_or_else(|| refused(format!("{word} is not an effort that Claude knows")))
    });
    match (known.transpose()?, max_tokens) {
        (Some((word, _)), _) if !begins(&BY_TOKENS) => {
            let word = match word {
                "minimal" => "low",
                "xhigh" if begins(&WITHOUT_XHIGH) => "high",
                word => word,
            };
            Ok(Asked { thinking: Some(json!({"type": "adaptive"})), effort: Some(word) })
        }
        (known, tokens) => {
            let tokens = known.map(|(_, tokens)| tokens).or(*tokens).unwrap_or(LEAST_THOUGHT);
            let most = limit.saturating_sub(1);
            if most < LEAST_THOUGHT {
                return Err(refused(format!("needs an output limit above {LEAST_THOUGHT} tokens for this model")));
            }
            let tokens = tokens.clamp(LEAST_THOUGHT, most);
            Ok(Asked { thinking: Some(json!({"type": "enabled", "budget_tokens": tokens})), effort: None })
        }
    }
}

/// Refuses what the provider takes only from a model that does not reason.
fn check_beside(conversation: &Conversation, client: Format) -> Result<(), Failure> {
    let sampling = &conversation.generation.sampling;
    let is_forced = match &conversation.tool_choice {
        Some(ToolChoice::Required | ToolChoice::Named(_)) => !conversation.tools.is_empty(),
        Some(ToolChoice::None | ToolChoice::Auto) | None => false,
    };
    let all = [
        // Hotter ones become the usual one, which is taken.
        (Feature::Temperature, sampling.temperature.is_some_and(|heat| heat < 1.0)),
        (Feature::TopP, sampling.top_p.is_some_and(|p| p < LEAST_TOP_P)),
        (Feature::TopK, sampling.top_k.is_some_and(|k| k > 0)),
        (Feature::AnyTool, is_forced),
    ];
    match all.into_iter().find(|(_, is_refused)| *is_refused) {
        None => Ok(()),
        Some((feature, _)) => {
            let message = "can't be asked of Claude together with reasoning; leave one of them out".to_owned();
            Err(Failure::Invalid { field: feature.field(client).to_owned(), message })
        }
    }
}
