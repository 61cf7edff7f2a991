//! What a provider counts of a reranking: the model reads each document in a pair with the query, and units of search are
//! so many documents. A bound, where providers cut long documents as they like.

use super::count_text;
use crate::inference::Rerank;

/// Tokens around a query and a document.
const PER_PAIR: u64 = 8;
/// Documents in one unit of search, at most ("Pricing", Cohere).
const PER_UNIT: u64 = 100;
/// A document that is longer with its query is cut into chunks, each of which counts as a document ("Pricing", Cohere). Newer
/// models take longer chunks, and their bills may still count these.
const CHUNK: u64 = 500;
/// No more than this of a query is in a chunk ("Best practices", Cohere).
const MOST_QUERY: u64 = 256;

/// The counted tokens of a query and of its documents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pairs {
    query: u64,
    documents: Vec<u64>,
    /// The most tokens of a document that the client lets the model read at once.
    most: Option<u64>,
}

impl Pairs {
    /// Counts for a model.
    pub fn count(rerank: &Rerank, model: &str) -> Self {
        Self {
            query: count_text(model, &rerank.query),
            documents: rerank.documents.iter().map(|document| count_text(model, document)).collect(),
            most: rerank.max_tokens_per_document.map(u64::from),
        }
    }

    /// The tokens that the model reads: the query with each document, and what stands around a pair.
    pub fn tokens(&self) -> u64 {
        let around = self.query.saturating_add(PER_PAIR).saturating_mul(self.documents.len() as u64);
        self.documents.iter().fold(around, |sum, document| sum.saturating_add(*document))
    }

    /// The most units of search, where the provider's tokens are up to `margin` for each of those counted here.
    pub fn search_units(&self, margin: u64) -> u64 {
        let room = CHUNK - self.query.saturating_mul(margin).min(MOST_QUERY);
        let chunk = self.most.map_or(room, |most| most.min(room)).max(1);
        let chunks = self.documents.iter().map(|document| document.saturating_mul(margin).div_ceil(chunk).max(1));
        chunks.fold(0, u64::saturating_add).div_ceil(PER_UNIT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(query: u64, documents: &[u64], most: Option<u64>) -> Pairs {
        Pairs { query, documents: documents.to_vec(), most }
    }

    #[test]
    fn the_query_is_read_with_each_document() {
        let rerank = Rerank {
            query: "hello world".into(),
            documents: vec!["hello".into(), "hello big world".into()],
            top_n: None,
            max_tokens_per_document: Some(7),
            return_documents: false,
        };
        let counted = Pairs::count(&rerank, "rerank-v3.5");
        assert_eq!(counted, pairs(2, &[1, 3], Some(7)));
        assert_eq!(counted.tokens(), 2 * (2 + 8) + 1 + 3);
    }

    #[test]
    fn a_unit_is_a_hundred_documents_and_a_long_one_is_several() {
        assert_eq!(pairs(10, &[1; 100], None).search_units(1), 1);
        assert_eq!(pairs(10, &[1; 101], None).search_units(1), 2);
        assert_eq!(pairs(10, &[0], None).search_units(1), 1, "an empty one counts too");
        // 490 tokens fit beside a query of ten; one more is another chunk.
        assert_eq!(pairs(10, &[490; 100], None).search_units(1), 1);
        assert_eq!(pairs(10, &[491; 100], None).search_units(1), 2);
        assert_eq!(pairs(10, &[246; 100], None).search_units(2), 2, "the provider's own tokens may be twice as many");
        // A query takes at most 256 of a chunk.
        assert_eq!(pairs(5_000, &[244; 100], None).search_units(1), 1);
        assert_eq!(pairs(5_000, &[245; 100], None).search_units(1), 2);
    }

    #[test]
    fn a_limit_of_the_clients_makes_no_chunk_longer() {
        assert_eq!(pairs(0, &[1_000], Some(100)).search_units(1), 1);
        assert_eq!(pairs(0, &[1_000; 100], Some(100)).search_units(1), 10);
        assert_eq!(pairs(0, &[1_000; 100], Some(4_096)).search_units(1), 2);
    }

    #[test]
    fn sums_that_no_bill_has_do_not_wrap() {
        assert_eq!(pairs(u64::MAX, &[u64::MAX; 2], None).tokens(), u64::MAX);
        assert!(pairs(1, &[u64::MAX; 2], Some(1)).search_units(2) > u64::MAX / 200);
    }
}
