//! The neutral words of inference: what is asked of a model and what comes back, whatever API format a client or a
//! provider speaks. Engines and transports produce [`Event`]s; the request task consumes them. Nothing here knows money,
//! HTTP or a format's spelling.

mod event;
mod failure;
mod request;

pub use event::{Delta, Event, FinishReason, TokenLogprob, Usage};
pub use failure::{Failure, ProviderError, TooLong, Unserved};
pub use request::{Message, Prompt, Sampling, Task, TextRequest};
