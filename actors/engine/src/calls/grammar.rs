//! The grammar of calls in a family's form: the names are those of the tools, and the arguments of each fit its schema.

use std::fmt::Write as _;

use serde_json::{Map, Value};

use super::family::{NUMBER, Next, Syntax, pieces};

/// A tool, as far as its calls are concerned.
#[derive(Debug, Clone)]
pub(crate) struct Callable {
    pub(crate) name: String,
    /// The schema of the arguments, bounded and with how it is compiled.
    pub(crate) schema: Map<String, Value>,
}

/// How many calls may be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Count {
    /// One.
    One,
    /// One or more.
    Several,
}

/// Rules for the calls of some tools: `marked` are calls from their mark on, `behind` what follows a mark. `token` is the
/// special token of a text, where it is one.
pub(crate) fn rules(syntax: &Syntax, tools: &[Callable], count: Count, token: impl Fn(&str) -> Option<u32>) -> String {
    let several = |one: &str, next: &str| match count {
        Count::One => one.to_owned(),
        Count::Several => format!("{one} ({next})*"),
    };
    let seq = |text: &str| sequence(text, &token);
    let (mark, opening) = (seq(syntax.mark), seq(syntax.opening));
    let mut grammar = match syntax.next {
        Next::Mark => {
            let again = format!("/\\n?/ {mark} call");
            format!("behind: call\nmarked: {mark} {}\n", several("call", &again))
        }
        Next::List { separator, close } => {
            let (again, close) = (format!("{} call", seq(separator)), seq(close));
            format!("behind: {opening} {} {close}\nmarked: {mark} behind\n", several("call", &again))
        }
        Next::End => format!("behind: call\nmarked: {mark} call\n"),
    };
    let of_each: Vec<String> = (0..tools.len()).map(|at| format!("call_{at}")).collect();
    let _ = writeln!(grammar, "call: {}", of_each.join(" | "));
    for (at, Callable { name, schema }) in tools.iter().enumerate() {
        // One lexeme up to the arguments, where no special token is in it.
        let begin = seq(&format!("{}{name}{}", syntax.head, syntax.between));
        let (schema, tail) = (Value::Object(schema.clone()), seq(syntax.tail));
        let _ = writeln!(grammar, "call_{at}: {begin} arguments_{at} {tail}\narguments_{at}: %json {schema}");
    }
    grammar
}

/// A text as a sequence of expressions and special tokens. Space may be left out.
fn sequence(text: &str, token: &impl Fn(&str) -> Option<u32>) -> String {
    let (mut out, mut plain) = (String::new(), String::new());
    for (piece, may_be_special) in pieces(text) {
        let Some(token) = token(piece).filter(|_| may_be_special) else {
            plain.push_str(piece);
            continue;
        };
        put(&mut out, &mut plain);
        let _ = write!(out, "<[{token}]> ");
    }
    put(&mut out, &mut plain);
    out.trim_end().to_owned()
}

/// Appends a text as an expression.
fn put(out: &mut String, plain: &mut String) {
    if plain.is_empty() {
        return;
    }
    out.push('/');
    for character in plain.drain(..) {
        match character {
            ' ' => out.push_str(" ?"),
            '\n' => out.push_str("\\n?"),
            NUMBER => out.push_str("[0-9]{1,4}"),
            other if other.is_ascii_alphanumeric() => out.push(other),
            other => {
                let _ = write!(out, "\\x{{{:x}}}", u32::from(other));
            }
        }
    }
    out.push_str("/ ");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calls::family::Family;

    #[test]
    fn special_tokens_are_named_and_the_rest_is_spelled() {
        let token = |text: &str| (text == "[ARGS]").then_some(7);
        assert_eq!(sequence("a[ARGS]\n{", &token), r"/a/ <[7]> /\n?\x{7b}/");
        let tool = |name: &str| Callable { name: name.to_owned(), schema: Map::new() };
        let rules = rules(Family::Llama.syntax(), &[tool("f"), tool("g")], Count::One, token);
        assert!(rules.contains("call: call_0 | call_1\n") && rules.contains("arguments_1: %json {}"), "{rules}");
    }
}
