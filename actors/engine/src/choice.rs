//! One choice of an answer while it is written: from the scores after its last token to its next token and to what its
//! reader gets. It knows neither the model's steps nor other choices.

use wire::inference::{Delta, Failure, FinishReason, TokenLogprob};

use super::detokenizer::Assembler;
use super::form::Form;
use super::grammar::{Guide, Taken};
use super::prepare::Prepared;
use super::sampler::{Sampler, likelihood};
use super::tokenizer::Tokenizer;
use super::transcript::Transcript;

/// One choice.
#[derive(Debug)]
pub(super) struct Choice {
    index: u32,
    sampler: Sampler,
    transcript: Transcript,
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
    /// Whether the token was of the model's thoughts.
    pub(super) is_thought: bool,
}

impl Choice {
    pub(super) fn new(tokenizer: &Tokenizer, asked: &Prepared, index: u32, seed: u64, limit: usize) -> Self {
        let sampling = &asked.generation.sampling;
        let before = asked.echo.as_ref().map_or(0, |text| text.chars().count());
        let text = Assembler::new(&sampling.stop).after(before);
        Self {
            index,
            sampler: Sampler::new(tokenizer.settings(sampling), seed, index),
            transcript: Transcript::new(index, text, asked.form.reader(), asked.form.ids()),
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
    pub(super) fn take(&mut self, tokenizer: &Tokenizer, form: &Form, scores: &[f32]) -> Result<Written, Failure> {
        let was_thinking = self.transcript.is_thinking();
        let (token, taken) = self.choose(tokenizer, form, scores)?;
        self.written += 1;
        if tokenizer.ends(token) {
            let reason = self.ending();
            return Ok(Written { deltas: self.finish(reason, None), token: None, is_thought: was_thinking });
        }
        let told = self.logprobs.map(|count| logprob(tokenizer, scores, token, count));
        let mut deltas = self.transcript.push(form.bytes(tokenizer, token), told);
        let is_thought = was_thinking || self.transcript.is_thinking();
        let ended = match taken {
            _ if self.transcript.has_stopped() => {
                Some(FinishReason::StopText(self.transcript.stop_text().map(Box::from)))
            }
            Taken::Ended => Some(self.ending()),
            Taken::On | Taken::Refused => (self.written >= self.limit).then_some(FinishReason::Length),
        };
        let token = match ended {
            Some(reason) => {
                deltas.extend(self.finish(reason, None));
                None
            }
            None => Some(token),
        };
        Ok(Written { deltas, token, is_thought })
    }

    /// Why a choice that ends by itself ends.
    fn ending(&self) -> FinishReason {
        if self.transcript.has_called() { FinishReason::ToolCalls } else { FinishReason::Stop }
    }

    /// A token that its form allows.
    fn choose(&mut self, tokenizer: &Tokenizer, form: &Form, scores: &[f32]) -> Result<(u32, Taken), Failure> {
        let Some(guide) = &mut self.guide else { return Ok((self.sampler.next(scores), Taken::On)) };
        let mut mask = guide.mask(tokenizer.end_tokens())?;
        loop {
            let token = self.sampler.choose(scores, mask.as_ref());
            let taken = if tokenizer.ends(token) {
                Taken::Ended
            } else {
                let bytes = form.bytes(tokenizer, token);
                guide.take(token, bytes, &self.transcript.foresee(bytes))?
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

    /// The last deltas, with what was still held back.
    pub(super) fn finish(&mut self, reason: FinishReason, farebox_stop: Option<&str>) -> Vec<Delta> {
        let mut deltas = self.transcript.finish();
        let farebox_stop = farebox_stop.map(str::to_owned);
        let choice = self.index;
        let (finish, is_text) = (Some(reason), |last: &&mut Delta| last.calls.is_empty() && last.reasoning.is_empty());
        match deltas.last_mut().filter(is_text) {
            Some(last) => (last.finish, last.farebox_stop) = (finish, farebox_stop),
            None => deltas.push(Delta { choice, finish, farebox_stop, ..Delta::default() }),
        }
        deltas
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
