//! The known request fields of `generateContent`, and the effect of each on a request's cost where the gateway's key
//! pays. One table: refusals of unpriced fields, the page for people (`docs/gemini-fields.md`) and the tests are made from
//! it. The safe reading: a field that is not in the table may cost anything, so it is refused by its name.

mod check;

use crate::format::known::{Does, Known, table, table_of_routes};
pub(in crate::format) use check::terms;

/// Fields of a body.
const FIELDS: [Known; 11] = {
    use Does::{Nothing, Output, Price, Prompt, Refused};
    [
        ("contents", Prompt, "their parts: see below"),
        ("systemInstruction", Prompt, ""),
        ("tools", Prompt, "functions that you run; others: see [hosted-tools.md](hosted-tools.md)"),
        ("toolConfig", Nothing, ""),
        ("generationConfig", Output, "its members: see below"),
        ("safetySettings", Nothing, ""),
        ("serviceTier", Price, "`standard`; others where the model has prices for them"),
        ("store", Price, "`false`"),
        ("labels", Nothing, ""),
        ("cachedContent", Refused, "kept at the provider, and billed by the hour"),
        ("continuationToken", Refused, "what is continued is kept at the provider, and can't be counted here"),
    ]
};

/// Members of `generationConfig`.
const CONFIG: [Known; 21] = {
    use Does::{Nothing, Output, Price, Prompt, Refused};
    [
        ("maxOutputTokens", Output, "thoughts count in it"),
        ("candidateCount", Output, "each is an output of its own"),
        ("responseSchema", Prompt, ""),
        ("responseJsonSchema", Prompt, ""),
        ("responseMimeType", Nothing, ""),
        ("responseModalities", Price, "`TEXT` and `IMAGE`"),
        ("mediaResolution", Prompt, "taken as the model's whole context"),
        ("imageConfig", Price, "`aspectRatio`"),
        ("speechConfig", Refused, "sound has no price here"),
        ("audioTranscriptionConfig", Refused, ""),
        ("temperature", Nothing, ""),
        ("topP", Nothing, ""),
        ("topK", Nothing, ""),
        ("seed", Nothing, ""),
        ("presencePenalty", Nothing, ""),
        ("frequencyPenalty", Nothing, ""),
        ("stopSequences", Nothing, ""),
        ("responseLogprobs", Nothing, ""),
        ("logprobs", Nothing, ""),
        ("thinkingConfig", Nothing, "thoughts count in the output limit"),
        ("enableEnhancedCivicAnswers", Nothing, ""),
    ]
};

/// Members of a turn's parts.
const PARTS: [Known; 12] = {
    use Does::Prompt;
    [
        ("text", Prompt, ""),
        ("thought", Prompt, "what a model thought, given back to it, with its `thoughtSignature`"),
        (
            "inlineData",
            Prompt,
            "an image at the largest that the model reads of one; all else is taken as the model's whole context",
        ),
        ("fileData", Prompt, "as `inlineData`; a file that is kept at the provider is the gateway's, and refused"),
        ("functionCall", Prompt, ""),
        ("functionResponse", Prompt, ""),
        ("executableCode", Prompt, ""),
        ("codeExecutionResult", Prompt, ""),
        ("toolCall", Prompt, ""),
        ("toolResponse", Prompt, ""),
        ("partMetadata", Prompt, ""),
        ("any other", Prompt, "taken as the model's whole context"),
    ]
};

fn find(fields: &'static [Known], name: &str) -> Option<&'static Known> {
    fields.iter().find(|(known, ..)| *known == name)
}

/// Names of the fields that are counted with a prompt, besides its turns and its instructions. A schema stands in the
/// configuration, which is counted whole.
pub fn counted_beside() -> [&'static str; 3] {
    ["tools", "toolConfig", "generationConfig"]
}

/// The table for people, in Markdown.
pub fn page() -> String {
    let mut page = String::from(
        "# Request fields of Gemini's format to closed models\n\n\
         What each field of `generateContent` and `streamGenerateContent` does to what a request costs, where the gateway's key pays.\n\
         A field that is not listed is refused by its name: it may cost anything. With your own key (`provider-key`) all fields pass\n\
         as they came, and nothing is charged. Names may be spelled `camelCase` or `snake_case`, and not both at once. This page is\n\
         made from the gateway's own table.\n\n\
",
    );
    page.push_str(&table_of_routes(FIELDS.map(|field| ("gemini", field))));
    page.push_str("\nMembers of `generationConfig`:\n\n");
    page.push_str(&table("member", &CONFIG));
    page.push_str("\nMembers of a part:\n\n");
    page.push_str(&table("member", &PARTS));
    page
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::known::{assert_listed_once, assert_page};

    #[test]
    fn a_name_is_listed_once() {
        for fields in [&FIELDS[..], &CONFIG[..], &PARTS[..]] {
            assert_listed_once(fields.iter().map(|(name, ..)| *name));
        }
        assert!(counted_beside().iter().all(|name| find(&FIELDS, name).is_some()));
    }

    #[test]
    fn the_page_for_people_is_the_table() {
        assert_page("gemini-fields.md", &page());
    }
}
