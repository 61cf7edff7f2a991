//! Frames from the client of a live socket. What a frame may have depends on its type: a field that does not belong to
//! it is refused by its name, as a field that it misses is.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use wire::object::Object;

use super::{
    surfaces::{SURFACES, Surface},
    topics::Topic,
};
use crate::http::{error::ApiError, respond::parse};

/// The longest id that a client chooses, in bytes.
const LONGEST_ID: usize = 128;

/// What becomes of a request whose socket is lost.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum OnDisconnect {
    /// It ends, and is charged as far as it came.
    #[default]
    Cancel,
    /// It goes on to its end. Its frames are kept for a while.
    Finish,
    /// The same, and its answer is kept for a day.
    Detach,
}

/// A request, as its frame asks for it, and as nodes pass it on.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Create {
    pub(super) surface: &'static Surface,
    /// The id that its client chose.
    pub(super) id: String,
    pub(super) body: Box<RawValue>,
    /// The caller's own key at the provider.
    pub(super) provider_key: Option<String>,
    pub(super) idempotency_key: Option<String>,
    pub(super) on_disconnect: OnDisconnect,
}

/// A frame from the client.
#[derive(Debug)]
pub(super) enum Frame {
    Create(Box<Create>),
    Cancel { id: String },
    Resume { id: String, after: u64 },
    Subscribe(Vec<Topic>),
    Unsubscribe(Vec<Topic>),
    Ping,
}

/// A frame's JSON. A request's body stays unparsed.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    r#type: String,
    id: Option<String>,
    body: Option<Box<RawValue>>,
    provider_key: Option<String>,
    idempotency_key: Option<String>,
    on_disconnect: Option<OnDisconnect>,
    after: Option<u64>,
    topics: Option<Vec<String>>,
}

/// The id of a frame whose other fields may be wrong.
#[derive(Deserialize)]
struct Named {
    id: Option<String>,
}

impl Written {
    /// The first field that is there, and none of these.
    fn beside(&self, fields: &[&str]) -> Option<&'static str> {
        let there = [
            ("id", self.id.is_some()),
            ("body", self.body.is_some()),
            ("provider_key", self.provider_key.is_some()),
            ("idempotency_key", self.idempotency_key.is_some()),
            ("on_disconnect", self.on_disconnect.is_some()),
            ("after", self.after.is_some()),
            ("topics", self.topics.is_some()),
        ];
        there.into_iter().find(|(name, is_there)| *is_there && !fields.contains(name)).map(|(name, _)| name)
    }

    /// An id that is there, and no longer than ids may be.
    fn id(&mut self) -> Result<String, ApiError> {
        let id = self.id.take().filter(|id| (1..=LONGEST_ID).contains(&id.len()));
        id.ok_or_else(|| ApiError::invalid("id", format!("must be a text of 1 to {LONGEST_ID} bytes")))
    }
}

/// A frame that can't be read, and the id of its request where it has one.
pub(super) struct Unread {
    pub(super) id: Option<String>,
    pub(super) error: ApiError,
}

impl Frame {
    /// Reads a frame.
    pub(super) fn read(text: &str) -> Result<Self, Unread> {
        let is_one = |id: &String| (1..=LONGEST_ID).contains(&id.len());
        let mut written: Written = parse("frame", text.as_bytes()).map_err(|error| {
            let named = serde_json::from_str::<Object<Named>>(text).ok();
            Unread { id: named.and_then(|Object(Named { id })| id).filter(is_one), error }
        })?;
        let id = written.id.clone().filter(is_one);
        Self::of(&mut written).map_err(|error| Unread { id, error })
    }

    fn of(written: &mut Written) -> Result<Self, ApiError> {
        const CREATE: &[&str] = &["id", "body", "provider_key", "idempotency_key", "on_disconnect"];
        let kind = std::mem::take(&mut written.r#type);
        let (surface, verb) = match kind.rsplit_once('.') {
            Some((surface, verb)) => (Some(Surface::named(surface).ok_or_else(|| unknown(&kind))?), verb),
            None => (None, &*kind),
        };
        let fields = match (surface, verb) {
            (Some(_), "create") => CREATE,
            (_, "cancel") => &["id"],
            (None, "resume") => &["id", "after"],
            (None, "subscribe" | "unsubscribe") => &["topics"],
            (None, "ping") => &[],
            _ => return Err(unknown(&kind)),
        };
        if let Some(other) = written.beside(fields) {
            return Err(ApiError::invalid(other, format!("is no field of {kind}")));
        }
        match (surface, verb) {
            (Some(surface), "create") => Self::create(surface, written),
            (_, "cancel") => Ok(Self::Cancel { id: written.id()? }),
            (None, "resume") => Ok(Self::Resume { id: written.id()?, after: written.after.unwrap_or(0) }),
            (None, "subscribe") => topics(written).map(Self::Subscribe),
            (None, "unsubscribe") => topics(written).map(Self::Unsubscribe),
            _ => Ok(Self::Ping),
        }
    }

    fn create(surface: &'static Surface, written: &mut Written) -> Result<Self, ApiError> {
        let id = written.id()?;
        let body = written.body.take().ok_or_else(|| ApiError::invalid("body", "is missing"))?;
        let (provider_key, idempotency_key) = (written.provider_key.take(), written.idempotency_key.take());
        let is_header = |key: &String| !key.trim().is_empty() && key.bytes().all(|byte| (0x20..0x7f).contains(&byte));
        if provider_key.as_ref().is_some_and(|key| !is_header(key)) {
            return Err(ApiError::invalid("provider_key", "must be printable text, as in its header"));
        }
        // A request under a key runs to its end: its retry gets the whole answer.
        let usual = if idempotency_key.is_some() { OnDisconnect::Finish } else { OnDisconnect::Cancel };
        let on_disconnect = written.on_disconnect.unwrap_or(usual);
        if idempotency_key.is_some() && on_disconnect == OnDisconnect::Cancel {
            let message = "must be finish or detach beside idempotency_key, under which a request runs to its end";
            return Err(ApiError::invalid("on_disconnect", message));
        }
        Ok(Self::Create(Box::new(Create { surface, id, body, provider_key, idempotency_key, on_disconnect })))
    }
}

fn topics(written: &mut Written) -> Result<Vec<Topic>, ApiError> {
    let names = written.topics.take().filter(|names| !names.is_empty());
    let names = names.ok_or_else(|| ApiError::invalid("topics", "must name at least one"))?;
    names.iter().map(|name| Topic::named(name)).collect()
}

fn unknown(kind: &str) -> ApiError {
    let shown: String = kind.chars().take(100).collect();
    let creates: Vec<_> = SURFACES.iter().map(|surface| format!("{}.create", surface.name)).collect();
    let message =
        format!("{shown} is none: {}, cancel, resume, subscribe, unsubscribe and ping are", creates.join(", "));
    ApiError::invalid("type", message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_with_a_frame_is_named() {
        for (text, field) in [
            ("[]", "frame"),
            (r#"["ping",null,null,null,null,null,null,null]"#, "frame: must be a JSON object, not a list"),
            (r#"{"type":1}"#, "type: must be a string, not integer `1`"),
            ("{", "frame"),
            (r#"{"id":"a"}"#, "type"),
            (r#"{"type":"ping","colour":1}"#, "colour"),
            (r#"{"type":"ping","id":"a"}"#, "id"),
            (r#"{"type":"pong"}"#, "type"),
            (r#"{"type":"transcriptions.create","id":"a","body":{}}"#, "type"),
            (r#"{"type":"chat.resume","id":"a"}"#, "type"),
            (r#"{"type":"chat.create","body":{}}"#, "id"),
            (r#"{"type":"chat.create","id":"","body":{}}"#, "id"),
            (r#"{"type":"chat.create","id":"a"}"#, "body"),
            (r#"{"type":"chat.create","id":"a","body":{},"after":1}"#, "after"),
            (r#"{"type":"chat.create","id":"a","body":{},"provider_key":"a\nb"}"#, "provider_key"),
            (r#"{"type":"chat.create","id":"a","body":{},"on_disconnect":"wait"}"#, "on_disconnect"),
            (
                r#"{"type":"chat.create","id":"a","body":{},"idempotency_key":"k","on_disconnect":"cancel"}"#,
                "on_disconnect",
            ),
            (r#"{"type":"cancel"}"#, "id"),
            (r#"{"type":"resume","id":"a","after":-1}"#, "after"),
            (r#"{"type":"subscribe"}"#, "topics"),
            (r#"{"type":"subscribe","topics":[]}"#, "topics"),
            (r#"{"type":"subscribe","topics":["weather"]}"#, "topics"),
        ] {
            let Err(unread) = Frame::read(text) else { panic!("{text} was read") };
            // A field, or a field and the words.
            let told = if field.contains(": ") { field.to_owned() } else { format!("{field}: ") };
            assert!(unread.error.message().starts_with(&told), "{text}: {}", unread.error.message());
        }
        let of = |text: &str| Frame::read(text).err().and_then(|unread| unread.id);
        assert_eq!(of(r#"{"type":"chat.create","id":"a","body":{},"on_disconnect":7}"#).as_deref(), Some("a"));
        assert_eq!((of(r#"{"type":7,"id":""}"#), of("{")), (None, None));
        let long = format!(r#"{{"type":"cancel","id":"{}"}}"#, "x".repeat(LONGEST_ID + 1));
        assert!(Frame::read(&long).is_err_and(|unread| unread.id.is_none()));
        let Ok(Frame::Create(create)) =
            Frame::read(r#"{"type":"cohere.rerank.create","id":"a","body":{},"idempotency_key":"k"}"#)
        else {
            panic!("it is not read")
        };
        assert_eq!((create.surface.name, create.on_disconnect), ("cohere.rerank", OnDisconnect::Finish));
        assert!(matches!(Frame::read(r#"{"type":"chat.cancel","id":"a"}"#), Ok(Frame::Cancel { id }) if id == "a"));
        assert!(matches!(Frame::read(r#"{"type":"resume","id":"a"}"#), Ok(Frame::Resume { after: 0, .. })));
    }
}
