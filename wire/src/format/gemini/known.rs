//! The known request fields of `generateContent`, and the effect of each on a request's cost where the gateway's key
//! pays. One table: refusals of unpriced fields, the page for people (`docs/gemini-fields.md`) and the tests are made from
//! it. The safe reading: a field that is not in the table may cost anything, so it is refused by its name.

mod check;

use std::fmt::Write as _;

use crate::format::openai::known::Does;
pub(in crate::format) use check::terms;

/// A known field: its name, its effect, and a remark for people.
type Field = (&'static str, Does, &'static str);

/// Fields of a body.
const FIELDS: [Field; 11] = {
    use Does::{Nothing, Output, Price, Prompt, Refused};
    [
        ("contents", Prompt, "their parts: see below"),
        ("systemInstruction", Prompt, ""),
        ("tools", Prompt, "functions that you run; Google's own tools have no bound, and are refused"),
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
const CONFIG: [Field; 21] = {
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
const PARTS: [Field; 12] = {
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

fn find(fields: &'static [Field], name: &str) -> Option<&'static Field> {
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
         | field | routes | cost | note |\n|---|---|---|---|\n",
    );
    for (name, does, note) in FIELDS {
        // Writing to a text can't fail.
        let _ = writeln!(page, "| `{name}` | gemini | {} | {note} |", does.word());
    }
    for (title, fields) in [("Members of `generationConfig`", &CONFIG[..]), ("Members of a part", &PARTS[..])] {
        let _ = write!(page, "\n{title}:\n\n| member | cost | note |\n|---|---|---|\n");
        for (name, does, note) in fields {
            let _ = writeln!(page, "| `{name}` | {} | {note} |", does.word());
        }
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_listed_once() {
        for fields in [&FIELDS[..], &CONFIG[..], &PARTS[..]] {
            for (place, (name, ..)) in fields.iter().enumerate() {
                assert!(!fields[..place].iter().any(|(other, ..)| other == name), "{name}");
            }
        }
        assert!(counted_beside().iter().all(|name| find(&FIELDS, name).is_some()));
    }

    #[test]
    fn the_page_for_people_is_the_table() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/gemini-fields.md");
        let written = std::fs::read_to_string(path).unwrap_or_default();
        assert_eq!(written, page(), "write known::page() to docs/gemini-fields.md");
    }
}
