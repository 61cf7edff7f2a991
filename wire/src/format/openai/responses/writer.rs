//! Answers of responses for their client: typed events, or one whole response. A provider's own events pass as they
//! came, but for the last one, which waits for the charge and gains the cost. Otherwise the events are written here, from
//! the items that the answer is made of.

mod pieces;

use serde_json::{Map, Value, json};

use super::{FORMAT, conversations, kept::PREVIOUS, partial::Partial, request::includes};
use crate::{
    fields::Fields,
    format::{AnswerWriter, End, WholeWriter, openai::usage_object, proof::marked},
    inference::{CallDelta, Continues, Delta, FinishReason, Raw, Request, ToolKind, Work},
};
use pieces::part;

/// Members of a request that a response repeats, where they are short.
const REPEATED: [&str; 9] = [
    "instructions",
    "max_output_tokens",
    "metadata",
    "parallel_tool_calls",
    "reasoning",
    "temperature",
    "text",
    "tool_choice",
    "top_p",
];
/// The event of a failure.
const FAILED: &str = "response.failed";
/// Longer members are not repeated.
const SHORT: usize = 4 << 10;

/// Writes one answer.
pub struct Writer {
    id: String,
    created: i64,
    model: String,
    /// What the request says of itself, as JSON.
    repeated: Vec<(&'static str, String)>,
    /// Custom tools, by name.
    custom: Vec<String>,
    /// What the client wants beside the answer.
    wants: Wants,
    /// What this one continues.
    continues: Option<Continues>,
    /// Whether the response is kept here, and whether it is made in the background.
    is_kept: bool,
    is_background: bool,
    /// Whose id the response has.
    id_of: IdOf,
    /// The response as it is kept.
    kept: Option<String>,
    /// The usage of an answer that failed and was charged, and the particulars of its charge.
    charged: Option<(Value, Value)>,
    /// The provider's last event.
    last: Option<Fields>,
    /// The response as the provider's first event has it: its names are those of the whole answer.
    own: Option<Fields>,
    /// The provider's event of a failure.
    failure: Option<Fields>,
    /// The items of the provider's events so far.
    partial: Partial,
    items: Vec<Item>,
    /// The number of the next event.
    sequence: u64,
    finish: Option<FinishReason>,
}

/// What a client may want beside an answer.
#[derive(Debug, Clone, Copy)]
struct Wants {
    /// The provider's proof of reasoning.
    signatures: bool,
    /// The tokens' log probabilities.
    logprobs: bool,
}

/// Who makes a response's id. Of a translated one we do in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum IdOf {
    Provider,
    Us,
}

/// An item of the output, as far as it is written.
struct Item {
    id: String,
    content: ItemContent,
    /// The log probabilities of a text's tokens.
    logprobs: Vec<Value>,
    is_done: bool,
}

enum ItemContent {
    Text(String),
    Refusal(String),
    Reasoning {
        text: String,
        signature: Option<Box<str>>,
    },
    Call(CallDelta, ToolKind),
    /// In base64.
    Image(String),
}

impl ItemContent {
    const fn is_text(&self) -> bool {
        matches!(self, Self::Text(_))
    }

    const fn is_reasoning(&self) -> bool {
        matches!(self, Self::Reasoning { .. })
    }
}

impl Writer {
    /// A writer for the answer to a request. `id` has 32 hexadecimal digits; `created` is in seconds since 1970.
    pub fn new(request: &Request, id: &str, created: i64) -> Self {
        let body = &request.source.body;
        let short = |name: &&'static str| body.present(name).filter(|json| json.len() <= SHORT).map(str::to_owned);
        let custom = match &request.work {
            Work::Conversation(conversation) => {
                let custom = conversation.tools.iter().filter(|tool| tool.kind == ToolKind::Custom);
                custom.map(|tool| tool.name.clone()).collect()
            }
            _ => Vec::new(),
        };
        Self {
            id: id.to_owned(),
            created,
            model: request.model.clone(),
            repeated: REPEATED.iter().filter_map(|name| Some((*name, short(name)?))).collect(),
            custom,
            wants: Wants {
                signatures: includes(body, "reasoning.encrypted_content"),
                logprobs: request.generation().is_some_and(|generation| generation.logprobs.is_some()),
            },
            continues: request.source.continues.clone(),
            is_kept: request.source.is_kept,
            is_background: request.source.is_background,
            id_of: if request.source.is_background { IdOf::Us } else { IdOf::Provider },
            kept: None,
            charged: None,
            last: None,
            own: None,
            failure: None,
            partial: Partial::default(),
            items: Vec::new(),
            sequence: 0,
            finish: None,
        }
    }

    /// The response in a state.
    fn response(&self, status: &str, output: &[Value]) -> Map<String, Value> {
        if let Some(Ok(mut own)) = self.own.as_ref().map(|own| serde_json::from_str::<Map<_, _>>(&own.to_json())) {
            own.insert("status".into(), status.into());
            own.insert("output".into(), output.into());
            return own;
        }
        let mut response = Map::new();
        let usual = json!({
            "id": self.our_id(), "object": "response", "created_at": self.created, "status": status,
            "error": null, "incomplete_details": null, "instructions": null, "max_output_tokens": null,
            "model": self.model, "output": output, "parallel_tool_calls": true, "previous_response_id": null,
            "reasoning": {"effort": null, "summary": null}, "store": self.is_kept, "temperature": null,
            "background": self.is_background, "text": {"format": {"type": "text"}}, "tool_choice": "auto", "tools": [], "top_p": null,
            "truncation": "disabled", "usage": null, "metadata": {},
        });
        if let Value::Object(usual) = usual {
            response = usual;
        }
        if let Some((name, value)) = self.continued() {
            response.insert(name.to_owned(), value);
        }
        for (name, json) in &self.repeated {
            if let Ok(value) = serde_json::from_str(json) {
                response.insert((*name).to_owned(), value);
            }
        }
        response
    }

    /// The response before it begins.
    pub fn queued(&self) -> Value {
        Value::Object(self.response("queued", &[]))
    }

    /// A provider's response with what only the gateway knows of it.
    fn put_own(&self, response: &mut Fields) {
        if let Some((name, value)) = self.continued() {
            response.set(name, &value);
        }
        if self.id_of == IdOf::Us {
            response.set("id", &self.our_id());
        }
        if self.is_background {
            response.set("background", &true);
            response.set("store", &true);
        }
    }

    /// The member that names what the response continues.
    fn continued(&self) -> Option<(&'static str, Value)> {
        Some(match self.continues.as_ref()? {
            Continues::Response(id) => (PREVIOUS, Value::from(&**id)),
            Continues::Conversation(id) => (conversations::FIELD, json!({"id": id})),
        })
    }

    fn our_id(&self) -> String {
        format!("resp_{}", self.id)
    }

    /// A provider's event, of a response with our id.
    fn own_event(&self, mut event: Fields) -> Fields {
        if self.id_of == IdOf::Provider {
            return event;
        }
        if let Some(mut response) = event.object("response", "an object").ok().flatten() {
            self.put_own(&mut response);
            event.set_json("response", response.to_json());
        }
        event
    }

    /// The complete response, with its usage and cost.
    fn ended(&mut self, end: &End) -> (&'static str, Map<String, Value>) {
        let reason = match &self.finish {
            Some(FinishReason::Length) => Some("max_output_tokens"),
            Some(FinishReason::ContentFilter) => Some("content_filter"),
            _ if end.is_cut => Some("max_output_tokens"),
            _ => None,
        };
        let (kind, status) = match reason {
            Some(_) => ("response.incomplete", "incomplete"),
            None => ("response.completed", "completed"),
        };
        let mut response = self.response(status, &[]);
        if let Some(reason) = reason {
            response.insert("incomplete_details".into(), json!({"reason": reason}));
        }
        response.insert("usage".into(), usage(end));
        response.insert("farebox".into(), json!(end.receipt.farebox));
        if self.is_kept {
            // What is asked later needs the proofs, also where this client does not read them.
            response.insert("output".into(), self.output(true));
            self.kept = serde_json::to_string(&response).ok();
        }
        response.insert("output".into(), self.output(self.wants.signatures));
        (kind, response)
    }

    /// The items of a complete response, or the provider's own as far as they came.
    fn output(&self, proofs: bool) -> Value {
        let ours = self.items.iter().map(|item| item_with(item, "completed", proofs));
        self.partial.items().into_iter().chain(ours).collect()
    }

    fn item(&self, item: &Item, status: &str) -> Value {
        item_with(item, status, self.wants.signatures)
    }

    /// Writes an event of ours.
    fn put(&mut self, out: &mut String, kind: &str, members: Value) {
        let mut event = Map::new();
        event.insert("type".into(), kind.into());
        event.insert("sequence_number".into(), self.sequence.into());
        if let Value::Object(members) = members {
            event.extend(members);
        }
        self.sequence += 1;
        out.push_str(&named(kind, &Value::Object(event).to_string()));
    }

    /// Writes the first events, once.
    fn begin(&mut self, out: &mut String) {
        if self.sequence > 0 {
            return;
        }
        let response = self.response("in_progress", &[]);
        self.put(out, "response.created", json!({"response": response}));
        self.put(out, "response.in_progress", json!({"response": response}));
    }
}

/// An item in a status, with the provider's proof of reasoning or without.
fn item_with(item: &Item, status: &str, proofs: bool) -> Value {
    let Item { id, content, logprobs, .. } = item;
    match content {
        ItemContent::Text(_) | ItemContent::Refusal(_) => json!({
            "id": id, "type": "message", "status": status, "role": "assistant", "content": [part(content, logprobs)],
        }),
        ItemContent::Reasoning { text, signature } => {
            let summary = if text.is_empty() { json!([]) } else { json!([{"type": "summary_text", "text": text}]) };
            let mut item = json!({"id": id, "type": "reasoning", "summary": summary});
            if let Some(signature) = signature.as_ref().filter(|_| proofs) {
                item["encrypted_content"] = marked(signature).into();
            }
            item
        }
        ItemContent::Image(base64) => {
            let result = if status == "completed" { base64.as_str().into() } else { Value::Null };
            json!({"id": id, "type": "image_generation_call", "status": status, "result": result})
        }
        ItemContent::Call(call, kind) => {
            let CallDelta { id: call_id, name, arguments, .. } = call;
            let call_id = call_id.as_deref().unwrap_or(id);
            match kind {
                ToolKind::Function => json!({
                    "id": id, "type": "function_call", "status": status, "call_id": call_id, "name": name,
                    "arguments": arguments,
                }),
                ToolKind::Custom => json!({
                    "id": id, "type": "custom_tool_call", "status": status, "call_id": call_id, "name": name,
                    "input": arguments,
                }),
            }
        }
    }
}

/// An event with its name, which clients of this format read.
pub(super) fn named(kind: &str, data: &str) -> String {
    // A provider's name for it: a line's end in it would begin another event.
    let kind = kind.split(char::is_control).next().unwrap_or_default();
    crate::sse::named(kind, data)
}

/// The usage object, with the cost: the provider's own, or one of the tokens counted.
fn usage(end: &End) -> Value {
    let counted = json!({
        "input_tokens": end.usage.input,
        "input_tokens_details": {"cached_tokens": end.usage.cached_input, "cache_write_tokens": end.usage.cache_write},
        "output_tokens": end.usage.output,
        "output_tokens_details": {"reasoning_tokens": end.usage.reasoning},
        "total_tokens": end.usage.input.saturating_add(end.usage.output),
    });
    usage_object(&end.receipt, counted)
}

impl AnswerWriter for Writer {
    fn delta(&mut self, delta: Delta) -> Option<String> {
        match delta.raw {
            Raw::Before(FORMAT) => None,
            Raw::Own(FORMAT, fields) => {
                let fields = self.own_event(fields);
                let kind = fields.string("type").ok().flatten().unwrap_or_default();
                self.sequence += 1;
                if self.own.is_none() {
                    self.own = fields.object("response", "an object").ok().flatten();
                }
                if kind == FAILED {
                    self.failure = Some(fields);
                    return None;
                }
                if delta.finish.is_some() {
                    self.last = Some(fields);
                    return None;
                }
                self.partial.hear(&kind, &fields);
                Some(named(&kind, &fields.to_json()))
            }
            Raw::Own(..) | Raw::Before(_) | Raw::None => {
                let mut out = String::new();
                self.begin(&mut out);
                self.take(delta, &mut out);
                Some(out).filter(|out| !out.is_empty())
            }
        }
    }

    /// The cost so far, as a comment: the final cost comes with the last event.
    fn cost(&mut self, cost: &str, _billed_seconds: u64) -> Option<String> {
        Some(crate::sse::comment(&format!("cost {cost}")))
    }

    /// An event: agents' time limits don't hear comments.
    fn silence(&self) -> Option<String> {
        Some(named("keepalive", r#"{"type":"keepalive"}"#))
    }

    fn end(&mut self, end: &End) -> String {
        let mut out = String::new();
        if let Some(mut event) = self.last.take() {
            let kind = event.string("type").ok().flatten().unwrap_or_default();
            let mut response = event.object("response", "an object").ok().flatten().unwrap_or_default();
            response.set("usage", &usage(end));
            response.set("farebox", &end.receipt.farebox);
            self.put_own(&mut response);
            let response = response.to_json();
            self.kept = self.is_kept.then(|| response.clone());
            event.set_json("response", response);
            return named(&kind, &event.to_json());
        }
        self.begin(&mut out);
        self.close(&mut out, |_| true);
        let (kind, response) = self.ended(end);
        self.put(&mut out, kind, json!({"response": response}));
        out
    }

    fn kept(&mut self) -> Option<String> {
        self.kept.take()
    }

    fn named(&self, delta: &Delta) -> Option<String> {
        let is_told = self.is_kept && self.id_of == IdOf::Provider;
        let fields = delta.raw.of(FORMAT).filter(|_| is_told)?;
        let response = fields.object("response", "an object").ok().flatten();
        response.as_ref().unwrap_or(fields).string("id").ok().flatten()
    }

    fn rename(&mut self) {
        self.id_of = IdOf::Us;
    }

    fn charged(&mut self, end: &End) {
        self.charged = Some((usage(end), json!(end.receipt.farebox)));
    }

    fn failed(&mut self, error: &Value) -> String {
        let charged = self.charged.take();
        let of = |name: &str| error.pointer(&format!("/error/{name}")).or_else(|| error.get(name)).cloned();
        let told = json!({"code": of("code").unwrap_or_default(), "message": of("message").unwrap_or_default()});
        if let Some(mut event) = self.failure.take() {
            // The usage, the names and the output are the provider's. Why it failed is told in our words.
            let mut response = event.object("response", "an object").ok().flatten().unwrap_or_default();
            response.set("error", &told);
            if let Some((usage, farebox)) = &charged {
                response.set("usage", usage);
                response.set("farebox", farebox);
            }
            self.put_own(&mut response);
            event.set_json("response", response.to_json());
            return named(FAILED, &event.to_json());
        }
        let mut out = String::new();
        self.begin(&mut out);
        let mut items = self.partial.items();
        items.extend(self.items.iter().map(|item| self.item(item, "incomplete")));
        let mut response = self.response("failed", &items);
        response.insert("error".into(), told);
        if let Some((usage, farebox)) = charged {
            response.insert("usage".into(), usage);
            response.insert("farebox".into(), farebox);
        }
        self.put(&mut out, FAILED, json!({"response": response}));
        out
    }

    /// An event of its own, which has no response in it.
    fn cut(error: &Value) -> String {
        let of = |name: &str| error.pointer(&format!("/error/{name}")).or_else(|| error.get(name)).cloned();
        let (code, message) = (of("code"), of("message"));
        named("error", &json!({"type": "error", "code": code, "message": message, "param": null}).to_string())
    }
}

impl WholeWriter for Writer {
    fn whole(&mut self, deltas: Vec<Delta>, end: &End) -> Vec<u8> {
        if let Some(raw) = deltas.iter().find_map(|delta| delta.raw.of(FORMAT)) {
            let mut gain = json!({"usage": usage(end), "farebox": end.receipt.farebox});
            let mut gained = vec!["usage", "farebox"];
            if self.id_of == IdOf::Us {
                gain["id"] = self.our_id().into();
                gained.push("id");
            }
            if let Some((name, value)) = self.continued() {
                gain[name] = value;
                gained.push(name);
            }
            let whole = raw.to_json_with(&gained, &gain, 1_024);
            self.kept = self.is_kept.then(|| String::from_utf8_lossy(&whole).into_owned());
            return whole;
        }
        let mut unsent = String::new();
        for delta in deltas {
            self.take(delta, &mut unsent);
        }
        Value::Object(self.ended(end).1).to_string().into_bytes()
    }
}

#[cfg(test)]
mod tests;
