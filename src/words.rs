//! Messages about wrong JSON or settings, in words for the people who wrote them: serde's messages are for programmers.

/// The text of a serde message about a field that is named beside it.
pub fn plain(message: &str) -> String {
    let message = message.split(" at line ").next().unwrap_or(message);
    let listed = |text: &str| text.replace('`', "").trim_start_matches("one of ").replace(" or ", ", ");
    if let Some((found, expected)) = after(message, "unknown variant") {
        return format!("must be one of {}, not {}", listed(expected), found.trim_matches('`'));
    }
    for start in ["invalid type", "invalid value", "invalid length"] {
        if let Some((found, expected)) = after(message, start) {
            return format!("must be {}, not {}", wanted(expected), kind(found));
        }
    }
    if let Some((_, expected)) = after(message, "unknown field") {
        return format!("is not known here; there are {}", listed(expected));
    }
    match message {
        _ if message.starts_with("unknown field ") => "is not known here".to_owned(),
        _ if message.starts_with("missing field ") => "is missing".to_owned(),
        _ if message.starts_with("duplicate field ") => "is given twice".to_owned(),
        _ => message.to_owned(),
    }
}

/// What is wanted, where serde names it as programs do.
fn wanted(expected: &str) -> &str {
    match expected {
        "u8" | "u16" | "u32" | "u64" | "u128" | "usize" => "a whole number from 0",
        "i8" | "i16" | "i32" | "i64" | "i128" | "isize" => "a whole number",
        "f32" | "f64" => "a number",
        "a map" => "an object",
        "a sequence" => "a list",
        _ if expected.starts_with("struct ") => "an object",
        _ => expected,
    }
}

/// What was found, likewise.
fn kind(found: &str) -> &str {
    match found {
        "map" => "an object",
        "sequence" => "a list",
        _ => found,
    }
}

/// The value found and the value expected, from a message that begins like serde's or figment's.
fn after<'a>(message: &'a str, start: &str) -> Option<(&'a str, &'a str)> {
    let (found, expected) = message.strip_prefix(start)?.split_once(", expected ")?;
    let found = found.trim_start_matches([':', ' ']);
    Some((found.strip_prefix("found ").unwrap_or(found), expected))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "read only to be refused")]
    struct Body {
        name: String,
        kind: Option<Kind>,
        inner: Option<Inner>,
        names: Option<Vec<String>>,
        count: Option<u64>,
    }

    #[derive(Debug, Deserialize)]
    #[expect(dead_code, reason = "read only to be refused")]
    struct Inner {
        name: String,
    }

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Kind {
        Free,
        Payg,
        Other,
    }

    #[test]
    fn what_serde_says_is_said_in_plain_words() {
        for (body, said) in [
            (r#"{"name": 3}"#, "must be a string, not integer `3`"),
            (r#"{"name": null}"#, "must be a string, not null"),
            ("{}", "is missing"),
            (r#"{"name": "a", "name": "b"}"#, "is given twice"),
            (r#"{"name": "a", "kind": "rich"}"#, "must be one of free, payg, other, not rich"),
            (r#"{"name": "a", "colour": 1}"#, "is not known here; there are name, kind, inner, names, count"),
            (r#"{"name": "a", "inner": 1}"#, "must be an object, not integer `1`"),
            (r#"{"name": "a", "names": {}}"#, "must be a list, not an object"),
            (r#"{"name": []}"#, "must be a string, not a list"),
            (r#"{"name": "a", "count": -1}"#, "must be a whole number from 0, not integer `-1`"),
            (r#"{"name": "#, "EOF while parsing a value"),
        ] {
            let error = serde_json::from_str::<Body>(body).unwrap_err();
            assert_eq!(plain(&error.to_string()), said, "{body}");
        }
        let two = "unknown variant `x`, expected `free` or `payg`";
        assert_eq!(plain(two), "must be one of free, payg, not x");
        assert_eq!(plain("unknown field `x`, there are no fields"), "is not known here");
        assert_eq!(plain("unknown variant: found `x`, expected `a or b`"), "must be one of a, b, not x");
        assert_eq!(
            plain("invalid type: found string \"x\", expected u64"),
            "must be a whole number from 0, not string \"x\""
        );
        assert!([Kind::Free, Kind::Payg, Kind::Other].len() == 3);
    }
}
