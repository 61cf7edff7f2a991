//! How text is generated: how tokens are chosen, how many tokens, and how many answers.

/// A raw text to be continued.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TextPrompt {
    /// The text.
    pub prompt: String,
    /// The text after the gap to be filled.
    pub suffix: Option<String>,
    /// Whether the prompt is repeated before the answer.
    pub echo: bool,
    /// How tokens are chosen, and how many.
    pub generation: Generation,
}

/// How text is generated.
#[derive(Debug, Clone, PartialEq)]
pub struct Generation {
    /// How tokens are chosen.
    pub sampling: Sampling,
    /// The caller's output limit.
    pub limit: Option<OutputLimit>,
    /// The number of choices, at least 1.
    pub n: u32,
    /// The number of answers generated, where only the `n` best of them are returned.
    pub best_of: Option<u32>,
    /// `Some(k)`: log probabilities of the chosen tokens, with the k likeliest alternatives (0 to 20).
    pub logprobs: Option<u32>,
}

/// The defaults of a text request: one answer.
impl Default for Generation {
    fn default() -> Self {
        Self { sampling: Sampling::default(), limit: None, n: 1, best_of: None, logprobs: None }
    }
}

impl Generation {
    /// The number of answers that are generated, and charged.
    pub fn answers(&self) -> u32 {
        self.best_of.unwrap_or(1).max(self.n)
    }
}

/// A limit of output tokens, for each choice, reasoning included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutputLimit {
    /// The tokens.
    pub tokens: u32,
    /// The larger of two limits, where the client wrote two and providers differ in which counts.
    pub largest: u32,
    /// The limit's name in the client's format, for errors; empty where the client gave none, and the API has a usual one.
    pub field: &'static str,
}

impl OutputLimit {
    /// The limit that an API has where its client gives none: as much of it as the model's context has room for.
    pub const fn usual(tokens: u32) -> Self {
        Self { tokens, largest: tokens, field: "" }
    }

    /// Whether the client gave none.
    pub const fn is_usual(&self) -> bool {
        self.field.is_empty()
    }
}

/// How tokens are chosen. `None` means the model's own default (its `generation_config.json`, or the provider's).
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Sampling {
    /// 0 to 2; 0 is greedy.
    pub temperature: Option<f32>,
    /// 0 to 1, nucleus sampling.
    pub top_p: Option<f32>,
    /// Keep only the k most likely tokens; 0 keeps all.
    pub top_k: Option<u32>,
    /// Same seed, same request, same model: same tokens.
    pub seed: Option<u64>,
    /// -2 to 2.
    pub frequency_penalty: Option<f32>,
    /// -2 to 2.
    pub presence_penalty: Option<f32>,
    /// Additive bias by token id, -100 to 100.
    pub logit_bias: Vec<(u32, f32)>,
    /// Texts that end the answer; they are not part of it. At most 4.
    pub stop: Vec<String>,
}
