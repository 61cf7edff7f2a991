//! Refuses unpriced parts of a request by name, and finds the terms that its price depends on.

use super::{CONFIG, Does, FIELDS, Known, PARTS, find};
use crate::{
    fields::{BadRequest, text_of},
    format::{
        Terms,
        gemini::spelling::{below, camel, field, members},
        hosted::{self, Costs},
        openai::reading::read_as,
        refused::{kept, names_kept, short, unknown, unpriced},
    },
    inference::{Content, Part, Request, Unread, Work},
    usage::Tier,
};

/// Kinds of answers that have a price.
const MODALITIES: [&str; 2] = ["TEXT", "IMAGE"];

/// The terms that a request's price depends on.
///
/// # Errors
///
/// The first part of the request without a known price. The error is for the client; with the client's own provider key
/// the part would pass.
pub(in crate::format) fn terms(request: &Request) -> Result<Terms, BadRequest> {
    let body = &request.source.body;
    let mut terms = Terms::default();
    for name in body.names().filter(|name| body.present(name).is_some()) {
        priced(&FIELDS, &camel(name), "", body.get(name).unwrap_or("null"))?;
    }
    if field(body, "store").is_some_and(|store| store != "false") {
        return Err(unpriced("store", "only false has"));
    }
    if let Some(json) = field(body, "serviceTier") {
        let word = text_of(json).ok_or_else(|| BadRequest::new("serviceTier", "must be a string"))?;
        terms.tier = match &*word.to_ascii_lowercase() {
            "standard" | "service_tier_unspecified" => None,
            word => Some(("serviceTier", Tier::from_word(word))),
        };
    }
    if let Some(json) = field(body, "generationConfig") {
        of_config(json, &mut terms)?;
    }
    for unread in &request.unread {
        of_unread(unread, &mut terms)?;
    }
    if let Work::Conversation(conversation) = &request.work {
        conversation.messages.iter().flat_map(|message| &message.parts).for_each(|part| of_part(part, &mut terms));
    }
    Ok(terms)
}

fn priced(fields: &'static [Known], name: &str, at: &str, json: &str) -> Result<(), BadRequest> {
    match find(fields, name) {
        None => Err(unknown(&below(at, &short(name)))),
        // An empty object asks for nothing.
        Some((_, Does::Refused, _)) if json == "{}" => Ok(()),
        Some((_, Does::Refused | Does::Kept, note)) => Err(unpriced(below(at, name), note)),
        Some((_, Does::Nothing | Does::Prompt | Does::Output | Does::Price, _)) => Ok(()),
    }
}

fn of_config(json: &str, terms: &mut Terms) -> Result<(), BadRequest> {
    const AT: &str = "generationConfig";
    for (name, value) in members(json, AT)?.into_iter().filter(|(_, value)| *value != "null") {
        priced(&CONFIG, &name, AT, value)?;
        match &*name {
            "responseModalities" => {
                let kinds: Option<Vec<String>> = read_as(value);
                if !kinds.is_some_and(|kinds| kinds.iter().all(|kind| MODALITIES.contains(&&**kind))) {
                    return Err(unpriced(below(AT, &name), "TEXT and IMAGE have"));
                }
            }
            "imageConfig" => {
                let at = below(AT, &name);
                let odd =
                    members(value, &at)?.into_iter().find(|(name, value)| *name != "aspectRatio" && *value != "null");
                if let Some((name, _)) = odd {
                    return Err(unpriced(below(&at, &short(&name)), "aspectRatio has"));
                }
            }
            "mediaResolution" => terms.is_uncountable = true,
            _ => {}
        }
    }
    Ok(())
}

/// A member that has no place in the neutral words. Fields with members of their own are checked elsewhere.
fn of_unread(unread: &Unread, terms: &mut Terms) -> Result<(), BadRequest> {
    let (at, pattern) = (&*unread.at, unread.pattern());
    let last = at.rsplit('.').next().unwrap_or(at);
    let is_turn = pattern.starts_with("contents") || pattern.starts_with("systemInstruction");
    match &*pattern {
        _ if is_turn && last == "fileUri" => Err(kept(at, "inlineData")),
        _ if is_turn && names_kept(&unread.json) => Err(kept(at, "inlineData")),
        // A part of a kind that is counted as its JSON.
        _ if is_turn && find(&PARTS, last).is_some() => Ok(()),
        _ if is_turn => {
            terms.is_uncountable = true;
            Ok(())
        }
        pattern if pattern.starts_with("tools[].functionDeclarations[].") => Ok(()),
        pattern if pattern.starts_with("tools") => of_tool(at, last, terms),
        _ => Ok(()),
    }
}

/// A tool of Google's own, by its member.
fn of_tool(at: &str, name: &str, terms: &mut Terms) -> Result<(), BadRequest> {
    let hosted = hosted::find(hosted::OF_GEMINI, name);
    match hosted.map_or(Costs::Refused, |hosted| hosted.costs) {
        Costs::Tokens(tokens) => terms.more_input = terms.more_input.saturating_add(tokens),
        Costs::Context => terms.is_uncountable = true,
        Costs::Turns(turns) => terms.turns = terms.turns.saturating_add(turns),
        Costs::Searches | Costs::Fetches | Costs::Refused => {
            return Err(unpriced(at, hosted.map_or("functionDeclarations have", |hosted| hosted.note)));
        }
    }
    Ok(())
}

fn of_part(part: &Part, terms: &mut Terms) {
    match &part.content {
        // They are read as text, as pictures and as sound.
        Content::File(_) | Content::Audio(_) => terms.is_uncountable = true,
        Content::ToolResult(result) => result.parts.iter().for_each(|part| of_part(part, terms)),
        Content::Text(_)
        | Content::Refusal(_)
        | Content::Image(_)
        | Content::Reasoning(_)
        | Content::ToolCall(_)
        | Content::Unknown { .. } => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::format::gemini::read_generate;

    fn of(more: &Value) -> Result<Terms, BadRequest> {
        let mut body = json!({"contents": [{"parts": [{"text": "x"}]}]});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        crate::format::terms(&read_generate(body.to_string().as_bytes(), Some("m"), false).unwrap())
    }

    #[expect(clippy::needless_pass_by_value, reason = "it is made where it is asked about")]
    fn part(part: Value) -> Result<Terms, BadRequest> {
        of(&json!({"contents": [{"parts": [{"text": "x"}, part]}]}))
    }

    #[test]
    fn what_has_no_price_is_refused_by_its_name() {
        for (more, field) in [
            (json!({"cachedContent": "cachedContents/x"}), "cachedContent"),
            (json!({"cached_content": "cachedContents/x"}), "cachedContent"),
            (json!({"continuationToken": "t"}), "continuationToken"),
            (json!({"store": true}), "store"),
            (json!({"a_field_of_tomorrow": 1}), "aFieldOfTomorrow"),
            (json!({"serviceTier": 7}), "serviceTier"),
            (json!({"tools": [{"googleSearch": {}}]}), "tools[0].googleSearch"),
            (json!({"tools": [{"functionDeclarations": []}, {"code_execution": {}}]}), "tools[1].codeExecution"),
            (json!({"tools": [{"fieldOfTomorrow": []}]}), "tools[0].fieldOfTomorrow"),
            (json!({"generationConfig": {"speechConfig": {"a": 1}}}), "generationConfig.speechConfig"),
            (json!({"generation_config": {"field_of_tomorrow": 1}}), "generationConfig.fieldOfTomorrow"),
            (json!({"generationConfig": {"responseModalities": ["AUDIO"]}}), "generationConfig.responseModalities"),
            (
                json!({"generationConfig": {"imageConfig": {"imageSize": "4K"}}}),
                "generationConfig.imageConfig.imageSize",
            ),
            (
                json!({"generationConfig": {"maxOutputTokens": 9, "topP": 0.5}, "contents": [{"parts": [{"text": "x"}]}], "x": {}}),
                "x",
            ),
        ] {
            assert_eq!(of(&more).unwrap_err().field, field, "{more}");
        }
        let at = "contents[0].parts[1]";
        for (bad, field) in [
            (
                json!({"fileData": {"fileUri": "https://generativelanguage.googleapis.com/v1beta/files/a"}}),
                "fileData.fileUri",
            ),
            (json!({"file_data": {"file_uri": "gs://a/b"}}), "fileData.fileUri"),
            (json!({"partOfTomorrow": {"a": [{"fileUri": "gs://a/b"}]}}), "partOfTomorrow"),
        ] {
            assert_eq!(part(bad.clone()).unwrap_err().field, format!("{at}.{field}"), "{bad}");
        }
        let twice =
            br#"{"contents":[{"parts":[{"text":"x"}]}],"generationConfig":{"maxOutputTokens":1,"maxOutputTokens":9}}"#;
        let twice = crate::format::terms(&read_generate(twice, Some("m"), false).unwrap()).unwrap_err();
        assert_eq!(twice.field, "generationConfig.maxOutputTokens");
    }

    #[test]
    fn what_clients_send_has_a_price() {
        let usual = json!({"systemInstruction": {"parts": [{"text": "s"}]}, "store": false, "serviceTier": "standard",
            "tools": [{"functionDeclarations": [{"name": "f", "response": {"type": "STRING"}}]}],
            "toolConfig": {"functionCallingConfig": {"mode": "AUTO"}}, "safetySettings": [{"category": "x", "threshold": "OFF"}],
            "generationConfig": {"temperature": 1, "thinkingConfig": {"thinkingBudget": 5}, "responseModalities": ["TEXT"], "seed": 1,
                "responseMimeType": "application/json", "responseSchema": {"type": "STRING"}}, "cachedContent": null, "labels": {}});
        assert_eq!(of(&usual), Ok(Terms::default()));
        let uncountable = Terms { is_uncountable: true, ..Terms::default() };
        for (good, expected) in [
            (json!({"inlineData": {"mimeType": "image/png", "data": "AAAA"}}), Terms::default()),
            (json!({"executableCode": {"code": "1"}}), Terms::default()),
            (json!({"inlineData": {"mimeType": "application/pdf", "data": "AAAA"}}), uncountable.clone()),
            (json!({"inlineData": {"mimeType": "audio/wav", "data": "AAAA"}}), uncountable.clone()),
            (json!({"fileData": {"fileUri": "https://x/y.mp4", "mimeType": "video/mp4"}}), uncountable.clone()),
            (json!({"text": "x", "videoMetadata": {"fps": 5}}), uncountable.clone()),
            (json!({"partOfTomorrow": {}}), uncountable.clone()),
        ] {
            assert_eq!(part(good.clone()), Ok(expected), "{good}");
        }
        assert_eq!(of(&json!({"generationConfig": {"mediaResolution": "MEDIA_RESOLUTION_HIGH"}})), Ok(uncountable));
        let tier = |word: &str| of(&json!({"serviceTier": word})).unwrap().tier;
        assert_eq!(tier("flex"), Some(("serviceTier", Some(Tier::Flex))));
        assert_eq!(
            (tier("PRIORITY"), tier("new")),
            (Some(("serviceTier", Some(Tier::Priority))), Some(("serviceTier", None)))
        );
    }
}
