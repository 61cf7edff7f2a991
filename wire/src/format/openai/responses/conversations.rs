//! Conversations ("Conversations", OpenAI API reference), as they are kept here: a list of items that a response goes on
//! from, and to which its own are added. No provider gets one's id: a request gets the items, so that any model can go
//! on with any other's.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json, value::RawValue};

use super::super::messages::{read_as, read_text};
use crate::{
    fields::{BadRequest, Fields, Pairs},
    format::refused::short,
};

/// The field that names the conversation of a response.
pub const FIELD: &str = "conversation";
/// What the id of each begins with.
pub const PREFIX: &str = "conv_";
/// The most items that are added at once, by a request for it.
const MOST_ITEMS: usize = 20;
/// The most members of its metadata, and the longest name and value of one, in characters.
const MOST_METADATA: usize = 16;
const LONGEST_NAME: usize = 64;
const LONGEST_VALUE: usize = 512;
/// What the ids begin with that items get here, by their types.
const PREFIXES: [(&str, &str); 6] = [
    ("message", "msg_"),
    ("reasoning", "rs_"),
    ("function_call", "fc_"),
    ("function_call_output", "fco_"),
    ("custom_tool_call", "ctc_"),
    ("custom_tool_call_output", "ctco_"),
];

/// A conversation.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Conversation {
    /// When it began, in seconds since 1970.
    created_at: i64,
    metadata: Map<String, Value>,
    entries: Vec<Entry>,
}

/// An item of a conversation.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Entry {
    /// Its id: its own, or one that it got here. A model reads the item as it came.
    id: String,
    item: Box<RawValue>,
}

impl Entry {
    /// The item as it is listed: with a type, an id, a status and its content as a list.
    fn shown(&self) -> Value {
        shown(&self.item, &self.id).unwrap_or_default()
    }
}

/// An item as it is listed, under an id; `None` for what is no object.
pub(super) fn shown(item: &RawValue, id: &str) -> Option<Value> {
    let mut item: Value = serde_json::from_str(item.get()).ok().filter(Value::is_object)?;
    let members = item.as_object_mut()?;
    members.entry("type").or_insert_with(|| "message".into());
    members.entry("id").or_insert_with(|| id.into());
    if let Some(Value::String(text)) = members.get("content") {
        let kind = if members.get("role") == Some(&Value::from("assistant")) { "output_text" } else { "input_text" };
        let content = json!([{"type": kind, "text": text}]);
        members.insert("content".into(), content);
    }
    Some(item)
}

impl Conversation {
    /// One that begins then, in seconds since 1970.
    pub fn new(created_at: i64, metadata: Map<String, Value>) -> Self {
        Self { created_at, metadata, entries: Vec::new() }
    }

    /// The bytes of its items.
    pub fn bytes(&self) -> usize {
        self.entries.iter().map(|entry| entry.id.len() + entry.item.get().len()).sum()
    }

    /// Its items as they came, oldest first.
    pub fn items(&self) -> impl Iterator<Item = &RawValue> {
        self.entries.iter().map(|entry| &*entry.item)
    }

    /// The ids of its items, oldest first.
    pub fn ids(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().map(|entry| &*entry.id)
    }

    /// Adds items. One without an id, or with that of another, gets one that ends in what `new` makes. Returns them as they
    /// are listed.
    pub fn add(
        &mut self,
        items: impl IntoIterator<Item = Box<RawValue>>,
        mut new: impl FnMut() -> String,
    ) -> Vec<Value> {
        let before = self.entries.len();
        for item in items {
            let members = Pairs::of(item.get());
            let text = |name: &str| members.as_ref()?.get(name).and_then(read_text);
            let own = text("id").filter(|id| !id.is_empty() && !self.entries.iter().any(|entry| entry.id == *id));
            let id = own.unwrap_or_else(|| {
                let kind = text("type").unwrap_or_else(|| "message".to_owned());
                let prefix = PREFIXES.iter().find(|(known, _)| *known == kind).map_or("item_", |(_, prefix)| prefix);
                format!("{prefix}{}", new())
            });
            self.entries.push(Entry { id, item });
        }
        self.entries.iter().skip(before).map(Entry::shown).collect()
    }

    /// Takes an item out. Returns whether it was there.
    pub fn remove(&mut self, id: &str) -> bool {
        let before = self.entries.len();
        self.entries.retain(|entry| entry.id != id);
        self.entries.len() < before
    }

    /// Its metadata from now on.
    pub fn describe(&mut self, metadata: Map<String, Value>) {
        self.metadata = metadata;
    }

    /// Its items as they are listed, oldest first.
    pub fn listed(&self) -> Vec<Value> {
        self.entries.iter().map(Entry::shown).collect()
    }

    /// An item as it is listed.
    pub fn find(&self, id: &str) -> Option<Value> {
        self.entries.iter().find(|entry| entry.id == id).map(Entry::shown)
    }

    /// The conversation as clients read it.
    pub fn object(&self, id: &str) -> Value {
        json!({"id": id, "object": "conversation", "created_at": self.created_at, "metadata": self.metadata})
    }
}

/// The conversation that a request for a response names: its id, or an object with it.
///
/// # Errors
///
/// The value is neither.
pub(super) fn named(body: &Fields) -> Result<Option<String>, BadRequest> {
    let Some(json) = body.present(FIELD) else { return Ok(None) };
    let within = || Pairs::of(json)?.get("id").and_then(read_text);
    let id = read_text(json).or_else(within).filter(|id| !id.is_empty());
    id.map(Some).ok_or_else(|| BadRequest::new(FIELD, "must be the id of a conversation, or an object with it"))
}

/// The metadata that a body has.
///
/// # Errors
///
/// They are no object of short texts.
pub fn metadata(body: &Fields) -> Result<Option<Map<String, Value>>, BadRequest> {
    let Some(metadata) = body.read::<Map<String, Value>>("metadata", "an object")? else { return Ok(None) };
    let is_short = |text: &str, most: usize| text.chars().count() <= most;
    let is_good = |(name, value): (&String, &Value)| {
        is_short(name, LONGEST_NAME) && value.as_str().is_some_and(|value| is_short(value, LONGEST_VALUE))
    };
    if metadata.len() > MOST_METADATA || !metadata.iter().all(is_good) {
        let message = format!(
            "must have at most {MOST_METADATA} members: names of {LONGEST_NAME} characters, and texts of {LONGEST_VALUE}"
        );
        return Err(BadRequest::new("metadata", message));
    }
    Ok(Some(metadata))
}

/// The items that a body adds.
///
/// # Errors
///
/// They are no list of objects, too many, or stand for items that are kept elsewhere.
pub fn items(body: &Fields) -> Result<Option<Vec<Box<RawValue>>>, BadRequest> {
    let Some(json) = body.present("items") else { return Ok(None) };
    let items: Vec<Box<RawValue>> =
        read_as(json).ok_or_else(|| BadRequest::new("items", "must be an array of items"))?;
    if items.len() > MOST_ITEMS {
        return Err(BadRequest::new("items", format!("must be at most {MOST_ITEMS} items")));
    }
    for (place, item) in items.iter().enumerate() {
        let kind = Pairs::of(item.get()).map(|members| members.get("type").and_then(read_text));
        match kind {
            None => return Err(BadRequest::new(format!("items[{place}]"), "must be an object")),
            Some(Some(kind)) if kind == super::kept::REFERENCE => {
                return Err(BadRequest::new(format!("items[{place}].type"), "must be that of an item itself"));
            }
            Some(_) => {}
        }
    }
    Ok(Some(items))
}

/// Refuses what a request to a conversation has beside its known members.
///
/// # Errors
///
/// The first other member.
pub fn only(body: &Fields, known: &[&str]) -> Result<(), BadRequest> {
    match body.names().find(|name| !known.contains(name)) {
        Some(name) => Err(BadRequest::new(short(name), "is not known here")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(value: &Value) -> Box<RawValue> {
        serde_json::value::to_raw_value(value).unwrap()
    }

    fn fields(value: &Value) -> Fields {
        Fields::parse(value.to_string().as_bytes()).unwrap()
    }

    #[test]
    fn items_stay_as_they_came_and_are_listed_with_ids() {
        let mut conversation = Conversation::new(7, Map::new());
        let mut count = 0;
        let mut new = || {
            count += 1;
            count.to_string()
        };
        let asked = raw(&json!({"role": "user", "content": "hi"}));
        let said = raw(&json!({"type": "message", "id": "msg_a", "role": "assistant", "content": []}));
        let added = conversation.add([asked.clone(), said.clone(), said.clone()], &mut new);
        assert_eq!(
            added[0],
            json!({"type": "message", "id": "msg_1", "role": "user", "content": [{"type": "input_text", "text": "hi"}]})
        );
        assert_eq!((&added[1]["id"], added.len()), (&json!("msg_a"), 3));
        let items: Vec<_> = conversation.items().map(RawValue::get).collect();
        assert_eq!(items, [asked.get(), said.get(), said.get()], "a model reads them as they came");
        let text = serde_json::to_vec(&conversation).unwrap();
        let mut again: Conversation = serde_json::from_slice(&text).unwrap();
        assert_eq!((again.listed(), again.bytes()), (conversation.listed(), conversation.bytes()));
        assert_eq!(again.find("msg_1"), Some(added[0].clone()));
        assert!(again.remove("msg_1") && !again.remove("msg_1") && again.find("msg_1").is_none());
        again.describe(metadata(&fields(&json!({"metadata": {"a": "b"}}))).unwrap().unwrap());
        let expected = json!({"id": "conv_1", "object": "conversation", "created_at": 7, "metadata": {"a": "b"}});
        assert_eq!(again.object("conv_1"), expected);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let of = |value: &Value| named(&fields(value)).map_err(|bad| bad.field);
        assert_eq!(of(&json!({"conversation": "conv_1"})), Ok(Some("conv_1".into())));
        assert_eq!(of(&json!({"conversation": {"id": "conv_1"}})), Ok(Some("conv_1".into())));
        assert_eq!(of(&json!({"conversation": null})), Ok(None));
        for bad in [json!(""), json!(7), json!({}), json!({"id": 7})] {
            assert_eq!(of(&json!({"conversation": bad})), Err(FIELD.into()));
        }
        let many: Map<_, _> = (0..17).map(|place| (place.to_string(), json!("x"))).collect();
        for bad in [json!([]), json!({"a": 1}), json!({"a": "x".repeat(513)}), json!(many)] {
            assert_eq!(metadata(&fields(&json!({"metadata": bad}))).unwrap_err().field, "metadata");
        }
        for (bad, field) in [
            (json!({}), "items"),
            (json!([7]), "items[0]"),
            (json!([{"type": "item_reference", "id": "x"}]), "items[0].type"),
            (json!(vec![json!({"role": "user"}); 21]), "items"),
        ] {
            assert_eq!(items(&fields(&json!({"items": bad}))).unwrap_err().field, field);
        }
        assert_eq!(only(&fields(&json!({"items": [], "x": 1})), &["items"]).unwrap_err().field, "x");
    }
}
