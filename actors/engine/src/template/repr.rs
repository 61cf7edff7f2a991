//! Lists and maps as Python prints them.

use std::fmt::Write as _;

use minijinja::value::{Value, ValueKind};
use minijinja::{Error, Output, State, escape_formatter};

/// The deepest level that is printed.
const DEEPEST: usize = 32;

/// Writes `{{ value }}`.
pub(super) fn format(out: &mut Output<'_>, state: &State<'_, '_>, value: &Value) -> Result<(), Error> {
    match value.kind() {
        ValueKind::Seq | ValueKind::Map => Ok(out.write_str(&text(value))?),
        _ => escape_formatter(out, state, value),
    }
}

/// A value as text.
pub(super) fn text(value: &Value) -> String {
    match value.kind() {
        ValueKind::Seq | ValueKind::Map => repr(value, DEEPEST),
        _ => value.to_string(),
    }
}

fn repr(value: &Value, deepest: usize) -> String {
    if deepest == 0 {
        return "...".to_owned();
    }
    let items = || value.try_iter().into_iter().flatten();
    match value.kind() {
        ValueKind::String => quoted(value.as_str().unwrap_or_default()),
        ValueKind::Seq => {
            let parts: Vec<String> = items().map(|item| repr(&item, deepest - 1)).collect();
            format!("[{}]", parts.join(", "))
        }
        ValueKind::Map => {
            let pair = |key: Value| {
                let found = value.get_item(&key).unwrap_or_default();
                format!("{}: {}", repr(&key, deepest - 1), repr(&found, deepest - 1))
            };
            format!("{{{}}}", items().map(pair).collect::<Vec<_>>().join(", "))
        }
        _ => value.to_string(),
    }
}

/// A text in single quotes, unless double quotes save escapes.
fn quoted(text: &str) -> String {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    let mut out = String::with_capacity(text.len() + 2);
    out.push(quote);
    for character in text.chars() {
        match character {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\\' => out.push_str("\\\\"),
            other if other == quote => out.extend(['\\', other]),
            other if other.is_control() => {
                let _ = write!(out, "\\x{:02x}", u32::from(other));
            }
            other => out.push(other),
        }
    }
    out.push(quote);
    out
}
