//! Reranking at Cohere's own path of version 2: the same request without words for documents to be repeated, and an answer with
//! an id, results and `meta`, in which the cost is.

use serde_json::json;

use super::{RETURN_DOCUMENTS, bill, read_rerank, told};
use crate::{
    fields::BadRequest,
    format::{ClientFormat, End, ErrorShape, OnlyWhole, WholeWriter, refused::unknown},
    inference::{Delta, Request},
};

/// Reranking, as clients of Cohere's version 2 ask for it.
#[derive(Debug)]
pub enum CohereReranking {}

impl ClientFormat for CohereReranking {
    type Writer = Writer;
    const ERRORS: ErrorShape = ErrorShape::Cohere;

    fn read(body: &[u8]) -> Result<Request, BadRequest> {
        let request = read_rerank(body)?;
        match request.source.body.present(RETURN_DOCUMENTS) {
            Some(_) => Err(unknown(RETURN_DOCUMENTS)),
            None => Ok(request),
        }
    }

    fn writer(_: &Request, id: &str, _: i64) -> Writer {
        Writer { id: id.to_owned() }
    }
}

/// Writes one answer.
pub struct Writer {
    id: String,
}

impl OnlyWhole for Writer {
    fn shape(&self) -> ErrorShape {
        ErrorShape::Cohere
    }
}

impl WholeWriter for Writer {
    fn whole(&mut self, deltas: Vec<Delta>, end: &End) -> Vec<u8> {
        let (_, mut meta) = bill(end);
        meta["cost"] = end.receipt.cost.as_str().into();
        let answer = json!({"id": self.id, "results": told(&deltas), "meta": meta, "farebox": end.receipt.farebox});
        answer.to_string().into_bytes()
    }
}
