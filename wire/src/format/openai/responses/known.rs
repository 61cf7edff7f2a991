//! The known request fields of responses, and the effect of each on a request's cost where the gateway's key pays. The
//! rules are those of chat completions: a field that is not in the table may cost anything, so it is refused by its name.

use crate::{
    fields::{BadRequest, Fields},
    format::{
        Terms,
        hosted::{self, Costs},
        known::{self, Does, Known},
        marks,
        refused::{kept, names_kept, short, unknown, unpriced},
    },
    inference::{CacheTtl, Content, Media, Request, Unread, Work},
    usage::Tier,
};

use Does::{Kept, Nothing, Output, Price, Prompt, Refused};

/// All known fields, with a remark for people.
const FIELDS: [Known; 33] = [
    ("model", Nothing, "chooses whose prices count"),
    ("input", Prompt, "items that are not known are taken as the model's whole context"),
    ("instructions", Prompt, ""),
    ("tools", Prompt, "each by its type: see [hosted-tools.md](hosted-tools.md)"),
    ("text", Prompt, "with the schema of its format"),
    ("max_output_tokens", Output, ""),
    ("service_tier", Price, "as for chats"),
    ("prompt_cache_options", Price, "`ttl`: `30m` or `12h`"),
    ("stream", Nothing, ""),
    ("stream_options", Nothing, "`include_obfuscation`"),
    ("temperature", Nothing, ""),
    ("top_p", Nothing, ""),
    ("top_logprobs", Nothing, ""),
    ("tool_choice", Nothing, ""),
    ("parallel_tool_calls", Nothing, ""),
    ("max_tool_calls", Output, "4 where there are hosted tools and no bound"),
    ("reasoning", Nothing, "`effort`, `summary`, `generate_summary`; reasoning counts in the output limit"),
    ("include", Nothing, ""),
    ("truncation", Nothing, ""),
    ("metadata", Nothing, ""),
    ("client_metadata", Nothing, ""),
    ("user", Nothing, ""),
    ("safety_identifier", Nothing, ""),
    ("prompt_cache_key", Nothing, ""),
    ("prompt_cache_retention", Nothing, "older models; costs nothing"),
    ("store", Nothing, "kept here for 30 days unless `false`; OpenAI keeps it too, in the gateway's project"),
    ("background", Kept, "the answer is kept; `GET /v1/responses/{id}` reads it"),
    ("background_options", Refused, ""),
    ("previous_response_id", Kept, "all items before are put into the input, and count"),
    ("conversation", Kept, "all its items are put into the input, and count; the answer is added to it"),
    ("prompt", Refused, "templates kept at the provider are the gateway's"),
    ("context_management", Refused, "compaction is a call of its own"),
    ("moderation", Refused, ""),
];
/// Members of `reasoning` that cost nothing beside the output.
const REASONING: [&str; 3] = ["effort", "summary", "generate_summary"];

/// The member that carries a file.
const DATA: &str = "the file's data";
/// The end of a tool's place: tools hold tools, and items of the input do.
const TOOLS: &str = "tools[].type";
/// The most searches of a request whose client names no bound.
const MOST_SEARCHES: u32 = 4;

/// A tool whose cost depends on where it runs.
const SHELL: &str = "shell";

/// Whether a tool is a search of the web by the provider.
fn is_search(kind: &str) -> bool {
    hosted::find(hosted::OF_RESPONSES, kind).is_some_and(|tool| tool.costs == Costs::Searches)
}

/// Bounds the provider's own tools in a request that does not: agents send a search of the web with each request, and
/// name no bound. The bound stands beside the tools, so that what the provider's cache keeps stays the same.
pub(in crate::format) fn bound(request: &mut Request) {
    let searches = request.unread.iter().filter(|unread| unread.pattern().ends_with(TOOLS));
    let searches = searches.filter_map(|unread| serde_json::from_str::<String>(&unread.json).ok());
    if searches.into_iter().any(|kind| is_search(&kind)) && request.source.body.present("max_tool_calls").is_none() {
        request.source.body.set("max_tool_calls", &MOST_SEARCHES);
    }
}

/// Names of the fields that are counted with a prompt, besides its messages.
pub(in crate::format::openai) fn counted_beside() -> impl Iterator<Item = &'static str> {
    let is_beside =
        |(name, does, _): &&(&'static str, Does, &str)| *does == Prompt && !["input", "instructions"].contains(name);
    FIELDS.iter().filter(is_beside).map(|(name, ..)| *name)
}

/// The table for people, in Markdown.
pub(in crate::format::openai) fn table() -> String {
    known::table("field", &FIELDS)
}

/// The terms that a request's price depends on.
///
/// # Errors
///
/// The first part of the request without a known price.
pub(in crate::format) fn terms(request: &Request) -> Result<Terms, BadRequest> {
    let body = &request.source.body;
    let mut terms = Terms::default();
    for name in body.names().filter(|name| body.present(name).is_some_and(|value| value != "false")) {
        match FIELDS.iter().find(|(known, ..)| *known == name).map(|(_, does, note)| (*does, *note)) {
            None => return Err(unknown(name)),
            Some((Refused | Kept, note)) => return Err(unpriced(name, note)),
            Some((Nothing | Prompt | Output | Price, _)) => {}
        }
    }
    if let Some(reasoning) = body.object("reasoning", "an object")? {
        let is_odd = |name: &&str| !REASONING.contains(name) && reasoning.present(name).is_some();
        if let Some(name) = reasoning.names().find(is_odd) {
            return Err(unpriced(short(&format!("reasoning.{name}")), ""));
        }
    }
    if let Some(options) = body.object("prompt_cache_options", "an object")? {
        terms.keeps_long = keeps_long(&options)?;
    }
    let tier: Option<String> = body.read("service_tier", "a string")?;
    terms.tier = match tier.as_deref() {
        None | Some("auto" | "default") => None,
        Some(word) => Some(("service_tier", Tier::from_word(word))),
    };
    request.unread.iter().try_for_each(|unread| check_unread(unread, &request.unread, &mut terms))?;
    if terms.web_searches > 0 {
        // Each search is a turn, in which the model reads all again.
        let own = body.whole("max_tool_calls", 0, u64::from(u32::MAX))?;
        terms.web_searches = own.unwrap_or(terms.web_searches);
        terms.turns = terms.web_searches;
    }
    if let Work::Conversation(conversation) = &request.work {
        for part in conversation.messages.iter().flat_map(|message| &message.parts) {
            of_content(&part.content, &mut terms)?;
        }
    }
    Ok(terms)
}

fn keeps_long(options: &Fields) -> Result<bool, BadRequest> {
    let at = "prompt_cache_options.ttl";
    match options.string("ttl")?.map(|ttl| CacheTtl::parse(&ttl)) {
        None => Ok(false),
        Some(Some(ttl)) => Ok(ttl.is_long()),
        Some(None) => Err(unpriced(at, "a cache may be kept for 30m or 12h")),
    }
}

/// Members without a neutral place. In the input they are read as a part of the prompt, of unknown length. A tool that is
/// not known may cost anything, as may what is kept at the provider for somebody else.
fn check_unread(unread: &Unread, all: &[Unread], terms: &mut Terms) -> Result<(), BadRequest> {
    let Unread { at, json } = unread;
    let pattern = unread.pattern();
    if json == "null" {
        return Ok(());
    }
    of_marks(unread, terms)?;
    match &*pattern {
        pattern if pattern.ends_with(TOOLS) => of_tool(at, &text_of(json), all, terms),
        // Those that are kept here were put in before.
        "input[].type" if text_of(json) == "item_reference" => {
            Err(BadRequest::new(at, "items kept at the provider are not yours to read; send the items"))
        }
        pattern if pattern.starts_with("input") && (pattern.ends_with("file_id") || names_kept(json)) => {
            Err(kept(at, DATA))
        }
        pattern if pattern.starts_with("input") => {
            let is_short = ["id", "status", "phase", "annotations", "logprobs"];
            terms.is_uncountable |= !is_short.contains(&pattern.rsplit('.').next().unwrap_or_default());
            Ok(())
        }
        pattern if pattern.starts_with("tools") || pattern.starts_with("tool_choice") || pattern == "text.format" => {
            Ok(())
        }
        _ => Err(unknown(at)),
    }
}

/// Marks in the input, which have no neutral place in this format: the longer time costs more.
fn of_marks(unread: &Unread, terms: &mut Terms) -> Result<(), BadRequest> {
    let Unread { at, json } = unread;
    let (mut odd, name) = (Vec::new(), at.rsplit('.').next().unwrap_or_default());
    // The mark itself, or what it stands in.
    let mark = match at.strip_suffix(name).and_then(|at| at.strip_suffix('.')) {
        Some(at) if marks::NAMES.contains(&name) => marks::within(&format!(r#"{{"{name}":{json}}}"#), at, &mut odd),
        Some(_) | None => marks::within(json, at, &mut odd),
    };
    terms.keeps_long |= mark.and_then(|mark| mark.ttl).is_some_and(CacheTtl::is_long);
    match odd.iter().find(|odd| odd.at.rsplit('.').next() == Some("ttl")) {
        Some(odd) => Err(unpriced(short(&odd.at), "a cache may be kept for 30m or 12h")),
        None => Ok(()),
    }
}

/// A tool beside functions, by its type.
fn of_tool(at: &str, kind: &str, all: &[Unread], terms: &mut Terms) -> Result<(), BadRequest> {
    let Some(tool) = hosted::find(hosted::OF_RESPONSES, kind) else {
        return Err(unpriced(short(at), "function and custom have"));
    };
    match tool.costs {
        Costs::Tokens(_) if kind == SHELL => {
            let place = format!("{}environment", at.strip_suffix("type").unwrap_or(at));
            let environment = all.iter().find(|unread| unread.at == place).map(|unread| &*unread.json);
            let runs_at = environment.and_then(|json| Fields::parse(json.as_bytes()).ok()?.string("type").ok()?);
            if runs_at.as_deref() == Some("local") { Ok(()) } else { Err(unpriced(short(&place), tool.note)) }
        }
        Costs::Tokens(tokens) => {
            terms.more_input = terms.more_input.saturating_add(tokens);
            Ok(())
        }
        Costs::Context => {
            terms.is_uncountable = true;
            Ok(())
        }
        Costs::Searches => {
            terms.web_searches = u64::from(MOST_SEARCHES);
            Ok(())
        }
        // None of this format's is so.
        Costs::Fetches | Costs::Turns(_) | Costs::Refused => Err(unpriced(short(at), tool.note)),
    }
}

/// A JSON string's text; empty where the JSON is none.
fn text_of(json: &str) -> String {
    serde_json::from_str(json).unwrap_or_default()
}

fn of_content(content: &Content, terms: &mut Terms) -> Result<(), BadRequest> {
    match content {
        Content::Image(image) if matches!(image.media, Media::Id(_)) => return Err(kept("input", DATA)),
        Content::File(file) if matches!(file.media, Some(Media::Id(_))) => return Err(kept("input", DATA)),
        Content::File(_) => terms.is_uncountable = true,
        Content::Audio(_) => return Err(unpriced("input", "sound has none")),
        Content::ToolResult(result) => {
            return result.parts.iter().try_for_each(|part| of_content(&part.content, terms));
        }
        Content::Text(_)
        | Content::Refusal(_)
        | Content::Image(_)
        | Content::Reasoning(_)
        | Content::ToolCall(_)
        | Content::Unknown { .. } => {}
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::openai::read_response;

    fn of(fields: &str) -> Result<Terms, BadRequest> {
        terms(&read_response(format!(r#"{{"model":"m","input":"x"{fields}}}"#).as_bytes()).unwrap())
    }

    #[test]
    fn what_has_no_price_is_refused_by_its_name() {
        for (fields, field) in [
            (r#","previous_response_id":"r""#, "previous_response_id"),
            (r#","background":true"#, "background"),
            (r#","conversation":"c""#, "conversation"),
            (r#","a_field_of_tomorrow":1"#, "a_field_of_tomorrow"),
            (r#","tools":[{"type":"code_interpreter","container":{"type":"auto"}}]"#, "tools[0].type"),
            (r#","reasoning":{"mode":"pro"}"#, "reasoning.mode"),
            (r#","prompt_cache_options":{"ttl":"24h"}"#, "prompt_cache_options.ttl"),
            (r#","input":[{"type":"item_reference","id":"i"}]"#, "input[0].type"),
            (r#","input":[{"type":"item_referenc\u0065","id":"i"}]"#, "input[0].type"),
            (
                r#","input":[{"type":"computer_call_output","output":{"type":"x","file\u005fid":"f"}}]"#,
                "input[0].output",
            ),
            (r#","input":[{"type":"item_of_tomorrow","file_id":"f"}]"#, "input[0].file_id"),
            (
                r#","input":[{"type":"additional_tools","tools":[{"type":"image_generation"}]}]"#,
                "input[0].tools[0].type",
            ),
            (r#","tools":[{"type":"namespace","tools":[{"type":"code_interpreter"}]}]"#, "tools[0].tools[0].type"),
            (
                r#","tools":[{"type":"namespace","tools":[{"type":"namespace","tools":[{"type":"web_search"}]}]}]"#,
                "tools[0].tools[0].tools[0].type",
            ),
            (r#","input":[{"role":"user","content":[{"type":"input_file","file_id":"f"}]}]"#, "input"),
        ] {
            assert_eq!(of(fields).unwrap_err().field, field, "{fields}");
        }
    }

    #[test]
    fn what_agents_send_passes() {
        let agents = of(
            r#","stream":true,"tools":[{"type":"function","name":"f"},{"type":"custom","name":"p"},{"type":"namespace","name":"n","tools":[]},
              {"type":"tool_search"}],"tool_choice":"auto","parallel_tool_calls":false,"reasoning":{"effort":"medium","summary":"auto"},
              "store":false,"background":false,"include":["reasoning.encrypted_content"],"prompt_cache_key":"k","text":{"verbosity":"low"},
              "client_metadata":{"a":"b"},"service_tier":"auto""#,
        );
        assert_eq!(agents, Ok(Terms::default()));
        let searched = |fields| of(fields).map(|terms| (terms.web_searches, terms.turns)).unwrap();
        assert_eq!(searched(r#","tools":[{"type":"web_search"}]"#), (4, 4), "the bound that is set");
        assert_eq!(searched(r#","tools":[{"type":"web_search_preview"}],"max_tool_calls":2"#), (2, 2));
        let odd = of(r#","input":[{"type":"additional_tools","role":"developer","tools":[]}]"#).unwrap();
        assert!(odd.is_uncountable, "it is read, and how long it is nobody knows");
        let within = r#","tools":[{"type":"namespace","name":"n","tools":[{"type":"web_search"}]}]"#;
        assert_eq!(searched(within), (4, 4), "as one outside");
        let added = r#","input":[{"type":"additional_tools","role":"developer","tools":[{"type":"web_search"}]}]"#;
        assert_eq!(searched(added), (4, 4));
        let tier = of(r#","service_tier":"flex","prompt_cache_options":{"ttl":"12h"}"#).unwrap();
        assert_eq!((tier.tier, tier.keeps_long), (Some(("service_tier", Some(Tier::Flex))), true));
        let marked = |mark: &str| {
            of(&format!(r#","input":[{{"role":"user","content":[{{"type":"input_text","text":"x",{mark}}}]}}]"#))
        };
        assert!(marked(r#""prompt_cache_breakpoint":{"mode":"explicit","ttl":"12h"}"#).unwrap().keeps_long);
        assert!(!marked(r#""prompt_cache_breakpoint":{"mode":"explicit","ttl":"30m"}"#).unwrap().keeps_long);
        let odd = marked(r#""prompt_cache_breakpoint":{"ttl":"9h"}"#).unwrap_err().field;
        assert_eq!(odd, "input[0].content[0].prompt_cache_breakpoint.ttl");
    }
}
