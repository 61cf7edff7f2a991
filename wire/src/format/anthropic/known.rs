//! The known request fields of messages, and the effect of each on a request's cost where the gateway's key pays. One
//! table: refusals of unpriced fields, the page for people (`docs/message-fields.md`) and the tests are made from it.
//! The safe reading: a field that is not in the table may cost anything, so it is refused by its name.

mod check;

use std::fmt::Write as _;

use crate::format::openai::known::Does;
pub(in crate::format) use check::terms;

/// A known field: its name, its effect, and a remark for people.
type Field = (&'static str, Does, &'static str);

/// All known fields.
const FIELDS: [Field; 27] = {
    use Does::{Nothing, Output, Price, Prompt, Refused};
    [
        ("model", Nothing, "chooses whose prices count"),
        ("messages", Prompt, "their blocks: see below"),
        ("system", Prompt, ""),
        ("tools", Prompt, "tools that you run; `web_search_*` and `web_fetch_*` with `max_uses`; others are refused"),
        ("output_config", Prompt, "with its schema"),
        ("output_format", Prompt, "as `output_config.format`"),
        ("max_tokens", Output, "reasoning counts in it"),
        ("cache_control", Price, "`ttl`: `5m` or `1h`"),
        ("service_tier", Price, "`auto` and `standard_only`, both at the standard tier"),
        ("speed", Price, "`standard`; `fast` where the model has prices for it"),
        ("inference_geo", Price, "`global`"),
        ("fallbacks", Refused, "another model's price"),
        ("mcp_servers", Refused, "what servers return has no bound"),
        ("container", Refused, "billed by time"),
        ("stream", Nothing, ""),
        ("temperature", Nothing, ""),
        ("top_p", Nothing, ""),
        ("top_k", Nothing, ""),
        ("stop_sequences", Nothing, ""),
        ("tool_choice", Nothing, ""),
        ("thinking", Nothing, "reasoning counts in the output limit"),
        (
            "context_management",
            Price,
            "edits that clear what is old; a compaction holds the model's whole context twice",
        ),
        ("compaction", Price, "holds the model's whole context twice"),
        ("metadata", Nothing, ""),
        ("betas", Nothing, ""),
        ("anthropic_version", Nothing, ""),
        ("anthropic_beta", Nothing, ""),
    ]
};

/// The effect of a message's block, by its type.
const BLOCKS: [(&str, Does, &str); 10] = [
    ("text", Does::Prompt, ""),
    ("image", Does::Prompt, "at the largest that the model reads of one; a `file` is the gateway's, and refused"),
    (
        "document",
        Does::Prompt,
        "as bytes or at an address it is taken as the model's whole context; a `file` is refused",
    ),
    ("search_result", Does::Prompt, ""),
    ("tool_use", Does::Prompt, ""),
    ("tool_result", Does::Prompt, ""),
    ("thinking", Does::Prompt, "what a model thought, given back to it"),
    ("redacted_thinking", Does::Prompt, ""),
    ("container_upload", Does::Refused, ""),
    ("any other", Does::Prompt, "taken as the model's whole context"),
];

fn find(name: &str) -> Option<&'static Field> {
    FIELDS.iter().find(|(known, ..)| *known == name)
}

/// Names of the fields that are counted with a prompt, besides its messages and its system prompt.
pub fn counted_beside() -> impl Iterator<Item = &'static str> {
    let is_beside = |(name, does, _): &&Field| *does == Does::Prompt && !["messages", "system"].contains(name);
    FIELDS.iter().filter(is_beside).map(|(name, ..)| *name)
}

/// The table for people, in Markdown.
pub fn page() -> String {
    let mut page = String::from(
        "# Request fields of messages to closed models\n\n\
         What each field of `/v1/messages` does to what a request costs, where the gateway's key pays. A field that is not listed is\n\
         refused by its name: it may cost anything. With your own key (`provider-key`) all fields pass as they came, and nothing is\n\
         charged. This page is made from the gateway's own table.\n\n\
         | field | routes | cost | note |\n|---|---|---|---|\n",
    );
    for (name, does, note) in FIELDS {
        // Writing to a text can't fail.
        let _ = writeln!(page, "| `{name}` | messages | {} | {note} |", does.word());
    }
    page.push_str("\nBlocks of a message, by `type`:\n\n| block | cost | note |\n|---|---|---|\n");
    for (name, does, note) in BLOCKS {
        let _ = writeln!(page, "| `{name}` | {} | {note} |", does.word());
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_listed_once() {
        for (place, (name, ..)) in FIELDS.iter().enumerate() {
            assert!(!FIELDS[..place].iter().any(|(other, ..)| other == name), "{name}");
        }
        assert_eq!(counted_beside().collect::<Vec<_>>(), ["tools", "output_config", "output_format"]);
    }

    #[test]
    fn the_page_for_people_is_the_table() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/message-fields.md");
        let written = std::fs::read_to_string(path).unwrap_or_default();
        assert_eq!(written, page(), "write known::page() to docs/message-fields.md");
    }
}
