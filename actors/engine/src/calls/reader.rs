//! Reads what a model writes: its thoughts, its text and its calls of tools, in its family's form. Fed with bytes in
//! pieces of any size; the pieces change nothing but when a part is known. It trusts nothing: what begins as a call and
//! is none, is text.

mod texts;

use std::sync::Arc;

use self::texts::{Found, find, loose, safe};
use super::family::{NUMBER, Next, Place, Syntax, Thoughts};

/// What a reader looks for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Expected {
    /// The form of calls, and the names of the tools.
    pub(crate) calls: Option<(&'static Syntax, Arc<[String]>)>,
    /// What the model may think before it answers stands between these.
    pub(crate) thoughts: Option<&'static Thoughts>,
}

/// A part of what was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Part {
    /// Where it begins, in bytes of all that was written.
    pub(crate) at: usize,
    /// What it is.
    pub(crate) kind: Kind,
    /// Its bytes; a call's name.
    pub(crate) bytes: Vec<u8>,
}

/// What a part is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Text for the user.
    Text,
    /// Thoughts.
    Thoughts,
    /// A call begins.
    Call,
    /// An addition to the call's arguments.
    Arguments,
    /// The arguments are whole.
    ArgumentsEnd,
}

/// What some bytes turned to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum Turned {
    /// Nothing new.
    #[default]
    Nothing,
    /// The thoughts.
    Thoughts,
    /// The answer, with what came behind the thoughts' end.
    Answer(Vec<u8>),
    /// A call, with what came behind its mark.
    Call(Vec<u8>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// Nothing but space yet. `kept`: it is the answer's own.
    Blank {
        kept: bool,
        may_think: bool,
    },
    Thoughts,
    Text,
    /// Within a call, up to its arguments.
    Head(Stage),
    Arguments(Scan),
    Tail,
    /// Behind a call.
    Behind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Opening,
    Head,
    Name,
    Between,
}

/// Where in a JSON value a scan stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Scan {
    depth: usize,
    in_text: bool,
    is_escaped: bool,
    has_begun: bool,
}

/// A reader of one choice.
#[derive(Debug, Clone)]
pub(crate) struct Reader {
    expected: Expected,
    mode: Mode,
    /// Bytes that are not told yet, and where they begin.
    held: Vec<u8>,
    at: usize,
    /// Of a text that is being compared: how much of it was there. Within thoughts: 0 where none are told yet.
    matched: usize,
    /// What the call's beginning has taken of `held`.
    taken: usize,
    name: Vec<u8>,
    /// The calls that are whole.
    calls: u32,
    turned: Turned,
    parts: Vec<Part>,
}

impl Reader {
    /// A reader; `is_thinking` where the prompt has begun the model's thoughts.
    pub(crate) fn new(expected: Expected, is_thinking: bool) -> Self {
        let may_think = expected.thoughts.is_some();
        let mode = if is_thinking { Mode::Thoughts } else { Mode::Blank { kept: true, may_think } };
        Self {
            expected,
            mode,
            held: Vec::new(),
            at: 0,
            matched: 0,
            taken: 0,
            name: Vec::new(),
            calls: 0,
            turned: Turned::Nothing,
            parts: Vec::new(),
        }
    }

    /// Whether it is in the model's thoughts.
    pub(crate) fn is_thinking(&self) -> bool {
        self.mode == Mode::Thoughts
    }

    /// The calls that are whole.
    pub(crate) const fn calls(&self) -> u32 {
        self.calls
    }

    /// Takes bytes. Returns the parts that are known now, and what the bytes turned to.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> (Vec<Part>, Turned) {
        self.held.extend_from_slice(bytes);
        while self.step() {}
        (std::mem::take(&mut self.parts), std::mem::take(&mut self.turned))
    }

    /// The rest, where the answer ends here. Of a call whose name is not whole nothing is told: the words of its form are no
    /// text for the user, and there is nothing to call.
    pub(crate) fn finish(&mut self) -> Vec<Part> {
        match self.mode {
            Mode::Blank { kept: true, .. } | Mode::Text => self.tell(Kind::Text, self.held.len()),
            Mode::Blank { kept: false, .. } | Mode::Head(_) | Mode::Tail | Mode::Behind => self.skip(self.held.len()),
            Mode::Thoughts => {
                let length = self.held.trim_ascii_end().len();
                self.tell(Kind::Thoughts, length);
            }
            Mode::Arguments(_) => self.tell(Kind::Arguments, self.held.len()),
        }
        std::mem::take(&mut self.parts)
    }

    /// Whether something was done, so that there may be more to do.
    fn step(&mut self) -> bool {
        match self.mode {
            Mode::Blank { kept, may_think } => self.blank(kept, may_think),
            Mode::Thoughts => self.thoughts(),
            Mode::Text => self.text(),
            Mode::Head(stage) => self.head(stage),
            Mode::Arguments(scan) => self.arguments(scan),
            Mode::Tail => self.tail(),
            Mode::Behind => self.behind(),
        }
    }

    fn tell(&mut self, kind: Kind, length: usize) {
        if length > 0 {
            let bytes: Vec<u8> = self.held.drain(..length).collect();
            self.parts.push(Part { at: self.at, kind, bytes });
            self.at += length;
        }
    }

    fn skip(&mut self, length: usize) {
        self.held.drain(..length);
        self.at += length;
    }

    fn turn(&mut self, turned: Turned) {
        if self.turned == Turned::Nothing {
            self.turned = turned;
        }
    }

    fn blank(&mut self, kept: bool, may_think: bool) -> bool {
        let space = self.held.len() - self.held.trim_ascii_start().len();
        let rest = &self.held[space..];
        let begins = |text: &str| match (rest.starts_with(text.as_bytes()), text.as_bytes().starts_with(rest)) {
            (true, _) => Found::Whole(text.len()),
            (false, true) => Found::Part,
            (false, false) => Found::None,
        };
        let thoughts = self.expected.thoughts.filter(|_| may_think);
        let thought = thoughts.map_or(Found::None, |thoughts| begins(thoughts.begin));
        if let Found::Whole(length) = thought {
            self.skip(space + length);
            self.mode = Mode::Thoughts;
            self.turn(Turned::Thoughts);
            return true;
        }
        let mut is_open = thought == Found::Part;
        if let Some((syntax, _)) = &self.expected.calls
            && let Place::Start(before) = syntax.place
        {
            let (before, is_cut) = match begins(before) {
                Found::Whole(length) => (length, false),
                Found::Part => (0, true),
                Found::None => (0, false),
            };
            match loose(syntax.mark, &rest[before..]) {
                Found::Whole(length) => {
                    let behind = space + before + length;
                    self.begin(syntax, behind);
                    return true;
                }
                Found::Part => is_open = true,
                Found::None => is_open |= is_cut,
            }
        }
        if is_open || rest.is_empty() {
            return false;
        }
        if !kept {
            self.skip(space);
        }
        self.mode = Mode::Text;
        true
    }

    fn thoughts(&mut self) -> bool {
        let Some(Thoughts { end, .. }) = self.expected.thoughts else {
            self.mode = Mode::Text;
            return true;
        };
        if self.matched == 0 {
            // Space before them is not theirs.
            self.skip(self.held.len() - self.held.trim_ascii_start().len());
        }
        let end = end.as_bytes();
        if let Some(at) = find(&self.held, end) {
            let length = self.held[..at].trim_ascii_end().len();
            self.tell(Kind::Thoughts, length);
            self.skip(at - length + end.len());
            (self.mode, self.matched) = (Mode::Blank { kept: false, may_think: false }, 0);
            self.turn(Turned::Answer(self.held.clone()));
            return true;
        }
        let length = safe(&self.held, end);
        if length > 0 {
            // From now on, space is theirs.
            self.matched = 1;
            self.tell(Kind::Thoughts, length);
        }
        false
    }

    fn text(&mut self) -> bool {
        let syntax = self.expected.calls.as_ref().map(|(syntax, _)| *syntax);
        let Some(syntax) = syntax.filter(|syntax| syntax.place == Place::Anywhere) else {
            self.tell(Kind::Text, self.held.len());
            return false;
        };
        let mark = syntax.mark.as_bytes();
        if let Some(at) = find(&self.held, mark) {
            let length = self.held[..at].trim_ascii_end().len();
            self.tell(Kind::Text, length);
            self.begin(syntax, at - length + mark.len());
            return true;
        }
        self.tell(Kind::Text, safe(&self.held, mark));
        false
    }

    /// A call begins; so much of what is held is its mark and space before it.
    fn begin(&mut self, syntax: &Syntax, taken: usize) {
        (self.mode, self.matched, self.taken) = (Mode::Head(Stage::Opening), 0, taken);
        if syntax.opening.is_empty() {
            self.mode = Mode::Head(Stage::Head);
        }
        self.name.clear();
        self.turn(Turned::Call(self.held[taken..].to_vec()));
    }

    /// One byte of a call's beginning. All of it is held until it is whole.
    fn head(&mut self, stage: Stage) -> bool {
        let Some((syntax, names)) = self.expected.calls.clone() else { return false };
        let expected = match stage {
            Stage::Opening => syntax.opening,
            Stage::Head => syntax.head,
            Stage::Name | Stage::Between => syntax.between,
        };
        if stage == Stage::Head && expected.is_empty() {
            (self.mode, self.matched) = (Mode::Head(Stage::Name), 0);
            return true;
        }
        let Some(&byte) = self.held.get(self.taken) else { return false };
        if stage == Stage::Name {
            let ends = Some(&byte) == expected.trim_ascii_start().as_bytes().first();
            if ends {
                self.mode = Mode::Head(Stage::Between);
                return true;
            }
            self.name.push(byte);
            self.taken += 1;
            if self.name.len() > MOST_NAME {
                self.none();
            }
            return true;
        }
        match self.compare(expected, byte) {
            None => self.none(),
            Some(is_whole) => {
                self.taken += 1;
                if is_whole {
                    self.matched = 0;
                    self.mode = match stage {
                        Stage::Opening => Mode::Head(Stage::Head),
                        Stage::Head => Mode::Head(Stage::Name),
                        Stage::Name | Stage::Between
                            if names.iter().any(|name| name.as_bytes() == self.name.trim_ascii_end()) =>
                        {
                            self.skip(self.taken);
                            let name = std::mem::take(&mut self.name).trim_ascii_end().to_vec();
                            self.parts.push(Part { at: self.at, kind: Kind::Call, bytes: name });
                            Mode::Arguments(Scan::default())
                        }
                        Stage::Name | Stage::Between => {
                            self.none();
                            return true;
                        }
                    };
                }
            }
        }
        true
    }

    /// Compares a byte with a text, of which some is matched. `None`: it differs. Space is passed over in both.
    fn compare(&mut self, text: &str, byte: u8) -> Option<bool> {
        if byte.is_ascii_whitespace() {
            return Some(false);
        }
        let left = |matched: usize| text.as_bytes()[matched..].trim_ascii_start();
        let is_number = |matched: usize| left(matched).first() == Some(&(NUMBER as u8));
        if is_number(self.matched) {
            if byte.is_ascii_digit() {
                return Some(false);
            }
            self.matched = text.len() - left(self.matched).len() + 1;
        }
        if left(self.matched).first() != Some(&byte) {
            return None;
        }
        self.matched = text.len() - left(self.matched).len() + 1;
        Some(left(self.matched).is_empty())
    }

    /// It was no call: what is held is text.
    fn none(&mut self) {
        self.tell(Kind::Text, self.taken.max(1).min(self.held.len()));
        (self.mode, self.matched, self.taken) = (Mode::Text, 0, 0);
    }

    fn arguments(&mut self, mut scan: Scan) -> bool {
        if !scan.has_begun {
            let space = self.held.len() - self.held.trim_ascii_start().len();
            self.skip(space);
        }
        for (at, byte) in self.held.iter().enumerate() {
            scan.has_begun = true;
            match (scan.in_text, byte) {
                (true, _) if scan.is_escaped => scan.is_escaped = false,
                (true, b'\\') => scan.is_escaped = true,
                (_, b'"') => scan.in_text = !scan.in_text,
                (false, b'{' | b'[') => scan.depth += 1,
                (false, b'}' | b']') => {
                    scan.depth = scan.depth.saturating_sub(1);
                    if scan.depth == 0 {
                        self.tell(Kind::Arguments, at + 1);
                        self.parts.push(Part { at: self.at, kind: Kind::ArgumentsEnd, bytes: Vec::new() });
                        (self.mode, self.matched) = (Mode::Tail, 0);
                        return true;
                    }
                }
                _ => {}
            }
        }
        self.mode = Mode::Arguments(scan);
        self.tell(Kind::Arguments, self.held.len());
        false
    }

    fn tail(&mut self) -> bool {
        let Some((syntax, _)) = self.expected.calls.clone() else { return false };
        if !syntax.tail.is_empty() {
            let Some(&byte) = self.held.first() else { return false };
            match self.compare(syntax.tail, byte) {
                // The call is whole; what follows is not of its form.
                None => {}
                Some(is_whole) => {
                    self.skip(1);
                    if !is_whole {
                        return true;
                    }
                }
            }
        }
        self.calls += 1;
        (self.mode, self.matched) = (Mode::Behind, 0);
        true
    }

    fn behind(&mut self) -> bool {
        let Some((syntax, _)) = self.expected.calls.clone() else { return false };
        let space = self.held.len() - self.held.trim_ascii_start().len();
        let rest = &self.held[space..];
        match (syntax.next, rest.first()) {
            (_, None) => false,
            (Next::List { separator, close }, Some(_)) => self.goes_on(syntax, (separator, close), space),
            (Next::Mark, _) if syntax.mark.as_bytes().starts_with(rest) && rest.len() < syntax.mark.len() => false,
            (Next::Mark, _) if rest.starts_with(syntax.mark.as_bytes()) => {
                self.begin(syntax, space + syntax.mark.len());
                true
            }
            _ => {
                self.skip(space);
                self.mode = Mode::Text;
                true
            }
        }
    }
}

impl Reader {
    /// Behind a call of a list, and space: another call, or the list's end.
    fn goes_on(&mut self, syntax: &Syntax, (separator, close): (&str, &str), space: usize) -> bool {
        let rest = &self.held[space..];
        let begins = match (separator.trim().is_empty(), loose(separator, rest)) {
            (false, found) => found,
            // What separates calls is space alone: the next one is known by how it begins.
            (true, _) => match loose(syntax.head, rest) {
                Found::Whole(_) => Found::Whole(0),
                other => other,
            },
        };
        match (loose(close, rest), begins) {
            (Found::Whole(length), _) => {
                self.skip(space + length);
                true
            }
            (_, Found::Whole(length)) => {
                self.skip(space + length);
                (self.mode, self.matched, self.taken) = (Mode::Head(Stage::Head), 0, 0);
                true
            }
            (Found::Part, _) | (_, Found::Part) => false,
            (Found::None, Found::None) => {
                self.skip(space);
                self.mode = Mode::Text;
                true
            }
        }
    }
}

/// The longest name of a tool, in bytes.
pub(crate) const MOST_NAME: usize = 128;

#[cfg(test)]
mod tests;
