//! The architectures that are computed, each as the facts in which it differs from the others: one graph serves all. A
//! file names its architecture, and begins its keys with that name.

/// An architecture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Architecture {
    /// Llama 1 to 3 and all who call themselves so: Mistral, Yi and others.
    Llama,
    /// Qwen 1.5, 2 and 2.5: biases at query, key and value.
    Qwen2,
    /// Qwen 3, dense: norms of queries and keys.
    Qwen3,
    /// Gemma 3, its texts: windows with a rotation of their own, norms on both sides of a block.
    Gemma3,
    /// Phi 3 and 4: fused products, rotation of a part of a head.
    Phi3,
}

/// How the rotated numbers of a head pair up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pairs {
    /// Neighbours, as llama's files have them.
    Neighbours,
    /// A number of the first half with its counterpart of the second.
    Halves,
}

/// The function between the products of a block's inner part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Activation {
    Silu,
    /// Gelu by its approximation with tanh.
    GeluTanh,
}

impl Architecture {
    /// Every architecture.
    pub const ALL: [Self; 5] = [Self::Llama, Self::Qwen2, Self::Qwen3, Self::Gemma3, Self::Phi3];

    /// The architecture that a file calls so.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|architecture| architecture.name() == name)
    }

    /// The architecture's name in files (`general.architecture`), with which its keys begin.
    pub fn name(self) -> &'static str {
        match self {
            Self::Llama => "llama",
            Self::Qwen2 => "qwen2",
            Self::Qwen3 => "qwen3",
            Self::Gemma3 => "gemma3",
            Self::Phi3 => "phi3",
        }
    }

    /// The models that have the architecture, for readers.
    pub fn models(self) -> &'static str {
        match self {
            Self::Llama => "Llama 1 to 3, Mistral, SmolLM2, TinyLlama and others whose files say `llama`",
            Self::Qwen2 => "Qwen 1.5 to 2.5, DeepSeek-R1-Distill-Qwen",
            Self::Qwen3 => "Qwen 3, dense",
            Self::Gemma3 => "Gemma 3, its texts",
            Self::Phi3 => "Phi 3, Phi 3.5, Phi 4, Phi 4 mini",
        }
    }

    /// The model's class and type in Hugging Face's `config.json`.
    pub(crate) fn hugging_face(self) -> (&'static str, &'static str) {
        match self {
            Self::Llama => ("LlamaForCausalLM", "llama"),
            Self::Qwen2 => ("Qwen2ForCausalLM", "qwen2"),
            Self::Qwen3 => ("Qwen3ForCausalLM", "qwen3"),
            Self::Gemma3 => ("Gemma3ForCausalLM", "gemma3_text"),
            Self::Phi3 => ("Phi3ForCausalLM", "phi3"),
        }
    }

    pub(super) fn pairs(self) -> Pairs {
        match self {
            Self::Llama => Pairs::Neighbours,
            Self::Qwen2 | Self::Qwen3 | Self::Gemma3 | Self::Phi3 => Pairs::Halves,
        }
    }

    pub(super) fn activation(self) -> Activation {
        match self {
            Self::Gemma3 => Activation::GeluTanh,
            Self::Llama | Self::Qwen2 | Self::Qwen3 | Self::Phi3 => Activation::Silu,
        }
    }

    /// The activation's name in Hugging Face's `config.json`.
    pub(crate) fn activation_name(self) -> &'static str {
        match self.activation() {
            Activation::Silu => "silu",
            Activation::GeluTanh => "gelu_pytorch_tanh",
        }
    }

    /// Whether queries and keys have a norm for each head.
    pub(super) fn norms_queries(self) -> bool {
        matches!(self, Self::Qwen3 | Self::Gemma3)
    }

    /// Whether what a block adds is normed before it is added.
    pub(super) fn norms_outputs(self) -> bool {
        matches!(self, Self::Gemma3)
    }

    /// Whether the embedding is multiplied by the root of its width.
    pub(super) fn scales_embedding(self) -> bool {
        matches!(self, Self::Gemma3)
    }

    /// Whether a file's sliding window is computed: where it is known which layers have it.
    pub(super) fn has_windows(self) -> bool {
        matches!(self, Self::Llama | Self::Gemma3 | Self::Phi3)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_every_architecture() {
        let page = include_str!("../../../../docs/open-models.md");
        for architecture in Architecture::ALL {
            let row = format!("| `{}` | {} |", architecture.name(), architecture.models());
            assert!(page.contains(&row), "docs/open-models.md must have this row:\n{row}");
            assert_eq!(Architecture::from_name(architecture.name()), Some(architecture));
        }
    }
}
