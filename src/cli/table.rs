//! Prints the server's answers for people: rows in columns, and a single object as one line for each field.

use std::io::IsTerminal as _;

use anyhow::Result;
use serde_json::Value;

/// The form of a printed answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// The JSON as it came.
    Json,
    /// Text for people.
    Text,
}

impl Form {
    /// The form of a list: text, unless JSON is requested.
    pub(super) const fn of_list(json: bool) -> Self {
        if json { Self::Json } else { Self::Text }
    }

    /// The form of a single object: text at a terminal, JSON for programs.
    pub(super) fn of_one(json: bool) -> Self {
        if json || !std::io::stdout().is_terminal() { Self::Json } else { Self::Text }
    }
}

/// Prints a single object.
#[expect(clippy::print_stdout, reason = "the command's output")]
pub(super) fn print_one(answer: &Value, form: Form) -> Result<()> {
    match form {
        Form::Json => println!("{}", serde_json::to_string_pretty(answer)?),
        Form::Text => print!("{}", fields(answer)),
    }
    Ok(())
}

/// Prints a list: a column for each heading, with the value at its path (`balance.available`) in each row.
#[expect(clippy::print_stdout, reason = "the command's output")]
pub(super) fn print_list(rows: &[Value], columns: &[(&str, &str)], form: Form) -> Result<()> {
    match form {
        Form::Json => println!("{}", serde_json::to_string_pretty(rows)?),
        Form::Text if rows.is_empty() => println!("none"),
        Form::Text => print!("{}", table(rows, columns)),
    }
    Ok(())
}

pub(super) fn at<'a>(row: &'a Value, path: &str) -> &'a Value {
    path.split('.').fold(row, |value, name| &value[name])
}

pub(super) fn cell(value: &Value) -> String {
    let text = match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(parts) if parts.iter().all(Value::is_string) => {
            parts.iter().filter_map(Value::as_str).collect::<Vec<_>>().join("; ")
        }
        other => other.to_string(),
    };
    // A tenant's text must not control the terminal.
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

fn table(rows: &[Value], columns: &[(&str, &str)]) -> String {
    let heads = columns.iter().map(|(heading, _)| (*heading).to_owned()).collect();
    let mut lines: Vec<Vec<String>> = vec![heads];
    lines.extend(rows.iter().map(|row| columns.iter().map(|(_, path)| cell(at(row, path))).collect()));
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns.len()).map(width).collect();
    let mut text = String::new();
    for line in &lines {
        let cells = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect::<Vec<_>>();
        text.push_str(cells.join("  ").trim_end());
        text.push('\n');
    }
    text
}

/// One line for each field. Nested objects and lists of objects get dotted names.
fn fields(answer: &Value) -> String {
    let mut lines = Vec::new();
    flatten("", answer, &mut lines);
    let width = lines.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    lines.iter().map(|(name, value)| format!("{name:width$}  {value}").trim_end().to_owned() + "\n").collect()
}

fn flatten(prefix: &str, value: &Value, lines: &mut Vec<(String, String)>) {
    let named = |name: &str| if prefix.is_empty() { name.to_owned() } else { format!("{prefix}.{name}") };
    match value {
        Value::Object(parts) => parts.iter().for_each(|(name, part)| flatten(&named(name), part, lines)),
        Value::Array(parts) if parts.iter().any(Value::is_object) => {
            parts.iter().enumerate().for_each(|(place, part)| flatten(&named(&place.to_string()), part, lines));
        }
        other => lines.push((prefix.to_owned(), cell(other))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn rows_stand_in_columns_as_wide_as_their_widest() {
        let rows = [json!({"id": "1", "a": {"b": 2}}), json!({"id": "twelve", "a": {"b": null}, "c": ["x", "y"]})];
        let text = table(&rows, &[("ID", "id"), ("B", "a.b"), ("C", "c")]);
        assert_eq!(text, "ID      B  C\n1       2\ntwelve     x; y\n");
    }

    #[test]
    fn one_thing_is_its_fields() {
        let text =
            fields(&json!({"id": "1", "balance": {"available": "5.00"}, "keys": [{"id": "k\u{1b}[0m"}], "none": []}));
        assert_eq!(text, "id                 1\nbalance.available  5.00\nkeys.0.id          k [0m\nnone\n");
    }
}
