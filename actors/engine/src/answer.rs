//! One request while it is answered: its choices, what its reader gets, and the tokens that it used. Its sequences are
//! run by the worker; this file only turns their scores into text. A panic in it concerns this request alone.

use rand::random;
use wire::inference::{Delta, Event, Failure, FinishReason, TokenLogprob, Usage};

use super::choice::{Choice, Listing};
use super::prepare::Prepared;
use super::schedule::{SequenceId, Share};
use super::sink::{Halt, Sink};
use super::tokenizer::Tokenizer;
use super::worker::Job;

/// The most scores kept of a step in which every position's scores are needed.
const MOST_SCORES: usize = 4 << 20;

/// One request.
#[derive(Debug)]
pub(super) struct Answer {
    asked: Prepared,
    share: Share,
    pub(super) sink: Sink,
    /// The most tokens of a choice.
    limit: usize,
    seed: u64,
    choices: Vec<Slot>,
    pub(super) usage: Usage,
    /// The prompt's own log probabilities, while it is read.
    listing: Option<Listing>,
    /// The same, once it is read.
    listed: Vec<TokenLogprob>,
    /// The scores after the prompt, for the choices that come after the first.
    after_prompt: Vec<f32>,
    pub(super) is_parked: bool,
    /// Whether all was said. What is held back may still have to be sent.
    pub(super) has_ended: bool,
}

/// A choice's place in the answer.
#[derive(Debug)]
struct Slot {
    sequence: Option<SequenceId>,
    /// Once it has begun to write.
    choice: Option<Choice>,
    has_ended: bool,
}

impl Answer {
    pub(super) fn new(tokenizer: &Tokenizer, job: Job) -> Self {
        let Job { asked, share, events, stop } = job;
        let generation = &asked.generation;
        let room = tokenizer.context().saturating_sub(asked.prompt.len());
        let limit = generation.limit.map(|limit| usize::try_from(limit.tokens).unwrap_or(room).min(room));
        let seed = generation.sampling.seed.unwrap_or_else(random);
        // The prompt's own log probabilities are sent where the prompt is repeated.
        let listing = generation.logprobs.filter(|_| asked.echo.is_some()).map(Listing::new);
        let choices = (0..generation.n.max(1)).map(|_| Slot { sequence: None, choice: None, has_ended: false });
        Self {
            limit: limit.unwrap_or(room),
            seed,
            choices: choices.collect(),
            usage: Usage::default(),
            listing,
            listed: Vec::new(),
            after_prompt: Vec::new(),
            is_parked: false,
            has_ended: false,
            sink: Sink::new(events, stop),
            asked,
            share,
        }
    }

    /// The job, where no step of it was run.
    pub(super) fn into_job(self) -> Job {
        let (events, stop) = self.sink.into_parts();
        Job { asked: self.asked, share: self.share, events, stop }
    }

    pub(super) const fn share(&self) -> Share {
        self.share
    }

    pub(super) fn prompt(&self) -> &[u32] {
        &self.asked.prompt
    }

    /// The sequences that it needs: none where nothing is to be computed, one where the prompt alone is.
    pub(super) fn needed(&self) -> usize {
        match (self.limit, &self.listing) {
            (0, None) => 0,
            (0, Some(_)) => 1,
            (_, _) => self.choices.len(),
        }
    }

    /// The most tokens of a step, where the scores after every token of the prompt are needed.
    pub(super) fn rows(&self, tokenizer: &Tokenizer) -> Option<usize> {
        self.listing.as_ref().map(|_| MOST_SCORES / tokenizer.vocabulary().max(1))
    }

    /// Whether its next tokens may be drafted: not where there is no second one.
    pub(super) const fn may_be_drafted(&self) -> bool {
        self.limit > 1
    }

    /// Notes the sequence of the next choice.
    pub(super) fn has_sequence(&mut self, id: SequenceId) {
        if let Some(slot) = self.choices.iter_mut().find(|slot| slot.sequence.is_none()) {
            slot.sequence = Some(id);
        }
    }

    /// Its sequences that have not ended.
    pub(super) fn sequences(&self) -> impl Iterator<Item = SequenceId> {
        self.choices.iter().filter(|slot| !slot.has_ended).filter_map(|slot| slot.sequence)
    }

    /// The sequence that reads the prompt.
    pub(super) fn first(&self) -> Option<SequenceId> {
        self.choices.first().and_then(|slot| slot.sequence)
    }

    /// Takes tokens of the prompt, each with the scores after it.
    pub(super) fn list(&mut self, tokenizer: &Tokenizer, tokens: &[u32], rows: Vec<Vec<f32>>) {
        if let Some(listing) = &mut self.listing {
            listing.push(tokenizer, tokens, rows);
        }
    }

    /// Takes the scores after a sequence's last token. Returns the token to go on behind, unless the choice has ended.
    ///
    /// # Errors
    ///
    /// A choice can't be held to its form: the answer fails.
    pub(super) fn take(
        &mut self,
        tokenizer: &Tokenizer,
        id: SequenceId,
        scores: &[f32],
    ) -> Result<Option<u32>, Failure> {
        if let Some(listing) = self.listing.take() {
            self.listed = listing.finish();
        }
        if self.choices.len() > 1 && self.after_prompt.is_empty() {
            self.after_prompt.extend_from_slice(scores);
        }
        if self.limit == 0 {
            self.end_without_text();
            return Ok(None);
        }
        let Some(index) = self.choices.iter().position(|slot| slot.sequence == Some(id)) else { return Ok(None) };
        let choice = u32::try_from(index).unwrap_or(u32::MAX);
        if self.choices[index].choice.is_none() {
            self.echo(choice);
        }
        let slot = &mut self.choices[index];
        let begun = || Choice::new(tokenizer, &self.asked, choice, self.seed, self.limit);
        let written = slot.choice.get_or_insert_with(begun).take(tokenizer, &self.asked.form, scores)?;
        slot.has_ended = written.token.is_none();
        self.usage.output += 1;
        self.usage.reasoning += u64::from(written.is_thought);
        written.deltas.into_iter().for_each(|delta| self.sink.send(Event::Delta(delta)));
        Ok(written.token)
    }

    /// Takes the scores after the prompt for a choice that stands where the first one stood.
    ///
    /// # Errors
    ///
    /// As for [`Self::take`].
    pub(super) fn fork(&mut self, tokenizer: &Tokenizer, id: SequenceId) -> Result<Option<u32>, Failure> {
        let scores = std::mem::take(&mut self.after_prompt);
        let token = self.take(tokenizer, id, &scores);
        self.after_prompt = scores;
        token
    }

    /// Whether every choice has ended.
    pub(super) fn is_written(&self) -> bool {
        self.choices.iter().all(|slot| slot.has_ended)
    }

    /// Repeats the prompt, where the request asks for it.
    fn echo(&mut self, choice: u32) {
        if let Some(text) = &self.asked.echo {
            let (text, logprobs) = (text.clone(), self.listed.clone());
            self.sink.send(Event::Delta(Delta { choice, text, logprobs, ..Delta::default() }));
        }
    }

    /// Ends every choice behind its prompt.
    pub(super) fn end_without_text(&mut self) {
        for choice in 0..u32::try_from(self.choices.len()).unwrap_or(u32::MAX) {
            self.echo(choice);
            let finish = Some(FinishReason::Length);
            self.sink.send(Event::Delta(Delta { choice, finish, ..Delta::default() }));
        }
        self.choices.iter_mut().for_each(|slot| slot.has_ended = true);
    }

    /// Ends what has not ended yet, for a reason from outside. A reader that has left is told nothing.
    pub(super) fn halt(&mut self, halt: Halt) {
        for (choice, slot) in (0..).zip(&mut self.choices) {
            if std::mem::replace(&mut slot.has_ended, true) {
                continue;
            }
            let Halt::Said(reason) = halt else { continue };
            let finish = FinishReason::Length;
            let deltas = if let Some(begun) = &mut slot.choice {
                begun.finish(finish, Some(reason))
            } else {
                let farebox_stop = Some(reason.to_owned());
                vec![Delta { choice, finish: Some(finish), farebox_stop, ..Delta::default() }]
            };
            for delta in deltas {
                self.sink.send(Event::Delta(delta));
            }
        }
    }

    /// Tells the last events of an answer that ended well, or was stopped.
    pub(super) fn finish(&mut self, compute: std::time::Duration) {
        self.sink.report(compute);
        self.sink.send(Event::Usage(self.usage));
        let compute_ms = u64::try_from(compute.as_millis()).unwrap_or(u64::MAX);
        self.sink.send(Event::Finished { compute_ms });
        self.has_ended = true;
    }

    /// Tells that it failed.
    pub(super) fn fail(&mut self, failure: Failure, compute: std::time::Duration) {
        self.sink.report(compute);
        self.sink.send(Event::Failed(failure));
        self.choices.iter_mut().for_each(|slot| slot.has_ended = true);
        self.has_ended = true;
    }
}
