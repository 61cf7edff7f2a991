//! Requests that continue what is kept here: by `previous_response_id`, by `conversation`, or by the id of an item
//! (`item_reference`). No provider gets such ids: the request gets the items themselves, before its own, so that any
//! provider can answer it, and no client reads another's.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json, value::RawValue};

use super::{
    super::messages::{read_as, read_text},
    conversations, writer,
};
use crate::format::refused::short;
use crate::{
    fields::{BadRequest, Fields, Pairs},
    inference::Request,
};

/// The field that names the response before.
pub const PREVIOUS: &str = "previous_response_id";
/// The type of an item that stands for a kept one.
pub(super) const REFERENCE: &str = "item_reference";

/// What a request names that is kept here.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Named {
    /// The response that it continues.
    pub previous: Option<String>,
    /// The conversation that it continues.
    pub conversation: Option<String>,
    /// Items of earlier responses, by their ids.
    pub items: Vec<String>,
}

/// A response as it is kept.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Kept {
    /// The response, whole.
    pub response: Box<RawValue>,
    /// The items of its request, without those before.
    pub input: Vec<Box<RawValue>>,
}

impl Kept {
    /// The response without what was asked and answered, which was too long to keep. Nothing continues it.
    #[must_use]
    pub fn without_items(&self) -> Self {
        let mut response: Value = serde_json::from_str(self.response.get()).unwrap_or_default();
        response["output"] = json!([]);
        response["farebox_too_long"] = true.into();
        let response = serde_json::value::to_raw_value(&response).unwrap_or_else(|_| self.response.clone());
        Self { response, input: Vec::new() }
    }

    /// Its length in bytes.
    pub fn bytes(&self) -> usize {
        self.response.get().len() + self.input.iter().map(|item| item.get().len()).sum::<usize>()
    }

    /// The items that the model wrote.
    pub fn output(&self) -> Vec<&RawValue> {
        let response = Pairs::of(self.response.get());
        response.and_then(|response| read_as(response.get("output")?)).unwrap_or_default()
    }

    /// The items with their ids: those of the request, then those that the model wrote.
    pub fn items(&self) -> impl Iterator<Item = (Option<String>, &RawValue)> {
        let all = self.input.iter().map(|item| &**item).chain(self.output());
        all.map(|item| (member(item, "id"), item))
    }

    /// Whether the response has an answer that others can continue.
    pub fn has_answer(&self) -> bool {
        let status = member(&self.response, "status");
        let members = Pairs::of(self.response.get());
        let is_whole = members.is_none_or(|members| members.get("farebox_too_long").is_none());
        is_whole && !matches!(status.as_deref(), Some("queued" | "in_progress" | "failed" | "cancelled"))
    }

    /// Whether the response was made in a conversation, so that what came before it is kept there alone.
    pub fn is_of_conversation(&self) -> bool {
        let members = Pairs::of(self.response.get());
        members.is_some_and(|members| members.get(conversations::FIELD).is_some_and(|value| value.trim() != "null"))
    }

    /// The response's id.
    pub fn id(&self) -> Option<String> {
        member(&self.response, "id")
    }
}

/// A text among an item's members.
fn member(item: &RawValue, name: &str) -> Option<String> {
    Pairs::of(item.get())?.get(name).and_then(read_text)
}

/// The id that an item stands for, where it is no item itself.
fn reference(item: &RawValue) -> Option<String> {
    let members = Pairs::of(item.get())?;
    let kind = members.get("type").and_then(read_text);
    let is_bare = kind.is_none() && ["role", "content"].into_iter().all(|name| members.get(name).is_none());
    (kind.as_deref() == Some(REFERENCE) || is_bare).then(|| members.get("id").and_then(read_text)).flatten()
}

/// Takes the wish for a response in the background out of a request. Such a request is asked of its provider as a stream,
/// so that it is never silent for long. Returns whether its client wants a stream too; `None` where nothing was wished.
///
/// # Errors
///
/// `background` is neither true nor false, or the response would not be kept.
pub fn take_background(request: &mut Request) -> Result<Option<bool>, BadRequest> {
    if !request.source.body.boolean("background")?.unwrap_or(false) {
        return Ok(None);
    }
    if !is_wanted(&request.source.body)? {
        return Err(BadRequest::new("store", "must not be false for a response in the background"));
    }
    request.source.body.remove("background");
    request.source.body.set("stream", &true);
    request.source.is_background = true;
    Ok(Some(std::mem::replace(&mut request.stream, true)))
}

/// The response that an event has.
pub fn response_of_event(event: &str) -> Option<Value> {
    let data = event.lines().find_map(|line| line.strip_prefix("data: "))?;
    let event = Pairs::of(data)?;
    serde_json::from_str(event.get("response")?).ok()
}

/// Says of a response that it was cancelled.
pub fn cancel(response: &mut Value) {
    response["status"] = "cancelled".into();
    response["incomplete_details"] = Value::Null;
}

/// The last event of a stream whose response was cancelled.
pub fn cancelled_event(number: usize, response: &Value) -> String {
    let kind = "response.incomplete";
    writer::named(kind, &json!({"type": kind, "sequence_number": number, "response": response}).to_string())
}

/// Says of a response that was not finished when its process ended that it has failed.
pub fn fail_unfinished(response: &mut Value) {
    if is_unfinished(response) {
        response["status"] = "failed".into();
        response["error"] =
            json!({"code": "server_error", "message": "The gateway stopped before the response was complete."});
    }
}

fn is_unfinished(response: &Value) -> bool {
    matches!(response["status"].as_str(), Some("queued" | "in_progress"))
}

/// What a body names that is kept here; `None` where it names nothing.
///
/// # Errors
///
/// The body is no JSON object, or the name of the response before is no text.
pub fn named(body: &[u8]) -> Result<Option<Named>, BadRequest> {
    // Most bodies name nothing, and are long.
    let text = str::from_utf8(body).unwrap_or_default();
    let names_some = [PREVIOUS, REFERENCE, conversations::FIELD].into_iter().any(|name| names(text, name));
    if !names_some {
        return Ok(None);
    }
    let body = Fields::of_client(body)?;
    let (previous, conversation) = (body.string(PREVIOUS)?, conversations::named(&body)?);
    if previous.is_some() && conversation.is_some() {
        return Err(BadRequest::new(conversations::FIELD, format!("can't stand beside {PREVIOUS}")));
    }
    if conversation.is_some() && !is_wanted(&body)? {
        return Err(BadRequest::new("store", "must not be false for a response that is added to a conversation"));
    }
    let items: Vec<&RawValue> = body.present("input").and_then(read_as).unwrap_or_default();
    let items: Vec<String> = items.into_iter().filter_map(reference).collect();
    let is_named = previous.is_some() || conversation.is_some() || !items.is_empty();
    Ok(is_named.then_some(Named { previous, conversation, items }))
}

/// Whether a text has a name within quotes.
fn names(text: &str, name: &str) -> bool {
    text.match_indices(name)
        .any(|(place, _)| text[..place].ends_with('"') && text[place + name.len()..].starts_with('"'))
}

/// The items of a request's own, with kept ones in the places of their ids.
///
/// # Errors
///
/// The input is neither a text nor a list, or an item is not among those that were found.
fn own_items(
    body: &Fields,
    found: &BTreeMap<String, Box<RawValue>>,
    most: usize,
) -> Result<Vec<Box<RawValue>>, BadRequest> {
    let bad = || BadRequest::new("input", "must be a string or an array of items");
    // A request that continues another may add nothing.
    let Some(input) = body.present("input") else { return Ok(Vec::new()) };
    if let Some(text) = read_text(input) {
        let message = json!({"type": "message", "role": "user", "content": text});
        return Ok(serde_json::value::to_raw_value(&message).into_iter().collect());
    }
    let items: Vec<Box<RawValue>> = read_as(input).ok_or_else(bad)?;
    // An item may be named more than once: the sum is bounded before it is copied.
    let mut bytes = 0_usize;
    let items = items.into_iter().enumerate().map(|(place, item)| {
        let at = || format!("input[{place}]");
        let named = match reference(&item) {
            None => None,
            Some(id) => Some(found.get(&id).ok_or_else(|| {
                BadRequest::new(at(), format!("names an item that is not kept here: {}", short(&id)))
            })?),
        };
        bytes = bytes.saturating_add(named.unwrap_or(&item).get().len());
        if bytes > most {
            return Err(BadRequest::new(at(), format!("is beyond the {most} bytes that a request may have in all")));
        }
        Ok(named.cloned().unwrap_or(item))
    });
    items.collect()
}

/// Whether the response to a body is kept: unless the body says otherwise.
///
/// # Errors
///
/// `store` is neither true nor false.
pub fn is_wanted(body: &Fields) -> Result<bool, BadRequest> {
    Ok(body.boolean("store")?.unwrap_or(true))
}

/// A body's own items, to be kept.
pub fn input(body: &Fields) -> Vec<Box<RawValue>> {
    own_items(body, &BTreeMap::new(), usize::MAX).unwrap_or_default()
}

/// Items as they are listed: each has a type and an id. One that came without an id has the place it is listed at.
pub fn listed<'a>(items: impl Iterator<Item = &'a RawValue>, response: &str) -> Vec<Value> {
    let shown = |(place, item): (usize, &RawValue)| conversations::shown(item, &format!("item_{response}_{place}"));
    items.enumerate().filter_map(shown).collect()
}

/// The body that asks the same with all that came before in it, of at most so many bytes, and the items of its own.
///
/// # Errors
///
/// As for the items that it names, or all of it is too long.
pub fn continued(
    body: &[u8],
    earlier: &[&RawValue],
    found: &BTreeMap<String, Box<RawValue>>,
    most: usize,
) -> Result<(Vec<u8>, Vec<Box<RawValue>>), BadRequest> {
    let before: usize = earlier.iter().map(|item| item.get().len()).sum();
    let mut body = Fields::of_client(body)?;
    let own = own_items(&body, found, most.saturating_sub(before))?;
    let all: Vec<&RawValue> = earlier.iter().copied().chain(own.iter().map(|item| &**item)).collect();
    body.remove(PREVIOUS);
    body.remove(conversations::FIELD);
    body.set("input", &all);
    Ok((body.to_json().into_bytes(), own))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(value: &Value) -> Box<RawValue> {
        serde_json::value::to_raw_value(value).unwrap()
    }

    #[test]
    fn a_body_names_what_is_kept_and_most_name_nothing() {
        let of = |body: &str| named(body.as_bytes());
        assert_eq!(of(r#"{"input":"x"}"#), Ok(None));
        assert_eq!(of("no JSON"), Ok(None), "whoever reads the body says so");
        assert_eq!(of(r#"{"input":"previous_response_id item_reference"}"#), Ok(None));
        assert_eq!(
            of(r#"{"previous_response_id":null,"input":[{"type":"message","id":"m","role":"user"}]}"#),
            Ok(None)
        );
        let items = r#"[{"type":"item_reference","id":"a"},{"id":"b"},{"id":"c","role":"user","content":"x"}]"#;
        let named = of(&format!(r#"{{"previous_response_id":"r","input":{items}}}"#)).unwrap().unwrap();
        let items = vec!["a".into(), "b".into()];
        assert_eq!(named, Named { previous: Some("r".into()), conversation: None, items });
        let named = of(r#"{"conversation":{"id":"conv_1"},"input":"x"}"#).unwrap().unwrap();
        assert_eq!(named.conversation.as_deref(), Some("conv_1"));
        assert_eq!(of(r#"{"conversation":null,"input":"a conversation"}"#), Ok(None));
        assert_eq!(of(r#"{"conversation":"c","previous_response_id":"r"}"#).unwrap_err().field, "conversation");
        assert_eq!(of(r#"{"conversation":"c","store":false}"#).unwrap_err().field, "store");
        assert_eq!(of(r#"{"previous_response_id":7}"#).unwrap_err().field, PREVIOUS);
    }

    #[test]
    fn what_came_before_stands_before_the_requests_own_items() {
        let said = json!({"id": "resp_1", "output": [{"type": "message", "id": "msg_1", "role": "assistant"}]});
        let kept = Kept { response: raw(&said), input: vec![raw(&json!({"role": "user", "content": "one"}))] };
        let known = BTreeMap::from([("rs_1".to_owned(), raw(&json!({"type": "reasoning", "id": "rs_1"})))]);
        let ids: Vec<_> = kept.items().map(|(id, _)| id).collect();
        assert_eq!((kept.id().as_deref(), ids), (Some("resp_1"), vec![None, Some("msg_1".into())]));
        let body = r#"{"model":"m","previous_response_id":"resp_1","input":[{"type":"item_reference","id":"rs_1"}],"store":true}"#;
        let before: Vec<&RawValue> = kept.items().map(|(_, item)| item).collect();
        let (whole, own) = continued(body.as_bytes(), &before, &known, 4_096).unwrap();
        let twice = r#"{"input":[{"type":"item_reference","id":"rs_1"},{"type":"item_reference","id":"rs_1"}]}"#;
        let most = known["rs_1"].get().len() * 2;
        assert!(continued(twice.as_bytes(), &[], &known, most).is_ok());
        assert_eq!(continued(twice.as_bytes(), &[], &known, most - 1).unwrap_err().field, "input[1]");
        assert!(continued(twice.as_bytes(), &before, &known, most).is_err(), "what came before counts");
        let expected = json!({"model": "m", "store": true, "input": [{"role": "user", "content": "one"},
            {"type": "message", "id": "msg_1", "role": "assistant"}, {"type": "reasoning", "id": "rs_1"}]});
        assert_eq!(serde_json::from_slice::<Value>(&whole).unwrap(), expected);
        assert_eq!(own.len(), 1, "what came before is kept already");
        let text = continued(br#"{"input":"hi","previous_response_id":"r"}"#, &[], &known, 99).unwrap().0;
        assert_eq!(&*text, br#"{"input":[{"type":"message","role":"user","content":"hi"}]}"#.as_slice());
        let lost = continued(br#"{"input":[{"type":"item_reference","id":"x"}]}"#, &[], &known, 99).unwrap_err();
        assert_eq!(lost.field, "input[0]");
    }
}
