//! The form of a request's answers: what holds them to a schema, and how what is written is read. Made as a request is
//! prepared, from what it asks for and from what its model's template writes.

use serde_json::Value;
use wire::format::feature::Feature;
use wire::inference::{Conversation, Failure, Format, OutputFormat};

use super::grammar::{Beginning, Constraint, Grammars, Guide, Strictness, bounded, on_a_large_stack};
use super::tokenizer::Tokenizer;

/// The form of a request's answers.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Form {
    constraint: Option<Constraint>,
}

impl Form {
    /// The form of a conversation's answers, for a client of this format.
    ///
    /// # Errors
    ///
    /// [`Invalid`](Failure::Invalid) with the client's field, where the model can't be held to what is asked for.
    pub(crate) fn of(tokenizer: &Tokenizer, conversation: &Conversation, format: Format) -> Result<Self, Failure> {
        let Some((feature, output)) = output(&conversation.output) else { return Ok(Self::default()) };
        let field = feature.field(format);
        let invalid = |message: String| Failure::Invalid { field: field.to_owned(), message };
        let compile = || {
            let schema = bounded(output, Strictness::Exact).map_err(invalid)?;
            let start = format!("start: %json {}", Value::Object(schema));
            let grammars = Grammars { start: Some(start), ends_when_closed: true, ..Grammars::default() };
            let vocabulary = tokenizer.grammar_tokens().map_err(invalid)?;
            Constraint::compile(vocabulary, field, grammars, None)
        };
        let constraint = on_a_large_stack(compile).map_err(invalid)??;
        Ok(Self { constraint: Some(constraint) })
    }

    /// What holds one choice to it.
    pub(crate) fn guide(&self) -> Option<Guide> {
        self.constraint.as_ref().map(|constraint| constraint.guide(Beginning::Answer))
    }
}

/// The schema of an answer that must be JSON.
fn output(output: &OutputFormat) -> Option<(Feature, &str)> {
    match output {
        OutputFormat::Text => None,
        OutputFormat::JsonObject => Some((Feature::JsonObject, r#"{"type":"object"}"#)),
        OutputFormat::JsonSchema { schema, .. } => Some((Feature::JsonSchema, schema)),
    }
}
