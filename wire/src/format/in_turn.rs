//! Calls one after another: a provider may write the arguments of several calls in turns, and formats in which a call ends
//! before the next begins have no place for that. A call's pieces pass while it grows; those of others wait until it is
//! whole, or until the answer ends.

use crate::inference::CallDelta;

/// The calls of one answer.
#[derive(Debug, Default)]
pub(super) struct InTurn {
    /// The call that grows: its index, and its arguments so far.
    open: Option<(u32, String)>,
    /// The calls that are whole.
    ended: Vec<u32>,
    /// Pieces of calls that began meanwhile.
    waiting: Vec<CallDelta>,
}

impl InTurn {
    /// The pieces that may be written now. With the last ones all pass.
    pub(super) fn pass(&mut self, calls: &[CallDelta], is_last: bool) -> Vec<CallDelta> {
        let mut passed = Vec::with_capacity(calls.len());
        for call in calls {
            // What follows a whole call is blank.
            if self.ended.contains(&call.index) {
                continue;
            }
            let is_in_turn = self.open.as_ref().is_none_or(|(index, _)| *index == call.index);
            if is_in_turn || self.waiting.is_empty() && self.is_whole() {
                self.put(call.clone(), &mut passed);
            } else {
                self.waiting.push(call.clone());
            }
            while !self.waiting.is_empty() && self.is_whole() {
                self.next(&mut passed);
            }
        }
        while is_last && !self.waiting.is_empty() {
            self.next(&mut passed);
        }
        passed
    }

    /// Passes a piece of the call that grows, or the first of the next.
    fn put(&mut self, call: CallDelta, passed: &mut Vec<CallDelta>) {
        match &mut self.open {
            Some((index, arguments)) if *index == call.index => arguments.push_str(&call.arguments),
            open => {
                let before = open.replace((call.index, call.arguments.clone()));
                self.ended.extend(before.map(|(index, _)| index));
            }
        }
        passed.push(call);
    }

    /// Passes all that waits of the next call.
    fn next(&mut self, passed: &mut Vec<CallDelta>) {
        let Some(index) = self.waiting.first().map(|call| call.index) else { return };
        let (of_next, others) = std::mem::take(&mut self.waiting).into_iter().partition(|call| call.index == index);
        self.waiting = others;
        let of_next: Vec<CallDelta> = of_next;
        of_next.into_iter().for_each(|call| self.put(call, passed));
    }

    /// Whether the call that grows has all its arguments.
    fn is_whole(&self) -> bool {
        let Some((_, arguments)) = &self.open else { return true };
        arguments.trim_start().starts_with('{') && serde_json::from_str::<serde::de::IgnoredAny>(arguments).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn piece(index: u32, arguments: &str) -> CallDelta {
        CallDelta { index, arguments: arguments.to_owned(), ..CallDelta::default() }
    }

    fn told(calls: &[CallDelta]) -> Vec<(u32, &str)> {
        calls.iter().map(|call| (call.index, &*call.arguments)).collect()
    }

    #[test]
    fn a_call_that_began_later_waits_until_the_one_before_is_whole() {
        let mut calls = InTurn::default();
        assert_eq!(told(&calls.pass(&[piece(0, ""), piece(1, ""), piece(1, "{\"b\"")], false)), [(0, "")]);
        assert_eq!(told(&calls.pass(&[piece(0, "{\"a\":1")], false)), [(0, "{\"a\":1")]);
        assert_eq!(told(&calls.pass(&[piece(0, "}")], false)), [(0, "}"), (1, ""), (1, "{\"b\"")]);
        assert_eq!(told(&calls.pass(&[piece(0, " "), piece(1, ":2}"), piece(2, "")], false)), [(1, ":2}"), (2, "")]);
        // One without arguments is whole when the answer ends.
        assert!(calls.pass(&[piece(3, "{}")], false).is_empty());
        assert_eq!(told(&calls.pass(&[], true)), [(3, "{}")]);
    }

    proptest! {
        /// However the pieces of calls are mixed, each call is written whole before the next, and none is lost.
        #[test]
        fn mixed_pieces_are_whole_calls_one_after_another(
            lengths in proptest::collection::vec(0..6_usize, 1..5), order in proptest::collection::vec(any::<u16>(), 40)
        ) {
            let texts: Vec<String> = lengths.iter().map(|length| if *length == 0 { String::new() } else { format!("{{\"x\":\"{}\"}}", "}{,".repeat(*length)) }).collect();
            let mut left: Vec<(u32, Vec<String>)> = (0..).zip(&texts).map(|(index, text)| {
                let pieces = text.as_bytes().chunks(3).map(|piece| String::from_utf8(piece.to_vec()).unwrap());
                (index, std::iter::once(String::new()).chain(pieces).collect())
            }).collect();
            let (mut calls, mut passed, mut turn) = (InTurn::default(), Vec::new(), order.into_iter().cycle());
            while !left.is_empty() {
                let which = usize::from(turn.next().unwrap()) % left.len();
                let text = left[which].1.remove(0);
                passed.extend(calls.pass(&[piece(left[which].0, &text)], false));
                left.retain(|(_, pieces)| !pieces.is_empty());
            }
            passed.extend(calls.pass(&[], true));
            let mut groups: Vec<(u32, String)> = Vec::new();
            for CallDelta { index, arguments, .. } in passed {
                match groups.last_mut().filter(|(last, _)| *last == index) {
                    Some((_, text)) => text.push_str(&arguments),
                    None => groups.push((index, arguments)),
                }
            }
            groups.sort_by_key(|(index, _)| *index);
            let expected: Vec<(u32, String)> = (0..).zip(texts).collect();
            prop_assert_eq!(groups, expected, "each call in one piece");
        }
    }
}
