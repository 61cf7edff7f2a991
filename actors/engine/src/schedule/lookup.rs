//! Speculation by prompt look-up: what followed earlier on the tokens that a sequence ends with may follow again, where a
//! text is edited, quoted or listed. A draft costs its verification, one run of several tokens, which is less than two
//! runs of one. So a sequence has a balance of what drafts have won and lost it, and the lower that is, the longer a
//! match must be to be trusted.

/// What a verification costs, in tenths of a run of one token.
const COST: i32 = 18;
/// The most that may be lost again of what was won, in the same unit, so that a text that turns is noticed.
const MOST: i32 = 40;
/// The shortest match that is trusted while nothing is lost, after one loss, and after more.
const LEAST: [usize; 3] = [4, 10, 20];
/// No longer match is looked for.
const LONGEST: usize = 32;

/// What drafts a sequence's next tokens.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Drafter {
    /// Tokens that drafts have saved less what they cost, in tenths.
    balance: i32,
}

impl Drafter {
    /// At most `most` tokens that may follow: those behind the longest of the earlier places that end alike, the latest of
    /// equals. Empty where no match is long enough.
    pub(super) fn draft(self, tokens: &[u32], most: usize) -> Vec<u32> {
        let least = match self.balance {
            0.. => LEAST[0],
            -12..0 => LEAST[1],
            _ => LEAST[2],
        };
        let Some((_, end)) = longest_match(tokens).filter(|(length, _)| *length >= least) else { return Vec::new() };
        // What repeats with a short period is longer than what has been written of it.
        let period = tokens.len() - end;
        (0..most).map(|at| tokens[end + at % period]).collect()
    }

    /// So many tokens of a draft were right. Each of them, and the token behind them, would have been a run.
    pub(super) fn judge(&mut self, right: usize) {
        let saved = i32::try_from(right + 1).unwrap_or(i32::MAX).saturating_mul(10);
        self.balance = self.balance.saturating_add(saved - COST).min(MOST);
    }
}

/// The length of the longest part before the end that is equal to the end, and where it ends.
fn longest_match(tokens: &[u32]) -> Option<(usize, usize)> {
    let mut found: Option<(usize, usize)> = None;
    for end in (1..tokens.len()).rev() {
        let pairs = tokens[..end].iter().rev().zip(tokens.iter().rev());
        let length = pairs.take(LONGEST).take_while(|(one, other)| one == other).count();
        if length > found.map_or(0, |(longest, _)| longest) {
            found = Some((length, end));
        }
        if length == LONGEST {
            break;
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draft(text: &str, most: usize) -> String {
        let tokens: Vec<u32> = text.chars().map(u32::from).collect();
        let drafted = Drafter::default().draft(&tokens, most);
        drafted.into_iter().map(|token| char::from_u32(token).unwrap()).collect()
    }

    #[test]
    fn what_followed_on_the_longest_match_is_drafted() {
        assert_eq!(draft("the cat sat; the cat s", 3), "at;");
        assert_eq!(draft("one two three, six two three", 4), ", si", "what is written since counts");
        assert_eq!(draft("xwabcd ywabce zwabc", 1), "e", "the latest of equals");
        assert_eq!(draft("xwabcd ywabce xwabc", 1), "d", "the longest before the latest");
        assert_eq!(draft("nothing of it", 3), "");
        for short in ["", "a", "ab", "ab ab"] {
            assert_eq!(draft(short, 3), "", "{short}");
        }
    }

    #[test]
    fn a_short_period_goes_on() {
        assert_eq!(draft("-aaaaa", 6), "aaaaaa");
        assert_eq!(draft("-abcdabcd", 5), "abcda");
    }

    #[test]
    fn the_more_drafts_were_wrong_the_longer_a_match_must_be() {
        let copy = |length: u32| (0..length).chain([99]).chain(0..length).collect::<Vec<u32>>();
        let is_trusted = |drafter: Drafter, length: u32| !drafter.draft(&copy(length), 1).is_empty();
        let mut drafter = Drafter::default();
        assert!(is_trusted(drafter, 4) && !is_trusted(drafter, 3));
        drafter.judge(0);
        assert!(is_trusted(drafter, 10) && !is_trusted(drafter, 9), "one was lost");
        drafter.judge(1);
        assert!(is_trusted(drafter, 10) && !is_trusted(drafter, 9), "one that is right hardly pays");
        drafter.judge(0);
        assert!(is_trusted(drafter, 20) && !is_trusted(drafter, 19));
        (0..1_000).for_each(|_| drafter.judge(0));
        assert!(is_trusted(drafter, 20), "a long copy always is");
        let mut drafter = Drafter::default();
        (0..1_000).for_each(|_| drafter.judge(3));
        (0..6).for_each(|_| drafter.judge(0));
        assert!(is_trusted(drafter, 10) && !is_trusted(drafter, 9), "what was won is soon lost");
    }
}
