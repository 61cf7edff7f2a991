//! Python's methods of strings and lists, where the library lacks them or differs: positions count characters, and an
//! empty text is neither upper nor lower case.

use minijinja::value::{Kwargs, Value, ValueKind, from_args};
use minijinja::{Error, ErrorKind, State};

/// The result of a template's method call.
pub(super) fn call(state: &State, value: &Value, method: &str, args: &[Value]) -> Result<Value, Error> {
    let own = match (value.as_str(), value.kind()) {
        (Some(text), _) => string(text, method, args)?,
        (None, ValueKind::Seq) => sequence(value, method, args)?,
        (None, _) => None,
    };
    own.map_or_else(|| minijinja_contrib::pycompat::unknown_method_callback(state, value, method, args), Ok)
}

fn sequence(value: &Value, method: &str, args: &[Value]) -> Result<Option<Value>, Error> {
    if method != "index" {
        return Ok(None);
    }
    let (wanted,): (Value,) = from_args(args)?;
    let place = value.try_iter()?.position(|item| item == wanted);
    place.map(|place| Some(Value::from(place))).ok_or_else(|| not_found(&wanted.to_string()))
}

fn not_found(what: &str) -> Error {
    Error::new(ErrorKind::InvalidOperation, format!("{what:?} is not in it"))
}

fn string(text: &str, method: &str, args: &[Value]) -> Result<Option<Value>, Error> {
    Ok(Some(match method {
        "split" | "rsplit" => {
            let (separator, most, named): (Option<Value>, Option<i64>, Kwargs) = from_args(args)?;
            let separator = if separator.is_some() { separator } else { named.get::<Option<Value>>("sep")? };
            let most = if most.is_some() { most } else { named.get::<Option<i64>>("maxsplit")? };
            named.assert_all_used()?;
            let most = most.and_then(|most| usize::try_from(most).ok()).unwrap_or(usize::MAX);
            let separator = separator.filter(|separator| !separator.is_none());
            let parts = match separator.as_ref().map(Value::as_str) {
                None => words(text, most, method == "rsplit"),
                Some(Some(separator)) if !separator.is_empty() => split(text, separator, most, method == "rsplit"),
                Some(_) => return Err(Error::new(ErrorKind::InvalidOperation, "split: not a separator")),
            };
            parts.into_iter().map(Value::from).collect()
        }
        "splitlines" => {
            let (keep, named): (Option<bool>, Kwargs) = from_args(args)?;
            let keep = keep.or(named.get::<Option<bool>>("keepends")?).unwrap_or(false);
            lines(text, keep).into_iter().map(Value::from).collect()
        }
        "partition" | "rpartition" => {
            let (separator,): (&str,) = from_args(args)?;
            let last = method == "rpartition";
            let place = if last { text.rfind(separator) } else { text.find(separator) };
            let parts = match place {
                Some(at) => [&text[..at], separator, &text[at + separator.len()..]],
                None if last => ["", "", text],
                None => [text, "", ""],
            };
            parts.into_iter().map(Value::from).collect()
        }
        "removeprefix" => {
            let (prefix,): (&str,) = from_args(args)?;
            Value::from(text.strip_prefix(prefix).unwrap_or(text))
        }
        "removesuffix" => {
            let (suffix,): (&str,) = from_args(args)?;
            Value::from(text.strip_suffix(suffix).unwrap_or(text))
        }
        "find" | "rfind" | "index" | "rindex" => {
            let (wanted, from): (&str, Option<usize>) = from_args(args)?;
            let skipped: usize = text.chars().take(from.unwrap_or(0)).map(char::len_utf8).sum();
            let rest = &text[skipped..];
            let place = if method.starts_with('r') { rest.rfind(wanted) } else { rest.find(wanted) };
            match place {
                Some(at) => Value::from(text[..skipped + at].chars().count()),
                None if method.ends_with("index") => return Err(not_found(wanted)),
                None => Value::from(-1),
            }
        }
        "zfill" => {
            let (width,): (usize,) = from_args(args)?;
            let (sign, digits) = text.split_at(usize::from(text.starts_with(['+', '-'])));
            Value::from(format!("{sign}{}{digits}", fill(text, width, '0')?))
        }
        "ljust" | "rjust" | "center" => {
            let (width, with): (usize, Option<char>) = from_args(args)?;
            let fill = fill(text, width, with.unwrap_or(' '))?;
            let count = fill.chars().count();
            let left = match method {
                "ljust" => 0,
                "rjust" => count,
                // Python puts the extra character to the left where the width is odd.
                _ => count / 2 + (count & width & 1),
            };
            let at = fill.char_indices().nth(left).map_or(fill.len(), |(at, _)| at);
            Value::from(format!("{}{text}{}", &fill[..at], &fill[at..]))
        }
        "swapcase" => Value::from(
            text.chars()
                .flat_map(|c| {
                    if c.is_uppercase() { c.to_lowercase().collect::<Vec<_>>() } else { c.to_uppercase().collect() }
                })
                .collect::<String>(),
        ),
        "casefold" => Value::from(text.to_lowercase()),
        "islower" => Value::from(text.chars().any(char::is_lowercase) && !text.chars().any(char::is_uppercase)),
        "isupper" => Value::from(text.chars().any(char::is_uppercase) && !text.chars().any(char::is_lowercase)),
        "isspace" => all(text, char::is_whitespace),
        "isalpha" => all(text, char::is_alphabetic),
        "isalnum" => all(text, char::is_alphanumeric),
        "isdigit" | "isdecimal" => all(text, |c| c.is_numeric() && !c.is_alphabetic()),
        "isnumeric" => all(text, char::is_numeric),
        _ => return Ok(None),
    }))
}

fn all(text: &str, is: impl Fn(char) -> bool) -> Value {
    Value::from(!text.is_empty() && text.chars().all(is))
}

/// The largest width of a padded text.
const WIDEST: usize = 10_000;

/// The padding up to a width.
fn fill(text: &str, width: usize, with: char) -> Result<String, Error> {
    if width > WIDEST {
        return Err(Error::new(ErrorKind::InvalidOperation, format!("a width of {width} characters")));
    }
    Ok(std::iter::repeat_n(with, width.saturating_sub(text.chars().count())).collect())
}

fn split<'a>(text: &'a str, separator: &str, most: usize, from_end: bool) -> Vec<&'a str> {
    let parts = most.saturating_add(1);
    if from_end {
        let mut found: Vec<&str> = text.rsplitn(parts, separator).collect();
        found.reverse();
        found
    } else {
        text.splitn(parts, separator).collect()
    }
}

/// Words between white space.
fn words(text: &str, most: usize, from_end: bool) -> Vec<&str> {
    let (mut found, mut rest) = (Vec::new(), if from_end { text.trim_end() } else { text.trim_start() });
    while !rest.is_empty() {
        let cut = if from_end { rest.rfind(char::is_whitespace) } else { rest.find(char::is_whitespace) };
        let Some(at) = cut.filter(|_| found.len() < most) else {
            found.push(rest);
            break;
        };
        let width = rest[at..].chars().next().map_or(1, char::len_utf8);
        if from_end {
            found.push(&rest[at + width..]);
            rest = rest[..at].trim_end();
        } else {
            found.push(&rest[..at]);
            rest = rest[at..].trim_start();
        }
    }
    if from_end {
        found.reverse();
    }
    found
}

/// Lines as Python splits them.
fn lines(text: &str, keep: bool) -> Vec<&str> {
    let is_end = |c: char| {
        matches!(c, '\n' | '\r' | '\u{b}' | '\u{c}' | '\u{1c}'..='\u{1e}' | '\u{85}' | '\u{2028}' | '\u{2029}')
    };
    let (mut found, mut rest) = (Vec::new(), text);
    while let Some(at) = rest.find(is_end) {
        let width =
            if rest[at..].starts_with("\r\n") { 2 } else { rest[at..].chars().next().map_or(1, char::len_utf8) };
        found.push(&rest[..if keep { at + width } else { at }]);
        rest = &rest[at + width..];
    }
    if !rest.is_empty() {
        found.push(rest);
    }
    found
}
