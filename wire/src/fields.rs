//! A JSON object read field by field. Needed fields are parsed, with errors that name the field. Everything else keeps
//! its text, so that a provider reads exactly what its client wrote, and a client exactly what its provider wrote.

mod hint;
mod pairs;
mod size;
mod twins;

use std::{borrow::Cow, fmt};

use serde::{Serialize, de::DeserializeOwned};

use hint::Hint;
use pairs::Place;
pub(crate) use pairs::{Pairs, text_of};
pub(crate) use twins::refuse_twins;

/// The most fields of one object: they are searched linearly.
const MOST_FIELDS: usize = 1_024;

/// A field with a wrong value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {message}")]
pub struct BadRequest {
    /// The field's name; `body` for the body as a whole.
    pub field: String,
    /// What is wrong with the field.
    pub message: String,
}

impl BadRequest {
    /// An error of a field.
    pub fn new(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { field: field.into(), message: message.into() }
    }
}

/// The place of a part in a text, in bytes.
#[derive(Debug, Clone, Copy, Default)]
struct Span {
    begin: usize,
    end: usize,
}

impl Span {
    fn of(self, source: &str) -> &str {
        source.get(self.begin..self.end).unwrap_or_default()
    }
}

/// What happened to a field since it was read.
#[derive(Debug, Clone)]
enum Now {
    AsRead,
    Written(String),
    Removed,
}

/// A field's name. Names are looked up often, so a name without escapes stays in the source.
#[derive(Debug, Clone)]
enum Name {
    Plain(Span),
    Other {
        quoted: Box<str>,
        name: Box<str>,
    },
    /// A name set by this crate's code; it needs no escapes.
    Set(&'static str),
}

impl Name {
    fn read<'a>(&'a self, source: &'a str) -> &'a str {
        match self {
            Self::Plain(span) => span.of(source),
            Self::Other { name, .. } => name,
            Self::Set(name) => name,
        }
    }

    /// Writes the name in its quotes.
    fn put(&self, source: &str, json: &mut String) {
        match self {
            Self::Other { quoted, .. } => json.push_str(quoted),
            Self::Plain(_) | Self::Set(_) => {
                json.push('"');
                json.push_str(self.read(source));
                json.push('"');
            }
        }
    }

    fn is(&self, source: &str, wanted: &str) -> bool {
        match self {
            Self::Plain(span) => source.as_bytes().get(span.begin..span.end) == Some(wanted.as_bytes()),
            Self::Other { name, .. } => **name == *wanted,
            Self::Set(name) => *name == wanted,
        }
    }
}

#[derive(Debug, Clone)]
struct Field {
    name: Name,
    /// Where the name's first quote and the value stand. Empty for an added field.
    begin: usize,
    value: Span,
    now: Now,
}

impl Field {
    /// The value's text; `None` where the field was removed.
    fn value<'a>(&'a self, source: &'a str) -> Option<&'a str> {
        match &self.now {
            Now::AsRead => Some(self.value.of(source)),
            Now::Written(text) => Some(text),
            Now::Removed => None,
        }
    }

    const fn is_added(&self) -> bool {
        matches!(self.name, Name::Set(_))
    }
}

/// The fields of a JSON object, in their order. Written again, the object is the text that was read, byte for byte,
/// except for fields set or removed since. Where a name comes twice, the last value counts, in the first place, and
/// only that value is written again: no reader downstream can see another value than this gateway did.
#[derive(Debug, Clone, Default)]
pub struct Fields {
    source: Box<str>,
    list: Vec<Field>,
    /// Names of fields that are there, or were.
    hint: Hint,
    /// Whether a name comes twice: then the object is written anew.
    has_twins: bool,
}

impl PartialEq for Fields {
    fn eq(&self, other: &Self) -> bool {
        self.to_string() == other.to_string()
    }
}

impl fmt::Display for Fields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_json())
    }
}

impl Fields {
    /// Reads the body of a client's request: a JSON object, bounded in its objects and values.
    ///
    /// # Errors
    ///
    /// As for [`Self::parse`], or it has more of them than any provider takes.
    pub fn of_client(body: &[u8]) -> Result<Self, BadRequest> {
        size::check(body)?;
        Self::parse(body)
    }

    /// Reads a body that must be a JSON object.
    ///
    /// # Errors
    ///
    /// The body is not UTF-8, not JSON, not an object, or has too many fields. The error is for the client: its field
    /// is `body`.
    pub fn parse(body: &[u8]) -> Result<Self, BadRequest> {
        let source =
            std::str::from_utf8(body).map_err(|error| BadRequest::new("body", format!("is not JSON: {error}")))?;
        let pairs = Pairs::read(source).map_err(|error| match error.classify() {
            // An object is refused as such for its size alone.
            serde_json::error::Category::Data if source.trim_start().starts_with('{') => {
                BadRequest::new("body", format!("must have at most {MOST_FIELDS} fields"))
            }
            serde_json::error::Category::Data => BadRequest::new("body", "must be a JSON object"),
            _ => BadRequest::new("body", format!("is not JSON: {error}")),
        })?;
        let mut fields: Vec<Field> = Vec::with_capacity(pairs.len() + 2);
        let (mut hint, mut has_twins) = (Hint::default(), false);
        for Place { name, quoted, value } in pairs.places(source) {
            let (begin, value) = (quoted.start, Span { begin: value.start, end: value.end });
            let may_be_twin = hint.note(&name);
            let name = match name {
                Cow::Borrowed(_) => Name::Plain(Span { begin: quoted.start + 1, end: quoted.end - 1 }),
                Cow::Owned(name) => Name::Other { quoted: source[quoted].into(), name: name.into() },
            };
            let mut before = fields.iter_mut().filter(|_| may_be_twin);
            match before.find(|known| known.name.is(source, name.read(source))) {
                Some(known) => {
                    known.value = value;
                    has_twins = true;
                }
                None => fields.push(Field { name, begin, value, now: Now::AsRead }),
            }
        }
        Ok(Self { source: source.into(), list: fields, hint, has_twins })
    }

    /// The object as JSON.
    pub fn to_json(&self) -> String {
        let mut json = String::with_capacity(self.length() + 2);
        self.put(&mut json, &[]);
        match self.source.get(self.tail()..) {
            Some(tail) if !self.has_twins && !tail.is_empty() => json.push_str(tail),
            Some(_) | None => json.push('}'),
        }
        json
    }

    /// The object as JSON, followed by the fields of `more`. Fields named in `names` are left out. `more` has at least
    /// one field, and is not much longer than `room`.
    pub(crate) fn to_json_with(&self, names: &[&str], more: &impl Serialize, room: usize) -> Vec<u8> {
        let mut json = String::with_capacity(self.length() + room);
        let has_some = self.put(&mut json, names);
        let mut json = json.into_bytes();
        let end = json.len();
        if serde_json::to_writer(&mut json, more).is_err() {
            json.truncate(end);
            json.push(b'}');
        } else if has_some {
            // The comma replaces the bracket that opens `more`.
            json[end] = b',';
        } else {
            json.remove(end);
        }
        json
    }

    /// Roughly the object's size in memory, in bytes.
    pub fn weight(&self) -> usize {
        let written = |field: &Field| match &field.now {
            Now::AsRead | Now::Removed => 0,
            Now::Written(text) => text.capacity(),
        };
        let fields = self.list.capacity() * size_of::<Field>();
        self.source.len() + fields + self.list.iter().map(written).sum::<usize>()
    }

    /// The object's length as JSON in bytes, or a little more.
    fn length(&self) -> usize {
        let written = |field: &Field| match &field.now {
            Now::AsRead | Now::Removed => 0,
            Now::Written(text) => field.name.read(&self.source).len() + text.len() + 4,
        };
        self.source.len() + self.list.iter().map(written).sum::<usize>()
    }

    /// Where the first field of the text begins.
    fn head(&self) -> usize {
        let first = self.list.iter().find(|field| !field.is_added()).map(|field| field.begin);
        first.unwrap_or_else(|| self.source.find('{').map_or(0, |bracket| bracket + 1))
    }

    /// Where the last field of the text ends.
    fn tail(&self) -> usize {
        let last = self.list.iter().rfind(|field| !field.is_added()).map(|field| field.value.end);
        last.unwrap_or_else(|| self.head())
    }

    /// Writes everything except the closing bracket and the fields named in `but`. Returns whether a field was written.
    fn put(&self, json: &mut String, but: &[&str]) -> bool {
        let source = &*self.source;
        let is_anew = self.has_twins || source.is_empty();
        json.push_str(if is_anew { "{" } else { source.get(..self.head()).unwrap_or("{") });
        let mut has_some = false;
        // Where the field before ends in the source.
        let mut end = 0;
        for field in &self.list {
            let name = field.name.read(source);
            if let Some(value) = field.value(source).filter(|_| !but.contains(&name)) {
                let blanks = Span { begin: end, end: field.begin }.of(source);
                match (has_some, is_anew || field.is_added()) {
                    (true, true) => json.push(','),
                    // The comma with the white space around it.
                    (true, false) => json.push_str(blanks),
                    (false, _) => {}
                }
                if is_anew || field.is_added() {
                    field.name.put(source, json);
                    json.push(':');
                } else {
                    json.push_str(Span { begin: field.begin, end: field.value.begin }.of(source));
                }
                json.push_str(value);
                has_some = true;
            }
            end = field.value.end;
        }
        has_some
    }

    #[inline]
    fn position(&self, name: &str) -> Option<usize> {
        if self.hint.may_have(name) { self.searched(name) } else { None }
    }

    fn searched(&self, name: &str) -> Option<usize> {
        let is_there = |field: &Field| !matches!(field.now, Now::Removed) && field.name.is(&self.source, name);
        self.list.iter().position(is_there)
    }

    /// Sets a field. A value that can't be written as JSON (a map with keys that are no text) is written as null.
    pub fn set(&mut self, name: &'static str, value: &(impl Serialize + ?Sized)) {
        let now = Now::Written(serde_json::to_string(value).unwrap_or_else(|_| "null".to_owned()));
        if let Some(place) = self.position(name) {
            self.list[place].now = now;
        } else {
            self.hint.note(name);
            self.list.push(Field { name: Name::Set(name), begin: 0, value: Span::default(), now });
        }
    }

    /// Sets a field to a value that is JSON already.
    pub(crate) fn set_json(&mut self, name: &'static str, json: String) {
        self.set(name, &());
        if let Some(place) = self.position(name) {
            self.list[place].now = Now::Written(json);
        }
    }

    /// Removes a field. Returns whether the field was there.
    pub fn remove(&mut self, name: &str) -> bool {
        let place = self.position(name);
        place.is_some_and(|place| {
            if self.list[place].is_added() {
                self.list.remove(place);
            } else {
                self.list[place].now = Now::Removed;
            }
            true
        })
    }

    /// A field's text, as it was read or set.
    #[inline]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.position(name).and_then(|place| self.list[place].value(&self.source))
    }

    /// A field's text, where the field is present and not null.
    #[inline]
    pub fn present(&self, name: &str) -> Option<&str> {
        self.get(name).filter(|value| *value != "null")
    }

    /// The names of the fields.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let there = self.list.iter().filter(|field| !matches!(field.now, Now::Removed));
        there.map(|field| field.name.read(&self.source))
    }

    /// A field that is an object, absent or null. `must` describes the object for the error.
    ///
    /// # Errors
    ///
    /// The field has another value than an object. The error is for the client, and names the field.
    pub fn object(&self, name: &str, must: &str) -> Result<Option<Self>, BadRequest> {
        let value = self.present(name).map(|value| Self::parse(value.as_bytes()));
        value.transpose().map_err(|_| BadRequest::new(name, format!("must be {must}")))
    }

    /// A field that is absent, null, or parses as `T`. `must` describes `T` for the error.
    ///
    /// # Errors
    ///
    /// The field does not parse as `T`. The error is for the client, and names the field.
    pub fn read<T: DeserializeOwned>(&self, name: &str, must: &str) -> Result<Option<T>, BadRequest> {
        let value = self.present(name).map(|value| serde_json::from_str(value));
        value.transpose().map_err(|_| BadRequest::new(name, format!("must be {must}")))
    }

    pub(crate) fn string(&self, name: &str) -> Result<Option<String>, BadRequest> {
        let value = self.present(name).map(|json| text_of(json).map(Cow::into_owned));
        value.map(|text| text.ok_or_else(|| BadRequest::new(name, "must be a string"))).transpose()
    }

    pub(crate) fn boolean(&self, name: &str) -> Result<Option<bool>, BadRequest> {
        self.read(name, "true or false")
    }

    /// A whole number within a range, of any type of whole numbers that has both ends.
    pub(crate) fn whole<N>(&self, name: &str, least: N, most: N) -> Result<Option<N>, BadRequest>
    where
        N: Copy + DeserializeOwned + PartialOrd + fmt::Display,
    {
        match self.present(name).map(serde_json::from_str::<N>) {
            None => Ok(None),
            Some(Ok(number)) if least <= number && number <= most => Ok(Some(number)),
            Some(_) => Err(BadRequest::new(name, format!("must be a whole number from {least} to {most}"))),
        }
    }

    /// A number within a range.
    #[expect(clippy::cast_possible_truncation, reason = "the range is far inside f32")]
    pub(crate) fn number(&self, name: &str, least: f64, most: f64) -> Result<Option<f32>, BadRequest> {
        match self.present(name).map(serde_json::from_str::<f64>) {
            None => Ok(None),
            Some(Ok(number)) if (least..=most).contains(&number) => Ok(Some(number as f32)),
            Some(_) => Err(BadRequest::new(name, format!("must be a number from {least} to {most}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_touched_is_written_as_it_came() {
        let text = r#"{"a":1.50,"b":{"x" : [1e2]},"é":"\u00e9","c":null}"#;
        let mut fields = Fields::parse(text.as_bytes()).unwrap();
        assert_eq!(fields.to_string(), text);
        assert!(fields.present("c").is_none() && fields.get("c").is_some());
        fields.set("a", "new");
        assert_eq!(fields.get("b"), Some(r#"{"x" : [1e2]}"#));
        assert!(fields.remove("b") && !fields.remove("b"));
        assert_eq!(fields.to_string(), r#"{"a":"new","é":"\u00e9","c":null}"#);
    }

    #[test]
    fn blanks_and_line_ends_stay_where_they_stood() {
        let text = "\n{ \"a\" : 1 ,\n  \"b\":2,\t\"c\": 3 }\r\n";
        let with = |change: fn(&mut Fields)| {
            let mut fields = Fields::parse(text.as_bytes()).unwrap();
            change(&mut fields);
            fields.to_json()
        };
        assert_eq!(with(|_| ()), text);
        let of = |body: &str| format!("\n{{ {body} }}\r\n");
        assert_eq!(with(|fields| fields.set("b", &7)), of("\"a\" : 1 ,\n  \"b\":7,\t\"c\": 3"));
        assert_eq!(with(|fields| assert!(fields.remove("a"))), of("\"b\":2,\t\"c\": 3"));
        assert_eq!(with(|fields| assert!(fields.remove("b"))), of("\"a\" : 1,\t\"c\": 3"));
        assert_eq!(with(|fields| assert!(fields.remove("c"))), of("\"a\" : 1 ,\n  \"b\":2"));
        let moved = with(|fields| {
            fields.remove("a");
            fields.set("a", &5);
            fields.set("d", &4);
        });
        assert_eq!(moved, "\n{ \"b\":2,\t\"c\": 3,\"a\":5,\"d\":4 }\r\n");
        let mut empty = Fields::parse(b" { } ").unwrap();
        assert_eq!(empty.to_json(), " { } ");
        empty.set("a", &1);
        assert_eq!(empty.to_json(), " {\"a\":1 } ");
        assert_eq!(Fields::default().to_json(), "{}");
    }

    #[test]
    fn fields_are_joined_to_others() {
        let join = |text: &str| {
            let more = serde_json::json!({"b": 2, "c": 3});
            String::from_utf8(Fields::parse(text.as_bytes()).unwrap().to_json_with(&["b", "c"], &more, 0)).unwrap()
        };
        assert_eq!(join(r#"{"a":1,"b":{},"d": 4}"#), r#"{"a":1,"d": 4,"b":2,"c":3}"#);
        assert_eq!(join(r#"{"b":1}"#), r#"{"b":2,"c":3}"#);
        assert_eq!(join("{}"), r#"{"b":2,"c":3}"#);
    }

    #[test]
    fn a_name_that_comes_twice_is_read_and_written_once() {
        let fields = Fields::parse(br#"{"model":"a","n":1,"model":"b"}"#).unwrap();
        assert_eq!(fields.string("model").unwrap().as_deref(), Some("b"));
        assert_eq!(fields.to_string(), r#"{"model":"b","n":1}"#);
        let escaped = Fields::parse(br#"{"mod\u0065l":"a","model":"b"}"#).unwrap();
        assert_eq!(escaped.string("model").unwrap().as_deref(), Some("b"));
        assert_eq!(escaped.to_string(), r#"{"mod\u0065l":"b"}"#);
        assert_eq!(escaped.names().collect::<Vec<_>>(), ["model"]);
    }

    #[test]
    fn a_body_that_is_no_object_is_refused() {
        for body in ["[]", "1", "", "{", r#"{"a":1}x"#, r#"{"a":}"#, "\u{feff}{}"] {
            assert_eq!(Fields::parse(body.as_bytes()).unwrap_err().field, "body", "{body}");
        }
        let many: Vec<_> = (0..=MOST_FIELDS).map(|n| format!("\"{n}\":0")).collect();
        let error = Fields::parse(format!("{{{}}}", many.join(",")).as_bytes()).unwrap_err();
        assert!(error.message.contains("at most 1024 fields"), "{error}");
    }
}
