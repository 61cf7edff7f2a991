//! Reranking: documents in the order in which they answer a query.

/// Documents to be ordered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rerank {
    /// The query.
    pub query: String,
    /// The documents.
    pub documents: Vec<String>,
    /// The number of best documents to return; `None` for all.
    pub top_n: Option<u32>,
    /// The most tokens read of each document.
    pub max_tokens_per_document: Option<u32>,
    /// Whether the answer repeats the documents.
    pub return_documents: bool,
}
