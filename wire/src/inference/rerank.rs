//! Reranking: documents in the order in which they answer a query.

/// Documents to be ordered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rerank {
    /// The query.
    pub query: String,
    /// The documents.
    pub documents: Vec<String>,
    /// How many of the best are wanted; all where none is said.
    pub top_n: Option<u32>,
    /// Tokens read of each document, at most.
    pub max_tokens_per_document: Option<u32>,
    /// Whether the documents are repeated in the answer.
    pub return_documents: bool,
}
