//! Farebox's own fields: they may stand in a body of any format, and no provider gets them.

use serde_json::Value;

use crate::fields::{BadRequest, Fields};

/// The names of our own fields.
const NAMES: [&str; 3] = ["max_cost", "autoScale", "models"];
/// The most models of one request, and the longest name of one.
const MOST_MODELS: usize = 8;
const LONGEST_NAME: usize = 256;

/// Our own fields of a body.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Own {
    /// `max_cost`, dollars, as written.
    pub(super) max_cost: Option<String>,
    /// `autoScale`.
    pub(super) auto_scale: Option<bool>,
    /// `models`: those that are asked where the model before is not served.
    pub(super) fallbacks: Vec<String>,
}

/// Takes our own fields out of a body. A name that is nearly one of them is refused: a bound that nobody reads is none.
///
/// # Errors
///
/// The first field with a wrong value.
pub(super) fn take(body: &mut Fields) -> Result<Own, BadRequest> {
    let nearly = |name: &&str| name.starts_with("farebox") || *name == "maxCost" || *name == "auto_scale";
    if let Some(name) = body.names().find(nearly) {
        return Err(BadRequest::new(name, "is not a field of Farebox's"));
    }
    let max_cost = match body.read("max_cost", "an amount of dollars")? {
        None => None,
        Some(Value::String(text)) => Some(text),
        Some(Value::Number(_)) => body.get("max_cost").map(str::to_owned),
        Some(_) => return Err(BadRequest::new("max_cost", "must be an amount of dollars")),
    };
    let auto_scale = body.boolean("autoScale")?;
    let fallbacks: Vec<String> = body.read("models", "an array of names")?.unwrap_or_default();
    if fallbacks.len() > MOST_MODELS || fallbacks.iter().any(|name| !is_name(name)) {
        return Err(BadRequest::new("models", format!("must be at most {MOST_MODELS} names of models")));
    }
    for name in NAMES {
        body.remove(name);
    }
    Ok(Own { max_cost, auto_scale, fallbacks })
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && name.len() <= LONGEST_NAME
}

/// The model that a body names.
///
/// # Errors
///
/// There is none, or it is no name.
pub(super) fn model(body: &Fields) -> Result<String, BadRequest> {
    named(body.string("model")?.ok_or_else(|| BadRequest::new("model", "is required"))?)
}

/// A model's name, where it is one.
///
/// # Errors
///
/// It is none.
pub(super) fn named(model: String) -> Result<String, BadRequest> {
    if !is_name(&model) {
        return Err(BadRequest::new("model", format!("must have 1 to {LONGEST_NAME} characters")));
    }
    Ok(model)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(json: &str) -> Result<(Own, String), BadRequest> {
        let mut body = Fields::parse(json.as_bytes()).unwrap();
        take(&mut body).map(|own| (own, body.to_json()))
    }

    #[test]
    fn our_fields_are_read_and_no_provider_gets_them() {
        let (own, left) = of(r#"{"a":1,"max_cost":0.50,"autoScale":true,"models":["b","c"],"d":2}"#).unwrap();
        let expected =
            Own { max_cost: Some("0.50".into()), auto_scale: Some(true), fallbacks: vec!["b".into(), "c".into()] };
        assert_eq!((own, &*left), (expected, r#"{"a":1,"d":2}"#));
    }

    #[test]
    fn what_is_nearly_ours_is_refused_by_its_name() {
        for (json, field) in [
            (r#"{"maxCost":1}"#, "maxCost"),
            (r#"{"auto_scale":true}"#, "auto_scale"),
            (r#"{"farebox_magic":1}"#, "farebox_magic"),
            (r#"{"max_cost":[]}"#, "max_cost"),
            (r#"{"autoScale":1}"#, "autoScale"),
            (r#"{"models":"b"}"#, "models"),
            (r#"{"models":[""]}"#, "models"),
            (r#"{"models":["1","2","3","4","5","6","7","8","9"]}"#, "models"),
        ] {
            assert_eq!(of(json).unwrap_err().field, field, "{json}");
        }
    }
}
