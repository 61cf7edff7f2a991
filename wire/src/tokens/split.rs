//! How OpenAI's encodings cut a text into pieces before they look for tokens in them: each piece is encoded by itself. The
//! rules are published as regular expressions with alternatives and look-ahead; here they are one step for each piece, with
//! one look at each character. Which characters are letters comes from the tables of `regex-syntax`.

use regex_syntax::hir::{Class as Set, HirKind};

/// An encoding's rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rules {
    /// GPT-3.5 and GPT-4.
    Cl100k,
    /// GPT-4o and later.
    O200k,
}

/// What a character is to the rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    /// `\p{Lu}` and `\p{Lt}`.
    Upper,
    /// `\p{Ll}`.
    Lower,
    /// `\p{Lm}` and `\p{Lo}`: letters of scripts without cases.
    Caseless,
    /// `\p{M}`: accents and the like.
    Mark,
    /// `\p{N}`.
    Number,
    /// `\r` and `\n`.
    Break,
    /// Any other white space.
    Space,
    /// Punctuation, symbols and all else.
    Other,
}

/// The class of every character.
pub(super) struct Classes(Vec<Class>);

impl Classes {
    pub(super) fn new() -> Self {
        let mut classes = vec![Class::Other; char::MAX as usize + 1];
        for (pattern, class) in [
            (r"[\p{Lu}\p{Lt}]", Class::Upper),
            (r"\p{Ll}", Class::Lower),
            (r"[\p{Lm}\p{Lo}]", Class::Caseless),
            (r"\p{M}", Class::Mark),
            (r"\p{N}", Class::Number),
            (r"\s", Class::Space),
            (r"[\r\n]", Class::Break),
        ] {
            let set = regex_syntax::parse(pattern).map(regex_syntax::hir::Hir::into_kind);
            let Ok(HirKind::Class(Set::Unicode(set))) = set else { unreachable!("{pattern} is a set of characters") };
            for range in set.ranges() {
                classes[range.start() as usize..=range.end() as usize].fill(class);
            }
        }
        Self(classes)
    }

    fn of(&self, char: char) -> Class {
        self.0[char as usize]
    }

    /// Where the characters of some classes end that stand from `begin` on.
    fn end(&self, text: &str, begin: usize, wanted: impl Fn(Class) -> bool) -> usize {
        let other = text[begin..].char_indices().find(|(_, char)| !wanted(self.of(*char)));
        other.map_or(text.len(), |(at, _)| begin + at)
    }

    /// The pieces of a text, in their order.
    pub(super) fn pieces<'a>(&self, rules: Rules, mut text: &'a str) -> impl Iterator<Item = &'a str> {
        std::iter::from_fn(move || {
            let first = text.chars().next()?;
            let (piece, rest) = text.split_at(self.first_piece(rules, text, first));
            text = rest;
            Some(piece)
        })
    }

    fn first_piece(&self, rules: Rules, text: &str, first: char) -> usize {
        let word = match rules {
            Rules::Cl100k => self.word(text, first),
            Rules::O200k => self.cased_word(text, first),
        };
        if word > 0 {
            return word;
        }
        let is_symbol = |class| matches!(class, Class::Other | Class::Mark);
        match self.of(first) {
            Class::Number => {
                let digits = text.chars().take(3).take_while(|char| self.of(*char) == Class::Number);
                digits.map(char::len_utf8).sum()
            }
            Class::Space | Class::Break => {
                let symbols = if first == ' ' { self.end(text, 1, is_symbol) } else { 1 };
                if symbols > 1 { after_symbols(rules, text, symbols) } else { self.blank(rules, text) }
            }
            _ => after_symbols(rules, text, self.end(text, 0, is_symbol)),
        }
    }

    /// How much of a text is a word of the older rules: `'s` and its kind; or letters, with one character before them that
    /// is neither number nor line break.
    fn word(&self, text: &str, first: char) -> usize {
        let contraction = contraction(text);
        if contraction > 0 {
            return contraction;
        }
        let Some(begin) = self.before_word(first) else { return 0 };
        let end = self.end(text, begin, |class| matches!(class, Class::Upper | Class::Lower | Class::Caseless));
        if end > begin { end } else { 0 }
    }

    /// How much of a text is a word of the newer rules: capitals and then small letters, `'s` and its kind after them. A
    /// letter without case, and an accent, is both: it may stand on either side, and capitals alone are a word only where
    /// none is among them; else the word ends with the last such.
    fn cased_word(&self, text: &str, first: char) -> usize {
        let Some(begin) = self.before_word(first) else { return 0 };
        let is_both = |class| matches!(class, Class::Caseless | Class::Mark);
        let middle = self.end(text, begin, |class| class == Class::Upper || is_both(class));
        let is_lower = |char: char| self.of(char) == Class::Lower;
        let end = if text[middle..].starts_with(is_lower) {
            self.end(text, middle, |class| class == Class::Lower || is_both(class))
        } else if let Some((at, last)) = text[..middle].char_indices().rfind(|(_, char)| is_both(self.of(*char))) {
            at + last.len_utf8()
        } else if middle > begin {
            middle
        } else {
            return 0;
        };
        end + contraction(&text[end..])
    }

    /// How long what may stand before a word's letters is, where a word may begin so.
    fn before_word(&self, first: char) -> Option<usize> {
        match self.of(first) {
            Class::Upper | Class::Lower | Class::Caseless => Some(0),
            Class::Mark | Class::Space | Class::Other => Some(first.len_utf8()),
            Class::Number | Class::Break => None,
        }
    }

    /// White space ends with its last line break; what has none leaves its last character to what follows.
    fn blank(&self, rules: Rules, text: &str) -> usize {
        let end = self.end(text, 0, |class| matches!(class, Class::Space | Class::Break));
        let is_last = end == text.len();
        if is_last && rules == Rules::Cl100k {
            return end;
        }
        if let Some(line) = text[..end].rfind(['\r', '\n']) {
            return line + 1;
        }
        let last = text[..end].chars().next_back().map_or(0, char::len_utf8);
        if is_last || end == last { end } else { end - last }
    }
}

/// Symbols take the line breaks behind them.
fn after_symbols(rules: Rules, text: &str, symbols: usize) -> usize {
    let is_taken = |char: char| matches!(char, '\r' | '\n') || (char == '/' && rules == Rules::O200k);
    text[symbols..].find(|char| !is_taken(char)).map_or(text.len(), |taken| symbols + taken)
}

/// How much of a text is `'s`, `'t`, `'re`, `'ve`, `'m`, `'ll` or `'d`, in any case; the long s is an s too.
fn contraction(text: &str) -> usize {
    let Some(rest) = text.strip_prefix('\'') else { return 0 };
    let mut letters = rest.chars().map(|char| char.to_ascii_lowercase());
    match (letters.next(), letters.next()) {
        (Some('s' | 't' | 'm' | 'd'), _) => 2,
        (Some('ſ'), _) => 1 + 'ſ'.len_utf8(),
        (Some('r' | 'v'), Some('e')) | (Some('l'), Some('l')) => 3,
        _ => 0,
    }
}
