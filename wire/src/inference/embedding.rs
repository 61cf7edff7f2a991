//! Embeddings: texts to vectors.

/// Texts, or images, to be turned into vectors.
#[derive(Debug, Clone, PartialEq)]
pub struct Embedding {
    /// The inputs, each of which becomes one vector.
    pub inputs: Vec<EmbeddingInput>,
    /// The length of the vectors, where the model can shorten them.
    pub dimensions: Option<u32>,
    /// How the numbers are written.
    pub encoding: VectorEncoding,
    /// The purpose of the vectors, as some models distinguish: `search_document`, `search_query`, `classification`, ...
    pub purpose: Option<String>,
}

/// An input that becomes one vector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EmbeddingInput {
    /// A text.
    Text(String),
    /// A text as the model's own tokens.
    Tokens(Vec<u32>),
    /// An image, or other media.
    Media(super::Media),
}

/// How a vector's numbers are written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum VectorEncoding {
    /// A list of numbers.
    #[default]
    Float,
    /// Little-endian 32-bit floats in base64.
    Base64,
}
