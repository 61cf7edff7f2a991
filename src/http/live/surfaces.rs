//! What can be asked for on a live socket: one row for each surface, with the format of its route. Bodies that are forms
//! (recordings, images that are uploaded) are no text, and have no row.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};
use serde_json::value::RawValue;
use wire::{
    fields::{BadRequest, Fields},
    format::{
        AnswerForm, ClientFormat, WholeWriter,
        anthropic::Messages,
        cohere,
        gemini::{self, Generate},
        live::Carries,
        openai::{
            Chat, Completions, Embeddings, Responses,
            media::{edits::Editing, images::Drawing, speech::Speaking},
        },
        rerank::{CohereReranking, Reranking},
    },
    inference::Request,
};

/// How a surface's answers are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Streamed {
    /// Always as a stream, by a field of the body.
    ByBody,
    /// Always as a stream, which the path says on its route.
    ByPath,
    /// As the body says.
    AsAsked,
}

/// A surface.
pub(super) struct Surface {
    /// Its name: `chat` of `chat.create`.
    pub(super) name: &'static str,
    /// Its route over HTTP.
    pub(super) route: &'static str,
    pub(super) carries: Carries,
    streamed: Streamed,
    read: fn(&[u8]) -> Result<Request, BadRequest>,
    writer: fn(&Request, &str, i64) -> Box<dyn WholeWriter>,
    form: fn(&Request) -> AnswerForm,
}

/// All surfaces.
pub(super) static SURFACES: [Surface; 14] = [
    Surface { carries: Carries::EventsBeyondText, ..of::<Chat>("chat", "/v1/chat/completions", Streamed::ByBody) },
    of::<Completions>("completions", "/v1/completions", Streamed::ByBody),
    of::<Responses>("responses", "/v1/responses", Streamed::ByBody),
    of::<Messages>("messages", "/v1/messages", Streamed::ByBody),
    of::<Generate>("gemini", "/v1beta/models/{model}:generateContent", Streamed::ByPath),
    of::<gemini::Embeddings>("gemini.embeddings", "/v1beta/models/{model}:embedContent", Streamed::AsAsked),
    of::<cohere::Chat>("cohere", "/v2/chat", Streamed::ByBody),
    of::<cohere::Embed>("cohere.embed", "/v2/embed", Streamed::AsAsked),
    of::<CohereReranking>("cohere.rerank", "/v2/rerank", Streamed::AsAsked),
    of::<Embeddings>("embeddings", "/v1/embeddings", Streamed::AsAsked),
    of::<Reranking>("rerank", "/v1/rerank", Streamed::AsAsked),
    of::<Drawing>("images", "/v1/images/generations", Streamed::AsAsked),
    of::<Editing>("images.edits", "/v1/images/edits", Streamed::AsAsked),
    of::<Speaking>("speech", "/v1/audio/speech", Streamed::AsAsked),
];

const fn of<F: ClientFormat>(name: &'static str, route: &'static str, streamed: Streamed) -> Surface {
    let carries = Carries::Events;
    Surface { name, route, carries, streamed, read: F::read, writer: boxed::<F>, form: F::form }
}

fn boxed<F: ClientFormat>(request: &Request, id: &str, created: i64) -> Box<dyn WholeWriter> {
    Box::new(F::writer(request, id, created))
}

impl Surface {
    /// The surface of a name.
    pub(super) fn named(name: &str) -> Option<&'static Self> {
        SURFACES.iter().find(|surface| surface.name == name)
    }

    /// A body as its format reads it: where its answers can be streams, it asks for one.
    pub(super) fn body(&self, body: &RawValue) -> Result<Vec<u8>, BadRequest> {
        let text = body.get().as_bytes();
        match self.streamed {
            Streamed::ByBody => {
                let mut fields = Fields::of_client(text)?;
                fields.set("stream", &true);
                Ok(fields.to_json().into_bytes())
            }
            Streamed::ByPath | Streamed::AsAsked => Ok(text.to_vec()),
        }
    }

    /// Reads such a body.
    pub(super) fn read(&self, body: &[u8]) -> Result<Request, BadRequest> {
        let mut request = (self.read)(body)?;
        request.stream |= self.streamed == Streamed::ByPath;
        Ok(request)
    }

    /// A writer of the format's own events.
    pub(super) fn writer(&self, request: &Request, id: &str, created: i64) -> Box<dyn WholeWriter> {
        (self.writer)(request, id, created)
    }

    /// How the answer to a request is sent.
    pub(super) fn form(&self, request: &Request) -> AnswerForm {
        (self.form)(request)
    }

    /// Whether answers are kept for later requests.
    pub(super) fn keeps(&self) -> bool {
        self.name == "responses"
    }
}

impl std::fmt::Debug for Surface {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

/// By its name, as nodes tell each other.
impl Serialize for &'static Surface {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name)
    }
}

impl<'de> Deserialize<'de> for &'static Surface {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        Surface::named(&name).ok_or_else(|| D::Error::custom("no such surface"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_surface_reads_its_formats_body_and_is_in_the_page() {
        let page = include_str!("../../../docs/live.md");
        for surface in &SURFACES {
            let row = format!("| `{}.create` | `POST {}`", surface.name, surface.route);
            assert!(page.contains(&row), "docs/live.md has no row {row}");
            assert!(std::ptr::eq(Surface::named(surface.name).unwrap(), Surface::named(surface.name).unwrap()));
        }
        let read = |name: &str, body: &str| {
            let (surface, raw) = (Surface::named(name).unwrap(), RawValue::from_string(body.to_owned()).unwrap());
            surface.read(&surface.body(&raw)?).map(|request| (request.stream, surface.form(&request)))
        };
        for (name, body, expected) in [
            ("chat", r#"{"model":"m","messages":[{"role":"user","content":"x"}]}"#, AnswerForm::Events),
            ("gemini", r#"{"model":"m","contents":[{"parts":[{"text":"x"}]}]}"#, AnswerForm::Events),
            ("cohere", r#"{"model":"m","messages":[{"role":"user","content":"x"}]}"#, AnswerForm::Events),
            ("embeddings", r#"{"model":"m","input":"x"}"#, AnswerForm::Whole),
            ("images", r#"{"model":"gpt-image-1","prompt":"x"}"#, AnswerForm::Whole),
            ("speech", r#"{"model":"tts-1","input":"x","voice":"alloy"}"#, AnswerForm::Sound("audio/mpeg")),
        ] {
            assert_eq!(read(name, body).unwrap().1, expected, "{name}");
        }
        assert_eq!(read("messages", r#"{"model":"m","max_tokens":1,"messages":7}"#).unwrap_err().field, "messages");
    }
}
