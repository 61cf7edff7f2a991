//! The known request fields of chats and embeddings, and the effect of each on a request's cost where the gateway's key pays.
//! One table: refusals of unpriced fields, the page for people (`docs/cohere-fields.md`) and the tests are made from it. The
//! safe reading: a field that is not in the table may cost anything, so it is refused by its name.

use crate::{
    fields::BadRequest,
    format::{
        Terms,
        known::{Does, Known, table, table_of_routes},
        refused::{unknown, unpriced},
    },
    inference::{EmbeddingInput, Format, Request, Work},
};

/// The routes that have a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum On {
    Chat,
    Embed,
    Both,
}

/// A known field: its name, its routes, its effect, and a remark for people.
type Field = (&'static str, On, Does, &'static str);

/// All known fields.
const FIELDS: [Field; 28] = {
    use Does::{Nothing, Output, Prompt};
    use On::{Both, Chat, Embed};
    [
        ("model", Both, Nothing, "chooses whose prices count"),
        ("priority", Both, Nothing, "0 to 999: how late it may be handled"),
        ("messages", Chat, Prompt, "their content: see below"),
        ("tools", Chat, Prompt, "functions that you run; others are refused"),
        ("documents", Chat, Prompt, "Cohere's models alone"),
        ("response_format", Chat, Prompt, "with its schema"),
        (
            "max_tokens",
            Both,
            Output,
            "of a chat, with its reasoning; of an embedding, the most that is read of an input",
        ),
        ("stream", Chat, Nothing, ""),
        ("strict_tools", Chat, Nothing, ""),
        ("tool_choice", Chat, Nothing, ""),
        ("citation_options", Chat, Nothing, "Cohere's models alone, but for `OFF`"),
        ("safety_mode", Chat, Nothing, "Cohere's models alone, but for `CONTEXTUAL`"),
        ("stop_sequences", Chat, Nothing, ""),
        ("temperature", Chat, Nothing, ""),
        ("seed", Chat, Nothing, ""),
        ("frequency_penalty", Chat, Nothing, ""),
        ("presence_penalty", Chat, Nothing, ""),
        ("k", Chat, Nothing, ""),
        ("p", Chat, Nothing, ""),
        ("logprobs", Chat, Nothing, "Cohere's models alone: they name tokens by Cohere's numbers"),
        ("thinking", Chat, Nothing, "reasoning counts in the output limit"),
        ("texts", Embed, Prompt, "at most 96, as `inputs`"),
        ("inputs", Embed, Prompt, "texts; with an image they are refused"),
        ("images", Embed, Does::Refused, "how Cohere bills them is not certain"),
        ("input_type", Embed, Nothing, "models of others that do not distinguish it do without"),
        ("embedding_types", Embed, Nothing, "of models of others `float` and `base64`"),
        ("output_dimension", Embed, Nothing, ""),
        ("truncate", Embed, Nothing, "Cohere's models alone, but for `NONE`"),
    ]
};

/// The effect of a message's content, by its type.
const BLOCKS: [Known; 5] = [
    ("text", Does::Prompt, ""),
    ("image_url", Does::Prompt, "at the largest that the model reads of one"),
    ("document", Does::Prompt, "models of others read its data as text"),
    ("thinking", Does::Prompt, "what a model thought, given back to it"),
    ("any other", Does::Prompt, "taken as the model's whole context"),
];

fn find(name: &str, here: On) -> Option<&'static Field> {
    FIELDS.iter().find(|(known, on, ..)| *known == name && (*on == here || *on == On::Both))
}

/// Names of the fields that are counted with a chat's prompt, besides its messages.
pub fn counted_beside() -> impl Iterator<Item = &'static str> {
    let is_beside = |(name, on, does, _): &&Field| *on == On::Chat && *does == Does::Prompt && *name != "messages";
    FIELDS.iter().filter(is_beside).map(|(name, ..)| *name)
}

/// The terms that a request's price depends on.
///
/// # Errors
///
/// The first part of the request without a known price. The error is for the client; with the client's own provider key
/// the part would pass.
pub(in crate::format) fn terms(request: &Request) -> Result<Terms, BadRequest> {
    let body = &request.source.body;
    let here = if request.source.format == Format::CohereEmbed { On::Embed } else { On::Chat };
    for name in body.names().filter(|name| body.present(name).is_some()) {
        match find(name, here) {
            None => return Err(unknown(name)),
            // An empty list asks for nothing.
            Some((_, _, Does::Refused, _)) if body.get(name) == Some("[]") => {}
            Some((_, _, Does::Refused | Does::Kept, note)) => return Err(unpriced(name, note)),
            Some((_, _, Does::Nothing | Does::Prompt | Does::Output | Does::Price, _)) => {}
        }
    }
    let mut terms = Terms::default();
    if let Work::Embedding(embedding) = &request.work
        && let Some(place) = embedding.inputs.iter().position(|input| matches!(input, EmbeddingInput::Media(_)))
    {
        return Err(unpriced(format!("inputs[{place}]"), "of inputs, texts have"));
    }
    for unread in request.unread.iter().filter(|unread| unread.at.rsplit('.').next() == Some("type")) {
        if unread.at.starts_with("tools") {
            return Err(unpriced(&unread.at, "functions that you run have"));
        }
        // Content of an unknown type may be read as any number of tokens.
        terms.is_uncountable = true;
    }
    Ok(terms)
}

/// The table for people, in Markdown.
pub fn page() -> String {
    let mut page = String::from(
        "# Request fields of Cohere's routes to closed models\n\n\
         What each field of `/v2/chat` and `/v2/embed` does to what a request costs, where the gateway's key pays. A field that is not\n\
         listed is refused by its name: it may cost anything. With your own key (`provider-key`) all fields pass as they came to Cohere,\n\
         and nothing is charged. This page is made from the gateway's own table.\n\n\
",
    );
    page.push_str(&table_of_routes(FIELDS.map(|(name, on, does, note)| {
        let on = match on {
            On::Chat => "chat",
            On::Embed => "embed",
            On::Both => "both",
        };
        (on, (name, does, note))
    })));
    page.push_str("\nContent of a message, by `type`:\n\n");
    page.push_str(&table("content", &BLOCKS));
    page
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::format::{
        cohere::{read_chat, read_embed},
        known::{assert_listed_once, assert_page},
        terms as terms_of,
    };

    #[test]
    fn a_name_is_listed_once() {
        assert_listed_once(FIELDS.map(|(name, ..)| name));
        assert_eq!(counted_beside().collect::<Vec<_>>(), ["tools", "documents", "response_format"]);
    }

    #[test]
    fn the_page_for_people_is_the_table() {
        assert_page("cohere-fields.md", &page());
    }

    #[test]
    fn what_has_no_price_is_refused_by_its_name() {
        let of = |body: Value, more: &Value| {
            let mut body = body;
            body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            let is_chat = body.get("messages").is_some();
            let body = body.to_string();
            let read = if is_chat { read_chat(body.as_bytes()) } else { read_embed(body.as_bytes()) };
            terms_of(&read.unwrap())
        };
        let chat = || json!({"model": "m", "messages": [{"role": "user", "content": "x"}]});
        let embed = || json!({"model": "m", "texts": ["x"], "input_type": "search_query"});
        let image = json!({"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}});
        for (body, more, field) in [
            (chat(), json!({"a_field_of_tomorrow": 1}), "a_field_of_tomorrow"),
            (chat(), json!({"texts": ["x"]}), "texts"),
            (chat(), json!({"tools": [{"type": "connector"}]}), "tools[0].type"),
            (
                chat(),
                json!({"messages": [{"role": "user", "content": [{"type": "text", "text": "a", "b": {"c": 1}}]}], "k": 1, "connectors": []}),
                "connectors",
            ),
            (embed(), json!({"stream": true}), "stream"),
            (embed(), json!({"texts": null, "images": ["data:image/png;base64,AA"]}), "images"),
            (
                embed(),
                json!({"texts": null, "inputs": [{"content": [{"type": "text", "text": "x"}]}, {"content": [image]}]}),
                "inputs[1]",
            ),
        ] {
            assert_eq!(of(body, &more).unwrap_err().field, field, "{more}");
        }
        let sound = json!({"messages": [{"role": "user", "content": [{"type": "sound"}]}]});
        assert_eq!(of(chat(), &sound), Ok(Terms { is_uncountable: true, ..Terms::default() }));
        let all = json!({"documents": ["x"], "citation_options": {"mode": "FAST"}, "safety_mode": "STRICT", "logprobs": true,
            "thinking": {"type": "enabled", "token_budget": 5}, "priority": 9, "tools": [], "k": 5});
        assert_eq!(of(chat(), &all), Ok(Terms::default()));
        let all = json!({"embedding_types": ["int8"], "truncate": "END", "max_tokens": 5, "images": [], "output_dimension": 256});
        assert_eq!(of(embed(), &all), Ok(Terms::default()));
        let twice =
            br#"{"model":"m","messages":[{"role":"user","content":"x"}],"tools":[{"type":"function","type":"web"}]}"#;
        assert_eq!(terms_of(&read_chat(twice).unwrap()).unwrap_err().field, "tools[0].type");
    }
}
