//! The members of a request of `generateContent`, as far as a provider of another format is concerned.

use super::spelling::{field, list, members};
use crate::{
    fields::text_of,
    format::{leftover::Members, openai::reading::member},
    inference::Request,
};

/// Fields that change no answer. Filters that are asked for are looked at apart.
const HARMLESS: [&str; 3] = ["labels", "safetySettings", "safety_settings"];
/// Fields with values that ask for nothing beside the usual.
const USUAL: [(&str, &[&str]); 3] = [
    ("store", &["false"]),
    ("serviceTier", &["\"standard\"", "\"STANDARD\""]),
    ("service_tier", &["\"standard\"", "\"STANDARD\""]),
];
/// Fields that the neutral words hold.
const NEUTRAL: [&str; 8] = [
    "contents",
    "systemInstruction",
    "system_instruction",
    "tools",
    "toolConfig",
    "tool_config",
    "generationConfig",
    "generation_config",
];
/// Members that describe and change no answer, by pattern.
const DESCRIBING: [&str; 6] = [
    "contents[].parts[].partMetadata",
    "contents[].parts[].functionResponse.willContinue",
    "tools[].functionDeclarations[].response",
    "tools[].functionDeclarations[].responseJsonSchema",
    "tools[].functionDeclarations[].behavior",
    "generationConfig.enableEnhancedCivicAnswers",
];
/// Thresholds of filters that ask for none.
const UNFILTERED: [&str; 3] = ["OFF", "BLOCK_NONE", "HARM_BLOCK_THRESHOLD_UNSPECIFIED"];

/// What the format's members are to providers of others.
const MEMBERS: Members = Members { neutral: &NEUTRAL, harmless: &HARMLESS, usual: &USUAL, describing: &DESCRIBING };

/// The first member of a request that has no place in the neutral words and may change the answer.
pub(in crate::format) fn leftover(request: &Request) -> Option<String> {
    let wanted = field(&request.source.body, "safetySettings").is_some_and(filters);
    if wanted {
        return Some("safetySettings".to_owned());
    }
    // A function whose result comes in pieces, or that is not waited for, is none of other formats'.
    MEMBERS.leftover(request, |unread| {
        let json = &*unread.json;
        (unread.at.ends_with("willContinue") && json != "false") || json.contains("NON_BLOCKING")
    })
}

/// Whether settings ask for a filter: no other provider has Google's.
fn filters(json: &str) -> bool {
    let is_none = |json: &str| {
        let members = members(json, "").unwrap_or_default();
        member(&members, "threshold").and_then(text_of).is_none_or(|word| UNFILTERED.contains(&&*word))
    };
    list(json, "").map_or(true, |list| !list.into_iter().all(is_none))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::format::gemini::read_generate;

    #[test]
    fn what_can_change_an_answer_and_has_no_neutral_place_is_found() {
        let of = |more: &Value| {
            let mut body = json!({"contents": [{"parts": [{"text": "x"}]}]});
            body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            leftover(&read_generate(body.to_string().as_bytes(), Some("m"), false).unwrap())
        };
        let filter = |threshold: &str| json!({"safety_settings": [{"category": "c", "threshold": threshold}]});
        let function = |more: Value| json!({"tools": [{"functionDeclarations": [more]}]});
        for harmless in [
            json!({}),
            json!({"store": false, "serviceTier": "standard", "labels": {"a": "b"}, "tool_config": {}}),
            json!({"generation_config": {"temperature": 1, "enableEnhancedCivicAnswers": true}}),
            filter("BLOCK_NONE"),
            function(json!({"name": "f", "response": {"type": "STRING"}, "behavior": "BLOCKING"})),
        ] {
            assert_eq!(of(&harmless), None, "{harmless}");
        }
        for (more, field) in [
            (filter("BLOCK_LOW_AND_ABOVE"), "safetySettings"),
            (json!({"serviceTier": "flex"}), "serviceTier"),
            (json!({"cachedContent": "x"}), "cachedContent"),
            (json!({"new": 1}), "new"),
            (json!({"tools": [{"googleSearch": {}}]}), "tools[0].googleSearch"),
            (json!({"generationConfig": {"speechConfig": {}}}), "generationConfig.speechConfig"),
            (json!({"contents": [{"parts": [{"executableCode": {}}]}]}), "contents[0].parts[0].executableCode"),
            (function(json!({"name": "f", "behavior": "NON_BLOCKING"})), "tools[0].functionDeclarations[0].behavior"),
        ] {
            assert_eq!(of(&more).as_deref(), Some(field), "{more}");
        }
    }
}
