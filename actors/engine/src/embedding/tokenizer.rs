//! Texts as the tokens of an encoder. It never runs the model, so any thread may size a request with it.

use std::path::Path;

use wire::{
    format::own_texts,
    inference::{Failure, Request, TooLong},
};

use super::folder::Form;
use crate::tokenizer::{FolderError, parse};

/// The text side of a model that makes vectors.
#[derive(Debug)]
pub struct TextTokenizer {
    inner: tokenizers::Tokenizer,
    form: Form,
}

/// Texts that are ready for their model.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PreparedTexts {
    /// The tokens of each text: at least one, and no more than the model's context.
    pub texts: Vec<Vec<u32>>,
    /// The length of the vectors, where it is not the model's own.
    pub dimensions: Option<usize>,
}

impl PreparedTexts {
    /// The number of tokens.
    pub fn tokens(&self) -> u64 {
        self.texts.iter().map(|text| text.len() as u64).sum()
    }
}

impl TextTokenizer {
    /// Reads a folder.
    ///
    /// # Errors
    ///
    /// A file is missing or malformed, or says that vectors are made in a way that is not supported. The error names the
    /// file.
    pub fn load(folder: &Path) -> Result<Self, FolderError> {
        let form = Form::read(folder)?;
        let path = folder.join("tokenizer.json");
        let failed = |reason: String| FolderError { path: path.clone(), reason };
        let text = std::fs::read(&path).map_err(|error| failed(error.to_string()))?;
        let inner = parse(&text).map_err(failed)?;
        Ok(Self { inner, form })
    }

    /// How the model makes vectors.
    pub const fn form(&self) -> &Form {
        &self.form
    }

    /// Prepares a request.
    ///
    /// # Errors
    ///
    /// [`ContextLength`](Failure::ContextLength) where a text is longer than the model's context.
    /// [`Invalid`](Failure::Invalid) where the model can't run the request; it names the field. The client must change the
    /// request.
    pub fn prepare(&self, request: &Request) -> Result<PreparedTexts, Failure> {
        let asked = own_texts(request)?;
        let invalid =
            |field: &str, message: &str| Failure::Invalid { field: field.to_owned(), message: message.to_owned() };
        let prompt = match asked.purpose {
            None => "",
            Some(purpose) => match self.form.prompts.get(purpose) {
                Some(prompt) => prompt,
                None if asked.is_purpose_optional => "",
                None => return Err(invalid(asked.fields.purpose, "is not distinguished by this model")),
            },
        };
        if asked.dimensions.is_some() && !self.form.shortens {
            return Err(invalid(asked.fields.dimensions, "can't be chosen: this model's vectors have one length"));
        }
        let dimensions = asked.dimensions.and_then(|length| usize::try_from(length).ok());
        let texts = asked.texts.iter().map(|text| self.tokens(prompt, text, asked.fields.texts));
        Ok(PreparedTexts { texts: texts.collect::<Result<_, _>>()?, dimensions })
    }

    /// A text's tokens, with those around it.
    fn tokens(&self, prompt: &str, text: &str, field: &'static str) -> Result<Vec<u32>, Failure> {
        let invalid = |message: String| Failure::Invalid { field: field.to_owned(), message };
        let whole = if prompt.is_empty() { text.into() } else { std::borrow::Cow::Owned(format!("{prompt}{text}")) };
        let encoding = self.inner.encode_fast(&*whole, true).map_err(|error| invalid(error.to_string()))?;
        let (count, context) = (encoding.len(), self.form.context);
        if count == 0 {
            return Err(invalid("has a text without any token".to_owned()));
        }
        if count > context {
            let (prompt, context) = (count as u64, context as u64);
            return Err(Failure::ContextLength(TooLong { field, prompt, at_least: false, answer: Some(0), context }));
        }
        Ok(encoding.get_ids().to_vec())
    }
}
