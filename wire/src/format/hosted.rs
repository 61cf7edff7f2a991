//! Tools that a format has words for beside the client's own functions: who runs each, and what it costs where the
//! gateway's key pays. One table a format: refusals by name, the page for people (`docs/hosted-tools.md`) and the tests
//! are made from them. The safe reading: a tool that is not in the table may cost anything, so it is refused.

use std::fmt::Write as _;

/// What a tool costs beside its words in the prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Costs {
    /// The client runs the tool, or it only arranges others. The provider adds at most so many tokens to the prompt.
    Tokens(u64),
    /// The client runs the tool. How many tokens the provider adds to the prompt is not told.
    Context,
    /// The provider runs it, for a fee each time, and reads the conversation again after it.
    Searches,
    /// The provider runs it, and reads the conversation again after it.
    Fetches,
    /// The provider runs it at most so often in a request, and reads the conversation again each time.
    Turns(u64),
    /// It has no price here, or no bound.
    Refused,
}

impl Costs {
    /// The cost, for people.
    const fn word(self) -> &'static str {
        match self {
            Self::Tokens(_) => "its tokens",
            Self::Context => "its tokens, held as the model's whole context",
            Self::Searches => "a fee each, and a reading of the conversation",
            Self::Fetches | Self::Turns(_) => "a reading of the conversation each",
            Self::Refused => "refused",
        }
    }
}

/// A tool, or all tools whose types begin alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Hosted {
    /// The type, or what types begin with that end in a date: then the last character is `*`.
    pub(super) name: &'static str,
    pub(super) costs: Costs,
    /// A remark for people; why, where it is refused.
    pub(super) note: &'static str,
}

impl Hosted {
    const fn of(name: &'static str, costs: Costs, note: &'static str) -> Self {
        Self { name, costs, note }
    }

    fn is(&self, kind: &str) -> bool {
        self.name.strip_suffix('*').map_or(self.name == kind, |begin| kind.starts_with(begin))
    }
}

/// Why what runs in a container is refused.
const CONTAINER: &str = "billed by the time its container lives, which no usage tells; and its files are the gateway's";
/// Why tools of other servers are refused.
const SERVERS: &str = "what servers return, and how often they are asked, has no bound";
/// Why stores of documents are refused.
const STORES: &str = "its stores are kept at the provider, and are the gateway's";

/// Tools of OpenAI's responses, by `type`.
pub(super) const OF_RESPONSES: &[Hosted] = {
    use Costs::{Refused, Searches, Tokens};
    &[
        Hosted::of("namespace", Tokens(0), "the tools within it count"),
        Hosted::of("tool_search", Tokens(0), ""),
        Hosted::of("local_shell", Tokens(0), ""),
        Hosted::of("shell", Tokens(0), "with an `environment` of the type `local`; in a container it is refused"),
        Hosted::of("apply_patch", Tokens(0), ""),
        Hosted::of("computer", Tokens(0), ""),
        Hosted::of("computer_use_preview", Tokens(0), ""),
        Hosted::of("web_search", Searches, "at most `max_tool_calls`, which is 4 where a request has none"),
        Hosted::of("web_search_2*", Searches, "as `web_search`"),
        Hosted::of("web_search_preview*", Searches, "as `web_search`"),
        Hosted::of("code_interpreter", Refused, CONTAINER),
        Hosted::of("file_search", Refused, STORES),
        Hosted::of("image_generation", Refused, "billed by another model's prices; `/v1/images/generations` has them"),
        Hosted::of("mcp", Refused, SERVERS),
        Hosted::of("programmatic_tool_calling", Refused, "how often the model is asked again has no bound"),
    ]
};

/// Tools of Anthropic's messages, by `type`.
pub(super) const OF_MESSAGES: &[Hosted] = {
    use Costs::{Context, Fetches, Refused, Searches, Tokens};
    // The most tokens that Anthropic documents for one of its tools, twice ("Pricing", tool use).
    const ADDED: Costs = Tokens(1_500);
    &[
        Hosted::of("bash_*", ADDED, ""),
        Hosted::of("text_editor_*", ADDED, ""),
        Hosted::of("memory_*", ADDED, ""),
        Hosted::of("tool_search_tool_*", ADDED, "it searches among the tools of the request"),
        Hosted::of("computer_toolset_*", Context, ""),
        Hosted::of("computer_*", ADDED, ""),
        Hosted::of("web_search_*", Searches, "at most `max_uses`, which it must have"),
        Hosted::of("web_fetch_*", Fetches, "at most `max_uses`, which it must have; Anthropic takes no fee"),
        Hosted::of("code_execution_*", Refused, CONTAINER),
        Hosted::of("mcp_toolset", Refused, SERVERS),
        Hosted::of("advisor_*", Refused, "billed by another model's prices"),
        Hosted::of("browser_toolset_*", Refused, "who runs it, and what it costs, is not known here"),
    ]
};

/// Tools of Google's `generateContent`, by the member that asks for them.
pub(super) const OF_GEMINI: &[Hosted] = {
    use Costs::{Context, Refused, Turns};
    const QUERIES: &str = "billed by the query, and how many there are has no bound";
    &[
        Hosted::of("computerUse", Context, ""),
        Hosted::of("urlContext", Turns(20), "Google reads at most 20 addresses in a request, and takes no fee"),
        Hosted::of("googleSearch", Refused, QUERIES),
        Hosted::of("googleSearchRetrieval", Refused, QUERIES),
        Hosted::of("enterpriseWebSearch", Refused, QUERIES),
        Hosted::of("googleMaps", Refused, QUERIES),
        Hosted::of("codeExecution", Refused, "how often the model runs code and reads what it printed has no bound"),
        Hosted::of("fileSearch", Refused, STORES),
        Hosted::of("retrieval", Refused, STORES),
        Hosted::of("mcpServers", Refused, SERVERS),
    ]
};

/// A tool of a table, by its type; the first that fits counts.
pub(super) fn find(tools: &'static [Hosted], kind: &str) -> Option<&'static Hosted> {
    tools.iter().find(|tool| tool.is(kind))
}

/// The page for people, in Markdown.
pub fn page() -> String {
    let mut page = String::from(
        "# Tools that providers run\n\n\
         Beside functions, requests may name tools of the provider's own: some of them your program runs, others the provider runs\n\
         itself, in turns of which each reads the whole conversation again. Where the gateway's key pays, a request is held at the most\n\
         that they may cost, and a tool without a price or a bound is refused by its name before anything is held. With your own key\n\
         (`provider-key`) all of them pass as they came. A request that is translated to another provider's format has none of them: they\n\
         are refused by their names. This page is made from the gateway's own tables.\n",
    );
    for (route, tools) in
        [("/v1/responses", OF_RESPONSES), ("/v1/messages", OF_MESSAGES), (":generateContent", OF_GEMINI)]
    {
        // Writing to a text can't fail.
        let _ = write!(page, "\n## `{route}`\n\n| tool | cost | note |\n|---|---|---|\n");
        for Hosted { name, costs, note } in tools {
            let _ = writeln!(page, "| `{name}` | {} | {note} |", costs.word());
        }
    }
    page.push_str("\nAny other is refused: what it costs is not known here. Chats (`/v1/chat/completions`) have functions and custom tools alone.\n");
    page
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::{
        fields::BadRequest,
        format::{
            Terms, anthropic::read_messages, gemini::read_generate, known::assert_listed_once, known::assert_page,
            openai::read_response, terms,
        },
    };

    /// A type that a row of a table stands for.
    fn dated(name: &str) -> String {
        name.strip_suffix('*').map_or_else(|| name.to_owned(), |begin| format!("{begin}20260801"))
    }

    fn of_responses(kind: &str) -> Result<Terms, BadRequest> {
        let tool = match kind {
            "shell" => json!({"type": kind, "environment": {"type": "local"}}),
            kind => json!({"type": kind}),
        };
        terms(&read_response(json!({"model": "m", "input": "x", "tools": [tool]}).to_string().as_bytes()).unwrap())
    }

    fn of_messages(kind: &str) -> Result<Terms, BadRequest> {
        let body = json!({"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "x"}],
            "tools": [{"type": kind, "name": "n", "max_uses": 3}]});
        terms(&read_messages(body.to_string().as_bytes()).unwrap())
    }

    fn of_gemini(kind: &str) -> Result<Terms, BadRequest> {
        let mut tool = json!({});
        tool[kind] = json!({});
        let body: Value = json!({"contents": [{"parts": [{"text": "x"}]}], "tools": [tool]});
        terms(&read_generate(body.to_string().as_bytes(), Some("m"), false).unwrap())
    }

    #[test]
    fn each_tool_costs_what_its_row_says_and_is_refused_by_its_name_where_that_says_so() {
        type Of = fn(&str) -> Result<Terms, BadRequest>;
        let tables: [(&'static [Hosted], Of, u64); 3] =
            [(OF_RESPONSES, of_responses, 4), (OF_MESSAGES, of_messages, 3), (OF_GEMINI, of_gemini, 0)];
        for (tools, of, uses) in tables {
            assert_listed_once(tools.iter().map(|tool| tool.name));
            for tool in tools {
                let kind = dated(tool.name);
                assert_eq!(find(tools, &kind), Some(tool), "no row before it has its types");
                let expected = match tool.costs {
                    Costs::Tokens(tokens) => Terms { more_input: tokens, ..Terms::default() },
                    Costs::Context => Terms { is_uncountable: true, ..Terms::default() },
                    Costs::Searches => Terms { web_searches: uses, turns: uses, ..Terms::default() },
                    Costs::Fetches => Terms { web_fetches: uses, turns: uses, ..Terms::default() },
                    Costs::Turns(turns) => Terms { turns, ..Terms::default() },
                    Costs::Refused => {
                        let refused = of(&kind).unwrap_err();
                        assert!(refused.field.starts_with("tools[0]"), "{kind}: {refused}");
                        assert!(refused.message.contains(tool.note) && !tool.note.is_empty(), "{kind}: {refused}");
                        continue;
                    }
                };
                assert_eq!(of(&kind), Ok(expected), "{kind}");
            }
            assert!(of("tool_of_tomorrow").unwrap_err().field.starts_with("tools[0]"));
        }
    }

    #[test]
    fn a_shell_that_does_not_say_that_it_is_the_clients_is_refused() {
        for tool in [
            json!({"type": "shell"}),
            json!({"type": "shell", "environment": {"type": "container_auto"}}),
            json!({"type": "shell", "environment": {"type": "container_reference", "container_id": "c"}}),
            json!({"type": "shell", "environment": "local"}),
        ] {
            let body = json!({"model": "m", "input": "x", "tools": [tool]}).to_string();
            let refused = terms(&read_response(body.as_bytes()).unwrap()).unwrap_err();
            assert_eq!(refused.field, "tools[0].environment", "{body}");
        }
    }

    #[test]
    fn the_page_for_people_is_the_tables() {
        assert_page("hosted-tools.md", &page());
    }
}
