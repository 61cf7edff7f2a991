//! The output of a response: what its items say, in neutral words.

use serde_json::{Value, value::RawValue};

use super::super::messages::{member, members, read_text};
use crate::{
    fields::{Fields, Pairs},
    inference::{CallDelta, Delta},
};

/// What all items of a response say.
pub(super) fn written(response: &Fields) -> Delta {
    let mut delta = Delta::default();
    for (item, index) in items(response).iter().zip(0_u32..) {
        let texts = |name: &str, kind: &str| -> String {
            let parts = item[name].as_array().into_iter().flatten();
            let of_kind = parts.filter(|part| kind.is_empty() || part["type"] == kind);
            of_kind.filter_map(|part| part["text"].as_str().or_else(|| part["refusal"].as_str())).collect()
        };
        match item["type"].as_str().unwrap_or_default() {
            "message" => {
                delta.text.push_str(&texts("content", "output_text"));
                delta.refusal.push_str(&texts("content", "refusal"));
            }
            "reasoning" => {
                delta.reasoning.push_str(&texts("summary", ""));
                delta.reasoning.push_str(&texts("content", ""));
            }
            "function_call" | "custom_tool_call" => {
                let text = |name: &str| item[name].as_str().map(str::to_owned);
                let arguments = text("arguments").or_else(|| text("input")).unwrap_or_default();
                delta.calls.push(CallDelta { index, id: text("call_id"), name: text("name"), arguments });
            }
            _ => {}
        }
    }
    delta
}

fn items(response: &Fields) -> Vec<Value> {
    response.read("output", "an array").ok().flatten().unwrap_or_default()
}

/// The searches of the web among a response's items.
pub(super) fn searches(response: &Fields) -> u64 {
    let output = response.present("output").unwrap_or_default();
    if !output.contains("web_search_call") {
        return 0;
    }
    let is_search = |item: &&RawValue| {
        let members = members(item.get(), "").ok().flatten().unwrap_or_default();
        let kind = member(&members, "type").and_then(read_text);
        // Opening a page, and looking for words in it, are actions of the same item without a fee.
        let action = member(&members, "action").and_then(Pairs::of);
        let action = action.and_then(|action| action.get("type").and_then(read_text));
        kind.as_deref() == Some("web_search_call") && action.is_none_or(|action| action == "search")
    };
    let items: Vec<&RawValue> = serde_json::from_str(output).unwrap_or_default();
    items.iter().filter(|item| is_search(item)).count() as u64
}

/// The id and the tool of an item that is a call.
pub(super) fn called(item: &str) -> Option<(Option<String>, String)> {
    let members = members(item, "").ok()??;
    let text = |name: &str| member(&members, name).and_then(read_text);
    let is_call = matches!(text("type").as_deref(), Some("function_call" | "custom_tool_call"));
    Some((text("call_id"), text("name").filter(|_| is_call)?))
}
