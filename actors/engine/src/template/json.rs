//! `tojson` as Hugging Face defines it: Python's `json.dumps`, without HTML escapes.

use std::fmt::Write as _;

use minijinja::value::{Kwargs, Rest, Value, ValueKind, from_args};
use minijinja::{Error, ErrorKind};

/// The deepest nesting of lists and maps.
const DEEPEST: usize = 128;

/// The style of the output.
struct Style {
    ascii: bool,
    sorted: bool,
    /// The indent of a level; `None` for one line.
    indent: Option<String>,
    between: String,
    after_key: String,
}

/// The filter. Its options may come by position or by name.
#[expect(clippy::needless_pass_by_value, reason = "the signature minijinja takes")]
pub(super) fn tojson(value: Value, given: Rest<Value>) -> Result<String, Error> {
    type Given = (Option<Value>, Option<Value>, Option<Value>, Option<Value>, Kwargs);
    let (ensure_ascii, indent, separators, sort_keys, options): Given = from_args(&given)?;
    let named = |given: Option<Value>, name: &str| -> Result<Option<Value>, Error> {
        let value = if given.is_some() { given } else { options.get::<Option<Value>>(name)? };
        Ok(value.filter(|value| !value.is_none() && !value.is_undefined()))
    };
    let indent = match named(indent, "indent")? {
        None => None,
        Some(text) if text.as_str().is_some() => text.as_str().map(str::to_owned),
        Some(width) => Some(" ".repeat(usize::try_from(i64::try_from(width)?.clamp(0, 64)).unwrap_or(0))),
    };
    let (between, after_key) = match named(separators, "separators")? {
        None => ((if indent.is_some() { "," } else { ", " }).to_owned(), ": ".to_owned()),
        Some(pair) => (pair.get_item_by_index(0)?.to_string(), pair.get_item_by_index(1)?.to_string()),
    };
    let style = Style {
        ascii: named(ensure_ascii, "ensure_ascii")?.is_some_and(|flag| flag.is_true()),
        sorted: named(sort_keys, "sort_keys")?.is_some_and(|flag| flag.is_true()),
        indent,
        between,
        after_key,
    };
    options.assert_all_used()?;
    let mut out = String::new();
    style.write(&mut out, &value, 0)?;
    Ok(out)
}

impl Style {
    fn write(&self, out: &mut String, value: &Value, depth: usize) -> Result<(), Error> {
        let wrong = |why: String| Error::new(ErrorKind::BadSerialization, why);
        if depth > DEEPEST {
            return Err(wrong(format!("more than {DEEPEST} levels")));
        }
        match value.kind() {
            ValueKind::None => out.push_str("null"),
            ValueKind::Bool => out.push_str(if value.is_true() { "true" } else { "false" }),
            ValueKind::Number => out.push_str(&number(value)),
            ValueKind::String => self.quote(out, value.as_str().unwrap_or_default()),
            ValueKind::Seq | ValueKind::Iterable => {
                let items: Vec<Value> = value.try_iter()?.collect();
                self.list(out, ['[', ']'], items.len(), depth, |out, at| self.write(out, &items[at], depth + 1))?;
            }
            ValueKind::Map => {
                let mut keys: Vec<Value> = value.try_iter()?.collect();
                if self.sorted {
                    keys.sort();
                }
                self.list(out, ['{', '}'], keys.len(), depth, |out, at| {
                    self.quote(out, &key(&keys[at]));
                    out.push_str(&self.after_key);
                    self.write(out, &value.get_item(&keys[at])?, depth + 1)
                })?;
            }
            other => return Err(wrong(format!("a value that is {other} can't be written as JSON"))),
        }
        Ok(())
    }

    fn list(
        &self,
        out: &mut String,
        [open, close]: [char; 2],
        count: usize,
        depth: usize,
        mut item: impl FnMut(&mut String, usize) -> Result<(), Error>,
    ) -> Result<(), Error> {
        out.push(open);
        for at in 0..count {
            if at > 0 {
                out.push_str(&self.between);
            }
            self.line(out, depth + 1);
            item(out, at)?;
        }
        if count > 0 {
            self.line(out, depth);
        }
        out.push(close);
        Ok(())
    }

    fn line(&self, out: &mut String, depth: usize) {
        if let Some(indent) = &self.indent {
            out.push('\n');
            (0..depth).for_each(|_| out.push_str(indent));
        }
    }

    fn quote(&self, out: &mut String, text: &str) {
        out.push('"');
        for character in text.chars() {
            match character {
                '"' => out.push_str("\\\""),
                '\\' => out.push_str("\\\\"),
                '\n' => out.push_str("\\n"),
                '\r' => out.push_str("\\r"),
                '\t' => out.push_str("\\t"),
                '\u{8}' => out.push_str("\\b"),
                '\u{c}' => out.push_str("\\f"),
                other if u32::from(other) < 0x20 || (self.ascii && !other.is_ascii()) => {
                    for unit in other.encode_utf16(&mut [0; 2]) {
                        let _ = write!(out, "\\u{unit:04x}");
                    }
                }
                other => out.push(other),
            }
        }
        out.push('"');
    }
}

/// A key in Python's form.
fn key(value: &Value) -> String {
    match value.kind() {
        ValueKind::Bool => (if value.is_true() { "true" } else { "false" }).to_owned(),
        ValueKind::None => "null".to_owned(),
        ValueKind::Number => number(value),
        _ => value.to_string(),
    }
}

/// A number in Python's form: the exponent with its sign and two digits.
fn number(value: &Value) -> String {
    if value.is_integer() {
        return value.to_string();
    }
    let Ok(float) = f64::try_from(value.clone()) else { return value.to_string() };
    if float.is_nan() {
        return "NaN".to_owned();
    }
    if float.is_infinite() {
        return (if float > 0.0 { "Infinity" } else { "-Infinity" }).to_owned();
    }
    let shortest = format!("{float:?}");
    match shortest.split_once('e') {
        None => shortest,
        Some((digits, exponent)) => {
            let (sign, exponent) = exponent.strip_prefix('-').map_or(('+', exponent), |rest| ('-', rest));
            format!("{digits}e{sign}{exponent:0>2}")
        }
    }
}
