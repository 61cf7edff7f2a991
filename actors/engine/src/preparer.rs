//! The side of a model that prepares requests for it: its tokenizer, of the kind that its work needs. Any thread may use
//! it, and no model runs.

use std::{path::Path, sync::Arc};

use wire::inference::{Failure, Request};

use crate::{
    embedding::tokenizer::{PreparedTexts, TextTokenizer},
    prepare::Prepared,
    tokenizer::{FolderError, Tokenizer},
};

/// What a model does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It writes text.
    Generation,
    /// It makes vectors of texts.
    Embedding,
}

/// The preparing side of a model.
#[derive(Debug, Clone)]
pub enum Preparer {
    /// Of a model that writes text.
    Generation(Arc<Tokenizer>),
    /// Of a model that makes vectors.
    Embedding(Arc<TextTokenizer>),
}

/// A request that is ready for its model.
#[derive(Debug, Clone, PartialEq)]
pub enum Asked {
    /// Text is to be written.
    Generation(Prepared),
    /// Vectors are to be made.
    Embedding(PreparedTexts),
}

impl Preparer {
    /// Loads the preparing side of a folder.
    ///
    /// # Errors
    ///
    /// A file is missing or malformed, or describes what is not supported. The error names the file.
    pub fn load(folder: &Path, kind: Kind) -> Result<Self, FolderError> {
        match kind {
            Kind::Generation => Tokenizer::load(folder).map(Arc::new).map(Self::Generation),
            Kind::Embedding => TextTokenizer::load(folder).map(Arc::new).map(Self::Embedding),
        }
    }

    /// Prepares a request.
    ///
    /// # Errors
    ///
    /// The model can't run the request, or the request is too long for it.
    pub fn prepare(&self, request: &Request) -> Result<Asked, Failure> {
        match self {
            Self::Generation(tokenizer) => tokenizer.prepare(request).map(Asked::Generation),
            Self::Embedding(tokenizer) => tokenizer.prepare(request).map(Asked::Embedding),
        }
    }
}

impl Asked {
    /// The tokens to read.
    pub fn input(&self) -> u64 {
        match self {
            Self::Generation(prepared) => prepared.prompt.len() as u64,
            Self::Embedding(texts) => texts.tokens(),
        }
    }

    /// The most tokens to write, of a model that takes `context` tokens.
    pub fn most_output(&self, context: u64) -> u64 {
        let Self::Generation(Prepared { generation, .. }) = self else { return 0 };
        let room = context.saturating_sub(self.input());
        let each = generation.limit.map_or(room, |limit| room.min(limit.tokens.into()));
        each.saturating_mul(generation.answers().into())
    }
}
