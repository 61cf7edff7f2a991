//! A request, neutral of format: which model, the work that is asked of it, and on what terms. The body it was read from
//! stays with it: a provider of the same format is sent its bytes.

use super::{
    Conversation, Decision, Embedding, Generation, ImageGeneration, NativeTask, Rerank, Speech, TextPrompt,
    Transcription,
};
use crate::fields::Fields;

/// What kind of work a model does, and a request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Task {
    /// Answers a conversation.
    Chat,
    /// Continues a raw text.
    Completion,
    /// Turns texts into vectors.
    Embedding,
    /// Orders documents by how well they answer a query.
    Rerank,
    /// Makes images.
    Image,
    /// Speaks a text.
    Speech,
    /// Writes down what is spoken.
    Transcription,
    /// Answers questions about a text with a probability, a choice or a score.
    Decision,
    /// A task of the native API, with an input of its own.
    Native,
}

/// The work that is asked for.
#[derive(Debug, Clone, PartialEq)]
pub enum Work {
    /// To answer a conversation.
    Conversation(Box<Conversation>),
    /// To continue a raw text.
    Text(Box<TextPrompt>),
    /// To turn texts into vectors.
    Embedding(Embedding),
    /// To order documents.
    Rerank(Rerank),
    /// To make images.
    Image(ImageGeneration),
    /// To speak a text.
    Speech(Speech),
    /// To write down what is spoken.
    Transcription(Transcription),
    /// To answer questions about a text.
    Decision(Decision),
    /// A task of the native API.
    Native(NativeTask),
}

/// A format in which clients or providers write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    /// OpenAI's chat completions.
    OpenAiChat,
    /// OpenAI's legacy completions.
    OpenAiCompletions,
}

/// A request's body as its client wrote it, without Farebox's own fields.
#[derive(Debug, Clone, PartialEq)]
pub struct Source {
    /// The format it is in.
    pub format: Format,
    /// The body.
    pub body: Fields,
}

/// A member of a body's parts for which the neutral words have no place. It reaches a provider of the same format alone;
/// everyone else refuses it by its name, unless it is known to change nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unread {
    /// Where it stands: `messages[0].content[1].image_url.file_id`.
    pub at: String,
    /// What it says, as JSON.
    pub json: String,
}

impl Unread {
    /// Its place without the numbers of entries: `messages[].content[].image_url.file_id`.
    pub fn pattern(&self) -> String {
        let mut is_within = false;
        let keep = |c: &char| {
            is_within = match c {
                '[' => true,
                ']' => false,
                _ => is_within,
            };
            !is_within || *c == '['
        };
        self.at.chars().filter(keep).collect()
    }
}

/// A request.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// The model as the client named it.
    pub model: String,
    /// What is asked of it.
    pub work: Work,
    /// Whether the client wants a stream.
    pub stream: bool,
    /// `max_cost`, dollars, as written.
    pub max_cost: Option<String>,
    /// `autoScale`.
    pub auto_scale: Option<bool>,
    /// What of the body is not in these words.
    pub unread: Vec<Unread>,
    /// The body itself.
    pub source: Source,
}

impl Request {
    /// The kind of its work.
    pub const fn task(&self) -> Task {
        match &self.work {
            Work::Conversation(_) => Task::Chat,
            Work::Text(_) => Task::Completion,
            Work::Embedding(_) => Task::Embedding,
            Work::Rerank(_) => Task::Rerank,
            Work::Image(_) => Task::Image,
            Work::Speech(_) => Task::Speech,
            Work::Transcription(_) => Task::Transcription,
            Work::Decision(_) => Task::Decision,
            Work::Native(_) => Task::Native,
        }
    }

    /// How text is generated, where text is what is asked for.
    pub fn generation(&self) -> Option<&Generation> {
        match &self.work {
            Work::Conversation(conversation) => Some(&conversation.generation),
            Work::Text(text) => Some(&text.generation),
            Work::Embedding(_)
            | Work::Rerank(_)
            | Work::Image(_)
            | Work::Speech(_)
            | Work::Transcription(_)
            | Work::Decision(_)
            | Work::Native(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_has_no_numbers_of_entries_and_keeps_those_of_names() {
        let pattern = |at: &str| Unread { at: at.to_owned(), json: "1".to_owned() }.pattern();
        assert_eq!(pattern("messages[10].content[2].type"), "messages[].content[].type");
        assert_eq!(pattern("tools[0].web_search_20260318"), "tools[].web_search_20260318");
        assert_eq!(pattern("field2"), "field2");
    }
}
