//! The known request fields of messages, and the effect of each on a request's cost where the gateway's key pays. One
//! table: refusals of unpriced fields, the page for people (`docs/message-fields.md`) and the tests are made from it.
//! The safe reading: a field that is not in the table may cost anything, so it is refused by its name.

mod check;

use crate::format::known::{Does, Known, table, table_of_routes};
pub(in crate::format) use check::terms;

/// All known fields.
const FIELDS: [Known; 27] = {
    use Does::{Nothing, Output, Price, Prompt, Refused};
    [
        ("model", Nothing, "chooses whose prices count"),
        ("messages", Prompt, "their blocks: see below"),
        ("system", Prompt, ""),
        ("tools", Prompt, "each by its type: see [hosted-tools.md](hosted-tools.md)"),
        ("output_config", Prompt, "with its schema"),
        ("output_format", Prompt, "as `output_config.format`"),
        ("max_tokens", Output, "reasoning counts in it"),
        ("cache_control", Price, "`ttl`: `5m` or `1h`"),
        ("service_tier", Price, "`auto` and `standard_only`, both at the standard tier"),
        ("speed", Price, "`standard`; `fast` where the model has prices for it"),
        ("inference_geo", Price, "`global`; `us` where the model has prices for it"),
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
const BLOCKS: [Known; 10] = [
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

fn find(name: &str) -> Option<&'static Known> {
    FIELDS.iter().find(|(known, ..)| *known == name)
}

/// Names of the fields that are counted with a prompt, besides its messages and its system prompt.
pub fn counted_beside() -> impl Iterator<Item = &'static str> {
    let is_beside = |(name, does, _): &&Known| *does == Does::Prompt && !["messages", "system"].contains(name);
    FIELDS.iter().filter(is_beside).map(|(name, ..)| *name)
}

/// The table for people, in Markdown.
pub fn page() -> String {
    let mut page = String::from(
        "# Request fields of messages to closed models\n\n\
         What each field of `/v1/messages` does to what a request costs, where the gateway's key pays. A field that is not listed is\n\
         refused by its name: it may cost anything. With your own key (`provider-key`) all fields pass as they came, and nothing is\n\
         charged. This page is made from the gateway's own table.\n\n\
",
    );
    page.push_str(&table_of_routes(FIELDS.map(|field| ("messages", field))));
    page.push_str("\nBlocks of a message, by `type`:\n\n");
    page.push_str(&table("block", &BLOCKS));
    page
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::known::{assert_listed_once, assert_page};

    #[test]
    fn a_name_is_listed_once() {
        assert_listed_once(FIELDS.map(|(name, ..)| name));
        assert_eq!(counted_beside().collect::<Vec<_>>(), ["tools", "output_config", "output_format"]);
    }

    #[test]
    fn the_page_for_people_is_the_table() {
        assert_page("message-fields.md", &page());
    }
}
