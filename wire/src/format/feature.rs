//! The parts of a request that not every format can express, as one list. A provider's format says of each whether it
//! has words for it ([`Takes`]). From that come the refusals of requests that are translated, the page for people
//! (`docs/translation.md`) and the tests: nothing is left out in silence.

use std::borrow::Cow;

use super::{anthropic, cohere, gemini, openai};
use crate::inference::{
    Content, Conversation, Failure, File, Format, Generation, Media, Message, OutputFormat, Part, Request, Role, Task,
    Tool, ToolChoice, ToolKind, ToolResult, Work,
};

/// A part of a request that not every format can express.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Feature {
    /// A raw text to be continued.
    TextPrompt,
    /// Instructions of the operator after the first message of somebody else.
    LaterInstructions,
    /// The name of a message's author.
    AuthorName,
    /// An image within the request.
    ImageData,
    /// An image at an address.
    ImageUrl,
    /// An image kept at a provider.
    ImageId,
    /// An image that the model made in an earlier answer.
    MadeImage,
    /// Sound.
    Audio,
    /// A file within the request.
    FileData,
    /// A file at an address.
    FileUrl,
    /// A file kept at a provider.
    FileId,
    /// The model's earlier reasoning, without proof.
    Reasoning,
    /// The model's earlier reasoning, with its provider's proof.
    SignedReasoning,
    /// The model's earlier refusal.
    Refusal,
    /// A message from which the answer goes on.
    Prefix,
    /// A tool with free text as its input.
    CustomTool,
    /// A tool whose arguments must fit their schema.
    StrictTool,
    /// The model must call no tool.
    NoTool,
    /// The model must call a tool.
    AnyTool,
    /// The model must call a certain tool.
    NamedTool,
    /// The model may call one tool at a time.
    SingleCall,
    /// A tool's result with more than text.
    ResultMedia,
    /// A tool's result that is an error.
    FailedResult,
    /// The answer must be a JSON object.
    JsonObject,
    /// The answer must fit a JSON schema.
    JsonSchema,
    /// How much the model is to reason, in a word.
    Effort,
    /// How much the model is to reason, in tokens.
    ReasoningTokens,
    /// The temperature.
    Temperature,
    /// Nucleus sampling.
    TopP,
    /// The most likely tokens alone.
    TopK,
    /// The seed.
    Seed,
    /// The penalty of frequent tokens.
    FrequencyPenalty,
    /// The penalty of tokens that are there.
    PresencePenalty,
    /// Biases of tokens.
    LogitBias,
    /// Texts that end the answer.
    Stop,
    /// Several answers.
    Choices,
    /// Log probabilities of tokens.
    Logprobs,
    /// A mark up to which the provider is to cache.
    CacheMark,
    /// The name of the person behind the request.
    EndUser,
}

/// How a provider's format treats a feature of a request in another format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Takes {
    /// It is written in the provider's words.
    Mapped,
    /// It is left out: it changes no answer.
    Left,
    /// The request is refused.
    Refused,
}

impl Feature {
    /// All features.
    pub const ALL: [Self; 39] = [
        Self::TextPrompt,
        Self::LaterInstructions,
        Self::AuthorName,
        Self::ImageData,
        Self::ImageUrl,
        Self::ImageId,
        Self::MadeImage,
        Self::Audio,
        Self::FileData,
        Self::FileUrl,
        Self::FileId,
        Self::Reasoning,
        Self::SignedReasoning,
        Self::Refusal,
        Self::Prefix,
        Self::CustomTool,
        Self::StrictTool,
        Self::NoTool,
        Self::AnyTool,
        Self::NamedTool,
        Self::SingleCall,
        Self::ResultMedia,
        Self::FailedResult,
        Self::JsonObject,
        Self::JsonSchema,
        Self::Effort,
        Self::ReasoningTokens,
        Self::Temperature,
        Self::TopP,
        Self::TopK,
        Self::Seed,
        Self::FrequencyPenalty,
        Self::PresencePenalty,
        Self::LogitBias,
        Self::Stop,
        Self::Choices,
        Self::Logprobs,
        Self::CacheMark,
        Self::EndUser,
    ];

    /// The fields of the feature: of chat completions, of responses, of messages and of `generateContent`.
    const fn fields(self) -> [&'static str; 4] {
        match self {
            Self::TextPrompt => ["prompt", "input", "messages", "contents"],
            Self::LaterInstructions
            | Self::AuthorName
            | Self::ImageData
            | Self::ImageUrl
            | Self::ImageId
            | Self::MadeImage
            | Self::Audio
            | Self::FileData
            | Self::FileUrl
            | Self::FileId
            | Self::Reasoning
            | Self::SignedReasoning
            | Self::Refusal
            | Self::Prefix
            | Self::ResultMedia
            | Self::FailedResult
            | Self::CacheMark => ["messages", "input", "messages", "contents"],
            Self::CustomTool => ["tools"; 4],
            Self::StrictTool => ["tools", "tools", "tools", "toolConfig.functionCallingConfig.mode"],
            Self::NoTool | Self::AnyTool | Self::NamedTool => {
                ["tool_choice", "tool_choice", "tool_choice", "toolConfig.functionCallingConfig.mode"]
            }
            Self::SingleCall => [
                "parallel_tool_calls",
                "parallel_tool_calls",
                "tool_choice.disable_parallel_tool_use",
                "toolConfig.functionCallingConfig",
            ],
            Self::JsonObject => {
                ["response_format", "text.format", "output_config.format", "generationConfig.responseMimeType"]
            }
            Self::JsonSchema => {
                ["response_format", "text.format", "output_config.format", "generationConfig.responseSchema"]
            }
            Self::Effort => [
                "reasoning_effort",
                "reasoning.effort",
                "output_config.effort",
                "generationConfig.thinkingConfig.thinkingLevel",
            ],
            Self::ReasoningTokens => {
                ["reasoning", "reasoning", "thinking", "generationConfig.thinkingConfig.thinkingBudget"]
            }
            Self::Temperature => ["temperature", "temperature", "temperature", "generationConfig.temperature"],
            Self::TopP => ["top_p", "top_p", "top_p", "generationConfig.topP"],
            Self::TopK => ["top_k", "top_k", "top_k", "generationConfig.topK"],
            Self::Seed => ["seed", "seed", "seed", "generationConfig.seed"],
            Self::FrequencyPenalty => {
                ["frequency_penalty", "frequency_penalty", "frequency_penalty", "generationConfig.frequencyPenalty"]
            }
            Self::PresencePenalty => {
                ["presence_penalty", "presence_penalty", "presence_penalty", "generationConfig.presencePenalty"]
            }
            Self::LogitBias => ["logit_bias"; 4],
            Self::Stop => ["stop", "stop", "stop_sequences", "generationConfig.stopSequences"],
            Self::Choices => ["n", "n", "n", "generationConfig.candidateCount"],
            Self::Logprobs => ["logprobs", "top_logprobs", "logprobs", "generationConfig.responseLogprobs"],
            Self::EndUser => ["user", "safety_identifier", "metadata.user_id", "labels"],
        }
    }

    /// The feature's field as a client of this format names it.
    pub const fn field(self, format: Format) -> &'static str {
        let [chat, responses, messages, generate] = self.fields();
        match format {
            Format::OpenAiResponses => responses,
            Format::AnthropicMessages => messages,
            Format::Cohere => cohere::field(self),
            Format::Gemini | Format::GeminiEmbeddings => generate,
            Format::OpenAiChat
            | Format::OpenAiCompletions
            | Format::OpenAiEmbeddings
            | Format::OpenAiSpeech
            | Format::OpenAiTranscriptions
            | Format::OpenAiImages
            | Format::Mistral
            | Format::CohereEmbed
            | Format::Rerank => chat,
        }
    }
}

/// Refuses a request that a provider's format can't express: the first feature that it refuses, and the first member
/// that has no place in the neutral words and may change the answer.
///
/// # Errors
///
/// [`Failure::Invalid`], with the client's field.
pub fn check(request: &Request, provider: &str, takes: impl Fn(Feature) -> Takes) -> Result<(), Failure> {
    let refused = |field: Cow<'static, str>| Failure::Invalid {
        field: field.into_owned(),
        message: format!("can't be asked of {provider}'s models in this form"),
    };
    if !matches!(request.task(), Task::Chat | Task::Completion) {
        return Err(refused("model".into()));
    }
    if let Some(field) = leftover(request) {
        return Err(refused(field.into()));
    }
    let mut used = Vec::new();
    find(request, &mut used);
    match used.into_iter().find(|(feature, _)| takes(*feature) == Takes::Refused) {
        Some((_, field)) => Err(refused(field)),
        None => Ok(()),
    }
}

/// The first member of a request that has no place in the neutral words, where it may change the answer.
fn leftover(request: &Request) -> Option<String> {
    match request.source.format {
        Format::OpenAiChat | Format::OpenAiCompletions => openai::leftover(request),
        Format::OpenAiResponses => openai::responses::leftover(request),
        Format::AnthropicMessages => anthropic::leftover(request),
        Format::Cohere => cohere::leftover(request),
        Format::Gemini => gemini::leftover(request),
        Format::OpenAiEmbeddings
        | Format::OpenAiSpeech
        | Format::OpenAiTranscriptions
        | Format::OpenAiImages
        | Format::GeminiEmbeddings
        | Format::Mistral
        | Format::CohereEmbed
        | Format::Rerank => Some("body".to_owned()),
    }
}

/// A feature, and the client's field.
type Used = (Feature, Cow<'static, str>);

/// Appends the features of a request.
pub fn find(request: &Request, used: &mut Vec<Used>) {
    let format = request.source.format;
    let mut note = |feature: Feature| used.push((feature, feature.field(format).into()));
    if request.end_user.is_some() {
        note(Feature::EndUser);
    }
    match &request.work {
        Work::Text(text) => {
            note(Feature::TextPrompt);
            of_generation(&text.generation, &mut note);
        }
        Work::Conversation(conversation) => {
            of_conversation(conversation, &mut note);
            of_generation(&conversation.generation, &mut note);
            if format == Format::OpenAiResponses && request.source.body.present("top_logprobs").is_none() {
                let of_logprobs = used.iter_mut().filter(|(feature, _)| *feature == Feature::Logprobs);
                of_logprobs.for_each(|(_, field)| *field = "include".into());
            }
            of_messages(format, &conversation.messages, used);
        }
        Work::Embedding(_)
        | Work::Rerank(_)
        | Work::Image(_)
        | Work::Speech(_)
        | Work::Transcription(_)
        | Work::Decision(_)
        | Work::Native(_) => {}
    }
}

fn of_generation(generation: &Generation, note: &mut impl FnMut(Feature)) {
    let sampling = &generation.sampling;
    let is_set = |number: Option<f32>| number.is_some_and(|number| number != 0.0);
    let all = [
        (Feature::Temperature, sampling.temperature.is_some()),
        (Feature::TopP, sampling.top_p.is_some()),
        (Feature::TopK, sampling.top_k.is_some_and(|k| k > 0)),
        (Feature::Seed, sampling.seed.is_some()),
        (Feature::FrequencyPenalty, is_set(sampling.frequency_penalty)),
        (Feature::PresencePenalty, is_set(sampling.presence_penalty)),
        (Feature::LogitBias, !sampling.logit_bias.is_empty()),
        (Feature::Stop, !sampling.stop.is_empty()),
        (Feature::Choices, generation.answers() > 1),
        (Feature::Logprobs, generation.logprobs.is_some()),
    ];
    all.into_iter().filter(|(_, is_used)| *is_used).for_each(|(feature, _)| note(feature));
}

fn of_conversation(conversation: &Conversation, note: &mut impl FnMut(Feature)) {
    for Tool { strict, kind, cache, .. } in &conversation.tools {
        match kind {
            ToolKind::Custom => note(Feature::CustomTool),
            ToolKind::Function if *strict == Some(true) => note(Feature::StrictTool),
            ToolKind::Function => {}
        }
        if cache.is_some() {
            note(Feature::CacheMark);
        }
    }
    match &conversation.tool_choice {
        // Without tools there is nothing to choose.
        Some(ToolChoice::None) if !conversation.tools.is_empty() => note(Feature::NoTool),
        Some(ToolChoice::Required) => note(Feature::AnyTool),
        Some(ToolChoice::Named(_)) => note(Feature::NamedTool),
        Some(ToolChoice::None | ToolChoice::Auto) | None => {}
    }
    if conversation.parallel_tool_calls == Some(false) && !conversation.tools.is_empty() {
        note(Feature::SingleCall);
    }
    match &conversation.output {
        OutputFormat::Text => {}
        OutputFormat::JsonObject => note(Feature::JsonObject),
        OutputFormat::JsonSchema { .. } => note(Feature::JsonSchema),
    }
    if conversation.reasoning.effort.is_some() {
        note(Feature::Effort);
    }
    // No tokens are what a model that does not reason spends.
    if conversation.reasoning.max_tokens.is_some_and(|tokens| tokens > 0) {
        note(Feature::ReasoningTokens);
    }
}

/// A message's place as a client of this format names it.
pub(in crate::format) fn message_field(format: Format, place: usize) -> Cow<'static, str> {
    match format {
        Format::OpenAiChat | Format::Cohere => Cow::Owned(format!("messages[{place}]")),
        other => Cow::Borrowed(Feature::LaterInstructions.field(other)),
    }
}

fn of_messages(format: Format, messages: &[Message], used: &mut Vec<Used>) {
    let mut is_begun = false;
    for (place, message) in messages.iter().enumerate() {
        let at = || message_field(format, place);
        let is_instruction = matches!(message.role, Role::System | Role::Developer);
        is_begun |= !is_instruction;
        if is_instruction && is_begun {
            used.push((Feature::LaterInstructions, at()));
        }
        if message.name.is_some() {
            used.push((Feature::AuthorName, at()));
        }
        if message.cache.is_some() {
            used.push((Feature::CacheMark, at()));
        }
        if message.is_prefix {
            used.push((Feature::Prefix, format!("{}.prefix", at()).into()));
        }
        let is_image = |part: &Part| matches!(part.content, Content::Image(_));
        if message.role == Role::Assistant && message.parts.iter().any(is_image) {
            used.push((Feature::MadeImage, at()));
        }
        message.parts.iter().for_each(|part| of_part(part, &mut |feature| used.push((feature, at()))));
    }
}

fn of_part(part: &Part, note: &mut impl FnMut(Feature)) {
    if part.cache.is_some() {
        note(Feature::CacheMark);
    }
    match &part.content {
        Content::Refusal(_) => note(Feature::Refusal),
        Content::Image(image) => note(match &image.media {
            Media::Url(url) if !is_data(url) => Feature::ImageUrl,
            Media::Url(_) | Media::Data { .. } => Feature::ImageData,
            Media::Id(_) => Feature::ImageId,
        }),
        Content::Audio(_) => note(Feature::Audio),
        Content::File(File { media, .. }) => note(match media {
            Some(Media::Url(url)) if !is_data(url) => Feature::FileUrl,
            Some(Media::Url(_) | Media::Data { .. }) | None => Feature::FileData,
            Some(Media::Id(_)) => Feature::FileId,
        }),
        Content::Reasoning(reasoning) if reasoning.signature.is_some() => note(Feature::SignedReasoning),
        Content::Reasoning(_) => note(Feature::Reasoning),
        Content::ToolCall(call) if call.kind == ToolKind::Custom => note(Feature::CustomTool),
        Content::Text(_) | Content::ToolCall(_) | Content::Unknown { .. } => {}
        Content::ToolResult(ToolResult { parts, is_error, .. }) => {
            if *is_error {
                note(Feature::FailedResult);
            }
            for part in parts {
                match part.content {
                    Content::Text(_) => {}
                    _ => note(Feature::ResultMedia),
                }
                of_part(part, note);
            }
        }
    }
}

/// Whether an address holds the bytes itself (RFC 2397).
pub fn is_data(url: &str) -> bool {
    url.get(..5).is_some_and(|scheme| scheme.eq_ignore_ascii_case("data:"))
}
