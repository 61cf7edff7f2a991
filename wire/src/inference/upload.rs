//! Files that come with a request.

use std::sync::Arc;

use bytes::Bytes;

/// A file that comes with a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upload {
    /// The field that it is the value of.
    pub field: Box<str>,
    /// Its name, by which some providers recognize the encoding.
    pub name: Option<String>,
    /// Its media type.
    pub media_type: Option<String>,
    /// Its bytes.
    pub bytes: Bytes,
    /// A text that is nowhere in it after a line end: what separates it from others in a form. All files of a form have the
    /// same.
    pub boundary: Arc<str>,
}
