//! Refuses unpriced parts of a request by name, and finds the terms that its price depends on.

use serde_json::value::RawValue;

use super::{Does, find};
use crate::{
    fields::{BadRequest, Fields, Pairs, text_of},
    format::{
        Terms,
        hosted::{self, Costs},
        marks,
        refused::{kept, names_kept, unknown, unpriced},
    },
    inference::{CacheMark, CacheTtl, Content, Part, Request, Unread, Work},
    usage::Tier,
};

/// The most uses of a tool.
const MOST_USES: u64 = 1_000;
/// The note on unknown cache times.
const TIMES: &str = "a cache may be kept for 5m or 1h";

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
        match find(name) {
            None => return Err(unknown(name)),
            // An empty list asks for nothing.
            Some((_, Does::Refused, _)) if body.get(name) == Some("[]") => {}
            Some((_, Does::Refused | Does::Kept, note)) => return Err(unpriced(name, note)),
            Some((_, Does::Nothing | Does::Prompt | Does::Output | Does::Price, _)) => {}
        }
    }
    let word = |name: &str| body.read::<String>(name, "a string");
    let is_us = match word("inference_geo")?.as_deref() {
        None | Some("global") => false,
        Some("us") => true,
        Some(_) => return Err(unpriced("inference_geo", "global and us have")),
    };
    let tier = match word("service_tier")?.as_deref() {
        None | Some("auto" | "standard_only") => None,
        Some(_) => Some(("service_tier", None)),
    };
    let speed = match word("speed")?.as_deref() {
        None | Some("standard") if is_us => Some(("inference_geo", Some(Tier::Us))),
        None | Some("standard") => None,
        Some("fast") if is_us => Some(("speed", Some(Tier::PriorityUs))),
        Some("fast") => Some(("speed", Some(Tier::Priority))),
        Some(_) => Some(("speed", None)),
    };
    terms.tier = tier.or(speed);
    if compacts(body) {
        terms.is_uncountable = true;
        terms.turns = terms.turns.saturating_add(1);
    }
    of_tools(body, &mut terms)?;
    for unread in &request.unread {
        of_unread(unread, &mut terms)?;
    }
    if let Work::Conversation(conversation) = &request.work {
        terms.keeps_long |= conversation.tools.iter().any(|tool| keeps_long(tool.cache));
        for message in &conversation.messages {
            terms.keeps_long |= keeps_long(message.cache);
            message.parts.iter().for_each(|part| of_part(part, &mut terms));
        }
    }
    Ok(terms)
}

/// Whether the provider may sum the conversation up, which costs a reading of all of it.
fn compacts(body: &Fields) -> bool {
    let edits = body.present("context_management").is_some_and(|edits| edits.contains("compact"));
    edits || body.present("compaction").is_some()
}

/// Each tool by its type: those of the provider are bounded, or refused.
fn of_tools(body: &Fields, terms: &mut Terms) -> Result<(), BadRequest> {
    let Some(json) = body.present("tools") else { return Ok(()) };
    let list: Vec<&RawValue> = body_list(json)?;
    for (place, tool) in list.iter().enumerate() {
        let tool =
            Pairs::of(tool.get()).ok_or_else(|| BadRequest::new(format!("tools[{place}]"), "must be an object"))?;
        let kind = tool.get("type").filter(|kind| *kind != "null").map(text_of);
        let kind = match kind {
            None => continue,
            Some(Some(kind)) => kind,
            Some(None) => return Err(BadRequest::new(format!("tools[{place}].type"), "must be a string")),
        };
        if kind == "custom" {
            continue;
        }
        let hosted = hosted::find(hosted::OF_MESSAGES, &kind);
        let count = match hosted.map_or(Costs::Refused, |hosted| hosted.costs) {
            Costs::Tokens(tokens) => {
                terms.more_input = terms.more_input.saturating_add(tokens);
                continue;
            }
            Costs::Context => {
                terms.is_uncountable = true;
                continue;
            }
            Costs::Searches => &mut terms.web_searches,
            Costs::Fetches => &mut terms.web_fetches,
            Costs::Turns(_) | Costs::Refused => {
                let note = hosted.map_or("tools that you run have, and web_search and web_fetch", |hosted| hosted.note);
                return Err(unpriced(format!("tools[{place}].type"), note));
            }
        };
        let uses: Option<u64> = tool.get("max_uses").and_then(|uses| uses.parse().ok());
        let uses = uses.filter(|uses| *uses <= MOST_USES).ok_or_else(|| {
            let message = format!("must bound this tool: a whole number from 0 to {MOST_USES}");
            BadRequest::new(format!("tools[{place}].max_uses"), message)
        })?;
        *count = count.saturating_add(uses);
        terms.turns = terms.turns.saturating_add(uses);
    }
    Ok(())
}

fn body_list(json: &str) -> Result<Vec<&RawValue>, BadRequest> {
    serde_json::from_str(json).map_err(|_| BadRequest::new("tools", "must be an array"))
}

/// A member that has no place in the neutral words. Members of tools and fields with values of their own are checked
/// elsewhere. A block of an unknown type may be read as any number of tokens.
fn of_unread(unread: &Unread, terms: &mut Terms) -> Result<(), BadRequest> {
    let at = &*unread.at;
    let last = at.rsplit('.').next().unwrap_or(at);
    let is_content = at.starts_with("messages") || at.starts_with("system");
    if last != "ttl" {
        let mut odd = Vec::new();
        terms.keeps_long |= keeps_long(marks::within(&unread.json, at, &mut odd));
        if let Some(odd) = odd.into_iter().next() {
            return of_unread(&odd, terms);
        }
    }
    match last {
        "file_id" => Err(kept(at, "the bytes")),
        "ttl" => Err(unpriced(at, TIMES)),
        "cache_control" => Err(BadRequest::new(at, "must be an object")),
        _ if is_content && names_kept(&unread.json) => Err(kept(at, "the bytes")),
        "type" if is_content && text_of(&unread.json).as_deref() == Some("container_upload") => Err(unpriced(at, "")),
        "type" if is_content => {
            terms.is_uncountable = true;
            Ok(())
        }
        _ => Ok(()),
    }
}

fn keeps_long(mark: Option<CacheMark>) -> bool {
    mark.and_then(|mark| mark.ttl).is_some_and(CacheTtl::is_long)
}

fn of_part(part: &Part, terms: &mut Terms) {
    terms.keeps_long |= keeps_long(part.cache);
    match &part.content {
        // A document is read as text and as pictures.
        Content::File(_) => terms.is_uncountable = true,
        Content::ToolResult(result) => result.parts.iter().for_each(|part| of_part(part, terms)),
        Content::Text(_)
        | Content::Refusal(_)
        | Content::Image(_)
        | Content::Audio(_)
        | Content::Reasoning(_)
        | Content::ToolCall(_)
        | Content::Unknown { .. } => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::format::anthropic::read_messages;

    fn of(more: &Value) -> Result<Terms, BadRequest> {
        let mut body = json!({"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "x"}]});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        terms(&read_messages(body.to_string().as_bytes()).unwrap())
    }

    #[expect(clippy::needless_pass_by_value, reason = "it is made where it is asked about")]
    fn block(block: Value) -> Result<Terms, BadRequest> {
        let result =
            json!({"type": "tool_result", "tool_use_id": "i", "content": [{"type": "text", "text": "x"}, block]});
        of(&json!({"messages": [{"role": "user", "content": [result]}]}))
    }

    #[test]
    fn what_has_no_price_is_refused_by_its_name() {
        for (more, field) in [
            (json!({"mcp_servers": [{"type": "url"}]}), "mcp_servers"),
            (json!({"container": "c"}), "container"),
            (json!({"fallbacks": [{"model": "m"}]}), "fallbacks"),
            (json!({"a_field_of_tomorrow": 1}), "a_field_of_tomorrow"),
            (json!({"inference_geo": "mars"}), "inference_geo"),
            (json!({"service_tier": 7}), "service_tier"),
            (json!({"tools": {}}), "tools"),
            (json!({"tools": [7]}), "tools[0]"),
            (json!({"tools": [{"type": "code_execution_20260120", "name": "c"}]}), "tools[0].type"),
            (json!({"tools": [{"name": "f"}, {"type": "mcp_toolset"}]}), "tools[1].type"),
            (json!({"tools": [{"type": 7}]}), "tools[0].type"),
            (json!({"tools": [{"type": "web_search_20260318", "name": "w"}]}), "tools[0].max_uses"),
            (json!({"tools": [{"type": "web_search_20260318", "max_uses": -1}]}), "tools[0].max_uses"),
            (json!({"tools": [{"type": "web_fetch_20260318", "max_uses": 1.5}]}), "tools[0].max_uses"),
            (json!({"cache_control": {"type": "ephemeral", "ttl": "9h"}}), "cache_control.ttl"),
            (json!({"cache_control": 7}), "cache_control"),
        ] {
            assert_eq!(of(&more).unwrap_err().field, field, "{more}");
        }
        let at = "messages[0].content[0].content[1]";
        for (bad, field) in [
            (json!({"type": "document", "source": {"type": "file", "file_id": "f"}}), "source.file_id"),
            (json!({"type": "image", "source": {"type": "file", "file_id": "f"}}), "source.file_id"),
            (json!({"type": "container_upload", "file_id": "f"}), "type"),
            (json!({"type": "text", "text": "x", "cache_control": {"ttl": "9h"}}), "cache_control.ttl"),
            (json!({"type": "block_of_tomorrow", "x": [{"cache_control": {"ttl": "9h"}}]}), "x[0].cache_control.ttl"),
        ] {
            assert_eq!(block(bad.clone()).unwrap_err().field, format!("{at}.{field}"), "{bad}");
        }
    }

    #[test]
    fn what_agents_send_has_a_price() {
        let agents = json!({"system": [{"type": "text", "text": "s", "cache_control": {"type": "ephemeral"}}],
            "tools": [{"name": "f", "input_schema": {}, "eager_input_streaming": true}], "metadata": {"user_id": "u"},
            "thinking": {"type": "adaptive", "display": "omitted"}, "output_config": {"effort": "high"}, "stream": true,
            "context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
            "service_tier": "auto", "speed": "standard", "inference_geo": "global", "container": null, "mcp_servers": []});
        assert_eq!(of(&agents), Ok(Terms::default()));
        let uncountable = Terms { is_uncountable: true, ..Terms::default() };
        let long = Terms { keeps_long: true, ..Terms::default() };
        for (good, expected) in [
            (json!({"type": "text", "text": "y", "citations": []}), Terms::default()),
            (
                json!({"type": "text", "text": "y", "cache_control": {"type": "ephemeral", "ttl": "5m"}}),
                Terms::default(),
            ),
            (json!({"type": "text", "text": "y", "cache_control": {"type": "ephemeral", "ttl": "1h"}}), long.clone()),
            (
                json!({"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "AA"}}),
                uncountable.clone(),
            ),
            (json!({"type": "block_of_tomorrow", "x": 1}), uncountable.clone()),
            (json!({"type": "image", "source": {"type": "url", "url": "https://x/y.png"}}), Terms::default()),
            (
                json!({"type": "document", "source": {"type": "content", "content": [
                    {"type": "text", "text": "y", "cache_control": {"type": "ephemeral", "ttl": "1h"}}]}}),
                long.clone(),
            ),
            (
                json!({"type": "document", "source": {"type": "content", "content": [
                    {"type": "image", "source": {"type": "url", "url": "https://x/y.png"}, "cache_control": {"ttl": "1h"}}]}}),
                Terms { keeps_long: true, ..uncountable.clone() },
            ),
            (
                json!({"type": "search_result", "title": "t", "source": "u", "content": [
                    {"type": "text", "text": "y", "cache_control": {"type": "ephemeral", "ttl": "1h"}}]}),
                long.clone(),
            ),
            (
                json!({"type": "block_of_tomorrow", "x": [{"cache_control": {"ttl": "1h"}}]}),
                Terms { keeps_long: true, ..uncountable.clone() },
            ),
        ] {
            assert_eq!(block(good.clone()), Ok(expected), "{good}");
        }
        assert_eq!(of(&json!({"cache_control": {"type": "ephemeral", "ttl": "1h"}})), Ok(long));
        let compacting = json!({"context_management": {"edits": [{"type": "compact_20260112"}]}});
        assert_eq!(of(&compacting), Ok(Terms { turns: 1, ..uncountable }));
    }

    #[test]
    fn a_tool_of_the_providers_counts_its_uses_and_turns() {
        let tools = json!({"tools": [{"type": "web_search_20260318", "name": "w", "max_uses": 8},
            {"type": "web_fetch_20260318", "name": "g", "max_uses": 2}, {"type": "bash_20250124", "name": "bash"}]});
        let expected = Terms { web_searches: 8, web_fetches: 2, turns: 10, more_input: 1_500, ..Terms::default() };
        assert_eq!(of(&tools), Ok(expected));
    }

    #[test]
    fn speed_is_a_tier_and_no_other_tier_has_a_price() {
        let of = |more: Value| of(&more).unwrap().tier;
        assert_eq!(of(json!({"speed": "fast"})), Some(("speed", Some(Tier::Priority))));
        assert_eq!(of(json!({"inference_geo": "us"})), Some(("inference_geo", Some(Tier::Us))));
        assert_eq!(of(json!({"speed": "fast", "inference_geo": "us"})), Some(("speed", Some(Tier::PriorityUs))));
        assert_eq!(of(json!({"speed": "ultra"})), Some(("speed", None)));
        assert_eq!(of(json!({"service_tier": "batch"})), Some(("service_tier", None)));
        assert_eq!(of(json!({"service_tier": "standard_only"})), None);
    }
}
