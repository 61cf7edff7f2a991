//! A request made ready for its model, on any thread and before anything is held or queued: its conversation written with
//! the model's template, its text as tokens, and all of it known to fit. An engine takes nothing else.

use serde_json::Value;
use wire::inference::{Failure, Message, Prompt, TextRequest, TooLong};

use super::tokenizer::{Special, Tokenizer};

/// A request and its prompt as the model reads it.
#[derive(Debug, Clone, PartialEq)]
pub struct Prepared {
    /// What is asked.
    pub request: TextRequest,
    /// The prompt's tokens: at least one, and fewer than the model's context where an answer is wanted.
    pub prompt: Vec<u32>,
}

impl Tokenizer {
    /// Makes a request ready, or says which field is why it can't be.
    pub fn prepare(&self, request: TextRequest) -> Result<Prepared, Failure> {
        let prompt = self.prompt(&request)?;
        Ok(Prepared { request, prompt })
    }

    /// A request's prompt as tokens, refused where they and the answer that is asked for are more than the context.
    pub fn prompt(&self, request: &TextRequest) -> Result<Vec<u32>, Failure> {
        if let Some((token, _)) = request.sampling.logit_bias.iter().find(|(token, _)| !self.has_token(*token)) {
            let message = format!("there is no token {token}: the model has {}, from 0", self.vocabulary());
            return Err(Failure::Invalid { field: "logit_bias".to_owned(), message });
        }
        let (field, tokens) = match &request.prompt {
            Prompt::Text(text) => ("prompt", self.fitting("prompt", text, Special::Added)?),
            Prompt::Messages(messages) => ("messages", self.conversation(messages, request)?),
        };
        if tokens.is_empty() {
            return Err(Failure::Invalid { field: field.to_owned(), message: "it has no tokens".to_owned() });
        }
        let (count, context) = (tokens.len() as u64, self.context() as u64);
        let answer = u64::from(request.max_tokens.unwrap_or(1));
        if count + answer.min(1) > context {
            let too_long = TooLong { field, prompt: count, at_least: false, answer: None, context };
            return Err(Failure::ContextLength(too_long));
        }
        if count + answer > context {
            let newer = request.body.present("max_completion_tokens").is_some();
            let field = if newer { "max_completion_tokens" } else { "max_tokens" };
            let too_long = TooLong { field, prompt: count, at_least: false, answer: Some(answer), context };
            return Err(Failure::ContextLength(too_long));
        }
        Ok(tokens)
    }

    /// How many tokens a request's prompt has.
    pub fn count_prompt_tokens(&self, request: &TextRequest) -> Result<usize, Failure> {
        self.prompt(request).map(|tokens| tokens.len())
    }

    fn conversation(&self, messages: &[Message], request: &TextRequest) -> Result<Vec<u32>, Failure> {
        let field = "messages";
        let invalid = |message: String| Failure::Invalid { field: field.to_owned(), message };
        let template = self.template().ok_or_else(|| invalid("the model has no chat template".to_owned()))?;
        if !template.writes_calls()
            && let Some(place) = messages.iter().position(calls)
        {
            let message = "the model's template writes no calls of tools, so it would not read that there was one";
            let field = format!("messages[{place}].tool_calls");
            return Err(Failure::Invalid { field, message: message.to_owned() });
        }
        // Templates may leave parts of a conversation out, but none leaves out what is many times the context.
        let bytes = messages.iter().map(|message| content_bytes(&message.content)).sum();
        self.check_bytes(field, bytes)?;
        let tools: Option<Value> = request.body.read("tools", "JSON").map_err(|bad| invalid(bad.to_string()))?;
        let text = template.render(messages, tools.as_ref()).map_err(invalid)?;
        self.fitting(field, &text, Special::InText)
    }

    /// A text as tokens, where it is not so long that it can't fit.
    fn fitting(&self, field: &'static str, text: &str, special: Special) -> Result<Vec<u32>, Failure> {
        self.check_bytes(field, text.len())?;
        let invalid = |message: String| Failure::Invalid { field: field.to_owned(), message };
        self.encode(text, special).map_err(invalid)
    }

    /// Refuses a text that is longer than the context's tokens could be, before it costs any time.
    fn check_bytes(&self, field: &'static str, bytes: usize) -> Result<(), Failure> {
        let least = bytes.div_ceil(self.longest_token());
        if least <= self.context() {
            return Ok(());
        }
        let (prompt, context) = (least as u64, self.context() as u64);
        Err(Failure::ContextLength(TooLong { field, prompt, at_least: true, answer: None, context }))
    }
}

/// Whether a message has calls of tools in it.
fn calls(message: &Message) -> bool {
    let some = |name: &str| match message.rest.get(name) {
        None | Some(Value::Null) => false,
        Some(Value::Array(calls)) => !calls.is_empty(),
        Some(_) => true,
    };
    some("tool_calls") || some("function_call")
}

/// Bytes of text in a message's content.
fn content_bytes(content: &Value) -> usize {
    match content {
        Value::String(text) => text.len(),
        Value::Array(parts) => parts.iter().filter_map(|part| part.get("text")?.as_str()).map(str::len).sum(),
        _ => 0,
    }
}
