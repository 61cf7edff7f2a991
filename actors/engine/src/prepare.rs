//! Prepares a request for its model, on any thread and before anything is held or queued: the conversation rendered
//! with the model's template, its text as tokens, and a proof that all of it fits. An engine takes nothing else.

use std::sync::Arc;

use wire::inference::{Content, Conversation, Failure, Generation, Request, TooLong, Tool, ToolChoice, Work};

use super::calls::{family::Family, generic};
use super::form::{Form, begins_thoughts, is_unwanted};
use super::template::Thinking;
use super::tokenizer::{Special, Tokenizer};

/// A prepared request: its settings, and the prompt as tokens.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Prepared {
    /// How tokens are chosen, and how many.
    pub generation: Generation,
    /// The prompt's text, where it is to be repeated before the answer.
    pub echo: Option<String>,
    /// The prompt's tokens: at least one, and fewer than the model's context where an answer is wanted.
    pub prompt: Vec<u32>,
    /// The form of the answers.
    pub form: Arc<Form>,
}

impl Tokenizer {
    /// Prepares a request.
    ///
    /// # Errors
    ///
    /// As for [`Self::prompt`]; and [`Invalid`](Failure::Invalid) where the answers can't have the form that is asked for.
    pub fn prepare(&self, request: &Request) -> Result<Prepared, Failure> {
        let (prompt, is_thinking) = self.read(request)?;
        let echo = match &request.work {
            Work::Text(text) if text.echo => Some(text.prompt.clone()),
            _ => None,
        };
        let form = match &request.work {
            Work::Conversation(conversation) => Form::of(self, conversation, request.source.format, is_thinking)?,
            _ => Form::default(),
        };
        Ok(Prepared {
            generation: request.generation().cloned().unwrap_or_default(),
            echo,
            prompt,
            form: Arc::new(form),
        })
    }

    /// A request's prompt as tokens.
    ///
    /// # Errors
    ///
    /// [`ContextLength`](Failure::ContextLength) where the prompt, or prompt and requested answer together, exceed the
    /// model's context. [`Invalid`](Failure::Invalid) where the model can't run the request; it names the field. The
    /// client must change the request.
    pub fn prompt(&self, request: &Request) -> Result<Vec<u32>, Failure> {
        self.read(request).map(|(tokens, _)| tokens)
    }

    /// A request's prompt as tokens, and whether it begins the model's thoughts.
    fn read(&self, request: &Request) -> Result<(Vec<u32>, bool), Failure> {
        let not_text = || Failure::Invalid { field: "model".to_owned(), message: "writes text alone".to_owned() };
        let generation = request.generation().ok_or_else(not_text)?;
        if let Some((token, _)) = generation.sampling.logit_bias.iter().find(|(token, _)| !self.has_token(*token)) {
            let message = format!("there is no token {token}: the model has {}, from 0", self.vocabulary());
            return Err(Failure::Invalid { field: "logit_bias".to_owned(), message });
        }
        let (field, (tokens, is_thinking)) = match &request.work {
            Work::Text(text) => ("prompt", (self.fitting("prompt", &text.prompt, Special::Added)?, false)),
            Work::Conversation(conversation) => ("messages", self.conversation(conversation)?),
            Work::Embedding(_)
            | Work::Rerank(_)
            | Work::Image(_)
            | Work::Speech(_)
            | Work::Transcription(_)
            | Work::Decision(_)
            | Work::Native(_) => return Err(not_text()),
        };
        if tokens.is_empty() {
            return Err(Failure::Invalid { field: field.to_owned(), message: "it has no tokens".to_owned() });
        }
        let (count, context) = (tokens.len() as u64, self.context() as u64);
        let asked = generation.limit.filter(|limit| !limit.is_usual());
        let answer = asked.map_or(1, |limit| u64::from(limit.tokens));
        if count + answer.min(1) > context {
            let too_long = TooLong { field, prompt: count, at_least: false, answer: None, context };
            return Err(Failure::ContextLength(too_long));
        }
        if count + answer > context {
            let field = asked.map_or("max_tokens", |limit| limit.field);
            let too_long = TooLong { field, prompt: count, at_least: false, answer: Some(answer), context };
            return Err(Failure::ContextLength(too_long));
        }
        Ok((tokens, is_thinking))
    }

    /// The number of tokens in a request's prompt.
    ///
    /// # Errors
    ///
    /// As for [`Self::prompt`].
    pub fn count_prompt_tokens(&self, request: &Request) -> Result<usize, Failure> {
        self.prompt(request).map(|tokens| tokens.len())
    }

    /// A conversation as tokens, and whether it begins the model's thoughts.
    fn conversation(&self, conversation: &Conversation) -> Result<(Vec<u32>, bool), Failure> {
        let Conversation { messages, tools, tool_choice, reasoning, .. } = conversation;
        let field = "messages";
        let invalid = |message: String| Failure::Invalid { field: field.to_owned(), message };
        let template = self.template().ok_or_else(|| invalid("the model has no chat template".to_owned()))?;
        // A template may leave parts of a conversation out, but no template shrinks many times the context to fit.
        let bytes = messages.iter().flat_map(|message| &message.parts).map(|part| text_bytes(&part.content)).sum();
        self.check_bytes(field, bytes)?;
        let callable: &[Tool] = if *tool_choice == Some(ToolChoice::None) { &[] } else { tools };
        let is_generic = template.family() == Family::Generic && !(callable.is_empty() && template.writes_calls());
        let thinks = if is_unwanted(reasoning) { Thinking::Off } else { Thinking::Open };
        let text = if is_generic {
            template.render(&generic::told(messages, callable), &[], thinks)
        } else {
            template.render(messages, tools, thinks)
        };
        let text = text.map_err(invalid)?;
        Ok((self.fitting(field, &text, Special::InText)?, begins_thoughts(self.thoughts(), &text)))
    }

    /// A text as tokens, unless its length alone shows that it can't fit.
    fn fitting(&self, field: &'static str, text: &str, special: Special) -> Result<Vec<u32>, Failure> {
        self.check_bytes(field, text.len())?;
        let invalid = |message: String| Failure::Invalid { field: field.to_owned(), message };
        self.encode(text, special).map_err(invalid)
    }

    /// Refuses a text whose length alone shows that it can't fit, before it costs any time.
    fn check_bytes(&self, field: &'static str, bytes: usize) -> Result<(), Failure> {
        let least = bytes.div_ceil(self.longest_token());
        if least <= self.context() {
            return Ok(());
        }
        let (prompt, context) = (least as u64, self.context() as u64);
        Err(Failure::ContextLength(TooLong { field, prompt, at_least: true, answer: None, context }))
    }
}

/// Bytes of text in a part.
fn text_bytes(content: &Content) -> usize {
    match content {
        Content::Text(text) | Content::Refusal(text) => text.len(),
        Content::ToolResult(result) => result.parts.iter().map(|part| text_bytes(&part.content)).sum(),
        Content::ToolCall(call) => call.arguments.len(),
        Content::Image(_) | Content::Audio(_) | Content::File(_) | Content::Reasoning(_) | Content::Unknown { .. } => 0,
    }
}
