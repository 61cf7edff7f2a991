//! A loaded model: its language, its network, and how it answers a request: prompt read in chunks, tokens chosen, text
//! assembled, choices one after the other on the same prompt cache. It observes its outlet before every engine step, so it
//! stops within one token or one chunk.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rand::random;
use wire::inference::{Delta, Failure, FinishReason, Prompt, TextRequest, TokenLogprob, Usage};

use super::import::MODEL_FILE;
use super::language::{FolderError, Language};
use super::network::{Network, NetworkError};
use super::outlet::{Halt, Outlet};
use super::runtime::Runtime;
use super::sampler::{Sampler, likelihood};
use super::text::{Assembler, Piece};
use super::worker::Answer;

/// Prompt tokens read in one engine step.
pub const PREFILL_CHUNK: usize = 128;

/// Why a model can't be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// A file of its folder.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// Its network.
    #[error("{path}: {source}")]
    Network {
        /// The model's file.
        path: PathBuf,
        /// What is wrong.
        source: NetworkError,
    },
}

/// A loaded model.
#[derive(Debug)]
pub struct Model {
    name: String,
    language: Arc<Language>,
    network: Network,
}

/// What stands for a whole request while it is answered.
struct Plan<'a> {
    request: &'a TextRequest,
    prompt: Vec<u32>,
    /// Tokens a choice may have.
    limit: usize,
    seed: u64,
}

impl Model {
    /// Loads a folder under a name of the caller's, to run on `threads` threads.
    pub fn load(runtime: &Runtime, name: &str, folder: &Path, threads: usize) -> Result<Self, LoadError> {
        let language = Arc::new(Language::load(folder)?);
        let path = folder.join(MODEL_FILE);
        let network = Network::load(runtime, &path, threads).map_err(|source| LoadError::Network { path, source })?;
        Ok(Self { name: name.to_owned(), language, network })
    }

    /// Its language, for any thread to ask what a request would take.
    pub fn language(&self) -> Arc<Language> {
        Arc::clone(&self.language)
    }

    /// Its network, for measurements.
    pub fn network(&mut self) -> &mut Network {
        &mut self.network
    }

    fn plan<'a>(&self, request: &'a TextRequest) -> Result<Plan<'a>, Failure> {
        let prompt = self.language.prompt(request)?;
        let room = self.language.context() - prompt.len();
        let limit = request.max_tokens.map_or(room, |tokens| usize::try_from(tokens).unwrap_or(room).min(room));
        Ok(Plan { request, prompt, limit, seed: request.sampling.seed.unwrap_or_else(random) })
    }

    /// Reads the prompt into an empty cache.
    fn read_prompt(&mut self, prompt: &[u32], outlet: &mut Outlet, usage: &mut Usage) -> Result<Option<Halt>, Failure> {
        self.network.rewind(0);
        usage.input = 0;
        for chunk in prompt.chunks(PREFILL_CHUNK) {
            if let Err(halt) = outlet.step() {
                return Ok(Some(halt));
            }
            self.network.read(chunk).map_err(|error| engine(&error))?;
            usage.input += chunk.len() as u64;
        }
        Ok(None)
    }

    /// Writes one choice from where the prompt ends, to its last delta; says why the whole answer has to end where it does.
    fn write_choice(
        &mut self,
        plan: &Plan<'_>,
        choice: u32,
        outlet: &mut Outlet,
        usage: &mut Usage,
        mut logits: Vec<f32>,
    ) -> Result<Option<Halt>, Failure> {
        let sampling = &plan.request.sampling;
        let mut sampler = Sampler::new(self.language.settings(sampling), plan.seed, choice);
        let mut assembler = Assembler::new(&sampling.stop);
        for written in 1..=plan.limit {
            let scores = if logits.is_empty() { self.network.logits() } else { &logits };
            let token = sampler.next(scores);
            usage.output += 1;
            outlet.token();
            if self.language.ends(token) {
                finish(outlet, choice, &mut assembler, FinishReason::Stop, None);
                return Ok(None);
            }
            let logprob = plan.request.logprobs.map(|count| self.logprob(scores, token, count));
            let piece = assembler.push(self.language.bytes(token), logprob);
            if piece.stopped {
                let finish = Some(FinishReason::Stop);
                outlet.delta(Delta { choice, text: piece.text, logprobs: piece.logprobs, finish, ..Delta::default() });
                return Ok(None);
            }
            send(outlet, choice, piece);
            if written == plan.limit {
                break;
            }
            match outlet.step() {
                Ok(()) => {}
                Err(Halt::Silent) => return Ok(Some(Halt::Silent)),
                Err(Halt::Said(reason)) => {
                    finish(outlet, choice, &mut assembler, FinishReason::Length, Some(reason));
                    return Ok(Some(Halt::Said(reason)));
                }
            }
            self.network.read(&[token]).map_err(|error| engine(&error))?;
            logits.clear();
        }
        finish(outlet, choice, &mut assembler, FinishReason::Length, None);
        Ok(None)
    }

    fn logprob(&self, logits: &[f32], token: u32, count: u32) -> TokenLogprob {
        let found = likelihood(logits, token, usize::try_from(count).unwrap_or(0));
        let spelled = |token: u32| (self.language.name(token), self.language.bytes(token).to_vec());
        let (text, bytes) = spelled(token);
        let top = found.top.into_iter().map(|(token, logprob)| {
            let (text, bytes) = spelled(token);
            (text, bytes, logprob)
        });
        TokenLogprob { token: text, bytes, logprob: found.chosen, top: top.collect() }
    }
}

impl Answer for Model {
    fn name(&self) -> &str {
        &self.name
    }

    fn answer(&mut self, request: &TextRequest, outlet: &mut Outlet) -> Result<Usage, Failure> {
        let plan = self.plan(request)?;
        let mut usage = Usage::default();
        let choices = 0..request.n.max(1);
        if plan.limit == 0 {
            for choice in choices {
                echo(request, outlet, choice);
                finish(outlet, choice, &mut Assembler::default(), FinishReason::Length, None);
            }
            return Ok(usage);
        }
        let mut halted = self.read_prompt(&plan.prompt, outlet, &mut usage)?;
        let after_prompt = if request.n > 1 { self.network.logits().to_vec() } else { Vec::new() };
        for choice in choices {
            if choice > 0 && halted.is_none() && !self.network.rewind(plan.prompt.len()) {
                halted = self.read_prompt(&plan.prompt, outlet, &mut usage)?;
            }
            match halted {
                None => {}
                Some(Halt::Silent) => break,
                Some(Halt::Said(reason)) => {
                    finish(outlet, choice, &mut Assembler::default(), FinishReason::Length, Some(reason));
                    continue;
                }
            }
            echo(request, outlet, choice);
            halted = self.write_choice(&plan, choice, outlet, &mut usage, after_prompt.clone())?;
        }
        Ok(usage)
    }
}

/// Repeats the prompt where that is asked for.
fn echo(request: &TextRequest, outlet: &mut Outlet, choice: u32) {
    if let (true, Prompt::Text(text)) = (request.echo, &request.prompt) {
        outlet.delta(Delta { choice, text: text.clone(), ..Delta::default() });
    }
}

fn send(outlet: &mut Outlet, choice: u32, piece: Piece) {
    if !piece.text.is_empty() || !piece.logprobs.is_empty() {
        outlet.delta(Delta { choice, text: piece.text, logprobs: piece.logprobs, ..Delta::default() });
    }
}

/// Sends a choice's last delta with the text that was still held.
fn finish(
    outlet: &mut Outlet,
    choice: u32,
    assembler: &mut Assembler,
    reason: FinishReason,
    farebox_stop: Option<&str>,
) {
    let Piece { text, logprobs, stopped: _ } = assembler.finish();
    let farebox_stop = farebox_stop.map(str::to_owned);
    outlet.delta(Delta { choice, text, logprobs, finish: Some(reason), farebox_stop, ..Delta::default() });
}

fn engine(error: &NetworkError) -> Failure {
    Failure::Engine(error.to_string())
}
