//! OpenAI's responses ("Responses", OpenAI API reference): requests with items as input, answers as items of output and
//! as typed events. A provider that speaks the format too passes its own events; for any other the events are written
//! from neutral words.

mod abroad;
pub mod conversations;
mod items;
pub mod kept;
pub(in crate::format) mod known;
mod output;
mod partial;
mod read;
mod request;
mod writer;

pub(in crate::format) use abroad::leftover;
pub use read::{Reader, read_answer};
pub use request::read_response;
pub use writer::Writer;

use crate::{
    fields::BadRequest,
    format::ClientFormat,
    inference::{Format, Request},
};

/// Responses, as clients ask for them.
#[derive(Debug)]
pub enum Responses {}

impl ClientFormat for Responses {
    type Writer = Writer;

    fn read(body: &[u8]) -> Result<Request, BadRequest> {
        read_response(body)
    }

    fn writer(request: &Request, id: &str, created: i64) -> Writer {
        Writer::new(request, id, created)
    }
}

/// The format.
const FORMAT: Format = Format::OpenAiResponses;
