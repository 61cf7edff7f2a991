//! A loaded model: its tokenizer, its decoder, and its loop over a request. The prompt is read in chunks, tokens are
//! chosen, text is assembled, and choices follow each other on the same prompt cache. The loop checks its sink before
//! every engine step, so it stops within one token or one chunk.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rand::random;
use wire::inference::{Delta, Failure, FinishReason, TokenLogprob, Usage};

use super::decoder::{Decoder, NetworkError};
use super::detokenizer::{Assembler, Piece};
use super::import::MODEL_FILE;
use super::prepare::Prepared;
use super::runtime::Runtime;
use super::sampler::{Sampler, likelihood};
use super::sink::{Halt, Sink};
use super::tokenizer::{FolderError, Tokenizer};
use super::worker::Answer;

/// Prompt tokens read in one engine step.
pub const PREFILL_CHUNK: usize = 128;
/// The most scores kept of a step in which every position's scores are needed.
const MOST_SCORES: usize = 4 << 20;

/// Why a model can't be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// A file of the model's folder.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The model's decoder.
    #[error("{path}: {source}")]
    Decoder {
        /// The model's file.
        path: PathBuf,
        /// The reason.
        source: NetworkError,
    },
}

/// A loaded model.
#[derive(Debug)]
pub struct Model {
    name: String,
    tokenizer: Arc<Tokenizer>,
    decoder: Decoder,
}

/// What stays the same while a request is answered.
struct Plan<'a> {
    asked: &'a Prepared,
    /// The most tokens of a choice.
    limit: usize,
    seed: u64,
}

impl Model {
    /// Loads a folder, to run on `threads` threads. The caller chooses the model's name.
    ///
    /// # Errors
    ///
    /// The folder's tokenizer or configuration can't be read, or its model can't be loaded. The error names the file.
    pub fn load(runtime: &Runtime, name: &str, folder: &Path, threads: usize) -> Result<Self, LoadError> {
        Self::speaking(Arc::new(Tokenizer::load(folder)?), runtime, name, folder, threads)
    }

    /// Loads a folder whose tokenizer is loaded already.
    ///
    /// # Errors
    ///
    /// The folder's model can't be loaded. The error names the file.
    pub fn speaking(
        tokenizer: Arc<Tokenizer>,
        runtime: &Runtime,
        name: &str,
        folder: &Path,
        threads: usize,
    ) -> Result<Self, LoadError> {
        let path = folder.join(MODEL_FILE);
        let decoder = Decoder::load(runtime, &path, threads).map_err(|source| LoadError::Decoder { path, source })?;
        Ok(Self { name: name.to_owned(), tokenizer, decoder })
    }

    /// The model's tokenizer, which any thread may use to size a request.
    pub fn tokenizer(&self) -> Arc<Tokenizer> {
        Arc::clone(&self.tokenizer)
    }

    /// The model's decoder, for measurements.
    pub fn decoder(&mut self) -> &mut Decoder {
        &mut self.decoder
    }

    fn plan<'a>(&self, asked: &'a Prepared) -> Plan<'a> {
        let room = self.tokenizer.context().saturating_sub(asked.prompt.len());
        let limit = asked.generation.limit.map(|limit| usize::try_from(limit.tokens).unwrap_or(room).min(room));
        let seed = asked.generation.sampling.seed.unwrap_or_else(random);
        Plan { asked, limit: limit.unwrap_or(room), seed }
    }

    /// Reads the prompt into an empty cache.
    fn read_prompt(&mut self, prompt: &[u32], sink: &mut Sink, usage: &mut Usage) -> Result<Option<Halt>, Failure> {
        self.decoder.rewind(0);
        usage.input = 0;
        for chunk in prompt.chunks(PREFILL_CHUNK) {
            if let Err(halt) = sink.step() {
                return Ok(Some(halt));
            }
            let read = self.decoder.read(chunk);
            read.map_err(|error| self.broken(&error))?;
            usage.input += chunk.len() as u64;
        }
        Ok(None)
    }

    /// Reads the prompt into an empty cache, and returns its tokens' log probabilities, with the `count` likeliest
    /// tokens.
    fn read_listed(
        &mut self,
        prompt: &[u32],
        count: u32,
        sink: &mut Sink,
        usage: &mut Usage,
    ) -> Result<(Option<Halt>, Vec<TokenLogprob>), Failure> {
        self.decoder.rewind(0);
        usage.input = 0;
        let mut assembler = Assembler::default();
        let mut listed = Vec::with_capacity(prompt.len());
        let mut before: Option<Vec<f32>> = None;
        let size = (MOST_SCORES / self.tokenizer.vocabulary().max(1)).clamp(1, PREFILL_CHUNK);
        for chunk in prompt.chunks(size) {
            if let Err(halt) = sink.step() {
                return Ok((Some(halt), listed));
            }
            let rows = self.decoder.read_rows(chunk);
            let rows = rows.map_err(|error| self.broken(&error))?;
            for (&token, after) in chunk.iter().zip(rows) {
                let logprob = match before.replace(after) {
                    Some(scores) => self.logprob(&scores, token, count),
                    None => TokenLogprob { logprob: None, top: Vec::new(), ..self.logprob(&[], token, 0) },
                };
                listed.extend(assembler.push(self.tokenizer.bytes(token), Some(logprob)).logprobs);
            }
            usage.input += chunk.len() as u64;
        }
        listed.extend(assembler.finish().logprobs);
        Ok((None, listed))
    }

    /// Writes one choice after the prompt, up to its last delta. Returns why the whole answer must end, where it must.
    fn write_choice(
        &mut self,
        plan: &Plan<'_>,
        choice: u32,
        sink: &mut Sink,
        usage: &mut Usage,
        mut logits: Vec<f32>,
    ) -> Result<Option<Halt>, Failure> {
        let sampling = &plan.asked.generation.sampling;
        let mut sampler = Sampler::new(self.tokenizer.settings(sampling), plan.seed, choice);
        let mut assembler =
            Assembler::new(&sampling.stop).after(plan.asked.echo.as_ref().map_or(0, |text| text.chars().count()));
        for written in 1..=plan.limit {
            let scores = if logits.is_empty() { self.decoder.logits() } else { &logits };
            let token = sampler.next(scores);
            usage.output += 1;
            sink.token();
            if self.tokenizer.ends(token) {
                finish(sink, choice, &mut assembler, FinishReason::Stop, None);
                return Ok(None);
            }
            let logprob = plan.asked.generation.logprobs.map(|count| self.logprob(scores, token, count));
            let piece = assembler.push(self.tokenizer.bytes(token), logprob);
            if piece.stopped {
                let finish = Some(FinishReason::Stop);
                sink.delta(Delta { choice, text: piece.text, logprobs: piece.logprobs, finish, ..Delta::default() });
                return Ok(None);
            }
            send(sink, choice, piece);
            if written == plan.limit {
                break;
            }
            match sink.step() {
                Ok(()) => {}
                Err(Halt::Silent) => return Ok(Some(Halt::Silent)),
                Err(Halt::Said(reason)) => {
                    finish(sink, choice, &mut assembler, FinishReason::Length, Some(reason));
                    return Ok(Some(Halt::Said(reason)));
                }
            }
            let read = self.decoder.read(&[token]);
            read.map_err(|error| self.broken(&error))?;
            logits.clear();
        }
        finish(sink, choice, &mut assembler, FinishReason::Length, None);
        Ok(None)
    }

    fn logprob(&self, logits: &[f32], token: u32, count: u32) -> TokenLogprob {
        let found = likelihood(logits, token, usize::try_from(count).unwrap_or(0));
        let spelled = |token: u32| (self.tokenizer.name(token), self.tokenizer.bytes(token).to_vec());
        let (text, bytes) = spelled(token);
        let top = found.top.into_iter().map(|(token, logprob)| {
            let (text, bytes) = spelled(token);
            (text, bytes, logprob)
        });
        TokenLogprob { token: text, bytes, logprob: Some(found.chosen), offset: 0, top: top.collect() }
    }

    /// The failure of a request whose step failed.
    fn broken(&self, error: &NetworkError) -> Failure {
        match error {
            NetworkError::NotFinite => {
                tracing::error!(model = %self.name, "the model's scores are not finite numbers: import it anew");
                metrics::counter!("farebox_engine_not_finite_total", "model" => self.name.clone()).increment(1);
                Failure::NotFinite
            }
            NetworkError::Runtime(_) | NetworkError::Form(_) => Failure::Engine(error.to_string()),
        }
    }
}

impl Answer for Model {
    fn name(&self) -> &str {
        &self.name
    }

    fn answer(&mut self, asked: &Prepared, sink: &mut Sink) -> Result<Usage, Failure> {
        let plan = self.plan(asked);
        let generation = &asked.generation;
        let mut usage = Usage::default();
        let choices = 0..generation.n.max(1);
        // The prompt's own log probabilities are sent where the prompt is repeated.
        let listed = generation.logprobs.filter(|_| asked.echo.is_some());
        if plan.limit == 0 && listed.is_none() {
            for choice in choices {
                echo(asked, sink, choice, &[]);
                finish(sink, choice, &mut Assembler::default(), FinishReason::Length, None);
            }
            return Ok(usage);
        }
        let (mut halted, listed) = match listed {
            Some(count) => self.read_listed(&asked.prompt, count, sink, &mut usage)?,
            None => (self.read_prompt(&asked.prompt, sink, &mut usage)?, Vec::new()),
        };
        let after_prompt = if generation.n > 1 { self.decoder.logits().to_vec() } else { Vec::new() };
        for choice in choices {
            if choice > 0 && plan.limit > 0 && halted.is_none() && !self.decoder.rewind(asked.prompt.len()) {
                halted = self.read_prompt(&asked.prompt, sink, &mut usage)?;
            }
            match halted {
                None => {}
                Some(Halt::Silent) => break,
                Some(Halt::Said(reason)) => {
                    finish(sink, choice, &mut Assembler::default(), FinishReason::Length, Some(reason));
                    continue;
                }
            }
            echo(asked, sink, choice, &listed);
            if plan.limit == 0 {
                finish(sink, choice, &mut Assembler::default(), FinishReason::Length, None);
            } else {
                halted = self.write_choice(&plan, choice, sink, &mut usage, after_prompt.clone())?;
            }
        }
        Ok(usage)
    }
}

/// Repeats the prompt, where the request asks for it.
fn echo(asked: &Prepared, sink: &mut Sink, choice: u32, listed: &[TokenLogprob]) {
    if let Some(text) = &asked.echo {
        let (text, logprobs) = (text.clone(), listed.to_vec());
        sink.delta(Delta { choice, text, logprobs, ..Delta::default() });
    }
}

fn send(sink: &mut Sink, choice: u32, piece: Piece) {
    if !piece.text.is_empty() || !piece.logprobs.is_empty() {
        sink.delta(Delta { choice, text: piece.text, logprobs: piece.logprobs, ..Delta::default() });
    }
}

/// Sends a choice's last delta with the text that was still held back.
fn finish(sink: &mut Sink, choice: u32, assembler: &mut Assembler, reason: FinishReason, farebox_stop: Option<&str>) {
    let Piece { text, logprobs, stopped: _ } = assembler.finish();
    let farebox_stop = farebox_stop.map(str::to_owned);
    sink.delta(Delta { choice, text, logprobs, finish: Some(reason), farebox_stop, ..Delta::default() });
}
