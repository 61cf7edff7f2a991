//! How much a model is to reason, as Gemini takes it: by a level, or by tokens where the client or an older model counts
//! so ("Thinking", Gemini API documentation). What is thought is shown, unless nothing is to be.

use serde_json::{Value, json};

use crate::{
    format::feature::Feature,
    inference::{Failure, Format, ReasoningWanted},
};

/// How a model reasons.
#[derive(Debug, Clone, Copy)]
enum Reasons {
    Never,
    /// By a number of tokens within these bounds; some models always reason.
    ByTokens {
        least: u32,
        most: u32,
        always: bool,
    },
    ByLevel,
}

impl Reasons {
    fn of(model: &str) -> Self {
        let begins = |with: &str| model.starts_with(with);
        if begins("gemini-1") || begins("gemini-2.0") {
            Self::Never
        } else if begins("gemini-2.5-pro") {
            Self::ByTokens { least: 128, most: 32_768, always: true }
        } else if begins("gemini-2.5-flash-lite") {
            Self::ByTokens { least: 512, most: 24_576, always: false }
        } else if begins("gemini-2") {
            Self::ByTokens { least: 1, most: 24_576, always: false }
        } else {
            Self::ByLevel
        }
    }
}

/// The level of a word for an effort, and the tokens in its place.
fn of_word(word: &str) -> Option<(&'static str, u32)> {
    Some(match word {
        "none" => ("MINIMAL", 0),
        "minimal" => ("MINIMAL", 1_024),
        "low" => ("LOW", 1_024),
        "medium" => ("MEDIUM", 8_192),
        "high" => ("HIGH", 24_576),
        "xhigh" | "max" => ("XHIGH", 24_576),
        _ => return None,
    })
}

/// The level that a model knows in place of one: the larger models of the third generation reason at least a little, and
/// the first of them knows two levels.
fn level_of(model: &str, level: &'static str) -> &'static str {
    let is_large = model.starts_with("gemini-3") && model.contains("-pro");
    match level {
        "MINIMAL" if is_large => "LOW",
        "MEDIUM" if model.starts_with("gemini-3-pro") => "HIGH",
        level => level,
    }
}

/// `thinkingConfig`. A model that can't but reason is asked for the least.
///
/// # Errors
///
/// A word that is not known, or a model that does not reason.
pub(super) fn thinking(wanted: &ReasoningWanted, model: &str, client: Format) -> Result<Option<Value>, Failure> {
    let (feature, asked) = match (wanted.max_tokens, wanted.effort.as_deref()) {
        (Some(tokens), _) => (Feature::ReasoningTokens, Ok((None, tokens))),
        (None, Some(word)) => {
            let known = of_word(word).map(|(level, tokens)| (Some(level), tokens));
            (Feature::Effort, known.ok_or_else(|| format!("{word} is not an effort that Gemini knows")))
        }
        (None, None) => return Ok(None),
    };
    let refused = |message: String| Failure::Invalid { field: feature.field(client).to_owned(), message };
    let (level, tokens) = asked.map_err(refused)?;
    let by_tokens = |budget: u32| json!({"thinkingBudget": budget, "includeThoughts": tokens > 0});
    Ok(Some(match (Reasons::of(model), level) {
        (Reasons::Never, _) if tokens == 0 => return Ok(None),
        (Reasons::Never, _) => return Err(refused("asks a model to reason that can't".to_owned())),
        (Reasons::ByTokens { always: false, .. }, _) if tokens == 0 => by_tokens(0),
        (Reasons::ByTokens { least, most, .. }, _) => by_tokens(tokens.clamp(least, most)),
        (Reasons::ByLevel, None) if tokens > 0 => by_tokens(tokens),
        (Reasons::ByLevel, level) => {
            json!({"thinkingLevel": level_of(model, level.unwrap_or("MINIMAL")), "includeThoughts": tokens > 0})
        }
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::{ProviderFormat as _, Upstream, anthropic::read_messages, gemini::Gemini};

    #[test]
    fn tokens_of_reasoning_are_within_what_the_model_takes() {
        let of = |model: &str, thinking: Value| {
            let body = json!({"model": "m", "max_tokens": 90_000, "thinking": thinking, "messages": [{"role": "user", "content": "x"}]});
            let request = read_messages(body.to_string().as_bytes()).unwrap();
            let call = Gemini.call(request, &Upstream { model, max_output: 100, tier: None });
            call.map(|call| {
                serde_json::from_str::<Value>(&call.body.to_json()).unwrap()["generationConfig"]["thinkingConfig"]
                    .clone()
            })
        };
        let budget = |tokens: u32| json!({"type": "enabled", "budget_tokens": tokens});
        for (model, thinking, budget) in [
            ("gemini-2.5-pro", json!({"type": "disabled"}), 128),
            ("gemini-2.5-pro", budget(60_000), 32_768),
            ("gemini-2.5-flash", json!({"type": "disabled"}), 0),
            ("gemini-2.5-flash", budget(60_000), 24_576),
            ("gemini-2.5-flash-lite", budget(100), 512),
            ("gemini-3.8-flash", budget(2_000), 2_000),
        ] {
            assert_eq!(of(model, thinking).unwrap()["thinkingBudget"], budget, "{model}");
        }
        let least = json!({"thinkingLevel": "MINIMAL", "includeThoughts": false});
        assert_eq!(of("gemini-3.8-flash", json!({"type": "disabled"})).unwrap(), least);
        let never = of("gemini-2.0-flash", budget(2_000));
        assert!(matches!(never, Err(Failure::Invalid { field, .. }) if field == "thinking"));
    }
}
