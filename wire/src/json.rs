//! JSON taken apart without reading it: an object's members and an array's elements, each as the text it came as. What is
//! not asked for is only checked to be JSON, as strictly as `serde_json` checks it and however deep it is nested.

use std::borrow::Cow;

/// A text that is not what was asked for: no JSON, or of another type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Unexpected;

/// An object's members: their names, and their values as they are written.
pub(crate) fn members(text: &str) -> Result<Vec<(Name<'_>, &str)>, Unexpected> {
    let mut members = Vec::with_capacity(8);
    Walk::over(text, |walk| {
        walk.object(|walk, name| {
            members.push((name, walk.value()?));
            Ok(())
        })
    })?;
    Ok(members)
}

/// The elements of an array, as they are written.
pub(crate) fn elements(text: &str) -> Result<Vec<&str>, Unexpected> {
    let mut elements = Vec::with_capacity(4);
    Walk::over(text, |walk| {
        walk.array(|walk| {
            elements.push(walk.value()?);
            Ok(())
        })
    })?;
    Ok(elements)
}

/// What a string says.
pub(crate) fn string(value: &str) -> Option<Cow<'_, str>> {
    let inner = value.strip_prefix('"')?.strip_suffix('"')?;
    if inner.contains('\\') { serde_json::from_str(value).ok().map(Cow::Owned) } else { Some(Cow::Borrowed(inner)) }
}

/// A member's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Name<'a> {
    place: usize,
    quoted: &'a str,
    has_escapes: bool,
}

impl<'a> Name<'a> {
    /// Where it stands in the text, and how it is written.
    pub(crate) fn written(self) -> (usize, &'a str) {
        (self.place, self.quoted)
    }

    /// What it says; nothing where its escapes are of no character.
    pub(crate) fn read(self) -> Cow<'a, str> {
        if self.has_escapes {
            // Never what is written, which would be taken for a name without escapes.
            Cow::Owned(string(self.quoted).unwrap_or_default().into_owned())
        } else {
            Cow::Borrowed(self.quoted.get(1..self.quoted.len() - 1).unwrap_or_default())
        }
    }
}

/// A place in a text. Whoever looks for something has gone over the blanks before it.
pub(crate) struct Walk<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Walk<'a> {
    /// Goes over all of a text, in which `whole` goes over one value.
    pub(crate) fn over(
        text: &'a str,
        whole: impl FnOnce(&mut Self) -> Result<(), Unexpected>,
    ) -> Result<(), Unexpected> {
        let mut walk = Walk { text, at: 0 };
        walk.blanks();
        whole(&mut walk)?;
        walk.blanks();
        if walk.at == text.len() { Ok(()) } else { Err(Unexpected) }
    }

    /// Goes over an object. `each` is called behind each name and goes over the value.
    pub(crate) fn object(
        &mut self,
        mut each: impl FnMut(&mut Self, Name<'a>) -> Result<(), Unexpected>,
    ) -> Result<(), Unexpected> {
        self.list(b'{', b'}', |walk| {
            let name = walk.name()?;
            each(walk, name)
        })
    }

    /// Goes over an array. `each` goes over an element.
    pub(crate) fn array(&mut self, each: impl FnMut(&mut Self) -> Result<(), Unexpected>) -> Result<(), Unexpected> {
        self.list(b'[', b']', each)
    }

    fn list(
        &mut self,
        open: u8,
        close: u8,
        mut each: impl FnMut(&mut Self) -> Result<(), Unexpected>,
    ) -> Result<(), Unexpected> {
        self.expect(open)?;
        self.blanks();
        if self.take(close) {
            return Ok(());
        }
        loop {
            each(self)?;
            self.blanks();
            if self.take(close) {
                return Ok(());
            }
            self.expect(b',')?;
            self.blanks();
        }
    }

    /// How far into the text it is.
    pub(crate) fn place(&self) -> usize {
        self.at
    }

    /// Whether an object stands here.
    pub(crate) fn is_object(&self) -> bool {
        self.next() == Some(b'{')
    }

    /// Whether null stands here.
    pub(crate) fn is_null(&self) -> bool {
        self.next() == Some(b'n')
    }

    fn rest(&self) -> &'a [u8] {
        &self.text.as_bytes()[self.at..]
    }

    fn next(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn take(&mut self, byte: u8) -> bool {
        let is_next = self.next() == Some(byte);
        self.at += usize::from(is_next);
        is_next
    }

    fn expect(&mut self, byte: u8) -> Result<(), Unexpected> {
        if self.take(byte) { Ok(()) } else { Err(Unexpected) }
    }

    fn blanks(&mut self) {
        while matches!(self.next(), Some(b' ' | b'\n' | b'\t' | b'\r')) {
            self.at += 1;
        }
    }

    /// A member's name, and the colon behind it.
    fn name(&mut self) -> Result<Name<'a>, Unexpected> {
        let begin = self.at;
        let has_escapes = self.string()?;
        let quoted = &self.text[begin..self.at];
        self.blanks();
        self.expect(b':')?;
        self.blanks();
        Ok(Name { place: begin, quoted, has_escapes })
    }

    /// A value of any type. It keeps what is open in a list and not on the stack, so no nesting is too deep.
    pub(crate) fn value(&mut self) -> Result<&'a str, Unexpected> {
        let begin = self.at;
        let mut open = Vec::new();
        loop {
            match self.next() {
                Some(b'"') => {
                    self.string()?;
                }
                Some(b't') => self.word("true")?,
                Some(b'f') => self.word("false")?,
                Some(b'n') => self.word("null")?,
                Some(bracket @ (b'{' | b'[')) => {
                    let close = if bracket == b'{' { b'}' } else { b']' };
                    self.at += 1;
                    self.blanks();
                    if !self.take(close) {
                        open.push(close);
                        if close == b'}' {
                            self.name()?;
                        }
                        continue;
                    }
                }
                _ => self.number()?,
            }
            // A value ended: so may what it stands in.
            loop {
                let Some(close) = open.last().copied() else { return Ok(&self.text[begin..self.at]) };
                self.blanks();
                if !self.take(close) {
                    self.expect(b',')?;
                    self.blanks();
                    if close == b'}' {
                        self.name()?;
                    }
                    break;
                }
                open.pop();
            }
        }
    }

    fn word(&mut self, word: &str) -> Result<(), Unexpected> {
        let is_next = self.rest().starts_with(word.as_bytes());
        self.at += word.len();
        if is_next { Ok(()) } else { Err(Unexpected) }
    }

    /// A string. Whether it has escapes.
    fn string(&mut self) -> Result<bool, Unexpected> {
        self.expect(b'"')?;
        let mut has_escapes = false;
        loop {
            self.plain();
            if self.take(b'"') {
                return Ok(has_escapes);
            }
            self.expect(b'\\')?;
            has_escapes = true;
            match self.next() {
                Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.at += 1,
                Some(b'u') if self.rest().get(1..5).is_some_and(|hex| hex.iter().all(u8::is_ascii_hexdigit)) => {
                    self.at += 5;
                }
                _ => return Err(Unexpected),
            }
        }
    }

    /// Goes over what is neither quote, backslash nor control character, eight bytes at a time: most of a request is in its
    /// strings. A byte's highest bit is set in `special` where it is one of the three, and perhaps in bytes after such a
    /// one ("Bit Twiddling Hacks", Anderson: finding a byte in a word).
    fn plain(&mut self) {
        const ONES: u64 = u64::MAX / 0xff;
        while let Some(bytes) = self.rest().first_chunk() {
            let word = u64::from_le_bytes(*bytes);
            let (quote, backslash) = (word ^ (ONES * u64::from(b'"')), word ^ (ONES * u64::from(b'\\')));
            let special = (quote.wrapping_sub(ONES) & !quote)
                | (backslash.wrapping_sub(ONES) & !backslash)
                | (word.wrapping_sub(ONES * u64::from(b' ')) & !word);
            let special = special & (ONES * 0x80);
            if special != 0 {
                self.at += special.trailing_zeros() as usize / 8;
                return;
            }
            self.at += bytes.len();
        }
        while self.next().is_some_and(|byte| byte >= b' ' && byte != b'"' && byte != b'\\') {
            self.at += 1;
        }
    }

    fn number(&mut self) -> Result<(), Unexpected> {
        self.take(b'-');
        // No number begins with a nought but nought itself.
        if !self.take(b'0') {
            self.digits()?;
        }
        if self.take(b'.') {
            self.digits()?;
        }
        if self.take(b'e') || self.take(b'E') {
            let _ = self.take(b'+') || self.take(b'-');
            self.digits()?;
        }
        Ok(())
    }

    fn digits(&mut self) -> Result<(), Unexpected> {
        let begin = self.at;
        while matches!(self.next(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        if self.at > begin { Ok(()) } else { Err(Unexpected) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::value::RawValue;

    use super::*;

    /// Takes a text apart as `serde_json` does.
    fn assert_same(text: &str) {
        let theirs: Option<Vec<&RawValue>> = serde_json::from_str(text).ok();
        let theirs: Option<Vec<&str>> = theirs.map(|values| values.into_iter().map(RawValue::get).collect());
        assert_eq!(elements(text).ok(), theirs, "{text:?}");
        let object = format!("{{\"a\":{text}}}");
        let theirs = serde_json::from_str::<&RawValue>(&object).is_ok();
        assert_eq!(members(&object).is_ok(), theirs, "{object:?}");
    }

    #[test]
    fn what_is_json_is_decided_as_serde_decides_it() {
        for text in [
            "[]",
            "[ ]",
            " [1 , 2]\n",
            "[1,]",
            "[,1]",
            "[1 2]",
            "[]x",
            "[",
            "]",
            "",
            "{}",
            "null",
            "[01]",
            "[-]",
            "[-0.5e+7]",
            "[1.]",
            "[.5]",
            "[1e]",
            "[+1]",
            "[0x1]",
            "[NaN]",
            "[tru]",
            "[true,false,null]",
            "[nul",
            r#"["a"#,
            r#"["\x"]"#,
            r#"["\u12"]"#,
            r#"["\u12gh"]"#,
            r#"["\ud800"]"#,
            r#"["a\"b\\"]"#,
            "[\"a\nb\"]",
            "[\"\u{7f}é\"]",
            r#"[{"a":[{}, {"b":[]}]}]"#,
            r#"[{"a" 1}]"#,
            r#"[{"a":1,}]"#,
            "[{a:1}]",
            r#"[{"a":1]}"#,
            "[[1}]",
            "[{1:2}]",
            "[\u{a0}1]",
            "[\u{c}1]",
            r#"["0123456789abcdef0123456789abcdef\n0123456789abcdef"]"#,
            "[\"0123456789abcdef0123456789abcde\u{1}\"]",
        ] {
            assert_same(text);
        }
        assert_same(&format!("{}{}", "[".repeat(5_000), "]".repeat(5_000)));
        assert!(elements(&"[".repeat(100_000)).is_err());
    }

    #[test]
    fn members_and_strings_are_found_as_they_are_written() {
        let found = members(r#" {"a": 1, "\u0062" :{"c":"}"} } "#).unwrap();
        let found: Vec<_> = found.iter().map(|(name, value)| (name.written().1, name.read(), *value)).collect();
        let expected = [("\"a\"", "a", "1"), (r#""\u0062""#, "b", r#"{"c":"}"}"#)];
        assert_eq!(found, expected.map(|(quoted, name, value)| (quoted, name.into(), value)));
        assert_eq!((string("1"), string("\""), string(r#""\ud800""#)), (None, None, None));
    }

    proptest! {
        #[test]
        fn any_text_is_decided_as_serde_decides_it(
            text in r#"\[([\[\]{},:"\\ \n]|"a":|"\PC{0,20}"|\\u[0-9a-f]{3,4}|[a-f0-9.+-]|true|null|\PC){0,16}\]"#
        ) {
            assert_same(&text);
        }

        #[test]
        fn any_json_is_taken_apart(value in json()) {
            assert_same(&format!("[{value}, {value:#}]"));
        }
    }

    fn json() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(Into::into),
            any::<f64>().prop_map(Into::into),
            any::<i64>().prop_map(Into::into),
            any::<String>().prop_map(Into::into),
        ];
        leaf.prop_recursive(4, 32, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Into::into),
                prop::collection::vec((any::<String>(), inner), 0..4)
                    .prop_map(|members| serde_json::Value::Object(members.into_iter().collect())),
            ]
        })
    }
}
