//! A request, neutral of format: the model, the work, and its terms. The body as the client wrote it stays with the
//! request: a provider of the same format gets its bytes.

use super::{
    Conversation, Decision, Embedding, Generation, ImageGeneration, NativeTask, Rerank, Speech, TextPrompt,
    Transcription,
};
use crate::fields::Fields;

/// A kind of work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Task {
    /// Answering a conversation.
    Chat,
    /// Continuing a raw text.
    Completion,
    /// Turning texts into vectors.
    Embedding,
    /// Ordering documents by how well they answer a query.
    Rerank,
    /// Making images.
    Image,
    /// Speaking a text.
    Speech,
    /// Transcribing speech.
    Transcription,
    /// Answering questions about a text with a probability, a choice or a score.
    Decision,
    /// A task of the native API, with its own input.
    Native,
}

/// The requested work.
#[derive(Debug, Clone, PartialEq)]
pub enum Work {
    /// Answering a conversation.
    Conversation(Box<Conversation>),
    /// Continuing a raw text.
    Text(Box<TextPrompt>),
    /// Turning texts into vectors.
    Embedding(Embedding),
    /// Ordering documents.
    Rerank(Rerank),
    /// Making images.
    Image(ImageGeneration),
    /// Speaking a text.
    Speech(Speech),
    /// Transcribing speech.
    Transcription(Transcription),
    /// Answering questions about a text.
    Decision(Decision),
    /// A task of the native API.
    Native(NativeTask),
}

/// A format of clients or providers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    /// OpenAI's chat completions.
    OpenAiChat,
    /// OpenAI's legacy completions.
    OpenAiCompletions,
    /// OpenAI's responses.
    OpenAiResponses,
    /// OpenAI's embeddings.
    OpenAiEmbeddings,
    /// OpenAI's speech from text.
    OpenAiSpeech,
    /// OpenAI's transcriptions and translations of speech.
    OpenAiTranscriptions,
    /// OpenAI's images.
    OpenAiImages,
    /// Anthropic's messages.
    AnthropicMessages,
    /// Google's `generateContent` and `streamGenerateContent`.
    Gemini,
    /// Google's `embedContent` and `batchEmbedContents`.
    GeminiEmbeddings,
    /// Mistral's chat completions.
    Mistral,
    /// Cohere's chat, version 2.
    Cohere,
    /// Cohere's embeddings, version 2.
    CohereEmbed,
    /// Reranking, as Cohere (version 2), Jina and vLLM have it.
    Rerank,
}

/// What a request continued that is kept here. Its items were put into the body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Continues {
    /// The answer of this id.
    Response(Box<str>),
    /// The conversation of this id. The answer is added to it.
    Conversation(Box<str>),
}

/// A request as its client wrote it: a provider of the same format gets all of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Source {
    /// The format of the body.
    pub format: Format,
    /// The body, without Farebox's own fields.
    pub body: Fields,
    /// The client's headers that a provider may read: neither credentials nor headers of one connection.
    pub headers: Vec<Header>,
    /// The query, without its question mark.
    pub query: Option<Box<str>>,
    /// What the request continued, where that is kept here.
    pub continues: Option<Continues>,
    /// Whether the answer is kept here.
    pub is_kept: bool,
    /// Whether the answer is made in the background: its id was told before its provider gave it one.
    pub is_background: bool,
}

impl Source {
    /// A request with this body alone.
    pub const fn of(format: Format, body: Fields) -> Self {
        Self { format, body, headers: Vec::new(), query: None, continues: None, is_kept: false, is_background: false }
    }
}

/// A header of HTTP: its name in small letters, and its value.
pub type Header = (Box<str>, Box<str>);

/// A member of a body's parts that has no place in the neutral words. Only a provider of the same format gets it.
/// Everywhere else the request is refused with the member's name, unless the member is known to change nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unread {
    /// The member's place: `messages[0].content[1].image_url.file_id`.
    pub at: String,
    /// The member's value, as JSON.
    pub json: String,
}

impl Unread {
    /// The place without the indexes: `messages[].content[].image_url.file_id`.
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
    /// The requested work.
    pub work: Work,
    /// Whether the client wants a stream.
    pub stream: bool,
    /// `max_cost`, dollars, as written.
    pub max_cost: Option<String>,
    /// `autoScale`.
    pub auto_scale: Option<bool>,
    /// The models that are asked, in their order, where the one before is not served.
    pub fallbacks: Vec<String>,
    /// The person behind the request, as the client names it to the provider.
    pub end_user: Option<String>,
    /// Members of the body that the neutral words do not hold.
    pub unread: Vec<Unread>,
    /// The body as the client wrote it.
    pub source: Source,
}

impl Request {
    /// The same request for another model.
    #[must_use]
    pub fn for_model(&self, name: String) -> Self {
        let mut other = self.clone();
        // Google's formats name the model in the path.
        if !matches!(other.source.format, Format::Gemini | Format::GeminiEmbeddings) {
            other.source.body.set("model", &name);
        }
        other.model = name;
        other
    }

    /// The kind of the work.
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

    /// Whether the work is answered with text, which is billed as output.
    pub const fn writes(&self) -> bool {
        match &self.work {
            Work::Conversation(_) | Work::Text(_) => true,
            Work::Embedding(_)
            | Work::Rerank(_)
            | Work::Image(_)
            | Work::Speech(_)
            | Work::Transcription(_)
            | Work::Decision(_)
            | Work::Native(_) => false,
        }
    }

    /// How text is generated, where the work is text.
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
