//! A conversation: messages made of parts, tools that the model may call, and the form of the answer. What one provider
//! calls a block and another an item is a [`Part`] here.

use super::Generation;

/// A conversation to be answered.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Conversation {
    /// Oldest first.
    pub messages: Vec<Message>,
    /// What the model may call.
    pub tools: Vec<Tool>,
    /// Whether it must call one; none where the client says nothing of it.
    pub tool_choice: Option<ToolChoice>,
    /// Whether it may call several at once.
    pub parallel_tool_calls: Option<bool>,
    /// The form of the answer.
    pub output: OutputFormat,
    /// How much it is to reason.
    pub reasoning: ReasoningWanted,
    /// How tokens are chosen, and how many.
    pub generation: Generation,
}

/// Who says a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// The operator of the conversation.
    System,
    /// The same, as newer models call it.
    Developer,
    /// The user.
    User,
    /// The model.
    Assistant,
    /// A tool that the model called.
    Tool,
}

impl Role {
    /// The role as most formats spell it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::Developer => "developer",
            Self::User => "user",
            Self::Assistant => "assistant",
            Self::Tool => "tool",
        }
    }
}

/// One message.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    /// Who says it.
    pub role: Role,
    /// The speaker's name, where there are several of a role.
    pub name: Option<String>,
    /// What is said, in order.
    pub parts: Vec<Part>,
    /// Asks the provider to keep what it read up to and with this message.
    pub cache: Option<CacheMark>,
}

impl Message {
    /// A message of one text.
    pub fn text_of(role: Role, text: impl Into<String>) -> Self {
        Self { role, name: None, parts: vec![Part::text(text)], cache: None }
    }

    /// All that a text model reads of it: its texts joined. What an assistant refused with is what it said.
    pub fn text(&self) -> String {
        let mut text = String::new();
        self.parts.iter().for_each(|part| part.content.put_text(&mut text));
        text
    }
}

/// A part of a message.
#[derive(Debug, Clone, PartialEq)]
pub struct Part {
    /// What it is.
    pub content: Content,
    /// Asks the provider to keep what it read up to and with this part.
    pub cache: Option<CacheMark>,
}

impl Part {
    /// A text.
    pub fn text(text: impl Into<String>) -> Self {
        Content::Text(text.into()).into()
    }
}

impl From<Content> for Part {
    fn from(content: Content) -> Self {
        Self { content, cache: None }
    }
}

/// What a part is.
#[derive(Debug, Clone, PartialEq)]
pub enum Content {
    /// Text.
    Text(String),
    /// What the model said instead of an answer.
    Refusal(String),
    /// An image.
    Image(Image),
    /// Sound.
    Audio(Audio),
    /// A document or another file.
    File(File),
    /// What the model thought before it spoke, to be given back to it.
    Reasoning(Reasoning),
    /// A call of a tool.
    ToolCall(ToolCall),
    /// What a tool returned.
    ToolResult(ToolResult),
    /// A part of a kind that has no place here. It stands among what is [unread](super::Unread) too.
    Unknown {
        /// Its kind, as its format calls it.
        kind: String,
    },
}

impl Content {
    fn put_text(&self, to: &mut String) {
        match self {
            Self::Text(text) | Self::Refusal(text) => to.push_str(text),
            Self::ToolResult(result) => result.parts.iter().for_each(|part| part.content.put_text(to)),
            Self::Image(_)
            | Self::Audio(_)
            | Self::File(_)
            | Self::Reasoning(_)
            | Self::ToolCall(_)
            | Self::Unknown { .. } => {}
        }
    }
}

/// Where bytes are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Media {
    /// At an address; a `data:` address has them in itself (RFC 2397).
    Url(String),
    /// In the request, in base64, of this media type where it is known.
    Data {
        /// The media type (RFC 6838): `application/pdf`.
        media_type: Option<String>,
        /// The bytes, in base64.
        base64: String,
    },
    /// Kept at the provider under this id.
    Id(String),
}

/// An image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// The image.
    pub media: Media,
    /// How closely the model looks at it: `low`, `high`, `auto`, ...
    pub detail: Option<String>,
}

/// Sound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Audio {
    /// The sound.
    pub media: Media,
    /// Its encoding: `wav`, `mp3`.
    pub format: Option<String>,
}

/// A file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// The file; none where its client sent something that is not one.
    pub media: Option<Media>,
    /// Its name.
    pub name: Option<String>,
}

/// What a model thought.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reasoning {
    /// Its words, or a summary of them.
    pub text: String,
    /// What proves to its provider that the thoughts are the model's own and whole.
    pub signature: Option<String>,
}

/// A model's call of a tool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolCall {
    /// The call's id, by which its result names it.
    pub id: Option<String>,
    /// The tool.
    pub name: String,
    /// A function's arguments as JSON, or a custom tool's input as text.
    pub arguments: String,
    /// Which of the two.
    pub kind: ToolKind,
}

/// What a tool takes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ToolKind {
    /// Arguments by a schema.
    #[default]
    Function,
    /// Free text.
    Custom,
}

/// What a tool returned.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ToolResult {
    /// The call that it answers.
    pub call_id: Option<String>,
    /// The tool's name, where its format has it.
    pub name: Option<String>,
    /// What it says.
    pub parts: Vec<Part>,
    /// Whether the tool failed.
    pub is_error: bool,
}

/// A tool that the model may call. The client runs it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tool {
    /// Its name.
    pub name: String,
    /// What it does, in words for the model.
    pub description: Option<String>,
    /// A function's parameters: a JSON schema, as written. A custom tool's grammar, where it has one.
    pub parameters: Option<String>,
    /// Whether arguments must fit the schema.
    pub strict: Option<bool>,
    /// What it takes.
    pub kind: ToolKind,
    /// Asks the provider to keep what it read up to and with this tool.
    pub cache: Option<CacheMark>,
}

/// Whether a model calls tools.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ToolChoice {
    /// It calls none.
    None,
    /// As it likes.
    Auto,
    /// It calls at least one.
    Required,
    /// It calls this one.
    Named(String),
}

/// The form of an answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum OutputFormat {
    /// Text.
    #[default]
    Text,
    /// A JSON object of any shape.
    JsonObject,
    /// JSON by a schema.
    JsonSchema {
        /// The schema's name.
        name: Option<String>,
        /// What it is for.
        description: Option<String>,
        /// The JSON schema, as written.
        schema: String,
        /// Whether the answer must fit it.
        strict: Option<bool>,
    },
}

/// How much a model is to reason; what is absent is the model's own default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReasoningWanted {
    /// `none`, `minimal`, `low`, `medium`, `high`, ...: providers have different ones.
    pub effort: Option<String>,
    /// Tokens of reasoning, at most.
    pub max_tokens: Option<u32>,
}

/// Asks a provider to keep what it read up to a place in its cache.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CacheMark {
    /// For how long; none: as long as the provider does unasked.
    pub ttl: Option<CacheTtl>,
}

/// How long a provider keeps what it is asked to keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CacheTtl {
    /// Anthropic's usual time.
    Minutes5,
    /// OpenAI's usual time.
    Minutes30,
    /// Anthropic's longer time.
    Hour1,
    /// OpenAI's longer time.
    Hours12,
}

impl CacheTtl {
    /// A time as providers spell it.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "5m" => Some(Self::Minutes5),
            "30m" => Some(Self::Minutes30),
            "1h" => Some(Self::Hour1),
            "12h" => Some(Self::Hours12),
            _ => None,
        }
    }

    /// Whether it is longer than its provider's usual time, and dearer.
    pub const fn is_long(self) -> bool {
        match self {
            Self::Minutes5 | Self::Minutes30 => false,
            Self::Hour1 | Self::Hours12 => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_model_reads_texts_and_refusals_and_no_thoughts() {
        let thought = Content::Reasoning(Reasoning { text: "hm".into(), signature: None });
        let result = ToolResult { parts: vec![Part::text("c")], ..ToolResult::default() };
        let parts = [thought, Content::Text("a".into()), Content::Refusal("b".into()), Content::ToolResult(result)];
        let parts = parts.into_iter().map(Part::from).collect();
        assert_eq!(Message { role: Role::Assistant, name: None, parts, cache: None }.text(), "abc");
    }
}
