//! One choice of an answer while it is written: from the scores after its last token to its next token and to what its
//! reader gets. It knows neither the model's steps nor other choices.

use wire::inference::{Delta, Failure, FinishReason, TokenLogprob};

use super::detokenizer::{Assembler, Piece};
use super::grammar::{Guide, Taken, Turn};
use super::prepare::Prepared;
use super::sampler::{Sampler, likelihood};
use super::tokenizer::Tokenizer;

/// One choice.
#[derive(Debug)]
pub(super) struct Choice {
    index: u32,
    sampler: Sampler,
    assembler: Assembler,
    /// The likeliest tokens that are told of each position, where log probabilities are asked for.
    logprobs: Option<u32>,
    /// The most tokens.
    limit: usize,
    written: usize,
    /// What holds it to its form.
    guide: Option<Guide>,
}

/// The most tokens that are tried at a position before a choice fails: each is one that only its surroundings forbid.
const MOST_REFUSALS: usize = 64;

/// What came of a choice's scores.
#[derive(Debug, Default)]
pub(super) struct Written {
    /// What its reader gets.
    pub(super) deltas: Vec<Delta>,
    /// The token to go on behind. `None`: the choice has ended.
    pub(super) token: Option<u32>,
}

impl Choice {
    pub(super) fn new(tokenizer: &Tokenizer, asked: &Prepared, index: u32, seed: u64, limit: usize) -> Self {
        let sampling = &asked.generation.sampling;
        let before = asked.echo.as_ref().map_or(0, |text| text.chars().count());
        Self {
            index,
            sampler: Sampler::new(tokenizer.settings(sampling), seed, index),
            assembler: Assembler::new(&sampling.stop).after(before),
            logprobs: asked.generation.logprobs,
            limit,
            written: 0,
            guide: asked.form.guide(),
        }
    }

    /// Chooses the next token by the scores after the last one.
    ///
    /// # Errors
    ///
    /// The choice can't be held to its form any further.
    pub(super) fn take(&mut self, tokenizer: &Tokenizer, scores: &[f32]) -> Result<Written, Failure> {
        let choice = self.index;
        let (token, taken) = self.choose(tokenizer, scores)?;
        self.written += 1;
        if tokenizer.ends(token) {
            return Ok(Written { deltas: vec![self.finish(FinishReason::Stop, None)], token: None });
        }
        let told = self.logprobs.map(|count| logprob(tokenizer, scores, token, count));
        let Piece { text, logprobs, stopped } = self.assembler.push(tokenizer.bytes(token), told);
        if stopped {
            let finish = Some(FinishReason::Stop);
            let last = Delta { choice, text, logprobs, finish, ..Delta::default() };
            return Ok(Written { deltas: vec![last], token: None });
        }
        let mut deltas = Vec::new();
        if !text.is_empty() || !logprobs.is_empty() {
            deltas.push(Delta { choice, text, logprobs, ..Delta::default() });
        }
        let ended = match taken {
            Taken::Ended => Some(FinishReason::Stop),
            Taken::On | Taken::Refused => (self.written >= self.limit).then_some(FinishReason::Length),
        };
        if let Some(reason) = ended {
            deltas.push(self.finish(reason, None));
            return Ok(Written { deltas, token: None });
        }
        Ok(Written { deltas, token: Some(token) })
    }

    /// A token that its form allows.
    fn choose(&mut self, tokenizer: &Tokenizer, scores: &[f32]) -> Result<(u32, Taken), Failure> {
        let Some(guide) = &mut self.guide else { return Ok((self.sampler.next(scores), Taken::On)) };
        let mut mask = guide.mask(tokenizer.end_tokens())?;
        loop {
            let token = self.sampler.choose(scores, mask.as_ref());
            let taken = if tokenizer.ends(token) {
                Taken::Ended
            } else {
                guide.take(token, tokenizer.bytes(token), Turn::None)?
            };
            if taken != Taken::Refused {
                self.sampler.wrote(token);
                return Ok((token, taken));
            }
            let mask = mask.get_or_insert_default();
            mask.refuse(token);
            if mask.refusals() > MOST_REFUSALS {
                return Err(Failure::Engine("no token fits the form of the answer".to_owned()));
            }
        }
    }

    /// The last delta, with the text that was still held back.
    pub(super) fn finish(&mut self, reason: FinishReason, farebox_stop: Option<&str>) -> Delta {
        let Piece { text, logprobs, stopped: _ } = self.assembler.finish();
        let (choice, farebox_stop) = (self.index, farebox_stop.map(str::to_owned));
        Delta { choice, text, logprobs, finish: Some(reason), farebox_stop, ..Delta::default() }
    }
}

/// A prompt's own log probabilities, while it is read.
#[derive(Debug)]
pub(super) struct Listing {
    assembler: Assembler,
    /// The scores after the last token read.
    before: Option<Vec<f32>>,
    /// The likeliest tokens that are told of each position.
    count: u32,
    listed: Vec<TokenLogprob>,
}

impl Listing {
    pub(super) fn new(count: u32) -> Self {
        Self { assembler: Assembler::default(), before: None, count, listed: Vec::new() }
    }

    /// Takes tokens, each with the scores after it.
    pub(super) fn push(&mut self, tokenizer: &Tokenizer, tokens: &[u32], rows: Vec<Vec<f32>>) {
        for (&token, after) in tokens.iter().zip(rows) {
            let told = match self.before.replace(after) {
                Some(scores) => logprob(tokenizer, &scores, token, self.count),
                None => TokenLogprob { logprob: None, top: Vec::new(), ..logprob(tokenizer, &[], token, 0) },
            };
            self.listed.extend(self.assembler.push(tokenizer.bytes(token), Some(told)).logprobs);
        }
    }

    /// All of them, once the prompt is read.
    pub(super) fn finish(mut self) -> Vec<TokenLogprob> {
        self.listed.extend(self.assembler.finish().logprobs);
        self.listed
    }
}

fn logprob(tokenizer: &Tokenizer, scores: &[f32], token: u32, count: u32) -> TokenLogprob {
    let found = likelihood(scores, token, usize::try_from(count).unwrap_or(0));
    let spelled = |token: u32| (tokenizer.name(token), tokenizer.bytes(token).to_vec());
    let (text, bytes) = spelled(token);
    let top = found.top.into_iter().map(|(token, logprob)| {
        let (text, bytes) = spelled(token);
        (text, bytes, logprob)
    });
    TokenLogprob { token: text, bytes, logprob: Some(found.chosen), offset: 0, top: top.collect() }
}
