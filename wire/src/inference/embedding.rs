//! Embeddings: texts to vectors.

/// Texts, or images, to be turned into vectors.
#[derive(Debug, Clone, PartialEq)]
pub struct Embedding {
    /// What is turned into vectors, each into one.
    pub inputs: Vec<EmbeddingInput>,
    /// How long a vector is to be, where the model can shorten it.
    pub dimensions: Option<u32>,
    /// How the numbers are written.
    pub encoding: VectorEncoding,
    /// What the vectors are for, as some models tell apart: `search_document`, `search_query`, `classification`, ...
    pub purpose: Option<String>,
}

/// What is turned into one vector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EmbeddingInput {
    /// A text.
    Text(String),
    /// A text as the model's own tokens.
    Tokens(Vec<u32>),
    /// An image, or what else has bytes.
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
