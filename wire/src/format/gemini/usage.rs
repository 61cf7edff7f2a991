//! `usageMetadata` as a report. The prompt includes what was read from the cache; thoughts are beside the candidates,
//! and what tools of Google's read is beside the prompt, at the price of input. In a stream it is a running total.

use serde_json::Value;

use crate::{
    format::count,
    usage::{Report, Tier},
};

/// Longer usage objects are not passed on: no real one is as long.
const LARGEST_OBJECT: usize = 64 * 1_024;

/// The usage that an answer reports; `None` where it reports nothing. `searches` are those of its candidates.
pub(super) fn report(answer: &Value, searches: u64) -> Option<Report> {
    let usage = answer.get("usageMetadata").filter(|usage| usage.is_object())?;
    let number = |name: &str| usage.get(name).and_then(count);
    let of_tools = number("toolUsePromptTokenCount");
    let input = number("promptTokenCount").map(|prompt| prompt.saturating_add(of_tools.unwrap_or(0)));
    let (written, thought) = (number("candidatesTokenCount"), number("thoughtsTokenCount"));
    let output = match (written, thought) {
        (None, None) => number("totalTokenCount").zip(input).map(|(total, input)| total.saturating_sub(input)),
        _ => Some(written.unwrap_or(0).saturating_add(thought.unwrap_or(0))),
    };
    let of = |names: &[&str], modality: &str| names.iter().map(|name| part(usage, name, modality)).sum::<u64>();
    let read = |modality: &str| {
        of(&["promptTokensDetails", "toolUsePromptTokensDetails"], modality)
            .saturating_sub(of(&["cacheTokensDetails"], modality))
    };
    let is_nothing = input.unwrap_or(0) == 0 && output.unwrap_or(0) == 0;
    let report = Report {
        input,
        cached_input: number("cachedContentTokenCount").unwrap_or(0),
        audio_input: read("AUDIO"),
        image_input: read("IMAGE"),
        output,
        reasoning: thought.unwrap_or(0),
        audio_output: of(&["candidatesTokensDetails"], "AUDIO"),
        image_output: of(&["candidatesTokensDetails"], "IMAGE"),
        web_searches: searches,
        tier: tier(usage),
        own: Some(usage.to_string()).filter(|own| own.len() <= LARGEST_OBJECT).map(String::into_boxed_str),
        ..Report::default()
    };
    (!is_nothing).then(|| report.fitted())
}

/// The service tier that served, where it is said.
fn tier(usage: &Value) -> Option<Tier> {
    let word = usage.get("serviceTier").and_then(Value::as_str)?;
    Tier::from_word(&word.to_ascii_lowercase())
}

/// The answer to a count of tokens; `None` where a body is none.
pub(super) fn counted(body: &[u8]) -> Option<Report> {
    let answer: Value = serde_json::from_slice(body).ok()?;
    let input = answer.get("totalTokens").and_then(count)?;
    Some(Report { input: Some(input), own: Some(answer.to_string().into()), ..Report::default() })
}

/// The tokens of one modality among details.
fn part(usage: &Value, details: &str, modality: &str) -> u64 {
    let list = usage.get(details).and_then(Value::as_array).into_iter().flatten();
    let of_modality = list.filter(|entry| entry.get("modality").and_then(Value::as_str) == Some(modality));
    of_modality.filter_map(|entry| count(entry.get("tokenCount")?)).fold(0, u64::saturating_add)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[expect(clippy::needless_pass_by_value, reason = "it is made where it is asked about")]
    fn of(usage: Value) -> Option<Report> {
        report(&json!({"usageMetadata": usage}), 0)
    }

    #[test]
    fn thoughts_and_what_tools_read_are_added() {
        let report =
            of(json!({"promptTokenCount": 5000, "cachedContentTokenCount": 4096, "toolUsePromptTokenCount": 250,
            "candidatesTokenCount": 300, "thoughtsTokenCount": 700, "totalTokenCount": 6250}));
        let report = report.unwrap();
        assert_eq!((report.input, report.cached_input), (Some(5_250), 4_096));
        assert_eq!((report.output, report.reasoning), (Some(1_000), 700));
    }

    #[test]
    fn an_output_that_is_not_named_is_what_the_total_has_beside_its_input() {
        let named = of(json!({"promptTokenCount": 10, "toolUsePromptTokenCount": 5, "totalTokenCount": 22})).unwrap();
        assert_eq!((named.input, named.output), (Some(15), Some(7)));
        let alone = of(json!({"promptTokenCount": 10, "candidatesTokenCount": 0})).unwrap();
        assert_eq!((alone.input, alone.output), (Some(10), Some(0)));
        assert_eq!(of(json!({"promptTokenCount": 10})).unwrap().output, None);
        assert_eq!(of(json!({"candidatesTokenCount": 4})).unwrap().input, None);
        assert_eq!(of(json!({"promptTokenCount": -1, "candidatesTokenCount": "x"})), None);
        assert_eq!(of(json!(null)), None);
    }

    #[test]
    fn the_tier_and_the_object_itself_are_told_and_a_count_is_read() {
        let told = of(json!({"promptTokenCount": 10, "serviceTier": "PRIORITY"})).unwrap();
        assert_eq!(
            (told.tier, told.own.as_deref()),
            (Some(Tier::Priority), Some(r#"{"promptTokenCount":10,"serviceTier":"PRIORITY"}"#))
        );
        let count = counted(br#"{"totalTokens":7,"promptTokensDetails":[]}"#).unwrap();
        assert_eq!(
            (count.input, count.own.as_deref()),
            (Some(7), Some(r#"{"totalTokens":7,"promptTokensDetails":[]}"#))
        );
        assert_eq!(counted(br#"{"candidates":[]}"#), None);
    }

    #[test]
    fn sound_and_pictures_are_told_apart() {
        let entry = |modality: &str, count: u64| json!({"modality": modality, "tokenCount": count});
        let report = of(json!({"promptTokenCount": 600, "cachedContentTokenCount": 60, "candidatesTokenCount": 50,
            "promptTokensDetails": [entry("TEXT", 100), entry("AUDIO", 200), entry("IMAGE", 258)],
            "cacheTokensDetails": [entry("AUDIO", 50), entry("TEXT", 10)],
            "candidatesTokensDetails": [entry("TEXT", 8), entry("IMAGE", 30), entry("AUDIO", 12)]}));
        let report = report.unwrap();
        assert_eq!((report.audio_input, report.image_input), (150, 258));
        assert_eq!((report.audio_output, report.image_output), (12, 30));
    }
}
