//! Reads a template's text as tokens, for two purposes. Constructs of Jinja in Python that our library lacks (`{%
//! generation %}` blocks, and `%` after a text) are rewritten in constructs that it knows. And the filters and tests in
//! a template are listed, so that a missing one is found before a conversation needs it.

use std::collections::BTreeSet;
use std::ops::Range;

/// The function that replaces `%` after a text.
pub(super) const PERCENT: &str = "__percent__";
/// The most `%` signs rewritten in one expression.
const MOST_SIGNS: usize = 64;

/// A template that can be compiled, and the filters and tests in it.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Source {
    pub(super) text: String,
    pub(super) filters: BTreeSet<String>,
    pub(super) tests: BTreeSet<String>,
}

/// A token of an expression: its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Token {
    kind: Kind,
    begin: usize,
    end: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Name,
    Number,
    Open,
    Close,
    Sign,
}

/// Reads a template. A template with an unclosed expression is left for the compiler to report.
pub(super) fn read(template: &str) -> Source {
    let mut source = Source::default();
    let mut rest = template;
    let mut is_raw = false;
    while let Some(at) = rest.find('{').filter(|at| at + 1 < rest.len()) {
        let opening = rest.as_bytes()[at + 1];
        source.text.push_str(&rest[..at]);
        rest = &rest[at..];
        let end = match opening {
            b'#' if !is_raw => rest.find("#}").map(|end| end + 2),
            b'{' if !is_raw => expression_end(rest, "}}"),
            b'%' => expression_end(rest, "%}"),
            _ => {
                source.text.push('{');
                rest = &rest[1..];
                continue;
            }
        };
        let Some(end) = end else { break };
        let (tag, after) = rest.split_at(end);
        match (opening, only_word(tag)) {
            (b'%', Some(word @ ("raw" | "endraw"))) => {
                is_raw = word == "raw";
                source.text.push_str(tag);
            }
            (b'#', _) => source.text.push_str(tag),
            _ if is_raw => source.text.push_str(tag),
            // A `generation` block marks the assistant's words for training, and has a scope of its own.
            (_, Some("generation")) => source.text.push_str(&tag.replace("generation", "with")),
            (_, Some("endgeneration")) => source.text.push_str(&tag.replace("endgeneration", "endwith")),
            _ => {
                let inner = percents(&tag[2..tag.len() - 2]);
                names(&inner, &mut source);
                source.text.push_str(&tag[..2]);
                source.text.push_str(&inner);
                source.text.push_str(&tag[tag.len() - 2..]);
            }
        }
        rest = after;
    }
    source.text.push_str(rest);
    source
}

/// The word of a block tag that has only one.
fn only_word(tag: &str) -> Option<&str> {
    let inner = tag.strip_prefix("{%")?.strip_suffix("%}")?;
    Some(inner.trim_matches(['-', '+']).trim())
}

/// The end of a tag: after `end`, outside of texts and brackets.
fn expression_end(tag: &str, end: &str) -> Option<usize> {
    let mut depth = 0_usize;
    let mut at = 2;
    while at < tag.len() {
        if depth == 0 && tag[at..].starts_with(end) {
            return Some(at + 2);
        }
        let token = token(tag, at)?;
        match token.kind {
            Kind::Open => depth += 1,
            Kind::Close => depth = depth.saturating_sub(1),
            Kind::Text | Kind::Name | Kind::Number | Kind::Sign => {}
        }
        at = token.end;
    }
    None
}

/// The token at a place. White space is a token of its own.
fn token(text: &str, begin: usize) -> Option<Token> {
    let first = text[begin..].chars().next()?;
    let run = |is: fn(char) -> bool| {
        let rest = &text[begin..];
        begin + rest.find(|c| !is(c)).unwrap_or(rest.len())
    };
    let (kind, end) = match first {
        '"' | '\'' => (Kind::Text, text_end(text, begin, first)?),
        '(' | '[' | '{' => (Kind::Open, begin + 1),
        ')' | ']' | '}' => (Kind::Close, begin + 1),
        c if c.is_ascii_digit() => (Kind::Number, run(|c| c.is_alphanumeric() || c == '_')),
        c if c.is_alphabetic() || c == '_' => (Kind::Name, run(|c| c.is_alphanumeric() || c == '_')),
        other => (Kind::Sign, begin + other.len_utf8()),
    };
    Some(Token { kind, begin, end })
}

fn text_end(text: &str, begin: usize, quote: char) -> Option<usize> {
    let mut escaped = false;
    for (at, character) in text[begin..].char_indices().skip(1) {
        match character {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            end if end == quote => return Some(begin + at + 1),
            _ => {}
        }
    }
    None
}

/// The tokens of an expression, without white space.
fn tokens(text: &str) -> Vec<Token> {
    let mut all = Vec::new();
    let mut at = 0;
    while let Some(found) = token(text, at) {
        at = found.end;
        if !text[found.begin..found.end].trim().is_empty() {
            all.push(found);
        }
    }
    all
}

/// Lists the filters and tests of an expression.
fn names(text: &str, source: &mut Source) {
    let all = tokens(text);
    let word = |at: usize| all.get(at).map_or("", |token: &Token| &text[token.begin..token.end]);
    let is_name = |at: usize| all.get(at).is_some_and(|token| token.kind == Kind::Name);
    for at in 0..all.len() {
        match word(at) {
            "|" if is_name(at + 1) => {
                source.filters.insert(word(at + 1).to_owned());
            }
            "filter" if at == 0 && is_name(1) => {
                source.filters.insert(word(1).to_owned());
            }
            "is" if is_name(at) && (at == 0 || word(at - 1) != ".") => {
                let test = if word(at + 1) == "not" { at + 2 } else { at + 1 };
                if is_name(test) {
                    source.tests.insert(word(test).to_owned());
                }
            }
            _ => {}
        }
    }
}

/// An expression in which a function replaces `%` on texts.
fn percents(expression: &str) -> String {
    let mut text = expression.to_owned();
    for _ in 0..MOST_SIGNS {
        let Some((whole, call)) = first_percent(&text) else { break };
        text.replace_range(whole, &call);
    }
    text
}

/// The first `%` whose left side is a text, or whose right side is a list in parentheses: the place of the operation,
/// and the call that replaces it.
fn first_percent(text: &str) -> Option<(Range<usize>, String)> {
    let all = tokens(text);
    let word = |at: usize| &text[all[at].begin..all[at].end];
    (1..all.len().saturating_sub(1)).filter(|&at| word(at) == "%").find_map(|at| {
        let left = left_of(text, &all, at)?;
        let right = right_of(text, &all, at)?;
        let is_text = left == at - 1 && all[left].kind == Kind::Text;
        let operand = &text[all[at + 1].begin..all[right].end];
        let list = listed(operand);
        if !is_text && list.is_none() {
            return None;
        }
        let given = list.unwrap_or(operand);
        let whole = all[left].begin..all[right].end;
        Some((whole, format!("{PERCENT}({}, {given})", &text[all[left].begin..all[at - 1].end])))
    })
}

/// The content of parentheses that hold a list: one with a comma of its own.
fn listed(operand: &str) -> Option<&str> {
    let inner = operand.strip_prefix('(')?.strip_suffix(')')?;
    let mut depth = 0_i32;
    let mut commas = false;
    for token in tokens(inner) {
        match token.kind {
            Kind::Open => depth += 1,
            Kind::Close => depth -= 1,
            Kind::Sign => commas |= depth == 0 && &inner[token.begin..token.end] == ",",
            Kind::Text | Kind::Name | Kind::Number => {}
        }
        if depth < 0 {
            return None;
        }
    }
    commas.then(|| inner.trim().trim_end_matches(',').trim_end())
}

/// The first token of the operand that ends before a place.
fn left_of(text: &str, all: &[Token], before: usize) -> Option<usize> {
    let word = |at: usize| &text[all[at].begin..all[at].end];
    let mut at = before - 1;
    loop {
        match all[at].kind {
            Kind::Close => {
                let mut depth = 1;
                while depth > 0 {
                    at = at.checked_sub(1)?;
                    match all[at].kind {
                        Kind::Close => depth += 1,
                        Kind::Open => depth -= 1,
                        Kind::Text | Kind::Name | Kind::Number | Kind::Sign => {}
                    }
                }
                let is_called = at > 0
                    && (all[at - 1].kind == Kind::Close
                        || (all[at - 1].kind == Kind::Name && !is_keyword(word(at - 1))));
                if !is_called {
                    return Some(at);
                }
                at -= 1;
            }
            Kind::Name if at >= 2 && (word(at - 1) == "." || word(at - 1) == "|") => at -= 2,
            Kind::Name | Kind::Text | Kind::Number => return Some(at),
            Kind::Open | Kind::Sign => return None,
        }
    }
}

/// The last token of the operand that begins after a place.
fn right_of(text: &str, all: &[Token], behind: usize) -> Option<usize> {
    let word = |at: usize| all.get(at).map_or("", |token| &text[token.begin..token.end]);
    let close = |from: usize| {
        let mut depth = 0_i32;
        (from..all.len()).find(|&at| {
            match all[at].kind {
                Kind::Open => depth += 1,
                Kind::Close => depth -= 1,
                Kind::Text | Kind::Name | Kind::Number | Kind::Sign => {}
            }
            depth == 0
        })
    };
    let mut at = behind + 1;
    if word(at) == "-" {
        at += 1;
    }
    at = match all.get(at)?.kind {
        Kind::Open => close(at)?,
        Kind::Text | Kind::Name | Kind::Number => at,
        Kind::Close | Kind::Sign => return None,
    };
    loop {
        at = match word(at + 1) {
            "." | "|" if all.get(at + 2).is_some_and(|token| matches!(token.kind, Kind::Name | Kind::Number)) => at + 2,
            "(" | "[" => close(at + 1)?,
            _ => return Some(at),
        };
    }
}

fn is_keyword(word: &str) -> bool {
    ["in", "is", "not", "and", "or", "if", "else", "elif", "set", "for", "print"].contains(&word)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(template: &str) -> String {
        read(template).text
    }

    #[test]
    fn texts_are_formatted_by_a_function_and_numbers_are_divided() {
        for (template, wanted) in [
            ("{{ '%s-%d' % ('a', 3) }}", "{{ __percent__('%s-%d', 'a', 3) }}"),
            ("{{ '%s' % name }}{{ 1 }}", "{{ __percent__('%s', name) }}{{ 1 }}"),
            ("{{ 'a' ~ '%s' % m.x[0]|upper ~ 'b' }}", "{{ 'a' ~ __percent__('%s', m.x[0]|upper) ~ 'b' }}"),
            ("{{ f.get('x') % (1,) }}", "{{ __percent__(f.get('x'), 1) }}"),
            ("{%- set x = '%d%%' % -n -%}", "{%- set x = __percent__('%d%%', -n) -%}"),
            ("{{ '%s' % ('%s' % a) }}", "{{ __percent__('%s', (__percent__('%s', a))) }}"),
            ("{% if loop.index0 % 2 == 0 %}x{% endif %}", "{% if loop.index0 % 2 == 0 %}x{% endif %}"),
            ("{% if (loop.index0 % 2) %}x{% endif %}", "{% if (loop.index0 % 2) %}x{% endif %}"),
            ("{# '%s' % a #}{% raw %}{{ '%s' % a }}{% endraw %}", "{# '%s' % a #}{% raw %}{{ '%s' % a }}{% endraw %}"),
            ("{{ {'a': {'b': '}}'}} }} % a", "{{ {'a': {'b': '}}'}} }} % a"),
            ("a { b {{ x", "a { b {{ x"),
        ] {
            assert_eq!(text(template), wanted);
        }
    }

    #[test]
    fn the_assistants_words_are_marked_by_a_block_that_is_known() {
        let template = "{%- generation -%}{{ x }}{% endgeneration +%}{% set generation = 1 %}";
        assert_eq!(text(template), "{%- with -%}{{ x }}{% endwith +%}{% set generation = 1 %}");
    }

    #[test]
    fn filters_and_tests_are_listed() {
        let source = read(
            "{{ a|tojson(indent=2) | trim }}{% if b is not none and c.is is string %}{% endif %}{% filter upper %}{% endfilter %}{# |x #}",
        );
        let list = |names: &BTreeSet<String>| names.iter().cloned().collect::<Vec<_>>().join(" ");
        assert_eq!((list(&source.filters), list(&source.tests)), ("tojson trim upper".into(), "none string".into()));
    }
}
