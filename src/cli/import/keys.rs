//! An export of litellm's keys (`/key/list`), as keys to create: their budgets become limits. A key whose budget has no counterpart
//! is not made: without it the key could spend more. Pure.

use std::collections::BTreeMap;

use billing::{Nanos, Timestamp};
use serde_json::{Map, Value, json};

use super::{
    deployment::Target,
    tree::{Left, Part},
};

/// The windows of budgets: how litellm writes them, and the limit here.
const WINDOWS: [(&str, &str); 12] = [
    ("1d", "day"),
    ("24h", "day"),
    ("86400s", "day"),
    ("daily", "day"),
    ("7d", "week"),
    ("1w", "week"),
    ("weekly", "week"),
    ("30d", "month"),
    ("31d", "month"),
    ("1mo", "month"),
    ("1M", "month"),
    ("monthly", "month"),
];
/// Fields that name a key, count what it did, or say nothing that is missed.
const SILENT: [&str; 24] = [
    "token",
    "key",
    "token_id",
    "key_name",
    "created_at",
    "updated_at",
    "created_by",
    "updated_by",
    "last_active",
    "last_refreshed_at",
    "budget_reset_at",
    "model_spend",
    "soft_budget_cooldown",
    "user",
    "org_id",
    "organization_id",
    "litellm_budget_table",
    "litellm_organization_table",
    "object_permission",
    "rotation_count",
    "auto_rotate",
    "rotation_interval",
    "last_rotation_at",
    "key_rotation_at",
];
/// Names of all models.
const ALL: [&str; 1] = ["all-proxy-models"];

/// A key to create: the body of a request for it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct NewKey {
    pub(super) name: String,
    pub(super) body: Value,
}

/// Reads an export. `names` are the names of models that clients use.
pub(super) fn convert(
    export: Value,
    names: &BTreeMap<String, Vec<Target>>,
    now: Timestamp,
) -> (Vec<NewKey>, Vec<Left>) {
    let (mut keys, mut left) = (Vec::new(), Vec::new());
    let mut whole = Part::whole(export);
    let list = match whole.take("keys") {
        Some(list) => list,
        None => whole,
    };
    for (place, mut key) in list.items().into_iter().enumerate() {
        let path = if key.path.is_empty() { format!("[{place}]") } else { key.path.clone() };
        let name = key.take_text("key_alias").or_else(|| key.take_text("key_name"));
        let name: String = name.unwrap_or_else(|| format!("litellm {place}")).chars().take(100).collect();
        match body(&mut key, &name, names, now) {
            Ok((body, unknown)) => {
                for model in unknown {
                    let why =
                        format!("the key {name:?} is made without {model:?}, which is no model of the configuration");
                    left.push(Left::new(&format!("{path}.models"), why));
                }
                keys.push(NewKey { name: name.clone(), body });
            }
            Err(why) => {
                left.push(Left::new(&path, format!("the key {name:?} is not made: {why}")));
                continue;
            }
        }
        for silent in SILENT {
            key.take(silent);
        }
        key.leave(&|_| format!("the key {name:?} is made without it"), &mut left);
    }
    (keys, left)
}

/// The body of a request for a key, and the models that it is made without; or why there is none.
fn body(
    key: &mut Part,
    name: &str,
    names: &BTreeMap<String, Vec<Target>>,
    now: Timestamp,
) -> Result<(Value, Vec<String>), String> {
    if name.is_empty() || name.chars().any(char::is_control) {
        return Err("its name has no letters, or a control character".to_owned());
    }
    if key.take_flag("blocked") {
        return Err("it is blocked".to_owned());
    }
    let mut body = Map::new();
    body.insert("name".to_owned(), json!(name));
    if let Some(limits) = limits(key)? {
        body.insert("limits".to_owned(), limits);
    }
    let mut unknown = Vec::new();
    if let Some(models) = key.take("models") {
        let listed = models.names().ok_or("its models are no list of names")?;
        let models = models_of(&listed, names, &mut unknown)?;
        if !models.is_empty() {
            body.insert("models".to_owned(), json!(models));
        }
    }
    if let Some(expires) = key.take_text("expires") {
        let at: Timestamp = expires.parse().map_err(|_| format!("its expiry {expires:?} is no time"))?;
        if at <= now {
            return Err(format!("it expired at {at}"));
        }
        body.insert("expires_at".to_owned(), json!(at.to_string()));
    }
    Ok((Value::Object(body), unknown))
}

/// The limits of a key's budget; `None` where it has none.
fn limits(key: &mut Part) -> Result<Option<Value>, String> {
    let (budget, window) = (key.take_text("max_budget"), key.take_text("budget_duration"));
    let spend = key.take_text("spend");
    let Some(budget) = budget else {
        return match key.take("max_budget") {
            Some(_) => Err("its budget is no amount of dollars".to_owned()),
            None => Ok(None),
        };
    };
    let dollars = |text: &str| amount(text).ok_or_else(|| format!("{text:?} is no amount of dollars"));
    let budget_nanos = dollars(&budget)?;
    let (name, limit) = match window {
        Some(window) => {
            let known = WINDOWS.iter().find(|(written, _)| *written == window).map(|(_, name)| *name);
            let name = known.ok_or_else(|| format!("its budget of ${budget} each {window} has no counterpart"))?;
            (name, budget_nanos)
        }
        // A budget for all time is what is left of it.
        None => ("total", budget_nanos - spend.as_deref().map_or(Ok(Nanos::ZERO), dollars)?),
    };
    if !limit.is_positive() {
        return Err(format!("its budget of ${budget} is used up"));
    }
    Ok(Some(json!({name: limit.to_string()})))
}

/// Dollars as JSON writes them, `1e-05` too; what is less than a nano-dollar is cut off.
fn amount(text: &str) -> Option<Nanos> {
    let (digits, exponent) = match text.split_once(['e', 'E']) {
        Some((digits, exponent)) => (digits, exponent.parse::<i32>().ok()?),
        None => (text, 0),
    };
    let (whole, part) = digits.split_once('.').unwrap_or((digits, ""));
    let all = format!("{whole}{part}");
    if all.is_empty() || !all.bytes().all(|byte| byte.is_ascii_digit()) || !(-40..=40).contains(&exponent) {
        return None;
    }
    // Where the point stands among the digits, from their left.
    let point = i32::try_from(whole.len()).ok()?.checked_add(exponent)?;
    let zeros = |count: i32| "0".repeat(usize::try_from(count).unwrap_or(0));
    let padded = format!("{}{all}{}", zeros(-point), zeros(point - i32::try_from(all.len()).ok()?));
    let (whole, part) = padded.split_at_checked(usize::try_from(point.max(0)).ok()?)?;
    let (whole, part) = (whole.trim_start_matches('0'), part.get(..9).unwrap_or(part));
    format!("{}.{}", if whole.is_empty() { "0" } else { whole }, if part.is_empty() { "0" } else { part }).parse().ok()
}

/// The models that a key may use, each of its provider. One that the configuration does not have is left out: the key can
/// do less without it, and no more. A key that may use none that is there is not made, as an empty list would be all.
fn models_of(
    listed: &[String],
    names: &BTreeMap<String, Vec<Target>>,
    unknown: &mut Vec<String>,
) -> Result<Vec<String>, String> {
    let mut models: Vec<String> = Vec::new();
    for name in listed {
        if ALL.contains(&&**name) {
            return Ok(Vec::new());
        }
        let Some(targets) = names.get(name) else {
            unknown.push(name.clone());
            continue;
        };
        for target in targets {
            let name = target.name();
            if !models.contains(&name) {
                models.push(name);
            }
        }
    }
    match unknown.first() {
        Some(name) if models.is_empty() => {
            Err(format!("it may use {name:?}, and nothing that is a model of the configuration"))
        }
        _ => Ok(models),
    }
}

/// Takes the model that a server refused by this field (`models[2]`) out of a key's body. Returns its name; `None` where
/// the field is another, or the key may use no other model: without any it could use all.
pub(super) fn without(body: &mut Value, field: &str) -> Option<String> {
    let place: usize = field.strip_prefix("models[")?.strip_suffix(']')?.parse().ok()?;
    let models = body.get_mut("models")?.as_array_mut()?;
    if models.len() < 2 || place >= models.len() {
        return None;
    }
    models.remove(place).as_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_that_a_server_refuses_is_taken_out_and_never_the_last_one() {
        let mut body = json!({"name": "n", "models": ["a", "b"]});
        for field in ["name", "models", "models[2]", "models[x]"] {
            assert_eq!(without(&mut body, field), None, "{field}");
        }
        assert_eq!(without(&mut body, "models[0]").as_deref(), Some("a"));
        assert_eq!((without(&mut body, "models[0]"), &body["models"]), (None, &json!(["b"])));
    }

    #[test]
    fn dollars_are_read_however_json_writes_them() {
        for (text, nanos) in [
            ("10.5", 10_500_000_000),
            ("0", 0),
            ("1e-05", 10_000),
            ("1.5E3", 1_500_000_000_000),
            ("0.1234567899", 123_456_789),
            ("12e-12", 0),
            ("007", 7_000_000_000),
            (".5", 500_000_000),
        ] {
            assert_eq!(amount(text).map(Nanos::get), Some(nanos), "{text}");
        }
        for bad in ["", ".", "-1", "1e99", "1e", "x", "1.2.3", "99999999999999999999", "1e30", "\u{e9}"] {
            assert_eq!(amount(bad), None, "{bad}");
        }
    }
}
