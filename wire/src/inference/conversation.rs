//! A conversation: messages made of parts, tools that the model may call, and the form of the answer. A provider's
//! block or item is a [`Part`] here.

use super::Generation;

/// A conversation to be answered.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Conversation {
    /// The messages, oldest first.
    pub messages: Vec<Message>,
    /// The tools that the model may call.
    pub tools: Vec<Tool>,
    /// Whether the model must call a tool; `None` where the client leaves it open.
    pub tool_choice: Option<ToolChoice>,
    /// Whether the model may call several tools at once.
    pub parallel_tool_calls: Option<bool>,
    /// The form of the answer.
    pub output: OutputFormat,
    /// How much the model is to reason.
    pub reasoning: ReasoningWanted,
    /// How tokens are chosen, and how many.
    pub generation: Generation,
}

/// The author of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// The operator of the conversation.
    System,
    /// The operator, as newer models name the role.
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
    /// The author.
    pub role: Role,
    /// The author's name, where several share a role.
    pub name: Option<String>,
    /// The content, in order.
    pub parts: Vec<Part>,
    /// Asks the provider to cache everything up to and with this message.
    pub cache: Option<CacheMark>,
    /// Whether the answer goes on from this message, instead of following it.
    pub is_prefix: bool,
}

impl Message {
    /// A message of one text.
    pub fn text_of(role: Role, text: impl Into<String>) -> Self {
        Self { role, name: None, parts: vec![Part::text(text)], cache: None, is_prefix: false }
    }

    /// The message's texts joined, as a text model reads them. An assistant's refusal counts as its text.
    pub fn text(&self) -> String {
        let mut text = String::new();
        self.parts.iter().for_each(|part| part.content.put_text(&mut text));
        text
    }
}

/// A part of a message.
#[derive(Debug, Clone, PartialEq)]
pub struct Part {
    /// The content.
    pub content: Content,
    /// Asks the provider to cache everything up to and with this part.
    pub cache: Option<CacheMark>,
}

impl Part {
    /// A part with a text.
    pub fn text(text: impl Into<String>) -> Self {
        Content::Text(text.into()).into()
    }
}

impl From<Content> for Part {
    fn from(content: Content) -> Self {
        Self { content, cache: None }
    }
}

/// The content of a part.
#[derive(Debug, Clone, PartialEq)]
pub enum Content {
    /// Text.
    Text(String),
    /// The model's refusal in place of an answer.
    Refusal(String),
    /// An image.
    Image(Image),
    /// Sound.
    Audio(Audio),
    /// A document or another file.
    File(File),
    /// The model's earlier reasoning, given back to it.
    Reasoning(Reasoning),
    /// A call of a tool.
    ToolCall(ToolCall),
    /// What a tool returned.
    ToolResult(ToolResult),
    /// A part of a kind that has no place here. It is listed in [`Unread`](super::Unread) too.
    Unknown {
        /// The kind, as the format names it.
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

/// The place of some bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Media {
    /// At an address; a `data:` address holds the bytes itself (RFC 2397).
    Url(String),
    /// In the request, in base64.
    Data {
        /// The media type (RFC 6838), where it is known: `application/pdf`.
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
    /// How closely the model examines the image: `low`, `high`, `auto`, ...
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
    /// The file; `None` where the client sent something that is not a file.
    pub media: Option<Media>,
    /// The file's name.
    pub name: Option<String>,
}

/// A model's reasoning.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reasoning {
    /// The reasoning's text, or a summary of it.
    pub text: String,
    /// The provider's proof that the reasoning is the model's own and complete.
    pub signature: Option<String>,
}

/// A model's call of a tool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolCall {
    /// The call's id, to which its result refers.
    pub id: Option<String>,
    /// The tool.
    pub name: String,
    /// A function's arguments as JSON, or a custom tool's input as text.
    pub arguments: String,
    /// Whether the tool is a function or a custom tool.
    pub kind: ToolKind,
}

/// The kind of a tool's input.
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
    /// The id of the call that was answered.
    pub call_id: Option<String>,
    /// The tool's name, where its format has it.
    pub name: Option<String>,
    /// The result's content.
    pub parts: Vec<Part>,
    /// Whether the tool failed.
    pub is_error: bool,
}

/// A tool that the model may call. The client runs it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tool {
    /// Its name.
    pub name: String,
    /// The tool's purpose, in words for the model.
    pub description: Option<String>,
    /// A function's parameters: a JSON schema, as written. A custom tool's grammar, where it has one.
    pub parameters: Option<String>,
    /// Whether arguments must fit the schema.
    pub strict: Option<bool>,
    /// The kind of input.
    pub kind: ToolKind,
    /// Asks the provider to cache everything up to and with this tool.
    pub cache: Option<CacheMark>,
}

/// Whether a model calls tools.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ToolChoice {
    /// The model calls no tool.
    None,
    /// The model decides.
    Auto,
    /// The model calls at least one tool.
    Required,
    /// The model calls this tool.
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
        /// The schema's purpose.
        description: Option<String>,
        /// The JSON schema, as written.
        schema: String,
        /// Whether the answer must fit the schema.
        strict: Option<bool>,
    },
}

/// How much a model is to reason; an absent value is the model's own default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReasoningWanted {
    /// `none`, `minimal`, `low`, `medium`, `high`, ...: providers differ in the values.
    pub effort: Option<String>,
    /// Tokens of reasoning, at most.
    pub max_tokens: Option<u32>,
}

/// Asks a provider to cache its input up to a place.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CacheMark {
    /// For how long; `None` for the provider's default.
    pub ttl: Option<CacheTtl>,
}

impl CacheMark {
    /// Of two marks at one place, the one that is kept for longer: it costs more.
    pub fn longer(one: Option<Self>, other: Option<Self>) -> Option<Self> {
        let is_long = |mark: Self| mark.ttl.is_some_and(CacheTtl::is_long);
        match (one, other) {
            (Some(known), Some(later)) if is_long(known) && !is_long(later) => one,
            (_, Some(_)) => other,
            (_, None) => one,
        }
    }
}

/// How long a provider keeps a cached prefix.
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
    /// Reads a time as providers write it.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "5m" => Some(Self::Minutes5),
            "30m" => Some(Self::Minutes30),
            "1h" => Some(Self::Hour1),
            "12h" => Some(Self::Hours12),
            _ => None,
        }
    }

    /// Whether the time is longer than its provider's usual time, and costs more.
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
        assert_eq!(Message { role: Role::Assistant, name: None, parts, cache: None, is_prefix: false }.text(), "abc");
    }
}
